package redial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// numberOf reads "key from" and "key from to": key is one byte.
func numberOf(data []byte) (key byte, from, to uint64, ok bool) {
	if len(data) < 3 || data[1] != ' ' {
		return 0, 0, 0, false
	}
	a, b, two := strings.Cut(string(data[2:]), " ")
	from, err := strconv.ParseUint(a, 10, 64)
	to = from
	if two && err == nil {
		to, err = strconv.ParseUint(b, 10, 64)
	}
	return data[0], from, to, err == nil
}

// A sent is a message and when it is sent.
type sent struct {
	at   time.Duration
	text string
}

// A script is one line: it sends messages, and then says goodbye, or waits for the client to.
type script struct {
	messages []sent
	stay     bool
}

// once is a Classify that retries nothing.
func once(error) Decision { return Decision{} }

// linesOf returns Lines over simulated servers; stop waits for these.
func linesOf(t *testing.T, scripts ...script) (l *Lines[byte], stop func()) {
	l = &Lines[byte]{Number: numberOf, Restart: NoRestart}
	var sims []*sim
	began := time.Now()
	for _, x := range scripts {
		s := &sim{t: t, session: func(_ int, c *conn.Conn) {
			for _, m := range x.messages {
				time.Sleep(time.Until(began.Add(m.at)))
				if text(c, "%s", m.text) != nil {
					return
				}
			}
			if x.stay {
				drain(c)
			}
		}}
		sims = append(sims, s)
		l.Clients = append(l.Clients, &Client{URL: "ws://sim/", Dialer: s.dialer(), Classify: once})
	}
	return l, func() {
		for _, s := range sims {
			s.wg.Wait()
		}
	}
}

// numbered returns messages of key k, one a millisecond, but those that are lost.
func numbered(n int, skew time.Duration, lost ...int) (out []sent) {
	for i := 1; i <= n; i++ {
		if !slices.Contains(lost, i) {
			out = append(out, sent{time.Duration(i)*time.Millisecond + skew, fmt.Sprintf("k %d", i)})
		}
	}
	return out
}

// A log is what the handler and the hooks saw.
type log struct {
	inside atomic.Int32
	events []string
}

func (g *log) add(format string, args ...any) {
	if g.inside.Add(1) != 1 {
		panic("two calls at once")
	}
	g.events = append(g.events, fmt.Sprintf(format, args...))
	g.inside.Add(-1)
}

func (g *log) handle(_ context.Context, d Delivery[byte]) error {
	g.add("%s@%d+%d", d.Data, d.Line, d.Waited.Milliseconds())
	return nil
}

func (g *log) gap(x Gap[byte]) { g.add("gap %c%d-%d+%d", x.Key, x.From, x.To, x.Waited.Milliseconds()) }

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Both lose 50 and 51 and the last; each loses others.
		l, stop := linesOf(t,
			script{messages: numbered(300, 0, 10, 11, 50, 51, 120, 299)},
			script{messages: numbered(300, 15*time.Millisecond, 20, 50, 51, 121, 299)})
		var g log
		l.OnGap = g.gap
		l.OnEnd = func(line int, err error) { g.add("end %d", line) }
		err := runLines(t, t.Context(), l, g.handle)
		stop()
		var want []string
		for i := 1; i <= 300; i++ {
			switch {
			case i == 50:
				want = append(want, "gap k50-51+50")
			case i == 51:
			case i == 299: // all lines have ended: nobody can bring it any more
				want = append(want, "end 0", "end 1", "gap k299-299+15")
			case i == 10, i == 11, i == 120:
				want = append(want, fmt.Sprintf("k %d@1+0", i))
			case i >= 12 && i <= 26, i >= 121 && i <= 135, i >= 52 && i <= 101, i == 300:
				end := map[bool]int{true: 26, false: 135}[i < 50]
				if i > 50 && i < 102 {
					end = 102
				}
				if i == 300 {
					end = 315
				}
				want = append(want, fmt.Sprintf("k %d@0+%d", i, end-i))
			default:
				want = append(want, fmt.Sprintf("k %d@0+0", i))
			}
		}
		if !slices.Equal(g.events, want) {
			t.Errorf("got  %q\nwant %q", g.events, want)
		}
		var e *Error
		if !errors.As(err, &e) || e.Op != "read" || !strings.Contains(err.Error(), "line 0: ") || !strings.Contains(err.Error(), "line 1: ") {
			t.Errorf("ended with %v", err)
		}
		n := l.Counts()
		if n.Gaps != 2 || n.Missing != 3 || n.Delivered != 297 || n.Lines[1] != (LineCounts{First: 3, Filled: 3, Duplicate: 292}) {
			t.Errorf("%+v", n)
		}
	})
}

