package exchange

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// RecordPerMessage is tls.NewListener for a Server that sends each message in its own TLS
// record, as most exchanges do. The records of a batch still leave in one write, because
// the consumer is measured.
func RecordPerMessage(l net.Listener, config *tls.Config) net.Listener {
	return framedListener{l, config}
}

type framedListener struct {
	net.Listener
	config *tls.Config
}

func (l framedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	under := &gathered{Conn: nc}
	return &framed{tls.Server(under, l.config), under}, nil
}

// framed is a tls.Conn that writes each of a server's frames in its own record.
type framed struct {
	*tls.Conn
	under *gathered
}

// Write takes whole frames. Other bytes, such as the opening handshake, are cut anywhere.
func (f *framed) Write(p []byte) (written int, err error) {
	f.under.gather()
	for written < len(p) && err == nil {
		n := len(p) - written
		if h, size := frame.ParseHeader(p[written:]); size > 0 && h.Length < uint64(n-size) {
			n = size + int(h.Length)
		}
		n, err = f.Conn.Write(p[written : written+n])
		written += n
	}
	if failed := f.under.flush(); err == nil {
		err = failed
	}
	return written, err
}

// Close closes the connection below at once. Close of a tls.Conn may wait for the peer.
func (f *framed) Close() error { return f.under.Conn.Close() }

// gathered keeps what is written between gather and flush.
type gathered struct {
	net.Conn
	mu      sync.Mutex // the reader may make crypto/tls write too
	gathers bool
	kept    []byte
}

func (g *gathered) gather() {
	g.mu.Lock()
	g.gathers = true
	g.mu.Unlock()
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gathers {
		return g.Conn.Write(p)
	}
	g.kept = append(g.kept, p...)
	return len(p), nil
}

func (g *gathered) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.Conn.Write(g.kept)
	g.gathers, g.kept = false, g.kept[:0]
	return err
}
