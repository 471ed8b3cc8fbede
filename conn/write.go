package conn

import (
	"errors"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// HeaderRoom is the room for the header that WriteOwned needs before the payload.
const HeaderRoom = frame.MaxHeaderSize

// WriteMessage writes a text or binary message, and before it what AppendMessage has queued. data is not changed, and not
// kept. Any goroutine may write at any time: messages go out whole, one after the other.
//
// If the error matches os.ErrDeadlineExceeded and not net.ErrClosed nothing of the message was written, and the connection
// lives. With Config.FailFast that is so for ErrWouldBlock.
func (c *Conn) WriteMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if len(data) <= int(c.direct) && c.lock.tryLockClear(lockDirect) {
		// Nothing to look at: no option that concerns writing, and no flag in the lock.
		if b := c.w.Encode(op, data); b != nil {
			return c.writeEncoded(b, false)
		}
		c.lock.clear(lockDirect)
		return c.writeLocked(op, data)
	}
	if c.packed != nil && c.packed.takes(op, data) {
		return c.writePacked(op, data, true)
	}
	return c.writePlain(op, data)
}

// maxDirect is the longest message for writeEncoded: a longer one of a server is not copied.
const maxDirect = 8 << 10

// writeEncoded writes the frame b of a message past all that stands between the Writer and the transport, which was half of what a small
// message cost, and gives the lock back. often says that the call is one of many in a row.
func (c *Conn) writeEncoded(b []byte, often bool) error {
	var how transport.How
	if often {
		how = transport.Often
	}
	n, err := c.transport.Write(b, nil, how)
	if err != nil || n != len(b) {
		return c.encodedFailed(n, len(b), err)
	}
	c.stats.bytesWritten.Add(uint64(n))
	if !c.keepsQueue {
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
	c.stats.writes.Add(1)
	switch {
	case n < 0 || n > size:
		n, err = 0, transport.ErrWriteCount
	case err == nil:
		err = io.ErrShortWrite
	}
	c.stats.bytesWritten.Add(uint64(n))
	if n == 0 && err != io.ErrShortWrite {
		err = c.writeFailed(err, 0)
	} else {
		err = c.writeLost(err)
	}
	c.unlockWrite()
	return err
}

// unlocked does what has come up while writeEncoded had the lock.
func (c *Conn) unlocked(flags uint64) {
	if flags&lockWaited != 0 {
		c.lock.wake()
	}
	if flags&(lockPending|lockEnded) != 0 && c.lock.tryLock() { // otherwise whoever has it sees the flag too
		c.unlockWrite()
	}
}

// writePlain writes a message in one frame as it is.
func (c *Conn) writePlain(op Opcode, data []byte) error {
	if err := c.lockWriteFor(op, len(data)); err != nil {
		return err
	}
	return c.writeLocked(op, data)
}

// writeLocked is writePlain for who has the write lock.
func (c *Conn) writeLocked(op Opcode, data []byte) error {
	c.queueControls()
	before := c.w.Queued()
	return c.wrote(c.w.Write(op, data), before)
}

// lockWriteFor asks Config.Outbound about a message of so many bytes, and takes the write lock for it.
func (c *Conn) lockWriteFor(op Opcode, size int) error {
	if c.outbound != nil {
		if err := c.ask(op, size); err != nil {
			return err
		}
	}
	return c.lockWrite(nil)
}

// WriteOwned writes a message whose bytes the caller gives up: the payload is b[HeaderRoom:]. A client masks it where it stands. It
// saves the copy that WriteMessage makes, and is never compressed; b is of no use afterwards, whether it was written or not.
func (c *Conn) WriteOwned(op Opcode, b []byte) error {
	switch {
	case len(b) < HeaderRoom:
		return frame.ErrOpcode
	case op == Text && !c.cfg.UncheckedText && !utf8.Valid(b[HeaderRoom:]):
		return ErrNotUTF8
	}
	if err := c.lockWriteFor(op, len(b)-HeaderRoom); err != nil {
		return err
	}
	c.queueControls()
	before := c.w.Queued()
	return c.wrote(c.w.WriteOwned(op, b), before)
}

// WritePrepared writes a message that was encoded before. A server writes its bytes as they are; a client masks a copy. A Group sends
// a message to many connections at less cost.
func (c *Conn) WritePrepared(p *Prepared) error {
	encoded := p.plain
	packed := c.packed != nil && c.packed.takes(p.op, p.data)
	if packed {
		var err error
		if encoded, err = p.compressed(c.packed.bits, c.packed.level); err != nil {
			return err
		}
	}
	if p.Size() <= int(c.direct) && c.lock.tryLockClear(lockDirect) {
		if b := c.w.EncodePrepared(encoded); b != nil {
			return c.writeEncoded(b, true)
		}
		c.lock.clear(lockDirect)
		before := c.w.Queued()
		return c.wrote(c.w.WritePrepared(encoded), before)
	}
	if err := c.lockWriteFor(p.op, len(p.data)); err != nil {
		return err
	}
	c.queueControls()
	before := c.w.Queued()
	err := c.w.WritePrepared(encoded)
	if packed {
		c.packed.out.Forget() // the peer's context now ends with what out has not seen
	}
	return c.wrote(err, before)
}

// AppendMessage queues a message for the next Flush or other write. It writes only when more than Config.WriteBuffer bytes
// wait. data is not changed, and not kept.
func (c *Conn) AppendMessage(op Opcode, data []byte) error {
	if op == Text && !c.cfg.UncheckedText && !utf8.Valid(data) {
		return ErrNotUTF8
	}
	if c.packed != nil && c.packed.takes(op, data) {
		return c.writePacked(op, data, false)
	}
	if err := c.lockWriteFor(op, len(data)); err != nil {
		return err
	}
	before := c.w.Queued()
	err := c.w.Append(op, data)
	if err == nil && c.w.Queued() > c.cfg.WriteBuffer {
		err = c.w.Flush()
	}
	return c.wrote(err, before)
}

// Flush writes what AppendMessage queued. If the error matches os.ErrDeadlineExceeded and not net.ErrClosed it still waits,
// and can be flushed later; so for ErrWouldBlock.
func (c *Conn) Flush() error {
	if err := c.lockWrite(nil); err != nil {
		return err
	}
	c.queueControls()
	err := c.flushed(c.w.Flush(), c.w.Queued())
	c.unlockWrite()
	return err
}

// flushed turns the error of a flush into what the caller gets: see writeFailed. The caller has the write lock.
func (c *Conn) flushed(err error, keep int) error {
	if err != nil {
		err = c.writeFailed(err, keep)
		c.unqueueControls()
	} else {
		c.controlsFlushed()
	}
	return err
}

// wrote ends the writing of one message, before which there were so many bytes in the queue.
func (c *Conn) wrote(err error, before int) error {
	if err = c.flushed(err, before); err == nil {
		c.stats.messagesWritten.Add(1)
	}
	c.unlockWrite()
	return err
}

// lockWrite takes the write lock for a data frame of m, or of no message that NextWriter has begun.
func (c *Conn) lockWrite(m *messageWriter) error { return c.lockWriteAs(m, c.cfg.FailFast) }

// lockWriteAs is lockWrite with failFast in the place of Config.FailFast.
func (c *Conn) lockWriteAs(m *messageWriter, failFast bool) error {
	if !c.lock.tryLock() {
		if err := c.waitLock(failFast); err != nil {
			return c.closingError(err)
		}
	}
	for {
		var err error
		switch {
		case c.cannotWrite():
			err = c.endedErr()
		case c.shut:
			c.unlockWrite()
			return c.shutErr()
		case c.lock.has(lockClosing):
			// The Close frame goes first: whoever is told ErrShutdown may call Close, and the peer would be left without an answer.
			c.unlockWrite()
			runtime.Gosched()
			if err := c.waitLock(failFast); err != nil {
				return c.closingError(err)
			}
			continue
		case c.writing != nil && c.writing != m:
			closed := c.writing.closed
			c.unlockWrite()
			if err := c.waitWriter(closed, failFast); err != nil {
				return c.closingError(err)
			}
			continue
		default:
			return nil
		}
		c.unlockWrite()
		return err
	}
}

// waitLock waits for the write lock, until the write deadline.
func (c *Conn) waitLock(failFast bool) error {
	return c.waitWrite(failFast, func(timer <-chan time.Time, changed <-chan struct{}) bool {
		return c.lock.lockOr(c.Done(), timer, changed)
	})
}

// waitWriter waits for the end of the message of another writer and takes the lock.
func (c *Conn) waitWriter(closed chan struct{}, failFast bool) error {
	return c.waitWrite(failFast, func(timer <-chan time.Time, changed <-chan struct{}) bool {
		select {
		case <-closed:
			return c.lock.lockOr(c.Done(), timer, changed)
		case <-c.Done():
		case <-timer:
		case <-changed:
		}
		return false
	})
}

func (c *Conn) waitWrite(failFast bool, try func(timer <-chan time.Time, changed <-chan struct{}) bool) error {
	switch {
	case c.cannotWrite():
		return c.endedErr()
	case failFast && c.deadlines.open():
		return ErrWouldBlock
	}
	for {
		timer, changed, passed := c.deadlines.waitWrite(c.cfg.WriteTimeout)
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

// unlockWrite gives the write lock back. Control frames that have come up in the meantime are written first.
func (c *Conn) unlockWrite() { c.releaseWrite(c.cfg.FailFast) }

// releaseWrite is unlockWrite; with noWait set it leaves to flushControls what could make it wait for the peer.
func (c *Conn) releaseWrite(noWait bool) {
	for {
		sent, swept := true, false
		switch {
		case c.cannotWrite():
			c.sweep()
			swept = true
		case c.rest != nil:
			c.startFlush()
			return
		case c.lock.has(lockPending) && !c.shut:
			if noWait {
				c.startFlush()
				return
			}
			sent = c.writeControls(0)
		}
		if !c.keepsQueue {
			c.w.Release()
		}
		sent = sent && !c.shut
		flags := c.lock.unlock()
		again := sent && flags&lockPending != 0
		if swept || !again && flags&lockEnded == 0 || !c.lock.tryLock() {
			return
		}
	}
}

// restQueue has a server give the memory of the Writer's queue back: when the reader waits, and when nothing was written for a while.
// Servers have many connections, most of them idle. To do it after each message, and take memory for the next, was a third
// of what a small message cost.
func (c *Conn) restQueue() {
	if c.role == frame.Server && c.keepsQueue && c.lock.tryLock() {
		c.w.Release()
		c.releaseWrite(true)
	}
}

// sweep gives the memory of the writing side back, when nothing more can be written. Who waits for the end of the message of a
// NextWriter is let go.
func (c *Conn) sweep() {
	c.w.Drop(0)
	c.w.Release()
	c.dropRest()
	if c.packed != nil {
		c.packed.out.Close()
	}
	if c.writing != nil {
		close(c.writing.closed)
		c.writing = nil
	}
}

// flushControls is a goroutine that got the write lock with its start: it writes what a write without waiting left, and the
// control frames that wait.
func (c *Conn) flushControls() {
	if c.rest != nil {
		b := c.rest.B[:c.restLen]
		n, err := (*outlet)(c).write(b, nil, 0)
		if err == nil && n != len(b) {
			err = io.ErrShortWrite
		}
		if err != nil && !c.ended() {
			c.endWriting(&TransportError{Op: "write", Err: err})
		}
		c.dropRest()
	}
	c.releaseWrite(false)
}

// leave keeps b for flushControls, behind what was left before.
func (c *Conn) leave(b ...[]byte) {
	size := c.restLen
	for _, p := range b {
		size += len(p)
	}
	if c.rest == nil {
		c.rest = buffer.Get(size)
	} else if len(c.rest.B) < size {
		c.rest = buffer.Grow(c.rest, c.restLen, size)
	}
	for _, p := range b {
		c.restLen += copy(c.rest.B[c.restLen:], p)
	}
}

func (c *Conn) dropRest() {
	buffer.Put(c.rest)
	c.rest, c.restLen = nil, 0
}

// writeFailed turns an error of writing into what the caller gets; of the queue the first keep bytes stay. All but misuse and what
// stopped before the first byte end the writing side.
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

// closingError returns err, but for the deadline of a close handshake: whoever began that says how the connection ends.
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

// outlet is a Conn as its frame.Writer writes to it.
type outlet Conn

func (o *outlet) Write(b []byte) (int, error) { return o.data(b, nil) }

// vectorOutlet is an outlet over a socket, which can write two pieces at once.
type vectorOutlet Conn

func (o *vectorOutlet) Write(b []byte) (int, error) { return (*outlet)(o).data(b, nil) }

// WriteV implements frame.VectorWriter, for the two pieces that its Writer has at most.
func (o *vectorOutlet) WriteV(pieces [][]byte) (int64, error) {
	var b []byte
	if len(pieces) > 1 {
		b = pieces[1]
	}
	n, err := (*outlet)(o).data(pieces[0], b)
	return int64(n), err
}

// data writes a and then b; with Config.FailFast only what can be written now, and leaves the rest to a goroutine.
func (o *outlet) data(a, b []byte) (int, error) {
	c := (*Conn)(o)
	if !c.cfg.FailFast || c.shut || c.patient {
		return o.write(a, b, 0)
	}
	total := len(a) + len(b)
	n := 0
	if c.vectored && c.rest == nil {
		var err error
		n, err = o.write(a, b, transport.NoWait)
		switch {
		case err != nil || n == total:
			return n, err
		case n == 0:
			return 0, ErrWouldBlock
		}
	}
	c.leave(a[min(n, len(a)):], b[max(0, n-len(a)):])
	return total, nil
}

// write writes a and then b, as the transport does.
func (o *outlet) write(a, b []byte, how transport.How) (int, error) {
	if o.cfg.WriteTimeout > 0 {
		(*Conn)(o).armWrite()
	}
	n, err := o.transport.Write(a, b, how)
	o.stats.writes.Add(1)
	o.stats.bytesWritten.Add(uint64(n))
	return n, err
}
