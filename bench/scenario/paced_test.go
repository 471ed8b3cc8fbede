package scenario

import (
	"runtime"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
)

func TestStamps(t *testing.T) {
	p := append([]byte(stampHead+"0123456789abcdef\","), corpus.Messages(corpus.ASCII, 60, 1)[0][1:]...)
	for _, want := range []uint64{0, 1, 0x0123456789abcdef, 1<<64 - 1} {
		putStamp(p, want)
		if got := stampOf(p); got != want {
			t.Errorf("%x comes back as %x: %s", want, got, p)
		}
	}
}

// TestMonotonicIsShared: the clocks of two processes tell the same time.
func TestMonotonicIsShared(t *testing.T) {
	a, err := newMonotonic()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	b, err := newMonotonic()
	if err != nil {
		t.Fatal(err)
	}
	before := a.now()
	middle := b.now()
	after := a.now()
	const off = 100 * time.Microsecond // far more than the time between reading the two clocks
	if middle < before-off || middle > after+off {
		t.Errorf("%v is not between %v and %v", middle, before, after)
	}
}

// TestNearest: a turn with too few messages is repeated, and so is one with too many.
func TestNearest(t *testing.T) {
	for name, c := range map[string]struct {
		rates []float64 // at 100 messages a second
		want  float64
		turns int
	}{
		"kept":              {[]float64{98}, 98, 1},
		"kept at last":      {[]float64{50, 600, 101}, 101, 3},
		"never, too slow":   {[]float64{50, 90, 70}, 90, 3},
		"never, a backlog":  {[]float64{600, 90, 110.5}, 90, 3},
		"a backlog is less": {[]float64{50, 120, 140}, 120, 3},
	} {
		turns := 0
		m, err := nearest(10*time.Millisecond, func() (map[string]float64, error) {
			turns++
			return map[string]float64{"messages/s": c.rates[turns-1]}, nil
		})
		if err != nil || m["messages/s"] != c.want || turns != c.turns {
			t.Errorf("%s: %v after %d turns, %v", name, m, turns, err)
		}
	}
}

// TestPaced runs the scenario with one library, over TCP and over TLS.
func TestPaced(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("the sender needs a CPU of its own")
	}
	for _, scheme := range []string{"ws", "wss"} {
		var results []Result
		run(t, "paced", planOf("paced/"+scheme+", 200 B, 10000 messages/s, one at a time", &results))
		if len(results) != 1 {
			t.Fatalf("%s: %d results", scheme, len(results))
		}
		m := results[0].Metrics
		// Messages do not come faster than they are sent.
		if m["messages/s"] <= 0 || m["messages/s"] > 10_500 || m["p50 µs"] <= 0 || m["p99 µs"] < m["p50 µs"] || m["cpu ns/message"] <= 0 {
			t.Errorf("%s: %v", scheme, m)
		}
	}
}
