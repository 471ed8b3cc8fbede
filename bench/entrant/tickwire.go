package entrant

import (
	"crypto/tls"
	"net"
	"net/url"

	"github.com/seed-7f57ff33/tickwire/frame"

	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// tickFrame is tickwire's frame engine alone, over a handshake by hand.
type tickFrame struct{}

func (tickFrame) Info() Info {
	return Info{
		Name: "tickwire/frame", Module: tickwireModule, Raw: true,
		Calls: "frame.Reader.Next, frame.Writer.Write", Check: "library",
	}
}

func (tickFrame) Dial(o Options) (Conn, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	nc, err := o.netDial(u.Host)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		nc = tls.Client(nc, o.TLS)
	}
	if err := wire.Open(nc); err != nil {
		return nil, err
	}
	return newTickFrameConn(nc, frame.Client, o), nil
}

func (tickFrame) Serve(l net.Listener, o Options, serve func(Conn)) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			if wire.Answer(nc, false) == nil {
				serve(newTickFrameConn(nc, frame.Server, o))
			}
		}()
	}
}

type tickFrameConn struct {
	nc   net.Conn
	r    *frame.Reader
	w    *frame.Writer
	next int
}

func newTickFrameConn(nc net.Conn, role frame.Role, o Options) *tickFrameConn {
	return &tickFrameConn{nc: nc, r: frame.NewReader(nc, role, frame.Options{SkipUTF8: !o.CheckUTF8}), w: frame.NewWriter(nc, role)}
}

func (c *tickFrameConn) Receive(n int, t *Tally) error {
	for range n {
		m, err := c.r.Next()
		if err != nil {
			return err
		}
		t.Take(m.Data)
	}
	return nil
}

func (c *tickFrameConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := c.w.Write(frame.Text, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *tickFrameConn) Echo() error {
	for {
		m, err := c.r.Next()
		if err != nil {
			return err
		}
		if err := c.w.Write(frame.Text, m.Data); err != nil {
			return err
		}
	}
}

func (c *tickFrameConn) Close() error { return c.nc.Close() }
