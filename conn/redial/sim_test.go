package redial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// sim is a server in memory, on virtual time.
type sim struct {
	t *testing.T
	// dial decides on the n-th dial, before there is a connection; nil lets it through.
	dial func(ctx context.Context, n int) error
	// raw, if not nil, is the server of the n-th connection as bytes: it returns false to leave it to session.
	raw func(n int, nc *netsim.Conn) bool
	// session is the server of the n-th connection.
	session func(n int, c *conn.Conn)
	cfg     conn.Config

	mu    sync.Mutex
	dials []time.Time
	open  []*netsim.Conn // the client's ends that were not closed at the last look
	most  int            // of them at once
	wg    sync.WaitGroup
}

func (s *sim) dialer() *conn.Dialer {
	return &conn.Dialer{NetDial: s.netDial, Config: s.cfg}
}

func (s *sim) netDial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	s.dials = append(s.dials, time.Now())
	n := len(s.dials)
	s.mu.Unlock()
	if s.dial != nil {
		if err := s.dial(ctx, n); err != nil {
			return nil, err
		}
	}
	client, server := netsim.Pipe(0)
	s.mu.Lock()
	still := s.open[:0]
	for _, c := range s.open {
		if !c.Closed() {
			still = append(still, c)
		}
	}
	s.open = append(still, client)
	s.most = max(s.most, len(s.open))
	s.mu.Unlock()
	s.wg.Go(func() {
		defer server.Close()
		if s.raw != nil && s.raw(n, server) {
			return
		}
		u := conn.Upgrader{Config: conn.Config{KeepAlive: -1, CloseTimeout: time.Second}}
		c, err := u.Accept(server)
		if err != nil {
			return
		}
		s.session(n, c)
		c.Close()
	})
	return client, nil
}

func (s *sim) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dials)
}

// dialedAt is when the n-th dial came, from 1.
func (s *sim) dialedAt(n uint64) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials[n-1]
}

// run is Run of a Client on the simulated network.
func (s *sim) run(ctx context.Context, c *Client, handler func(context.Context, Message) error) error {
	c.URL, c.Dialer = "ws://sim/", s.dialer()
	if handler == nil {
		handler = ignore
	}
	err := runs(s.t, ctx, c, handler)
	s.wg.Wait()
	return err
}

var errDown = errors.New("network is down")

// answer reads the request of a client and answers with the text.
func answer(nc *netsim.Conn, text string) bool {
	b := make([]byte, 4096)
	nc.Read(b)
	io.WriteString(nc, text)
	return true
}

