package frame

import "math"

// The limits that hold while a field of Options is 0, in bytes or frames.
const (
	DefaultMaxMessage           = 16 << 20
	DefaultMaxFrame             = 16 << 20
	DefaultMaxFragments         = 131072
	DefaultMaxControlPerMessage = 65536

	// HardMaxMessage is the limit in bytes for messages and frames if their field is
	// negative. Only a larger positive field raises it.
	HardMaxMessage = 1 << 30
)

// Options are the limits and the relaxed rules of a receiver. With the zero value every
// rule and every default limit holds.
type Options struct {
	// MaxMessage is the largest message in bytes, all its fragments together. The header
	// that exceeds it is refused with ErrMessageTooLarge. 0 means DefaultMaxMessage, a
	// negative value HardMaxMessage.
	MaxMessage int64
	// MaxFrame is the largest payload of one data frame in bytes. A longer frame is
	// refused with ErrFrameTooLarge. 0 means that only MaxMessage holds; if that is 0
	// too, it means DefaultMaxFrame. A negative value means HardMaxMessage.
	MaxFrame int64
	// MaxFragments is the largest number of frames in one message, empty ones included.
	// One more is refused with ErrTooManyFragments. 0 means DefaultMaxFragments, a
	// negative value no limit.
	MaxFragments int
	// MaxControlPerMessage is the largest number of control frames between the fragments
	// of one message. One more is refused with ErrTooManyControls. 0 means
	// DefaultMaxControlPerMessage, a negative value no limit.
	MaxControlPerMessage int
	// Compression says that permessage-deflate was negotiated. RSV1 is then legal on the
	// first frame of a message (RFC 7692 §6). Such a message is delivered compressed, and
	// its text is not checked as UTF-8.
	Compression bool
	// AllowNonMinimal accepts a length in a longer form than it needs, which RFC 6455
	// §5.2 forbids (R10). Decoder.NonMinimal counts such lengths.
	AllowNonMinimal bool
	// SkipUTF8 delivers text messages without the check of RFC 6455 §8.1 (R31–R33). Close
	// reasons are always checked. The check of 200 B of ASCII took 2.4 of 17 ns a frame
	// on a Zen 3 with AVX2. The command: go test -run '^$' -bench
	// 'Decode/client/200/ascii/.*/(utf8|skip)' ./frame
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

// frameLimit returns the most bytes that a data frame may have. If only MaxMessage is set
// there is no limit for frames. The error then names MaxMessage, the field to raise.
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
