package soak

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
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
	}{
		{skips, "after"},
		{repeats, "of the same connection"},
		{corrupts, "is not as it was sent"},
		{leaks, "goroutines are left"},
	} {
		t.Run(c.text, func(t *testing.T) {
			if c.fault == leaks && testing.Short() {
				t.Skip("waits for what never ends")
			}
			o := short(c.fault)
			o.Duration = time.Second
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Failures) == 0 || !strings.Contains(strings.Join(r.Failures, "\n"), c.text) {
				t.Errorf("found %q", r.Failures)
			}
		})
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
	if r.Conns != 200 || r.Told != 200 {
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
