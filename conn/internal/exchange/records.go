package exchange

import (
	"net"
	"sync"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// RecordPerMessage returns the listener to give to tls.NewListener in the place of l, so that a Server over it sends each message in a TLS record
// of its own, as most exchanges do. The records of a batch still leave in one piece: the consumer is what is measured.
func RecordPerMessage(l net.Listener) net.Listener { return corkedListener{l} }

type corkedListener struct{ net.Listener }

func (l corkedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corked{Conn: nc}, nil
}

// corked keeps what is written while it is closed, up to about a batch.
type corked struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	kept   []byte
}

// corkOf returns what is under the TLS of c; nil if that is none of RecordPerMessage.
func corkOf(c *conn.Conn) *corked {
	if t, ok := c.NetConn().(interface{ NetConn() net.Conn }); ok {
		k, _ := t.NetConn().(*corked)
		return k
	}
	return nil
}

func (k *corked) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		return k.Conn.Write(p)
	}
	k.kept = append(k.kept, p...)
	if len(k.kept) < batch {
		return len(p), nil
	}
	if err := k.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (k *corked) flush() error {
	_, err := k.Conn.Write(k.kept)
	k.kept = k.kept[:0]
	return err
}

// cork has what is written kept, until uncork.
func (k *corked) cork() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
}

func (k *corked) uncork() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = false
	return k.flush()
}

// write writes the message in f.scratch, in a record of its own or with others.
func (f *feed) write() error {
	if f.cork != nil {
		return f.conn.WriteMessage(frame.Text, f.scratch)
	}
	return f.conn.AppendMessage(frame.Text, f.scratch)
}

// flush ends a batch.
func (f *feed) flush() error {
	if f.cork != nil {
		return f.cork.uncork()
	}
	return f.conn.Flush()
}
