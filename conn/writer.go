package conn

import (
	"io"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// messageWriter writes the message that NextWriter has begun.
type messageWriter struct {
	c      *Conn
	op     Opcode // Continuation once the first frame is queued
	text   bool
	utf8   utf8.Validator
	closed chan struct{}
	done   bool

	compressed bool              // the message is compressed
	sealed     bool              // and its end is queued
	out        *deflate.Deflater // of NextWriterLevel, nil for that of the connection
}

// NextWriter begins a message that is written in parts. Each Write is one frame or more;
// Close ends the message and flushes. Other messages wait until then; control frames do
// not. One goroutine at a time may use the writer.
//
// Text that is not UTF-8 is refused with ErrNotUTF8, by the Write or the Close that finds
// it. Nothing of that call is written, and the message stays open.
//
// On a connection that compresses, a Write stopped by a deadline has taken its bytes and
// says so; they go out with the next one.
func (c *Conn) NextWriter(op Opcode) (io.WriteCloser, error) {
	if op != Text && op != Binary {
		return nil, frame.ErrOpcode
	}
	if err := c.lockWriteFor(op, -1, c.cfg.FailFast); err != nil {
		return nil, err
	}
	return c.openWriter(op, c.compression != nil, nil), nil
}

// openWriter begins a message of NextWriter. The caller has the write lock, which is
// given back.
func (c *Conn) openWriter(op Opcode, packed bool, out *deflate.Deflater) *messageWriter {
	m := &messageWriter{c: c, op: op, text: op == Text && !c.cfg.UncheckedText, closed: make(chan struct{}), compressed: packed, out: out}
	c.msgWriter = m
	c.lock.set(lockOpen)
	c.unlockWrite()
	return m
}

// Write implements io.Writer.
func (m *messageWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	check := m.utf8
	if m.text && check.Push(p) >= 0 {
		return 0, ErrNotUTF8
	}
	if m.compressed {
		taken, err := m.compressedFrame(p, false)
		if !taken {
			return 0, err
		}
		m.utf8 = check
		return len(p), err
	}
	if err := m.frame(p, false); err != nil {
		return 0, err
	}
	m.utf8 = check
	return len(p), nil
}

// Close ends the message and flushes. If a deadline stops it, it can be called again.
func (m *messageWriter) Close() error {
	if m.text && !m.done {
		if check := m.utf8; !check.Done() {
			return ErrNotUTF8
		}
	}
	if m.compressed {
		_, err := m.compressedFrame(nil, true)
		return err
	}
	return m.frame(nil, true)
}

// frame queues a frame of the message, and flushes when much waits or it is the last.
func (m *messageWriter) frame(p []byte, last bool) error {
	c := m.c
	if m.done {
		return ErrWriterClosed
	}
	if err := c.lockWrite(m); err != nil {
		return err
	}
	before := c.w.Queued()
	err := c.w.AppendFrame(frame.Header{Fin: last, Opcode: m.op}, p)
	if err == nil && (last || c.w.Queued() > c.cfg.WriteBuffer) {
		c.queueControls()
		err = c.w.Flush()
	}
	if err = c.flushed(err, before+int(c.control.queued)); err == nil {
		m.op = frame.Continuation
		if last {
			m.finished()
		}
	}
	c.unlockWrite()
	return err
}

// finished lets other messages go.
func (m *messageWriter) finished() {
	bump(&m.c.stats.messagesWritten, 1)
	m.freeOut()
	m.done = true
	m.c.msgWriter = nil
	m.c.lock.clear(lockOpen)
	close(m.closed)
}
