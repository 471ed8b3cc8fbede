package conn

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func quiet(testing.TB) *log.Logger { return log.New(io.Discard, "", 0) }

// A lobby is a listener in memory.
type lobby struct {
	conns  chan any // net.Conn or error
	closed chan struct{}
	once   sync.Once
}

func newLobby() *lobby { return &lobby{conns: make(chan any), closed: make(chan struct{})} }

func (l *lobby) Accept() (net.Conn, error) {
	select {
	case x := <-l.conns:
		if err, ok := x.(error); ok {
			return nil, err
		}
		return x.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *lobby) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *lobby) Addr() net.Addr { return &net.TCPAddr{} }

// dial is a Dialer's NetDial.
func (l *lobby) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := netsim.Pipe(0)
	select {
	case l.conns <- net.Conn(b):
		return a, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Shutdown says 1001 to everybody, waits for the handlers, and takes nobody new.
func TestServerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		var s Server
		var mu sync.Mutex
		var ended []error
		s.Handler = func(c *Conn) {
			err := echo(c)
			mu.Lock()
			ended = append(ended, err)
			mu.Unlock()
		}
		serving := make(chan error, 1)
		go func() { serving <- s.Serve(l) }()
		d := &Dialer{NetDial: l.dial}
		const n = 100
		var clients []*Conn
		for range n {
			c, err := d.Dial(t.Context(), "ws://h")
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, c)
			clients = append(clients, c)
		}
		synctest.Wait()
		if s.Len() != n {
			t.Errorf("%d connections", s.Len())
		}
		var readers sync.WaitGroup
		for _, c := range clients {
			readers.Go(func() {
				_, err := c.ReadMessage()
				if e := (*CloseError)(nil); !errors.As(err, &e) || e.Code != frame.CodeGoingAway || e.Local {
					t.Errorf("a client got %v", err)
				}
			})
		}
		start := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		readers.Wait()
		if err := <-serving; err != ErrServerClosed {
			t.Error(err)
		}
		if s.Len() != 0 || len(ended) != n {
			t.Errorf("%d connections, %d handlers returned", s.Len(), len(ended))
		}
		for _, err := range ended {
			if e := (*CloseError)(nil); !errors.As(err, &e) || e.SentCode != frame.CodeGoingAway || !e.Local {
				t.Fatalf("a handler got %v", err)
			}
		}
		if _, err := d.Dial(t.Context(), "ws://h"); err == nil {
			t.Error("it takes connections")
		}
		if err := s.Serve(newLobby()); err != ErrServerClosed {
			t.Error(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error("a second time:", err)
		}
	})
}

// Peers that do not answer and handlers that do not read bound Shutdown by its context, or by CloseTimeout.
func TestServerShutdownOfTheDeaf(t *testing.T) {
	for name, c := range map[string]struct {
		limit, want time.Duration
		handler     func(*Conn)
	}{
		"by the close timeout":    {time.Hour, DefaultCloseTimeout, func(c *Conn) { echo(c) }},
		"by the context":          {time.Second, time.Second, func(c *Conn) { echo(c) }},
		"handler does not read":   {time.Hour, DefaultCloseTimeout, func(c *Conn) { <-c.Done() }},
		"handler does not return": {time.Second, time.Second, func(c *Conn) { <-c.Done(); time.Sleep(time.Minute) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLobby()
				s := &Server{Handler: c.handler}
				go s.Serve(l)
				client, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h") // and never reads
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				synctest.Wait() // the server has finished the handshake too
				ctx, cancel := context.WithTimeout(t.Context(), c.limit)
				defer cancel()
				start := time.Now()
				err = s.Shutdown(ctx)
				if time.Since(start) != c.want || (err != nil) != (c.limit < time.Hour) {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// A client in the middle of its request holds nobody up.
func TestServerShutdownDuringAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		var heard []error
		s := &Server{Handler: func(c *Conn) { echo(c) }, OnError: func(err error) { heard = append(heard, err) }}
		go s.Serve(l)
		nc, _ := l.dial(t.Context(), "", "")
		io.WriteString(nc, "GET / HT")
		synctest.Wait()
		start := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if len(heard) != 1 {
			t.Errorf("%v", heard)
		}
		nc.Close()
	})
}

// F65, F51: errors of accept that pass are waited out, longer each time; others end Serve.
func TestF65AcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		heard := 0
		s := &Server{Handler: func(c *Conn) { echo(c) }, OnError: func(error) { heard++ }}
		serving := make(chan error, 1)
		go func() { serving <- s.Serve(l) }()
		start := time.Now()
		for range 10 {
			l.conns <- error(&net.OpError{Op: "accept", Err: syscall.EMFILE})
		}
		c, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if waited := time.Since(start); heard != 10 || waited < time.Second || waited > 10*time.Second {
			t.Errorf("%d errors, %v", heard, waited)
		}
		boom := errors.New("boom")
		l.conns <- boom
		if err := <-serving; err != boom {
			t.Error(err)
		}
		c.Close()
		s.Close()
	})
}

func TestServerAsHandler(t *testing.T) {
	s := &Server{Handler: func(c *Conn) { echo(c) }}
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = quiet(t)
	srv.Start()
	defer srv.Close()
	target := "ws" + strings.TrimPrefix(srv.URL, "http")
	c, err := Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c)
	read := make(chan error, 1)
	go func() {
		_, err := c.ReadMessage()
		read <- err
	}()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-read; CloseCode(err) != frame.CodeGoingAway {
		t.Error(err)
	}
	_, err = Dial(t.Context(), target)
	if e := refusal(t, err); e.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Error(res.Status)
	}
}

func TestServerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		s := &Server{Handler: func(c *Conn) { echo(c) }}
		go s.Serve(l)
		c, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeAbnormal {
			t.Error(err)
		}
		synctest.Wait()
		if s.Len() != 0 {
			t.Errorf("%d connections", s.Len())
		}
	})
}
