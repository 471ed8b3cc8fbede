package utf8

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	stdutf8 "unicode/utf8"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// The bytes of each key differ. Masked with testKey, ASCII does not look like ASCII.
// Masked with plainKey it does, so the top bits do not show a kernel that confuses masked
// and unmasked bytes.
const (
	testKey  = mask.Key(0xD3A5C687)
	plainKey = mask.Key(0x53254607)
)

// masked returns a masked copy, made octet by octet.
func masked(p []byte, key mask.Key) []byte {
	var k [4]byte
	binary.LittleEndian.PutUint32(k[:], uint32(key))
	out := make([]byte, len(p))
	for i, c := range p {
		out[i] = c ^ k[i&3]
	}
	return out
}

// verdicts calls every function with p, and fails if one differs from unicode/utf8. p
// need not be a whole text.
func verdicts(t testing.TB, p []byte) {
	t.Helper()
	want := stdutf8.Valid(p)
	if got := Valid(p); got != want {
		t.Fatalf("Valid(%x) = %v", p, got)
	}
	if got := ValidString(string(p)); got != want {
		t.Fatalf("ValidString(%x) = %v", p, got)
	}
	for _, key := range []mask.Key{testKey, plainKey} {
		m := masked(p, key)
		if got := Unmask(m, key); got != want {
			t.Fatalf("Unmask of masked %x = %v, key %08x", p, got, key)
		}
		if !bytes.Equal(m, p) {
			t.Fatalf("Unmask of masked %x left %x, key %08x", p, m, key)
		}
	}
	if got := validGeneric(unsafe.SliceData(p), len(p)); got != want {
		t.Fatalf("validGeneric(%x) = %v", p, got)
	}
}

func TestEmpty(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		var v Validator
		if !Valid(nil) || !Valid([]byte{}) || !ValidString("") || !Unmask(nil, testKey) {
			t.Error("an empty text is valid")
		}
		if v.Push(nil) != -1 || !v.Done() {
			t.Error("Push(nil)")
		}
		if key, i := v.Unmask(nil, testKey); key != testKey || i != -1 || !v.Done() {
			t.Errorf("Validator.Unmask(nil) = %x, %d", key, i)
		}
	})
}

// TestR33EveryShortString checks every string of up to 3 bytes and every 4-byte string
// that begins with F0 to F7. Each is alone, and at two places in ASCII where the long
// kernels see it. The ordinary run takes a sample; TICKWIRE_FULL=1 takes all, in some
// minutes a tier.
func TestR33EveryShortString(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		const frame = 200
		var inside, work [frame]byte
		check := func(p []byte, at int) {
			want := stdutf8.Valid(p)
			if Valid(p) != want {
				t.Fatalf("Valid(%x) = %v", p, !want)
			}
			var short [4]byte
			m := short[:copy(short[:], p)]
			for i := range m {
				m[i] ^= byte(testKey >> (8 * i))
			}
			if Unmask(m, testKey) != want || !bytes.Equal(m, p) {
				t.Fatalf("Unmask of masked %x: not %v, or left %x", p, want, m)
			}
			if at < 0 {
				return
			}
			for i := range inside {
				inside[i] = 'a'
			}
			copy(inside[at:], p)
			if Valid(inside[:]) != want {
				t.Fatalf("Valid(%x at %d of %d) = %v", p, at, frame, !want)
			}
			for i := range work {
				work[i] = inside[i] ^ byte(testKey>>(8*(i&3)))
			}
			if Unmask(work[:], testKey) != want || work != inside {
				t.Fatalf("Unmask(%x at %d of %d): not %v, or wrong text", p, at, frame, want)
			}
		}
		rng := rand.New(rand.NewPCG(3, 3))
		every := 8
		if thin {
			every = 64
		}
		at := func() int {
			if asmtest.Full() || rng.IntN(every) == 0 {
				return rng.IntN(frame - 4)
			}
			return -1
		}
		for a := range 0x100 {
			check([]byte{byte(a)}, a%(frame-4))
			for b := range 0x100 {
				check([]byte{byte(a), byte(b)}, at())
			}
		}
		// For third and fourth bytes only the class matters. The sample has the edges of
		// each class and one other byte.
		edges := []byte{0, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE1, 0xF0, 0xFF}
		all := make([]byte, 0x100)
		for i := range all {
			all[i] = byte(i)
		}
		second, third := all, edges
		if asmtest.Full() {
			third = all
		} else if thin {
			second = edges
		}
		for a := range 0x100 {
			for _, b := range second {
				for _, c := range third {
					check([]byte{byte(a), b, c}, at())
					if a < 0xF0 || a > 0xF7 {
						continue
					}
					for _, d := range third {
						check([]byte{byte(a), b, c, d}, at())
					}
				}
			}
		}
	})
}

