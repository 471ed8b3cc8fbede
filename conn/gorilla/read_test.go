package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// What ReadMessage returns is the caller's: later messages do not change it, and it is not
// nil where it is empty.
func TestReadMessageIsOwned(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		for _, packed := range []*deflate.Params{nil, bothAlone} {
			c, p := opened(t, role, settings{deflate: packed})
			var kept [][]byte
			for i := range 300 {
				p.send(p.message(TextMessage, fmt.Sprintf("message %d", i)))
				_, b, err := c.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, b)
			}
			for i, b := range kept {
				if string(b) != fmt.Sprintf("message %d", i) {
					t.Fatalf("message %d has become %q", i, b)
				}
			}
			p.send(p.message(BinaryMessage, ""))
			if op, b, err := c.ReadMessage(); op != BinaryMessage || b == nil || len(b) != 0 || err != nil {
				t.Errorf("%d %v, %v", op, b, err)
			}
		}
	})
}

// A message costs the one allocation that makes it the caller's.
func TestReadMessageAllocatesOnce(t *testing.T) {
	c, p := opened(t, frame.Client, settings{})
	const n = 10_000
	all := bytes.Repeat(p.message(TextMessage, strings.Repeat("x", 200)), n)
	go p.nc.Write(append(all, all...))
	read := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			if _, _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	read()
	if got := read(); got < n || got > n+n/100 {
		t.Errorf("%d allocations for %d messages", got, n)
	}
}

// Each way in which reading ends has the error that programs look for, and it stays.
func TestReadErrors(t *testing.T) {
	is := func(want error) func(error) bool { return func(err error) bool { return err == want } }
	closed := func(code int, text string) func(error) bool {
		return func(err error) bool {
			e, ok := err.(*CloseError)
			return ok && *e == CloseError{code, text}
		}
	}
	breaks := func(text string, rule *frame.ProtocolError) func(error) bool {
		return func(err error) bool { return err.Error() == "websocket: "+text && errors.Is(err, rule) }
	}
	both(t, func(t *testing.T, role frame.Role) {
		for _, tt := range []struct {
			name string
			send func(p *peer) []byte
			want func(error) bool
			told frame.CloseCode // what the peer gets; 0 for nothing
		}{
			{"close", func(p *peer) []byte { return p.message(CloseMessage, "\x03\xe9bye") }, closed(CloseGoingAway, "bye"), 1001},
			{"close without a code", func(p *peer) []byte { return p.message(CloseMessage, "") }, closed(CloseNoStatusReceived, ""), frame.CodeNoStatus},
			{"close of the application", func(p *peer) []byte { return p.message(CloseMessage, "\x0f\xa0") }, closed(4000, ""), 4000},
			{"no close", func(p *peer) []byte { return nil }, is(errUnexpectedEOF), 0},
			{"cut in a header", func(p *peer) []byte { return p.message(TextMessage, "hello")[:1] }, is(errUnexpectedEOF), 0},
			{"cut in a payload", func(p *peer) []byte { m := p.message(TextMessage, "hello"); return m[:len(m)-1] }, is(errUnexpectedEOF), 0},
			{"cut in a message", func(p *peer) []byte { return p.frame(frame.Header{Opcode: frame.Text}, "hello") }, is(errUnexpectedEOF), 0},
			{"cut in a close", func(p *peer) []byte { m := p.message(CloseMessage, "\x03\xe9bye"); return m[:len(m)-1] }, is(errUnexpectedEOF), 0},
			{"limit", func(p *peer) []byte { return p.message(TextMessage, strings.Repeat("x", 101)) }, is(ErrReadLimit), 1009},
			{"limit by frames", func(p *peer) []byte {
				return append(p.frame(frame.Header{Opcode: frame.Text}, strings.Repeat("x", 60)), p.frame(frame.Header{Fin: true}, strings.Repeat("x", 60))...)
			}, is(ErrReadLimit), 1009},
			{"a length with its top bit", func(p *peer) []byte {
				m := p.message(TextMessage, "")
				return append(append([]byte{m[0], m[1] | 127}, 0x80, 0, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0)
			}, is(ErrReadLimit), 1002},
			{"opcode", func(p *peer) []byte { return p.message(3, "") }, breaks("bad opcode 3", frame.ErrReservedOpcode), 1002},
			{"mask", func(p *peer) []byte { p.role = 1 - p.role; return p.message(TextMessage, "") }, func(err error) bool {
				return err.Error() == "websocket: bad MASK"
			}, 1002},
			{"continuation", func(p *peer) []byte { return p.message(0, "") }, breaks("continuation after FIN", frame.ErrUnexpectedContinuation), 1002},
			{"unfinished", func(p *peer) []byte {
				return append(p.frame(frame.Header{Opcode: frame.Text}, ""), p.message(TextMessage, "")...)
			}, breaks("data before FIN", frame.ErrUnfinishedMessage), 1002},
			{"fragmented ping", func(p *peer) []byte { return p.frame(frame.Header{Opcode: frame.Ping}, "") }, breaks("FIN not set on control", frame.ErrFragmentedControl), 1002},
			{"long ping", func(p *peer) []byte { return p.message(PingMessage, strings.Repeat("x", 126)) }, breaks("len > 125 for control", frame.ErrControlTooLong), 1002},
			{"reserved bits", func(p *peer) []byte { m := p.message(TextMessage, ""); m[0] |= 0x20; return m }, breaks("reserved bits", frame.ErrReservedBits), 1002},
			{"close code", func(p *peer) []byte { return p.message(CloseMessage, "\x03\xed") }, breaks("bad close code 1005", frame.ErrCloseCode), 1002},
			{"close reason", func(p *peer) []byte { return p.message(CloseMessage, "\x03\xe8\xff") }, breaks("invalid utf8 payload in close frame", frame.ErrInvalidUTF8), 1007},
		} {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprint(tt.name, ", by a reader ", stream), func(t *testing.T) {
					c, p := opened(t, role, settings{})
					c.SetReadLimit(100)
					read := func() (op int, err error) {
						if !stream {
							op, b, err := c.ReadMessage()
							if b != nil {
								t.Errorf("with %q", b)
							}
							return op, err
						}
						op, r, err := c.NextReader()
						if err == nil {
							_, err = io.Copy(io.Discard, r)
							if err == nil {
								t.Error("a message")
							}
							return noFrame, err
						}
						return op, err
					}
					p.send(tt.send(p))
					if tt.told == 0 {
						p.nc.(*net.TCPConn).CloseWrite()
					}
					op, err := read()
					if op != noFrame || !tt.want(err) {
						t.Errorf("%d, %v (%T)", op, err, err)
					}
					if _, again := read(); again != err {
						t.Errorf("and then %v", again)
					}
					if tt.told != 0 {
						p.role = 1 - role
						f := p.next()
						if code, _, _ := frame.ParseClose(f.Payload); f.Header.Opcode != frame.Close || code != tt.told {
							t.Errorf("the peer is told %+v %q", f.Header, f.Payload)
						}
						if err := c.WriteMessage(TextMessage, nil); err != ErrCloseSent {
							t.Errorf("a write: %v", err)
						}
					}
				})
			}
		}
	})
}

