package entrant

import (
	"context"
	"net"
	"sync"
	"unicode/utf8"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// fast is github.com/fasthttp/websocket, whose server runs in valyala/fasthttp. It leaves
// the UTF-8 check of messages to the application, and offers permessage-deflate without
// context takeover only.
type fast struct{}

func (fast) Info() Info {
	return Info{
		Name: "fasthttp", Module: "github.com/fasthttp/websocket",
		Calls: "ReadMessage, WriteMessage, WritePreparedMessage, FastHTTPUpgrader", Check: "caller, unicode/utf8",
	}
}

func (fast) Dial(o Options) (Conn, error) {
	d := websocket.Dialer{
		NetDialContext:  func(_ context.Context, _, address string) (net.Conn, error) { return o.netDial(address) },
		TLSClientConfig: o.TLS,
		ReadBufferSize:  ReadBuffer, // "can reduce the number of system calls" (doc.go, Buffers)
		WriteBufferSize: writeBuffer,
	}
	c, _, err := d.Dial(o.URL, nil)
	if err != nil {
		return nil, err
	}
	return &fastConn{c: c, check: o.CheckUTF8}, nil
}

// fastWriteBuffers follows the documentation for "a modest volume of writes across a
// large number of connections".
var fastWriteBuffers sync.Pool

func (fast) Serve(l net.Listener, o Options, serve func(Conn)) error {
	u := websocket.FastHTTPUpgrader{ReadBufferSize: ReadBuffer, WriteBufferSize: writeBuffer}
	if o.Lean {
		u.ReadBufferSize, u.WriteBufferSize = leanBuffer, leanBuffer
		u.WriteBufferPool = &fastWriteBuffers
	}
	s := &fasthttp.Server{ReduceMemoryUsage: o.Lean, Handler: func(ctx *fasthttp.RequestCtx) {
		// The upgrader runs the handler in the goroutine of the hijacked connection.
		_ = u.Upgrade(ctx, func(c *websocket.Conn) { serve(&fastConn{c: c, check: o.CheckUTF8}) })
	}}
	return s.Serve(l)
}

// Broadcast prepares the message once.
func (fast) Broadcast(conns []Conn, p []byte) error {
	m, err := websocket.NewPreparedMessage(websocket.TextMessage, p)
	if err != nil {
		return err
	}
	for _, c := range conns {
		if err := c.(*fastConn).c.WritePreparedMessage(m); err != nil {
			return err
		}
	}
	return nil
}

type fastConn struct {
	c     *websocket.Conn
	check bool
	next  int
}

func (c *fastConn) read() ([]byte, error) {
	kind, p, err := c.c.ReadMessage()
	if err == nil && c.check && kind == websocket.TextMessage && !utf8.Valid(p) {
		return nil, ErrUTF8
	}
	return p, err
}

func (c *fastConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := c.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

func (c *fastConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := c.c.WriteMessage(websocket.TextMessage, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *fastConn) Echo() error {
	for {
		p, err := c.read()
		if err != nil {
			return err
		}
		if err := c.c.WriteMessage(websocket.TextMessage, p); err != nil {
			return err
		}
	}
}

func (c *fastConn) Close() error { return c.c.Close() }
