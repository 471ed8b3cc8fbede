package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// polledBy has both kinds of Poller read: the one with epoll, and that of other systems.
func polledBy(t *testing.T, f func(t *testing.T, p *Poller)) {
	t.Run("own", func(t *testing.T) { f(t, &Poller{}) })
	t.Run("fed", func(t *testing.T) { f(t, &Poller{fedOnly: true}) })
}

// epolled reports whether p can read sockets itself here.
func epolled(p *Poller) bool {
	e := newEpoll()
	if e == nil {
		return false
	}
	e.close()
	return !p.fedOnly
}

// One line at full speed does not hold up the others: between two messages of one of
// them, the fast one has no more than its share and what one read brings. By counts, not
// by time.
func TestPollerIsFair(t *testing.T) {
	const slow, rounds, share = 127, 20, 4 << 10
	payload := strings.Repeat("f", 100)
	burst := strings.Repeat(string(message(Text, payload)), 1000)
	for _, spin := range []time.Duration{0, -1} {
		t.Run(fmt.Sprint("spin ", spin), func(t *testing.T) {
			fast, far := carried(t, carrier{}, Config{})
			var fastRead atomic.Uint64
			type slowLine struct {
				heard chan uint64
			}
			lines := make(map[*Conn]*slowLine)
			var ends []*farEnd
			p := &Poller{Spin: spin, MaxBytes: share}
			p.Handler = func(c *Conn, m Message) {
				if c == fast {
					fastRead.Add(1)
					return
				}
				lines[c].heard <- fastRead.Load()
			}
			p.Failed = func(c *Conn, err error) {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
			var conns []*Conn
			for range slow {
				c, e := carried(t, carrier{}, Config{})
				lines[c] = &slowLine{heard: make(chan uint64, 1)}
				conns, ends = append(conns, c), append(ends, e)
			}
			stop := make(chan struct{})
			var feeding sync.WaitGroup
			feeding.Add(1)
			go func() {
				defer feeding.Done()
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := far.nc.Write([]byte(burst)); err != nil {
							return
						}
					}
				}
			}()
			for _, c := range append(conns, fast) {
				if err := p.Add(c); err != nil {
					t.Fatal(err)
				}
			}
			run(t, p)
			for fastRead.Load() == 0 {
				runtime.Gosched()
			}
			for round := range rounds {
				for i, e := range ends {
					e.send(message(Text, fmt.Sprint("slow ", i, round)))
				}
				// All are there when the last is sent: each is read in the round that is
				// then to come, or the one after.
				from := fastRead.Load()
				for _, c := range conns {
					at := <-lines[c].heard
					// The share, and the message that goes over it, in each of the rounds
					// that have begun since.
					if most := from + 3*(share/100+1); at > most {
						t.Fatalf("round %d: %d messages of the fast line went before one of a slow one", round, at-from)
					}
				}
			}
			close(stop)
			far.sock.Close()
			feeding.Wait()
		})
	}
}

// Connections come and go while all are fed: no message is lost, none comes twice, and
// each is in its order; whoever reads.
func TestPollerAddAndRemove(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		const lines, messages = 8, 3000
		type state struct {
			next atomic.Int64
			c    *Conn
		}
		states := make(map[*Conn]*state)
		check := func(s *state, m Message) {
			if want := fmt.Sprint(s.next.Load()); string(m.Data) != want {
				t.Errorf("got %q, want %s", m.Data, want)
			}
			s.next.Add(1)
		}
		p.Handler = func(c *Conn, m Message) { check(states[c], m) }
		p.Failed = func(c *Conn, err error) {
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		var ends []*farEnd
		for i := range lines {
			c, e := carried(t, carriers[i%len(carriers)], Config{})
			states[c] = &state{c: c}
			ends = append(ends, e)
		}
		run(t, p)
		var all sync.WaitGroup
		for _, e := range ends {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := range messages {
					if _, err := e.nc.Write(message(Text, fmt.Sprint(i))); err != nil {
						t.Error(err)
						return
					}
				}
			}()
		}
		for _, s := range states {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; s.next.Load() < messages; i++ {
					if err := p.Add(s.c); err != nil {
						t.Error(err)
						return
					}
					if i%10 == 9 && p.Add(s.c) != ErrPolled {
						t.Error("added twice")
					}
					for until := min(s.next.Load()+100, messages); s.next.Load() < until; {
						runtime.Gosched()
					}
					<-p.Remove(s.c)
					<-p.Remove(s.c) // again
					for range 3 {
						if s.next.Load() < messages {
							m, err := s.c.ReadMessage()
							if err != nil {
								t.Error(err)
								return
							}
							check(s, m)
						}
					}
				}
			}()
		}
		all.Wait()
	})
}

