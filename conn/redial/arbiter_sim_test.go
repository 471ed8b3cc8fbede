package redial

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// A lineSim is how a line carries a feed.
type lineSim struct {
	loss   float64
	skew   time.Duration
	jitter time.Duration // more than the time between messages reorders them
	twice  float64       // how often a message comes twice
}

// carry returns what each line brings of messages of the numbers first, first+1, … in the order in which it comes. With ranges each
// line cuts the numbers up in its own way.
func carry(rnd *rand.Rand, lines []lineSim, first uint64, n int, every time.Duration, ranges bool) []arrival {
	var all []arrival
	for i, l := range lines {
		for from := first; from < first+uint64(n); {
			to := from
			if ranges {
				to = min(from+rnd.Uint64N(6), first+uint64(n)-1)
			}
			times := 1
			if rnd.Float64() < l.twice {
				times = 2
			}
			for range times {
				at := time.Duration(to-first)*every + l.skew
				if l.jitter > 0 {
					at += time.Duration(rnd.Int64N(int64(l.jitter)))
				}
				if rnd.Float64() >= l.loss {
					all = append(all, arrival{line: i, from: from, to: to, at: at})
				}
			}
			if from = to + 1; ranges && rnd.IntN(4) == 0 {
				from -= min(rnd.Uint64N(3), to-first) // overlaps
			}
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	return all
}

// Whatever lines do: nothing comes twice or out of order, every number from the first on is delivered or told as a gap, and a gap is
// told only when its numbers were missed for the window and no line had brought one of them.
func TestArbiterOfAnyLines(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	for seed := range rounds {
		rnd := rand.New(rand.NewPCG(2, uint64(seed)))
		lines := make([]lineSim, 1+rnd.IntN(4))
		for i := range lines {
			lines[i] = lineSim{
				loss: rnd.Float64() * rnd.Float64() * 0.5, skew: time.Duration(rnd.IntN(120)) * time.Millisecond,
				jitter: time.Duration(rnd.IntN(1+30*(seed&1))) * time.Millisecond, twice: rnd.Float64() * 0.1,
			}
		}
		window := time.Duration(1+rnd.IntN(100)) * time.Millisecond
		arrivals := carry(rnd, lines, uint64(rnd.IntN(5)), 600, time.Millisecond, seed%3 == 0)
		a, now := &Arbiter[string]{Window: window}, time.Duration(0)
		base := time.Unix(0, 0)
		a.Clock = func() time.Time { return base.Add(now) }
		last, began := uint64(0), false
		var brought []arrival // until now
		a.Deliver = func(d Delivery[string]) error {
			if began && (d.To <= last || d.From > last+1) {
				t.Fatalf("seed %d: %s after %d", seed, numbers(d.From, d.To), last)
			}
			if d.Waited > window {
				t.Fatalf("seed %d: %s waited %v of %v", seed, numbers(d.From, d.To), d.Waited, window)
			}
			last, began = d.To, true
			return nil
		}
		a.OnGap = func(g Gap[string]) {
			if !began || g.From != last+1 || g.To < g.From {
				t.Fatalf("seed %d: gap %s after %d", seed, numbers(g.From, g.To), last)
			}
			known := time.Duration(-1)
			for _, x := range brought {
				if x.from <= g.To && x.to >= g.From {
					t.Fatalf("seed %d: gap %s after line %d brought %s", seed, numbers(g.From, g.To), x.line, numbers(x.from, x.to))
				}
				if known < 0 && x.from > g.To {
					known = x.at
				}
			}
			if known < 0 || now-known != g.Waited || g.Waited < window {
				t.Fatalf("seed %d: gap %s known at %v, told at %v, waited %v of %v", seed, numbers(g.From, g.To), known, now, g.Waited, window)
			}
			last = g.To
		}
		for _, x := range arrivals {
			for at, ok := a.Deadline(); ok && at.Sub(base) < x.at; at, ok = a.Deadline() {
				now = at.Sub(base)
				if err := a.Tick(); err != nil {
					t.Fatal(err)
				}
			}
			now = x.at
			brought = append(brought, x)
			m := Message{}
			if lines[x.line].jitter == 0 && seed%3 != 0 { // new connections change nothing while numbers go on
				m.Epoch = 1 + uint64((x.at+time.Duration(x.line)*50*time.Millisecond)/(150*time.Millisecond))
			}
			if err := a.Offer(x.line, "k", x.from, x.to, m); err != nil {
				t.Fatal(err)
			}
		}
		for at, ok := a.Deadline(); ok; at, ok = a.Deadline() {
			now = at.Sub(base)
			if err := a.Tick(); err != nil {
				t.Fatal(err)
			}
		}
		highest := uint64(0)
		for _, x := range arrivals {
			highest = max(highest, x.to)
		}
		if n := a.Counts(); last != highest || n.Forced > 0 || n.Waiting > 0 {
			t.Fatalf("seed %d: ended at %d of %d, %+v", seed, last, highest, n)
		}
	}
}

// Two lines of 250 messages a second for 20 s, each losing 1 %, one 15 ms behind the other. Without waiting, what the first line lost
// is lost; with a window longer than the skew only what both lost is. Print the table with
//
//	go test ./conn/redial -run TestArbiterGapsByWindow -v
func TestArbiterGapsByWindow(t *testing.T) {
	const n = 20 * 250
	lines := []lineSim{{loss: 0.01}, {loss: 0.01, skew: 15 * time.Millisecond}}
	arrivals := carry(rand.New(rand.NewPCG(1, 9)), lines, 1, n, 4*time.Millisecond, false)
	var have [2][n + 2]bool
	for _, x := range arrivals {
		have[x.line][x.from] = true
	}
	lost := [2]int{}
	both := 0
	for i := 1; i <= n; i++ {
		for l := range have {
			if !have[l][i] {
				lost[l]++
			}
		}
		if !have[0][i] && !have[1][i] {
			both++
		}
	}
	t.Logf("%d messages; line 0 lost %d, line 1 lost %d, both lost %d", n, lost[0], lost[1], both)
	for _, window := range []time.Duration{-1, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond} {
		now, waited := time.Duration(0), time.Duration(0)
		base := time.Unix(0, 0)
		a := &Arbiter[string]{Window: window, Clock: func() time.Time { return base.Add(now) }}
		a.Deliver = func(d Delivery[string]) error {
			waited = max(waited, d.Waited)
			return nil
		}
		for _, x := range arrivals {
			for at, ok := a.Deadline(); ok && at.Sub(base) < x.at; at, ok = a.Deadline() {
				now = at.Sub(base)
				_ = a.Tick()
			}
			now = x.at
			_ = a.Offer(x.line, "k", x.from, x.from, Message{})
		}
		c := a.Counts()
		t.Logf("window %4v: %2d numbers missing, longest wait %v, lines %+v", max(window, 0), c.Missing, waited, c.Lines)
		want := lost[0]
		if window > 15*time.Millisecond {
			want = both
		}
		if int(c.Missing) != want || c.Delivered != n-c.Missing {
			t.Errorf("window %v: %d missing and %d delivered, want %d missing", window, c.Missing, c.Delivered, want)
		}
	}
}

// In step nothing is allocated: nor while gaps are filled and told, once memory has been pooled.
func TestArbiterAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	type key [8]byte
	const messages = 40000
	payload := make([]byte, 300)
	m := Message{Message: conn.Message{Opcode: conn.Text, Data: payload}}
	for name, lost := range map[string]func(line int, n uint64) bool{
		"in step":     func(int, uint64) bool { return false },
		"with losses": func(line int, n uint64) bool { return line == 0 && n%50 == 0 || n%1000 == 0 },
	} {
		delivered, gaps := 0, 0
		now := time.Unix(0, 0)
		a := &Arbiter[key]{
			Deliver: func(d Delivery[key]) error { delivered += len(d.Data) / 300; return nil },
			OnGap:   func(Gap[key]) { gaps++ },
			Clock:   func() time.Time { return now },
		}
		keys := []key{{'a'}, {'b'}, {'c'}, {'d'}}
		next := uint64(1)
		play := func() {
			for end := next + messages/uint64(len(keys))/2; next < end; next++ {
				now = now.Add(time.Millisecond)
				for _, k := range keys {
					if !lost(0, next) {
						if err := a.Offer(0, k, next, next, m); err != nil {
							t.Fatal(err)
						}
					}
					if n := next - 15; next > 15 && !lost(1, n) {
						if err := a.Offer(1, k, n, n, m); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		play() // fills the pools
		delivered = 0
		runs := 0
		if n := measureAllocations(func() { play(); runs++ }); n != 0 {
			t.Errorf("%s: %d allocations in %d messages", name, n, messages)
		}
		if want := messages / 2 * runs; delivered < want*99/100 || delivered > want {
			t.Errorf("%s: %d of %d delivered", name, delivered, want)
		}
		if (gaps > 0) != (name != "in step") {
			t.Errorf("%s: %d gaps", name, gaps)
		}
	}
}

func BenchmarkArbiter(b *testing.B) {
	m := Message{Message: conn.Message{Opcode: conn.Text, Data: make([]byte, 200)}}
	for _, c := range []struct {
		name string
		keys int
		lag  uint64 // of line 1 behind line 0, in numbers
		loss uint64 // line 0 loses every so manieth
	}{
		{"in step", 1, 1, 0}, {"in step", 100, 1, 0}, {"1 percent lost", 1, 15, 100}, {"1 percent lost", 100, 15, 100},
		{"1 percent lost, far behind", 1, 1000, 100},
	} {
		b.Run(fmt.Sprintf("%s, %d keys", c.name, c.keys), func(b *testing.B) {
			delivered := 0
			a := &Arbiter[uint64]{Window: time.Hour, Deliver: func(Delivery[uint64]) error { delivered++; return nil }}
			b.ReportAllocs()
			n := 0
			for next := uint64(1); n < b.N; next++ {
				for k := range uint64(c.keys) {
					if c.loss == 0 || next%c.loss != 0 {
						_ = a.Offer(0, k, next, next, m)
						n++
					}
					if next > c.lag {
						_ = a.Offer(1, k, next-c.lag, next-c.lag, m)
						n++
					}
				}
			}
			if waits := int(c.lag) * c.keys; delivered < n/2-2*waits || a.Counts().Gaps > 0 {
				b.Fatalf("%d delivered of %d, %+v", delivered, n, a.Counts())
			}
		})
	}
}

// measureAllocations returns the allocations of the whole process while f runs, the collector off: the least of some runs, since
// the runtime itself allocates now and then.
func measureAllocations(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.Mallocs-before.Mallocs); least == 0 {
			break
		}
	}
	return least
}