func TestR54K5Outages(t *testing.T) {
	outages := 10000
	if testing.Short() {
		outages = 500
	}
	synctest.Test(t, func(t *testing.T) {
		backoff := Backoff{Base: 100 * time.Millisecond, Cap: 10 * time.Second, StableAfter: 20 * time.Second}
		kinds := rand.New(rand.NewPCG(1, 2))
		kind := make([]int, outages)
		for i := range kind {
			kind[i] = kinds.IntN(9)
		}
		s := &sim{
			t:   t,
			cfg: conn.Config{KeepAlive: 5 * time.Second, CloseTimeout: time.Second},
			dial: func(ctx context.Context, n int) error {
				switch kind[n%len(kind)] {
				case 0:
					return errDown
				case 1: // a dial that hangs
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			},
			raw: func(n int, nc *netsim.Conn) bool {
				switch kind[n%len(kind)] {
				case 2: // cut within the handshake
					return answer(nc, "HTTP/1.1 101 Swit")
				case 3:
					return answer(nc, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
				}
				return false
			},
			session: func(n int, c *conn.Conn) {
				for i := range kind[n%len(kind)] {
					text(c, "%d.%d", n, i)
				}
				switch kind[n%len(kind)] {
				case 4:
					c.Shutdown(context.Background(), frame.CodeServiceRestart, "")
				case 5: // without a goodbye
				case 6: // lives long, then silence
					time.Sleep(30 * time.Second)
					text(c, "late")
					fallthrough
				case 7:
					select {
					case <-c.Done():
					case <-time.After(time.Minute):
					}
				case 8:
					c.NetConn().(*netsim.Conn).Reset()
				}
			},
		}
		hooks := map[uint64]int{}
		lastEpoch, lastNumber := uint64(0), uint64(0)
		failures := 0
		var waiting Change
		c := &Client{
			Backoff:   backoff,
			OnConnect: func(_ context.Context, s *Session) error { hooks[s.Epoch]++; return nil },
			OnChange: func(ch Change) {
				switch ch.State {
				case Failed:
					failures++
				case Down:
					if backoff.stable(ch.Age, ch.Messages) {
						failures = 0
					} else {
						failures++
					}
				case Waiting:
					waiting = ch
					if most := backoff.ceiling(failures - 1); ch.Delay > most && !strings.Contains(ch.Err.Error(), "503") {
						t.Fatalf("dial %d: waits %v after %d failures, at most %v", s.dialed(), ch.Delay, failures, most)
					}
					if strings.Contains(ch.Err.Error(), "503") && ch.Delay < 7*time.Second {
						t.Fatalf("waits %v where Retry-After says 7 s", ch.Delay)
					}
				}
			},
		}
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Epoch < lastEpoch || m.Epoch == lastEpoch && m.Number != lastNumber+1 {
				t.Fatalf("message %d of epoch %d after %d of %d", m.Number, m.Epoch, lastNumber, lastEpoch)
			}
			if hooks[m.Epoch] != 1 {
				t.Fatalf("message of epoch %d, whose hook ran %d times", m.Epoch, hooks[m.Epoch])
			}
			lastEpoch, lastNumber = m.Epoch, m.Number
			if s.dialed() >= outages {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err, waiting)
		}
		for epoch, n := range hooks {
			if n != 1 {
				t.Errorf("hook of epoch %d ran %d times", epoch, n)
			}
		}
		if s.most > 1 {
			t.Errorf("%d connections open at once", s.most)
		}
	})
}

func TestK4AcceptThenDropFor24Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(int, *conn.Conn) {}}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if err := s.run(ctx, &Client{}, ignore); err != context.DeadlineExceeded {
			t.Fatal(err)
		}
		// Half of the cap of 30 s on average, so 5,760 in a day, and a few more at the beginning.
		if n := s.dialed(); n < 5000 || n > 6500 {
			t.Errorf("%d attempts in 24 hours", n)
		}
	})
}

