package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

const (
	// defaultHandshakeTimeout bounds a handshake that has no other bound.
	defaultHandshakeTimeout = 45 * time.Second
	// maxHandshakeBytes bounds the head of an answer.
	maxHandshakeBytes = 64 << 10

	maxRefusal = 1 << 10 // of the body of a refusal
)

var (
	errMalformedURL       = errors.New("malformed ws or wss URL")
	errInvalidCompression = errors.New("websocket: invalid compression negotiation")
	errAnswerTooLong      = errors.New("websocket: the answer to the handshake is too long")
)

// Dialer opens connections as a client. It is safe for concurrent use.
type Dialer struct {
	// NetDial makes the connection below if NetDialContext is nil. nil means net.Dialer.
	NetDial func(network, addr string) (net.Conn, error)

	// NetDialContext makes the connection below.
	NetDialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// NetDialTLSContext makes the connection below for wss, with TLS already done.
	NetDialTLSContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Proxy returns the proxy for a request, or nil for none. The scheme is http, with
	// CONNECT, socks5 or socks5h.
	Proxy func(*http.Request) (*url.URL, error)

	// TLSClientConfig is for wss, if NetDialTLSContext is nil.
	TLSClientConfig *tls.Config

	// HandshakeTimeout bounds the whole of Dial. 0 means the context's deadline, or 45
	// seconds if there is none.
	HandshakeTimeout time.Duration

	// ReadBufferSize is only used if it is over 64 KiB: the read buffer grows and shrinks
	// with the traffic.
	ReadBufferSize int

	// WriteBufferSize is how many bytes of a message NextWriter buffers; 0 means 4096.
	WriteBufferSize int

	// WriteBufferPool has the buffers of NextWriter. Use one pool for one
	// WriteBufferSize.
	WriteBufferPool BufferPool

	// Subprotocols are offered, the preferred one first.
	Subprotocols []string

	// EnableCompression offers permessage-deflate without context takeover.
	EnableCompression bool

	// Jar provides cookies for the request and gets those of the answer.
	Jar http.CookieJar
}

// DefaultDialer uses the proxies of the environment.
var DefaultDialer = &Dialer{
	Proxy:            http.ProxyFromEnvironment,
	HandshakeTimeout: defaultHandshakeTimeout,
}

// nilDialer is used for a nil Dialer, even if DefaultDialer was changed.
var nilDialer = *DefaultDialer

// NewClient does the handshake on an existing connection.
//
// Deprecated: Use Dialer.
func NewClient(netConn net.Conn, u *url.URL, requestHeader http.Header, readBufSize, writeBufSize int) (c *Conn, response *http.Response, err error) {
	d := Dialer{
		ReadBufferSize: readBufSize, WriteBufferSize: writeBufSize,
		NetDial: func(string, string) (net.Conn, error) { return netConn, nil },
	}
	return d.Dial(u.String(), requestHeader)
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(urlStr string, requestHeader http.Header) (*Conn, *http.Response, error) {
	return d.DialContext(context.Background(), urlStr, requestHeader)
}

// DialContext opens a connection to a ws or wss URL. requestHeader is sent with the
// request; Host in it replaces the host of the URL. ctx bounds the opening, and may carry
// a httptrace.ClientTrace and Options.
//
// If the server's answer does not open a WebSocket, the error is ErrBadHandshake, and the
// answer is returned with the beginning of its body. The body of the answer need not be
// closed in any case.
func (d *Dialer) DialContext(ctx context.Context, urlStr string, requestHeader http.Header) (*Conn, *http.Response, error) {
	if d == nil {
		d = &nilDialer
	}
	u, err := parseURL(urlStr)
	if err != nil {
		return nil, nil, err
	}
	req, key, err := d.request(ctx, u, requestHeader)
	if err != nil {
		return nil, nil, err
	}
	timeout := d.HandshakeTimeout
	var caller context.Context // without a bound
	if _, bounded := ctx.Deadline(); timeout == 0 && !bounded {
		timeout, caller = defaultHandshakeTimeout, ctx
	}
	if timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	nc, err := d.connect(ctx, caller, req)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	c, resp, err := d.handshake(ctx, nc, req, key)
	if !stop() && err == nil { // ctx has just ended, so the deadline is or will be set
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		if cause := context.Cause(ctx); cause != nil && resp == nil && !errors.Is(cause, context.DeadlineExceeded) {
			err = cause // not the error of the deadline that ctx has set
		}
		return nil, resp, err
	}
	nc.SetDeadline(time.Time{})
	return c, resp, nil
}

// parseURL returns the http or https URL for the request of a ws or wss URL.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	default:
		return nil, errMalformedURL
	}
	if u.User != nil { // a WebSocket URL has none (RFC 6455 §3)
		return nil, errMalformedURL
	}
	return u, nil
}

