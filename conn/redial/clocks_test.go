package redial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// beat sends a heartbeat every second until the connection ends.
func beat(c *conn.Conn, sign string) {
	for text(c, "%s", sign) == nil {
		time.Sleep(time.Second)
	}
}

// F74: text heartbeats keep coming, and nothing else. What LifeSign takes does not count for the data clock, in whichever way it takes it.
func TestF74HeartbeatsAreNotData(t *testing.T) {
	for name, l := range map[string]*LifeSign{
		"answers": {IsAnswer: Prefix("beat")},
		"replies": {Reply: func(dst, m []byte) ([]byte, bool) { return append(dst, "alive"...), string(m) == "beat" }},
		"signs":   {IsAnswer: Prefix("beat"), Send: Fixed("ping"), Every: time.Second, Timeout: 5 * time.Second},
	} {
		for _, decode := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				const limit = 40 * time.Second
				s := &sim{t: t, cfg: conn.Config{KeepAlive: 10 * time.Second, DataTimeout: limit}, session: func(n int, c *conn.Conn) {
					go drain(c)
					for i := 0; text(c, "beat") == nil; i++ {
						if i%30 == 0 && i < 90 {
							text(c, "data %d", i)
						}
						time.Sleep(time.Second)
					}
				}}
				c := &Client{LifeSign: l}
				if decode {
					c.Decode = func(dst []byte, m conn.Message) ([]byte, error) { return append(dst, m.Data...), nil }
				}
				told := newTold(c)
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if m.Epoch == 2 {
						return errEnough
					}
					return nil
				})
				ch, at := told.first(Down)
				var dead *conn.TimeoutError
				if !errors.As(ch.Err, &dead) || dead.Clock != conn.ClockData || dead.Limit != limit || ch.By != ByClock || ch.Messages != 3 {
					t.Errorf("%s: ended with %+v", name, ch)
				}
				if most := 60*time.Second + limit + limit/8; !errors.Is(err, errEnough) || at < 60*time.Second+limit || at > most {
					t.Errorf("%s: %v after %v, at most %v", name, err, at, most)
				}
			})
		}
	}
}

// A handler that is busy is no silence of the server's, nor is one that reads on by itself.
func TestBusyHandlerIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, cfg: conn.Config{KeepAlive: -1, DataTimeout: 10 * time.Second}, session: func(n int, c *conn.Conn) {
			go drain(c)
			for i := 0; text(c, "%d", i) == nil; i++ {
				time.Sleep(8 * time.Second)
			}
		}}
		c := &Client{OnConnect: func(_ context.Context, s *Session) error { s.Watch("all", 9*time.Second); return nil }}
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Session.Alive("all"); m.Epoch != 1 || string(m.Data) != fmt.Sprint(m.Number-1) {
				t.Fatalf("%q, message %d of epoch %d", m.Data, m.Number, m.Epoch)
			}
			switch m.Number {
			case 3, 10:
				time.Sleep(time.Minute)
			case 30:
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) || s.dialed() != 1 {
			t.Errorf("%v after %d dials", err, s.dialed())
		}
	})
}

// One of several subscriptions is confirmed and brings nothing, or stops: its own clock says so, whatever else comes.
func TestWatch(t *testing.T) {
	for name, tt := range map[string]struct {
		messages int           // of b; those of a come every second without an end
		want     time.Duration // of the session's life
	}{"never comes": {0, 20 * time.Second}, "stops": {5, 24 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				c.ReadMessage()
				time.Sleep(3 * time.Second)
				text(c, "subscribed")
				go drain(c)
				for i := 0; text(c, "a") == nil; i++ {
					if i < tt.messages || n == 2 {
						text(c, "b")
					}
					time.Sleep(time.Second)
				}
			}}
			c := &Client{OnConnect: func(ctx context.Context, s *Session) error {
				s.Watch("a", 5*time.Second)
				s.Watch("b", 20*time.Second) // counts from the return
				s.Watch("c", 10*time.Second)
				s.Watch("c", 0)
				return subscribe(ctx, s)
			}}
			told := newTold(c)
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				m.Session.Alive(string(m.Data))
				m.Session.Alive("unknown")
				if m.Epoch == 2 && m.Number == 100 {
					return errEnough
				}
				return nil
			})
			ch, at := told.first(Down)
			var timeout *TimeoutError
			if !errors.As(ch.Err, &timeout) || timeout.Clock != ClockWatch || timeout.Key != "b" || !errors.Is(ch.Err, ErrNoData) || ch.By != ByClock {
				t.Errorf("%s: ended with %+v", name, ch)
			}
			if at -= 3 * time.Second; !errors.Is(err, errEnough) || at < tt.want || at > tt.want+20*time.Second/8 || s.dialed() != 2 {
				t.Errorf("%s: %v; ended after %v, want %v", name, err, at, tt.want)
			}
		})
	}
}

