package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// showHandshakes prints the requests and answers of d's handshakes line by line, those of
// a proxy too. > marks what this side sends. Values of headers that may be secret are
// hidden.
func showHandshakes(d *conn.Dialer, w io.Writer) {
	secret := map[string]bool{"authorization": true, "proxy-authorization": true, "cookie": true}
	for name := range d.Header {
		secret[strings.ToLower(name)] = true
	}
	d.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newShowing(nc, w, secret), nil
	}
	config := d.TLSConfig
	d.WrapTLS = func(ctx context.Context, nc net.Conn, host conn.TLSHost) (net.Conn, error) {
		c := new(tls.Config)
		if config != nil {
			c = config.Clone()
		}
		if c.ServerName == "" || host.Foreign {
			c.ServerName = host.ServerName
		}
		if host.Foreign {
			c.Certificates = nil
		}
		c.NextProtos = []string{"http/1.1"}
		secure := tls.Client(nc, c)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		s := secure.ConnectionState()
		fmt.Fprintf(w, "* %s, %s\n", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
		return newShowing(secure, w, secret), nil
	}
}

// A showing is a connection whose handshake is printed.
type showing struct {
	net.Conn
	out, in showingHead
}

func newShowing(nc net.Conn, w io.Writer, secret map[string]bool) *showing {
	tunnels := new(atomic.Int32)
	head := func(mark string) showingHead {
		return showingHead{w: w, mark: mark, tunnels: tunnels, secret: secret}
	}
	return &showing{Conn: nc, out: head("> "), in: head("< ")}
}

func (s *showing) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.in.take(p[:n])
	return n, err
}

func (s *showing) Write(p []byte) (int, error) {
	s.out.take(p)
	return s.Conn.Write(p)
}

// NetConn returns the connection below.
func (s *showing) NetConn() net.Conn { return s.Conn }

// CloseWrite closes the outgoing half.
func (s *showing) CloseWrite() error {
	if h, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// A showingHead prints the lines of one direction, up to an empty line. Frames follow, or
// another head: of the server after a proxy's, or after an interim answer.
type showingHead struct {
	w       io.Writer
	mark    string
	tunnels *atomic.Int32   // requests to proxies that are not answered yet
	secret  map[string]bool // lower-case names of headers whose values are cli.Hidden

	mu     sync.Mutex
	done   bool
	hiding bool   // the header of the last line has a secret value, which may continue
	first  string // line of this head
	line   []byte
}

// maxShownLine is the length at which an unfinished line is printed.
const maxShownLine = 4 << 10

func (h *showingHead) take(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(p) > 0 && !h.done {
		if len(h.line) == 0 && p[0] != '\r' && p[0] != '\n' && (p[0] < ' ' || p[0] >= 0x7F) {
			h.done = true // a TLS record, or a frame
			return
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			if h.line = append(h.line, p...); len(h.line) > maxShownLine {
				h.print()
				h.done = true
			}
			return
		}
		h.line = append(h.line, p[:end]...)
		p = p[end+1:]
		h.print()
	}
}

// shown returns a line of the head, with a secret value hidden.
func (h *showingHead) shown(s string) string {
	if h.first == "" || s == "" {
		h.hiding = false
		return s
	}
	if s[0] == ' ' || s[0] == '\t' { // continues the last line
		if h.hiding {
			return " " + cli.Hidden
		}
		return s
	}
	name, _, ok := strings.Cut(s, ":")
	h.hiding = ok && h.secret[strings.ToLower(strings.TrimSpace(name))]
	if h.hiding {
		return name + ": " + cli.Hidden
	}
	return s
}

// print prints the line, and recognizes the end of a head.
func (h *showingHead) print() {
	s := strings.TrimRight(string(h.line), "\r")
	h.line = h.line[:0]
	fmt.Fprintf(h.w, "%s%s\n", h.mark, cli.Printable(h.shown(s)))
	if s != "" {
		if h.first == "" {
			h.first = s
		}
		return
	}
	switch first := h.first; {
	case strings.HasPrefix(first, "CONNECT "):
		h.tunnels.Add(1)
	case strings.HasPrefix(first, "HTTP/") && h.tunnels.Load() > 0:
		h.tunnels.Add(-1)
	case strings.HasPrefix(first, "HTTP/1.1 1") && !strings.HasPrefix(first, "HTTP/1.1 101"):
	default:
		h.done = true
	}
	h.first = ""
}
