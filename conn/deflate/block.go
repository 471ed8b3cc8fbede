package deflate

import "encoding/binary"

// A phase is the inflater's position in a block.
type phase uint8

const (
	phaseHeader phase = iota
	phaseStoredLength
	phaseStored
	phaseCounts
	phaseCodeLenLengths
	phaseLengths
	phaseSymbols
)

// codeLenOrder is the order in which the lengths of the code length code are sent (RFC
// 1951 §3.2.7).
var codeLenOrder = [codeLenMax]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// step decodes until the input ends or d.op reaches opEnd.
func (d *Inflater) step(opEnd int) stopReason {
	for {
		var h stopReason
		switch d.phase {
		case phaseHeader:
			h = d.header()
		case phaseStoredLength:
			h = d.storedLength()
		case phaseStored:
			h = d.stored(opEnd)
		case phaseCounts:
			h = d.counts()
		case phaseCodeLenLengths:
			h = d.codeLenLengths()
		case phaseLengths:
			h = d.lengths()
		case phaseSymbols:
			if h = d.symbols(opEnd); h == stopBlock {
				d.endBlock()
			}
		}
		if h != stopBlock {
			return h
		}
	}
}

// need reports whether n ≤ 32 bits are there.
func (d *Inflater) need(n uint) bool {
	if d.nb < n {
		d.refill()
	}
	return d.nb >= n
}

// refill loads bits as long as there is input and room for a whole byte.
func (d *Inflater) refill() {
	if d.ip+8 <= d.end {
		d.bits |= binary.LittleEndian.Uint64(d.in[d.ip:]) << (d.nb & 63)
		d.ip += int((63 - d.nb) >> 3)
		d.nb |= 56
		d.bits &= 1<<d.nb - 1
		return
	}
	for d.nb < 56 && d.ip < d.end {
		d.bits |= uint64(d.in[d.ip]) << d.nb
		d.ip++
		d.nb += 8
	}
}

func (d *Inflater) drop(n uint) {
	d.bits >>= n
	d.nb -= n
}

// header reads BFINAL and BTYPE (RFC 1951 §3.2.3).
func (d *Inflater) header() stopReason {
	if !d.need(3) {
		return stopInput
	}
	d.final, d.empty = d.bits&1 != 0, false
	kind := d.bits >> 1 & 3
	d.drop(3)
	switch kind {
	case 0:
		d.drop(d.nb & 7)
		d.phase = phaseStoredLength
	case 1:
		d.codes = fixed
		d.phase = phaseSymbols
	case 2:
		d.phase = phaseCounts
	default:
		return d.fail(ErrBlockType)
	}
	return stopBlock
}

// endBlock is called at the end of each block. A final block ends at its last byte, and
// the next block starts a byte of its own (RFC 7692 §7.2.3.4).
func (d *Inflater) endBlock() {
	d.phase = phaseHeader
	d.codes = nil
	if d.final {
		d.drop(d.nb & 7)
	}
}

// storedLength reads LEN and NLEN (RFC 1951 §3.2.4).
func (d *Inflater) storedLength() stopReason {
	if !d.need(32) {
		return stopInput
	}
	n, complement := uint16(d.bits), uint16(d.bits>>16)
	d.drop(32)
	if n != ^complement {
		return d.fail(ErrStoredLength)
	}
	d.rest, d.empty = int(n), n == 0
	d.phase = phaseStored
	return stopBlock
}

// stored copies the bytes of a stored block, the first of which may already be in bits.
// At opEnd it stops before it reads past the block, as symbols does. So the input used up
// to there does not depend on how much there is.
func (d *Inflater) stored(opEnd int) stopReason {
	for {
		if d.op >= opEnd {
			return stopOutput
		}
		if d.rest == 0 {
			break
		}
		if d.nb > 0 {
			d.out[d.op] = byte(d.bits)
			d.drop(8)
			d.op++
			d.rest--
			continue
		}
		n := copy(d.out[d.op:opEnd], d.in[d.ip:min(d.end, d.ip+d.rest)])
		if n == 0 {
			return stopInput
		}
		d.op += n
		d.ip += n
		d.rest -= n
	}
	d.endBlock()
	return stopBlock
}

// counts reads HLIT, HDIST and HCLEN (RFC 1951 §3.2.7).
func (d *Inflater) counts() stopReason {
	if !d.need(14) {
		return stopInput
	}
	if d.dyn == nil {
		d.dyn = dynamics.Get().(*dynamic)
	}
	y := d.dyn
	y.numLit = int(d.bits&31) + 257
	y.numDist = int(d.bits>>5&31) + 1
	y.numCodeLen = int(d.bits>>10&15) + 4
	d.drop(14)
	if y.numLit > 286 || y.numDist > distMax {
		return d.fail(ErrCodeLengths)
	}
	y.n = 0
	y.codeLenLens = [codeLenMax]uint8{}
	d.phase = phaseCodeLenLengths
	return stopBlock
}

