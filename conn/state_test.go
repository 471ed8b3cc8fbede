package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

var errReset error = syscall.ECONNRESET

// calls are all calls that can fail.
var calls = []struct {
	name        string
	read, write bool
	f           func(c *Conn) error
}{
	{"ReadMessage", true, false, func(c *Conn) error { _, err := c.ReadMessage(); return err }},
	{"Messages", true, false, func(c *Conn) error {
		for _, err := range c.Messages() {
			return err
		}
		return errors.New("no step")
	}},
	{"TakeBatch", true, false, func(c *Conn) error {
		b, err := c.TakeBatch()
		if b != nil {
			b.Release()
		}
		return err
	}},
	{"NextReader", true, false, func(c *Conn) error { _, _, err := c.NextReader(); return err }},
	{"NextFrame", true, false, func(c *Conn) error { _, err := c.NextFrame(); return err }},
	{"WriteMessage", false, true, func(c *Conn) error { return c.WriteMessage(Text, []byte("x")) }},
	{"WriteLevel", false, true, func(c *Conn) error { return c.WriteLevel(Text, []byte("x"), deflate.Stored) }},
	{"NextWriterLevel", false, true, func(c *Conn) error {
		w, err := c.NextWriterLevel(Text, deflate.HuffmanOnly)
		if err == nil {
			err = w.Close()
		}
		return err
	}},
	{"WriteOwned", false, true, func(c *Conn) error { return c.WriteOwned(Text, make([]byte, HeaderRoom+1)) }},
	{"WritePrepared", false, true, func(c *Conn) error {
		p, err := Prepare(Text, []byte("x"))
		if err != nil {
			return err
		}
		return c.WritePrepared(p)
	}},
	{"AppendMessage", false, true, func(c *Conn) error { return c.AppendMessage(Text, []byte("x")) }},
	{"Flush", false, true, func(c *Conn) error { return c.Flush() }},
	{"NextWriter", false, true, func(c *Conn) error {
		w, err := c.NextWriter(Text)
		if err == nil {
			err = w.Close()
		}
		return err
	}},
	{"WriteControl of a ping", false, true, func(c *Conn) error {
		return c.WriteControl(frame.Ping, []byte("mine"), time.Now().Add(time.Minute))
	}},
	{"WriteControl of a pong", false, true, func(c *Conn) error { return c.WriteControl(frame.Pong, nil, time.Time{}) }},
	{"WriteControl of a Close", false, true, func(c *Conn) error {
		return c.WriteControl(frame.Close, []byte("\x03\xe8"), time.Now().Add(time.Minute))
	}},
	{"Ping", false, true, func(c *Conn) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := c.Ping(ctx)
		return err
	}},
}

// Every call in every state.
func TestEveryCallInEveryState(t *testing.T) {
	var closeError *CloseError
	var transportError *TransportError
	var timeoutError *TimeoutError
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	none := func(err error) bool { return err == nil }
	deadline := func(err error) bool {
		return errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
	}
	states := []struct {
		name  string
		enter func(t *testing.T, c *Conn, a *netsim.Conn, p *peer)
		read  func(error) bool
		write func(error) bool
		ended bool
	}{
		{"open", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.message(Text, "x"))
		}, none, none, false},
		{"Close called", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.message(Text, "x"))
			c.Close()
		}, is(ErrClosed), is(ErrClosed), true},
		{"context ended", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			ctx, cancel := context.WithCancel(t.Context())
			c.Bind(ctx)
			cancel()
			synctest.Wait()
		}, is(context.Canceled), is(context.Canceled), true},
		{"closing by us", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.message(Text, "x"))
			if err := c.StartClose(frame.CodeNormal, ""); err != nil {
				t.Fatal(err)
			}
		}, none, is(ErrShutdown), false},
		{"closing by WriteControl", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.message(Text, "x"))
			if err := c.WriteControl(frame.Close, []byte("\x03\xe8"), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}, none, is(ErrShutdown), false},
		{"closed by peer and left unanswered", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.closing(frame.CodeGoingAway, ""))
			if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeGoingAway {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.As(err, &closeError) && !closeError.Local }, none, false},
		{"closed by us", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.closing(frame.CodeNormal, ""))
			if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.As(err, &closeError) && closeError.Local },
			func(err error) bool { return errors.As(err, &closeError) }, true},
		{"closed by peer", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send(p.closing(frame.CodeGoingAway, ""))
			if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeGoingAway {
				t.Fatal(err)
			}
		}, func(err error) bool { return errors.As(err, &closeError) && !closeError.Local },
			func(err error) bool { return errors.As(err, &closeError) }, true},
		{"lost", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.nc.Reset()
			if _, err := c.ReadMessage(); err == nil {
				t.Fatal("no error")
			}
		}, is(errReset), func(err error) bool { return errors.As(err, &transportError) && transportError.Op == "read" }, true},
		{"lost in writing", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.nc.Close()
			if err := c.WriteMessage(Text, nil); err == nil {
				t.Fatal("no error")
			}
			if _, err := c.ReadMessage(); err == nil {
				t.Fatal("no error")
			}
		}, is(syscall.EPIPE), func(err error) bool { return errors.As(err, &transportError) && transportError.Op == "write" }, true},
		{"end of stream", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.nc.CloseWrite()
			if _, err := c.ReadMessage(); err == nil {
				t.Fatal("no error")
			}
		}, is(io.EOF), is(io.EOF), true},
		{"protocol broken", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			p.send([]byte("\xff\xff"))
			if _, err := c.ReadMessage(); err == nil {
				t.Fatal("no error")
			}
		}, is(frame.ErrReservedBits), is(frame.ErrReservedBits), true},
		{"judged dead", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			c.abort(&TimeoutError{Clock: ClockData, Limit: time.Second})
		}, func(err error) bool { return errors.As(err, &timeoutError) && timeoutError.Clock == ClockData },
			func(err error) bool { return errors.As(err, &timeoutError) }, true},
		{"deadlines passed", func(t *testing.T, c *Conn, a *netsim.Conn, p *peer) {
			c.SetDeadline(time.Now().Add(-time.Second))
		}, deadline, deadline, false},
	}
	for _, state := range states {
		for _, call := range calls {
			t.Run(state.name+"/"+call.name, func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					cfg := Config{CloseTimeout: time.Second}
					unanswered := state.name == "closed by peer and left unanswered"
					if unanswered {
						cfg.Control = func(*Conn, Opcode, []byte) (bool, error) { return false, nil }
					}
					c, a, p := simulate(t, role, cfg, 0)
					state.enter(t, c, a, p)
					want := state.read
					if call.write {
						want = state.write
					}
					err := call.f(c)
					ended := state.ended || unanswered && call.name == "WriteControl of a Close" // which answers it
					switch {
					case call.name == "Ping" && unanswered: // no answer can come
						if !errors.As(err, &closeError) {
							t.Errorf("got %v", err)
						}
					case call.name == "Ping" && !state.ended && err != ErrShutdown:
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("got %v", err)
						}
					case (call.name == "AppendMessage" || call.name == "Flush") && state.name == "deadlines passed": // nothing is written
						if err != nil {
							t.Errorf("got %v", err)
						}
					case strings.HasPrefix(call.name, "WriteControl") && state.name == "deadlines passed": // it has its own
						if err != nil {
							t.Errorf("got %v", err)
						}
					case !want(err):
						t.Errorf("got %v", err)
					}
					if (c.Err() != nil) != ended {
						t.Errorf("the connection's error is %v", c.Err())
					}
					if state.ended {
						if err != c.Err() {
							t.Errorf("the call returned %v, the connection has %v", err, c.Err())
						}
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("%v does not match net.ErrClosed", err)
						}
						select {
						case <-c.Done():
						default:
							t.Error("Done is open")
						}
						if again := call.f(c); again != err {
							t.Errorf("again: %v", again)
						}
					}
					if err := c.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			})
		}
	}
}

