package deflate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// bitWriter puts a stream together by hand.
type bitWriter struct {
	p []byte
	n int
}

// bits appends the low n bits of v, lowest first.
func (w *bitWriter) bits(v, n int) *bitWriter {
	for i := range n {
		if w.n%8 == 0 {
			w.p = append(w.p, 0)
		}
		w.p[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
	return w
}

// code appends a Huffman code, highest bit first.
func (w *bitWriter) code(v, n int) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		w.bits(v>>i, 1)
	}
	return w
}

// lits appends literals under 144 in the fixed code.
func (w *bitWriter) lits(s string) *bitWriter {
	for _, c := range []byte(s) {
		w.code(0x30+int(c), 8)
	}
	return w
}

// end appends the fixed code's end of block and the header of the stored block whose rest is the tail.
func (w *bitWriter) end() []byte { return w.code(0, 7).bits(0, 3).p }

func bitsOf(v, n int) *bitWriter { return new(bitWriter).bits(v, n) }

// fixedBlock starts a fixed block that is not final.
func fixedBlock() *bitWriter { return bitsOf(2, 3) }

// dynamicBlock starts a dynamic block with the code lengths given by their symbols; pre holds the lengths of their code by
// symbol. repeats of 16, 17 and 18 are given as symbol and then the extra bits' value.
func dynamicBlock(numLit, numDist int, pre [19]int, symbols ...int) *bitWriter {
	w := bitsOf(4, 3).bits(numLit-257, 5).bits(numDist-1, 5).bits(15, 4)
	for _, s := range codeLenOrder {
		w.bits(pre[s], 3)
	}
	for i := 0; i < len(symbols); i++ {
		s := symbols[i]
		code, n := canonical(pre[:], s)
		w.code(code, n)
		if s >= 16 {
			i++
			w.bits(symbols[i], []int{2, 3, 7}[s-16])
		}
	}
	return w
}

// canonical returns the code of a symbol (RFC 1951 §3.2.2).
func canonical(lens []int, sym int) (code, n int) {
	for n = 1; n <= 15; n++ {
		for s, l := range lens {
			if l == n {
				if s == sym {
					return code, n
				}
				code++
			}
		}
		code <<= 1
	}
	return 0, 0
}

// preFlat gives the symbols 0, 1, 2 and 18 codes of two bits.
var preFlat = [19]int{0: 2, 1: 2, 2: 2, 18: 2}

// zeroes returns the symbols of n code lengths 0, n ≥ 11 or 0.
func zeroes(n int) (s []int) {
	for ; n > 138; n -= 138 {
		if n-138 < 11 {
			s = append(s, 18, 100-11)
			n += 138 - 100
			continue
		}
		s = append(s, 18, 127)
	}
	return append(s, 18, n-11)
}

func cat(lists ...[]int) (s []int) {
	for _, l := range lists {
		s = append(s, l...)
	}
	return s
}

type stream struct {
	name string
	p    []byte
	want error
}

