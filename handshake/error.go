package handshake

import (
	"net/http"
	"strconv"
	"time"
)

// An Error reports that an opening handshake was refused, by this side or by the peer.
// With [errors.Is] it matches the Err… variable of its rule, whatever its other fields
// are.
//
// On a client, Status is the server's, or 0 if the answer broke a rule before its status
// was read. Header and Body come from the answer. On a server, Status, Header and Body
// are what [AppendError] sends. A caller's own check can return an Error of its own:
// &Error{Status: 401, Header: …}.
type Error struct {
	Status  int    // of the answer: see above
	Rule    string // what is wrong, one clause
	Section string // the rule's source: "RFC 6455 §4.2.1"
	Name    string // the header, or the part of a URL, that is wrong; "" if none
	Offset  int    // of the first byte that decides, in what the parser was given; only for errors of the head's form

	Header http.Header // of the answer: see above
	Body   []byte      // the beginning of the answer's body; the caller that reads it limits the length

	limit string // the field of Limits that was exceeded; "" for other rules
	value int    // the value of that limit, with the default filled in
}

// Error returns the rule, the header, the limit, the section and the status in one line.
func (e *Error) Error() string {
	s := "handshake: " + e.text()
	if e.Name != "" {
		s += " (" + e.Name + ")"
	}
	if e.limit != "" {
		s += ", Limits." + e.limit + " is " + strconv.Itoa(e.value)
	}
	if e.Section != "" {
		s += ", " + e.Section
	}
	if e.Status != 0 && e.Status != http.StatusSwitchingProtocols {
		s += ": status " + strconv.Itoa(e.Status)
		if t := http.StatusText(e.Status); t != "" {
			s += " " + t
		}
	}
	return s
}

func (e *Error) text() string {
	if e.Rule == "" {
		return "refused"
	}
	return e.Rule
}

// Is reports whether target is an Error of the same rule. The status does not matter. An
// Error without a rule matches nothing.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.Rule != "" && e.Rule == t.Rule
}

// RetryAfter returns how long the answer asks to wait from now: the Retry-After header,
// in seconds or as an HTTP date (RFC 9110 §10.2.3). A date in the past is a wait of 0.
// RetryAfter returns false if there is no valid header.
func (e *Error) RetryAfter(now time.Time) (time.Duration, bool) {
	if len(e.Header["Retry-After"]) == 0 {
		return 0, false
	}
	return ParseRetryAfter(e.Header["Retry-After"][0], now)
}

// ParseRetryAfter parses the value of a Retry-After header, as [Error.RetryAfter] does.
// The longest wait it returns is one year.
func ParseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	const longest = 365 * 24 * time.Hour
	value = trim(value)
	if value == "" {
		return 0, false
	}
	if digits(value) {
		s, err := strconv.ParseUint(value, 10, 64)
		if err != nil || s > uint64(longest/time.Second) {
			return longest, true
		}
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), longest), true
}

