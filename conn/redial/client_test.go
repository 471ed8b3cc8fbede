package redial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// ignore is a handler that wants no message.
func ignore(context.Context, Message) error { return nil }

// feed is a server on loopback whose sessions are written by the test.
type feed struct {
	t    *testing.T
	l    net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	live int
	most int
	tls  atomic.Pointer[tls.Config] // nil: plain
}

func newFeed(t *testing.T, session func(n int, c *conn.Conn)) *feed {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t: t, l: l}
	f.wg.Go(func() {
		for n := 1; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(n, nc, session) })
		}
	})
	t.Cleanup(func() { l.Close(); f.wg.Wait() })
	return f
}

func (f *feed) serve(n int, nc net.Conn, session func(int, *conn.Conn)) {
	if config := f.tls.Load(); config != nil {
		nc = tls.Server(nc, config)
	}
	c, err := new(conn.Upgrader).Accept(nc)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.live++
	f.most = max(f.most, f.live)
	f.mu.Unlock()
	session(n, c)
	f.mu.Lock()
	f.live--
	f.mu.Unlock()
	c.Close()
}

func (f *feed) url() string { return "ws://" + f.l.Addr().String() + "/" }

// drain reads until the connection ends.
func drain(c *conn.Conn) {
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

func text(c *conn.Conn, format string, args ...any) error {
	return c.WriteMessage(conn.Text, fmt.Appendf(nil, format, args...))
}

var errEnough = errors.New("enough")

func TestReconnects(t *testing.T) {
	f := newFeed(t, func(n int, c *conn.Conn) {
		m, err := c.ReadMessage()
		if err != nil || string(m.Data) != "subscribe" {
			t.Errorf("session %d began with %q, %v", n, m.Data, err)
		}
		for i := range 3 {
			text(c, "%d.%d", n, i)
		}
		if n%2 == 0 {
			c.Close() // without a goodbye
			return
		}
		c.Shutdown(context.Background(), frame.CodeGoingAway, "restart")
	})
	var hooks []uint64
	var got []string
	var changes []string
	c := &Client{
		URL:     f.url(),
		Backoff: Backoff{Base: time.Millisecond, Cap: 2 * time.Millisecond},
		OnConnect: func(ctx context.Context, s *Session) error {
			hooks = append(hooks, s.Epoch)
			if (s.Epoch == 1) != (s.Last == nil) || (s.Epoch == 1) != s.GapBegan.IsZero() {
				t.Errorf("epoch %d: last %v, gap from %v", s.Epoch, s.Last, s.GapBegan)
			}
			return text(s.Conn, "subscribe")
		},
		OnChange: func(ch Change) { changes = append(changes, ch.State.String()) },
	}
	err := runs(t, context.Background(), c, func(ctx context.Context, m Message) error {
		got = append(got, fmt.Sprintf("%d/%d=%s", m.Epoch, m.Number, m.Data))
		if m.Epoch == 4 {
			return errEnough
		}
		return nil
	})
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, errEnough) || e.Op != "handler" || e.Epoch != 4 || e.Number != 1 {
		t.Fatalf("ended with %v", err)
	}
	want := "1/1=1.0 1/2=1.1 1/3=1.2 2/1=2.0 2/2=2.1 2/3=2.2 3/1=3.0 3/2=3.1 3/3=3.2 4/1=4.0"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	if fmt.Sprint(hooks) != "[1 2 3 4]" {
		t.Errorf("hooks %v", hooks)
	}
	if s := strings.Join(changes[:6], " "); s != "dialing up down waiting dialing up" {
		t.Errorf("changes %s", s)
	}
	if n := c.Counts(); n.Dials != 4 || n.Connections != 4 || n.Messages != 10 {
		t.Errorf("counts %+v", n)
	}
}

func TestMessagesIterator(t *testing.T) {
	f := newFeed(t, func(n int, c *conn.Conn) {
		for i := 0; text(c, "%d", i) == nil; i++ {
		}
	})
	c := &Client{URL: f.url()}
	n := 0
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(n); string(m.Data) != want {
			t.Fatalf("%q, want %q", m.Data, want)
		}
		if n++; n == 1000 {
			break
		}
	}
	// It can run again, and ends with the context.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n = 0
	var last error
	for _, err := range c.Messages(ctx) {
		if n++; n == 10 {
			cancel()
		}
		last = err
	}
	if last != context.Canceled {
		t.Fatalf("ended with %v", last)
	}
}

