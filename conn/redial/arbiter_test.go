package redial

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// A rig is an Arbiter on a clock that stands still, and what it told.
type rig struct {
	Arbiter[string]
	at     time.Duration
	events []string
	inside func(Delivery[string]) error // called by Deliver
	epoch  [4]uint64                    // of the lines
}

func newRig() *rig {
	r := &rig{}
	r.Window, r.Restart = 50*time.Millisecond, NoRestart
	r.Clock = func() time.Time { return time.Unix(1000, 0).Add(r.at) }
	r.Deliver = func(d Delivery[string]) error {
		r.events = append(r.events, fmt.Sprintf("%s%s@%d+%d=%s", d.Key, numbers(d.From, d.To), d.Line, d.Waited.Milliseconds(), d.Data))
		if cap(d.Data) != len(d.Data) {
			return errors.New("a view that can be appended to")
		}
		if r.inside != nil {
			return r.inside(d)
		}
		return nil
	}
	r.OnGap = func(g Gap[string]) {
		kind := "gap"
		if g.Restarted {
			kind = "restart"
		}
		r.events = append(r.events, fmt.Sprintf("%s:%s%s+%d", kind, g.Key, numbers(g.From, g.To), g.Waited.Milliseconds()))
	}
	return r
}

func numbers(from, to uint64) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// offer brings one message, whose bytes are changed as soon as Offer returns.
func (r *rig) offer(line int, key string, from, to uint64) error {
	data := fmt.Appendf(nil, "%s%s", key, numbers(from, to))
	data = data[:len(data):len(data)]
	err := r.Offer(line, key, from, to, Message{Message: conn.Message{Opcode: conn.Text, Data: data}, Epoch: r.epoch[uint(line)%4]})
	for i := range data {
		data[i] = '!'
	}
	return err
}

