package scenario

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

func echo(p *Plan) error {
	n := 2_000
	if ProfileDir != "" {
		n = 50_000
	}
	cases := []struct {
		name string
		cpus [2]int
		spin bool
	}{
		{"128 B, both ends on one CPU", [2]int{1, 1}, false},
		{"128 B, each end on a CPU of its own", [2]int{1, 2}, true},
	}
	for _, c := range cases {
		entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
			i := e.Info()
			return i.Limit && i.Name != entrant.LimitParse || i.Spin && !c.spin
		})
		err := p.inTurns(c.name, entrants, p.rounds(40, 1), 60*time.Second, func(e entrant.Entrant) (*opened, error) {
			s := Spec{Entrant: e.Info().Name, Size: 128, Messages: n, Warmup: n / 10, Check: true}
			s.Role, s.CPU = "echo server", c.cpus[0]
			server, err := start(s)
			if err != nil {
				return nil, err
			}
			server.timer.Stop() // it lives as long as the client
			if s.Addr, err = server.hear(); err != nil {
				server.end()
				return nil, err
			}
			s.Role, s.CPU = "echo client", c.cpus[1]
			client, err := start(s)
			if err != nil {
				server.end()
				return nil, err
			}
			return &opened{turn: client.turn, end: func() { client.end(); server.end() }}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listen serves e on a loopback port and says which.
func listen(s *Spec, ch *channel, serve func(entrant.Conn)) error {
	e := entrant.ByName(s.Entrant)
	if e == nil {
		return fmt.Errorf("no entrant %q", s.Entrant)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go e.Serve(l, entrant.Options{CheckUTF8: s.Check, Lean: s.Lean}, serve)
	ch.say(l.Addr().String())
	return nil
}

// echoServer answers until its parent goes.
func echoServer(s *Spec, ch *channel) error {
	if err := listen(s, ch, func(c entrant.Conn) { c.Echo() }); err != nil {
		return err
	}
	ch.hear()
	return nil
}

// echoClient sends a message, waits for it to come back, and sends the next; in turns.
func echoClient(s *Spec, ch *channel) error {
	c, err := entrant.ByName(s.Entrant).Dial(entrant.Options{URL: "ws://" + s.Addr + "/", CheckUTF8: s.Check})
	if err != nil {
		return err
	}
	defer c.Close()
	messages := corpus.Messages(corpus.ASCII, s.Size, 64)
	var t entrant.Tally
	trip := func() error {
		if err := c.Send(1, messages); err != nil {
			return err
		}
		return c.Receive(1, &t)
	}
	times := make([]time.Duration, s.Messages)
	return ch.turns(func() (map[string]float64, error) {
		for range s.Warmup {
			if err := trip(); err != nil {
				return nil, err
			}
		}
		u := used()
		for i := range times {
			start := time.Now()
			if err := trip(); err != nil {
				return nil, err
			}
			times[i] = time.Since(start)
		}
		m := u.since(s.Messages)
		slices.Sort(times)
		at := func(q float64) float64 { return float64(times[int(q*float64(len(times)))]) / 1e3 }
		return map[string]float64{
			"p50 µs": at(.5), "p99 µs": at(.99), "p99.9 µs": at(.999),
			"client cpu ns/message": m["cpu ns/message"], "allocs/message": m["allocs/message"],
			"reads/message": m["reads/message"], "writes/message": m["writes/message"],
		}, nil
	})
}
