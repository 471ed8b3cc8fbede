//go:build gc && !purego && (amd64 || arm64)

package mask

import (
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
)

const (
	avx2  = asm.AVX2 // for the assembly
	piece = 256 << 10
)

// The assembly entry points pick the kernel by tier and length. That happens there and not in Go because XOR and Copy,
// with one call in them, inline into their callers, and with a choice of two they would not: a second call costs 1.5 ns, as much
// as masking 64 bytes.

//go:noescape
func xor(p *byte, n int, key Key, tier asm.Tier) Key

//go:noescape
func copyMasked(dst *byte, room int, src *byte, n int, key Key, tier asm.Tier) Key

// xorLong takes the inputs of more than one piece from the assembly, which the scheduler cannot interrupt: a piece is a
// few microseconds of work. The pieces go through a function that is not inlined because its prologue is where a
// goroutine that should stop does.
func xorLong(p *byte, n int, key Key, tier asm.Tier) Key {
	for n > piece {
		xorPiece(p, tier, key)
		p = (*byte)(unsafe.Add(unsafe.Pointer(p), piece))
		n -= piece
	}
	return xor(p, n, key, tier)
}

//go:noinline
func xorPiece(p *byte, tier asm.Tier, key Key) { xor(p, piece, key, tier) }

// copyLong is xorLong for copyMasked.
func copyLong(dst *byte, room int, src *byte, n int, key Key, tier asm.Tier) Key {
	for n > piece {
		copyPiece(dst, src, tier, key)
		dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), piece))
		src = (*byte)(unsafe.Add(unsafe.Pointer(src), piece))
		n -= piece
	}
	return copyMasked(dst, n, src, n, key, tier)
}

//go:noinline
func copyPiece(dst, src *byte, tier asm.Tier, key Key) {
	copyMasked(dst, piece, src, piece, key, tier)
}
