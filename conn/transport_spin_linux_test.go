//go:build linux && !asan && !msan

package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Whatever Config.Spin is, what would wake a read that waits ends one that polls: Close, deadlines, the clocks, a context; plain and
// under TLS.
func TestSpinIsEndedFromOutside(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, tt := range []struct {
			name string
			cfg  Config
			do   func(c *Conn)
			want error
		}{
			{"Close", Config{}, func(c *Conn) { c.Close() }, ErrClosed},
			{"SetReadDeadline, past", Config{}, func(c *Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
			{"SetReadDeadline, soon", Config{}, func(c *Conn) { c.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
			{"ReadTimeout", Config{ReadTimeout: time.Millisecond}, func(*Conn) {}, os.ErrDeadlineExceeded},
			{"KeepAlive", Config{KeepAlive: 20 * time.Millisecond}, func(*Conn) {}, net.ErrClosed},
			{"DataTimeout", Config{DataTimeout: 20 * time.Millisecond}, func(*Conn) {}, net.ErrClosed},
			{"Shutdown", Config{CloseTimeout: 20 * time.Millisecond}, func(c *Conn) { c.Shutdown(context.Background(), 1000, "") }, net.ErrClosed},
			{"Bind", Config{}, func(c *Conn) {
				ctx, cancel := context.WithCancel(context.Background())
				c.Bind(ctx)
				cancel()
			}, context.Canceled},
			{"StartClose and Close", Config{}, func(c *Conn) { c.StartClose(1000, ""); c.Close() }, ErrClosed},
		} {
			t.Run(fmt.Sprintf("%s, TLS %v", tt.name, secure), func(t *testing.T) {
				a, b := loopback(t)
				tt.cfg.Spin = time.Hour
				if tt.cfg.KeepAlive == 0 {
					tt.cfg.KeepAlive = -1
				}
				var c *Conn
				if secure {
					c, _ = secureOver(t, a, b, tt.cfg)
				} else {
					c = New(a, frame.Client, &tt.cfg)
				}
				read := make(chan error, 1)
				go func() { _, err := c.ReadMessage(); read <- err }()
				for !c.deadlines.filling.Load() && len(read) == 0 { // a short timeout may have ended it already
					runtime.Gosched()
				}
				tt.do(c)
				select {
				case err := <-read:
					if !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the read polls on")
				}
				c.Close()
			})
		}
	}
}

// Nothing polls in the handshake of TLS, which has deadlines and contexts of its own: in both roles.
func TestSpinBeginsBehindTheHandshake(t *testing.T) {
	cfg := Config{Spin: time.Hour}
	serverTLS, _ := testCertificate(t)
	for name, open := range map[string]func(a net.Conn) error{
		"Dial": func(a net.Conn) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			d := Dialer{Config: cfg, NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }}
			_, err := d.Dial(ctx, "wss://localhost/")
			return err
		},
		"Accept": func(a net.Conn) error {
			u := Upgrader{Config: cfg, HandshakeTimeout: 20 * time.Millisecond}
			_, err := u.Accept(tls.Server(underTLS(a, &cfg), serverTLS))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := loopback(t)
			done := make(chan error, 1)
			go func() { done <- open(a) }()
			select {
			case err := <-done:
				if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the handshake polls on")
			}
		})
	}
}

// Reads poll, and are ended from outside, where the records are opened by the engine.
func TestSpinWithOpenRecords(t *testing.T) {
	secureOpens = true
	defer func() { secureOpens = false }()
	TestSpinIsEndedFromOutside(t)
}
