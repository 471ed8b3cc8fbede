package conn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// wholeReads are the ways to read whole messages. Each calls take for those that it finds, until an error comes.
var wholeReads = []struct {
	name string
	read func(c *Conn, take func(Message)) error
}{
	{"ReadMessage", func(c *Conn, take func(Message)) error {
		m, err := c.ReadMessage()
		if err == nil {
			take(m)
		}
		return err
	}},
	{"Messages", func(c *Conn, take func(Message)) error {
		for m, err := range c.Messages() {
			if err == nil {
				take(m)
			}
			return err
		}
		return nil
	}},
	{"TakeBatch", func(c *Conn, take func(Message)) error {
		b, err := c.TakeBatch()
		if err != nil {
			return err
		}
		defer b.Release()
		for _, m := range b.Messages {
			take(m)
		}
		return nil
	}},
	{"NextReader", func(c *Conn, take func(Message)) error {
		op, r, err := c.NextReader()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err == nil {
			take(Message{Opcode: op, Data: data})
		}
		return err
	}},
	{"NextFrame", func(c *Conn, take func(Message)) error {
		var m Message
		for {
			f, err := c.NextFrame()
			if err != nil {
				return err
			}
			if f.Header.Opcode.IsControl() {
				continue
			}
			if f.Header.Opcode != frame.Continuation {
				m.Opcode = f.Header.Opcode
			}
			if m.Data = append(m.Data, f.Payload...); f.Header.Fin {
				take(m)
				return nil
			}
		}
	}},
}

// F69: the peer sends 201 messages and goes; a write that fails then takes none of them away. Writers are told of the failure, reading
// goes on through all that has arrived, and its error is the cause: the Close frame, if one came.
func TestF69FailedWriteLosesNothing(t *testing.T) {
	const total, first = 201, 10
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, secure := range []bool{false, true} {
			for _, kind := range []string{"whole", "fragments", "compressed"} {
				for _, closing := range []bool{false, true} {
					for _, way := range wholeReads {
						if secure && role == frame.Server || kind == "compressed" && (secure || way.name == "NextFrame") {
							continue // the paths are one behind the transport
						}
						t.Run(fmt.Sprintf("%v/TLS %v/%s/Close %v/%s", role, secure, kind, closing, way.name), func(t *testing.T) {
							c, peer := failingPair(t, role, secure, kind == "compressed")
							defer c.Close()
							var want, got []string
							var stream []byte
							for i := range total {
								want = append(want, fmt.Sprintf("%04d %-196d", i, i))
								stream = append(stream, encodedText(t, 1-role, kind, want[i])...)
							}
							if closing {
								body, _ := frame.AppendClose(nil, 1-role, frame.CodeGoingAway, "rotation")
								stream = append(stream, encodedFrame(1-role, frame.Header{Fin: true, Opcode: frame.Close}, body)...)
							}
							if _, err := peer.Write(stream); err != nil {
								t.Fatal(err)
							}
							peer.Close()
							take := func(m Message) { got = append(got, string(m.Data)) }
							for len(got) < first {
								if err := way.read(c, take); err != nil {
									t.Fatal(err)
								}
							}
							failed := writeUntilItFails(t, c)
							var err error
							for err == nil {
								err = way.read(c, take)
							}
							if !slices.Equal(got, want) {
								t.Errorf("%d of %d messages", len(got), total)
							}
							var closed *CloseError
							switch {
							case closing && (!errors.As(err, &closed) || closed.Code != frame.CodeGoingAway || closed.Reason != "rotation" || closed.SentCode != frame.CodeAbnormal):
								t.Errorf("the end is %v, want the Close frame", err)
							case !closing && !errors.Is(err, errors.Unwrap(failed)):
								t.Errorf("the end is %v, want the cause: %v", err, failed)
							}
							if again := c.WriteMessage(Text, nil); again != err {
								t.Errorf("a later write returns %v", again)
							}
						})
					}
				}
			}
		}
	}
}

// failingPair returns a Conn of the role with little read at a time, and what its peer writes to.
func failingPair(t *testing.T, role frame.Role, secure, compressed bool) (*Conn, net.Conn) {
	a, b := loopback(t)
	cfg := Config{KeepAlive: -1, ReadBuffer: 4 << 10}
	if compressed {
		cfg = *agreed(deflate.Config{}, frame.Options{})
		cfg.ReadBuffer = 4 << 10
	}
	if secure {
		c, server := secureOver(t, a, b, cfg)
		return c, &abrupt{server, b}
	}
	return New(a, role, &cfg), b
}

