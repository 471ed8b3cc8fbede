package conn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// parseURL is handshake.ParseURL with the name in the form that DNS, certificates and the
// Host header have it in.
func parseURL(s string) (*handshake.URL, error) {
	u, err := handshake.ParseURL(s)
	if err != nil {
		return nil, err
	}
	return u, asciiName(u)
}

// asciiName encodes a name outside ASCII (RFC 5891, as RFC 3987 §3.1 asks of a URI).
func asciiName(u *handshake.URL) error {
	if isASCII(u.Name) {
		return nil
	}
	name := toASCII(u.Name)
	v, err := handshake.ParseURL("ws://" + name)
	if err != nil || !isASCII(v.Name) {
		return &handshake.Error{Rule: handshake.ErrURL.Rule, Section: handshake.ErrURL.Section, Name: "the host is not an internationalized name"}
	}
	u.Name = v.Name
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// toASCII is the Lookup profile of IDNA 2008 with the mapping of UTS 46, which net/http
// carries inside: the address that its Transport would dial has the name encoded. It
// comes back as it was if it cannot be.
func toASCII(name string) string {
	ascii, stop := name, errors.New("the address is known")
	t := http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(address); err == nil {
			ascii = host
		}
		return nil, stop
	}}
	_, _ = t.RoundTrip(&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: name, Path: "/"}, Header: http.Header{}})
	return ascii
}

// httpURL is the URL with the scheme that cookie jars and the proxy rules of the
// environment know, without userinfo.
func httpURL(u *handshake.URL) *url.URL {
	h := &url.URL{Scheme: "http", Host: u.Host()}
	if u.Secure {
		h.Scheme = "https"
	}
	if strings.Contains(u.Name, "%") { // a zone tells interfaces apart, for NO_PROXY too
		h.Host = net.JoinHostPort(u.Name, strconv.Itoa(int(u.Port)))
	}
	path, query, _ := strings.Cut(u.Target, "?")
	h.RawQuery = query
	h.Path, _ = url.PathUnescape(path)
	h.RawPath = path
	return h
}
