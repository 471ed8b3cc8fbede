package websocket

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Upgrader opens connections as a server. It is safe for concurrent use.
type Upgrader struct {
	// HandshakeTimeout bounds the writing of the answer. 0 means 45 seconds.
	HandshakeTimeout time.Duration

	// ReadBufferSize is as in Dialer.
	ReadBufferSize int

	// WriteBufferSize is as in Dialer.
	WriteBufferSize int

	// WriteBufferPool is as in Dialer.
	WriteBufferPool BufferPool

	// Subprotocols are accepted, the preferred one first. The first one that the client
	// offers is agreed. If the list is nil, the response header's Sec-WebSocket-Protocol
	// is used.
	Subprotocols []string

	// Error answers a refused request. nil means http.Error.
	Error func(w http.ResponseWriter, r *http.Request, status int, reason error)

	// CheckOrigin reports whether to accept a request. nil means that the host of its
	// Origin header, if any, must be that of its Host header.
	CheckOrigin func(r *http.Request) bool

	// EnableCompression accepts permessage-deflate without context takeover.
	EnableCompression bool
}

// refuse answers a request that opens no connection.
func (u *Upgrader) refuse(w http.ResponseWriter, r *http.Request, status int, reason string) (*Conn, error) {
	err := HandshakeError{reason}
	if u.Error != nil {
		u.Error(w, r, status, err)
	} else {
		w.Header().Set(httpVersion, handshake.Version)
		http.Error(w, http.StatusText(status), status)
	}
	return nil, err
}

// check returns the status and the reason to refuse a request, or "".
func (u *Upgrader) check(r *http.Request, responseHeader http.Header) (status int, reason string) {
	const notWebSocket = "websocket: the client is not using the websocket protocol: "
	switch {
	case !hasToken(r.Header, "Connection", "upgrade"):
		return http.StatusBadRequest, notWebSocket + "'upgrade' token not found in 'Connection' header"
	case !hasToken(r.Header, "Upgrade", "websocket"):
		return http.StatusBadRequest, notWebSocket + "'websocket' token not found in 'Upgrade' header"
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, notWebSocket + "request method is not GET"
	case !hasToken(r.Header, httpVersion, handshake.Version):
		return http.StatusBadRequest, "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header"
	case responseHeader[httpExtensions] != nil:
		return http.StatusInternalServerError, "websocket: application specific 'Sec-WebSocket-Extensions' headers are unsupported"
	}
	checkOrigin := u.CheckOrigin
	if checkOrigin == nil {
		checkOrigin = sameOrigin
	}
	if !checkOrigin(r) {
		return http.StatusForbidden, "websocket: request origin not allowed by Upgrader.CheckOrigin"
	}
	if !validKey(r.Header.Get(httpKey)) {
		return http.StatusBadRequest, "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length"
	}
	return 0, ""
}

// sameOrigin is the default of Upgrader.CheckOrigin.
func sameOrigin(r *http.Request) bool {
	origin := r.Header["Origin"]
	if len(origin) == 0 {
		return true
	}
	u, err := url.Parse(origin[0])
	return err == nil && equalFold(u.Host, r.Host)
}

// validKey reports whether a key is 16 bytes in base64 (RFC 6455 §4.2.1).
func validKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
}

// choose returns the subprotocol to agree to, or "".
func (u *Upgrader) choose(r *http.Request, responseHeader http.Header) string {
	if u.Subprotocols == nil {
		return responseHeader.Get(httpProtocol)
	}
	asked := Subprotocols(r)
	for _, p := range u.Subprotocols {
		for _, q := range asked {
			if p == q {
				return p
			}
		}
	}
	return ""
}

// Upgrade opens a connection in answer to a request of net/http. responseHeader is added
// to the answer: cookies, or a subprotocol if Upgrader.Subprotocols is nil. The request's
// context may carry Options.
//
// A refused request is answered by Upgrader.Error, and the error is a HandshakeError.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request, responseHeader http.Header) (*Conn, error) {
	if status, reason := u.check(r, responseHeader); reason != "" {
		return u.refuse(w, r, status, reason)
	}
	s := settings{
		readBuffer: u.ReadBufferSize, writeBuffer: u.WriteBufferSize, pool: u.WriteBufferPool, options: optionsOf(r.Context()),
		subprotocol: u.choose(r, responseHeader),
	}
	var extension []byte
	if u.EnableCompression {
		s.deflate, extension = accepted(r.Header)
	}
	nc, brw, err := http.NewResponseController(w).Hijack()
	switch {
	case errors.Is(err, http.ErrNotSupported):
		return u.refuse(w, r, http.StatusInternalServerError, "websocket: response does not implement http.Hijacker")
	case err != nil:
		return u.refuse(w, r, http.StatusInternalServerError, err.Error())
	case brw.Reader.Buffered() > 0:
		nc.Close()
		return nil, errors.New("websocket: client sent data before handshake is complete")
	}
	timeout := u.HandshakeTimeout
	if timeout <= 0 {
		timeout = defaultHandshakeTimeout
	}
	_ = nc.SetDeadline(time.Time{}) // the deadlines of the server
	// Before the answer: the client may send as soon as it has that.
	c, err := open(nc, frame.Server, &s)
	if err == nil {
		_ = nc.SetWriteDeadline(time.Now().Add(timeout))
		_, err = nc.Write(answer(r, &s, extension, responseHeader))
		_ = nc.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// accepted returns which of a request's offers to accept, and the header value for the
// answer.
func accepted(h http.Header) (*deflate.Params, []byte) {
	p, x, ok := noContextTakeover.Choose(extensions(h))
	if !ok {
		return nil, nil
	}
	line, err := handshake.AppendExtensions(nil, []handshake.Extension{x})
	if err != nil {
		return nil, nil
	}
	return &p, line
}

// answer returns the 101 response.
func answer(r *http.Request, s *settings, extension []byte, more http.Header) []byte {
	b := make([]byte, 0, 512)
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = handshake.AppendAccept(b, r.Header.Get(httpKey))
	b = append(b, "\r\n"...)
	if s.subprotocol != "" {
		b = appendLine(b, protocolName, s.subprotocol)
	}
	if extension != nil {
		b = appendLine(b, extensionsName, string(extension))
	}
	for name, values := range more {
		if name == httpProtocol {
			continue
		}
		for _, v := range values {
			b = appendLine(b, name, v)
		}
	}
	return append(b, "\r\n"...)
}

// appendLine appends a header line, with a space for each control character: so a value
// cannot end a line.
func appendLine(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	for i := range len(value) {
		c := value[i]
		if c < ' ' {
			c = ' '
		}
		b = append(b, c)
	}
	return append(b, "\r\n"...)
}

// Upgrade is Upgrader.Upgrade without the comparison of Origin, which the caller must do.
// It sends no answer if it refuses.
//
// Deprecated: Use Upgrader.
func Upgrade(w http.ResponseWriter, r *http.Request, responseHeader http.Header, readBufSize, writeBufSize int) (*Conn, error) {
	u := Upgrader{
		ReadBufferSize: readBufSize, WriteBufferSize: writeBufSize,
		Error:       func(http.ResponseWriter, *http.Request, int, error) {},
		CheckOrigin: func(*http.Request) bool { return true },
	}
	return u.Upgrade(w, r, responseHeader)
}
