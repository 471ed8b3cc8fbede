package handshake

import (
	"net/http"
	"slices"
)

// A Response is a server's answer that switches protocols. On a client [ParseResponse]
// fills it; its strings are copies. On a server [AppendResponse] writes it, and Header
// has the application's lines.
type Response struct {
	Limits  Limits  // for ParseResponse
	Relaxed Relaxed // for ParseResponse

	Status      int         // 101 after ParseResponse has returned n > 0 without an error
	Subprotocol string      // the chosen one; "" if there is none
	Extensions  []Extension // the agreed ones
	Header      http.Header // of a client: all lines; of a server: the application's

	scan      scanner
	ready     bool
	interim   int
	fields    int // where the header lines begin
	accepts   int // lines of Sec-WebSocket-Accept
	accept    bool
	upgrade   bool
	connected bool
	protocols int  // lines of Sec-WebSocket-Protocol that are not empty
	protocol  span // the last of them
	extension extensionCount
}

// Reset makes p ready for another answer, and keeps Limits and Relaxed.
func (p *Response) Reset() { *p = Response{Limits: p.Limits, Relaxed: p.Relaxed} }

// ParseResponse parses the server's answer to req. b has all the bytes received so far. n
// is the length of the handshake, or 0 if more bytes are needed. Call it then with the
// same p and a longer b. Bytes after the handshake are frames. Interim answers (1xx
// except 101) are skipped, and their headers dropped.
//
// Every error is an [*Error] with the status, if that was read. For a complete head that
// does not switch protocols n is its length, and the answer's body follows. [ErrStatus]
// reports a status other than 101, with the header. In a 101 Content-Length and
// Transfer-Encoding have no meaning and are ignored.
//
// Header and Extensions are set once the head is complete. Before that no header line is
// kept.
func ParseResponse(p *Response, req *Request, b []byte) (n int, err error) {
	if !p.ready {
		p.scan.limits = p.Limits.withDefaults()
		p.scan.Relaxed, p.scan.strict = p.Relaxed, true
		p.scan.begin()
		p.ready = true
	}
	for p.scan.state != atHead {
		if !p.scan.next(b) {
			if p.scan.err != nil {
				p.scan.err.Status = p.Status
				return 0, p.scan.err
			}
			return 0, nil
		}
		switch {
		case p.scan.state == atHead:
			if p.Status/100 != 1 || p.Status == http.StatusSwitchingProtocols {
				continue
			}
			if p.interim++; p.interim > p.scan.limits.Interim {
				return 0, p.refuse(ErrInterim.passed(p.scan.limits.Interim))
			}
			*p = Response{Limits: p.Limits, Relaxed: p.Relaxed, scan: p.scan, ready: true, interim: p.interim}
			p.scan.begin()
		case p.scan.first:
			if e := p.statusLine(b); e != nil {
				return 0, p.refuse(e)
			}
			p.fields = p.scan.pos
		default:
			p.header(req, b)
		}
	}
	p.Header = p.scan.header(b, p.fields)
	if e := p.verdict(req, b); e != nil {
		return p.scan.pos, p.refuse(e)
	}
	return p.scan.pos, nil
}

func (p *Response) refuse(e *Error) error {
	p.scan.err, p.scan.state = e.answered(p.Status, p.Header), scanFailed
	return p.scan.err
}

// statusLine begins a new answer from its first line.
func (p *Response) statusLine(b []byte) (e *Error) {
	p.Status, e = statusOf(b[p.scan.cur.value.from:p.scan.cur.value.to])
	return e
}

// statusOf parses HTTP/1.1 SP 3DIGIT [SP reason] (RFC 9112 §4). Some servers leave out
// the last space with the reason. ErrResponseVersion has the status too, because HTTP/1.0
// has none below 200.
func statusOf(l []byte) (status int, e *Error) {
	if len(l) < 12 || l[8] != ' ' || !digits(l[9:12]) || len(l) > 12 && l[12] != ' ' {
		return 0, ErrStatusLine
	}
	major, minor, ok := httpVersion(l[:8])
	if !ok || l[9] == '0' {
		return 0, ErrStatusLine
	}
	status = int(l[9]-'0')*100 + int(l[10]-'0')*10 + int(l[11]-'0')
	if major != 1 || minor == 0 && status < 200 {
		return status, ErrResponseVersion
	}
	return status, nil
}

