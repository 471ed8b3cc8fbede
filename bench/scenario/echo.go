package scenario

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

func echo(p *Plan) error {
	n := 2_000
	if ProfileDir != "" {
		n = mostTrips / 2
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
		err := p.inTurns(c.name, entrants, p.rounds(40, 1), 90*time.Second, func(e entrant.Entrant) (*openEntrant, error) {
			// With a CPU for each end, the other end is working whenever the speed is
			// checked.
			s := Spec{Entrant: e.Info().Name, Size: 128, Messages: n, Check: true, AtSpeed: c.cpus[0] == c.cpus[1]}
			s.Role, s.CPU = "echo server", c.cpus[0]
			server, err := start(s)
			if err != nil {
				return nil, err
			}
			server.timer.Stop() // it lives as long as the client
			if s.Addr, err = server.receive(); err != nil {
				server.end()
				return nil, err
			}
			s.Role, s.CPU = "echo client", c.cpus[1]
			client, err := start(s)
			if err != nil {
				server.end()
				return nil, err
			}
			return &openEntrant{turn: client.turn, end: func() { client.end(); server.end() }}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listen serves e on a loopback port and reports the port.
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
	ch.send(l.Addr().String())
	return nil
}

// echoServer echoes until its parent ends.
func echoServer(s *Spec, ch *channel) error {
	if err := listen(s, ch, func(c entrant.Conn) { c.Echo() }); err != nil {
		return err
	}
	ch.receive()
	return nil
}

// echoClient sends a message, waits for its echo, and sends the next one, in turns.
func echoClient(s *Spec, ch *channel) error {
	c, err := entrant.ByName(s.Entrant).Dial(entrant.Options{URL: "ws://" + s.Addr + "/", CheckUTF8: s.Check})
	if err != nil {
		return err
	}
	defer c.Close()
	messages := corpus.Messages(corpus.ASCII, s.Size, 64)
	probe.Calibrate(20 * time.Millisecond)
	trips := trips{times: make([]time.Duration, 0, mostTrips)}
	return ch.turns(func() (map[string]float64, error) {
		turn := tripTurn{trips: &trips, s: s, send: func() error { return c.Send(1, messages) }, warm: s.Messages / 10}
		if err := entrant.Trips(c, turn.next); err != nil {
			return nil, err
		}
		m := turn.used
		metrics := map[string]float64{
			"client cpu ns/message": m["cpu ns/message"] - trips.checkCost(), "allocs/message": m["allocs/message"],
			"reads/message": m["reads/message"], "writes/message": m["writes/message"],
		}
		trips.percentiles(s.AtSpeed, metrics)
		return metrics, nil
	})
}

// tripTurn makes the round trips of one turn, step by step: first the warm-up, then
// batches. With Spec.AtSpeed it checks before and after each batch whether the processor
// runs at full speed.
type tripTurn struct {
	*trips
	s    *Spec
	send func() error
	warm int // warm-up trips left

	begun, inFlight bool
	batch           int // trips of the current batch so far
	quick           bool
	start           time.Time
	before          usage
	used            map[string]float64 // set at the end of the turn
}

// next takes the message that has come, if one was sent, and sends the next one. It
// returns false after the turn.
func (t *tripTurn) next() (more bool, err error) {
	now := time.Now()
	if t.inFlight {
		if t.warm > 0 {
			t.warm--
		} else {
			t.took(now.Sub(t.start))
		}
	}
	if t.warm == 0 && t.batch == 0 {
		if !t.begun {
			t.reset()
			t.begun, t.before = true, used()
		} else if t.enough(t.s, time.Since(t.before.wall)) {
			t.used = t.before.since(len(t.times))
			return false, nil
		}
		t.quick = t.s.AtSpeed && probe.Clean(fullSpeed)
	}
	t.inFlight, t.start = true, time.Now()
	return true, t.send()
}

// took ends a trip, and possibly its batch.
func (t *tripTurn) took(d time.Duration) {
	t.times = append(t.times, d)
	if t.batch++; t.batch < tripBatch {
		return
	}
	if t.batch = 0; !t.s.AtSpeed {
		return
	}
	if t.quick = probe.Clean(fullSpeed) && t.quick; t.quick {
		t.cleanCount++
	}
	t.clean = append(t.clean, t.quick)
}

const (
	tripBatch    = 5           // round trips between two checks of the processor's speed
	fullSpeed    = 0.05        // how far the speed may be below full speed
	cleanBatches = 40          // number of batches between two good checks that a median needs
	longTurn     = time.Second // after which a turn ends in any case
	mostTrips    = 100_000
)

// trips are the round trips of a turn, in batches.
type trips struct {
	times      []time.Duration
	clean      []bool // for each batch: the processor ran at full speed before and after it
	cleanCount int    // clean batches
}

func (t *trips) reset() {
	t.times, t.clean, t.cleanCount = t.times[:0], slices.Grow(t.clean[:0], mostTrips/tripBatch), 0
}

// enough reports whether the turn may end.
func (t *trips) enough(s *Spec, length time.Duration) bool {
	n := len(t.times)
	return n+tripBatch > mostTrips || n >= s.Messages && (!s.AtSpeed || t.cleanCount >= cleanBatches || length > longTurn)
}

// checkCost returns the cost of the checks in nanoseconds for each trip. The client is
// not charged for it.
func (t *trips) checkCost() float64 {
	return 2 * float64(probe.Best()) * float64(len(t.clean)) / float64(len(t.times))
}

// percentiles puts the percentiles into m. With atSpeed the median is that of the clean
// batches, or of the fastest tenth of all batches if there are too few. The high
// percentiles are of all trips.
func (t *trips) percentiles(atSpeed bool, m map[string]float64) {
	median := slices.Clone(t.times)
	if atSpeed {
		median = t.undisturbed()
		m["forced"] = 0
		if t.cleanCount < cleanBatches {
			m["forced"] = 1
		}
	}
	m["p50 µs"], m["p99 µs"], m["p99.9 µs"] = quantile(median, .5), quantile(t.times, .99), quantile(t.times, .999)
}

func (t *trips) undisturbed() []time.Duration {
	batches := slices.Collect(slices.Chunk(t.times, tripBatch))
	if t.cleanCount < cleanBatches {
		sum := func(b []time.Duration) (s time.Duration) {
			for _, d := range b {
				s += d
			}
			return s
		}
		slices.SortFunc(batches, func(a, b []time.Duration) int { return cmp.Compare(sum(a), sum(b)) })
		return slices.Concat(batches[:(len(batches)+9)/10]...)
	}
	var some []time.Duration
	for i, b := range batches {
		if t.clean[i] {
			some = append(some, b...)
		}
	}
	return some
}

// quantile sorts the times and returns one of them, in microseconds.
func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[int(q*float64(len(times)))]) / 1e3
}