// TestK15CancelInEveryState ends the context in each state, and looks how long Run takes.
func TestK15CancelInEveryState(t *testing.T) {
	stay := func(n int, c *conn.Conn) { drain(c) }
	deafly := func(n int, c *conn.Conn) {
		text(c, "x")
		time.Sleep(time.Hour)
	}
	silent := conn.Config{KeepAlive: -1}
	long := make([]byte, 1<<20)
	queueing := &Client{WhenDown: QueueWhenDown, Queue: 10}
	for name, tt := range map[string]struct {
		sim    *sim
		client *Client
	}{
		"dial":      {sim: &sim{dial: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }}},
		"back-off":  {sim: &sim{dial: func(context.Context, int) error { return errDown }}},
		"handshake": {sim: &sim{raw: func(n int, nc *netsim.Conn) bool { io.Copy(io.Discard, nc); return true }}},
		"hook": {sim: &sim{session: stay}, client: &Client{OnConnect: func(ctx context.Context, s *Session) error {
			_, err := s.Conn.ReadMessage()
			return err
		}}},
		"idle":    {sim: &sim{session: stay}},
		"stopped": {sim: &sim{session: func(n int, c *conn.Conn) { time.Sleep(time.Hour) }}},
		"busy": {sim: &sim{session: func(n int, c *conn.Conn) {
			for text(c, "x") == nil {
				time.Sleep(time.Millisecond)
			}
		}}},
		"rotation": {client: &Client{MaxAge: time.Second, Rotation: Overlap}, sim: &sim{session: stay, dial: func(ctx context.Context, n int) error {
			if n == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}},
		// What is to be written waits for a server that does not read.
		"queue": {client: queueing, sim: &sim{session: deafly, cfg: silent, dial: func(ctx context.Context, n int) error {
			return queueing.Send(ctx, conn.Binary, long)
		}}},
		"reply": {client: &Client{LifeSign: &LifeSign{Opcode: conn.Binary, Reply: func(dst, _ []byte) ([]byte, bool) { return append(dst, long...), true }}},
			sim: &sim{session: deafly, cfg: silent}},
		"sign":    {client: &Client{LifeSign: &LifeSign{Opcode: conn.Binary, Send: Fixed(string(long)), Every: time.Second}}, sim: &sim{session: deafly, cfg: silent}},
		"limiter": {client: &Client{Limiter: &Limiter{Dials: 1, Per: time.Hour}}, sim: &sim{session: func(int, *conn.Conn) {}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.sim.t = t
				if tt.client == nil {
					tt.client = new(Client)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var at time.Time
				time.AfterFunc(90*time.Second+time.Millisecond/2, func() { at = time.Now(); cancel() })
				tt.client.URL, tt.client.Dialer = "ws://sim/", tt.sim.dialer()
				err := runs(t, ctx, tt.client, func(context.Context, Message) error { return nil })
				if took := time.Since(at); err != context.Canceled || took > 50*time.Millisecond {
					t.Errorf("ended with %v after %v", err, took)
				}
				tt.sim.wg.Wait()
				// A goroutine that is left behind would be a deadlock of the bubble, which fails the test.
			})
		})
	}
}

// goroutines returns how many goroutines there are. runtime.NumGoroutine counts a few
// dozen free ones while the runtime moves them.
func goroutines() int {
	b := make([]byte, 64<<10)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			return bytes.Count(b[:n], []byte("\n\ngoroutine ")) + 1
		}
		b = make([]byte, 2*len(b))
	}
}

func TestK6ReconnectsLeaveNothing(t *testing.T) {
	n := 10000
	if testing.Short() {
		n = 500
	}
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "once") }}
		before := goroutines()
		most, got := 0, 0
		c := &Client{Backoff: Backoff{Cap: time.Second, StableMessages: 1}}
		err := s.run(t.Context(), c, func(context.Context, Message) error {
			if got++; got%100 == 0 {
				synctest.Wait() // those that are about to end have ended
				most = max(most, goroutines())
			}
			if got == n {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		if most > before+30 { // and at the end there are none, or the bubble would not end
			t.Errorf("%d goroutines at most in %d reconnects, %d before", most, n, before)
		}
	})
}

