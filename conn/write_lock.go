package conn

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// writeLock is a lock whose waiters can give up: a word for the uncontended case, and a
// one-place channel to wait at. The word also carries what a writer must look at once it
// has the lock, so that a message that finds none of it takes the lock, and gives it
// back, with one atomic operation each.
type writeLock struct {
	state  atomic.Uint64
	freeMu sync.Mutex    // of free
	free   chan struct{} // made by the first who waits, before it sets lockWaited
}

// The flags in writeLock.state; the rest of it counts messages that were written by
// writeEncoded.
const (
	lockHeld    = 1 << iota
	lockWaited  // perhaps
	lockPending // control frames wait in the slots
	lockClosing // a Close frame waits for the lock, or was sent: no message goes before it
	lockOpen    // the message that NextWriter has begun is not finished
	lockEnded   // the connection has ended
	lockDirect  // by writeEncoded, which does nothing but encode and write
	lockCount   // one message
)

func (l *writeLock) tryLock() bool { return l.state.Or(lockHeld)&lockHeld == 0 }

// tryLockFast takes the lock if it is free and no flag is set, and sets more flags.
func (l *writeLock) tryLockFast(more uint64) bool {
	s := l.state.Load()
	return s&(lockCount-1) == 0 && l.state.CompareAndSwap(s, s|lockHeld|more)
}

func (l *writeLock) set(flag uint64)      { l.state.Or(flag) }
func (l *writeLock) clear(flag uint64)    { l.state.And(^flag) }
func (l *writeLock) has(flag uint64) bool { return l.state.Load()&flag != 0 }

// unlock gives the lock back and returns the flags that were set then. Another goroutine
// than that which locked may call it.
func (l *writeLock) unlock() (flags uint64) {
	flags = l.state.Add(^uint64(lockHeld - 1))
	if flags&lockWaited != 0 {
		l.wake()
	}
	return flags & (lockCount - 1)
}

// wake has one of those who wait try again; who fails sets lockWaited again.
func (l *writeLock) wake() {
	l.state.And(^uint64(lockWaited))
	select {
	case l.free <- struct{}{}:
	default: // there is a token already: the goroutine that takes it looks again
	}
}

// lockUntil waits for the lock until stop is closed, timer fires or changed is closed; it
// then returns false.
func (l *writeLock) lockUntil(stop <-chan struct{}, timer <-chan time.Time, changed <-chan struct{}) bool {
	l.freeMu.Lock()
	if l.free == nil {
		l.free = make(chan struct{}, 1)
	}
	l.freeMu.Unlock()
	for l.state.Or(lockHeld|lockWaited)&lockHeld != 0 {
		select {
		case <-l.free:
		case <-stop:
			return false
		case <-timer:
			return false
		case <-changed:
			return false
		}
	}
	return true
}

// lockWriteFor asks Config.Outbound about a message of size bytes, and takes the write
// lock for it.
func (c *Conn) lockWriteFor(op Opcode, size int, failFast bool) error {
	if c.outbound != nil {
		if err := c.ask(op, size); err != nil {
			return err
		}
	}
	return c.lockWriteAs(nil, failFast)
}

// lockWrite takes the write lock for a data frame of m, or of no message that NextWriter
// has begun.
func (c *Conn) lockWrite(m *messageWriter) error { return c.lockWriteAs(m, c.cfg.FailFast) }

// lockWriteAs is lockWrite with failFast in the place of Config.FailFast.
func (c *Conn) lockWriteAs(m *messageWriter, failFast bool) error {
	if !c.lock.tryLock() {
		if err := c.waitLock(failFast); err != nil {
			return c.closingError(err)
		}
	}
	for {
		switch {
		case c.cannotWrite():
			err := c.endedErr()
			c.unlockWrite()
			return err
		case c.closeSent:
			c.unlockWrite()
			return c.shutErr()
		case c.lock.has(lockClosing):
			// The Close frame goes first: a caller that gets ErrShutdown may call Close,
			// and the peer would be left without an answer.
			c.unlockWrite()
			runtime.Gosched()
			if err := c.waitLock(failFast); err != nil {
				return c.closingError(err)
			}
		case c.msgWriter != nil && c.msgWriter != m:
			closed := c.msgWriter.closed
			c.unlockWrite()
			if err := c.waitWriter(closed, failFast); err != nil {
				return c.closingError(err)
			}
		default:
			return nil
		}
	}
}

// waitLock waits for the write lock, until the write deadline.
func (c *Conn) waitLock(failFast bool) error {
	return c.waitTurn(failFast, func(timer <-chan time.Time, changed <-chan struct{}) bool {
		return c.lock.lockUntil(c.Done(), timer, changed)
	})
}

