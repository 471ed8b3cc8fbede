package mask

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// bytewise follows the text of RFC 6455 §5.3, byte by byte.
func bytewise(dst, src []byte, key [4]byte) {
	for i := range src {
		dst[i] = src[i] ^ key[i%4]
	}
}

// phases are the four rotations of a key with four different octets.
var phases = [4][4]byte{{0x37, 0xFA, 0x21, 0x8D}, {0xFA, 0x21, 0x8D, 0x37}, {0x21, 0x8D, 0x37, 0xFA}, {0x8D, 0x37, 0xFA, 0x21}}

func keyOf(k [4]byte) Key { return Key(binary.LittleEndian.Uint32(k[:])) }

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{'m'}).Read(b)
	return b
}

func newArena(size int) []byte { // starts at a multiple of 64
	b := make([]byte, size+64)
	return b[-uintptr(unsafe.Pointer(&b[0]))&63:][:size]
}

// TestXORMatchesBytewise covers every length, alignment and key phase with
// TICKWIRE_FULL=1. Otherwise it covers a sample that has every window shape of every
// kernel. Canaries before and after the bytes must stay as they are.
func TestXORMatchesBytewise(t *testing.T) {
	const most, pad = 4096, 64
	text := noise(most)
	buf, want := newArena(pad+64+most+pad), make([]byte, most)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for p, key := range phases {
			bytewise(want, text, key)
			for _, n := range asmtest.Lengths(most) {
				for i, align := range asmtest.Alignments() {
					if !asmtest.Full() && n > 300 && (i+n+p)%4 != 0 {
						continue
					}
					lo, hi := pad+align, pad+align+n
					lowest, highest := lo-pad, hi+pad
					around := buf[lowest:highest]
					asmtest.Arm(around, pad, pad+n)
					copy(buf[lo:hi], text)
					next := XOR(buf[lo:hi:hi], keyOf(key))
					if !bytes.Equal(buf[lo:hi], want[:n]) {
						t.Fatalf("n=%d align=%d phase=%d: wrong byte at %d", n, align, p, firstDifference(buf[lo:hi], want))
					}
					if i := asmtest.Touched(around, pad, pad+n); i >= 0 {
						t.Fatalf("n=%d align=%d phase=%d: wrote byte %d outside", n, align, p, i-pad)
					}
					if next != keyOf(phases[(p+n)%4]) {
						t.Fatalf("n=%d align=%d phase=%d: next key %08x", n, align, p, next)
					}
				}
			}
		}
	})
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// TestCopyMatchesBytewise is the same for Copy, over alignments of both arguments. The
// source must not change.
func TestCopyMatchesBytewise(t *testing.T) {
	const most, pad = 4096, 64
	text := noise(most)
	src, buf, want := newArena(64+most), newArena(pad+64+most+pad), make([]byte, most)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for s, from := range asmtest.Alignments() {
			copy(src[from:], text)
			phase := from % 4
			bytewise(want, text, phases[phase])
			for _, n := range asmtest.Lengths(most) {
				for d, to := range asmtest.Alignments() {
					if !asmtest.Full() && (s+d+n)%3 != 0 || n > 300 && (s*5+d+n)%11 != 0 {
						continue
					}
					lo, hi := pad+to, pad+to+n
					around := buf[lo-pad : hi+pad]
					asmtest.Arm(around, pad, pad+n)
					room := hi + d%2*5 // longer than the source, or just as long
					Copy(buf[lo:room], src[from:][:n:n], keyOf(phases[phase]))
					if !bytes.Equal(buf[lo:hi], want[:n]) {
						t.Fatalf("n=%d src=%d dst=%d: wrong byte at %d", n, from, to, firstDifference(buf[lo:hi], want))
					}
					if i := asmtest.Touched(around, pad, pad+n); i >= 0 {
						t.Fatalf("n=%d src=%d dst=%d: wrote byte %d outside", n, from, to, i-pad)
					}
				}
			}
			if !bytes.Equal(src[from:from+most], text) {
				t.Fatalf("src=%d: the source was changed", from)
			}
		}
	})
}

// TestGuardPages runs every length to 1024 with each end of each argument at a page
// without access.
func TestGuardPages(t *testing.T) {
	const most = 1024
	text := noise(most)
	want := make([]byte, most)
	bytewise(want, text, phases[0])
	a, b := asmtest.NewGuarded(t, most), asmtest.NewGuarded(t, most)
	ends := []func(*asmtest.Guarded, int) []byte{(*asmtest.Guarded).Head, (*asmtest.Guarded).Tail}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for n := 0; n <= most; n++ {
			for i, end := range ends {
				p := end(a, n)
				copy(p, text)
				if asmtest.Faults(func() { XOR(p, keyOf(phases[0])) }) {
					t.Fatalf("XOR n=%d end=%d: touched a byte outside", n, i)
				}
				if !bytes.Equal(p, want[:n]) {
					t.Fatalf("XOR n=%d end=%d: wrong byte at %d", n, i, firstDifference(p, want))
				}
				for j, other := range ends {
					src, dst := end(a, n), other(b, n)
					copy(src, text)
					if asmtest.Faults(func() { Copy(dst, src, keyOf(phases[0])) }) {
						t.Fatalf("Copy n=%d ends=%d,%d: touched a byte outside", n, i, j)
					}
					if !bytes.Equal(dst, want[:n]) {
						t.Fatalf("Copy n=%d ends=%d,%d: wrong byte at %d", n, i, j, firstDifference(dst, want))
					}
				}
			}
		}
	})
}

