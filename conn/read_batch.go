package conn

import (
	"iter"
	"runtime"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Batch is a run of messages with the memory that holds them: see TakeBatch.
type Batch = frame.Batch

// Frame is one frame with its payload: see NextFrame.
type Frame = frame.Frame

// Messages iterates over the messages as ReadMessage returns them. Each is a view, valid
// until the next step. The last step has the error. After a passed deadline a new loop
// continues.
func (c *Conn) Messages() iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.ReadMessage()
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// More reports whether another whole message has already come, so that the current one
// may not be the newest. A feed that conflates can skip to the next. Under TLS a whole
// record counts. Only the reading goroutine may call it; the current view stays valid.
func (c *Conn) More() bool {
	for {
		if n, ok := c.readState.enter(); ok {
			more := c.more()
			c.readState.leave(n)
			return more
		}
		s := c.readState.state.Load()
		switch {
		case s&readLooked != 0, s&(readCount-1) == readParked && !c.readState.quickRuns():
			runtime.Gosched() // the keepalive looks, or has just done so
		case s&(readCount-1) == readParked, s&(readCount-1)&^(readLimited|readParked|readStarved) != 0:
			return false
		case c.readState.take(s, 0):
			more := c.more()
			c.releaseRead(0)
			return more
		}
	}
}

// more is More for the holder of the reading side.
func (c *Conn) more() bool {
	return c.r.More() || c.transport.Ready()
}

// TakeBatch returns all messages that have come, at least one, together with the memory
// that holds them. It is the cheap way to hand messages to another goroutine. The caller
// owns them until Batch.Release. Errors are those of ReadMessage. A compressed message is
// a batch of its own, and copied if it is small.
func (c *Conn) TakeBatch() (*Batch, error) {
	if err := c.beginRead(); err != nil {
		return nil, err
	}
	if c.msgReader.begun {
		if err := c.passOver(); err != nil {
			c.endRead(0)
			return nil, err
		}
	}
	for {
		b, err := c.nextBatch()
		if err != nil {
			c.endRead(0)
			return nil, err
		}
		if b != nil {
			c.endRead(len(b.Messages))
			return b, nil
		}
	}
}

// nextBatch takes one step: to a batch of messages, over a control frame, or to more
// bytes.
func (c *Conn) nextBatch() (*Batch, error) {
	if c.compression != nil && c.r.Compressed() {
		return c.inflatedBatch()
	}
	b, ok, err := c.r.BufferedBatch()
	switch {
	case err != nil:
		return nil, c.readFailed(err)
	case !ok:
		return nil, c.fill(c.nextSpace())
	}
	if m := b.Messages[0]; m.Opcode.IsControl() {
		err := c.handleControl(m.Opcode, m.Data)
		b.Release()
		return nil, err
	}
	return b, nil
}

// NextFrame returns the next frame as it was sent, with its whole payload, unmasked. The
// payload is a view, valid until the next read call. Pings are answered and returned too;
// a Close ends the connection as always. Compressed payloads stay compressed.
//
// If NextFrame has returned a part of a message, ReadMessage and NextReader continue
// after that message. Inside a message that ReadMessage has begun the error is
// frame.ErrMixedReads.
func (c *Conn) NextFrame() (Frame, error) {
	if err := c.beginRead(); err != nil {
		return Frame{}, err
	}
	if c.msgReader.joining {
		c.endRead(0)
		return Frame{}, frame.ErrMixedReads
	}
	if c.msgReader.begun && !c.msgReader.framed {
		if err := c.passOver(); err != nil {
			c.endRead(0)
			return Frame{}, err
		}
	}
	f, err := c.nextFrame()
	switch {
	case err != nil:
		c.endRead(0)
	case f.Header.Opcode.IsControl():
		c.releaseRead(0)
	default:
		open := !f.Header.Fin
		c.msgReader.open, c.msgReader.begun, c.msgReader.framed = open, open, open
		c.releaseRead(1 - bit(open))
	}
	return f, err
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Conn) nextFrame() (Frame, error) {
	for {
		f, ok, err := c.r.BufferedFrame()
		switch {
		case err == frame.ErrMixedReads:
			return Frame{}, err
		case err != nil:
			return Frame{}, c.readFailed(err)
		case !ok:
			if err := c.await(nil); err != nil {
				return Frame{}, err
			}
			continue
		}
		if f.Header.Opcode.IsControl() {
			if err := c.handleControl(f.Header.Opcode, f.Payload); err != nil {
				return Frame{}, err
			}
		}
		if c.compression != nil {
			if err := c.frameSeen(f); err != nil {
				return Frame{}, err
			}
		}
		return f, nil
	}
}