// TestR33SeedsAtEveryOffset puts each seed at the offsets 0 to 191 of texts of several
// lengths. So it meets every edge of blocks, windows and tails. The texts are ASCII and
// others.
func TestR33SeedsAtEveryOffset(t *testing.T) {
	all := seeds()
	stride := 1
	if thin { // the detectors make everything slow
		stride = 13
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		rng := rand.New(rand.NewPCG(5, 5))
		texts := corpora(4096)
		for _, seed := range all {
			for offset := rng.IntN(stride); offset < 192; offset += stride {
				behind := rng.IntN(70)
				if rng.IntN(4) == 0 {
					behind = rng.IntN(700)
				}
				if rng.IntN(8) == 0 {
					behind = 0
				}
				c := texts[0]
				if rng.IntN(2) == 0 {
					c = texts[rng.IntN(len(texts))]
				}
				p := whole(c.text, offset)
				p = append(p, seed...)
				p = append(p, whole(c.text, behind)...)
				verdicts(t, p)
			}
		}
	})
}

// TestR33Everywhere breaks long texts at random places. It breaks texts of the lengths
// where the kernels change their method at each place.
func TestR33Everywhere(t *testing.T) {
	broken := []string{"\x80", "\xC3", "\xE4\xB8", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80", "\xFF", "\xF0\x9F\x98"}
	lengths := []int{15, 16, 17, 18, 19, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 125, 127, 128, 129, 160, 191, 255, 256,
		257, 300, 1023, 1024, 1300, 2047, 4096}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		rng := rand.New(rand.NewPCG(7, 7))
		for _, c := range corpora(1 << 17) {
			for _, n := range lengths {
				p := whole(c.text, n)
				verdicts(t, p)
				step := 1 + n/100
				if thin {
					step *= 10
				}
				if asmtest.Full() {
					step = 1
				}
				for i := rng.IntN(step); i < n; i += step {
					q := append([]byte(nil), p...)
					copy(q[i:], broken[rng.IntN(len(broken))])
					verdicts(t, q)
				}
			}
			long := 20
			if thin {
				long = 2
			}
			for range long {
				n := 5000 + rng.IntN(1<<17-5000)
				p := whole(c.text, n)
				verdicts(t, p)
				copy(p[rng.IntN(n):], broken[rng.IntN(len(broken))])
				verdicts(t, p)
			}
		}
	})
}

// TestNames puts one run of other characters at every place of ASCII of every length up
// to 256, where the kernels skip blocks of ASCII. The run is valid, or broken in each way
// that only the bytes before or after it show.
func TestNames(t *testing.T) {
	names := []string{"é", "日", "😀", "日経平均", "価格😀é", "日本語日本語日本語日本語日本語日本語日", "\xC3", "\x80", "\xE4\xB8", "\xF0\x9F\x98", "日\x80",
		"\xF0\x9F", "é\xBF", "日経\xE5\xB9", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80"}
	step := 7
	if asmtest.Full() {
		step = 1
	} else if thin || testing.Short() {
		step = 41
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		base := bytes.Repeat([]byte(`{"p":67123.45,"s":"BTC"},`), 12)
		i := 0
		for n := 1; n <= 256; n++ {
			for _, name := range names {
				for at := n - len(name); at >= 0; at-- {
					if i++; i%step != 0 && at > 0 && at < n-len(name)-3 {
						continue
					}
					p := append([]byte(nil), base[:n]...)
					copy(p[at:], name)
					verdicts(t, p)
				}
			}
		}
	})
}

