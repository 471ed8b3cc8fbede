package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/peers"
)

// The entrants in Go that are compared with other languages.
var (
	feedBeside = []string{"tickwire", "tickwire-opens", "gobwas-low", "gws", "gorilla-reuse"}
	echoBeside = []string{"tickwire", "tickwire-noclock", "tickwire-blocking", "tickwire-poller", "gobwas-low", "gws", "gorilla-reuse"}
)

// foreign is a program of another language as an entrant.
type foreign struct {
	peer    *peers.Peer
	version string // reported by its last run
}

func (f *foreign) Info() entrant.Info {
	return entrant.Info{Name: f.peer.Name(), Calls: f.peer.Calls, Check: f.peer.Check, Version: f.version}
}

var errForeign = errors.New("a program of its own")

// errOther reports a feed that was not read as it was sent.
var errOther = &peers.Reason{
	Brief: "what was read is not what was sent", Full: "what was read is not what was sent",
}

// Dial returns an error: the program dials by itself.
func (f *foreign) Dial(entrant.Options) (entrant.Conn, error) { return nil, errForeign }

// Serve returns an error: the programs are clients.
func (f *foreign) Serve(net.Listener, entrant.Options, func(entrant.Conn)) error { return errForeign }

func (f *foreign) run(r peers.Request) (peers.Line, error) {
	ctx, cancel := context.WithTimeout(context.Background(), childTime)
	defer cancel()
	line, err := f.peer.Run(ctx, r)
	f.version = line.Version
	return line, err
}

// feed runs a turn of the consumer.
func (f *foreign) feed(s Spec, stream *corpus.Stream) (map[string]float64, error) {
	r := peers.Request{Role: "feed", URL: "ws://" + s.Addr + "/", Messages: s.Messages, Warm: s.Warmup, CPU: s.CPUTime, Chunk: chunk}
	if s.TLS != "" {
		r.URL = "wss://" + s.Addr + "/"
	} else {
		r.Messages = 1 << 40 // there is no end
	}
	line, err := f.run(r)
	if err != nil {
		return nil, err
	}
	if bytes, sum := stream.Sum(0, s.Warmup+line.Messages); line.Bytes != bytes || line.Sum != sum {
		return nil, errOther
	}
	return map[string]float64{
		"cpu ns/message": float64(line.CPU) / float64(line.Messages),
		"messages/s":     float64(line.Messages) / (float64(line.Wall) / 1e9),
	}, nil
}

// trips runs a turn of the echo client.
func (f *foreign) trips(s Spec) (map[string]float64, error) {
	line, err := f.run(peers.Request{Role: "trips", URL: "ws://" + s.Addr + "/", Messages: s.Messages, Warm: s.Messages / 10, Size: s.Size, On: s.CPU})
	if err != nil {
		return nil, err
	}
	if line.Messages != s.Messages || len(line.Times) != s.Messages || slices.Min(line.Times) <= 0 {
		text := fmt.Sprintf("%d trips, %d times", line.Messages, len(line.Times))
		return nil, &peers.Reason{Brief: text, Full: text}
	}
	var t trips
	for _, ns := range line.Times {
		t.times = append(t.times, time.Duration(ns))
	}
	m := map[string]float64{"client cpu ns/message": float64(line.CPU) / float64(line.Messages)}
	t.percentiles(false, m)
	return m, nil
}

// foreigners builds the programs. It returns them as entrants, after the entrants in Go
// that are named. A missing program has its own result in each case.
func (p *Plan) foreigners(beside []string) ([]entrant.Entrant, error) {
	all, err := peers.Built(filepath.Join(p.Dir, "peers"), p.say)
	if err != nil {
		return nil, err
	}
	var entrants []entrant.Entrant
	for _, name := range beside {
		entrants = append(entrants, entrant.ByName(name))
	}
	for _, one := range all {
		entrants = append(entrants, &foreign{peer: one})
	}
	return entrants, nil
}

// present returns the entrants without the programs that are missing. It adds those to
// the results.
func (p *Plan) present(name string, entrants []entrant.Entrant) ([]entrant.Entrant, error) {
	var here []entrant.Entrant
	for _, e := range p.pick(entrants) {
		if f, ok := e.(*foreign); ok && f.peer.Missing != "" {
			if err := p.emitMissing(name, e, f.peer.Missing); err != nil {
				return nil, err
			}
			continue
		}
		here = append(here, e)
	}
	return here, nil
}

// feedLanguages is feed with programs in other languages.
func feedLanguages(p *Plan) error {
	for _, encrypted := range []bool{false, true} {
		for _, size := range []int{60, 200, 1000} {
			name := fmt.Sprintf("ws, %d B, UTF-8 checked", size)
			s := Spec{Kind: string(corpus.ASCII), Size: size, CPUTime: 5 * enough, Warmup: backlog, Check: true}
			if encrypted {
				name = fmt.Sprintf("wss, %d B, a record per message, UTF-8 checked", size)
				s.TLS, s.Warmup, s.Messages = "record", encryptedMessages/20, encryptedMessages
			}
			if p.Quick {
				s.CPUTime, s.Messages = s.CPUTime/2, s.Messages/4
			}
			if err := feedLanguagesCase(p, name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func feedLanguagesCase(p *Plan, name string, s Spec) error {
	if !p.wants(name) || ProfileDir != "" {
		return nil
	}
	entrants, err := p.foreigners(feedBeside)
	if err != nil {
		return err
	}
	entrants = slices.DeleteFunc(entrants, func(e entrant.Entrant) bool { return s.TLS == "" && e.Info().TLS })
	if entrants, err = p.present(name, entrants); err != nil {
		return err
	}
	stream, err := s.stream()
	if err != nil {
		return err
	}
	b, err := startBlaster(&s)
	if err != nil {
		return err
	}
	defer b.end()
	return p.each(name, entrants, p.rounds(9, 1), 90*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		if f, ok := e.(*foreign); ok {
			return f.feed(s, stream)
		}
		s := s
		s.Role, s.Entrant = "consumer", e.Info().Name
		c, err := start(s)
		if err != nil {
			return nil, err
		}
		defer c.end()
		return c.turn()
	})
}

// echoLanguages is echo on one CPU with programs in other languages, and one server for
// all.
func echoLanguages(p *Plan) error {
	const name = "128 B, both ends on one CPU, one server for all"
	if !p.wants(name) || ProfileDir != "" {
		return nil
	}
	entrants, err := p.foreigners(echoBeside)
	if err != nil {
		return err
	}
	if entrants, err = p.present(name, entrants); err != nil {
		return err
	}
	s := Spec{Role: "echo server", Entrant: entrant.LimitParse, Size: 128, Messages: 5_000, Check: true, CPU: 1}
	if p.Quick {
		s.Messages = 1_000
	}
	server, err := start(s)
	if err != nil {
		return err
	}
	server.timer.Stop() // it lives as long as the case
	defer server.end()
	if s.Addr, err = server.receive(); err != nil {
		return err
	}
	return p.each(name, entrants, p.rounds(11, 1), 90*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		if f, ok := e.(*foreign); ok {
			return f.trips(s)
		}
		s := s
		s.Role, s.Entrant = "echo client", e.Info().Name
		c, err := start(s)
		if err != nil {
			return nil, err
		}
		defer c.end()
		return c.turn()
	})
}
