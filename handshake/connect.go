package handshake

import (
	"net/http"
	"strings"
)

// AppendConnect appends a request for a tunnel to authority, a host and a port (RFC 9110
// §9.3.6), with the caller's header lines, sorted by name. Like [AppendRequest] it
// returns dst unchanged and an error that matches [ErrValue] or [ErrReserved]. The lines
// may include Proxy-Authorization and Proxy-Connection.
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

	Status int         // 2xx once it was parsed without an error
	Header http.Header // of the answer

	scan    scanner
	ready   bool
	interim int
	fields  int // where the header lines begin
}

// ParseConnect reads a proxy's answer to CONNECT from all the bytes received so far. n is
// the length of the answer's head, or 0 if more bytes are needed: call it again with the
// same p and a longer b. After a 2xx everything after the head belongs to the tunnel,
// whatever Content-Length and Transfer-Encoding say. Interim answers (1xx except 101) are
// skipped, and their headers dropped.
//
// The status line and the blank line are enough: the header of a 2xx has no meaning. So
// lines may end in LF alone, and lines that are no header lines are skipped, as with both
// rules of [Relaxed] set. The limits hold.
//
// Every error is an [*Error] with the status, if that was read. A status other than 2xx
// is [ErrTunnel], also 101, because a CONNECT asks for no other protocol. It comes with
// the header and the length of the head; the answer's body follows.
//
// Header is set once the head is complete. Until then nothing of it is kept.
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
