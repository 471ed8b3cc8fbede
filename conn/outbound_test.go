package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// events are what a hook and a transport have seen, in their order.
type events struct {
	mu      sync.Mutex
	list    []string
	refusal error // what the hook returns
}

func (e *events) refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusal = err
}

func (e *events) answer() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refusal
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprintf(format, args...))
}

func (e *events) want(t *testing.T, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.list, want) {
		t.Errorf("%q, want %q", e.list, want)
	}
	e.list = nil
}

// asked returns a Conn whose hook notes what it is asked about, and whose transport notes what is written: by a client's first octet,
// which is not masked. The hook waits for a second.
func asked(t *testing.T, cfg Config) (*Conn, *netsim.Conn, *peer, *events) {
	e := new(events)
	cfg.Outbound = func(c *Conn, op Opcode, size int) error {
		time.Sleep(time.Second)
		e.add("ask %v %d", op, size)
		return e.answer()
	}
	c, a, p := simulate(t, frame.Client, cfg, 0)
	c.base = &noting{c.base.(*netsim.Conn), e}
	c.stream = c.base
	return c, a, p, e
}

// noting notes each write before it happens.
type noting struct {
	*netsim.Conn
	e *events
}

func (n *noting) Write(b []byte) (int, error) {
	var ops []string
	for rest := b; len(rest) > 0; {
		h, size := frame.ParseHeader(rest)
		ops = append(ops, h.Opcode.String())
		rest = rest[size+int(h.Length):]
	}
	n.e.add("write %s", strings.Join(ops, " "))
	return n.Conn.Write(b)
}

// The hook is asked before the first byte of a ping or pong, whoever writes it, and meanwhile nobody waits (K13).
func TestK13OutboundComesFirst(t *testing.T) {
	pingOf := func(p *peer, payload string) { p.send(p.message(frame.Ping, payload), p.message(Text, "next")) }
	tests := map[string]func(t *testing.T, c *Conn, a *netsim.Conn, p *peer, e *events){
		"a pong, the lock free": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			pingOf(p, "12345")
			start := time.Now()
			wantMessage(t, c, Text, "next")
			if time.Since(start) != 0 {
				t.Error("the reader waited for the hook")
			}
			synctest.Wait()
			e.want(t)
			time.Sleep(time.Second)
			synctest.Wait()
			e.want(t, "ask pong 5", "write pong")
			p.expect(frame.Pong, "12345")
		},
		"a pong, a writer in the lock": func(t *testing.T, c *Conn, a *netsim.Conn, p *peer, e *events) {
			release := make(chan struct{})
			a.Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write {
					<-release
				}
				return netsim.Step{}
			})
			written := make(chan error, 1)
			go func() { written <- c.WriteMessage(Text, []byte("stuck")) }()
			time.Sleep(time.Second)
			synctest.Wait()
			e.want(t, "ask text 5", "write text")
			pingOf(p, "1")
			wantMessage(t, c, Text, "next")
			time.Sleep(time.Second)
			synctest.Wait()
			e.want(t, "ask pong 1")
			close(release)
			if err := <-written; err != nil {
				t.Error(err)
			}
			synctest.Wait()
			e.want(t, "write pong")
		},
		"a pong before what is queued": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			c.AppendMessage(Text, []byte("queued"))
			e.want(t, "ask text 6")
			c.lock.tryLock()
			pingOf(p, "1")
			wantMessage(t, c, Text, "next")
			time.Sleep(time.Second)
			synctest.Wait()
			e.want(t, "ask pong 1")
			c.lock.unlock()
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			e.want(t, "write pong text")
		},
		"pings while the hook waits": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			for i := range 10 {
				pingOf(p, fmt.Sprint(i))
				wantMessage(t, c, Text, "next")
				synctest.Wait()
			}
			time.Sleep(5 * time.Second)
			e.want(t, "ask pong 1", "write pong", "ask pong 1", "write pong")
			p.expect(frame.Pong, "0")
			p.expect(frame.Pong, "9")
		},
		"Ping": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			go c.ReadMessage()
			go func() {
				m, _ := p.r.Next()
				time.Sleep(30 * time.Millisecond)
				p.send(p.message(frame.Pong, string(m.Data)))
			}()
			if rtt, err := c.Ping(t.Context()); err != nil || rtt != 30*time.Millisecond {
				t.Errorf("%v, %v", rtt, err)
			}
			e.want(t, "ask ping 8", "write ping")
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a Ping whose context ended within the hook: %v", err)
			}
			e.want(t)
			time.Sleep(time.Second)
		},
		"messages": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			prepared, _ := Prepare(Binary, []byte("xyz"))
			c.WriteMessage(Text, []byte("12"))
			c.AppendMessage(Text, []byte("123"))
			c.Flush()
			c.WriteOwned(Binary, make([]byte, HeaderRoom+4))
			c.WritePrepared(prepared)
			e.want(t, "ask text 2", "write text", "ask text 3", "write text", "ask binary 4", "write binary", "ask binary 3", "write binary")
			w, err := c.NextWriter(Text)
			if err != nil {
				t.Fatal(err)
			}
			w.Write([]byte("a"))
			w.Close()
			e.want(t, "ask text -1", "write text continuation")
		},
		"a Close, and what cannot be written": func(t *testing.T, c *Conn, _ *netsim.Conn, p *peer, e *events) {
			if err := c.WriteMessage(frame.Ping, nil); err != frame.ErrOpcode {
				t.Error(err)
			}
			if err := c.WriteMessage(Text, []byte("\xff")); err != ErrNotUTF8 {
				t.Error(err)
			}
			p.send(p.closing(frame.CodeNormal, ""))
			c.ReadMessage()
			time.Sleep(2 * time.Second)
			if err := c.WriteMessage(Text, nil); err != c.Err() {
				t.Error(err)
			}
			e.want(t, "write close")
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, a, p, e := asked(t, Config{})
				f(t, c, a, p, e)
				c.Close()
				p.nc.Close()
				synctest.Wait()
			})
		})
	}
}