// play runs steps: "0:5" brings number 5 on line 0, "1:5-7" a range, "0:B9" one of key B
// (A otherwise), "+20" lets time pass in ms, "tick" and "flush" call it, "reset",
// "reset:B", "snap:7" too. "e1" is a new connection of line 1.
func (r *rig) play(t *testing.T, steps string) {
	t.Helper()
	for step := range strings.FieldsSeq(steps) {
		var err error
		key, line, from, to, ms := "A", 0, uint64(0), uint64(0), 0
		switch {
		case step == "tick":
			err = r.Tick()
		case step == "flush":
			err = r.Flush()
		case step == "reset":
			r.Reset(key)
		case strings.HasPrefix(step, "snap:"):
			fmt.Sscanf(step, "snap:%d", &from)
			err = r.Snapshot(key, from)
		case step[0] == 'e':
			r.epoch[step[1]-'0']++
		case step[0] == '+':
			fmt.Sscanf(step, "+%d", &ms)
			r.at += time.Duration(ms) * time.Millisecond
		default:
			if strings.Contains(step, ":B") {
				key, step = "B", strings.Replace(step, ":B", ":", 1)
			}
			if n, _ := fmt.Sscanf(step, "%d:%d-%d", &line, &from, &to); n == 2 {
				to = from
			}
			err = r.offer(line, key, from, to)
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
}

func TestArbiter(t *testing.T) {
	for name, c := range map[string]struct {
		set         func(*rig)
		steps, want string
		lines       []LineCounts
	}{
		"what one line lost the other brings": {
			steps: "0:1 1:1 0:2 1:2 0:4 +15 1:3 1:4", want: "A1@0+0=A1 A2@0+0=A2 A3@1+0=A3 A4@0+15=A4",
			lines: []LineCounts{{First: 3}, {First: 1, Filled: 1, Duplicate: 3}},
		},
		"what both lost is a gap after the window": {
			steps: "0:1 0:3 +49 tick 1:4 +1 tick +5 1:2 1:5", want: "A1@0+0=A1 gap:A2+50 A3@0+50=A3 A4@1+1=A4 A5@1+0=A5",
			lines: []LineCounts{{First: 2}, {First: 2, Late: 1}},
		},
		"a message after the window still fills": {
			steps: "0:1 0:3 +60 1:2", want: "A1@0+0=A1 A2@1+0=A2 A3@0+60=A3",
		},
		"a message of any key lets time pass": {
			steps: "0:1 0:3 +60 1:B7", want: "A1@0+0=A1 B7@1+0=B7 gap:A2+60 A3@0+60=A3",
		},
		"keys do not wait for each other": {
			steps: "0:1 0:3 0:B1 0:B2 1:2", want: "A1@0+0=A1 B1@0+0=B1 B2@0+0=B2 A2@1+0=A2 A3@0+0=A3",
		},
		"two holes, each from when it was known": {
			steps: "0:1 0:3 +20 0:5 +30 tick +20 tick", want: "A1@0+0=A1 gap:A2+50 A3@0+50=A3 gap:A4+50 A5@0+50=A5",
		},
		"a hole filled in its middle is known since its end was": {
			steps: "0:1 0:9 +20 1:5 +30 tick", want: "A1@0+0=A1 gap:A2-4+50 A5@1+30=A5 gap:A6-8+50 A9@0+50=A9",
		},
		"holes of two keys pass in the order in which they began": {
			steps: "0:1 0:B1 0:B3 +1 0:3 +60 tick", want: "A1@0+0=A1 B1@0+0=B1 gap:B2+61 B3@0+61=B3 gap:A2+60 A3@0+60=A3",
		},
		"ranges in step": {steps: "0:1-4 1:1-4 0:5-9 1:5-9 1:10-10", want: "A1-4@0+0=A1-4 A5-9@0+0=A5-9 A10@1+0=A10"},
		"a range that overlaps what was delivered has new numbers": {
			steps: "0:1-4 1:3-6 0:5-6 1:2-5", want: "A1-4@0+0=A1-4 A3-6@1+0=A3-6",
			lines: []LineCounts{{First: 1, Duplicate: 1}, {First: 1, Duplicate: 1}},
		},
		"a range waits for the numbers before it": {
			steps: "0:1-4 0:8-9 +3 1:5-8", want: "A1-4@0+0=A1-4 A5-8@1+0=A5-8 A8-9@0+3=A8-9",
		},
		"a waiting range covers a shorter one": {
			steps: "0:1 0:5 1:4-6 0:4-5 0:2-3", want: "A1@0+0=A1 A2-3@0+0=A2-3 A4-6@1+0=A4-6",
			lines: []LineCounts{{First: 3, Filled: 1, Duplicate: 1}, {First: 1, Filled: 1}},
		},
		"two waiting ranges cover a third": {
			steps: "0:1 0:5-6 0:7-9 1:6-8 +50 tick", want: "A1@0+0=A1 gap:A2-4+50 A5-6@0+50=A5-6 A7-9@0+50=A7-9",
			lines: []LineCounts{{First: 3}, {Duplicate: 1}},
		},
		"a range in step covers what waits": {
			steps: "0:1 0:3 0:4 0:6 1:2-5", want: "A1@0+0=A1 A2-5@1+0=A2-5 A6@0+0=A6",
		},
		"numbers from 0": {steps: "0:0 0:0 0:2 1:1", want: "A0@0+0=A0 A1@1+0=A1 A2@0+0=A2"},
		"numbers to the highest": {
			steps: "0:18446744073709551613 0:18446744073709551615 1:18446744073709551614 1:18446744073709551615 0:3",
			want:  "A18446744073709551613@0+0=A18446744073709551613 A18446744073709551614@1+0=A18446744073709551614 A18446744073709551615@0+0=A18446744073709551615",
		},
		"all numbers at once": {steps: "0:0-18446744073709551615 0:7 1:0", want: "A0-18446744073709551615@0+0=A0-18446744073709551615"},
		"below the first number": {
			steps: "0:100 1:98 1:99 1:100 1:101", want: "A100@0+0=A100 A101@1+0=A101", lines: []LineCounts{{First: 1}, {First: 1, Late: 2, Duplicate: 1}},
		},
		"a snapshot says where to begin": {
			steps: "snap:97 0:100 1:97 1:98 1:99", want: "A98@1+0=A98 A99@1+0=A99 A100@0+0=A100",
		},
		"a snapshot fills a gap": {
			steps: "0:1 0:5 0:6 snap:5 0:7", want: "A1@0+0=A1 A6@0+0=A6 A7@0+0=A7",
		},
		"a snapshot within what waits": {
			steps: "0:1 0:5-8 0:10 snap:6 1:9", want: "A1@0+0=A1 A5-8@0+0=A5-8 A9@1+0=A9 A10@0+0=A10",
		},
		"a snapshot of a sequence that has begun anew": {
			steps: "0:1000 0:1002 snap:3 0:5 1:4", want: "A1000@0+0=A1000 A4@1+0=A4 A5@0+0=A5",
		},
		"reset": {steps: "0:5 0:7 reset 0:2 1:3 +90 tick", want: "A5@0+0=A5 A2@0+0=A2 A3@1+0=A3"},
		"flush": {steps: "0:1 0:3 0:B1 0:B4 +2 0:6 flush", want: "A1@0+0=A1 B1@0+0=B1 gap:A2+2 A3@0+2=A3 gap:B2-3+2 B4@0+2=B4 gap:A4-5+0 A6@0+0=A6"},
		"no window": {
			set: func(r *rig) { r.Window = -1 }, steps: "0:1 0:3 1:2 1:4", want: "A1@0+0=A1 gap:A2+0 A3@0+0=A3 A4@1+0=A4",
			lines: []LineCounts{{First: 2}, {First: 1, Late: 1}},
		},
		"more messages than wait": {
			set: func(r *rig) { r.Count = 2 }, steps: "0:1 0:3 0:5 +1 0:7 1:6",
			want: "A1@0+0=A1 gap:A2+1 A3@0+1=A3 gap:A4+1 A5@0+1=A5 A6@1+0=A6 A7@0+0=A7",
		},
		"more messages than wait, and the one at hand is before them": {
			set: func(r *rig) { r.Count = 2 }, steps: "0:1 0:5 0:7 +1 1:3 1:4 1:6",
			want: "A1@0+0=A1 gap:A2+1 A3@1+0=A3 A4@1+0=A4 A5@0+1=A5 A6@1+0=A6 A7@0+1=A7",
		},
		"more bytes than wait: the oldest hole of all keys is given up": {
			set: func(r *rig) { r.Bytes = 600 }, steps: "0:1 0:B1 0:B3 +1 0:3 0:5 1:2",
			want: "A1@0+0=A1 B1@0+0=B1 gap:B2+1 B3@0+1=B3 A2@1+0=A2 A3@0+0=A3",
		},
		"one message is longer than all that may wait": {
			set: func(r *rig) { r.Bytes = 100 }, steps: "0:1 0:3 0:4", want: "A1@0+0=A1 gap:A2+0 A3@0+0=A3 A4@0+0=A4",
		},
		"the gaps that are remembered have an end": {
			set:   func(r *rig) { r.Window = -1 },
			steps: "0:1 0:3 0:5 0:7 0:9 0:11 0:13 0:15 0:17 0:19 0:21 0:23 0:25 0:27 0:29 0:31 0:33 0:35 1:2 1:34",
			want:  "*", lines: []LineCounts{{First: 18}, {Duplicate: 1, Late: 1}},
		},
	} {
		r := newRig()
		if c.set != nil {
			c.set(r)
		}
		r.play(t, c.steps)
		got := strings.Join(r.events, " ")
		if c.want != "*" && got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if lines := r.Counts().Lines; c.lines != nil && !slices.Equal(lines, c.lines) {
			t.Errorf("%s: counts %+v, want %+v", name, lines, c.lines)
		}
		r.settled(t, name)
	}
}

// settled checks what holds of the counts whatever happened.
func (r *rig) settled(t *testing.T, name string) {
	t.Helper()
	n := r.Counts()
	first := uint64(0)
	for _, l := range n.Lines {
		first += l.First
		if l.Filled > l.First {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if n.Delivered+n.Dropped+uint64(n.Waiting) != first {
		t.Errorf("%s: %d first, but %+v", name, first, n)
	}
	if _, some := r.Deadline(); some != (n.Waiting > 0) || n.Waiting == 0 && n.WaitingBytes != 0 {
		t.Errorf("%s: deadline %v, %+v", name, some, n)
	}
}

func TestArbiterRestart(t *testing.T) {
	for name, c := range map[string]struct{ steps, want string }{
		"both lines": {
			"0:1000 1:1000 0:1 +10 0:2 1:1 +39 1:2 tick +1 1:3 0:3 0:4",
			"A1000@0+0=A1000 restart:A1001-1+50 A1@0+50=A1 A2@0+40=A2 A3@1+0=A3 A4@0+0=A4",
		},
		"from 0": {"0:1000 0:0 0:1 +50 tick 0:2", "A1000@0+0=A1000 restart:A1001-0+50 A0@0+50=A0 A1@0+50=A1 A2@0+0=A2"},
		"the slower line still brings the old numbers": {
			"0:999 0:1000 0:1 +40 1:999 +40 1:1000 +49 1:1 tick +1 tick 0:2",
			"A999@0+0=A999 A1000@0+0=A1000 restart:A1001-1+130 A1@0+130=A1 A2@0+0=A2",
		},
		"one line restarts and the other goes on": {
			"0:1000 1:1000 0:1 1:1001 +60 0:2 1:1002 +60 tick 0:3 1:1003",
			"A1000@0+0=A1000 A1001@1+0=A1001 A1002@1+0=A1002 A1003@1+0=A1003",
		},
		"old numbers after the restart": {
			"0:1000 1:990 0:1 +50 tick 1:1000 1:1001 +90 tick 1:1002 0:2 +90 tick 1:2 1:3",
			"A1000@0+0=A1000 restart:A1001-1+50 A1@0+50=A1 A2@0+0=A2 A3@1+0=A3",
		},
		"the other line comes when the new sequence has passed its number": {
			"0:1000 1:950 0:1 +50 tick 1:990 0:2-1005 1:1006", "A1000@0+0=A1000 restart:A1001-1+50 A1@0+50=A1 A2-1005@0+0=A2-1005 A1006@1+0=A1006",
		},
		"what waits comes before it": {
			"0:1000 0:1002 0:1 0:2 +50 tick", "A1000@0+0=A1000 gap:A1001+50 A1002@0+50=A1002 restart:A1003-1+50 A1@0+50=A1 A2@0+50=A2",
		},
		"old messages sent again that catch up": {
			"0:1000 0:800 0:850 0:950 0:1000 0:1001 +90 tick", "A1000@0+0=A1000 A1001@0+0=A1001",
		},
		"a few old messages sent again": {"0:1000 0:950 0:960 +90 tick 0:1001", "A1000@0+0=A1000 A1001@0+0=A1001"},
		"a new sequence with a gap":     {"0:1000 0:1 0:3 +50 tick 0:4", "A1000@0+0=A1000 restart:A1001-1+50 A1@0+50=A1 gap:A2+50 A3@0+50=A3 A4@0+0=A4"},
		"a slow line is no restart":     {"0:1000 1:1000 0:2000-2300 +90 tick 1:1001 1:1002 +90 tick", "A1000@0+0=A1000 gap:A1001-1999+90 A2000-2300@0+90=A2000-2300"},
		"one wrong number, far above": {
			"0:5 0:999999 0:6 +10 0:7 +40 tick 0:8 +50 tick 0:9",
			"A5@0+0=A5 A6@0+0=A6 A7@0+0=A7 gap:A8-999998+50 A999999@0+50=A999999 restart:A1000000-8+50 A8@0+50=A8 A9@0+0=A9",
		},
		"a line that is new, after a restart": {"0:1000 1:1 1:2 +50 tick 1:3", "A1000@0+0=A1000 restart:A1001-1+50 A1@1+50=A1 A2@1+50=A2 A3@1+0=A3"},
		"a snapshot meanwhile":                {"0:1000 0:1 0:2 0:3 snap:1 0:4", "A1000@0+0=A1000 A2@0+0=A2 A3@0+0=A3 A4@0+0=A4"},
		"reset meanwhile":                     {"0:1000 0:1 reset 0:2 +90 tick", "A1000@0+0=A1000 A2@0+0=A2"},
		"flush":                               {"0:1000 0:1 0:2 flush", "A1000@0+0=A1000 restart:A1001-1+0 A1@0+0=A1 A2@0+0=A2"},
	} {
		r := newRig()
		r.Restart = 100
		r.play(t, c.steps)
		if got := strings.Join(r.events, " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		r.settled(t, name)
	}
}

// A server that begins anew after few numbers is known by its connections: all that live
// are new.
func TestArbiterRestartOfAllLines(t *testing.T) {
	for name, c := range map[string]struct {
		steps, want string
		down        string // lines known to be down
	}{
		"one line":                      {"0:50 e0 0:1 0:2 +50 tick 0:3", "A50@0+0=A50 restart:A51-1+50 A1@0+50=A1 A2@0+50=A2 A3@0+0=A3", ""},
		"by one number":                 {"0:50 e0 0:49 +50 tick", "A50@0+0=A50 restart:A51-49+50 A49@0+50=A49", ""},
		"one line, twice":               {"0:50 e0 0:1 0:2 +50 tick e0 0:1 +50 tick 0:2", "A50@0+0=A50 restart:A51-1+50 A1@0+50=A1 A2@0+50=A2 restart:A3-1+50 A1@0+50=A1 A2@0+0=A2", ""},
		"the same connection":           {"0:50 0:1 0:2 +90 tick 0:51", "A50@0+0=A50 A51@0+0=A51", ""},
		"a new connection that is lost": {"0:50 e0 0:1 e0 0:2 +50 tick 0:3", "A50@0+0=A50 restart:A51-1+50 A1@0+50=A1 A2@0+50=A2 A3@0+0=A3", ""},
		"the last messages again":       {"0:50 e0 0:48 0:49 0:50 +90 tick 0:51", "A50@0+0=A50 A51@0+0=A51", ""},
		"the last messages and on":      {"0:50 e0 0:48 0:49 0:51 +90 tick 0:52", "A50@0+0=A50 A51@0+0=A51 A52@0+0=A52", ""},
		"the last messages but one":     {"0:50 e0 0:48 0:49 0:52 0:51 +90 tick", "A50@0+0=A50 A51@0+0=A51 A52@0+0=A52", ""},
		"it goes on":                    {"0:50 e0 0:51 0:50 0:49 +90 tick 0:52", "A50@0+0=A50 A51@0+0=A51 A52@0+0=A52", ""},
		"another line stays":            {"0:50 1:50 e0 0:1 0:2 +90 tick 1:51", "A50@0+0=A50 A51@1+0=A51", ""},
		"both lines":                    {"0:50 1:50 e0 0:1 e1 1:2 0:3 1:3 +50 tick 0:4 1:4 1:5", "A50@0+0=A50 restart:A51-2+50 A2@1+50=A2 A3@0+50=A3 A4@0+0=A4 A5@1+0=A5", ""},
		"the other is down":             {"0:50 1:50 e0 0:1 0:2 +50 tick 0:3 e1 1:3 1:4 0:4 1:5", "A50@0+0=A50 restart:A51-1+50 A1@0+50=A1 A2@0+50=A2 A3@0+0=A3 A4@1+0=A4 A5@1+0=A5", "1"},
		"the other comes meanwhile":     {"0:50 1:50 e0 0:1 e1 1:1 1:2 +50 tick 0:2 0:3", "A50@0+0=A50 restart:A51-1+50 A1@0+50=A1 A2@1+50=A2 A3@0+0=A3", "1"},
		"a slower line comes back":      {"0:50 1:40 e1 1:41 0:51 1:42 +90 tick 0:52", "A50@0+0=A50 A51@0+0=A51 A52@0+0=A52", ""},
		"after a snapshot":              {"snap:100 0:90 +90 tick 0:101 e0 snap:200 0:190 +90 tick 0:201", "A101@0+0=A101 A201@0+0=A201", ""},
		"a line that is new":            {"0:50 1:40 +90 tick 1:41 0:51", "A50@0+0=A50 A51@0+0=A51", ""},
		"other keys":                    {"0:50 0:B50 e0 0:1 0:B51 +50 tick 0:2", "A50@0+0=A50 B50@0+0=B50 B51@0+0=B51 restart:A51-1+50 A1@0+50=A1 A2@0+0=A2", ""},
	} {
		r := newRig()
		r.Restart = 100
		if c.down != "" {
			r.session = func(line int) (uint64, bool) { return r.epoch[line], !strings.Contains(c.down, fmt.Sprint(line)) }
		}
		r.play(t, c.steps)
		if got := strings.Join(r.events, " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		r.settled(t, name)
		r = newRig() // NoRestart
		r.play(t, c.steps)
		if n := r.Counts(); n.Restarts != 0 {
			t.Errorf("%s: %d restarts", name, n.Restarts)
		}
		r = newRig()
		r.Restart, r.Window = 100, -1
		r.play(t, c.steps)
		if n := r.Counts(); n.Restarts != 0 {
			t.Errorf("%s, no window: %d restarts", name, n.Restarts)
		}
	}
}

// Deliver and OnGap may call everything, and an error of Deliver loses only the message that it is about.
func TestArbiterCallbacks(t *testing.T) {
	r := newRig()
	r.inside = func(d Delivery[string]) error {
		switch d.From {
		case 2:
			if err := r.Snapshot("A", 5); err != nil { // 3 to 5 are accounted for
				return err
			}
			if err := r.offer(1, "A", 8, 8); err != nil {
				return err
			}
			if len(r.events) != 2 {
				t.Errorf("delivered within Deliver: %v", r.events)
			}
		case 8:
			r.Reset("A")
		}
		return nil
	}
	r.play(t, "0:1 0:3 0:6 0:7 1:2 0:3")
	if got, want := strings.Join(r.events, " "), "A1@0+0=A1 A2@1+0=A2 A6@0+0=A6 A7@0+0=A7 A8@1+0=A8 A3@0+0=A3"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	r.settled(t, "nested")

	r = newRig()
	wrong := errors.New("wrong")
	r.inside = func(d Delivery[string]) error {
		if d.From%2 == 0 {
			return wrong
		}
		return nil
	}
	r.play(t, "0:1 0:3 0:4 0:5 0:6")
	for i, want := range []error{wrong, wrong, wrong, nil} { // 2; 4 and 6 that waited; 7
		var err error
		if i == 0 {
			err = r.offer(1, "A", 2, 2)
		} else if i == 3 {
			err = r.offer(1, "A", 7, 7)
		} else {
			r.at += time.Second
			err = r.Tick()
		}
		if err != want {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if got, want := strings.Join(r.events, " "), "A1@0+0=A1 A2@1+0=A2 A3@0+1000=A3 A4@0+1000=A4 A5@0+2000=A5 A6@0+2000=A6 A7@1+0=A7"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	r.settled(t, "errors")

	r = newRig()
	r.OnGap = func(g Gap[string]) { _ = r.Snapshot(g.Key, g.To+2) } // fetched, and newer than what waits
	r.play(t, "0:1 0:3 0:4 0:5 +50 tick 0:6")
	if got, want := strings.Join(r.events, " "), "A1@0+0=A1 A5@0+50=A5 A6@0+0=A6"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	r.settled(t, "a snapshot at a gap")
}

func TestArbiterMisuse(t *testing.T) {
	r := newRig()
	for _, err := range []error{
		r.offer(-1, "A", 1, 1), r.offer(MaxLines, "A", 1, 1), r.offer(math.MaxInt, "A", 1, 1), r.offer(0, "A", 2, 1),
		new(Arbiter[int]).Offer(0, 1, 1, 1, Message{}),
	} {
		if err != ErrOffer {
			t.Errorf("%v, want ErrOffer", err)
		}
	}
	var zero Arbiter[int]
	zero.Reset(3)
	if zero.Tick() != nil || zero.Flush() != nil || zero.Snapshot(1, 5) != nil {
		t.Error("a zero Arbiter has an error")
	}
	if n := r.Counts(); len(r.events) != 0 || n.Lines != nil {
		t.Errorf("%v %+v", r.events, n)
	}
	if err := r.offer(MaxLines-1, "A", 1, 1); err != nil || len(r.Counts().Lines) != MaxLines {
		t.Errorf("the last line: %v", err)
	}
}

// What waits is released whatever way it goes: at the end nothing is counted.
func TestArbiterPanic(t *testing.T) {
	r := newRig()
	r.play(t, "0:1 0:3")
	r.inside = func(Delivery[string]) error { panic("user") }
	func() {
		defer func() { _ = recover() }()
		_ = r.offer(1, "A", 2, 2)
	}()
	r.inside = nil
	r.play(t, "1:4")
	if got, want := strings.Join(r.events, " "), "A1@0+0=A1 A2@1+0=A2 A3@0+0=A3 A4@1+0=A4"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	r.settled(t, "after a panic")
}

// A reference is what an Arbiter of one key does, told in the simplest way.
type reference struct {
	window      time.Duration
	count       int
	begun       bool
	last        uint64
	kept, all   []arrival // all: those that were kept ever, for when a hole was known
	events      []string
	first, gone int // messages; gone ones brought nothing new
}

type arrival struct {
	line     int
	from, to uint64
	at       time.Duration
	id       uint32
}

func (r *reference) has(n uint64) bool {
	return r.begun && n <= r.last || slices.ContainsFunc(r.kept, func(x arrival) bool { return x.from <= n && n <= x.to })
}

func (r *reference) offer(x arrival) {
	old := true
	for n := x.from; n <= x.to; n++ {
		old = old && r.has(n)
	}
	if old {
		r.gone++
		r.tick(x.at)
		return
	}
	for r.begun && x.from > r.last+1 && len(r.kept) >= r.count {
		if low := r.lowest(); x.from < low.from {
			r.events = append(r.events, fmt.Sprintf("gap %s waited %v", numbers(r.last+1, x.from-1), x.at-r.known()))
			r.last = x.from - 1
		} else {
			r.giveUp(x.at)
		}
	}
	r.first++
	r.kept = append(slices.DeleteFunc(r.kept, func(k arrival) bool { return k.from >= x.from && k.to <= x.to }), x)
	r.all = append(r.all, x)
	r.deliver(x.at)
	r.tick(x.at)
}

func (r *reference) deliver(now time.Duration) {
	for {
		slices.SortFunc(r.kept, func(a, b arrival) int { return cmp.Compare(a.from, b.from) })
		i := slices.IndexFunc(r.kept, func(k arrival) bool { return !r.begun || k.from <= r.last+1 })
		if i < 0 {
			return
		}
		k := r.kept[i]
		r.kept = slices.Delete(r.kept, i, i+1)
		if !r.begun || k.to > r.last {
			r.begun, r.last = true, k.to
			r.events = append(r.events, fmt.Sprintf("%s line %d id %d waited %v", numbers(k.from, k.to), k.line, k.id, now-k.at))
		}
	}
}

func (r *reference) lowest() arrival {
	return slices.MinFunc(r.kept, func(a, b arrival) int { return cmp.Compare(a.from, b.from) })
}

// known is when it was known that what is directly before the lowest waiting message is missing.
func (r *reference) known() time.Duration {
	low := r.lowest()
	since := low.at
	for _, x := range r.all {
		if x.from >= low.from {
			since = min(since, x.at)
		}
	}
	return since
}

func (r *reference) giveUp(now time.Duration) {
	low := r.lowest()
	r.events = append(r.events, fmt.Sprintf("gap %s waited %v", numbers(r.last+1, low.from-1), now-r.known()))
	r.last = low.from - 1
	r.deliver(now)
}

func (r *reference) tick(now time.Duration) {
	for len(r.kept) > 0 && now-r.known() >= r.window {
		r.giveUp(now)
	}
}

// A program is any use of an Arbiter with one key, four bytes a step: both do the same.
func playArbiter(t *testing.T, window time.Duration, count int, program []byte) {
	ref := &reference{window: window, count: count}
	var events []string
	now := time.Duration(0)
	sent := map[uint32]arrival{}
	a := Arbiter[uint8]{
		Window: window, Count: count, Restart: NoRestart, Clock: func() time.Time { return time.Unix(0, 0).Add(now) },
		OnGap: func(g Gap[uint8]) {
			events = append(events, fmt.Sprintf("gap %s waited %v", numbers(g.From, g.To), g.Waited))
		},
	}
	last := uint64(0)
	a.Deliver = func(d Delivery[uint8]) error {
		id := binary.LittleEndian.Uint32(d.Data)
		if x := sent[id]; x.from != d.From || x.to != d.To || x.line != d.Line || len(d.Data) != 4+int(id%700) || d.Data[len(d.Data)-1] != byte(id>>24|id) && id%700 > 0 {
			t.Fatalf("message %d is not as it was sent: %+v", id, d)
		}
		if d.To <= last && len(events) > 0 {
			t.Fatalf("%s after %d", numbers(d.From, d.To), last)
		}
		last = d.To
		events = append(events, fmt.Sprintf("%s line %d id %d waited %v", numbers(d.From, d.To), d.Line, id, d.Waited))
		return nil
	}
	scratch, same := make([]byte, 800), 0
	for id := uint32(0); len(program) >= 4; program, id = program[4:], id+1 {
		now += time.Duration(program[0]&15) * time.Millisecond
		if program[0]>>4 == 15 {
			if err := a.Tick(); err != nil {
				t.Fatal(err)
			}
			ref.tick(now)
		} else {
			x := arrival{line: int(program[0] >> 4 & 3), from: uint64(program[1]), at: now, id: id}
			x.to = x.from + uint64(program[2]&7)*uint64(program[3]&1)
			sent[id] = x
			data := scratch[:4+id%700]
			for i := range data {
				data[i] = byte(id>>24 | id)
			}
			binary.LittleEndian.PutUint32(data, id)
			if err := a.Offer(x.line, 1, x.from, x.to, Message{Message: conn.Message{Data: data}}); err != nil {
				t.Fatal(err)
			}
			clear(data)
			ref.offer(x)
		}
		if !slices.Equal(events[same:], ref.events[same:]) {
			t.Fatalf("got  %q\nwant %q", events, ref.events)
		}
		same = len(events)
	}
	n := a.Counts()
	first, gone := 0, 0
	for _, l := range n.Lines {
		first, gone = first+int(l.First), gone+int(l.Duplicate+l.Late)
	}
	if first != ref.first || gone != ref.gone || n.Waiting != len(ref.kept) || int(n.Delivered+n.Dropped)+n.Waiting != first {
		t.Fatalf("counts %+v, want %d first, %d gone, %d waiting", n, ref.first, ref.gone, len(ref.kept))
	}
	at, ok := a.Deadline()
	if ok != (len(ref.kept) > 0) || ok && at.Sub(time.Unix(0, 0)) != ref.known()+window {
		t.Fatalf("deadline %v %v", at.Sub(time.Unix(0, 0)), ok)
	}
}

// playRestarts plays any use with a Restart that is reached often, and callbacks that do what they like: what comes between two
// restarts is in order, nothing waits longer than the window, and the counts agree.
func playRestarts(t *testing.T, window time.Duration, count int, program []byte) {
	r := newRig()
	r.Window, r.Count, r.Bytes, r.Restart = window, count, 256*(2+count), uint64(count)
	if window == 0 {
		r.Window = -1
	}
	last, begun := map[string]uint64{}, map[string]bool{}
	told := r.OnGap
	odd := byte(0)
	r.OnGap = func(g Gap[string]) {
		if g.Waited > window && r.Counts().Restarts == 0 { // a restart waits for the old numbers to end
			t.Fatalf("%v: waited longer than %v: %+v", r.events, window, g)
		}
		switch {
		case g.Restarted:
			begun[g.Key] = false
		case !begun[g.Key] || g.From != last[g.Key]+1 || g.To < g.From:
			t.Fatalf("%v: %+v after %d", r.events, g, last[g.Key])
		default:
			last[g.Key] = g.To
		}
		told(g)
		if odd == 1 {
			last[g.Key], begun[g.Key] = g.To+1, true
			_ = r.Snapshot(g.Key, g.To+1)
		}
	}
	r.inside = func(d Delivery[string]) error {
		if begun[d.Key] && (d.From > last[d.Key]+1 || d.To <= last[d.Key]) {
			t.Fatalf("%v after %d", r.events, last[d.Key])
		}
		last[d.Key], begun[d.Key] = d.To, true
		switch odd {
		case 2:
			begun[d.Key] = false
			r.Reset(d.Key)
		case 3:
			last[d.Key] = d.To / 2
			_ = r.Snapshot(d.Key, d.To/2)
		case 4:
			odd = 0
			_ = r.offer(2, d.Key, d.To+2, d.To+2)
			return errors.New("odd")
		}
		return nil
	}
	for ; len(program) >= 4; program = program[4:] {
		until := r.at + time.Duration(program[0]&15)*time.Millisecond
		for at, ok := r.Deadline(); ok; at, ok = r.Deadline() {
			if d := at.Sub(time.Unix(1000, 0)); d > until {
				break
			} else if d > r.at {
				r.at = d
			}
			_ = r.Tick()
		}
		r.at = until
		from := uint64(program[1])
		odd = program[2] >> 3
		key := string('A' + rune(program[0]>>7))
		_ = r.offer(int(program[0]>>4&3), key, from, from+uint64(program[2]&7)*uint64(program[3]&1))
	}
	r.settled(t, "any")
	odd = 0
	for r.Flush() != nil {
	}
	r.settled(t, "any, flushed")
	if n := r.Counts(); n.Waiting != 0 || n.WaitingBytes != 0 {
		t.Fatalf("left: %+v", n)
	}
}

// FuzzArbiter plays any messages of up to four lines, points and ranges, against the reference.
func FuzzArbiter(f *testing.F) {
	f.Add(byte(50), byte(8), []byte{1, 1, 0, 0, 1, 3, 0, 0, 17, 2, 0, 0, 15 + 240, 0, 0, 0})
	f.Add(byte(20), byte(2), []byte{0, 1, 7, 1, 0, 12, 7, 1, 16, 9, 2, 1, 16, 14, 7, 1, 255, 0, 0, 0, 255, 0, 0, 0})
	f.Add(byte(20), byte(130), []byte{1, 100, 0, 0, 17, 100, 0, 0, 1, 3, 0, 0, 17, 3, 0, 0, 15, 5, 8, 0, 15, 6, 16, 0, 15, 9, 32, 0})
	f.Fuzz(func(t *testing.T, window, count byte, program []byte) {
		switch {
		case len(program) > 240:
		case count >= 128:
			playRestarts(t, time.Duration(window)*time.Millisecond, int(count%32)+1, program)
		default:
			playArbiter(t, time.Duration(window)*time.Millisecond+1, int(count%32)+1, program)
		}
	})
}

func TestArbiterAgainstReference(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for seed := range rounds {
		rnd := rand.New(rand.NewPCG(1, uint64(seed)))
		program := make([]byte, 4*(1+rnd.IntN(120)))
		low := 0.0
		for i := 0; i < len(program); i += 4 {
			low += rnd.Float64() * 2
			program[i] = byte(rnd.IntN(256)) & (0xF0 | byte(rnd.IntN(16)))
			program[i+1] = byte(int(low) + rnd.IntN(8))
			program[i+2], program[i+3] = byte(rnd.IntN(8)), byte(rnd.IntN(1+seed%2))
		}
		playArbiter(t, time.Duration(1+rnd.IntN(100))*time.Millisecond, 1+rnd.IntN(40), program)
		for i := 0; i < len(program); i += 4 {
			if rnd.IntN(20) == 0 {
				low = rnd.Float64() * 240
			}
			low += rnd.Float64() * 2
			program[i+1], program[i+2] = byte(int(low)+rnd.IntN(8)), program[i+2]|byte(rnd.IntN(32)/27*rnd.IntN(5)<<3)
		}
		playRestarts(t, time.Duration(rnd.IntN(40))*time.Millisecond, 1+rnd.IntN(40), program)
	}
}

// A key too many is refused with an error that tells the limit; the others go on, and
// Reset makes room.
func TestArbiterKeys(t *testing.T) {
	for _, limit := range []int{0, 3} {
		got := 0
		a := &Arbiter[int]{Keys: limit, Deliver: func(Delivery[int]) error { got++; return nil }}
		if limit == 0 {
			limit = DefaultKeys
		}
		for key := range limit {
			if err := a.Offer(0, key, 1, 1, Message{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{a.Offer(0, limit, 1, 1, Message{}), a.Snapshot(limit+1, 5)} {
			if !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), fmt.Sprintf("limit of %d (redial.Arbiter.Keys)", limit)) {
				t.Errorf("one key too many: %v", err)
			}
		}
		if err := a.Offer(0, 0, 2, 2, Message{}); err != nil || got != limit+1 {
			t.Errorf("a known key: %v; %d delivered", err, got)
		}
		a.Reset(1)
		if err := a.Offer(0, limit, 1, 1, Message{}); err != nil || got != limit+2 {
			t.Errorf("after Reset: %v; %d delivered", err, got)
		}
	}
}
