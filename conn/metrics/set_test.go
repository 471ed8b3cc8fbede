package metrics

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// values reads all that a Set tells, by name and labels. It fails if two values have the
// same, or labels that are not the metric's.
func values(t *testing.T, s *Set) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	s.Collect(func(m *Metric, v float64, labels ...string) {
		if len(labels) != len(m.Labels) {
			t.Fatalf("%s has the labels %q", m.Name, labels)
		}
		k := strings.TrimPrefix(m.Name, "tickwire.") + " " + strings.Join(labels, " ")
		if _, twice := got[k]; twice {
			t.Errorf("%s is there twice", k)
		}
		got[k] = v
	})
	return got
}

func (m *client) expect(t *testing.T, at string, want map[string]float64) {
	t.Helper()
	got := values(t, m.set)
	for k, v := range want {
		if g, ok := got[k]; g != v || !ok {
			t.Errorf("%s: %s is %v, %v, not %v", at, k, g, ok, v)
		}
	}
}

// Time without a session is from the first dial or the end of a session to the next one;
// an attempt that fails beside a session, in a rotation, is none of it.
func TestTimeWithoutASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set Set
		c := &redial.Client{URL: "ws://sim/"}
		if err := set.Client("f", c); err != nil {
			t.Fatal(err)
		}
		step := func(wait time.Duration, ch redial.Change, up, down float64) {
			t.Helper()
			time.Sleep(wait)
			c.OnChange(ch)
			got := values(t, &set)
			if got["client.up f 0"] != up || got["client.down.time f 0"] != down {
				t.Errorf("%v: up %v, down %v s, not %v, %v", ch.State, got["client.up f 0"], got["client.down.time f 0"], up, down)
			}
		}
		step(time.Hour, redial.Change{State: redial.Dialing}, 0, 0) // before the run it counts nothing
		step(2*time.Second, redial.Change{State: redial.Failed, Err: io.EOF}, 0, 2)
		step(3*time.Second, redial.Change{State: redial.Dialing}, 0, 5)
		step(1*time.Second, redial.Change{State: redial.Up, Epoch: 1}, 1, 6)
		step(time.Hour, redial.Change{State: redial.Rotating, Epoch: 1}, 1, 6)
		step(time.Second, redial.Change{State: redial.Dialing, Epoch: 1}, 1, 6)
		step(time.Second, redial.Change{State: redial.Failed, Epoch: 2, Err: io.EOF}, 1, 6)
		step(time.Hour, redial.Change{State: redial.Down, Epoch: 1}, 0, 6)
		step(time.Second, redial.Change{State: redial.Dialing, Epoch: 2}, 0, 7)
		step(time.Second, redial.Change{State: redial.Up, Epoch: 3}, 1, 8)
		step(time.Second, redial.Change{State: redial.Down, Epoch: 3}, 0, 8)
		step(time.Second, redial.Change{State: redial.Stopped, Epoch: 3}, 0, 9)
		step(time.Hour, redial.Change{State: redial.Dialing}, 0, 9) // the next run
		step(time.Second, redial.Change{State: redial.Up, Epoch: 1}, 1, 10)
	})
}

// A connection counts from OnConnect on; how its epoch ends does not matter for the sums,
// and an epoch is free again in the next run.
func TestConnectionsOfAClient(t *testing.T) {
	var set Set
	m := newClient(&set, "f", "0", &redial.Client{})
	if err := set.add("f", source{key{"feed", "f", "0"}, m.read, nil}); err != nil {
		t.Fatal(err)
	}
	sent := 0.0
	begin := func(epoch uint64) *conn.Conn {
		c := written(t)
		sent++
		m.begin(epoch, c)
		return c
	}
	expect := func(at string, open, messages float64) {
		t.Helper()
		m.expect(t, at, map[string]float64{"conn.open f 0": open, "conn.messages f 0 transmit": messages})
	}
	c := begin(1)
	expect("in OnConnect", 1, sent)
	c.Close()
	m.changed(redial.Change{State: redial.Failed, Epoch: 1, Err: io.EOF})
	expect("failed in it", 0, sent)
	m.begin(1, written(t))
	expect("given up before it came", 0, sent)
	begin(2)
	m.changed(redial.Change{State: redial.Up, Epoch: 2})
	m.changed(redial.Change{State: redial.Failed, Epoch: 2, Err: io.EOF})
	expect("a rotation's dial failed", 1, sent)
	begin(3)
	expect("a rotation", 2, sent)
	m.changed(redial.Change{State: redial.Down, Epoch: 2, By: redial.ByUs, Code: 1000})
	expect("the old one is down", 1, sent)
	m.changed(redial.Change{State: redial.Up, Epoch: 3})
	c = begin(4)
	m.changed(redial.Change{State: redial.Down, Epoch: 3, By: redial.ByUs, Code: 1007})
	c.Close()
	m.changed(redial.Change{State: redial.Stopped, Epoch: 4})
	expect("stopped in a rotation", 0, sent)
	begin(1)
	m.changed(redial.Change{State: redial.Up, Epoch: 1})
	expect("the next run", 1, sent)
	m.expect(t, "at the end", map[string]float64{
		"client.failed_attempts f 0 network": 0, "client.failed_attempts f 0 other": 2,
		"conn.closed f 0 us 1000": 1, "conn.closed f 0 us 1007": 1, "conn.closed f 0 us 1006": 3, "client.up f 0": 1,
	})
}

