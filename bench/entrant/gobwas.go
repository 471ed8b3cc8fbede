package entrant

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// gobwas is github.com/gobwas/ws with its package wsutil, which implements the whole
// protocol.
type gobwas struct{}

func (gobwas) Info() Info {
	return Info{
		Name: "gobwas", Module: "github.com/gobwas/ws", Raw: true,
		Calls: "wsutil.Reader over a 64 KiB bufio.Reader into one reused buffer, wsutil.WriteMessage, CompileFrame; for many connections wsutil.ReadClientData on the bare connection",
		Check: "library (wsutil.Reader.CheckUTF8)",
	}
}

func (gobwas) Dial(o Options) (Conn, error) { return gobwasDial(o, ws.StateClientSide, newGobwasConn) }

func (gobwas) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return gobwasServe(l, o, serve, newGobwasConn)
}

// Broadcast compiles the frame once: "CompileFrame returns byte representation of given
// frame. In terms of memory consumption it is useful to precompile static frames which
// are often used" (write.go).
func (gobwas) Broadcast(conns []Conn, p []byte) error {
	frame, err := ws.CompileFrame(ws.NewTextFrame(p))
	if err != nil {
		return err
	}
	for _, c := range conns {
		if _, err := c.(*gobwasConn).c.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

type gobwasMake func(c net.Conn, br *bufio.Reader, state ws.State, o Options) Conn

func gobwasDial(o Options, state ws.State, make gobwasMake) (Conn, error) {
	d := ws.Dialer{
		NetDial:   func(_ context.Context, _, address string) (net.Conn, error) { return o.netDial(address) },
		TLSConfig: o.TLS,
		// Bytes after the response are then in a buffer of this size, which the reader
		// uses further.
		ReadBufferSize: ReadBuffer,
	}
	c, br, _, err := d.Dial(context.Background(), o.URL)
	if err != nil {
		return nil, err
	}
	return make(c, br, state, o), nil
}

// gobwasServe upgrades the accepted connection without net/http: the README's way
// "without intermediate allocations".
func gobwasServe(l net.Listener, o Options, serve func(Conn), make gobwasMake) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if _, err := ws.Upgrade(c); err != nil {
				c.Close()
				return
			}
			serveHere(make(c, nil, ws.StateServerSide, o), o, serve)
		}()
	}
}

type gobwasConn struct {
	c     net.Conn
	state ws.State
	check bool
	lean  bool
	rd    *wsutil.Reader
	buf   []byte
	next  int
}

func newGobwasConn(c net.Conn, br *bufio.Reader, state ws.State, o Options) Conn {
	g := &gobwasConn{c: c, state: state, check: o.CheckUTF8, lean: o.Lean}
	if o.Lean {
		wsutil.SetCheckUTF8(o.CheckUTF8)
		return g
	}
	if br == nil {
		br = bufio.NewReaderSize(c, ReadBuffer)
	}
	// One Reader for the connection, as in the README's second example. It reads from a
	// buffer, so that a frame does not need three system calls.
	g.rd = &wsutil.Reader{Source: br, State: state, CheckUTF8: o.CheckUTF8, MaxMessageSize: 16 << 20}
	g.buf = make([]byte, 512)
	return g
}

