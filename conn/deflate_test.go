package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// compressing returns the two ends of a TCP connection on loopback that agreed on permessage-deflate.
func compressing(t *testing.T, client, server *deflate.Config, cfg Config) (c, s *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type accepted struct {
		c   *Conn
		err error
	}
	done := make(chan accepted, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- accepted{nil, err}
			return
		}
		sc := cfg
		sc.Deflate = server
		u := Upgrader{Config: sc}
		c, err := u.Accept(nc)
		done <- accepted{c, err}
	}()
	cc := cfg
	cc.Deflate = client
	d := Dialer{Config: cc}
	c, err = d.Dial(t.Context(), "ws://"+l.Addr().String())
	a := <-done
	if err != nil || a.err != nil {
		t.Fatal(err, a.err)
	}
	t.Cleanup(func() { c.Close(); a.c.Close() })
	return c, a.c
}

func ticks(n int) [][]byte {
	r := rand.New(rand.NewPCG(8, 8))
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"e":"trade","s":"BTCUSDT","p":"%d.%02d","q":"0.%05d","T":%d}%s`, 60000+r.IntN(99), r.IntN(100), r.IntN(99999), 1700000000000+int64(i),
			strings.Repeat(" ", r.IntN(3)))
		if i%7 == 0 {
			out[i] = out[i][:10]
		}
		if i%41 == 0 {
			out[i] = bytes.Repeat(out[i], 1+r.IntN(9000))
		}
	}
	return out
}

var deflateModes = []struct {
	name           string
	client, server deflate.Config
}{
	{"takeover", deflate.Config{}, deflate.Config{}},
	{"no takeover", deflate.Config{ServerNoContextTakeover: true}, deflate.Config{ClientNoContextTakeover: true}},
	{"small windows", deflate.Config{ServerMaxWindowBits: 9}, deflate.Config{ClientMaxWindowBits: 8}},
	{"history, all messages", deflate.Config{History: 1024, Threshold: -1}, deflate.Config{History: 2048, Level: 1, Threshold: -1}},
}

// Messages written in every way come out in every way, both directions at once, with others between that are not compressed.
func TestR78R82DeflateEveryWay(t *testing.T) {
	messages := ticks(120)
	for _, mode := range deflateModes {
		t.Run(mode.name, func(t *testing.T) {
			c, s := compressing(t, &mode.client, &mode.server, Config{})
			for _, end := range []*Conn{c, s} {
				if _, ok := end.Compression(); !ok {
					t.Fatal("no compression was agreed")
				}
			}
			failed := make(chan error, 4)
			for _, end := range []*Conn{c, s} {
				go func() { failed <- writeEveryWay(end, messages) }()
				go func() { failed <- readEveryWay(end, messages) }()
			}
			for range 4 {
				if err := <-failed; err != nil {
					t.Error(err)
					c.Close()
					s.Close()
				}
			}
			if got, plain := int(c.Stats().BytesRead), len(bytes.Join(messages, nil)); got > plain*3/4 {
				t.Errorf("%d bytes on the wire for %d of messages", got, plain)
			}
		})
	}
}

// wholeWrites are the ways to write a text that is whole; NextWriter is the other.
var wholeWrites = []func(c *Conn, m []byte) error{
	func(c *Conn, m []byte) error { return c.WriteMessage(Text, m) },
	func(c *Conn, m []byte) error { return c.AppendMessage(Text, m) },
	func(c *Conn, m []byte) error { return c.WriteUncompressed(Text, m) },
	func(c *Conn, m []byte) error {
		p, err := Prepare(Text, m)
		if err != nil {
			return err
		}
		return c.WritePrepared(p)
	},
	func(c *Conn, m []byte) error { return c.WriteOwned(Text, append(make([]byte, HeaderRoom), m...)) },
}

func writeEveryWay(c *Conn, messages [][]byte) error {
	for i, m := range messages {
		var err error
		if way := i % (len(wholeWrites) + 1); way < len(wholeWrites) {
			err = wholeWrites[way](c, m)
		} else {
			var w io.WriteCloser
			if w, err = c.NextWriter(Text); err != nil {
				return err
			}
			for rest := m; len(rest) > 0 && err == nil; {
				n := min(len(rest), 1+i*50)
				_, err = w.Write(rest[:n])
				rest = rest[n:]
			}
			if err == nil {
				err = w.Close()
			}
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return c.Flush()
}

func readEveryWay(c *Conn, messages [][]byte) error {
	for i := 0; i < len(messages); {
		var got []byte
		switch i % 5 {
		case 0, 1:
			m, err := c.ReadMessage()
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			if m.Opcode != Text || m.Compressed {
				return fmt.Errorf("message %d: %v, compressed %v", i, m.Opcode, m.Compressed)
			}
			got = m.Data
		case 2:
			_, r, err := c.NextReader()
			if err == nil {
				got, err = io.ReadAll(r)
			}
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		case 3: // a part only: the rest is passed over, and what follows refers to it
			_, r, err := c.NextReader()
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			p := make([]byte, len(messages[i])/2)
			if _, err := io.ReadFull(r, p); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			if !bytes.HasPrefix(messages[i], p) {
				return fmt.Errorf("message %d begins %.60q", i, p)
			}
			i++
			continue
		case 4:
			b, err := c.TakeBatch()
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			for _, m := range b.Messages {
				if !bytes.Equal(m.Data, messages[i]) {
					return fmt.Errorf("message %d, in a batch, is %.60q", i, m.Data)
				}
				i++
			}
			b.Release()
			continue
		}
		if !bytes.Equal(got, messages[i]) {
			return fmt.Errorf("message %d is %.60q", i, got)
		}
		i++
	}
	return nil
}

// NextFrame hands out what is on the wire: R77, RSV1 stands on the first frame only. The context is kept whole meanwhile.
func TestR77DeflateFrames(t *testing.T) {
	c, s := compressing(t, &deflate.Config{}, &deflate.Config{}, Config{})
	messages := ticks(40)
	go func() {
		for _, m := range messages {
			w, _ := s.NextWriter(Text)
			for i := range 3 { // incompressible, so that there are frames
				w.Write(bytes.Repeat([]byte{byte('a' + i)}, 70_000))
			}
			w.Close()
			s.WriteMessage(Text, m)
		}
	}()
	for i, m := range messages {
		for frames := 0; ; frames++ {
			f, err := c.NextFrame()
			if err != nil {
				t.Fatal(i, err)
			}
			if f.Header.RSV1 != (frames == 0) {
				t.Fatalf("message %d: RSV1 on frame %d is %v", i, frames, f.Header.RSV1)
			}
			if f.Header.Fin {
				break
			}
			if i%2 == 1 { // the rest is passed over
				break
			}
		}
		got, err := c.ReadMessage()
		if err != nil || !bytes.Equal(got.Data, m) {
			t.Fatalf("message %d: %.60q, %v", i, got.Data, err)
		}
	}
}

// raw writes frames as a client that compresses would, without a Conn.
func rawClient(t *testing.T, server *deflate.Config, cfg Config) (*frame.Writer, *Conn) {
	t.Helper()
	c, s := compressing(t, &deflate.Config{}, server, cfg)
	return frame.NewWriter(c.NetConn(), frame.Client), s
}

// What is wrong with a compressed message ends the connection with the code for it, and nothing is delivered.
func TestR83R85R87DeflateErrors(t *testing.T) {
	bomb, err := deflate.AppendMessage(nil, make([]byte, 4<<20), 15, 9)
	if err != nil {
		t.Fatal(err)
	}
	text, err := deflate.AppendMessage(nil, []byte("tick \xFF tock"), 15, 1)
	if err != nil {
		t.Fatal(err)
	}
	good, err := deflate.AppendMessage(nil, []byte("tick tock"), 15, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		p    []byte
		want error
		code frame.CloseCode
	}{
		{"cut", good[:len(good)-2], deflate.ErrMessageEnd, frame.CodeInvalidPayload},
		{"empty", nil, deflate.ErrMessageEnd, frame.CodeInvalidPayload},
		{"junk", append(bytes.Clone(good), 0x55), deflate.ErrMessageEnd, frame.CodeInvalidPayload},
		{"block type", []byte{6}, deflate.ErrBlockType, frame.CodeInvalidPayload},
		{"bomb", bomb, frame.ErrMessageTooLarge, frame.CodeMessageTooBig},
		{"not UTF-8", text, frame.ErrInvalidUTF8, frame.CodeInvalidPayload},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", stream ", stream), func(t *testing.T) {
				w, s := rawClient(t, &deflate.Config{}, Config{Frame: frame.Options{MaxMessage: 1 << 20}})
				for i := range 2 { // in two frames
					part := test.p[:len(test.p)/2]
					op := frame.Text
					if i == 1 {
						part, op = test.p[len(part):], frame.Continuation
					}
					w.AppendFrame(frame.Header{Fin: i == 1, RSV1: i == 0, Opcode: op}, part)
				}
				w.Flush()
				var err error
				if stream {
					var r io.Reader
					if _, r, err = s.NextReader(); err == nil {
						_, err = io.Copy(io.Discard, r)
					}
				} else {
					var m Message
					m, err = s.ReadMessage()
					if m.Data != nil {
						t.Errorf("delivered %.60q", m.Data)
					}
				}
				var broken *frame.ProtocolError
				if !errors.Is(err, test.want) || !errors.As(err, &broken) || broken.Code != test.code || !errors.Is(err, net.ErrClosed) {
					t.Errorf("%v, want %v with %d", err, test.want, test.code)
				}
				if s.Err() == nil {
					t.Error("the connection lives")
				}
			})
		}
	}
}

// Without an agreement nothing is compressed, and what comes compressed is refused.
func TestDeflateNotAgreed(t *testing.T) {
	for _, test := range []struct{ client, server *deflate.Config }{{nil, nil}, {&deflate.Config{}, nil}, {nil, &deflate.Config{}}} {
		c, s := compressing(t, test.client, test.server, Config{})
		for _, end := range []*Conn{c, s} {
			if _, ok := end.Compression(); ok {
				t.Fatal("agreed")
			}
		}
		w := frame.NewWriter(c.NetConn(), frame.Client)
		w.AppendFrame(frame.Header{Fin: true, RSV1: true, Opcode: Text}, []byte{0})
		w.Flush()
		if _, err := s.ReadMessage(); !errors.Is(err, frame.ErrReservedBits) {
			t.Error(err)
		}
	}
	d := Dialer{Config: Config{Deflate: &deflate.Config{Level: 17}}}
	if _, err := d.Dial(t.Context(), "ws://127.0.0.1:1"); err == nil {
		t.Error("a level of 17")
	}
}

// 10,000 messages over TCP, written and read compressed in one process, allocate nothing once both ends are warm.
func TestDeflateAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // pools keep something for each processor
	for _, mode := range deflateModes {
		t.Run(mode.name, func(t *testing.T) {
			c, s := compressing(t, &mode.client, &mode.server, Config{})
			messages := ticks(40)[1:]
			pass := func(n int) {
				for i := range n {
					m := messages[i%len(messages)]
					for _, ends := range [][2]*Conn{{c, s}, {s, c}} {
						if err := ends[0].WriteMessage(Text, m); err != nil {
							t.Fatal(err)
						}
						got, err := ends[1].ReadMessage()
						if err != nil || !bytes.Equal(got.Data, m) {
							t.Fatal(i, err)
						}
					}
				}
			}
			pass(500)
			if n := buffertest.Mallocs(func() { pass(allocMessages / 2) }); n != 0 {
				t.Errorf("%d allocations in %d messages", n, allocMessages)
			}
		})
	}
}
