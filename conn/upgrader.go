package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Upgrader opens connections as a server: from net/http with Upgrade, or on an accepted
// connection with Accept. The zero value is ready. Many goroutines may use an Upgrader;
// it must not be changed meanwhile.
//
// Requests from browsers are accepted only from pages of the same origin, unless Origins
// or CheckOrigin says otherwise.
//
// The same origin means the host that the request itself names in Host. An attacker can
// let a name of his own resolve to this server (DNS rebinding); his page then has the
// same origin. A server that browsers on its machine or in its network can reach must
// know its own names: compare Host with them in Check, as the example does, or use a list
// in CheckOrigin. Origins does not help, because it only adds. TLS with a certificate for
// the server's own names stops such pages too.
type Upgrader struct {
	// Subprotocols are the server's own, in order of preference. The first one that the
	// client also offered is chosen. If there is none, the connection has no subprotocol.
	Subprotocols []string
	// SelectSubprotocol, if not nil, chooses instead. It must return an offered one, or
	// "".
	SelectSubprotocol func(*handshake.RequestView) string
	// Origins are allowed origins in addition to the server's own, as patterns of
	// handshake.MatchOrigin. The server's own is the value of Host: see above.
	Origins []string
	// CheckOrigin, if not nil, decides instead. It is not called for requests without an
	// Origin, which no browser sends.
	CheckOrigin func(*handshake.RequestView) bool
	// Check, if not nil, is called for a request that is otherwise acceptable; the view
	// is valid during the call. The header it returns is added to the answer. An error
	// refuses the request: a *handshake.Error with its status, header and body, any other
	// error with 403. Conn.Value returns the value that it attaches with
	// RequestView.SetValue, such as the user.
	Check func(*handshake.RequestView) (http.Header, error)

	// HandshakeTimeout limits Accept, from the first byte of the request to the last of
	// the answer, and the writing of the answer by Upgrade. 0 means
	// DefaultHandshakeTimeout; negative means none.
	HandshakeTimeout time.Duration
	// Limits limit the head of the request. Accept judges it as it comes. Upgrade judges
	// what net/http passes to it, after that has read and kept up to
	// http.Server.MaxHeaderBytes.
	Limits handshake.Limits
	// SocketOptions are set on the connection.
	SocketOptions SocketOptions
	// Config is the connection's.
	Config Config
}

// UpgradeError says that a request could not be answered, or that its connection could
// not be taken over. A request that broke a rule is a *handshake.Error instead.
type UpgradeError struct {
	Step string // "read", "answer", "hijack" or "socket"
	Err  error  // why it failed
}

// Error returns the step and the cause.
func (e *UpgradeError) Error() string { return "conn: upgrade: " + e.Step + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *UpgradeError) Unwrap() error { return e.Err }

// errNotOffered is a SelectSubprotocol that chose what it must not.
var errNotOffered = errors.New("the chosen subprotocol was not offered")

// Upgrade answers a request with the zero Upgrader.
func Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	return new(Upgrader).Upgrade(w, r)
}

// An upgradeState is what one handshake needs only while it lasts.
type upgradeState struct {
	view handshake.RequestView
	in   []byte
	out  []byte
	res  handshake.Response
	cfg  *Config // with what was agreed
}

var upgradeStates = sync.Pool{New: func() any { return &upgradeState{in: make([]byte, 1024), out: make([]byte, 0, 512)} }}

// release keeps the memory unless a request made it large.
func (a *upgradeState) release() {
	if cap(a.in)+cap(a.out) > 3<<10 {
		return // a request holds at most 4 KiB before a byte has come
	}
	a.view.Limits = handshake.Limits{}
	a.view.Reset()
	a.res.Reset()
	a.cfg = nil
	upgradeStates.Put(a)
}

func (a *upgradeState) settled(early []byte) settled {
	return settled{early: early, subprotocol: a.res.Subprotocol, value: a.view.Value()}
}

func (u *Upgrader) timeout() time.Duration {
	if u.HandshakeTimeout == 0 {
		return DefaultHandshakeTimeout
	}
	return u.HandshakeTimeout
}

