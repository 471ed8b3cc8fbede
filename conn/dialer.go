package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// DefaultHandshakeTimeout limits an opening handshake without another limit.
const DefaultHandshakeTimeout = 10 * time.Second

// DefaultMaxBody is how many bytes of the body of a refusal are kept.
const DefaultMaxBody = 4 << 10

// Dialer opens connections as a client. The zero value is ready. Many goroutines may use
// a Dialer; it must not be changed meanwhile.
//
// A [httptrace.ClientTrace] in the context is told of name resolution, connecting, TLS,
// the request and the first byte of the answer.
type Dialer struct {
	// TLSConfig is used for wss; nil means the zero Config. An empty ServerName is taken
	// from the URL, also through a proxy. The only protocol offered is http/1.1, whatever
	// NextProtos says, because a WebSocket cannot be opened over another.
	TLSConfig *tls.Config
	// OpenRecords has the engine open the records of TLS 1.3 with AES-GCM. With a record
	// for each message of 200 B, reading took about half of the CPU time (tickwire feed
	// -tls -records per-message, with and without -open-records). crypto/tls still does
	// everything else: the handshake, tickets, key updates, alerts, and all writing. It
	// also opens the records if the engine cannot: with TLS 1.2, ChaCha20 or WrapTLS, in
	// FIPS 140-3 mode, and those of an https proxy. Conn.TransportInfo says which.
	//
	// It is off by default because it needs more than crypto/tls documents. The
	// KeyLogWriter of the connection's own tls.Config provides the server's secret; the
	// caller's own writer still gets its lines. So the secret is in memory once more
	// while the connection lives, and the log lines until they are collected. Records
	// that are not data are sealed again in memory, for crypto/tls only. If a later Go
	// reads in another way, connections fail; they never deliver other data.
	OpenRecords bool
	// WrapTLS, if not nil, replaces TLSConfig: it does the handshake as a client on a
	// connection to that host, and must check the certificate. The underlying connection
	// is closed when ctx ends.
	WrapTLS func(ctx context.Context, nc net.Conn, host TLSHost) (net.Conn, error)
	// Proxy returns the proxy for a request, or nil for none, as in http.Transport. The
	// request has an http or https URL. http.ProxyFromEnvironment uses HTTP_PROXY,
	// HTTPS_PROXY and NO_PROXY. Schemes are http and https (CONNECT, with userinfo as
	// Basic authentication), and socks5 and socks5h (with both the proxy resolves names).
	Proxy func(*http.Request) (*url.URL, error)
	// ProxyHeader is sent with the CONNECT request to an http or https proxy, and never
	// to a server. A Proxy-Authorization in it replaces the userinfo of the proxy's URL.
	// Every proxy that Proxy returns gets it, also after a redirect.
	ProxyHeader http.Header
	// ProxyHeaderFunc returns more of ProxyHeader for this attempt, such as tokens for
	// Bearer or Negotiate. It wins over ProxyHeader for a name in both, in any letter
	// case. It gets the proxy's URL, and the host and port of the tunnel. An error ends
	// Dial.
	ProxyHeaderFunc func(ctx context.Context, proxy *url.URL, target string) (http.Header, error)
	// ProxyTLSConfig is TLSConfig for the connection to an https proxy.
	ProxyTLSConfig *tls.Config

	// Subprotocols are offered in order of preference. They are not offered to another
	// origin: see MaxRedirects.
	Subprotocols []string
	// Origin is sent as Origin if it is not empty. Only browsers must send one. It is not
	// sent to another origin.
	Origin string
	// Host replaces the Host header. It does not change what is dialed, nor the name that
	// TLS checks.
	Host string
	// Header is sent with the request. Cookies of its own and those of Jar make one
	// Cookie line.
	Header http.Header
	// HeaderFunc returns more of Header for this attempt, such as fresh tokens or
	// signatures with the time. It wins over Header for a name in both, in any letter
	// case, and for each cookie. It gets the URL of the attempt. An error ends Dial.
	HeaderFunc func(ctx context.Context, u *handshake.URL) (http.Header, error)
	// Jar adds cookies to requests. It gets the cookies of an answer that opens the
	// connection, of a redirect that is followed, and of a status 4xx or 5xx (RFC 6265
	// §3). It gets none of any other answer: of a 101 that breaks a rule or that
	// OnResponse refuses, of a redirect that is not followed, of a proxy. nil means no
	// cookies.
	Jar http.CookieJar
	// OnResponse, if not nil, is called with the answer that switched protocols. An error
	// closes the connection and ends Dial.
	OnResponse func(*handshake.Response) error

	// MaxRedirects is how many redirects are followed in a row. 0 means that a redirect
	// is a refusal like any other status. A redirect never leads from wss to ws.
	//
	// After a redirect to another origin (scheme, host or port) nothing of the caller's
	// is sent any more, not even back at the first origin: not Header, HeaderFunc,
	// Subprotocols, Origin, Host or the URL's userinfo, and of TLSConfig not ServerName,
	// client certificates or session tickets. WrapTLS is told. Jar knows which cookies
	// belong where. A connection opened there has no subprotocol; a caller that needs one
	// must follow the redirect itself.
	MaxRedirects int

	// HandshakeTimeout limits all of Dial, from name resolution to the answer and through
	// all redirects, in addition to its context. 0 means DefaultHandshakeTimeout;
	// negative means none.
	HandshakeTimeout time.Duration
	// Limits limit the heads of answers, also the proxy's.
	Limits handshake.Limits
	// Relaxed turns off rules about the form of the server's answer. A proxy's answer is
	// always read so.
	Relaxed handshake.Relaxed
	// MaxBody is how many bytes of the body of a refusal are kept. 0 means
	// DefaultMaxBody; negative means none.
	MaxBody int

	// NetDial, if not nil, makes connections. It must return soon when ctx ends. Without
	// it all addresses of a name are tried until one answers. The families alternate; the
	// next address is tried when one has failed or after 250 ms, while earlier attempts
	// continue (RFC 8305 §5).
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver looks up names if NetDial is nil; nil means net.DefaultResolver.
	Resolver *net.Resolver
	// SocketOptions are set on the socket, before it connects if that matters and NetDial
	// is nil.
	SocketOptions SocketOptions
	// Config is the connection's.
	Config Config
}

