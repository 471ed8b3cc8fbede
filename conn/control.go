package conn

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// controlSlots hold the control frames that wait for the write lock: one pong, the
// newest, and one ping. The holder of the lock writes them before it releases it. While
// there are any lockPending is set.
type controlSlots struct {
	flush func() // Conn.flushControls, made by the first startFlush; under the write lock

	mu      sync.Mutex
	pong    []byte // its memory is made by pings that come, and stays
	ping    [pingSize]byte
	hasPong bool
	hasPing bool

	// What queueControls has put before the Writer's queue, until that is flushed; under
	// the write lock.
	queuedPing, queuedPong bool
	queued                 int32 // its bytes

	observed *observed // nil without Config.Observer
}

// controlKeys mask the control frames of clients: they do not go through the Writer's
// queue.
var controlKeys struct {
	sync.Mutex
	mask.Source
}

// handleControl deals with a control frame that has come.
func (c *Conn) handleControl(op Opcode, data []byte) error {
	if c.cfg.Control != nil && !c.readState.has(readWanted) { // once Shutdown waits nothing is answered
		return c.askControl(op, data)
	}
	c.observe(op, data, false)
	switch op {
	case frame.Ping:
		c.stats.pingsRead.Add(1)
		if c.outbound != nil { // as answerPing, for a frame less of stack
			c.outbound.putPong(c, data)
			break
		}
		c.setPong(data)
		c.scheduleControlFlush()
	case frame.Pong:
		c.stats.pongsRead.Add(1)
		c.handlePong(data)
	case frame.Close:
		if c.fills != fillsWait {
			return c.endAside(func() error { return c.handleClose(data) })
		}
		return c.handleClose(data)
	}
	return nil
}

// answerPing has a pong written.
func (c *Conn) answerPing(data []byte) {
	if c.outbound != nil {
		c.outbound.putPong(c, data)
		return
	}
	c.setPong(data)
	c.scheduleControlFlush()
}

// setPong makes data what is answered next: RFC 6455 §5.5.3 allows to answer the newest
// ping only.
func (c *Conn) setPong(data []byte) {
	s := &c.control
	s.mu.Lock()
	s.pong = append(s.pong[:0], data...)
	s.hasPong = true
	c.lock.set(lockPending)
	s.mu.Unlock()
}

func (c *Conn) setPing(number uint64) {
	s := &c.control
	s.mu.Lock()
	binary.BigEndian.PutUint64(s.ping[:], number)
	s.hasPing = true
	c.lock.set(lockPending)
	s.mu.Unlock()
}

// scheduleControlFlush has the pending control frames written, and does not wait. The
// holder of the write lock writes them, or this call if the socket takes them at once, or
// a goroutine.
func (c *Conn) scheduleControlFlush() {
	if !c.lock.tryLock() {
		return // its holder sees that something is pending
	}
	if !c.vectored && !c.cannotWrite() {
		c.startFlush()
		return
	}
	if !c.closeSent && !c.cannotWrite() && !c.writeControls(transport.NoWait) && c.unsent == nil && c.lock.has(lockPending) && !c.cannotWrite() {
		c.startFlush()
		return
	}
	c.releaseWrite(true)
}

// startFlush starts the goroutine that gets the write lock from its holder.
func (c *Conn) startFlush() {
	if c.control.flush == nil {
		c.control.flush = c.flushControls
	}
	go c.control.flush()
}

// queueControls puts what waits in the slots before the queue of the Writer, which is
// flushed next: then comes controlsFlushed, or unqueueControls. The caller has the write
// lock.
func (c *Conn) queueControls() {
	if !c.lock.has(lockPending) {
		return
	}
	s := &c.control
	before := c.w.Queued()
	s.mu.Lock()
	s.queuedPing, s.queuedPong = s.hasPing, s.hasPong
	s.observed.keep(s)
	if s.hasPing {
		_ = c.w.AppendControl(frame.Ping, s.ping[:])
	}
	if s.hasPong {
		_ = c.w.AppendControl(frame.Pong, s.pong)
	}
	s.hasPing, s.hasPong = false, false
	c.lock.clear(lockPending)
	s.mu.Unlock()
	s.queued = int32(c.w.Queued() - before)
}

