package deflate

import (
	"math/bits"
	"sync"
)

// A decoding table maps the next bits of the stream to an entry. A code no longer than
// the table's index has all its entries there; a longer one is found through the entry of
// its first bits, which points at a second table after the first. One entry holds all
// that the symbol needs, so that one look-up decodes it:
//
//	bits 0–7    bits to consume: the code and the extra bits after it
//	bits 8–11   bits of the code alone; in a pointer, index bits of the second table
//	bits 12–15  flags
//	bits 16–30  the literal, the least length or distance, or the second table's place
//	bit 31      a literal
const (
	entryPointer = 1 << 13
	entryEnd     = 1 << 14
	entryOther   = 1 << 15 // neither literal nor length: pointer, end of block, or no symbol at all
	entryLiteral = 1 << 31
	entryShift   = 16

	codeBitsMax = 15
	litMax      = 288
	distMax     = 30

	// Ten index bits for literals and lengths, eight for distances: with more, filling
	// the tables costs a message of 8 KB more than it saves. The arrays hold any code of
	// at most 15 bits at these widths (1334 and 402 entries) and are powers of two, so
	// that a masked index needs no bounds check.
	litBitsMax     = 10
	distBitsMax    = 8
	litTable       = 2048
	distTable      = 512
	revBits        = 10
	codeLenTable   = 128
	codeLenBitsMax = 7
	codeLenMax     = 19

	// An entry of the code for the code lengths: bits 0–11 as above, then
	codeLenRepeat     = 1 << 12 // the last length again
	codeLenCount      = 20      // how often at least, in four bits
	codeLenNonzero    = 24      // whether the length in bits 16–19 is not 0
	codeLenSymbolBits = 14      // a symbol takes no more
)

// codes are the tables of one block.
type codes struct {
	lit      [litTable]uint32
	dist     [distTable]uint32
	litMask  uint64
	distMask uint64
}

// dynamic is what a block with codes of its own needs while it is read. It is lent to an
// Inflater from its first such block to the end of the message.
type dynamic struct {
	codes
	codeLen     [codeLenTable]uint32
	codeLenMask uint64
	codeLenLens [codeLenMax]uint8

	// The symbols that have codes, in order; distances follow the literals. Most have
	// none in a short message, so that passing over all of them would cost as much as
	// decoding it.
	used  [litMax + 32]length
	count counts // of all of them

	sorted [litMax]uint32 // entries in the order of their codes

	numLit, numDist, numCodeLen int
	numUsed                     int
	n                           int   // the next symbol to be told its length
	last                        uint8 // the length told last
}

// length is a symbol, the length of its code, and how many symbols before it have a code
// of that length.
type length uint32

func lengthOf(symbol int, bits uint8, rank int32) length {
	return length(rank)<<16 | length(symbol)<<4 | length(bits)
}

func (l length) symbol() int { return int(l >> 4 & 0xFFF) }

func (l length) bits() int { return int(l & codeBitsMax) }

func (l length) rank() int32 { return int32(l >> 16) }

// counts are how many symbols have codes of each length.
type counts [codeBitsMax + 1]int32

// A prefixCode is what a decoding table is made of.
type prefixCode struct {
	lens   []length
	count  counts
	before counts // ranks begin with these
	first  int    // symbols count from it
}

// codeOf returns the code of the symbols that have lengths in lens, with dst to list them
// in.
func codeOf(dst []length, lens []uint8) prefixCode {
	c := prefixCode{lens: dst}
	for s, n := range lens {
		if n != 0 {
			c.lens = append(c.lens, lengthOf(s, n, c.count[n&codeBitsMax]))
			c.count[n&codeBitsMax]++
		}
	}
	return c
}

var dynamics = sync.Pool{New: func() any { return new(dynamic) }}

var (
	litEntries, distEntries = symbolEntries()
	codeLenEntries          = codeLenSymbols()
	fixed                   = fixedCodes()
)

