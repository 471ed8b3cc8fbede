package deflate

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// An element is a literal byte, or a match: elementMatch, its length less three, and its
// distance less one.
type element uint32

const (
	elementMatch  element = 1 << 31
	elementLength         = 16 // the shift of the length
)

const (
	endOfBlock  = 256
	litUsed     = 286 // the fixed code has two more
	codeLenBits = 7   // the most of a code for the code lengths
)

// A code is a prefix code as the writer needs it: the bits of a symbol, first one lowest,
// and their number.
type code struct {
	bits   uint16
	length uint8
}

var (
	lengthSymbols [256]uint8 // of a length less three: its symbol less 257
	lengthExtra   [29]uint8
	lengthBase    [29]uint16 // less three
	distSymbols   [512]uint8 // of a distance less one under 256, and of the others by their highest bits
	distExtra     [distMax]uint8
	distBase      [distMax]uint16 // less one
	fixedLit      [litMax]code
	fixedDist     [distMax]code
)

func init() {
	n := 0
	for s := range lengthExtra {
		switch {
		case s >= 28:
			n = 255
		case s >= 8:
			lengthExtra[s] = uint8(s/4 - 1)
		}
		lengthBase[s] = uint16(n)
		for range 1 << lengthExtra[s] {
			if n < len(lengthSymbols) {
				lengthSymbols[n] = uint8(s)
			}
			n++
		}
	}
	n = 0
	for s := range distExtra {
		if s >= 4 {
			distExtra[s] = uint8(s/2 - 1)
		}
		distBase[s] = uint16(n)
		for range 1 << distExtra[s] {
			distSymbols[distIndex(n)] = uint8(s)
			n++
		}
	}
	for s := range fixedLit {
		fixedLit[s].length = fixedLength(s)
	}
	assign(fixedLit[:])
	for s := range fixedDist {
		fixedDist[s].length = 5
	}
	assign(fixedDist[:])
}

// fixedLength returns the length of a literal or length in the fixed code (RFC 1951
// §3.2.6).
func fixedLength(s int) uint8 {
	switch {
	case s < 144:
		return 8
	case s < 256:
		return 9
	case s < 280:
		return 7
	}
	return 8
}

func distIndex(d int) int {
	if d < 256 {
		return d
	}
	return 256 + d>>7
}

