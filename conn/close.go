package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Shutdown closes the connection with the close handshake (RFC 6455 §7.1.2). It writes
// queued messages and a Close frame, and waits for the peer's. Messages that arrive
// meanwhile are dropped; a concurrent reader may still receive some first. Use StartClose
// to receive them. Read calls return the *CloseError at the end.
//
// Shutdown returns nil if the handshake completed and our Close went first. If the peer's
// went first, or its answer is not as it should be, it returns the *CloseError too.
// Otherwise it returns the error that ended the connection.
//
// It ends with ctx or after Config.CloseTimeout, whichever is first, whatever the peer
// does. The connection is closed in any case. code and reason are checked before anything
// is written, with the errors of frame.AppendClose.
func (c *Conn) Shutdown(ctx context.Context, code frame.CloseCode, reason string) error {
	var body [frame.MaxControlPayload]byte
	if _, err := frame.AppendClose(body[:0], c.role, code, reason); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.CloseTimeout, errCloseTimeout)
	defer cancel()
	until, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() {
		e := &TimeoutError{Clock: ClockClose, Limit: c.cfg.CloseTimeout}
		if cause := context.Cause(ctx); cause != errCloseTimeout {
			e.Limit, e.Err = 0, cause
		}
		c.abort(e)
	})
	defer stop()
	// The end of ctx closes the connection and says why; the later write deadline is for
	// safety.
	err := c.sendClose(until.Add(closeSlack), code, reason)
	c.closeDone(true)
	if err != nil && !c.ended() {
		if c.writeFailure.Load() == nil {
			return c.abort(err)
		}
		c.stopWaiting(c.writeFailure.Load()) // what has come may tell why
	}
	c.awaitClose()
	err = c.Err()
	if e, ok := err.(*CloseError); ok && e.Local && e.Err == nil {
		return nil
	}
	return err
}

var errCloseTimeout = errors.New("close timeout")

const closeSlack = 100 * time.Millisecond

// awaitClose returns when the connection has ended. It reads if nobody else does.
func (c *Conn) awaitClose() {
	c.mu.Lock()
	if c.readFree == nil {
		c.readFree = make(chan struct{}, 1)
	}
	c.mu.Unlock()
	for {
		s := c.readState.state.Or(readWanted) | readWanted
		if s&readDone != 0 {
			c.readReleased() // the token may have been meant for linger
			return
		}
		if s&readBusy == 0 {
			if !c.readState.take(s, 0) {
				continue
			}
			c.r.DetachViews()
			c.dropReadDeadline(time.Time{})
			for !c.ended() {
				switch m, ok, err := c.r.Buffered(); {
				case err != nil:
					_ = c.readFailed(err)
				case !ok:
					_ = c.fill(nil)
				case m.Opcode.IsControl():
					_ = c.handleControl(m.Opcode, m.Data)
				}
			}
			c.giveBack() // not what the inflater holds: there can be a view of it
			c.releaseRead(0)
			return
		}
		select {
		case <-c.readFree:
		case <-c.Done():
			return
		}
	}
}

// StartClose begins the close handshake and returns: it writes queued messages and a
// Close frame. Read calls continue to deliver messages, until the peer's Close ends them
// with the *CloseError, or Config.CloseTimeout with a *TimeoutError. A slow reader then
// still gets what has come, including the peer's Close, if it takes no longer than
// CloseTimeout for a message. Use Shutdown if these messages are not wanted.
//
// code and reason are checked before anything is written, with the errors of
// frame.AppendClose.
func (c *Conn) StartClose(code frame.CloseCode, reason string) error {
	var body [frame.MaxControlPayload]byte
	if _, err := frame.AppendClose(body[:0], c.role, code, reason); err != nil {
		return err
	}
	limit := c.cfg.CloseTimeout
	first := c.closeAfter(&TimeoutError{Clock: ClockClose, Limit: limit}, c.readState.delivered())
	// The timer says how the connection ends; the later write deadline is for safety.
	err := c.sendClose(time.Now().Add(limit+closeSlack), code, reason)
	c.closeDone(true)
	switch {
	case c.ended():
		return c.Err()
	case c.writeFailure.Load() != nil:
		if first {
			c.stopLate()
		}
		return err // reading goes on through what has come
	case err != nil:
		return c.abort(err)
	}
	return nil
}

