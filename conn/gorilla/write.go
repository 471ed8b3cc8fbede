package websocket

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// noDeadline is how long the engine may wait if the caller sets no bound.
const noDeadline = 1000 * time.Hour

// WriteMessage writes a message of any of the five types. It first ends a message of
// NextWriter that was left open.
func (c *Conn) WriteMessage(messageType int, data []byte) error {
	if err := c.beginMessage(messageType); err != nil {
		return err
	}
	level := c.engineLevel()
	if len(data) > c.writeBufSize && level == conn.Uncompressed && isData(messageType) && c.ws.Role() == frame.Client {
		return c.inFrames(messageType, data)
	}
	return c.whole(messageType, data, level)
}

// beginMessage ends the open message. It returns an error if no other message can begin.
func (c *Conn) beginMessage(messageType int) error {
	if c.writer != nil {
		_ = c.writer.Close()
	}
	if !isControl(messageType) && !isData(messageType) {
		return errBadWriteOpCode
	}
	return c.stuck()
}

// stuck returns the final error, if there is one.
func (c *Conn) stuck() error {
	if e := c.writeErr.Load(); e != nil {
		return *e
	}
	return nil
}

// beginWrite marks the beginning of a write. It panics if another write is in progress.
func (c *Conn) beginWrite() {
	if !c.writing.CompareAndSwap(false, true) {
		panic("concurrent write to websocket connection")
	}
}

func (c *Conn) endWrite() { c.writing.Store(false) }

// whole writes a message in one frame, at the given compression level.
func (c *Conn) whole(messageType int, data []byte, level int) error {
	if isControl(messageType) {
		return c.wholeControl(messageType, data)
	}
	c.beginWrite()
	var err error
	if !c.compressionAgreed || level == defaultCompressionLevel {
		err = c.ws.WriteMessage(conn.Opcode(messageType), data)
	} else {
		err = c.ws.WriteLevel(conn.Opcode(messageType), data, level)
	}
	c.endWrite()
	if err != nil {
		return c.writeFailed(err)
	}
	return nil
}

// wholeControl writes a control message, with the deadline of messages.
func (c *Conn) wholeControl(messageType int, data []byte) error {
	if len(data) > frame.MaxControlPayload {
		return errInvalidControlFrame
	}
	deadline := c.writeDeadline
	if deadline.IsZero() {
		deadline = time.Now().Add(noDeadline)
	}
	c.beginWrite()
	err := c.ws.WriteControl(conn.Opcode(messageType), data, deadline)
	c.endWrite()
	if err != nil {
		return c.writeFailed(err)
	}
	c.wroteControl(messageType)
	return nil
}

// inFrames writes a message in frames of the write buffer's size.
func (c *Conn) inFrames(messageType int, data []byte) error {
	w, err := c.NextWriter(messageType)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

// writeFailed keeps the error of a failed write.
func (c *Conn) writeFailed(err error) error {
	err = c.writeError(err)
	c.keep(err)
	return err
}

// keep makes all later writes fail with err, unless one has failed already.
func (c *Conn) keep(err error) { c.writeErr.CompareAndSwap(nil, &err) }

func (c *Conn) wroteControl(messageType int) {
	if messageType == CloseMessage {
		c.keep(ErrCloseSent)
	}
}

// WriteControl writes a Close, ping or pong frame. It waits until the deadline; zero
// means no deadline. Any goroutine may call it.
func (c *Conn) WriteControl(messageType int, data []byte, deadline time.Time) error {
	switch {
	case !isControl(messageType):
		return errBadWriteOpCode
	case len(data) > frame.MaxControlPayload:
		return errInvalidControlFrame
	case deadline.IsZero():
		deadline = time.Now().Add(noDeadline)
	case time.Until(deadline) < 0:
		return errWriteTimeout
	}
	if err := c.stuck(); err != nil {
		return err
	}
	err := c.ws.WriteControl(conn.Opcode(messageType), data, deadline)
	switch {
	case err == nil:
		c.wroteControl(messageType)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed):
		return errWriteTimeout // nothing of it was written
	}
	return c.writeFailed(err)
}

