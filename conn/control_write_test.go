package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Pings, pongs and a Close go out with the payload given, past what waits for Flush and
// between the frames of a message; the Close behind it. All are counted and observed.
func TestWriteControl(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		heard := new(noted)
		c, _, p := simulate(t, role, Config{Observer: heard}, 0)
		write := func(op Opcode, payload string) {
			t.Helper()
			b := []byte(payload)
			if err := c.WriteControl(op, b, time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			if string(b) != payload {
				t.Errorf("the caller's bytes are %q", b)
			}
		}
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "queued")
		long := strings.Repeat("x", frame.MaxControlPayload)
		write(frame.Ping, "mine")
		write(frame.Pong, "heartbeat")
		write(frame.Ping, long)
		write(frame.Pong, "")
		p.expect(frame.Ping, "mine")
		p.expect(frame.Pong, "heartbeat")
		p.expect(frame.Ping, long)
		p.expect(frame.Pong, "")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		p.expect(Text, "queued")
		p.send(p.message(frame.Pong, "mine"), p.message(Text, "x"))
		wantMessage(t, c, Text, "x")
		if err := c.AppendMessage(Text, []byte("before")); err != nil {
			t.Error(err)
		}
		write(frame.Close, "\x0f\xa0bye")
		p.expect(Text, "before")
		p.expect(frame.Close, "\x0f\xa0bye")
		for _, op := range []Opcode{frame.Ping, frame.Pong, frame.Close} {
			if err := c.WriteControl(op, nil, time.Time{}); err != ErrShutdown {
				t.Errorf("%v: %v", op, err)
			}
		}
		if s := c.Stats(); s.PingsWritten != 2 || s.PongsWritten != 2 {
			t.Errorf("%d pings, %d pongs", s.PingsWritten, s.PongsWritten)
		}
		// Reading goes on, for as long as the peer likes.
		time.Sleep(time.Hour)
		p.send(p.message(Text, "still"), p.closing(frame.CodeNormal, ""))
		wantMessage(t, c, Text, "still")
		var e *CloseError
		if _, err := c.ReadMessage(); !errors.As(err, &e) || !e.Local || e.SentCode != 4000 || e.SentReason != "bye" || e.Code != frame.CodeNormal {
			t.Errorf("%+v", err)
		}
		want := fmt.Sprintf("ping \"mine\" true\npong \"heartbeat\" true\nping %q true\npong \"\" true\npong \"mine\" false\nclose \"\\x0f\\xa0bye\" true\n", long)
		if got := strings.Join(heard.lines, "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("heard\n%s", got)
		}
		p.nc.Close()
	})
}

// Misuse is an error before anything is written.
func TestWriteControlMisuse(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, _ := simulate(t, role, Config{}, 0)
		defer c.Close()
		for _, tt := range []struct {
			op      Opcode
			payload string
			want    error
		}{
			{Text, "", frame.ErrOpcode}, {Binary, "", frame.ErrOpcode}, {frame.Continuation, "", frame.ErrOpcode}, {3, "", frame.ErrOpcode},
			{11, "", frame.ErrOpcode}, {255, "", frame.ErrOpcode},
			{frame.Ping, strings.Repeat("x", 126), frame.ErrControlPayload}, {frame.Close, strings.Repeat("x", 126), frame.ErrControlPayload},
			{frame.Close, "\x03", frame.ErrCloseCodeUnsendable}, {frame.Close, "\x03\xed", frame.ErrCloseCodeUnsendable},
			{frame.Close, "\x03\xee", frame.ErrCloseCodeUnsendable}, {frame.Close, "\x03\xe8\xff", frame.ErrCloseReasonNotUTF8},
		} {
			if err := c.WriteControl(tt.op, []byte(tt.payload), time.Time{}); err != tt.want {
				t.Errorf("%v %q: %v, want %v", tt.op, tt.payload, err, tt.want)
			}
		}
		wantTimeout(t, c.WriteControl(frame.Ping, nil, time.Now()))
		if _, writes := a.Calls(); writes != 0 || c.Err() != nil {
			t.Errorf("%d writes, %v", writes, c.Err())
		}
	})
}

