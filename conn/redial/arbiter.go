package redial

import (
	"errors"
	"math"
	"sync/atomic"
	"time"
)

// The defaults of Arbiter and Lines.
const (
	DefaultWindow      = 50 * time.Millisecond
	DefaultWindowCount = 4096
	DefaultWindowBytes = 16 << 20
	DefaultRestart     = 10000
	DefaultKeys        = 1 << 16
)

const (
	// NoRestart is an Arbiter.Restart that is never reached.
	NoRestart uint64 = math.MaxUint64
	// MaxLines is how many lines an Arbiter can join.
	MaxLines = 32

	lostSpans       = 16 // the gaps of a key that are remembered, to tell late from duplicate
	noWait    int64 = math.MaxInt64
)

// ErrOffer is returned by Offer for a line below 0 or not below MaxLines, for a range
// that ends before it begins, and without Deliver.
var ErrOffer = errors.New("redial: no such line, a range that ends before it begins, or nowhere to deliver")

// ErrKeys says that a message or a snapshot would add a key beyond Arbiter.Keys. The
// error that wraps it has the value of Keys.
var ErrKeys = errors.New("redial: too many keys")

// Arbiter joins redundant lines of a numbered feed. It delivers every message once, in
// the order of its key's numbers, from the line that brings it first. A message that
// comes early waits until a line brings the missing ones, or until Window has passed.
// Then it reports the gap to OnGap and continues. So no message waits longer than Window,
// except after a restart.
//
// A key is one sequence of numbers, such as a symbol or a channel. A message has one
// number (from = to) or a range from..to, like the updates of an order book. Ranges may
// overlap: a message is delivered if any of its numbers was not delivered yet.
//
// The first message of a key is delivered whatever its number. Lower numbers are late.
// Snapshot sets another starting point.
//
// A message in order is not copied, costs no allocation and reads no clock. A key takes
// about 300 bytes until Reset. Building a string key from each message allocates; an
// array, a number or an interned string does not.
//
// Set the fields before the first Offer. An Arbiter is not safe for concurrent use,
// except for Counts; Lines is. Deliver and OnGap may call its methods; messages of the
// same key that become due during such a call are delivered after they return.
type Arbiter[K comparable] struct {
	// Deliver gets the messages. The method that called it returns its error, and the
	// message counts as delivered. Messages after it wait for the next Offer of the key,
	// or for Tick after Window.
	Deliver func(Delivery[K]) error
	// OnGap, if not nil, is told of numbers that are given up, before the messages after
	// them are delivered.
	OnGap func(Gap[K])

	// Window is how long a message waits for those before it. 0 means DefaultWindow;
	// negative means not at all. It should exceed the delay between two lines.
	Window time.Duration
	// Count is how many messages of a key may wait. 0 means DefaultWindowCount. If one
	// more comes, the oldest gap of the key is given up early.
	Count int
	// Bytes limits the payload of all waiting messages of all keys. Each counts as at
	// least 256 bytes. 0 means DefaultWindowBytes. If another message does not fit, the
	// oldest gap is given up early.
	Bytes int
	// Restart is for servers that restart their numbers. If the numbers of a line go back
	// by more than Restart, and no message continues the old numbers within Window, the
	// key restarts with the lowest new number. OnGap is told, and no message received
	// meanwhile is lost. 0 means DefaultRestart; NoRestart means never. A line that
	// repeats more than Restart old messages while the others are silent is taken for a
	// restart too. Choose a value greater than the lag in numbers between two lines.
	//
	// On a new connection (Message.Epoch) any step back is a restart, if no other line
	// still has the connection on which it brought the old numbers: the server has
	// dropped all lines, or there is only one. It is no restart if the line reaches the
	// old numbers within Window, like one that repeats its last messages. An Arbiter
	// assumes that a line still has the connection of its last message; Lines knows
	// which are down. With a negative Window this rule does not apply. Smaller restarts
	// on the same connection are not detected: use Reset, or a key that changes with
	// each restart.
	Restart uint64
	// Keys is how many keys there may be. 0 means DefaultKeys. A message of another key
	// is not delivered: the error matches ErrKeys. Other keys continue. Reset frees a
	// key.
	Keys int
	// Clock returns the time; nil means time.Now. It is called only while messages wait.
	Clock func() time.Time

	keys           map[K]*sequence[K]
	oldest, newest *sequence[K] // those in which something waits, by since
	bytes          int          // of what waits
	base           time.Time    // when the clock was first asked
	latest         int64        // what it told last, from base

	epochs  [MaxLines]uint64                              // of the lines, as far as messages have told
	session func(line int) (epoch uint64, connected bool) // nil means epochs; by Lines

	counts totals
	lines  [MaxLines]lineTotals
}