// NextWriter returns a writer for the next message, of any of the five types. Its Close
// sends what is buffered. NextWriter first closes a writer that was left open.
func (c *Conn) NextWriter(messageType int) (io.WriteCloser, error) {
	if err := c.beginMessage(messageType); err != nil {
		return nil, err
	}
	c.takeBuffer()
	c.writer = &messageWriter{c: c, messageType: messageType, level: c.engineLevel()}
	return c.writer, nil
}

// writePoolData is what a BufferPool contains.
type writePoolData struct{ buf []byte }

func (c *Conn) takeBuffer() {
	if c.writePool == nil {
		c.lent = buffer.Get(c.writeBufSize)
		c.writeBuf = c.lent.B[:c.writeBufSize]
	} else if d, ok := c.writePool.Get().(writePoolData); ok && len(d.buf) > 0 {
		c.writeBuf = d.buf
	} else {
		c.writeBuf = make([]byte, c.writeBufSize)
	}
}

func (c *Conn) giveBuffer() {
	if c.lent != nil {
		buffer.Put(c.lent)
	} else {
		c.writePool.Put(writePoolData{c.writeBuf})
	}
	c.lent, c.writeBuf = nil, nil
}

// messageWriter writes one message.
type messageWriter struct {
	c           *Conn
	messageType int
	level       int            // of compression
	n           int            // bytes in Conn.writeBuf
	out         io.WriteCloser // the engine's, from the second frame on
	err         error          // after the end
}

// end ends the message. The writer's methods then return err.
func (w *messageWriter) end(err error) {
	if w.err == nil {
		w.err = err
		w.c.writer = nil
		w.c.giveBuffer()
	}
}

// failed ends the message with an error of the engine.
func (w *messageWriter) failed(err error) error {
	err = w.c.writeFailed(err)
	w.end(err)
	return err
}

// flush sends what is buffered, and then more, as frames that are not the last.
func (w *messageWriter) flush(more []byte) error {
	c := w.c
	if isControl(w.messageType) {
		w.end(errInvalidControlFrame)
		return errInvalidControlFrame
	}
	c.beginWrite()
	err := w.writePieces(c.writeBuf[:w.n], more)
	c.endWrite()
	if err != nil {
		return w.failed(err)
	}
	w.n = 0
	return nil
}

// writePieces makes the engine write pieces of a message.
func (w *messageWriter) writePieces(pieces ...[]byte) (err error) {
	if w.out == nil {
		if w.out, err = w.c.ws.NextWriterLevel(conn.Opcode(w.messageType), w.level); err != nil {
			return err
		}
	}
	for _, p := range pieces {
		if _, err = w.out.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Write implements io.Writer.
func (w *messageWriter) Write(p []byte) (int, error) {
	if w.err == nil && len(p) > 2*len(w.c.writeBuf) && w.c.ws.Role() == frame.Server {
		if err := w.flush(p); err != nil { // without a copy
			return 0, err
		}
		return len(p), nil
	}
	return put(w, p)
}

// WriteString implements io.StringWriter.
func (w *messageWriter) WriteString(s string) (int, error) { return put(w, s) }

// put buffers p. It sends a frame whenever the buffer is full and there is more.
func put[T ~string | ~[]byte](w *messageWriter, p T) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := p; len(rest) > 0; {
		if w.n == len(w.c.writeBuf) {
			if err := w.flush(nil); err != nil {
				return 0, err
			}
		}
		n := copy(w.c.writeBuf[w.n:], rest)
		w.n += n
		rest = rest[n:]
	}
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom.
func (w *messageWriter) ReadFrom(r io.Reader) (total int64, err error) {
	if w.err != nil {
		return 0, w.err
	}
	for {
		if w.n == len(w.c.writeBuf) {
			if err := w.flush(nil); err != nil {
				return total, err
			}
		}
		n, err := r.Read(w.c.writeBuf[w.n:])
		w.n += n
		total += int64(n)
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Close sends what is buffered, and ends the message.
func (w *messageWriter) Close() error {
	c := w.c
	if w.err != nil {
		return w.err
	}
	if w.out == nil {
		err := c.whole(w.messageType, c.writeBuf[:w.n], w.level)
		if err != nil {
			w.end(err)
		}
		w.end(errWriteClosed)
		return err
	}
	c.beginWrite()
	err := w.writePieces(c.writeBuf[:w.n])
	if err == nil {
		err = w.out.Close()
	}
	c.endWrite()
	if err != nil {
		return w.failed(err)
	}
	w.end(errWriteClosed)
	return nil
}