// TestTwoNames has an unfinished character at each edge of a block, ASCII after it, and
// then a name. The kernel must remember the unfinished character.
func TestTwoNames(t *testing.T) {
	step := 1
	if thin || testing.Short() {
		step = 9
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		base := bytes.Repeat([]byte(`{"p":67123.45,"s":"BTC"},`), 12)
		for n := 65; n <= 256; n += step {
			for _, first := range []string{"\xC3", "\xE4\xB8", "\xF0\x9F\x98", "日"} {
				for _, edge := range []int{32, 64, 96, 128, 192, n - 32, n - 64, n - 128} {
					for _, after := range []int{1, 30, 62, 64, 66, 128} {
						at := edge - len(first)
						if at < 0 || edge+after+3 > n {
							continue
						}
						p := append([]byte(nil), base[:n]...)
						copy(p[at:], first)
						copy(p[edge+after:], "日")
						verdicts(t, p)
					}
				}
			}
		}
	})
}

// TestModes alternates runs of ASCII and of other text. Their lengths are near the
// distances at which the kernels change between their modes.
func TestModes(t *testing.T) {
	rounds := 400
	if asmtest.Full() {
		rounds = 20000
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		rng := rand.New(rand.NewPCG(11, 11))
		texts := corpora(4096)
		for range rounds {
			var p []byte
			for range 1 + rng.IntN(8) {
				c := texts[rng.IntN(len(texts))]
				if rng.IntN(2) == 0 {
					c = texts[0]
				}
				p = append(p, whole(c.text, rng.IntN([]int{40, 300, 1200, 2500}[rng.IntN(4)]))...)
			}
			verdicts(t, p)
			if len(p) > 0 {
				p[rng.IntN(len(p))] ^= byte(1 << rng.IntN(8))
				verdicts(t, p)
			}
		}
	})
}

// TestPieces checks texts longer than one kernel call, with errors and characters at the
// cuts.
func TestPieces(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		base := bytes.Repeat([]byte("a"), 2*pieceMax+100)
		for _, cut := range []int{pieceMax, 2 * pieceMax} {
			for _, s := range []string{"", "日", "😀", "é", "\x80", "\x80\x80\x80\x80\x80\x80", "\xF0\x9F\x98", "\xC3", "\xF0\x9F\x98\x80\x80", "\xE4\xB8"} {
				for before := 0; before <= 7; before++ {
					if thin && before != 1 {
						continue
					}
					p := append([]byte(nil), base...)
					copy(p[cut-before:], s)
					verdicts(t, p)
					var v Validator
					if got, want := v.Push(p), firstImpossible(p); got != want {
						t.Fatalf("%q %d before %d: Push = %d, want %d", s, before, cut, got, want)
					}
				}
			}
		}
	})
}