// A clock can be started by the handler, or from elsewhere, in the middle of a session.
func TestWatchLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { go drain(c); beat(c, "a") }}
		c := &Client{}
		told := newTold(c)
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			switch {
			case m.Epoch == 2:
				return errEnough
			case m.Number == 60:
				m.Session.Watch("b", 8*time.Second)
			case m.Number == 65:
				m.Session.Alive("b")
			}
			return nil
		})
		if ch, at := told.first(Down); !errors.Is(err, errEnough) || !errors.Is(ch.Err, ErrNoData) || at < 72*time.Second || at > 73*time.Second {
			t.Errorf("%v; %v after %v", err, ch.Err, at)
		}
	})
}

func TestAliveAllocatesNothing(t *testing.T) {
	s := new(Session)
	s.clocks.poke = make(chan struct{}, 1)
	s.Watch("key", time.Hour)
	if n := testing.AllocsPerRun(1000, func() { s.Alive("key") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Each sign is made anew, one that cannot be sent ends the client, and one that the server does not take keeps nothing from happening.
func TestLifeSignFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			for len(got) < 5 {
				m, err := c.ReadMessage()
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, string(m.Data))
				text(c, "pong %s", strings.TrimPrefix(string(m.Data), "ping "))
			}
			text(c, "data")
			drain(c)
		}}
		id := 0
		c := &Client{LifeSign: &LifeSign{Every: time.Second, IsAnswer: Prefix("pong"), Timeout: time.Second, Send: func(dst []byte) []byte {
			id++
			return fmt.Appendf(dst, "ping %d", id)
		}}}
		err := s.run(t.Context(), c, func(context.Context, Message) error { return errEnough })
		if n := c.Counts(); !errors.Is(err, errEnough) || fmt.Sprint(got) != "[ping 1 ping 2 ping 3 ping 4 ping 5]" || n.Consumed != 5 || n.Sent != 5 {
			t.Errorf("%v, the server got %q, %+v", err, got, n)
		}
	})
	for name, l := range map[string]*LifeSign{
		"Send":  {Every: time.Second, Send: Fixed("\xff")},
		"Reply": {Reply: func(dst, _ []byte) ([]byte, bool) { return append(dst, 0xff), true }},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "ping"); drain(c) }}
			err := s.run(t.Context(), &Client{LifeSign: l}, nil)
			if !errors.Is(err, conn.ErrNotUTF8) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: ended with %v", name, err)
			}
		})
	}
}

// A server that stops reading: the sign that waits to be written has no answer, and the connection no other use.
func TestSignThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, cfg: conn.Config{KeepAlive: -1}, session: func(n int, c *conn.Conn) {
			for text(c, "data") == nil { // and reads nothing
				time.Sleep(time.Second)
			}
		}}
		c := &Client{LifeSign: &LifeSign{Opcode: conn.Binary, Send: Fixed(strings.Repeat("x", 100<<10)), Every: 10 * time.Second, IsAnswer: Prefix("pong"), Timeout: 5 * time.Second}}
		told := newTold(c)
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Epoch == 2 {
				return errEnough
			}
			return nil
		})
		if ch, at := told.first(Down); !errors.Is(err, errEnough) || !errors.Is(ch.Err, ErrSilent) || at != 15*time.Second {
			t.Errorf("%v; ended with %v after %v", err, ch.Err, at)
		}
	})
}

