package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Who takes the side from a reader that has parked it never runs beside a quick call. Without
// the fence in settle this fails within a second on amd64.
func TestReadLockKeepsQuickCallsOut(t *testing.T) {
	takes := 20_000
	if testing.Short() {
		takes = 2_000
	}
	testQuickCallsOut(t, takes, (*readLock).settle)
}

func testQuickCallsOut(t *testing.T, takes int, settle func(*readLock)) {
	var l readLock
	l.state.Store(readParked)
	var owned [2]uint64 // by who has the side: both words are always the same
	step := func() bool {
		a := owned[0]
		owned[0] = a + 1
		b := owned[1]
		owned[1] = b + 1
		return a == b
	}
	// Stores that miss the caches stand before that of quickBusy: it is seen late.
	far := make([]byte, 64<<20)
	at := 0
	stop, quick := make(chan struct{}), uint64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			for range 1000 {
				for range 8 {
					at = (at + 1234567*64) % len(far)
					far[at] = 1
				}
				if n, ok := l.enter(); ok {
					met := !step()
					quick++
					l.leave(n + quickCount)
					if met {
						t.Error("the reader met another one")
						return
					}
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var spun atomic.Uint64
	for i := range takes {
		for range i % 512 { // the reader goes on for a while
			spun.Add(1)
		}
		for l.state.Load() != readParked || !l.state.CompareAndSwap(readParked, readBusy) {
			runtime.Gosched()
		}
		settle(&l)
		if !step() {
			t.Error("a quick call runs beside who has taken the side")
			break
		}
		l.state.Store(readParked)
	}
	close(stop)
	wg.Wait()
	if owned[0] != owned[1] || owned[0] != quick+uint64(takes) {
		t.Errorf("%d and %d steps, of %d quick calls and %d others", owned[0], owned[1], quick, takes)
	}
	t.Logf("%d quick calls, %d takes", quick, takes)
	if got := l.delivered(); got != quick {
		t.Errorf("%d delivered, want %d", got, quick)
	}
}

// A reader goes through bursts while others look at its side, as the keepalive does, and in
// the end Shutdown takes it, from the loop's body or from elsewhere: every message comes once,
// in order and whole, and none after that.
func TestReadLockUnderLooks(t *testing.T) {
	for _, inside := range []bool{true, false} {
		for name, open := range readLockPairs {
			t.Run(name+map[bool]string{true: ", Shutdown inside", false: ", Shutdown outside"}[inside], func(t *testing.T) {
				c, d := open(t)
				defer c.Close()
				defer d.Close()
				const total = 40_000
				go func() {
					for i := range uint64(total) {
						var p [40]byte
						binary.LittleEndian.PutUint64(p[i%32:], i)
						if d.AppendMessage(Binary, p[:]) != nil {
							return
						}
						if i%500 == 499 && d.Flush() != nil {
							return
						}
					}
					_ = d.Flush()
					for { // takes part in the close handshake
						if _, err := d.ReadMessage(); err != nil {
							return
						}
					}
				}()
				looks, stop := 0, make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							c.unread()
							looks++
							runtime.Gosched()
						}
					}
				})
				const last = total - total/10
				ended := make(chan error, 1)
				shutdown := func() { ended <- c.Shutdown(context.Background(), frame.CodeNormal, "") }
				next := uint64(0)
				var failed error
				for m, err := range c.Messages() {
					if err != nil {
						failed = err
						break
					}
					if n := binary.LittleEndian.Uint64(m.Data[next%32:]); n != next || len(m.Data) != 40 {
						t.Fatalf("message %d of %d B has number %d", next, len(m.Data), n)
					}
					if next++; next == last {
						if inside {
							shutdown()
						} else {
							go shutdown()
						}
					}
					if next > last && inside {
						t.Fatal("a message after Shutdown")
					}
				}
				if err := <-ended; err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				close(stop)
				wg.Wait()
				var e *CloseError
				if !errors.As(failed, &e) || e.Code != frame.CodeNormal {
					t.Errorf("the loop ended with %v", failed)
				}
				if s := c.Stats(); s.MessagesRead != next || next < last {
					t.Errorf("%d messages by Stats, %d by the loop, at least %d wanted", s.MessagesRead, next, last)
				}
				if looks == 0 {
					t.Error("nobody looked")
				}
			})
		}
	}
}

var readLockPairs = map[string]func(*testing.T) (c, d *Conn){
	"TCP": func(t *testing.T) (c, d *Conn) {
		a, b := loopback(t)
		return New(a, frame.Client, nil), New(b, frame.Server, nil)
	},
	"TLS": func(t *testing.T) (c, d *Conn) {
		a, b := loopback(t)
		c, server := secureOver(t, a, b, Config{})
		return c, New(server, frame.Server, nil)
	},
	"masked": func(t *testing.T) (c, d *Conn) {
		a, b := loopback(t)
		return New(a, frame.Server, nil), New(b, frame.Client, nil)
	},
}

// The other ways to read, and More, work between quick calls, and after them.
func TestReadLockBetweenWaysToRead(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, nil), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	const total = 6000
	go func() {
		for i := range uint64(total) {
			var p [24]byte
			binary.LittleEndian.PutUint64(p[:], i)
			if d.AppendMessage(Binary, p[:]) != nil {
				return
			}
		}
		_ = d.Flush()
	}()
	next, more := uint64(0), 0
	take := func(p []byte) {
		if n := binary.LittleEndian.Uint64(p); n != next {
			t.Fatalf("message %d has number %d", next, n)
		}
		next++
	}
	for next < total {
		switch next % 7 {
		case 3:
			f, err := c.NextFrame()
			if err != nil {
				t.Fatal(err)
			}
			take(f.Payload)
		case 5:
			_, r, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			var p [24]byte
			for n := 0; n < len(p); {
				k, err := r.Read(p[n:])
				if n += k; err != nil && n < len(p) {
					t.Fatal(err)
				}
			}
			take(p[:])
		default:
			if next%1000 == 999 {
				batch, err := c.TakeBatch()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range batch.Messages {
					take(m.Data)
				}
				batch.Release()
				continue
			}
			m, err := c.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if c.More() {
				more++
			}
			take(m.Data)
		}
	}
	if more == 0 {
		t.Error("More never saw a message")
	}
	if s := c.Stats(); s.MessagesRead != total {
		t.Errorf("Stats says %d of %d", s.MessagesRead, total)
	}
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c.More() {
		t.Error("More at the end")
	}
}
