package conn

import (
	"errors"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// WriteMessage writes a text or binary message, and what waits from AppendMessage before it. data is not changed, and not
// kept. If the error matches os.ErrDeadlineExceeded and not net.ErrClosed nothing of the message was written, and the
// connection lives.
func (c *Conn) WriteMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if err := c.lockWrite(); err != nil {
		return err
	}
	if c.control.pending.Load() {
		c.queueControls()
	}
	before := c.w.Queued()
	err := c.w.Write(op, data)
	if err != nil {
		err = c.writeFailed(err, before)
	} else {
		c.stats.messagesWritten.Add(1)
	}
	c.unlockWrite()
	return err
}

// AppendMessage queues a message for the next Flush or other write. It writes only when more than Config.WriteBuffer bytes
// wait. data is not changed, and not kept.
func (c *Conn) AppendMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if err := c.lockWrite(); err != nil {
		return err
	}
	before := c.w.Queued()
	err := c.w.Append(op, data)
	if err == nil && c.w.Queued() > c.cfg.WriteBuffer {
		err = c.w.Flush()
	}
	if err != nil {
		err = c.writeFailed(err, before)
	} else {
		c.stats.messagesWritten.Add(1)
	}
	c.unlockWrite()
	return err
}

// Flush writes what AppendMessage queued. If the error matches os.ErrDeadlineExceeded and not net.ErrClosed it still waits,
// and can be flushed later.
func (c *Conn) Flush() error {
	if err := c.lockWrite(); err != nil {
		return err
	}
	if c.control.pending.Load() {
		c.queueControls()
	}
	err := c.w.Flush()
	if err != nil {
		err = c.writeFailed(err, c.w.Queued())
	}
	c.unlockWrite()
	return err
}

// lockWrite takes the write lock for data, within the write deadline.
func (c *Conn) lockWrite() error {
	if !c.lock.tryLock() {
		if err := c.waitLock(); err != nil {
			return err
		}
	}
	var err error
	switch {
	case c.ended():
		err = c.Err()
	case c.shut:
		err = ErrShutdown
	default:
		return nil
	}
	c.unlockWrite()
	return err
}

// waitLock waits for the write lock, until the write deadline.
func (c *Conn) waitLock() error {
	for {
		timer, changed, passed := c.deadlines.waitWrite(c.cfg.WriteTimeout)
		if passed {
			return errWriteDeadline
		}
		var fires <-chan time.Time
		if timer != nil {
			fires = timer.C
		}
		ok := c.lock.lockOr(c.done, fires, changed)
		if timer != nil {
			timer.Stop()
		}
		switch {
		case ok:
			return nil
		case c.ended():
			return c.Err()
		}
	}
}

// unlockWrite gives the write lock back. Control frames that have come up in the meantime are written first.
func (c *Conn) unlockWrite() {
	for {
		if c.ended() {
			c.w.Drop(0)
		}
		c.w.Release()
		sent := true
		if c.control.pending.Load() && !c.shut && !c.ended() {
			sent = c.writeControls()
		}
		c.lock.unlock()
		if !sent || !c.control.pending.Load() || c.ended() || !c.lock.tryLock() {
			return
		}
		if c.shut {
			c.lock.unlock()
			return
		}
	}
}

// writeFailed turns an error of writing into what the caller gets; of the queue the first keep bytes stay. All but misuse and a
// deadline that passed before the first byte end the connection.
func (c *Conn) writeFailed(err error, keep int) error {
	switch {
	case c.ended():
		return c.Err()
	case err == frame.ErrOpcode:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) && c.w.Err() == nil && c.secure == nil:
		c.w.Drop(keep)
		return errWriteDeadline
	}
	return c.end(&TransportError{Op: "write", Err: err})
}

// outlet is a Conn as its frame.Writer writes to it.
type outlet Conn

func (o *outlet) Write(b []byte) (int, error) {
	if o.cfg.WriteTimeout > 0 {
		(*Conn)(o).armWrite()
	}
	n, err := o.stream.Write(b)
	o.stats.writes.Add(1)
	o.stats.bytesWritten.Add(uint64(max(n, 0)))
	return n, err
}