// assign gives symbols their codes by the lengths of these (RFC 1951 §3.2.2).
func assign(codes []code) {
	var next [codeBitsMax + 2]uint16
	for _, c := range codes {
		next[c.length+1]++
	}
	next[1] = 0
	for n := 2; n < len(next); n++ {
		next[n] = (next[n] + next[n-1]) << 1
	}
	for s := range codes {
		if n := codes[s].length; n > 0 {
			codes[s].bits = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
}

// A bitSink appends bits to bytes, the first one lowest. Fewer than eight stay with it.
type bitSink struct {
	bits uint64
	n    uint
}

// put appends up to 48 bits to p, which has eight bytes of room.
func (w *bitSink) put(p []byte, v uint64, n uint) []byte {
	w.bits |= v << w.n
	w.n += n
	binary.LittleEndian.PutUint64(p[len(p):len(p)+8], w.bits)
	p = p[:len(p)+int(w.n>>3)]
	w.bits >>= w.n &^ 7
	w.n &= 7
	return p
}

// A block is the elements of one, how often each symbol occurs, and its codes.
type block struct {
	elements           [blockMost]element
	n                  int
	lit                [litUsed]uint16
	dist               [distMax]uint16
	litCode            [litMax]code
	distCo             [distMax]code
	codeLen            [codeLenMax]uint16
	codeLenCode        [codeLenMax]code
	runs               [litUsed + distMax]uint16 // the lengths of codes as they are sent: symbol, and its extra bits above
	nRuns              int
	used, order, spare [litMax]uint32 // symbols below their frequencies
	place              [litMax]uint32
	counts             [33]int
	at                 [256]uint16
}

// blockMost is the most bytes of a message that one block holds.
const blockMost = 16 << 10

func (b *block) literal(c byte) {
	b.elements[b.n&(blockMost-1)] = element(c)
	b.n++
	b.lit[c]++
}

func (b *block) match(length, distance int) {
	b.elements[b.n&(blockMost-1)] = elementMatch | element(length-3)<<elementLength | element(distance-1)
	b.n++
	b.lit[257+int(lengthSymbols[(length-3)&255])]++
	b.dist[distSymbols[distIndex(distance-1)&511]]++
}

// write appends the block, which encodes p, in the shortest of the three forms, and
// empties it.
func (b *block) write(w *bitSink, dst, p []byte) []byte {
	b.lit[endOfBlock]++
	fixed, used := b.fixedSize()
	stored := 3 + 7 + 32 + 8*len(p)
	least, dynamic := min(fixed, stored), false
	// A dynamic block has the lengths of its codes in front. Where half of what the fixed
	// code takes would not pay for them, they are not worked out.
	if 60+5*used/2 < fixed/2 {
		if n := b.dynamicSize(); n < least {
			least, dynamic = n, true
		}
	}
	dst = slices.Grow(dst, least/8+16)
	switch {
	case dynamic:
		dst = b.writeHeader(w, dst)
		dst = b.writeTokens(w, dst, &b.litCode, &b.distCo)
	case fixed <= stored:
		dst = w.put(dst, 1<<1, 3)
		dst = b.writeTokens(w, dst, &fixedLit, &fixedDist)
	default:
		dst = w.put(dst, 0, 3)
		dst = w.put(dst, 0, -w.n&7)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(p)))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(len(p)))
		dst = append(dst, p...)
	}
	b.n = 0
	b.lit, b.dist = [litUsed]uint16{}, [distMax]uint16{}
	return dst
}

// fixedSize returns the bits that the block takes with the fixed code, and how many
// symbols are used.
func (b *block) fixedSize() (size, used int) {
	size = 3
	for s, f := range b.lit[:] {
		if f > 0 {
			used++
			size += int(f) * int(fixedLit[s].length)
		}
	}
	for _, f := range b.dist[:] {
		if f > 0 {
			used++
			size += int(f) * int(fixedDist[0].length)
		}
	}
	return size + b.extraSize(), used
}

func (b *block) extraSize() (size int) {
	for s := 8; s < 28; s++ {
		size += int(b.lit[257+s]) * int(lengthExtra[s])
	}
	for s := 4; s < distMax; s++ {
		size += int(b.dist[s]) * int(distExtra[s])
	}
	return size
}

// dynamicSize makes codes for the block and returns the bits that it takes with them.
func (b *block) dynamicSize() int {
	b.makeCode(b.lit[:], b.litCode[:litUsed], codeBitsMax)
	b.makeCode(b.dist[:], b.distCo[:], codeBitsMax)
	b.runLengths()
	b.makeCode(b.codeLen[:], b.codeLenCode[:], codeLenBits)
	size := 3 + 5 + 5 + 4 + 3*b.numCodeLen()
	for s, f := range b.codeLen {
		size += int(f) * int(b.codeLenCode[s].length)
	}
	size += 2*int(b.codeLen[16]) + 3*int(b.codeLen[17]) + 7*int(b.codeLen[18])
	for s, f := range b.lit {
		size += int(f) * int(b.litCode[s].length)
	}
	for s, f := range b.dist {
		size += int(f) * int(b.distCo[s].length)
	}
	return size + b.extraSize()
}

// numCodeLen returns how many lengths of the code length code are sent.
func (b *block) numCodeLen() int {
	n := len(codeLenOrder)
	for n > 4 && b.codeLenCode[codeLenOrder[n-1]].length == 0 {
		n--
	}
	return n
}

func (b *block) numLit() int { return numUsed(b.litCode[:litUsed], endOfBlock+1) }