// Misuse is an error, never a panic, and changes nothing (B8, V28, V29).
func TestMisuse(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		for _, op := range []Opcode{frame.Continuation, frame.Close, frame.Ping, frame.Pong, 3, 11, 255} {
			if err := c.WriteMessage(op, nil); err != frame.ErrOpcode {
				t.Errorf("WriteMessage(%v): %v", op, err)
			}
			if err := c.AppendMessage(op, nil); err != frame.ErrOpcode {
				t.Errorf("AppendMessage(%v): %v", op, err)
			}
			if err := c.WriteOwned(op, make([]byte, 20)); err != frame.ErrOpcode {
				t.Errorf("WriteOwned(%v): %v", op, err)
			}
			if _, err := c.NextWriter(op); err != frame.ErrOpcode {
				t.Errorf("NextWriter(%v): %v", op, err)
			}
			if _, err := Prepare(op, nil); err != frame.ErrOpcode {
				t.Errorf("Prepare(%v): %v", op, err)
			}
		}
		// R34: text is checked before anything is written.
		bad := []byte("bad\xff")
		for name, err := range map[string]error{
			"WriteMessage":  c.WriteMessage(Text, bad),
			"AppendMessage": c.AppendMessage(Text, bad),
			"WriteOwned":    c.WriteOwned(Text, append(make([]byte, HeaderRoom), bad...)),
			"Prepare":       func() error { _, err := Prepare(Text, bad); return err }(),
		} {
			if err != ErrNotUTF8 {
				t.Errorf("%s of bad text: %v", name, err)
			}
		}
		if err := c.WriteOwned(Text, make([]byte, HeaderRoom-1)); err != frame.ErrOpcode {
			t.Error(err)
		}
		if _, writes := a.Calls(); writes != 0 {
			t.Errorf("%d writes", writes)
		}
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "€"[:1])
		if err := w.Close(); err != ErrNotUTF8 {
			t.Errorf("a cut character: %v", err)
		}
		if _, err := w.Write([]byte("x")); err != ErrNotUTF8 {
			t.Error(err)
		}
		fmt.Fprint(w, "€"[1:])
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != ErrWriterClosed {
			t.Error(err)
		}
		if _, err := w.Write([]byte("x")); err != ErrWriterClosed {
			t.Error(err)
		}
		p.expect(Text, "€")
		// A second reader gets an error, the first goes on.
		read := make(chan error, 1)
		go func() { _, err := c.ReadMessage(); read <- err }()
		synctest.Wait()
		for _, call := range calls {
			if call.read {
				if err := call.f(c); err != ErrConcurrentRead {
					t.Errorf("%s beside a reader: %v", call.name, err)
				}
			}
		}
		if c.More() {
			t.Error("More beside a reader")
		}
		p.send(p.message(Text, "x"))
		if err := <-read; err != nil {
			t.Error(err)
		}
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}