// malformed are streams that no message may be delivered from.
func malformed() []stream {
	pre := func(lens ...int) (p [19]int) {
		copy(p[:], lens)
		return p
	}
	return []stream{
		{"empty", nil, ErrMessageEnd},
		{"block type 3", bitsOf(6, 3).p, ErrBlockType},
		{"final block of type 3", bitsOf(7, 3).p, ErrBlockType},
		{"block type 3 after a block", fixedBlock().lits("tick").code(0, 7).bits(6, 3).p, ErrBlockType},
		{"stored length and complement equal", []byte{0, 1, 0, 1, 0, 'a', 0}, ErrStoredLength},
		{"stored complement off by one bit", []byte{0, 1, 0, 0xFE, 0x7F, 'a', 0}, ErrStoredLength},
		{"stored length of 0 without its complement", []byte{0, 0, 0, 0, 0, 0}, ErrStoredLength},
		{"stored block cut in its length", []byte{0, 1, 0, 0xFE}, ErrMessageEnd},
		{"stored block cut in its data", []byte{0, 2, 0, 0xFD, 0xFF, 'a'}, ErrMessageEnd},
		{"stored block that takes the tail for its data", []byte{0, 4, 0, 0xFB, 0xFF}, ErrMessageEnd},
		{"stored block of which the tail would be the end", []byte{0, 5, 0, 0xFA, 0xFF, 'a'}, ErrMessageEnd},
		{"no block behind the last", []byte{0, 1, 0, 0xFE, 0xFF, 'a'}, ErrMessageEnd},
		{"fixed block without an end", fixedBlock().lits("tick").p, ErrMessageEnd},
		{"fixed block without a block behind it", fixedBlock().code(0x190, 9).code(0x190, 9).code(0x190, 9).code(0x190, 9).code(0x190, 9).code(0x190, 9).code(0, 7).p, ErrMessageEnd},
		{"fixed symbol 286", fixedBlock().code(0xC6, 8).end(), ErrSymbol},
		{"fixed symbol 287", fixedBlock().code(0xC7, 8).end(), ErrSymbol},
		{"fixed distance symbol 30", fixedBlock().lits("a").code(1, 7).code(30, 5).end(), ErrSymbol},
		{"fixed distance symbol 31", fixedBlock().lits("a").code(1, 7).code(31, 5).end(), ErrSymbol},
		{"distance 1 at the start", fixedBlock().code(1, 7).code(0, 5).end(), ErrDistance},
		{"distance one before the start", fixedBlock().lits("tick").code(1, 7).code(4, 5).bits(0, 1).end(), ErrDistance},
		{"distance 32768 at the start", fixedBlock().lits("tick").code(1, 7).code(29, 5).bits(0x1FFF, 13).end(), ErrDistance},
		{"287 literal codes", dynamicBlock(287, 1, preFlat).bits(0, 32).p, ErrCodeLengths},
		{"288 literal codes", dynamicBlock(288, 1, preFlat).bits(0, 32).p, ErrCodeLengths},
		{"31 distance codes", dynamicBlock(257, 31, preFlat).bits(0, 32).p, ErrCodeLengths},
		{"32 distance codes", dynamicBlock(257, 32, preFlat).bits(0, 32).p, ErrCodeLengths},
		{"code length code over full", dynamicBlock(257, 1, pre(1, 1, 1)).bits(0, 32).p, ErrCodeLengths},
		{"code length code with gaps", dynamicBlock(257, 1, pre(2, 2, 2)).bits(0, 32).p, ErrCodeLengths},
		{"code length code of one symbol", dynamicBlock(257, 1, pre(1)).bits(0, 32).p, ErrCodeLengths},
		{"code length code empty", dynamicBlock(257, 1, pre()).bits(0, 32).p, ErrCodeLengths},
		{"repeat of no length", dynamicBlock(257, 1, [19]int{0: 1, 16: 1}, 16, 0).bits(0, 32).p, ErrCodeLengths},
		{"repeat past the last length", dynamicBlock(257, 1, [19]int{1: 1, 16: 2, 18: 2}, cat([]int{1}, zeroes(255), []int{1, 16, 0})...).bits(0, 32).p, ErrCodeLengths},
		{"short zeroes past the last length", dynamicBlock(257, 1, [19]int{1: 1, 17: 2, 18: 2}, cat([]int{1}, zeroes(255), []int{1, 17, 0})...).bits(0, 32).p, ErrCodeLengths},
		{"long zeroes past the last length", dynamicBlock(257, 1, preFlat, 18, 127, 18, 127).bits(0, 32).p, ErrCodeLengths},
		{"no end of block", dynamicBlock(257, 1, preFlat, cat([]int{1, 1}, zeroes(254), []int{0, 0})...).bits(0, 32).p, ErrCodeLengths},
		{"literal code over full", dynamicBlock(257, 1, preFlat, cat([]int{1, 1}, zeroes(254), []int{1, 0})...).bits(0, 32).p, ErrCodeLengths},
		{"literal code with gaps", dynamicBlock(257, 1, preFlat, cat([]int{2, 2}, zeroes(254), []int{2, 0})...).bits(0, 32).p, ErrCodeLengths},
		{"distance code over full", dynamicBlock(257, 3, preFlat, cat([]int{1, 0}, zeroes(254), []int{1, 1, 1, 1})...).bits(0, 32).p, ErrCodeLengths},
		{"distance code with gaps", dynamicBlock(257, 2, preFlat, cat([]int{1, 0}, zeroes(254), []int{1, 2, 2})...).bits(0, 32).p, ErrCodeLengths},
		{"distance code of one symbol of two bits", dynamicBlock(257, 1, preFlat, cat([]int{1, 0}, zeroes(254), []int{1, 2})...).bits(0, 32).p, ErrCodeLengths},
		{"length without a distance code", dynamicBlock(258, 1, preFlat, cat([]int{1}, zeroes(255), []int{2, 2, 0})...).bits(0, 1).code(3, 2).bits(0, 8).p, ErrSymbol},
		{"the other bit of a single distance", dynamicBlock(258, 1, preFlat, cat([]int{1}, zeroes(255), []int{2, 2, 1})...).bits(0, 1).code(3, 2).bits(1, 8).p, ErrSymbol},
		{"the other bit of a single literal code", dynamicBlock(257, 1, preFlat, cat(zeroes(256), []int{1, 0})...).bits(1, 8).p, ErrSymbol},
		{"tail left on", append(fixedBlock().lits("tick").end(), tail...), ErrMessageEnd},
		{"junk behind a final block", append(bitsOf(3, 3).lits("tick").code(0, 7).p, 0xFF), ErrBlockType},
		{"junk behind a final block and the empty one", append(bitsOf(3, 3).lits("tick").code(0, 7).p, 0, 0), ErrMessageEnd},
	}
}

