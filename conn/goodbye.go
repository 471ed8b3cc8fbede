package conn

import (
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// StartClose begins the close handshake and leaves the rest to the goroutine that reads: it writes what is queued and a Close
// frame, and returns. Read calls go on to deliver the messages that still come, until the peer's Close ends them with the
// *CloseError, or Config.CloseTimeout with a *TimeoutError. A reader that is behind then still gets what has come, the peer's Close too, if
// it takes no longer than CloseTimeout for a message. Shutdown is for those who do not want these messages.
//
// code and reason are checked before anything is written, with the errors of frame.AppendClose.
func (c *Conn) StartClose(code frame.CloseCode, reason string) error {
	var body [frame.MaxControlPayload]byte
	if _, err := frame.AppendClose(body[:0], c.role, code, reason); err != nil {
		return err
	}
	limit := c.cfg.CloseTimeout
	first := c.closeAfter(&TimeoutError{Clock: ClockClose, Limit: limit}, c.readers.delivered())
	// The timer says how the connection ends; the write deadline behind it is for safety.
	err := c.sendClose(time.Now().Add(limit+closeSlack), code, reason)
	switch {
	case c.ended():
		return c.Err()
	case c.cut.Load() != nil:
		if first {
			c.stopLate()
		}
		return err // reading goes on through what has come
	case err != nil:
		return c.end(err)
	}
	return nil
}

// closeAfter has closeLate called when the time for the close handshake has passed,
// unless the connection has ended by then. It returns false if an earlier call did.
func (c *Conn) closeAfter(e *TimeoutError, before uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.goodbyes()
	if c.err != nil || g.late != nil {
		return false
	}
	g.late = time.AfterFunc(e.Limit, func() { c.closeLate(e, before) })
	return true
}

// stopLate has closeLate not be called.
func (c *Conn) stopLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goodbye.stopLate()
}

// stopLate is called with Conn.mu held.
func (g *goodbyes) stopLate() {
	if g != nil && g.late != nil {
		g.late.Stop()
		g.late = nil
	}
}

// closeLate is the end of CloseTimeout after StartClose: of the connection, or, while this side reads on through what has come, of the
// wait for more. before is how many messages were delivered a CloseTimeout ago.
func (c *Conn) closeLate(e *TimeoutError, before uint64) {
	delivered := c.readers.delivered()
	if _, waits, _ := c.unread(); !waits || delivered == before {
		c.end(e)
		return
	}
	c.endWriting(e)
	if w := c.cut.Load(); !c.ended() {
		c.stopWaiting(w)
		c.stopLate()
		c.closeAfter(e, delivered)
	}
}