// Delivery is a message in its place in the order.
type Delivery[K comparable] struct {
	Message        // a view, valid until Deliver returns
	Key     K      // of the sequence that it belongs to
	From    uint64 // its first number
	To      uint64 // its last number
	// Line is the line that brought the message.
	Line int
	// Waited is how long the message was kept; 0 if it came in order.
	Waited time.Duration
}

// Gap is a range of numbers that no line brought in time.
type Gap[K comparable] struct {
	// Key is the sequence's key.
	Key K
	// From is the first missing number.
	From uint64
	// To is the last missing number.
	To uint64
	// Waited is the time since the first message after the gap came. It is less than
	// Window if Count or Bytes was reached.
	Waited time.Duration
	// Restarted says that the key began anew (see Arbiter.Restart): From was due in the
	// old sequence, and To is the first number of the new one, which came Waited ago. How
	// many are missing is not known.
	Restarted bool
}

// LineCounts show what a line contributes. Each of its messages counts as one of First,
// Duplicate and Late.
type LineCounts struct {
	First     uint64 // brought a number before any other line did
	Filled    uint64 // of these: later messages were waiting for them already
	Duplicate uint64 // was here already
	Late      uint64 // came after its gap was told, or before the key's first number, or of numbers before a restart
	Other     uint64 // had no number; by Lines
}

// ArbiterCounts are totals over the life of an Arbiter, and the messages waiting now.
type ArbiterCounts struct {
	Delivered    uint64       // messages
	Gaps         uint64       // told
	Missing      uint64       // numbers in them
	Forced       uint64       // of the gaps: those given up before Window, by Count or Bytes
	Restarts     uint64       // how often a key began anew
	Dropped      uint64       // were First and not delivered: a longer message, Snapshot or Reset covered them, or they were no restart
	Waiting      int          // messages, now
	WaitingBytes int          // bytes of them, now
	Lines        []LineCounts // up to the last that brought something
}

type totals struct {
	delivered, gaps, missing, forced, restarts, dropped atomic.Uint64
	waiting, bytes                                      atomic.Int64
}

type lineTotals struct{ first, filled, duplicate, late, other atomic.Uint64 }

// Counts returns the totals so far. It may be called from any goroutine.
func (a *Arbiter[K]) Counts() ArbiterCounts {
	t := &a.counts
	n := ArbiterCounts{
		Delivered: t.delivered.Load(), Gaps: t.gaps.Load(), Missing: t.missing.Load(), Forced: t.forced.Load(),
		Restarts: t.restarts.Load(), Dropped: t.dropped.Load(),
		Waiting: int(t.waiting.Load()), WaitingBytes: int(t.bytes.Load()),
	}
	for i := range a.lines {
		l := &a.lines[i]
		c := LineCounts{l.first.Load(), l.filled.Load(), l.duplicate.Load(), l.late.Load(), l.other.Load()}
		if c != (LineCounts{}) {
			n.Lines = append(n.Lines, make([]LineCounts, i+1-len(n.Lines))...)
			n.Lines[i] = c
		}
	}
	return n
}

// Offer takes a message from a line, counted from 0, and delivers what is in order. m is
// a view; a message that must wait is copied. Then it does what Tick does. It returns the
// error of Deliver, ErrOffer, or an error that matches ErrKeys.
func (a *Arbiter[K]) Offer(line int, key K, from, to uint64, m Message) error {
	kept, err := a.offer(line, key, from, to, m)
	switch {
	case a.oldest == nil || err != nil:
		return err
	case kept: // the clock was just looked at
		return a.tick(a.latest)
	}
	return a.tick(a.now())
}

// Tick gives up on numbers that were missing for longer than Window. Offer does so too.
// Call Tick if no message may come for a while: see Deadline.
func (a *Arbiter[K]) Tick() error {
	if a.oldest == nil {
		return nil
	}
	return a.tick(a.now())
}

func (a *Arbiter[K]) tick(now int64) error {
	for a.oldest != nil && now-a.oldest.since >= a.window() {
		if a.oldest.busy {
			return nil
		}
		if err := a.pass(a.oldest, false); err != nil {
			return err
		}
	}
	return nil
}