// TestK6FilesOnLoopback is the same over real sockets.
func TestK6FilesOnLoopback(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc/self/fd")
	}
	files := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	f := newFeed(t, func(n int, c *conn.Conn) { text(c, "once") })
	c := &Client{URL: f.url(), Backoff: Backoff{StableMessages: 1}}
	before, most, got := 0, 0, 0
	err := runs(t, t.Context(), c, func(context.Context, Message) error {
		if got++; got == 10 {
			before = files()
		}
		if got%100 == 0 {
			most = max(most, files())
		}
		if got == 1000 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || most > before+20 {
		t.Errorf("%v; %d files at most, %d before", err, most, before)
	}
}

func TestScenarios(t *testing.T) {
	for name, scenario := range map[string]func(t *testing.T){
		"K1 K14 silence ends the connection by the transport clock": func(t *testing.T) {
			clockScenario(t, conn.Config{KeepAlive: 10 * time.Second}, conn.ClockTransport, func(n int, c *conn.Conn) {
				time.Sleep(time.Hour) // neither reads nor writes
			})
		},
		"K3 pings without data end it by the data clock": func(t *testing.T) {
			clockScenario(t, conn.Config{DataTimeout: 30 * time.Second}, conn.ClockData, func(n int, c *conn.Conn) {
				go drain(c)
				for {
					if _, err := c.Ping(t.Context()); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		},
		"K2 a slow feed is not judged dead": func(t *testing.T) {
			s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}, session: func(n int, c *conn.Conn) {
				go drain(c) // answers pings
				for i := 0; ; i++ {
					time.Sleep(time.Minute)
					if text(c, "%d", i) != nil {
						return
					}
				}
			}}
			err := s.run(t.Context(), &Client{}, func(_ context.Context, m Message) error {
				if m.Number == 60 {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || s.dialed() != 1 {
				t.Fatal(err, s.dialed())
			}
		},
		"partition and heal": func(t *testing.T) {
			var down atomic.Bool
			s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}}
			s.dial = func(ctx context.Context, n int) error {
				if down.Load() {
					return errDown
				}
				return nil
			}
			s.session = func(n int, c *conn.Conn) {
				go drain(c)
				nc := c.NetConn().(*netsim.Conn)
				nc.Script(func(op netsim.Op, call, size int) netsim.Step { return netsim.Step{Block: down.Load()} })
				c.SetDeadline(time.Now().Add(15 * time.Minute)) // a server notices a partition in the end
				for i := 0; text(c, "%d", i) == nil; i++ {
					time.Sleep(time.Second)
				}
			}
			time.AfterFunc(time.Minute, func() { down.Store(true) })
			time.AfterFunc(11*time.Minute, func() { down.Store(false) })
			start := time.Now()
			var gap time.Duration
			c := &Client{OnConnect: func(_ context.Context, s *Session) error {
				if s.Epoch == 2 {
					gap = time.Since(s.GapBegan)
				}
				return nil
			}}
			var took time.Duration
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if m.Epoch == 2 {
					took = time.Since(start)
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || took > 12*time.Minute {
				t.Fatal(err, took)
			}
			if gap < 9*time.Minute || gap > 11*time.Minute {
				t.Errorf("a gap of %v was told", gap)
			}
		},
		"repeated drops keep text and binary in order": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				for i := range n {
					op := conn.Text
					if i%2 == 1 {
						op = conn.Binary
					}
					c.WriteMessage(op, []byte{byte(n), byte(i)})
				}
			}}
			c := &Client{Backoff: Backoff{StableMessages: 1}}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				n, i := m.Epoch, m.Number-1
				if m.Data[0] != byte(n) || m.Data[1] != byte(i) || (m.Opcode == conn.Binary) != (i%2 == 1) {
					t.Fatalf("epoch %d, message %d: %v %v", m.Epoch, m.Number, m.Opcode, m.Data)
				}
				if n == 100 {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				t.Fatal(err)
			}
		},
		"drop within a message delivers nothing of it": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				nc := c.NetConn().(*netsim.Conn)
				if n < 5 {
					nc.Script(func(op netsim.Op, call, size int) netsim.Step {
						if op == netsim.Write {
							return netsim.Step{Max: size - n, Err: errDown}
						}
						return netsim.Step{}
					})
				}
				text(c, "whole message of session %d", n)
			}}
			err := s.run(t.Context(), &Client{}, func(_ context.Context, m Message) error {
				if string(m.Data) != "whole message of session 5" {
					t.Fatalf("delivered %q", m.Data)
				}
				return errEnough
			})
			if !errors.Is(err, errEnough) {
				t.Fatal(err)
			}
		},
		"a server that does not read holds up Send no longer than the write timeout": func(t *testing.T) {
			s := &sim{t: t, cfg: conn.Config{WriteTimeout: 5 * time.Second}, session: func(n int, c *conn.Conn) {
				text(c, "session %d", n)
				if n > 1 {
					drain(c)
				}
				time.Sleep(time.Hour)
			}}
			c := &Client{}
			big := make([]byte, 40000)
			var took time.Duration
			err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
				if m.Epoch == 2 {
					if err := c.Send(ctx, conn.Binary, big); err != nil {
						t.Error(err)
					}
					return errEnough
				}
				start := time.Now()
				for c.Send(ctx, conn.Binary, big) == nil {
				}
				took = time.Since(start)
				return nil
			})
			if !errors.Is(err, errEnough) || took < 5*time.Second || took > 6*time.Second {
				t.Errorf("Send was held up for %v; %v", took, err)
			}
		},
		"maximum of attempts": func(t *testing.T) {
			s := &sim{t: t, dial: func(context.Context, int) error { return errDown }}
			err := s.run(t.Context(), &Client{Backoff: Backoff{MaxAttempts: 7}}, ignore)
			var e *Error
			if !errors.As(err, &e) || e.Op != "dial" || e.Attempts != 7 || !errors.Is(err, errDown) || s.dialed() != 7 {
				t.Fatal(err, s.dialed())
			}
		},
		"K9 the hook may log in, and its failure is retried": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				m, err := c.ReadMessage()
				if err != nil {
					return
				}
				if n < 3 {
					text(c, "busy")
				} else {
					text(c, "welcome %s", m.Data)
					text(c, "data")
				}
				drain(c)
			}}
			c := &Client{OnConnect: func(_ context.Context, s *Session) error {
				if err := text(s.Conn, "key"); err != nil {
					return err
				}
				m, err := s.Conn.ReadMessage()
				if err == nil && string(m.Data) != "welcome key" {
					return fmt.Errorf("refused: %s", m.Data)
				}
				return err
			}}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if string(m.Data) != "data" || m.Epoch != 3 || m.Number != 1 {
					t.Errorf("%q, epoch %d, number %d", m.Data, m.Epoch, m.Number)
				}
				return errEnough
			})
			if !errors.Is(err, errEnough) {
				t.Fatal(err)
			}
		},
		"Send waiting for a connection is released by the end": func(t *testing.T) {
			s := &sim{t: t, dial: func(context.Context, int) error { return errDown }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c := &Client{}
			sent := make(chan error)
			go func() {
				waitRunning(c)
				sent <- c.Send(context.Background(), conn.Text, nil)
			}()
			if err := s.run(ctx, c, ignore); err != context.DeadlineExceeded {
				t.Fatal(err)
			}
			if err := <-sent; err != ErrStopped {
				t.Errorf("Send: %v", err)
			}
		},
		"K10 K13 server pings are answered and shown to the guard": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				go drain(c)
				for range 20 {
					if _, err := c.Ping(t.Context()); err != nil {
						t.Error(err)
					}
				}
				text(c, "done")
				time.Sleep(time.Second)
			}}
			var pongs atomic.Int32
			c := &Client{Outbound: func(o Outbound) error {
				if o.Opcode == frame.Pong && o.Epoch == 1 {
					pongs.Add(1)
				}
				return nil
			}}
			s.run(t.Context(), c, func(context.Context, Message) error { return errEnough })
			if n := pongs.Load(); n != 20 {
				t.Errorf("the guard saw %d pongs, want 20", n)
			}
		},
		"K13 the guard sees what the hook writes, and can refuse all": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				go drain(c)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a refused pong came: %v", err)
				}
				if n := c.Stats().MessagesRead; n != 1 {
					t.Errorf("%d messages came, want that of the hook", n)
				}
				text(c, "done")
				time.Sleep(time.Second)
			}}
			refused := errors.New("enough for today")
			var first atomic.Bool
			c := &Client{
				OnConnect: func(ctx context.Context, s *Session) error {
					return s.Conn.WriteMessage(conn.Text, []byte("subscribe"))
				},
				Outbound: func(o Outbound) error {
					if !first.Swap(true) {
						if o.Opcode != conn.Text || o.Size != 9 || o.Epoch != 1 || o.Done == nil {
							t.Errorf("%+v", o)
						}
						return nil
					}
					return refused
				},
			}
			err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
				if err := c.Send(ctx, conn.Text, nil); err != refused {
					t.Error(err)
				}
				return errEnough
			})
			if n := c.Counts().Refused; !errors.Is(err, errEnough) || n != 2 {
				t.Errorf("%v, %d refused, want a pong and a message", err, n)
			}
		},
		"K11 a deadline that the hook set does not stick": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				text(c, "welcome")
				time.Sleep(time.Minute)
				text(c, "data")
				drain(c)
			}}
			c := &Client{OnConnect: func(_ context.Context, s *Session) error {
				s.Conn.SetDeadline(time.Now().Add(5 * time.Second))
				_, err := s.Conn.ReadMessage()
				return err
			}}
			err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
				if err := c.Send(ctx, conn.Text, []byte("late, and still sent")); err != nil {
					t.Error(err)
				}
				return errEnough
			})
			if !errors.Is(err, errEnough) || s.dialed() != 1 {
				t.Error(err, s.dialed())
			}
		},
		"K12 the reason of each end": func(t *testing.T) {
			s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}, session: func(n int, c *conn.Conn) {
				text(c, "x")
				switch n {
				case 1:
					c.Shutdown(t.Context(), frame.CodeGoingAway, "bye")
				case 2:
				case 3:
					time.Sleep(time.Minute)
				case 4:
					c.NetConn().Write([]byte{0x83, 0})
					drain(c)
				}
			}}
			var by []Side
			var codes []frame.CloseCode
			c := &Client{
				Classify: func(err error) Decision { return Decision{Retry: true} },
				OnChange: func(ch Change) {
					if ch.State == Down && len(by) < 4 {
						by, codes = append(by, ch.By), append(codes, ch.Code)
						if ch.Messages != 1 || ch.Stats.BytesRead == 0 || ch.Err == nil {
							t.Errorf("%+v", ch)
						}
					}
				},
			}
			s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if m.Epoch == 5 {
					return errEnough
				}
				return nil
			})
			if fmt.Sprint(by) != "[peer network clock peer]" || fmt.Sprint(codes[0]) != "1001 (going away)" || codes[1] != 1006 {
				t.Errorf("%v %v", by, codes)
			}
		},
		"signs of life": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				text(c, "server ping %d", n)
				for {
					m, err := c.ReadMessage()
					if err != nil {
						return
					}
					if string(m.Data) == "ping" && n == 1 {
						text(c, "pong")
						text(c, "data")
					}
				}
			}}
			c := &Client{LifeSign: &LifeSign{Send: Fixed("ping"), Every: 15 * time.Second, IsAnswer: Prefix("pong"), Timeout: 5 * time.Second}}
			start := time.Now()
			var silentAt time.Duration
			c.OnChange = func(ch Change) {
				if ch.State == Down && ch.Epoch == 2 {
					silentAt = ch.Age
					if !errors.Is(ch.Err, ErrSilent) || ch.By != ByClock {
						t.Errorf("ended with %v by %v", ch.Err, ch.By)
					}
				}
			}
			n := 0
			s.run(t.Context(), c, func(_ context.Context, m Message) error {
				switch {
				case m.Epoch == 3:
					return errEnough
				case string(m.Data) == "data":
					if n++; time.Since(start) != time.Duration(n)*15*time.Second {
						t.Errorf("sign %d after %v", n, time.Since(start))
					}
					if n == 10 {
						c.live.Conn.Close()
					}
				case !strings.HasPrefix(string(m.Data), "server ping"):
					t.Errorf("delivered %q", m.Data)
				}
				return nil
			})
			if silentAt != 20*time.Second {
				t.Errorf("silence ended the second session after %v", silentAt)
			}
		},
		"K13 rotation before the server's limit, and the limiter": func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				go drain(c)
				for text(c, "tick") == nil {
					select {
					case <-time.After(time.Minute):
					case <-c.Done():
						return
					case <-ctx.Done():
						t.Error("a connection reached the server's limit")
						return
					}
				}
			}}
			c := &Client{MaxAge: 23 * time.Hour, Rotation: Overlap, Limiter: &Limiter{Dials: 1, Per: 5 * time.Minute}}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if m.Epoch == 8 {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || s.most > 2 || c.Counts().Rotations != 7 {
				t.Errorf("%v; %d connections at once, %+v", err, s.most, c.Counts())
			}
			for i := 1; i < len(s.dials); i++ {
				if age := s.dials[i].Sub(s.dials[i-1]); age < 20*time.Hour || age > 23*time.Hour {
					t.Errorf("rotated after %v", age)
				}
			}
		},
		"a failing rotation leaves the old connection alone": func(t *testing.T) {
			s := &sim{t: t, dial: func(_ context.Context, n int) error {
				if n > 1 && n < 6 {
					return errDown
				}
				return nil
			}, session: func(n int, c *conn.Conn) {
				go drain(c)
				for i := 0; text(c, "%d", i) == nil; i++ {
					time.Sleep(100 * time.Millisecond)
				}
			}}
			c := &Client{MaxAge: time.Minute, Rotation: Overlap}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if want := fmt.Sprint(m.Number - 1); string(m.Data) != want {
					t.Fatalf("%q in epoch %d, want %s", m.Data, m.Epoch, want)
				}
				if m.Epoch == 2 {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || s.dialed() != 6 {
				t.Error(err, s.dialed())
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, scenario) })
	}
}

