package handshake

// An Extension is one element of a Sec-WebSocket-Extensions list: a name and its
// parameters, in the order of the header (RFC 6455 §9.1). A list may contain a name more
// than once: so a client offers alternatives.
type Extension struct {
	Name   string  // a token
	Params []Param // in the order of the header; nil if there are none
}

// A Param is one parameter of an Extension. Value is "" if the parameter has none. A
// quoted value has no quotes here, and is a token like every other (RFC 6455 §9.1).
type Param struct {
	Name  string // a token
	Value string // "" if there is none
}

// ParseExtensions appends to dst the extensions of one Sec-WebSocket-Extensions value.
// The list of several header lines is the concatenation of their lists.
//
// It is strict. For a list that is malformed anywhere it returns dst unchanged and
// [ErrExtensions]. The same goes for a list without any element, and for a quoted value
// that is not a token without its quotes. Empty elements between others are skipped (RFC
// 9110 §5.6.1).
//
// It has no limit, and an element takes many times the memory of its bytes in the header.
// For what a peer sent, use [RequestView] and [Response], which have [Limits], or limit
// the length of value.
//
// Elements of dst after its length are reused, with their Params. Names and values are
// new strings, except those of RFC 7692, which are constants.
func ParseExtensions[T ~string | ~[]byte](dst []Extension, value T) ([]Extension, error) {
	all, ok := parseExtensions(dst, value)
	if !ok || len(all) == len(dst) {
		return dst, ErrExtensions
	}
	return all, nil
}

// parseExtensions lets a list be empty: another line may have elements.
func parseExtensions[T text](dst []Extension, value T) ([]Extension, bool) {
	n := len(dst)
	l := list[T]{rest: value}
	for l.next() {
		if len(dst) < cap(dst) {
			dst = dst[:len(dst)+1]
		} else {
			dst = append(dst, Extension{})
		}
		e := &dst[len(dst)-1]
		e.Name, e.Params = intern(l.name), e.Params[:0]
		for l.param() {
			e.Params = append(e.Params, Param{Name: intern(l.name), Value: l.text()})
		}
	}
	if l.broken {
		return dst[:n], false
	}
	return dst, true
}

// AppendExtensions appends the list as the value of a header. If a name or a value in it
// is not a token, it returns dst unchanged and [ErrValue].
func AppendExtensions(dst []byte, list []Extension) ([]byte, error) {
	n := len(dst)
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if !isToken(e.Name) {
			return dst[:n], ErrValue.named("Sec-WebSocket-Extensions")
		}
		dst = append(dst, e.Name...)
		for _, p := range e.Params {
			if !isToken(p.Name) || p.Value != "" && !isToken(p.Value) {
				return dst[:n], ErrValue.named("Sec-WebSocket-Extensions")
			}
			dst = append(append(dst, "; "...), p.Name...)
			if p.Value != "" {
				dst = append(append(dst, '='), p.Value...)
			}
		}
	}
	return dst, nil
}

// An extensionCount is what a list of extensions would cost, over all lines so far.
type extensionCount struct {
	elements, params int
	broken           bool // a line is malformed
}

// countExtensions adds one value to the count without keeping any of it, and returns how
// many bytes were looked at.
func countExtensions[T text](c *extensionCount, value T) (looked int) {
	l := list[T]{rest: value}
	for l.next() {
		for l.param() {
			c.params++
		}
		c.elements++
	}
	c.broken = c.broken || l.broken
	return l.looked
}

// over is the error of a list that is longer than its limits, nil for others.
func (c *extensionCount) over(l Limits) *Error {
	switch {
	case c.elements > l.Extensions:
		return ErrTooManyExtensions.passed(l.Extensions)
	case c.params > l.Params:
		return ErrTooManyParams.passed(l.Params)
	}
	return nil
}

// A list walks over one Sec-WebSocket-Extensions value, each byte once:
//
//	extension-list = 1#extension
//	extension      = token *( ";" param )
//	param          = token [ "=" ( token | quoted-string ) ]
//
// with white space between any two of these (RFC 6455 §4.3 takes over RFC 2616's implied
// *LWS). A quoted string is one unit: what looks like an element within is none.
type list[T text] struct {
	rest    T
	name    T // of the extension after next, of the parameter after param
	value   T // of the parameter: without its quotes, escapes still in it
	escapes bool
	started bool
	broken  bool
	looked  int
}

// next goes on to the next element. The parameters of the one before must have been
// taken.
func (l *list[T]) next() bool {
	if l.broken {
		return false
	}
	for {
		l.spaces()
		if len(l.rest) == 0 {
			return false
		}
		if l.rest[0] == ',' {
			l.skip(1)
			l.started = false
			continue
		}
		break
	}
	if l.started { // two elements without a comma
		l.broken = true
		return false
	}
	l.started = true
	return l.token(&l.name)
}

// param goes on to the next parameter of this element.
func (l *list[T]) param() bool {
	l.value, l.escapes = l.rest[:0], false
	l.spaces()
	if l.broken || len(l.rest) == 0 || l.rest[0] != ';' {
		return false
	}
	l.skip(1)
	l.spaces()
	if !l.token(&l.name) {
		return false
	}
	l.spaces()
	if len(l.rest) == 0 || l.rest[0] != '=' {
		return true
	}
	l.skip(1)
	l.spaces()
	if len(l.rest) > 0 && l.rest[0] == '"' {
		return l.quoted()
	}
	return l.token(&l.value)
}

func (l *list[T]) spaces() {
	n := 0
	for n < len(l.rest) && (l.rest[n] == ' ' || l.rest[n] == '\t') {
		n++
	}
	l.skip(n)
}

func (l *list[T]) token(into *T) bool {
	n := 0
	for n < len(l.rest) && class[l.rest[n]]&classToken != 0 {
		n++
	}
	if *into = l.rest[:n]; n == 0 {
		l.broken = true
		return false
	}
	l.skip(n)
	return true
}

// quoted takes a quoted-string whose content is a token. It fails at the first byte that
// no token can contain, escaped or not, and at a missing end.
func (l *list[T]) quoted() bool {
	n := 1
	for n < len(l.rest) && l.rest[n] != '"' {
		if l.rest[n] == '\\' {
			l.escapes = true
			n++
		}
		if n == len(l.rest) || class[l.rest[n]]&classToken == 0 {
			l.broken = true
			l.skip(n)
			return false
		}
		n++
	}
	if n == len(l.rest) || n == 1 {
		l.broken = true
		l.skip(n)
		return false
	}
	l.value = l.rest[1:n]
	l.skip(n + 1)
	return true
}

// text is the value as a string of its own, escapes resolved.
func (l *list[T]) text() string {
	if !l.escapes {
		return intern(l.value)
	}
	b := make([]byte, 0, len(l.value))
	for i := 0; i < len(l.value); i++ {
		if l.value[i] == '\\' {
			i++
		}
		b = append(b, l.value[i])
	}
	return string(b)
}

func (l *list[T]) skip(n int) {
	l.rest = l.rest[n:]
	l.looked += n
}

// intern is string(v) without an allocation for the words of RFC 7692, the only extension
// in wide use.
func intern[T text](v T) string {
	switch len(v) {
	case 0:
		return ""
	case 1, 2:
		for _, w := range [...]string{"8", "9", "10", "11", "12", "13", "14", "15"} {
			if equal(v, w) {
				return w
			}
		}
	default:
		for _, w := range [...]string{"permessage-deflate", "client_max_window_bits", "server_max_window_bits",
			"client_no_context_takeover", "server_no_context_takeover"} {
			if equal(v, w) {
				return w
			}
		}
	}
	return string(v)
}
