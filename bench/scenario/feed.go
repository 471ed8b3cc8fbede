package scenario

import (
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// ring is how many different messages a feed repeats.
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

// recordLimits are the limits under TLS.
var recordLimits = []string{entrant.LimitDiscard, entrant.LimitBuffered, entrant.LimitRecords, entrant.LimitReadOpen, entrant.LimitOpen}

var feedCases = []feedCase{
	{name: "TCP, 200 B, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, limits: []string{entrant.LimitParse, entrant.LimitParseRaw, entrant.LimitDiscard}},
	{name: "TCP, 200 B, unchecked", kind: corpus.ASCII, size: 200, limits: []string{entrant.LimitParse, entrant.LimitParseRaw, entrant.LimitDiscard, entrant.LimitCopy}},
	{name: "TCP, 200 B with 13 % CJK, UTF-8 checked", kind: corpus.CJK, size: 200, check: true, limits: []string{entrant.LimitParse}},
	{name: "TCP, 60 B, unchecked", kind: corpus.ASCII, size: 60, limits: []string{entrant.LimitParse, entrant.LimitDiscard}},
	{name: "TLS, 200 B, large records, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, tls: "large", limits: append([]string{entrant.LimitCopy}, recordLimits...)},
	{name: "TLS, 200 B, a record per message, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, tls: "record", limits: recordLimits},
	{name: "TLS, 60 B, a record per message, UTF-8 checked", kind: corpus.ASCII, size: 60, check: true, tls: "record", limits: recordLimits},
	{name: "TLS, 1000 B, a record per message, UTF-8 checked", kind: corpus.ASCII, size: 1000, check: true, tls: "record", limits: recordLimits},
	{name: "TCP, 200 B, deflate with takeover, UTF-8 checked", kind: corpus.ASCII, size: 200, check: true, deflate: true},
}

// chunk is how many messages are read between two looks at the clock. enough is the CPU
// time of one turn of a consumer. It is long enough to count. It is short enough for a
// slow stretch of the machine to cover whole turns, which the median leaves out. backlog
// is how many messages a consumer's sockets may hold when its turn begins. It reads these
// first, so that the blaster is at work too.
const (
	chunk   = 4_000
	enough  = 40 * time.Millisecond
	backlog = 60_000
)

// encryptedMessages is how many messages a blaster encrypts beforehand under TLS, for one
// turn of one consumer.
const encryptedMessages = 400_000

func feed(p *Plan) error {
	for _, c := range feedCases {
		spec := Spec{Kind: string(c.kind), Size: c.size, CPUTime: enough, Warmup: backlog, Check: c.check, TLS: c.tls, Deflate: c.deflate}
		if c.tls != "" {
			spec.CPUTime, spec.Warmup, spec.Messages = 5*enough, encryptedMessages/20, encryptedMessages
			if p.Quick {
				spec.Messages = encryptedMessages / 4
			}
		}
		if ProfileDir != "" {
			spec.CPUTime, spec.Messages = profileLength, spec.Messages*longer()
		}
		entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
			i := e.Info()
			return i.Limit && !slices.Contains(c.limits, i.Name) || c.deflate && !i.Deflate || c.tls == "" && i.TLS
		})
		if err := p.feedCase(c.name, spec, entrants); err != nil {
			return err
		}
	}
	return nil
}

// feedCase runs the consumers in turn against one blaster.
func (p *Plan) feedCase(name string, s Spec, entrants []entrant.Entrant) error {
	if !p.wants(name) {
		return nil
	}
	b, err := startBlaster(&s)
	if err != nil {
		return err
	}
	defer b.end()
	s.Role = "consumer"
	open := func(e entrant.Entrant) (*openEntrant, error) {
		s := s
		s.Entrant = e.Info().Name
		c, err := start(s)
		if err != nil {
			return nil, err
		}
		return &openEntrant{turn: c.turn, end: c.end}, nil
	}
	if s.TLS == "" {
		return p.inTurns(name, entrants, p.rounds(40, 3), 45*time.Second, open)
	}
	// The encrypted messages are for one turn. For all consumers together they would take
	// too much memory.
	return p.each(name, entrants, p.rounds(11, 1), 60*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		c, err := open(e)
		if err != nil {
			return nil, err
		}
		defer c.end()
		return c.turn()
	})
}

// startBlaster starts the sender of a feed, and stores its address in s.
func startBlaster(s *Spec) (*process, error) {
	one := *s
	one.Role = "blaster"
	b, err := start(one)
	if err != nil {
		return nil, err
	}
	b.timer.Stop() // it lives as long as the case
	if s.Addr, err = b.receive(); err != nil {
		b.end()
		return nil, err
	}
	return b, nil
}

func (s *Spec) stream() (*corpus.Stream, error) {
	messages := corpus.Messages(corpus.Kind(s.Kind), s.Size, ring)
	if s.Deflate {
		return wire.Compress(messages)
	}
	return corpus.NewStream(messages, false), nil
}

// blaster is a child that sends a feed to each client.
func blaster(s *Spec, ch *channel) error {
	stream, err := s.stream()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ch.send(l.Addr().String())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			// The rest of the stream is dropped when the reader goes.
			_ = wire.Blast(c, wire.Feed{Stream: stream, Count: s.Messages + s.Warmup, Records: s.TLS, Deflate: s.Deflate})
			c.Close()
			debug.FreeOSMemory()
		}()
	}
}

// consumer is a child that reads a feed in turns, and reports the cost of each.
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
	read := 0 // messages of the turns before
	return ch.turns(func() (map[string]float64, error) {
		var t entrant.Tally
		if err := c.Receive(s.Warmup, &t); err != nil {
			return nil, err
		}
		n := 0
		u := used()
		for ; cpuTime()-u.cpu < s.CPUTime && (s.Messages == 0 || n+chunk <= s.Messages); n += chunk {
			if err := c.Receive(chunk, &t); err != nil {
				return nil, err
			}
		}
		m := u.since(n)
		if bytes, sum := stream.Sum(read, s.Warmup+n); t.Messages != s.Warmup+n || !e.Info().Limit && (t.Bytes != bytes || t.Sum != sum) {
			return nil, errOther
		}
		read += t.Messages
		return m, nil
	})
}
