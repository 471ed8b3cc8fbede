package handshake

// An Extension is one element of a Sec-WebSocket-Extensions list: a name and its
// parameters, in the order of the header (RFC 6455 §9.1). A client offers alternatives by
// listing a name more than once.
type Extension struct {
	Name   string  // a token
	Params []Param // in the order of the header; nil if there are none
}

// A Param is one parameter of an Extension. Value is "" if the parameter has none. It is
// a token, without the quotes that it may have in the header (RFC 6455 §9.1).
type Param struct {
	Name  string // a token
	Value string // "" if there is none
}

// ParseExtensions appends to dst the extensions of one Sec-WebSocket-Extensions value.
// The list of several header lines is the concatenation of their lists.
//
// For a list that is malformed anywhere it returns dst unchanged and [ErrExtensions]. It
// does the same for a list without any element, and for a quoted value that is not a
// token. Empty elements between others are skipped (RFC 9110 §5.6.1).
//
// It has no limit, and an element takes many times the memory of its bytes in the header.
// For bytes from a peer use [RequestView] and [Response], which have [Limits], or limit
// the length of value.
//
// ParseExtensions reuses the elements between the length and the capacity of dst, with
// their Params. Names and values are new strings, except those of RFC 7692, which are
// constants.
func ParseExtensions[T ~string | ~[]byte](dst []Extension, value T) ([]Extension, error) {
	all, ok := parseExtensions(dst, value)
	if !ok || len(all) == len(dst) {
		return dst, ErrExtensions
	}
	return all, nil
}

// parseExtensions accepts an empty list, because another line may have elements.
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

// An extensionCount counts the elements of a list of extensions, over all lines so far.
type extensionCount struct {
	elements, params int
	broken           bool // a line is malformed
}

// countExtensions adds one value to the count and keeps none of it. It returns how many
// bytes it looked at.
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

// over returns the error of a list that is longer than its limits, or nil.
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
// White space is allowed between any two of these (RFC 6455 §4.3, with the implied *LWS
// of RFC 2616). A quoted string is one unit; a comma in it ends no element.
type list[T text] struct {
	rest    T
	name    T // of the extension after next, of the parameter after param
	value   T // of the parameter: without its quotes, escapes still in it
	escapes bool
	started bool
	broken  bool
	looked  int
}

// next moves to the next element. The parameters of the element before must have been
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

// param moves to the next parameter of this element.
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

// text returns the value as a new string, with its escapes resolved.
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

// intern returns string(v). For the words of RFC 7692, the only extension in wide use, it
// allocates nothing.
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