func TestR85Malformed(t *testing.T) {
	streams := malformed()
	if len(streams) < 30 {
		t.Fatalf("%d streams", len(streams))
	}
	for _, s := range streams {
		t.Run(s.name, func(t *testing.T) {
			for _, history := range []bool{false, true} {
				if history && errors.Is(s.want, ErrDistance) {
					continue
				}
				d := newInflater(t, InflateOptions{})
				if history {
					if _, err := d.Message(fixedBlock().lits("the message before").end(), true); err != nil {
						t.Fatal(err)
					}
				}
				got, err := d.Message(s.p, false)
				if !errors.Is(err, s.want) || got != nil {
					t.Fatalf("%q, %v; want %v", got, err, s.want)
				}
				var broken *frame.ProtocolError
				if !errors.As(err, &broken) || broken.Code != frame.CodeInvalidPayload {
					t.Errorf("%v has no close code 1007", err)
				}
				if d.buf != nil || d.dyn != nil || len(d.parts) != 0 {
					t.Error("the context is kept after an error")
				}
				if _, again := d.Message([]byte{0}, false); again != err {
					t.Errorf("then %v", again)
				}
			}
			if _, err := new(slowInflater).message(s.p); err == nil && !errors.Is(s.want, ErrMessageEnd) && !errors.Is(s.want, ErrCodeLengths) {
				t.Error("the reference decoder takes it")
			}
		})
	}
}

// whole are messages that must be delivered, each alone.
func whole() []stream {
	long := strings.Repeat("tick ", 30_000)
	var stored []byte
	for s := long; s != ""; {
		n := min(len(s), 0xFFFF)
		stored = append(stored, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		stored = append(stored, s[:n]...)
		s = s[n:]
	}
	empty := []byte{0, 0, 0, 0xFF, 0xFF}
	return []stream{
		{"", []byte{0}, nil},
		{"", bytes.Join([][]byte{empty, empty, {0}}, nil), nil},
		{"", bytes.Join([][]byte{empty, {1}}, nil), nil},
		{"", []byte{3, 0}, nil},                                                                                          // final, empty, fixed; nothing behind it
		{"Hello", []byte{0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00}, nil},                                                 // RFC 7692 §7.2.3.1
		{"Hello", []byte{0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00}, nil},                         // §7.2.3.3
		{"Hello", []byte{0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00}, nil},                                           // §7.2.3.4
		{"Hello", []byte{0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00}, nil},             // §7.2.3.5
		{"Hello", []byte{0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00}, nil},                                                 // ended by Z_FINISH alone
		{"HelloHello", []byte{0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0, 0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0}, nil},  // final in the middle
		{"HelloHello", []byte{0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0, 1, 5, 0, 0xFA, 0xFF, 'H', 'e', 'l', 'l', 'o'}, nil}, // final stored behind final
		{"tick", fixedBlock().lits("ti").code(0, 7).bits(2, 3).lits("ck").end(), nil},
		{"aaaa", fixedBlock().lits("a").code(1, 7).code(0, 5).end(), nil},
		{"abcdabcdab", fixedBlock().lits("abcd").code(4, 7).code(3, 5).end(), nil},
		{long, append(stored, 0), nil},
		{"aaaaaa", dynamicBlock(258, 1, preFlat, cat(zeroes(97), []int{1}, zeroes(158), []int{2, 2, 1})...).bits(0, 1).code(3, 2).bits(0, 1).bits(0, 1).bits(0, 1).code(2, 2).bits(0, 3).p, nil},
		{"aa", dynamicBlock(257, 1, preFlat, cat(zeroes(97), []int{1}, zeroes(158), []int{1, 0})...).bits(0, 2).bits(1, 1).bits(0, 3).p, nil},
		{"", dynamicBlock(257, 1, preFlat, cat(zeroes(256), []int{1, 0})...).bits(0, 1).bits(0, 3).p, nil},
	}
}

func TestR81EveryKindOfBlock(t *testing.T) {
	streams := whole()
	takeover := newInflater(t, InflateOptions{})
	alone := newInflater(t, InflateOptions{NoContextTakeover: true})
	feedIn := feed(len(streams)*3, 300)
	c := newDeflater(t, DeflateOptions{})
	for round := range 3 {
		for i, s := range streams {
			for _, d := range []*Inflater{takeover, alone} {
				got, err := d.Message(s.p, true)
				if err != nil || string(got) != s.name {
					t.Fatalf("stream %d: %.40q, %v", i, got, err)
				}
			}
			// A message of the feed, which knows nothing of the streams between: it must not be disturbed by them, and
			// only refers to itself.
			m := feedIn[round*len(streams)+i]
			c.Forget()
			p := c.Append(nil, m, true)
			for _, d := range []*Inflater{takeover, alone} {
				if got, err := d.Message(p, true); err != nil || !bytes.Equal(got, m) {
					t.Fatalf("after stream %d: %v", i, err)
				}
			}
			if got, err := new(slowInflater).message(s.p); err != nil || string(got) != s.name {
				t.Fatalf("stream %d, by the reference decoder: %.40q, %v", i, got, err)
			}
		}
	}
}

// With takeover, a final block does not end the context: later messages may still refer to what was before it.
func TestR81HistoryBehindFinalBlock(t *testing.T) {
	d := newInflater(t, InflateOptions{})
	if _, err := d.Message(bitsOf(3, 3).lits("tick").code(0, 7).p, true); err != nil {
		t.Fatal(err)
	}
	got, err := d.Message(fixedBlock().code(2, 7).code(3, 5).end(), true)
	if err != nil || string(got) != "tick" {
		t.Fatalf("%q, %v", got, err)
	}
}

// Whole, in pieces of every size, cut once at every place, and streamed: all must say the same, error or message.
func TestInflateSplitInvariance(t *testing.T) {
	streams := append(malformed(), whole()...)
	for _, m := range [][]byte{feed(1, 200)[0], feed(1, 2000)[0]} {
		streams = append(streams, stream{string(m), stdCompress(t, [][]byte{m}, 6, false)[0], nil})
	}
	bad := stdCompress(t, [][]byte{[]byte("tick \xC3"), []byte("tick \xFF tock"), append(bytes.Repeat([]byte("a"), 70_000), 0xFF)}, 6, false)
	bad = append(bad, append(bitsOf(2, 3).lits("tick").code(0x190+0xFF-144, 9).code(0x30, 8).p, 0xFF)) // bad text, then cut
	for i, p := range bad {
		streams = append(streams, stream{fmt.Sprint("bad text ", i), p, nil})
	}
	for _, s := range streams {
		if len(s.p) > 3000 {
			continue
		}
		want, wantErr := newInflater(t, InflateOptions{MaxMessage: 60_000}).Message(s.p, true)
		check := func(how string, got []byte, err error) {
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || !bytes.Equal(got, want) {
				t.Fatalf("%.40q %s: %.40q, %v; whole: %.40q, %v", s.name, how, got, err, want, wantErr)
			}
		}
		for n := 1; n < len(s.p); n += 1 + n/16 {
			got, err := pushed(newInflater(t, InflateOptions{MaxMessage: 60_000}), s.p, n)
			check(fmt.Sprintf("in pieces of %d", n), got, err)
			got, err = streamed(newInflater(t, InflateOptions{MaxMessage: 60_000}), s.p, n)
			check(fmt.Sprintf("streamed in pieces of %d", n), got, err)
		}
		for cut := range s.p {
			d := newInflater(t, InflateOptions{MaxMessage: 60_000})
			d.Begin(true)
			err := d.Push(s.p[:cut], false)
			if err == nil {
				err = d.Push(s.p[cut:], true)
			}
			check(fmt.Sprintf("cut at %d", cut), d.Bytes(), err)
		}
	}
}

// A cut message is never delivered. Where a cut leaves what the sender could have meant as a whole one, before the length
// of a stored block or behind a final one, no receiver can know.
func TestR83Truncation(t *testing.T) {
	var streams [][]byte
	for _, size := range []int{100, 300, 700, 1500, 4000} {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			streams = append(streams, stdCompress(t, feed(1, size), level, false)[0])
		}
	}
	for _, s := range whole() {
		streams = append(streams, s.p[:min(len(s.p), 70_000)])
	}
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	streams = append(streams, stdCompress(t, [][]byte{noise}, 6, false)[0])
	if len(streams) < 20 {
		t.Fatal(len(streams))
	}
	cuts := 0
	for i, p := range streams {
		var reference slowInflater
		reference.message(p)
		for cut := range min(len(p), 5000) {
			got, err := newInflater(t, InflateOptions{}).Message(p[:cut:cut], false)
			if reference.ends[cut] && cut > 0 {
				if err != nil {
					t.Errorf("stream %d cut at %d is whole, but: %v", i, cut, err)
				}
				continue
			}
			cuts++
			if err != ErrMessageEnd || got != nil {
				t.Fatalf("stream %d cut at %d of %d: %.40q, %v", i, cut, len(p), got, err)
			}
		}
	}
	t.Logf("%d streams, %d cuts", len(streams), cuts)
}