// Deadline returns when Tick will have something to do. It returns false if nothing
// waits.
func (a *Arbiter[K]) Deadline() (time.Time, bool) {
	if a.oldest == nil {
		return time.Time{}, false
	}
	since := a.oldest.since
	return a.base.Add(time.Duration(since + min(a.window(), math.MaxInt64-since))), true
}

// Flush gives up on everything missing, and delivers all waiting messages. Call it at the
// end, when no line can bring more.
func (a *Arbiter[K]) Flush() error {
	for a.oldest != nil && !a.oldest.busy {
		if err := a.pass(a.oldest, false); err != nil {
			return err
		}
	}
	return nil
}

// Snapshot says that all numbers of key up to last are known, for example from a snapshot
// of the state: the next number due is last+1. Waiting messages that continue from there
// are delivered. If last is below numbers already delivered, the sequence has restarted,
// and waiting messages are dropped.
func (a *Arbiter[K]) Snapshot(key K, last uint64) error {
	s, err := a.sequence(key)
	if err != nil {
		return err
	}
	if s.begun && last < s.last {
		a.drop(&s.kept)
		s.kept, s.fresh = s.fresh, s.kept
		s.lines, s.lost, s.start = s.lines[:0], s.lost[:0], 0
	}
	s.begun, s.last = true, last
	return a.drain(s)
}

// Reset forgets a key. Its waiting messages are dropped, and its next message is
// delivered whatever its number.
func (a *Arbiter[K]) Reset(key K) {
	s := a.keys[key]
	if s == nil {
		return
	}
	a.drop(&s.kept)
	a.drop(&s.fresh)
	a.place(s)
	delete(a.keys, key)
}

// resetAll is Reset of all keys.
func (a *Arbiter[K]) resetAll() {
	for key := range a.keys {
		a.Reset(key)
	}
}

func (a *Arbiter[K]) window() int64 {
	if a.Window == 0 {
		return int64(DefaultWindow)
	}
	return int64(max(a.Window, 0))
}

func (a *Arbiter[K]) restart() uint64 {
	if a.Restart == 0 {
		return DefaultRestart
	}
	return a.Restart
}

// now returns the time as nanoseconds from base. It does not go back.
func (a *Arbiter[K]) now() int64 {
	clock := a.Clock
	if clock == nil {
		clock = time.Now
	}
	t := clock()
	if a.base.IsZero() {
		a.base = t
	}
	a.latest = max(a.latest, int64(t.Sub(a.base)))
	return a.latest
}

// offer is Offer without Tick. It reports whether the message was kept.
func (a *Arbiter[K]) offer(line int, key K, from, to uint64, m Message) (kept bool, err error) {
	if uint(line) >= MaxLines || from > to || a.Deliver == nil {
		return false, ErrOffer
	}
	s := a.keys[key]
	if s == nil {
		if s, err = a.sequence(key); err != nil {
			return false, err
		}
	}
	if line >= len(s.lines) {
		s.meet(line)
	}
	l := &s.lines[line]
	if l.gen != s.gen || l.epoch != m.Epoch || l.high > to && l.high-to > a.restart() {
		switch s.belongs(l, to, m.Epoch, a.back(s, line, to, m.Epoch), a.restart()) {
		case toFresh:
			return a.offerFresh(s, line, from, to, m), nil
		case toNone:
			a.lines[line].late.Add(1)
			return false, nil
		case toCurrentAgain:
			a.drop(&s.fresh)
			a.place(s)
		}
	}
	l.high = max(l.high, to)
	if s.begun && to <= s.last {
		a.outdated(s, line, from, to)
		return false, nil
	}
	if s.since != noWait || s.busy { // something waits
		return a.offerWaiting(s, line, from, to, m)
	}
	if s.begun && from != 0 && from-1 > s.last {
		return a.keep(s, line, from, to, m)
	}
	if !s.begun {
		s.begun, s.start = true, from
	}
	s.last = to
	a.lines[line].first.Add(1)
	err = a.hand(s, Delivery[K]{Message: m, Key: key, From: from, To: to, Line: line})
	if s.since != noWait && err == nil { // by a call of Deliver's
		err = a.drain(s)
	}
	return false, err
}

