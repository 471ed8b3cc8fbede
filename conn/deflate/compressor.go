package deflate

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// A compressor finds what a message repeats of itself and of those before it. Between
// messages it holds a buffer, which has the end of what was sent, and a table, which says
// where in it strings of four bytes begin. Both are as large as what was sent needs, and
// at most as large as asked. What is needed during a message only is lent, and shared by
// all.
//
//	buf: … base ─ history ─ start ─ not yet compressed ─ end ─ free
type compressor struct {
	window int  // how far back it may refer
	keep   int  // size of the largest buffer to hold between messages; 0 holds nothing
	search bool // for repetitions
	stored bool // compresses nothing: see appendStored

	buf              *buffer.Buffer
	base, start, end int
	origin           uint16 // position of the buffer's first byte
	table            *buffer.Buffer
	work             *work // of a message that is not at its end, if the table there is used
	out              bitSink
}

const (
	keepLeast  = 1 << 10  // size of the smallest buffer
	tableShare = 2        // a table has so small a part of the buffer's size
	tableLeast = 1 << 9   // bytes of the smallest table that is lent
	tableMost  = 32 << 10 // and of the largest
	lentFrom   = 16 << 10 // more bytes than this at once have a table lent: that of the connection is too small for them

	// A bucket of a table has the last four positions at which the strings of one hash
	// began, the newest in its lowest bits. A position has 16 bits, the lowest of all
	// that were counted. Whether a string is still there is known by looking, so that
	// nothing in a table is ever wrong, and no table need be emptied.
	bucketSize = 8
)

// work is what compressing a block needs.
type work struct {
	block block
	table [tableMost]byte
	size  int // how much of the table is used
}

var works = sync.Pool{New: func() any { return new(work) }}

// append takes p, the whole message or its next piece, and appends to dst what is
// compressed by now; at the end that is all.
func (z *compressor) append(dst, p []byte, last bool) []byte {
	if z.stored {
		return appendStored(dst, p, last)
	}
	for {
		n := z.makeRoom(len(p))
		z.end += copy(z.buf.B[z.end:z.end+n], p)
		if p = p[n:]; len(p) == 0 {
			break
		}
		dst = z.compress(dst)
	}
	if !last {
		return dst
	}
	if z.start < z.end {
		dst = z.compress(dst)
	}
	// An empty stored block, without the four bytes that RFC 7692 §7.2.1 takes off.
	dst = z.out.put(slices.Grow(dst, 16), 0, 3)
	dst = z.out.put(dst, 0, -z.out.n&7)
	z.rest()
	return dst
}

// makeRoom returns how many of n bytes can be put at end. None says that those that wait
// are to be compressed first.
func (z *compressor) makeRoom(n int) int {
	if z.buf == nil {
		z.buf = buffer.Get(min(max(n, keepLeast), bufferMax))
	}
	size := len(z.buf.B)
	if n <= size-z.end {
		return n
	}
	waiting := z.end - z.start
	if size == bufferMax && waiting >= size/2 {
		return 0
	}
	to, kept := z.buf, max(size/2, waiting)
	if size < z.keep || size < bufferMax && waiting+n > size/2 {
		history := min(z.start-z.base, z.window, bufferMax/2)
		if want := max(min(waiting+n+history, bufferMax), min(2*size, z.keep)); want > size {
			to = buffer.Get(want)
		}
		kept = waiting + history
	}
	z.move(to, min(kept, z.end-z.base))
	return min(n, len(z.buf.B)-z.end)
}

// move has the last n bytes begin another buffer, or the same one.
func (z *compressor) move(to *buffer.Buffer, n int) {
	gone := z.end - n
	copy(to.B, z.buf.B[gone:z.end])
	if to != z.buf {
		buffer.Put(z.buf)
		z.buf = to
	}
	z.origin += uint16(gone)
	z.base = max(0, z.base-gone)
	z.start -= gone
	z.end = n
}

// rest gives back, at the end of a message, what only that needed.
func (z *compressor) rest() {
	lent := z.work != nil
	if lent {
		works.Put(z.work)
		z.work = nil
	}
	if z.keep == 0 {
		z.discard()
		return
	}
	if len(z.buf.B) > z.keep {
		z.move(buffer.Get(z.keep), min(z.end-z.base, z.keep*3/4))
	}
	if size := len(z.buf.B) / tableShare; z.table == nil || len(z.table.B) < size {
		buffer.Put(z.table)
		z.table = buffer.Get(size)
	} else if !lent {
		return
	}
	clear(z.table.B)
	z.index(z.table.B, z.base, z.end-3)
}

// forget drops the history. It is called between messages.
func (z *compressor) forget() { z.base = z.start }

// discard gives everything back.
func (z *compressor) discard() {
	buffer.Put(z.buf)
	buffer.Put(z.table)
	if z.work != nil {
		works.Put(z.work)
	}
	*z = compressor{window: z.window, keep: z.keep, search: z.search, stored: z.stored}
}