func TestR84Junk(t *testing.T) {
	for _, s := range whole() {
		for n := 1; n <= 8; n++ {
			for _, c := range []byte{0x00, 0x01, 0x55, 0xAA, 0xFF} {
				p := append(bytes.Clone(s.p), bytes.Repeat([]byte{c}, n)...)
				got, err := newInflater(t, InflateOptions{}).Message(p, false)
				var reference slowInflater
				if want, bad := reference.message(p); bad == nil && string(want) == string(got) && err == nil && reference.ends[len(p)] {
					continue // the junk happens to be blocks
				}
				if err == nil || got != nil {
					t.Errorf("%.20q and %d times %#x: %.40q", s.name, n, c, got)
				}
			}
		}
	}
}

// R80: the tail is not written behind the payload, and the payload is not changed.
func TestR80PayloadUntouched(t *testing.T) {
	for _, s := range append(whole(), malformed()...) {
		room := append(append(bytes.Repeat([]byte{0xDB}, 16), s.p...), bytes.Repeat([]byte{0xDB}, 16)...)
		before := bytes.Clone(room)
		newInflater(t, InflateOptions{}).Message(room[16:16+len(s.p)], true)
		if !bytes.Equal(room, before) {
			t.Errorf("%.40q: the payload or what is beside it changed", s.name)
		}
	}
}

