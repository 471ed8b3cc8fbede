package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Many goroutines write, ping and set deadlines while one reads: every message arrives whole, those of one writer in order (R17), under
// few and many processors, and with the collector running all the time (F54, F57, F58).
func TestR17ConcurrentWriters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		procs int
		gc    int
		tls   bool
	}{{"2 processors", 2, 100, false}, {"1 processor", 1, 100, false}, {"64 processors", 64, 100, false}, {"collector", 2, 1, false}, {"TLS", 2, 100, true}} {
		t.Run(tt.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(tt.procs))
			defer debug.SetGCPercent(debug.SetGCPercent(tt.gc))
			a, b := loopback(t)
			var c, d *Conn
			if tt.tls {
				var server net.Conn
				c, server = secureOver(t, a, b, Config{})
				d = New(server, frame.Server, nil)
			} else {
				c, d = New(a, frame.Client, nil), New(b, frame.Server, nil)
			}
			testWriters(t, c, d)
		})
	}
}

const writers, perWriter = 8, 200

func testWriters(t *testing.T, c, d *Conn) {
	defer c.Close()
	defer d.Close()
	go func() { // c's own reader, for pongs
		for {
			if _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range perWriter {
				text := fmt.Appendf(nil, "%d %d %s", w, i, strings.Repeat("x", (i*37)%3000))
				var err error
				switch i % 4 {
				case 0:
					err = c.WriteMessage(Text, text)
				case 1:
					err = c.AppendMessage(Text, text)
				case 2:
					var m io.WriteCloser
					if m, err = c.NextWriter(Text); err == nil {
						m.Write(text[:len(text)/2])
						m.Write(text[len(text)/2:])
						err = m.Close()
					}
				case 3:
					c.SetWriteDeadline(time.Now().Add(time.Minute))
					if _, err = c.Ping(t.Context()); err == nil {
						err = c.WriteOwned(Text, append(make([]byte, HeaderRoom), text...))
					}
				}
				if err != nil {
					t.Errorf("writer %d, message %d: %v", w, i, err)
					return
				}
			}
			c.Flush()
		})
	}
	shut := make(chan error, 1)
	go func() {
		wg.Wait()
		shut <- c.Shutdown(context.Background(), frame.CodeNormal, "")
	}()
	defer func() {
		if err := <-shut; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}()
	next := make([]int, writers)
	for m, err := range d.Messages() {
		if err != nil {
			if CloseCode(err) != frame.CodeNormal {
				t.Error(err)
			}
			break
		}
		var w, i int
		fmt.Sscan(string(m.Data[:min(len(m.Data), 20)]), &w, &i)
		if i != next[w] || len(m.Data) != len(fmt.Sprintf("%d %d ", w, i))+(i*37)%3000 {
			t.Errorf("writer %d: message %d of %d bytes, want message %d", w, i, len(m.Data), next[w])
			d.Close()
			break
		}
		next[w]++
		if i%50 == 0 {
			d.WriteMessage(Text, []byte("seen"))
		}
	}
	for w, n := range next {
		if n != perWriter {
			t.Errorf("%d messages of writer %d", n, w)
		}
	}
}

