package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// mixed returns messages that try a compressor: feeds, text of few bytes, noise, long runs, and sizes at its edges.
func mixed(n int) [][]byte {
	r := rand.New(rand.NewPCG(3, 9))
	small, large := feed(n, 200), feed(n/8+1, 3000)
	out := make([][]byte, 0, n)
	for i := range n {
		switch i % 9 {
		case 0:
			out = append(out, large[i/9%len(large)])
		case 1:
			p := make([]byte, r.IntN(3000))
			for j := range p {
				p[j] = byte(r.Uint32())
			}
			out = append(out, p)
		case 2:
			out = append(out, bytes.Repeat([]byte{byte(i)}, r.IntN(70_000)))
		case 3:
			out = append(out, []byte{})
		case 4:
			out = append(out, []byte(strings.Repeat(fmt.Sprint("tick", i%3), r.IntN(200))))
		default:
			out = append(out, small[i])
		}
	}
	return out
}

func newDeflater(t testing.TB, o DeflateOptions) *Deflater {
	t.Helper()
	d, err := NewDeflater(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeflaterRoundTrip(t *testing.T) {
	messages := mixed(150)
	for _, o := range []DeflateOptions{{}, {Level: 1}, {Level: 3}, {Level: 9}, {Level: HuffmanOnly}, {NoContextTakeover: true}, {History: 2048}, {History: 1, Level: 1},
		{History: 32768}, {History: 5000, WindowBits: 9}, {WindowBits: 8}, {WindowBits: 11}, {WindowBits: 14, NoContextTakeover: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			d := newDeflater(t, o)
			defer d.Close()
			inflater := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
			var std stdReader
			for i, m := range messages {
				var c []byte
				if i%3 == 0 { // in pieces
					for rest := m; ; {
						n := min(len(rest), 1+i*7)
						c = d.Append(c, rest[:n], n == len(rest))
						if rest = rest[n:]; len(rest) == 0 {
							break
						}
					}
				} else {
					c = d.Append(nil, m, true)
				}
				if len(c) > Bound(len(m)) && i%3 != 0 {
					t.Errorf("message %d of %d bytes: %d compressed, over Bound", i, len(m), len(c))
				}
				got, err := inflater.Message(c, false)
				if err != nil || !bytes.Equal(got, m) {
					t.Fatalf("message %d of %d bytes: %v", i, len(m), err)
				}
				if got, err := std.message(c, len(m)); err != nil || !bytes.Equal(got, m) {
					t.Fatalf("message %d of %d bytes, by the standard library: %v", i, len(m), err)
				}
			}
		})
	}
}

// stdReader inflates with the standard library's reader, with context takeover.
type stdReader struct {
	in bytes.Buffer
	r  io.Reader
}

func (s *stdReader) message(p []byte, n int) ([]byte, error) {
	s.in.Write(p)
	s.in.WriteString(tail)
	if s.r == nil {
		s.r = stdflate.NewReader(&s.in)
	}
	out := make([]byte, n)
	_, err := io.ReadFull(s.r, out)
	return out, err
}

func TestR72NoContextTakeover(t *testing.T) {
	d := newDeflater(t, DeflateOptions{NoContextTakeover: true})
	for i, m := range feed(50, 300) {
		c := d.Append(nil, m, true)
		got, err := io.ReadAll(stdflate.NewReader(strings.NewReader(string(c) + tail + "\x01\x00\x00\xff\xff")))
		if err != nil || !bytes.Equal(got, m) {
			t.Fatalf("message %d does not inflate alone: %v", i, err)
		}
		if d.encoder != nil {
			t.Fatal("a compressor is held between messages")
		}
	}
}

// What was sent is decoded by the slow decoder, which says how far back messages refer.
func TestR76WindowIsNeverExceeded(t *testing.T) {
	messages := mixed(max(few(250), 60))
	for i := range messages { // repeats at every distance, which tempt to reach back too far
		if i%9 == 7 {
			messages[i] = append([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), messages[max(0, i-1-i%5)]...)
		}
	}
	for bits := 8; bits <= 15; bits++ {
		for _, history := range []int{0, 3000} {
			d := newDeflater(t, DeflateOptions{WindowBits: bits, History: history})
			var reference slowInflater
			for i, m := range messages {
				got, err := reference.message(d.Append(nil, m, true))
				if err != nil || !bytes.Equal(got, m) {
					t.Fatalf("window of %d bits, message %d: %v", bits, i, err)
				}
			}
			if reference.farthest > 1<<bits {
				t.Errorf("window of %d bits: refers %d bytes back", bits, reference.farthest)
			}
			if reference.farthest < 1<<bits/2 && history == 0 && !instrumented {
				t.Errorf("window of %d bits: only %d bytes of it are used", bits, reference.farthest)
			}
		}
	}
}

func TestR79TailAndEmptyMessage(t *testing.T) {
	for _, o := range []DeflateOptions{{}, {NoContextTakeover: true}, {History: 1024}, {WindowBits: 9}} {
		d := newDeflater(t, o)
		in := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
		arrives := func(c []byte, want string) {
			t.Helper()
			if got, err := in.Message(c, true); err != nil || string(got) != want {
				t.Errorf("%+v: % x is %q, %v", o, c, got, err)
			}
		}
		for range 3 {
			c := d.Append(nil, nil, true)
			if !bytes.Equal(c, []byte{0}) {
				t.Errorf("%+v: empty message is % x", o, c)
			}
			arrives(c, "")
			c = d.Append([]byte("before"), []byte("tick"), true)
			if !bytes.HasPrefix(c, []byte("before")) || bytes.HasSuffix(c, syncTail) {
				t.Errorf("%+v: % x", o, c)
			}
			arrives(c[len("before"):], "tick")
			// A message whose last piece is empty, the final empty fragment of R82.
			c = d.Append(nil, []byte("tock"), false)
			arrives(d.Append(c, nil, true), "tock")
		}
	}
}

// A prepared message serves connections with takeover and without, between messages of their own.
func TestPreparedMessage(t *testing.T) {
	own, prepared := feed(60, 200), feed(20, 900)
	for _, o := range []DeflateOptions{{}, {NoContextTakeover: true}, {History: 2000}, {WindowBits: 9}} {
		d := newDeflater(t, o)
		inflater := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
		want := func(c, m []byte) {
			if got, err := inflater.Message(c, true); err != nil || !bytes.Equal(got, m) {
				t.Fatalf("%+v: %v", o, err)
			}
		}
		for i, m := range own {
			want(d.Append(nil, m, true), m)
			if i%3 == 0 {
				p := prepared[i/3]
				c, err := AppendMessage(nil, p, o.WindowBits, o.Level)
				if err != nil {
					t.Fatal(err)
				}
				want(c, p)
				d.Forget()
			}
		}
	}
}
