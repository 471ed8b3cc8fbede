package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// A message of which one kind of read call has given a part is passed over by the others, and only that.
func TestReadCallsMixed(t *testing.T) {
	readers := map[string]func(c *Conn) (string, error){
		"ReadMessage": func(c *Conn) (string, error) { m, err := c.ReadMessage(); return string(m.Data), err },
		"TakeBatch": func(c *Conn) (string, error) {
			b, err := c.TakeBatch()
			if err != nil {
				return "", err
			}
			defer b.Release()
			return string(b.Messages[0].Data), nil
		},
		"NextReader": func(c *Conn) (string, error) {
			_, r, err := c.NextReader()
			if err != nil {
				return "", err
			}
			b, err := io.ReadAll(r)
			return string(b), err
		},
	}
	parts := map[string]func(c *Conn) error{
		"NextReader": func(c *Conn) error {
			_, r, err := c.NextReader()
			if err == nil {
				_, err = r.Read(make([]byte, 1))
			}
			return err
		},
		"NextFrame": func(c *Conn) error { _, err := c.NextFrame(); return err },
	}
	for part, take := range parts {
		for other, read := range readers {
			for third, again := range readers {
				t.Run(part+"/"+other+"/"+third, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c, _, p := simulate(t, frame.Client, Config{}, 1<<16)
						defer p.nc.Close()
						defer c.Close()
						first := []byte("one, the first part")
						send := func(b []byte) { p.nc.Write(b); synctest.Wait() }
						go func() {
							for range 2 {
								send(p.frame(frame.Header{Opcode: Text}, first))
								send(p.frame(frame.Header{Fin: true}, []byte("the rest")))
								send(p.message(Text, "two"))
								send(p.message(Text, "three"))
							}
						}()
						for range 2 {
							if err := take(c); err != nil {
								t.Fatal(err)
							}
							if s, err := read(c); s != "two" || err != nil {
								t.Fatalf("then %q, %v; want two", s, err)
							}
							if s, err := again(c); s != "three" || err != nil {
								t.Fatalf("at last %q, %v; want three", s, err)
							}
						}
					})
				})
			}
		}
	}
}

// The reader of a message that another call has passed over has nothing more, least of all what now stands in its memory.
func TestReaderOfAPassedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{}, 1<<16)
		defer p.nc.Close()
		defer c.Close()
		p.send(p.message(Text, "one one one"), p.message(Text, "two two two"))
		_, r, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		r.Read(make([]byte, 3))
		wantMessage(t, c, Text, "two two two")
		if b, err := io.ReadAll(r); len(b) != 0 || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	})
}

// So it is while the rest is passed over and a deadline has stopped that: there would be a hole in what the reader gives.
func TestReaderOfAMessageBeingPassed(t *testing.T) {
	one := strings.Repeat("one two three ", 40) + strings.Repeat("four", 40)
	var plain []byte
	for i, p := range cutUp([]byte(one), 40) {
		h := frame.Header{Fin: 40*(i+1) >= len(one), Opcode: Text}
		if i > 0 {
			h.Opcode = frame.Continuation
		}
		plain = frame.AppendFrame(plain, h, p)
	}
	for name, first := range map[string][]byte{"plain": plain, "compressed": framed(Text, cutUp(packed(t, []byte(one)), 5)...)} {
		for stop := 1; stop < len(first); stop++ {
			if raceEnabled && stop%5 != 0 { // one goroutine
				continue
			}
			reads := 0
			c := readingHalted(t, agreed(deflate.Config{}, frame.Options{}), append(bytes.Clone(first), framed(Text, packed(t, []byte("two")))...), 1, func() error {
				if reads++; reads == stop {
					return os.ErrDeadlineExceeded
				}
				return nil
			})
			_, r, err := c.NextReader()
			if err != nil { // before it found the message
				continue
			}
			if _, err := r.Read(make([]byte, 3)); err != nil {
				continue
			}
			if _, err := c.ReadMessage(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%s, stopped at %d: %v", name, stop, err)
			}
			if b, err := io.ReadAll(r); len(b) != 0 || err != nil {
				t.Fatalf("%s, stopped at %d: %q, %v", name, stop, b, err)
			}
			wantMessage(t, c, Text, "two")
			c.Close()
		}
	}
}

