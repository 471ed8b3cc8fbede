// Package handshake is the opening handshake of WebSocket (RFC 6455 §4) as bytes and values, for both sides. It opens no
// sockets, starts no goroutines and reads no clock: the bytes come from the caller and go to the caller.
//
// A client fills a [Request], appends it with [AppendRequest], and gives what comes back to [ParseResponse] until that
// says where the head ends. A server gives what comes in to [ParseRequest] until it has a [RequestView], and appends
// [AppendResponse] or [AppendError].
//
// Both parsers are resumable at every byte and look at each byte once: call again with the same value and more bytes.
// Any split of the same bytes ends in the same result, the same error and the same offset. They are strict: bare CR or LF,
// NUL, folded lines, spaces before a colon, a header that may stand once and stands twice are refused, never repaired.
// Lengths are bounded by [Limits], whose defaults are on. What follows the blank line belongs to the frame reader: the
// returned n tells where it begins.
package handshake

// Version is the version of the protocol that this package speaks, the value of Sec-WebSocket-Version.
const Version = "13"

// Limits bound what a peer may send before it is judged. In each field 0 stands for the default.
type Limits struct {
	Bytes   int // the whole head, interim answers included; default 16 KiB
	Line    int // one line with its CRLF; default: as Bytes
	Lines   int // header lines of one head; default 128
	Interim int // 1xx answers before the final one; default 16
}

// The defaults of Limits.
const (
	DefaultBytes   = 16 << 10
	DefaultLines   = 128
	DefaultInterim = 16
)

// withDefaults returns the limits with 0 replaced.
func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	if l.Line <= 0 || l.Line > l.Bytes {
		l.Line = l.Bytes
	}
	if l.Lines <= 0 {
		l.Lines = DefaultLines
	}
	if l.Interim <= 0 {
		l.Interim = DefaultInterim
	}
	return l
}
