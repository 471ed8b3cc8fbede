package redial

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A wait that the server asked for in a rotation holds also when the old connection ends before it has passed.
func TestF76RetryAfterInARotation(t *testing.T) {
	for name, wait := range map[string]time.Duration{"before": 10 * time.Second, "after": 90 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var refused time.Time
			s := &sim{t: t}
			s.raw = func(n int, nc *netsim.Conn) bool {
				if n == 2 {
					refused = time.Now()
					return answer(nc, "HTTP/1.1 418 I'm a teapot\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")
				}
				return false
			}
			s.session = func(n int, c *conn.Conn) {
				if n == 1 {
					go drain(c)
					time.Sleep(5*time.Minute + wait - time.Second)
					return
				}
				text(c, "back")
				drain(c)
			}
			c := &Client{MaxAge: 5 * time.Minute, Rotation: Overlap, Backoff: Backoff{Base: time.Millisecond, Cap: time.Millisecond}}
			var back time.Duration
			err := s.run(t.Context(), c, func(context.Context, Message) error {
				back = time.Since(refused)
				return errEnough
			})
			if !errors.Is(err, errEnough) || back < time.Minute || back > time.Minute+drainPause {
				t.Errorf("%s: %v; dialed %v after a refusal that asked for a minute", name, err, back)
			}
		})
	}
}

// A connection that ends in a rotation before the new one is up leaves a gap, which is
// told: whether the reader waits then, or the handler is busy until the new one is there,
// and the end is seen only after that.
func TestGapInARotation(t *testing.T) {
	for name, tt := range map[string]struct {
		end func(c *Client, s *conn.Conn)
		gap bool
	}{
		"cut":            {func(_ *Client, s *conn.Conn) { s.NetConn().(*netsim.Conn).Reset() }, true},
		"closed":         {func(_ *Client, s *conn.Conn) { s.Close() }, true},
		"goodbye, 1001":  {func(_ *Client, s *conn.Conn) { s.StartClose(frame.CodeGoingAway, "") }, true},
		"goodbye, 1000":  {func(_ *Client, s *conn.Conn) { s.StartClose(frame.CodeNormal, "") }, true},
		"goodbye, empty": {func(_ *Client, s *conn.Conn) { s.StartClose(frame.CodeNoStatus, "") }, true},
		"silent":         {func(_ *Client, s *conn.Conn) { s.NetConn().(*netsim.Conn).Script(blocked) }, true},
		"reconnect":      {func(c *Client, _ *conn.Conn) { c.Reconnect(errDown) }, true},
		"our goodbye":    {func(c *Client, _ *conn.Conn) { c.current.Conn.StartClose(frame.CodeNormal, "") }, true},
		"lives":          {func(*Client, *conn.Conn) {}, false},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy %v", name, busy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { gapInARotation(t, tt.end, tt.gap, busy) })
			})
		}
	}
}

func blocked(netsim.Op, int, int) netsim.Step { return netsim.Step{Block: true} }

func gapInARotation(t *testing.T, end func(*Client, *conn.Conn), gap, busy bool) {
	var first *conn.Conn
	c := &Client{MaxAge: time.Hour, Rotation: Overlap, OnConnect: subscribe0}
	s := &sim{t: t, session: func(n int, sc *conn.Conn) {
		if n == 1 {
			first = sc
			text(sc, "subscribed")
			drain(sc)
			time.Sleep(time.Minute) // one that is cut does not dial
			return
		}
		if busy {
			text(first, "busy")
		}
		time.Sleep(5 * time.Second)
		end(c, first)
		time.Sleep(5 * time.Second) // what is sent now is on neither connection
		text(sc, "subscribed")
		text(sc, "new")
		drain(sc)
	}}
	told := newTold(c)
	err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
		if m.Epoch == 1 {
			time.Sleep(30 * time.Second)
			return nil
		}
		down, at := told.first(Down)
		if gap {
			if want := told.start.Add(at); !m.Session.GapBegan.Equal(want) || m.Session.Last == nil || m.Session.Last != down.Err {
				t.Errorf("the gap began %v, want %v, by %v", m.Session.GapBegan, want, m.Session.Last)
			}
		} else if !m.Session.GapBegan.IsZero() || m.Session.Last != nil {
			t.Errorf("a gap since %v by %v where there is none", m.Session.GapBegan, m.Session.Last)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) || s.dialed() != 2 {
		t.Error(err, s.dialed())
	}
}