// What Handler may do: write, add, remove, close, begin the close handshake, shut down.
func TestPollerHandlerActs(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		ended := make(chan error, 10)
		others := make(chan *Conn, 1)
		p.Failed = func(_ *Conn, err error) { ended <- err }
		removed := make(chan (<-chan struct{}), 1)
		p.Handler = func(c *Conn, m Message) {
			switch string(m.Data) {
			case "echo":
				if err := c.WriteMessage(Text, m.Data); err != nil {
					t.Error(err)
				}
			case "add":
				if err := p.Add(<-others); err != nil {
					t.Error(err)
				}
			case "remove":
				removed <- p.Remove(c)
			case "close":
				c.Close()
			case "goodbye":
				c.StartClose(frame.CodeNormal, "")
			case "shutdown":
				if err := c.Shutdown(context.Background(), frame.CodeNormal, ""); err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("%q", m.Data)
			}
		}
		run(t, p)
		add := func() (*Conn, *farEnd) {
			c, e := carried(t, carrier{}, Config{})
			if err := p.Add(c); err != nil {
				t.Fatal(err)
			}
			return c, e
		}
		_, e := add()
		e.send(message(Text, "echo"))
		e.expect(Text, "echo")
		other, far := carried(t, carrier{}, Config{})
		others <- other
		far.send(message(Text, "echo"))
		e.send(message(Text, "add"))
		far.expect(Text, "echo")

		c, e := add()
		e.send(message(Text, "remove"), message(Text, "for another"))
		<-<-removed
		wantMessage(t, c, Text, "for another")
		if p.Add(c) != nil {
			t.Error("it cannot be added again")
		}
		e.send(message(Text, "echo"))
		e.expect(Text, "echo")

		_, e = add()
		e.send(message(Text, "close"), message(Text, "never read"))
		if err := <-ended; err != ErrClosed {
			t.Error(err)
		}
		_, e = add()
		e.send(message(Text, "goodbye"))
		e.expectClose(frame.CodeNormal)
		e.send(message(Text, "close"), goodbye(frame.CodeNormal, "")) // Close comes too late to be the last word, or not
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_, e = add()
		go func() {
			e.send(message(Text, "shutdown"))
			e.expectClose(frame.CodeNormal)
			e.send(goodbye(frame.CodeNormal, ""))
		}()
		var closed *CloseError
		if err := <-ended; !errors.As(err, &closed) || !closed.Local {
			t.Error(err)
		}
	})
}

// Run lets go of all that is left, and leaves it open; Remove works without it.
func TestPollerRuns(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		c, e := carried(t, carrier{}, Config{})
		got := make(chan string, 10)
		p.Handler = func(_ *Conn, m Message) { got <- string(m.Data) }
		cause := errors.New("enough")
		for i := range 3 {
			if err := p.Add(c); err != nil {
				t.Fatal(err)
			}
			<-p.Remove(c)
			if err := p.Add(c); err != nil {
				t.Fatal(err)
			}
			e.send(message(Text, "polled"))
			ctx, cancel := context.WithCancelCause(context.Background())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			if s := <-got; s != "polled" {
				t.Fatal(i, s)
			}
			if err := p.Run(ctx); err != ErrPollerRuns {
				t.Error(err)
			}
			gone := c.line().gone
			cancel(cause)
			if err := <-done; err != cause {
				t.Error(err)
			}
			<-gone
			e.send(message(Text, "read"))
			wantMessage(t, c, Text, "read")
		}
	})
}

// A panic of Handler is Run's, which leaves nothing behind.
func TestPollerHandlerPanics(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		c, e := carried(t, carrier{}, Config{})
		p.Handler = func(*Conn, Message) { panic("of the caller's") }
		p.Add(c)
		gone := c.line().gone
		e.send(message(Text, "one"), message(Text, "two"))
		func() {
			defer func() {
				if v := recover(); v != "of the caller's" {
					t.Error(v)
				}
			}()
			p.Run(t.Context())
		}()
		<-gone
		wantMessage(t, c, Text, "two")
	})
}