// closeAfter has closeLate called when the time for the close handshake has passed,
// unless the connection has ended by then. It returns false if an earlier call did.
func (c *Conn) closeAfter(e *TimeoutError, before uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.ensureCloseState()
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
	c.closeState.stopLate()
}

// stopLate is called with Conn.mu held.
func (g *closeState) stopLate() {
	if g != nil && g.late != nil {
		g.late.Stop()
		g.late = nil
	}
}

// closeLate is the end of CloseTimeout after StartClose: of the connection, or, while
// this side reads on through what has come, of the wait for more. before is how many
// messages were delivered a CloseTimeout ago.
func (c *Conn) closeLate(e *TimeoutError, before uint64) {
	delivered := c.readState.delivered()
	if _, waits, _ := c.unread(); !waits || delivered == before {
		c.abort(e)
		return
	}
	c.endWriting(e)
	if w := c.writeFailure.Load(); !c.ended() {
		c.stopWaiting(w)
		c.stopLate()
		c.closeAfter(e, delivered)
	}
}

// Close ends the connection at once, without a Close frame. Queued messages are lost, and
// every blocked call returns. It may be called at any time and more than once.
//
// If our Close frame was sent before (because the peer closed, broke a rule or exceeded a
// limit, or by StartClose), the socket stays open in the background until the peer has
// closed it too, for at most Config.CloseTimeout. Closing a socket with unread bytes
// would reset it, and the peer could lose our Close frame (RFC 9112 §9.6 describes the
// same). With Config.ManualClose the socket is closed at once.
func (c *Conn) Close() error { return c.part(ErrClosed) }

// part makes err the last word, if there is none, and closes the transport: at once, or
// by linger after our Close frame.
func (c *Conn) part(err error) error {
	_, first := c.setFinalErr(err)
	if !c.cfg.ManualClose && c.startLinger() {
		c.tryReleaseWriteSide()
		return nil
	}
	if err := c.closeTransport(); first {
		return err
	}
	return nil
}

// Bind closes the connection when ctx ends, with an error that matches ErrClosed and
// wraps the context's cause. stop undoes it, and returns false if that comes too late.
func (c *Conn) Bind(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.part(&boundError{context.Cause(ctx)}) })
}

// boundError is ErrClosed because a context ended.
type boundError struct{ cause error }

func (e *boundError) Error() string {
	return "conn: closed because its context ended: " + e.cause.Error()
}
func (e *boundError) Unwrap() error        { return e.cause }
func (e *boundError) Is(target error) bool { return target == ErrClosed || target == net.ErrClosed }

// shutErr returns what a writer gets after our Close frame: ErrShutdown, or, if that was
// the answer to the peer's, how the connection ends. The goroutine that has answered ends
// it next, and calls nothing of the caller's before. So no deadline is needed. Where
// Config.Control decides about the answer it is ErrShutdown until the connection has
// ended, and so with Config.ManualClose.
func (c *Conn) shutErr() error {
	c.mu.Lock()
	answered := !c.cfg.ManualClose && c.closeState != nil && c.closeState.received.done && !c.closeState.local && !c.closeState.asked
	c.mu.Unlock()
	if !answered {
		return ErrShutdown
	}
	<-c.Done()
	return c.Err()
}

