package websocket

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// sockets returns the two ends of a TCP connection.
func sockets(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// peer is the other end of a connection under test, in raw frames.
type peer struct {
	t    testing.TB
	nc   net.Conn
	role frame.Role
	r    *frame.Reader
}

// opened returns a connection under test, and its peer.
func opened(t testing.TB, role frame.Role, s settings) (*Conn, *peer) {
	t.Helper()
	near, far := sockets(t)
	c, err := open(near, role, &s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	far.SetDeadline(time.Now().Add(time.Minute)) // a test that hangs fails
	return c, &peer{t, far, 1 - role, frame.NewReader(far, 1-role, frame.Options{Compression: s.deflate != nil, SkipUTF8: true})}
}

// both runs a test for either role.
func both(t *testing.T, test func(t *testing.T, role frame.Role)) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		t.Run(role.String(), func(t *testing.T) { test(t, role) })
	}
}

var bothAlone = &deflate.Params{ServerNoContextTakeover: true, ClientNoContextTakeover: true}

func (p *peer) frame(h frame.Header, payload string) []byte {
	if p.role == frame.Client {
		h.Masked, h.Key = true, mask.Key(0x11223344)
	}
	return frame.AppendFrame(nil, h, []byte(payload))
}

func (p *peer) message(op int, payload string) []byte {
	return p.frame(frame.Header{Fin: true, Opcode: frame.Opcode(op)}, payload)
}

func (p *peer) send(pieces ...[]byte) {
	p.t.Helper()
	if _, err := p.nc.Write(bytes.Join(pieces, nil)); err != nil {
		p.t.Errorf("peer: %v", err)
	}
}

// next is the next frame.
func (p *peer) next() frame.Frame {
	p.t.Helper()
	f, err := p.r.NextFrame()
	if err != nil {
		p.t.Fatalf("peer: %v", err)
	}
	return f
}

func (p *peer) expect(op int, payload string) {
	p.t.Helper()
	f := p.next()
	if int(f.Header.Opcode) != op || string(f.Payload) != payload || !f.Header.Fin {
		p.t.Errorf("the peer got %+v %.60q, want %d %.60q", f.Header, f.Payload, op, payload)
	}
}

// expectEnd is the end of the stream, after anything.
func (p *peer) expectEnd() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.nc); err != nil {
		p.t.Errorf("the peer got %v, want the end", err)
	}
}

func wantMessage(t testing.TB, c *Conn, op int, data string) {
	t.Helper()
	got, p, err := c.ReadMessage()
	if err != nil || got != op || string(p) != data {
		t.Fatalf("got %d %.60q, %v; want %d %.60q", got, p, err, op, data)
	}
}
