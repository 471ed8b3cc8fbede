package utf8

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/mask"
)

const (
	highBits   = 0x8080808080808080
	highBits32 = 0x80808080

	wordSize = 4 << (^uint(0) >> 63) // the bytes of a general register
	wordHigh = ^uint(0) / 0xFF * 0x80
)

// validGeneric does in Go what the valid kernels do.
func validGeneric(p *byte, n int) bool { return validText(unsafe.Slice(p, n)) }

// unmaskGeneric does in Go what the unmask kernels do.
//
//lint:ignore U1000 assembly uses it
func unmaskGeneric(p *byte, n int, key mask.Key) bool {
	return unmaskText(unsafe.Slice(p, n), key)
}

// validText takes 8 bytes a round. ASCII passes at once. Other bytes go through a state
// machine of one shift a byte. It has no branches, because the processor cannot predict
// those of mixed text. Runs of characters of 3 bytes, as in CJK text, are compared
// directly in half of the time.
func validText(p []byte) bool {
	state := uint32(complete)
	if len(p) >= 8 {
		end := p[len(p)-8:]
		p = p[:len(p):len(p)] // then slicing need not compute capacities
		for len(p) > 8 {      // with at least one byte left, p does not point past its end
			a, b := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
			if (a|b)&highBits32|(state&stateMask^complete) == 0 {
				p = skipASCII(p[8:])
				continue
			}
			// Two characters of 3 bytes?
			if (a^0xE08080E0)&0xF0C0C0F0|(b^0x8080)&0xC0C0|(state&stateMask^complete) == 0 {
				if q := skipThrees(p); len(q) < len(p) {
					p = q
					continue
				}
			}
			if state = step4(step4(state, a), b); state&stateMask == broken {
				return false
			}
			p = p[8:]
		}
		if binary.LittleEndian.Uint64(end)&highBits == 0 && state&stateMask == complete {
			return true
		}
	}
	if len(p) >= 4 {
		state = step4(state, binary.LittleEndian.Uint32(p))
		p = p[4:]
	}
	for _, c := range p {
		state = states[c] >> (state & stateMask)
	}
	return state&stateMask == complete
}

// step4 returns the state after the 4 bytes of a word.
func step4(state, x uint32) uint32 {
	state = states[x&0xFF] >> (state & stateMask)
	state = states[x>>8&0xFF] >> (state & stateMask)
	state = states[x>>16&0xFF] >> (state & stateMask)
	return states[x>>24] >> (state & stateMask)
}

// skipASCII skips blocks of four words of ASCII, then one of two words.
func skipASCII(p []byte) []byte {
	p = p[:len(p):len(p)]
	for len(p) > 4*wordSize && (word(p)|word(p[wordSize:])|(word(p[2*wordSize:])|word(p[3*wordSize:])))&wordHigh == 0 {
		p = p[4*wordSize:]
	}
	if len(p) > 2*wordSize && (word(p)|word(p[wordSize:]))&wordHigh == 0 {
		p = p[2*wordSize:]
	}
	return p
}

// word returns the first word of p.
func word(p []byte) uint {
	if wordSize == 4 {
		return uint(binary.LittleEndian.Uint32(p))
	}
	return uint(binary.LittleEndian.Uint64(p))
}

// skipThrees skips characters of 3 bytes at the front of p while more than 8 bytes are
// left. The masks are the rules of RFC 3629 §4, with the first byte lowest.
func skipThrees(p []byte) []byte {
	p = p[:len(p):len(p)]
	for len(p) > 8 {
		x := binary.LittleEndian.Uint32(p)
		// E0 80..9F is overlong, ED A0..BF a surrogate.
		if y := x & 0x200F; (x^0x8080E0)&0xC0C0F0 != 0 || y == 0 || y == 0x200D {
			break
		}
		p = p[3:]
	}
	return p
}