// Accept does the opening handshake on an accepted connection, also a tls.Conn, without
// net/http. The request is parsed where it was read. If Accept returns an error, the
// request was refused, with an answer if one was possible, and the connection is closed.
// A connection that ends before its first byte is an error that matches io.EOF.
//
// Start a new goroutine to read after Accept: its stack stays at 2 KiB. The goroutine
// that called Accept has grown to 4 KiB.
//
// Check adds header lines. Frames that came with the request are kept. A tls.Conn reads
// best over a connection of UnderTLS.
func (u *Upgrader) Accept(nc net.Conn) (*Conn, error) {
	c, _, err := u.acceptRequest(nc, false)
	return c, err
}

// acceptRequest is Accept, and returns the request too if that is wanted.
func (u *Upgrader) acceptRequest(nc net.Conn, want bool) (*Conn, *http.Request, error) {
	if nc == nil {
		return nil, nil, &UpgradeError{"read", errNothing}
	}
	if timeout := u.timeout(); timeout > 0 {
		if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
			timer := time.AfterFunc(timeout, func() { closerOf(nc).Close() })
			defer timer.Stop()
		}
	}
	opened := false
	defer func() {
		if !opened { // also if a function of the Upgrader's panicked
			closerOf(nc).Close()
		}
	}()
	a := upgradeStates.Get().(*upgradeState)
	c, r, err := u.accept(nc, a, want)
	a.release()
	opened = err == nil
	return c, r, err
}

func (u *Upgrader) accept(nc net.Conn, a *upgradeState, want bool) (c *Conn, r *http.Request, err error) {
	if err := u.SocketOptions.Set(nc); err != nil {
		return nil, nil, &UpgradeError{"socket", err}
	}
	head, got, err := u.readRequest(nc, a)
	if err == nil {
		err = u.answer(a, isTLS(nc), nil)
	}
	if err == nil && want {
		r, err = requestOf(&a.view, nc)
	}
	if refused := refusalOf(err); refused != nil {
		a.out = handshake.AppendError(a.out[:0], refused)
		if _, werr := nc.Write(a.out); werr == nil {
			lingerClose(nc, a.in)
		}
		return nil, nil, err
	}
	if err == nil {
		err = writeAll(nc, a.out)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		if _, ok := err.(*UpgradeError); !ok {
			err = &UpgradeError{"answer", err}
		}
		return nil, nil, err
	}
	return newConn(nc, frame.Server, a.cfg, a.settled(a.in[head:got])), r, nil
}

// readRequest reads until the head is whole: a.in[:head] of a.in[:got].
func (u *Upgrader) readRequest(nc net.Conn, a *upgradeState) (head, got int, err error) {
	a.view.Limits = u.Limits
	for empty := 0; ; {
		if got == len(a.in) {
			// Twice what has come and no more, as append alone would take; nor what the
			// answer will need.
			a.in = append(make([]byte, 0, 2*got), a.in...)[:2*got]
			a.out = nil
		}
		n, readErr := nc.Read(a.in[got:])
		got += n
		if head, err = handshake.ParseRequest(&a.view, a.in[:got]); head > 0 || err != nil {
			return head, got, err
		}
		if empty++; n > 0 {
			empty = 0
		}
		switch {
		case readErr == io.EOF && got > 0:
			return 0, got, &UpgradeError{"read", io.ErrUnexpectedEOF}
		case readErr != nil:
			return 0, got, &UpgradeError{"read", readErr}
		case empty == transport.MaxEmptyReads:
			return 0, got, &UpgradeError{"read", io.ErrNoProgress}
		}
	}
}

