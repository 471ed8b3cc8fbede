package websocket

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Every type of message goes by WriteMessage, NextWriter and WritePreparedMessage.
func TestWrites(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		for name, write := range map[string]func(op int, data string) error{
			"WriteMessage": func(op int, data string) error { return c.WriteMessage(op, []byte(data)) },
			"NextWriter": func(op int, data string) error {
				w, err := c.NextWriter(op)
				if err != nil {
					return err
				}
				if _, err := io.WriteString(w, data); err != nil {
					return err
				}
				return w.Close()
			},
			"WritePreparedMessage": func(op int, data string) error {
				pm, err := NewPreparedMessage(op, []byte(data))
				if err != nil {
					return err
				}
				return c.WritePreparedMessage(pm)
			},
		} {
			for _, op := range []int{TextMessage, BinaryMessage, PingMessage, PongMessage} {
				for _, data := range []string{"", "x", strings.Repeat("y", 125)} {
					if err := write(op, data); err != nil {
						t.Fatalf("%s %d: %v", name, op, err)
					}
					p.expect(op, data)
				}
			}
			for _, op := range []int{-1, 0, 3, 7, 11, 16, 257} {
				if err := write(op, ""); err != errBadWriteOpCode {
					t.Errorf("%s %d: %v", name, op, err)
				}
			}
			if err := write(PingMessage, strings.Repeat("x", 126)); err != errInvalidControlFrame {
				t.Errorf("%s: %v", name, err)
			}
			if err := write(TextMessage, "\xff is not UTF-8"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			p.expect(TextMessage, "\xff is not UTF-8")
		}
		if err := c.WriteMessage(CloseMessage, FormatCloseMessage(CloseNormalClosure, "bye")); err != nil {
			t.Error(err)
		}
		p.expect(CloseMessage, "\x03\xe8bye")
		for _, op := range []int{TextMessage, PingMessage, CloseMessage} {
			if err := c.WriteMessage(op, nil); err != ErrCloseSent {
				t.Errorf("%d after the Close: %v", op, err)
			}
		}
		if err := c.WriteControl(PongMessage, nil, time.Time{}); err != ErrCloseSent {
			t.Errorf("a pong after the Close: %v", err)
		}
		if _, err := c.NextWriter(TextMessage); err != ErrCloseSent {
			t.Errorf("a writer after the Close: %v", err)
		}
		p.send(p.message(TextMessage, "still"))
		wantMessage(t, c, TextMessage, "still")
	})
}

// A message of NextWriter that is longer than the buffer goes in frames of its size, each
// at once, with control frames between.
func TestNextWriterSendsFrames(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{writeBuffer: 10})
		w, err := c.NextWriter(TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.WriteString(w, "0123456789a"); n != 11 || err != nil {
			t.Fatal(n, err)
		}
		f := p.next() // before anything else is written
		if f.Header.Fin || f.Header.Opcode != frame.Text || string(f.Payload) != "0123456789" {
			t.Errorf("%+v %q", f.Header, f.Payload)
		}
		if err := c.WriteControl(PingMessage, []byte("between"), time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		p.expect(PingMessage, "between")
		if n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("bcdefghijkl")); n != 11 || err != nil {
			t.Error(n, err)
		}
		if f := p.next(); f.Header.Fin || f.Header.Opcode != frame.Continuation || string(f.Payload) != "abcdefghij" {
			t.Errorf("%+v %q", f.Header, f.Payload)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		rest := ""
		for f := p.next(); ; f = p.next() {
			rest += string(f.Payload)
			if f.Header.Fin {
				break
			}
		}
		if rest != "kl" {
			t.Errorf("the rest is %q", rest)
		}
		if _, err := w.Write([]byte("x")); err != errWriteClosed {
			t.Error(err)
		}
		if err := w.Close(); err != errWriteClosed {
			t.Error(err)
		}
	})
}

