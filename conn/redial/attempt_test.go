package redial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// confirming is a server that answers a subscription from connection number good on, and sends one message then.
func confirming(good int) func(n int, c *conn.Conn) {
	return func(n int, c *conn.Conn) {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
		if n >= good {
			text(c, "subscribed")
			text(c, "data %d", n)
		}
		drain(c) // pings are answered
	}
}

// subscribe is an OnConnect for confirming.
func subscribe(_ context.Context, s *Session) error {
	if err := text(s.Conn, "subscribe"); err != nil {
		return err
	}
	_, err := s.Await(is("subscribed"))
	return err
}

func is(want string) func(conn.Message) bool {
	return func(m conn.Message) bool { return string(m.Data) == want }
}

// A told keeps the changes of a Client, with the time since it was made.
type told struct {
	start   time.Time
	changes []Change
	at      []time.Duration
}

func newTold(c *Client) *told {
	l := &told{start: time.Now()}
	c.OnChange = func(ch Change) { l.changes, l.at = append(l.changes, ch), append(l.at, time.Since(l.start)) }
	return l
}

// first returns the first change to a state, and when it came.
func (l *told) first(state State) (Change, time.Duration) {
	for i, ch := range l.changes {
		if ch.State == state {
			return ch, l.at[i]
		}
	}
	return Change{}, -1
}

// F73: a subscription that is never confirmed, though pings are.
func TestF73SubscriptionIsNeverConfirmed(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 15 * time.Second, 4 * time.Second: 4 * time.Second, 90 * time.Second: 90 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}, session: confirming(3)}
			var mu sync.Mutex
			var ends []time.Duration // of the contexts
			c := &Client{ConnectTimeout: limit}
			c.OnConnect = func(ctx context.Context, s *Session) error {
				began := time.Now()
				context.AfterFunc(ctx, func() {
					mu.Lock()
					defer mu.Unlock()
					ends = append(ends, time.Since(began))
				})
				return subscribe(ctx, s)
			}
			l := newTold(c)
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if string(m.Data) != "data 3" || m.Epoch != 3 || m.Number != 1 {
					t.Errorf("%q, epoch %d, number %d", m.Data, m.Epoch, m.Number)
				}
				return errEnough
			})
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			ch, at := l.first(Failed)
			var timeout *TimeoutError
			if !errors.As(ch.Err, &timeout) || timeout.Clock != ClockConnect || timeout.Limit != want || timeout.Op != "connect hook" || timeout.Err == nil {
				t.Errorf("failed with %v", ch.Err)
			}
			if !errors.Is(ch.Err, ErrConnectTimeout) || at != want || ch.Epoch != 1 || ch.Attempt != 1 {
				t.Errorf("told %+v after %v, want after %v", ch, at, want)
			}
			if !errors.Is(err, errEnough) || s.dialed() != 3 || s.most != 1 || len(ends) < 2 || ends[0] != want {
				t.Errorf("%v after %d dials, %d at once, contexts ended after %v", err, s.dialed(), s.most, ends)
			}
		})
	}
}

func TestConnectTimeoutCanBeNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}, session: func(n int, c *conn.Conn) {
			c.ReadMessage()
			time.AfterFunc(time.Hour, func() { text(c, "subscribed"); text(c, "data") })
			drain(c)
		}}
		c := &Client{ConnectTimeout: -1, OnConnect: subscribe}
		start := time.Now()
		err := s.run(t.Context(), c, func(context.Context, Message) error { return errEnough })
		if !errors.Is(err, errEnough) || time.Since(start) < time.Hour || s.dialed() != 1 {
			t.Errorf("%v after %v and %d dials", err, time.Since(start), s.dialed())
		}
	})
}

