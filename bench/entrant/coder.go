package entrant

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// coder is github.com/coder/websocket. It has no UTF-8 check and no option for its read
// buffer. Contexts are context.Background(), which costs least.
type coder struct {
	reuse bool
}

func (c coder) Info() Info {
	i := Info{Name: "coder", Module: "github.com/coder/websocket", Calls: "Read, Write", Check: "caller, unicode/utf8", Deflate: true}
	if c.reuse {
		i.Name, i.Calls = "coder-reuse", "Reader into one reused buffer, Write"
	}
	return i
}

func (e coder) Dial(o Options) (Conn, error) {
	t := &http.Transport{
		DialContext:     func(_ context.Context, _, address string) (net.Conn, error) { return o.netDial(address) },
		TLSClientConfig: o.TLS,
	}
	do := &websocket.DialOptions{HTTPClient: &http.Client{Transport: t}}
	if o.Deflate {
		do.CompressionMode = websocket.CompressionContextTakeover
	}
	c, _, err := websocket.Dial(context.Background(), o.URL, do)
	if err != nil {
		return nil, err
	}
	return newCoderConn(c, e, o), nil
}

func (e coder) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		handOver(newCoderConn(c, e, o), serve)
	})
}

// Broadcast writes to one connection after the other: the library has no prepared
// message.
func (coder) Broadcast(conns []Conn, p []byte) error {
	for _, c := range conns {
		if err := c.(*coderConn).c.Write(context.Background(), websocket.MessageText, p); err != nil {
			return err
		}
	}
	return nil
}

type coderConn struct {
	c     *websocket.Conn
	check bool
	reuse bool
	buf   bytes.Buffer
	next  int
}

func newCoderConn(c *websocket.Conn, e coder, o Options) *coderConn {
	c.SetReadLimit(16 << 20) // the default of the others
	return &coderConn{c: c, check: o.CheckUTF8, reuse: e.reuse}
}

// read returns the next message. It uses Read, "a convenience method around Reader to
// read a single message". With reuse it uses Reader and one buffer, which avoids the
// growing slice of Read.
func (c *coderConn) read() (p []byte, err error) {
	kind := websocket.MessageText
	if c.reuse {
		k, r, err := c.c.Reader(context.Background())
		if err != nil {
			return nil, err
		}
		c.buf.Reset()
		if _, err = c.buf.ReadFrom(r); err != nil {
			return nil, err
		}
		kind, p = k, c.buf.Bytes()
	} else if kind, p, err = c.c.Read(context.Background()); err != nil {
		return nil, err
	}
	if c.check && kind == websocket.MessageText && !utf8.Valid(p) {
		return nil, ErrUTF8
	}
	return p, nil
}

// View reads one message.
func (c *coderConn) View(f func(p []byte)) error { return view(c.read, f) }

func (c *coderConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := c.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

// Send uses Write, which sends a message in one frame. Writer would need a second one.
func (c *coderConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := c.c.Write(context.Background(), websocket.MessageText, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *coderConn) Echo() error {
	for {
		p, err := c.read()
		if err != nil {
			return err
		}
		if err := c.c.Write(context.Background(), websocket.MessageText, p); err != nil {
			return err
		}
	}
}

func (c *coderConn) Close() error { return c.c.CloseNow() }
