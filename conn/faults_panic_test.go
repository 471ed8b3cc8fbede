package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// panicker is an Observer that panics at one of its calls, on connections that are told to.
type panicker struct {
	op    frame.Opcode // of a control frame that was received, 0 for Ended
	armed sync.Map     // of *Conn
}

func (p *panicker) Control(c *Conn, op frame.Opcode, _ []byte, sent bool) {
	if _, armed := p.armed.Load(c); armed && op == p.op && !sent {
		panic("kaboom")
	}
}
func (p *panicker) RoundTrip(*Conn, time.Duration) {}
func (p *panicker) Slow(*Conn, ReadInfo)           {}
func (p *panicker) Ended(c *Conn, _ error) {
	if _, armed := p.armed.Load(c); armed && p.op == 0 {
		panic("kaboom")
	}
}

// panics are the places where code of the caller's runs within or between calls of the connection. Each handler has read one message.
var panics = []struct {
	name     string
	observer *panicker
	handler  func(c *Conn)
}{
	{"in the handler", nil, func(c *Conn) { panic("kaboom") }},
	{"in a loop over Messages", nil, func(c *Conn) {
		for range c.Messages() {
			panic("kaboom")
		}
	}},
	{"with a batch taken", nil, func(c *Conn) {
		if b, err := c.TakeBatch(); err == nil {
			panic("kaboom" + string(b.Messages[0].Data[:0]))
		}
	}},
	{"with a message half read", nil, func(c *Conn) {
		_, r, err := c.NextReader()
		if _, e := io.ReadFull(r, make([]byte, 1)); err == nil && e == nil {
			panic("kaboom")
		}
	}},
	{"with a message half written", nil, func(c *Conn) {
		if w, err := c.NextWriter(Text); err == nil {
			io.WriteString(w, "half")
			panic("kaboom")
		}
	}},
	{"with messages queued", nil, func(c *Conn) {
		if c.AppendMessage(Text, []byte("queued")) == nil {
			panic("kaboom")
		}
	}},
	{"while another goroutine writes", nil, func(c *Conn) {
		go func() {
			for c.WriteMessage(Text, make([]byte, 1000)) == nil {
			}
		}()
		c.ReadMessage()
		panic("kaboom")
	}},
	{"in the Observer, ping received", &panicker{op: frame.Ping}, func(c *Conn) { c.ReadMessage() }},
	{"in the Observer, at the end", &panicker{}, func(c *Conn) { c.Close() }},
}

// TestF36HandlerPanics: a panic ends its own connection: it is closed, the handler counts as returned, and others go on.
func TestF36HandlerPanics(t *testing.T) {
	for _, p := range panics {
		t.Run(p.name, func(t *testing.T) {
			l := newListener(t)
			heard := make(chan error, 1)
			var s Server
			if p.observer != nil {
				s.Upgrader.Config.Observer = p.observer
			}
			s.OnError = func(err error) { heard <- err }
			s.Handler = func(c *Conn) {
				for m, err := range c.Messages() {
					if err != nil {
						return
					}
					if string(m.Data) == "panic" {
						if p.observer != nil {
							p.observer.armed.Store(c, true)
							defer p.observer.armed.Delete(c)
						}
						p.handler(c)
						t.Error("the handler did not panic")
						return
					}
					if err := c.WriteMessage(m.Opcode, m.Data); err != nil {
						return
					}
				}
			}
			serving := make(chan error, 1)
			go func() { serving <- s.Serve(l) }()
			url := "ws://" + l.Addr().String()
			other, broken := dial(t, url), dial(t, url)
			roundTrip(t, other)
			roundTrip(t, broken)
			// The panic, and what the handlers read in it: a message or two, and a ping.
			wire := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: true}, []byte("panic"))
			wire = frame.AppendFrame(wire, frame.Header{Fin: true, Opcode: frame.Ping, Masked: true}, nil)
			wire = frame.AppendFrame(wire, frame.Header{Fin: true, Opcode: Text, Masked: true}, []byte("read"))
			if _, err := broken.NetConn().Write(wire); err != nil {
				t.Fatal(err)
			}
			for _, err := range broken.Messages() {
				if err != nil {
					var e *TransportError
					if !errors.As(err, &e) {
						t.Errorf("the peer got %v, want the end of the stream", err)
					}
				}
			}
			if err := <-heard; !strings.Contains(err.Error(), "kaboom") || !strings.Contains(err.Error(), "faults_panic_test.go") {
				t.Errorf("OnError heard %v, want the panic and its stack", err)
			}
			roundTrip(t, other)
			if n := s.Len(); n != 1 {
				t.Errorf("%d connections, want one", n)
			}
			other.Close()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-serving; err != ErrServerClosed {
				t.Error(err)
			}
		})
	}
}