// F73: a hook that never returns, wherever it stands in the attempt. The client goes on without it, its connection is closed, and what
// it returns in the end is not looked at.
func TestF73HooksThatNeverReturn(t *testing.T) {
	for name, stuck := range map[string]func(c *Client, d *conn.Dialer, hang func(n int) error){
		"connect hook": func(c *Client, _ *conn.Dialer, hang func(int) error) {
			c.OnConnect = func(_ context.Context, s *Session) error { return hang(s.Attempt) }
		},
		"URL": func(c *Client, _ *conn.Dialer, hang func(int) error) {
			c.URLFunc = func(_ context.Context, a Attempt) (string, error) { return "ws://sim/", hang(a.Number) }
		},
		"dial": func(c *Client, d *conn.Dialer, hang func(int) error) {
			dial := d.NetDial
			var n atomic.Int32
			d.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if err := hang(int(n.Add(1))); err != nil {
					return nil, err
				}
				return dial(context.Background(), network, address)
			}
		},
		"dial header": func(c *Client, d *conn.Dialer, hang func(int) error) {
			var n atomic.Int32
			d.HeaderFunc = func(context.Context, *handshake.URL) (http.Header, error) { return nil, hang(int(n.Add(1))) }
		},
	} {
		for _, late := range []error{nil, Fatal(errDown)} {
			t.Run(fmt.Sprint(name, late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "data"); drain(c) }}
					release := make(chan struct{})
					c := &Client{URL: "ws://sim/", Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond}}
					d := s.dialer()
					c.Dialer = d
					stuck(c, d, func(n int) error {
						if n == 1 {
							<-release
							return late
						}
						return nil
					})
					l := newTold(c)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					delivered := 0
					err := runs(t, ctx, c, func(context.Context, Message) error {
						if delivered++; delivered == 1 {
							close(release) // the late return, in the middle of a session
						}
						return nil
					})
					if err != context.DeadlineExceeded || delivered != 1 {
						t.Errorf("%v after %d messages", err, delivered)
					}
					ch, at := l.first(Failed)
					op, _, _ := strings.Cut(name, " header")
					var timeout *TimeoutError
					if !errors.As(ch.Err, &timeout) || timeout.Op != op || at < 15*time.Second || at > 15*time.Second+50*time.Millisecond {
						t.Errorf("told %v after %v", ch.Err, at)
					}
					if _, up := l.first(Up); up > 17*time.Second {
						t.Errorf("up after %v", up)
					}
					s.wg.Wait()
					if n := len(l.changes); l.changes[n-1].State != Stopped || l.changes[n-2].State != Down || l.changes[n-2].Age < 40*time.Second {
						t.Errorf("the late return was looked at: %+v", l.changes[n-2:])
					}
				})
			})
		}
	}
}

// The end of Run does not wait for a hook that does not return.
func TestK15HooksThatIgnoreTheEnd(t *testing.T) {
	for _, rotating := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
			release := make(chan struct{})
			c := &Client{ConnectTimeout: -1}
			c.OnConnect = func(_ context.Context, s *Session) error {
				if s.Epoch == 1 && rotating {
					return nil
				}
				<-release
				return nil
			}
			if rotating {
				c.MaxAge, c.Rotation = time.Second, Overlap
			}
			ctx, cancel := context.WithCancel(t.Context())
			var at time.Time
			time.AfterFunc(time.Minute, func() { at = time.Now(); cancel() })
			c.URL, c.Dialer = "ws://sim/", s.dialer()
			err := runs(t, ctx, c, ignore)
			if took := time.Since(at); err != context.Canceled || took > 60*time.Millisecond {
				t.Errorf("rotating %v: ended with %v after %v", rotating, err, took)
			}
			close(release)
			s.wg.Wait()
		})
	}
}

// A hook that is slow to see that its context ended does not run beside the next one, unless that takes more than a second.
func TestHooksDoNotRunBesideEachOther(t *testing.T) {
	for _, slow := range []time.Duration{0, 500 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
			var mu sync.Mutex
			running, most, hooks := 0, 0, 0
			var dials []time.Time
			c := &Client{ConnectTimeout: time.Second, Backoff: Backoff{Base: 1, Cap: 1}}
			ctx, cancel := context.WithCancel(t.Context())
			c.OnConnect = func(ctx context.Context, _ *Session) error {
				mu.Lock()
				dials = append(dials, time.Now())
				running++
				most = max(most, running)
				mu.Unlock()
				<-ctx.Done()
				time.Sleep(slow)
				mu.Lock()
				defer mu.Unlock()
				running--
				if hooks++; hooks == 5 {
					cancel()
				}
				return nil
			}
			s.run(ctx, c, nil)
			time.Sleep(10 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			want := 1
			if slow > patience {
				want = 2
			}
			if (most > 1) != (want > 1) || most > 4 {
				t.Errorf("slow by %v: %d hooks at once", slow, most)
			}
			if gap := dials[1].Sub(dials[0]); gap > 2*time.Second+50*time.Millisecond {
				t.Errorf("slow by %v: the next attempt came after %v", slow, gap)
			}
		})
	}
}

