package soak

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// session is what both ends note about one connection of a feed.
type session struct {
	asked  atomic.Uint64 // the number that the client asked for
	silent atomic.Bool   // the server sends nothing more but keeps the connection open
	due    atomic.Int64  // when the server sends next, counted from the start of the run; 0 while it sends

	// The server is about to send a Close frame with this code. All numbers below sent
	// have been written. code is set last; 0 means that there is no such Close frame.
	sent atomic.Uint64
	code atomic.Uint32
}

// sessions are the sessions of a feed, by epoch.
type sessions struct {
	mu sync.Mutex
	of map[uint64]*session
}

// get returns the session of an epoch. The first caller makes it.
func (ss *sessions) get(epoch uint64) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.of[epoch]
	if s == nil {
		if ss.of == nil {
			ss.of = map[uint64]*session{}
		}
		s = &session{}
		ss.of[epoch] = s
	}
	return s
}

// forget drops the sessions of earlier epochs.
func (ss *sessions) forget(epoch uint64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for e := range ss.of {
		if e < epoch {
			delete(ss.of, e)
		}
	}
}

// changed judges how an attempt or a session of the client ended. The client dials again,
// which would hide a fault.
func (f *follower) changed(ctx context.Context, ch redial.Change) {
	if ch.State != redial.Down && ch.State != redial.Failed {
		return
	}
	var broken *frame.ProtocolError
	var dead *conn.TimeoutError
	switch {
	case errors.As(ch.Err, &broken):
		f.run.fail("feed %d, connection %d: the client found a protocol error: %v", f.feed, ch.Epoch, ch.Err)
	case ctx.Err() != nil: // the end of the run interrupts everything
	case errors.As(ch.Err, &dead):
		f.judgeTimeout(ch, dead)
	case ch.State == redial.Down:
		f.judgeClose(ch)
	}
}

// judgeTimeout fails unless the timeout has a cause outside the client: the server, or a
// late process.
func (f *follower) judgeTimeout(ch redial.Change, e *conn.TimeoutError) {
	r, s := f.run, f.sessions.get(ch.Epoch)
	switch {
	case e.Err != nil: // the client's own context has ended
	case ch.State == redial.Down && s.silent.Load() && e.Clock != conn.ClockClose:
		// The server fell silent. It still reads, so it answers a Close frame.
	case e.Clock == conn.ClockData && !r.o.dense(): // the feed is that slow
	case r.hiccups.within(e.Limit), s.overdue(r):
		r.counters.excused.Add(1)
	default:
		r.fail("feed %d, connection %d: a timeout that the server did not cause: %v", f.feed, ch.Epoch, ch.Err)
	}
}

// judgeClose fails if messages before the server's Close frame are missing. TCP keeps the
// order: a client that has read the Close frame has read everything before it. It does
// not matter how the socket ended then, nor whether it was reset (linger 0).
//
// These are not judged:
//   - An end without a Close frame: a reset drops what is in flight.
//   - A Close frame with another code than noted: the answer to the client's own in a
//     rotation. The server does not know what it wrote before that answer. If both sides
//     closed first, the code is the noted one: the client reads up to it.
//   - A rotation with Overlap that did not wait for the answer: it ends with ErrClosed.
//   - The end of the run: the client drops what comes after its own Close frame.
func (f *follower) judgeClose(ch redial.Change) {
	var closed *conn.CloseError
	s := f.sessions.get(ch.Epoch)
	if !errors.As(ch.Err, &closed) || closed.Err != nil {
		return
	}
	if code := s.code.Load(); code == 0 || closed.Code != frame.CloseCode(code) {
		return
	}
	next := s.asked.Load()
	if f.epoch == ch.Epoch {
		next = f.last + 1
	}
	if sent := s.sent.Load(); next != sent {
		f.run.fail("feed %d, connection %d: the last messages are lost: %d came before the Close, %d was sent",
			f.feed, ch.Epoch, int64(next)-1, int64(sent)-1)
	}
}

// judgeProgress fails for each feed without progress at the end of a run. ended is when
// the run was over.
func (r *run) judgeProgress(ended time.Duration) {
	patience := r.o.patience
	switch {
	case ended <= 2*patience || !r.o.dense():
		return
	case r.stalls.within(patience):
		r.counters.excused.Add(1)
		return
	}
	for _, f := range r.followers {
		if still := ended - time.Duration(f.progress.Load()); still > patience {
			r.fail("feed %d: no message for the last %v", f.feed, round(still))
		}
	}
}

// slowMost is the length of a run from which on a slow member must have been ended.
const slowMost = time.Minute

// judgeGroup fails if no slow member was ended, or more of them than the Group has
// counted.
func (r *run) judgeGroup(ended time.Duration, tooSlow uint64) {
	if ended >= slowMost && tooSlow == 0 {
		r.fail("no slow member of the Group was ended in %v", round(ended))
	}
	if n := r.counters.slowEnded.Load(); n > tooSlow {
		r.fail("%d slow members were ended, but the Group has ended %d", n, tooSlow)
	}
}

// lateness notes when this process itself was late. A timeout is then no fault of the
// engine.
type lateness struct {
	limit time.Duration
	began time.Time
	tick  atomic.Int64 // the last tick of watch, counted from the start of the run
	last  atomic.Int64 // when the process was last late; 0 for never
}

// The limits of lateness. The longest regular pause of a feed is three quarters of
// silence. So a client's clock runs out only after another half second of lateness.
const (
	hiccup  = 250 * time.Millisecond
	stall   = time.Second
	tooLate = overlapWait + 500*time.Millisecond // of a message; a rotation may hold it back
	watched = 50 * time.Millisecond
)

// watch records lateness until ctx ends.
func (r *run) watch(ctx context.Context) {
	for _, l := range []*lateness{&r.hiccups, &r.stalls} {
		l.tick.Store(int64(time.Since(l.began))) // earlier lateness, as from making keys, does not count
	}
	tick := time.NewTicker(watched)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.hiccups.ticked()
		r.stalls.ticked()
	}
}

func (l *lateness) ticked() {
	now := time.Since(l.began)
	if now-time.Duration(l.tick.Swap(int64(now)))-watched > l.limit {
		l.note()
	}
}

// note records that the process is late now.
func (l *lateness) note() { l.last.Store(int64(time.Since(l.began))) }

// within reports whether the process was late so recently that a clock of length d may
// have run out for that reason. A tick that is missing now counts too.
func (l *lateness) within(d time.Duration) bool {
	now, last := time.Since(l.began), time.Duration(l.last.Load())
	return now-time.Duration(l.tick.Load())-watched > l.limit || last != 0 && now-last < d+2*time.Second
}

// overdue reports whether the server's own timer for the next message is late.
func (s *session) overdue(r *run) bool {
	due := time.Duration(s.due.Load())
	return due != 0 && time.Since(r.began)-due > hiccup
}

// longestBurst is the most messages that a feed sends at once.
const longestBurst = 20

// pause is the mean time between two messages of a feed.
func (o Options) pause() time.Duration {
	return time.Duration(float64(time.Second) * float64(o.Conns) / o.Rate)
}

// dense reports whether a feed never pauses as long as the client's data clock.
func (o Options) dense() bool { return o.pause()*longestBurst*3/2 <= silence*3/4 }
