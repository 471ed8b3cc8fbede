package deflate

import (
	"errors"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// What can be wrong with a compressed message. Each is a rule of its own for errors.Is
// and carries the close code that tells the peer. Text that is not UTF-8 is
// [frame.ErrInvalidUTF8] or [frame.ErrTruncatedUTF8].
var (
	ErrBlockType    = rule("reserved block type", "RFC 1951 §3.2.3", "R85", frame.CodeInvalidPayload)
	ErrStoredLength = rule("stored length and its complement differ", "RFC 1951 §3.2.4", "R85", frame.CodeInvalidPayload)
	ErrCodeLengths  = rule("code lengths of no prefix code", "RFC 1951 §3.2.7", "R85", frame.CodeInvalidPayload)
	ErrSymbol       = rule("symbol without a meaning", "RFC 1951 §3.2.5", "R85", frame.CodeInvalidPayload)
	ErrDistance     = rule("distance past the window", "RFC 7692 §7.1.2", "R76", frame.CodeInvalidPayload)
	// ErrMessageEnd says that the message does not end where its last block ends: it was
	// cut, or has bytes after it.
	ErrMessageEnd = rule("compressed message not ended by its last block", "RFC 7692 §7.2.2", "R83", frame.CodeInvalidPayload)
	// ErrTooLarge is the limit on the inflated size. It matches frame.ErrMessageTooLarge.
	ErrTooLarge = rule(frame.ErrMessageTooLarge.Rule, "RFC 7692 §7.2.2", "R87", frame.CodeMessageTooBig)
	ErrRatio    = rule("inflated size over the ratio limit", "RFC 7692 §7.2.2", "R87", frame.CodeMessageTooBig)
)

// passed returns the error of a rule that is a limit, with its value and the field of
// InflateOptions.
func passed(rule *frame.ProtocolError, limit int, field string) *frame.ProtocolError {
	e := *rule
	e.Limit, e.Field = uint64(limit), "deflate.InflateOptions."+field
	return &e
}

// Misuse of the API.
var (
	errWindowBits = errors.New("deflate: window bits outside 8 to 15")
	errHistory    = errors.New("deflate: history outside 0 to 32768")
	errLevel      = errors.New("deflate: level outside -3 to 9")
)

func rule(name, section, requirement string, code frame.CloseCode) *frame.ProtocolError {
	return &frame.ProtocolError{Rule: name, Section: section, Requirement: requirement, Code: code}
}