// R76, R85: a distance of the whole window is legal, one more is not, whether or not it is still there.
func TestR76R85DistanceAtWindowsEdge(t *testing.T) {
	for bits := 8; bits <= 15; bits++ {
		for _, extra := range []int{-1, 0, 1} {
			distance := 1<<bits + extra
			if distance > 1<<15 {
				continue
			}
			for _, before := range []int{1<<bits + 5, 3<<bits + 1, 200_000} {
				for _, fill := range []int{0, 600} { // through the loop for the end and the fast one
					d := newInflater(t, InflateOptions{WindowBits: bits})
					m := make([]byte, before)
					for i := range m {
						m[i] = byte('a' + i%23)
					}
					if _, err := d.Message(stdCompress(t, [][]byte{m}, -2, true)[0], true); err != nil {
						t.Fatal(err)
					}
					w := fixedBlock()
					sym, base := 0, 1
					for base+1<<max(0, sym/2-1) <= distance {
						base += 1 << max(0, sym/2-1)
						sym++
					}
					w.code(1, 7).code(sym, 5).bits(distance-base, max(0, sym/2-1))
					w.lits(strings.Repeat("x", fill))
					got, err := d.Message(w.end(), true)
					if extra > 0 {
						if err != ErrDistance {
							t.Errorf("window of %d bits, distance %d: %v", bits, distance, err)
						}
					} else if want := string(m[before-distance:][:3]); err != nil || string(got[:3]) != want {
						t.Errorf("window of %d bits, distance %d: %.3q, %v; want %q", bits, distance, got, err, want)
					}
				}
			}
		}
	}
}

// A message must not refer to the one before it where no context is taken over.
func TestR85DistanceIntoTheLastMessage(t *testing.T) {
	d := newInflater(t, InflateOptions{NoContextTakeover: true})
	if _, err := d.Message(fixedBlock().lits("tick").end(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Message(fixedBlock().code(2, 7).code(3, 5).end(), true); err != ErrDistance {
		t.Fatal(err)
	}
}

// bombs are messages that inflate to n bytes or more, in pieces.
func bombs(t testing.TB, n int) map[string][][]byte {
	run := stdCompress(t, [][]byte{make([]byte, n)}, 9, false)[0]
	var stored []byte
	for range n/0xFFFF + 1 {
		stored = append(stored, 0, 0xFF, 0xFF, 0, 0)
		stored = append(stored, make([]byte, 0xFFFF)...)
	}
	stored = append(stored, 0)
	cut := func(p []byte, n int) (out [][]byte) {
		for len(p) > n {
			out = append(out, p[:n])
			p = p[n:]
		}
		return append(out, p)
	}
	return map[string][][]byte{
		"one frame":       {run},
		"drips":           cut(run, 100),
		"stored":          {stored},
		"stored in drips": cut(stored, 1000),
	}
}

func TestR87V8Bombs(t *testing.T) {
	const limit = 1 << 20
	const over = 10 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, pieces := range bombs(t, over) {
		for _, takeover := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, takeover %v", name, takeover), func(t *testing.T) {
				d := newInflater(t, InflateOptions{MaxMessage: limit, NoContextTakeover: !takeover})
				warm := stdCompress(t, [][]byte{make([]byte, 60_000)}, 1, false)[0]
				if _, err := d.Message(warm, true); err != nil { // the window's buffer is there
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := d.Begin(true)
				used := 0
				for i := 0; i < len(pieces) && err == nil; i++ {
					err = d.Push(pieces[i], i == len(pieces)-1)
					used += len(pieces[i])
				}
				runtime.ReadMemStats(&after)
				if !errors.Is(err, ErrTooLarge) || !errors.Is(err, frame.ErrMessageTooLarge) {
					t.Fatal(err)
				}
				var broken *frame.ProtocolError
				if !errors.As(err, &broken) || broken.Code != frame.CodeMessageTooBig {
					t.Errorf("%v has no close code 1009", err)
				}
				if got := after.TotalAlloc - before.TotalAlloc; got > limit+limit/4+64<<10 {
					t.Errorf("%d bytes allocated, %d over the limit", got, got-limit)
				}
				if len(pieces) > 1 && used > limit+2000 {
					t.Errorf("stopped only after %d compressed bytes", used)
				}
				if d.Bytes() != nil {
					t.Error("delivered")
				}
			})
		}
	}
}

// The limit is exact: that many bytes pass, one more does not.
func TestR87LimitIsExact(t *testing.T) {
	for _, limit := range []int{1, 2, 100, 4095, 4096, 4097, 30_000, 65_535, 65_536, 100_000, 300_000} {
		for _, level := range []int{-2, 0, 6} {
			for _, one := range []int{-1, 0, 1} {
				m := bytes.Repeat([]byte("0123456789"), limit/10+1)[:limit+one]
				c := stdCompress(t, [][]byte{m}, level, false)[0]
				got, err := newInflater(t, InflateOptions{MaxMessage: int64(limit)}).Message(c, true)
				if one > 0 && !errors.Is(err, ErrTooLarge) || one <= 0 && (err != nil || !bytes.Equal(got, m)) {
					t.Errorf("limit %d, level %d: %d bytes: %v", limit, level, limit+one, err)
				}
				if one > 0 {
					if _, err := streamed(newInflater(t, InflateOptions{MaxMessage: int64(limit)}), c, 1000); !errors.Is(err, ErrTooLarge) {
						t.Errorf("limit %d, level %d, streamed: %v", limit, level, err)
					}
				}
			}
		}
	}
}

