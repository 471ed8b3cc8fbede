package mask

import (
	"crypto/rand"
	"encoding/binary"
	"io"
)

// Source hands out the keys of one writer. The zero value is ready. It must not be used by two goroutines at a time, and
// not be copied after first use: both would use keys twice.
//
// RFC 6455 §5.3 asks for keys that nobody can predict, and §10.3 says what for: a page must not be able to choose the bytes that
// a browser or proxy sees on the wire. Keys are therefore never derived from one another.
type Source struct {
	// Rand is where keys come from; nil means crypto/rand. It is for tests that need known keys. Next panics if a read
	// from it fails.
	Rand io.Reader

	batch [4096]byte
	left  int // keys are taken from the end of batch[:left]
}

// Next returns a fresh key. One call in 1024 reads the random source, which is a system call or a few microseconds of
// ChaCha20; the others cost a load.
func (s *Source) Next() Key {
	if s.left == 0 {
		s.fill()
	}
	s.left -= 4
	octets := s.batch[s.left&4095:][:4:4]
	key := Key(binary.LittleEndian.Uint32(octets))
	// A key that has been on the wire is no secret, one that will be must not stay behind in memory dumps either way.
	clear(octets)
	return key
}

func (s *Source) fill() {
	if s.Rand == nil {
		rand.Read(s.batch[:]) // never returns an error; a system without randomness ends the program
	} else if _, err := io.ReadFull(s.Rand, s.batch[:]); err != nil {
		panic("mask: Source.Rand: " + err.Error())
	}
	s.left = len(s.batch)
}
