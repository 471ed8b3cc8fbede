package handshake

import (
	"net/http"
	"strings"
)

// AppendConnect appends a CONNECT request: it asks a proxy for a tunnel to authority, a
// host and a port (RFC 9110 §9.3.6). h has the caller's header lines, which are sorted by
// name. They may include Proxy-Authorization and Proxy-Connection. If something is
// invalid it returns dst unchanged and an error that matches [ErrValue] or [ErrReserved].
func AppendConnect(dst []byte, authority string, h http.Header) ([]byte, error) {
	if i := strings.LastIndexByte(authority, ':'); i <= strings.IndexByte(authority, ']') || i == len(authority)-1 || !validHost(authority) {
		return dst, ErrValue.named("request target")
	}
	for name, values := range h {
		own := equalFold(name, "Proxy-Authorization") || equalFold(name, "Proxy-Connection")
		if err := checkLine(name, values, !own); err != nil {
			return dst, err
		}
	}
	b := append(append(dst, "CONNECT "...), authority...)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendLine(b, "Host", authority)
	return append(appendHeader(b, h), "\r\n"...), nil
}

// A ConnectResponse is a proxy's answer to CONNECT (RFC 9110 §9.3.6), filled by
// [ParseConnect].
type ConnectResponse struct {
	Limits Limits // for ParseConnect

	Status int         // 2xx after ParseConnect has returned n > 0 without an error
	Header http.Header // of the answer

	scan    scanner
	ready   bool
	interim int
	fields  int // where the header lines begin
}

// ParseConnect parses a proxy's answer to CONNECT. b has all the bytes received so far. n
// is the length of the answer's head, or 0 if more bytes are needed. Call it then with
// the same p and a longer b. After a 2xx all bytes after the head belong to the tunnel,
// whatever Content-Length and Transfer-Encoding say. Interim answers (1xx except 101) are
// skipped, and their headers dropped.
//
// The header of a 2xx has no meaning, so only the status line and the blank line must be
// valid. Lines may end in LF alone and invalid header lines are skipped, as with both
// fields of [Relaxed] set. The limits hold.
//
// Every error is an [*Error] with the status, if that was read. A status other than 2xx
// is [ErrTunnel]. So is 101, because a CONNECT asks for no other protocol. With ErrTunnel
// the header is set and n is the length of the head. The answer's body follows the head.
//
// p.Header is set once the head is complete. Before that no header line is kept.
func ParseConnect(p *ConnectResponse, b []byte) (n int, err error) {
	if !p.ready {
		p.scan.limits = p.Limits.withDefaults()
		p.scan.Relaxed = Relaxed{BareLF: true, OddLines: true}
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
			p.Status = 0
			p.scan.begin()
		case p.scan.first:
			var e *Error
			if p.Status, e = statusOf(b[p.scan.cur.value.from:p.scan.cur.value.to]); e != nil {
				return 0, p.refuse(e)
			}
			p.fields = p.scan.pos
		}
	}
	p.Header = p.scan.header(b, p.fields)
	if p.Status/100 != 2 {
		return p.scan.pos, p.refuse(ErrTunnel)
	}
	return p.scan.pos, nil
}

func (p *ConnectResponse) refuse(e *Error) error {
	p.scan.err, p.scan.state = e.answered(p.Status, p.Header), scanFailed
	return p.scan.err
}
