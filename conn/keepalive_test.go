package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// backlogObserver counts what Slow tells.
type backlogObserver struct {
	slow    atomic.Int32
	backlog atomic.Int64
}

func (o *backlogObserver) Control(*Conn, frame.Opcode, []byte, bool) {}
func (o *backlogObserver) RoundTrip(*Conn, time.Duration)            {}
func (o *backlogObserver) Ended(*Conn, error)                        {}
func (o *backlogObserver) Slow(_ *Conn, i ReadInfo) {
	o.slow.Add(1)
	o.backlog.Store(int64(i.Backlog))
}

// F71: while bytes of the peer's wait, in the transport or decoded only in part, no clock judges it dead; the Observer hears that
// this side does not read. When it has caught up, and the peer is silent, the clock runs as ever.
func TestF71BusyConsumerIsNotADeadPeer(t *testing.T) {
	for name, cfg := range map[string]Config{
		"transport": {KeepAlive: time.Second},
		"data":      {KeepAlive: -1, DataTimeout: time.Second},
		"pong":      {KeepAlive: 10 * time.Second, PongTimeout: time.Second},
	} {
		for _, where := range []string{"transport", "buffer"} {
			t.Run(name+" clock, "+where, func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					var o backlogObserver
					cfg := cfg
					cfg.Observer = &o
					c, a, p := simulate(t, role, cfg, 0)
					defer c.Close()
					if where == "transport" {
						a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Max: 9 - 4*int(1-role)} })
					}
					for i := range 10 {
						p.send(p.message(Text, fmt.Sprintf("%03d", i)))
					}
					for i := range 10 {
						wantMessage(t, c, Text, fmt.Sprintf("%03d", i))
						time.Sleep(time.Minute + 10*time.Millisecond) // never at the time of a look
						if i < 9 && c.Err() != nil {
							t.Fatalf("message %d: %v", i, c.Err())
						}
						if n := o.slow.Load(); i < 9 && n != int32(i+1) {
							t.Fatalf("message %d: the Observer was told %d times, %d bytes", i, n, o.backlog.Load())
						}
					}
					wantClock(t, c.Err(), Clock(name))
					if o.backlog.Load() == 0 {
						t.Error("no backlog was told")
					}
				})
			})
		}
	}
}

// The same over sockets, where the kernel is asked: plain, and under TLS.
func TestF71BusyConsumerOverSockets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			var o backlogObserver
			a, b := loopback(t)
			cfg := Config{KeepAlive: 200 * time.Millisecond, Observer: &o}
			var c *Conn
			write := b.Write
			if secure {
				client, server := secureOver(t, a, b, cfg)
				c, write = client, server.Write
			} else {
				c = New(a, frame.Client, &cfg)
			}
			defer c.Close()
			send := func(text string) {
				if _, err := write(encodedFrame(frame.Server, frame.Header{Fin: true, Opcode: Text}, []byte(text))); err != nil {
					t.Fatal(err)
				}
			}
			send("one")
			wantMessage(t, c, Text, "one")
			send("two")
			for until := time.Now().Add(20 * time.Second); o.slow.Load() == 0 && c.Err() == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("the Observer was not told")
				}
			}
			wantMessage(t, c, Text, "two")
			_, err := c.ReadMessage()
			wantClock(t, err, ClockTransport)
		})
	}
}

// F72: a peer that reads nothing and answers pings does not hold a write for ever: the write clock is on by default. What has come is
// still read, and the end is the clock's.
func TestF72BlockedWriteIsJudged(t *testing.T) {
	for name, cfg := range map[string]Config{
		"default":      {KeepAlive: DefaultKeepAlive, StallTimeout: DefaultStallTimeout},
		"no keepalive": {KeepAlive: -1, StallTimeout: 16 * time.Second},
		"FailFast":     {KeepAlive: time.Hour, StallTimeout: time.Minute, FailFast: true},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, _, p := simulate(t, role, cfg, 1000)
				defer c.Close()
				stop := make(chan struct{})
				defer close(stop)
				go func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-time.After(5 * time.Second):
							p.nc.Write(p.message(frame.Pong, "alive"))
						}
					}
				}()
				read := make(chan error, 1)
				go func() { _, err := c.ReadMessage(); read <- err }()
				start := time.Now()
				err := c.WriteMessage(Binary, make([]byte, 5000))
				if cfg.FailFast {
					if err != nil && err != ErrWouldBlock {
						t.Error(err)
					}
					for err == nil || err == ErrWouldBlock {
						time.Sleep(time.Second)
						err = c.WriteMessage(Binary, make([]byte, 10))
					}
				}
				limit := cfg.StallTimeout
				if d := time.Since(start); d < limit || d > limit+limit/4+time.Second {
					t.Errorf("judged after %v", d)
				}
				wantClock(t, err, ClockWrite)
				wantClock(t, <-read, ClockWrite)
				if d := time.Since(start); d > limit+limit/4+DefaultCloseTimeout+time.Second {
					t.Errorf("ended after %v", d)
				}
			})
		})
	}
}

