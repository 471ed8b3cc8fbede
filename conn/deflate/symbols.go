package deflate

import "encoding/binary"

const (
	// slack is the space that one round of the symbol loop may use after its last byte:
	// three literals, one match, and the rest of a match's last word.
	slack = 3 + 258 + 32
	// inputPad is how far the loop may read past its position.
	inputPad = 16

	maxBits      = 48 // of one literal or match: 15+5 bits of length, 15+13 of distance
	distanceBits = 28 // of a distance alone
)

// A stopReason says why a step of the inflater came back.
type stopReason uint8

const (
	stopInput  stopReason = iota // all input is used, or held in bits
	stopOutput                   // no room in the window's buffer, or the limit is passed
	stopBlock                    // the block ended
	stopError                    // d.err says what is wrong
)

// symbols decodes literals and matches into d.out until the block ends, the input does,
// or d.op reaches opEnd. The caller's buffer has slack bytes after opEnd.
func (d *Inflater) symbols(opEnd int) stopReason {
	fastEnd := opEnd
	if d.ratio > 0 {
		fastEnd -= slack // where the ratio is judged must not depend on where the fast loop's rounds end
	}
	switch d.decode(fastEnd) {
	case verdictEnd:
		return stopBlock
	case verdictSymbol:
		return d.fail(ErrSymbol)
	case verdictDistance:
		return d.fail(ErrDistance)
	}
	for {
		if d.op >= opEnd {
			return stopOutput
		}
		if d.nb < maxBits {
			d.refill()
		}
		if h, ok := d.symbol(); !ok {
			return h
		}
	}
}

// A verdict says why the loop came back.
type verdict uint8

const (
	verdictStop     verdict = iota // the next symbols are to be decoded one by one, if there are any
	verdictEnd                     // of the block
	verdictSymbol                  // ErrSymbol
	verdictDistance                // ErrDistance
)

// A decoder is what the loop works on.
type decoder struct {
	in     []byte
	ip     int
	end    int // of the input in in; padding may follow
	bits   uint64
	nb     uint
	out    []byte
	base   int // first byte of the history
	op     int
	window int
	codes  *codes
}

// decode runs the loop, if there is input and room for a round.
func (s *decoder) decode(opEnd int) verdict {
	if s.ip > len(s.in)-inputPad || s.op >= opEnd || opEnd > len(s.out)-slack {
		return verdictStop
	}
	ip, op := s.ip, s.op
	v := decode(s, opEnd)
	if sanitize {
		didRead(s.in[ip:s.ip])
		didWrite(s.out[op:s.op])
	}
	return v
}

