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