// A write that makes progress, however slowly, is not judged; nor is one that waits for nothing but the caller.
func TestF72SlowWriteIsNotJudged(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{KeepAlive: -1, StallTimeout: 8 * time.Second}, 100)
		defer c.Close()
		a.Script(func(op netsim.Op, _, n int) netsim.Step { return netsim.Step{} })
		done := make(chan error, 1)
		go func() {
			for range 100 {
				if err := c.WriteMessage(Binary, make([]byte, 100)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		b := make([]byte, 110)
		for n := 0; n < 100*100; {
			time.Sleep(3 * time.Second)
			k, err := p.nc.Read(b)
			if err != nil {
				t.Fatal(n, err)
			}
			n += k
		}
		go func() {
			for {
				if _, err := p.nc.Read(b); err != nil {
					return
				}
			}
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		p.nc.CloseWrite()
	})
}

// Over a socket the kernel tells of progress that no write call shows.
func TestF72StalledSocket(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			a, b := loopback(t)
			cfg := Config{KeepAlive: -1, StallTimeout: 50 * time.Millisecond, CloseTimeout: 50 * time.Millisecond}
			var c *Conn
			if secure {
				c, _ = secureOver(t, a, b, cfg)
			} else {
				c = New(a, frame.Client, &cfg)
			}
			defer c.Close()
			var err error
			for err == nil {
				err = c.WriteMessage(Binary, make([]byte, 1<<20))
			}
			wantClock(t, err, ClockWrite)
			_, err = c.ReadMessage()
			wantClock(t, err, ClockWrite)
		})
	}
}

// F71: what a reader is just taking spares nobody for ever. Pings without end are no data,
// and no answer to a ping of ours.
func TestF71AFloodOfPingsIsNoData(t *testing.T) {
	for _, tt := range []struct {
		clock Clock
		cfg   Config
	}{
		{ClockData, Config{KeepAlive: -1, DataTimeout: 100 * time.Millisecond}},
		{ClockPong, Config{KeepAlive: 200 * time.Millisecond, PongTimeout: 100 * time.Millisecond}},
	} {
		t.Run(string(tt.clock), func(t *testing.T) {
			a, b := loopback(t)
			c := New(a, frame.Client, &tt.cfg)
			defer c.Close()
			pings := bytes.Repeat([]byte("\x89\x00"), 8<<10)
			flood := make(chan struct{})
			go func() {
				defer close(flood)
				if tt.clock == ClockPong {
					b.Read(make([]byte, 100)) // the ping
				}
				go io.Copy(io.Discard, b)
				for {
					if _, err := b.Write(pings); err != nil {
						return
					}
				}
			}()
			read := make(chan error, 1)
			go func() { _, err := c.ReadMessage(); read <- err }()
			select {
			case err := <-read:
				wantClock(t, err, tt.clock)
			case <-time.After(20 * time.Second):
				t.Error("the clock did not run out")
			}
			c.Close()
			b.Close()
			<-flood
		})
	}
}

// F71: so it is with a peer that has a byte come at the time of each look, and nothing else.
func TestF71ADripAtTheLooksIsNoData(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		const limit = 40 * time.Second
		c, _, p := simulate(t, role, Config{KeepAlive: -1, DataTimeout: limit}, 0)
		gone := make(chan struct{})
		defer func() { <-gone }()
		go func() {
			defer close(gone)
			for _, b := range p.message(Text, strings.Repeat("d", 10000)) {
				if _, err := p.nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(limit / 8)
			}
		}()
		start := time.Now()
		_, err := c.ReadMessage()
		wantClock(t, err, ClockData)
		if d := time.Since(start); d < limit || d > limit+(maxSpared+1)*limit/8 {
			t.Errorf("judged after %v", d)
		}
	})
}

