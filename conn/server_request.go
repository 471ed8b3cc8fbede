package conn

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/textproto"
	"net/url"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// requestOf makes of a view what net/http would have made of the request, with strings of
// its own. The error is a *handshake.Error.
func requestOf(v *handshake.RequestView, nc net.Conn) (*http.Request, error) {
	target := string(v.Target())
	if target == "" || target[0] == '?' { // of an absolute URI that ends in its authority (RFC 9112 §3.2.1)
		target = "/" + target
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, handshake.ErrTarget
	}
	h := http.Header{}
	for name, value := range v.Fields() {
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		h[key] = append(h[key], string(value))
	}
	delete(h, "Host")
	r := &http.Request{Method: http.MethodGet, URL: u, RequestURI: target, Host: string(v.Host()), Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
	ctx := context.Background()
	if a := nc.RemoteAddr(); a != nil {
		r.RemoteAddr = a.String()
	}
	if a := nc.LocalAddr(); a != nil {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, a)
	}
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		r.TLS = &state
	}
	return r.WithContext(ctx), nil
}
