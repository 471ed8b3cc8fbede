package redial

import (
	"errors"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// rotate replaces s, which has reached MaxAge. It runs in a goroutine of its own.
func (r *runner) rotate(s *Session) {
	if !r.tellIf(s.lives, Change{State: Rotating, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL}) {
		return
	}
	if r.c.Rotation == Replace {
		r.retire(s)
		return
	}
	result := make(chan *Session, 1) // nil if there is none
	if !r.beginRotation(s, result) {
		return
	}
	next := r.replacement(s)
	if next == nil {
		result <- nil
		return
	}
	r.setLive(next) // nothing can be sent on s from the next line on
	result <- next
	r.retire(s)
}

// lives reports whether the reading goroutine has not seen the end of s.
func (s *Session) lives() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return !s.lost
}

// beginRotation makes this goroutine the one that dials, unless s has ended: then the
// reading goroutine dials, or will.
func (r *runner) beginRotation(s *Session, result chan *Session) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if s.lost || s.Conn.Err() != nil || s.cause.Load() != nil {
		return false
	}
	r.rotation = result
	return true
}

// replacement dials until there is a session to go on with, or s has ended, or the error
// is one that is not retried.
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

// retire has the reader end s, in such a way that it still gets what the peer has sent.
// While the handler works the close handshake, which has its own clock, does not begin.
func (r *runner) retire(s *Session) {
	r.c.count(func(n *Counts) { n.Rotations++ })
	now := time.Now()
	s.due.Store(&now)
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0)) // the reader may be waiting: see deadlinePassed
}

// drainReason is in our Close of a drain: it tells it from one that the handler has begun
// before.
const drainReason = "rotation"

// drain is called before each read of a session that is due, until it has begun the close
// handshake. With Overlap what is here is read first: a Close that the peer has sent of
// its own accord would pass for the answer to ours. A feed that never pauses, or a
// handler that is slow, is not waited for.
func (r *runner) drain(s *Session) {
	d := &s.drain
	if now := time.Now(); s.draining() {
		if d.began.IsZero() {
			d.began = now
		}
		if !d.empty && now.Sub(d.began) < min(drainMost, s.overlapWait()/2) {
			d.quiet = now.Add(min(drainPause, s.overlapWait()/4))
			_ = s.Conn.SetReadDeadline(d.quiet)
			return
		}
		_ = s.Conn.SetReadDeadline(s.drainEnd())
	}
	d.closing = true
	r.helpers.Go(func() { // a peer that does not read keeps the reader from nothing
		if s.Conn.StartClose(frame.CodeNormal, drainReason) == nil {
			s.sent.Store(uint32(frame.CodeNormal))
		}
	})
}

const (
	drainPause = 5 * time.Millisecond  // without a byte: all that was here has been read
	drainMost  = 50 * time.Millisecond // to wait for such a pause
)

func (s *Session) overlapWait() time.Duration { return orDefault(s.c.OverlapWait, DefaultOverlapWait) }

// draining is the end of a session whose successor is there: how long the reader may
// still wait for it. What the handler takes to deal with what has come does not count.
type draining struct {
	began   time.Time // when the reader first saw that s is due
	quiet   time.Time // when the pause of the peer's is long enough
	empty   bool      // it was
	closing bool      // our Close is on its way

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

// deadlinePassed deals with a read that a deadline has ended: that of a drain, or one
// that a handler or hook has left, which is undone.
func (s *Session) deadlinePassed() {
	switch {
	case !s.draining():
		_ = s.Conn.SetReadDeadline(time.Time{})
	case !s.drain.closing:
		s.drain.empty = !s.drain.quiet.IsZero() && !time.Now().Before(s.drain.quiet) // drain sets the next one
	case time.Now().Before(s.drainEnd()):
		_ = s.Conn.SetReadDeadline(s.drainEnd())
	default:
		_ = s.Conn.Close()
	}
}

// drained reports whether s brought all that its peer sent before the successor was
// there: it answered our Close, and the answer, which comes after all else, was read.
// Every other end may have lost something.
func (s *Session) drained() bool {
	var closed *conn.CloseError
	return s.cause.Load() == nil && errors.As(s.Conn.Err(), &closed) && closed.Local && closed.Err == nil &&
		closed.Code == closed.SentCode && closed.SentReason == drainReason
}

// takeRotation returns the result channel of the rotation under way, nil if there is
// none, and forgets it.
func (r *runner) takeRotation() chan *Session {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	result := r.rotation
	r.rotation = nil
	return result
}

func (r *runner) setRotation(result chan *Session) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.rotation = result
}
