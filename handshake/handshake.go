// Package handshake parses and writes the opening handshake of WebSocket (RFC 6455 §4),
// for both sides. It opens no sockets, starts no goroutines and reads no clock. The
// caller moves all bytes.
//
// A client fills a [Request] and writes it with [AppendRequest]. It passes the bytes of
// the answer to [ParseResponse] until that returns the length of the head. A server
// passes what it receives to [ParseRequest] until that fills a [RequestView]. It answers
// with [AppendResponse] or [AppendError].
//
// Call a parser again with all the bytes received so far until it returns a length. It
// looks at each byte once. However the bytes are split, the result, the error and the
// offset are the same.
//
// The parsers are strict. They refuse bare CR or LF, NUL, folded lines, spaces before a
// colon, and a second line of a header that may occur once. They repair nothing.
// [Relaxed] turns some of these rules off for a server's answer, and [ParseConnect] does
// for a proxy's. [Limits] bound lengths and counts, by default too. A request that
// net/http has read, as for conn's Upgrade, may have been repaired there.
//
// Bytes after the blank line belong to the frame reader. The returned n is the index of
// the first of them.
//
// # Headers that are empty or repeated
//
// The lines of one name form one value, joined by commas (RFC 9110 §5.3). These headers
// are lists:
//
//   - Connection and Upgrade, in both directions: the list must contain the required
//     word. Empty elements are skipped, and words may repeat (RFC 9110 §5.6.1, §7.6.1,
//     §7.8).
//   - Sec-WebSocket-Extensions of a request: empty elements are skipped (RFC 9110
//     §5.6.1). A name may repeat, because a client offers alternatives in this way
//     (RFC 6455 §9.1). A list without any element is refused, as §9.1 demands.
//   - Sec-WebSocket-Extensions of an answer: the same, except that a list without
//     any element counts as absent. Whether an extension may be answered twice is a
//     rule of that extension.
//   - Sec-WebSocket-Protocol of a request: elements are tokens, none empty, none twice
//     (RFC 6455 §4.1, which is stricter than RFC 9110). So an empty line is refused, with
//     or without other lines.
//
// The other headers have one value. In a request they are Host, Origin, Sec-WebSocket-Key
// and Sec-WebSocket-Version. In an answer they are Sec-WebSocket-Accept and
// Sec-WebSocket-Protocol. A second line, or a list, is refused even if both values are
// equal (RFC 6455 §4.2.1, §11.3; RFC 6454 §7.3). An empty value is refused, with one
// exception: an empty Sec-WebSocket-Protocol in an answer counts as absent.
//
// An empty extension list or subprotocol in an answer is accepted, because some devices
// always send both headers. RFC 6455 §11.3.4 does not allow an empty value, but its
// meaning is clear: nothing was chosen. In a request it is refused, because a status can
// tell the client what is wrong.
package handshake

// Version is the version of the protocol that this package speaks. It is the value of
// Sec-WebSocket-Version.
const Version = "13"

// Limits bound what a peer may send in its handshake. A field of 0 means its default.
type Limits struct {
	Bytes   int // bytes of the whole head, interim answers included; default 16 KiB
	Line    int // bytes of one line with its CRLF; default: as Bytes
	Lines   int // header lines of one head; default 128
	Interim int // 1xx answers before the final one; default 16

	// Elements of lists, over all lines of a head, without empty ones. Each element costs
	// memory of its own.
	Extensions   int // elements of Sec-WebSocket-Extensions; default 16
	Params       int // parameters of all these elements together; default 32
	Subprotocols int // elements of a request's Sec-WebSocket-Protocol; default 32
}

// Relaxed turns off rules about the form of an answer's head. Use it for a server that
// breaks them and cannot be replaced. The meaning of the answer is checked as always, and
// all limits hold.
type Relaxed struct {
	// BareLF accepts LF alone as the end of a line (RFC 9112 §2.2).
	BareLF bool
	// OddLines skips invalid header lines: no colon, a name that is not a token, or a
	// control character. Of a folded line only the first line counts. White space before
	// a colon is cut off (RFC 9112 §5.1). An invalid line of Sec-WebSocket-… is still
	// refused, so that nothing that was agreed is missed.
	OddLines bool
}

// The defaults of Limits. DefaultBytes is in bytes, the others are counts.
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