func TestFinalErrors(t *testing.T) {
	closing := func(code frame.CloseCode) func(int, *conn.Conn) {
		return func(n int, c *conn.Conn) { c.Shutdown(context.Background(), code, "") }
	}
	for _, code := range []frame.CloseCode{1000, 1002, 1003, 1007, 1008, 1009} {
		f := newFeed(t, closing(code))
		err := (&Client{URL: f.url(), Policy: Strict}).Run(context.Background(), ignore)
		var closed *conn.CloseError
		if !errors.As(err, &closed) || closed.Code != code {
			t.Errorf("%d: %v", code, err)
		}
	}
	f := newFeed(t, closing(1001))
	err := (&Client{URL: f.url(), Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond, MaxAttempts: 5}}).Run(context.Background(), ignore)
	var e *Error
	if !errors.As(err, &e) || e.Attempts != 5 {
		t.Errorf("1001 five times: %v", err)
	}
	login := errors.New("wrong key")
	err = (&Client{URL: f.url(), OnConnect: func(context.Context, *Session) error { return Fatal(login) }}).Run(context.Background(), ignore)
	if !errors.As(err, &e) || e.Op != "connect hook" || !errors.Is(err, login) {
		t.Errorf("fatal hook: %v", err)
	}
	short, stop := context.WithTimeout(context.Background(), 30*time.Second) // of retrying without an end
	defer stop()
	var compressing conn.Dialer
	made(&compressing.Config.Deflate).Level = 99
	if err := (&Client{URL: f.url(), Dialer: &compressing}).Run(short, ignore); !errors.As(err, &e) || e.Op != "dial" {
		t.Errorf("a Config that cannot be offered: %v", err)
	}
	refused := answering(t, "Sec-WebSocket-Extensions: permessage-deflate; chocolate")
	compressing.Config.Deflate.Level = 0
	if err := (&Client{URL: refused, Dialer: &compressing}).Run(short, ignore); !errors.As(err, &e) || !strings.Contains(err.Error(), "chocolate") {
		t.Errorf("an answer about compression that breaks the protocol: %v", err)
	}
	for _, url := range []string{"", "http://127.0.0.1/", "ws://127.0.0.1/#f"} {
		if err := (&Client{URL: url}).Run(context.Background(), ignore); err == nil {
			t.Errorf("URL %q: no error", url)
		}
	}
}

// made sets a pointer to a new value, whose type need not be named.
func made[T any](p **T) *T {
	*p = new(T)
	return *p
}

// answering returns the URL of a server that agrees to every request with that line more in its answer.
func answering(t *testing.T, line string) string {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		accept := handshake.AppendAccept(nil, r.Header.Get("Sec-WebSocket-Key"))
		fmt.Fprintf(nc, "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n\r\n", accept, line)
	}))
	t.Cleanup(h.Close)
	return "ws" + strings.TrimPrefix(h.URL, "http")
}

