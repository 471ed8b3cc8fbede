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
// [Relaxed] gives up some of that for a server's answer, and [ParseConnect] for a proxy's.
// Lengths and counts are bounded by [Limits], whose defaults are on. What follows the blank line belongs to the frame
// reader: the returned n tells where it begins. What another parser has read before, as net/http has for conn's Upgrade,
// may have been repaired there.
//
// # Headers that are empty, or say a thing twice
//
// The lines of one name are one value, joined by commas (RFC 9110 §5.3). These headers are lists:
//
//   - Connection and Upgrade, in both directions, only have to name what they must. Empty elements are passed over and
//     words may repeat (RFC 9110 §5.6.1, §7.6.1, §7.8).
//   - Sec-WebSocket-Extensions of a request: empty elements are passed over (RFC 9110 §5.6.1). A name may repeat: a client
//     offers alternatives that way (RFC 6455 §9.1). A list without any element is refused, as §9.1 demands.
//   - Sec-WebSocket-Extensions of an answer: the same, but without any element it is as if absent. Whether an extension may
//     be answered twice is that extension's own rule.
//   - Sec-WebSocket-Protocol of a request: elements are tokens, none empty, none twice (RFC 6455 §4.1, which is stricter
//     than RFC 9110). So an empty line is refused too, alone or beside another.
//
// The others have one value: Host, Origin, Sec-WebSocket-Key and Sec-WebSocket-Version of a request, Sec-WebSocket-Accept
// and Sec-WebSocket-Protocol of an answer. A second line or a list is refused, also where both say the same (RFC 6455
// §4.2.1, §11.3; RFC 6454 §7.3). An empty value is no value and is refused, with one exception: an empty
// Sec-WebSocket-Protocol in an answer is as if absent.
//
// The exceptions in answers are for devices that send both headers whatever they chose. RFC 6455 §11.3.4 does not allow
// it, but nothing is in doubt: nothing was chosen. A client in error can be told so, with a status; a server cannot.
package handshake

// Version is the version of the protocol that this package speaks, the value of Sec-WebSocket-Version.
const Version = "13"

// Limits bound what a peer may send before it is judged. In each field 0 stands for the default.
type Limits struct {
	Bytes   int // the whole head, interim answers included; default 16 KiB
	Line    int // one line with its CRLF; default: as Bytes
	Lines   int // header lines of one head; default 128
	Interim int // 1xx answers before the final one; default 16

	// Elements of lists, over all lines of a head, empty ones not counted: each of these costs memory of its own.
	Extensions   int // elements of Sec-WebSocket-Extensions; default 16
	Params       int // parameters of all these elements together; default 32
	Subprotocols int // elements of a request's Sec-WebSocket-Protocol; default 32
}

// Relaxed gives up rules about the form of an answer's head, for servers that one has to
// live with. What an answer says is judged as ever, and so are all limits.
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