// With Overlap an attempt that takes too long leaves the old connection alone; when that ends the client dials again.
func TestF73Overlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var old *conn.Conn
		s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second}, session: func(n int, c *conn.Conn) {
			if n == 1 {
				old = c
				go func() {
					for i := 0; text(c, "data %d", i) == nil; i++ {
						time.Sleep(time.Second)
					}
				}()
			}
			if n < 9 {
				if _, err := c.ReadMessage(); err == nil && n == 1 {
					text(c, "subscribed")
				}
				drain(c)
				return
			}
			confirming(0)(n, c)
		}}
		c := &Client{MaxAge: time.Minute, Rotation: Overlap, OnConnect: subscribe, Backoff: Backoff{Base: time.Second, Cap: time.Second}}
		l := newTold(c)
		messages := uint64(0)
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Epoch > 1 {
				if string(m.Data) != "data 9" || m.Session.GapBegan.IsZero() {
					t.Errorf("%q, gap from %v", m.Data, m.Session.GapBegan)
				}
				return errEnough
			}
			if messages = m.Number; string(m.Data) != fmt.Sprintf("data %d", messages-1) {
				t.Errorf("message %d is %q", messages, m.Data)
			}
			if messages == 100 {
				old.Close()
			}
			return nil
		})
		var failed, down int
		for _, ch := range l.changes {
			switch ch.State {
			case Failed:
				if failed++; !errors.Is(ch.Err, ErrConnectTimeout) {
					t.Errorf("%+v", ch)
				}
			case Down:
				down++
			}
		}
		if !errors.Is(err, errEnough) || messages != 100 || failed != 7 || down != 2 || s.most != 2 {
			t.Errorf("%v, %d messages, %d failed, %d ended, %d at once", err, messages, failed, down, s.most)
		}
	})
}

// What a hook returns because its time is over says nothing about the feed.
func TestConnectTimeoutIsRetriedWhateverTheHookSays(t *testing.T) {
	for _, p := range []Policy{Persistent, Strict} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: confirming(2)}
			c := &Client{Policy: p, OnConnect: func(ctx context.Context, s *Session) error {
				if err := subscribe(ctx, s); err != nil {
					return Fatal(err)
				}
				return nil
			}}
			if err := s.run(t.Context(), c, func(context.Context, Message) error { return errEnough }); !errors.Is(err, errEnough) {
				t.Errorf("%v: %v", p, err)
			}
		})
	}
}

// A hook's panic comes out of Run, with its stack; a hook that ends its goroutine ends Run.
func TestHookPanics(t *testing.T) {
	boom := errors.New("boom")
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
		c := &Client{OnConnect: func(context.Context, *Session) error { panic(boom) }}
		func() {
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, boom) || !strings.Contains(err.Error(), "TestHookPanics") {
					t.Errorf("Run panicked with %v", err)
				}
			}()
			s.run(t.Context(), c, nil)
		}()
		s.wg.Wait()
		c.OnConnect = func(context.Context, *Session) error { runtime.Goexit(); return nil }
		var e *Error
		if err := s.run(t.Context(), c, nil); !errors.As(err, &e) || e.Op != "connect hook" || !errors.Is(err, errHookExit) {
			t.Errorf("a hook that ends its goroutine: %v", err)
		}
	})
}