// An old connection that does not bring all that its peer has sent leaves a gap, which is
// told, however that comes about.
func TestGapInADrain(t *testing.T) {
	reset := func(nc *conn.Conn) { nc.NetConn().(*netsim.Conn).Reset() }
	for name, tt := range map[string]struct {
		cfg    conn.Config
		wait   time.Duration              // OverlapWait
		before func(old *conn.Conn)       // just before the rotation
		during func(old *conn.Conn)       // when the new one is up
		handle func(c *Client, m Message) // a message of the old one
		raw    func(old *conn.Conn)       // answers for the old one in the place of drain
		got    int                        // of the 10 messages, at least
		gap    bool
		last   error
	}{
		"all of it": {got: 10},
		"slowly":    {got: 10, handle: func(*Client, Message) { time.Sleep(20 * time.Millisecond) }},
		"reset":     {got: 1, during: reset, handle: func(*Client, Message) { time.Sleep(20 * time.Millisecond) }, gap: true},
		"reconnect": {got: 3, handle: func(c *Client, m Message) {
			time.Sleep(20 * time.Millisecond)
			if m.Number == 3 {
				c.Reconnect(errDown)
			}
		}, gap: true, last: errDown},
		"dead since before":       {before: func(nc *conn.Conn) { nc.NetConn().(*netsim.Conn).Script(blocked) }, gap: true},
		"later than OverlapWait":  {raw: func(nc *conn.Conn) { time.Sleep(150 * time.Millisecond); text(nc, "late"); drain(nc) }, gap: true},
		"within a longer one":     {wait: time.Second, got: 11, raw: func(nc *conn.Conn) { time.Sleep(150 * time.Millisecond); text(nc, "late"); drain(nc) }},
		"CloseTimeout is shorter": {wait: time.Second, cfg: conn.Config{CloseTimeout: 100 * time.Millisecond}, raw: func(nc *conn.Conn) { time.Sleep(time.Minute) }, gap: true},
		"answered with another code": {got: 10, raw: func(nc *conn.Conn) {
			time.Sleep(2 * drainPause) // our Close is there, unread
			nc.NetConn().Write([]byte{0x88, 2, 1001 >> 8, 1001 & 0xff})
		}, gap: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := make(chan bool)
				c := &Client{MaxAge: time.Minute, Rotation: Overlap, OverlapWait: tt.wait, OnConnect: subscribe0}
				s := &sim{t: t, cfg: tt.cfg, session: func(n int, sc *conn.Conn) {
					text(sc, "subscribed")
					switch {
					case n == 2:
						close(up)
						text(sc, "new")
						drain(sc)
						return
					case tt.before != nil:
						time.Sleep(30 * time.Second)
						tt.before(sc)
					}
					<-up
					for i := range 10 {
						text(sc, "%d", i)
					}
					if tt.during != nil {
						time.Sleep(10 * time.Millisecond)
						tt.during(sc)
					}
					if tt.raw != nil {
						tt.raw(sc)
					}
					drain(sc)
				}}
				got := 0
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if m.Epoch == 1 {
						got++
						if tt.handle != nil {
							tt.handle(c, m)
						}
						return nil
					}
					if m.Session.GapBegan.IsZero() == tt.gap || (m.Session.Last == nil) == tt.gap || tt.last != nil && !errors.Is(m.Session.Last, tt.last) {
						t.Errorf("a gap since %v by %v", m.Session.GapBegan, m.Session.Last)
					}
					return errEnough
				})
				if !errors.Is(err, errEnough) || s.dialed() != 2 || got < tt.got {
					t.Errorf("%v after %d dials, %d messages of the old connection", err, s.dialed(), got)
				}
			})
		})
	}
}

// A stable session sets the count of failures back when it is replaced, and one that was
// not stable does not.
func TestRotationAndTheBackoff(t *testing.T) {
	for name, tt := range map[string]struct {
		rotation Rotation
		age      time.Duration
		stable   bool
	}{
		"replace": {Replace, time.Hour, true}, "overlap": {Overlap, time.Hour, true},
		"replace, not stable": {Replace, 10 * time.Second, false}, "overlap, not stable": {Overlap, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &Client{MaxAge: tt.age, Rotation: tt.rotation, Backoff: Backoff{MaxAttempts: 3}}
				s := &sim{t: t, dial: func(_ context.Context, n int) error {
					if n < 3 || n == 5 {
						return errDown
					}
					return nil
				}, session: func(n int, sc *conn.Conn) {
					if n == 4 {
						time.Sleep(time.Second)
						return // one more failure, unless it is the first
					}
					if n > 5 {
						text(sc, "back")
					}
					drain(sc)
				}}
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error { return errEnough })
				var e *Error
				if !errors.As(err, &e) || errors.Is(err, errEnough) != tt.stable || !tt.stable && (e.Attempts != 3 || e.Limit != 3) {
					t.Error(err)
				}
			})
		})
	}
}