// sendClose writes a Close frame after the queued messages, unless one was sent.
func (c *Conn) sendClose(until time.Time, code frame.CloseCode, reason string) error {
	if err := c.writeErr(); err != nil {
		return err
	}
	c.startClosing(until)
	c.lock.set(lockClosing)
	if !c.lock.tryLock() {
		if err := c.waitLock(c.cfg.FailFast); err == errWriteDeadline {
			return &TimeoutError{Clock: ClockClose, Limit: c.cfg.CloseTimeout}
		} else if err != nil {
			return err
		}
	}
	defer c.unlockWrite()
	if c.closeSent || c.ended() {
		return nil
	}
	if err := c.writeErr(); err != nil {
		return err
	}
	c.closeSent = true
	c.mu.Lock()
	g := c.ensureCloseState()
	g.local = !g.received.done
	c.mu.Unlock()
	err := c.w.AppendClose(code, reason)
	if err == nil {
		c.observeClose(code, reason)
		err = c.w.Flush()
	}
	switch {
	case err == nil:
		c.mu.Lock()
		g.sent = closeFrame{true, code, reason} // not before: a caller that gets ErrShutdown may call Close
		c.mu.Unlock()
		return nil
	case c.writeFailure.Load() != nil:
		return c.writeErr()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &TimeoutError{Clock: ClockClose, Limit: c.cfg.CloseTimeout}
	}
	return c.writeLost(err)
}

// handleClose answers the peer's Close, and is the end of reading.
func (c *Conn) handleClose(body []byte) error {
	g := c.closeReceived(body, false)
	c.answerClose(g)
	return c.closeHandled(g, true)
}

// closeReceived notes the peer's Close. asked says that Config.Control is asked about it
// next.
func (c *Conn) closeReceived(body []byte, asked bool) *closeState {
	code, view, _ := frame.ParseClose(body)
	reason := string(view)
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.ensureCloseState()
	g.received, g.asked = closeFrame{true, code, reason}, asked
	return g
}

// answerClose sends our Close after the peer's, unless one was sent.
func (c *Conn) answerClose(g *closeState) {
	answer := g.received.code
	if answer != frame.CodeNoStatus && !answer.Sendable(c.role) {
		answer = frame.CodeNormal
	}
	_ = c.sendClose(time.Now().Add(c.cfg.CloseTimeout), answer, "")
}

// closeHandled returns the error with which the peer's Close ends reading. It ends the
// connection too, unless the Close is still to be answered: then closeDone does. answered
// says that all was done for that. With Config.ManualClose it ends it only for Shutdown.
func (c *Conn) closeHandled(g *closeState, answered bool) error {
	stays := c.cfg.ManualClose && !c.readState.has(readWanted)
	c.mu.Lock()
	e := &CloseError{Code: g.received.code, Reason: g.received.reason, SentCode: frame.CodeAbnormal, Local: g.local}
	if g.sent.done {
		e.SentCode, e.SentReason = g.sent.code, g.sent.reason
	}
	if !stays && (answered || g.sent.done) || c.err != nil || c.writeFailure.Load() != nil {
		c.mu.Unlock()
		return c.endAfterClose(e)
	}
	g.held, g.verdict = true, e
	c.readState.state.Or(readClosed)
	c.mu.Unlock()
	c.refusePings(e)
	return e
}

// closeDone ends the connection if the peer's Close was left unanswered and ours has gone
// out since. With ends false it only notes that.
func (c *Conn) closeDone(ends bool) {
	c.mu.Lock()
	g := c.closeState
	if g == nil || !g.held || !g.sent.done || c.err != nil {
		c.mu.Unlock()
		return
	}
	e := *g.verdict.(*CloseError) // which the caller has
	e.SentCode, e.SentReason = g.sent.code, g.sent.reason
	g.verdict = &e
	c.mu.Unlock()
	if ends {
		c.endAfterClose(&e)
	}
}

// heldClose returns the error of read calls after a Close that was left unanswered, nil
// if there is none.
func (c *Conn) heldClose() error {
	if !c.readState.has(readClosed) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return c.closeState.verdict
}

