package conn

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// wantTooLarge checks for the end by the limit on messages.
func wantTooLarge(t *testing.T, c *Conn, p *peer, err error, limit uint64) {
	t.Helper()
	var broken *frame.ProtocolError
	if !errors.Is(err, frame.ErrMessageTooLarge) || !errors.As(err, &broken) || broken.Limit != limit || broken.Field != "frame.Options.MaxMessage" || err != c.Err() {
		t.Fatalf("got %v, want a message over %d", err, limit)
	}
	if m, err := p.r.Next(); err != nil || m.Opcode != frame.Close || !strings.HasPrefix(string(m.Data), "\x03\xf1") {
		t.Errorf("the peer was told %v %q, %v", m.Opcode, m.Data, err)
	}
}

// The limit can be lowered and raised between messages, in each way to read, for whole
// messages, fragments and compressed ones. It is judged at the header: nothing of the
// payload need come.
func TestSetReadLimit(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	for _, way := range messageWays {
		for _, kind := range []string{"whole", "fragments", "compressed", "compressed, alone"} {
			if way.name == "NextFrame" && strings.HasPrefix(kind, "compressed") {
				continue // what it hands out is compressed; see TestSetReadLimitOfFrames
			}
			t.Run(way.name+"/"+kind, func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					cfg := Config{}
					if strings.HasPrefix(kind, "compressed") {
						cfg = *agreed(deflate.Config{}, frame.Options{})
						cfg.agreed.ServerNoContextTakeover = kind == "compressed, alone"
						cfg.agreed.ClientNoContextTakeover = kind == "compressed, alone"
					}
					cfg.Frame.MaxMessage = 1000
					c, _, p := simulate(t, role, cfg, 0)
					defer c.Close()
					send := func(n int) {
						b := []byte(text(n))
						switch kind {
						case "whole":
							p.send(p.message(Text, string(b)))
						case "fragments":
							p.send(p.frame(frame.Header{Opcode: Text}, b[:n/2]), p.frame(frame.Header{Fin: true}, b[n/2:]))
						default:
							p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: Text}, deflated(t, string(b))))
						}
					}
					read := func(n int) {
						t.Helper()
						if got, err := way.read(c); got != text(n) || err != nil {
							t.Fatalf("%d bytes, %v; want %d", len(got), err, n)
						}
					}
					for _, limit := range []int64{0, -1, 5000, math.MaxInt64, 30_000, 10, 2000} {
						c.SetReadLimit(limit)
						n := int(limit)
						if limit <= 0 || limit > 30_000 {
							n = 30_000
						}
						for range 3 {
							send(n)
							read(n)
						}
						if c.More() {
							t.Error("More with nothing there")
						}
					}
					send(100)
					if way.name != "TakeBatch" { // which takes both
						send(100)
						read(100)
					}
					c.SetReadLimit(100)
					if way.name != "TakeBatch" && !c.More() {
						t.Error("a message is there")
					}
					read(100)
					switch kind {
					case "whole": // the header alone
						p.send(p.message(Text, text(101))[:2])
					case "fragments":
						whole := p.frame(frame.Header{Fin: true}, []byte(text(51)))
						p.send(p.frame(frame.Header{Opcode: Text}, []byte(text(50))), whole[:2])
					default:
						send(101)
					}
					_, err := way.read(c)
					wantTooLarge(t, c, p, err, 100)
				})
			})
		}
	}
}

// NextFrame judges what is compressed by its frames, and by what it inflates to.
func TestSetReadLimitOfFrames(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, *agreed(deflate.Config{}, frame.Options{}), 0)
		defer c.Close()
		b := deflated(t, strings.Repeat("x", 1000))
		send := func() { p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: Text}, b)) }
		for _, limit := range []int64{0, 1000, 999} {
			c.SetReadLimit(limit)
			send()
			if f, err := c.NextFrame(); limit == 999 {
				wantTooLarge(t, c, p, err, 999)
			} else if string(f.Payload) != string(b) || err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A message that has begun is judged by the new limit at its next header; one that is
// compressed keeps the one it began with.
func TestSetReadLimitWithinAMessage(t *testing.T) {
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed %v", packed), func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				cfg := agreed(deflate.Config{}, frame.Options{MaxMessage: 1000})
				c, _, p := simulate(t, role, *cfg, 0)
				defer c.Close()
				whole := []byte(strings.Repeat("x", 1000))
				if packed {
					whole = deflated(t, string(whole))
				}
				p.send(p.frame(frame.Header{Opcode: Text, RSV1: packed}, whole[:4]))
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 2000)
				if n, err := r.Read(buf[:1]); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				c.SetReadLimit(int64(len(whole)))
				p.send(p.frame(frame.Header{}, whole[4:8]), p.frame(frame.Header{Fin: true}, whole[8:]), p.message(Text, strings.Repeat("y", len(whole)+1)))
				n := 1
				for err == nil {
					var k int
					k, err = r.Read(buf)
					n += k
				}
				if n != 1000 || err.Error() != "EOF" {
					t.Errorf("%d bytes, %v", n, err)
				}
				_, err = c.ReadMessage()
				wantTooLarge(t, c, p, err, uint64(len(whole)))
			})
		})
	}
}

// By another goroutine, and by Control, it holds for what comes then, though a read call
// waits; MaxFrame holds on where it was set.
func TestSetReadLimitWhileReading(t *testing.T) {
	for _, way := range messageWays {
		t.Run(way.name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, _, p := simulate(t, role, Config{Control: func(c *Conn, _ Opcode, payload []byte) (bool, error) {
					c.SetReadLimit(int64(len(payload)))
					return false, nil
				}}, 0)
				defer c.Close()
				read := make(chan error)
				next := func() { go func() { _, err := way.read(c); read <- err }() }
				next()
				synctest.Wait()
				c.SetReadLimit(20)
				p.send(p.message(Text, strings.Repeat("x", 20)))
				if err := <-read; err != nil {
					t.Error(err)
				}
				p.send(p.message(frame.Ping, "0123456789"), p.message(Text, "0123456789"))
				next()
				if err := <-read; err != nil {
					t.Error(err)
				}
				p.send(p.message(frame.Ping, "12345"), p.message(Text, "123456"))
				next()
				wantTooLarge(t, c, p, <-read, 5)
			})
			both(t, func(t *testing.T, role frame.Role) {
				c, _, p := simulate(t, role, Config{Frame: frame.Options{MaxFrame: 10}}, 0)
				defer c.Close()
				c.SetReadLimit(1000)
				p.send(p.message(Text, "01234567890"))
				if _, err := way.read(c); !errors.Is(err, frame.ErrFrameTooLarge) {
					t.Error(err)
				}
				if m, err := p.r.Next(); err != nil || m.Opcode != frame.Close {
					t.Error(m, err)
				}
			})
		})
	}
}

// What stays buffered is taken by quick calls again after a change.
func TestQuickReadsAfterSetReadLimit(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		var all [][]byte
		for range 10 {
			all = append(all, p.message(Text, "0123456789"))
		}
		p.send(all...)
		wantMessage(t, c, Text, "0123456789")
		c.SetReadLimit(10)
		for range 9 {
			wantMessage(t, c, Text, "0123456789")
		}
		if n := c.readState.quick.Load() / quickCount; n != 8 {
			t.Errorf("%d quick calls, want 8", n)
		}
	})
}
