// Package utf8 checks RFC 3629 text, whole or in pieces.
package utf8

import (
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// Valid reports whether p is valid UTF-8.
func Valid(p []byte) bool { return utf8.Valid(p) }

// ValidString is Valid for a string.
func ValidString(s string) bool { return utf8.ValidString(s) }

// Unmask removes the mask from p in place and reports whether the result is a valid whole text. All of p is unmasked either way.
func Unmask(p []byte, key mask.Key) bool {
	mask.XOR(p, key)
	return Valid(p)
}

// Validator checks a text that comes in pieces. The zero value is ready.
type Validator struct {
	lo, hi byte // range of the next continuation byte
	need   uint8
}

// Push takes the next piece. It returns the index in p of the first byte that no valid text can have there, or -1.
func (v *Validator) Push(p []byte) int {
	for i, c := range p {
		if v.need > 0 {
			if c < v.lo || c > v.hi {
				return i
			}
			v.lo, v.hi = 0x80, 0xBF
			v.need--
			continue
		}
		v.lo, v.hi = 0x80, 0xBF
		switch {
		case c < 0x80:
		case c >= 0xC2 && c <= 0xDF:
			v.need = 1
		case c == 0xE0:
			v.need, v.lo = 2, 0xA0
		case c == 0xED:
			v.need, v.hi = 2, 0x9F
		case c >= 0xE1 && c <= 0xEF:
			v.need = 2
		case c == 0xF0:
			v.need, v.lo = 3, 0x90
		case c >= 0xF1 && c <= 0xF3:
			v.need = 3
		case c == 0xF4:
			v.need, v.hi = 3, 0x8F
		default:
			return i
		}
	}
	return -1
}

// Unmask removes the mask from p in place and takes it as the next piece. It returns the key for the octet that follows p
// and what Push would return. All of p is unmasked either way.
func (v *Validator) Unmask(p []byte, key mask.Key) (mask.Key, int) {
	key = mask.XOR(p, key)
	return key, v.Push(p)
}

// Done reports whether the text may end here, and makes the Validator ready for the next text.
func (v *Validator) Done() bool {
	ok := v.need == 0
	*v = Validator{}
	return ok
}
