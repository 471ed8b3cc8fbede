// Package utf8 checks RFC 3629 text, whole or in pieces, and removes RFC 6455 masks in
// the same pass over memory.
//
// RFC 6455 §8.1 wants the text of a message to be UTF-8 as a whole: a character may
// straddle frames and reads, and the connection fails at the first byte that no text can
// have there. [Valid], [ValidString] and [Unmask] take whole texts, a [Validator] takes
// pieces.
//
// Surrogates, overlong forms and everything above U+10FFFF are refused; U+0000 and
// non-characters are text. Nothing here allocates.
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

// Unmask removes the mask from p in place, and reports whether the result is valid UTF-8
// as a whole (RFC 6455 §5.3). The first octet of p was masked with the lowest byte of
// key. All of p is unmasked in either case.
func Unmask(p []byte, key mask.Key) bool {
	if sanitize {
		unmasked(p)
	}
	return unmask(unsafe.SliceData(p), len(p), key)
}
