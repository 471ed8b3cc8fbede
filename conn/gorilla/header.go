package websocket

import (
	"net/http"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// The names of headers as RFC 6455 and net/http write them.
const (
	keyName        = "Sec-WebSocket-Key"
	versionName    = "Sec-WebSocket-Version"
	protocolName   = "Sec-WebSocket-Protocol"
	extensionsName = "Sec-WebSocket-Extensions"

	httpKey        = "Sec-Websocket-Key"
	httpVersion    = "Sec-Websocket-Version"
	httpProtocol   = "Sec-Websocket-Protocol"
	httpExtensions = "Sec-Websocket-Extensions"
	httpAccept     = "Sec-Websocket-Accept"
)

// Subprotocols returns the subprotocols that a request offers.
func Subprotocols(r *http.Request) []string {
	line := strings.TrimSpace(r.Header.Get(httpProtocol))
	if line == "" {
		return nil
	}
	list := strings.Split(line, ",")
	for i, p := range list {
		list[i] = strings.TrimSpace(p)
	}
	return list
}

// IsWebSocketUpgrade reports whether a request asks for a WebSocket.
func IsWebSocketUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken reports whether the lists in the lines with a name contain a token, in any
// case (RFC 9110 §5.6.1).
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h[name] {
		for e := range strings.SplitSeq(line, ",") {
			if equalFold(strings.Trim(e, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// equalFold compares in any case, in ASCII only.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// extensions returns the extensions in the lines of Sec-WebSocket-Extensions. A line that
// cannot be parsed is skipped.
func extensions(h http.Header) (all []handshake.Extension) {
	for _, line := range h[httpExtensions] {
		if list, err := handshake.ParseExtensions(nil, line); err == nil {
			all = append(all, list...)
		}
	}
	return all
}

// noContextTakeover is what both sides of this package agree to: no context takeover. A
// client offers nothing else, but respects a window size in the answer.
var (
	noContextTakeover = deflate.Config{ServerNoContextTakeover: true, ClientNoContextTakeover: true}
	aloneOffer        = deflate.Config{ServerNoContextTakeover: true, ClientNoContextTakeover: true, BareOffer: true}
)