// A message that was left open is ended by the next write.
func TestNextWriterIsEnded(t *testing.T) {
	prepared, err := NewPreparedMessage(TextMessage, []byte("next"))
	if err != nil {
		t.Fatal(err)
	}
	for name, next := range map[string]func(c *Conn) error{
		"NextWriter": func(c *Conn) error {
			w, err := c.NextWriter(TextMessage)
			if err != nil {
				return err
			}
			fmt.Fprint(w, "next")
			return w.Close()
		},
		"WriteMessage":         func(c *Conn) error { return c.WriteMessage(TextMessage, []byte("next")) },
		"WriteJSON":            func(c *Conn) error { return c.WriteJSON("next") },
		"WritePreparedMessage": func(c *Conn) error { return c.WritePreparedMessage(prepared) },
	} {
		for _, data := range []string{"open", strings.Repeat("open", 10)} { // in the buffer, and in frames
			c, p := opened(t, frame.Server, settings{writeBuffer: 8})
			w, err := c.NextWriter(BinaryMessage)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range []byte(data) {
				if _, err := w.Write([]byte{b}); err != nil {
					t.Fatal(err)
				}
			}
			if err := next(c); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if name == "WritePreparedMessage" && len(data) < 8 { // nothing of it is on the wire: it may wait
				p.expect(TextMessage, "next")
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				p.expect(BinaryMessage, data)
				continue
			}
			if m, err := p.r.Next(); err != nil || string(m.Data) != data {
				t.Errorf("%s: %q, %v", name, m.Data, err)
			}
			if m, err := p.r.Next(); err != nil || strings.Trim(string(m.Data), "\"\n") != "next" {
				t.Errorf("%s: %q, %v", name, m.Data, err)
			}
			if _, err := w.Write([]byte("x")); err == nil {
				t.Errorf("%s: the writer goes on", name)
			}
		}
	}
}

// blocked is a connection whose Write waits.
type blocked struct {
	net.Conn
	entered, leave chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	close(b.entered)
	<-b.leave
	return len(p), nil
}

// A write beside another one panics, by whichever call; a control frame waits instead.
func TestConcurrentWritePanics(t *testing.T) {
	prepared, err := NewPreparedMessage(TextMessage, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(c *Conn) error{
		"WriteMessage":         func(c *Conn) error { return c.WriteMessage(TextMessage, nil) },
		"WriteMessage of ping": func(c *Conn) error { return c.WriteMessage(PingMessage, nil) },
		"WritePreparedMessage": func(c *Conn) error { return c.WritePreparedMessage(prepared) },
		"WriteJSON":            func(c *Conn) error { return c.WriteJSON(1) },
		"NextWriter": func(c *Conn) error {
			w, err := c.NextWriter(TextMessage)
			if err != nil {
				return err
			}
			return w.Close()
		},
	} {
		near, _ := sockets(t)
		b := &blocked{near, make(chan struct{}), make(chan struct{})}
		c, err := open(b, frame.Server, &settings{})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error)
		go func() { first <- c.WriteMessage(TextMessage, nil) }()
		<-b.entered
		func() {
			defer func() {
				if r := recover(); r != "concurrent write to websocket connection" {
					t.Errorf("%s: %v", name, r)
				}
			}()
			write(c)
			t.Errorf("%s does not panic", name)
		}()
		if err := c.WriteControl(PingMessage, nil, time.Now().Add(10*time.Millisecond)); err != errWriteTimeout {
			t.Errorf("a ping: %v", err)
		}
		close(b.leave)
		if err := <-first; err != nil {
			t.Errorf("the first write: %v", err)
		}
		c.Close()
	}
}

// A write that a deadline stops is a timeout, and the last.
func TestWriteDeadlineStays(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _ := opened(t, role, settings{})
		c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		var err error
		for big := make([]byte, 1<<20); err == nil; {
			err = c.WriteMessage(BinaryMessage, big)
		}
		e, ok := err.(net.Error)
		if !ok || !e.Timeout() || isTemporary(err) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v (%T)", err, err)
		}
		c.SetWriteDeadline(time.Time{})
		if again := c.WriteMessage(TextMessage, nil); again == nil || again.Error() != err.Error() {
			t.Errorf("and then %v", again)
		}
		if again := c.WriteControl(PingMessage, nil, time.Time{}); again == nil || again.Error() != err.Error() {
			t.Errorf("and then %v", again)
		}

		c, p := opened(t, role, settings{})
		c.SetWriteDeadline(time.Now().Add(-time.Second)) // before anything is written
		if err := c.WriteMessage(TextMessage, []byte("x")); err == nil || !err.(net.Error).Timeout() {
			t.Error(err)
		}
		c.SetWriteDeadline(time.Time{})
		if err := c.WriteMessage(TextMessage, []byte("x")); err == nil || !err.(net.Error).Timeout() {
			t.Errorf("it goes on: %v", err)
		}
		c.Close()
		p.expectEnd()
	})
}

