package relay

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A client that begins now gets what is published afterwards; one that begins at the
// oldest gets everything; one after a position gets what follows it.
func TestGatewayJoins(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "joins"})
	s.publish(200)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"joins"}})
	now := mustJoin(t, g.url, control{Stream: "joins", Start: startNow})
	if want := *s.at(200, EndOfBatch); *now.welcome.After != want || !*now.welcome.Recovered {
		t.Errorf("now: %+v, want after %v", now.welcome, want)
	}
	oldest := mustJoin(t, g.url, control{Stream: "joins", Start: startOldest})
	if want := *s.at(0, EndOfBatch); *oldest.welcome.After != want || !*oldest.welcome.Recovered {
		t.Errorf("oldest: %+v, want after %v", oldest.welcome, want)
	}
	all := []*peer{now, oldest}
	for sequence := uint64(1); sequence < 200; sequence += 37 {
		for _, index := range []uint16{0, perBatch - 2, perBatch - 1, EndOfBatch} {
			p := mustJoin(t, g.url, control{Stream: "joins", Start: startAfter, After: s.at(sequence, index), Strict: true})
			if *p.welcome.After != *s.at(sequence, index) || !*p.welcome.Recovered {
				t.Errorf("after %d.%d: %+v", sequence, index, p.welcome)
			}
			all = append(all, p)
		}
	}
	s.publish(50)
	for _, p := range all {
		if err := p.until(s.number); err != nil {
			t.Error(err)
		}
	}
	n := g.Counts().Streams[0]
	if n.Head != 250 || n.Last != 250 || n.Live != len(all) || n.Incarnation != s.stream.Incarnation || n.Resumes != uint64(len(all)-2) {
		t.Errorf("%+v", n)
	}
}

// storm has many clients join and leave at full speed, with every kind of start. It
// returns how many joins there were, and how many faults of the stream.
func storm(t *testing.T, g *Gateway, s *source, clients, batches int) (joins, faults uint64) {
	t.Helper()
	r := startReady(t, g)
	var joined, faulty atomic.Uint64
	var over atomic.Bool
	var last atomic.Uint64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			hello := control{Stream: g.Streams[0], Start: []start{startNow, startOldest}[i%2]}
			for {
				p, err := join(t.Context(), r.url, hello)
				if err != nil {
					t.Errorf("join: %v, %+v", err, p)
					return
				}
				joined.Add(1)
				// Over the seam, and a little more.
				stop := r.Counts().Streams[0].Head + random.Uint64N(5)
				for err == nil && (over.Load() || p.at.Sequence < stop || random.IntN(perBatch) > 0) {
					if _, err = p.record(); over.Load() && err == nil && p.at.Sequence > last.Load() {
						p.Close()
						return
					}
				}
				p.Close()
				if errors.Is(err, errFault) {
					faulty.Add(1)
				} else if err != nil {
					t.Error(err)
					return
				}
				at := p.at
				if p.ended && random.IntN(2) == 0 {
					at.Index = EndOfBatch
				}
				if hello = (control{Stream: g.Streams[0], Start: startAfter, After: &at}); random.IntN(100) == 0 {
					hello = control{Stream: g.Streams[0], Start: []start{startNow, startOldest}[random.IntN(2)]}
				}
			}
		})
	}
	for range batches / 2 {
		s.publish(1 + rand.IntN(3))
	}
	last.Store(s.number / perBatch)
	over.Store(true)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for { // all clients go on until they have one of these
		s.publish(1)
		select {
		case <-done:
			return joined.Load(), faulty.Load()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Clients that join at every place of the stream while it flows at full speed lose
// nothing, and get nothing twice. The same test finds a seam that is off by one.
func TestGatewaySeam(t *testing.T) {
	for name, slip := range map[string]uint64{"right": 0, "off by one": 1} {
		t.Run(name, func(t *testing.T) {
			nc := connectTo(t, soloEngine(t))
			s := newSource(t, nc, StreamConfig{Name: "seam", Memory: true})
			g := &Gateway{Conn: connectTo(t, nc.ConnectedUrl()), Streams: []string{"seam"}, RingBytes: 64 << 10, slip: slip}
			begun := time.Now()
			batches := 2500
			if raceEnabled {
				batches = 800
			}
			joins, faults := storm(t, g, s, 12, batches)
			n := g.Counts()
			t.Logf("%d joins, %d faults in %v: %+v", joins, faults, time.Since(begun), n)
			if (faults > 0) != (slip > 0) {
				t.Errorf("%d faults", faults)
			}
			if n.Streams[0].Fetches == 0 || n.Streams[0].Replayed == 0 {
				t.Error("the cache was not used")
			}
		})
	}
}
