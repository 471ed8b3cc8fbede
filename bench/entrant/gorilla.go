package entrant

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// gorilla is github.com/gorilla/websocket. It leaves the UTF-8 check of messages to the
// application (doc.go, Data Messages). It offers permessage-deflate without context
// takeover only (doc.go, Compression).
type gorilla struct {
	reuse bool
}

func (g gorilla) Info() Info {
	i := Info{Name: "gorilla", Module: "github.com/gorilla/websocket", Calls: "ReadMessage, WriteMessage, WritePreparedMessage", Check: "caller, unicode/utf8"}
	if g.reuse {
		i.Name, i.Calls = "gorilla-reuse", "NextReader into one reused buffer, WriteMessage, WritePreparedMessage"
	}
	return i
}

func (g gorilla) Dial(o Options) (Conn, error) {
	d := websocket.Dialer{
		NetDialContext:  func(_ context.Context, _, address string) (net.Conn, error) { return o.netDial(address) },
		TLSClientConfig: o.TLS,
		// "Increasing the buffer size uses more memory, but can reduce the number of
		// system calls" (doc.go, Buffers).
		ReadBufferSize: ReadBuffer, WriteBufferSize: writeBuffer,
	}
	c, _, err := d.Dial(o.URL, nil)
	if err != nil {
		return nil, err
	}
	return &gorillaConn{c: c, check: o.CheckUTF8, reuse: g.reuse}, nil
}

// gorillaWriteBuffers follows the documentation for "a modest volume of writes across a
// large number of connections".
var gorillaWriteBuffers sync.Pool

func (g gorilla) Serve(l net.Listener, o Options, serve func(Conn)) error {
	u := websocket.Upgrader{ReadBufferSize: ReadBuffer, WriteBufferSize: writeBuffer}
	if o.Lean {
		u.ReadBufferSize, u.WriteBufferSize = leanBuffer, leanBuffer
		u.WriteBufferPool = &gorillaWriteBuffers
	}
	return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		handOver(&gorillaConn{c: c, check: o.CheckUTF8, reuse: g.reuse}, serve)
	})
}

// Broadcast prepares the message once: "PreparedMessage caches on the wire
// representations of a message payload. Use PreparedMessage to efficiently send a message
// payload to multiple connections" (prepared.go).
func (gorilla) Broadcast(conns []Conn, p []byte) error {
	m, err := websocket.NewPreparedMessage(websocket.TextMessage, p)
	if err != nil {
		return err
	}
	for _, c := range conns {
		if err := c.(*gorillaConn).c.WritePreparedMessage(m); err != nil {
			return err
		}
	}
	return nil
}

type gorillaConn struct {
	c     *websocket.Conn
	check bool
	reuse bool
	buf   bytes.Buffer
	next  int
}

// read returns the next message. It uses ReadMessage, the documented helper, which
// allocates it. With reuse it uses NextReader and one buffer, the documented way without
// an allocation.
func (c *gorillaConn) read() (p []byte, err error) {
	kind := 0
	if c.reuse {
		var r io.Reader
		if kind, r, err = c.c.NextReader(); err != nil {
			return nil, err
		}
		c.buf.Reset()
		if _, err = c.buf.ReadFrom(r); err != nil {
			return nil, err
		}
		p = c.buf.Bytes()
	} else if kind, p, err = c.c.ReadMessage(); err != nil {
		return nil, err
	}
	if c.check && kind == websocket.TextMessage && !utf8.Valid(p) {
		return nil, ErrUTF8
	}
	return p, nil
}

// View reads one message.
func (c *gorillaConn) View(f func(p []byte)) error { return view(c.read, f) }

func (c *gorillaConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := c.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

// Send uses WriteMessage, which has a fast path for servers without the writer's object
// and a copy.
func (c *gorillaConn) Send(n int, messages [][]byte) error {
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

func (c *gorillaConn) Echo() error {
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

func (c *gorillaConn) Close() error { return c.c.Close() }