// TestPieces has lengths around the one above which a call is cut into pieces. It
// continues with the key that the call returned.
func TestPieces(t *testing.T) {
	const cut = 256 << 10
	text := noise(3*cut + 77)
	want, buf := make([]byte, len(text)), make([]byte, len(text)+8)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for _, n := range []int{cut - 1, cut, cut + 1, cut + 3, 2 * cut, 2*cut + 2, 3*cut + 77} {
			bytewise(want, text[:n], phases[1])
			for _, align := range []int{0, 5} {
				b := buf[align:][:n]
				copy(b, text)
				next := XOR(b, keyOf(phases[1]))
				if !bytes.Equal(b, want[:n]) || next != keyOf(phases[(1+n)%4]) {
					t.Fatalf("XOR n=%d align=%d: wrong byte at %d, next key %08x", n, align, firstDifference(b, want), next)
				}
				clear(b)
				Copy(b, text[:n], keyOf(phases[1]))
				if !bytes.Equal(b, want[:n]) {
					t.Fatalf("Copy n=%d align=%d: wrong byte at %d", n, align, firstDifference(b, want))
				}
			}
		}
	})
}

// TestXORInPieces splits a text anywhere and continues with the key that the first part
// returned.
func TestXORInPieces(t *testing.T) {
	text := noise(400)
	want := make([]byte, len(text))
	bytewise(want, text, phases[2])
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for cut := range text {
			b, c := bytes.Clone(text), make([]byte, len(text))
			XOR(b[cut:], XOR(b[:cut], keyOf(phases[2])))
			Copy(c, text[:cut], keyOf(phases[2]))
			Copy(c[cut:], text[cut:], keyOf(phases[2]).Rotate(cut))
			if !bytes.Equal(b, want) || !bytes.Equal(c, want) {
				t.Fatalf("cut at %d: XOR wrong at %d, Copy at %d", cut, firstDifference(b, want), firstDifference(c, want))
			}
		}
	})
}

// TestCopyAliasing: the same start masks in place at every length, also with a longer
// dst. Ranges that only touch do not overlap. Every other shared byte panics before
// anything is written.
func TestCopyAliasing(t *testing.T) {
	key := keyOf(phases[3])
	text := noise(1500)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for _, n := range []int{0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 129, 200, 256, 257, 300, 400} {
			want := make([]byte, n)
			bytewise(want, text[:n], phases[3])
			same := bytes.Clone(text)
			if Copy(same[:n+n%2], same[:n], key); !bytes.Equal(same[:n], want) || !bytes.Equal(same[n:], text[n:]) {
				t.Fatalf("n=%d: in place: wrong byte at %d", n, firstDifference(same[:n], want))
			}
			for _, d := range []int{n, -n, n + 1, -n - 1} {
				buf := bytes.Clone(text)
				at := 600
				if Copy(buf[at+d:][:n], buf[at:][:n], key); n > 0 && firstDifference(buf[at+d:][:n], maskOf(text[at:][:n], phases[3])) >= 0 {
					t.Fatalf("n=%d: neighbour at %d: wrong", n, d)
				}
			}
			for _, d := range []int{1, -1, 3, 16, -32, n - 1, 1 - n, n / 2} {
				if d == 0 || d >= n || -d >= n {
					continue
				}
				buf := bytes.Clone(text)
				if msg := panics(func() { Copy(buf[600+d:][:n], buf[600:][:n], key) }); !strings.Contains(msg, "overlap") {
					t.Fatalf("n=%d: overlap at distance %d: panic %q", n, d, msg)
				}
				if !bytes.Equal(buf, text) {
					t.Fatalf("n=%d: overlap at distance %d: wrote before the panic", n, d)
				}
			}
			if n > 0 {
				dst := make([]byte, n-1, n+8)
				if msg := panics(func() { Copy(dst, text[:n], key) }); !strings.Contains(msg, "shorter") {
					t.Fatalf("n=%d: short dst: panic %q", n, msg)
				}
				if firstDifference(dst, make([]byte, n)) >= 0 {
					t.Fatalf("n=%d: short dst: wrote before the panic", n)
				}
			}
		}
	})
}

func maskOf(src []byte, key [4]byte) []byte {
	dst := make([]byte, len(src))
	bytewise(dst, src, key)
	return dst
}

func panics(f func()) (message string) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case string:
			message = r
		default:
			panic(r)
		}
	}()
	f()
	return ""
}

func TestEmpty(t *testing.T) {
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for _, b := range [][]byte{nil, {}} {
			if k := XOR(b, 0x01020304); k != 0x01020304 {
				t.Errorf("XOR: next key %08x", k)
			}
			Copy(b, b, 0x01020304)
			more := []byte{1}
			if Copy(more, b, 0x01020304); more[0] != 1 {
				t.Errorf("Copy of nothing wrote %#x", more[0])
			}
		}
	})
}

func TestRotate(t *testing.T) {
	for n := range 9 {
		if got, want := keyOf(phases[0]).Rotate(n), keyOf(phases[n%4]); got != want {
			t.Errorf("Rotate(%d) = %08x, want %08x", n, got, want)
		}
	}
}

// TestRFCExample is the masked "Hello" of RFC 6455 §5.7.
func TestRFCExample(t *testing.T) {
	b := []byte("Hello")
	XOR(b, keyOf([4]byte{0x37, 0xFA, 0x21, 0x3D}))
	if want := []byte{0x7F, 0x9F, 0x4D, 0x51, 0x58}; !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}