// The thousandth read call that fails panics, whichever it is.
func TestRepeatedReadPanics(t *testing.T) {
	for name, read := range map[string]func(c *Conn) error{
		"ReadMessage": func(c *Conn) error { _, _, err := c.ReadMessage(); return err },
		"NextReader":  func(c *Conn) error { _, _, err := c.NextReader(); return err },
		"ReadJSON":    func(c *Conn) error { return c.ReadJSON(new(int)) },
	} {
		c, p := opened(t, frame.Client, settings{})
		p.nc.Close()
		for i := range 999 {
			if err := read(c); err != errUnexpectedEOF {
				t.Fatalf("%s %d: %v", name, i, err)
			}
		}
		func() {
			defer func() {
				if r := recover(); r != "repeated read on failed websocket connection" {
					t.Errorf("%s: %v", name, r)
				}
			}()
			read(c)
			t.Errorf("%s goes on", name)
		}()
	}
}

// A passed read deadline is a timeout that stays, also in the middle of a message; writing
// goes on.
func TestReadDeadlineStays(t *testing.T) {
	for _, begin := range []string{"", "\x81", "\x81\x05hel", "\x01\x05hello"} {
		c, p := opened(t, frame.Client, settings{})
		p.send([]byte(begin))
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _, err := c.ReadMessage()
		e, ok := err.(net.Error)
		if !ok || !e.Timeout() || isTemporary(err) || !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasSuffix(err.Error(), ": i/o timeout") || !strings.HasPrefix(err.Error(), "read tcp 127.0.0.1:") {
			t.Errorf("%q: %v (%T)", begin, err, err)
		}
		c.SetReadDeadline(time.Time{})
		p.send(p.message(TextMessage, "late"))
		if _, _, again := c.ReadMessage(); again != err {
			t.Errorf("and then %v", again)
		}
		if err := c.WriteMessage(TextMessage, []byte("still")); err != nil {
			t.Error(err)
		}
		p.expect(TextMessage, "still")
	}
}