// A panic in a read call leaves that call for good. A goodbye that was sent before still
// has its time, and no more: Shutdown ends.
func TestF36PanicBehindAGoodbye(t *testing.T) {
	ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: true}, nil)
	for name, tt := range map[string]struct {
		observer *panicker
		wire     []byte
		handler  func(c *Conn)
		code     frame.CloseCode
	}{
		"StartClose": {&panicker{op: frame.Ping}, ping, func(c *Conn) {
			c.StartClose(frame.CodeGoingAway, "")
			c.ReadMessage()
		}, frame.CodeGoingAway},
		"protocol error": {&panicker{}, []byte{0xff, 0xff}, func(c *Conn) { c.ReadMessage() }, frame.CodeProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			heard := make(chan error, 1)
			s := Server{OnError: func(err error) { heard <- err }}
			s.Upgrader.Config = Config{Observer: tt.observer, CloseTimeout: 100 * time.Millisecond}
			s.Handler = func(c *Conn) {
				tt.observer.armed.Store(c, true)
				tt.handler(c)
			}
			go s.Serve(l)
			c := dial(t, "ws://"+l.Addr().String())
			defer c.Close()
			if _, err := c.NetConn().Write(tt.wire); err != nil {
				t.Fatal(err)
			}
			var closed *CloseError
			if _, err := c.ReadMessage(); !errors.As(err, &closed) || closed.Code != tt.code {
				t.Errorf("the peer got %v, want %d", err, tt.code)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			if err := <-heard; !strings.Contains(err.Error(), "kaboom") {
				t.Errorf("OnError heard %v", err)
			}
		})
	}
}

// A function of the Upgrader's that panics ends the handshake: the client need not wait for the timeout, and nothing is kept.
func TestF36UpgraderPanics(t *testing.T) {
	for name, u := range map[string]Upgrader{
		"Check":             {Check: func(*handshake.RequestView) (http.Header, error) { panic("kaboom") }},
		"CheckOrigin":       {CheckOrigin: func(*handshake.RequestView) bool { panic("kaboom") }},
		"SelectSubprotocol": {SelectSubprotocol: func(*handshake.RequestView) string { panic("kaboom") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLobby()
				var heard error
				s := Server{Upgrader: u, Handler: func(c *Conn) { t.Error("a connection") }, OnError: func(err error) { heard = err }}
				go s.Serve(l)
				began := time.Now()
				_, err := (&Dialer{NetDial: l.dial, Origin: "http://h"}).Dial(t.Context(), "ws://h")
				if !errors.Is(err, io.ErrUnexpectedEOF) || time.Since(began) > 0 {
					t.Errorf("the client got %v after %v, want the end of the stream at once", err, time.Since(began))
				}
				synctest.Wait()
				if heard == nil || !strings.Contains(heard.Error(), "kaboom") {
					t.Errorf("OnError heard %v, want the panic", heard)
				}
				s.mu.Lock()
				if n := len(s.opening); n != 0 {
					t.Errorf("%d connections are kept", n)
				}
				s.mu.Unlock()
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Without OnError a panic is logged, and http.ErrAbortHandler is no panic that anybody wants to hear of.
func TestF36PanicIsLogged(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	for _, v := range []any{"kaboom", http.ErrAbortHandler} {
		logged.Reset()
		synctest.Test(t, func(t *testing.T) {
			l := newLobby()
			s := Server{Handler: func(*Conn) { panic(v) }}
			go s.Serve(l)
			c, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.ReadMessage(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if want := v == "kaboom"; strings.Contains(logged.String(), "kaboom") != want || (logged.Len() > 0) != want {
			t.Errorf("panic of %v: logged %q", v, logged.String())
		}
	}
}

// Behind net/http it is the Server that recovers, as under Serve.
func TestF36HandlerPanicsBehindHTTP(t *testing.T) {
	heard := make(chan error, 1)
	s := Server{Handler: func(c *Conn) { panic("kaboom") }, OnError: func(err error) { heard <- err }}
	h := httptest.NewUnstartedServer(&s)
	h.Config.ErrorLog = quiet(t)
	h.Start()
	defer h.Close()
	c := dial(t, "ws://"+h.Listener.Addr().String())
	var e *TransportError
	if _, err := c.ReadMessage(); !errors.As(err, &e) {
		t.Errorf("the peer got %v, want the end of the stream", err)
	}
	if err := <-heard; !strings.Contains(err.Error(), "kaboom") {
		t.Errorf("OnError heard %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A panic that the caller recovers leaves a connection that can be closed, at which its transport is closed too: nothing waits for the
// call that did not return.
func TestF36PanicIsRecovered(t *testing.T) {
	for _, p := range panics {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cfg Config
				if p.observer != nil {
					cfg.Observer = p.observer
				}
				c, a, peer := simulate(t, frame.Server, cfg, 1<<20)
				if p.observer != nil {
					p.observer.armed.Store(c, true)
					defer p.observer.armed.Delete(c)
				}
				peer.send(peer.message(frame.Ping, ""), peer.message(Text, "one"), peer.message(Text, "two"))
				func() {
					defer func() {
						if recover() == nil {
							t.Error("nothing panicked")
						}
					}()
					p.handler(c)
				}()
				if c.Err() != nil && !a.Closed() {
					t.Error("the connection has ended, its transport has not")
				}
				wantClosedAfterPanic(t, c, a)
				peer.nc.Close()
			})
		})
	}
}

func wantClosedAfterPanic(t *testing.T, c *Conn, a *netsim.Conn) {
	t.Helper()
	c.Close()
	if !a.Closed() {
		t.Error("the transport is open")
	}
	for _, call := range calls {
		if err := call.f(c); !errors.Is(err, net.ErrClosed) && !errors.Is(err, ErrConcurrentRead) {
			t.Errorf("%s returns %v", call.name, err)
		}
	}
}

// dial opens a connection that the test closes.
func dial(t *testing.T, url string) *Conn {
	t.Helper()
	c, err := (&Dialer{}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