// A handler that is behind gets all that the old connection has brought, unless it takes longer than CloseTimeout for one message: then
// it misses something, and is told.
func TestGapOfAHandlerThatIsBehind(t *testing.T) {
	for name, tt := range map[string]struct {
		backlog int
		each    time.Duration // of a message
		gap     bool
	}{"behind": {100, 100 * time.Millisecond, false}, "a little": {20, 100 * time.Millisecond, false}, "stuck": {20, 6 * time.Second, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &Client{MaxAge: time.Hour, Rotation: Overlap}
				var first *conn.Conn
				s := &sim{t: t, cfg: conn.Config{CloseTimeout: 5 * time.Second}, session: func(n int, sc *conn.Conn) {
					if n == 1 {
						first = sc
						drain(sc)
						return
					}
					for i := range tt.backlog {
						text(first, "%d", i)
					}
					text(sc, "subscribed")
					text(sc, "new")
					drain(sc)
				}}
				c.OnConnect = func(_ context.Context, s *Session) error {
					if s.Epoch == 1 {
						return nil
					}
					_, err := s.Await(is("subscribed"))
					return err
				}
				var last Message
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if m.Epoch == 2 {
						if missed := last.Number != uint64(tt.backlog); missed != tt.gap || m.Session.GapBegan.IsZero() == tt.gap || (m.Session.Last == nil) == tt.gap {
							t.Errorf("got %d of %d; gap began %v, by %v", last.Number, tt.backlog, m.Session.GapBegan, m.Session.Last)
						}
						return errEnough
					}
					last = m
					time.Sleep(tt.each)
					return nil
				})
				if !errors.Is(err, errEnough) {
					t.Error(err)
				}
			})
		})
	}
}

// The age of a connection counts from its beginning, and what a session is told of a
// rotation comes before what it is told of its end.
func TestMaxAgeCountsFromTheDial(t *testing.T) {
	for _, rotation := range []Rotation{Replace, Overlap} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
			c := &Client{MaxAge: 10 * time.Minute, ConnectTimeout: -1, Rotation: rotation}
			c.OnConnect = func(_ context.Context, s *Session) error {
				if s.Epoch < 4 {
					time.Sleep(time.Duration(s.Epoch) * 4 * time.Minute) // of the last one it is old when it is up
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			c.OnChange = func(ch Change) {
				if ch.State == Down && ch.Epoch < 3 && ch.Age > 10*time.Minute+time.Duration(ch.Epoch+1)*4*time.Minute {
					t.Errorf("%v: epoch %d ended at %v", rotation, ch.Epoch, ch.Age)
				}
				if ch.State == Rotating {
					if age := time.Since(s.dialedAt(ch.Epoch)); ch.Epoch < 3 && age > 10*time.Minute || age > 12*time.Minute+drainPause {
						t.Errorf("%v: epoch %d is replaced at %v", rotation, ch.Epoch, age)
					}
				}
			}
			if err := s.run(ctx, c, nil); err != context.DeadlineExceeded || c.Counts().Rotations < 4 {
				t.Error(err, c.Counts())
			}
		})
	}
}

// A session that ends when it is to be replaced is not told to be replaced after its end.
func TestRotatingIsNotToldAfterDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { drain(c) }}
		c := &Client{Rotation: Overlap}
		var old *Session
		c.OnConnect = func(_ context.Context, s *Session) error { old = s; return nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.OnChange = func(ch Change) {
			switch ch.State {
			case Down:
				if r, s := c.run, old; ch.Epoch == 1 {
					r.helpers.Go(func() { r.rotate(s) }) // its MaxAge is reached now, and the turn to tell it comes after this
				}
			case Rotating:
				t.Errorf("told %+v", ch)
			}
		}
		time.AfterFunc(time.Second, func() { s.connections()[0].Reset() })
		if err := s.run(ctx, c, nil); err != context.DeadlineExceeded || s.dialed() != 2 {
			t.Error(err, s.dialed())
		}
	})
}
