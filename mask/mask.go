// Package mask applies the masking of RFC 6455 §5.3.
package mask

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// Key is a masking key; the lowest byte masks the first octet.
type Key uint32

// Rotate returns the key as it stands after n octets have been masked.
func (k Key) Rotate(n int) Key { return Key(bits.RotateLeft32(uint32(k), -8*(n&3))) }

// XOR masks b in place and returns the key for the octet that follows b.
func XOR(b []byte, key Key) Key {
	for i := range b {
		b[i] ^= byte(key >> (8 * (i & 3)))
	}
	return key.Rotate(len(b))
}

// Copy masks src into dst, which must be at least as long, and returns the key for the octet that follows src.
func Copy(dst, src []byte, key Key) Key {
	copy(dst[:len(src)], src)
	return XOR(dst[:len(src)], key)
}

// Source hands out masking keys.
type Source struct {
	buf [4096]byte
	n   int
}

// Next returns a fresh key.
func (s *Source) Next() Key {
	if s.n == 0 {
		rand.Read(s.buf[:])
		s.n = len(s.buf)
	}
	s.n -= 4
	return Key(binary.LittleEndian.Uint32(s.buf[s.n:]))
}
