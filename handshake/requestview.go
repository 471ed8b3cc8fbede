package handshake

import (
	"bytes"
	"iter"
	"slices"
)

// A RequestView is a client's opening handshake as the server received it. Its methods
// return views into the bytes of the last call of [ParseRequest]. They are valid until
// those bytes change. The zero value is ready for a request. Set Limits before the first
// call. Reset makes it ready for the next request.
type RequestView struct {
	Limits Limits // for ParseRequest

	scan   scanner
	ready  bool
	head   []byte // once complete
	fields span   // the header lines

	target, host, origin, key    span
	protocol, extension          seen // the first line of each, and the number of lines
	hosts, origins, keys         int
	versions                     int
	upgrade, connection, version bool
	absolute, body, badProtocol  bool
	protocols                    int // elements
	extensions                   extensionCount

	value any // of SetValue
}

// seen records a header that may have several lines.
type seen struct {
	first span
	lines int
}

// Reset makes r ready for another request and keeps the limits.
func (r *RequestView) Reset() { *r = RequestView{Limits: r.Limits} }

// ParseRequest parses a client's opening handshake. b has all the bytes received so far.
// n is the length of the head, or 0 if more bytes are needed. Call it then with the same
// r and a longer b, which may have moved. Bytes after the head are frames that the client
// sent early.
//
// The error is an [*Error] for [AppendError]. The request line and the form of each line
// are checked as they come. The headers are checked together at the blank line, in the
// order of RFC 6455 §4.2.1. All of that section is checked except the origin, which is
// the caller's policy.
func ParseRequest(r *RequestView, b []byte) (n int, err error) {
	if !r.ready {
		r.scan.limits = r.Limits.withDefaults()
		r.scan.begin()
		r.ready = true
	}
	for r.scan.state != atHead {
		if !r.scan.next(b) {
			if r.scan.err != nil {
				return 0, r.scan.err
			}
			return 0, nil
		}
		switch {
		case r.scan.state == atHead:
			r.fields.to = r.scan.pos
		case r.scan.first:
			if e := r.requestLine(b); e != nil {
				return 0, r.refuse(e)
			}
			r.fields.from = r.scan.pos
		default:
			r.header(b)
		}
	}
	r.head = b[:r.scan.pos:r.scan.pos]
	if e := r.verdict(); e != nil {
		return 0, r.refuse(e)
	}
	return r.scan.pos, nil
}

func (r *RequestView) refuse(e *Error) error {
	c := *e
	r.scan.err, r.scan.state = &c, scanFailed
	return r.scan.err
}

// requestLine parses GET SP target SP HTTP/1.1 (RFC 9112 §3). In absolute-form the
// authority replaces Host (§3.2.2).
func (r *RequestView) requestLine(b []byte) *Error {
	v := r.scan.cur.value
	l := b[v.from:v.to]
	i := 0
	for i < len(l) && class[l[i]]&classToken != 0 {
		i++
	}
	j := i + 1
	for j < len(l) && l[j] != ' ' {
		j++
	}
	r.scan.looked += j
	if i == 0 || i >= len(l) || l[i] != ' ' || j >= len(l) {
		return ErrRequestLine
	}
	major, minor, ok := httpVersion(l[j+1:])
	switch {
	case !ok:
		return ErrRequestLine
	case major != 1 || minor == 0:
		return ErrRequestVersion
	case !equal(l[:i], "GET"):
		return ErrMethod
	}
	r.target = span{v.from + i + 1, v.from + j}
	t := l[i+1 : j]
	if len(t) == 0 || !all(t, classTarget) {
		return ErrTarget
	}
	if t[0] == '/' {
		return nil
	}
	host, path, ok := splitAbsolute(t)
	if !ok {
		return ErrTarget
	}
	r.absolute = true
	at := r.target.from + len(t) - len(path) - len(host)
	r.host = span{at, at + len(host)}
	r.target.from = at + len(host)
	return nil
}

// splitAbsolute cuts an http or ws URI into its authority and the rest, which is empty or
// begins with '/' or '?'.
func splitAbsolute(t []byte) (host, rest []byte, ok bool) {
	i := 0
	for i < len(t) && t[i] != ':' {
		i++
	}
	scheme := t[:i]
	if len(t) < i+3 || !equal(t[i:i+3], "://") ||
		!equalFold(scheme, "http") && !equalFold(scheme, "https") && !equalFold(scheme, "ws") && !equalFold(scheme, "wss") {
		return nil, nil, false
	}
	t = t[i+3:]
	for i = 0; i < len(t) && t[i] != '/' && t[i] != '?'; i++ {
	}
	return t[:i], t[i:], validHost(t[:i])
}

