// Package world is what the tests of exporters measure: a client and two lines over real
// sockets. It also has the expected values.
package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A Value is an expected value, with both of its exact names.
type Value struct {
	Prom, OTel string
	Labels     map[string]string // by the keys of Prometheus; none is empty
	Value      float64
	Count      uint64 // of a histogram, whose sum is Value
}

// Key identifies a Value by its Prometheus name and its labels.
func (v Value) Key() string { return fmt.Sprint(v.Prom, v.Labels) }

// World runs until Stop.
type World struct {
	client *watched
	lines  *redial.Lines[string]
	line   [2]*watched
	server watchedConns
	group  conn.Group
	stuck  conn.Group

	stop func()
}

// A watched is a client, and the values from its own hooks, which the Set calls too.
type watched struct {
	*redial.Client
	watchedConns
	failed  atomic.Uint64
	ends    map[string]float64 // expected, by "side code"
	rtt     atomic.Int64
	answers atomic.Uint64
}

// watchedConns are all connections so far.
type watchedConns struct {
	mu    sync.Mutex
	conns []*conn.Conn
}

func (w *watchedConns) keep(c *conn.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
}

func (w *watched) Control(*conn.Conn, frame.Opcode, []byte, bool) {}
func (w *watched) Slow(*conn.Conn, conn.ReadInfo)                 {}
func (w *watched) Ended(*conn.Conn, error)                        {}
func (w *watched) RoundTrip(_ *conn.Conn, rtt time.Duration) {
	w.answers.Add(1)
	w.rtt.Add(int64(rtt))
}

func watch(address string) *watched {
	w := &watched{ends: map[string]float64{}}
	w.Client = &redial.Client{
		URL:     "ws://" + address + "/?listenKey=secret",
		Dialer:  &conn.Dialer{Config: conn.Config{Timestamps: true, Observer: w}},
		Backoff: redial.Backoff{Base: 1, Cap: 1}, CloseWait: time.Minute, // the answer comes
		LifeSign: &redial.LifeSign{IsAnswer: redial.Prefix("beat")},
		OnConnect: func(_ context.Context, s *redial.Session) error {
			w.keep(s.Conn)
			return nil
		},
		OnChange: func(ch redial.Change) {
			if ch.State == redial.Failed {
				w.failed.Add(1)
			}
		},
	}
	return w
}

var errRefused = errors.New("the subscription was refused")