func TestRotation(t *testing.T) {
	for _, rotation := range []Rotation{Replace, Overlap} {
		var mu sync.Mutex
		seq := 0 // one feed, whichever session reads it
		f := newFeed(t, func(n int, c *conn.Conn) {
			go drain(c)
			for {
				mu.Lock()
				seq++
				err := text(c, "%d", seq)
				mu.Unlock()
				if err != nil {
					return
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
		if rotation == Overlap {
			// Both sessions of an overlap get every message, as from a real feed.
			f = newBroadcast(t)
		}
		c := &Client{URL: f.url(), MaxAge: 20 * time.Millisecond, Rotation: rotation, Backoff: Backoff{Base: time.Millisecond}}
		if rotation == Overlap {
			c.OnConnect = func(ctx context.Context, s *Session) error {
				if err := text(s.Conn, "subscribe"); err != nil {
					return err
				}
				m, err := s.Conn.ReadMessage()
				if err == nil && string(m.Data) != "subscribed" {
					return fmt.Errorf("got %q", m.Data)
				}
				return err
			}
		}
		last, epoch := 0, uint64(0)
		arbiter := &Arbiter[string]{
			Deliver: func(d Delivery[string]) error {
				last = int(d.To)
				return nil
			},
			OnGap: func(g Gap[string]) {
				if rotation == Overlap {
					t.Errorf("%d to %d are missing after %d", g.From, g.To, last)
				}
			},
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := runs(t, ctx, c, func(_ context.Context, m Message) error {
			if m.Epoch < epoch {
				t.Fatalf("epoch %d after %d", m.Epoch, epoch)
			}
			epoch = m.Epoch
			var n int
			fmt.Sscan(string(m.Data), &n)
			before := last
			if err := arbiter.Offer(0, "feed", uint64(n), uint64(n), m); err != nil {
				t.Fatal(err)
			}
			if last != before && epoch >= 6 {
				return errEnough
			}
			return nil
		})
		cancel()
		if !errors.Is(err, errEnough) {
			t.Fatalf("%v: %v", rotation, err)
		}
		want := 1
		if rotation == Overlap {
			want = 2
		}
		f.mu.Lock()
		// A server sees the old connection end a little later than the client.
		if f.most > want+1 {
			t.Errorf("%v: %d connections at once", rotation, f.most)
		}
		f.mu.Unlock()
		if n := c.Counts(); n.Rotations < 5 {
			t.Errorf("%+v", n)
		}
	}
}

// newBroadcast is a feed that sends the same numbered messages to all its sessions.
func newBroadcast(t *testing.T) *feed {
	var mu sync.Mutex
	sessions := map[*conn.Conn]bool{}
	done := make(chan struct{})
	f := newFeed(t, func(n int, c *conn.Conn) {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
		mu.Lock()
		sessions[c] = true
		_ = text(c, "subscribed")
		mu.Unlock()
		drain(c)
		mu.Lock()
		delete(sessions, c)
		mu.Unlock()
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := 1; ; seq++ {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Microsecond):
			}
			mu.Lock()
			for c := range sessions {
				_ = text(c, "%d", seq)
			}
			mu.Unlock()
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
	return f
}

func TestSendPolicies(t *testing.T) {
	got := make(chan string, 100)
	refuse := make(chan struct{})
	f := newFeed(t, func(n int, c *conn.Conn) {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			if string(m.Data) == "drop" {
				return
			}
			got <- fmt.Sprintf("%d %s", n, m.Data)
		}
	})
	gate := make(chan struct{}, 10)
	c := &Client{URL: f.url(), Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond}, OnConnect: func(ctx context.Context, s *Session) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	if err := c.Send(ctx, conn.Text, nil); err != ErrStopped {
		t.Errorf("before Run: %v", err)
	}
	run := func() {
		go func() {
			ended <- runs(t, ctx, c, func(context.Context, Message) error { return nil })
		}()
	}
	expect := func(want string) {
		t.Helper()
		if s := <-got; s != want {
			t.Fatalf("server got %q, want %q", s, want)
		}
	}
	run()
	gate <- struct{}{}
	waitRunning(c)
	if err := c.Send(ctx, conn.Text, []byte("waits")); err != nil {
		t.Fatal(err)
	}
	expect("1 waits")
	c.Send(ctx, conn.Text, []byte("drop"))
	waitDown(c)
	short, stop := context.WithTimeout(ctx, time.Millisecond)
	if err := c.Send(short, conn.Text, []byte("late")); err != context.DeadlineExceeded {
		t.Errorf("no connection in time: %v", err)
	}
	stop()
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Fatal(err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	c.WhenDown, c.Queue = QueueWhenDown, 2
	run()
	waitRunning(c)
	for i, want := range []error{nil, nil, ErrQueueFull} {
		if err := c.Send(ctx, conn.Text, fmt.Appendf(nil, "queued %d", i)); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), "the limit of 2 (redial.Client.Queue)") {
			t.Errorf("queued %d: %v, want %v", i, err, want)
		}
	}
	gate <- struct{}{}
	if s := <-got; !strings.HasSuffix(s, "queued 0") {
		t.Errorf("first came %q", s)
	}
	if s := <-got; !strings.HasSuffix(s, "queued 1") {
		t.Errorf("then came %q", s)
	}
	cancel()
	<-ended

	ctx, cancel = context.WithCancel(context.Background())
	c.WhenDown = FailWhenDown
	run()
	waitRunning(c)
	if err := c.Send(ctx, conn.Text, nil); err != ErrDown {
		t.Errorf("fail when down: %v", err)
	}
	if err := c.Run(ctx, ignore); err != ErrRunning {
		t.Errorf("second Run: %v", err)
	}
	cancel()
	<-ended
	close(refuse)
}

// Without IsAnswer any message shows that the server lives, and only its silence ends the connection.
func TestLifeSignWithoutIsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			for range 5 {
				m, err := c.ReadMessage()
				if err != nil {
					t.Errorf("connection %d: %v", n, err)
					return
				}
				c.WriteMessage(m.Opcode, m.Data)
			}
			drain(c)
		}}
		delivered := 0
		c := &Client{Backoff: Backoff{MaxAttempts: 1, StableAfter: time.Hour}, LifeSign: &LifeSign{Send: Fixed("ping"), Every: time.Second, Timeout: time.Second / 2}}
		err := s.run(t.Context(), c, func(context.Context, Message) error {
			delivered++
			return nil
		})
		if !errors.Is(err, ErrSilent) || delivered != 5 {
			t.Errorf("%d messages delivered, then %v; want 5, then ErrSilent", delivered, err)
		}
	})
}

