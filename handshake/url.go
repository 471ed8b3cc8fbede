package handshake

import (
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A URL is the address of a WebSocket server (RFC 6455 §3), split into the parts that
// dialing, TLS and the request need.
type URL struct {
	Secure bool   // wss
	Name   string // host name in lower case, or address without brackets, with its zone; for dialing and for the certificate
	Port   uint16 // never 0
	Target string // path and query, ready for the request line: it begins with '/', and is ASCII

	// User is the userinfo, or nil. It never goes into the request line, only into
	// [URL.Authorization].
	User *url.Userinfo
}

// ParseURL parses a ws or wss URL. An error matches [ErrURL]. Errors are another scheme,
// a fragment (even an empty one), and an invalid host, port, path or userinfo. Bytes
// outside ASCII in path and query are percent-encoded. A host name outside ASCII does not
// change; the caller must encode it before making a request.
func ParseURL(s string) (*URL, error) {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '\\' {
			return nil, badURL("a space, a control character or a backslash")
		}
	}
	if strings.Contains(s, "#") {
		return nil, badURL("a fragment")
	}
	p, err := url.Parse(s)
	if err != nil {
		return nil, badURL(URLFault(err))
	}
	u := &URL{User: p.User}
	switch p.Scheme {
	case "ws":
		u.Port = 80
	case "wss":
		u.Port, u.Secure = 443, true
	default:
		return nil, badURL("the scheme is not ws or wss")
	}
	if p.Opaque != "" || p.Host == "" {
		return nil, badURL("no host")
	}
	raw := authority(s)
	if at := strings.Count(raw, "@"); at > 1 {
		return nil, badURL("the userinfo")
	}
	if err := u.setHost(p, raw[strings.IndexByte(raw, '@')+1:]); err != nil {
		return nil, err
	}
	if u.User != nil {
		if err := checkUser(u.User); err != nil {
			return nil, err
		}
	}
	u.Target = escape(p.EscapedPath())
	if u.Target == "" {
		u.Target = "/"
	}
	if p.RawQuery != "" || p.ForceQuery {
		u.Target += "?" + escape(p.RawQuery)
	}
	if u.Target[0] != '/' || !all(u.Target, classTarget) {
		return nil, badURL("the path")
	}
	return u, nil
}

// URLFault returns what package net/url found wrong with a URL, without any part of the
// URL. An error of net/url quotes the URL. The quoted port or escape can be part of a
// password with a slash or a percent sign.
func URLFault(err error) string {
	var parse *url.Error
	if errors.As(err, &parse) {
		err = parse.Err
	}
	s := err.Error()
	if from, to := strings.IndexByte(s, '"'), strings.LastIndexByte(s, '"'); from < to {
		s = strings.TrimSpace(s[:from]) + s[to+1:]
	}
	return s
}

// authority returns the part between "://" and the path.
func authority(s string) string {
	_, s, _ = strings.Cut(s, "://")
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		s = s[:i]
	}
	return s
}

func (u *URL) setHost(p *url.URL, raw string) error {
	u.Name = strings.ToLower(p.Hostname())
	if port := p.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return badURL("the port")
		}
		u.Port = uint16(n)
	}
	if strings.HasPrefix(raw, "[") {
		a, err := netip.ParseAddr(p.Hostname())
		if err != nil || !a.Is6() || !all(a.Zone(), classToken) {
			return badURL("the address")
		}
		u.Name = p.Hostname()
		return nil
	}
	if u.Name == "" || len(u.Name) > 255 || strings.Contains(raw, "%") {
		return badURL("the host")
	}
	for i := 0; i < len(u.Name); i++ {
		c := u.Name[i]
		if c < 0x80 && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return badURL("the host")
		}
	}
	if u.Name[0] == '.' || strings.Contains(u.Name, "..") {
		return badURL("the host")
	}
	return nil
}

// checkUser refuses what Basic authentication cannot carry (RFC 7617 §2).
func checkUser(user *url.Userinfo) error {
	password, _ := user.Password()
	if strings.Contains(user.Username(), ":") {
		return badURL("a colon in the user name")
	}
	for _, c := range []byte(user.Username() + password) {
		if c < ' ' || c == 0x7f {
			return badURL("a control character in the userinfo")
		}
	}
	return nil
}

func badURL(what string) error { return ErrURL.named(what) }

// escape percent-encodes bytes outside ASCII.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if s[i] < 0x80 {
			continue
		}
		b := []byte(s[:i])
		for ; i < len(s); i++ {
			if c := s[i]; c < 0x80 {
				b = append(b, c)
			} else {
				b = append(b, '%', hex[c>>4], hex[c&15])
			}
		}
		return string(b)
	}
	return s
}

// Address returns the address to dial: name and port, with an IPv6 address in brackets.
func (u *URL) Address() string { return net.JoinHostPort(u.Name, strconv.Itoa(int(u.Port))) }

// Host returns the value of the Host header (RFC 6455 §4.1). It has the port unless that
// is the scheme's default. It has no zone, which has no meaning for the peer (RFC 6874
// §4).
func (u *URL) Host() string {
	h := u.Name
	if strings.Contains(h, ":") {
		h, _, _ = strings.Cut(h, "%")
		h = "[" + h + "]"
	}
	if u.Secure && u.Port == 443 || !u.Secure && u.Port == 80 {
		return h
	}
	return h + ":" + strconv.Itoa(int(u.Port))
}

// Authorization returns the userinfo as the value of an Authorization header (RFC 7617),
// or "" if there is none.
func (u *URL) Authorization() string {
	if u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
}

// String returns the URL without its userinfo, so that it can be logged.
func (u *URL) String() string {
	scheme := "ws://"
	if u.Secure {
		scheme = "wss://"
	}
	h := u.Host()
	if _, zone, ok := strings.Cut(u.Name, "%"); ok {
		h = strings.Replace(h, "]", "%25"+strings.ReplaceAll(zone, "%", "%25")+"]", 1)
	}
	return scheme + h + u.Target
}

// SameOrigin reports whether scheme, name and port of u and v are equal. Only then may
// credentials for one URL go to the other.
func (u *URL) SameOrigin(v *URL) bool {
	return u.Secure == v.Secure && u.Name == v.Name && u.Port == v.Port
}

// Resolve returns the URL of a redirect's Location, relative to u (RFC 9110 §10.2.2).
// http and https count as ws and wss. A fragment is dropped. So is userinfo, because a
// redirect does not choose the credentials. An error matches [ErrRedirect]: the redirect
// leads from wss to ws, or to an invalid URL.
func (u *URL) Resolve(location string) (*URL, error) {
	location, _, _ = strings.Cut(location, "#")
	base, err := url.Parse(u.String())
	if err != nil {
		return nil, ErrRedirect.named("the URL")
	}
	ref, err := base.Parse(location)
	if err != nil || location == "" {
		return nil, ErrRedirect.named("the Location")
	}
	switch ref.User = nil; ref.Scheme {
	case "http":
		ref.Scheme = "ws"
	case "https":
		ref.Scheme = "wss"
	}
	v, err := ParseURL(ref.String())
	if err != nil {
		return nil, ErrRedirect.named("the Location")
	}
	if u.Secure && !v.Secure {
		return nil, ErrRedirect.named("from wss to ws")
	}
	return v, nil
}