func (b *block) numDist() int { return numUsed(b.distCo[:], 1) }

func numUsed(codes []code, least int) int {
	n := len(codes)
	for n > least && codes[n-1].length == 0 {
		n--
	}
	return n
}

// runLengths works out how the lengths of the two codes are sent (RFC 1951 §3.2.7).
func (b *block) runLengths() {
	b.codeLen, b.nRuns = [codeLenMax]uint16{}, 0
	add := func(symbol, extra int) {
		b.runs[b.nRuns] = uint16(symbol | extra<<8)
		b.nRuns++
		b.codeLen[symbol]++
	}
	numLit, numDist := b.numLit(), b.numDist()
	total := numLit + numDist
	at := func(i int) uint8 {
		if i < numLit {
			return b.litCode[i].length
		}
		return b.distCo[i-numLit].length
	}
	for i := 0; i < total; {
		length, n := at(i), 1
		for i+n < total && at(i+n) == length {
			n++
		}
		i += n
		if length == 0 {
			for n >= 11 {
				run := min(n, 138)
				add(18, run-11)
				n -= run
			}
			if n >= 3 {
				add(17, n-3)
				n = 0
			}
		} else {
			add(int(length), 0)
			n--
			for n >= 3 {
				run := min(n, 6)
				add(16, run-3)
				n -= run
			}
		}
		for ; n > 0; n-- {
			add(int(length), 0)
		}
	}
}

func (b *block) writeHeader(w *bitSink, dst []byte) []byte {
	n := b.numCodeLen()
	dst = w.put(dst, 2<<1|uint64(b.numLit()-257)<<3|uint64(b.numDist()-1)<<8|uint64(n-4)<<13, 17)
	for _, s := range codeLenOrder[:n] {
		dst = w.put(dst, uint64(b.codeLenCode[s].length), 3)
	}
	for _, run := range b.runs[:b.nRuns] {
		s, extra := run&255, uint64(run>>8)
		c := b.codeLenCode[s]
		n := uint(c.length)
		v := uint64(c.bits) | extra<<n
		switch s {
		case 16:
			n += 2
		case 17:
			n += 3
		case 18:
			n += 7
		}
		dst = w.put(dst, v, n)
	}
	return dst
}

// writeTokens appends the elements and the end of the block to dst, which has room for
// all and eight bytes more.
func (b *block) writeTokens(w *bitSink, dst []byte, lit *[litMax]code, dist *[distMax]code) []byte {
	p := dst[:cap(dst)]
	at, acc, n := len(dst), w.bits, w.n
	for _, t := range b.elements[:b.n] {
		if t&elementMatch == 0 {
			c := lit[t&255]
			acc |= uint64(c.bits) << (n & 63)
			n += uint(c.length)
		} else {
			length, d := t>>elementLength&255, int(t&0x7FFF)
			s := lengthSymbols[length]
			c := lit[257+int(s)]
			acc |= uint64(c.bits) << (n & 63)
			n += uint(c.length)
			acc |= uint64(uint16(length)-lengthBase[s]) << (n & 63)
			n += uint(lengthExtra[s])
			s = distSymbols[distIndex(d)&511]
			if n >= 32 {
				binary.LittleEndian.PutUint32(p[at:], uint32(acc))
				at += 4
				acc >>= 32
				n -= 32
			}
			c = dist[s]
			acc |= uint64(c.bits) << (n & 63)
			n += uint(c.length)
			acc |= uint64(uint16(d)-distBase[s]) << (n & 63)
			n += uint(distExtra[s])
		}
		if n >= 32 {
			binary.LittleEndian.PutUint32(p[at:], uint32(acc))
			at += 4
			acc >>= 32
			n -= 32
		}
	}
	w.bits, w.n = acc, n
	c := lit[endOfBlock]
	return w.put(p[:at], uint64(c.bits), uint(c.length))
}