// TestGuardPages puts texts at the end and the beginning of memory, next to pages without
// access.
func TestGuardPages(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		g := asmtest.NewGuarded(t, 8192)
		for _, c := range corpora(8192) {
			lengths := asmtest.Lengths(1024)
			if c.name != "json" && c.name != "cjk" && !asmtest.Full() {
				lengths = []int{1, 3, 7, 15, 17, 33, 64, 65, 125, 129, 200, 257, 1000}
			}
			for _, n := range append(lengths, 1500, 2049, 4095, 4096, 5001) {
				text := whole(c.text, n)
				hidden := masked(text, testKey)
				for _, p := range [][]byte{g.Tail(n), g.Head(n)} {
					copy(p, text)
					if !Valid(p) {
						t.Fatalf("%s: Valid refuses %d bytes", c.name, n)
					}
					copy(p, hidden)
					if !Unmask(p, testKey) || !bytes.Equal(p, text) {
						t.Fatalf("%s: Unmask fails with %d bytes", c.name, n)
					}
					var v Validator
					if i := v.Push(p); i >= 0 || !v.Done() {
						t.Fatalf("%s: Push of %d bytes = %d", c.name, n, i)
					}
					copy(p, hidden)
					if _, i := v.Unmask(p, testKey); i >= 0 || !v.Done() || !bytes.Equal(p, text) {
						t.Fatalf("%s: Validator.Unmask of %d bytes = %d", c.name, n, i)
					}
					// After an unfinished character at the very end a kernel must not
					// read on.
					if n > 0 {
						p[n-1] = 0xF0
						if Valid(p) {
							t.Fatalf("%s: Valid takes %d bytes with a lead at the end", c.name, n)
						}
					}
				}
			}
		}
	})
}

// TestUnmaskCanaries: the bytes next to the unmasked ones do not change, at many
// alignments and all key phases.
func TestUnmaskCanaries(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, tier asm.Tier) {
		arena := make([]byte, 2048)
		base := int(-uintptr(unsafe.Pointer(&arena[0])) & 63)
		texts := corpora(4096)
		for i, n := range asmtest.Lengths(1400) {
			text := whole(texts[i%len(texts)].text, n)
			aligns := asmtest.Alignments()
			if n > 300 && !asmtest.Full() {
				aligns = []int{0, 1, 6, 31}
			}
			if thin {
				aligns = []int{6}
			}
			for _, offset := range aligns {
				for phase := range 8 {
					key := testKey.Rotate(phase)
					if phase >= 4 {
						key = plainKey.Rotate(phase)
					}
					lo := base + 64 + offset
					asmtest.Arm(arena, lo, lo+n)
					p := arena[lo : lo+n]
					copy(p, masked(text, key))
					if !Unmask(p, key) || !bytes.Equal(p, text) {
						t.Fatalf("Unmask of %d bytes at offset %d, phase %d", n, offset, phase)
					}
					if i := asmtest.Touched(arena, lo, lo+n); i >= 0 {
						t.Fatalf("Unmask of %d bytes at offset %d wrote %d bytes from its start", n, offset, i-lo)
					}
				}
			}
		}
	})
}

// TestUnmaskWholeAfterError: Unmask unmasks all bytes when the text is invalid early.
func TestUnmaskWholeAfterError(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for _, n := range []int{5, 12, 30, 60, 100, 200, 500, 3000, pieceMax + 77, 3*pieceMax + 5} {
			for _, at := range []int{0, n / 2, n - 1} {
				want := bytes.Repeat([]byte("日本x"), n/7+1)[:n]
				want[at] = 0xFF
				p := masked(want, testKey)
				if Unmask(p, testKey) {
					t.Fatalf("n=%d: FF at %d is accepted", n, at)
				}
				if !bytes.Equal(p, want) {
					t.Fatalf("n=%d, FF at %d: not all is unmasked", n, at)
				}
				p = masked(want, testKey)
				var v Validator
				key, i := v.Unmask(p, testKey)
				if want := firstImpossible(want); i != want {
					t.Fatalf("n=%d, FF at %d: Validator.Unmask = %d, want %d", n, at, i, want)
				}
				if key != testKey.Rotate(n) || !bytes.Equal(p, want) {
					t.Fatalf("n=%d, FF at %d: wrong key or not all is unmasked", n, at)
				}
			}
		}
	})
}

func ExampleValid() {
	fmt.Println(Valid([]byte("価格")), Valid([]byte{0xED, 0xA0, 0x80}))
	// Output: true false
}