// symbolEntries returns what each symbol means, less the length of its code (RFC 1951
// §3.2.5).
func symbolEntries() (lit [litMax]uint32, dist [32]uint32) {
	for i := range 256 {
		lit[i] = entryLiteral | uint32(i)<<entryShift
	}
	lit[256] = entryOther | entryEnd
	base := uint32(3)
	for i := uint32(0); i < 28; i++ {
		extra := uint32(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		lit[257+i] = base<<entryShift | extra
		base += 1 << extra
	}
	lit[285] = 258 << entryShift
	lit[286], lit[287] = entryOther, entryOther
	base = 1
	for i := uint32(0); i < distMax; i++ {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		dist[i] = base<<entryShift | extra
		base += 1 << extra
	}
	dist[30], dist[31] = entryOther, entryOther
	return lit, dist
}

func codeLenSymbols() (pre [codeLenMax]uint32) {
	for i := range 16 {
		pre[i] = uint32(i)<<entryShift | 1<<codeLenCount
		if i > 0 {
			pre[i] |= 1 << codeLenNonzero
		}
	}
	pre[16] = 3<<codeLenCount | codeLenRepeat | 2
	pre[17] = 3<<codeLenCount | 3
	pre[18] = 11<<codeLenCount | 7
	return pre
}

// fixedCodes are the tables of RFC 1951 §3.2.6.
func fixedCodes() *codes {
	c := new(codes)
	var sorted [litMax]uint32
	var lens [litMax]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	code := codeOf(nil, lens[:])
	c.litMask, _ = code.fill(c.lit[:], litEntries[:], litBitsMax, &sorted)
	var five [32]uint8
	for i := range five {
		five[i] = 5
	}
	code = codeOf(nil, five[:])
	c.distMask, _ = code.fill(c.dist[:], distEntries[:], distBitsMax, &sorted)
	return c
}

// reversed holds each number of revBits bits with its bits the other way round.
var reversed = reversedNumbers()

func reversedNumbers() (r [1 << revBits]uint16) {
	for i := range r {
		r[i] = bits.Reverse16(uint16(i)) >> (16 - revBits)
	}
	return r
}

// fill writes the table of the code, indexed by at most width bits, which are at most
// revBits, and returns the index's mask. It reports false if the lengths make no complete
// code. As in zlib there are two exceptions: a code of a single symbol of one bit, and
// one of no symbols, which is allowed where none is used (RFC 1951 §3.2.7). In sorted it
// leaves the entries in the order of their codes.
func (c *prefixCode) fill(table, meaning []uint32, width int, sorted *[litMax]uint32) (mask uint64, ok bool) {
	count := &c.count
	longest := codeBitsMax
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	var start counts // of each length in sorted, as ranks count
	left, n := int32(1), int32(0)
	for l := 1; l <= longest; l++ {
		left = left<<1 - count[l]
		if left < 0 {
			return 0, false
		}
		start[l] = n - c.before[l]
		n += count[l]
	}
	if left > 0 {
		if longest > 1 {
			return 0, false
		}
		table[0], table[1] = entryOther|1<<8|1, entryOther|1<<8|1
		if longest == 1 {
			table[0] = meaning[c.lens[0].symbol()-c.first] + 1<<8 + 1
		}
		return 1, true
	}
	width = min(width, longest)
	for _, l := range c.lens {
		n := l.bits()
		sorted[start[n]+l.rank()] = meaning[l.symbol()-c.first] + uint32(n)<<8 + uint32(n)
	}
	// The table is written once for each code and doubled whenever the codes grow a bit:
	// copying is cheaper than writing every repetition. A code's place has the code in
	// the highest of revBits bits; the stream's first bit is the lowest of an index.
	l := 1
	for count[l] == 0 {
		l++
	}
	place, i := 0, 0
	for {
		for end := i + int(count[l]); i < end; i++ {
			table[reversed[place&(1<<revBits-1)]] = sorted[i]
			place += 1 << revBits >> l
		}
		if l == width {
			break
		}
		copy(table[1<<l:2<<l], table[:1<<l])
		l++
	}
	if i < len(c.lens) {
		fillSecond(table, count, sorted, width, longest, int(reversed[place]), i)
	}
	return 1<<width - 1, true
}

// fillSecond fills the tables after the first one, of codes longer than width bits, from
// the i-th symbol on.
func fillSecond(table []uint32, count *counts, sorted *[litMax]uint32, width, longest, code, i int) {
	prefix, place, end := -1, 0, 1<<width
	sub := 0
	for l := width + 1; l <= longest; l++ {
		for left := count[l]; left > 0; left-- {
			if p := code & (1<<width - 1); p != prefix {
				// The second table is as wide as the longest code that starts with this
				// prefix.
				prefix, place = p, end
				sub = l - width
				for used := int(left); used < 1<<sub; {
					sub++
					used = used<<1 + int(count[width+sub])
				}
				end += 1 << sub
				table[prefix] = entryOther | entryPointer | uint32(place)<<entryShift | uint32(sub)<<8 | uint32(width)
			}
			rest := l - width
			e := sorted[i] - uint32(width)<<8 - uint32(width) // what the first table has used is gone
			i++
			for at := code >> width; at < 1<<sub; at += 1 << rest {
				table[place+at] = e
			}
			if code == 1<<l-1 {
				return
			}
			code = increment(code, 1<<l)
		}
	}
}

// increment adds one to a bit-reversed code of log2(size) bits that is not all ones.
func increment(code, size int) int {
	bit := 1 << (bits.Len(uint(code^(size-1))) - 1)
	return code&(bit-1) | bit
}
