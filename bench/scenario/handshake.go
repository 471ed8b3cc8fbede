package scenario

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

const allocationCase = "allocations of the library alone"

func handshake(p *Plan) error {
	n := 6_000
	if p.Quick {
		n = 1_000
	}
	n *= longer()
	servers := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
		i := e.Info()
		return i.Limit && i.Name != entrant.LimitParse
	})
	err := p.each("over loopback TCP, 8 at a time", servers, p.rounds(3, 1), 30*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		m, err := pair(Spec{Entrant: e.Info().Name, Messages: n, Warmup: n / 20}, "handshake server", "handshake client")
		if err != nil {
			return nil, err
		}
		return map[string]float64{
			"cpu ns/handshake": m["cpu ns/message"], "handshakes/s": m["messages/s"], "allocs/handshake": m["allocs/message"],
			"reads/handshake": m["reads/message"], "writes/handshake": m["writes/message"],
		}, nil
	})
	if err != nil {
		return err
	}
	if !p.wants(allocationCase) {
		return nil
	}
	// The allocations for a server that does nothing are the harness's.
	harness, err := handshakeAllocs(entrant.ByName(entrant.LimitAccept), 500)
	if err != nil {
		return err
	}
	counted := append(entrant.Libraries(), entrant.ByName(entrant.LimitHijack))
	return p.each(allocationCase, counted, 1, time.Minute, func(e entrant.Entrant) (map[string]float64, error) {
		allocs, err := profiledAllocs(e, func() (float64, error) { return handshakeAllocs(e, 500) })
		return map[string]float64{"allocs/handshake": allocs - harness}, err
	})
}

// handshakeServer upgrades each client, and reads until it goes.
func handshakeServer(s *Spec, ch *channel) error {
	var opened atomic.Int64
	if err := listen(s, ch, func(c entrant.Conn) { opened.Add(1) }); err != nil {
		return err
	}
	if _, err := ch.receive(); err != nil { // start: the warm-up is over
		return err
	}
	u := used()
	ch.send("going")
	if _, err := ch.receive(); err != nil { // done
		return err
	}
	m := u.since(s.Messages)
	if n := opened.Load(); n < int64(s.Messages) {
		return fmt.Errorf("%d handshakes of %d came through", n, s.Messages)
	}
	ch.send("reporting")
	return ch.report(m)
}

// handshakeClient opens connections without a library, and drops each after the response.
func handshakeClient(s *Spec, ch *channel) error {
	if err := handshakes(s.Addr, s.Warmup); err != nil {
		return err
	}
	ch.send("warm")
	if _, err := ch.receive(); err != nil {
		return err
	}
	if err := handshakes(s.Addr, s.Messages); err != nil {
		return err
	}
	ch.send("opened")
	ch.receive()
	return nil
}

func handshakes(addr string, n int) error {
	request := wire.AppendRequest(nil, addr, "/", "")
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for left.Add(-1) >= 0 {
				if err := handshakeOnce(addr, request, buf); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func handshakeOnce(addr string, request, buf []byte) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	// A reset frees the port at once.
	c.(*net.TCPConn).SetLinger(0)
	return openWith(c, request, buf)
}

// openOnce is openWith for a single use.
func openOnce(c net.Conn, request []byte) error { return openWith(c, request, make([]byte, 1024)) }

// openWith sends a request and reads the head of the response. Nothing may follow it
// before the client sends something.
func openWith(c net.Conn, request, buf []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		n += m
		if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// handshakeAllocs returns the allocations of one upgrade, averaged over n. The
// connections are within the process and allocate nothing themselves.
func handshakeAllocs(e entrant.Entrant, n int) (float64, error) {
	run := func(n int) (float64, error) {
		conns := make([]*script, n)
		for i := range conns {
			conns[i] = newScript()
		}
		l := &scripts{conns: conns, end: make(chan struct{})}
		var opened atomic.Int64
		done := make(chan struct{})
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		go e.Serve(l, entrant.Options{}, func(entrant.Conn) {
			if opened.Add(1) == int64(n) {
				close(done)
			}
		})
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			return 0, fmt.Errorf("%d of %d handshakes came through", opened.Load(), n)
		}
		runtime.ReadMemStats(&after)
		close(l.end)
		return float64(after.Mallocs - before.Mallocs), nil
	}
	// The difference of two runs leaves out what a server allocates once.
	if _, err := run(n); err != nil {
		return 0, err
	}
	one, err := run(n)
	if err != nil {
		return 0, err
	}
	two, err := run(2 * n)
	return (two - one) / float64(n), err
}

// scripts is a listener of connections with one request each, one after the other.
type scripts struct {
	conns []*script
	last  *script
	end   chan struct{}
}

func (l *scripts) Accept() (net.Conn, error) {
	if l.last != nil {
		<-l.last.closed
	}
	if len(l.conns) == 0 {
		<-l.end
		return nil, net.ErrClosed
	}
	l.last, l.conns = l.conns[0], l.conns[1:]
	return l.last, nil
}

func (l *scripts) Close() error   { return nil }
func (l *scripts) Addr() net.Addr { return loopback }

var loopback net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}

// script is a connection that returns a request, takes the response, and then ends.
type script struct {
	request []byte
	expired chan struct{}
	once    sync.Once
	closed  chan struct{}
	mu      sync.Mutex
}

func newScript() *script {
	return &script{request: wire.AppendRequest(nil, "localhost", "/", ""), closed: make(chan struct{}), expired: make(chan struct{}, 1)}
}

func (c *script) Read(p []byte) (int, error) {
	c.mu.Lock()
	n := copy(p, c.request)
	c.request = c.request[n:]
	c.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	select {
	case <-c.expired:
		return 0, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, io.EOF
	}
}

func (c *script) Write(p []byte) (int, error) { return len(p), nil }

func (c *script) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *script) LocalAddr() net.Addr                { return loopback }
func (c *script) RemoteAddr() net.Addr               { return loopback }
func (c *script) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *script) SetWriteDeadline(t time.Time) error { return nil }

// SetReadDeadline ends a waiting read, if t has passed. net/http stops its background
// read in this way.
func (c *script) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && time.Until(t) <= 0 {
		select {
		case c.expired <- struct{}{}:
		default:
		}
	}
	return nil
}
