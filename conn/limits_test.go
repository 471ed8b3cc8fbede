package conn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// The error of every limit tells its value and the field that sets it.
func TestEveryLimitIsNamed(t *testing.T) {
	received := func(f frame.Options, send func(p *peer)) func(*testing.T) error {
		return func(t *testing.T) error {
			c, _, p := simulate(t, frame.Client, Config{Frame: f}, 1<<20)
			defer c.Close()
			send(p)
			_, err := c.ReadMessage()
			return err
		}
	}
	inflated := func(d deflate.Config, f frame.Options, data []byte) func(*testing.T) error {
		return func(t *testing.T) error {
			c, _, p := simulate(t, frame.Client, *agreed(d, f), 1<<20)
			defer c.Close()
			p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: Binary}, packed(t, data)))
			_, err := c.ReadMessage()
			return err
		}
	}
	dialed := func(d Dialer, answer func() string) func(*testing.T) error {
		return func(t *testing.T) error {
			w := &world{hosts: map[string]func(net.Conn){"a:80": answering(answer())}}
			d.NetDial = w.dial
			_, err := d.Dial(t.Context(), "ws://a")
			return err
		}
	}
	tunneled := func(l handshake.Limits, answer string) func(*testing.T) error {
		return func(t *testing.T) error {
			w := &world{hosts: map[string]func(net.Conn){"proxy:1": answering(answer)}}
			_, err := (&Dialer{Limits: l, NetDial: w.dial, Proxy: through("http://proxy:1")}).Dial(t.Context(), "ws://a")
			return err
		}
	}
	accepted := func(l handshake.Limits, lines ...string) func(*testing.T) error {
		return func(t *testing.T) error {
			near, far := netsim.Pipe(0)
			defer far.Close()
			fmt.Fprintf(far, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", strings.Join(append(lines, ""), "\r\n"))
			_, err := (&Upgrader{Limits: l}).Accept(near)
			return err
		}
	}
	declared := func(n uint64) func(*peer) {
		return func(p *peer) { p.send(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: Binary, Length: n})) }
	}
	parts := func(ops ...Opcode) func(*peer) {
		return func(p *peer) {
			for _, op := range ops {
				p.send(p.frame(frame.Header{Opcode: op, Fin: op.IsControl()}, []byte("part")))
			}
		}
	}
	silent := func(cfg Config) func(*testing.T) error {
		return func(t *testing.T) error {
			c, _, _ := simulate(t, frame.Client, cfg, 0)
			defer c.Close()
			_, err := c.ReadMessage()
			return err
		}
	}
	for _, x := range []struct {
		field string
		value string
		rule  error
		f     func(*testing.T) error
	}{
		{"frame.Options.MaxMessage", "16777216", frame.ErrFrameTooLarge, received(frame.Options{}, declared(16<<20+1))},
		{"frame.Options.MaxMessage", "20971520", frame.ErrMessageTooLarge, received(frame.Options{MaxMessage: 20 << 20}, declared(20<<20+1))},
		{"frame.Options.MaxMessage", "7", frame.ErrMessageTooLarge, received(frame.Options{MaxMessage: 7}, parts(Binary, frame.Continuation))},
		{"frame.Options.MaxFrame", "3", frame.ErrFrameTooLarge, received(frame.Options{MaxFrame: 3}, parts(Binary))},
		{"frame.Options.MaxFragments", "2", frame.ErrTooManyFragments, received(frame.Options{MaxFragments: 2}, parts(Binary, frame.Continuation, frame.Continuation))},
		{"frame.Options.MaxControlPerMessage", "1", frame.ErrTooManyControls, received(frame.Options{MaxControlPerMessage: 1}, parts(Binary, frame.Pong, frame.Pong))},
		{"frame.Options.MaxMessage", "5000", deflate.ErrTooLarge, inflated(deflate.Config{}, frame.Options{MaxMessage: 5000}, make([]byte, 5001))},
		{"deflate.Config.MaxRatio", "100", deflate.ErrRatio, inflated(deflate.Config{MaxRatio: 100}, frame.Options{}, make([]byte, 200_000))},
		{"Limits.Bytes", "16384", handshake.ErrHeadTooLarge, dialed(Dialer{}, func() string { return status(101, "X: "+strings.Repeat("a", 20_000)) })},
		{"Limits.Line", "100", handshake.ErrLineTooLong, dialed(Dialer{Limits: handshake.Limits{Line: 100}}, func() string { return status(101, "X: "+strings.Repeat("a", 200)) })},
		{"Limits.Lines", "3", handshake.ErrTooManyLines, dialed(Dialer{Limits: handshake.Limits{Lines: 3}}, func() string { return status(101, "A: b", "A: b", "A: b", "A: b") })},
		{"Limits.Interim", "2", handshake.ErrInterim, dialed(Dialer{Limits: handshake.Limits{Interim: 2}}, func() string { return strings.Repeat(status(103), 3) })},
		{"Limits.Bytes", "60", handshake.ErrHeadTooLarge, tunneled(handshake.Limits{Bytes: 60}, status(200, "X: "+strings.Repeat("a", 100)))},
		{"Limits.Line", "70", handshake.ErrLineTooLong, tunneled(handshake.Limits{Line: 70}, status(200, "X: "+strings.Repeat("a", 100)))},
		{"Limits.Lines", "1", handshake.ErrTooManyLines, tunneled(handshake.Limits{Lines: 1}, status(200, "A: b", "A: b"))},
		{"Limits.Interim", "16", handshake.ErrInterim, tunneled(handshake.Limits{}, strings.Repeat(status(103), 17))},
		{"Limits.Bytes", "50", handshake.ErrHeadTooLarge, accepted(handshake.Limits{Bytes: 50})},
		{"Limits.Line", "20", handshake.ErrLineTooLong, accepted(handshake.Limits{Line: 20})},
		{"Limits.Lines", "2", handshake.ErrTooManyLines, accepted(handshake.Limits{Lines: 2})},
		{"Limits.Subprotocols", "2", handshake.ErrTooManyProtocols, accepted(handshake.Limits{Subprotocols: 2}, "Sec-WebSocket-Protocol: a, b, c")},
		{"Limits.Extensions", "2", handshake.ErrTooManyExtensions, accepted(handshake.Limits{Extensions: 2}, "Sec-WebSocket-Extensions: a, b, c")},
		{"Limits.Params", "2", handshake.ErrTooManyParams, accepted(handshake.Limits{Params: 2}, "Sec-WebSocket-Extensions: a; b; c; d")},
		{"conn.Dialer.MaxRedirects", "4", handshake.ErrRedirect, dialed(Dialer{MaxRedirects: 4}, func() string { return status(302, "Location: /", "Content-Length: 0") })},
		{"conn.Dialer.HandshakeTimeout", "3s", nil, func(t *testing.T) error {
			w := &world{hosts: map[string]func(net.Conn){"a:80": func(nc net.Conn) { nc.Read(make([]byte, 4096)); nc.Read(make([]byte, 1)) }}}
			_, err := (&Dialer{NetDial: w.dial, HandshakeTimeout: 3 * time.Second}).Dial(t.Context(), "ws://a")
			return err
		}},
		{"conn.Config.KeepAlive", "8s", nil, silent(Config{KeepAlive: 8 * time.Second})},
		{"conn.Config.DataTimeout", "9s", nil, silent(Config{DataTimeout: 9 * time.Second})},
		{"conn.Config.PongTimeout", "1s", nil, silent(Config{KeepAlive: 8 * time.Second, PongTimeout: time.Second})},
		{"conn.Config.StallTimeout", "7s", nil, func(t *testing.T) error {
			c, _, _ := simulate(t, frame.Client, Config{StallTimeout: 7 * time.Second}, 100)
			defer c.Close()
			return c.WriteMessage(Binary, make([]byte, 1000))
		}},
		{"conn.Config.CloseTimeout", "2s", nil, func(t *testing.T) error {
			c, _, _ := simulate(t, frame.Client, Config{CloseTimeout: 2 * time.Second}, 0)
			return c.Shutdown(t.Context(), frame.CodeNormal, "")
		}},
		{"conn.Group.Lag", "500", ErrTooSlow, func(t *testing.T) error {
			c, _, p := simulate(t, frame.Server, Config{}, 100)
			g := &Group{Lag: 500}
			if err := g.Add(c); err != nil {
				t.Fatal(err)
			}
			for c.writeErr() == nil {
				if err := g.WriteMessage(Text, bytes.Repeat([]byte("x"), 99)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			p.nc.Close()
			_, err := c.ReadMessage()
			return err
		}},
	} {
		t.Run(fmt.Sprint(x.field, "=", x.value), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := x.f(t)
				if err == nil || x.rule != nil && !errors.Is(err, x.rule) {
					t.Fatalf("%v, want %v", err, x.rule)
				}
				s := err.Error()
				if !strings.Contains(s, " "+x.value+" ("+x.field+")") && !strings.Contains(s, "("+x.field+" = "+x.value+")") &&
					!strings.Contains(s, ", "+x.field+" is "+x.value+",") {
					t.Errorf("%q does not name the limit of %s of %s", s, x.value, x.field)
				}
			})
		})
	}
}

// MaxMessage raised alone lets a message of one frame in, of any size up to it.
func TestMaxMessageRaisedAlone(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{Frame: frame.Options{MaxMessage: 40 << 20}}, 0)
		defer c.Close()
		big := p.message(Binary, strings.Repeat("x", 40<<20))
		go p.nc.Write(big)
		m, err := c.ReadMessage()
		if err != nil || len(m.Data) != 40<<20 {
			t.Fatalf("%d bytes, %v", len(m.Data), err)
		}
	})
}
