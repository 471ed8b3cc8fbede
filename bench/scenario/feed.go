package scenario

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// ring is how many different messages a feed goes through.
const ring = 4096

type feedCase struct {
	name    string
	kind    corpus.Kind
	size    int
	check   bool
	tls     string
	deflate bool
	limits  []string
}

var feedCases = []feedCase{
	{name: "TCP, 200 B, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, limits: []string{entrant.LimitParse, entrant.LimitParseRaw, entrant.LimitDiscard}},
	{name: "TCP, 200 B, unchecked", kind: corpus.ASCII, size: 200, limits: []string{entrant.LimitParse, entrant.LimitParseRaw, entrant.LimitDiscard, entrant.LimitCopy}},
	{name: "TCP, 200 B with 13 % CJK, UTF-8 checked", kind: corpus.CJK, size: 200, check: true, limits: []string{entrant.LimitParse}},
	{name: "TCP, 60 B, unchecked", kind: corpus.ASCII, size: 60, limits: []string{entrant.LimitParse, entrant.LimitDiscard}},
	{name: "TLS, 200 B, large records, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, tls: "large", limits: []string{entrant.LimitCopy, entrant.LimitDiscard, entrant.LimitBuffered}},
	{name: "TLS, 200 B, a record per message, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, tls: "record", limits: []string{entrant.LimitBuffered, entrant.LimitDiscard}},
	{name: "TCP, 200 B, deflate with takeover, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, deflate: true},
}

func feed(p *Plan) error {
	messages := 600_000
	if p.Quick {
		messages = 150_000
	}
	for _, c := range feedCases {
		spec := Spec{Kind: string(c.kind), Size: c.size, Messages: messages, Warmup: messages / 20, Check: c.check, TLS: c.tls, Deflate: c.deflate}
		if c.deflate {
			spec.Messages, spec.Warmup = messages/4, messages/40
		}
		entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
			i := e.Info()
			return i.Limit && !slices.Contains(c.limits, i.Name) || c.deflate && !i.Deflate
		})
		err := p.each(c.name, entrants, p.rounds(7, 3), func(e entrant.Entrant) (map[string]float64, error) {
			s := spec
			s.Entrant = e.Info().Name
			return feedRun(s)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// feedRun runs one consumer against a blaster of its own.
func feedRun(s Spec) (map[string]float64, error) {
	s.Role = "blaster"
	b, err := start(s)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if s.Addr, err = b.hear(); err != nil {
		return nil, err
	}
	s.Role = "consumer"
	c, err := start(s)
	if err != nil {
		return nil, err
	}
	defer c.end()
	return c.metrics()
}

func (s *Spec) stream() (*corpus.Stream, error) {
	messages := corpus.Messages(corpus.Kind(s.Kind), s.Size, ring)
	if s.Deflate {
		return wire.Compress(messages)
	}
	return corpus.NewStream(messages, false), nil
}

// blaster is a child that sends a feed to the first who connects.
func blaster(s *Spec, ch *channel) error {
	stream, err := s.stream()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ch.say(l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		return err
	}
	// What the reader did not want is cut off when it goes.
	_ = wire.Blast(c, wire.Feed{Stream: stream, Count: s.Messages + s.Warmup, Records: s.TLS, Deflate: s.Deflate})
	return nil
}

// consumer is a child that reads a feed and tells what it took.
func consumer(s *Spec, ch *channel) error {
	e := entrant.ByName(s.Entrant)
	if e == nil {
		return fmt.Errorf("no entrant %q", s.Entrant)
	}
	stream, err := s.stream()
	if err != nil {
		return err
	}
	o := entrant.Options{URL: "ws://" + s.Addr + "/", CheckUTF8: s.Check, Deflate: s.Deflate, WireLen: stream.WireLen}
	if s.TLS != "" {
		o.URL, o.TLS = "wss://"+s.Addr+"/", wire.ClientTLS()
	}
	c, err := e.Dial(o)
	if err != nil {
		return err
	}
	defer c.Close()
	var t entrant.Tally
	if err := c.Receive(s.Warmup, &t); err != nil {
		return err
	}
	u := used()
	if err := c.Receive(s.Messages, &t); err != nil {
		return err
	}
	m := u.since(s.Messages)
	if bytes, sum := stream.Sum(0, s.Warmup+s.Messages); t.Messages != s.Warmup+s.Messages || !e.Info().Limit && (t.Bytes != bytes || t.Sum != sum) {
		return errors.New("what was read is not what was sent")
	}
	return ch.report(m)
}
