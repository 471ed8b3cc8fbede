// Package netsim provides in-memory connections for tests. They have buffers in both
// directions, and deadlines that work under testing/synctest. A script says what each
// read and write does.
package netsim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Op is the kind of a call.
type Op uint8

// The calls that a script sees.
const (
	Read Op = iota
	Write
)

// Step says what one call does.
type Step struct {
	// Max bounds the bytes that the call moves. 0 means no bound, a negative number no
	// bytes.
	Max int
	// Err is returned along with the bytes moved. A write with an error moves Max bytes,
	// or all.
	Err error
	// Block makes the call wait for its deadline or for Close before it moves anything.
	Block bool
	// Short makes a write that moves too few bytes return no error, as a broken wrapper
	// does.
	Short bool
}

// A Conn is one end of a connection in memory.
type Conn struct {
	name    string
	in, out *stream

	readDeadline, writeDeadline deadline

	mu     sync.Mutex
	script func(op Op, call int, n int) Step
	calls  [2]int
	closed chan struct{}
	isDown bool
}

// Pipe returns the two ends of a connection. Each direction buffers size bytes, or 64 KiB
// if size is 0.
func Pipe(size int) (a, b *Conn) {
	if size == 0 {
		size = 64 << 10
	}
	ab, ba := newStream(size), newStream(size)
	a = &Conn{name: "a", in: ba, out: ab, closed: make(chan struct{})}
	b = &Conn{name: "b", in: ab, out: ba, closed: make(chan struct{})}
	for _, c := range []*Conn{a, b} {
		c.readDeadline.passed, c.writeDeadline.passed = make(chan struct{}), make(chan struct{})
	}
	return a, b
}

// Script makes f decide what each call does. call counts reads and writes together, from
// 1; n is the length of the caller's slice.
func (c *Conn) Script(f func(op Op, call int, n int) Step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.script = f
}

// Calls returns how many reads and writes were made.
func (c *Conn) Calls() (reads, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[Read], c.calls[Write]
}

// Closed reports whether Close was called.
func (c *Conn) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isDown
}

// Buffered returns how many bytes wait to be read.
func (c *Conn) Buffered() int {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return len(c.in.buf)
}

// Unread is Buffered. Package conn calls it before it declares a peer dead.
func (c *Conn) Unread() (int, bool) { return c.Buffered(), true }

func (c *Conn) step(op Op, n int) Step {
	c.mu.Lock()
	c.calls[op]++
	f, call := c.script, c.calls[Read]+c.calls[Write]
	c.mu.Unlock()
	if f == nil {
		return Step{}
	}
	return f(op, call, n)
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	s := c.step(Read, len(p))
	if s.Block {
		if err := c.block(&c.readDeadline); err != nil {
			return 0, err
		}
	}
	if s.Max > 0 && s.Max < len(p) {
		p = p[:s.Max]
	}
	if s.Max < 0 || s.Err != nil && s.Max == 0 {
		return 0, s.Err
	}
	n, err := c.in.read(p, c.closed, c.readDeadline.wait())
	if err == nil {
		err = s.Err
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	s := c.step(Write, len(p))
	if s.Block {
		if err := c.block(&c.writeDeadline); err != nil {
			return 0, err
		}
	}
	all := len(p)
	if s.Max < 0 {
		return 0, s.Err
	}
	if s.Max > 0 && s.Max < len(p) && (s.Err != nil || s.Short) {
		p = p[:s.Max]
	} else if s.Err != nil && s.Max == 0 {
		return 0, s.Err
	}
	n, err := c.out.write(p, c.closed, c.writeDeadline.wait())
	if err == nil {
		err = s.Err
	}
	if err == nil && n < all && !s.Short {
		err = io.ErrShortWrite
	}
	return n, err
}

// block waits for the deadline or for the end of the connection.
func (c *Conn) block(d *deadline) error {
	for {
		w := d.wait()
		select {
		case <-c.closed:
			return net.ErrClosed
		case <-w.passed:
			return os.ErrDeadlineExceeded
		case <-w.changed:
		}
	}
}

// Close implements net.Conn. The peer reads what was written, and then io.EOF.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDown {
		return net.ErrClosed
	}
	c.isDown = true
	close(c.closed)
	c.out.end(io.EOF, false)
	c.in.end(syscall.EPIPE, true)
	c.readDeadline.set(time.Time{})
	c.writeDeadline.set(time.Time{})
	return nil
}

// CloseWrite closes the outgoing half.
func (c *Conn) CloseWrite() error {
	c.out.end(io.EOF, false)
	return nil
}

// Reset ends both directions like a TCP reset: unread bytes are lost.
func (c *Conn) Reset() {
	c.out.end(syscall.ECONNRESET, true)
	c.in.end(syscall.ECONNRESET, true)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return addr(c.name) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return addr("peer of " + c.name) }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeDeadline, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDown {
		return net.ErrClosed
	}
	d.set(t)
	return nil
}

type addr string

func (a addr) Network() string { return "netsim" }
func (a addr) String() string  { return string(a) }

// stream is one direction.
type stream struct {
	mu      sync.Mutex
	buf     []byte
	size    int
	err     error         // returned to readers after buf is empty, and to writers
	changed chan struct{} // closed and replaced at each change
}

func newStream(size int) *stream { return &stream{size: size, changed: make(chan struct{})} }

// wake wakes all that wait for a change. The caller has mu.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) end(err error, drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && !drop {
		return
	}
	if drop {
		s.buf = nil
	}
	s.err = err
	s.wake()
}

func (s *stream) read(p []byte, closed <-chan struct{}, w waiting) (int, error) {
	for {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case <-w.passed:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		s.mu.Lock()
		if len(s.buf) > 0 || len(p) == 0 {
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.wake()
			s.mu.Unlock()
			return n, nil
		}
		err, changed := s.err, s.changed
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-closed:
		case <-w.passed:
		case <-changed:
		case <-w.changed:
			w = w.of.wait()
		}
	}
}

func (s *stream) write(p []byte, closed <-chan struct{}, w waiting) (n int, err error) {
	for {
		select {
		case <-closed:
			return n, net.ErrClosed
		case <-w.passed:
			return n, os.ErrDeadlineExceeded
		default:
		}
		s.mu.Lock()
		if s.err != nil {
			err := s.err
			s.mu.Unlock()
			if err == io.EOF {
				err = syscall.EPIPE
			}
			return n, err
		}
		if room := s.size - len(s.buf); room > 0 && n < len(p) {
			k := min(room, len(p)-n)
			s.buf = append(s.buf, p[n:n+k]...)
			n += k
			s.wake()
		}
		changed := s.changed
		s.mu.Unlock()
		if n == len(p) {
			return n, nil
		}
		select {
		case <-closed:
		case <-w.passed:
		case <-changed:
		case <-w.changed:
			w = w.of.wait()
		}
	}
}

// deadline closes a channel at a given time.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	passed  chan struct{}
	changed chan struct{}
}

// waiting has the channels to wait on: passed is closed at the deadline, changed when the
// deadline is set anew.
type waiting struct {
	of              *deadline
	passed, changed chan struct{}
}

func (d *deadline) wait() waiting {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return waiting{d, d.passed, d.changed}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	passed := make(chan struct{})
	d.passed = passed
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
	if t.IsZero() {
		return
	}
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(passed) })
	} else {
		close(passed)
	}
}
