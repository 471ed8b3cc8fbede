package frame

import (
	"encoding/binary"
	"strconv"

	"github.com/seed-7f57ff33/tickwire/utf8"
)

// CloseCode is the status code of a Close frame (RFC 6455 §7.4).
type CloseCode uint16

// The registered codes. CodeNoStatus, CodeAbnormal and CodeTLSHandshake are never sent:
// they report what did not arrive (RFC 6455 §7.4.1).
const (
	CodeNormal             CloseCode = 1000
	CodeGoingAway          CloseCode = 1001
	CodeProtocolError      CloseCode = 1002
	CodeUnsupportedData    CloseCode = 1003
	CodeNoStatus           CloseCode = 1005
	CodeAbnormal           CloseCode = 1006
	CodeInvalidPayload     CloseCode = 1007
	CodePolicyViolation    CloseCode = 1008
	CodeMessageTooBig      CloseCode = 1009
	CodeMandatoryExtension CloseCode = 1010
	CodeInternalError      CloseCode = 1011
	CodeServiceRestart     CloseCode = 1012
	CodeTryAgainLater      CloseCode = 1013
	CodeBadGateway         CloseCode = 1014
	CodeTLSHandshake       CloseCode = 1015
)

// MaxCloseReason is the length in bytes of the longest reason that fits a Close frame
// (RFC 6455 §5.5).
const MaxCloseReason = MaxControlPayload - 2

// Receivable reports whether a peer may send c: 1000–1003, 1007–1014 and 3000–4999 (RFC
// 6455 §7.4, IANA registry).
func (c CloseCode) Receivable() bool {
	switch {
	case c >= 1000 && c <= 1003, c >= 1007 && c <= 1014, c >= 3000 && c <= 4999:
		return true
	}
	return false
}

// Sendable reports whether an endpoint of this role may send c. It is Receivable, except
// that only a client may send 1010 (RFC 6455 §7.4.1).
func (c CloseCode) Sendable(role Role) bool {
	return c.Receivable() && (c != CodeMandatoryExtension || role == Client)
}

// String returns the number and, for a registered code, its meaning.
func (c CloseCode) String() string {
	s := strconv.Itoa(int(c))
	if name := closeNames[c]; name != "" {
		return s + " (" + name + ")"
	}
	return s
}

var closeNames = map[CloseCode]string{
	CodeNormal:             "normal closure",
	CodeGoingAway:          "going away",
	CodeProtocolError:      "protocol error",
	CodeUnsupportedData:    "unsupported data",
	CodeNoStatus:           "no status received",
	CodeAbnormal:           "abnormal closure",
	CodeInvalidPayload:     "invalid payload data",
	CodePolicyViolation:    "policy violation",
	CodeMessageTooBig:      "message too big",
	CodeMandatoryExtension: "mandatory extension",
	CodeInternalError:      "internal error",
	CodeServiceRestart:     "service restart",
	CodeTryAgainLater:      "try again later",
	CodeBadGateway:         "bad gateway",
	CodeTLSHandshake:       "TLS handshake",
}

// AppendClose appends the body of a Close frame to dst. CodeNoStatus with an empty reason
// appends the empty body.
//
// On an error dst is unchanged. ErrCloseCodeUnsendable: role must not send code.
// ErrCloseReasonTooLong: reason is longer than MaxCloseReason. ErrCloseReasonNotUTF8:
// reason is not UTF-8.
func AppendClose(dst []byte, role Role, code CloseCode, reason string) ([]byte, error) {
	if code == CodeNoStatus && reason == "" {
		return dst, nil
	}
	switch {
	case !code.Sendable(role):
		return dst, ErrCloseCodeUnsendable
	case len(reason) > MaxCloseReason:
		return dst, ErrCloseReasonTooLong
	case !utf8.ValidString(reason):
		return dst, ErrCloseReasonNotUTF8
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...), nil
}

// ParseClose splits the body of a Close frame into code and reason. An empty body gives
// CodeNoStatus (RFC 6455 §7.1.5). reason is a view into body. For a body that no peer may
// send, err is the rule that it breaks. A [Decoder] refuses such a frame earlier.
func ParseClose(body []byte) (code CloseCode, reason []byte, err error) {
	if len(body) == 0 {
		return CodeNoStatus, nil, nil
	}
	if len(body) == 1 {
		return 0, nil, ErrCloseBodyLength
	}
	code, reason = CloseCode(binary.BigEndian.Uint16(body)), body[2:len(body):len(body)]
	switch {
	case len(body) > MaxControlPayload:
		return 0, nil, ErrControlTooLong
	case !code.Receivable():
		return 0, nil, ErrCloseCode
	case !utf8.Valid(reason):
		return 0, nil, ErrInvalidUTF8
	}
	return code, reason, nil
}
