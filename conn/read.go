package conn

import (
	"errors"
	"io"
	"os"
	"runtime"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// ReadMessage returns the next message. Its Data is a view, valid until the next read
// call. On a connection that compresses it must not be changed, because later messages
// may refer to it. Pings that come before the message are answered.
//
// Errors are those listed above ErrClosed, ErrConcurrentRead, and, for a passed deadline,
// an error that matches os.ErrDeadlineExceeded; reading can then continue where it
// stopped. A buffered message costs no locked instruction on amd64, and two ordered
// stores elsewhere.
func (c *Conn) ReadMessage() (Message, error) {
	if n, ok := c.readState.enter(); ok {
		if m, ok := c.r.BufferedFast(); ok {
			c.readState.leave(n + quickCount)
			return m, nil
		}
		c.readState.leave(n)
	}
	if err := c.beginRead(); err != nil {
		return Message{}, err
	}
	return c.readOn()
}

// readOn is ReadMessage for all but the plain message that is buffered. It, and all that
// it calls up to the wait for bytes, has small frames, and so few arguments: see
// TestIdleStack.
func (c *Conn) readOn() (Message, error) {
	if c.msgReader.begun {
		if err := c.passOver(); err != nil {
			c.endRead(0)
			return Message{}, err
		}
	}
	for {
		m, ok, err := c.buffered()
		switch {
		case err != nil:
			err = c.readFailed(err)
		case !ok:
			err = c.fill(c.nextSpace())
		case m.Opcode.IsControl():
			err = c.handleControl(m.Opcode, m.Data)
		default:
			c.parkRead()
			return m, nil
		}
		if err != nil {
			c.endRead(0)
			return Message{}, err
		}
	}
}

// buffered returns the next message if it is buffered whole, or a control frame. What is
// compressed is inflated as far as it has come.
func (c *Conn) buffered() (Message, bool, error) {
	if c.compression != nil && c.r.Compressed() {
		return c.inflated()
	}
	return c.r.Buffered()
}

// noSpace has fill read through the read buffer, and not into memory where a message is
// gathered.
var noSpace = make([]byte, 0)

// nextSpace returns where the next fill for whole messages may read to, past the read
// buffer. What inflating the message before has needed goes back: it may be long until
// the next.
func (c *Conn) nextSpace() []byte {
	if c.compression == nil {
		return nil
	}
	return c.compressedSpace()
}

func (c *Conn) compressedSpace() []byte {
	c.compression.in.Release()
	if c.r.Compressed() {
		return noSpace
	}
	return nil
}

// await is fill for a caller that waits for a frame or the rest of a message. It also
// returns the memory that inflating needed.
func (c *Conn) await(dst []byte) error {
	if c.compression != nil {
		c.compression.in.Release()
	}
	return c.fill(dst)
}

// beginRead takes the reading side for a read call.
func (c *Conn) beginRead() error {
	_, err := c.takeRead(true)
	return err
}

// takeRead is beginRead. Where the end is being prepared it waits for that, or returns
// false.
func (c *Conn) takeRead(waits bool) (taken bool, err error) {
	for {
		s := c.readState.state.Load()
		switch {
		case s&readDone != 0:
			return false, c.releaseAfterEnd()
		case s&readClosed != 0:
			return false, c.heldClose()
		case s&readWanted != 0:
			// Shutdown takes, or has taken, the reading side: what it finds is the
			// connection's last word.
			if !waits {
				return false, nil
			}
			<-c.Done()
			return false, c.Err()
		case s&readLooked != 0:
			runtime.Gosched() // the keepalive is done in no time
		case s&readBusy != 0:
			return false, ErrConcurrentRead
		case !c.readState.state.CompareAndSwap(s, s&^(readParked|readStarved)|readBusy):
		case c.readState.quickRuns(): // another goroutine's: of this one none runs
			c.addReaders(s&readParked - readBusy)
			return false, ErrConcurrentRead
		default:
			if s&readLimited != 0 {
				c.limitRead()
			}
			return true, nil
		}
	}
}

// releaseAfterEnd is a read call on a connection that has ended. The views given before
// are now invalid: their memory goes back.
func (c *Conn) releaseAfterEnd() error {
	if s := c.readState.state.Load(); s&readBusy == 0 && c.readState.take(s, 0) {
		c.endRead(0)
	}
	if err := c.takeControlErr(); err != nil {
		return err
	}
	return c.Err()
}

// takeControlErr returns the error of Config.Control that no read call has returned yet.
func (c *Conn) takeControlErr() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.closeState; g != nil {
		err, g.controlErr = g.controlErr, nil
	}
	return err
}

