package frame

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// wire encodes frames for a receiver of the given role.
func wire(role Role, frames ...Frame) []byte {
	var b []byte
	for i, f := range frames {
		f.Header.Masked = role == Server
		f.Header.Key = mask.Key(0x9a3c51e7 + uint32(i)*0x01010101)
		b = AppendFrame(b, f.Header, f.Payload)
	}
	return b
}

func data(op Opcode, fin bool, payload string) Frame {
	return Frame{Header: Header{Opcode: op, Fin: fin}, Payload: []byte(payload)}
}

func TestReaderMessages(t *testing.T) {
	big := strings.Repeat("größer ", 10000) // larger than the read buffer
	stream := []Frame{
		data(Text, true, "one"),
		data(Binary, true, "\xff\xfe"),
		data(Text, true, ""),
		data(Ping, true, "p"),
		data(Text, false, "frag\xc3"),
		data(Pong, true, "q"),
		data(Continuation, false, ""),
		data(Continuation, true, "\xa4ment"),
		data(Text, true, big),
		data(Text, false, big),
		data(Ping, true, ""),
		data(Continuation, true, big),
		data(Text, true, strings.Repeat("x", 60000)),
		data(Text, true, "last"),
		data(Close, true, "\x03\xe8bye"),
		data(Text, true, "ignored"),
	}
	want := []Message{
		{Opcode: Text, Data: []byte("one")},
		{Opcode: Binary, Data: []byte("\xff\xfe")},
		{Opcode: Text, Data: []byte{}},
		{Opcode: Ping, Data: []byte("p")},
		{Opcode: Pong, Data: []byte("q")},
		{Opcode: Text, Data: []byte("fragäment")},
		{Opcode: Text, Data: []byte(big)},
		{Opcode: Ping, Data: nil},
		{Opcode: Text, Data: []byte(big + big)},
		{Opcode: Text, Data: []byte(strings.Repeat("x", 60000))},
		{Opcode: Text, Data: []byte("last")},
		{Opcode: Close, Data: []byte("\x03\xe8bye")},
	}
	for _, role := range []Role{Client, Server} {
		for name, split := range map[string]func(io.Reader) io.Reader{
			"whole":   func(r io.Reader) io.Reader { return r },
			"half":    iotest.HalfReader,
			"dataErr": iotest.DataErrReader,
			"byte":    iotest.OneByteReader,
		} {
			t.Run(role.String()+"/"+name, func(t *testing.T) {
				r := NewReader(split(bytes.NewReader(wire(role, stream...))), role, Options{})
				for i, w := range want {
					m, err := r.Next()
					if err != nil {
						t.Fatalf("message %d: %v", i, err)
					}
					if m.Opcode != w.Opcode || !bytes.Equal(m.Data, w.Data) || cap(m.Data) != len(m.Data) {
						t.Fatalf("message %d: got %v of %d bytes (cap %d), want %v of %d", i, m.Opcode, len(m.Data), cap(m.Data), w.Opcode, len(w.Data))
					}
				}
				if _, err := r.Next(); err != io.EOF {
					t.Fatalf("after Close: %v, want io.EOF", err)
				}
			})
		}
	}
}

func TestReaderPieces(t *testing.T) {
	big := strings.Repeat("stückweise ", 8000)
	stream := []Frame{
		data(Text, false, "a"), data(Ping, true, "p"), data(Continuation, true, big), data(Binary, true, ""), data(Text, true, "end"),
	}
	for _, role := range []Role{Client, Server} {
		for _, dst := range [][]byte{nil, make([]byte, 100), make([]byte, 1<<20)} {
			for _, split := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
				r := NewReader(split(bytes.NewReader(wire(role, stream...))), role, Options{})
				var got []string
				var cur []byte
				for {
					p, err := r.NextPiece(dst)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if p.Opcode.IsControl() {
						got = append(got, "ping "+string(p.Data))
						continue
					}
					cur = append(cur, p.Data...)
					if p.Last {
						got = append(got, p.Opcode.String()+" "+string(cur))
						cur = nil
					}
				}
				want := []string{"ping p", "text a" + big, "binary ", "text end"}
				if len(got) != len(want) {
					t.Fatalf("got %d items, want %d", len(got), len(want))
				}
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("item %d differs: %d bytes, want %d", i, len(got[i]), len(want[i]))
					}
				}
			}
		}
	}
}