// Deadlines that a hook or the handler leaves on the connection neither spin Run nor silence it.
func TestDeadlinesLeftBehind(t *testing.T) {
	past := time.Unix(1, 0)
	for name, set := range map[string]func(nc *conn.Conn){
		"read, past":    func(nc *conn.Conn) { nc.SetReadDeadline(past) },
		"read, soon":    func(nc *conn.Conn) { nc.SetReadDeadline(time.Now().Add(5 * time.Second)) },
		"both, past":    func(nc *conn.Conn) { nc.SetDeadline(past) },
		"write, past":   func(nc *conn.Conn) { nc.SetWriteDeadline(past) },
		"read, never":   func(nc *conn.Conn) { nc.SetReadDeadline(time.Time{}) },
		"read, by many": func(nc *conn.Conn) { go func() { nc.SetReadDeadline(time.Time{}) }(); nc.SetReadDeadline(past) },
	} {
		for _, inHook := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := &sim{t: t, session: func(n int, c *conn.Conn) {
					go drain(c)
					for i := 0; text(c, "%d", i) == nil; i++ {
						time.Sleep(time.Minute)
					}
				}}
				var reads int
				c := &Client{LifeSign: &LifeSign{Send: Fixed("ping"), Every: 20 * time.Second}}
				if inHook {
					c.OnConnect = func(_ context.Context, s *Session) error { set(s.Conn); return nil }
				}
				ctx, cancel := context.WithCancel(t.Context())
				var ended time.Time
				c.URL, c.Dialer = "ws://sim/", s.dialer()
				err := runs(t, ctx, c, func(_ context.Context, m Message) error {
					if m.Epoch != 1 || string(m.Data) != fmt.Sprint(m.Number-1) {
						t.Fatalf("%s: %q, message %d of epoch %d", name, m.Data, m.Number, m.Epoch)
					}
					reads, _ = s.open[0].Calls()
					if m.Number == 10 {
						time.AfterFunc(time.Second, func() { ended = time.Now(); cancel() })
					}
					if !inHook {
						set(m.Session.Conn)
					}
					return nil
				})
				if took := time.Since(ended); err != context.Canceled || took > 50*time.Millisecond || reads > 100 {
					t.Errorf("%s, hook %v: %v after %v, %d reads", name, inHook, err, took, reads)
				}
				s.wg.Wait()
			})
		}
	}
	// Somebody sets them all the time, also at the very end of the run.
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
		ctx, cancel := context.WithCancel(t.Context())
		c := &Client{OnConnect: func(ctx context.Context, s *Session) error {
			go func() {
				for ctx.Err() == nil {
					s.Conn.SetReadDeadline(time.Now().Add(time.Hour))
					time.Sleep(time.Microsecond)
				}
			}()
			return nil
		}}
		time.AfterFunc(time.Millisecond, cancel)
		start := time.Now()
		if err := s.run(ctx, c, nil); err != context.Canceled || time.Since(start) > 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(time.Millisecond)
	})
}

// A write deadline that a handler has left fails one Send at most, and none of the time
// before it has passed.
func TestWriteDeadlineLeftBehind(t *testing.T) {
	for _, timeout := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, cfg: conn.Config{WriteTimeout: timeout}, session: func(n int, c *conn.Conn) {
				go drain(c)
				for i := 0; text(c, "%d", i) == nil; i++ {
					time.Sleep(time.Second)
				}
			}}
			c, failed := &Client{}, 0
			err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
				switch m.Number {
				case 1:
					m.Session.Conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
				case 30:
					return errEnough
				}
				err := c.Send(ctx, conn.Text, []byte("y"))
				if err != nil {
					if failed++; !errors.Is(err, os.ErrDeadlineExceeded) || m.Number < 6 {
						t.Errorf("Send at message %d: %v", m.Number, err)
					}
				}
				return nil
			})
			if !errors.Is(err, errEnough) || failed != 1 || s.dialed() != 1 {
				t.Errorf("%v, %d times Send failed, %d dials", err, failed, s.dialed())
			}
		})
	}
	// Of a WriteTimeout that passes nothing is undone: a peer that does not read is still
	// held up by it.
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, cfg: conn.Config{WriteTimeout: 5 * time.Second, KeepAlive: -1}, session: func(n int, c *conn.Conn) {
			text(c, "data")
			time.Sleep(time.Hour)
		}}
		c := &Client{}
		err := s.run(t.Context(), c, func(ctx context.Context, m Message) error {
			m.Session.Conn.SetWriteDeadline(time.Now().Add(time.Minute))
			start := time.Now()
			for c.Send(ctx, conn.Binary, make([]byte, 40000)) == nil {
			}
			if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
				t.Errorf("Send was held up for %v", took)
			}
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			t.Error(err)
		}
	})
}

// A Config.ReadTimeout is no end either.
func TestReadTimeoutIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, cfg: conn.Config{ReadTimeout: time.Second, KeepAlive: -1}, session: func(n int, c *conn.Conn) {
			time.Sleep(time.Hour)
			text(c, "data")
			drain(c)
		}}
		err := s.run(t.Context(), &Client{}, func(_ context.Context, m Message) error { return errEnough })
		if !errors.Is(err, errEnough) || s.dialed() != 1 {
			t.Errorf("%v after %d dials", err, s.dialed())
		}
	})
}

// The end of Run, told with the codes that were sent and answered.
func TestGracefulEnd(t *testing.T) {
	silent := func(n int, c *conn.Conn) { time.Sleep(time.Hour) }
	for name, tt := range map[string]struct {
		session        func(n int, c *conn.Conn)
		by             Side
		code, sentCode frame.CloseCode
		handler        bool // ends it, not the context
	}{
		"answered":                 {func(n int, c *conn.Conn) { text(c, "x"); drain(c) }, ByUs, 1001, 1001, false},
		"answered, by the handler": {func(n int, c *conn.Conn) { text(c, "x"); drain(c) }, ByUs, 1001, 1001, true},
		"not answered":             {silent, ByUs, 1006, 1001, false},
		"the peer's was not read yet": {func(n int, c *conn.Conn) {
			text(c, "x")
			c.StartClose(frame.CodeServiceRestart, "")
			time.Sleep(time.Second) // it does not read the answer
		}, ByUs, 1012, 1001, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: tt.session}
			c := &Client{}
			told := newTold(c)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := s.run(ctx, c, func(context.Context, Message) error {
				if tt.handler {
					time.Sleep(500 * time.Millisecond)
					return errEnough
				}
				return nil
			})
			ch, _ := told.first(Down)
			if ch.By != tt.by || ch.Code != tt.code || ch.SentCode != tt.sentCode || ch.Epoch != 1 {
				t.Errorf("%s: by %v, %v, sent %v: %v", name, ch.By, ch.Code, ch.SentCode, ch.Err)
			}
			if end := told.changes[len(told.changes)-1]; end.State != Stopped || end.Err != err || end.Epoch != 1 {
				t.Errorf("%s: %+v, Run returned %v", name, end, err)
			}
		})
	}
}