// waitWriter waits for the end of the message of another writer and takes the lock.
func (c *Conn) waitWriter(closed chan struct{}, failFast bool) error {
	return c.waitTurn(failFast, func(timer <-chan time.Time, changed <-chan struct{}) bool {
		select {
		case <-closed:
			return c.lock.lockUntil(c.Done(), timer, changed)
		case <-c.Done():
		case <-timer:
		case <-changed:
		}
		return false
	})
}

func (c *Conn) waitTurn(failFast bool, try func(timer <-chan time.Time, changed <-chan struct{}) bool) error {
	switch {
	case c.cannotWrite():
		return c.endedErr()
	case failFast && c.deadlines.open():
		return ErrWouldBlock
	}
	for {
		timer, changed, passed := c.deadlines.writeTimer(c.cfg.WriteTimeout)
		switch {
		case c.ended():
			return c.Err()
		case passed:
			return errWriteDeadline
		}
		var fires <-chan time.Time
		if timer != nil {
			fires = timer.C
		}
		ok := try(fires, changed)
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

// unlockWrite gives the write lock back. Control frames that have come up in the meantime
// are written first.
func (c *Conn) unlockWrite() { c.releaseWrite(c.cfg.FailFast) }

// releaseWrite is unlockWrite; with noWait set it leaves to flushControls what could make
// it wait for the peer, and with a write deadline that has passed what that would hold
// back.
func (c *Conn) releaseWrite(noWait bool) { c.releaseWriteFrom(noWait, false) }

// releaseWriteFrom is releaseWrite; stuck says that the control frames which wait could
// not be written just now, and are to wait on.
func (c *Conn) releaseWriteFrom(noWait, stuck bool) {
	for {
		sent, released := !stuck, false
		switch {
		case c.cannotWrite():
			c.releaseWriteSide()
			released = true
		case c.unsent != nil:
			c.startFlush()
			return
		case stuck:
			stuck = false
		case c.lock.has(lockPending) && !c.closeSent:
			flush := noWait || c.deadlines.writePassed()
			if !flush {
				sent = c.writeControls(0)
				flush = !sent && !c.cannotWrite() && c.deadlines.open() // the caller's deadline is not that of a pong
			}
			if flush {
				c.startFlush()
				return
			}
		}
		if !c.keepWriteBuffer {
			c.w.Release()
		}
		sent = sent && !c.closeSent
		flags := c.lock.unlock()
		again := sent && flags&lockPending != 0
		if released || !again && flags&lockEnded == 0 || !c.lock.tryLock() {
			return
		}
	}
}

// unlocked does what has come up while writeEncoded or AppendMessage had the lock.
func (c *Conn) unlocked(flags uint64) {
	if flags&lockWaited != 0 {
		c.lock.wake()
	}
	if flags&(lockPending|lockEnded) != 0 && c.lock.tryLock() { // otherwise its holder sees the flag too
		c.unlockWrite()
	}
}

// releaseWriteBuffer has a server give the memory of the Writer's queue back: when the
// reader waits, and when nothing was written for a while. Servers have many connections,
// most of them idle. To do it after each message, and take memory for the next, was a
// third of what a small message cost.
func (c *Conn) releaseWriteBuffer() {
	if c.role == frame.Server && c.keepWriteBuffer && c.lock.tryLock() {
		c.w.Release()
		c.releaseWrite(true)
	}
}

// releaseWriteSide gives the memory of the writing side back, when nothing more can be
// written. Who waits for the end of the message of a NextWriter is let go.
func (c *Conn) releaseWriteSide() {
	c.w.Drop(0)
	c.w.Release()
	c.dropUnsent()
	if c.compression != nil {
		c.compression.out.Close()
	}
	if c.msgWriter != nil {
		c.msgWriter.freeOut()
		close(c.msgWriter.closed)
		c.msgWriter = nil
	}
}

// tryReleaseWriteSide gives the memory of the writing side back, or leaves that to who
// has the write lock.
func (c *Conn) tryReleaseWriteSide() {
	if c.lock.tryLock() {
		c.unlockWrite()
	}
}

// writable returns the error that a write call would find before it begins.
func (c *Conn) writable() error {
	c.mu.Lock()
	err, shut := c.err, c.closeState != nil && c.closeState.sent.done
	c.mu.Unlock()
	if err == nil && shut {
		return c.shutErr()
	} else if err == nil {
		err = c.writeErr()
	}
	return err
}
