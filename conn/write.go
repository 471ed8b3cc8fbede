package conn

import (
	"io"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// HeaderRoom is the free space before the payload that WriteOwned needs for the header.
const HeaderRoom = frame.MaxHeaderSize

// WriteMessage writes a text or binary message, after those queued by AppendMessage. data
// is not changed and not kept. Any goroutine may write at any time: messages are written
// whole, one after the other.
//
// If the error matches os.ErrDeadlineExceeded and not net.ErrClosed, nothing of the
// message was written, and the connection stays open. With Config.FailFast the same holds
// for ErrWouldBlock.
func (c *Conn) WriteMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if len(data) <= int(c.direct) && c.lock.tryLockFast(lockDirect) {
		// Nothing to look at: no option that concerns writing, and no flag in the lock.
		if b := c.w.Encode(op, data); b != nil {
			return c.writeEncoded(b, false)
		}
		c.lock.clear(lockDirect)
		return c.writeLocked(op, data)
	}
	if c.compression != nil && c.compression.takes(op, data) {
		return c.writeCompressed(op, data, true, c.cfg.FailFast)
	}
	return c.writePlain(op, data)
}

// maxDirect is the longest message for writeEncoded: a longer one of a server is not
// copied.
const maxDirect = 8 << 10

// writeEncoded writes the frame b of a message directly to the transport, without the
// Writer, which was half of the cost of a small message. It releases the lock. often says
// that the call is one of many in a row.
func (c *Conn) writeEncoded(b []byte, often bool) error {
	var how transport.How
	if often {
		how = transport.Burst
	}
	n, err := c.transport.Write(b, nil, how)
	if err != nil || n != len(b) {
		return c.encodedFailed(n, len(b), err)
	}
	bump(&c.stats.bytesWritten, n)
	if !c.keepWriteBuffer {
		c.w.Release()
	}
	if s := c.lock.state.Add(lockCount - lockHeld - lockDirect); s&(lockCount-1) != 0 {
		c.unlocked(s)
	}
	return nil
}

// encodedFailed ends a writeEncoded that wrote n of size bytes.
func (c *Conn) encodedFailed(n, size int, err error) error {
	c.lock.clear(lockDirect)
	bump(&c.stats.writes, 1)
	switch {
	case n < 0 || n > size:
		n, err = 0, transport.ErrWriteCount
	case err == nil:
		err = io.ErrShortWrite
	}
	bump(&c.stats.bytesWritten, n)
	if n == 0 && err != io.ErrShortWrite {
		err = c.writeFailed(err, 0)
	} else {
		err = c.writeLost(err)
	}
	c.unlockWrite()
	return err
}

// writePlain writes a message in one frame as it is.
func (c *Conn) writePlain(op Opcode, data []byte) error {
	if err := c.lockWriteFor(op, len(data), c.cfg.FailFast); err != nil {
		return err
	}
	return c.writeLocked(op, data)
}

// writeLocked is writePlain for the holder of the write lock.
func (c *Conn) writeLocked(op Opcode, data []byte) error {
	c.queueControls()
	before := c.w.Queued()
	return c.wrote(c.w.Write(op, data), before)
}

// WriteOwned writes a message whose memory the caller gives up. The payload is
// b[HeaderRoom:]; a client masks it in place. It saves the copy of WriteMessage, and
// never compresses. b must not be used afterwards, even after an error.
func (c *Conn) WriteOwned(op Opcode, b []byte) error {
	switch {
	case len(b) < HeaderRoom:
		return frame.ErrOpcode
	case op == Text && !c.cfg.UncheckedText && !utf8.Valid(b[HeaderRoom:]):
		return ErrNotUTF8
	}
	return c.writeOwned(op, b, c.cfg.FailFast)
}

