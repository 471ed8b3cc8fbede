package mask

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"unsafe"
)

// batch is the number of keys read at a time.
const batch = 1024

// Source supplies the keys of one writer. The zero value is ready. It must not be used by
// two goroutines at once, nor copied after first use: keys would be used twice.
//
// RFC 6455 §5.3 requires a fresh key from a strong source for every frame. §10.3 says
// why: an attacker that can predict keys can choose the bytes that a proxy sees. So keys
// come from crypto/rand and are never derived from one another.
type Source struct {
	// Rand is where keys come from; nil means crypto/rand. It is for tests that need
	// known keys. Next panics if a read from it fails.
	Rand io.Reader

	batch [batch]Key // the last first, for then Next is small enough to be inlined
	left  uint       // how many of them are not used yet
}

// Next returns a fresh key. One call in 1024 reads the random source, which takes a few
// microseconds; the others cost a load.
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