// Another goroutine that reads beside the Poller is misuse, and told.
func TestPollerBesideAReader(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		c, e := carried(t, carrier{}, Config{})
		failed := make(chan error, 1)
		p.Failed = func(_ *Conn, err error) { failed <- err }
		read := make(chan error, 1)
		go func() { _, err := c.ReadMessage(); read <- err }()
		for !c.deadlines.filling.Load() {
			runtime.Gosched()
		}
		gone := c.line
		p.Add(c)
		run(t, p)
		if err := <-failed; err != ErrConcurrentRead {
			t.Error(err)
		}
		e.send(message(Text, "for the reader"))
		if err := <-read; err != nil {
			t.Error(err)
		}
		for gone() != nil {
			runtime.Gosched()
		}
	})
}

// Connections in memory, and TLS that is not over records, are read by a Poller too, in
// virtual time.
func TestPollerInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type heard struct {
			c *Conn
			s string
		}
		got, failed := make(chan heard, 10), make(chan error, 10)
		p := &Poller{Handler: func(c *Conn, m Message) { got <- heard{c, string(m.Data)} }, Failed: func(_ *Conn, err error) { failed <- err }}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			c, _, far := simulate(t, role, Config{KeepAlive: time.Minute, ReadTimeout: 10 * time.Second}, 1<<16)
			p.Add(c)
			far.send(far.message(Text, "one"), far.message(frame.Ping, "x"), far.message(Text, "two"))
			for _, want := range []string{"one", "two"} {
				if h := <-got; h.c != c || h.s != want {
					t.Fatalf("%q", h.s)
				}
			}
			far.expect(frame.Pong, "x")
			start := time.Now()
			if err := <-failed; err != errReadTimeout || time.Since(start) < 10*time.Second {
				t.Error(err, time.Since(start))
			}
			c.SetReadDeadline(time.Now().Add(3 * time.Second))
			if err := <-failed; err != errReadDeadline {
				t.Error(err)
			}
			far.send(far.message(Text, "in the meantime"))
			synctest.Wait()
			if len(got) > 0 || len(failed) > 0 {
				t.Error("it reads on")
			}
			c.SetReadDeadline(time.Time{})
			if h := <-got; h.s != "in the meantime" {
				t.Error(h.s)
			}
			<-p.Remove(c)
			far.send(far.message(Text, "three"))
			wantMessage(t, c, Text, "three")
			p.Add(c)
			for err := range failed {
				if err != errReadTimeout {
					wantClock(t, err, ClockTransport)
					break
				}
			}
		}
		cancel()
		<-done
	})
}

// TLS without UnderTLS has its goroutine.
func TestPollerOverPlainTLS(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	a, b := loopback(t)
	client, server := tls.Client(a, clientTLS), tls.Server(b, serverTLS)
	go server.Handshake()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := New(client, frame.Client, nil)
	defer c.Close()
	got := make(chan string, 1)
	p := &Poller{Handler: func(_ *Conn, m Message) { got <- string(m.Data) }}
	run(t, p)
	p.Add(c)
	for _, s := range []string{"one", "two"} {
		server.Write(message(Text, s))
		if g := <-got; g != s {
			t.Error(g)
		}
	}
}

// A message that comes alone costs one read of the socket, and none that finds nothing.
func TestPollerReadsOnceAMessage(t *testing.T) {
	for _, by := range carriers {
		for _, spin := range []time.Duration{0, -1} {
			t.Run(fmt.Sprint(by.name, ", spin ", spin), func(t *testing.T) {
				const messages = 200
				got := make(chan string, 1)
				p := &Poller{Spin: spin, Handler: func(_ *Conn, m Message) { got <- string(m.Data) }}
				if !epolled(p) {
					t.Skip("no epoll")
				}
				c, e := carried(t, by, Config{})
				run(t, p)
				p.Add(c)
				e.send(message(Text, "first"))
				<-got
				before := c.Stats()
				for range messages {
					e.send(message(Text, "m"))
					<-got
				}
				s := c.Stats()
				if s.Reads-before.Reads != messages || s.Waits != before.Waits {
					t.Errorf("%d reads, and %d that found nothing, for %d messages", s.Reads-before.Reads, s.Waits-before.Waits, messages)
				}
			})
		}
	}
}