// answer judges what the view is about and is the caller's to decide, and makes the 101
// in a.out.
func (u *Upgrader) answer(a *upgradeState, secure bool, header http.Header) error {
	r := &a.view
	if err := u.checkOrigin(r, secure); err != nil {
		return err
	}
	if u.SelectSubprotocol == nil {
		a.res.Subprotocol = r.Subprotocol(u.Subprotocols)
	} else if a.res.Subprotocol = u.SelectSubprotocol(r); a.res.Subprotocol != "" && !r.Offered(a.res.Subprotocol) {
		return &handshake.Error{Status: http.StatusInternalServerError, Rule: errNotOffered.Error(), Section: "RFC 6455 §4.2.2"}
	}
	if u.Check != nil {
		more, err := u.Check(r)
		if err != nil {
			var refused *handshake.Error
			if !errors.As(err, &refused) {
				err = &checkError{&handshake.Error{Status: http.StatusForbidden, Rule: "the application refused"}, err}
			}
			return err
		}
		if header == nil {
			header = more
		} else {
			for name, values := range more {
				header[name] = values
			}
		}
	}
	a.res.Header = header
	var err error
	if a.cfg, a.res.Extensions, err = u.Config.chosen(r); err != nil {
		return &checkError{&handshake.Error{Status: http.StatusInternalServerError, Rule: "the answer could not be made"}, err}
	}
	if a.out, err = handshake.AppendResponse(a.out[:0], r.Key(), &a.res); err != nil {
		// The application's header cannot be sent. The error says which; the client is
		// told nothing of it.
		return &checkError{&handshake.Error{Status: http.StatusInternalServerError, Rule: "the answer could not be made"}, err}
	}
	return nil
}

// checkError is an error of the application's, and what the client is told.
type checkError struct {
	refusal *handshake.Error
	cause   error
}

func (e *checkError) Error() string   { return e.cause.Error() }
func (e *checkError) Unwrap() []error { return []error{e.cause, e.refusal} }

// refusalOf is what the client is told, nil if nothing can be.
func refusalOf(err error) *handshake.Error {
	if err == nil { // without the allocation that errors.As costs
		return nil
	}
	var own *checkError
	if errors.As(err, &own) {
		return own.refusal
	}
	var e *handshake.Error
	_ = errors.As(err, &e)
	return e
}

func (u *Upgrader) checkOrigin(r *handshake.RequestView, secure bool) error {
	if u.CheckOrigin == nil {
		return handshake.CheckOrigin(r, secure, u.Origins)
	}
	if _, ok := r.Origin(); ok && !u.CheckOrigin(r) {
		return handshake.ErrOrigin
	}
	return nil
}

func isTLS(nc net.Conn) bool {
	_, ok := nc.(*tls.Conn)
	return ok
}