// decodeGeneric is the loop that inflating spends its time in: it goes on while eight
// bytes can be loaded at any point of a round. It may run into the padding after the
// input, and finds out at its end.
func decodeGeneric(s *decoder, opEnd int) verdict {
	var (
		in     = s.in
		ip     = s.ip
		ipEnd  = len(in) - inputPad
		out    = s.out
		op     = s.op
		bits   = s.bits
		nb     = s.nb
		codes  = s.codes
		lit    = &codes.lit
		dist   = &codes.dist
		litIx  = codes.litMask & (litTable - 1)
		distIx = codes.distMask & (distTable - 1)
		e      uint32
	)
	v := verdictStop
loop:
	for ip <= ipEnd && op < opEnd {
		bits |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
		ip += int((63 - nb) >> 3)
		nb |= 56
		e = lit[bits&litIx]
		// Three literals of at most ten bits leave 26 bits, enough for a length.
		if e >= entryLiteral {
			bits >>= e & 63
			nb -= uint(e & 63)
			out[op] = byte(e >> entryShift)
			op++
			e = lit[bits&litIx]
			if e >= entryLiteral {
				bits >>= e & 63
				nb -= uint(e & 63)
				out[op] = byte(e >> entryShift)
				op++
				e = lit[bits&litIx]
				if e >= entryLiteral {
					bits >>= e & 63
					nb -= uint(e & 63)
					out[op] = byte(e >> entryShift)
					op++
					e = lit[bits&litIx]
					if e >= entryLiteral {
						bits >>= e & 63
						nb -= uint(e & 63)
						out[op] = byte(e >> entryShift)
						op++
						continue
					}
				}
			}
		}
		if e&entryOther != 0 {
			if e&entryPointer != 0 {
				bits >>= e & 63
				nb -= uint(e & 63)
				e = lit[(uint64(e>>entryShift)+bits&(1<<(e>>8&15)-1))&(litTable-1)]
				if e >= entryLiteral {
					bits >>= e & 63
					nb -= uint(e & 63)
					out[op] = byte(e >> entryShift)
					op++
					continue
				}
			}
			if e&entryOther != 0 {
				bits >>= e & 63
				nb -= uint(e & 63)
				v = verdictSymbol
				if e&entryEnd != 0 {
					v = verdictEnd
				}
				break loop
			}
		}
		length := int(e>>entryShift) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		nb -= uint(e & 63)
		if nb < distanceBits {
			bits |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
			ip += int((63 - nb) >> 3)
			nb |= 56
		}
		e = dist[bits&distIx]
		if e&entryOther != 0 {
			if e&entryPointer != 0 {
				bits >>= e & 63
				nb -= uint(e & 63)
				e = dist[(uint64(e>>entryShift)+bits&(1<<(e>>8&15)-1))&(distTable-1)]
			}
			if e&entryOther != 0 {
				bits >>= e & 63
				nb -= uint(e & 63)
				v = verdictSymbol
				break loop
			}
		}
		distance := int(e>>entryShift) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		nb -= uint(e & 63)
		if distance > op-s.base || distance > s.window {
			v = verdictDistance
			break loop
		}
		from := op - distance
		if distance >= 8 {
			// Words of eight bytes, the last of which may write past the match: the room
			// is there, and what follows writes over it. Most matches are at most 32
			// bytes; copying 32 without asking is cheaper than a loop whose end the
			// processor guesses wrongly.
			src, dst := out[from:from+32], out[op:op+32]
			binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
			binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(src[8:]))
			binary.LittleEndian.PutUint64(dst[16:], binary.LittleEndian.Uint64(src[16:]))
			binary.LittleEndian.PutUint64(dst[24:], binary.LittleEndian.Uint64(src[24:]))
			for i := 32; i < length; i += 8 {
				binary.LittleEndian.PutUint64(out[op+i:], binary.LittleEndian.Uint64(out[from+i:]))
			}
			op += length
		} else {
			repeat(out[from:op+length], distance)
			op += length
		}
	}
	if over := ip - s.end; over > 0 {
		if nb < uint(over)*8 {
			// Bits from past the input were used: nothing of this round counts.
			return verdictStop
		}
		ip = s.end
		nb -= uint(over) * 8
	}
	s.op, s.bits, s.nb, s.ip = op, bits&(1<<nb-1), nb, ip
	return v
}

// repeat fills p with its first n bytes again and again.
func repeat(p []byte, n int) {
	for n < len(p) {
		n += copy(p[n:], p[:n])
	}
}

// symbol decodes one literal or match. It reports false, having consumed nothing, if the
// input ends inside it.
func (d *Inflater) symbol() (stopReason, bool) {
	c, bits := d.codes, d.bits
	e := c.lit[bits&c.litMask&(litTable-1)]
	used := uint(e & 63)
	if e&entryPointer != 0 && e < entryLiteral {
		e = c.lit[(uint64(e>>entryShift)+bits>>used&(1<<(e>>8&15)-1))&(litTable-1)]
		used += uint(e & 63)
	}
	if used > d.nb {
		return stopInput, false
	}
	if e >= entryLiteral {
		d.drop(used)
		d.out[d.op] = byte(e >> entryShift)
		d.op++
		return 0, true
	}
	if e&entryOther != 0 {
		d.drop(used)
		if e&entryEnd == 0 {
			return d.fail(ErrSymbol), false
		}
		return stopBlock, false
	}
	length := int(e>>entryShift) + int(bits>>(used-uint(e&63))&(1<<(e&63)-1)>>(e>>8&15))

	e = c.dist[bits>>used&c.distMask&(distTable-1)]
	used += uint(e & 63)
	if e&entryPointer != 0 {
		e = c.dist[(uint64(e>>entryShift)+bits>>used&(1<<(e>>8&15)-1))&(distTable-1)]
		used += uint(e & 63)
	}
	if used > d.nb {
		return stopInput, false
	}
	distance := int(e>>entryShift) + int(bits>>(used-uint(e&63))&(1<<(e&63)-1)>>(e>>8&15))
	d.drop(used)
	if e&entryOther != 0 {
		return d.fail(ErrSymbol), false
	}
	if distance > d.op-d.base || distance > d.window {
		return d.fail(ErrDistance), false
	}
	repeat(d.out[d.op-distance:d.op+length], distance)
	d.op += length
	return 0, true
}