// httpVersion reads HTTP/d.d, RFC 9112 §2.3.
func httpVersion[T text](v T) (major, minor int, ok bool) {
	if len(v) != 8 || !equal(v[:5], "HTTP/") || v[6] != '.' || !digits(v[5:6]) || !digits(v[7:8]) {
		return 0, 0, false
	}
	return int(v[5] - '0'), int(v[7] - '0'), true
}

// header records what a line says. It checks nothing, so the order of the lines does not
// matter.
func (r *RequestView) header(b []byte) {
	l := &r.scan.cur
	name, value := b[l.name.from:l.name.to], b[l.value.from:l.value.to]
	r.scan.looked += len(value)
	switch len(name) {
	case len("Host"):
		if equalFold(name, "Host") {
			r.hosts++
			if !r.absolute {
				r.host = l.value
			} else if !validHost(value) {
				r.hosts += 2
			}
		}
	case len("Origin"):
		if equalFold(name, "Origin") {
			r.origins++
			r.origin = l.value
		}
	case len("Upgrade"):
		if equalFold(name, "Upgrade") {
			r.upgrade = r.upgrade || hasToken(value, "websocket")
		}
	case len("Connection"):
		if equalFold(name, "Connection") {
			r.connection = r.connection || hasToken(value, "upgrade")
		}
	case len("Content-Length"):
		if equalFold(name, "Content-Length") {
			r.body = r.body || !equal(value, "0")
		}
	case len("Sec-WebSocket-Key"): // and Transfer-Encoding
		if equalFold(name, "Sec-WebSocket-Key") {
			r.keys++
			r.key = l.value
		} else if equalFold(name, "Transfer-Encoding") {
			r.body = true
		}
	case len("Sec-WebSocket-Version"):
		if equalFold(name, "Sec-WebSocket-Version") {
			r.versions++
			r.version = equal(value, Version)
		}
	case len("Sec-WebSocket-Protocol"):
		if equalFold(name, "Sec-WebSocket-Protocol") {
			n, ok := countTokens(value)
			r.protocol.add(l.value)
			r.protocols += n
			r.badProtocol = r.badProtocol || !ok
		}
	case len("Sec-WebSocket-Extensions"):
		if equalFold(name, "Sec-WebSocket-Extensions") {
			r.scan.looked += countExtensions(&r.extensions, value)
			r.extension.add(l.value)
		}
	}
}

func (s *seen) add(v span) {
	if s.lines++; s.lines == 1 {
		s.first = v
	}
}

// countTokens returns the number of elements of a list that are not empty. It returns
// false if an element is not a token; an empty one is not.
func countTokens[T text](list T) (n int, ok bool) {
	ok = true
	for more := true; more; {
		var e T
		e, list, more = element(list)
		ok = ok && isToken(e)
		if len(e) > 0 {
			n++
		}
	}
	return n, ok
}

// verdict checks the whole request, in the order of RFC 6455 §4.2.1.
func (r *RequestView) verdict() *Error {
	switch {
	case r.hosts != 1 || !validHost(r.view(r.host)):
		return ErrHost
	case !r.upgrade:
		return ErrNoUpgrade
	case !r.connection:
		return ErrNoConnection
	case r.versions != 1 || !r.version:
		return ErrVersion
	case r.keys != 1 || !validKey(r.view(r.key)):
		return ErrKey
	case r.origins > 1:
		return ErrOrigin
	case r.body:
		return ErrBody
	case r.protocols > r.scan.limits.Subprotocols:
		return ErrTooManyProtocols.passed(r.scan.limits.Subprotocols)
	case r.badProtocol:
		return ErrProtocols
	case r.protocols > 1 && r.repeats():
		return ErrProtocolTwice
	}
	if e := r.extensions.over(r.scan.limits); e != nil {
		return e
	}
	if r.extensions.broken || r.extension.lines > 0 && r.extensions.elements == 0 {
		return ErrExtensions
	}
	return nil
}

// repeats reports whether a subprotocol is offered twice. It sorts the names, so the time
// is not quadratic with a high limit. Up to the default limit it allocates nothing.
func (r *RequestView) repeats() bool {
	var few [DefaultSubprotocols][]byte
	names := few[:0]
	if r.protocols > len(few) {
		names = make([][]byte, 0, r.protocols)
	}
	for name := range r.Subprotocols() {
		names = append(names, name)
	}
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if bytes.Equal(names[i-1], names[i]) {
			return true
		}
	}
	return false
}