// A gap is told when the window has passed, also if nothing comes any more.
func TestLinesGapInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := script{messages: []sent{{0, "a 1"}, {0, "a 3"}, {20 * time.Millisecond, "b 1"}, {20 * time.Millisecond, "b 5 9"}}, stay: true}
		l, stop := linesOf(t, both, both)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var g log
		l.OnGap = func(x Gap[byte]) {
			g.add("gap %c%d-%d+%d at %d", x.Key, x.From, x.To, x.Waited.Milliseconds(), time.Since(began).Milliseconds())
		}
		err := runLines(t, ctx, l, func(ctx context.Context, d Delivery[byte]) error {
			g.add("%s at %d", d.Data, time.Since(began).Milliseconds())
			return nil
		})
		stop()
		want := []string{"a 1 at 0", "b 1 at 20", "gap a2-2+50 at 50", "a 3 at 50", "gap b2-4+50 at 70", "b 5 9 at 70"}
		if err != context.DeadlineExceeded || !slices.Equal(g.events, want) {
			t.Errorf("%v; got %q, want %q", err, g.events, want)
		}
	})
}

// A line that is down or ends is not the end, and what it brings after it is back is taken.
func TestLinesOneDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := linesOf(t, script{messages: numbered(1000, 0, 10, 400)}, script{messages: numbered(2, 0)}, script{messages: numbered(1000, 5*time.Millisecond, 10)})
		down := errors.New("no route")
		l.Clients[1].Dialer.NetDial = (&sim{dial: func(context.Context, int) error { return down }}).netDial
		// The third is dropped by the server 5 times and comes back.
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			time.Sleep(5500 * time.Microsecond)
			for i := (n-1)*200 + 1; i <= n*200; i++ {
				time.Sleep(time.Millisecond)
				_ = text(c, "k %d", i)
			}
			if n == 6 {
				drain(c)
			}
		}}
		l.Clients[2].Dialer = s.dialer()
		l.Clients[2].Classify = nil
		l.Clients[2].Backoff = Backoff{Base: time.Millisecond, Cap: time.Millisecond}
		var g log
		l.OnGap = g.gap
		ended := map[int]error{}
		l.OnEnd = func(line int, err error) { g.add("end"); ended[line] = err }
		last := uint64(0)
		err := runLines(t, t.Context(), l, func(_ context.Context, d Delivery[byte]) error {
			if last++; d.From != last {
				return fmt.Errorf("%d after %d", d.From, last-1)
			}
			if last == 1100 {
				return errEnough
			}
			return nil
		})
		stop()
		s.wg.Wait()
		if !errors.Is(err, errEnough) || len(ended) != 2 || !errors.Is(ended[1], down) || ended[0] == nil {
			t.Errorf("%v; ended %v", err, ended)
		}
		if n := l.Counts(); n.Gaps != 0 || n.Lines[1] != (LineCounts{}) || n.Lines[2].First < 100 || !slices.Equal(g.events, []string{"end", "end"}) {
			t.Errorf("%+v %q", n, g.events)
		}
	})
}

// The handler's error ends the lines, whatever goroutine called it, and nothing is called from then on.
func TestLinesHandlerError(t *testing.T) {
	for name, c := range map[string]struct {
		messages []sent
		at       string
	}{
		"in step":      {[]sent{{0, "a 1"}, {0, "a 2"}, {0, "a 3"}}, "a 2"},
		"by the timer": {[]sent{{0, "a 1"}, {0, "a 3"}, {0, "a 4"}}, "a 3"},
		"other":        {[]sent{{0, "a 1"}, {0, "hello"}, {0, "a 4"}}, "hello"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, stop := linesOf(t, script{c.messages, true}, script{c.messages, true})
			wrong := errors.New("wrong")
			calls := 0
			handle := func(m Message) error {
				if calls++; string(m.Data) == c.at {
					calls = 1000
					return wrong
				}
				return nil
			}
			l.Other = func(_ context.Context, line int, m Message) error { return handle(m) }
			err := runLines(t, t.Context(), l, func(_ context.Context, d Delivery[byte]) error { return handle(d.Message) })
			stop()
			time.Sleep(time.Hour)
			var e *Error
			if !errors.As(err, &e) || e.Op != "handler" || e.Err != wrong || e.Epoch != 1 || e.Number != 2 {
				t.Errorf("%s: %v", name, err)
			}
			if calls != 1000 {
				t.Errorf("%s: %d calls after the error", name, calls-1000)
			}
		})
	}
}