// A write deadline that has passed holds back neither WriteControl nor the pongs that
// answer, whoever reads, and stays in force.
func TestControlPastTheWriteDeadline(t *testing.T) {
	for _, kind := range []string{"plain", "wrapped", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			a, b := loopback(t)
			var c, peer *Conn
			switch kind {
			case "TLS":
				client, server := secureOver(t, a, b, Config{KeepAlive: -1})
				c, peer = client, New(server, frame.Server, nil)
			case "wrapped":
				c, peer = New(struct{ net.Conn }{a}, frame.Client, nil), New(b, frame.Server, nil)
			default:
				c, peer = New(a, frame.Client, nil), New(b, frame.Server, nil)
			}
			defer c.Close()
			defer peer.Close()
			reads := make(chan error, 1)
			go func() {
				for {
					if _, err := c.ReadMessage(); err != nil {
						reads <- err
						return
					}
				}
			}()
			answers := make(chan string, 10)
			go func() {
				for {
					f, err := peer.NextFrame()
					if err != nil {
						return
					}
					answers <- fmt.Sprintf("%v %s", f.Header.Opcode, f.Payload)
				}
			}()
			want := func(s string) {
				t.Helper()
				select {
				case got := <-answers:
					if got != s {
						t.Errorf("peer got %s, want %s", got, s)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("peer got no %s", s)
				}
			}
			for i := range 3 {
				c.SetWriteDeadline(time.Now().Add(-time.Second))
				payload := fmt.Sprint(i)
				if err := peer.WriteControl(frame.Ping, []byte(payload), time.Time{}); err != nil {
					t.Fatal(err)
				}
				want("pong " + payload)
				for _, op := range []Opcode{frame.Ping, frame.Pong} {
					if err := c.WriteControl(op, []byte(payload), time.Now().Add(time.Minute)); err != nil {
						t.Fatal(err)
					}
					want(fmt.Sprintf("%v %s", op, payload))
				}
				if kind != "TLS" { // where a write that fails is the last
					wantTimeout(t, c.WriteMessage(Text, []byte("late")))
				}
				c.SetWriteDeadline(time.Time{})
				if err := c.WriteMessage(Text, []byte(payload)); err != nil {
					t.Fatal(err)
				}
				want("text " + payload)
			}
			c.SetWriteDeadline(time.Now().Add(-time.Second))
			if err := c.WriteControl(frame.Close, []byte("\x03\xe8"), time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if err := <-reads; CloseCode(err) != frame.CodeNormal {
				t.Error(err)
			}
		})
	}
}

// A write call that a deadline has stopped hands the pong that waits on: none waits for
// the next write.
func TestPongAfterAWriteDeadline(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		var blocked atomic.Bool
		blocked.Store(true)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			return netsim.Step{Block: op == netsim.Write && blocked.Load()}
		})
		c.SetWriteDeadline(time.Now().Add(time.Second))
		wrote := make(chan error, 1)
		go func() { wrote <- c.WriteMessage(Text, []byte("dropped")) }()
		synctest.Wait()
		p.send(p.message(frame.Ping, "1"), p.message(Text, "x"))
		wantMessage(t, c, Text, "x")
		blocked.Store(false)
		wantTimeout(t, <-wrote)
		p.expect(frame.Pong, "1")
	})
}

// The deadline bounds the wait for another writer, and the write, to the instant; nothing
// was written then, and the connection lives. The caller's own deadline is as it was.
func TestWriteControlIsBounded(t *testing.T) {
	for _, op := range []Opcode{frame.Ping, frame.Pong, frame.Close} {
		t.Run(op.String(), func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, a, p := simulate(t, role, Config{CloseTimeout: 7 * time.Second, WriteTimeout: 10 * time.Millisecond}, 0)
				defer c.Close()
				took := func(want time.Duration, deadline time.Time) {
					t.Helper()
					start := time.Now()
					wantTimeout(t, c.WriteControl(op, nil, deadline))
					if got := time.Since(start); got != want {
						t.Errorf("after %v, want %v", got, want)
					}
				}
				c.lock.tryLock()
				took(3*time.Second, time.Now().Add(3*time.Second))
				took(7*time.Second, time.Time{})
				c.lock.unlock()
				c.AppendMessage(Text, []byte("kept"))
				var blocked atomic.Bool
				blocked.Store(true)
				a.Script(func(op netsim.Op, _, _ int) netsim.Step {
					return netsim.Step{Block: op == netsim.Write && blocked.Load()}
				})
				c.SetWriteDeadline(time.Now().Add(time.Hour))
				took(3*time.Second, time.Now().Add(3*time.Second))
				took(7*time.Second, time.Time{})
				// Others set deadlines meanwhile.
				time.AfterFunc(time.Second, func() { c.SetWriteDeadline(time.Now().Add(-time.Second)) })
				took(3*time.Second, time.Now().Add(3*time.Second))
				wantTimeout(t, c.WriteMessage(Text, nil))
				blocked.Store(false)
				c.SetWriteDeadline(time.Time{})
				if err := c.WriteMessage(Text, []byte("and on")); err != nil {
					t.Error(err)
				}
				p.expect(Text, "kept")
				p.expect(Text, "and on")
				if p.nc.Buffered() != 0 || c.Err() != nil {
					t.Errorf("%d bytes more, %v", p.nc.Buffered(), c.Err())
				}
			})
		})
	}
}

