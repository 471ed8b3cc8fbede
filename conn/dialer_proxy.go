package conn

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/net/proxy"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// ErrProxy says that a proxy did not open a tunnel: its answer to CONNECT was not a 2xx.
// The *handshake.Error that matches it has the proxy's status (407 if it wants other
// credentials), its header and the beginning of its body.
var ErrProxy = handshake.ErrTunnel

// ErrProxyURL says that a proxy's URL is not usable, or that the proxy cannot be asked
// for the server's address. Another attempt would not help.
var ErrProxyURL = &handshake.Error{Rule: "the URL of the proxy cannot be used", Section: "RFC 3986 §3"}

func badProxy(what string) error {
	e := *ErrProxyURL
	e.Name = what
	return &e
}

// proxy asks Dialer.Proxy.
func (o *dialAttempt) proxy() (*url.URL, error) {
	if o.d.Proxy == nil {
		return nil, nil
	}
	u := httpURL(o.url)
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	p, err := o.d.Proxy(r.WithContext(o.ctx))
	if err != nil {
		return nil, withoutURL(err)
	}
	return p, nil
}

// withoutURL is an error of Dialer.Proxy without the userinfo of the URLs in its text,
// and without what package url quotes of them.
func withoutURL(err error) error {
	text := err.Error()
	var parse *url.Error
	if errors.As(err, &parse) {
		text = "the URL cannot be used: " + handshake.URLFault(parse)
	} else if clean := hideUserinfo(text); clean == text {
		return err
	} else {
		text = clean
	}
	return &cleanError{text, err}
}

// hideUserinfo replaces everything between "://" and the last "@" before the next white
// space or quote by ***.
func hideUserinfo(s string) string {
	var b strings.Builder
	for {
		head, rest, found := strings.Cut(s, "://")
		b.WriteString(head)
		if !found {
			return b.String()
		}
		b.WriteString("://")
		end := strings.IndexAny(rest, " \t\r\n\"'")
		if end < 0 {
			end = len(rest)
		}
		if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
			b.WriteString("***")
			rest = rest[at:]
		}
		s = rest
	}
}

// cleanError is an error whose text must not be shown. It matches what that matches, but
// does not give it out as a *url.Error.
type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string        { return e.text }
func (e *cleanError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *cleanError) As(target any) bool {
	if _, ok := target.(**url.Error); ok {
		return false
	}
	return errors.As(e.err, target)
}