// A TLSHost is the host for a handshake of Dialer.WrapTLS.
type TLSHost struct {
	// ServerName is the name or the address, without a zone, that the certificate must be
	// for.
	ServerName string
	// URL is that of the attempt.
	URL *handshake.URL
	// Foreign says that a redirect has left the origin of the dialed URL. No client
	// certificate and no session ticket may be used there.
	Foreign bool
}

// DialError says at which step Dial failed, and for which URL.
type DialError struct {
	// Step is "URL", "connect", "proxy", "TLS", "handshake" or "redirect".
	Step string
	// URL is without userinfo; "" if it could not be parsed.
	URL string
	// Err is the cause. It is a *handshake.Error if an answer was not valid: the
	// server's, or the proxy's if Step is "proxy". It may be the cause of the context's
	// end, or an error of package net, crypto/tls or a hook. If several addresses were
	// tried, it describes and matches the end of each attempt.
	Err error
	// Seen is the beginning of what came instead of an answer, or of TLS, and was not
	// understood: up to 64 bytes, or one line if it looks like HTTP. Secrets of the
	// request are replaced by asterisks. It is empty but not nil if no byte came, and nil
	// otherwise.
	Seen []byte
}

// Error returns the step, the URL, the cause, and what was received if it was not
// understood.
func (e *DialError) Error() string {
	s := "conn: dial"
	if e.URL != "" {
		s += " " + e.URL
	}
	s += ": " + e.Step + ": " + e.Err.Error() + describe(e.Seen)
	var refused *handshake.Error
	if errors.As(e.Err, &refused) && refused.Status == http.StatusBadRequest && wantsTLS(refused.Body) {
		s += ": the server wants TLS on this port"
	}
	return oneLine(s)
}

// oneLine writes control characters as Go does in a string: names in a stranger's
// certificate may have them.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Unwrap returns Err.
func (e *DialError) Unwrap() error { return e.Err }

// Timeout reports whether time ran out.
func (e *DialError) Timeout() bool {
	return isTimeout(e.Err)
}

// Temporary reports false.
func (e *DialError) Temporary() bool { return false }

// handshakeTimeout is the end of HandshakeTimeout.
type handshakeTimeout struct{ limit time.Duration }

func (e *handshakeTimeout) Error() string {
	return "not done within the handshake timeout of " + e.limit.String() + " (conn.Dialer.HandshakeTimeout)"
}
func (e *handshakeTimeout) Timeout() bool   { return true }
func (e *handshakeTimeout) Temporary() bool { return true }
func (e *handshakeTimeout) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// Dial opens a connection with the zero Dialer.
func Dial(ctx context.Context, url string) (*Conn, error) { return new(Dialer).Dial(ctx, url) }