// What NextReader leaves of a compressed message is inflated before NextFrame goes on.
func TestDeflateReaderThenFrames(t *testing.T) {
	c, s := compressing(t, &deflate.Config{}, &deflate.Config{}, Config{})
	messages := ticks(40)
	go func() {
		for _, m := range messages {
			big := make([]byte, 100_000)
			for i := range big {
				big[i] = byte('a' + i*i%13 + i%7)
			}
			s.WriteMessage(Text, append(big, m...))
			s.WriteMessage(Text, m)
		}
	}()
	for i, m := range messages {
		_, r, err := c.NextReader()
		if err != nil {
			t.Fatal(i, err)
		}
		r.Read(make([]byte, 10))
		if i%2 == 0 {
			if f, err := c.NextFrame(); err != nil || !f.Header.Fin {
				t.Fatal(i, err, f.Header)
			}
			continue
		}
		got, err := c.ReadMessage()
		if err != nil || !bytes.Equal(got.Data, m) {
			t.Fatalf("message %d: %.60q, %v", i, got.Data, err)
		}
	}
}

// closer is an Observer that closes at the first control frame.
type closer struct{}

func (closer) Control(c *Conn, _ frame.Opcode, _ []byte, sent bool) {
	if !sent {
		c.Close()
	}
}
func (closer) RoundTrip(*Conn, time.Duration) {}
func (closer) Slow(*Conn, ReadInfo)           {}
func (closer) Ended(*Conn, error)             {}

// A frame that NextFrame returns is a view even if the connection ended meanwhile. (Build tag tickwiredebug is sure to show it.)
func TestFrameOfAnEndedConnIsValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{Observer: closer{}}, 1<<16)
		defer p.nc.Close()
		p.send(p.message(frame.Ping, "alive"))
		f, err := c.NextFrame()
		if err != nil {
			return
		}
		for range 4 {
			b := buffer.Get(4096)
			copy(b.B, bytes.Repeat([]byte{0xDB}, 4096))
		}
		if string(f.Payload) != "alive" {
			t.Fatalf("%q", f.Payload)
		}
	})
}

// A view stays valid while Shutdown reads what still comes.
func TestViewDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{}, 1<<16)
		defer p.nc.Close()
		p.send(p.message(Text, "the view in hand"))
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- c.Shutdown(context.Background(), frame.CodeNormal, "") }()
		p.expectClose(frame.CodeNormal)
		p.send(p.message(Text, strings.Repeat("x", 3000)), p.closing(frame.CodeNormal, ""))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for range 4 {
			b := buffer.Get(4096)
			copy(b.B, bytes.Repeat([]byte{0xDB}, 4096))
		}
		if string(m.Data) != "the view in hand" {
			t.Fatalf("%.30q", m.Data)
		}
		c.ReadMessage()
	})
}

// Without a WriteV what is queued and the caller's bytes are two writes: both are left to the goroutine.
func TestFailFastOwnedBehindAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Server, Config{FailFast: true}, 1<<16)
		defer p.nc.Close()
		defer c.Close()
		if err := c.AppendMessage(Text, []byte("queued")); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteOwned(Text, append(make([]byte, HeaderRoom), "owned"...)); err != nil {
			t.Fatal(err)
		}
		p.expect(Text, "queued")
		p.expect(Text, "owned")
	})
}

// A record that holds the answer and more than the handshake's memory takes: its messages come at once.
func TestTLSRecordWithTheAnswer(t *testing.T) {
	cert, pool := certify(t, nil, "h")
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{100, 1000, 3000, 9000} {
			message := strings.Repeat("m", size)
			host := func(nc net.Conn) {
				r, _ := request(nc)
				io.WriteString(nc, switching(r)+string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte(message))))
				io.Copy(io.Discard, nc)
			}
			w := &world{hosts: map[string]func(net.Conn){"h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, host)}}
			c, err := (&Dialer{NetDial: w.dial, TLSConfig: &tls.Config{RootCAs: pool, InsecureSkipVerify: true}}).Dial(t.Context(), "wss://h")
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			c.SetReadDeadline(start.Add(time.Second))
			if m, err := c.ReadMessage(); err != nil || string(m.Data) != message || time.Since(start) > 0 {
				t.Errorf("%d: %.20q, %v after %v", size, m.Data, err, time.Since(start))
			}
			c.Close()
		}
	})
}

// The end is the close clock's, not the write deadline's.
func TestStartCloseOfTheDeaf(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c, _, p := simulate(t, frame.Client, Config{}, 16)
			defer p.nc.Close()
			go c.WriteMessage(Text, make([]byte, 1000))
			synctest.Wait()
			err := c.StartClose(frame.CodeNormal, "")
			if !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			wantClock(t, err, ClockClose)
		})
	}
}