// A sign that follows before Timeout has passed does not undo the answer to the one before it.
func TestLifeSignsCloserThanTimeout(t *testing.T) {
	const every, late = time.Second, time.Second / 10
	for name, c := range map[string]struct {
		timeout  time.Duration
		answered int           // signs; the server is silent from then on
		want     time.Duration // when the connection is given up
	}{
		"alike":          {every, 5, 7 * every},
		"a little more":  {every + late/2, 5, 7*every + late/2},
		"more than two":  {2*every + late, 5, 8*every + late},
		"never answered": {3 * every, 0, 4 * every},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sim{t: t, cfg: conn.Config{KeepAlive: -1}, session: func(_ int, sc *conn.Conn) {
					for range c.answered {
						if _, err := sc.ReadMessage(); err != nil {
							t.Error(err)
							return
						}
						time.Sleep(late)
						text(sc, "pong")
					}
					drain(sc)
				}}
				var age time.Duration
				client := &Client{Backoff: Backoff{MaxAttempts: 1, StableAfter: time.Hour}, OnChange: func(ch Change) {
					if ch.State == Down {
						age = ch.Age
					}
				}}
				client.LifeSign = &LifeSign{Send: Fixed("ping"), Every: every, IsAnswer: Prefix("pong"), Timeout: c.timeout}
				if err := s.run(t.Context(), client, ignore); !errors.Is(err, ErrSilent) || age != c.want {
					t.Errorf("%v after %v, want %v", err, age, c.want)
				}
			})
		})
	}
}

// What was queued cannot tell its sender of an error any more: so none is lost but with its connection.
func TestQueueLosesNothing(t *testing.T) {
	const messages = 5
	for name, cfg := range map[string]conn.Config{"fail fast": {FailFast: true}, "write timeout": {WriteTimeout: 10 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				done := make(chan struct{})
				var c *Client
				long := strings.Repeat("x", 32<<10-9) // two fill the network, with their headers and numbers: nothing is cut
				s := &sim{t: t, cfg: cfg, session: func(n int, sc *conn.Conn) {
					if n > 1 {
						t.Error("another connection")
						return
					}
					time.Sleep(time.Second)
					for range messages {
						m, err := sc.ReadMessage()
						if err != nil {
							t.Error(err)
							break
						}
						got = append(got, string(m.Data[:1]))
					}
					close(done)
					drain(sc)
				}}
				s.dial = func(ctx context.Context, _ int) error {
					for i := range messages {
						if err := c.Send(ctx, conn.Text, fmt.Append(nil, i, long)); err != nil {
							t.Error(err)
						}
					}
					if err := c.Send(ctx, conn.Text, []byte("\xff")); err != conn.ErrNotUTF8 {
						t.Errorf("queued text that is not UTF-8: %v", err)
					}
					if err := c.Send(ctx, frame.Ping, nil); err != frame.ErrOpcode {
						t.Errorf("queued a ping: %v", err)
					}
					return nil
				}
				c = &Client{WhenDown: QueueWhenDown, Queue: 2 * messages}
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					select {
					case <-done:
					case <-time.After(time.Minute):
					}
					cancel()
				}()
				s.run(ctx, c, func(context.Context, Message) error { return nil })
				if strings.Join(got, "") != "01234" {
					t.Errorf("the server got %q", got)
				}
			})
		})
	}
}