// abrupt is a tls.Conn that is closed without an alert.
type abrupt struct {
	*tls.Conn
	below net.Conn
}

func (a *abrupt) Close() error { return a.below.Close() }

func encodedFrame(role frame.Role, h frame.Header, payload []byte) []byte {
	h.Masked, h.Key = role == frame.Client, 0x01020304
	return frame.AppendFrame(nil, h, payload)
}

// encodedText is a message as an endpoint of the role sends it.
func encodedText(t *testing.T, role frame.Role, kind, text string) (b []byte) {
	half := len(text) / 2
	switch kind {
	case "fragments":
		b = encodedFrame(role, frame.Header{Opcode: Text}, []byte(text[:half]))
		return append(b, encodedFrame(role, frame.Header{Fin: true, Opcode: frame.Continuation}, []byte(text[half:]))...)
	case "compressed":
		data, err := deflate.AppendMessage(nil, []byte(text), 15, 1)
		if err != nil {
			t.Fatal(err)
		}
		return encodedFrame(role, frame.Header{Fin: true, RSV1: true, Opcode: Text}, data)
	}
	return encodedFrame(role, frame.Header{Fin: true, Opcode: Text}, []byte(text))
}

// writeUntilItFails writes until the kernel has learnt that the peer is gone, and returns the error.
func writeUntilItFails(t *testing.T, c *Conn) error {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if err := c.WriteMessage(Text, []byte("heartbeat")); err != nil {
			var lost *TransportError
			if !errors.As(err, &lost) || lost.Op != "write" || !brokenPipe(err) || !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the write failed with %v", err)
			}
			return lost
		}
	}
	t.Fatal("no write has failed")
	return nil
}

// A write that stops within a frame, for its deadline or because the transport is broken, ends writing in each way to write, and the
// peer is told by the end of the stream. Reading goes on; where nothing more comes it ends with the cause after CloseTimeout.
func TestF69ReadingGoesOnAfterACutWrite(t *testing.T) {
	cause := errors.New("no route")
	for _, step := range []netsim.Step{{Max: 1, Err: os.ErrDeadlineExceeded}, {Max: 1, Err: cause}, {Max: 1, Short: true}, {Max: -1, Err: cause}} {
		want := step.Err
		if step.Short {
			want = io.ErrShortWrite
		}
		for _, write := range calls {
			if !write.write || write.name == "Ping" || write.name == "AppendMessage" || write.name == "Flush" {
				continue
			}
			t.Run(fmt.Sprint(want, " ", step.Max, " ", write.name), func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					c, a, p := simulate(t, role, Config{CloseTimeout: 4 * time.Second}, 0)
					a.Script(func(op netsim.Op, _, _ int) netsim.Step {
						if op == netsim.Write {
							return step
						}
						return netsim.Step{}
					})
					p.send(p.message(Text, "one"))
					wantTransport(t, write.f(c), want)
					wantTransport(t, c.WriteMessage(Text, []byte("x")), want)
					time.AfterFunc(time.Second, func() { p.send(p.message(Text, "two"), p.message(frame.Ping, "unanswered")) })
					wantMessage(t, c, Text, "one")
					wantMessage(t, c, Text, "two")
					start := time.Now()
					_, err := c.ReadMessage()
					wantTransport(t, err, want)
					if d := time.Since(start); d < 3*time.Second || d > 3*time.Second+lastWait {
						t.Errorf("the end came after %v", d)
					}
					if c.Err() != err || c.WriteMessage(Text, nil) != err {
						t.Errorf("%v, then %v", err, c.Err())
					}
					p.expectEnd()
				})
			})
		}
	}
}

// A reader that takes longer than CloseTimeout still gets all that has come, and does not wait for more then.
func TestF69SlowReaderAfterAFailedWrite(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{CloseTimeout: time.Second, ReadBuffer: 4 << 10}, 0)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: syscall.EPIPE}
			}
			return netsim.Step{Max: 50}
		})
		for i := range 200 {
			p.send(p.message(Text, fmt.Sprintf("%100d", i)))
		}
		wantTransport(t, c.WriteMessage(Text, nil), syscall.EPIPE)
		for i := range 200 {
			wantMessage(t, c, Text, fmt.Sprintf("%100d", i))
			time.Sleep(100 * time.Millisecond)
		}
		start := time.Now()
		_, err := c.ReadMessage()
		wantTransport(t, err, syscall.EPIPE)
		if d := time.Since(start); d > lastWait {
			t.Errorf("it waited for %v", d)
		}
		c.SetReadDeadline(time.Now().Add(time.Hour))
		if _, again := c.ReadMessage(); again != err {
			t.Error(again)
		}
	})
}

