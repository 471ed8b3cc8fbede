package redial

import (
	"errors"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// rotated is what a rotation with Overlap ended in: a session, or none.
type rotated struct {
	s   *Session
	gap bool // the old one had ended before this one was there
}

// rotate replaces s, which has reached MaxAge. It runs in a goroutine of its own.
func (r *runner) rotate(s *Session) {
	r.tell(Change{State: Rotating, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL})
	if r.c.Rotation == Replace {
		r.retire(s)
		return
	}
	result := make(chan rotated, 1)
	if !r.beginRotation(s, result) {
		return
	}
	next := r.replacement(s)
	if next == nil {
		result <- rotated{}
		return
	}
	gap := s.Conn.Err() != nil || s.cause.Load() != nil
	r.setLive(next) // nothing can be sent on s from the next line on
	result <- rotated{next, gap}
	r.retire(s)
}

// beginRotation makes this goroutine the one that dials, unless s has ended: then the reading goroutine dials, or will.
func (r *runner) beginRotation(s *Session, result chan rotated) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if s.lost || s.Conn.Err() != nil || s.cause.Load() != nil {
		return false
	}
	r.rotation = result
	return true
}

// replacement dials until there is a session to go on with, or s has ended, or the error is one that is not retried.
func (r *runner) replacement(s *Session) *Session {
	for failures := 0; ; failures++ {
		next, _, err := r.dial()
		if err == nil {
			return next
		}
		decision := r.c.decide(err)
		r.notBefore = time.Now().Add(decision.After) // also if s ends before that
		if !decision.Retry || r.ctx.Err() != nil {
			return nil
		}
		if !r.sleepWhile(s, max(r.c.Backoff.Delay(failures), decision.After)) {
			return nil
		}
	}
}

// retire has the reader end s, in such a way that it still gets what the peer has sent. While the handler works the close handshake,
// which has its own clock, does not begin.
func (r *runner) retire(s *Session) {
	r.c.count(func(n *Counts) { n.Rotations++ })
	now := time.Now()
	s.due.Store(&now)
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0)) // the reader may be waiting: see deadlinePassed
}

// beginDrain begins the close handshake. A peer that does not read keeps the reader from nothing.
func (r *runner) beginDrain(s *Session) {
	s.drain.begun = true
	r.helpers.Go(func() {
		if s.Conn.StartClose(frame.CodeNormal, "") == nil {
			s.sent.Store(uint32(frame.CodeNormal))
		}
	})
}

func (s *Session) overlapWait() time.Duration { return orDefault(s.c.OverlapWait, DefaultOverlapWait) }

// draining is the end of a session whose successor is there: how long the reader may still wait for it. What the handler takes to deal
// with what has come does not count.
type draining struct {
	begun bool          // our Close is on its way
	seen  bool          // the reader knows
	spent time.Duration // by the handler, since the session is due
	given time.Time     // when the handler got its last message
}

// draining reports whether s is due and a successor waits.
func (s *Session) draining() bool { return s.due.Load() != nil && s.c.Rotation == Overlap }

// drainHandled is told that the handler has returned.
func (s *Session) drainHandled() {
	d, since := &s.drain, *s.due.Load()
	if d.seen {
		since = d.given
	}
	d.seen = true
	d.spent += max(time.Since(since), 0)
	_ = s.Conn.SetReadDeadline(s.drainEnd())
}

// drainGiven is told that the handler gets a message.
func (s *Session) drainGiven() { s.drain.seen, s.drain.given = true, time.Now() }

func (s *Session) drainEnd() time.Time { return s.due.Load().Add(s.overlapWait() + s.drain.spent) }

// deadlinePassed deals with a read that a deadline has ended: that of a drain, or one that a handler or hook has left, which is undone.
func (s *Session) deadlinePassed() {
	switch {
	case !s.draining():
		_ = s.Conn.SetReadDeadline(time.Time{})
	case time.Now().Before(s.drainEnd()):
		_ = s.Conn.SetReadDeadline(s.drainEnd())
	default:
		_ = s.Conn.Close()
	}
}

// cutShort reports whether Config.CloseTimeout has ended a drain in which the handler took too long for a message: what it had not got yet is lost.
func (s *Session) cutShort() bool {
	var timeout *conn.TimeoutError
	return s.drain.spent > s.overlapWait() && errors.As(s.Conn.Err(), &timeout) && timeout.Clock == conn.ClockClose
}

// takeRotation returns the result channel of the rotation under way, nil if there is none, and forgets it.
func (r *runner) takeRotation() chan rotated {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	result := r.rotation
	r.rotation = nil
	return result
}

func (r *runner) setRotation(result chan rotated) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.rotation = result
}
