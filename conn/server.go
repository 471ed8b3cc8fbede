package conn

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Server keeps track of the connections that it opens, so that Shutdown can close all of
// them. It serves listeners with Serve, is an http.Handler, or both. Only a handler must
// be set. A Server must not be copied.
type Server struct {
	// Upgrader opens the connections.
	Upgrader Upgrader
	// Handler owns a connection while it runs, in a goroutine of its own, and must read
	// from it. The connection is closed when it returns. Without a handler every
	// connection is closed at once.
	Handler func(*Conn)
	// RequestHandler, if not nil, is called instead of Handler, and also gets the
	// request. Its Method, URL, RequestURI, Host, Header, RemoteAddr and TLS are those of
	// net/http; there is no body. Its context ends when the handler returns. It has the
	// values of the request's context if that came through ServeHTTP, and
	// http.LocalAddrContextKey if it came through Serve. Serve makes the request only for
	// a RequestHandler, and refuses one whose target net/url cannot parse.
	RequestHandler func(*Conn, *http.Request)
	// OnError, if not nil, is told of failed handshakes, of Accept errors after which
	// Serve continues, and of panics of the handler, with their stack. Without it panics
	// are logged. A panic ends only its own connection. net/http recovers panics of the
	// Upgrader's functions under ServeHTTP.
	OnError func(error)

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	opening   map[net.Conn]struct{} // in Serve, before they are connections
	conns     map[*Conn]struct{}
	lingering map[*Conn]struct{} // whose handlers have returned: see Conn.Close
	draining  bool
	running   int           // handshakes and handlers
	stop      chan struct{} // closed when draining begins
	idle      chan struct{} // closed when running is 0 while draining
}

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = http.ErrServerClosed

var errNoListener = errors.New("conn: Serve without a listener")

// Serve accepts connections on l, opens each in its own goroutine, also those of TLS
// listeners, and passes it to RequestHandler or Handler. It returns ErrServerClosed after
// Shutdown or Close, and otherwise the error of l. Temporary errors, such as a lack of
// file descriptors, are waited out.
func (s *Server) Serve(l net.Listener) error {
	if l == nil {
		return errNoListener
	}
	if !s.track(func() { put(&s.listeners, l) }) {
		l.Close()
		return ErrServerClosed
	}
	defer s.untrack(func() { delete(s.listeners, l) })
	defer l.Close()
	var wait time.Duration
	for {
		nc, err := l.Accept()
		if err == nil && nc == nil {
			err = errNothing
		}
		if err != nil {
			if s.closed() {
				return ErrServerClosed
			}
			if !isTemporary(err) {
				return err
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.report(err)
			s.pause(wait)
			continue
		}
		wait = 0
		if !s.track(func() { put(&s.opening, nc) }) {
			nc.Close()
			return ErrServerClosed
		}
		go s.open(nc)
	}
}

// open does the opening handshake on a connection of Serve's.
func (s *Server) open(nc net.Conn) {
	var c *Conn
	defer func() {
		if c == nil {
			s.untrack(func() {})
		}
	}()
	defer s.recovered()
	c, r, late, err := s.opened(nc)
	if err != nil {
		s.report(err)
		return
	}
	handler := s.Handler
	if r != nil {
		handler = withRequest(s.RequestHandler, r)
	}
	// A goroutine of its own: the handshake makes the stack grow, and a stack does not
	// shrink below what is in use while the handler waits.
	go s.run(c, handler, late)
}

// opened returns nc as a connection that Close and Shutdown know of: it is all the time
// in one of their two lists. late says that they have passed over them. r is the request,
// if a RequestHandler wants it.
func (s *Server) opened(nc net.Conn) (c *Conn, r *http.Request, late bool, err error) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.opening, nc)
		if c != nil {
			put(&s.conns, c)
			late = s.draining
		}
	}()
	c, r, err = s.Upgrader.acceptRequest(nc, s.RequestHandler != nil)
	return c, r, late, err
}

// run runs a handler, if there is one, on a connection that is counted, and that Shutdown
// knows of. It returns when the peer had its time to take our Close frame: Shutdown waits
// for that, and a process that ends at once would have the kernel reset what is left.
func (s *Server) run(c *Conn, handler func(*Conn), late bool) {
	defer s.untrack(func() {})
	defer s.recovered()
	defer s.leave(c)
	defer c.Close()
	if late { // Shutdown has passed over the list already
		_ = c.StartClose(frame.CodeGoingAway, "")
	}
	if handler != nil {
		handler(c)
	}
}

// withRequest returns handler as one for a connection alone. What net/http holds for a
// request ends with ServeHTTP, and so does its context. The values stay.
func withRequest(handler func(*Conn, *http.Request), r *http.Request) func(*Conn) {
	return func(c *Conn) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		defer cancel() // before Close, which may take its time
		handler(c, r.WithContext(ctx))
	}
}