// undated has no deadlines.
type undated struct{ *netsim.Conn }

func (undated) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// Where the transport has no deadlines the connection ends at that of WriteControl, and a
// Close or Shutdown of others ends it before.
func TestWriteControlEndsWithTheConnection(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		f     func(c *Conn)
	}{
		{"deadline", 3 * time.Second, func(*Conn) {}},
		{"Close", time.Second, func(c *Conn) { c.Close() }},
		{"Shutdown", 2 * time.Second, func(c *Conn) { c.Shutdown(context.Background(), frame.CodeNormal, "") }},
	} {
		for _, held := range []bool{false, true} { // the lock, instead of the transport
			t.Run(fmt.Sprintf("%s/lock held %v", tt.name, held), func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					nc, far := netsim.Pipe(0)
					defer far.Close()
					nc.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
					c := New(undated{nc}, role, &Config{KeepAlive: -1, StallTimeout: -1, CloseTimeout: time.Second})
					if held {
						c.lock.tryLock()
					}
					time.AfterFunc(time.Second, func() { tt.f(c) })
					start := time.Now()
					err := c.WriteControl(frame.Ping, nil, time.Now().Add(3*time.Second))
					if got := time.Since(start); got != tt.after {
						t.Errorf("after %v, want %v", got, tt.after)
					}
					if tt.name == "deadline" && held {
						wantTimeout(t, err)
					} else if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					if held {
						c.unlockWrite()
					}
					c.Close()
				})
			})
		}
	}
}

// With FailFast a ping or pong does not wait, and what was begun of it goes out whole.
func TestWriteControlFailsFast(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, &Config{FailFast: true}), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	c.lock.tryLock()
	if err := c.WriteControl(frame.Ping, nil, time.Now().Add(time.Hour)); err != ErrWouldBlock {
		t.Error(err)
	}
	c.unlockWrite()
	sent := 0
	payload := bytes.Repeat([]byte("p"), frame.MaxControlPayload)
	for refused := 0; refused < 100; {
		switch err := c.WriteControl(frame.Pong, payload, time.Now().Add(time.Hour)); err {
		case nil:
			sent++
		case ErrWouldBlock:
			refused++
		default:
			t.Fatal(err)
		}
	}
	for range sent {
		if f, err := d.NextFrame(); err != nil || f.Header.Opcode != frame.Pong || !bytes.Equal(f.Payload, payload) {
			t.Fatal(f, err)
		}
	}
}

// Config.Outbound is asked about pings and pongs, and not about a Close.
func TestWriteControlAsksOutbound(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		refused := errors.New("refused")
		var asked []string
		c, _, p := simulate(t, role, Config{Outbound: func(_ *Conn, op Opcode, size int) error {
			asked = append(asked, fmt.Sprint(op, size))
			if op == frame.Ping {
				return refused
			}
			return nil
		}}, 0)
		defer c.Close()
		if err := c.WriteControl(frame.Ping, []byte("abc"), time.Time{}); err != refused {
			t.Error(err)
		}
		if err := c.WriteControl(frame.Pong, []byte("abcd"), time.Time{}); err != nil {
			t.Error(err)
		}
		if err := c.WriteControl(frame.Close, nil, time.Time{}); err != nil {
			t.Error(err)
		}
		p.expect(frame.Pong, "abcd")
		p.expect(frame.Close, "")
		if got := fmt.Sprint(asked); got != "[ping 3 pong 4]" && got != "[ping3 pong4]" {
			t.Errorf("asked about %s", got)
		}
		p.send(p.closing(frame.CodeNormal, ""))
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeNormal {
			t.Error(err)
		}
	})
}