// A connection on which OnConnect fails has ended too, and it is told who ended it: also
// where OnConnect hangs, and where the run ends meanwhile.
func TestEndsBeforeASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dials := 0
		c := &redial.Client{
			URL: "ws://sim/", ConnectTimeout: time.Second, CloseWait: time.Minute, Backoff: redial.Backoff{Base: 1, Cap: 1},
			MaxAge: time.Hour, Rotation: redial.Overlap,
			Dialer: &conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				dials++
				go serveAttempt(dials, far)
				return near, nil
			}},
			OnConnect: func(_ context.Context, s *redial.Session) error {
				switch s.Epoch {
				case 1:
					return errors.New("refused")
				case 6: // a rotation
					cancel()
				}
				_, err := s.Await(func(m conn.Message) bool { return string(m.Data) == "yes" })
				return err
			},
		}
		var set Set
		if err := set.Client("f", c); err != nil {
			t.Fatal(err)
		}
		err := c.Run(ctx, func(context.Context, redial.Message) error { return nil })
		if !errors.Is(err, context.Canceled) || dials != 6 {
			t.Fatalf("%v after %d dials", err, dials)
		}
		ends := map[string]float64{}
		for k, v := range values(t, &set) {
			if end, ok := strings.CutPrefix(k, "conn.closed f 0 "); ok {
				ends[end] = v
			}
		}
		want := map[string]float64{"us 1001": 2, "peer 1008": 1, "clock 1006": 1, "network 1006": 1, "us 1006": 1}
		if !reflect.DeepEqual(ends, want) {
			t.Errorf("%v, not %v", ends, want)
		}
	})
}

// serveAttempt is the server's end of connection n in TestEndsBeforeASession.
func serveAttempt(n int, nc net.Conn) {
	defer nc.Close()
	c, err := new(conn.Upgrader).Accept(nc)
	if err != nil {
		return
	}
	switch n {
	case 2:
		_ = c.StartClose(frame.CodePolicyViolation, "no")
	case 4:
		return // cut
	case 5:
		_ = c.WriteMessage(conn.Text, []byte("yes"))
	}
	for err == nil {
		_, err = c.ReadMessage()
	}
}