// What the hook refuses is not sent, and its error comes back.
func TestK13OutboundRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := errors.New("not now")
		c, _, p, e := asked(t, Config{KeepAlive: 80 * time.Second, PongTimeout: 20 * time.Second})
		e.refuse(refusal)
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := c.ReadMessage(); err != nil {
					ended <- err
					return
				}
			}
		}()
		if err := c.WriteMessage(Text, []byte("no")); err != refusal {
			t.Error(err)
		}
		if _, err := c.NextWriter(Text); err != refusal {
			t.Error(err)
		}
		if _, err := c.Ping(t.Context()); err != refusal {
			t.Error(err)
		}
		p.send(p.message(frame.Ping, "never answered"))
		time.Sleep(time.Second)
		synctest.Wait()
		e.want(t, "ask text 2", "ask text -1", "ask ping 8", "ask pong 14")
		if n := c.Stats().BytesWritten; n != 0 {
			t.Errorf("%d bytes were written", n)
		}
		// The look at 10 s has seen the byte: the ping of the keepalive comes up 40 s later and every 10 s from then on. The pong
		// clock does not run, because no ping has gone.
		time.Sleep(48 * time.Second)
		e.want(t, "ask ping 8")
		time.Sleep(10 * time.Second)
		e.want(t, "ask ping 8")
		e.refuse(nil)
		time.Sleep(10 * time.Second)
		e.want(t, "ask ping 8", "write ping")
		wantClock(t, <-ended, ClockTransport)
		p.nc.Close()
	})
}

// The pong clock runs from when the hook has let the ping go.
func TestK13PongClockBehindOutbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, sent := make(chan time.Time, 1), make(chan time.Time, 1)
		c, _, p := simulate(t, frame.Client, Config{KeepAlive: 80 * time.Second, PongTimeout: 15 * time.Second,
			Outbound: func(c *Conn, op Opcode, size int) error {
				asked <- time.Now()
				time.Sleep(20 * time.Second)
				sent <- time.Now()
				return nil
			}}, 0)
		_, err := c.ReadMessage()
		wantClock(t, err, ClockPong)
		from, to := <-asked, <-sent
		if to.Sub(from) != 20*time.Second || time.Since(to) < 15*time.Second || time.Since(to) > 25*time.Second {
			t.Errorf("asked at %v, sent at %v, dead at %v", from, to, time.Now())
		}
		p.nc.Close()
	})
}

// A hook that waits holds up neither Close nor the end of the connection, and may wait for that.
func TestK13OutboundAndTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var returned atomic.Int32
		c, _, p := simulate(t, frame.Server, Config{Outbound: func(c *Conn, op Opcode, size int) error {
			<-c.Done()
			returned.Add(1)
			return nil
		}}, 0)
		p.send(p.message(frame.Ping, "1"), p.message(Text, "x"))
		wantMessage(t, c, Text, "x")
		synctest.Wait()
		start := time.Now()
		results := make(chan error, 2)
		go func() { _, err := c.Ping(t.Context()); results <- err }()
		go func() { results <- c.WriteMessage(Text, nil) }()
		synctest.Wait()
		c.Close()
		if err := errors.Join(<-results, <-results); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if returned.Load() != 2 || time.Since(start) != 0 { // of the ping it was not asked
			t.Errorf("the hook returned %d times, after %v", returned.Load(), time.Since(start))
		}
		p.nc.Close()
	})
}

// Pings over a socket and over TLS, whose writes take other ways: each pong is asked about first.
func TestK13OutboundOverSockets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			var mu sync.Mutex
			allowed := 0
			cfg := Config{KeepAlive: -1, Outbound: func(c *Conn, op Opcode, size int) error {
				mu.Lock()
				defer mu.Unlock()
				if op == frame.Pong {
					allowed++
				}
				return nil
			}}
			a, b := loopback(t)
			c, d := (*Conn)(nil), (*Conn)(nil)
			if secure {
				tc, ts := secureOver(t, a, b, cfg)
				c, d = tc, New(ts, frame.Server, &Config{KeepAlive: -1})
			} else {
				c, d = New(a, frame.Client, &cfg), New(b, frame.Server, &Config{KeepAlive: -1})
			}
			defer c.Close()
			defer d.Close()
			go c.ReadMessage()
			go d.ReadMessage()
			for i := range 200 {
				if _, err := d.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				if allowed != i+1 {
					t.Fatalf("%d pongs came and %d were asked about", i+1, allowed)
				}
				mu.Unlock()
			}
		})
	}
}