// The caller's own read deadline ends nothing then, either.
func TestReadDeadlineAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, p := simulate(t, frame.Client, Config{CloseTimeout: 4 * time.Second}, 0)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: syscall.EPIPE}
			}
			return netsim.Step{}
		})
		wantTransport(t, c.WriteMessage(Text, nil), syscall.EPIPE)
		c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := c.ReadMessage()
		wantTimeout(t, err)
		c.SetReadDeadline(time.Time{})
		p.send(p.message(Text, "late"))
		wantMessage(t, c, Text, "late")
		p.send(p.message(Text, "later"))
		time.Sleep(10 * time.Second)
		c.SetReadDeadline(time.Now())
		_, err = c.ReadMessage()
		wantTimeout(t, err)
		c.SetReadDeadline(time.Now().Add(time.Hour))
		wantMessage(t, c, Text, "later")
		_, err = c.ReadMessage()
		wantTransport(t, err, syscall.EPIPE)
	})
}

// Who waits is let go with the error of the write that failed: for the write lock, for the end of another's message, for a pong.
func TestFailedWriteWakesWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, p := simulate(t, frame.Client, Config{}, 1000)
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 3)
		go func() { results <- c.WriteMessage(Text, nil) }()
		go func() { _, err := c.NextWriter(Binary); results <- err }()
		synctest.Wait()
		a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Max: -1, Err: syscall.EPIPE} })
		go func() { _, err := c.Ping(t.Context()); results <- err }()
		if _, err := w.Write([]byte("x")); err != nil {
			t.Error(err) // queued
		}
		wantTransport(t, w.Close(), syscall.EPIPE)
		if _, err := w.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Error(err)
		}
		for range 3 {
			if err := <-results; !errors.Is(err, syscall.EPIPE) {
				t.Error(err)
			}
		}
		p.nc.Close()
	})
}

// Where nobody reads, the connection ends by itself: at once would be too early for what may still come.
func TestFailedWriteEndsWithoutAReader(t *testing.T) {
	a, b := loopback(t)
	c := New(a, frame.Server, &Config{KeepAlive: -1, CloseTimeout: 50 * time.Millisecond})
	b.SetLinger(0)
	b.Close()
	failed := writeUntilItFails(t, c)
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it has not ended")
	}
	if err := c.Err(); !errors.Is(err, errors.Unwrap(failed)) {
		t.Error(err)
	}
}

// So where a Group writes: a member whose peer has gone, or takes nothing, still gives what it has received.
func TestF69GroupLosesNothing(t *testing.T) {
	t.Run("gone", func(t *testing.T) { groupLosesNothing(t, true) })
	t.Run("too slow", func(t *testing.T) { groupLosesNothing(t, false) })
}

func groupLosesNothing(t *testing.T, gone bool) {
	const total = 201
	a, b := loopback(t)
	c := New(a, frame.Server, &Config{KeepAlive: -1, ReadBuffer: 4 << 10, CloseTimeout: 100 * time.Millisecond})
	defer c.Close()
	var stream []byte
	for i := range total {
		stream = append(stream, encodedText(t, frame.Client, "whole", fmt.Sprintf("%0200d", i))...)
	}
	if _, err := b.Write(stream); err != nil {
		t.Fatal(err)
	}
	if gone {
		b.Close()
	}
	wantMessage(t, c, Text, fmt.Sprintf("%0200d", 0))
	g, message := Group{Lag: 1}, []byte("to all")
	if !gone {
		message = make([]byte, 1<<20)
	}
	if err := g.Add(c); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); g.Len() > 0; {
		if time.Now().After(until) {
			t.Fatal("no write has failed")
		}
		if err := g.WriteMessage(Text, message); err != nil {
			t.Fatal(err)
		}
		if gone {
			flush(t, &g)
		}
	}
	for i := 1; i < total; i++ {
		wantMessage(t, c, Text, fmt.Sprintf("%0200d", i))
	}
	_, err := c.ReadMessage()
	if lost := (*TransportError)(nil); gone && (!errors.As(err, &lost) || lost.Op != "write" || !brokenPipe(err)) {
		t.Error(err)
	}
	if !gone && !errors.Is(err, ErrTooSlow) {
		t.Error(err)
	}
}