// Dial opens a connection to a ws or wss URL. ctx limits only the opening. When it ends,
// Dial returns at once, with an error that wraps the context's cause, and leaves nothing
// open. Every error is a *DialError.
func (d *Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, &DialError{Step: "URL", Err: err}
	}
	timeout := d.HandshakeTimeout
	if timeout == 0 {
		timeout = DefaultHandshakeTimeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &handshakeTimeout{timeout})
		defer cancel()
	}
	o := &dialAttempt{d: d, ctx: ctx, url: u, first: u}
	for {
		c, err := o.open()
		if err == nil {
			return c, nil
		}
		if followed, bad := o.redirect(err); bad != nil {
			return nil, o.failed("redirect", bad)
		} else if !followed {
			return nil, err
		}
	}
}

// A dialAttempt is one Dial, over all its redirects.
type dialAttempt struct {
	d       *Dialer
	ctx     context.Context
	url     *handshake.URL
	first   *handshake.URL // where the caller's credentials belong
	foreign bool           // a redirect left the origin of first
	hops    int

	raw  net.Conn    // the lowest connection of this attempt: closing it ends all above
	stop func() bool // keeps the end of ctx from closing raw

	proxyUser *url.Userinfo // of this attempt
	connected []byte        // the CONNECT request of this attempt
	seen      []byte        // what came in this attempt and was not understood: DialError.Seen
}

func (o *dialAttempt) failed(step string, err error) error {
	if until, ok := o.ctx.Deadline(); ok && !time.Now().Before(until) {
		<-o.ctx.Done() // due now: a deadline set from it can be the first to tell
	}
	if o.ctx.Err() != nil {
		cause := context.Cause(o.ctx)
		if tried := (*connectError)(nil); errors.As(err, &tried) {
			tried.cause, err = cause, tried
		} else {
			err = cause
		}
	}
	return &DialError{Step: step, URL: o.url.String(), Err: err, Seen: o.seen}
}

// open makes one attempt.
func (o *dialAttempt) open() (c *Conn, err error) {
	o.raw, o.stop, o.proxyUser, o.connected, o.seen = nil, nil, nil, nil, nil
	defer func() {
		if o.raw == nil {
			return
		}
		if !o.stop() && c != nil { // ctx ended just now, and has closed raw
			c.Close()
			c, err = nil, o.failed("handshake", context.Cause(o.ctx))
		}
		if c == nil { // also if a hook panicked
			o.raw.Close()
		}
	}()
	// Before anything is dialed: what cannot be sent is an error of the caller's.
	req, err := o.request()
	if err != nil {
		return nil, o.failed("handshake", err)
	}
	request, err := handshake.AppendRequest(nil, req)
	if err != nil {
		return nil, o.failed("handshake", err)
	}
	proxy, err := o.proxy()
	if err != nil {
		return nil, o.failed("proxy", err)
	}
	var nc net.Conn
	if proxy == nil {
		nc, err = o.connect(o.ctx, o.url.Address())
		if err != nil {
			return nil, o.failed("connect", err)
		}
	} else if nc, err = o.tunnel(proxy); err != nil {
		return nil, o.failed("proxy", err)
	}
	if o.url.Secure {
		if nc, err = o.secure(nc); err != nil {
			return nil, o.failed("TLS", err)
		}
	}
	c, err = o.handshake(nc, req, request)
	if err != nil {
		return nil, o.failed("handshake", err)
	}
	return c, nil
}

// connect makes the lowest connection, which the end of ctx closes from then on.
func (o *dialAttempt) connect(ctx context.Context, address string) (nc net.Conn, err error) {
	if o.d.NetDial != nil {
		if nc, err = o.d.NetDial(ctx, "tcp", address); err == nil && nc == nil {
			err = errNothing
		}
	} else {
		nc, err = o.d.netDial(ctx, address)
	}
	if err != nil {
		return nil, err
	}
	raw := closerOf(nc)
	o.raw, o.stop = raw, context.AfterFunc(o.ctx, func() { raw.Close() })
	if o.d.NetDial != nil {
		err = o.d.SocketOptions.Set(nc)
	} else {
		err = o.d.SocketOptions.afterConnect(nc)
	}
	return nc, err
}

// errNothing is a hook or a listener that forgot to return an error.
var errNothing = errors.New("there is neither a connection nor an error")

// closerOf returns what to close: Close of a tls.Conn can wait for the peer.
func closerOf(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}

// secure does TLS as a client with the URL's host.
func (o *dialAttempt) secure(nc net.Conn) (net.Conn, error) {
	name, _, _ := strings.Cut(o.url.Name, "%")
	if o.d.WrapTLS != nil {
		u := *o.url
		t, err := o.d.WrapTLS(o.ctx, nc, TLSHost{ServerName: name, URL: &u, Foreign: o.foreign})
		if err == nil && t == nil {
			err = errNothing
		}
		if err != nil {
			o.noTLS(err, nil)
		}
		return t, err
	}
	cfg := clientTLSConfig(o.d.TLSConfig, name)
	if o.foreign { // a ticket and an ECH configuration tell who came, too
		cfg.ServerName, cfg.Certificates, cfg.GetClientCertificate = name, nil, nil
		cfg.ClientSessionCache, cfg.EncryptedClientHelloConfigList = nil, nil
	}
	h := new(heard)
	under := underTLS(nc, &o.d.Config)
	under.Hear = h.hear
	if o.d.OpenRecords {
		under.OpenLater(cfg)
	}
	t, err := startTLS(o.ctx, under, cfg)
	under.Hear = nil
	if err == nil {
		err = under.OpenNow(t)
	}
	if err != nil {
		under.ForgetKeys()
		o.noTLS(err, h)
		return nil, err
	}
	return t, nil
}