func digits[T text](v T) bool {
	for i := 0; i < len(v); i++ {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return len(v) > 0
}

// named returns the rule's error with the header that broke it.
func (e *Error) named(header string) *Error {
	c := *e
	c.Name = header
	return &c
}

// passed returns the rule's error with the limit that was exceeded.
func (e *Error) passed(limit int) *Error {
	c := *e
	c.value = limit
	return &c
}

// answered returns the rule's error with the status and header of an answer.
func (e *Error) answered(status int, h http.Header) *Error {
	c := *e
	c.Status, c.Header = status, h
	return &c
}

// The rules for the form of a head, on both sides.
var (
	ErrHeadTooLarge     = &Error{Status: 431, Rule: "the head is longer than the limit", Section: "RFC 6585 §5", limit: "Bytes"}
	ErrLineTooLong      = &Error{Status: 431, Rule: "a line is longer than the limit", Section: "RFC 6585 §5", limit: "Line"}
	ErrTooManyLines     = &Error{Status: 431, Rule: "there are more header lines than the limit", Section: "RFC 6585 §5", limit: "Lines"}
	ErrBareLF           = &Error{Status: 400, Rule: "a line ends in LF without CR", Section: "RFC 9112 §2.2"}
	ErrBareCR           = &Error{Status: 400, Rule: "CR without LF", Section: "RFC 9112 §2.2"}
	ErrNUL              = &Error{Status: 400, Rule: "NUL in the head", Section: "RFC 9110 §5.5"}
	ErrControl          = &Error{Status: 400, Rule: "a control character in the head", Section: "RFC 9110 §5.5"}
	ErrFolded           = &Error{Status: 400, Rule: "a header line is folded", Section: "RFC 9112 §5.2"}
	ErrSpaceBeforeColon = &Error{Status: 400, Rule: "white space between a header's name and its colon", Section: "RFC 9112 §5.1"}
	ErrFieldName        = &Error{Status: 400, Rule: "a header's name is not a token", Section: "RFC 9110 §5.1"}
)

// The rules that a server checks in a request.
var (
	ErrRequestLine    = &Error{Status: 400, Rule: "the request line is malformed", Section: "RFC 9112 §3"}
	ErrTarget         = &Error{Status: 400, Rule: "the request target is neither a path nor an absolute URI", Section: "RFC 9112 §3.2"}
	ErrMethod         = &Error{Status: 405, Rule: "the method is not GET", Section: "RFC 6455 §4.2.1"}
	ErrRequestVersion = &Error{Status: 505, Rule: "the HTTP version is not 1.1", Section: "RFC 6455 §4.2.1"}
	ErrHost           = &Error{Status: 400, Rule: "there is not exactly one valid Host", Section: "RFC 6455 §4.2.1", Name: "Host"}
	ErrNoUpgrade      = &Error{Status: 426, Rule: "Upgrade does not name websocket", Section: "RFC 6455 §4.2.1", Name: "Upgrade"}
	ErrNoConnection   = &Error{Status: 426, Rule: "Connection does not name Upgrade", Section: "RFC 6455 §4.2.1", Name: "Connection"}
	ErrVersion        = &Error{Status: 426, Rule: "the WebSocket version is not 13", Section: "RFC 6455 §4.4", Name: "Sec-WebSocket-Version"}
	ErrKey            = &Error{Status: 400, Rule: "there is not exactly one key of 16 bytes in base64", Section: "RFC 6455 §4.2.1", Name: "Sec-WebSocket-Key"}
	ErrBody           = &Error{Status: 400, Rule: "the request has a body", Section: "RFC 9112 §6"}
	ErrProtocols      = &Error{Status: 400, Rule: "the subprotocols offered are not a list of tokens", Section: "RFC 6455 §4.1", Name: "Sec-WebSocket-Protocol"}
	ErrProtocolTwice  = &Error{Status: 400, Rule: "a subprotocol is offered twice", Section: "RFC 6455 §4.1", Name: "Sec-WebSocket-Protocol"}
	ErrExtensions     = &Error{Status: 400, Rule: "the list of extensions is malformed", Section: "RFC 6455 §9.1", Name: "Sec-WebSocket-Extensions"}
	ErrOrigin         = &Error{Status: 403, Rule: "the origin is not allowed", Section: "RFC 6455 §10.2", Name: "Origin"}
)

// The limits of lists. Those of extensions hold on both sides.
var (
	ErrTooManyProtocols  = &Error{Status: 431, Rule: "there are more subprotocols than the limit", Section: "RFC 6585 §5", Name: "Sec-WebSocket-Protocol", limit: "Subprotocols"}
	ErrTooManyExtensions = &Error{Status: 431, Rule: "there are more extensions than the limit", Section: "RFC 6585 §5", Name: "Sec-WebSocket-Extensions", limit: "Extensions"}
	ErrTooManyParams     = &Error{Status: 431, Rule: "there are more parameters of extensions than the limit", Section: "RFC 6585 §5", Name: "Sec-WebSocket-Extensions", limit: "Params"}
)

// The rules that a client checks in an answer, besides ErrExtensions.
var (
	ErrStatusLine      = &Error{Rule: "the status line is malformed", Section: "RFC 9112 §4"}
	ErrResponseVersion = &Error{Rule: "the answer is not HTTP/1.1", Section: "RFC 6455 §4.1"}
	ErrStatus          = &Error{Rule: "the server did not switch protocols", Section: "RFC 6455 §4.1"}
	ErrInterim         = &Error{Rule: "there are more interim answers than the limit", Section: "RFC 9110 §15.2", limit: "Interim"}
	ErrUpgrade         = &Error{Rule: "the answer's Upgrade does not name websocket", Section: "RFC 6455 §4.1", Name: "Upgrade"}
	ErrConnection      = &Error{Rule: "the answer's Connection does not name Upgrade", Section: "RFC 6455 §4.1", Name: "Connection"}
	ErrAccept          = &Error{Rule: "the answer does not match the key of this request", Section: "RFC 6455 §4.1", Name: "Sec-WebSocket-Accept"}
	ErrExtension       = &Error{Rule: "the server chose an extension that was not offered", Section: "RFC 6455 §4.1", Name: "Sec-WebSocket-Extensions"}
	ErrProtocol        = &Error{Rule: "the server chose a subprotocol that was not offered", Section: "RFC 6455 §4.1", Name: "Sec-WebSocket-Protocol"}
)

// ErrTunnel reports that a proxy did not open a tunnel: its answer to CONNECT was not a
// 2xx.
var ErrTunnel = &Error{Rule: "the proxy did not open a tunnel", Section: "RFC 9110 §9.3.6"}

// The rules for what the caller supplies. ErrURL and ErrRedirect come from URLs, the
// others from the append functions, which then append nothing.
var (
	ErrRedirect = &Error{Rule: "the redirect cannot be followed", Section: "RFC 6455 §4.1"}
	ErrURL      = &Error{Rule: "the URL cannot be dialed", Section: "RFC 6455 §3"}
	ErrValue    = &Error{Rule: "a value is not allowed in a head", Section: "RFC 9110 §5.5"}
	ErrReserved = &Error{Rule: "a header is set by the handshake itself", Section: "RFC 6455 §4.1"}
)
