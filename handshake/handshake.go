// Package handshake parses and writes the opening handshake of WebSocket (RFC 6455 §4),
// for both sides. It opens no sockets, starts no goroutines and reads no clock: bytes
// come from the caller and go to the caller.
//
// A client fills a [Request], writes it with [AppendRequest], and passes the answer to
// [ParseResponse] until that returns the length of the head. A server passes what it
// receives to [ParseRequest] until it has a [RequestView], and answers with
// [AppendResponse] or [AppendError].
//
// Both parsers can be called with the bytes received so far, again and again, and look at
// each byte once. However the bytes are split, the result, the error and the offset are
// the same. The parsers are strict. They refuse, and never repair, bare CR or LF, NUL,
// folded lines, spaces before a colon, and a second line of a header that may occur once.
// [Relaxed] turns some of that off for a server's answer, and [ParseConnect] for a
// proxy's. [Limits], on by default, bound lengths and counts. Bytes after the blank line
// belong to the frame reader; the returned n says where they begin. A request that
// net/http has read, as for conn's Upgrade, may have been repaired there.
//
// # Headers that are empty or repeated
//
// The lines of one name form one value, joined by commas (RFC 9110 §5.3). These headers
// are lists:
//
//   - Connection and Upgrade, in both directions, need only contain the required
//     word. Empty elements are skipped, and words may repeat (RFC 9110 §5.6.1,
//     §7.6.1, §7.8).
//   - Sec-WebSocket-Extensions of a request: empty elements are skipped (RFC 9110
//     §5.6.1). A name may repeat, because a client offers alternatives in this way
//     (RFC 6455 §9.1). A list without any element is refused, as §9.1 demands.
//   - Sec-WebSocket-Extensions of an answer: the same, except that a list without
//     any element counts as absent. Whether an extension may be answered twice is a
//     rule of that extension.
//   - Sec-WebSocket-Protocol of a request: elements are tokens, none empty, none
//     twice (RFC 6455 §4.1, which is stricter than RFC 9110). So an empty line is
//     refused, alone or beside another.
//
// All others have one value: Host, Origin, Sec-WebSocket-Key and Sec-WebSocket-Version of
// a request, Sec-WebSocket-Accept and Sec-WebSocket-Protocol of an answer. A second line,
// or a list, is refused even if both values are equal (RFC 6455 §4.2.1, §11.3; RFC 6454
// §7.3). An empty value is refused, with one exception: an empty Sec-WebSocket-Protocol
// in an answer counts as absent.
//
// The two exceptions for answers serve devices that always send both headers. RFC 6455
// §11.3.4 does not allow that, but it is not ambiguous: nothing was chosen. A client in
// error can be told with a status; a server cannot.
package handshake

// Version is the version of the protocol that this package speaks, the value of
// Sec-WebSocket-Version.
const Version = "13"

// Limits bound what a peer may send before it is judged. A field of 0 means its default.
type Limits struct {
	Bytes   int // the whole head, interim answers included; default 16 KiB
	Line    int // one line with its CRLF; default: as Bytes
	Lines   int // header lines of one head; default 128
	Interim int // 1xx answers before the final one; default 16

	// Elements of lists, over all lines of a head, empty ones not counted: each of these
	// costs memory of its own.
	Extensions   int // elements of Sec-WebSocket-Extensions; default 16
	Params       int // parameters of all these elements together; default 32
	Subprotocols int // elements of a request's Sec-WebSocket-Protocol; default 32
}

// Relaxed turns off rules about the form of an answer's head, for servers that break them
// and still have to be used. What the answer says is checked as always, and all limits
// hold.
type Relaxed struct {
	// BareLF takes LF alone for the end of a line (RFC 9112 §2.2).
	BareLF bool
	// OddLines skips header lines that are not valid: no colon, a name that is not a
	// token, a control character, or folded (the first line alone counts). White space
	// before a colon is cut off (RFC 9112 §5.1). An odd line of Sec-WebSocket-… is still
	// refused: nothing that was agreed may be missed.
	OddLines bool
}

// The defaults of Limits.
const (
	DefaultBytes        = 16 << 10
	DefaultLines        = 128
	DefaultInterim      = 16
	DefaultExtensions   = 16
	DefaultParams       = 32
	DefaultSubprotocols = 32
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
	if l.Extensions <= 0 {
		l.Extensions = DefaultExtensions
	}
	if l.Params <= 0 {
		l.Params = DefaultParams
	}
	if l.Subprotocols <= 0 {
		l.Subprotocols = DefaultSubprotocols
	}
	return l
}
