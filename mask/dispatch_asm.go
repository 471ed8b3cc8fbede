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

// The assembly entry points pick the kernel by tier and length. That happens there and
// not in Go because XOR and Copy, with one call in them, inline into their callers, and
// with a choice of two they would not: a second call costs 1.5 ns, as much as masking 64
// bytes. For the same reason there are as few arguments as can be and no results, for
// memory accesses are what a short call consists of: XOR works out the next key in Go,
// where it costs nothing if nobody uses it; in Copy, which checks more, that would be too
// much to inline, so that its callers do it.

//go:noescape
func xor(p *byte, n int, key Key)

//go:noescape
func copyMasked(dst, src *byte, n int, key Key)

// xorLong takes the inputs of more than one piece from the assembly, which the scheduler
// cannot interrupt: a piece is a few microseconds of work. The pieces go through a
// function that is not inlined because its prologue is where a goroutine that should stop
// does.
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
