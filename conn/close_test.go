package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The close handshake begun by the peer (R26–R29): both codes are in the error, the server ends TCP first.
func TestR26ClosedByPeer(t *testing.T) {
	tests := []struct {
		name         string
		body         string
		code, answer frame.CloseCode
		reason       string
	}{
		{"no code (R29)", "", frame.CodeNoStatus, frame.CodeNoStatus, ""},
		{"normal", "\x03\xe8", frame.CodeNormal, frame.CodeNormal, ""},
		{"reason", "\x03\xe9going", frame.CodeGoingAway, frame.CodeGoingAway, "going"},
		{"own code", "\x0f\xa0", 4000, 4000, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, a, p := simulate(t, role, Config{}, 0)
				// What comes behind a Close is ignored (R27): messages, another Close, and what is no frame at all.
				p.send(p.message(Text, "last"), p.message(frame.Close, tt.body), p.message(Text, "ignored"), p.closing(1001, ""), []byte("\xff\xff"))
				wantMessage(t, c, Text, "last")
				_, err := c.ReadMessage()
				var e *CloseError
				if !errors.As(err, &e) || *e != (CloseError{Code: tt.code, Reason: tt.reason, SentCode: tt.answer}) {
					t.Fatalf("%#v", err)
				}
				if !errors.Is(err, net.ErrClosed) || CloseCode(err) != tt.code || !strings.HasPrefix(err.Error(), "conn: closed by peer with "+tt.code.String()) {
					t.Errorf("%v", err)
				}
				p.expectClose(tt.answer)
				synctest.Wait()
				if role == frame.Client && a.Closed() {
					t.Error("the client closed first")
				}
				start := time.Now()
				if role == frame.Server {
					p.expectEnd()
				}
				p.nc.CloseWrite()
				p.expectEnd()
				if time.Since(start) != 0 {
					t.Error("the end took time")
				}
				if _, again := c.ReadMessage(); again != err {
					t.Errorf("then %v", again)
				}
				if again := c.WriteMessage(Text, nil); again != err {
					t.Errorf("then %v", again)
				}
			})
		})
	}
}

// A peer that closes and then neither reads nor ends is dropped after CloseTimeout (V15, F24, F25).
func TestF24LingerIsBounded(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{CloseTimeout: 3 * time.Second}, 0)
		start := time.Now()
		p.send(p.closing(frame.CodeNormal, ""))
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeNormal {
			t.Fatal(err)
		}
		for !a.Closed() {
			if p.nc.Buffered() < 1000 {
				p.nc.Write(make([]byte, 10))
			}
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(start); d < 3*time.Second || d > 3*time.Second+10*time.Millisecond {
			t.Errorf("dropped after %v", d)
		}
	})
}

// The full handshake from our side, with and without a goroutine that reads.
func TestShutdown(t *testing.T) {
	for _, reading := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			c, _, p := simulate(t, role, Config{}, 0)
			read := make(chan error, 1)
			if reading {
				go func() {
					for i := 0; ; i++ {
						m, err := c.ReadMessage()
						if err != nil {
							if i != 1 {
								t.Errorf("%d messages came", i)
							}
							read <- err
							return
						}
						_ = m
					}
				}()
			}
			synctest.Wait()
			c.AppendMessage(Text, []byte("queued"))
			go func() {
				p.expect(Text, "queued")
				p.expectClose(frame.CodeGoingAway)
				synctest.Wait() // Shutdown waits for the reader's place
				p.send(p.message(Text, "still"), p.message(frame.Ping, "not answered"), p.message(Text, "coming"))
				time.Sleep(time.Second)
				p.send(p.closing(4001, "bye"))
				p.nc.CloseWrite()
				p.expectEnd()
			}()
			start := time.Now()
			if err := c.Shutdown(t.Context(), frame.CodeGoingAway, "enough"); err != nil || time.Since(start) != time.Second {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
			want := CloseError{Code: 4001, Reason: "bye", SentCode: frame.CodeGoingAway, SentReason: "enough", Local: true}
			var e *CloseError
			if !errors.As(c.Err(), &e) || *e != want {
				t.Errorf("%#v", c.Err())
			}
			if reading {
				if err := <-read; err != c.Err() {
					t.Errorf("the reader got %v", err)
				}
			}
			if _, err := c.ReadMessage(); err != c.Err() {
				t.Errorf("then %v", err)
			}
			if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
				t.Errorf("a second Shutdown: %v", err)
			}
		})
	}
}