// Start starts everything, measured by set as "flapping", "lines", "server", "viewers"
// and "stuck". It returns when all events have happened.
func Start(t testing.TB, set *metrics.Set) *World {
	t.Helper()
	w := new(World)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var listeners []net.Listener
	w.stop = func() {
		cancel()
		for _, l := range listeners {
			l.Close()
		}
		running.Wait()
	}
	t.Cleanup(func() { w.stop() })
	listen := func(serve func(i int, nc net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		running.Go(func() {
			for i := 0; ; i++ {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				running.Go(func() { serve(i, nc) })
			}
		})
		return l.Addr().String()
	}
	check(t, w.startClient(ctx, set, listen(flapping), &running))
	check(t, w.startLines(ctx, set, listen, &running))
	check(t, w.startStuck(ctx, set))
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startClient runs a client whose first five connections fail, each in another way. It
// returns when the sixth has delivered everything.
func (w *World) startClient(ctx context.Context, set *metrics.Set, address string, running *sync.WaitGroup) error {
	w.client = watch(address)
	keep := w.client.OnConnect
	w.client.OnConnect = func(ctx context.Context, s *redial.Session) error {
		if err := keep(ctx, s); err != nil || s.Epoch != 1 {
			return err
		}
		return errRefused
	}
	if err := set.Client("flapping", w.client.Client); err != nil {
		return err
	}
	last := make(chan *redial.Session, 1)
	running.Go(func() {
		_ = w.client.Run(ctx, func(_ context.Context, m redial.Message) error {
			if string(m.Data) == "last" {
				last <- m.Session
			}
			return nil
		})
	})
	select {
	case s := <-last:
		_, err := s.Conn.Ping(ctx)
		w.client.ends = map[string]float64{"peer 1012": 1, "peer 4xxx": 1, "network 1006": 1, "us 1001": 1} // the last one by OnConnect
		return errors.Join(err, w.client.Send(ctx, conn.Text, []byte("thanks")))
	case <-time.After(time.Minute):
		return errors.New("the last message has not come")
	}
}

// flapping serves the connections of one client.
func flapping(i int, nc net.Conn) {
	defer nc.Close()
	server := new(conn.Upgrader)
	if i == 0 {
		server.Check = func(*handshake.RequestView) (http.Header, error) {
			return nil, &handshake.Error{Status: http.StatusServiceUnavailable, Rule: "maintenance"}
		}
	}
	c, err := server.Accept(nc)
	if err != nil {
		return
	}
	defer c.Close()
	switch i {
	case 1: // refused by OnConnect
	case 2:
		_ = c.WriteMessage(conn.Text, []byte("one"))
		_ = c.StartClose(frame.CodeServiceRestart, "deploy 7f3a")
	case 3:
		_ = c.StartClose(4321, "token expired")
	case 4:
		_ = c.WriteMessage(conn.Text, []byte("one"))
		return
	default:
		for _, m := range []string{"one", "beat", "two", "beat", "last"} {
			_ = c.WriteMessage(conn.Text, []byte(m))
		}
	}
	readOut(c)
}

func readOut(c *conn.Conn) {
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// startLines runs two lines, each with losses, and a server whose connections are in a
// Group. It returns when all messages are judged.
func (w *World) startLines(ctx context.Context, set *metrics.Set, listen func(func(int, net.Conn)) string, running *sync.WaitGroup) error {
	conns, err := set.Conns("server")
	if err != nil {
		return err
	}
	if err := set.Group("viewers", &w.group); err != nil {
		return err
	}
	lost := [2]string{" 3 6 ", " 2 6 8 "}
	w.lines = &redial.Lines[string]{Number: number, Window: 20 * time.Millisecond}
	for i := range w.line {
		w.line[i] = watch(listen(func(_ int, nc net.Conn) {
			c, err := new(conn.Upgrader).Accept(nc)
			if err != nil {
				return
			}
			w.server.keep(c)
			defer c.Close()
			defer conns.Add(c)()
			for n := 1; n <= 9; n++ {
				if !strings.Contains(lost[i], fmt.Sprintf(" %d ", n)) {
					_ = c.WriteMessage(conn.Text, strconv.AppendInt(nil, int64(n), 10))
				}
			}
			_ = w.group.Add(c)
			readOut(c)
			w.group.Remove(c)
		}))
		w.lines.Clients = append(w.lines.Clients, w.line[i].Client)
	}
	if err := metrics.Lines(set, "lines", w.lines); err != nil {
		return err
	}
	news := make(chan struct{}, 64)
	running.Go(func() {
		_ = w.lines.Run(ctx, func(context.Context, redial.Delivery[string]) error { return nil })
		close(news)
	})
	// For a late line numbers do not begin at 1. Only the number of judged messages is
	// certain.
	if !until(func() bool { return w.judged() == 7+6 && w.group.Len() == 2 && w.lines.Counts().Waiting == 0 }) {
		return fmt.Errorf("the lines have brought %+v", w.lines.Counts())
	}
	return nil
}

// until waits for a condition. It returns false after a minute.
func until(condition func() bool) bool {
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if condition() {
				return true
			}
		case <-limit.C:
			return false
		}
	}
}

// startStuck sends to connections whose peers do not read, until one was ended for that,
// one waits with a message, and one with two.
func (w *World) startStuck(ctx context.Context, set *metrics.Set) error {
	w.stuck.Lag = 1000
	if err := set.Group("stuck", &w.stuck); err != nil {
		return err
	}
	message := make([]byte, 400-4) // a frame of 400 B
	for _, step := range []struct {
		joins bool
		want  conn.GroupStats
	}{
		{true, conn.GroupStats{Connections: 1, Slow: 1, Waiting: 400, MostWaiting: 400}},
		{false, conn.GroupStats{Connections: 1, Slow: 1, Waiting: 800, MostWaiting: 800}},
		{true, conn.GroupStats{Connections: 1, Slow: 1, Waiting: 400, MostWaiting: 400, Removed: 1}},
		{true, conn.GroupStats{Connections: 2, Slow: 2, Waiting: 1200, MostWaiting: 800, Removed: 1}},
	} {
		if step.joins {
			near, _ := net.Pipe()
			c := conn.New(near, frame.Server, &conn.Config{KeepAlive: -1})
			context.AfterFunc(ctx, func() { c.Close() })
			if err := w.stuck.Add(c); err != nil {
				return err
			}
		}
		if err := w.stuck.WriteMessage(conn.Binary, message); err != nil {
			return err
		}
		if !until(func() bool { return w.stuck.Stats() == step.want }) {
			return fmt.Errorf("the group has %+v, not %+v", w.stuck.Stats(), step.want)
		}
	}
	return nil
}

func (w *World) judged() (n uint64) {
	for _, l := range w.lines.Counts().Lines {
		n += l.First + l.Duplicate + l.Late + l.Other
	}
	return n
}

func number(data []byte) (key string, from, to uint64, ok bool) {
	n, err := strconv.ParseUint(string(data), 10, 64)
	return "", n, n, err == nil
}

// Stop ends the clients and then the servers. Nothing changes afterwards.
func (w *World) Stop() {
	w.stop()
	w.client.ends["us 1001"]++
	for _, l := range w.line {
		l.ends["us 1001"]++
	}
}

// Want returns all expected values, except the time without a session.
func (w *World) Want(stopped bool) []Value {
	var all list
	up := 1.0
	if stopped {
		up = 0
	}
	all.client(w.client, "flapping", "0", up, map[string]float64{"refused_5xx": 1, "other": 1})
	for i, l := range w.line {
		all.client(l, "lines", strconv.Itoa(i), up, nil)
	}
	all.arbiter("lines", w.lines.Counts())
	all.conns(&w.server, map[string]string{"feed": "server"}, map[string]float64{"peer 1001": 2 * (1 - up)})
	all.add("tickwire_conn_round_trip_duration_seconds", "tickwire.conn.round_trip.duration", map[string]string{"feed": "server"}, 0)
	all.group("viewers", w.group.Stats())
	all.group("stuck", w.stuck.Stats())
	return all
}

type list []Value

func (l *list) add(prom, otel string, labels map[string]string, v float64, more ...string) {
	labels = maps.Clone(labels)
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	*l = append(*l, Value{Prom: prom, OTel: otel, Labels: labels, Value: v})
}

func (l *list) client(w *watched, feed, line string, up float64, failed map[string]float64) {
	n, of := w.Counts(), map[string]string{"feed": feed, "line": line}
	l.add("tickwire_client_dials_total", "tickwire.client.dials", of, float64(n.Dials))
	l.add("tickwire_client_sessions_total", "tickwire.client.sessions", of, float64(n.Connections))
	l.add("tickwire_client_rotations_total", "tickwire.client.rotations", of, float64(n.Rotations))
	l.add("tickwire_client_messages_delivered_total", "tickwire.client.messages.delivered", of, float64(n.Messages))
	l.add("tickwire_client_messages_consumed_total", "tickwire.client.messages.consumed", of, float64(n.Consumed))
	l.add("tickwire_client_messages_sent_total", "tickwire.client.messages.sent", of, float64(n.Sent))
	l.add("tickwire_client_outbound_refused_total", "tickwire.client.outbound.refused", of, float64(n.Refused))
	l.add("tickwire_client_up", "tickwire.client.up", of, up)
	for _, reason := range []string{"timeout", "refused_3xx", "refused_4xx", "refused_5xx", "handshake", "tls", "network", "canceled", "other"} {
		l.add("tickwire_client_failed_attempts_total", "tickwire.client.failed_attempts", of, failed[reason], "reason", reason)
	}
	l.conns(&w.watchedConns, of, w.ends)
	l.add("tickwire_conn_round_trip_duration_seconds", "tickwire.conn.round_trip.duration", of, time.Duration(w.rtt.Load()).Seconds())
	(*l)[len(*l)-1].Count = w.answers.Load()
}

func (l *list) conns(w *watchedConns, of map[string]string, ends map[string]float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n, live conn.Stats
	open := 0
	for _, c := range w.conns {
		s := c.Stats()
		n.MessagesRead, n.MessagesWritten = n.MessagesRead+s.MessagesRead, n.MessagesWritten+s.MessagesWritten
		n.BytesRead, n.BytesWritten = n.BytesRead+s.BytesRead, n.BytesWritten+s.BytesWritten
		n.PingsRead, n.PingsWritten = n.PingsRead+s.PingsRead, n.PingsWritten+s.PingsWritten
		n.PongsRead, n.PongsWritten = n.PongsRead+s.PongsRead, n.PongsWritten+s.PongsWritten
		n.Reads, n.Waits, n.Writes = n.Reads+s.Reads, n.Waits+s.Waits, n.Writes+s.Writes
		n.Stamped, n.TotalLag = n.Stamped+s.Stamped, n.TotalLag+s.TotalLag
		if c.Err() == nil {
			open++
			live.MaxLag, live.MaxBacklog = max(live.MaxLag, s.MaxLag), max(live.MaxBacklog, s.MaxBacklog)
		}
	}
	both := func(prom, otel string, in, out uint64) {
		l.add(prom, otel, of, float64(in), "direction", "receive")
		l.add(prom, otel, of, float64(out), "direction", "transmit")
	}
	both("tickwire_conn_messages_total", "tickwire.conn.messages", n.MessagesRead, n.MessagesWritten)
	both("tickwire_conn_io_bytes_total", "tickwire.conn.io", n.BytesRead, n.BytesWritten)
	both("tickwire_conn_pings_total", "tickwire.conn.pings", n.PingsRead, n.PingsWritten)
	both("tickwire_conn_pongs_total", "tickwire.conn.pongs", n.PongsRead, n.PongsWritten)
	l.add("tickwire_conn_reads_total", "tickwire.conn.reads", of, float64(n.Reads))
	l.add("tickwire_conn_waits_total", "tickwire.conn.waits", of, float64(n.Waits))
	l.add("tickwire_conn_writes_total", "tickwire.conn.writes", of, float64(n.Writes))
	l.add("tickwire_conn_stamped_reads_total", "tickwire.conn.stamped_reads", of, float64(n.Stamped))
	l.add("tickwire_conn_slow_reads_total", "tickwire.conn.slow_reads", of, 0)
	l.add("tickwire_conn_receive_lag_time_seconds_total", "tickwire.conn.receive_lag.time", of, n.TotalLag.Seconds())
	l.add("tickwire_conn_receive_lag_max_seconds", "tickwire.conn.receive_lag.max", of, live.MaxLag.Seconds())
	l.add("tickwire_conn_receive_backlog_max_bytes", "tickwire.conn.receive_backlog.max", of, float64(live.MaxBacklog))
	l.add("tickwire_conn_open", "tickwire.conn.open", of, float64(open))
	for end, n := range ends {
		if side, code, _ := strings.Cut(end, " "); n > 0 {
			l.add("tickwire_conn_closed_total", "tickwire.conn.closed", of, n, "side", side, "code", code)
		}
	}
}

func (l *list) arbiter(feed string, n redial.ArbiterCounts) {
	of := map[string]string{"feed": feed}
	l.add("tickwire_arbiter_messages_delivered_total", "tickwire.arbiter.messages.delivered", of, float64(n.Delivered))
	l.add("tickwire_arbiter_messages_dropped_total", "tickwire.arbiter.messages.dropped", of, float64(n.Dropped))
	l.add("tickwire_arbiter_gaps_total", "tickwire.arbiter.gaps", of, float64(n.Gaps))
	l.add("tickwire_arbiter_forced_gaps_total", "tickwire.arbiter.forced_gaps", of, float64(n.Forced))
	l.add("tickwire_arbiter_numbers_missing_total", "tickwire.arbiter.numbers.missing", of, float64(n.Missing))
	l.add("tickwire_arbiter_restarts_total", "tickwire.arbiter.restarts", of, float64(n.Restarts))
	l.add("tickwire_arbiter_waiting", "tickwire.arbiter.waiting", of, float64(n.Waiting))
	l.add("tickwire_arbiter_waiting_size_bytes", "tickwire.arbiter.waiting.size", of, float64(n.WaitingBytes))
	for i, c := range n.Lines {
		add := func(outcome string, n uint64) {
			l.add("tickwire_arbiter_line_messages_total", "tickwire.arbiter.line.messages", of, float64(n), "line", strconv.Itoa(i), "outcome", outcome)
		}
		add("first", c.First)
		add("duplicate", c.Duplicate)
		add("late", c.Late)
		add("other", c.Other)
		l.add("tickwire_arbiter_line_filled_total", "tickwire.arbiter.line.filled", of, float64(c.Filled), "line", strconv.Itoa(i))
	}
}

func (l *list) group(name string, s conn.GroupStats) {
	of := map[string]string{"group": name}
	l.add("tickwire_group_connections", "tickwire.group.connections", of, float64(s.Connections))
	l.add("tickwire_group_slow", "tickwire.group.slow", of, float64(s.Slow))
	l.add("tickwire_group_waiting_size_bytes", "tickwire.group.waiting.size", of, float64(s.Waiting))
	l.add("tickwire_group_waiting_max_bytes", "tickwire.group.waiting.max", of, float64(s.MostWaiting))
	l.add("tickwire_group_removed_total", "tickwire.group.removed", of, float64(s.Removed))
}

// Compare fails unless got equals the expected values, one by one. It reads got until
// nothing has changed meanwhile. The time without a session is checked apart: it is not 0
// for the client that lost sessions.
func (w *World) Compare(t testing.TB, stopped bool, read func() map[string]Value) {
	t.Helper()
	var got map[string]Value
	var want []Value
	for range 1000 {
		want = w.Want(stopped)
		got = read()
		if fmt.Sprint(want) == fmt.Sprint(w.Want(stopped)) {
			break
		}
	}
	for _, v := range want {
		g, ok := got[v.Key()]
		if g.Value != v.Value || g.Count != v.Count || !ok || g.OTel != "" && g.OTel != v.OTel {
			t.Errorf("%s is %+v, %v, not %+v", v.Key(), g, ok, v)
		}
		delete(got, v.Key())
	}
	for _, of := range []string{"flapping line:0", "lines line:0", "lines line:1"} {
		k := "tickwire_client_down_time_seconds_totalmap[feed:" + of + "]"
		if v, ok := got[k]; !ok || v.Value <= 0 || v.Value > 60 {
			t.Errorf("%s is %v, %v", k, v.Value, ok)
		}
		delete(got, k)
	}
	for k := range got {
		t.Errorf("%s is told and not wanted", k)
	}
}
