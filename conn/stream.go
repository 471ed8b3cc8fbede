package conn

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	uni "github.com/seed-7f57ff33/tickwire/utf8"
)

// maxStreamMessage is the longest message of a Stream: readers with a small limit take it
// too.
const maxStreamMessage = 32 << 10

// Stream is a net.Conn over a Conn: a stream of bytes in which message boundaries have no
// meaning. It is for protocols that need a net.Conn. Several goroutines may call all its
// methods at once. Do not use the Conn's own read and write calls and deadlines at the
// same time.
//
// Pings are answered, and the peer's Close is seen, while a Read waits. A program that
// only writes needs another goroutine that reads. A passed deadline does not end the
// stream. Every error except io.EOF is a *net.OpError that wraps the Conn's.
type Stream struct {
	c  *Conn
	op Opcode

	reading chan struct{} // one place: for the goroutine that reads
	r       io.Reader     // of the message in hand, nil between messages; under reading

	// A goroutine writes, so that a deadline can end the wait for it, and nothing else.
	writing  chan struct{}       // one place: for the goroutine that writes
	begun    bool                // the goroutine runs; this and the next four are under writing
	pending  bool                // the result of a message is not known
	lost     error               // of a message that a Write has counted
	held     [utf8.UTFMax]byte   // the beginning of a character of text
	holds    int                 // bytes of it
	messages chan *buffer.Buffer // for the goroutine, with HeaderRoom before the payload
	results  chan error          // of them

	until  streamDeadline
	closed chan struct{}
	close  sync.Once
}

// NewStream returns a net.Conn over c. It writes messages of type op, Text or Binary, and
// reads both. Text must be UTF-8 as a whole: an unfinished character at the end of a
// Write goes out with the next one. NewStream panics if c is nil or op is invalid.
func NewStream(c *Conn, op Opcode) *Stream {
	if c == nil || op != Text && op != Binary {
		panic("conn: NewStream without a connection, or with an opcode that is not Text or Binary")
	}
	return &Stream{c: c, op: op, reading: make(chan struct{}, 1), writing: make(chan struct{}, 1), closed: make(chan struct{}),
		messages: make(chan *buffer.Buffer), results: make(chan error, 1)}
}

// Conn returns the underlying connection.
func (s *Stream) Conn() *Conn { return s.c }

// Read reads bytes of the stream as they come, even before a message is whole. It returns
// io.EOF after a Close frame with code 1000, or without a code, sent between messages.
// After any other end it returns an error, so that a cut stream is not taken for a whole
// one.
func (s *Stream) Read(p []byte) (int, error) {
	s.reading <- struct{}{}
	defer func() { <-s.reading }()
	switch {
	case s.isClosed():
		return 0, s.failed("read", net.ErrClosed)
	case len(p) == 0:
		return 0, nil
	case s.c.deadlines.readPassed(): // also if bytes are here: as net.Conn has it
		return 0, s.failed("read", errReadDeadline)
	}
	for {
		if s.r == nil {
			_, r, err := s.c.NextReader()
			if err != nil {
				return 0, s.readFailed(err)
			}
			s.r = r
		}
		n, err := s.r.Read(p)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			s.r = nil
		case err != nil:
			return 0, s.readFailed(err)
		}
	}
}

// readFailed returns what Read does for an error of the Conn's.
func (s *Stream) readFailed(err error) error {
	if s.isClosed() {
		return s.failed("read", net.ErrClosed)
	}
	if e := (*CloseError)(nil); errors.As(err, &e) && e.Err == nil && (e.Code == frame.CodeNormal || e.Code == frame.CodeNoStatus) {
		if s.r == nil {
			return io.EOF
		}
		err = &cutStream{err}
	}
	return s.failed("read", err)
}

// cutStream is the end of a stream within a message, or without a Close frame. It matches
// what it wraps, but not io.EOF.
type cutStream struct{ err error }

func (e *cutStream) Error() string { return "the stream was cut: " + e.err.Error() }
func (e *cutStream) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || target != io.EOF && errors.Is(e.err, target)
}
func (e *cutStream) As(target any) bool { return errors.As(e.err, target) }

// Write writes p in messages of at most 32 KiB, one Write after the other. When the write
// deadline passes, a message already begun continues to be written: it counts in n, and
// the next Write waits for it. If it fails, the next Write returns the error.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	for n < len(p) && err == nil {
		piece := p[n:min(len(p), n+maxStreamMessage)]
		if err = s.writePiece(piece); err == nil {
			n += len(piece)
		}
	}
	if err != nil {
		err = s.failed("write", err)
	}
	return n, err
}

