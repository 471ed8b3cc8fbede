package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// After the peer's Close the connection stays open until the program closes it.
func TestStaysOpenAfterClose(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		p.send(p.message(CloseMessage, "\x03\xe9bye"))
		if _, _, err := c.ReadMessage(); !IsCloseError(err, CloseGoingAway) {
			t.Fatal(err)
		}
		p.expect(CloseMessage, "\x03\xe9")
		if err := c.WriteMessage(TextMessage, nil); err != ErrCloseSent {
			t.Error(err)
		}
		p.nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // nothing comes, and no end
		if n, err := p.nc.Read(make([]byte, 1)); n != 0 || !err.(net.Error).Timeout() {
			t.Errorf("%d bytes, %v", n, err)
		}
		p.nc.SetReadDeadline(time.Now().Add(time.Minute))
		if err := c.ws.Err(); err != nil {
			t.Errorf("the engine has ended it: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		p.expectEnd()
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed again: %v", err)
		}
	})
}

// A handler of the Close that answers nothing leaves writing to the program.
func TestCloseHandler(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		was := c.CloseHandler()
		var heard CloseError
		c.SetCloseHandler(func(code int, text string) error {
			heard = CloseError{code, text}
			return nil
		})
		p.send(p.message(CloseMessage, "\x0f\xa1reason"))
		if _, _, err := c.ReadMessage(); !IsCloseError(err, 4001) || heard != (CloseError{4001, "reason"}) {
			t.Errorf("%v, heard %v", err, heard)
		}
		if err := c.WriteMessage(TextMessage, []byte("last words")); err != nil {
			t.Error(err)
		}
		p.expect(TextMessage, "last words")
		if err := was(4002, "ignored"); err != nil {
			t.Error(err)
		}
		p.expect(CloseMessage, "\x0f\xa2")
		if err := was(4002, ""); err != nil { // it has been sent: nothing more goes out
			t.Error(err)
		}
		c.Close()
		p.expectEnd()
	})
}

// The program's own Close goes first: reading goes on to the peer's answer, for as long as
// that takes.
func TestOwnCloseFirst(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		if err := c.WriteControl(CloseMessage, FormatCloseMessage(CloseNormalClosure, ""), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		p.expect(CloseMessage, "\x03\xe8")
		p.send(p.message(TextMessage, "on its way"), p.message(PingMessage, ""), p.message(CloseMessage, "\x03\xe8"))
		wantMessage(t, c, TextMessage, "on its way")
		if _, _, err := c.ReadMessage(); !IsCloseError(err, CloseNormalClosure) {
			t.Error(err)
		}
		if err := c.ws.Err(); err != nil {
			t.Errorf("the engine has ended it: %v", err)
		}
		c.Close()
		p.expectEnd() // neither a pong nor a second Close
	})
}

// Close ends a read and a write that wait, with the error of package net.
func TestCloseEndsCalls(t *testing.T) {
	c, _ := opened(t, frame.Client, settings{})
	reads := make(chan error)
	go func() { _, _, err := c.ReadMessage(); reads <- err }()
	writes := make(chan error)
	go func() {
		var err error
		for big := make([]byte, 1<<20); err == nil; {
			err = c.WriteMessage(BinaryMessage, big)
		}
		writes <- err
	}()
	time.Sleep(20 * time.Millisecond) // so that they wait; if not they fail all the same
	c.Close()
	for op, ch := range map[string]chan error{"read": reads, "write": writes} {
		err := <-ch
		var e *net.OpError
		if !errors.As(err, &e) || e.Op != op || !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "use of closed network connection") {
			t.Errorf("%s: %v (%T)", op, err, err)
		}
	}
}

// Over TLS, Close tells the peer's TLS: it sees an end, and nothing that was cut. NetConn
// is the *tls.Conn, and plain the socket.
func TestNetConnAndCloseOverTLS(t *testing.T) {
	ended := make(chan error, 2)
	s := newServer(t, func(c *Conn) {
		_, _, err := c.ReadMessage()
		if err != errUnexpectedEOF {
			ended <- err
			return
		}
		_, err = io.Copy(io.Discard, c.NetConn())
		ended <- err
	})
	for _, secure := range []bool{false, true} {
		c := s.dial(t, secure, nil, nil)
		_, isTLS := c.NetConn().(*tls.Conn)
		_, isTCP := c.UnderlyingConn().(*net.TCPConn)
		if isTLS != secure || isTCP == secure {
			t.Errorf("secure %v: NetConn is a %T", secure, c.NetConn())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("secure %v: the server saw %v", secure, err)
		}
	}
}

// server is an echo or another handler behind net/http, plain and over TLS.
type server struct {
	plain, secure *httptest.Server
	upgrader      Upgrader
}

// newServer serves connections by handle, which may be nil: an echo.
func newServer(t *testing.T, handle func(c *Conn)) *server {
	if handle == nil {
		handle = func(c *Conn) {
			for {
				op, p, err := c.ReadMessage()
				if err != nil {
					return
				}
				if c.WriteMessage(op, p) != nil {
					return
				}
			}
		}
	}
	s := &server{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		handle(c)
	})
	s.plain, s.secure = httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(s.plain.Close)
	t.Cleanup(s.secure.Close)
	return s
}

func (s *server) dial(t *testing.T, secure bool, d *Dialer, h http.Header) *Conn {
	t.Helper()
	if d == nil {
		d = &Dialer{}
	}
	url := "ws" + strings.TrimPrefix(s.plain.URL, "http")
	if secure {
		url = "wss" + strings.TrimPrefix(s.secure.URL, "https")
		d.TLSClientConfig = s.secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		d.TLSClientConfig.NextProtos = nil
	}
	c, _, err := d.DialContext(context.Background(), url, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
