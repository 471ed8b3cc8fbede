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
)

// validGeneric is the twin of the valid kernels in plain Go.
func validGeneric(p *byte, n int) bool { return validText(unsafe.Slice(p, n)) }

// unmaskGeneric is the twin of the unmask kernels in plain Go.
func unmaskGeneric(p *byte, n int, key mask.Key) bool {
	return unmaskText(unsafe.Slice(p, n), key)
}

// validText skips ASCII by words and compares the other characters whole, as little-endian words under bit masks: the
// bits of a lead and of its continuations are right or not with one branch a character. Less than 16 bytes go through
// a state machine, which has no branches.
func validText(p []byte) bool {
	if len(p) < 16 {
		if len(p) >= 8 && (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[len(p)-8:]))&highBits == 0 {
			return true
		}
		var state uint64
		for _, c := range p {
			state = states[c] >> (state & 63)
		}
		return state&63 == 0
	}
	p = p[:len(p):len(p)] // slicing need not compute capacities then
	for len(p) >= 8 {
		m := binary.LittleEndian.Uint64(p) & highBits
		if m == 0 {
			p = skipASCII(p[8:])
			continue
		}
		p = p[bits.TrailingZeros64(m)>>3:]
		var ok bool
		if p, ok = skipOther(p); !ok {
			return false
		}
	}
	return validShort(p)
}

// states has a word for each byte, which, shifted right by the state before that byte, has the state behind it in its
// lowest 6 bits. The state is 0 between characters; the others stand for what may come next.
var states = func() (t [256]uint64) {
	const broken = 6
	number := map[tail]uint64{{}: broken}
	var after []tail
	add := func(next tail) uint64 {
		if _, known := number[next]; !known {
			number[next] = broken + 6*uint64(len(after)+1)
			after = append(after, next)
		}
		return number[next]
	}
	for c := range t {
		switch {
		case c < 0x80: // the state stays 0
		case leads[c-0x80].need == 0:
			t[c] = broken
		default:
			t[c] = add(leads[c-0x80])
		}
		t[c] |= broken << broken
	}
	for i := 0; i < len(after); i++ { // grows
		for c := range t {
			next, state := after[i], uint64(broken)
			if next.step(byte(c)) {
				state = 0
				if next.need > 0 {
					state = add(next)
				}
			}
			t[c] |= state << number[after[i]]
		}
	}
	return t
}()

// skipASCII skips blocks of 32 bytes of ASCII.
func skipASCII(p []byte) []byte {
	p = p[:len(p):len(p)]
	for len(p) >= 32 {
		a := binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:])
		b := binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:])
		if (a|b)&highBits != 0 {
			break
		}
		p = p[32:]
	}
	return p
}

// skipOther skips characters of more than one byte, up to the next ASCII character or to the last 3 bytes. It reports
// false if it meets something else. RFC 3629 §4 in the form of masks, first byte lowest.
func skipOther(p []byte) ([]byte, bool) {
	for len(p) >= 4 {
		x := binary.LittleEndian.Uint32(p)
		switch {
		case x&0x00C0C0F0 == 0x008080E0:
			// E0 80..9F is overlong, ED A0..BF a surrogate.
			if y := x & 0x200F; y == 0 || y == 0x200D {
				return p, false
			}
			p = p[3:]
		case x&0xC0E0 == 0x80C0:
			if x&0x1E == 0 { // C0 and C1 are overlong
				return p, false
			}
			p = p[2:]
		case x&0x80 == 0:
			return p, true
		case x&0xC0C0C0F8 == 0x808080F0:
			// F0 80..8F is overlong; F4 90 and above is beyond U+10FFFF.
			if y := x&7<<2 | x>>12&3; y == 0 || y > 4<<2 {
				return p, false
			}
			p = p[4:]
		default:
			return p, false
		}
	}
	return p, true
}

// validShort is validText for less than 8 bytes.
func validShort(p []byte) bool {
	if len(p) >= 4 {
		if (binary.LittleEndian.Uint32(p)|binary.LittleEndian.Uint32(p[len(p)-4:]))&highBits32 == 0 {
			return true
		}
	}
	for len(p) > 0 {
		if p[0] < 0x80 {
			p = p[1:]
			continue
		}
		t := leads[p[0]-0x80]
		n := int(t.need)
		if n == 0 || n >= len(p) || p[1] < t.lo || p[1] > t.hi {
			return false
		}
		for _, c := range p[2 : n+1] {
			if c&0xC0 != 0x80 {
				return false
			}
		}
		p = p[n+1:]
	}
	return true
}

// unmaskChunk is how much unmaskText unmasks before it reads it again: it is in the first-level cache then, and stores
// have left the store buffer.
const unmaskChunk = 4096

func unmaskText(p []byte, key mask.Key) bool {
	ok := true
	checked := 0 // p up to here is text, and ends with a character
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
		// The last word is taken before anything is stored, and stored after everything.
		last := binary.LittleEndian.Uint64(p[n-8:]) ^ bits.RotateLeft64(wide, -8*(n&3))
		or := last
		q := p[: n-1 : n] // a word at the very end is the last one
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