// codeLenLengths reads the lengths of the code for the code lengths.
func (d *Inflater) codeLenLengths() stopReason {
	y := d.dyn
	for y.n < y.numCodeLen {
		if !d.need(3) {
			return stopInput
		}
		bits, end := d.bits, min(y.numCodeLen, y.n+int(d.nb/3))
		d.drop(3 * uint(end-y.n))
		for ; y.n < end; y.n++ {
			y.codeLenLens[codeLenOrder[y.n]] = uint8(bits & 7)
			bits >>= 3
		}
	}
	var list [codeLenMax]length
	code := codeOf(list[:0], y.codeLenLens[:])
	var ok bool
	y.codeLenMask, ok = code.fill(y.codeLen[:], codeLenEntries[:], codeLenBitsMax, &y.sorted)
	if !ok || y.codeLen[1]&entryOther != 0 {
		return d.fail(ErrCodeLengths)
	}
	y.n, y.numUsed, y.last, y.count = 0, 0, 0, counts{}
	d.phase = phaseLengths
	return stopBlock
}

// lengths reads the code lengths of literals, lengths and distances, and fills their
// tables.
func (d *Inflater) lengths() stopReason {
	y := d.dyn
	total := y.numLit + y.numDist
	n, k, last := y.n, y.numUsed, y.last
	bits, nb := d.bits, d.nb
	for n < total {
		if nb < codeLenSymbolBits {
			if d.ip+8 <= d.end {
				bits |= binary.LittleEndian.Uint64(d.in[d.ip:]) << (nb & 63)
				d.ip += int((63 - nb) >> 3)
				nb |= 56
			} else {
				d.bits, d.nb = bits&(1<<nb-1), nb
				d.refill()
				bits, nb = d.bits, d.nb
			}
		}
		e := y.codeLen[bits&y.codeLenMask&(codeLenTable-1)]
		used := uint(e & 63)
		if used > nb {
			y.n, y.numUsed, y.last = n, k, last
			d.bits, d.nb = bits&(1<<nb-1), nb
			return stopInput
		}
		times := int(e>>codeLenCount&15) + int(bits&(1<<used-1)>>(e>>8&15))
		bits >>= used
		nb -= used
		if n+times > total {
			return d.fail(ErrCodeLengths)
		}
		if e&codeLenRepeat == 0 {
			// One length, or none for several symbols: a zero is written, too, and the
			// next length goes over it.
			last = uint8(e >> entryShift & 15)
			rank := y.count[last&codeBitsMax]
			y.count[last&codeBitsMax] = rank + 1
			y.used[k] = lengthOf(n, last, rank)
			k += int(e >> codeLenNonzero & 1)
			n += times
			continue
		}
		if n == 0 {
			return d.fail(ErrCodeLengths)
		}
		if last == 0 {
			n += times
			continue
		}
		for range times {
			y.used[k] = lengthOf(n, last, y.count[last])
			y.count[last]++
			k++
			n++
		}
	}
	y.n, y.numUsed = n, k
	d.bits, d.nb = bits&(1<<nb-1), nb
	return d.tables()
}

func (d *Inflater) tables() stopReason {
	y := d.dyn
	split := y.numUsed // of literals and distances
	for split > 0 && y.used[split-1].symbol() >= y.numLit {
		split--
	}
	end := split
	for end > 0 && y.used[end-1].symbol() > 256 {
		end--
	}
	if end == 0 || y.used[end-1].symbol() != 256 {
		return d.fail(ErrCodeLengths) // the block could not end
	}
	y.count[0] = 0
	literals := prefixCode{lens: y.used[:split], count: y.count}
	distances := prefixCode{lens: y.used[split:y.numUsed], first: y.numLit}
	for _, l := range distances.lens {
		distances.count[l.bits()]++
	}
	for l, n := range distances.count {
		literals.count[l] -= n
	}
	distances.before = literals.count
	var lit, far bool
	y.litMask, lit = literals.fill(y.lit[:], litEntries[:], litBitsMax, &y.sorted)
	y.distMask, far = distances.fill(y.dist[:], distEntries[:], distBitsMax, &y.sorted)
	if !lit || !far {
		return d.fail(ErrCodeLengths)
	}
	d.codes = &y.codes
	d.phase = phaseSymbols
	return stopBlock
}