// writeOwned is WriteOwned for a message that is right, with failFast in the place of
// Config.FailFast.
func (c *Conn) writeOwned(op Opcode, b []byte, failFast bool) error {
	if err := c.lockWriteFor(op, len(b)-HeaderRoom, failFast); err != nil {
		return err
	}
	c.queueControls()
	before := c.w.Queued()
	c.ignoreFailFast = !failFast
	err := c.w.WriteOwned(op, b)
	c.ignoreFailFast = false
	return c.wrote(err, before)
}

// WritePrepared writes a prepared message. A server writes its bytes without a copy; a
// client masks a copy. A Group sends a message to many connections at less cost.
func (c *Conn) WritePrepared(p *Prepared) error {
	if c.compression != nil && c.compression.takes(p.op, p.data) {
		return c.writePrepared(p, c.compression.level)
	}
	return c.writePrepared(p, Uncompressed)
}

// writePrepared is WritePrepared at a level, which is Uncompressed where nothing is
// compressed.
func (c *Conn) writePrepared(p *Prepared, level int) error {
	encoded := p.plain
	packed := level != Uncompressed
	if packed {
		var err error
		if encoded, err = p.compressed(c.compression.bits, level); err != nil {
			return err
		}
	}
	if p.Size() <= int(c.direct) && c.lock.tryLockFast(lockDirect) {
		if b := c.w.EncodePrepared(encoded); b != nil {
			return c.writeEncoded(b, true)
		}
		c.lock.clear(lockDirect)
		before := c.w.Queued()
		return c.wrote(c.w.WritePrepared(encoded), before)
	}
	if err := c.lockWriteFor(p.op, len(p.data), c.cfg.FailFast); err != nil {
		return err
	}
	c.queueControls()
	before := c.w.Queued()
	err := c.w.WritePrepared(encoded)
	if packed {
		c.compression.out.Forget() // the peer's context now ends with what out has not seen
	}
	return c.wrote(err, before)
}

// AppendMessage queues a message for the next Flush or other write. It writes only when
// more than Config.WriteBuffer bytes are queued. data is not changed and not kept.
func (c *Conn) AppendMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if len(data) <= int(c.direct) && c.lock.tryLockFast(0) {
		before := c.w.Queued()
		if err := c.w.Append(op, data); err != nil || c.w.Queued() > c.cfg.WriteBuffer {
			return c.appended(err, before)
		}
		bump(&c.stats.messagesWritten, 1)
		if flags := c.lock.state.Add(^uint64(lockHeld - 1)); flags&(lockCount-1) != 0 {
			c.unlocked(flags)
		}
		return nil
	}
	if c.compression != nil && c.compression.takes(op, data) {
		return c.writeCompressed(op, data, false, c.cfg.FailFast)
	}
	if err := c.lockWriteFor(op, len(data), c.cfg.FailFast); err != nil {
		return err
	}
	before := c.w.Queued()
	return c.appended(c.w.Append(op, data), before)
}

// appended ends AppendMessage.
func (c *Conn) appended(err error, before int) error {
	if err == nil && c.w.Queued() > c.cfg.WriteBuffer {
		err = c.w.Flush()
	}
	return c.wrote(err, before)
}

// Flush writes the messages queued by AppendMessage. If the error matches
// os.ErrDeadlineExceeded and not net.ErrClosed, or is ErrWouldBlock, they stay queued,
// and can be flushed later.
func (c *Conn) Flush() error {
	if err := c.lockWrite(nil); err != nil {
		return err
	}
	c.queueControls()
	err := c.flushed(c.w.Flush(), c.w.Queued())
	c.unlockWrite()
	return err
}

// flushed turns the error of a flush into what the caller gets: see writeFailed. The
// caller has the write lock.
func (c *Conn) flushed(err error, keep int) error {
	if err != nil {
		err = c.writeFailed(err, keep)
		c.unqueueControls()
	} else {
		c.controlsFlushed()
	}
	return err
}

// wrote ends the writing of one message. before is the number of bytes in the queue
// before it.
func (c *Conn) wrote(err error, before int) error {
	if err = c.flushed(err, before); err == nil {
		bump(&c.stats.messagesWritten, 1)
	}
	c.unlockWrite()
	return err
}
