// Package buffer lends pooled byte buffers. Sizes are powers of two, from 256 B.
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

// Buffer is a lent byte slice, B. The caller may reslice and fill B, but must not replace
// its backing array.
type Buffer = bytebufferpool.ByteBuffer

// There is one pool per power of two. A bytebufferpool.Pool learns which size to keep
// from the lengths at Put. So every buffer goes back at its full length, and each pool
// sees one size. A pool still allocates a few hundred bytes once per 42,000 Puts, when it
// calibrates.
//
// Each pool is allocated separately. It counts with 64-bit atomics, which 32-bit machines
// need on an 8-byte boundary. In an array they would not all be, because there the size
// of a Pool is no multiple of 8.
var pools = func() (p [maxClass - minClass + 1]*bytebufferpool.Pool) {
	for i := range p {
		p[i] = new(bytebufferpool.Pool)
	}
	return p
}()

// Get returns a buffer of at least n bytes. Its length is the next power of two, and at
// least 256. It holds bytes of its last use.
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

// Put returns a buffer of Get or Grow to its pool. The caller must not use it, or any
// view of it, again. Put ignores nil. Buffers over MaxPooled are left to the garbage
// collector.
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

// Grow returns a buffer of at least n bytes that starts with a copy of the first used
// bytes of b. It puts b back.
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
