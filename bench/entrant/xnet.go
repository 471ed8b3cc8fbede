package entrant

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"unicode/utf8"

	"golang.org/x/net/websocket"
)

// xnet is golang.org/x/net/websocket. It has no UTF-8 check and no permessage-deflate,
// and its buffers have no option.
type xnet struct{}

func (xnet) Info() Info {
	return Info{
		Name: "x/net", Module: "golang.org/x/net",
		Calls: "Message.Receive, Conn.Write with PayloadType", Check: "caller, unicode/utf8",
	}
}

func (xnet) Dial(o Options) (Conn, error) {
	config, err := websocket.NewConfig(o.URL, "http://localhost/")
	if err != nil {
		return nil, err
	}
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
	c, err := websocket.NewClient(config, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return newXnetConn(c, o), nil
}

func (xnet) Serve(l net.Listener, o Options, serve func(Conn)) error {
	s := websocket.Server{
		Handshake: func(*websocket.Config, *http.Request) error { return nil }, // no origin check, like the others
		// The connection ends when the handler returns, so handOver cannot be used.
		Handler: func(c *websocket.Conn) { serve(newXnetConn(c, o)) },
	}
	return serveHTTP(l, s.ServeHTTP)
}

// Broadcast writes to one connection after the other: the library has no prepared
// message.
func (xnet) Broadcast(conns []Conn, p []byte) error {
	for _, c := range conns {
		if _, err := c.(*xnetConn).c.Write(p); err != nil {
			return err
		}
	}
	return nil
}

type xnetConn struct {
	c     *websocket.Conn
	check bool
	data  []byte
	next  int
}

func newXnetConn(c *websocket.Conn, o Options) *xnetConn {
	c.PayloadType = websocket.TextFrame
	c.MaxPayloadBytes = 16 << 20
	return &xnetConn{c: c, check: o.CheckUTF8}
}

// read uses Message.Receive: Conn.Read does not show where a message ends.
func (c *xnetConn) read() ([]byte, error) {
	if err := websocket.Message.Receive(c.c, &c.data); err != nil {
		return nil, err
	}
	if c.check && !utf8.Valid(c.data) {
		return nil, ErrUTF8
	}
	return c.data, nil
}

func (c *xnetConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := c.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

// Send uses Conn.Write, which saves the conversion to a string that Message.Send needs
// for text.
func (c *xnetConn) Send(n int, messages [][]byte) error {
	for range n {
		if _, err := c.c.Write(messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *xnetConn) Echo() error {
	for {
		p, err := c.read()
		if err != nil {
			return err
		}
		if _, err := c.c.Write(p); err != nil {
			return err
		}
	}
}

func (c *xnetConn) Close() error { return c.c.Close() }
