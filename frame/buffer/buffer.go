// Package buffer lends byte buffers by size class. No other package knows which pool they
// come from.
//
// A buffer must be returned exactly once. With the build tag tickwiredebug a buffer is
// poisoned when it is returned and checked when it is lent again; a second Put panics.
package buffer

import (
	"math/bits"

	"github.com/valyala/bytebufferpool"
)

const (
	minClass = 8  // 256 B
	maxClass = 22 // 4 MiB; larger buffers are left to the garbage collector

	// MaxPooled is the size in bytes of the largest buffer that Put keeps.
	MaxPooled = 1 << maxClass
)

// Buffer is a lent piece of memory. B may be resliced and filled, but keeps its backing
// array.
type Buffer = bytebufferpool.ByteBuffer

// One pool per power of two. A bytebufferpool.Pool learns the size it keeps from the
// lengths it sees at Put, so every buffer goes back at its full length: then a pool sees
// one size only. It still allocates a few hundred bytes when it looks at what it learned,
// once per 42,000 Puts.
//
// Each is allocated by itself: it counts with 64-bit atomics, which 32-bit machines want
// on an 8-byte boundary, and there the size of a Pool is no multiple of 8.
var pools = func() (p [maxClass - minClass + 1]*bytebufferpool.Pool) {
	for i := range p {
		p[i] = new(bytebufferpool.Pool)
	}
	return p
}()

// Get returns a buffer whose length and capacity are the power of two at or above n, and
// at least 256. Its content is whatever it held before.
func Get(n int) *Buffer {
	class := classOf(n)
	if class > maxClass {
		return &Buffer{B: make([]byte, 1<<class)}
	}
	b := pools[class-minClass].Get()
	if cap(b.B) < 1<<class {
		b.B = make([]byte, 1<<class)
	}
	b.B = b.B[:1<<class]
	lend(b)
	return b
}

// Put takes a buffer of Get's back. The caller must not use it, or any view of it, again.
// nil is ignored.
func Put(b *Buffer) {
	if b == nil {
		return
	}
	b.B = b.B[:cap(b.B)]
	class := classOf(len(b.B))
	if class > maxClass || len(b.B) != 1<<class {
		return
	}
	takeBack(b)
	pools[class-minClass].Put(b)
}

// Grow returns a buffer of at least n bytes that starts with the used bytes of b, which
// goes back to its pool.
func Grow(b *Buffer, used, n int) *Buffer {
	bigger := Get(n)
	copy(bigger.B, b.B[:used])
	Put(b)
	return bigger
}

// classOf returns the exponent of the smallest class that holds n bytes.
func classOf(n int) int {
	return max(minClass, bits.Len(uint(max(n, 1)-1)))
}
