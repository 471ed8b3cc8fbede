package handshake

import (
	"net/http"
	"slices"
	"strings"
)

// A Request is a client's opening handshake, for [AppendRequest].
type Request struct {
	Host         string      // the Host header: name or address, and the port if it is not the scheme's ([URL.Host])
	Target       string      // path and query ([URL.Target])
	Key          Key         // fresh for each attempt: NewKey
	Origin       string      // "" sends none
	Subprotocols []string    // offered, the preferred one first
	Extensions   []Extension // offered, the preferred one first

	// Header has more header lines, sent after these. AppendRequest refuses headers that
	// the handshake itself sets with [ErrReserved]. To send another Host, set the field
	// Host.
	Header http.Header
}

// reserved has the headers that Header cannot set, in lower case, and what sets them.
var reserved = []struct{ name, by string }{
	{"connection", "it is part of every handshake"},
	{"content-length", "an opening handshake has no body"},
	{"expect", "an opening handshake has no body"},
	{"host", "set Host"},
	{"proxy-authorization", "credentials for a proxy belong into the proxy's URL; through package conn, Dialer.ProxyHeader"},
	{"proxy-connection", "it is part of every handshake"},
	{"sec-websocket-accept", "it is the server's answer to the key"},
	{"sec-websocket-extensions", "set Extensions; through package conn, Config.Deflate"},
	{"sec-websocket-key", "a fresh one is made for each attempt"},
	{"sec-websocket-protocol", "set Subprotocols"},
	{"sec-websocket-version", "it is always 13"},
	{"te", "an opening handshake has no body"},
	{"trailer", "an opening handshake has no body"},
	{"transfer-encoding", "an opening handshake has no body"},
	{"upgrade", "it is always websocket"},
}

// checkReserved returns ErrReserved for a reserved header. Name has the header and what
// sets it.
func checkReserved(name string) error {
	for _, r := range reserved {
		if equalFold(name, r.name) {
			return ErrReserved.named(name + ": " + r.by)
		}
	}
	return nil
}

// AppendRequest appends the client's opening handshake (RFC 6455 §4.1). It checks
// everything from the caller, so no value can end its line or start another. If something
// is invalid it returns dst unchanged and an error that matches [ErrValue] or
// [ErrReserved].
//
// Header lines are sorted by name, so that equal requests are equal bytes.
func AppendRequest(dst []byte, r *Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return dst, err
	}
	b := append(dst, "GET "...)
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "...)
	b = append(b, r.Key[:]...)
	b = append(b, "\r\nSec-WebSocket-Version: "+Version+"\r\n"...)
	if r.Origin != "" {
		b = appendLine(b, "Origin", r.Origin)
	}
	if len(r.Subprotocols) > 0 {
		b = append(b, "Sec-WebSocket-Protocol: "...)
		for i, p := range r.Subprotocols {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(b, p...)
		}
		b = append(b, "\r\n"...)
	}
	if len(r.Extensions) > 0 {
		b = append(b, "Sec-WebSocket-Extensions: "...)
		var err error
		if b, err = AppendExtensions(b, r.Extensions); err != nil {
			return dst, err
		}
		b = append(b, "\r\n"...)
	}
	b = appendHeader(b, r.Header)
	return append(b, "\r\n"...), nil
}

func (r *Request) check() error {
	if !validHost(r.Host) || strings.HasSuffix(r.Host, ":") {
		return ErrValue.named("Host")
	}
	if r.Target == "" || r.Target[0] != '/' || !all(r.Target, classTarget) {
		return ErrValue.named("request target")
	}
	if !validKey(r.Key[:]) {
		return ErrValue.named("Sec-WebSocket-Key")
	}
	if !validValue(r.Origin) || r.Origin != "" && hasKey(r.Header, "Origin") {
		return ErrValue.named("Origin")
	}
	for i, p := range r.Subprotocols {
		if !isToken(p) || slices.Contains(r.Subprotocols[:i], p) { // unique: RFC 6455 §4.1
			return ErrValue.named("Sec-WebSocket-Protocol")
		}
	}
	return checkHeader(r.Header)
}

func hasKey(h http.Header, name string) bool {
	for k := range h {
		if equalFold(k, name) {
			return true
		}
	}
	return false
}

// checkHeader refuses invalid names and values, and names that the handshake itself sets.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if err := checkLine(name, values, true); err != nil {
			return err
		}
	}
	return nil
}

func checkLine(name string, values []string, mayBeReserved bool) error {
	if !isToken(name) {
		return ErrValue.named(printable(name))
	}
	if mayBeReserved {
		if err := checkReserved(name); err != nil {
			return err
		}
	}
	for _, v := range values {
		if !validValue(v) {
			return ErrValue.named(name)
		}
	}
	return nil
}

// validValue reports whether v is a valid field value: no control character, and no space
// at either end, which would not arrive.
func validValue(v string) bool { return all(v, classValue) && len(trim(v)) == len(v) }

// printable returns an invalid name in a form that is safe in an error text.
func printable(name string) string {
	const most = 40
	if len(name) > most {
		name = name[:most]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, name)
}

// appendHeader appends the lines, sorted by name.
func appendHeader(b []byte, h http.Header) []byte {
	if len(h) == 0 {
		return b
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = appendLine(b, name, v)
		}
	}
	return b
}

func appendLine(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}