// Every ping is answered, in order, whether the default handler does it or one that was set.
func TestEveryPingIsAnswered(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		const n = 200
		var burst []byte
		for i := range n {
			burst = append(burst, p.message(PingMessage, fmt.Sprint(i))...)
		}
		p.send(burst, p.message(TextMessage, "x"))
		wantMessage(t, c, TextMessage, "x")
		for i := range n {
			p.expect(PongMessage, fmt.Sprint(i))
		}
		heard := 0
		was := c.PingHandler()
		c.SetPingHandler(func(data string) error {
			if data != fmt.Sprint(heard) {
				t.Errorf("%q comes after %d", data, heard)
			}
			heard++
			return was("and " + data)
		})
		// Within a message, and by a reader.
		p.send(p.frame(frame.Header{Opcode: frame.Text}, "a"), burst, p.frame(frame.Header{Fin: true}, "b"))
		_, r, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != "ab" || err != nil || heard != n {
			t.Errorf("%q, %v, %d pings", b, err, heard)
		}
		for i := range n {
			p.expect(PongMessage, fmt.Sprint("and ", i))
		}
		c.SetPingHandler(nil)
		p.send(p.message(PingMessage, "again"), p.message(TextMessage, "y"))
		wantMessage(t, c, TextMessage, "y")
		p.expect(PongMessage, "again")
	})
}

// Pongs come to their handler with their payload.
func TestPongHandler(t *testing.T) {
	c, p := opened(t, frame.Server, settings{})
	if err := c.PongHandler()("x"); err != nil {
		t.Error(err)
	}
	var heard []string
	c.SetPongHandler(func(data string) error { heard = append(heard, data); return nil })
	p.send(p.message(PongMessage, "a"), p.message(PongMessage, ""), p.message(TextMessage, "x"))
	wantMessage(t, c, TextMessage, "x")
	if fmt.Sprintf("%q", heard) != `["a" ""]` {
		t.Errorf("%q", heard)
	}
}

// An error of a handler ends reading: it is returned as it is, and stays.
func TestHandlerErrorStays(t *testing.T) {
	boom := errors.New("boom")
	for name, send := range map[string]func(p *peer) []byte{
		"ping":  func(p *peer) []byte { return p.message(PingMessage, "") },
		"pong":  func(p *peer) []byte { return p.message(PongMessage, "") },
		"close": func(p *peer) []byte { return p.message(CloseMessage, "") },
	} {
		for _, stream := range []bool{false, true} {
			c, p := opened(t, frame.Client, settings{})
			c.SetPingHandler(func(string) error { return boom })
			c.SetPongHandler(func(string) error { return boom })
			c.SetCloseHandler(func(int, string) error { return boom })
			p.send(p.frame(frame.Header{Opcode: frame.Text}, "a"), send(p), p.frame(frame.Header{Fin: true}, "b"))
			var err error
			if stream {
				var r io.Reader
				if _, r, err = c.NextReader(); err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, r)
			} else {
				_, _, err = c.ReadMessage()
			}
			if err != boom {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := c.ReadMessage(); err != boom {
				t.Errorf("%s, then: %v", name, err)
			}
			if err := c.WriteMessage(TextMessage, nil); err != nil {
				t.Errorf("%s, a write: %v", name, err)
			}
		}
	}
}

// A reader is for its message alone: the next one's bytes do not come by it.
func TestReadersEnd(t *testing.T) {
	c, p := opened(t, frame.Client, settings{})
	p.send(p.message(TextMessage, "first"), p.message(BinaryMessage, "second"), p.message(TextMessage, "third"))
	_, first, err := c.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if n, err := first.Read(b); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	op, second, err := c.NextReader()
	if op != BinaryMessage || err != nil {
		t.Fatal(op, err)
	}
	if n, err := first.Read(b); n != 0 || err != io.EOF {
		t.Errorf("the first reader goes on with %q, %v", b[:n], err)
	}
	if all, err := io.ReadAll(second); string(all) != "second" || err != nil {
		t.Errorf("%q, %v", all, err)
	}
	wantMessage(t, c, TextMessage, "third")
	if n, err := second.Read(b); n != 0 || err != io.EOF {
		t.Errorf("the second reader goes on with %q, %v", b[:n], err)
	}
}

// The limit counts bytes on the wire, as they come; with Options.Strict what they inflate
// to as well.
func TestReadLimitOfCompressedMessages(t *testing.T) {
	big := strings.Repeat("x", 5000)
	packed, err := deflate.AppendMessage(nil, []byte(big), 15, 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{false, true} {
		for _, stream := range []bool{false, true} {
			c, p := opened(t, frame.Server, settings{deflate: bothAlone, options: Options{Strict: strict}})
			c.SetReadLimit(1000)
			p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: frame.Text}, string(packed)))
			var got []byte
			var err error
			if stream {
				var r io.Reader
				if _, r, err = c.NextReader(); err == nil {
					got, err = io.ReadAll(r)
				}
			} else {
				_, got, err = c.ReadMessage()
			}
			if strict && err != ErrReadLimit || !strict && (err != nil || string(got) != big) {
				t.Errorf("strict %v: %d bytes, %v", strict, len(got), err)
			}
		}
	}
}

