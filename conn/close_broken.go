package conn

import (
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// failClose is fail where it is the peer's Close that breaks a rule. The peer is told at
// once. The error says what the Close says, too: what has not come of that is waited for
// until the close handshake must end.
func (c *Conn) failClose(broken *frame.ProtocolError) error {
	wrong := &protocolError{broken}
	local := c.sentClose()
	until := time.Now().Add(c.cfg.CloseTimeout)
	_ = c.sendClose(until, broken.Code, broken.Rule)
	said, ok := c.r.BrokenClose()
	if !said.Whole {
		timer := time.AfterFunc(time.Until(until), func() { c.closeTransport() })
		defer timer.Stop()
		for more := true; more && !said.Whole && !c.ended(); said, ok = c.r.BrokenClose() {
			c.mu.Lock()
			c.ensureCloseState().verdict = c.closeError(said, ok, wrong, local)
			c.mu.Unlock()
			more = c.fillRest()
		}
	}
	c.mu.Lock()
	err := c.closeError(said, ok, wrong, local)
	c.ensureCloseState().verdict = nil
	c.mu.Unlock()
	return c.endAfterClose(err)
}

// sentClose reports whether our Close was sent.
func (c *Conn) sentClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeState != nil && c.closeState.sent.done
}

// closeError returns the error for a Close of the peer's that breaks a rule: wrong itself
// if nothing could be told. local says that our Close went before the rule was broken.
// The caller has c.mu.
func (c *Conn) closeError(said frame.BrokenClose, ok bool, wrong *protocolError, local bool) error {
	if !ok {
		return wrong
	}
	e := &CloseError{Code: said.Code, Reason: said.Reason, SentCode: frame.CodeAbnormal, Local: local, Err: wrong.ProtocolError}
	if sent := &c.ensureCloseState().sent; sent.done {
		e.SentCode, e.SentReason = sent.code, sent.reason
		e.Local = local || sent.code != wrong.Code || sent.reason != wrong.Rule // one that was on its way came before this verdict's
	}
	return e
}

// cutClose returns the error for a stream that ended with lost: a *CloseError if that was
// within the peer's Close and its code had come.
func (c *Conn) cutClose(lost error) error {
	said, ok := c.r.BrokenClose()
	if !ok {
		return lost
	}
	e := &CloseError{Code: said.Code, Reason: said.Reason, SentCode: frame.CodeAbnormal, Err: lost}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState != nil && c.closeState.sent.done {
		e.SentCode, e.SentReason, e.Local = c.closeState.sent.code, c.closeState.sent.reason, true
	}
	return e
}

// fillRest is fill for the rest of a Close that breaks a rule: an error only ends it,
// since what the connection ends with is known.
func (c *Conn) fillRest() bool {
	if w := c.writeFailure.Load(); w != nil && w.over.Load() && !c.armLast(w) {
		return false
	}
	var n int
	c.deadlines.filling.Store(true)
	defer c.deadlines.filling.Store(false)
	if c.readErr == nil {
		n, _ = c.transport.Fill(nil)
	}
	bump(&c.stats.bytesRead, n)
	if n > 0 && c.recorder != nil {
		c.record(n)
	}
	return n > 0
}
