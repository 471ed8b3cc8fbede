package mask

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"unsafe"
)

// batch is the number of keys read at a time.
const batch = 1024

// Source supplies the masking keys of one writer. The zero value is ready to use. It is
// not safe for concurrent use, and must not be copied after first use: a key could be
// used twice.
//
// RFC 6455 §5.3 requires a fresh key from a strong source for every frame. §10.3 says
// why: an attacker that can predict keys can choose the bytes that a proxy sees. So keys
// come from crypto/rand and are never derived from one another.
type Source struct {
	// Rand is the source of the keys; nil means crypto/rand. Set it in tests that need
	// known keys. Next panics if a read from it fails.
	Rand io.Reader

	batch [batch]Key // used from the last to the first: that makes Next small enough to be inlined
	left  uint       // the number of unused keys
}

// Next returns a fresh key. One call in 1024 reads the random source, which takes a few
// microseconds. The other calls only load a word.
func (s *Source) Next() Key {
	if s.left == 0 {
		s.fill()
	}
	s.left--
	return s.batch[s.left]
}

func (s *Source) fill() {
	octets := unsafe.Slice((*byte)(unsafe.Pointer(&s.batch)), unsafe.Sizeof(s.batch))
	if s.Rand == nil {
		rand.Read(octets) // never returns an error; a system without randomness ends the program
	} else if _, err := io.ReadFull(s.Rand, octets); err != nil {
		panic("mask: Source.Rand: " + err.Error())
	}
	for i, k := 0, batch-1; i < k; i, k = i+1, k-1 {
		first, last := binary.LittleEndian.Uint32(octets[4*i:]), binary.LittleEndian.Uint32(octets[4*k:])
		s.batch[i], s.batch[k] = Key(last), Key(first)
	}
	s.left = batch
}