func TestReaderMixesWays(t *testing.T) {
	big := strings.Repeat("y", 200000)
	stream := []Frame{
		data(Text, false, "one "), data(Continuation, false, big), data(Ping, true, "x"), data(Continuation, true, "three"),
		data(Text, true, "next"), data(Text, false, "a"), data(Continuation, true, "b"), data(Text, true, "end"),
	}
	for _, role := range []Role{Client, Server} {
		r := NewReader(iotest.HalfReader(bytes.NewReader(wire(role, stream...))), role, Options{})
		// A part of the first message is read, then whole messages. The rest of the first
		// is skipped, but not its control frames.
		if p, err := r.NextPiece(nil); err != nil || string(p.Data) != "one " {
			t.Fatalf("piece %q, %v", p.Data, err)
		}
		if m, err := r.Next(); err != nil || m.Opcode != Ping {
			t.Fatalf("got %v %v, want the ping", m.Opcode, err)
		}
		if m, err := r.Next(); err != nil || string(m.Data) != "next" {
			t.Fatalf("got %q %v, want next", m.Data, err)
		}
		if f, err := r.NextFrame(); err != nil || string(f.Payload) != "a" || f.Header.Fin {
			t.Fatalf("got %q %v, want frame a", f.Payload, err)
		}
		if m, err := r.Next(); err != nil || string(m.Data) != "end" {
			t.Fatalf("got %q %v, want end", m.Data, err)
		}
	}
}

func TestReaderBatches(t *testing.T) {
	var frames []Frame
	for i := range 5000 {
		switch {
		case i%700 == 3:
			frames = append(frames, data(Ping, true, "p"))
		case i%900 == 4:
			frames = append(frames, data(Text, false, "f"), data(Continuation, true, strings.Repeat("g", i*50)))
		default:
			frames = append(frames, data(Text, true, strings.Repeat("m", i%300)))
		}
	}
	for _, role := range []Role{Client, Server} {
		b := wire(role, frames...)
		one := NewReader(bytes.NewReader(b), role, Options{})
		r := NewReader(bytes.NewReader(bytes.Clone(b)), role, Options{})
		var batches []*Batch
		var want []Message
		for {
			m, err := one.Next()
			if err == io.EOF {
				break
			}
			want = append(want, m.Clone())
		}
		n := 0
		for {
			b, err := r.NextBatch()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		for _, b := range batches {
			for _, m := range b.Messages {
				if m.Opcode != want[n].Opcode || !bytes.Equal(m.Data, want[n].Data) {
					t.Fatalf("message %d differs", n)
				}
				n++
			}
			b.Release()
		}
		if n != len(want) {
			t.Fatalf("%d messages, want %d", n, len(want))
		}
	}
}

func TestReaderEnds(t *testing.T) {
	b := wire(Client, data(Text, true, "whole"), data(Text, false, "begun"), data(Continuation, true, "done"))
	borders := map[int]bool{0: true, 7: true, len(b): true}
	for cut := range len(b) + 1 {
		r := NewReader(bytes.NewReader(bytes.Clone(b[:cut])), Client, Options{})
		var err error
		for err == nil {
			_, err = r.Next()
		}
		want := io.ErrUnexpectedEOF
		if borders[cut] {
			want = io.EOF
		}
		if err != want {
			t.Errorf("cut at %d: %v, want %v", cut, err, want)
		}
	}
}

type timeouts struct {
	r   io.Reader
	odd bool
}

var errTimeout = errors.New("timeout")

func (s *timeouts) Read(p []byte) (int, error) {
	if s.odd = !s.odd; s.odd {
		return 0, errTimeout
	}
	return s.r.Read(p[:1])
}

func TestReaderGoesOnAfterSourceError(t *testing.T) {
	b := wire(Server, data(Text, false, "be"), data(Ping, true, "1"), data(Continuation, true, "gun"))
	r := NewReader(&timeouts{r: bytes.NewReader(b)}, Server, Options{})
	var got []string
	for {
		m, err := r.Next()
		if err == errTimeout {
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m.Data))
	}
	if strings.Join(got, ",") != "1,begun" {
		t.Fatal(got)
	}
}

func TestMore(t *testing.T) {
	b := wire(Client, data(Text, true, "1"), data(Ping, true, ""), data(Text, false, "2"), data(Continuation, true, "3"), data(Text, true, "4"))
	r := NewReader(bytes.NewReader(b), Client, Options{})
	for _, want := range []struct {
		data string
		more bool
	}{{"1", true}, {"", true}, {"23", true}, {"4", false}} {
		m, err := r.Next()
		if err != nil || string(m.Data) != want.data || r.More() != want.more {
			t.Fatalf("%q, more %v, %v; want %+v", m.Data, r.More(), err, want)
		}
	}
}