// failProtocol ends the connection because the peer broke the protocol (RFC 6455 §7.1.7).
func (c *Conn) failProtocol(broken *frame.ProtocolError) error {
	if broken.Opcode == frame.Close {
		return c.failClose(broken)
	}
	_ = c.sendClose(time.Now().Add(c.cfg.CloseTimeout), broken.Code, broken.Rule)
	return c.endAfterClose(&protocolError{broken})
}

// protocolError is a *frame.ProtocolError that ended a connection.
type protocolError struct{ *frame.ProtocolError }

func (e *protocolError) Unwrap() error { return e.ProtocolError }
func (e *protocolError) Is(target error) bool {
	return target == net.ErrClosed || e.ProtocolError.Is(target)
}

// endAfterClose makes err the last word and leaves the rest to linger.
func (c *Conn) endAfterClose(err error) error {
	last, first := c.setFinalErr(err)
	if first && !c.startLinger() {
		c.closeTransport()
	}
	return last
}

// startLinger has linger run, if our Close frame was sent and it does not run yet. It
// returns false if none was sent.
func (c *Conn) startLinger() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch g := c.closeState; {
	case g == nil || !g.sent.done:
		return false
	case g.lingering == nil:
		g.lingering = make(chan struct{})
		if c.readFree == nil {
			c.readFree = make(chan struct{}, 1)
		}
		go c.linger(g)
	}
	return true
}

// lingerDone returns a channel that is closed when linger is done, nil if it does not
// run.
func (c *Conn) lingerDone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState == nil {
		return nil
	}
	return c.closeState.lingering
}

// lingerBytes is how much linger reads. A peer that sends more has not looked for a Close
// frame for long.
const lingerBytes = 64 << 20

// linger ends the TCP connection after Close frames went both ways, or ours alone. The
// server ends it first, the client waits for that (RFC 6455 §7.1.1). Until then what
// comes is dropped: closing a socket with bytes unread would have the kernel send a
// reset, and that can take our Close from the peer. All of it ends with CloseTimeout.
func (c *Conn) linger(g *closeState) {
	defer close(g.lingering)
	until := time.Now().Add(c.cfg.CloseTimeout)
	late := make(chan struct{})
	timer := time.AfterFunc(c.cfg.CloseTimeout, func() { c.closeTransport(); close(late) })
	defer timer.Stop()
	c.mu.Lock()
	peerFirst := c.role == frame.Client && g.received.done
	c.mu.Unlock()
	c.startClosing(until)
	if !c.takeOverReading(late) {
		return
	}
	c.dropReadDeadline(until)
	c.transport.CloseNotify() // a server that has sent its close_notify may wait for ours before it ends the connection
	if !peerFirst {
		c.halfClose()
	}
	c.dropIncoming()
	if peerFirst {
		c.halfClose()
	}
	c.closeTransport()
}

// takeOverReading returns when no read call runs any more on a connection that has ended;
// it wakes one that waits for bytes. It returns false if one still runs when late is
// closed, because a hook panicked or does not return.
func (c *Conn) takeOverReading(late <-chan struct{}) bool {
	c.dropReadDeadline(past)
	for c.readState.state.Or(readWanted)&readBusy != 0 {
		select {
		case <-c.readFree:
		case <-late:
			return false
		}
	}
	return true
}

// dropIncoming reads the transport, under TLS its records as they are, to its end.
func (c *Conn) dropIncoming() {
	b := buffer.Get(4 << 10)
	defer buffer.Put(b)
	for total, empty := 0, 0; total < lingerBytes && empty < transport.MaxEmptyReads; {
		n, err := c.base.Read(b.B)
		if err != nil {
			return
		}
		total += n
		if empty++; n > 0 {
			empty = 0
		}
	}
}

// halfClose tells the peer's transport that nothing more comes.
func (c *Conn) halfClose() {
	if h, ok := c.base.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}

var _ io.Closer = (*Conn)(nil)