// Shutdown after a write that failed is not held up by a read deadline of the caller's,
// which does not count for it.
func TestF69ShutdownPastAReadDeadline(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		reads := 0
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: errReset}
			}
			if reads++; reads == 1000 {
				t.Error("Shutdown reads on and on")
				go c.Close()
			}
			return netsim.Step{}
		})
		c.SetReadDeadline(time.Unix(1, 0))
		p.send(p.message(Text, "cut")[:3])
		if err := c.WriteMessage(Text, []byte("lost")); !errors.Is(err, errReset) {
			t.Fatal(err)
		}
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); !errors.Is(err, errReset) {
			t.Error(err)
		}
		p.nc.Close()
	})
}

// What NextReader has of a message that its caller has not taken yet is not lost either: to a write that failed, or to a clock.
func TestF69WithinAMessage(t *testing.T) {
	for _, packed := range []bool{false, true} {
		for _, clock := range []bool{false, true} {
			t.Run(fmt.Sprintf("compressed %v, clock %v", packed, clock), func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					var cfg Config
					kind := "whole"
					if packed {
						cfg, kind = *agreed(deflate.Config{}, frame.Options{}), "compressed"
					}
					cfg.CloseTimeout = time.Second
					if clock {
						cfg.KeepAlive = time.Second
					}
					c, a, p := simulate(t, role, cfg, 0)
					defer c.Close()
					text := fmt.Sprintf("%2000d", 7)
					p.send(encodedText(t, 1-role, kind, text))
					_, r, err := c.NextReader()
					if err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 1000)
					if _, err := io.ReadFull(r, got); err != nil {
						t.Fatal(err)
					}
					if !clock {
						a.Script(func(op netsim.Op, _, _ int) netsim.Step {
							if op == netsim.Write {
								return netsim.Step{Max: -1, Err: syscall.EPIPE}
							}
							return netsim.Step{}
						})
						wantTransport(t, c.WriteMessage(Text, nil), syscall.EPIPE)
					}
					time.Sleep(time.Minute)
					rest, err := io.ReadAll(r)
					if string(got)+string(rest) != text || err != nil {
						t.Errorf("%d bytes of %d, %v", len(got)+len(rest), len(text), err)
					}
					if _, err := c.ReadMessage(); !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				})
			})
		}
	}
}

// noDeadlines is a connection that has none.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (noDeadlines) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (noDeadlines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// Over a connection without deadlines, as a channel of SSH, a read returns too when nothing more is waited for: one that waits then, and one that comes later.
func TestFailedWriteWithoutDeadlines(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := netsim.Pipe(0)
				defer b.Close()
				c := New(noDeadlines{a}, frame.Client, &Config{KeepAlive: -1})
				a.Script(func(op netsim.Op, _, _ int) netsim.Step {
					if op == netsim.Write {
						return netsim.Step{Max: -1, Err: syscall.EPIPE}
					}
					return netsim.Step{}
				})
				start := time.Now()
				read := make(chan error, 1)
				next := func() { _, err := c.ReadMessage(); read <- err }
				if !late {
					go next()
					synctest.Wait()
				}
				wantTransport(t, c.WriteMessage(Text, nil), syscall.EPIPE)
				want := DefaultCloseTimeout
				if late {
					b.Write(encodedFrame(frame.Server, frame.Header{Fin: true, Opcode: Text}, []byte("here")))
					time.Sleep(time.Minute)
					wantMessage(t, c, Text, "here")
					want = time.Minute + lastWait
					go next()
				}
				select {
				case err := <-read:
					wantTransport(t, err, syscall.EPIPE)
				case <-time.After(time.Hour):
					t.Error("the read waits for ever")
				}
				if d := time.Since(start); d != want {
					t.Errorf("it ended after %v, want %v", d, want)
				}
				c.Close()
			})
		})
	}
}

// A write deadline that is set behind the failure does not have a write wait that the failure was to end.
func TestWriteDeadlineAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, timeout := range []time.Duration{0, time.Hour} {
			c, a, p := simulate(t, frame.Client, Config{WriteTimeout: timeout}, 1000)
			blocked := make(chan error, 1)
			go func() { blocked <- c.WriteMessage(Binary, make([]byte, 5000)) }()
			synctest.Wait()
			cause := errors.New("judged")
			c.endWriting(cause)
			c.SetWriteDeadline(time.Now().Add(time.Hour))
			if _, err := a.Write([]byte("x")); err != os.ErrDeadlineExceeded {
				t.Errorf("a write waits: %v", err)
			}
			if err := <-blocked; err != cause {
				t.Error(err)
			}
			c.Close()
			p.nc.Close()
		}
	})
}
