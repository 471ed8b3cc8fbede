package conn

import (
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// Prepared is a message that is encoded once and written to many connections. Those that compress get it compressed, once for
// each window and level among them.
type Prepared struct {
	plain *frame.Prepared
	op    Opcode
	data  []byte

	mu     sync.Mutex
	packed atomic.Pointer[[]preparedPacked]
}

type preparedPacked struct {
	bits, level int
	encoded     *frame.Prepared
}

// Prepare encodes a message for WritePrepared. data is copied. Text must be UTF-8: ErrNotUTF8.
func Prepare(op Opcode, data []byte) (*Prepared, error) {
	if op == Text && !utf8.Valid(data) {
		return nil, ErrNotUTF8
	}
	plain, err := frame.Prepare(op, data, false)
	if err != nil {
		return nil, err
	}
	return &Prepared{plain: plain, op: op, data: append([]byte(nil), data...)}, nil
}

// Size returns the bytes that an uncompressed, unmasked write puts on the wire.
func (p *Prepared) Size() int { return p.plain.Size() }

// compressed returns the message as a connection with such a compressor gets it.
func (p *Prepared) compressed(bits, level int) (*frame.Prepared, error) {
	find := func() *frame.Prepared {
		if list := p.packed.Load(); list != nil {
			for _, q := range *list {
				if q.bits == bits && q.level == level {
					return q.encoded
				}
			}
		}
		return nil
	}
	if q := find(); q != nil {
		return q, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := find(); q != nil {
		return q, nil
	}
	data, err := deflate.AppendMessage(nil, p.data, bits, level)
	if err != nil {
		return nil, err
	}
	q, err := frame.Prepare(p.op, data, true)
	if err != nil {
		return nil, err
	}
	var list []preparedPacked
	if old := p.packed.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, preparedPacked{bits, level, q})
	p.packed.Store(&list)
	return q, nil
}

// WriteUncompressed is WriteMessage for a message that must not be compressed, on a connection that does: one that holds a secret
// beside what an attacker can choose (see package deflate), or is compressed already.
func (c *Conn) WriteUncompressed(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	return c.writePlain(op, data)
}

// writePacked writes or queues a message compressed.
func (c *Conn) writePacked(op Opcode, data []byte, flush bool) error {
	if err := c.lockWriteFor(op, len(data)); err != nil {
		return err
	}
	before := c.w.Queued()
	err := c.queuePacked(op, data, true, true)
	if err == nil && (flush || c.w.Queued() > c.cfg.WriteBuffer) {
		c.queueControls()
		err = c.w.Flush()
	}
	if err != nil {
		c.packed.out.Forget() // what is dropped now the peer will not have seen
	}
	return c.wrote(err, before+int(c.control.queued))
}

// queuePacked compresses a message, or a piece of one, and queues what comes out as a frame, if anything does.
func (c *Conn) queuePacked(op Opcode, data []byte, first, last bool) error {
	b := buffer.Get(deflate.Bound(len(data)))
	defer buffer.Put(b)
	p := c.packed.out.Append(b.B[:0], data, last)
	if len(p) == 0 && !last {
		return nil
	}
	return c.w.AppendFrame(frame.Header{Fin: last, RSV1: first, Opcode: op}, p)
}

// packedFrame is frame of a message that is compressed. What the compressor has taken cannot be taken back: where a flush
// is stopped the frame stays queued, and the next call flushes it.
func (m *messageWriter) packedFrame(p []byte, last bool) (taken bool, err error) {
	c := m.c
	if m.done || m.sealed && !last {
		return false, ErrWriterClosed
	}
	if err := c.lockWrite(m); err != nil {
		return false, err
	}
	if !m.sealed {
		before := c.w.Queued()
		err = c.queuePacked(m.op, p, m.op != frame.Continuation, last)
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
