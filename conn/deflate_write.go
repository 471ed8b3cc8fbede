package conn

import (
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// WriteUncompressed is WriteMessage without compression. Use it on a connection that
// compresses, for a message that is compressed already, or that contains a secret
// together with data an attacker can choose (see package deflate).
func (c *Conn) WriteUncompressed(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	return c.writePlain(op, data)
}

// writeCompressed writes or queues a message compressed.
func (c *Conn) writeCompressed(op Opcode, data []byte, flush, failFast bool) error {
	if err := c.lockWriteFor(op, len(data), failFast); err != nil {
		return err
	}
	before := c.w.Queued()
	err := c.queueCompressed(c.compression.out, op, data, true, true)
	if err == nil && (flush || c.w.Queued() > c.cfg.WriteBuffer) {
		c.queueControls()
		c.ignoreFailFast = !failFast
		err = c.w.Flush()
		c.ignoreFailFast = false
	}
	if err != nil {
		c.compression.out.Forget() // what is dropped now the peer will not have seen
	}
	return c.wrote(err, before+int(c.control.queued))
}

// queueCompressed compresses a message, or a piece of one, and queues what comes out as a
// frame, if anything does.
func (c *Conn) queueCompressed(out *deflate.Deflater, op Opcode, data []byte, first, last bool) error {
	b := buffer.Get(deflate.Bound(len(data)))
	defer buffer.Put(b)
	p := out.Append(b.B[:0], data, last)
	if len(p) == 0 && !last {
		return nil
	}
	return c.w.AppendFrame(frame.Header{Fin: last, RSV1: first, Opcode: op}, p)
}

// compressedFrame is frame of a message that is compressed. What the compressor has taken
// cannot be taken back: where a flush is stopped the frame stays queued, and the next
// call flushes it.
func (m *messageWriter) compressedFrame(p []byte, last bool) (taken bool, err error) {
	c := m.c
	if m.done || m.sealed && !last {
		return false, ErrWriterClosed
	}
	if err := c.lockWrite(m); err != nil {
		return false, err
	}
	if !m.sealed {
		before := c.w.Queued()
		out := c.compression.out
		if m.out != nil {
			out = m.out
		}
		err = c.queueCompressed(out, m.op, p, m.op != frame.Continuation, last)
		if c.w.Queued() > before {
			m.op = frame.Continuation
		}
		m.sealed = last
	}
	if err == nil && (last || c.w.Queued() > c.cfg.WriteBuffer) {
		c.queueControls()
		err = c.w.Flush()
	}
	if err = c.flushed(err, c.w.Queued()); err == nil && last {
		m.finished()
	}
	c.unlockWrite()
	return true, err
}

// takes reports whether a message is to be compressed.
func (z *compression) takes(op Opcode, data []byte) bool {
	return len(data) >= z.threshold && (op == Text || op == Binary)
}

// releaseCompressor is called at each look of the clocks. Where nothing was written since
// the one before, a client that compresses gives its queue back, too; and the
// compressor's memory goes where that has been so for deflate.Config.ReleaseIdle.
func (c *Conn) releaseCompressor(now monotime) {
	z, limit := c.compression, c.cfg.releaseIdle()
	if z == nil {
		return
	}
	if written := c.messagesWritten(); written != z.written {
		z.written, z.writtenAt, z.released = written, now, false
		return
	}
	release := limit > 0 && !z.released && now.since(z.writtenAt) >= limit
	if (release || c.role == frame.Client) && c.lock.tryLock() {
		if c.role == frame.Client {
			c.w.Release()
		}
		if release {
			z.released = true
			z.out.Release()
		}
		c.releaseWrite(true)
	}
}