// Everything at once against Close: an error for everybody, never a panic (F23, V27–V29).
func TestF23EverythingAgainstClose(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 30
	}
	for i := range rounds {
		a, b := loopback(t)
		var cfg Config
		if i%12 < 3 {
			cfg.Control = func(c *Conn, op Opcode, payload []byte) (bool, error) {
				c.SetReadLimit(int64(i) << 20)
				err := c.WriteControl(frame.Pong, payload, time.Now().Add(time.Millisecond))
				if errors.Is(err, net.ErrClosed) {
					err = nil
				}
				return i%2 == 0, err
			}
		}
		c, d := New(a, frame.Client, &cfg), New(b, frame.Server, &cfg)
		var wg sync.WaitGroup
		use := func(c *Conn) {
			for _, call := range calls {
				if i%4 < 2 && call.name == "WriteControl of a Close" {
					continue // nothing else is written after it
				}
				wg.Go(func() {
					for n := 0; ; n++ {
						err := call.f(c)
						if errors.Is(err, net.ErrClosed) {
							return
						}
						if err == ErrShutdown {
							runtime.Gosched()
						}
					}
				})
			}
			wg.Go(func() {
				for c.Err() == nil {
					c.SetDeadline(time.Now().Add(time.Millisecond))
					c.More()
					c.Stats()
					c.SetReadLimit(1 << 20)
				}
			})
		}
		use(c)
		use(d)
		switch i % 6 {
		case 0:
			wg.Go(func() { c.Close() })
			wg.Go(func() { d.Close() })
		case 1:
			wg.Go(func() { c.Shutdown(t.Context(), frame.CodeNormal, "") })
			wg.Go(func() { d.Shutdown(t.Context(), frame.CodeNormal, "") })
		case 2:
			wg.Go(func() { c.Shutdown(t.Context(), frame.CodeNormal, ""); c.Close() })
			wg.Go(func() { d.Close() })
		case 3:
			ctx, cancel := context.WithCancel(t.Context())
			c.Bind(ctx)
			cancel()
		case 4:
			wg.Go(func() { b.SetLinger(0); d.Close() })
			wg.Go(func() { c.Shutdown(t.Context(), frame.CodeNormal, "") })
		case 5:
			wg.Go(func() { c.abort(&TimeoutError{Clock: ClockData}) })
		}
		wg.Wait()
		c.Close()
		d.Close()
		<-c.Done()
		<-d.Done()
	}
}

// The caller's bytes are never changed, wherever they lie, but by WriteOwned (F67).
func TestF67CallersBytes(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, nil), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	for at := range 64 {
		for _, n := range []int{0, 1, 7, 63, 200, 5000} {
			memory := bytes.Repeat([]byte("0123456789abcdef"), 400)
			want := bytes.Clone(memory)
			for _, write := range []func() error{
				func() error { return c.WriteMessage(Text, memory[at:at+n]) },
				func() error { c.AppendMessage(Binary, memory[at:at+n]); return c.Flush() },
				func() error {
					w, err := c.NextWriter(Binary)
					if err != nil {
						return err
					}
					w.Write(memory[at : at+n])
					return w.Close()
				},
			} {
				if err := write(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(memory, want) {
					t.Fatalf("%d bytes at %d were changed", n, at)
				}
				if m, err := d.ReadMessage(); err != nil || !bytes.Equal(m.Data, want[at:at+n]) {
					t.Fatalf("%d bytes at %d came otherwise: %v", n, at, err)
				}
			}
		}
	}
}

// A peer that does not read: with FailFast a write fails at once, what was begun goes out whole, and the connection lives.
func TestFailFast(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			a, b := loopback(t)
			var c *Conn
			var far net.Conn = b
			if secure {
				c, far = secureOver(t, a, b, Config{FailFast: true})
			} else {
				c = New(a, frame.Client, &Config{FailFast: true})
			}
			d := New(far, frame.Server, nil)
			defer c.Close()
			defer d.Close()
			message := bytes.Repeat([]byte("f"), 100000)
			sent, refused := 0, 0
			for refused < 100 {
				switch err := c.WriteMessage(Text, message); err {
				case nil:
					sent++
				case ErrWouldBlock:
					refused++
					runtime.Gosched()
				default:
					t.Fatal(err)
				}
			}
			for range sent {
				wantMessage(t, d, Text, string(message))
			}
			for {
				if err := c.WriteMessage(Text, []byte("again")); err == nil {
					break
				} else if err != ErrWouldBlock {
					t.Fatal(err)
				}
			}
			wantMessage(t, d, Text, "again")
			if n := c.Stats().MessagesWritten; n != uint64(sent)+1 {
				t.Errorf("%d messages counted, %d sent", n, sent+1)
			}
		})
	}
}