// endRead ends a read call, in which n messages were delivered.
func (c *Conn) endRead(n int) {
	if n == 0 && c.readState.has(readDone|readClosed) && !c.msgReader.freed {
		c.msgReader.freed = true
		c.msgReader.rest = nil
		c.giveBack()
		if c.compression != nil {
			c.compression.in.Close()
			c.msgReader.compressed = false
		}
	}
	c.releaseRead(n)
}

// giveBack gives the buffers of a connection that has ended back.
func (c *Conn) giveBack() {
	c.r.Reset(nil, c.role, c.cfg.Frame)
	c.transport.Free()
}

// releaseRead gives the reading side back, after n messages were delivered.
func (c *Conn) releaseRead(n int) { c.addReaders(uint64(n)*readCount - readBusy) }

// parkRead is releaseRead with a message, for ReadMessage, TryRead and a Poller: the next
// ones may be buffered, and then quick calls deliver them.
func (c *Conn) parkRead() {
	if c.compression != nil {
		c.releaseRead(1)
		return
	}
	c.addReaders(readCount - readBusy + readParked)
}

func (c *Conn) addReaders(delta uint64) {
	if c.readState.state.Add(delta)&readWanted != 0 {
		c.readReleased()
	}
}

// readReleased wakes the Shutdown that waits for the reading side.
func (c *Conn) readReleased() {
	select {
	case c.readFree <- struct{}{}:
	default:
	}
}

// fill reads once from the transport; into dst where that is not nil and the frame.Reader
// finds it can be.
func (c *Conn) fill(dst []byte) error {
	if err := c.readErr; err != nil {
		c.readErr = nil
		return c.readFailed(err)
	}
	if c.fills != fillsWait {
		return c.fillNow(dst)
	}
	if c.cfg.ReadTimeout > 0 {
		c.armRead()
	}
	if w := c.writeFailure.Load(); w != nil && w.over.Load() && !c.armLast(w) {
		return c.abort(c.cutClose(w.err))
	}
	c.deadlines.filling.Store(true)
	n, err := c.transport.Fill(dst)
	c.deadlines.filling.Store(false)
	if n == 0 {
		return c.readFailed(err)
	}
	c.filled(n, err)
	return nil
}

// filled is told of n bytes that have come, and of the error that came with them.
func (c *Conn) filled(n int, err error) {
	c.readErr = err
	bump(&c.stats.bytesRead, n)
	if c.readState.has(readLimited) {
		c.limitRead()
	}
	if w := c.writeFailure.Load(); w != nil && w.over.Load() {
		w.taken += n
	}
	if c.lag != nil {
		c.stamped()
	}
	if c.recorder != nil {
		c.record(n)
	}
}

// readFailed turns an error of reading into what the caller gets. All but a passed
// deadline end the connection. It returns nil if reading is to go on.
func (c *Conn) readFailed(err error) error {
	if c.ended() {
		return c.Err()
	}
	var broken *frame.ProtocolError
	w := c.writeFailure.Load()
	switch {
	case errors.As(err, &broken):
		if c.fills != fillsWait {
			return c.endAside(func() error { return c.failProtocol(broken) })
		}
		return c.failProtocol(broken)
	case errors.Is(err, os.ErrDeadlineExceeded):
		if w != nil && w.over.Load() && !c.deadlines.readPassed() {
			if !w.armed {
				return nil // stopWaiting has woken it
			}
			return c.abort(c.cutClose(w.err))
		}
		return c.readDeadlinePassed()
	case err == io.EOF && c.r.Decoder().Incomplete():
		err = io.ErrUnexpectedEOF
	}
	if w == nil && c.writerKnows(err) {
		w = c.writeFailure.Load()
	}
	lost := error(&TransportError{Op: "read", Err: err})
	if w != nil {
		lost = w.lastWord(err)
	}
	return c.abort(c.cutClose(lost))
}
