package fuzz_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// eachTier runs f under every tier, the generic one first. Coverage does not see
// assembly, but it sees that tier.
func eachTier(t *testing.T, f func(tier asm.Tier)) {
	for _, tier := range asm.Available() {
		restore := asm.Force(tier)
		f(tier)
		restore()
	}
}

// splits returns the places to cut n bytes: all if they are few. Otherwise they are near
// the ends, near the borders of kernel blocks, and at wish.
func splits(n int, wish uint16) []int {
	var at []int
	for i := 0; i <= n; i++ {
		if n <= 100 || i < 5 || i > n-5 || i%64 <= 1 && i < 300 || i == int(wish) {
			at = append(at, i)
		}
	}
	return at
}

// FuzzMask compares XOR and Copy at every tier with a byte loop, whole and in two pieces,
// at any alignment.
func FuzzMask(f *testing.F) {
	for _, n := range []int{0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100, 127, 129, 255, 257, 1000} {
		f.Add([]byte(strings.Repeat("0123456789abcdef!", n/17+1)[:n]), uint32(0x3d21fa37), uint16(n/2), uint8(n))
	}
	f.Add(make([]byte, 300), uint32(0), uint16(7), uint8(1))
	f.Add(bytes.Repeat([]byte{255}, 300), uint32(0xFFFFFFFF), uint16(9), uint8(63))
	f.Fuzz(func(t *testing.T, src []byte, k uint32, split uint16, align uint8) {
		if len(src) > 5000 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		key, at, n := mask.Key(k), 70+int(align%64), len(src)
		want := bytes.Clone(src)
		for i := range want {
			want[i] ^= byte(k >> (8 * (i % 4)))
		}
		arena := make([]byte, at+n+70)
		eachTier(t, func(tier asm.Tier) {
			for _, cut := range splits(n, split) {
				asmtest.Arm(arena, at, at+n)
				b := arena[at : at+n]
				copy(b, src)
				if next := mask.XOR(b[cut:], mask.XOR(b[:cut], key)); next != key.Rotate(n) || !bytes.Equal(b, want) || asmtest.Touched(arena, at, at+n) >= 0 {
					t.Fatalf("%v: XOR of %d bytes at %d, cut at %d: %x", tier, n, at, cut, b)
				}
				clear(b)
				mask.Copy(b[:cut], src[:cut], key)
				mask.Copy(b[cut:], src[cut:], key.Rotate(cut))
				if !bytes.Equal(b, want) || asmtest.Touched(arena, at, at+n) >= 0 {
					t.Fatalf("%v: Copy of %d bytes to %d, cut at %d: %x", tier, n, at, cut, b)
				}
			}
		})
	})
}

// FuzzUTF8 compares the checks at every tier with the grammar of RFC 3629: whole texts,
// texts in two pieces, and masked texts.
func FuzzUTF8(f *testing.F) {
	for _, x := range reference.Texts {
		f.Add([]byte(x.Text), uint32(0), uint16(3))
		for _, before := range []int{13, 14, 15, 16, 29, 31, 32, 61, 62, 63, 64, 127} {
			f.Add([]byte(strings.Repeat("v", before)+x.Text), uint32(0x3d21fa37), uint16(before))
		}
	}
	f.Add([]byte(strings.Repeat("größe 日本語 😀 ", 40)), uint32(0x01020304), uint16(200))
	f.Fuzz(func(t *testing.T, text []byte, k uint32, split uint16) {
		if len(text) > 2000 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		key := mask.Key(k)
		bad, complete := reference.CheckText(text)
		hidden := bytes.Clone(text)
		mask.XOR(hidden, key)
		buf := make([]byte, len(text))
		eachTier(t, func(tier asm.Tier) {
			if utf8.Valid(text) != complete || utf8.ValidString(string(text)) != complete {
				t.Fatalf("%v: %x is valid: %t", tier, text, !complete)
			}
			copy(buf, hidden)
			if utf8.Unmask(buf, key) != complete || !bytes.Equal(buf, text) {
				t.Fatalf("%v: Unmask of %x with %08x", tier, hidden, k)
			}
			for _, cut := range splits(len(text), split) {
				copy(buf, hidden)
				twoPieces(t, tier, buf, text, key, cut, bad, complete)
			}
		})
	})
}

// twoPieces pushes a text in two pieces, unmasked and masked. buf holds the masked text.
func twoPieces(t *testing.T, tier asm.Tier, buf, text []byte, key mask.Key, cut, bad int, complete bool) {
	var plain, unmasking utf8.Validator
	index := func(first int, second func() int) int {
		if first >= 0 {
			return first
		}
		if i := second(); i >= 0 {
			return cut + i
		}
		return -1
	}
	if got := index(plain.Push(text[:cut]), func() int { return plain.Push(text[cut:]) }); got != bad {
		t.Fatalf("%v: Push of %x, cut at %d: %d, want %d", tier, text, cut, got, bad)
	}
	next, first := unmasking.Unmask(buf[:cut], key)
	if got := index(first, func() int {
		next, first = unmasking.Unmask(buf[cut:], next)
		return first
	}); got != bad {
		t.Fatalf("%v: Validator.Unmask to %x, cut at %d: %d, want %d", tier, text, cut, got, bad)
	}
	if bad < 0 {
		if next != key.Rotate(len(text)) || !bytes.Equal(buf, text) {
			t.Fatalf("%v: Validator.Unmask of %d bytes, cut at %d: %x", tier, len(text), cut, buf)
		}
		if plain.Done() != complete || unmasking.Done() != complete {
			t.Fatalf("%v: Done after %x, cut at %d, want %t", tier, text, cut, complete)
		}
	}
	plain.Done() // also after an error
	if plain.Push([]byte("é")) >= 0 || !plain.Done() {
		t.Fatalf("%v: not ready for the next text", tier)
	}
}
