package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// F70: a peer that is in the middle of sending when we end the connection with a Close frame gets that frame, though the caller closes at
// once: the socket is not closed with bytes unread. So for a limit, for what breaks a rule, and for our own StartClose, in both
// roles, plain and under TLS, by Server, by Upgrade and by the caller's own deferred Close.
func TestF70CloseDoesNotTakeTheCloseFrame(t *testing.T) {
	rounds := 300 // of 3 kinds, and a tenth of them under TLS too: 990
	if testing.Short() || raceEnabled {
		rounds = 20
	}
	limited := Config{KeepAlive: -1, Frame: frame.Options{MaxMessage: 16 << 10, MaxFrame: 16 << 10}}
	large := make([]byte, 2<<20)
	handler := func(c *Conn) {
		for {
			if _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}
	for _, secure := range []bool{false, true} {
		for _, kind := range []string{"Server", "http.Server", "deferred Close"} {
			name := kind
			if secure {
				name += ", TLS"
			}
			t.Run(name, func(t *testing.T) {
				rounds := rounds
				serverTLS, clientTLS := testCertificate(t)
				clientTLS.ServerName = "localhost"
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				scheme := "ws://"
				if secure {
					l, scheme = tls.NewListener(UnderTLS(l, &limited), serverTLS), "wss://"
				}
				s := &Server{Upgrader: Upgrader{Config: limited}, Handler: handler}
				switch kind {
				case "Server":
					go s.Serve(l)
				case "http.Server":
					go http.Serve(l, s)
				default:
					go acceptEach(l, &s.Upgrader, func(c *Conn) {
						defer c.Close()
						handler(c)
					})
				}
				defer l.Close()
				d := Dialer{TLSConfig: clientTLS, Config: Config{KeepAlive: -1}}
				if secure {
					rounds /= 10
				}
				for i := range rounds {
					c, err := d.Dial(t.Context(), scheme+l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					// Most of it is still to come when the server judges the header.
					_ = c.WriteMessage(Binary, large)
					_, err = c.ReadMessage()
					var closed *CloseError
					if !errors.As(err, &closed) || closed.Code != frame.CodeMessageTooBig {
						t.Fatalf("round %d: %v, want a Close with 1009", i, err)
					}
					c.Close()
				}
			})
		}
	}
}

// acceptEach runs handler for each connection of l.
func acceptEach(l net.Listener, u *Upgrader, handler func(*Conn)) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			if c, err := u.Accept(nc); err == nil {
				handler(c)
			}
		})
	}
}

// A Close behind StartClose lets the Close frame reach the peer too, in both roles; and a blocked read returns at once.
func TestF70CloseBehindStartClose(t *testing.T) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		t.Run(role.String(), func(t *testing.T) {
			for range 20 {
				a, b := loopback(t)
				c, peer := New(a, role, &Config{KeepAlive: -1}), New(b, 1-role, &Config{KeepAlive: -1})
				read := make(chan error, 1)
				go func() { _, err := c.ReadMessage(); read <- err }()
				sent := make(chan error, 1)
				go func() { sent <- peer.WriteMessage(Binary, make([]byte, 8<<20)) }()
				if err := c.StartClose(frame.CodeGoingAway, "rotation"); err != nil {
					t.Fatal(err)
				}
				c.Close()
				if err := <-read; err != nil && err != ErrClosed {
					t.Errorf("the reader got %v", err)
				}
				<-sent
				_, err := peer.ReadMessage()
				var closed *CloseError
				if !errors.As(err, &closed) || closed.Code != frame.CodeGoingAway || closed.Reason != "rotation" {
					t.Fatalf("the peer got %v", err)
				}
				peer.Close()
			}
		})
	}
}

// A server that has answered our Close ends TLS, and waits for our end of it before it ends the connection: it gets that.
func TestF70ServerWaitsForTheEndOfTLS(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	a, b := loopback(t)
	defer b.Close()
	ours, theirs := tls.Client(a, clientTLS), tls.Server(b, serverTLS)
	c := New(ours, frame.Client, &Config{KeepAlive: -1, CloseTimeout: time.Hour})
	defer c.closeTransport()
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(theirs, make([]byte, 8)) // our Close: header, key and code
		if err == nil {
			_, err = theirs.Write([]byte{0x88, 2, 3, 232}) // 1000
		}
		if err == nil {
			err = theirs.CloseWrite()
		}
		if err == nil {
			_ = b.SetReadDeadline(time.Now().Add(20 * time.Second)) // of a test that fails
			_, err = theirs.Read(make([]byte, 1))
		}
		ended <- err
	}()
	if err := c.StartClose(frame.CodeNormal, ""); err != nil {
		t.Fatal(err)
	}
	var closed *CloseError
	if _, err := c.ReadMessage(); !errors.As(err, &closed) || closed.Code != frame.CodeNormal {
		t.Fatal(err)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("the server waits for the end of TLS, and gets %v", err)
	}
}

// Lingering is bounded by CloseTimeout and by bytes; and without a Close frame of ours Close closes at once.
func TestF70LingerIsBounded(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{CloseTimeout: 3 * time.Second}, 1<<20)
		p.send([]byte("\xff\xff"))
		if _, err := c.ReadMessage(); !errors.Is(err, frame.ErrReservedBits) {
			t.Fatal(err)
		}
		c.Close()
		p.expectClose(frame.CodeProtocolError)
		time.Sleep(3*time.Second - time.Nanosecond)
		synctest.Wait()
		if a.Closed() {
			t.Error("closed too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !a.Closed() {
			t.Error("still open")
		}

		c, a, p = simulate(t, role, Config{CloseTimeout: time.Hour}, 1<<20)
		if err := c.StartClose(frame.CodeNormal, ""); err != nil {
			t.Fatal(err)
		}
		c.Close()
		for b, n := make([]byte, 1<<20), 0; n <= lingerBytes; n += len(b) {
			p.nc.Write(b)
		}
		synctest.Wait()
		if !a.Closed() {
			t.Error("it reads for ever")
		}

		c, a, _ = simulate(t, role, Config{}, 0)
		c.Close()
		if !a.Closed() {
			t.Error("Close without a Close frame lingers")
		}
	})
}

// Server.Shutdown returns when the peers had their time to take the Close frame.
func TestServerShutdownWaitsForLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		s := &Server{Upgrader: Upgrader{Config: Config{CloseTimeout: 4 * time.Second}}, Handler: func(c *Conn) {
			_, _ = c.ReadMessage()
		}}
		go s.Serve(l)
		d := &Dialer{NetDial: l.dial}
		c, err := d.Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.base.Write([]byte("\xff\xff")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.Len() != 0 {
			t.Errorf("%d connections", s.Len())
		}
		if err := s.Shutdown(t.Context()); err != nil || time.Since(start) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeProtocolError {
			t.Error(err)
		}
	})
}

// When its context ends, Server.Shutdown leaves no connection to linger.
func TestServerShutdownEndsLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		s := &Server{Upgrader: Upgrader{Config: Config{CloseTimeout: time.Hour}}, Handler: func(c *Conn) {
			_, _ = c.ReadMessage()
		}}
		go s.Serve(l)
		c, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.base.Write([]byte("\xff\xff")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(s.lingering); n != 0 || time.Since(start) != 3*time.Second {
			t.Errorf("%d connections linger after %v", n, time.Since(start))
		}
		c.Close()
	})
}