// written is a connection on which one message was written.
func written(t *testing.T) *conn.Conn {
	t.Helper()
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	c := conn.New(near, frame.Client, &conn.Config{KeepAlive: -1})
	t.Cleanup(func() { c.Close(); far.Close() })
	if err := c.WriteMessage(conn.Text, []byte("m")); err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever code a peer closes with, and whatever it refuses with, the series of a line
// are as many as the package comment says.
func TestSeriesAreBounded(t *testing.T) {
	var set Set
	c := &redial.Client{URL: "ws://sim/"}
	if err := set.Client("f", c); err != nil {
		t.Fatal(err)
	}
	for code := range 1 << 16 {
		for side := range redial.Side(7) { // two of them do not exist
			c.OnChange(redial.Change{State: redial.Down, By: side, Code: frame.CloseCode(code)})
		}
		c.OnChange(redial.Change{State: redial.Failed, Err: &handshake.Error{Status: code, Rule: fmt.Sprint(code)}})
	}
	got := values(t, &set)
	if len(got) != 125 {
		t.Errorf("%d series", len(got))
	}
	sum := 0.0
	for k, v := range got {
		if strings.HasPrefix(k, "conn.closed ") {
			sum += v
		}
	}
	if sum != 7<<16 {
		t.Errorf("%v ends are told", sum)
	}
	for k, want := range map[string]float64{"refused_3xx": 100, "refused_4xx": 100, "refused_5xx": 100, "handshake": 1<<16 - 300} {
		if v := got["client.failed_attempts f 0 "+k]; v != want {
			t.Errorf("%s: %v", k, v)
		}
	}
}

func TestCodesAreFolded(t *testing.T) {
	for code, want := range map[frame.CloseCode]string{
		0: "other", 999: "other", 1000: "1000", 1001: "1001", 1003: "1003", 1004: "other", 1005: "1005", 1006: "1006", 1015: "1015",
		1016: "other", 2999: "other", 3000: "3xxx", 3999: "3xxx", 4000: "4xxx", 4999: "4xxx", 5000: "other", 65535: "other",
	} {
		if got := codeNames[codeIndex(code)]; got != want {
			t.Errorf("%d is %q, not %q", code, got, want)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&redial.TimeoutError{Clock: redial.ClockConnect, Err: io.EOF}, "timeout"},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), "timeout"},
		{&conn.DialError{Err: &handshake.Error{Status: 503}}, "refused_5xx"},
		{&handshake.Error{Status: 429}, "refused_4xx"},
		{&handshake.Error{Status: 302}, "refused_3xx"},
		{&handshake.Error{Status: 101, Name: "Sec-WebSocket-Accept"}, "handshake"},
		{&conn.DialError{Err: &tls.CertificateVerificationError{Err: io.EOF}}, "tls"},
		{&conn.DialError{Err: &net.OpError{Op: "dial", Err: io.EOF}}, "network"},
		{&conn.TransportError{Op: "read", Err: io.EOF}, "network"},
		{context.Canceled, "canceled"},
		{errors.New("no such subscription"), "other"},
		{&conn.CloseError{Code: 1008}, "other"},
		{nil, "other"},
	} {
		if got := reasons[reasonOf(test.err)]; got != test.want {
			t.Errorf("%v: %s, not %s", test.err, got, test.want)
		}
	}
}

func TestEnds(t *testing.T) {
	for _, test := range []struct {
		err  error
		side redial.Side
		code frame.CloseCode
	}{
		{&conn.CloseError{Code: 4001}, redial.ByPeer, 4001},
		{&conn.CloseError{Code: 1001, SentCode: 1000, Local: true}, redial.ByUs, 1001},
		{frame.ErrReservedBits, redial.ByPeer, 1006},
		{&conn.TimeoutError{Clock: conn.ClockPong}, redial.ByClock, 1006},
		{&conn.TimeoutError{Clock: conn.ClockClose}, redial.ByUs, 1006},
		{&conn.TransportError{Op: "read", Err: io.EOF}, redial.ByNetwork, 1006},
		{conn.ErrTooSlow, redial.ByUs, 1006},
		{conn.ErrClosed, redial.ByUs, 1006},
		{nil, redial.Unknown, 1006},
	} {
		if side, code := endOf(test.err); side != test.side || code != test.code {
			t.Errorf("%v: %v, %d", test.err, side, code)
		}
	}
}

// A heard is an Observer and the other hooks, and what they have heard.
type heard struct{ calls []string }

func (h *heard) Control(_ *conn.Conn, op frame.Opcode, _ []byte, _ bool) {
	h.calls = append(h.calls, "control "+op.String())
}
func (h *heard) RoundTrip(_ *conn.Conn, d time.Duration) {
	h.calls = append(h.calls, "trip "+d.String())
}
func (h *heard) Slow(_ *conn.Conn, i conn.ReadInfo) {
	h.calls = append(h.calls, fmt.Sprint("slow ", i.Bytes))
}
func (h *heard) Ended(_ *conn.Conn, err error) { h.calls = append(h.calls, "ended "+err.Error()) }

// The hooks that the Client has are called as before, two Sets can measure the same one,
// and a Dialer that is shared stays as it was.
func TestHooksAreComposed(t *testing.T) {
	var h heard
	refused := errors.New("refused")
	dialer := &conn.Dialer{Subprotocols: []string{"v1"}}
	dialer.Config.Observer = &h
	c := &redial.Client{
		URL: "ws://sim/", Dialer: dialer,
		OnChange:  func(ch redial.Change) { h.calls = append(h.calls, ch.State.String()) },
		OnConnect: func(context.Context, *redial.Session) error { h.calls = append(h.calls, "connect"); return refused },
	}
	var one, two Set
	for _, s := range []*Set{&one, &two} {
		if err := s.Client("f", c); err != nil {
			t.Fatal(err)
		}
	}
	if dialer.Config.Observer != conn.Observer(&h) || c.Dialer == dialer || !reflect.DeepEqual(c.Dialer.Subprotocols, dialer.Subprotocols) {
		t.Errorf("the shared Dialer was changed, or is not copied: %+v", c.Dialer)
	}
	c.OnChange(redial.Change{State: redial.Dialing})
	if err := c.OnConnect(t.Context(), &redial.Session{Conn: written(t), Epoch: 1}); !errors.Is(err, refused) {
		t.Errorf("OnConnect: %v", err)
	}
	o := c.Dialer.Config.Observer
	o.Control(nil, frame.Ping, nil, true)
	o.RoundTrip(nil, time.Second)
	o.Slow(nil, conn.ReadInfo{Bytes: 7})
	o.Ended(nil, io.EOF)
	want := []string{"dialing", "connect", "control " + frame.Ping.String(), "trip 1s", "slow 7", "ended EOF"}
	if !reflect.DeepEqual(h.calls, want) {
		t.Errorf("heard %q", h.calls)
	}
	for _, s := range []*Set{&one, &two} {
		s.Histograms(func(_ *Metric, b Buckets, labels ...string) {
			if b.Count != 1 || b.Sum != 1 || strings.Join(labels, " ") != "f 0" {
				t.Errorf("%+v of %q", b, labels)
			}
		})
		if v := values(t, s)["conn.slow_reads f 0"]; v != 1 {
			t.Errorf("%v slow reads", v)
		}
	}
}