// What crypto/tls holds of a connection that was not made for it cannot be seen: a side
// that does not read does not judge.
func TestF71UnreadUnderForeignTLS(t *testing.T) {
	a, b := loopback(t)
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	server := tls.Server(b, serverTLS)
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := tls.Client(a, clientTLS)
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	var o backlogObserver
	c := New(client, frame.Client, &Config{KeepAlive: 20 * time.Millisecond, Observer: &o})
	defer c.Close()
	var record []byte
	for range 2 {
		record = append(record, encodedFrame(frame.Server, frame.Header{Fin: true, Opcode: Binary}, make([]byte, 7000))...)
	}
	if _, err := server.Write(record); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); o.slow.Load() == 0 && c.Err() == nil && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	if _, err := c.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	_, err := c.ReadMessage()
	wantClock(t, err, ClockTransport)
}

// Who has the write lock and does something else than write, as compressing a large message, waits for nobody: the peer is not judged.
func TestF72OnlyWaitingIsJudged(t *testing.T) {
	for name, keepAlive := range map[string]time.Duration{"with a keepalive": 1000 * time.Hour, "lazy": -1} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, _, p := simulate(t, role, Config{KeepAlive: keepAlive, StallTimeout: time.Second}, 0)
				defer c.Close()
				if err := c.WriteMessage(Text, []byte("one")); err != nil { // it starts the lazy clock
					t.Fatal(err)
				}
				p.expect(Text, "one")
				for range 3 {
					c.lock.tryLock()
					time.Sleep(time.Hour)
					c.unlockWrite()
					if err := c.WriteMessage(Text, []byte("two")); err != nil {
						t.Fatal(err)
					}
					p.expect(Text, "two")
				}
			})
		})
	}
}

// A process that was stopped for a while has not listened, nor sent its ping: the peer is judged by the time before and behind.
func TestF71StoppedProcessIsNotADeadPeer(t *testing.T) {
	for name, cfg := range map[string]Config{
		"transport": {KeepAlive: time.Minute},
		"data":      {KeepAlive: -1, DataTimeout: time.Minute},
		"pong":      {KeepAlive: 20 * time.Second, PongTimeout: time.Minute},
		"write":     {KeepAlive: time.Hour, StallTimeout: time.Minute, CloseTimeout: 1},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, role frame.Role) {
				c, _, p := simulate(t, role, cfg, 1000)
				defer c.Close()
				go c.ReadMessage()
				if name == "write" {
					go c.WriteMessage(Binary, make([]byte, 5000))
				}
				if name == "pong" { // other bytes keep the transport clock away
					stop := make(chan struct{})
					defer close(stop)
					go func() {
						for {
							select {
							case <-stop:
								return
							case <-time.After(15 * time.Second):
								p.nc.Write(p.message(frame.Pong, ""))
							}
						}
					}()
				}
				time.Sleep(36 * time.Second) // between two looks
				c.mu.Lock()                  // behind the last look
				c.keepalive.timer.Stop()
				c.mu.Unlock()
				time.Sleep(time.Hour)
				start := time.Now()
				c.keepalive.timer.Reset(0)
				time.Sleep(time.Second)
				if err := c.Err(); err != nil {
					t.Fatal(err)
				}
				<-c.Done()
				wantClock(t, c.Err(), Clock(name))
				if d := time.Since(start); d > 90*time.Second {
					t.Errorf("judged after %v", d)
				}
			})
		})
	}
}

// The clocks may look at bytes of a tunnel that came early while a read takes them.
func TestF71UnreadOfATunnel(t *testing.T) {
	a, b := loopback(t)
	var early []byte
	for range 1000 {
		early = append(early, encodedFrame(frame.Server, frame.Header{Fin: true, Opcode: Text}, []byte("early"))...)
	}
	tunnel := newTunnelConn(a, a, early)
	c := New(tunnel, frame.Client, &Config{KeepAlive: -1})
	defer c.Close()
	if n, waits, _ := c.unread(); n != len(early) || !waits {
		t.Errorf("%d bytes wait, want %d", n, len(early))
	}
	looked := make(chan bool)
	stop := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			select {
			case <-stop:
				return
			default:
				c.unread()
			}
		}
	}()
	for range 1000 {
		wantMessage(t, c, Text, "early")
	}
	close(stop)
	<-looked
	if n, _, _ := c.unread(); n != 0 {
		t.Errorf("%d bytes wait, want none", n)
	}
	b.Close()
}
