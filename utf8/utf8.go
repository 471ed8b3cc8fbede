// Package utf8 checks that text is valid UTF-8 (RFC 3629), whole or in pieces. It can
// unmask a payload in the same pass (RFC 6455 §5.3).
//
// The text of a message must be valid UTF-8 as a whole (RFC 6455 §8.1). A character may
// be split between frames and reads. [Valid], [ValidString] and [Unmask] take whole
// texts. A [Validator] takes pieces, and finds the first byte that no valid text can have
// there.
//
// Surrogates, overlong forms and everything above U+10FFFF are invalid. U+0000 and
// non-characters are valid. No function here allocates.
package utf8

import (
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// Valid reports whether p is valid UTF-8 as a whole. An unfinished character at the end
// is not valid.
func Valid(p []byte) bool {
	if sanitize {
		checked(p)
	}
	return valid(unsafe.SliceData(p), len(p))
}

// ValidString is Valid for a string.
func ValidString(s string) bool {
	if sanitize {
		checked(unsafe.Slice(unsafe.StringData(s), len(s)))
	}
	return valid(unsafe.StringData(s), len(s))
}

// Unmask unmasks p in place (RFC 6455 §5.3), and reports whether the result is valid
// UTF-8 as a whole. The lowest byte of key masks the first octet of p. All of p is
// unmasked, valid or not.
func Unmask(p []byte, key mask.Key) bool {
	if sanitize {
		unmasked(p)
	}
	return unmask(unsafe.SliceData(p), len(p), key)
}
