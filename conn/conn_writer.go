package conn

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// connWriter is a Conn as its frame.Writer writes to it.
type connWriter Conn

func (o *connWriter) Write(b []byte) (int, error) { return o.data(b, nil) }

// vectorConnWriter is a connWriter over a socket, which can write two pieces at once.
type vectorConnWriter Conn

func (o *vectorConnWriter) Write(b []byte) (int, error) { return (*connWriter)(o).data(b, nil) }

// WriteV implements frame.VectorWriter, for the two pieces that its Writer has at most.
func (o *vectorConnWriter) WriteV(pieces [][]byte) (int64, error) {
	var b []byte
	if len(pieces) > 1 {
		b = pieces[1]
	}
	n, err := (*connWriter)(o).data(pieces[0], b)
	return int64(n), err
}

// data writes a and then b; with Config.FailFast only what can be written now, and leaves
// the rest to a goroutine.
func (o *connWriter) data(a, b []byte) (int, error) {
	c := (*Conn)(o)
	if !c.cfg.FailFast || c.closeSent || c.ignoreFailFast {
		return o.write(a, b, 0)
	}
	total := len(a) + len(b)
	n := 0
	if c.vectored && c.unsent == nil {
		var err error
		n, err = o.write(a, b, transport.NoWait)
		switch {
		case err != nil || n == total:
			return n, err
		case n == 0:
			return 0, ErrWouldBlock
		}
	}
	c.deferWrite(a[min(n, len(a)):], b[max(0, n-len(a)):])
	return total, nil
}

// write writes a and then b, as the transport does.
func (o *connWriter) write(a, b []byte, how transport.How) (int, error) {
	if o.cfg.WriteTimeout > 0 {
		(*Conn)(o).armWrite()
	}
	n, err := o.transport.Write(a, b, how)
	bump(&o.stats.writes, 1)
	bump(&o.stats.bytesWritten, n)
	return n, err
}

// tryWriteRaw writes frames that were encoded elsewhere, n bytes of them without waiting,
// and past all options of this Conn. held says that the write lock is kept, for the
// writeRaw that goes on; an error has ended the writing side.
func (c *Conn) tryWriteRaw(b []byte, messages int) (n int, held bool, err error) {
	switch {
	case !c.vectored || !c.lock.tryLockFast(0):
		return 0, false, nil
	case c.w.Queued() > 0:
		return 0, true, nil
	}
	n, err = (*connWriter)(c).write(b, nil, transport.NoWait|transport.Burst)
	switch {
	case err != nil:
		return n, false, c.rawFailed(err)
	case n < len(b):
		return n, true, nil
	}
	c.wroteRaw(messages)
	if flags := c.lock.unlock(); flags&(lockPending|lockEnded) != 0 && c.lock.tryLock() {
		c.releaseWrite(true)
	}
	return n, false, nil
}

// writeRaw writes what tryWriteRaw has left, or later frames, after the messages that
// AppendMessage queued, with all the time that the connection allows. held says that the
// caller has the write lock, which is released. After an error the writing side has
// ended.
func (c *Conn) writeRaw(b []byte, messages int, held bool) error {
	if !held {
		switch err := c.lockWriteAs(nil, false); {
		case err == nil:
		case err == ErrShutdown || c.cannotWrite():
			return err
		default:
			return c.endWriting(&TransportError{Op: "write", Err: err})
		}
	}
	var n int
	c.ignoreFailFast = true
	err := c.w.Flush()
	if err == nil {
		n, err = (*connWriter)(c).write(b, nil, 0)
	}
	c.ignoreFailFast = false
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return c.rawFailed(err)
	}
	c.wroteRaw(messages)
	c.unlockWrite()
	return nil
}

// wroteRaw counts messages. The caller has the write lock.
func (c *Conn) wroteRaw(messages int) {
	bump(&c.stats.messagesWritten, messages)
	if c.compression != nil {
		c.compression.out.Forget() // the peer's context now ends with what out has not seen
	}
}

// rawFailed ends the writing side after a write that failed, and gives the write lock
// back.
func (c *Conn) rawFailed(err error) error {
	err = c.writeLost(err)
	c.unlockWrite()
	return err
}

// deferWrite keeps b for flushControls, after what was left before.
func (c *Conn) deferWrite(b ...[]byte) {
	size := c.unsentLen
	for _, p := range b {
		size += len(p)
	}
	if c.unsent == nil {
		c.unsent = buffer.Get(size)
	} else if len(c.unsent.B) < size {
		c.unsent = buffer.Grow(c.unsent, c.unsentLen, size)
	}
	for _, p := range b {
		c.unsentLen += copy(c.unsent.B[c.unsentLen:], p)
	}
}

func (c *Conn) dropUnsent() {
	buffer.Put(c.unsent)
	c.unsent, c.unsentLen = nil, 0
}

// flushControls is a goroutine that got the write lock with its start: it writes what a
// write without waiting left, and the control frames that wait. The caller's write
// deadline does not hold it back: StallTimeout bounds it, and the end of a close
// handshake.
func (c *Conn) flushControls() {
	_ = c.ownWrites(time.Time{})
	if c.unsent != nil {
		b := c.unsent.B[:c.unsentLen]
		n, err := (*connWriter)(c).write(b, nil, 0)
		if err == nil && n != len(b) {
			err = io.ErrShortWrite
		}
		if err != nil && !c.ended() {
			c.endWriting(&TransportError{Op: "write", Err: err})
		}
		c.dropUnsent()
	}
	stuck := false
	if c.lock.has(lockPending) && !c.closeSent && !c.cannotWrite() {
		stuck = !c.writeControls(0) // by the end of a close handshake
	}
	c.disownWrites()
	c.releaseWriteFrom(false, stuck)
}

// writeFailed turns an error of writing into what the caller gets; of the queue the first
// keep bytes stay. All but misuse and what stopped before the first byte end the writing
// side.
func (c *Conn) writeFailed(err error, keep int) error {
	switch {
	case c.cannotWrite():
		return c.endedErr()
	case err == frame.ErrOpcode:
		return err
	case c.w.Err() != nil || c.transport.CutByWrite() && err != ErrWouldBlock:
	case err == ErrWouldBlock:
		c.w.Drop(keep)
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.w.Drop(keep)
		return c.closingError(errWriteDeadline)
	}
	return c.writeLost(err)
}

// writeLost ends the writing side after a write that failed.
func (c *Conn) writeLost(err error) error {
	if c.ended() {
		return c.Err()
	}
	return c.endWriting(&TransportError{Op: "write", Err: err})
}

// endedErr is what writers get when nothing more can be written.
func (c *Conn) endedErr() error {
	if err := c.Err(); err != nil {
		return err
	}
	return c.writeErr()
}

// closingError returns err, except for the deadline of a close handshake: the goroutine
// that began it decides how the connection ends.
func (c *Conn) closingError(err error) error {
	if err != errWriteDeadline || c.deadlines.open() {
		return err
	}
	if err := c.writeErr(); err != nil {
		return err
	}
	<-c.Done()
	return c.Err()
}