// writePiece writes a message, of text as far as its characters are whole. It returns nil
// when the message is written, or in the hands of the goroutine and the deadline has
// passed.
func (s *Stream) writePiece(piece []byte) error {
	if err := s.settle(); err != nil {
		return err
	}
	b := buffer.Get(HeaderRoom + s.holds + len(piece))
	b.B = append(append(b.B[:HeaderRoom], s.held[:s.holds]...), piece...)
	text := b.B[HeaderRoom:]
	var rest []byte
	if s.op == Text {
		whole := len(text) - unfinished(text)
		if !s.c.cfg.UncheckedText && !uni.Valid(text[:whole]) {
			buffer.Put(b)
			return ErrNotUTF8
		}
		rest = text[whole:]
		b.B = b.B[:HeaderRoom+whole]
	}
	var held [utf8.UTFMax]byte
	holds := copy(held[:], rest)
	if len(b.B) == HeaderRoom {
		buffer.Put(b)
		s.held, s.holds = held, holds
		return nil
	}
	if !s.begun {
		s.begun = true
		go s.writeMessages()
	}
	select {
	case s.messages <- b:
	case <-s.c.Done():
		buffer.Put(b)
		return s.c.Err()
	}
	s.pending = true
	select {
	case err := <-s.results:
		if s.pending = false; err != nil {
			return err
		}
	case <-s.until.passed():
	case <-s.closed:
		return net.ErrClosed
	}
	s.held, s.holds = held, holds
	return nil
}

// settle returns when nothing is pending and a message may be begun.
func (s *Stream) settle() error {
	select {
	case <-s.closed:
		return net.ErrClosed
	case <-s.until.passed():
		return errWriteDeadline
	default:
	}
	if s.pending {
		select {
		case s.lost = <-s.results:
			s.pending = false
		case <-s.until.passed():
			return errWriteDeadline
		case <-s.closed:
			return net.ErrClosed
		}
	}
	return s.lost
}

// writeMessages is the goroutine that writes, until the connection ends.
func (s *Stream) writeMessages() {
	for {
		select {
		case b := <-s.messages:
			s.results <- s.writeMessage(b.B)
			buffer.Put(b)
		case <-s.c.Done():
			return
		}
	}
}

func (s *Stream) writeMessage(b []byte) error {
	// A Stream waits, also with Config.FailFast.
	if data := b[HeaderRoom:]; s.c.compression != nil && s.c.compression.takes(s.op, data) {
		return s.c.writeCompressed(s.op, data, true, false)
	}
	return s.c.writeOwned(s.op, b, false)
}

// unfinished is how many bytes at the end of b are the beginning of a character.
func unfinished(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// CloseWrite sends a Close frame with code 1000: nothing more will be written. Read
// continues with what the peer sends until it answers. RFC 6455 requires that at once,
// and Config.CloseTimeout limits the wait, as with Conn.StartClose. If text ends within a
// character CloseWrite returns an error that matches ErrNotUTF8, and does nothing.
func (s *Stream) CloseWrite() error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	err := s.settle()
	if err == nil {
		err = s.startClose()
	}
	if err != nil {
		return s.failed("close", err)
	}
	return nil
}

func (s *Stream) startClose() error {
	if s.holds > 0 {
		return ErrNotUTF8
	}
	return s.c.StartClose(frame.CodeNormal, "")
}

// Close closes the connection. The peer is sent a Close frame with code 1000, unless a
// message is being written or text ends within a character: then data is lost, and the
// peer must see that the stream was cut. Like that of a tls.Conn, Close may wait for a
// peer that does not read, for at most Config.CloseTimeout.
func (s *Stream) Close() (err error) {
	s.close.Do(func() { err = s.end() })
	if err != nil {
		return s.failed("close", err)
	}
	return nil
}

func (s *Stream) end() (err error) {
	close(s.closed)
	s.writing <- struct{}{} // not for long: a Write does not wait for anything more
	defer func() { <-s.writing }()
	if s.pending {
		select {
		case s.lost = <-s.results:
			s.pending = false
		default:
		}
	}
	if !s.pending && s.lost == nil {
		if err = s.startClose(); err != ErrNotUTF8 {
			err = nil // of a connection that has ended, or whose peer does not read
		}
	}
	if e := s.c.Close(); err == nil {
		err = e
	}
	return err
}

// LocalAddr returns this side's network address.
func (s *Stream) LocalAddr() net.Addr { return s.c.LocalAddr() }

// RemoteAddr returns the peer's network address.
func (s *Stream) RemoteAddr() net.Addr { return s.c.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline is Conn.SetReadDeadline. It also wakes a waiting Read.
func (s *Stream) SetReadDeadline(t time.Time) error {
	err := error(net.ErrClosed)
	if !s.isClosed() {
		err = s.c.SetReadDeadline(t)
	}
	if err != nil {
		return s.failed("set", err)
	}
	return nil
}

// SetWriteDeadline sets the time at which a waiting Write returns, and later ones fail.
// The zero time means never.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	if s.isClosed() {
		return s.failed("set", net.ErrClosed)
	}
	s.until.set(t)
	return nil
}

func (s *Stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// streamDeadline is a channel that is closed when a time has passed.
type streamDeadline struct {
	mu    sync.Mutex
	over  chan struct{} // nil before the first use
	shut  bool          // over is closed
	timer *time.Timer
}

func (d *streamDeadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

func (d *streamDeadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.over == nil || d.shut {
		d.over, d.shut = make(chan struct{}), false
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.end()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer { // and not one that was set when this one fired
			d.end()
		}
	})
	d.timer = timer
}

// end is called with mu held.
func (d *streamDeadline) end() {
	d.shut = true
	close(d.over)
}

// failed is an error of the Stream's.
func (s *Stream) failed(op string, err error) error {
	if errors.Is(err, io.EOF) {
		err = &cutStream{err}
	}
	return &net.OpError{Op: op, Net: "websocket", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

var _ net.Conn = (*Stream)(nil)
