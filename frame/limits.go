package frame

import "math"

// The limits that hold where Options leaves a field 0.
const (
	DefaultMaxMessage           = 16 << 20
	DefaultMaxFrame             = 16 << 20
	DefaultMaxFragments         = 131072
	DefaultMaxControlPerMessage = 65536

	// HardMaxMessage bounds messages and frames whose limit is off (a negative field).
	// Only a larger positive field raises it.
	HardMaxMessage = 1 << 30
)

// Options are the limits and the relaxed rules of a receiver. With the zero value every
// rule and every default limit holds.
type Options struct {
	// MaxMessage bounds the bytes of a message, all its fragments together:
	// ErrMessageTooLarge at the header that passes it. 0 means DefaultMaxMessage,
	// negative HardMaxMessage.
	MaxMessage int64
	// MaxFrame bounds the payload of one data frame: ErrFrameTooLarge. 0 means that
	// MaxMessage alone bounds it, and DefaultMaxFrame where that is 0 too; negative means
	// HardMaxMessage.
	MaxFrame int64
	// MaxFragments bounds the frames of one message, empty ones counted:
	// ErrTooManyFragments. 0 means DefaultMaxFragments, negative none.
	MaxFragments int
	// MaxControlPerMessage bounds the control frames between the fragments of one
	// message: ErrTooManyControls. 0 means DefaultMaxControlPerMessage, negative none.
	MaxControlPerMessage int
	// Compression says that permessage-deflate was negotiated: RSV1 is legal on the first
	// frame of a message, which is then delivered compressed and not checked as UTF-8
	// (RFC 7692 §6).
	Compression bool
	// AllowNonMinimal gives up R10: a length in a longer form than it needs is accepted
	// and counted (Decoder.NonMinimal).
	AllowNonMinimal bool
	// SkipUTF8 gives up R31–R33 for messages: text is delivered unchecked. Close reasons
	// are always checked. The check of 200 B of ASCII took 2.4 of 17 ns a frame on a Zen
	// 3 with AVX2: go test -run '^$' -bench 'Decode/client/200/ascii/.*/(utf8|skip)'
	// ./frame
	SkipUTF8 bool
}

// byteLimit turns a limit field into the number of bytes it allows.
func byteLimit(field, byDefault int64) uint64 {
	switch {
	case field == 0:
		field = byDefault
	case field < 0:
		field = HardMaxMessage
	}
	return uint64(min(field, math.MaxInt-MaxHeaderSize))
}

// frameLimit returns the bytes that a data frame may have for itself. Where only
// MaxMessage is set it may have any: then the error is that of MaxMessage, the field to
// raise.
func (o *Options) frameLimit() uint64 {
	if o.MaxFrame == 0 && o.MaxMessage != 0 {
		return math.MaxUint64
	}
	return byteLimit(o.MaxFrame, DefaultMaxFrame)
}

// The names of the limits in errors.
const (
	fieldMaxMessage   = "frame.Options.MaxMessage"
	fieldMaxFrame     = "frame.Options.MaxFrame"
	fieldMaxFragments = "frame.Options.MaxFragments"
	fieldMaxControls  = "frame.Options.MaxControlPerMessage"
)

// countLimit turns a count field into the number it allows.
func countLimit(field, byDefault int) int {
	switch {
	case field == 0:
		return byDefault
	case field < 0:
		return math.MaxInt
	}
	return field
}
