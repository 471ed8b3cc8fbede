package utf8

import (
	"github.com/seed-7f57ff33/tickwire/mask"
)

// Validator checks a text that comes in pieces, split anywhere. The zero value is ready
// for the first piece. The split changes neither the result nor the place of the first
// error. It is not safe for concurrent use.
//
// After an error the result of further calls is unspecified until Done or Reset.
type Validator struct {
	tail tail
}

const (
	// locateStep is the size in bytes of the steps in which an invalid piece is searched
	// for its first error. The last step is read byte by byte.
	locateStep = 1024
	// scalarPiece is the largest piece in bytes that is read byte by byte. For it,
	// finding the cut and calling a kernel would cost more.
	scalarPiece = 4
)

// Push checks the next piece. It returns the index in p of the first byte that no valid
// text can have there, or -1. An unfinished character at the end of p is not an error;
// Done reports it.
func (v *Validator) Push(p []byte) int {
	if sanitize {
		checked(p)
	}
	if len(p) <= scalarPiece {
		return v.tail.push(p)
	}
	head := 0
	for ; v.tail.need > 0; head++ { // at most 3 times
		if !v.tail.step(p[head]) {
			return head
		}
	}
	end := len(p) - unfinished(p[len(p)-3], p[len(p)-2], p[len(p)-1])
	if end > head && !valid(&p[head], end-head) {
		return head + locate(p[head:])
	}
	if i := v.tail.push(p[end:]); i >= 0 {
		return end + i
	}
	return -1
}

// Unmask unmasks p in place and checks the result as the next piece. next is the key for
// the octet after p. index is what Push would return. All of p is unmasked, valid or not.
func (v *Validator) Unmask(p []byte, key mask.Key) (next mask.Key, index int) {
	if sanitize {
		unmasked(p)
	}
	next = key.Rotate(len(p))
	if len(p) <= scalarPiece {
		unmaskBytes(p, key)
		return next, v.tail.push(p)
	}
	head := int(v.tail.need)
	if head > 0 {
		// An invalid byte stops the check, not the unmasking.
		unmaskBytes(p[:head], key)
		key = key.Rotate(head)
		for i, c := range p[:head] {
			if !v.tail.step(c) {
				mask.XOR(p[head:], key)
				return next, i
			}
		}
	}
	n := len(p)
	last := next.Rotate(-3)
	end := n - unfinished(p[n-3]^byte(last), p[n-2]^byte(last>>8), p[n-1]^byte(last>>16))
	if end <= head { // only the rest of one character and the beginning of another
		unmaskBytes(p[head:], key)
		end = head
	} else {
		ok := unmask(&p[head], end-head, key)
		unmaskBytes(p[end:], key.Rotate(end-head))
		if !ok {
			return next, head + locate(p[head:])
		}
	}
	if i := v.tail.push(p[end:]); i >= 0 {
		return next, end + i
	}
	return next, -1
}

// Done reports whether the text may end here: after no unfinished character. It prepares
// the Validator for the next text.
func (v *Validator) Done() bool {
	ok := v.tail.need == 0
	v.tail = tail{}
	return ok
}

// Reset prepares the Validator for the next text.
func (v *Validator) Reset() { v.tail = tail{} }

// unfinished returns how many of the last three bytes of a piece, a, b and c, begin a
// character that continues after them. For invalid bytes the result has no meaning, but
// the tail checks all bytes that are cut off.
func unfinished(a, b, c byte) int {
	switch {
	case c < 0x80:
		return 0
	case c >= 0xC0:
		return 1
	case b >= 0xE0:
		return 2
	case a >= 0xF0:
		return 3
	}
	return 0
}

// locate returns the index of the first byte of p that no valid text can have there. p
// must begin at a character and have such a byte.
func locate(p []byte) int {
	done := 0
	for len(p)-done > locateStep {
		end := boundary(p, done+locateStep)
		if !valid(&p[done], end-done) {
			break
		}
		done = end
	}
	var t tail
	return done + t.push(p[done:])
}

// A tail is the state of an unfinished character: how many bytes are missing, and the
// bounds of the next one (RFC 3629 §4). The bounds have a meaning only while need is not
// 0.
type tail struct {
	lo, hi byte
	need   uint8
}

// step takes one byte and reports whether a valid text may have it there.
func (t *tail) step(c byte) bool {
	if t.need > 0 {
		if c < t.lo || c > t.hi {
			return false
		}
		t.lo, t.hi = 0x80, 0xBF
		t.need--
		return true
	}
	if c < 0x80 {
		return true
	}
	*t = leads[c-0x80]
	return t.need > 0
}

// push takes all of p, byte by byte, and returns the index of the first byte that step
// refuses, or -1.
func (t *tail) push(p []byte) int {
	for i, c := range p {
		if !t.step(c) {
			return i
		}
	}
	return -1
}

// leads tells what must follow each byte from 0x80 up. need is 0 for bytes that begin no
// character.
var leads = func() (t [128]tail) {
	for c := 0xC2; c <= 0xF4; c++ {
		next := tail{lo: 0x80, hi: 0xBF, need: 1}
		switch {
		case c == 0xE0: // less is overlong
			next.lo, next.need = 0xA0, 2
		case c == 0xED: // more is a surrogate
			next.hi, next.need = 0x9F, 2
		case c >= 0xF0:
			next.need = 3
			if c == 0xF0 { // less is overlong
				next.lo = 0x90
			}
			if c == 0xF4 { // more is beyond U+10FFFF
				next.hi = 0x8F
			}
		case c >= 0xE0:
			next.need = 2
		}
		t[c-0x80] = next
	}
	return t
}()

// unmaskBytes unmasks a few bytes, one by one.
func unmaskBytes(p []byte, key mask.Key) {
	for i := range p {
		p[i] ^= byte(key)
		key = key.Rotate(1)
	}
}
