package deflate

import (
	"math/bits"
	"sync"
)

// A decoding table maps the next bits of the stream to an entry. A code no longer than the table's index has all its
// entries there; a longer one is found through the entry of its first bits, which points at a second table behind the
// first. One entry holds all that the symbol needs, so that one look-up decodes it:
//
//	bits 0–7    bits to consume: the code and the extra bits behind it
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

	// Ten index bits for literals and lengths, eight for distances: with more, filling the tables costs a message of
	// 8 KB more than it saves. The arrays hold any code of at most 15 bits at these widths (1334 and 402 entries) and are
	// powers of two, so that a masked index needs no bounds check.
	litBitsMax  = 10
	distBitsMax = 8
	litTable    = 2048
	distTable   = 512
	preTable    = 128
	preBitsMax  = 7
	preMax      = 19
)

// codes are the tables of one block.
type codes struct {
	lit      [litTable]uint32
	dist     [distTable]uint32
	litMask  uint64
	distMask uint64
}

// dynamic is what a block with codes of its own needs while it is read. It is lent to an Inflater from its first such
// block to the end of the message.
type dynamic struct {
	codes
	pre    [preTable]uint32
	preLen [preMax]uint8

	// The symbols that have codes, in order; distances follow the literals. Most have none in a short message, so that
	// passing over all of them would cost as much as decoding it.
	used [litMax + 32]length

	numLit, numDist, numPre int
	numUsed                 int
	n                       int   // the next symbol to be told its length
	last                    uint8 // the length told last
}

// length is a symbol and the length of its code.
type length uint16

func lengthOf(symbol int, bits uint8) length { return length(symbol)<<4 | length(bits) }

func (l length) symbol() int { return int(l >> 4) }

func (l length) bits() int { return int(l & codeBitsMax) }

// lengthsOf lists the symbols that have a code in lens.
func lengthsOf(dst []length, lens []uint8) []length {
	for s, n := range lens {
		if n != 0 {
			dst = append(dst, lengthOf(s, n))
		}
	}
	return dst
}

var dynamics = sync.Pool{New: func() any { return new(dynamic) }}

var (
	litEntries, distEntries = symbolEntries()
	preEntries              = preSymbols()
	fixed                   = fixedCodes()
)

// symbolEntries returns what each symbol means, less the length of its code (RFC 1951 §3.2.5).
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

func preSymbols() (pre [preMax]uint32) {
	for i := range pre {
		pre[i] = uint32(i) << entryShift
	}
	return pre
}

// fixedCodes are the tables of RFC 1951 §3.2.6.
func fixedCodes() *codes {
	c := new(codes)
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
	n, _ := fillTable(c.lit[:], lengthsOf(nil, lens[:]), 0, litEntries[:], litBitsMax)
	c.litMask = 1<<n - 1
	var five [32]uint8
	for i := range five {
		five[i] = 5
	}
	n, _ = fillTable(c.dist[:], lengthsOf(nil, five[:]), 0, distEntries[:], distBitsMax)
	c.distMask = 1<<n - 1
	return c
}

// fillTable writes the table of the prefix code whose lengths are lens, indexed by at most width bits, and returns the
// index bits that it uses. Symbols count from first. It reports false if the lengths make no complete code. As in zlib there
// are two exceptions: a code of a single symbol of one bit, and one of no symbols, which may stand where none is used
// (RFC 1951 §3.2.7).
func fillTable(table []uint32, lens []length, first int, meaning []uint32, width int) (int, bool) {
	var count [codeBitsMax + 1]int
	for _, l := range lens {
		count[l.bits()]++
	}
	longest := codeBitsMax
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	var next [codeBitsMax + 2]int
	left := 1
	for l := 1; l <= longest; l++ {
		left = left<<1 - count[l]
		if left < 0 {
			return 0, false
		}
		next[l+1] = next[l] + count[l]
	}
	if left > 0 && longest > 1 {
		return 0, false
	}
	var sorted [litMax]uint16
	for _, l := range lens {
		sorted[next[l.bits()]] = uint16(l.symbol() - first)
		next[l.bits()]++
	}
	if left > 0 {
		table[0], table[1] = entryOther|1<<8|1, entryOther|1<<8|1
		if longest == 1 {
			table[0] = meaning[sorted[0]] + 1<<8 + 1
		}
		return 1, true
	}
	width = min(width, longest)
	fillFirst(table, &count, &sorted, meaning, width, longest)
	return width, true
}

// fillFirst fills the first table, then calls fillSecond for the codes that are longer than its index. The table is written
// once for each code and doubled whenever the codes grow a bit: copying is cheaper than writing every repetition.
func fillFirst(table []uint32, count *[codeBitsMax + 1]int, sorted *[litMax]uint16, meaning []uint32, width, longest int) {
	l := 1
	for count[l] == 0 {
		l++
	}
	code, i := 0, 0 // code is bit-reversed: the stream's first bit is its lowest
	for size := 1 << l; ; size <<= 1 {
		for range count[l] {
			table[code] = meaning[sorted[i]] + uint32(l)<<8 + uint32(l)
			i++
			if code == size-1 {
				for ; l < width; l++ {
					copy(table[size:size<<1], table[:size])
					size <<= 1
				}
				return
			}
			code = increment(code, size)
		}
		if l == width {
			break
		}
		copy(table[size:size<<1], table[:size])
		l++
	}
	fillSecond(table, count, sorted, meaning, width, longest, code, i)
}

// fillSecond fills the tables behind the first one, of codes longer than width bits, from the i-th symbol on.
func fillSecond(table []uint32, count *[codeBitsMax + 1]int, sorted *[litMax]uint16, meaning []uint32, width, longest, code, i int) {
	prefix, place, end := -1, 0, 1<<width
	sub := 0
	for l := width + 1; l <= longest; l++ {
		for left := count[l]; left > 0; left-- {
			if p := code & (1<<width - 1); p != prefix {
				// The second table is as wide as the longest code that starts with this prefix.
				prefix, place = p, end
				sub = l - width
				for used := left; used < 1<<sub; {
					sub++
					used = used<<1 + count[width+sub]
				}
				end += 1 << sub
				table[prefix] = entryOther | entryPointer | uint32(place)<<entryShift | uint32(sub)<<8 | uint32(width)
			}
			rest := l - width
			e := meaning[sorted[i]] + uint32(rest)<<8 + uint32(rest)
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
