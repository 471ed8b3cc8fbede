package frame

import (
	"errors"
	"strconv"
)

// ProtocolError reports that the peer broke a rule of the protocol. Compare it by
// errors.Is with the Err… values of this package, one for each rule. The error of a
// [Decoder] also tells where in the stream the rule was broken.
type ProtocolError struct {
	Rule        string    // the rule's name
	Section     string    // the rule's source, such as "RFC 6455 §5.2"
	Requirement string    // the rule's number in this project's list of requirements
	Code        CloseCode // the code that tells the peer (RFC 6455 §7.4.1)
	Offset      uint64    // of the first byte that decides, counted from the first byte of the first frame
	Opcode      Opcode    // of the frame
	Length      uint64    // of the frame's payload in bytes; 0 before the header tells it
	Limit       uint64    // the limit that was exceeded; 0 if the rule is not a limit
	Field       string    // that sets the limit, such as "frame.Options.MaxMessage"; "" if the rule is not a limit
}

// Error returns the rule, section, offset, frame and exceeded limit in one line.
func (e *ProtocolError) Error() string {
	b := append([]byte("frame: "), e.Rule...)
	b = append(append(append(b, " ("...), e.Section...), ") at byte "...)
	b = strconv.AppendUint(b, e.Offset, 10)
	b = append(append(b, " in a "...), e.Opcode.String()...)
	b = append(b, " frame of "...)
	b = strconv.AppendUint(b, e.Length, 10)
	b = append(b, " bytes"...)
	if e.Field != "" {
		b = append(b, ": over the limit of "...)
		b = strconv.AppendUint(b, e.Limit, 10)
		b = append(append(append(b, " ("...), e.Field...), ')')
	}
	return string(b)
}

// Is reports whether target is an error of the same rule.
func (e *ProtocolError) Is(target error) bool {
	t, ok := target.(*ProtocolError)
	return ok && t.Rule == e.Rule
}

// The rules, in the order in which a frame is checked.
var (
	ErrReservedBits           = rule("reserved bits", "RFC 6455 §5.2", "R6", CodeProtocolError)
	ErrReservedOpcode         = rule("reserved opcode", "RFC 6455 §5.2", "R7", CodeProtocolError)
	ErrFragmentedControl      = rule("fragmented control frame", "RFC 6455 §5.5", "R19", CodeProtocolError)
	ErrUnexpectedContinuation = rule("unexpected continuation", "RFC 6455 §5.4", "R13", CodeProtocolError)
	ErrUnfinishedMessage      = rule("unfinished message", "RFC 6455 §5.4", "R14", CodeProtocolError)
	ErrTooManyFragments       = rule("too many fragments", "RFC 6455 §10.4", "R16", CodeMessageTooBig)
	ErrTooManyControls        = rule("too many control frames", "RFC 6455 §10.4", "R15", CodePolicyViolation)
	ErrUnmaskedClientFrame    = rule("unmasked client frame", "RFC 6455 §5.1", "R1", CodeProtocolError)
	ErrMaskedServerFrame      = rule("masked server frame", "RFC 6455 §5.1", "R2", CodeProtocolError)
	ErrControlTooLong         = rule("control frame too long", "RFC 6455 §5.5", "R19", CodeProtocolError)
	ErrCloseBodyLength        = rule("close body of one byte", "RFC 6455 §5.5.1", "R22", CodeProtocolError)
	ErrLengthTopBit           = rule("length top bit", "RFC 6455 §5.2", "R11", CodeProtocolError)
	ErrLengthNotMinimal       = rule("length not minimal", "RFC 6455 §5.2", "R10", CodeProtocolError)
	ErrFrameTooLarge          = rule("frame too large", "RFC 6455 §10.4", "R12", CodeMessageTooBig)
	ErrMessageTooLarge        = rule("message too large", "RFC 6455 §10.4", "R12", CodeMessageTooBig)
	ErrInvalidUTF8            = rule("invalid UTF-8", "RFC 6455 §8.1", "R32", CodeInvalidPayload)
	ErrTruncatedUTF8          = rule("truncated UTF-8", "RFC 6455 §8.1", "R31", CodeInvalidPayload)
	ErrCloseCode              = rule("invalid close code", "RFC 6455 §7.4", "R23", CodeProtocolError)
)