// controlsFlushed counts what queueControls has queued.
func (c *Conn) controlsFlushed() {
	s := &c.control
	if s.queued > 0 {
		s.queued = 0
		c.sentControls(s.queuedPing, s.queuedPong)
	}
}

// unqueueControls moves what queueControls queued back into the slots, except what is
// newer there. In the queue control frames would add up, and wait for the next message.
func (c *Conn) unqueueControls() {
	s := &c.control
	if c.w.Queued() < int(s.queued) { // WriteOwned has flushed them before a payload that was not written
		c.controlsFlushed()
	}
	if s.queued > 0 {
		c.w.DropFront(int(s.queued))
		s.queued = 0
		c.keepControls(s.queuedPing, s.queuedPong)
	}
}

// keepControls has a ping and a pong, that were taken from the slots and not written,
// wait on. What has come since is newer.
func (c *Conn) keepControls(ping, pong bool) {
	s := &c.control
	s.mu.Lock()
	s.hasPing = s.hasPing || ping
	s.hasPong = s.hasPong || pong
	c.lock.set(lockPending)
	s.mu.Unlock()
}

// writeControls writes what waits in the slots, past the queue of the Writer. It reports
// whether that was done; if not, it waits on, or its rest is left for flushControls, or
// the connection has ended. The caller has the write lock.
func (c *Conn) writeControls(how transport.How) bool {
	lent := buffer.Get(2 * (2 + 4 + frame.MaxControlPayload)) // a ping and a pong
	size, ping, pong := c.encodePending(lent.B)
	if size == 0 {
		buffer.Put(lent)
		return true
	}
	n, err := (*connWriter)(c).write(lent.B[:size], nil, how)
	done := err == nil && n == size && !c.ended()
	keep, left := false, false
	if !done {
		keep, left = c.controlsCut(lent.B[:size], n, err, how)
	}
	buffer.Put(lent) // no defer: see TestIdleStack
	if keep {
		c.keepControls(ping, pong)
	}
	if done || left {
		c.sentControls(ping, pong)
	}
	return done
}

// controlsCut judges a write of control frames that has not gone as it should: n bytes of
// b did. keep says that the frames wait on in their slots, left that the rest of b is
// left for flushControls. With neither, nothing more can be written.
func (c *Conn) controlsCut(b []byte, n int, err error, how transport.How) (keep, left bool) {
	if err == nil && n != len(b) && how&transport.NoWait == 0 {
		err = io.ErrShortWrite
	}
	switch {
	case c.cannotWrite():
	case n == 0 && (err == nil || !c.transport.CutByWrite() && errors.Is(err, os.ErrDeadlineExceeded)):
		return true, false
	case err != nil:
		_ = c.writeLost(err)
	default:
		c.deferWrite(b[n:])
		return false, true
	}
	return false, false
}

// encodePending encodes what waits in the slots into b, which is empty then.
func (c *Conn) encodePending(b []byte) (size int, ping, pong bool) {
	s := &c.control
	b = b[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	ping, pong = s.hasPing, s.hasPong
	s.observed.keep(s)
	if ping {
		b = c.appendControl(b, frame.Ping, s.ping[:])
	}
	if pong {
		b = c.appendControl(b, frame.Pong, s.pong)
	}
	s.hasPing, s.hasPong = false, false
	c.lock.clear(lockPending)
	return len(b), ping, pong
}

func (c *Conn) appendControl(b []byte, op frame.Opcode, payload []byte) []byte {
	h := frame.Header{Fin: true, Opcode: op}
	if c.role == frame.Client {
		controlKeys.Lock()
		h.Masked, h.Key = true, controlKeys.Next()
		controlKeys.Unlock()
	}
	return frame.AppendFrame(b, h, payload)
}

// sentControls counts what was written.
func (c *Conn) sentControls(ping, pong bool) {
	if ping {
		c.stats.pingsWritten.Add(1)
	}
	if pong {
		c.stats.pongsWritten.Add(1)
	}
	if o := c.control.observed; o != nil {
		o.tell(c, ping, pong)
	}
}