// hostAndPort returns the address to dial, and the host without the port.
func hostAndPort(u *url.URL) (address, host string) {
	if i := strings.LastIndexByte(u.Host, ':'); i > strings.LastIndexByte(u.Host, ']') {
		return u.Host, u.Host[:i]
	}
	if u.Scheme == "https" || u.Scheme == "wss" {
		return u.Host + ":443", u.Host
	}
	return u.Host + ":80", u.Host
}

// request returns the request of the handshake, and its key.
func (d *Dialer) request(ctx context.Context, u *url.URL, more http.Header) (*http.Request, handshake.Key, error) {
	key := handshake.NewKey()
	req := (&http.Request{Method: http.MethodGet, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Host: u.Host}).WithContext(ctx)
	if d.Jar != nil {
		for _, cookie := range d.Jar.Cookies(u) {
			req.AddCookie(cookie)
		}
	}
	// In the capitalization of RFC 6455, which some servers require.
	req.Header["Upgrade"] = []string{"websocket"}
	req.Header["Connection"] = []string{"Upgrade"}
	req.Header[keyName] = []string{string(key[:])}
	req.Header[versionName] = []string{handshake.Version}
	if len(d.Subprotocols) > 0 {
		req.Header[protocolName] = []string{strings.Join(d.Subprotocols, ", ")}
	}
	for name, values := range more {
		switch name {
		case "Host":
			if len(values) > 0 {
				req.Host = values[0]
			}
		case httpProtocol:
			if len(d.Subprotocols) > 0 {
				return nil, key, errors.New("websocket: duplicate header not allowed: " + name)
			}
			req.Header[protocolName] = values
		case "Upgrade", "Connection", httpKey, httpVersion, httpExtensions:
			return nil, key, errors.New("websocket: duplicate header not allowed: " + name)
		default:
			req.Header[name] = values
		}
	}
	if d.EnableCompression {
		offer, err := handshake.AppendExtensions(nil, []handshake.Extension{aloneOffer.Offer()})
		if err != nil {
			return nil, key, err
		}
		req.Header[extensionsName] = []string{string(offer)}
	}
	return req, key, nil
}

// dialFunc makes the connection below, or the connection to a proxy.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// netDial returns the function that dials. A connection gets the deadline of ctx. The
// caller's functions get caller instead, if it is not nil: a connection that they make
// may end with its context, and ctx ends with Dial.
func (d *Dialer) netDial(secure bool, caller context.Context) dialFunc {
	var dial dialFunc
	own := true
	switch {
	case secure && d.NetDialTLSContext != nil:
		dial = d.NetDialTLSContext
	case d.NetDialContext != nil:
		dial = d.NetDialContext
	case d.NetDial != nil:
		dial = func(_ context.Context, network, address string) (net.Conn, error) { return d.NetDial(network, address) }
	default:
		dial, own = new(net.Dialer).DialContext, false
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		given := ctx
		if own && caller != nil {
			given = caller
		}
		nc, err := dial(given, network, address)
		if err != nil {
			return nil, err
		}
		if deadline, ok := ctx.Deadline(); ok {
			if err := nc.SetDeadline(deadline); err != nil {
				nc.Close()
				return nil, err
			}
		}
		return nc, nil
	}
}

// connect makes the connection below, through a proxy if there is one.
func (d *Dialer) connect(ctx, caller context.Context, req *http.Request) (net.Conn, error) {
	dial := d.netDial(req.URL.Scheme == "https", caller)
	if d.Proxy != nil {
		p, err := d.Proxy(req)
		if err != nil {
			return nil, err
		}
		if p != nil {
			if dial, err = through(p, dial); err != nil {
				return nil, err
			}
		}
	}
	address, _ := hostAndPort(req.URL)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(address)
	}
	nc, err := dial(ctx, "tcp", address)
	if err == nil && trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: nc})
	}
	return nc, err
}