func TestR87Ratio(t *testing.T) {
	run := stdCompress(t, [][]byte{make([]byte, 1<<20)}, 9, false)[0]
	if _, err := newInflater(t, InflateOptions{MaxRatio: 100}).Message(run, true); !errors.Is(err, ErrRatio) {
		t.Errorf("a million zeroes: %v", err)
	}
	if _, err := newInflater(t, InflateOptions{MaxRatio: 2000}).Message(run, true); err != nil {
		t.Errorf("under the ratio: %v", err)
	}
	small := stdCompress(t, [][]byte{make([]byte, ratioFree)}, 9, false)[0]
	if _, err := newInflater(t, InflateOptions{MaxRatio: 1}).Message(small, true); err != nil {
		t.Errorf("a small message: %v", err)
	}
	for _, m := range feed(3, 200_000) {
		c := stdCompress(t, [][]byte{m}, 6, false)[0]
		if got, err := pushed(newInflater(t, InflateOptions{MaxRatio: 10}), c, 1000); err != nil || !bytes.Equal(got, m) {
			t.Errorf("a message of a feed: %v", err)
		}
	}
}

// R87: the ratio is judged by the bytes that were used, so that it does not matter how many have come.
func TestR87RatioOfEverySplit(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	noise := make([]byte, 20_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	sync := append([]byte{0}, tail...)
	alone := func(m []byte, level int) []byte { return stdCompress(t, [][]byte{m}, level, false)[0] }
	block := func(m []byte, level int) []byte { return append(alone(m, level), tail...) }
	for i, p := range [][]byte{
		alone(make([]byte, 300_000), 9),
		append(block(make([]byte, 70_000), 9), alone(noise, 9)...),
		append(block(noise, 9), alone(make([]byte, 300_000), 9)...),
		append(block(noise, 0), alone(bytes.Repeat(noise[:300], 1000), 9)...),
		append(bytes.Join([][]byte{sync, block(bytes.Repeat(noise[:300], 400), 6), block(bytes.Repeat(noise[:1000], 66), 0)}, nil), 0),
		alone(feed(1, 250_000)[0], 6),
	} {
		for _, ratio := range []int{1, 2, 3, 5, 7, 10, 15, 30, 60, 100, 150, 200, 500, 1000, 1100} {
			o := InflateOptions{MaxRatio: ratio}
			want, wantErr := newInflater(t, o).Message(p, false)
			if wantErr != nil && !errors.Is(wantErr, ErrRatio) {
				t.Fatal(i, wantErr)
			}
			for _, n := range []int{1, 3, 17, 100, 777, 5000} {
				if got, err := pushedBinary(newInflater(t, o), p, n); fmt.Sprint(err) != fmt.Sprint(wantErr) || !bytes.Equal(got, want) {
					t.Fatalf("stream %d, ratio %d, in pieces of %d: %d bytes, %v; whole %d bytes, %v", i, ratio, n, len(got), err, len(want), wantErr)
				}
			}
		}
	}
}

// A message that was begun by Push can be gone on with by Next, from any byte.
func TestR81PushThenNext(t *testing.T) {
	for _, size := range []int{10, 5000, 60_000, 300_000, 1_500_000} {
		m := feed(1, max(300, size))[0]
		m = m[:min(size, len(m))]
		p := stdCompress(t, [][]byte{m}, 6, true)[0]
		d := newInflater(t, InflateOptions{})
		for at := 0; at <= len(p); at += 1 + len(p)/9 {
			d.Begin(true)
			if err := d.Push(p[:at], false); err != nil {
				t.Fatal(err)
			}
			var got []byte
			rest := p[at:]
			for {
				piece, err := d.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, piece...)
				if len(piece) == 0 {
					n := min(len(rest), 500)
					d.Feed(rest[:n], n == len(rest))
					rest = rest[n:]
				}
			}
			if !bytes.Equal(got, m) {
				t.Fatalf("%d bytes, from %d of %d on: %d bytes", len(m), at, len(p), len(got))
			}
			if len(d.parts) != 0 || d.spilled != 0 {
				t.Fatal("parts are left")
			}
			// The context is whole.
			if got, err := d.Message(p, true); err != nil || !bytes.Equal(got, m) {
				t.Fatal(err)
			}
		}
	}
}

// What Detach gives away is the caller's: later messages stand elsewhere.
func TestDetach(t *testing.T) {
	d := newInflater(t, InflateOptions{})
	messages := feed(2, 200_000)
	p := stdCompress(t, messages, 6, false)
	first, err := d.Message(p[0], true)
	if err != nil {
		t.Fatal(err)
	}
	own := d.Detach()
	if own == nil || &own.B[0] != &first[0] {
		t.Fatal("not the message's memory")
	}
	if d.Detach() != nil {
		t.Fatal("twice")
	}
	d.Release()
	if second, err := d.Message(p[1], true); err != nil || !bytes.Equal(second, messages[1]) || !bytes.Equal(first, messages[0]) {
		t.Fatal("changed", err)
	}
	if _, err := d.Message([]byte{0}, true); err != nil || d.Detach() != nil {
		t.Fatal("an empty message has memory of its own", err)
	}
}

