package conn

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// wantNothing fails unless TryRead finds nothing.
func wantNothing(t testing.TB, c *Conn) {
	t.Helper()
	if m, ok, err := c.TryRead(); ok || err != nil || m.Data != nil {
		t.Fatalf("%q, %v, %v; want nothing", m.Data, ok, err)
	}
}

// One call reads a socket once at most, and not at all while a message is buffered.
func TestTryReadReadsOnce(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("of Linux")
	}
	c, p := carried(t, carrier{}, Config{})
	if c.transport.Raw() == nil {
		t.Skip("no socket is read by its descriptor")
	}
	for range 3 {
		wantNothing(t, c)
	}
	if s := c.Stats(); s.Reads != 0 || s.Waits != 3 {
		t.Errorf("%+v", s)
	}
	p.send(message(Text, "one"), message(frame.Ping, ""), message(Text, "two"), message(Text, "three")[:4])
	for _, want := range []string{"one", "two"} {
		m, ok, err := c.TryRead()
		for !ok && err == nil { // until the kernel has brought it over
			m, ok, err = c.TryRead()
		}
		if string(m.Data) != want || err != nil {
			t.Fatalf("%q, %v", m.Data, err)
		}
	}
	wantNothing(t, c)
	if s := c.Stats(); s.Reads != 1 || s.MessagesRead != 2 || s.PingsRead != 1 {
		t.Errorf("%+v", s)
	}
	p.send(message(Text, "three")[4:])
	for {
		if m, ok, err := c.TryRead(); ok || err != nil {
			if string(m.Data) != "three" || c.Stats().Reads != 2 {
				t.Fatalf("%q, %v, %+v", m.Data, err, c.Stats())
			}
			return
		}
	}
}

// What cannot be read without a wait is left alone: only what is buffered comes.
func TestTryReadInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{}, 1<<16)
		defer c.Close()
		p.send(message(Text, "one"), message(Text, "two"))
		wantNothing(t, c)
		wantMessage(t, c, Text, "one")
		if m, ok, err := c.TryRead(); !ok || err != nil || string(m.Data) != "two" {
			t.Fatal(ok, err)
		}
		wantNothing(t, c)
		c.Close()
		if _, ok, err := c.TryRead(); ok || !errors.Is(err, ErrClosed) {
			t.Fatal(ok, err)
		}
	})
}

// What Config.ReadTimeout has armed for a call that waited is not for one that does not.
func TestTryReadHasNoReadTimeout(t *testing.T) {
	for _, by := range carriers {
		t.Run(by.name, func(t *testing.T) {
			c, p := carried(t, by, Config{ReadTimeout: 20 * time.Millisecond})
			p.send(message(Text, "one"))
			wantMessage(t, c, Text, "one")
			time.Sleep(time.Until(c.deadlines.times.armedRead))
			for range 3 {
				wantNothing(t, c)
			}
			if _, err := c.ReadMessage(); err != errReadTimeout {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Unix(1, 0))
			if _, ok, err := c.TryRead(); ok || err != errReadDeadline {
				t.Fatal(ok, err)
			}
		})
	}
}

// The beginning of a message, which another kind of read call has handed out, is passed over.
func TestTryReadPassesOver(t *testing.T) {
	for _, by := range carriers {
		t.Run(by.name, func(t *testing.T) {
			c, p := carried(t, by, Config{})
			p.send(frame.AppendFrame(nil, frame.Header{Opcode: Text}, []byte("the beginning")))
			if _, _, err := c.NextReader(); err != nil {
				t.Fatal(err)
			}
			wantNothing(t, c)
			p.send(frame.AppendFrame(nil, frame.Header{Fin: true}, []byte("the end")), message(Text, "next"))
			for {
				if m, ok, err := c.TryRead(); ok || err != nil {
					if string(m.Data) != "next" {
						t.Fatalf("%q, %v", m.Data, err)
					}
					return
				}
			}
		})
	}
}

// A side that calls TryRead no more is not taken for one that listens: what waits in the
// kernel tells of the peer's life.
func TestTryReadAndKeepAlive(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("of Linux")
	}
	slow := make(chan ReadInfo, 1)
	c, p := carried(t, carrier{}, Config{KeepAlive: 20 * time.Millisecond, Observer: slowTo(slow)})
	p.send(message(Text, "half of it")[:4])
	for c.Stats().BytesRead == 0 {
		wantNothing(t, c)
	}
	p.send(message(Text, "half of it")[4:])
	if i := <-slow; i.Backlog == 0 {
		t.Errorf("%+v", i)
	}
	if m, ok, err := c.TryRead(); !ok || err != nil || string(m.Data) != "half of it" {
		t.Fatal(ok, err)
	}
}

type slowTo chan ReadInfo

func (slowTo) Control(*Conn, frame.Opcode, []byte, bool) {}
func (slowTo) RoundTrip(*Conn, time.Duration)            {}
func (s slowTo) Slow(_ *Conn, i ReadInfo) {
	select {
	case s <- i:
	default:
	}
}
func (slowTo) Ended(*Conn, error) {}

// The answer to a Close, which the peer may not take, is no wait of TryRead's.
func TestTryReadDoesNotWaitForTheAnswer(t *testing.T) {
	for _, by := range carriers {
		for name, last := range map[string][]byte{
			"Close": goodbye(frame.CodeNormal, ""), "a broken frame": {0x83, 0}, "a broken Close": {0x88, 1},
			"Close, asked about": goodbye(frame.CodeNormal, ""), "Close, refused": goodbye(frame.CodeNormal, ""),
		} {
			t.Run(by.name+"/"+name, func(t *testing.T) {
				var cfg Config
				var first error = net.ErrClosed
				if _, how, asked := strings.Cut(name, ", "); asked {
					var err error
					if how == "refused" {
						err, first = errAsked, errAsked
					}
					cfg.Control = func(*Conn, Opcode, []byte) (bool, error) { return true, err }
				}
				c, p := carried(t, by, cfg)
				hold := make(chan struct{})
				c.lock.tryLock() // a writer that does not come to an end
				p.send(message(Text, "one"), last)
				for {
					m, ok, err := c.TryRead()
					if err != nil || ok && string(m.Data) != "one" {
						t.Fatalf("%q, %v", m.Data, err)
					}
					if ok {
						break
					}
				}
				for c.readState.state.Load()&readWanted == 0 {
					wantNothing(t, c)
				}
				for range 100 {
					wantNothing(t, c)
				}
				go func() { c.unlockWrite(); close(hold) }()
				if last[1] == 1 {
					p.send([]byte(strings.Repeat("x", 200)))
				}
				for {
					_, ok, err := c.TryRead()
					if ok {
						t.Fatal("a message after the end")
					}
					if err == nil {
						continue
					}
					if !errors.Is(err, first) {
						t.Errorf("%v, want %v", err, first)
					}
					break
				}
				if _, _, err := c.TryRead(); !errors.Is(err, net.ErrClosed) || err == errAsked {
					t.Errorf("then %v", err)
				}
				<-hold
			})
		}
	}
}