// tunnel connects to the URL's host through a proxy.
func (o *dialAttempt) tunnel(p *url.URL) (net.Conn, error) {
	o.proxyUser = p.User
	port := p.Port()
	switch p.Scheme {
	case "http":
		port = orDefault(port, "80")
	case "https":
		port = orDefault(port, "443")
	case "socks5", "socks5h":
		port = orDefault(port, "1080")
	default:
		if p.Opaque != "" { // user:password@host without a scheme is parsed as one
			return nil, badProxy("it has no scheme")
		}
		return nil, badProxy("its scheme is " + strconv.Quote(p.Scheme))
	}
	if p.Hostname() == "" {
		return nil, badProxy("it has no host")
	}
	address := net.JoinHostPort(p.Hostname(), port)
	if strings.HasPrefix(p.Scheme, "socks") {
		return o.socks(p, address)
	}
	// Before anything is dialed: what cannot be sent is an error of the caller's.
	request, err := o.connectRequest(p)
	if err != nil {
		return nil, err
	}
	nc, err := o.connect(o.ctx, address)
	if err != nil {
		return nil, err
	}
	if p.Scheme == "https" {
		h := &hearing{Conn: nc}
		t, err := startTLS(o.ctx, h, clientTLSConfig(o.d.ProxyTLSConfig, p.Hostname()))
		if err != nil {
			o.noTLS(err, &h.heard)
			return nil, err
		}
		nc = newTunnelConn(t, o.raw, nil)
	}
	return o.connectMethod(nc, request)
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// connectRequest is what an http or https proxy is asked.
func (o *dialAttempt) connectRequest(p *url.URL) ([]byte, error) {
	authority := o.url.Address()
	if i := strings.IndexByte(authority, '%'); i >= 0 {
		return nil, badProxy("the server's address has a zone, which means nothing to a proxy")
	}
	h := maps.Clone(o.d.ProxyHeader)
	if h == nil {
		h = http.Header{}
	}
	if o.d.ProxyHeaderFunc != nil {
		more, err := o.d.ProxyHeaderFunc(o.ctx, p, authority)
		if err != nil {
			return nil, withoutURL(err)
		}
		putHeader(h, more)
	}
	if p.User != nil && !hasHeader(h, "Proxy-Authorization") {
		password, _ := p.User.Password()
		if strings.Contains(p.User.Username(), ":") {
			return nil, badProxy("the user name has a colon")
		}
		h["Proxy-Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password))}
	}
	return handshake.AppendConnect(nil, authority, h)
}

// connectMethod is the CONNECT method of RFC 9110 §9.3.6. Bytes after the answer's head
// are the server's.
func (o *dialAttempt) connectMethod(nc net.Conn, request []byte) (net.Conn, error) {
	o.connected = request
	answer := handshake.ConnectResponse{Limits: o.d.Limits}
	b, n, err := o.exchange(nc, request, func(b []byte) (int, error) { return handshake.ParseConnect(&answer, b) })
	var refused *handshake.Error
	if errors.As(err, &refused) && n > 0 {
		refused.Body = readBody(nc, b[n:], refused, o.d.maxBody())
	}
	if err != nil {
		return nil, err
	}
	if n < len(b) {
		return newTunnelConn(nc, o.raw, b[n:]), nil
	}
	return nc, nil
}

// socks is RFC 1928, by golang.org/x/net/proxy: the name of the host goes to the proxy as
// it is, and is refused if it is too long, never resolved here.
func (o *dialAttempt) socks(p *url.URL, address string) (net.Conn, error) {
	if strings.Contains(o.url.Name, "%") {
		return nil, badProxy("the server's address has a zone, which means nothing to a proxy")
	}
	var auth *proxy.Auth
	if p.User != nil {
		password, _ := p.User.Password()
		auth = &proxy.Auth{User: p.User.Username(), Password: password}
	}
	var h *socksConn
	forward := dialFunc(func(ctx context.Context, _, address string) (net.Conn, error) {
		nc, err := o.connect(ctx, address)
		if err != nil {
			return nil, err
		}
		h = &socksConn{hearing{Conn: nc}}
		return h, nil
	})
	s, err := proxy.SOCKS5("tcp", address, auth, forward)
	if err != nil {
		return nil, err
	}
	cd, ok := s.(proxy.ContextDialer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if _, err := cd.DialContext(o.ctx, "tcp", o.url.Address()); err != nil {
		// An answer of SOCKS 5 that refuses was understood; one of something else, or
		// none, was not.
		if h != nil && (len(h.heard.b) == 0 || h.heard.b[0] != 5 || ended(err)) {
			o.couldNotRead(h.heard.b, nil)
		}
		return nil, err
	}
	return h.Conn, nil // not what DialContext returns: that hides the socket
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// A tunnelConn is a connection through a proxy that is more than a socket: it begins with
// bytes that came early, or runs over TLS with the proxy, and is closed without waiting
// for that.
type tunnelConn struct {
	net.Conn
	raw   net.Conn
	early []byte
	here  atomic.Int32 // len(early), for Unread
}

func newTunnelConn(nc, raw net.Conn, early []byte) *tunnelConn {
	t := &tunnelConn{Conn: nc, raw: raw, early: early}
	t.here.Store(int32(len(early)))
	return t
}

func (t *tunnelConn) Read(p []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(p, t.early)
		if t.early = t.early[n:]; len(t.early) == 0 {
			t.early = nil
		}
		t.here.Store(int32(len(t.early)))
		return n, nil
	}
	return t.Conn.Read(p)
}

// Unread tells what the keepalive asks, also while a read runs, unless there is TLS with
// the proxy.
func (t *tunnelConn) Unread() (n int, ok bool) {
	n, ok = transport.Unread(t.Conn)
	return int(t.here.Load()) + n, ok
}

// belowTunnel returns the socket that nc is, or runs over as a tunnelConn.
func belowTunnel(nc net.Conn) net.Conn {
	if t, ok := nc.(*tunnelConn); ok {
		return t.raw
	}
	return nc
}

func (t *tunnelConn) Close() error { return t.raw.Close() }

// CloseWrite tells the server that nothing more comes.
func (t *tunnelConn) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

var _ interface{ CloseWrite() error } = (*tls.Conn)(nil)
