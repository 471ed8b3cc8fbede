package mask

import (
	"crypto/rand"
	"encoding/binary"
	"io"
)

// Source hands out the keys of one writer. The zero value is ready. It must not be used by two goroutines at a time, and
// not be copied after first use: both would use keys twice.
//
// RFC 6455 §5.3 asks for a fresh key from a strong source for every frame, and §10.3 says why: who can predict keys can
// choose the bytes that a proxy on the way sees. So keys come from crypto/rand and are never derived from one another.
type Source struct {
	// Rand is where keys come from; nil means crypto/rand. It is for tests that need known keys. Next panics if a read
	// from it fails.
	Rand io.Reader

	batch [4096]byte
	left  int // bytes of batch not yet used, at its end
}

// Next returns a fresh key. One call in 1024 reads the random source, a few microseconds; the others cost a load.
func (s *Source) Next() Key {
	if s.left == 0 {
		s.fill()
	}
	at := len(s.batch) - s.left
	s.left -= 4
	return Key(binary.LittleEndian.Uint32(s.batch[at:]))
}

func (s *Source) fill() {
	if s.Rand == nil {
		rand.Read(s.batch[:]) // never returns an error; a system without randomness ends the program
	} else if _, err := io.ReadFull(s.Rand, s.batch[:]); err != nil {
		panic("mask: Source.Rand: " + err.Error())
	}
	s.left = len(s.batch)
}
