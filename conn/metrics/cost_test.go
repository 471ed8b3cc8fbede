package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// endless is the client's end of a connection to a server that sends the same message for
// ever.
type endless struct {
	net.Conn // for what is not used
	answer   []byte
	block    []byte
	at       int
}

func newEndless() *endless {
	nc, _ := net.Pipe()
	e := &endless{Conn: nc}
	for range 100 {
		e.block = frame.AppendFrame(e.block, frame.Header{Fin: true, Opcode: frame.Text}, []byte("a message"))
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
	n := copy(b, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

func endlessClient() *redial.Client {
	return &redial.Client{URL: "ws://sim/", Dialer: &conn.Dialer{
		NetDial: func(context.Context, string, string) (net.Conn, error) { return newEndless(), nil },
	}}
}

var errEnough = errors.New("enough")

// A client that is measured allocates nothing from one message to the next, and none of
// its hooks is called for a message.
func TestMessagesCostNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var set metrics.Set
	client, calls := endlessClient(), 0
	client.OnChange = func(redial.Change) { calls++ }
	client.OnConnect = func(context.Context, *redial.Session) error { calls++; return nil }
	client.Dialer.Config.Observer = counter{&calls}
	if err := set.Client("feed", client); err != nil {
		t.Fatal(err)
	}
	const window = 20000
	var before, after runtime.MemStats
	least := uint64(1 << 62) // of several windows: the first ones see the session's other goroutines begin
	err := client.Run(t.Context(), func(_ context.Context, m redial.Message) error {
		if m.Number%window != 0 {
			return nil
		}
		runtime.ReadMemStats(&after)
		if m.Number > window {
			least = min(least, after.Mallocs-before.Mallocs)
		}
		if m.Number == 10*window {
			if calls != 3 { // dialing, OnConnect, up
				t.Errorf("%d calls of hooks in %d messages", calls, m.Number)
			}
			return errEnough
		}
		runtime.ReadMemStats(&before)
		return nil
	})
	if !errors.Is(err, errEnough) || least != 0 {
		t.Errorf("%v; %d allocations in %d messages", err, least, window)
	}
}

// BenchmarkMessage is what a message costs, measured and not.
func BenchmarkMessage(b *testing.B) {
	for name, measured := range map[string]bool{"plain": false, "measured": true} {
		b.Run(name, func(b *testing.B) {
			var set metrics.Set
			client := endlessClient()
			if measured {
				if err := set.Client("feed", client); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			n := 0
			_ = client.Run(b.Context(), func(context.Context, redial.Message) error {
				if n == 0 {
					b.ResetTimer()
				}
				if n++; n > b.N {
					return errEnough
				}
				return nil
			})
		})
	}
}

// counter is an Observer that counts its calls.
type counter struct{ calls *int }

func (c counter) Control(*conn.Conn, frame.Opcode, []byte, bool) { *c.calls++ }
func (c counter) RoundTrip(*conn.Conn, time.Duration)            { *c.calls++ }
func (c counter) Slow(*conn.Conn, conn.ReadInfo)                 { *c.calls++ }
func (c counter) Ended(*conn.Conn, error)                        { *c.calls++ }
