package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// seenMost is how much an error shows of what came and could not be understood.
const seenMost = 64

// shown returns the beginning of what came, without secrets, so that it can be shown. If
// it looks like HTTP it is the first line only, because later ones may have cookies. It
// is never nil.
func shown(b []byte, secrets []string) []byte {
	const overlap = 8                     // this many bytes of a secret are taken for the secret
	b = b[:min(len(b), seenMost+overlap)] // the bytes after them show whether the last ones begin a secret
	clean := append([]byte{}, b...)
	for _, s := range secrets {
		k := min(overlap, len(s))
		for i := 0; k > 0 && i+k <= len(b); i++ {
			if strings.Contains(s, string(b[i:i+k])) {
				copy(clean[i:], "********"[:k])
			}
		}
	}
	b = clean[:min(len(clean), seenMost)]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && bytes.HasPrefix(b, []byte("HTTP/")) {
		b = b[:i+1]
	}
	return b
}

// secrets are what of a request's head, and of the credentials in URLs, may not be shown.
// Shorter values than four bytes are no secrets, but a password is.
func (o *dialAttempt) secrets(request []byte) (secrets []string) {
	add := func(words ...string) {
		for _, w := range words {
			if len(w) >= 4 {
				secrets = append(secrets, w)
			}
		}
	}
	for _, request := range [][]byte{request, o.connected} { // a proxy may answer late, or a server repeat what a proxy passed on
		_, lines, _ := strings.Cut(string(request), "\r\n")
		for line := range strings.SplitSeq(lines, "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions":
			default:
				add(value)
				add(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ;,=", r) })...)
			}
		}
	}
	for _, user := range []*url.Userinfo{o.first.User, o.proxyUser} {
		add(user.Username())
		if password, _ := user.Password(); password != "" {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

// couldNotRead keeps the beginning of what came in the place of an answer.
func (o *dialAttempt) couldNotRead(b, request []byte) { o.seen = shown(b, o.secrets(request)) }

// noTLS is couldNotRead for an error of a TLS handshake, where what came is not TLS.
func (o *dialAttempt) noTLS(err error, h *heard) {
	var b []byte
	if h != nil {
		b = h.b
	}
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		if !bytes.HasPrefix(b, header.RecordHeader[:]) { // of a later record
			b = header.RecordHeader[:]
		}
		o.couldNotRead(b, nil)
	case h != nil && looksLike(b) != likeTLS && (len(b) > 0 || ended(err) || o.ctx.Err() != nil):
		o.couldNotRead(b, nil)
	}
}

// ended reports whether err is the end of what came.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// heard is the beginning of what came on a connection.
type heard struct{ b []byte }

func (h *heard) hear(p []byte) {
	if n := min(len(p), seenMost-len(h.b)); n > 0 {
		h.b = append(h.b, p[:n]...)
	}
}

// A hearing connection notes the beginning of what comes.
type hearing struct {
	net.Conn
	heard heard
}

func (c *hearing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && n <= len(p) {
		c.heard.hear(p[:n])
	}
	return n, err
}

// NetConn returns the connection below.
func (c *hearing) NetConn() net.Conn { return c.Conn }

// A socksConn is a hearing one to what should be a SOCKS proxy. The package that speaks
// SOCKS reads no more than it needs: two bytes do not tell what else the other end is.
type socksConn struct{ hearing }

func (c *socksConn) Read(p []byte) (int, error) {
	first := len(c.heard.b) == 0
	n, err := c.hearing.Read(p)
	if first && n > 0 && p[0] != 5 { // RFC 1928 §3; nothing more will be asked for
		_ = c.SetReadDeadline(time.Now().Add(bodyWait))
		_, _ = c.hearing.Read(make([]byte, seenMost))
	}
	return n, err
}

// describe is what an error says of what came: nothing of nil.
func describe(seen []byte) string {
	switch {
	case seen == nil:
		return ""
	case len(seen) == 0:
		return ": no byte came"
	}
	s := ": got " + strconv.QuoteToASCII(string(seen))
	if like := looksLike(seen); like != "" {
		s += ", which looks like " + like
	}
	return s
}

const likeTLS = "TLS"

// greetings are how other protocols begin, in lower case.
var greetings = []struct{ prefix, like string }{
	{"http/", "HTTP"},
	{"pri * http/2", "the preface of HTTP/2"},
	{"get ", "an HTTP request, or an echo of ours"},
	{"connect ", "an HTTP request, or an echo of ours"},
	{"post ", "an HTTP request"},
	{"ssh-", "SSH"},
	{"rtsp/", "RTSP"},
	{"sip/", "SIP"},
	{"icy ", "ICY (SHOUTcast)"},
	{"proxy tcp", "a PROXY protocol header"},
	{"\r\n\r\n\x00\r\nquit\n", "a PROXY protocol header"},
	{"-err", "Redis"},
	{"-noauth", "Redis"},
	{"-denied", "Redis"},
	{"-wrongpass", "Redis"},
	{"+pong", "Redis"},
	{"+ok", "POP3, or Redis"},
	{"* ok", "IMAP"},
	{"* bye", "IMAP"},
	{"info {", "NATS"},
	{"amqp", "AMQP"},
	{"rfb 0", "VNC"},
	{"\x00\x5a", "an answer of SOCKS 4"},
	{"\x00\x5b", "an answer of SOCKS 4"},
	{"\x00\x5c", "an answer of SOCKS 4"},
	{"\x00\x5d", "an answer of SOCKS 4"},
	{"\x05", "an answer of SOCKS 5"},
	{"<?xml", "XML without an HTTP head"},
	{"<", "HTML without an HTTP head"},
	{"{", "JSON without an HTTP head"},
	{"[", "JSON without an HTTP head"},
	{"e\x00\x00\x00", "PostgreSQL"},
	{"\x81", "a WebSocket frame without a handshake"},
	{"\x82", "a WebSocket frame without a handshake"},
	{"\x88", "a WebSocket frame without a handshake"},
	{"\x89", "a WebSocket frame without a handshake"},
}

// looksLike names the protocol that bytes are of which are no answer in ours, "" if that
// cannot be told.
func looksLike(b []byte) string {
	switch {
	case len(b) >= 3 && b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] <= 4: // RFC 8446 §5.1
		return likeTLS
	case len(b) >= 9 && b[0]|b[5]|b[6]|b[7]|b[8] == 0 && (b[3] == 4 && b[1] == 0 && b[2]%6 == 0 || b[3] == 7 && b[4] == 0):
		return "a frame of HTTP/2" // RFC 9113 §4.1: SETTINGS or GOAWAY on stream 0
	case len(b) >= 6 && b[3] == 0 && (b[4] == 10 && '0' <= b[5] && b[5] <= '9' || b[4] == 0xff):
		return "MySQL"
	case len(b) >= 4 && '1' <= b[0] && b[0] <= '5' && isDigit(b[1]) && isDigit(b[2]) && (b[3] == ' ' || b[3] == '-'):
		return "a greeting of SMTP or FTP" // RFC 5321 §4.2, RFC 959 §4.2
	}
	text := strings.TrimLeft(string(b), " \t\r\n")
	if strings.HasPrefix(string(b), "\r\n\r\n\x00") {
		text = string(b)
	}
	for _, g := range greetings {
		if len(text) >= len(g.prefix) && lowerASCII(text[:len(g.prefix)]) == g.prefix {
			return g.like
		}
	}
	return ""
}

// lowerASCII leaves alone what is not ASCII, and no UTF-8 either.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] |= 0x20
		}
	}
	return string(b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