func TestLinesMisuse(t *testing.T) {
	handler := func(context.Context, Delivery[byte]) error { return nil }
	c := &Client{URL: "ws://127.0.0.1:0/"}
	for i, l := range []*Lines[byte]{
		{}, {Number: numberOf}, {Clients: []*Client{c}}, {Clients: slices.Repeat([]*Client{c}, MaxLines+1), Number: numberOf},
	} {
		if err := runLines(t, t.Context(), l, handler); err != ErrLines {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := (&Lines[byte]{Clients: []*Client{c}, Number: numberOf}).Run(t.Context(), nil); err != ErrLines {
		t.Errorf("no handler: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		l, stop := linesOf(t, script{messages: numbered(5, 0), stay: true})
		l.Snapshot('k', 100) // nothing runs, and a run begins anew
		l.Reset('k')
		for range 2 { // it can run again
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			err := runLines(t, ctx, l, func(context.Context, Delivery[byte]) error {
				if n++; n == 1 {
					if err := l.Run(ctx, handler); err != ErrRunning {
						t.Errorf("a second Run: %v", err)
					}
				}
				if n == 5 {
					cancel()
				}
				return nil
			})
			if err != context.Canceled || n != 5 {
				t.Errorf("%v after %d messages", err, n)
			}
			cancel()
		}
		stop()
		if n := l.Counts(); n.Delivered != 10 {
			t.Errorf("%+v", n)
		}
	})
}

// The window counts only time in which lines can bring something: not that of the handler, nor that in which the process stood still.
func TestLinesWindowStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := linesOf(t,
			script{messages: []sent{{0, "a 1"}, {time.Millisecond, "a 3"}, {2 * time.Millisecond, "b 1"}}, stay: true},
			script{messages: []sent{{0, "a 1"}, {30 * time.Millisecond, "a 2"}, {31 * time.Millisecond, "a 3"}}, stay: true})
		var g log
		l.OnGap = g.gap
		_ = runLines(t, t.Context(), l, func(_ context.Context, d Delivery[byte]) error {
			g.add("%s", d.Data)
			switch string(d.Data) {
			case "b 1":
				time.Sleep(time.Second)
			case "a 3":
				return errEnough
			}
			return nil
		})
		stop()
		if want := []string{"a 1", "b 1", "a 2", "a 3"}; !slices.Equal(g.events, want) {
			t.Errorf("a slow handler: got %q, want %q", g.events, want)
		}
	})
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			jump := time.Duration(0)
			l := &Lines[byte]{Number: numberOf, clock: func() time.Time { return time.Now().Add(jump) }}
			var g log
			l.OnGap = g.gap
			l.begin(t.Context(), g.handle)
			defer l.cancel()
			take := func(line int, text string) {
				if err := l.take(line, Message{Message: conn.Message{Data: []byte(text)}}); err != nil {
					t.Error(err)
				}
			}
			take(0, "a 1")
			take(0, "a 3")
			l.mu.lock()
			jump = 10 * time.Second // the timer fires late for that
			l.mu.unlock()
			time.Sleep(51 * time.Millisecond)
			if late {
				time.Sleep(12500 * time.Microsecond)
			}
			synctest.Wait()
			take(1, "a 2")
			want := []string{"a 1@0+0", "a 2@1+0", "a 3@0+10051"}
			if late {
				want = []string{"a 1@0+0", "gap a2-2+10062", "a 3@0+10062"}
			}
			if !slices.Equal(g.events, want) {
				t.Errorf("held up: got %q, want %q", g.events, want)
			}
		})
	}
}