// The context of OnConnect lives as long as the session.
func TestContextOfOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			text(c, "data")
			if n == 1 {
				time.Sleep(time.Minute)
				return
			}
			drain(c)
		}}
		start := time.Now()
		var mu sync.Mutex
		ended := map[uint64]time.Duration{}
		c := &Client{}
		c.OnConnect = func(ctx context.Context, s *Session) error {
			context.AfterFunc(ctx, func() {
				mu.Lock()
				defer mu.Unlock()
				ended[s.Epoch] = time.Since(start)
			})
			return nil
		}
		err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
			if m.Epoch == 2 {
				if err := ctx.Err(); err != nil {
					t.Error(err)
				}
				return errEnough
			}
			return nil
		})
		synctest.Wait()
		if !errors.Is(err, errEnough) || ended[1] != time.Minute || ended[2] < time.Minute || len(ended) != 2 {
			t.Errorf("%v; the contexts ended after %v", err, ended)
		}
	})
}

func TestURLFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []string
		s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "data"); drain(c) }}
		s.dial = func(_ context.Context, n int) error {
			if n == 2 {
				return errDown
			}
			return nil
		}
		var seen []Attempt
		c := &Client{URL: "ws://sim/base", Dialer: s.dialer(), Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond}}
		c.Dialer.HeaderFunc = func(_ context.Context, u *handshake.URL) (http.Header, error) {
			targets = append(targets, u.Target)
			return nil, nil
		}
		noKey := errors.New("no listen key")
		c.URLFunc = func(_ context.Context, a Attempt) (string, error) {
			seen = append(seen, a)
			switch len(seen) {
			case 2:
				return "", noKey
			case 3:
				return "http://not a WebSocket", nil
			}
			return fmt.Sprintf("%s?key=%d", a.URL, len(seen)), nil
		}
		l := newTold(c)
		err := runs(t, t.Context(), c, func(_ context.Context, m Message) error {
			if m.Session.URL != fmt.Sprintf("ws://sim/base?key=%d", len(seen)) {
				t.Errorf("session on %s", m.Session.URL)
			}
			if m.Epoch == 1 {
				return c.Reconnect(errEnough)
			}
			return errEnough
		})
		s.wg.Wait()
		if !errors.Is(err, errEnough) || fmt.Sprint(targets) != "[/base?key=1 /base?key=4 /base?key=5]" {
			t.Errorf("%v, dialed %v", err, targets)
		}
		for i, want := range []Attempt{{1, "ws://sim/base", 1, nil}, {1, "ws://sim/base", 2, errEnough}, {2, "ws://sim/base", 2, noKey}, {3, "ws://sim/base", 2, nil}, {4, "ws://sim/base", 2, errDown}} {
			a := seen[i]
			if a.Number != want.Number || a.URL != want.URL || a.Epoch != want.Epoch || want.Last != nil && !errors.Is(a.Last, want.Last) {
				t.Errorf("attempt %+v, want %+v", a, want)
			}
		}
		var states []string
		for _, ch := range l.changes {
			states = append(states, ch.State.String())
		}
		if s := strings.Join(states, " "); s != "dialing up down waiting dialing failed waiting dialing failed waiting dialing failed waiting dialing up down stopped" {
			t.Errorf("told %s", s)
		}
	})
	// Its error is final where it says so, and a Client with nothing but a URLFunc can run.
	c := &Client{URLFunc: func(context.Context, Attempt) (string, error) { return "", Fatal(errDown) }}
	var e *Error
	if err := runs(t, t.Context(), c, ignore); !errors.As(err, &e) || e.Op != "URL" || !errors.Is(err, errDown) {
		t.Errorf("ended with %v", err)
	}
}

// What cannot run is said before anything is dialed.
func TestClientsThatCannotRun(t *testing.T) {
	dialed := false
	d := &conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { dialed = true; return nil, Fatal(errDown) }}
	for name, tt := range map[string]struct {
		c       *Client
		handler func(context.Context, Message) error
		want    error
	}{
		"no handler":         {&Client{URL: "ws://sim/"}, nil, ErrNoHandler},
		"no URL":             {&Client{}, ignore, ErrNoURL},
		"an empty one":       {&Client{URLs: []string{"ws://sim/", ""}}, ignore, ErrNoURL},
		"the second is bad":  {&Client{URLs: []string{"ws://sim/", "http://sim/"}}, ignore, handshake.ErrURL},
		"opcode of LifeSign": {&Client{URL: "ws://sim/", LifeSign: &LifeSign{Opcode: frame.Ping}}, ignore, frame.ErrOpcode},
	} {
		tt.c.Dialer = d
		if err := runs(t, t.Context(), tt.c, tt.handler); !errors.Is(err, tt.want) || dialed {
			t.Errorf("%s: %v, dialed %v", name, err, dialed)
		}
	}
}