// afterWrite is a connection on which something happens after each write, before the writer knows that it was done.
type afterWrite struct {
	net.Conn
	then func()
}

func (a *afterWrite) Write(b []byte) (int, error) {
	n, err := a.Conn.Write(b)
	a.then()
	return n, err
}

// Of a queue the next session sends what was not written on this one, and nothing else: not what was when this one ended, and what
// came too late for one that was shut down.
func TestQueueOverTwoSessions(t *testing.T) {
	for name, c := range map[string]struct {
		shutDown bool
		want     [2]string
	}{"ended behind a message": {false, [2]string{"0", "12"}}, "shut down": {true, [2]string{"", "012"}}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var got [2]string
				s := &sim{t: t, session: func(n int, sc *conn.Conn) {
					for {
						m, err := sc.ReadMessage()
						if err != nil {
							return
						}
						if got[n-1] += string(m.Data); m.Data[0] == '2' {
							cancel()
						}
					}
				}}
				var session atomic.Pointer[Session]
				client := &Client{WhenDown: QueueWhenDown, Queue: 3, URL: "ws://sim/", Backoff: Backoff{Base: time.Second}}
				client.OnConnect = func(ctx context.Context, se *Session) error {
					if se.Epoch > 1 {
						return nil
					}
					if c.shutDown {
						return se.Conn.StartClose(frame.CodeGoingAway, "")
					}
					session.Store(se)
					return nil
				}
				client.Dialer = &conn.Dialer{NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
					for i := range 3 {
						if s.dialed() > 0 {
							break
						}
						if err := client.Send(ctx, conn.Text, fmt.Append(nil, i)); err != nil {
							t.Error(err)
						}
					}
					nc, err := s.netDial(ctx, network, address)
					return &afterWrite{nc, func() {
						if se := session.Swap(nil); se != nil {
							time.Sleep(time.Second) // until the server has it
							se.Conn.Close()
						}
					}}, err
				}}
				stop := time.AfterFunc(time.Minute, cancel)
				defer stop.Stop()
				runs(t, ctx, client, func(context.Context, Message) error { return nil })
				s.wg.Wait()
				if got != c.want {
					t.Errorf("the sessions got %q, want %q", got, c.want)
				}
			})
		})
	}
}