// clientTLSConfig is the caller's, for a server of that name.
func clientTLSConfig(own *tls.Config, name string) *tls.Config {
	cfg := own.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = name
	}
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}

func startTLS(ctx context.Context, nc net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	t := tls.Client(nc, cfg)
	err := t.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(t.ConnectionState(), err)
	}
	return t, err
}

// handshake does the opening handshake of RFC 6455 §4.1.
func (o *dialAttempt) handshake(nc net.Conn, req *handshake.Request, request []byte) (*Conn, error) {
	answer := handshake.Response{Limits: o.d.Limits, Relaxed: o.d.Relaxed}
	t := nc
	nc = transport.Readable(nc)
	b, n, err := o.exchange(nc, request, func(b []byte) (int, error) { return handshake.ParseResponse(&answer, req, b) })
	var refused *handshake.Error
	if errors.As(err, &refused) && n > 0 {
		refused.Body = readBody(nc, b[n:], refused, o.d.maxBody())
		if answer.Status >= 400 {
			o.keepCookies(answer.Header)
		}
	}
	cfg := &o.d.Config
	if err == nil {
		cfg, err = cfg.accepted(&answer)
	}
	if err == nil && o.d.OnResponse != nil {
		err = o.d.OnResponse(&answer)
	}
	if err != nil {
		return nil, err
	}
	o.keepCookies(answer.Header)
	return newConn(t, frame.Client, cfg, settled{early: b[n:], subprotocol: answer.Subprotocol}), nil
}

// wantsTLS tells whether the body of an answer is what servers say to plain HTTP on a
// port for TLS.
func wantsTLS(body []byte) bool {
	return bytes.Contains(body, []byte("HTTP request to an HTTPS server")) || bytes.Contains(body, []byte("plain HTTP request was sent to HTTPS port")) ||
		bytes.Contains(body, []byte("speaking plain HTTP to an SSL-enabled server port"))
}

func (d *Dialer) maxBody() int {
	if d.MaxBody == 0 {
		return DefaultMaxBody
	}
	return max(d.MaxBody, 0)
}

// exchange writes a request and reads until parse has a whole answer, whose length is n
// of the bytes b. They come together with an error of parse's.
func (o *dialAttempt) exchange(nc net.Conn, request []byte, parse func([]byte) (int, error)) (b []byte, n int, err error) {
	trace := httptrace.ContextClientTrace(o.ctx)
	written, err := nc.Write(request)
	if err == nil && written < len(request) {
		err = io.ErrShortWrite
	}
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	if err == nil {
		return o.answer(nc, request, parse)
	}
	// A server that refuses before it has read all closes: its answer says why, if it
	// came.
	_ = nc.SetReadDeadline(time.Now().Add(bodyWait))
	var refused *handshake.Error
	if b, n, why := o.answer(nc, request, parse); n > 0 && errors.As(why, &refused) {
		return b, n, why
	}
	return nil, 0, err
}

// answer reads for exchange.
func (o *dialAttempt) answer(nc net.Conn, request []byte, parse func([]byte) (int, error)) (b []byte, n int, err error) {
	trace := httptrace.ContextClientTrace(o.ctx)
	defer func() {
		if n == 0 {
			o.couldNotRead(b, request)
		}
	}()
	b = make([]byte, 0, 1024)
	for empty := 0; ; {
		if len(b) == cap(b) { // twice what has come, and no more
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		got, readErr := nc.Read(b[len(b):cap(b)])
		if got > 0 && len(b) == 0 && trace != nil && trace.GotFirstResponseByte != nil {
			trace.GotFirstResponseByte()
		}
		b = b[:len(b)+got]
		if n, err = parse(b); n > 0 || err != nil {
			return b, n, err
		}
		if empty++; got > 0 {
			empty = 0
		}
		switch {
		case readErr == io.EOF:
			return b, 0, io.ErrUnexpectedEOF
		case readErr != nil:
			return b, 0, readErr
		case empty == transport.MaxEmptyReads:
			return b, 0, io.ErrNoProgress
		}
	}
}
