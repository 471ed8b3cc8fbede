//go:build gc && !purego && (amd64 || arm64)

package mask

import (
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
)

const (
	//lint:ignore U1000 assembly uses it
	avx2 = asm.AVX2 // for the assembly
	//lint:ignore U1000 assembly uses it
	avx512 = asm.AVX512
	//lint:ignore U1000 assembly uses it
	piece = 256 << 10
)

// tier is the active tier, for the assembly.
var tier uint32

func init() { asm.Follow(&tier) }

// The assembly entry points pick the kernel by tier and length. They pick it, not Go,
// because XOR and Copy inline into their callers only with one call in them. A second
// call costs 1.5 ns, as much as masking 64 bytes. They have few arguments and no results,
// because memory accesses are most of the time of a short call. XOR computes the next key
// in Go, which is free if the key is unused. In Copy that would be too much code to
// inline, so its callers do it.

//go:noescape
func xor(p *byte, n int, key Key)

//go:noescape
func copyMasked(dst, src *byte, n int, key Key)

// xorLong masks a long input in pieces of a few microseconds, because the scheduler
// cannot interrupt assembly. Each piece is a call of a function that is not inlined. The
// prologue of that function is where the scheduler stops the goroutine.
//
//lint:ignore U1000 assembly uses it
func xorLong(p *byte, n int, key Key) {
	for n > piece {
		xorPiece(p, key)
		p = (*byte)(unsafe.Add(unsafe.Pointer(p), piece))
		n -= piece
	}
	xor(p, n, key)
}

//go:noinline
func xorPiece(p *byte, key Key) { xor(p, piece, key) }

// copyLong is xorLong for copyMasked.
//
//lint:ignore U1000 assembly uses it
func copyLong(dst, src *byte, n int, key Key) {
	for n > piece {
		copyPiece(dst, src, key)
		dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), piece))
		src = (*byte)(unsafe.Add(unsafe.Pointer(src), piece))
		n -= piece
	}
	copyMasked(dst, src, n, key)
}

//go:noinline
func copyPiece(dst, src *byte, key Key) { copyMasked(dst, src, piece, key) }
