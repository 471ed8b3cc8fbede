package soak

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// short is a run that shows everything but slow members being ended.
func short(f fault) Options {
	return Options{Duration: 3 * time.Second, Conns: 24, Rate: 2000, DropEvery: 700 * time.Millisecond, Every: 200 * time.Millisecond, fault: f}
}

func TestRun(t *testing.T) {
	var seen int
	o := short(faultless)
	o.Sampled = func(Sample) { seen++ }
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Error(f)
	}
	n := r.Total
	if n.Messages == 0 || n.Ended == 0 || n.Sessions <= uint64(o.Conns) || n.Broadcast == 0 || seen == 0 || seen != len(r.Samples) {
		t.Errorf("%+v, %d samples, %d told", n, len(r.Samples), seen)
	}
	var b bytes.Buffer
	r.Print(&b)
	if s := b.String(); !strings.Contains(s, "nothing lost") || !strings.Contains(s, "█") {
		t.Error(s)
	}
}

// A run finds what it is there to find.
func TestRunFinds(t *testing.T) {
	for _, c := range []struct {
		fault fault
		text  string
		also  string
	}{
		{skips, "after", ""},
		{repeats, "of the same connection", ""},
		{corrupts, "bytes is not as it was sent", ""},
		{leaks, "goroutines are left", ""},
		{malforms, "the client found a protocol error", ""},
		{early, "is the first one", ""},
		{loses, "the last messages are lost", ""},
		{spoils, "broadcast 30 is not as it was sent", ""},
		{stallsFeed, "a timeout that the server did not cause", "no message for the last"},
	} {
		t.Run(c.text, func(t *testing.T) {
			o := short(c.fault)
			o.Duration, o.patience = time.Second, time.Second
			if c.fault == stallsFeed {
				o.Duration = 3 * silence // on a busy machine a feed begins late
			}
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(r.Failures, "\n")
			found := strings.Contains(all, c.text) && strings.Contains(all, c.also)
			if !found && r.Total.Excused > 0 {
				t.Skip("this machine was too busy to judge")
			}
			if !found {
				t.Errorf("found %q", r.Failures)
			}
		})
	}
}

// What a timeout is judged by, without the clocks.
func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name    string
		clock   conn.Clock
		prepare func(*follower)
		fails   bool
	}{
		{"data", conn.ClockData, func(*follower) {}, true},
		{"transport", conn.ClockTransport, func(*follower) {}, true},
		{"silent", conn.ClockData, func(f *follower) { f.sessions.get(1).silent.Store(true) }, false},
		{"silent, Close", conn.ClockClose, func(f *follower) { f.sessions.get(1).silent.Store(true) }, true},
		{"silent before", conn.ClockData, func(f *follower) { f.sessions.get(0).silent.Store(true) }, true},
		{"late", conn.ClockData, func(f *follower) { f.run.hiccups.note() }, false},
		{"no tick", conn.ClockData, func(f *follower) { f.run.hiccups.tick.Store(0) }, false},
		{"timer late", conn.ClockData, func(f *follower) { f.sessions.get(1).due.Store(1) }, false},
		{"slow feed", conn.ClockData, func(f *follower) { f.run.o.Rate = 1 }, false},
		{"slow feed, transport", conn.ClockTransport, func(f *follower) { f.run.o.Rate = 1 }, true},
	} {
		r := &run{o: Options{}.withDefaults(), began: time.Now().Add(-time.Minute)}
		r.hiccups.limit, r.hiccups.began = hiccup, r.began
		r.hiccups.ticked()
		r.hiccups.last.Store(0)
		f := &follower{run: r}
		c.prepare(f)
		dead := fmt.Errorf("wrapped: %w", &conn.TimeoutError{Clock: c.clock, Limit: silence})
		f.changed(t.Context(), redial.Change{State: redial.Down, Epoch: 1, Err: dead})
		if (len(r.failures) > 0) != c.fails {
			t.Errorf("%s: %q", c.name, r.failures)
		}
	}
}

func TestSlowMembers(t *testing.T) {
	for _, c := range []struct {
		ended          time.Duration
		found, tooSlow uint64
		fails          bool
	}{
		{slowMost, 0, 0, true},
		{slowMost - 1, 0, 0, false},
		{slowMost, 3, 3, false},
		{time.Second, 3, 2, true},
	} {
		var r run
		r.counters.slowEnded.Store(c.found)
		if r.judgeGroup(c.ended, c.tooSlow); (len(r.failures) > 0) != c.fails {
			t.Errorf("%+v: %q", c, r.failures)
		}
	}
	if !endedAbruptly(fmt.Errorf("%w", &conn.TransportError{Err: io.EOF})) ||
		endedAbruptly(&conn.CloseError{}) || endedAbruptly(&conn.TimeoutError{}) {
		t.Error("another end passes for that of a slow member, or that one does not")
	}
}

// What is under way when the caller stops is no fault.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Churn(ctx, 1<<30, func(opened, _ uint64) {
		if opened > 0 {
			cancel()
		}
	})
	if err != nil || len(r.Failures) > 0 || r.Opened == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// A busy machine may not open one connection before the first end.
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		i, err := Idle(ctx, 5_000)
		cancel()
		if err != nil || len(i.Failures) > 0 || i.Conns == 0 && wait > time.Minute {
			t.Fatalf("%+v, %v", i, err)
		}
		if i.Conns > 0 {
			break
		}
	}
}

func TestChurn(t *testing.T) {
	r, err := Churn(t.Context(), 400, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Error(f)
	}
	if r.Opened != 400 || r.Ended != 400 {
		t.Errorf("%+v", r)
	}
}

func TestIdle(t *testing.T) {
	r, err := Idle(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Error(f)
	}
	if r.Conns != 200 || r.Closed != 200 {
		t.Errorf("%+v", r)
	}
}

func TestMemoryThatGrows(t *testing.T) {
	var grows, stays []Sample
	for i := range 40 {
		at := time.Duration(i) * time.Minute
		grows = append(grows, Sample{At: at, Resident: uint64(100+5*i) << 20})
		stays = append(stays, Sample{At: at, Resident: uint64(100+i%3) << 20})
	}
	var r run
	if r.judgeMemory(stays); len(r.failures) != 0 {
		t.Error(r.failures)
	}
	if r.judgeMemory(grows); len(r.failures) != 1 {
		t.Error(r.failures)
	}
	if got := (&Result{Samples: grows}).Slope() / (1 << 20); got < 299 || got > 301 {
		t.Errorf("slope %f MiB an hour, want 300", got)
	}
}

func TestMessages(t *testing.T) {
	sizes := map[bool]int{}
	for n := range uint64(2000) {
		b := appendMessage(nil, 7, n, time.Second)
		sizes[len(b) > 64<<10]++
		got, at, err := parseMessage(7, message(7, n, b))
		if err != nil || got != n || at != time.Second {
			t.Fatal(got, at, err)
		}
		b[len(b)/2] ^= 1
		if _, _, err := parseMessage(7, message(7, n, b)); err == nil {
			t.Fatalf("message %d: a wrong byte was not found", n)
		}
	}
	if sizes[true] == 0 || sizes[false] == 0 {
		t.Error(sizes)
	}
}

func message(feed, number uint64, data []byte) (m conn.Message) {
	m.Opcode, m.Data = opcode(feed, number), data
	return m
}
