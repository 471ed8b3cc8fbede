package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math/bits"
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
		{History: 32768}, {History: 5000, WindowBits: 9}, {History: 4096, Level: 6}, {Level: 9, WindowBits: 13}, {WindowBits: 8}, {WindowBits: 11}, {WindowBits: 14, NoContextTakeover: true}} {
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
		if d.encoder != nil || d.own.buf != nil || d.own.table != nil || d.own.work != nil {
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
		for _, history := range []int{1 << bits, 3000} {
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
			if reference.farthest < 1<<bits/2 && history != 3000 && !instrumented {
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

// F78: memory is given back between messages, and never inside one. What comes after refers to nothing before, and the peer, which
// is told nothing, has its own context as before.
func TestF78Release(t *testing.T) {
	messages := mixed(60)
	for _, o := range []DeflateOptions{{}, {Level: 1}, {Level: 1, History: 2000}, {History: 32768}, {WindowBits: 9}, {NoContextTakeover: true}, {Level: HuffmanOnly}} {
		d := newDeflater(t, o)
		inflater := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
		for i, m := range messages {
			c := d.Append(nil, m[:len(m)/2], false)
			if i%2 == 0 {
				d.Release()
			}
			c = d.Append(c, m[len(m)/2:], true)
			if got, err := inflater.Message(c, false); err != nil || !bytes.Equal(got, m) {
				t.Fatalf("%+v: message %d: %v", o, i, err)
			}
			if i%5 != 0 {
				continue
			}
			d.Release()
			if d.encoder != nil || d.history != nil || d.own.buf != nil || d.own.table != nil || d.own.work != nil {
				t.Fatalf("%+v: memory is held", o)
			}
			next := messages[(i+1)%len(messages)]
			c = d.Append(nil, next, true)
			if got, err := newInflater(t, InflateOptions{WindowBits: o.WindowBits}).Message(c, false); err != nil || !bytes.Equal(got, next) {
				t.Fatalf("%+v: the message after it refers back: %v", o, err)
			}
			if got, err := inflater.Message(c, false); err != nil || !bytes.Equal(got, next) {
				t.Fatalf("%+v: message %d: %v", o, i, err)
			}
		}
	}
}

// F78: what is held between messages grows with what was sent, and is no more than was asked for after any message.
func TestF78HeldAsUsed(t *testing.T) {
	large := feed(2, 300_000)
	for _, o := range []DeflateOptions{{}, {History: 2000}, {History: 32768}, {WindowBits: 8}, {WindowBits: 11}} {
		d := newDeflater(t, o)
		held := func() (n int) {
			if d.own.work != nil {
				t.Fatal("what is lent is held between messages")
			}
			return cap(d.own.buf.B) + cap(d.own.table.B)
		}
		d.Append(nil, large[0][:300], true)
		if n := held(); n > 2<<10 {
			t.Errorf("%+v: %d bytes after one message of 300", o, n)
		}
		most := d.own.keep * 3 / 2
		for i := range 40 {
			d.Append(nil, large[i%2][i*100:i*100+1000*(1+i%4)], true)
			d.Append(nil, large[i%2][:i*7000], true)
			if n := held(); n > most {
				t.Fatalf("%+v: %d bytes after a message of %d, at most %d expected", o, n, i*7000, most)
			}
		}
		if n := held(); n != most {
			t.Errorf("%+v: %d bytes after many messages, want %d", o, n, most)
		}
	}
}

// The codes of a block are complete and no longer than may be, also where frequencies call for the longest ones (Fibonacci's).
func TestBlockCodes(t *testing.T) {
	b := new(block)
	for name, frequency := range map[string]func(i int) int{
		"one":   func(i int) int { return min(1, max(0, 1-i)) },
		"two":   func(i int) int { return min(1, max(0, 2-i)) },
		"even":  func(int) int { return 3 },
		"steep": func(i int) int { return 1 << min(13, i/2) },
		"fibonacci": func(i int) int {
			a, b := 1, 1
			for range min(i, 20) {
				a, b = b, a+b
			}
			return a
		},
		"large": func(i int) int { return 16000 - 50*i },
	} {
		for _, limit := range []int{codeLenBits, codeBitsMax} {
			var f [litUsed]uint16
			n := 0
			for i := range codeLenMax {
				f[i*15] = uint16(frequency(i))
				n += min(1, int(f[i*15]))
			}
			codes := make([]code, litUsed)
			b.makeCode(f[:], codes, limit)
			seen, sum := map[string]bool{}, 0
			for s, c := range codes {
				if (c.length > 0) != (f[s] > 0) || int(c.length) > limit {
					t.Fatalf("%s: symbol %d, %d times: %d bits", name, s, f[s], c.length)
				}
				if c.length > 0 {
					sum += 1 << (codeBitsMax - c.length)
					seen[fmt.Sprintf("%0*b", c.length, bits.Reverse16(c.bits)>>(16-c.length))] = true
				}
				for r := range codes {
					if codes[r].length > 0 && c.length > 0 && f[r] > f[s] && codes[r].length > c.length {
						t.Fatalf("%s: a symbol that occurs more has a longer code", name)
					}
				}
			}
			for a := range seen {
				for b := range seen {
					if a != b && strings.HasPrefix(a, b) {
						t.Fatalf("%s: %s begins with %s", name, a, b)
					}
				}
			}
			if len(seen) != n || n > 1 && sum != 1<<codeBitsMax {
				t.Fatalf("%s: %d codes of %d symbols, sum %d", name, len(seen), n, sum)
			}
		}
	}
}