// WriteControl has a deadline of its own, and one that has passed ends nothing.
func TestWriteControlDeadline(t *testing.T) {
	c, p := opened(t, frame.Server, settings{})
	err := c.WriteControl(PingMessage, nil, time.Now().Add(-time.Second))
	if e, ok := err.(net.Error); !ok || !e.Timeout() || !isTemporary(err) || err.Error() != "websocket: write timeout" {
		t.Errorf("%v", err)
	}
	if err := c.WriteControl(TextMessage, nil, time.Time{}); err != errBadWriteOpCode {
		t.Error(err)
	}
	if err := c.WriteControl(PongMessage, make([]byte, 126), time.Time{}); err != errInvalidControlFrame {
		t.Error(err)
	}
	for _, deadline := range []time.Time{{}, time.Now().Add(time.Hour)} {
		if err := c.WriteControl(PongMessage, []byte("x"), deadline); err != nil {
			t.Error(err)
		}
		p.expect(PongMessage, "x")
	}
	if err := c.WriteMessage(TextMessage, []byte("y")); err != nil {
		t.Error(err)
	}
	p.expect(TextMessage, "y")
}

// The payload of a Close goes as the program has it, also one that no peer should send.
func TestCloseGoesAsItIs(t *testing.T) {
	for _, payload := range []string{"", "\x03\xe8", "\x03\xeereason", "\x00\x00", "\x03", "\x03\xe8\xff", "\x27\x0f"} {
		c, p := opened(t, frame.Server, settings{})
		if err := c.WriteControl(CloseMessage, []byte(payload), time.Time{}); err != nil {
			t.Errorf("%q: %v", payload, err)
		}
		want := append([]byte{0x88, byte(len(payload))}, payload...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(p.nc, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %q, %v", payload, got, err)
		}
	}
}

// pool is a BufferPool that counts.
type pool struct {
	held      []any
	got, lent int
}

func (p *pool) Get() any {
	p.got++
	if len(p.held) == 0 {
		return nil
	}
	p.lent++
	v := p.held[0]
	p.held = p.held[1:]
	return v
}
func (p *pool) Put(v any) { p.held = append(p.held, v) }

// The pool lends the buffer of NextWriter, and gets it back once, after an error too.
func TestWriteBufferPool(t *testing.T) {
	lender := &pool{}
	c, p := opened(t, frame.Client, settings{writeBuffer: 16, pool: lender})
	for i := range 5 {
		w, err := c.NextWriter(TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		if len(lender.held) != 0 {
			t.Fatal("the buffer is still in the pool")
		}
		fmt.Fprintf(w, "message %d", i)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		p.expect(TextMessage, fmt.Sprintf("message %d", i))
		if len(lender.held) != 1 || lender.got != i+1 || lender.lent != i {
			t.Fatalf("%d: %+v", i, lender)
		}
	}
	c.NetConn().Close()
	w, err := c.NextWriter(TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a write to what is closed")
	}
	if len(lender.held) != 1 {
		t.Errorf("%+v", lender)
	}
}

// inflate undoes what a frame of a compressed message holds, by another library.
func inflate(t *testing.T, payload []byte) string {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every text and binary message is compressed, alone, at the level that was set, by every
// way to write, unless that is turned off.
func TestCompression(t *testing.T) {
	data := strings.Repeat("a message that repeats itself, ", 20)
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{deflate: bothAlone, writeBuffer: 4096})
		prepared, err := NewPreparedMessage(TextMessage, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]func() error{
			"WriteMessage":         func() error { return c.WriteMessage(TextMessage, []byte(data)) },
			"WritePreparedMessage": func() error { return c.WritePreparedMessage(prepared) },
			"NextWriter": func() error {
				w, err := c.NextWriter(TextMessage)
				if err != nil {
					return err
				}
				io.WriteString(w, data)
				return w.Close()
			},
		}
		size := map[int]int{}
		for level := -2; level <= 9; level++ {
			if err := c.SetCompressionLevel(level); err != nil {
				t.Fatal(err)
			}
			for name, write := range ways {
				for range 2 { // the second refers to nothing before it
					if err := write(); err != nil {
						t.Fatalf("%s at %d: %v", name, level, err)
					}
					f := p.next()
					if !f.Header.RSV1 || !f.Header.Fin || inflate(t, f.Payload) != data {
						t.Fatalf("%s at %d: %+v", name, level, f.Header)
					}
					if size[level] == 0 {
						size[level] = len(f.Payload)
					}
					if len(f.Payload) != size[level] {
						t.Errorf("%s at %d: %d bytes, and %d before", name, level, len(f.Payload), size[level])
					}
				}
			}
		}
		if size[0] < len(data) || size[-2] >= size[0] || size[1] >= size[-2] || size[1] < size[9] || size[-1] != size[6] {
			t.Errorf("sizes by level: %v", size)
		}
		for _, level := range []int{-3, 10} {
			if err := c.SetCompressionLevel(level); err == nil {
				t.Errorf("level %d", level)
			}
		}
		c.EnableWriteCompression(false)
		for name, write := range ways {
			if err := write(); err != nil {
				t.Fatal(err)
			}
			if f := p.next(); f.Header.RSV1 || string(f.Payload) != data {
				t.Errorf("%s without: %+v", name, f.Header)
			}
		}
		c.EnableWriteCompression(true)
		c.WriteMessage(TextMessage, nil)
		if f := p.next(); !f.Header.RSV1 || inflate(t, f.Payload) != "" {
			t.Errorf("an empty message: %+v %q", f.Header, f.Payload)
		}
		c.WriteMessage(PingMessage, []byte("x"))
		p.expect(PingMessage, "x")
		w, err := c.NextWriter(TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		c.EnableWriteCompression(false) // holds from the next message on
		w.Write([]byte("y"))
		w.Close()
		if f := p.next(); !f.Header.RSV1 || inflate(t, f.Payload) != "y" {
			t.Errorf("turned off within a message: %+v %q", f.Header, f.Payload)
		}
	})
}

// A long compressed message of NextWriter goes in frames, of which the first alone says so.
func TestCompressedFrames(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		for _, level := range []int{1, 9} {
			c, p := opened(t, role, settings{deflate: bothAlone, writeBuffer: 100})
			if err := c.SetCompressionLevel(level); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			w, err := c.NextWriter(TextMessage)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5000 {
				fmt.Fprintf(&want, "%d, ", i*i)
			}
			go func() {
				for rest := want.String(); rest != ""; {
					n, err := io.WriteString(w, rest[:min(len(rest), 7)])
					if err != nil {
						break
					}
					rest = rest[n:]
				}
				w.Close()
			}()
			var all []byte
			for n := 0; ; n++ {
				f := p.next()
				if f.Header.RSV1 != (n == 0) || (f.Header.Opcode == frame.Text) != (n == 0) {
					t.Fatalf("frame %d: %+v", n, f.Header)
				}
				all = append(all, f.Payload...)
				if f.Header.Fin {
					break
				}
			}
			if got := inflate(t, all); got != want.String() {
				t.Errorf("%d bytes, want %d", len(got), want.Len())
			}
		}
	})
}