// A peer that does not answer, with and without a reader of ours; one that does not even read, with a writer blocked (F13, F25, F28).
func TestF25ShutdownIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		reading, stuck, full bool
		ctx                  time.Duration
	}{
		{name: "no answer"},
		{name: "no answer, reader", reading: true},
		{name: "no answer, context", ctx: time.Second},
		{name: "not read", full: true},
		{name: "not read, writer", full: true, stuck: true},
		{name: "not read, writer and reader, context", full: true, stuck: true, reading: true, ctx: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, a, _ := simulate(t, role, Config{CloseTimeout: 4 * time.Second}, 1000)
				if tt.full {
					a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
				}
				wrote, read := make(chan error, 1), make(chan error, 1)
				if tt.stuck {
					go func() { wrote <- c.WriteMessage(Binary, make([]byte, 5000)) }()
				}
				if tt.reading {
					go func() { _, err := c.ReadMessage(); read <- err }()
				}
				synctest.Wait()
				ctx, want := t.Context(), c.cfg.CloseTimeout
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
					want = tt.ctx
				}
				start := time.Now()
				err := c.Shutdown(ctx, frame.CodeNormal, "")
				if d := time.Since(start); d != want {
					t.Errorf("returned after %v", d)
				}
				if !tt.full || tt.ctx > 0 {
					wantClock(t, err, ClockClose)
				} else if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				if tt.ctx > 0 && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the context's error is not in %v", err)
				}
				if tt.stuck {
					if err := <-wrote; err != c.Err() {
						t.Errorf("the writer got %v, not %v", err, c.Err())
					}
				}
				if tt.reading {
					if err := <-read; err != c.Err() {
						t.Errorf("the reader got %v", err)
					}
				}
				if !a.Closed() {
					t.Error("not closed")
				}
			})
		})
	}
}

// Both ends close at once (F26).
func TestF26BothClose(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		a, b := netsim.Pipe(0)
		cfg := &Config{KeepAlive: -1}
		c, d := New(a, role, cfg), New(b, 1-role, cfg)
		errs := make(chan error, 2)
		go func() { errs <- c.Shutdown(t.Context(), 4000, "c") }()
		go func() { errs <- d.Shutdown(t.Context(), 4001, "d") }()
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		var e *CloseError
		if !errors.As(c.Err(), &e) || *e != (CloseError{Code: 4001, Reason: "d", SentCode: 4000, SentReason: "c", Local: true}) {
			t.Errorf("%#v", c.Err())
		}
	})
}

// Shutdown and Close from inside the message handler (F29), with the view in hand.
func TestF29CloseInHandler(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		p.send(p.message(Text, "stop"), p.message(Text, "more"))
		go func() {
			p.expectClose(frame.CodeNormal)
			p.send(p.closing(frame.CodeNormal, ""))
			p.nc.CloseWrite()
		}()
		n := 0
		for m, err := range c.Messages() {
			if err != nil {
				if CloseCode(err) != frame.CodeNormal {
					t.Error(err)
				}
				break
			}
			n++
			if string(m.Data) == "stop" {
				if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		}
		if n != 1 {
			t.Errorf("%d messages", n)
		}
	})
}

// A goroutine that writes learns of the peer's Close by its next write, and closes the connection (F29): by then the answer has gone.
func TestF29CloseByWriter(t *testing.T) {
	for range 200 {
		client, server := compressing(t, nil, nil, Config{})
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			for server.WriteMessage(Text, []byte("message")) == nil {
			}
			server.Close()
		}()
		go server.ReadMessage()
		wantMessage(t, client, Text, "message")
		if err := client.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
			t.Fatal(err)
		}
		<-closed
		client.Close()
	}
}

// While the answer is still being written nobody is told ErrShutdown (F29), with Config.Outbound or without.
func TestF29NobodyIsToldBeforeTheAnswer(t *testing.T) {
	for _, hook := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Config{}
			if hook {
				cfg.Outbound = func(*Conn, Opcode, int) error { return nil }
			}
			c, a, p := simulate(t, frame.Client, cfg, 0)
			release := make(chan struct{})
			a.Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write {
					<-release
				}
				return netsim.Step{}
			})
			go io.Copy(io.Discard, p.nc)
			go c.ReadMessage()
			p.send(p.closing(frame.CodeNormal, ""))
			synctest.Wait()
			told := make(chan error, 2)
			go func() { told <- c.WriteMessage(Text, []byte("x")) }()
			go func() {
				_, err := c.Ping(t.Context())
				told <- err
			}()
			synctest.Wait()
			if len(told) > 0 {
				t.Errorf("hook %v: %v before the Close frame was written", hook, <-told)
			}
			close(release)
			for range cap(told) {
				if err := <-told; !errors.Is(err, net.ErrClosed) {
					t.Errorf("hook %v: %v", hook, err)
				}
			}
			c.Close()
			p.nc.Close()
		})
	}
}

