package redial

import (
	"github.com/seed-7f57ff33/tickwire/frame"
)

// rotated is what a rotation with Overlap ended in: a session, or none.
type rotated struct{ s *Session }

// rotate replaces s, which has reached MaxAge. It runs in a goroutine of its own.
func (r *runner) rotate(s *Session) {
	r.tell(Change{State: Rotating, Epoch: s.Epoch, URL: s.URL})
	if r.c.Rotation == Replace {
		r.retire(s)
		return
	}
	result := make(chan rotated, 1)
	if !r.beginRotation(s, result) {
		return
	}
	next := r.replacement(s)
	if next != nil {
		r.setLive(next) // nothing can be sent on s from the next line on
		r.retire(s)
	}
	result <- rotated{next}
}

// beginRotation makes this goroutine the one that dials, unless s has ended: then the reading goroutine dials, or will.
func (r *runner) beginRotation(s *Session, result chan rotated) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if s.lost || s.Conn.Err() != nil {
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
		decision := r.decide(err)
		if !decision.Retry || r.ctx.Err() != nil {
			return nil
		}
		if !r.sleepWhile(s, max(r.c.Backoff.Delay(failures), decision.After)) {
			return nil
		}
	}
}

// retire ends s in such a way that the reader still gets all that the peer has sent.
func (r *runner) retire(s *Session) {
	r.c.mu.Lock()
	s.due = true
	r.c.counts.Rotations++
	r.c.mu.Unlock()
	_ = s.Conn.StartClose(frame.CodeNormal, "")
}

func (r *runner) isDue(s *Session) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return s.due
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