// A consumer that calls Watch for each message keeps no other clock from running out.
func TestWatchOftenStopsNoClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(_ int, c *conn.Conn) {
			go drain(c)
			for text(c, "a") == nil {
				time.Sleep(100 * time.Millisecond)
			}
		}}
		var ended time.Duration
		began := time.Now()
		c := &Client{
			OnConnect: func(_ context.Context, s *Session) error { s.Watch("b", 30*time.Second); return nil },
			OnChange: func(ch Change) {
				if ch.State == Down && errors.Is(ch.Err, ErrNoData) {
					ended = time.Since(began)
				}
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_ = s.run(ctx, c, func(_ context.Context, m Message) error {
			if m.Epoch == 2 {
				return errEnough
			}
			m.Session.Watch("a", 30*time.Second)
			return nil
		})
		if ended < 30*time.Second || ended > 34*time.Second {
			t.Errorf("a silent subscription was seen after %v", ended)
		}
	})
}

// A Send of LifeSign that does not return keeps neither the session nor the end of Run.
func TestF73SignsThatAreNeverMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(_ int, c *conn.Conn) { drain(c) }}
		never := make(chan struct{})
		silent := 0
		c := &Client{
			LifeSign: &LifeSign{Every: time.Minute, Timeout: 10 * time.Second, IsAnswer: Prefix("pong"), Send: func(dst []byte) []byte { <-never; return dst }},
			OnChange: func(ch Change) {
				if ch.State == Down && errors.Is(ch.Err, ErrSilent) {
					silent++
				}
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		began := time.Now()
		err := s.run(ctx, c, nil)
		if took := time.Since(began); err != context.DeadlineExceeded || took > 151*time.Second || silent != 2 {
			t.Errorf("%v after %v; silent %d times", err, took, silent)
		}
		close(never)
	})
}

// An answer that waits unread while the handler works is no silence; that of a server which gives none is, right after.
func TestBusyHandlerIsNoLostAnswer(t *testing.T) {
	for _, answers := range map[string]bool{"answers": true, "does not": false} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				go func() {
					time.Sleep(14 * time.Second)
					text(c, "work")
				}()
				for {
					m, err := c.ReadMessage()
					if err != nil {
						return
					}
					if answers && string(m.Data) == "ping" {
						time.Sleep(2 * time.Second)
						text(c, "pong")
					}
				}
			}}
			began := time.Now()
			silent := time.Duration(0)
			c := &Client{
				LifeSign: &LifeSign{Send: Fixed("ping"), Every: 15 * time.Second, IsAnswer: Prefix("pong"), Timeout: 8 * time.Second},
				OnChange: func(ch Change) {
					if ch.State == Down && errors.Is(ch.Err, ErrSilent) && silent == 0 {
						silent = time.Since(began)
					}
				},
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
			defer cancel()
			_ = s.run(ctx, c, func(context.Context, Message) error {
				time.Sleep(26 * time.Second) // from 14 to 40
				return nil
			})
			if answers && (silent != 0 || s.dialed() != 1) {
				t.Errorf("a server that answers was judged silent after %v", silent)
			}
			if !answers && (silent < 40*time.Second || silent > 42*time.Second) {
				t.Errorf("a server that does not answer was judged silent after %v", silent)
			}
		})
	}
}

// The turns of a Poller and the phases of a session are counted apart: equal numbers are
// not the same message.
func TestAnotherHandlersTurnIsNotThePhase(t *testing.T) {
	r := &runner{c: &Client{LifeSign: &LifeSign{Timeout: time.Hour}}, turns: new(turns)}
	k := &keeper{r: r, s: new(Session), silence: time.NewTimer(time.Hour)}
	defer k.stopSilence()
	k.s.clocks.phase.Store(5) // the handler has a message
	k.judgeSilence()
	k.s.clocks.phase.Store(6)
	r.turns.n.Store(5)
	k.judgeSilence()
	if !k.graced {
		t.Error("another message counts as the one of before")
	}
}