// What comes compressed is read, with the tail that some senders leave on as well.
func TestReadsCompressed(t *testing.T) {
	packed, err := deflate.AppendMessage(nil, []byte("hello, hello, hello"), 15, 6)
	if err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{deflate: bothAlone})
		for _, tail := range []string{"", "\x00\x00\xff\xff"} {
			p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: frame.Text}, string(packed)+tail))
			wantMessage(t, c, TextMessage, "hello, hello, hello")
		}
		p.send(p.message(BinaryMessage, "plain"))
		wantMessage(t, c, BinaryMessage, "plain")
	})
}

// A prepared message is its data at the time, and what WriteMessage sends.
func TestPreparedMessage(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		for _, packed := range []*deflate.Params{nil, bothAlone} {
			c, p := opened(t, role, settings{deflate: packed})
			for _, op := range []int{TextMessage, BinaryMessage, PingMessage, PongMessage, CloseMessage} {
				data := []byte("\x03\xe8data of the message, data of the message")
				if op != CloseMessage {
					if err := c.WriteMessage(op, data); err != nil {
						t.Fatal(err)
					}
				}
				pm, err := NewPreparedMessage(op, data)
				if err != nil {
					t.Fatal(err)
				}
				if op != CloseMessage {
					want := p.next()
					want.Payload = bytes.Clone(want.Payload)
					clear(data)
					for range 2 {
						if err := c.WritePreparedMessage(pm); err != nil {
							t.Fatal(err)
						}
						if got := p.next(); got.Header.Opcode != want.Header.Opcode || got.Header.RSV1 != want.Header.RSV1 || !bytes.Equal(got.Payload, want.Payload) {
							t.Errorf("%d: %+v %q, want %+v %q", op, got.Header, got.Payload, want.Header, want.Payload)
						}
					}
					continue
				}
				if err := c.WritePreparedMessage(pm); err != nil {
					t.Error(err)
				}
				if err := c.WritePreparedMessage(pm); err != ErrCloseSent {
					t.Errorf("after the Close: %v", err)
				}
			}
		}
	})
}

// WriteJSON sends what an Encoder writes, and nothing if that fails.
func TestWriteJSON(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		if err := c.WriteJSON(map[string]any{"a": 1, "b": "<"}); err != nil {
			t.Error(err)
		}
		p.expect(TextMessage, `{"a":1,"b":"\u003c"}`+"\n")
		var unsupported *json.UnsupportedTypeError
		if err := c.WriteJSON(make(chan int)); !errors.As(err, &unsupported) {
			t.Error(err)
		}
		if err := WriteJSON(c, 5); err != nil {
			t.Error(err)
		}
		p.expect(TextMessage, "5\n")
	})
}
