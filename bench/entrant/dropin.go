package entrant

import (
	"context"
	"net"
	"net/http"
	"sync"
	"unicode/utf8"

	websocket "github.com/seed-7f57ff33/tickwire/conn/gorilla"
)

// dropIn is this module's conn/gorilla, called in the same way as gorilla.
type dropIn struct{}

func (dropIn) Info() Info {
	return Info{
		Name: "tickwire-gorilla", Module: tickwireModule, Calls: "conn/gorilla, the API of gorilla: ReadMessage, WriteMessage", Check: "caller, unicode/utf8",
		In: []string{"feed", "idle", "sdk"},
	}
}

func (dropIn) Dial(o Options) (Conn, error) {
	d := websocket.Dialer{
		NetDialContext:  func(_ context.Context, _, address string) (net.Conn, error) { return o.netDial(address) },
		TLSClientConfig: o.TLS,
		ReadBufferSize:  ReadBuffer, WriteBufferSize: writeBuffer,
	}
	c, _, err := d.Dial(o.URL, nil)
	if err != nil {
		return nil, err
	}
	return &dropInConn{c: c, check: o.CheckUTF8}, nil
}

var dropInWriteBuffers sync.Pool

func (dropIn) Serve(l net.Listener, o Options, serve func(Conn)) error {
	u := websocket.Upgrader{ReadBufferSize: ReadBuffer, WriteBufferSize: writeBuffer}
	if o.Lean { // gorilla gets the same
		u.ReadBufferSize, u.WriteBufferSize = leanBuffer, leanBuffer
		u.WriteBufferPool = &dropInWriteBuffers
	}
	return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		handOver(&dropInConn{c: c, check: o.CheckUTF8}, serve)
	})
}

// dropInConn calls its library directly, as gorillaConn and fastConn do. A call through
// an interface or a type parameter would be measured too.
type dropInConn struct {
	c     *websocket.Conn
	check bool
	next  int
}

func (c *dropInConn) read() ([]byte, error) {
	kind, p, err := c.c.ReadMessage()
	if err == nil && c.check && kind == websocket.TextMessage && !utf8.Valid(p) {
		return nil, ErrUTF8
	}
	return p, err
}

func (c *dropInConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := c.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

func (c *dropInConn) Send(n int, messages [][]byte) error {
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

func (c *dropInConn) Echo() error {
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

func (c *dropInConn) Close() error { return c.c.Close() }