// outdated counts a message without a number above the last one.
func (a *Arbiter[K]) outdated(s *sequence[K], line int, from, to uint64) {
	if s.late(from, to) {
		a.lines[line].late.Add(1)
	} else {
		a.lines[line].duplicate.Add(1)
	}
	if s.fresh.len() > 0 && (a.restart() >= s.last || to >= s.last-a.restart()) {
		s.freshSince = a.now() // the old sequence is still coming
		a.place(s)
	}
}

// offerWaiting takes a message with a new number while others of its key wait, or while
// one is being delivered.
func (a *Arbiter[K]) offerWaiting(s *sequence[K], line int, from, to uint64, m Message) (kept bool, err error) {
	if s.fresh.len() > 0 { // it was no restart: the old sequence goes on
		a.drop(&s.fresh)
		a.place(s)
	}
	if s.busy {
		return a.keep(s, line, from, to, m)
	}
	if s.kept.len() > 0 && s.inStep(s.kept.first().from) { // an error of Deliver left it
		if err := a.drain(s); err != nil {
			return false, err
		}
		return a.offer(line, s.key, from, to, m) // Deliver may have changed everything
	}
	if !s.inStep(from) {
		return a.keep(s, line, from, to, m)
	}
	if s.kept.len() > 0 {
		a.lines[line].filled.Add(1)
	}
	a.lines[line].first.Add(1)
	s.begun, s.last = true, to
	if err := a.hand(s, Delivery[K]{Message: m, Key: s.key, From: from, To: to, Line: line}); err != nil {
		a.place(s)
		return false, err
	}
	return false, a.drain(s)
}

// keep copies a message that is ahead of its turn. If there is no room, what has been
// waited for longest is given up; that may bring it in step.
func (a *Arbiter[K]) keep(s *sequence[K], line int, from, to uint64, m Message) (kept bool, err error) {
	if _, there := s.kept.find(s.due(), from, to); there {
		a.lines[line].duplicate.Add(1)
		return false, nil
	}
	size := sizeOf(m.Data)
	for !s.busy {
		forced := a.full(s, size)
		if forced == nil {
			break
		}
		if forced == s && s.kept.len() > 0 && from < s.kept.first().from { // it is the first to go on with
			a.giveUp(s, from-1, a.now()-s.kept.first().since, true)
		} else if err := a.pass(forced, true); err != nil {
			return false, err
		}
		if a.keys[s.key] != s || s.inStep(from) || to <= s.last { // callbacks may have changed everything
			return a.offer(line, s.key, from, to, m)
		}
	}
	if !s.busy && a.bytes+size > a.mostBytes() { // it is longer than everything that may wait
		a.giveUp(s, from-1, 0, true)
		return a.offer(line, s.key, from, to, m)
	}
	i, _ := s.kept.find(s.due(), from, to)
	if i < s.kept.len() {
		a.lines[line].filled.Add(1)
	}
	a.lines[line].first.Add(1)
	a.insert(s, &s.kept, i, entry{from: from, to: to, line: line, m: m})
	return true, nil
}

// full returns the sequence whose longest wait must end before a message of s is kept,
// nil if there is room.
func (a *Arbiter[K]) full(s *sequence[K], size int) *sequence[K] {
	if s.kept.len() >= a.mostCount() {
		return s
	}
	if a.bytes+size > a.mostBytes() && a.oldest != nil && !a.oldest.busy {
		return a.oldest
	}
	return nil
}

func (a *Arbiter[K]) mostCount() int {
	if a.Count <= 0 {
		return DefaultWindowCount
	}
	return a.Count
}

func (a *Arbiter[K]) mostBytes() int {
	if a.Bytes <= 0 {
		return DefaultWindowBytes
	}
	return a.Bytes
}

// offerFresh keeps a message of numbers that went back, until it is clear that they are a
// restart.
func (a *Arbiter[K]) offerFresh(s *sequence[K], line int, from, to uint64, m Message) (kept bool) {
	i, there := s.fresh.find(0, from, to)
	switch {
	case there:
		a.lines[line].duplicate.Add(1)
		return false
	case s.fresh.len() >= a.mostCount(), a.bytes+sizeOf(m.Data) > a.mostBytes():
		a.lines[line].late.Add(1) // if it is one, a gap is told for it
		return false
	}
	a.lines[line].first.Add(1)
	if s.fresh.len() == 0 {
		s.freshSince = a.now()
	}
	a.insert(s, &s.fresh, i, entry{from: from, to: to, line: line, m: m})
	return true
}