// makeCode gives every symbol that occurs a code of at most limit bits, by how often it
// does. One symbol alone has one bit.
func (b *block) makeCode(frequency []uint16, codes []code, limit int) {
	clear(codes)
	n, most := 0, uint16(0)
	for s, f := range frequency {
		if f > 0 {
			b.used[n] = uint32(f)<<9 | uint32(s)
			most = max(most, f)
			n++
		}
	}
	used := b.used[:n]
	counts := &b.counts
	*counts = [33]int{}
	if n <= 2 {
		for _, o := range used {
			codes[o&511].length = 1
		}
		counts[1] = n
	} else {
		order := b.sorted(used, most)
		redundancy(order, b.place[:n], counts)
		limitLengths(counts, limit)
		length, left := limit, counts[limit]
		for _, o := range order { // the rarest first
			for left == 0 {
				length--
				left = counts[length]
			}
			left--
			codes[o&511].length = uint8(length)
		}
	}
	var next [codeBitsMax + 1]uint16 // RFC 1951 §3.2.2
	for n := 1; n < codeBitsMax; n++ {
		next[n+1] = (next[n] + uint16(counts[n])) << 1
	}
	for _, o := range used {
		c := &codes[o&511]
		v := &next[c.length&codeBitsMax]
		c.bits = bits.Reverse16(*v) >> (16 - c.length&15)
		*v++
	}
}

// sorted returns what is used in order of its frequency, of which most is the largest.
func (b *block) sorted(used []uint32, most uint16) []uint32 {
	from, to := used, b.order[:len(used)]
	if len(used) <= 16 {
		copy(to, used)
		slices.Sort(to)
		return to
	}
	spare := b.spare[:len(used)]
	for shift := uint(9); ; shift += 8 {
		at := &b.at
		*at = [256]uint16{}
		for _, o := range from {
			at[o>>shift&255]++
		}
		sum := uint16(0)
		for i, n := range at[:min(256, int(most>>(shift-9))+1)] {
			at[i] = sum
			sum += n
		}
		for _, o := range from {
			i := o >> shift & 255
			to[at[i]] = o
			at[i]++
		}
		if most>>(shift-1) == 0 {
			return to
		}
		from, to = to, spare
	}
}

// redundancy counts how many codes of each length a code of minimum redundancy has for
// symbols that are in order of their frequency, which is stored above nine bits; a has
// space for as many (Moffat and Katajainen, In-Place Calculation of Minimum-Redundancy
// Codes).
func redundancy(order, a []uint32, counts *[33]int) {
	n := len(order)
	for i, o := range order {
		a[i] = o >> 9
	}
	a[0] += a[1]
	root, leaf := 0, 2
	for next := 1; next < n-1; next++ {
		if leaf >= n || a[root] < a[leaf] {
			a[next] = a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] = a[leaf]
			leaf++
		}
		if leaf >= n || root < next && a[root] < a[leaf] {
			a[next] += a[root]
			a[root] = uint32(next)
			root++
		} else {
			a[next] += a[leaf]
			leaf++
		}
	}
	a[n-2] = 0
	for next := n - 3; next >= 0; next-- {
		a[next] = a[a[next]] + 1
	}
	available, used, depth := 1, 0, 0
	for root := n - 2; available > 0; depth++ {
		for root >= 0 && int(a[root]) == depth {
			used++
			root--
		}
		counts[min(depth, 32)] += available - used
		available, used = 2*used, 0
	}
}

// limitLengths shortens codes that are longer than limit, and lengthens others until all
// have room.
func limitLengths(counts *[33]int, limit int) {
	for n := limit + 1; n < len(counts); n++ {
		counts[limit] += counts[n]
		counts[n] = 0
	}
	room := 0
	for n := 1; n <= limit; n++ {
		room += counts[n] << (limit - n)
	}
	for ; room > 1<<limit; room-- {
		counts[limit]--
		for n := limit - 1; ; n-- {
			if counts[n] > 0 {
				counts[n]--
				counts[n+1] += 2
				break
			}
		}
	}
}