// Send by OnConnect, or with its context, is an error at once, whatever WhenDown says.
func TestSendInOnConnect(t *testing.T) {
	for _, policy := range []SendPolicy{WaitWhenDown, FailWhenDown, QueueWhenDown} {
		for _, rotation := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var got atomic.Int32
				s := &sim{t: t, session: func(n int, c *conn.Conn) {
					text(c, "data")
					for {
						if _, err := c.ReadMessage(); err != nil {
							return
						}
						got.Add(1)
					}
				}}
				c := &Client{WhenDown: policy, Queue: 10}
				if rotation {
					c.MaxAge, c.Rotation = time.Minute, Overlap
				}
				start := time.Now()
				hooks := 0
				c.OnConnect = func(ctx context.Context, s *Session) error {
					hooks++
					at := time.Now()
					for _, ctx := range []context.Context{ctx, context.Background()} {
						if err := c.Send(ctx, conn.Text, nil); err != ErrInConnect {
							t.Errorf("policy %v, epoch %d: %v", policy, s.Epoch, err)
						}
					}
					result := make(chan error)
					go func() { result <- c.Send(ctx, conn.Text, nil) }()
					if err := <-result; err != ErrInConnect {
						t.Errorf("policy %v, epoch %d, with the context of OnConnect: %v", policy, s.Epoch, err)
					}
					if time.Since(at) != 0 {
						t.Errorf("after %v", time.Since(at))
					}
					// Once it has returned its context is like any other.
					go func() {
						time.Sleep(time.Second)
						if err := c.Send(ctx, conn.Text, nil); err != nil {
							t.Error(err)
						}
					}()
					return nil
				}
				err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
					if err := c.Send(ctx, conn.Text, nil); err != nil {
						t.Errorf("in the handler: %v", err)
					}
					if !rotation || m.Epoch == 2 {
						time.Sleep(2 * time.Second)
						return errEnough
					}
					return nil
				})
				if want := int32(2 * hooks); !errors.Is(err, errEnough) || got.Load() != want || !rotation && time.Since(start) > 3*time.Second {
					t.Errorf("%v; the server got %d messages, want %d", err, got.Load(), want)
				}
			})
		}
	}
	// A hook of the dialer's that would have to wait for its own dial.
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "data"); drain(c) }}
		c := &Client{}
		s.dial = func(ctx context.Context, n int) error {
			if err := c.Send(ctx, conn.Text, nil); err != ErrInConnect {
				t.Error(err)
			}
			return nil
		}
		if err := s.run(t.Context(), c, func(context.Context, Message) error { return errEnough }); !errors.Is(err, errEnough) {
			t.Error(err)
		}
	})
}

// A header that cannot be sent is final, unless HeaderFunc makes one anew for each attempt: a token with a line break at its end.
func TestHeaderFuncMayDoBetter(t *testing.T) {
	for name, again := range map[string]bool{"HeaderFunc": true, "Header": false} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(_ int, c *conn.Conn) { text(c, "x"); drain(c) }}
			c := &Client{URL: "ws://sim/", Dialer: s.dialer()}
			calls := 0
			if again {
				c.Dialer.HeaderFunc = func(context.Context, *handshake.URL) (http.Header, error) {
					calls++
					return http.Header{"Authorization": {[]string{"Bearer abc\n", "Bearer abc"}[min(calls-1, 1)]}}, nil
				}
			} else {
				c.Dialer.Header = http.Header{"Authorization": {"Bearer abc\n"}}
			}
			err := runs(t, t.Context(), c, func(context.Context, Message) error { return errEnough })
			s.wg.Wait()
			if errors.Is(err, errEnough) != again || errors.Is(err, handshake.ErrValue) == again || strings.Contains(err.Error(), "abc") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