// Bytes that come while a message is taken from the buffer are not forgotten.
func TestPollerKeepsTheEdge(t *testing.T) {
	for _, by := range carriers {
		t.Run(by.name, func(t *testing.T) {
			c, e := carried(t, by, Config{})
			pieces := func(s string) []byte {
				return append(frame.AppendFrame(nil, frame.Header{Opcode: Text}, []byte(s)), frame.AppendFrame(nil, frame.Header{Fin: true}, nil)...)
			}
			got := make(chan string, 10)
			p := &Poller{MaxBytes: 1} // a round for each message
			p.Handler = func(_ *Conn, m Message) {
				if string(m.Data) == "one" {
					e.send(pieces("three"))
					for n, ok := transport.Unread(c.base); ok && n == 0; n, ok = transport.Unread(c.base) {
						runtime.Gosched()
					}
				}
				got <- string(m.Data)
			}
			e.send(pieces("one"), pieces("two"))
			p.Add(c)
			run(t, p)
			for _, want := range []string{"one", "two", "three"} {
				if s := <-got; s != want {
					t.Errorf("%q, want %q", s, want)
				}
			}
		})
	}
}

// Urgent data, at which a read ends, hide nothing that follows.
func TestPollerUrgentData(t *testing.T) {
	c, e := carried(t, carrier{}, Config{})
	got := make(chan string, 1000)
	p := &Poller{Handler: func(_ *Conn, m Message) { got <- string(m.Data) }}
	p.Add(c)
	run(t, p)
	for i := range 100 {
		e.send(message(Text, fmt.Sprint("before ", i)))
		sendUrgent(t, e.sock)
		e.send(message(Text, fmt.Sprint("after ", i)))
		for _, want := range []string{"before ", "after "} {
			if s := <-got; s != want+fmt.Sprint(i) {
				t.Fatalf("%q, want %s%d", s, want, i)
			}
		}
	}
}

// A socket that is closed, and whose number another takes, is not confused with that:
// also if a copy of its descriptor keeps it in the epoll instance.
func TestPollerReusedDescriptors(t *testing.T) {
	polledBy(t, func(t *testing.T, p *Poller) {
		mine := make(map[*Conn]string)
		var mu sync.Mutex
		got, ended := make(chan string, 100), make(chan error, 100)
		p.Handler = func(c *Conn, m Message) {
			mu.Lock()
			defer mu.Unlock()
			if mine[c] != string(m.Data) {
				t.Errorf("%q of another", m.Data)
			}
			got <- string(m.Data)
		}
		p.Failed = func(_ *Conn, err error) { ended <- err }
		run(t, p)
		for i := range 50 {
			c, e := carried(t, carrier{}, Config{})
			name := fmt.Sprint("connection ", i)
			mu.Lock()
			mine[c] = name
			mu.Unlock()
			copied, err := c.base.(*net.TCPConn).File()
			if err != nil {
				t.Fatal(err)
			}
			defer copied.Close()
			p.Add(c)
			e.send(message(Text, name))
			<-got
			c.Close()
			if err := <-ended; err != ErrClosed {
				t.Error(err)
			}
			e.send(message(Text, "of the one that is closed"))
			e.sock.Close()
		}
	})
}

// Reading allocates nothing.
func TestPollerAllocatesNothing(t *testing.T) {
	for _, kind := range []string{"text", "pings", "fragments", "large"} {
		for _, tt := range []struct {
			name string
			p    *Poller
		}{{"block", &Poller{}}, {"spin", &Poller{Spin: -1}}, {"moderated", &Poller{Moderate: 100 * time.Microsecond}}} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				c := fed(t, frame.Client, kind, Config{ReadTimeout: time.Minute, Timestamps: true})
				p := tt.p
				want, done := make(chan int), make(chan struct{})
				left := 0
				p.Handler = func(c *Conn, m Message) {
					if left--; left == 0 {
						done <- struct{}{}
						left = <-want
					}
				}
				if epolled(p) {
					p.Add(c)
					left = 1
					run(t, p)
					<-done
					n := buffertest.Mallocs(func() { want <- allocMessages; <-done })
					if n != 0 {
						t.Errorf("%d allocations for %d messages", n, allocMessages)
					}
					want <- -1
				}
			})
		}
	}
}

// Options that the system refuses are told before anything is read.
func TestPollerOptions(t *testing.T) {
	c, _ := carried(t, carrier{}, Config{})
	for _, cpus := range [][]int{{-1}, {1 << 20}, {}} {
		var e *PollerError
		if err := (&Poller{CPUs: cpus}).Run(t.Context()); !errors.As(err, &e) || e.Option != "CPUs" {
			t.Errorf("%v: %v", cpus, err)
		}
	}
	var e *SocketOptionError
	p := &Poller{BusyPoll: -1}
	if err := p.Add(c); !errors.As(err, &e) || c.line() != nil {
		t.Error(err)
	}
}