func (r *RequestView) view(s span) []byte { return r.head[s.from:s.to:s.to] }

// SetValue attaches a value for code that handles the request later, such as the user
// that a check found.
func (r *RequestView) SetValue(v any) { r.value = v }

// Value returns the value that SetValue attached, or nil.
func (r *RequestView) Value() any { return r.value }

// Target returns path and query as they came, not unescaped. For an absolute URI it is
// the part after the authority, which may be empty.
func (r *RequestView) Target() []byte { return r.view(r.target) }

// Path returns Target without the query.
func (r *RequestView) Path() []byte {
	t := r.Target()
	for i := range t {
		if t[i] == '?' {
			return t[:i:i]
		}
	}
	return t
}

// Query returns the part of Target after the '?'.
func (r *RequestView) Query() []byte {
	t := r.Target()
	if p := len(r.Path()); p < len(t) {
		return t[p+1:]
	}
	return nil
}

// Host returns the authority that the client asked for, with the port if it named one.
// The client may send any name. The caller must check whether it is a name of this server
// (see [CheckOrigin]).
func (r *RequestView) Host() []byte { return r.view(r.host) }

// Key returns the client's nonce as it came: 24 bytes of base64.
func (r *RequestView) Key() []byte { return r.view(r.key) }

// Origin returns the Origin header. It returns false if there is none, as in requests of
// clients that are not browsers.
func (r *RequestView) Origin() ([]byte, bool) { return r.view(r.origin), r.origins > 0 }

// Header returns the value of the first line with the name, in any letter case, or nil.
func (r *RequestView) Header(name string) []byte {
	for f := r.fields.from; ; {
		var n, v []byte
		if n, v, f = r.field(f); n == nil {
			return nil
		}
		if equalFold(n, name) {
			return v
		}
	}
}

// Fields iterates over all header lines in their order: names as they came, values
// trimmed.
func (r *RequestView) Fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for f := r.fields.from; ; {
			var n, v []byte
			if n, v, f = r.field(f); n == nil || !yield(n, v) {
				return
			}
		}
	}
}

// field returns the header line at an offset of the head, and the offset of the next
// line. name is nil at the blank line.
func (r *RequestView) field(at int) (name, value []byte, next int) {
	if at >= r.fields.to {
		return nil, nil, at
	}
	name, value, next = fieldAt(r.head, at)
	r.scan.looked += next - at
	return name, value, next
}

// Subprotocols iterates over the offered subprotocols of all lines, in the client's order
// of preference (RFC 6455 §4.1).
func (r *RequestView) Subprotocols() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) { r.eachProtocol(yield) }
}

func (r *RequestView) eachProtocol(yield func([]byte) bool) {
	if r.protocol.lines == 1 {
		eachToken(r.view(r.protocol.first), yield)
		return
	}
	if r.protocol.lines > 1 {
		for n, v := range r.Fields() {
			if equalFold(n, "Sec-WebSocket-Protocol") && !eachToken(v, yield) {
				return
			}
		}
	}
}

func eachToken(list []byte, yield func([]byte) bool) bool {
	for more := true; more; {
		var e []byte
		if e, list, more = element(list); !yield(e[:len(e):len(e)]) {
			return false
		}
	}
	return true
}

// Subprotocol returns the first name in own that the client offered, or "" (RFC 6455
// §4.2.2). own is the server's list, preferred first. Names are compared byte for byte.
func (r *RequestView) Subprotocol(own []string) string {
	best := len(own)
	for offered := range r.Subprotocols() {
		for i := range best {
			if equal(offered, own[i]) {
				best = i
				break
			}
		}
	}
	if best == len(own) {
		return ""
	}
	return own[best]
}

// Offered reports whether the client offered the subprotocol.
func (r *RequestView) Offered(subprotocol string) bool {
	for offered := range r.Subprotocols() {
		if equal(offered, subprotocol) {
			return true
		}
	}
	return false
}

// Extensions appends the offered extensions of all lines to dst, in their order. It
// reuses the memory of dst as [ParseExtensions] does.
func (r *RequestView) Extensions(dst []Extension) []Extension {
	dst = slices.Grow(dst, r.extensions.elements)
	if r.extension.lines == 1 {
		dst, _ = parseExtensions(dst, r.view(r.extension.first))
		return dst
	}
	if r.extension.lines > 1 {
		for n, v := range r.Fields() {
			if equalFold(n, "Sec-WebSocket-Extensions") {
				dst, _ = parseExtensions(dst, v)
			}
		}
	}
	return dst
}