// R87, F52: a message of any size takes no more than the limit, a quarter of it and 72
// KiB, whatever the limit, whether it is refused or delivered: the window's buffer, what
// moved out of it, and the tables.
func TestR87V8MemoryOfAnyLimit(t *testing.T) {
	if instrumented {
		t.Skip("instrumentation allocates, and the race detector makes pools forget")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, limit := range []int{100, 12 << 10, 40_000, 65_535, 70_000, 98_304, 100_001, 131_071, 200_000, 1 << 20, 3_333_333, 16 << 20} {
		if testing.Short() && limit > 1<<20 {
			break
		}
		long := feed(1, limit+limit/8+300)[0]
		for _, n := range []int{limit / 6, limit/5 + 1, limit * 2 / 5, limit * 5 / 8, limit - 1, limit, limit + 1} {
			for name, m := range map[string][]byte{"feed": long[:n], "zeroes": make([]byte, n)} {
				c := stdCompress(t, [][]byte{m}, 6, false)[0]
				runtime.GC()
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				d := newInflater(t, InflateOptions{MaxMessage: int64(limit)})
				got, err := d.Message(c, false)
				runtime.ReadMemStats(&after)
				if n > limit && !errors.Is(err, ErrTooLarge) || n <= limit && (err != nil || !bytes.Equal(got, m)) {
					t.Fatalf("limit %d, %s of %d: %v", limit, name, n, err)
				}
				// All that was allocated: the smaller buffers too that the window's grew from, 60 KiB.
				if got, most := int(after.TotalAlloc-before.TotalAlloc), max(limit+limit/4, 12<<10)+(72+60)<<10; got > most {
					t.Errorf("limit %d, %s of %d: %d bytes, %d too many", limit, name, n, got, got-most)
				}
			}
		}
	}
}

// A message of a good part of the limit, begun by Push and gone on with by Next, comes whole however it is cut.
func TestLongMessageGoneOnWith(t *testing.T) {
	const limit = 400_000
	long := feed(1, limit+100)[0]
	for _, n := range []int{limit / 6, limit/5 + 1, limit / 2, limit} {
		m := long[:n]
		c := stdCompress(t, [][]byte{m, long[:3000]}, 6, true)
		for _, at := range []int{1, len(c[0]) / 3, len(c[0]) - 1} {
			d := newInflater(t, InflateOptions{MaxMessage: limit})
			if err := d.Begin(true); err != nil {
				t.Fatal(err)
			}
			if err := d.Push(c[0][:at], false); err != nil {
				t.Fatal(err)
			}
			if err := d.Feed(c[0][at:], true); err != nil {
				t.Fatal(err)
			}
			var got []byte
			for {
				p, err := d.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p...)
			}
			if !bytes.Equal(got, m) {
				t.Fatalf("%d bytes, cut at %d: %d other ones", n, at, len(got))
			}
			if got, err := d.Message(c[1], true); err != nil || !bytes.Equal(got, long[:3000]) {
				t.Fatalf("the next message: %v", err)
			}
		}
	}
}

// R86: the byte that is not UTF-8 stops the inflating, though much follows it.
func TestR86TextIsCheckedWhileInflating(t *testing.T) {
	size := 8 << 20
	if instrumented {
		size = 2 << 20
	}
	for _, at := range []int{0, 100, 4000, 33_000, 70_000, 1 << 20, size - 1} {
		m := bytes.Repeat([]byte("tick "), size/5+1)[:size]
		m[at] = 0xFF
		c := stdCompress(t, [][]byte{m}, 1, false)[0]
		// The limit lies shortly behind the byte: had inflating gone on, the limit would have been the error.
		for name, inflate := range map[string]func(*Inflater) ([]byte, error){
			"whole":    func(d *Inflater) ([]byte, error) { return d.Message(c, true) },
			"pushed":   func(d *Inflater) ([]byte, error) { return pushed(d, c, 700) },
			"streamed": func(d *Inflater) ([]byte, error) { return streamed(d, c, 700) },
		} {
			got, err := inflate(newInflater(t, InflateOptions{MaxMessage: int64(at + 1)}))
			if err != frame.ErrInvalidUTF8 || got != nil {
				t.Errorf("byte %d, %s: %v", at, name, err)
			}
		}
		if at < size-1<<20 {
			d := newInflater(t, InflateOptions{})
			d.Begin(true)
			pushedBytes := 0
			for p := c; ; p = p[64:] {
				pushedBytes += 64
				if err := d.Push(p[:64], false); err != nil {
					break
				}
			}
			// One more piece than what holds the byte, and what the compressor holds back.
			if limit := int(int64(len(c))*int64(at+1)/int64(size)) + 4096; pushedBytes > limit {
				t.Errorf("byte %d: rejected after %d of %d compressed bytes, want at most %d", at, pushedBytes, len(c), limit)
			}
		}
	}
	if _, err := newInflater(t, InflateOptions{}).Message(stdCompress(t, [][]byte{[]byte("tick \xE2\x82")}, 6, false)[0], true); err != frame.ErrTruncatedUTF8 {
		t.Error(err)
	}
	d := newInflater(t, InflateOptions{})
	for range 3 { // binary is not checked, and leaves nothing behind for the next text
		if _, err := d.Message(stdCompress(t, [][]byte{[]byte("\xE2\x82")}, 6, false)[0], false); err != nil {
			t.Error(err)
		}
		if _, err := d.Message(stdCompress(t, [][]byte{[]byte("tick €")}, 6, false)[0], true); err != nil {
			t.Error(err)
		}
	}
}