// pause waits, but not past the beginning of the end.
func (s *Server) pause(d time.Duration) {
	s.mu.Lock()
	if s.stop == nil {
		s.stop = make(chan struct{})
	}
	stop := s.stop
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

// isTemporary tells whether an error of Accept's says nothing about the next one.
func isTemporary(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// ServeHTTP opens a connection from net/http, and passes it to RequestHandler or Handler
// like Serve. It returns when the connection is open, so that net/http can free what it
// holds for the request. The request's context ends then, and so does the work of a
// middleware.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.serveHTTP(w, r, s.RequestHandler)
}

// HTTPHandler returns an http.Handler for one of several paths. Its connections belong to
// the Server: the Upgrader opens them, and Shutdown and Close end them. handler is called
// like RequestHandler.
func (s *Server) HTTPHandler(handler func(*Conn, *http.Request)) http.Handler {
	if handler == nil {
		panic("conn: Server.HTTPHandler without a handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveHTTP(w, r, handler) })
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request, handler func(*Conn, *http.Request)) {
	if !s.track(func() {}) {
		w.Header().Set("Connection", "close")
		http.Error(w, "the server is shutting down", http.StatusServiceUnavailable)
		return
	}
	var c *Conn
	defer func() {
		if c == nil {
			s.untrack(func() {})
		}
	}()
	c, err := s.Upgrader.Upgrade(w, r)
	if err != nil {
		s.report(err)
		return
	}
	s.mu.Lock()
	put(&s.conns, c)
	late := s.draining
	s.mu.Unlock()
	run := s.Handler
	if handler != nil {
		run = withRequest(handler, r)
	}
	go s.run(c, run, late)
}

// leave waits for what Close has left to linger, if anything. Server.Close can still find
// the connection.
func (s *Server) leave(c *Conn) {
	done := c.lingerDone()
	s.mu.Lock()
	delete(s.conns, c)
	if done != nil {
		put(&s.lingering, c)
	}
	s.mu.Unlock()
	if done == nil {
		return
	}
	<-done
	s.mu.Lock()
	delete(s.lingering, c)
	s.mu.Unlock()
}

// Len returns the number of open connections.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown stops accepting connections, and closes those still in their opening
// handshake. It sends a Close frame with 1001 (going away) on each open one, and waits
// until their handlers have returned. A handler that continues to read gets its peer's
// answer as a *CloseError. If ctx ends first, the remaining connections are closed at
// once, and the context's cause is returned.
//
// This includes handlers called by an http.Server, whose own Shutdown does not know of
// upgraded connections.
func (s *Server) Shutdown(ctx context.Context) error {
	if ctx == nil {
		panic("conn: Server.Shutdown without a context") // here, not in the goroutines below
	}
	conns, idle := s.drain()
	for _, c := range conns {
		// Each in its goroutine: one whose peer does not read must not hold up the
		// others.
		go c.Shutdown(ctx, frame.CodeGoingAway, "")
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.lingering {
		c.closeTransport()
	}
	return context.Cause(ctx)
}

// Close stops accepting connections, and closes all open ones like Conn.Close. It does
// not wait for handlers.
func (s *Server) Close() error {
	conns, _ := s.drain()
	for _, c := range conns {
		c.Close()
	}
	return nil
}

// drain closes the listeners and what is still in its opening handshake, and returns the
// connections there are.
func (s *Server) drain() (conns []*Conn, idle <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		s.stop = make(chan struct{})
	}
	if !s.draining {
		s.draining = true
		close(s.stop)
	}
	for l := range s.listeners {
		l.Close()
	}
	for nc := range s.opening {
		closerOf(nc).Close()
	}
	for c := range s.conns {
		conns = append(conns, c)
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
		if s.running == 0 {
			close(s.idle)
		}
	}
	return conns, s.idle
}

func (s *Server) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// track counts a goroutine that Shutdown waits for; false if it is too late for one.
func (s *Server) track(note func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.running++
	note()
	return true
}

func (s *Server) untrack(forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forget()
	if s.running--; s.running == 0 && s.idle != nil {
		close(s.idle)
	}
}

// recovered ends a panic of Handler's as net/http does, and with the same exception.
func (s *Server) recovered() {
	v := recover()
	if v == nil || v == http.ErrAbortHandler {
		return
	}
	err := fmt.Errorf("conn: a handler panicked: %v\n%s", v, debug.Stack())
	if s.OnError == nil {
		log.Print(err)
	}
	s.report(err)
}

func (s *Server) report(err error) {
	if s.OnError != nil {
		s.OnError(err)
	}
}

func put[K comparable](m *map[K]struct{}, k K) {
	if *m == nil {
		*m = make(map[K]struct{})
	}
	(*m)[k] = struct{}{}
}