// Text that is not UTF-8, and lengths in a longer form than they need, pass unless
// Options.Strict is set.
func TestStrict(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		for _, strict := range []bool{false, true} {
			for name, tt := range map[string]struct {
				frame func(p *peer) []byte
				want  string
				rule  *frame.ProtocolError
			}{
				"UTF-8": {func(p *peer) []byte { return p.message(TextMessage, "\xff") }, "\xff", frame.ErrInvalidUTF8},
				"minimal length": {func(p *peer) []byte {
					m := p.message(TextMessage, "hello")
					return append([]byte{m[0], m[1]&0x80 | 126, 0, 5}, m[2:]...)
				}, "hello", frame.ErrLengthNotMinimal},
			} {
				c, p := opened(t, role, settings{options: Options{Strict: strict}})
				p.send(tt.frame(p))
				_, got, err := c.ReadMessage()
				if strict && !errors.Is(err, tt.rule) || !strict && (err != nil || string(got) != tt.want) {
					t.Errorf("%s, strict %v: %q, %v", name, strict, got, err)
				}
			}
		}
	})
}

// JoinMessages reads all messages, with the end after each, in pieces of any size.
func TestJoinMessages(t *testing.T) {
	for size := 1; size < 8; size++ {
		for _, term := range []string{"", "\n", "end"} {
			c, p := opened(t, frame.Client, settings{})
			p.send(p.message(TextMessage, "first"), p.message(BinaryMessage, ""), p.message(TextMessage, "third"), p.message(CloseMessage, ""))
			var got bytes.Buffer
			_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{JoinMessages(c, term)}, make([]byte, size))
			if want := "first" + term + term + "third" + term; got.String() != want || !IsCloseError(err, CloseNoStatusReceived) {
				t.Errorf("%d, %q: %q, %v", size, term, got.String(), err)
			}
		}
	}
}

// ReadJSON decodes the value that a message begins with, and tells an end from an error.
func TestReadJSON(t *testing.T) {
	c, p := opened(t, frame.Client, settings{})
	for _, tt := range []struct {
		message string
		want    int
		err     func(error) bool
	}{
		{`{"A":1}`, 1, func(err error) bool { return err == nil }},
		{`{"A":2}` + "\n", 2, func(err error) bool { return err == nil }},
		{`{"A":3} {"A":4}`, 3, func(err error) bool { return err == nil }},
		{`{"A":5} rubbish`, 5, func(err error) bool { return err == nil }},
		{``, 0, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{`  `, 0, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{`{"A":`, 0, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{`{"A":"x"}`, 0, func(err error) bool { return strings.Contains(err.Error(), "cannot unmarshal string") }},
		{`rubbish`, 0, func(err error) bool { return strings.Contains(err.Error(), "invalid character 'r'") }},
		{`{"A":6}`, 6, func(err error) bool { return err == nil }},
	} {
		p.send(p.message(BinaryMessage, tt.message))
		var v struct{ A int }
		if err := c.ReadJSON(&v); !tt.err(err) || v.A != tt.want {
			t.Errorf("%q: %+v, %v", tt.message, v, err)
		}
	}
}

// After reading has ended with the stream, writing fails as on a closed socket.
func TestWriteAfterTheEnd(t *testing.T) {
	c, p := opened(t, frame.Server, settings{})
	p.nc.Close()
	if _, _, err := c.ReadMessage(); err != errUnexpectedEOF {
		t.Fatal(err)
	}
	err := c.WriteMessage(TextMessage, nil)
	var e *net.OpError
	if !errors.As(err, &e) || e.Op != "write" || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v (%T)", err, err)
	}
}

// There is no limit at first: a message may be longer than the engine's own.
func TestNoReadLimit(t *testing.T) {
	big := strings.Repeat("x", frame.DefaultMaxMessage+1)
	for _, unlimited := range []int64{1, 0, -1} {
		c, p := opened(t, frame.Client, settings{})
		if unlimited < 1 {
			c.SetReadLimit(5)
			c.SetReadLimit(unlimited)
		}
		go p.nc.Write(p.message(BinaryMessage, big))
		if _, got, err := c.ReadMessage(); err != nil || string(got) != big {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