// Bounds belong to their bucket.
func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 100*time.Microsecond + 1, time.Second, 10 * time.Second, time.Minute} {
		h.add(d)
	}
	want := Buckets{Count: 6, Sum: 71.000200001, Below: []uint64{2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 5}}
	if got := h.read(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// A name that would spoil a whole scrape is refused, and nothing is hooked then.
func TestNamesAreRefused(t *testing.T) {
	var set Set
	for _, name := range []string{"", "\xff", "f"} {
		c := &redial.Client{}
		err := set.Client(name, c)
		if name == "f" {
			if err != nil {
				t.Fatal(err)
			}
			err = set.Client(name, c)
		} else if c.OnChange != nil || c.Dialer != nil {
			t.Error("a refused Client was hooked")
		}
		if !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	lines := &redial.Lines[string]{Clients: []*redial.Client{{}, {}}}
	if err := Lines(&set, "f", lines); !errors.Is(err, ErrName) || lines.Clients[1].OnChange != nil {
		t.Errorf("lines under a name of which line 0 is taken: %v", err)
	}
	if err := set.Arbiter("f", lines); err != nil {
		t.Errorf("lines that were refused have taken a name: %v", err)
	}
	if err := set.Group("f", new(conn.Group)); err != nil {
		t.Error(err)
	}
	if _, err := set.Conns("f"); err != nil {
		t.Error(err)
	}
	if _, err := set.Conns("f"); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	set.Remove("f")
	if got := values(t, &set); len(got) != 0 {
		t.Errorf("after Remove: %v", got)
	}
	if err := set.Client("f", &redial.Client{}); err != nil {
		t.Errorf("after Remove: %v", err)
	}
}

// Conns keeps the counters of what was removed, but not the longest and the most.
func TestConns(t *testing.T) {
	var set Set
	conns, err := set.Conns("server")
	if err != nil {
		t.Fatal(err)
	}
	one, two := written(t), written(t)
	remove := conns.Add(one)
	conns.Add(two)
	one.Close()
	remove()
	remove() // once
	got := values(t, &set)
	for k, want := range map[string]float64{
		"conn.open server ": 1, "conn.messages server  transmit": 2, "conn.closed server  us 1006": 1,
		"conn.writes server ": float64(one.Stats().Writes + two.Stats().Writes),
	} {
		if v, ok := got[k]; v != want || !ok {
			t.Errorf("%s: %v, %v, not %v", k, v, ok, want)
		}
	}
	sum := conn.Stats{}
	add(&sum, conn.Stats{MaxLag: 3, MaxBacklog: 5, TotalLag: 7})
	fold(&sum, conn.Stats{MaxLag: 30, MaxBacklog: 50, TotalLag: 70})
	if sum != (conn.Stats{MaxLag: 3, MaxBacklog: 5, TotalLag: 77}) {
		t.Errorf("%+v", sum)
	}
}

// Every field of Stats is summed.
func TestStatsAreSummed(t *testing.T) {
	var one conn.Stats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(i + 1))
		default:
			f.SetInt(int64(i + 1))
		}
	}
	sum := one
	add(&sum, one)
	for i := range v.NumField() {
		name, want := v.Type().Field(i).Name, 2*(i+1)
		if strings.HasPrefix(name, "Max") {
			want = i + 1
		}
		if got := reflect.ValueOf(sum).Field(i).Convert(reflect.TypeFor[int]()).Int(); int(got) != want {
			t.Errorf("%s is %d, not %d", name, got, want)
		}
	}
}