// A line is let go once, whoever asks for it, and however often.
func TestPollerRemoveInFailed(t *testing.T) {
	for _, over := range []string{"socket", "pipe"} {
		t.Run(over, func(t *testing.T) {
			p := &Poller{Handler: func(*Conn, Message) {}}
			var c *Conn
			var far net.Conn
			if over == "pipe" {
				a, b := net.Pipe()
				c, far = New(a, frame.Client, &Config{KeepAlive: -1}), b
			} else {
				a, b := loopback(t)
				c, far = New(a, frame.Client, &Config{KeepAlive: -1}), b
			}
			defer c.Close()
			gone := make(chan (<-chan struct{}), 3)
			p.Failed = func(c *Conn, _ error) {
				for range 3 {
					gone <- p.Remove(c)
				}
			}
			if err := p.Add(c); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			far.Close()
			for range 3 {
				<-<-gone
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// A deadline that has passed is told of once: nothing is read until the next SetReadDeadline,
// also with ReadTimeout and bytes that come meanwhile.
func TestPollerTellsADeadlineOnce(t *testing.T) {
	c, e := carried(t, carrier{}, Config{ReadTimeout: time.Hour})
	got, failed := make(chan string, 10), make(chan error, 10)
	p := &Poller{Handler: func(_ *Conn, m Message) { got <- string(m.Data) }, Failed: func(_ *Conn, err error) { failed <- err }}
	other, far := carried(t, carrier{}, Config{})
	for _, c := range []*Conn{c, other} {
		if err := p.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	run(t, p)
	c.SetReadDeadline(time.Now())
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		times := c.deadlines.lock() // as if an eighth of ReadTimeout had passed: it is set anew
		times.armedRead = time.Time{}
		c.deadlines.mu.Unlock()
		e.send(message(Text, text))
		for range 3 { // three rounds of the Poller behind it
			far.send(message(Text, "round"))
			if s := <-got; s != "round" {
				t.Fatalf("%q behind the deadline", s)
			}
		}
	}
	select {
	case err := <-failed:
		t.Errorf("told again: %v", err)
	default:
	}
	c.SetReadDeadline(time.Time{})
	for _, want := range []string{"a", "b", "c"} {
		if s := <-got; s != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

// deadlined is a net.Conn that notes its read deadline.
type deadlined struct {
	net.Conn
	until atomic.Pointer[time.Time]
	set   func()
}

func (n *deadlined) SetReadDeadline(t time.Time) error {
	n.until.Store(&t)
	if n.set != nil {
		n.set()
	}
	return n.Conn.SetReadDeadline(t)
}

// The deadline that ends the wait of a feeder is not one for Shutdown, which reads next: it
// would read again and again.
func TestPollerFeederLeavesNoDeadline(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	nc := &deadlined{Conn: a}
	c := New(nc, frame.Client, &Config{KeepAlive: -1})
	defer c.Close()
	p := new(Poller)
	if err := p.Add(c); err != nil {
		t.Fatal(err)
	}
	l := c.line()
	l.fed = &feeder{l: l, work: make(chan struct{}, 1), busy: true} // which has its turn, and has not begun
	l.letGo()
	if until := nc.until.Load(); until == nil || !until.Equal(past) {
		t.Fatalf("its wait is not ended: %v", until)
	}
	c.dropReadDeadline(time.Time{})
	if until := nc.until.Load(); !until.IsZero() {
		t.Errorf("Shutdown reads until %v", until)
	}
	l.fed.run()
	if until := nc.until.Load(); !until.IsZero() {
		t.Errorf("Shutdown reads until %v, once the feeder has ended", until)
	}
}

// A line that has stopped at a deadline goes on when the next one is on the transport, and
// not before: the old one would be told of again.
func TestPollerGoesOnWithTheNextDeadline(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	nc := &deadlined{Conn: a}
	c := New(nc, frame.Client, &Config{KeepAlive: -1})
	defer c.Close()
	p := new(Poller)
	if err := p.Add(c); err != nil {
		t.Fatal(err)
	}
	l := c.line()
	l.halted.Store(true)
	l.news.Store(0)
	var early uint32
	nc.set = func() { early = l.news.Load() & newsDeadline }
	c.SetReadDeadline(time.Time{})
	if now := l.news.Load() & newsDeadline; early != 0 || now == 0 {
		t.Errorf("told before: %v, after: %v", early != 0, now != 0)
	}
}