// compress appends all that waits, in blocks.
func (z *compressor) compress(dst []byte) []byte {
	w := z.work
	if w == nil {
		w = works.Get().(*work)
		if z.search && (z.table == nil || z.end-z.start > lentFrom) {
			z.work = w
			w.size = max(tableLeast, min(tableMost, 1<<bits.Len(uint(z.end-z.start-1))/tableShare))
			clear(w.table[:w.size])
		}
	}
	for z.start < z.end {
		end := min(z.end, z.start+blockMost)
		p := z.buf.B[:end]
		switch {
		case !z.search:
			for _, c := range p[z.start:] {
				w.block.literal(c)
			}
		case z.work != nil:
			z.parse(&w.block, w.table[:w.size], p)
		default:
			z.parse(&w.block, z.table.B, p)
		}
		dst = w.block.write(&z.out, dst, p[z.start:])
		z.start = end
	}
	if z.work == nil {
		works.Put(w)
	}
	return dst
}

const hashPrime = 0x9E3779B1

func hashShift(table []byte) uint { return uint(32 - bits.Len(uint(len(table)/bucketSize-1))) }

// index notes the positions from i up to end.
func (z *compressor) index(table []byte, i, end int) {
	shift := hashShift(table)
	p := z.buf.B
	for ; i < end; i++ {
		at := binary.LittleEndian.Uint32(p[i:]) * hashPrime >> (shift & 31) * bucketSize
		bucket := table[at:][:8]
		binary.LittleEndian.PutUint64(bucket, binary.LittleEndian.Uint64(bucket)<<16|uint64(z.origin+uint16(i)))
	}
}

const (
	minMatch = 4
	maxMatch = 258

	lazyMost = 24 // a match so long is taken, and no longer one sought a byte later
	skipFrom = 6  // after 2^skipFrom bytes without a match every second byte is tried, then every third, and so on

	// A block of some size has codes of its own, in which four or five bytes are shorter
	// than a match far back.
	nearFour = 512
	nearFive = 8 << 10
)

// efforts are how many positions of a bucket are tried, by the size of the block.
var efforts = [...]struct{ most, tries int }{{400, 4}, {2 << 10, 3}, {8 << 10, 2}, {blockMost, 1}}

// A finder finds matches in p.
type finder struct {
	p          []byte
	table      []byte
	shift      uint
	base       int
	window     int
	origin     uint16
	tries      int
	four, five int // how far back matches of four and five bytes are taken from
}

// find returns the longest match for what begins at i, if it is longer than best, and
// notes the position.
func (f *finder) find(i, best int) (length, distance int) {
	p := f.p
	v := binary.LittleEndian.Uint32(p[i:])
	at := v * hashPrime >> (f.shift & 31) * bucketSize
	bucket := f.table[at:][:8]
	candidates := binary.LittleEndian.Uint64(bucket)
	pos := f.origin + uint16(i)
	binary.LittleEndian.PutUint64(bucket, candidates<<16|uint64(pos))
	far := uint(min(f.window, i-f.base))
	for range f.tries {
		d := uint(pos - uint16(candidates))
		candidates >>= 16
		if d-1 >= far {
			continue
		}
		from := i - int(d)
		if binary.LittleEndian.Uint32(p[from:]) != v || i+best >= len(p) || p[from+best] != p[i+best] {
			continue
		}
		n := minMatch + same(p[from+minMatch:], p[i+minMatch:min(len(p), i+maxMatch)])
		if n > best && (n > 5 || n == 5 && int(d) <= f.five || n == 4 && int(d) <= f.four) {
			best, length, distance = n, n, int(d)
		}
	}
	return length, distance
}

// same returns how many bytes a and b begin with that are the same. a is not shorter.
func same(a, b []byte) int {
	n := 0
	for ; n+8 <= len(b); n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// parse makes a block of what waits, which is the end of p.
func (z *compressor) parse(b *block, table, p []byte) {
	i := z.start
	f := finder{p: p, table: table, shift: hashShift(table), base: z.base, window: z.window, origin: z.origin,
		four: windowMax, five: windowMax}
	effort := 0
	for len(p)-i > efforts[effort].most {
		effort++
	}
	f.tries = efforts[effort].tries
	if effort > 0 {
		f.four, f.five = nearFour, nearFive
	}
	last := len(p) - minMatch
	z.index(table, max(z.base, i-minMatch+1), min(i, last+1)) // those that had too few bytes after them
	for missed := 0; i <= last; {
		length, distance := f.find(i, minMatch-1)
		if length == 0 {
			n := min(1+missed>>skipFrom, len(p)-i)
			missed += n
			for ; n > 0; n-- {
				b.literal(p[i])
				i++
			}
			continue
		}
		missed = 0
		noted := i + 1
		for length < lazyMost && i < last {
			noted = i + 2
			longer, d := f.find(i+1, length)
			if longer == 0 {
				break
			}
			b.literal(p[i])
			i++
			length, distance = longer, d
		}
		b.match(length, distance)
		i += length
		z.index(table, noted, min(i, last+1))
	}
	for ; i < len(p); i++ {
		b.literal(p[i])
	}
}