// read returns the next message. With Options.Lean it uses wsutil's helper, which holds
// no memory between messages (the README's first example). Otherwise it uses the
// connection's Reader and one buffer, which saves the helper's Reader and slice.
func (g *gobwasConn) read() ([]byte, error) {
	if g.lean {
		p, _, err := wsutil.ReadData(g.c, g.state)
		return p, err
	}
	h, err := g.rd.NextFrame()
	if err != nil {
		return nil, err
	}
	if h.OpCode.IsControl() {
		return nil, errors.New("entrant: a control frame in a stream of messages")
	}
	for n := 0; ; {
		if n == len(g.buf) {
			g.buf = append(g.buf, make([]byte, len(g.buf))...)
		}
		m, err := g.rd.Read(g.buf[n:])
		n += m
		if err == io.EOF {
			return g.buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (g *gobwasConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := g.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

// Send uses WriteMessage, which encodes into a pooled buffer and writes that in one call.
func (g *gobwasConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := wsutil.WriteMessage(g.c, g.state, ws.OpText, messages[g.next]); err != nil {
			return err
		}
		if g.next++; g.next == len(messages) {
			g.next = 0
		}
	}
	return nil
}

func (g *gobwasConn) Echo() error {
	for {
		p, err := g.read()
		if err != nil {
			return err
		}
		if err := wsutil.WriteMessage(g.c, g.state, ws.OpText, p); err != nil {
			return err
		}
	}
}

func (g *gobwasConn) Close() error { return g.c.Close() }

// gobwasLow is github.com/gobwas/ws with its low-level calls: hand-written code for
// speed. The caller handles fragments and control frames; here there are none.
type gobwasLow struct{}

func (gobwasLow) Info() Info {
	return Info{
		Name: "gobwas-low", Module: "github.com/gobwas/ws", Raw: true,
		Calls: "ReadHeaderBuffer, CheckHeader, io.ReadFull, Cipher over a 64 KiB bufio.Reader; WriteHeaderBuffer and Cipher into one reused buffer",
		Check: "caller, unicode/utf8",
	}
}

func (gobwasLow) Dial(o Options) (Conn, error) {
	return gobwasDial(o, ws.StateClientSide, newGobwasLowConn)
}

func (gobwasLow) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return gobwasServe(l, o, serve, newGobwasLowConn)
}

type gobwasLowConn struct {
	c     net.Conn
	br    *bufio.Reader
	state ws.State
	check bool
	head  [ws.MaxHeaderSize]byte
	buf   []byte
	out   queue
	next  int
}

// queue is an io.Writer that gathers a frame for one write.
type queue struct{ b []byte }

func (q *queue) Write(p []byte) (int, error) {
	q.b = append(q.b, p...)
	return len(p), nil
}

func newGobwasLowConn(c net.Conn, br *bufio.Reader, state ws.State, o Options) Conn {
	if br == nil {
		size := ReadBuffer
		if o.Lean {
			size = leanBuffer
		}
		br = bufio.NewReaderSize(c, size)
	}
	return &gobwasLowConn{c: c, br: br, state: state, check: o.CheckUTF8, buf: make([]byte, 512)}
}

func (g *gobwasLowConn) read() ([]byte, error) {
	h, err := ws.ReadHeaderBuffer(g.br, g.head[:])
	if err != nil {
		return nil, err
	}
	if err := ws.CheckHeader(h, g.state); err != nil {
		return nil, err
	}
	if !h.Fin || h.OpCode.IsControl() || h.Length > 16<<20 {
		return nil, errors.New("entrant: a frame that the low-level path does not take")
	}
	if int(h.Length) > len(g.buf) {
		g.buf = make([]byte, h.Length)
	}
	p := g.buf[:h.Length]
	if _, err := io.ReadFull(g.br, p); err != nil {
		return nil, err
	}
	if h.Masked {
		ws.Cipher(p, h.Mask, 0)
	}
	if g.check && h.OpCode == ws.OpText && !utf8.Valid(p) {
		return nil, ErrUTF8
	}
	return p, nil
}

// View reads one message.
func (g *gobwasLowConn) View(f func(p []byte)) error { return view(g.read, f) }

func (g *gobwasLowConn) Receive(n int, t *Tally) error {
	for range n {
		p, err := g.read()
		if err != nil {
			return err
		}
		t.Take(p)
	}
	return nil
}

// write encodes one message into the queue and writes the queue in one call. A client
// masks its copy in the queue in place.
func (g *gobwasLowConn) write(p []byte) error {
	h := ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(len(p))}
	if g.state.ClientSide() {
		h.Masked, h.Mask = true, ws.NewMask()
	}
	g.out.b = g.out.b[:0]
	if err := ws.WriteHeaderBuffer(&g.out, h, g.head[:]); err != nil {
		return err
	}
	n := len(g.out.b)
	g.out.b = append(g.out.b, p...)
	if h.Masked {
		ws.Cipher(g.out.b[n:], h.Mask, 0)
	}
	_, err := g.c.Write(g.out.b)
	return err
}

func (g *gobwasLowConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := g.write(messages[g.next]); err != nil {
			return err
		}
		if g.next++; g.next == len(messages) {
			g.next = 0
		}
	}
	return nil
}

func (g *gobwasLowConn) Echo() error {
	for {
		p, err := g.read()
		if err != nil {
			return err
		}
		if err := g.write(p); err != nil {
			return err
		}
	}
}

func (g *gobwasLowConn) Close() error { return g.c.Close() }