// header records what a line says. It keeps no text yet.
func (p *Response) header(req *Request, b []byte) {
	if p.Status != http.StatusSwitchingProtocols {
		return
	}
	l := &p.scan.cur
	name, value := b[l.name.from:l.name.to], b[l.value.from:l.value.to]
	p.scan.looked += len(value)
	switch {
	case equalFold(name, "Upgrade"):
		p.upgrade = p.upgrade || hasToken(value, "websocket")
	case equalFold(name, "Connection"):
		p.connected = p.connected || hasToken(value, "upgrade")
	case equalFold(name, "Sec-WebSocket-Accept"):
		p.accepts++
		p.accept = validAccept(value, &req.Key)
	case equalFold(name, "Sec-WebSocket-Protocol"):
		if len(value) > 0 {
			p.protocols++
			p.protocol = l.value
		}
	case equalFold(name, "Sec-WebSocket-Extensions"):
		p.scan.looked += countExtensions(&p.extension, value)
	}
}

// verdict checks the whole answer, in the order of RFC 6455 §4.1.
func (p *Response) verdict(req *Request, head []byte) *Error {
	switch {
	case p.Status != http.StatusSwitchingProtocols:
		return ErrStatus
	case !p.upgrade:
		return ErrUpgrade
	case !p.connected:
		return ErrConnection
	case p.accepts != 1 || !p.accept:
		return ErrAccept
	}
	if e := p.extension.over(p.scan.limits); e != nil {
		return e
	}
	if p.extension.broken {
		return ErrExtensions
	}
	if p.extension.elements > 0 {
		p.Extensions = slices.Grow(p.Extensions, p.extension.elements)
		for _, value := range p.Header["Sec-Websocket-Extensions"] {
			p.Extensions, _ = parseExtensions(p.Extensions, value)
		}
	}
	for _, e := range p.Extensions {
		if !offeredExtension(req.Extensions, e.Name) {
			return ErrExtension
		}
	}
	if p.protocols == 0 {
		return nil
	}
	name, ok := offeredProtocol(req.Subprotocols, head[p.protocol.from:p.protocol.to])
	if p.protocols > 1 || !ok {
		return ErrProtocol
	}
	p.Subprotocol = name
	return nil
}

func offeredExtension(list []Extension, name string) bool {
	for i := range list {
		if list[i].Name == name {
			return true
		}
	}
	return false
}

// offeredProtocol returns the client's own string, so that the connection does not keep
// the memory of the answer.
func offeredProtocol(list []string, name []byte) (string, bool) {
	for _, p := range list {
		if equal(name, p) {
			return p, true
		}
	}
	return "", false
}

// AppendResponse appends the 101 answer to a key (RFC 6455 §4.2.2), with the subprotocol,
// the extensions and the header of p. No value can end its line. If something is invalid
// it returns dst unchanged and an error that matches [ErrValue] or [ErrReserved]. It does
// not check that the subprotocol was offered.
func AppendResponse[K ~string | ~[]byte](dst []byte, key K, p *Response) ([]byte, error) {
	if !validKey(key) {
		return dst, ErrValue.named("Sec-WebSocket-Key")
	}
	if p.Subprotocol != "" && !isToken(p.Subprotocol) {
		return dst, ErrValue.named("Sec-WebSocket-Protocol")
	}
	if err := checkHeader(p.Header); err != nil {
		return dst, err
	}
	b := append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = append(AppendAccept(b, key), "\r\n"...)
	if p.Subprotocol != "" {
		b = appendLine(b, "Sec-WebSocket-Protocol", p.Subprotocol)
	}
	if len(p.Extensions) > 0 {
		b = append(b, "Sec-WebSocket-Extensions: "...)
		var err error
		if b, err = AppendExtensions(b, p.Extensions); err != nil {
			return dst, err
		}
		b = append(b, "\r\n"...)
	}
	b = appendHeader(b, p.Header)
	return append(b, "\r\n"...), nil
}
