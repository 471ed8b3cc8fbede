package utf8

import (
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// pieceMax is the most bytes of one kernel call, because the scheduler cannot interrupt
// assembly. 256 KiB take some 15 µs.
const pieceMax = 256 << 10

// validLong is valid for more than pieceMax bytes, in pieces.
//
//lint:ignore U1000 assembly uses it
func validLong(p *byte, n int) bool {
	b := unsafe.Slice(p, n)
	for len(b) > pieceMax {
		cut := boundary(b, pieceMax)
		if !validPiece(b[:cut]) {
			return false
		}
		b = b[cut:]
	}
	return valid(unsafe.SliceData(b), len(b))
}

// unmaskLong is unmask for more than pieceMax bytes, in pieces.
//
//lint:ignore U1000 assembly uses it
func unmaskLong(p *byte, n int, key mask.Key) bool {
	b := unsafe.Slice(p, n)
	ok := true
	for len(b) > pieceMax {
		cut := maskedBoundary(b, pieceMax, key)
		if ok {
			ok = unmaskPiece(b[:cut], key)
		} else {
			mask.XOR(b[:cut], key)
		}
		key = key.Rotate(cut)
		b = b[cut:]
	}
	if !ok {
		mask.XOR(b, key)
		return false
	}
	return unmask(unsafe.SliceData(b), len(b), key)
}

// A piece is a call of a function that is not inlined. The prologue of that function is
// where the scheduler stops the goroutine.
//
//go:noinline
func validPiece(p []byte) bool { return valid(&p[0], len(p)) }

//go:noinline
func unmaskPiece(p []byte, key mask.Key) bool {
	return unmask(&p[0], len(p), key)
}

// maskedBoundary is boundary in a masked text.
func maskedBoundary(p []byte, n int, key mask.Key) int {
	for i := n; i >= n-3; i-- {
		if (p[i]^byte(key.Rotate(i)))&0xC0 != 0x80 {
			return i
		}
	}
	return n
}

// boundary returns the largest index in n-3..n at which p can be cut between two
// characters. It returns n if there is none; then p is not valid. n is less than len(p).
func boundary(p []byte, n int) int {
	for i := n; i >= n-3; i-- {
		if p[i]&0xC0 != 0x80 {
			return i
		}
	}
	return n
}