func writeAll(nc net.Conn, b []byte) error {
	n, err := nc.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// refusalLinger is how long a client that was refused has to take its answer and go.
const refusalLinger = 250 * time.Millisecond

// lingerClose lets a refusal reach the client: closing a socket while bytes of the
// request are unread would have the kernel send a reset, which can overtake it (RFC 9112
// §9.6).
func lingerClose(nc net.Conn, scratch []byte) {
	h, ok := nc.(interface{ CloseWrite() error })
	if !ok || h.CloseWrite() != nil || nc.SetDeadline(time.Now().Add(refusalLinger)) != nil {
		return
	}
	for range 64 {
		if _, err := nc.Read(scratch); err != nil {
			return
		}
	}
}

// Upgrade turns the connection of a request into a WebSocket connection. If it returns an
// error, the request has been answered. The answer includes what the handler set in
// w.Header. The deadlines of the http.Server no longer apply.
//
// A request over HTTP/2 is refused with 505: it has no connection of its own.
//
// Upgrade checks what net/http passes to it, by the same rules and Limits as Accept. But
// net/http has read the request before, so Upgrade cannot control three things:
//
//   - Form. net/http repairs folded lines and lines that end in LF without CR,
//     which Accept refuses. It answers other faults itself. Host, Content-Length
//     and Transfer-Encoding are its results.
//   - Order. Names have net/http's spelling, and lines of different names come in
//     any order.
//   - Memory and time before the call. http.Server.MaxHeaderBytes (1 MiB by
//     default) and ReadHeaderTimeout (none by default) limit them, not Limits and
//     HandshakeTimeout.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	a := upgradeStates.Get().(*upgradeState)
	defer a.release()
	err := u.judge(a, r)
	a.in = a.in[:cap(a.in)]
	if err == nil {
		err = u.answer(a, r.TLS != nil, answerHeader(w.Header()))
	}
	if err != nil {
		refuseHTTP(w, r, err)
		return nil, err
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		err = &UpgradeError{"hijack", err}
		refuseHTTP(w, r, err)
		return nil, err
	}
	if err := u.sendHijacked(nc, rw.Writer.Flush, a.out); err != nil {
		closerOf(nc).Close()
		return nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	return newConn(nc, frame.Server, a.cfg, a.settled(early)), nil
}

// sendHijacked writes the answer after what was buffered, and leaves the connection
// without deadlines.
func (u *Upgrader) sendHijacked(nc net.Conn, flush func() error, answer []byte) error {
	until := time.Time{}
	if timeout := u.timeout(); timeout > 0 {
		until = time.Now().Add(timeout)
	}
	if err := nc.SetDeadline(until); err != nil {
		return &UpgradeError{"answer", err}
	}
	if err := u.SocketOptions.Set(nc); err != nil {
		return &UpgradeError{"socket", err}
	}
	err := flush()
	if err == nil {
		err = writeAll(nc, answer)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		return &UpgradeError{"answer", err}
	}
	return nil
}

// judge parses the request of net/http in a.in, which holds no more of it than the limits
// allow.
func (u *Upgrader) judge(a *upgradeState, r *http.Request) error {
	a.view.Limits = u.Limits
	most := &a.view.Limits.Bytes
	if *most <= 0 {
		*most = handshake.DefaultBytes
	}
	if cache := r.Header["Cache-Control"]; len(cache) == 1 && cache[0] == "no-cache" && r.Header.Get("Pragma") == "no-cache" {
		// net/http adds this line to one with Pragma (RFC 9111 §5.4); the client may have
		// sent it too. It is not counted.
		*most += min(len("Cache-Control:no-cache\r\n"), math.MaxInt-*most)
		if a.view.Limits.Lines <= 0 {
			a.view.Limits.Lines = handshake.DefaultLines
		}
		a.view.Limits.Lines += min(1, math.MaxInt-a.view.Limits.Lines)
	}
	a.in = appendHTTPRequest(a.in[:0], r, *most)
	n, err := handshake.ParseRequest(&a.view, a.in)
	if err == nil && n < len(a.in) {
		err = handshake.ErrRequestLine
	}
	return err
}

// appendHTTPRequest writes the request as it was, so that one parser judges all requests.
// It is not longer than what came: no space follows a colon. One byte more than most is
// enough for the parser to refuse it: there it is cut.
func appendHTTPRequest(b []byte, r *http.Request, most int) []byte {
	if most < math.MaxInt {
		most++
	}
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	size := len(r.Method) + len(target) + len(r.Host) + 100 // the rest of these lines, and those about a body
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + 3
		}
	}
	b = slices.Grow(b, min(size, most))
	add := func(pieces ...string) {
		for _, s := range pieces {
			b = append(b, s[:min(len(s), most-len(b))]...)
		}
	}
	add(r.Method, " ", target, " HTTP/")
	add(string('0'+rune(r.ProtoMajor%10)), ".", string('0'+rune(r.ProtoMinor%10)), "\r\nHost:", r.Host, "\r\n")
	// net/http takes these out of the header.
	if r.ContentLength > 0 || r.ContentLength < 0 && len(r.TransferEncoding) == 0 {
		add("Content-Length:1\r\n")
	}
	if len(r.TransferEncoding) > 0 {
		add("Transfer-Encoding:chunked\r\n")
	}
	for name, values := range r.Header {
		if name == "Content-Length" || name == "Host" {
			continue
		}
		for _, v := range values {
			add(name, ":", v, "\r\n")
		}
	}
	add("\r\n")
	return b
}

// answerHeader is the part of a handler's header that a 101 may have: nothing about a
// body.
func answerHeader(h http.Header) http.Header {
	if len(h) == 0 {
		return nil
	}
	out := make(http.Header, len(h))
	for name, values := range h {
		if !strings.HasPrefix(name, "Content-") && name != "Connection" && !strings.HasPrefix(name, http.TrailerPrefix) {
			out[name] = values
		}
	}
	return out
}

// refuseHTTP is handshake.AppendError through net/http.
func refuseHTTP(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	e := refusalOf(err)
	if e == nil {
		e = &handshake.Error{Status: http.StatusInternalServerError, Rule: "the connection cannot be taken over"}
	}
	for name, values := range e.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	status := e.Status
	if status < 300 || status > 599 {
		status = http.StatusInternalServerError
	}
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	switch status {
	case http.StatusUpgradeRequired:
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade, close")
		h.Set("Sec-WebSocket-Version", handshake.Version)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodGet)
	}
	if len(e.Body) == 0 {
		http.Error(w, e.Rule, status)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(e.Body)
}