func waitRunning(c *Client) {
	for {
		c.mu.Lock()
		ok := c.run != nil
		c.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func waitDown(c *Client) {
	for {
		c.mu.Lock()
		ok := c.live == nil
		c.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func TestReply(t *testing.T) {
	signs := make(chan string, 1)
	f := newFeed(t, func(n int, c *conn.Conn) {
		text(c, "server ping %d", n)
		m, err := c.ReadMessage()
		if err != nil {
			t.Error(err)
		}
		signs <- string(m.Data)
		text(c, "data")
	})
	c := &Client{URL: f.url(), LifeSign: &LifeSign{
		Reply: func(dst, m []byte) ([]byte, bool) {
			if n, ok := strings.CutPrefix(string(m), "server ping "); ok {
				return append(dst, "server pong "+n...), true
			}
			return dst, false
		},
	}}
	refused := errors.New("not now")
	var asked atomic.Int32
	c.Outbound = func(o Outbound) error {
		if o.Opcode != conn.Text || o.Epoch != 1 || asked.Add(1) == 1 {
			return nil
		}
		return refused
	}
	err := runs(t, context.Background(), c, func(ctx context.Context, m Message) error {
		if string(m.Data) != "data" {
			t.Errorf("delivered %q", m.Data)
		}
		if err := c.Send(ctx, conn.Text, nil); err != refused {
			t.Errorf("refused by the guard: %v", err)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) || <-signs != "server pong 1" {
		t.Error(err)
	}
	if n := c.Counts(); n.Consumed != 1 || n.Refused != 1 || n.Sent != 1 {
		t.Errorf("%+v", n)
	}
}

// F69: the server sends 201 messages and goes; heartbeats that the client sends meanwhile cut no session short.
func TestF69HeartbeatsCostNoMessages(t *testing.T) {
	const total, sessions = 201, 5
	f := newFeed(t, func(n int, c *conn.Conn) {
		for i := range total {
			c.AppendMessage(conn.Text, fmt.Appendf(nil, "%d", i))
		}
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		c.NetConn().Close()
	})
	c := &Client{URL: f.url(), Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond}}
	err := runs(t, t.Context(), c, func(ctx context.Context, m Message) error {
		if want := fmt.Sprint(m.Number - 1); string(m.Data) != want {
			t.Errorf("epoch %d, message %d: %q", m.Epoch, m.Number, m.Data)
		}
		switch {
		case m.Number == 10 || m.Number == 20:
			for until := time.Now().Add(10 * time.Second); c.Send(ctx, conn.Text, []byte("heartbeat")) == nil; {
				if time.Now().After(until) {
					t.Error("no heartbeat has failed")
					break
				}
			}
		case m.Number == total && m.Epoch == sessions:
			return errEnough
		}
		return nil
	})
	if n := c.Counts(); !errors.Is(err, errEnough) || n.Messages != total*sessions {
		t.Errorf("%v after %d messages, want %d", err, n.Messages, total*sessions)
	}
}

// A connection of which nothing can be written any more is none to send on, though what has come of it is still read: the write that
// failed tells of it, and those behind it wait in the queue.
func TestQueueBehindAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var got []string
		s := &sim{t: t, session: func(n int, sc *conn.Conn) {
			if n == 1 {
				sc.WriteMessage(conn.Text, []byte("one"))
			}
			for {
				m, err := sc.ReadMessage()
				if err != nil {
					return
				}
				if got = append(got, fmt.Sprint(n, " ", string(m.Data))); len(got) == 2 {
					cancel()
				}
			}
		}}
		c := &Client{WhenDown: QueueWhenDown, Queue: 3, URL: "ws://sim/", Backoff: Backoff{Base: time.Second}}
		c.Dialer = s.dialer()
		runs(t, ctx, c, func(context.Context, Message) error {
			s.open[0].Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write {
					return netsim.Step{Max: -1, Err: io.ErrClosedPipe}
				}
				return netsim.Step{}
			})
			if err := c.Send(ctx, conn.Text, []byte("lost")); !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err)
			}
			for _, text := range []string{"a", "b"} {
				if err := c.Send(ctx, conn.Text, []byte(text)); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		s.wg.Wait()
		if !slices.Equal(got, []string{"2 a", "2 b"}) {
			t.Errorf("the server got %q", got)
		}
	})
}

// A server that reads only after all that it has to say was taken gets what is queued: the client reads meanwhile.
func TestQueueAndFeedInEachOthersWay(t *testing.T) {
	for name, overlap := range map[string]bool{"first session": false, "rotation": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const messages = 200
				got := 0
				s := &sim{t: t, cfg: conn.Config{CloseTimeout: time.Second}, session: func(n int, c *conn.Conn) {
					for range 300 {
						if c.WriteMessage(conn.Binary, make([]byte, 1<<10)) != nil {
							return
						}
					}
					for {
						m, err := c.ReadMessage()
						if err != nil {
							return
						}
						if m.Opcode == conn.Binary {
							if m.Data[0] != byte(got) {
								t.Errorf("message %d came as %d", m.Data[0], got)
							}
							if got++; got == messages {
								text(c, "all")
							}
						}
					}
				}}
				c := &Client{WhenDown: QueueWhenDown, Queue: 1000}
				if overlap {
					c.MaxAge, c.Rotation = time.Hour, Overlap
				}
				send := func() {
					for i := range messages {
						data := make([]byte, 1<<10)
						data[0] = byte(i)
						if err := c.Send(t.Context(), conn.Binary, data); err != nil {
							t.Error(err)
						}
					}
				}
				s.dial = func(_ context.Context, n int) error {
					if n == 1 {
						send()
					}
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
				defer cancel()
				all := false
				err := s.run(ctx, c, func(_ context.Context, m Message) error {
					if all = all || m.Opcode == conn.Text; all && (!overlap || m.Epoch == 2) {
						return errEnough
					}
					return nil
				})
				if n := c.Counts(); !errors.Is(err, errEnough) || n.Sent != messages || n.Dials != map[bool]uint64{false: 1, true: 2}[overlap] {
					t.Errorf("%v; %+v", err, n)
				}
			})
		})
	}
}
