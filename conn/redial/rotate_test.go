package redial

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
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
			if !errors.Is(err, errEnough) || back < time.Minute || back > time.Minute+time.Millisecond {
				t.Errorf("%s: %v; dialed %v after a refusal that asked for a minute", name, err, back)
			}
		})
	}
}

// A connection that ends in a rotation before the new one is up leaves a gap, which is told.
func TestGapInARotation(t *testing.T) {
	for name, tt := range map[string]struct {
		end func(c *Client, s *conn.Conn)
		gap bool
	}{
		"cut":       {func(_ *Client, s *conn.Conn) { s.NetConn().(*netsim.Conn).Reset() }, true},
		"closed":    {func(_ *Client, s *conn.Conn) { s.Close() }, true},
		"reconnect": {func(c *Client, _ *conn.Conn) { c.Reconnect(errDown) }, true},
		"lives":     {func(*Client, *conn.Conn) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended time.Time
				var first *conn.Conn
				c := &Client{MaxAge: time.Hour, Rotation: Overlap}
				s := &sim{t: t, session: func(n int, sc *conn.Conn) {
					if n == 1 {
						first = sc
						drain(sc)
						return
					}
					time.Sleep(5 * time.Second)
					ended = time.Now()
					tt.end(c, first)
					time.Sleep(5 * time.Second)
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
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if want := ended; tt.gap {
						if !m.Session.GapBegan.Equal(want) || m.Session.Last == nil {
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