// Snapshot and Reset may be called by the handler, by hooks and by any other goroutine.
func TestLinesSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := linesOf(t, script{messages: []sent{
			{0, "a 1"}, {0, "a 4"}, {0, "a 5"}, {0, "a 6"}, {0, "b 1"}, {0, "c 7"}, {time.Millisecond, "c 2"}, {time.Millisecond, "a 7"}, {time.Millisecond, "z 1"},
			{time.Second, "a 10"}, {2 * time.Second, "a 11"}, {3 * time.Second, "e 1"},
		}, stay: true})
		var g log
		var hook sync.WaitGroup
		l.OnGap = func(x Gap[byte]) {
			g.gap(x)
			hook.Go(func() { l.Snapshot('a', 10) })
			l.Snapshot('a', 9)
		}
		_ = runLines(t, t.Context(), l, func(ctx context.Context, d Delivery[byte]) error {
			_ = g.handle(ctx, d)
			switch d.Key {
			case 'b':
				l.Snapshot('a', 4)
				if n := l.Counts(); n.Waiting != 3 {
					t.Errorf("%+v", n)
				}
			case 'c':
				l.Reset('c')
			case 'e':
				return errEnough
			}
			return nil
		})
		hook.Wait()
		stop()
		want := []string{"a 1@0+0", "b 1@0+0", "a 5@0+0", "a 6@0+0", "c 7@0+0", "c 2@0+0", "a 7@0+0", "z 1@0+0", "gap a8-9+50", "a 10@0+50", "a 11@0+0", "e 1@0+0"}
		if !slices.Equal(g.events, want) {
			t.Errorf("got  %q\nwant %q", g.events, want)
		}
	})
}

// What has no number, and a range that ends before it begins, goes to Other, from every line.
func TestLinesOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := []sent{{0, "subscribed"}, {0, "a 1"}, {0, "a 5 3"}, {0, "a 3"}, {0, "error"}, {0, "a 2"}}
		for _, other := range []bool{true, false} {
			l, stop := linesOf(t, script{messages: messages}, script{messages: messages})
			var mu sync.Mutex
			got := map[string]int{}
			if other {
				l.Other = func(_ context.Context, line int, m Message) error {
					if !mu.TryLock() {
						t.Error("two calls at once")
					}
					got[fmt.Sprintf("%d %s", line, m.Data)]++
					mu.Unlock()
					return nil
				}
			}
			var g log
			_ = runLines(t, t.Context(), l, g.handle)
			stop()
			if n := l.Counts(); n.Delivered != 3 || n.Lines[0].Other != 3 || n.Lines[1].Other != 3 || len(g.events) != 3 {
				t.Errorf("%+v %q", n, g.events)
			}
			if want := "map[0 a 5 3:1 0 error:1 0 subscribed:1 1 a 5 3:1 1 error:1 1 subscribed:1]"; other && fmt.Sprint(got) != want {
				t.Errorf("got %v", got)
			}
		}
	})
}

// No message costs an allocation, also while another key waits and when lines meet at the lock.
func TestLinesAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	delivered := 0
	l := &Lines[byte]{
		Window: time.Hour, Number: func(data []byte) (byte, uint64, uint64, bool) {
			n := uint64(data[1]) | uint64(data[2])<<8 | uint64(data[3])<<16
			return data[0], n, n, true
		},
		Other: func(context.Context, int, Message) error { return nil },
	}
	l.begin(t.Context(), func(context.Context, Delivery[byte]) error { delivered++; return nil })
	defer l.cancel()
	payload := make([]byte, 200)
	m := Message{Message: conn.Message{Data: payload}}
	next := 1
	for name, waits := range map[string]bool{"in step": false, "while another key waits": true} {
		if waits {
			for _, n := range []byte{1, 3} {
				copy(payload, []byte{'w', n, 0, 0})
				_ = l.take(0, m)
			}
		}
		delivered = 0
		runs := 0
		n := measureAllocations(func() {
			runs++
			for end := next + 20000; next < end; next++ {
				copy(payload, []byte{'k', byte(next), byte(next >> 8), byte(next >> 16)})
				if l.take(0, m) != nil || l.take(1, m) != nil {
					t.Fatal("ended")
				}
			}
		})
		if n != 0 || delivered != 20000*runs {
			t.Errorf("%s: %d allocations in 40000 messages, %d delivered in %d runs", name, n, delivered, runs)
		}
		if waits {
			l.Reset('w')
		}
	}
	l.timer.Stop()
}

