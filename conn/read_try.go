package conn

import (
	"errors"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// TryRead is ReadMessage without waiting. It returns the next message if that has come,
// and otherwise false at once. It reads a socket with at most one system call, and with
// none while a whole message is buffered. So false does not mean that the kernel has
// nothing more. The view and the errors are those of ReadMessage.
//
// Pings are answered. The end of the connection is prepared in the background, because it
// can take time: after the peer's Close, or a frame that breaks a rule, TryRead returns
// false until the connection has ended, and then the error. The same holds while Shutdown
// runs. A passed read deadline is an error. Config.ReadTimeout and Config.Spin do not
// apply.
//
// TryRead can read sockets, and TLS of this package over them, on Linux. Elsewhere, and
// over anything else, it returns only what other read calls have left in the buffers. A
// Poller reads such connections too.
//
// The opening handshake of TLS must be complete; Dial and Accept complete it. crypto/tls
// answers a request for new keys before it reads on. If the peer takes no bytes, that
// waits, for at most Config.StallTimeout.
func (c *Conn) TryRead() (m Message, ok bool, err error) {
	if n, ok := c.readState.enter(); ok {
		if m, ok := c.r.BufferedFast(); ok {
			c.readState.leave(n + quickCount)
			return m, true, nil
		}
		c.readState.leave(n)
	}
	m, err = c.tryRead(nil)
	if err == errNotHere || err == errAside {
		return Message{}, false, nil
	}
	return m, err == nil, err
}

// fills says how fill is to fill.
type fills uint8

const (
	fillsWait  fills = iota
	fillsOnce        // once, with what is here
	fillsNever       // not at all
)

var (
	errNotHere = errors.New("conn: no whole message is here")
	errAside   = errors.New("conn: the reading side is not free now")
)

// tryRead is TryRead for all but the plain message that is buffered. Where nothing is
// here the error is errNotHere, or errAside. l is nil without a Poller.
func (c *Conn) tryRead(l *pollLine) (Message, error) {
	if taken, err := c.takeRead(false); err != nil {
		return Message{}, err
	} else if !taken {
		return Message{}, errAside
	}
	how := fillsOnce
	var before uint64
	if l != nil {
		before = c.transport.Counters().Looks()
	}
	if l != nil && (l.drained || l.fed != nil) && !c.transport.Ready() {
		how = fillsNever
	}
	if l != nil && l.fed == nil && how == fillsOnce && c.cfg.ReadTimeout > 0 {
		c.armRead() // its turn may have come late: what is here is read before a timeout is told
	}
	c.fills = how
	m, err := c.tryOn()
	if err == errAside { // a goroutine has the reading side
		return Message{}, err
	}
	if l != nil && c.fills != how { // it has been filled
		l.sawEnd(c.transport, before, err)
	}
	c.fills = fillsWait
	switch err {
	case nil:
		c.parkRead()
	case errNotHere:
		c.addReaders(readStarved - readBusy)
	default:
		c.endRead(0)
	}
	return m, err
}

// tryOn takes steps until there is a message, or nothing is left to take.
func (c *Conn) tryOn() (m Message, err error) {
	if c.msgReader.begun {
		err = c.passOver()
	}
	for err == nil {
		var ok bool
		m, ok, err = c.buffered()
		switch {
		case err != nil:
			err = c.readFailed(err)
		case !ok:
			err = c.fill(c.nextSpace())
		case m.Opcode.IsControl():
			err = c.handleControl(m.Opcode, m.Data)
		default:
			return m, nil
		}
	}
	return Message{}, err
}

// fillNow is fill that does not wait.
func (c *Conn) fillNow(dst []byte) error {
	if c.fills == fillsNever {
		return errNotHere
	}
	c.fills = fillsNever
	w := c.writeFailure.Load()
	over := w != nil && w.over.Load()
	if over && (w.taken >= lastBytes || !w.armed && !c.armLast(w)) {
		return c.abort(c.cutClose(w.err))
	}
	n, err := c.transport.FillNow(dst)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.disarmRead() {
		n, err = c.transport.FillNow(dst)
	}
	switch {
	case n > 0:
		c.filled(n, err)
		if over {
			w.armed = false // more may come
		}
		return nil
	case err == transport.ErrNothing:
		return errNotHere
	}
	return c.readFailed(err)
}

// disarmRead takes from the transport what Config.ReadTimeout has set for an earlier read
// call. It returns false if it was not that, or it bounds a wait.
func (c *Conn) disarmRead() bool {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	if times.armedRead.IsZero() || times.line != nil || d.readDeadlineDropped || passed(times.read) {
		return false
	}
	times.armedRead = time.Time{}
	_ = c.setReadDeadline(times.read)
	return true
}

// endAside has end answer the peer's last frame, broken or a Close, in a goroutine of its
// own, to which it gives the reading side: the answer can take as long as the peer likes,
// up to Config.CloseTimeout.
func (c *Conn) endAside(end func() error) error {
	c.fills = fillsWait
	c.mu.Lock()
	if c.readFree == nil {
		c.readFree = make(chan struct{}, 1)
	}
	c.mu.Unlock()
	c.readState.state.Or(readWanted) // other read calls wait for the end, or return
	go func() {
		_ = end()
		c.endRead(0)
	}()
	return errAside
}