// Close returns at once and wakes everybody: reader, writer, writers in line, pings, Shutdown (F27, F28).
func TestF27CloseWakesAll(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
		p.send(p.message(Text, "half a frame")[:5])
		errs := make(chan error)
		calls := []func() error{
			func() error { _, err := c.ReadMessage(); return err },
			func() error { return c.WriteMessage(Text, []byte("1")) },
			func() error { return c.WriteMessage(Text, []byte("2")) },
			func() error { return c.Flush() },
			func() error { _, err := c.Ping(t.Context()); return err },
		}
		for _, f := range calls {
			go func() { errs <- f() }()
			synctest.Wait()
		}
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for range calls {
			if err := <-errs; err != ErrClosed || !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != ErrClosed {
			t.Errorf("Shutdown: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
		if time.Since(start) != 0 {
			t.Error("it took time")
		}
	})
}

// The peer breaks the protocol: Close with the code, nothing delivered afterwards, everything dropped in time (R30).
func TestR30ProtocolError(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{CloseTimeout: time.Second}, 0)
		bad := p.message(Text, "bad\xff")
		p.send(p.message(Text, "good"), bad, p.message(Text, "behind"), p.message(frame.Ping, "behind"))
		wantMessage(t, c, Text, "good")
		_, err := c.ReadMessage()
		var e *frame.ProtocolError
		if !errors.As(err, &e) || !errors.Is(err, frame.ErrInvalidUTF8) || !errors.Is(err, net.ErrClosed) || CloseCode(err) != frame.CodeAbnormal {
			t.Fatal(err)
		}
		if _, again := c.ReadMessage(); again != err {
			t.Errorf("then %v", again)
		}
		if again := c.WriteMessage(Text, nil); again != err {
			t.Errorf("then %v", again)
		}
		p.expectClose(frame.CodeInvalidPayload)
		start := time.Now()
		p.expectEnd()
		for !a.Closed() {
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(start); d > time.Second+10*time.Millisecond {
			t.Errorf("dropped after %v", d)
		}
	})
}

// A bad frame behind our own Close is not answered with a second one.
func TestR30AfterOwnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{}, 0)
		go func() {
			p.expectClose(frame.CodeNormal)
			p.send([]byte{0xff, 0xff})
			p.nc.CloseWrite()
			p.expectEnd()
		}()
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); !errors.Is(err, frame.ErrReservedBits) {
			t.Error(err)
		}
	})
}

// The end of the stream at each byte of a frame is 1006 and never a normal close (R29, F6, F7).
func TestR29EndAtEachByte(t *testing.T) {
	for _, reset := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			_, _, p := simulate(t, role, Config{}, 0)
			stream := append(p.message(Text, "whole"), p.message(Text, strings.Repeat("x", 130))...)
			whole := len(p.message(Text, "whole"))
			for cut := range stream {
				c, _, p := simulate(t, role, Config{}, 0)
				p.send(stream[:cut])
				if cut >= whole {
					wantMessage(t, c, Text, "whole")
				}
				if reset {
					p.nc.Reset()
				} else {
					p.nc.CloseWrite()
				}
				_, err := c.ReadMessage()
				if reset {
					wantTransport(t, err, errReset)
				} else if cut == 0 || cut == whole {
					wantTransport(t, err, io.EOF)
				} else {
					wantTransport(t, err, io.ErrUnexpectedEOF)
				}
			}
		})
	}
}

// A context can bind the life of a connection (F30, F31).
func TestF30Bind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("market closed")
		c, _, _ := simulate(t, frame.Client, Config{}, 0)
		ctx, cancel := context.WithCancelCause(t.Context())
		c.Bind(ctx)
		time.AfterFunc(time.Second, func() { cancel(cause) })
		_, err := c.ReadMessage()
		if !errors.Is(err, ErrClosed) || !errors.Is(err, cause) || !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		c, _, _ = simulate(t, frame.Client, Config{}, 0)
		defer c.Close()
		ctx, cancel = context.WithCancelCause(t.Context())
		stop := c.Bind(ctx)
		if !stop() {
			t.Error("stop came too late")
		}
		cancel(cause)
		synctest.Wait()
		if c.Err() != nil {
			t.Error(c.Err())
		}
	})
}

// No data follows our own Close (R26), and codes that must not be sent are refused before anything is written (R24, R25).
func TestR24ShutdownArguments(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, _ := simulate(t, role, Config{}, 0)
		defer c.Close()
		for _, code := range []frame.CloseCode{0, 999, 1004, 1006, 1015, 1016, 2999, 5000} {
			if err := c.Shutdown(t.Context(), code, ""); err != frame.ErrCloseCodeUnsendable {
				t.Errorf("%d: %v", code, err)
			}
		}
		if err := c.Shutdown(t.Context(), 1000, strings.Repeat("x", 124)); err != frame.ErrCloseReasonTooLong {
			t.Error(err)
		}
		if err := c.Shutdown(t.Context(), 1000, "\xff"); err != frame.ErrCloseReasonNotUTF8 {
			t.Error(err)
		}
		if _, writes := a.Calls(); writes != 0 || c.Err() != nil {
			t.Errorf("%d writes, %v", writes, c.Err())
		}
	})
}

