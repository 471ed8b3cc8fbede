package mask

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// xorGeneric masks the n bytes at p in place.
//
//lint:ignore U1000 assembly uses it
func xorGeneric(p *byte, n int, key Key) { maskWords(unsafe.Pointer(p), unsafe.Pointer(p), n, key) }

// copyGeneric copies the n bytes at src to dst, masked. It panics if they overlap in
// part.
//
//lint:ignore U1000 assembly uses it
func copyGeneric(dst, src *byte, n int, key Key) {
	// The bytes overlap if and only if one start lies inside the other range. The same
	// start means masking in place.
	if d := uintptr(unsafe.Pointer(dst)) - uintptr(unsafe.Pointer(src)); d != 0 && (d < uintptr(n) || -d < uintptr(n)) {
		panic("mask: Copy: dst and src overlap, and do not start at the same byte")
	}
	maskWords(unsafe.Pointer(dst), unsafe.Pointer(src), n, key)
}

// maskWords covers the bytes with 8-byte words, half of them from the start and half from
// the end. Overlapping words are all loaded before the first is stored. dst and src are
// equal or disjoint.
func maskWords(dst, src unsafe.Pointer, n int, key Key) {
	k := uint64(key)<<32 | uint64(key)
	z := bits.RotateLeft64(k, -8*n) // the key of a word that ends at n
	switch {
	case n > 64:
		// Eight words at a time, then the last eight. These were loaded before the loop
		// could change them.
		e := n - 64
		z0, z1, z2, z3 := load(src, e)^z, load(src, e+8)^z, load(src, e+16)^z, load(src, e+24)^z
		z4, z5, z6, z7 := load(src, e+32)^z, load(src, e+40)^z, load(src, e+48)^z, load(src, e+56)^z
		for i := 0; i < e; i += 64 {
			s, d := unsafe.Add(src, i), unsafe.Add(dst, i)
			store(d, 0, load(s, 0)^k)
			store(d, 8, load(s, 8)^k)
			store(d, 16, load(s, 16)^k)
			store(d, 24, load(s, 24)^k)
			store(d, 32, load(s, 32)^k)
			store(d, 40, load(s, 40)^k)
			store(d, 48, load(s, 48)^k)
			store(d, 56, load(s, 56)^k)
		}
		store(dst, e, z0)
		store(dst, e+8, z1)
		store(dst, e+16, z2)
		store(dst, e+24, z3)
		store(dst, e+32, z4)
		store(dst, e+40, z5)
		store(dst, e+48, z6)
		store(dst, e+56, z7)
	case n > 32:
		a0, a1, a2, a3 := load(src, 0)^k, load(src, 8)^k, load(src, 16)^k, load(src, 24)^k
		z0, z1, z2, z3 := load(src, n-32)^z, load(src, n-24)^z, load(src, n-16)^z, load(src, n-8)^z
		store(dst, 0, a0)
		store(dst, 8, a1)
		store(dst, 16, a2)
		store(dst, 24, a3)
		store(dst, n-32, z0)
		store(dst, n-24, z1)
		store(dst, n-16, z2)
		store(dst, n-8, z3)
	case n >= 8:
		// Up to 16 bytes the inner two words are the same as the outer two.
		o := (n - 1) & 16 >> 1
		a0, a1, z0, z1 := load(src, 0)^k, load(src, o)^k, load(src, n-8-o)^z, load(src, n-8)^z
		store(dst, 0, a0)
		store(dst, o, a1)
		store(dst, n-8-o, z0)
		store(dst, n-8, z1)
	case n >= 4:
		a, b := load32(src, 0)^uint32(k), load32(src, n-4)^uint32(z)
		store32(dst, 0, a)
		store32(dst, n-4, b)
	case n > 0:
		// For n up to 3, 0, n/2 and n-1 are all the octets.
		a := *(*byte)(src) ^ byte(k)
		b := *(*byte)(unsafe.Add(src, n>>1)) ^ byte(k>>(n>>1*8))
		c := *(*byte)(unsafe.Add(src, n-1)) ^ byte(z>>56)
		*(*byte)(dst) = a
		*(*byte)(unsafe.Add(dst, n>>1)) = b
		*(*byte)(unsafe.Add(dst, n-1)) = c
	}
}

// Words are little-endian on every machine, as Key is. A big-endian machine pays a byte
// swap. The compiler makes one unaligned access of each where the machine allows it.

func load(p unsafe.Pointer, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(p, i))[:])
}

func store(p unsafe.Pointer, i int, v uint64) {
	binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(p, i))[:], v)
}

func load32(p unsafe.Pointer, i int) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(p, i))[:])
}

func store32(p unsafe.Pointer, i int, v uint32) {
	binary.LittleEndian.PutUint32((*[4]byte)(unsafe.Add(p, i))[:], v)
}