func BenchmarkLines(b *testing.B) {
	l := &Lines[uint64]{Number: func(data []byte) (uint64, uint64, uint64, bool) {
		n := uint64(data[0]) | uint64(data[1])<<8 | uint64(data[2])<<16 | uint64(data[3])<<24
		return 1, n, n, true
	}}
	delivered := 0
	l.begin(b.Context(), func(context.Context, Delivery[uint64]) error { delivered++; return nil })
	defer l.cancel()
	payload := make([]byte, 200)
	m := Message{Message: conn.Message{Data: payload}}
	b.ReportAllocs()
	for i := range b.N {
		n := i / 2 // each number comes on both lines
		copy(payload, []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
		_ = l.take(i&1, m)
	}
	if delivered != (b.N+1)/2 {
		b.Fatalf("%d delivered", delivered)
	}
}

// Each sees what the slower line brings, which the handler never gets: it can keep the clocks of that line wound.
func TestLinesEachWindsClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var messages, later []sent
		for i := range 60 {
			messages = append(messages, sent{time.Duration(i) * time.Second, fmt.Sprintf("k %d", i)}, sent{time.Duration(i) * time.Second, "none"})
			later = append(later, sent{time.Duration(i)*time.Second + 10*time.Millisecond, fmt.Sprintf("k %d", i)})
		}
		l, stop := linesOf(t, script{messages: messages}, script{messages: later})
		for _, c := range l.Clients {
			c.OnConnect = func(_ context.Context, s *Session) error { s.Watch("k", 3*time.Second); return nil }
			c.OnChange = func(ch Change) {
				if errors.Is(ch.Err, ErrNoData) {
					t.Errorf("a line that brings messages was judged silent: %v", ch.Err)
				}
			}
		}
		seen := [2]atomic.Int32{}
		l.Each = func(line int, key byte, m Message) {
			seen[line].Add(1)
			m.Session.Alive(string(key))
		}
		_ = runLines(t, t.Context(), l, func(context.Context, Delivery[byte]) error { return nil })
		stop()
		if n := l.Counts(); seen[0].Load() != 60 || seen[1].Load() != 60 || n.Lines[1].Duplicate != 60 {
			t.Errorf("saw %d and %d messages, %+v", seen[0].Load(), seen[1].Load(), n)
		}
	})
}

// A handler of Lines that returns the end of a line's connection does not end the feed.
func TestLinesHandlerReturnsTheEndOfALine(t *testing.T) {
	for name, handle := range map[string]func(ctx context.Context, c *Client, d Delivery[string]) error{
		"Send": func(ctx context.Context, c *Client, d Delivery[string]) error {
			return untilError(func() error { return c.Send(ctx, conn.Text, nil) })
		},
		"a write": func(_ context.Context, _ *Client, d Delivery[string]) error {
			return untilError(func() error { return d.Session.Conn.WriteMessage(conn.Text, nil) })
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				text(c, "%d", n)
				go drain(c)
				time.Sleep(time.Second)
			}}
			c := &Client{URL: "ws://sim/", Dialer: s.dialer()}
			l := &Lines[string]{Clients: []*Client{c}, Number: func(data []byte) (string, uint64, uint64, bool) {
				n, err := strconv.ParseUint(string(data), 10, 64)
				return "k", n, n, err == nil
			}}
			err := runLines(t, t.Context(), l, func(ctx context.Context, d Delivery[string]) error {
				if d.Epoch == 3 {
					return errEnough
				}
				return handle(ctx, c, d)
			})
			s.wg.Wait()
			if !errors.Is(err, errEnough) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// So it is with the error of a line that has come back by then.
func TestLinesHandlerReturnsTheEndOfAnotherLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &sim{t: t, session: func(_ int, c *conn.Conn) {
			go drain(c)
			time.Sleep(1500 * time.Millisecond)
			text(c, "1")
			time.Sleep(20 * time.Second)
			text(c, "2")
			time.Sleep(time.Minute)
		}}
		two := &sim{t: t, session: func(n int, c *conn.Conn) {
			if n > 1 {
				drain(c)
				return
			}
			go drain(c)
			time.Sleep(time.Second)
		}}
		slow := Backoff{Base: 4 * time.Second, Cap: 4 * time.Second, Floor: 2 * time.Second} // away from 1 s to 3 s at least
		away := &Client{URL: "ws://sim/", Dialer: two.dialer(), WhenDown: FailWhenDown, Backoff: slow}
		l := &Lines[string]{Clients: []*Client{{URL: "ws://sim/", Dialer: one.dialer()}, away}}
		l.Number = func(data []byte) (string, uint64, uint64, bool) {
			n, err := strconv.ParseUint(string(data), 10, 64)
			return "k", n, n, err == nil
		}
		var got []error
		err := runLines(t, t.Context(), l, func(ctx context.Context, d Delivery[string]) error {
			if string(d.Data) == "2" {
				return errEnough
			}
			down := away.Send(ctx, conn.Text, nil)
			got = append(got, down)
			time.Sleep(10 * time.Second) // it is up again
			got = append(got, away.Send(ctx, conn.Text, nil))
			return down
		})
		one.wg.Wait()
		two.wg.Wait()
		if !errors.Is(err, errEnough) || len(got) != 2 || got[0] != ErrDown || got[1] != nil {
			t.Errorf("%v, of Send %v", err, got)
		}
	})
}

func TestLinesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			for i := range 5 {
				text(c, "%d", i)
			}
			drain(c)
		}}
		l := &Lines[string]{Keys: 3, Clients: []*Client{{URL: "ws://sim/", Dialer: s.dialer()}}}
		l.Number = func(data []byte) (string, uint64, uint64, bool) { return string(data), 1, 1, true }
		got := 0
		err := runLines(t, t.Context(), l, func(context.Context, Delivery[string]) error { got++; return nil })
		s.wg.Wait()
		var e *Error
		if !errors.Is(err, ErrKeys) || !errors.As(err, &e) || e.Op != "key" || e.Number != 4 || got != 3 {
			t.Errorf("%v after %d messages", err, got)
		}
	})
}

// A server that begins its numbers anew after few is followed as soon as its lines have
// come back, whether there is one or more.
func TestLinesRestart(t *testing.T) {
	for _, n := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			restart := start.Add(time.Hour)
			l := &Lines[int]{Number: func(data []byte) (int, uint64, uint64, bool) {
				n, err := strconv.ParseUint(string(data), 10, 64)
				return 0, n, n, err == nil
			}}
			var sims []*sim
			for i := range n {
				s := &sim{t: t, session: func(_ int, c *conn.Conn) {
					go drain(c)
					began := start
					if time.Now().After(restart) {
						began = restart
					}
					for {
						number := time.Since(began)/time.Second + 1
						time.Sleep(time.Until(began.Add(number*time.Second + time.Duration(i)*time.Millisecond)))
						if began == start && time.Now().After(restart) || text(c, "%d", number) != nil {
							return
						}
					}
				}}
				sims = append(sims, s)
				l.Clients = append(l.Clients, &Client{URL: "ws://sim/", Dialer: s.dialer(), MaxAge: 10 * time.Minute, Rotation: Overlap})
			}
			restarts, last, most := 0, start, time.Duration(0)
			l.OnGap = func(g Gap[int]) {
				if restarts++; !g.Restarted || time.Now().Before(restart) {
					t.Errorf("%d lines: %+v after %v", n, g, time.Since(start))
				}
			}
			err := runLines(t, t.Context(), l, func(_ context.Context, d Delivery[int]) error {
				most, last = max(most, time.Since(last)), time.Now()
				switch {
				case d.From == 1000 && last.After(restart):
					return errEnough
				case time.Since(restart) > time.Hour:
					return errDown
				}
				return nil
			})
			for _, s := range sims {
				s.wg.Wait()
			}
			if !errors.Is(err, errEnough) || restarts != 1 || most > 10*time.Second {
				t.Errorf("%d lines: %v, %d restarts, silent for %v, %+v", n, err, restarts, most, l.Counts())
			}
		})
	}
}

// The error of a line names the package once.
func TestLinesErrorNamesThePackageOnce(t *testing.T) {
	for err, want := range map[error]string{
		&lineError{2, ErrRunning}: "redial: line 2: the client is running already",
		&lineError{0, errDown}:    "redial: line 0: network is down",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if err := error(&lineError{2, ErrRunning}); !errors.Is(err, ErrRunning) {
		t.Error("the cause is lost")
	}
}
