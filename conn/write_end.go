package conn

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// writeEnd is why nothing more can be written on a connection that can still be read: all
// that the peer has sent is delivered first. A reset of the kernel's loses what the
// kernel threw away, and no more.
type writeEnd struct {
	err   error       // what write calls return
	timer *time.Timer // under Conn.mu
	over  atomic.Bool // the timer has fired: reads take what is here, and wait for nothing more

	// By the holder of readBusy, when over is set.
	armed bool // the transport has the deadline of lastWait
	taken int
}

const (
	// lastWait is how long a read waits, once nothing more is waited for. What is here
	// comes at once.
	lastWait = 20 * time.Millisecond
	// lastBytes is how much is read then: more than a kernel holds, less than for ever.
	lastBytes = 64 << 20
)

// endWriting makes err what writers get from now on, and returns what that is. Read calls
// go on through all that has arrived, wait for more until CloseTimeout has passed, and
// end with the cause: see lastWord. Where no read call comes the connection then ends by
// itself, unless something is left to be read.
func (c *Conn) endWriting(err error) error {
	w := &writeEnd{err: err}
	if !c.writeFailure.CompareAndSwap(nil, w) {
		return c.writeFailure.Load().err
	}
	c.lock.set(lockEnded)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	w.timer = time.AfterFunc(c.cfg.CloseTimeout, func() { c.stopWaiting(w) })
	c.mu.Unlock()
	c.refusePings(err)
	c.deadlines.lock()
	_ = c.setWriteDeadline(past) // for a goroutine that waits in a write
	c.deadlines.mu.Unlock()
	if !brokenPipe(err) {
		c.halfClose() // so the peer need not be waited for long
	}
	c.tryReleaseWriteSide()
	return err
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// brokenPipe reports whether err says that the peer is gone.
func brokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// writeErr returns what ended the writing side, nil if nothing did.
func (c *Conn) writeErr() error {
	if w := c.writeFailure.Load(); w != nil {
		return w.err
	}
	return nil
}

// cannotWrite reports whether nothing more can be written.
func (c *Conn) cannotWrite() bool { return c.ended() || c.writeFailure.Load() != nil }

// stopWaiting has reads take what is here and then end. If nobody reads, and there is
// nothing that could be, this is the end.
func (c *Conn) stopWaiting(w *writeEnd) {
	w.over.Store(true)
	if _, waits, _ := c.unread(); !waits && !c.deadlines.filling.Load() {
		c.abort(w.err)
		return
	}
	c.deadlines.lock()
	var err error
	if !c.ended() {
		err = c.setReadDeadline(past) // for a goroutine that waits in a read
	}
	c.deadlines.mu.Unlock()
	if err != nil && c.deadlines.filling.Load() {
		c.abort(w.err) // the transport has no deadlines: only closing it wakes who waits
	}
}

// writerKnows reports whether a write has the cause of an end of the stream: a kernel
// tells an error, such as a reset, to one call only, and if a write had it, reads meet
// io.EOF. What the write returned is then waited for; that takes no longer than its
// goroutine needs to say so.
func (c *Conn) writerKnows(end error) bool {
	if end != io.EOF && end != io.ErrUnexpectedEOF || c.lock.has(lockClosing) || !toldOfReset(c.base) {
		return false
	}
	for begin := time.Now(); c.writeFailure.Load() == nil; runtime.Gosched() {
		if time.Since(begin) > lastWait {
			return false // it was a write of somebody else's
		}
	}
	return true
}

// armLast bounds the next read of a connection whose writing has ended, once waiting is
// over. It returns false if enough was read.
func (c *Conn) armLast(w *writeEnd) bool {
	c.deadlines.mu.Lock()
	w.armed = true
	err := c.setReadDeadline(earlier(c.deadlines.readUntil(), time.Now().Add(lastWait)))
	c.deadlines.mu.Unlock()
	if err != nil {
		c.mu.Lock()
		if w.timer != nil && c.err == nil {
			w.timer.Reset(lastWait) // see stopWaiting
		}
		c.mu.Unlock()
	}
	return w.taken < lastBytes
}

// lastWord is the error of a connection whose writing has ended, when reading has ended
// with err; nil says that nothing more came in time.
func (w *writeEnd) lastWord(err error) error {
	lost, ok := w.err.(*TransportError)
	if !ok || err == nil {
		return w.err
	}
	return &TransportError{Op: lost.Op, Err: &lostBothWays{lost.Err, err}}
}

// lostBothWays is a write that failed and the end of reading after it.
type lostBothWays struct{ write, read error }

func (e *lostBothWays) Error() string {
	return e.write.Error() + "; reading went on, and ended with: " + e.read.Error()
}
func (e *lostBothWays) Unwrap() []error { return []error{e.write, e.read} }