// handshake does TLS, unless it is already done, and the opening handshake.
func (d *Dialer) handshake(ctx context.Context, nc net.Conn, req *http.Request, key handshake.Key) (*Conn, *http.Response, error) {
	s := settings{readBuffer: d.ReadBufferSize, writeBuffer: d.WriteBufferSize, pool: d.WriteBufferPool, options: optionsOf(ctx)}
	if req.URL.Scheme == "https" && d.NetDialTLSContext == nil {
		var err error
		if nc, err = d.secure(ctx, nc, req, &s); err != nil {
			return nil, nil, err
		}
	}
	if err := req.Write(nc); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReader(&bounded{nc, maxHandshakeBytes + maxRefusal})
	if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GotFirstResponseByte != nil {
		if p, err := br.Peek(1); err == nil && len(p) == 1 {
			trace.GotFirstResponseByte()
		}
	}
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, nil, d.notHTTP(err)
	}
	if cookies := resp.Cookies(); d.Jar != nil && len(cookies) > 0 {
		d.Jar.SetCookies(req.URL, cookies)
	}
	if !opens(resp, key) {
		body := make([]byte, maxRefusal) // it may say why
		n, _ := io.ReadFull(resp.Body, body)
		resp.Body = io.NopCloser(bytes.NewReader(body[:n]))
		return nil, resp, ErrBadHandshake
	}
	if s.deflate, err = agreed(resp.Header); err != nil {
		return nil, resp, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(nil))
	s.subprotocol = resp.Header.Get(httpProtocol)
	s.early, _ = br.Peek(br.Buffered())
	c, err := open(nc, frame.Client, &s)
	return c, resp, err
}

// secure does TLS as a client.
func (d *Dialer) secure(ctx context.Context, nc net.Conn, req *http.Request, s *settings) (net.Conn, error) {
	cfg := &tls.Config{}
	if d.TLSClientConfig != nil {
		cfg = d.TLSClientConfig.Clone()
	}
	if cfg.ServerName == "" {
		_, cfg.ServerName = hostAndPort(req.URL)
	}
	engine := s.engine()
	t := tls.Client(conn.UnderTLSConn(nc, &engine), cfg)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err := t.HandshakeContext(ctx)
	if err == nil && !cfg.InsecureSkipVerify {
		err = t.VerifyHostname(cfg.ServerName) // also if VerifyConnection has accepted it
	}
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(t.ConnectionState(), err)
	}
	return t, err
}

// notHTTP explains an answer that is not HTTP.
func (d *Dialer) notHTTP(err error) error {
	if d.TLSClientConfig != nil {
		for _, p := range d.TLSClientConfig.NextProtos {
			if p != "http/1.1" {
				return fmt.Errorf("websocket: TLSClientConfig offers the protocol %q, on which no WebSocket can be opened; a tls.Config that net/http's Transport has used does: %w", p, err)
			}
		}
	}
	return err
}

// opens reports whether an answer opens a WebSocket (RFC 6455 §4.1).
func opens(resp *http.Response, key handshake.Key) bool {
	return resp.StatusCode == http.StatusSwitchingProtocols &&
		hasToken(resp.Header, "Upgrade", "websocket") && hasToken(resp.Header, "Connection", "upgrade") &&
		resp.Header.Get(httpAccept) == string(handshake.AppendAccept(nil, key[:]))
}

// agreed returns what an answer says about permessage-deflate, or nil. If the answer has
// it, it is used even if it was not offered.
func agreed(h http.Header) (*deflate.Params, error) {
	for _, x := range extensions(h) {
		if x.Name != deflate.Name {
			continue
		}
		p, _, err := noContextTakeover.Accept([]handshake.Extension{x})
		server, client := false, false
		for _, param := range x.Params {
			server = server || param.Name == "server_no_context_takeover"
			client = client || param.Name == "client_no_context_takeover"
		}
		if err != nil || !server || !client {
			return nil, errInvalidCompression
		}
		return &p, nil
	}
	return nil, nil
}

// bounded is a connection that reads a limited number of bytes.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errAnswerTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