// Misuse is told, and never delivers anything.
func TestInflaterMisuse(t *testing.T) {
	d := newInflater(t, InflateOptions{})
	if err := d.Push([]byte{0}, true); err == nil {
		t.Error("Push without Begin")
	}
	d = newInflater(t, InflateOptions{})
	if _, err := d.Next(); err == nil {
		t.Error("Next without Begin")
	}
	d = newInflater(t, InflateOptions{})
	d.Begin(true)
	if err := d.Begin(true); err == nil {
		t.Error("Begin inside a message")
	}
	d = newInflater(t, InflateOptions{})
	d.Close()
	d.Close()
	if _, err := d.Message([]byte{0}, true); err == nil {
		t.Error("Message after Close")
	}
}

// Streams with bits flipped, bytes changed, cut out and doubled: what is delivered is what the reference decoder says, in
// however many pieces it came.
func TestInflateMutated(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var streams [][]byte
	for _, size := range []int{60, 200, 700} {
		for _, level := range []int{-2, 0, 1, 6} {
			for _, m := range feed(3, max(size, 300)) {
				streams = append(streams, stdCompress(t, [][]byte{m[:min(size, len(m))]}, level, false)[0])
			}
		}
	}
	for _, s := range append(whole(), malformed()...) {
		if len(s.p) < 2000 {
			streams = append(streams, s.p)
		}
	}
	rounds := few(4000)
	if os.Getenv("TICKWIRE_FULL") != "" {
		rounds = 400_000
	}
	delivered := 0
	for range rounds {
		p := bytes.Clone(streams[r.IntN(len(streams))])
		for range 1 + r.IntN(3) {
			if len(p) == 0 {
				break
			}
			at := r.IntN(len(p))
			switch r.IntN(4) {
			case 0:
				p[at] ^= 1 << r.IntN(8)
			case 1:
				p[at] = byte(r.Uint32())
			case 2:
				p = slices.Delete(p, at, min(len(p), at+1+r.IntN(4)))
			case 3:
				p = slices.Insert(p, at, p[at:min(len(p), at+8)]...)
			}
		}
		got, err := newInflater(t, InflateOptions{}).Message(p, false)
		var reference slowInflater
		want, bad := reference.message(p)
		switch {
		case err == nil && (bad != nil || !bytes.Equal(got, want)):
			t.Fatalf("% x\nis %q,\nwant %q, %v", p, got, want, bad)
		case err != nil && bad == nil && reference.ends[len(p)] && !errors.Is(err, ErrCodeLengths):
			t.Fatalf("% x\nfails with %v, want %q", p, err, want)
		}
		if err == nil {
			delivered++
		}
		pieces, again := pushedBinary(newInflater(t, InflateOptions{}), p, 1+r.IntN(9))
		if again != err || !bytes.Equal(pieces, got) {
			t.Fatalf("% x\nin pieces is %q, %v; whole %q, %v", p, pieces, again, got, err)
		}
	}
	t.Logf("%d of %d delivered", delivered, rounds)
}

// F77: after a message of any length the Inflater is back at its resting size with the next Release, whatever the window, and messages
// that refer back as far as that allows come as they were.
func TestF77RestsAfterLongMessages(t *testing.T) {
	long := feed(3, 300_000)
	for bits := 8; bits <= 15; bits++ {
		for _, n := range []int{100, 5000, 33_000, 41_000, 60_000, 300_000} {
			d := newInflater(t, InflateOptions{WindowBits: bits})
			out := newDeflater(t, DeflateOptions{WindowBits: bits, History: 1 << bits})
			for i := range 6 {
				for _, m := range [][]byte{long[i%3][:n], long[i%3][n/2 : n/2+50], long[(i+1)%3][:700]} {
					if got, err := d.Message(out.Append(nil, m, true), true); err != nil || !bytes.Equal(got, m) {
						t.Fatalf("window of %d bits, message of %d: %v", bits, len(m), err)
					}
					d.Release()
					if len(d.out) > d.restSize() || d.joined != nil || len(d.parts) > 0 || d.dyn != nil {
						t.Fatalf("window of %d bits: %d bytes are held after a message of %d, want at most %d", bits, len(d.out), len(m), d.restSize())
					}
				}
			}
		}
	}
}