// clockScenario has a first session that a clock must end, and a second one.
func clockScenario(t *testing.T, cfg conn.Config, clock conn.Clock, session func(n int, c *conn.Conn)) {
	s := &sim{t: t, cfg: cfg, session: func(n int, c *conn.Conn) {
		text(c, "hello")
		if n == 1 {
			session(n, c)
		}
	}}
	var ended error
	c := &Client{OnChange: func(ch Change) {
		if ch.State == Down && ch.Epoch == 1 {
			ended = ch.Err
		}
	}}
	err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
		if m.Epoch == 2 {
			return errEnough
		}
		return nil
	})
	var dead *conn.TimeoutError
	if !errors.Is(err, errEnough) || !errors.As(ended, &dead) || dead.Clock != clock {
		t.Errorf("%v; the first session ended with %v", err, ended)
	}
}

func TestR54K7K8DelayIsDefinedForAllCounts(t *testing.T) {
	for _, b := range []Backoff{{}, {Base: 1, Cap: 1 << 62}, {Cap: math.MaxInt64}, {Cap: math.MaxInt64, Floor: -1}, {Floor: math.MaxInt64}, {Floor: time.Hour}, {Base: time.Hour, Cap: time.Second}, {Cap: -1, Base: -1}} {
		for _, n := range []int{math.MinInt, -1, 0, 1, 2, 10, 61, 62, 63, 64, 100, math.MaxInt} {
			if d := b.Delay(n); d < b.Floor || d > max(b.Floor, orDefault(b.Cap, DefaultCap)) {
				t.Errorf("%+v: Delay(%d) = %v", b, n, d)
			}
		}
	}
	// Full jitter: the whole range is used.
	b := Backoff{Base: time.Second, Cap: time.Minute}
	low, high := time.Hour, time.Duration(0)
	for range 10000 {
		d := b.Delay(3)
		low, high = min(low, d), max(high, d)
	}
	if low > 100*time.Millisecond || high < 7900*time.Millisecond || high > 8*time.Second {
		t.Errorf("from %v to %v", low, high)
	}
}
