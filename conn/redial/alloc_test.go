package redial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// endless is the client's end of a connection to a server that sends the same messages for ever.
type endless struct {
	net.Conn // for what is not used
	answer   []byte
	block    []byte
	at       int
}

func newEndless(messages ...string) *endless {
	nc, _ := netsim.Pipe(0)
	e := &endless{Conn: nc}
	for range 50 {
		for _, m := range messages {
			e.block = frame.AppendFrame(e.block, frame.Header{Fin: true, Opcode: frame.Text}, []byte(m))
		}
	}
	return e
}

func (e *endless) Write(b []byte) (int, error) {
	const name = "Sec-WebSocket-Key: "
	if i := bytes.Index(b, []byte(name)); i >= 0 {
		key, _, _ := bytes.Cut(b[i+len(name):], []byte("\r\n"))
		e.answer = append(e.answer, "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
		e.answer = append(handshake.AppendAccept(e.answer, string(key)), "\r\n\r\n"...)
	}
	return len(b), nil
}

func (e *endless) Read(b []byte) (int, error) {
	if n := copy(b, e.answer); n > 0 {
		e.answer = e.answer[n:]
		return n, nil
	}
	if e.block == nil {
		return 0, io.EOF
	}
	n := copy(b, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

// endlessClient has the options on that look at each message.
func endlessClient() *Client {
	return &Client{
		URL:      "ws://sim/",
		Dialer:   &conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return newEndless("a message", "beat"), nil }, Config: conn.Config{DataTimeout: time.Hour}},
		LifeSign: &LifeSign{IsAnswer: Prefix("beat")},
		Decode:   func(dst []byte, m conn.Message) ([]byte, error) { return append(dst, m.Data...), nil },
		OnConnect: func(_ context.Context, s *Session) error {
			s.Watch("key", time.Hour)
			return nil
		},
	}
}

// Between a message and the next nothing is allocated, with the clocks, LifeSign and Decode on.
func TestMessagesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const window = 20000
	var before, after runtime.MemStats
	least := uint64(1 << 62) // of several windows: the first ones see the session's other goroutines begin
	err := runs(t, t.Context(), endlessClient(), func(_ context.Context, m Message) error {
		m.Session.Alive("key")
		if m.Number%window != 0 {
			return nil
		}
		runtime.ReadMemStats(&after)
		if m.Number > window {
			least = min(least, after.Mallocs-before.Mallocs)
		}
		if m.Number == 20*window {
			return errEnough
		}
		runtime.ReadMemStats(&before)
		return nil
	})
	if !errors.Is(err, errEnough) || least != 0 {
		t.Errorf("%v; %d allocations in %d messages", err, least, window)
	}
}

// Send allocates nothing, of a handler's context too.
func TestSendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const window = 10000
	c, text, least := endlessClient(), []byte("a message"), uint64(1<<62)
	err := runs(t, t.Context(), c, func(ctx context.Context, m Message) error {
		for range 20 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range window {
				if err := c.Send(ctx, conn.Text, text); err != nil {
					return Fatal(err)
				}
			}
			runtime.ReadMemStats(&after)
			if least = min(least, after.Mallocs-before.Mallocs); least == 0 {
				break
			}
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) || least != 0 {
		t.Errorf("%v; %d allocations in %d messages", err, least, window)
	}
}

// BenchmarkMessage is what a message costs on the way from the connection's buffer to the handler.
func BenchmarkMessage(b *testing.B) {
	for name, full := range map[string]bool{"plain": false, "full": true} {
		b.Run(name, func(b *testing.B) {
			c := endlessClient()
			if !full {
				c.Decode, c.LifeSign, c.OnConnect, c.Dialer.Config.DataTimeout = nil, nil, nil, 0
			}
			b.ReportAllocs()
			n := 0
			_ = c.Run(b.Context(), func(_ context.Context, m Message) error {
				if n == 0 {
					b.ResetTimer()
				}
				if full {
					m.Session.Alive("key")
				}
				if n++; n > b.N {
					return errEnough
				}
				return nil
			})
		})
	}
}
