// Package mask masks and unmasks payloads (RFC 6455 §5.3). Every frame from a client is
// masked: octet i of the payload is XORed with octet i modulo 4 of the frame's key.
// Masking twice with the same key gives the original back, so one function does both.
//
// The kernels are assembly on amd64 and arm64 (see package asm for the tiers) and pure Go
// elsewhere. No function here allocates.
package mask

import (
	"math/bits"
	"unsafe"
)

// Key is a masking key. Its lowest byte masks the first octet. So on every machine the
// four octets of a frame header are the Key in little-endian order.
type Key uint32

// Rotate returns the key for the octet after n masked octets. Only n modulo 4 matters.
func (k Key) Rotate(n int) Key { return Key(bits.RotateLeft32(uint32(k), -8*n)) }

// XOR masks b in place. It returns the key for the next piece of the same payload.
func XOR(b []byte, key Key) Key {
	if sanitize {
		written(b)
	}
	xor(unsafe.SliceData(b), len(b), key)
	return key.Rotate(len(b))
}

// Copy copies src to the start of dst and masks it in the same pass. It panics if dst is
// shorter than src, or if the two overlap and do not start at the same byte.
//
// The key for the next piece of the same payload is key.Rotate(len(src)). Copy does not
// return it, so that Copy can be inlined.
func Copy(dst, src []byte, key Key) {
	if len(dst) < len(src) {
		panic("mask: Copy: dst is shorter than src")
	}
	if sanitize {
		copied(dst[:len(src)], src)
	}
	copyMasked(unsafe.SliceData(dst), unsafe.SliceData(src), len(src), key)
}