func rule(name, section, requirement string, code CloseCode) *ProtocolError {
	return &ProtocolError{Rule: name, Section: section, Requirement: requirement, Code: code}
}

// The errors of a wrong call. Nothing is queued or written then.
var (
	ErrCloseCodeUnsendable = errors.New("frame: this close code must not be sent (RFC 6455 §7.4.1)")
	ErrCloseReasonTooLong  = errors.New("frame: close reason over 123 bytes (RFC 6455 §5.5)")
	ErrCloseReasonNotUTF8  = errors.New("frame: close reason is not UTF-8 (RFC 6455 §5.5.1)")
	ErrControlPayload      = errors.New("frame: a control frame needs FIN, no RSV1 and at most 125 bytes (RFC 6455 §5.5)")
	ErrOpcode              = errors.New("frame: this method cannot write that opcode (RFC 6455 §5.2)")
)

// verdict is what an octet of a header decides.
type verdict uint8

const (
	accept verdict = iota
	reservedBits
	reservedOpcode
	fragmentedControl
	unexpectedContinuation
	unfinishedMessage
	unmaskedClientFrame
	maskedServerFrame
	controlTooLong
	closeBodyLength
)

var verdictErrors = [...]*ProtocolError{
	reservedBits:           ErrReservedBits,
	reservedOpcode:         ErrReservedOpcode,
	fragmentedControl:      ErrFragmentedControl,
	unexpectedContinuation: ErrUnexpectedContinuation,
	unfinishedMessage:      ErrUnfinishedMessage,
	unmaskedClientFrame:    ErrUnmaskedClientFrame,
	maskedServerFrame:      ErrMaskedServerFrame,
	controlTooLong:         ErrControlTooLong,
	closeBodyLength:        ErrCloseBodyLength,
}

// firstOctet holds the verdict on each first octet, by whether compression is negotiated
// and whether a message is open.
var firstOctet = func() (t [2][2][256]verdict) {
	for b := range 256 {
		for compression := range 2 {
			for open := range 2 {
				t[compression][open][b] = judgeFirst(byte(b), compression == 1, open == 1)
			}
		}
	}
	return t
}()

func judgeFirst(b byte, compression, open bool) verdict {
	op := Opcode(b & 0xF)
	rsv1Allowed := compression && op != Continuation && (!op.IsControl() || op.IsReserved())
	switch {
	case b&(bitRSV2|bitRSV3) != 0, b&bitRSV1 != 0 && !rsv1Allowed:
		return reservedBits
	case op.IsReserved():
		return reservedOpcode
	case op.IsControl() && b&bitFin == 0:
		return fragmentedControl
	case op == Continuation && !open:
		return unexpectedContinuation
	case (op == Text || op == Binary) && open:
		return unfinishedMessage
	}
	return accept
}

// secondOctet holds the verdict on each second octet, by the receiver's role and the
// opcode.
var secondOctet = func() (t [2][16][256]verdict) {
	for b := range 256 {
		for op := range 16 {
			for _, role := range []Role{Client, Server} {
				t[role][op][b] = judgeSecond(byte(b), Opcode(op), role)
			}
		}
	}
	return t
}()

func judgeSecond(b byte, op Opcode, role Role) verdict {
	masked, length := b&bitMask != 0, b&^bitMask
	switch {
	case role == Server && !masked:
		return unmaskedClientFrame
	case role == Client && masked:
		return maskedServerFrame
	case op.IsControl() && length > MaxControlPayload:
		return controlTooLong
	case op == Close && length == 1:
		return closeBodyLength
	}
	return accept
}