// The states between two bytes. Each is a bit position in the word of the next byte,
// where the 5 bits of the following state are. A search found the positions: overlapping
// bits agree, so 32 bits are enough.
const (
	broken   = 0  // no valid text begins so
	more2    = 1  // 2 continuations are missing
	complete = 6  // between characters
	afterF0  = 11 // 3, the next of which is 90 or above
	more1    = 16
	more3    = 18
	afterE0  = 19 // 2, the next of which is A0 or above
	afterF4  = 24 // 3, the next of which is 8F or below
	afterED  = 25 // 2, the next of which is 9F or below

	stateMask = 31
)

// states has a word for each byte. Shift the word right by the state before that byte:
// the lowest 5 bits are the state after it.
var states = func() (t [256]uint32) {
	for c := range t {
		var next uint32 = broken
		switch {
		case c < 0x80:
			next = complete
		case c < 0xC2 || c > 0xF4:
		case c < 0xE0:
			next = more1
		case c == 0xE0:
			next = afterE0
		case c == 0xED:
			next = afterED
		case c < 0xF0:
			next = more2
		case c == 0xF0:
			next = afterF0
		case c == 0xF4:
			next = afterF4
		default:
			next = more3
		}
		t[c] = next << complete
		if c < 0x80 || c >= 0xC0 {
			continue
		}
		t[c] |= complete<<more1 | more1<<more2 | more2<<more3
		if c < 0x90 {
			t[c] |= more2 << afterF4
		} else {
			t[c] |= more2 << afterF0
		}
		if c < 0xA0 {
			t[c] |= more1 << afterED
		} else {
			t[c] |= more1 << afterE0
		}
	}
	return t
}()

// unmaskChunk is how many bytes unmaskText unmasks before it reads them again. They are
// then in the first-level cache, and the stores have left the store buffer.
const unmaskChunk = 4096

func unmaskText(p []byte, key mask.Key) bool {
	ok := true
	checked := 0 // p up to here is valid, and ends with a whole character
	for done := 0; done < len(p); {
		end := min(len(p), done+unmaskChunk)
		ascii := unmaskWords(p[done:end], key)
		key = key.Rotate(end - done)
		if ascii && checked == done {
			checked = end
		} else if ok {
			cut := end
			if end < len(p) {
				cut = max(checked, end-unfinished(p[end-3], p[end-2], p[end-1]))
			}
			ok = validText(p[checked:cut])
			checked = cut
		}
		done = end
	}
	return ok
}

// unmaskWords unmasks p by overlapping words and reports whether the result is ASCII.
func unmaskWords(p []byte, key mask.Key) bool {
	n := len(p)
	wide := uint64(key)<<32 | uint64(key)
	if n >= 8 {
		// The last word is loaded before the first store, and stored last.
		last := binary.LittleEndian.Uint64(p[n-8:]) ^ bits.RotateLeft64(wide, -8*(n&3))
		or := last
		q := p[: n-1 : n] // a word at the very end is handled as the last one
		for len(q) >= 32 {
			a := binary.LittleEndian.Uint64(q) ^ wide
			b := binary.LittleEndian.Uint64(q[8:]) ^ wide
			c := binary.LittleEndian.Uint64(q[16:]) ^ wide
			d := binary.LittleEndian.Uint64(q[24:]) ^ wide
			binary.LittleEndian.PutUint64(q, a)
			binary.LittleEndian.PutUint64(q[8:], b)
			binary.LittleEndian.PutUint64(q[16:], c)
			binary.LittleEndian.PutUint64(q[24:], d)
			or |= a | b | (c | d)
			q = q[32:]
		}
		for len(q) >= 8 {
			a := binary.LittleEndian.Uint64(q) ^ wide
			binary.LittleEndian.PutUint64(q, a)
			or |= a
			q = q[8:]
		}
		binary.LittleEndian.PutUint64(p[n-8:], last)
		return or&highBits == 0
	}
	if n >= 4 {
		first := binary.LittleEndian.Uint32(p) ^ uint32(key)
		last := binary.LittleEndian.Uint32(p[n-4:]) ^ uint32(key.Rotate(n))
		binary.LittleEndian.PutUint32(p, first)
		binary.LittleEndian.PutUint32(p[n-4:], last)
		return (first|last)&highBits32 == 0
	}
	var or byte
	for i := range p {
		p[i] ^= byte(key >> (8 * i))
		or |= p[i]
	}
	return or < 0x80
}
