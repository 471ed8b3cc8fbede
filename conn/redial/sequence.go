package redial

import (
	"fmt"
	"math"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// A sequence is a key's numbers as an Arbiter has seen them.
type sequence[K comparable] struct {
	key   K
	begun bool   // there is a last
	busy  bool   // a callback for it runs: nothing is delivered until that returns
	last  uint64 // everything up to it is delivered or given up
	start uint64 // what is below it was before the first message

	gen   uint32 // counts restarts
	lines []place
	lost  []span // what was given up, the newest last

	kept       waiting // above last+1
	fresh      waiting // of a sequence that may have begun anew
	freshSince int64   // when the old one was last seen, or the first of fresh came

	since      int64 // of what has waited longest, noWait if nothing waits
	prev, next *sequence[K]
}

// A place is the position of a line in a sequence.
type place struct {
	high  uint64 // its highest number
	epoch uint64 // of the connection on which it brought that; noEpoch if it has brought nothing
	gen   uint32 // the sequence's, one more in one that may have begun anew, less in an old one
	anew  bool   // in one that may have begun anew: any distance is enough for that
}

// noEpoch is that of a line which has brought nothing of a key.
const noEpoch = math.MaxUint64

type span struct{ from, to uint64 }

// sequence returns that of a key, a new one if there is none. The error is that there are
// too many.
func (a *Arbiter[K]) sequence(key K) (*sequence[K], error) {
	s := a.keys[key]
	if s == nil {
		if limit := a.mostKeys(); len(a.keys) >= limit {
			return nil, fmt.Errorf("%w: over the limit of %d (redial.Arbiter.Keys)", ErrKeys, limit)
		}
		s = &sequence[K]{key: key, since: noWait}
		if a.keys == nil {
			a.keys = map[K]*sequence[K]{}
		}
		a.keys[key] = s
	}
	return s, nil
}

func (a *Arbiter[K]) mostKeys() int {
	if a.Keys <= 0 {
		return DefaultKeys
	}
	return a.Keys
}

// meet makes places for lines up to this one. A new line is taken to have been where the
// others are, so that one which begins far below them shows a restart.
func (s *sequence[K]) meet(line int) {
	for len(s.lines) <= line {
		s.lines = append(s.lines, place{high: s.last, gen: s.gen, epoch: noEpoch})
	}
}

// due is the lowest number that was not delivered or given up. There is none after the
// highest of all.
func (s *sequence[K]) due() uint64 {
	if !s.begun {
		return 0
	}
	return s.last + 1
}

// inStep reports whether a message that begins with from is not ahead of its turn.
func (s *sequence[K]) inStep(from uint64) bool { return !s.begun || from == 0 || from-1 <= s.last }

// A belonging says what a message that looks odd belongs to.
type belonging uint8

const (
	toCurrent      belonging = iota
	toCurrentAgain           // its line had gone back by mistake, or by sending old messages again
	toFresh                  // to what may be a restart
	toNone                   // to a sequence that is over
)

// back returns by how much the numbers of a line must have gone back for a restart. On a
// new connection it is any distance, unless another line still has the one on which it
// brought numbers of this sequence. While a line shows nothing new on it the connection
// stays new.
func (a *Arbiter[K]) back(s *sequence[K], line int, to, epoch uint64) uint64 {
	l, restart := &s.lines[line], a.restart()
	a.epochs[line] = epoch
	switch {
	case l.epoch == noEpoch, restart == NoRestart, a.window() == 0, to > l.high, l.gen == s.gen && to >= s.last:
		l.epoch = epoch
	case l.gen == s.gen+1:
		l.epoch = epoch
	case l.epoch != epoch && (l.gen != s.gen || !a.othersStay(s, line)):
		return 0
	}
	if l.gen == s.gen+1 && l.anew {
		return 0
	}
	return restart
}

// othersStay reports whether a line other than this one has the connection on which it
// brought numbers of the sequence.
func (a *Arbiter[K]) othersStay(s *sequence[K], line int) bool {
	for i := range s.lines {
		l := &s.lines[i]
		if i == line || l.epoch == noEpoch || l.gen != s.gen {
			continue
		}
		epoch, connected := a.epochs[i], true
		if a.session != nil {
			epoch, connected = a.session(i)
		}
		if connected && epoch == l.epoch {
			return true
		}
	}
	return false
}

// belongs judges a message with the last number to, whose line went back by more than
// down, is on a new connection or is not in the current sequence. Numbers above the last
// one by more than up are not of the sequence either.
func (s *sequence[K]) belongs(l *place, to, epoch, down, up uint64) belonging {
	wentBack := l.high > to && l.high-to > down
	below := s.last > to && s.last-to > down
	above := to > s.last && to-s.last > up
	switch {
	case l.gen == s.gen && wentBack && below:
		*l = place{to, epoch, s.gen + 1, down == 0}
		return toFresh
	case l.gen == s.gen:
		return toCurrent
	case l.gen == s.gen+1 && (below || above):
		l.high = to
		return toFresh
	case l.gen == s.gen+1:
		*l = place{to, epoch, s.gen, false}
		return toCurrentAgain
	case wentBack || s.last >= l.high:
		*l = place{to, epoch, s.gen, false}
		return toCurrent
	}
	l.high = max(l.high, to)
	return toNone
}

// late reports whether a message that is over holds a number that was given up.
func (s *sequence[K]) late(from, to uint64) bool {
	if to < s.start {
		return true
	}
	for i := len(s.lost) - 1; i >= 0; i-- {
		switch x := s.lost[i]; {
		case x.to < from:
			return false
		case x.from <= to:
			return true
		}
	}
	return false
}

// lose remembers what was given up.
func (s *sequence[K]) lose(from, to uint64) {
	if len(s.lost) == lostSpans {
		s.lost = append(s.lost[:0], s.lost[lostSpans/2:]...)
	}
	s.lost = append(s.lost, span{from, to})
}

// insert keeps a copy of a message at its place.
func (a *Arbiter[K]) insert(s *sequence[K], w *waiting, i int, e entry) {
	e.at = a.now()
	e.since = e.at
	if n := len(e.m.Data); n > 0 {
		e.memory = buffer.Get(n)
		copy(e.memory.B, e.m.Data)
		e.m.Data = e.memory.B[:n:n]
	}
	a.room(1, sizeOf(e.m.Data))
	if n := w.insert(i, e); n > 0 {
		for j := range n {
			a.free(&w.items[w.head+i+1+j])
		}
		w.cut(i+1, n)
		a.counts.dropped.Add(uint64(n))
	}
	a.place(s)
}

// room counts what waits.
func (a *Arbiter[K]) room(messages, bytes int) {
	a.bytes += bytes
	a.counts.waiting.Add(int64(messages))
	a.counts.bytes.Store(int64(a.bytes))
}

// free gives the memory of a message back.
func (a *Arbiter[K]) free(e *entry) {
	a.room(-1, -sizeOf(e.m.Data))
	buffer.Put(e.memory)
}

// drop drops everything that waits in w.
func (a *Arbiter[K]) drop(w *waiting) {
	for w.len() > 0 {
		a.dropFirst(w)
	}
}

func (a *Arbiter[K]) dropFirst(w *waiting) {
	e := w.pop()
	a.free(&e)
	a.counts.dropped.Add(1)
}

// hand gives a message to Deliver.
func (a *Arbiter[K]) hand(s *sequence[K], d Delivery[K]) error {
	a.counts.delivered.Add(1)
	s.busy = true
	defer s.rest()
	return a.Deliver(d)
}

func (s *sequence[K]) rest() { s.busy = false }

// drain delivers what is in step.
func (a *Arbiter[K]) drain(s *sequence[K]) error {
	defer a.place(s)
	now := noWait
	for !s.busy && s.kept.len() > 0 {
		e := s.kept.first()
		if s.begun && e.to <= s.last {
			a.dropFirst(&s.kept)
			continue
		}
		if !s.inStep(e.from) {
			break
		}
		if now == noWait {
			now = a.now()
		}
		if err := a.handFirst(s, now); err != nil {
			return err
		}
	}
	return nil
}

// handFirst gives the first message that waits to Deliver.
func (a *Arbiter[K]) handFirst(s *sequence[K], now int64) error {
	e := s.kept.pop()
	defer a.free(&e)
	if !s.begun {
		s.begun, s.start = true, e.from
	}
	s.last = e.to
	return a.hand(s, Delivery[K]{
		Message: e.m, Key: s.key, From: e.from, To: e.to, Line: e.line, Waited: time.Duration(now - e.at),
	})
}

// pass ends the longest wait in s: the gap is told and what follows it delivered, or the
// key begins anew.
func (a *Arbiter[K]) pass(s *sequence[K], forced bool) error {
	if s.kept.len() == 0 || s.fresh.len() > 0 && s.freshSince < s.kept.first().since {
		if !forced {
			return a.beginAnew(s)
		}
		a.drop(&s.fresh) // memory is no sign of a restart
	}
	if s.kept.len() > 0 {
		if e := s.kept.first(); e.to > s.last && !s.inStep(e.from) {
			a.giveUp(s, e.from-1, a.now()-e.since, forced)
		}
	}
	return a.drain(s)
}

// giveUp tells the gap from what is due up to last.
func (a *Arbiter[K]) giveUp(s *sequence[K], last uint64, waited int64, forced bool) {
	g := Gap[K]{Key: s.key, From: s.last + 1, To: last, Waited: time.Duration(waited)}
	s.last = last
	s.lose(g.From, g.To)
	a.counts.gaps.Add(1)
	a.counts.missing.Add(g.To - g.From + 1)
	if forced {
		a.counts.forced.Add(1)
	}
	a.tell(s, g)
}

func (a *Arbiter[K]) tell(s *sequence[K], g Gap[K]) {
	if a.OnGap == nil {
		return
	}
	s.busy = true
	defer s.rest()
	a.OnGap(g)
}

// beginAnew goes over to what went back, after what still waits of the old sequence.
func (a *Arbiter[K]) beginAnew(s *sequence[K]) error {
	for s.kept.len() > 0 && s.fresh.len() > 0 {
		if e := s.kept.first(); e.to > s.last && !s.inStep(e.from) {
			a.giveUp(s, e.from-1, a.now()-e.since, false)
		}
		if err := a.drain(s); err != nil {
			return err
		}
	}
	if s.fresh.len() == 0 { // a callback has dropped it
		a.place(s)
		return nil
	}
	e := s.fresh.first()
	g := Gap[K]{Key: s.key, From: s.due(), To: e.from, Waited: time.Duration(a.now() - e.at), Restarted: true}
	s.kept, s.fresh = s.fresh, s.kept
	s.begun, s.lost = false, s.lost[:0]
	s.gen++
	a.counts.restarts.Add(1)
	a.tell(s, g)
	return a.drain(s)
}

// place puts s where it belongs among those in which something waits.
func (a *Arbiter[K]) place(s *sequence[K]) {
	since := noWait
	if s.kept.len() > 0 {
		since = s.kept.first().since
	}
	if s.fresh.len() > 0 {
		since = min(since, s.freshSince)
	}
	if since == s.since {
		return
	}
	if s.since != noWait {
		a.unlink(s)
	}
	if s.since = since; since == noWait {
		return
	}
	after := a.newest // nearly always
	for after != nil && after.since > since {
		after = after.prev
	}
	s.prev = after
	if after == nil {
		s.next, a.oldest = a.oldest, s
	} else {
		s.next, after.next = after.next, s
	}
	if s.next == nil {
		a.newest = s
	} else {
		s.next.prev = s
	}
}

func (a *Arbiter[K]) unlink(s *sequence[K]) {
	if s.prev == nil {
		a.oldest = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		a.newest = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}