// A slow reader holds the peer up through TCP, and holds no memory for it (F37).
func TestF37BackPressure(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, nil), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	message := bytes.Repeat([]byte("b"), 1000)
	wrote := make(chan int, 1)
	go func() {
		n := 0
		d.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for d.WriteMessage(Binary, message) == nil {
			n++
		}
		wrote <- n
	}()
	wantMessage(t, c, Binary, string(message))
	n := <-wrote
	if size := c.r.Buffer(); size > frame.DefaultMaxBuffer {
		t.Errorf("%d messages wait, and %d bytes of read buffer are held", n, size)
	}
	for range n - 1 {
		wantMessage(t, c, Binary, string(message))
	}
}

// Stamps tell of each read when the kernel had it and how much more there is.
func TestTimestamps(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			a, b := loopback(t)
			slow := new(slowObserver)
			cfg := Config{Timestamps: true, ReadBuffer: 4096, BacklogLimit: 100000, LagLimit: time.Hour, Observer: slow}
			var c *Conn
			var far net.Conn = b
			most := cfg.ReadBuffer
			if secure {
				most = 32 << 10 // room for a record
				c, far = secureOver(t, a, b, cfg)
			} else {
				c = New(a, frame.Client, &cfg)
			}
			d := New(far, frame.Server, nil)
			defer c.Close()
			defer d.Close()
			for until := time.Now().Add(5 * time.Second); c.LastRead().Kernel.IsZero() && time.Now().Before(until); {
				d.WriteMessage(Text, []byte("is it stamped yet?"))
				wantMessage(t, c, Text, "is it stamped yet?")
			}
			start := time.Now()
			const total = 300 * 1000
			for range 300 {
				d.AppendMessage(Text, bytes.Repeat([]byte("s"), 1000))
			}
			d.Flush()
			wrote := time.Now()
			for i := range 300 {
				if _, err := c.ReadMessage(); err != nil {
					t.Fatal(err)
				}
				info := c.LastRead()
				if info.Kernel.Before(start.Add(-time.Millisecond)) || info.Kernel.After(wrote.Add(time.Millisecond)) || info.User.Before(info.Kernel) || info.Bytes < 1 || info.Bytes > most {
					t.Fatalf("message %d: %+v, written between %v and %v", i, info, start, wrote)
				}
				if i == 0 && info.Backlog < total/2 || i == 299 && info.Backlog != 0 {
					t.Errorf("message %d: %d bytes more", i, info.Backlog)
				}
			}
			s := c.Stats()
			if s.MaxBacklog < total/2 || s.MaxLag <= 0 || s.Stamped == 0 || s.TotalLag < s.MaxLag {
				t.Errorf("%+v", s)
			}
			if slow.n != 1 || slow.last.Backlog < total/2 {
				t.Errorf("the Observer heard %d times, last of %+v", slow.n, slow.last)
			}
		})
	}
}

type slowObserver struct {
	n    int
	last ReadInfo
}

func (o *slowObserver) Control(*Conn, frame.Opcode, []byte, bool) {}
func (o *slowObserver) RoundTrip(*Conn, time.Duration)            {}
func (o *slowObserver) Ended(*Conn, error)                        {}
func (o *slowObserver) Slow(_ *Conn, i ReadInfo)                  { o.n, o.last = o.n+1, i }

// With Spin a read polls before it parks, and still ends with its deadline, with Close and with data.
func TestSpin(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, &Config{Spin: 2 * time.Millisecond}), New(b, frame.Server, nil)
	defer d.Close()
	for i := range 50 {
		text := fmt.Sprint(i)
		go func() {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			d.WriteMessage(Text, []byte(text))
		}()
		wantMessage(t, c, Text, text)
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	_, err := c.ReadMessage()
	wantTimeout(t, err)
	c.SetReadDeadline(time.Time{})
	time.AfterFunc(5*time.Millisecond, func() { c.Close() })
	if _, err := c.ReadMessage(); err != ErrClosed {
		t.Error(err)
	}
}