// A write fails because the peer has closed and gone: writers are told so, and its Close frame, still unread, is the connection's last
// word, whether a goroutine is reading or not.
func TestGoodbyeBehindFailedWrite(t *testing.T) {
	for _, reading := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			c, a, p := simulate(t, role, Config{}, 0)
			release := make(chan struct{})
			a.Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write {
					return netsim.Step{Err: syscall.EPIPE}
				}
				if reading {
					<-release
				}
				return netsim.Step{}
			})
			read := make(chan error, 1)
			if reading {
				go func() { _, err := c.ReadMessage(); read <- err }()
				synctest.Wait()
				time.AfterFunc(time.Millisecond, func() { close(release) })
			} else {
				p.send(p.message(Text, "unread"))
			}
			p.send(p.closing(frame.CodePolicyViolation, "too slow"))
			p.nc.CloseWrite()
			wantTransport(t, c.WriteMessage(Text, []byte("x")), syscall.EPIPE)
			var err error
			if reading {
				err = <-read
			} else {
				wantMessage(t, c, Text, "unread")
				_, err = c.ReadMessage()
			}
			var e *CloseError
			if !errors.As(err, &e) || *e != (CloseError{Code: frame.CodePolicyViolation, Reason: "too slow", SentCode: frame.CodeAbnormal}) || c.Err() != err {
				t.Errorf("the reader got %v", err)
			}
			if again := c.WriteMessage(Text, []byte("y")); again != err {
				t.Errorf("a writer got %v", again)
			}
			c.Close()
		})
	}
}

// Shutdown tells who was first: nil if we were, the *CloseError if the peer was. CloseCode finds it in an error that wraps it.
func TestShutdownBehindThePeersClose(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		p.send(p.closing(4001, "bye"))
		_, read := c.ReadMessage()
		err := c.Shutdown(t.Context(), frame.CodeNormal, "")
		if err != read || CloseCode(err) != 4001 {
			t.Errorf("%v, the reader got %v", err, read)
		}
		if code := CloseCode(fmt.Errorf("session 7: %w", err)); code != 4001 {
			t.Errorf("wrapped: %v", code)
		}
		if CloseCode(nil) != 0 || CloseCode(io.EOF) != frame.CodeAbnormal {
			t.Error("no CloseError")
		}
		p.nc.Close()
	})
}

// The close clock does not take what waits to be read from a reader that is behind: it gets the messages and the peer's Close. It does
// end a connection on which nobody reads, and one whose peer sends on for ever.
func TestF71SlowReaderBehindStartClose(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		const total = 10
		c, _, p := simulate(t, role, Config{CloseTimeout: 3 * time.Second}, 0)
		for i := range total {
			p.send(p.message(Text, fmt.Sprint(i)))
		}
		if err := c.StartClose(frame.CodeGoingAway, "rotation"); err != nil {
			t.Fatal(err)
		}
		p.expectClose(frame.CodeGoingAway)
		p.send(p.closing(frame.CodeGoingAway, "seen"))
		for i := range total {
			wantMessage(t, c, Text, fmt.Sprint(i))
			time.Sleep(2 * time.Second)
		}
		_, err := c.ReadMessage()
		var closed *CloseError
		if !errors.As(err, &closed) || closed.Reason != "seen" || !closed.Local || closed.SentReason != "rotation" {
			t.Errorf("the end is %v", err)
		}

		c, _, p = simulate(t, role, Config{CloseTimeout: 3 * time.Second}, 0)
		p.send(p.message(Text, "one"), p.message(Text, "two"))
		start := time.Now()
		c.StartClose(frame.CodeGoingAway, "")
		wantMessage(t, c, Text, "one")
		<-c.Done()
		wantClock(t, c.Err(), ClockClose)
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("nobody reads: ended after %v", d)
		}

		c, _, p = simulate(t, role, Config{CloseTimeout: 3 * time.Second}, 0)
		go func() {
			for {
				if _, err := p.nc.Write(p.message(Binary, string(make([]byte, 16<<10)))); err != nil {
					return
				}
			}
		}()
		start = time.Now()
		c.StartClose(frame.CodeGoingAway, "")
		for err = nil; err == nil; _, err = c.ReadMessage() {
			time.Sleep(time.Millisecond)
		}
		wantClock(t, err, ClockClose)
		if d := time.Since(start); d > 12*time.Second {
			t.Errorf("the peer sends on: ended after %v", d)
		}
	})
}
