package conn

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// WriteControl writes a ping, pong or Close with a payload of at most 125 bytes. The
// error is frame.ErrControlPayload for a longer one, and frame.ErrOpcode for any other
// op. deadline limits the whole call, including the wait for other writers; the zero time
// means Config.CloseTimeout from now. The connection's write deadline and
// Config.WriteTimeout do not apply. Any goroutine may call it, also Config.Control.
//
// A ping or pong goes before messages that wait for Flush, and between the frames of a
// message of NextWriter. Config.Outbound is asked about it first. Pongs that answer it do
// not complete a call of Ping; Config.Control and the Observer see them.
//
// A Close goes after the messages that wait for Flush, and is only a frame. Write calls
// return ErrShutdown from then on, and read calls continue until the peer's Close ends
// them. CloseTimeout does not limit that, only the clocks of Config do; use StartClose
// for a limit. The payload is empty, or a code and a reason, checked as by
// frame.AppendClose and with its errors. With Config.ManualClose it is written unchecked.
//
// If the error matches os.ErrDeadlineExceeded and not net.ErrClosed, nothing of the frame
// was written, and the connection stays open. With Config.FailFast the same holds for
// ErrWouldBlock, which a ping or pong returns if it would have to wait.
func (c *Conn) WriteControl(op Opcode, payload []byte, deadline time.Time) error {
	switch {
	case op != frame.Ping && op != frame.Pong && op != frame.Close:
		return frame.ErrOpcode
	case len(payload) > frame.MaxControlPayload:
		return frame.ErrControlPayload
	}
	if deadline.IsZero() {
		deadline = time.Now().Add(c.cfg.CloseTimeout)
	}
	if op == frame.Close {
		return c.writeClose(payload, deadline)
	}
	if c.outbound != nil {
		if err := c.writable(); err != nil {
			return err
		}
		if err := c.cfg.Outbound(c, op, len(payload)); err != nil {
			return err
		}
	}
	if err := c.lockControl(deadline, c.cfg.FailFast); err != nil {
		return err
	}
	err := c.writeControl(op, payload, deadline)
	c.releaseWrite(true) // what others have left for it must not hold it up
	return err
}

// lockControl takes the write lock for a control frame, until the deadline.
func (c *Conn) lockControl(deadline time.Time, failFast bool) error {
	switch {
	case c.cannotWrite():
		return c.endedErr()
	case passed(deadline):
		return errControlDeadline
	}
	if !c.lock.tryLock() {
		if failFast {
			return ErrWouldBlock
		}
		timer := time.NewTimer(time.Until(deadline))
		ok := c.lock.lockUntil(c.Done(), timer.C, nil)
		timer.Stop()
		if !ok {
			if c.ended() {
				return c.Err()
			}
			return errControlDeadline
		}
	}
	switch {
	case c.cannotWrite():
		err := c.endedErr()
		c.releaseWrite(true)
		return err
	case c.closeSent:
		c.releaseWrite(true)
		return c.shutErr()
	}
	return nil
}

// writeControl writes a ping or pong past the queue of the Writer. The caller has the
// write lock.
func (c *Conn) writeControl(op Opcode, payload []byte, deadline time.Time) error {
	lent := buffer.Get(2 + 4 + frame.MaxControlPayload)
	defer buffer.Put(lent)
	b := c.appendControl(lent.B[:0], op, payload)
	var how transport.How
	if c.cfg.FailFast {
		if !c.vectored {
			c.deferWrite(b)
			c.wroteControl(op, payload)
			return nil
		}
		how = transport.NoWait
	}
	timer := c.boundWrites(deadline)
	n, err := (*connWriter)(c).write(b, nil, how)
	c.unboundWrites(timer)
	switch {
	case err == nil && n == len(b):
	case err == nil && n == 0 && how == transport.NoWait:
		return ErrWouldBlock
	case err == nil && how == transport.NoWait:
		c.deferWrite(b[n:])
	default:
		if err == nil {
			err = io.ErrShortWrite
		}
		return c.controlFailed(err, n == 0)
	}
	c.wroteControl(op, payload)
	return nil
}

// boundWrites is ownWrites. Where the transport has no deadlines, a timer ends the
// connection at the deadline: nothing else would end the write.
func (c *Conn) boundWrites(deadline time.Time) *time.Timer {
	if c.ownWrites(deadline) == nil {
		return nil
	}
	return time.AfterFunc(time.Until(deadline), func() { c.abort(&TransportError{Op: "write", Err: os.ErrDeadlineExceeded}) })
}

// unboundWrites ends boundWrites.
func (c *Conn) unboundWrites(timer *time.Timer) {
	if timer != nil {
		timer.Stop()
	}
	c.disownWrites()
}

// controlFailed returns the error of a write that failed. whole says that nothing was
// written, so that the connection can go on.
func (c *Conn) controlFailed(err error, whole bool) error {
	switch {
	case c.cannotWrite():
		return c.endedErr()
	case whole && !c.transport.CutByWrite() && errors.Is(err, os.ErrDeadlineExceeded):
		return errControlDeadline
	}
	return c.writeLost(err)
}

// wroteControl counts what was written, and tells the Observer. The caller has the write
// lock.
func (c *Conn) wroteControl(op Opcode, payload []byte) {
	if op == frame.Ping {
		c.stats.pingsWritten.Add(1)
	} else {
		c.stats.pongsWritten.Add(1)
	}
	c.observe(op, payload, true)
}

// writeClose writes a Close frame, and ends the connection if it is the one that the
// peer's has waited for.
func (c *Conn) writeClose(payload []byte, deadline time.Time) error {
	code, reason := frame.CodeNoStatus, ""
	if len(payload) > 0 {
		if len(payload) > 1 {
			code, reason = frame.CloseCode(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		if code == frame.CodeNoStatus && !c.cfg.ManualClose {
			return frame.ErrCloseCodeUnsendable // that code means no payload
		}
	}
	if !c.cfg.ManualClose {
		var body [frame.MaxControlPayload]byte
		if _, err := frame.AppendClose(body[:0], c.role, code, reason); err != nil {
			return err
		}
	}
	if err := c.lockControl(deadline, false); err != nil {
		return err
	}
	err := c.writeCloseLocked(payload, code, reason, deadline)
	c.releaseWrite(true)
	c.closeDone(!c.cfg.ManualClose)
	return err
}

// writeCloseLocked is sendClose with a deadline that is not the connection's from then
// on. payload is code and reason. The caller has the write lock.
func (c *Conn) writeCloseLocked(payload []byte, code frame.CloseCode, reason string, deadline time.Time) error {
	c.mu.Lock()
	g := c.ensureCloseState()
	local := !g.received.done // before: the answer may come at once
	c.mu.Unlock()
	before := c.w.Queued()
	c.ignoreFailFast = true
	timer := c.boundWrites(deadline)
	err := c.w.AppendFrame(frame.Header{Fin: true, Opcode: frame.Close}, payload)
	if err == nil {
		err = c.w.Flush()
	}
	c.unboundWrites(timer)
	c.ignoreFailFast = false
	if err != nil {
		whole := c.w.Err() == nil
		if whole {
			c.w.Drop(before)
		}
		return c.controlFailed(err, whole)
	}
	c.closeSent = true
	c.lock.set(lockClosing)
	c.mu.Lock()
	g.local, g.sent = local, closeFrame{true, code, reason}
	c.mu.Unlock()
	c.observe(frame.Close, payload, true)
	return nil
}
