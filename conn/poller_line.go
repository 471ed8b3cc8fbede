package conn

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// pollLine is a connection in a Poller.
type pollLine struct {
	c     *Conn
	p     *Poller
	h     PollHandler // nil: those of the Poller
	index int         // in Poller.lines; under Poller.mu

	news    atomic.Uint32 // what was posted; not 0 while it is in Poller.posted
	removed atomic.Bool
	halted  atomic.Bool   // a read deadline has passed, and was told of
	gone    chan struct{} // closed when it is let go

	// Under Conn.deadlines.mu.
	until   time.Time   // the read deadline of the transport
	timer   *time.Timer // posts newsLate then
	leaving bool        // the feeder is to end: past is the deadline

	// By the goroutine of Run.
	slot    int32 // in the epoll instance; -1 if it is not there
	started bool  // newsAdded was taken
	ready   bool  // it is in Poller.ready
	drained bool  // the kernel has nothing, or will tell
	late    bool  // until may have passed
	exact   bool  // it is drained when a read has found nothing, and not before
	heard   uint64
	fed     *feeder // nil if the Poller reads it
}

// What is posted.
const (
	newsAdded = 1 << iota
	newsRemoved
	newsEnded    // the connection has
	newsFed      // the feeder has brought bytes, or an error
	newsDeadline // there is another read deadline
	newsLate     // it may have passed
)

// post has the goroutine of Run look at the line.
func (l *pollLine) post(news uint32) {
	if l.news.Or(news) != 0 {
		return
	}
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posted = append(p.posted, l)
	p.ringLocked()
}

// setLine makes l the line of a connection that has none.
func (c *Conn) setLine(l *pollLine) bool {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	if times.line != nil {
		return false
	}
	times.line = l
	if !d.readDeadlineDropped {
		l.deadline(earlier(times.read, times.armedRead))
	}
	return true
}

// line returns the line of a connection, nil if it has none.
func (c *Conn) line() *pollLine {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.times == nil {
		return nil
	}
	return d.times.line
}

// tellPoller tells the Poller of the end.
func (c *Conn) tellPoller() {
	if l := c.line(); l != nil {
		l.post(newsEnded)
	}
}

// deadline is told of a read deadline, and returns what to put on the transport. The
// caller has Conn.deadlines.mu.
func (l *pollLine) deadline(t time.Time) time.Time {
	l.until = t
	left := time.Until(t)
	switch {
	case t.IsZero():
		if l.timer != nil {
			l.timer.Stop()
		}
	case left <= 0:
		l.post(newsLate)
	case l.timer == nil:
		l.timer = time.AfterFunc(left, func() { l.post(newsLate) })
	default:
		l.timer.Reset(left)
	}
	if l.leaving && !l.c.deadlines.readDeadlineDropped { // otherwise the feeder does not read: Shutdown does, or linger
		return past
	}
	return t
}

// overdue reports whether the read deadline has passed.
func (l *pollLine) overdue() bool {
	d := &l.c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if passed(l.until) {
		return true
	}
	if !l.until.IsZero() && l.timer != nil {
		l.timer.Reset(time.Until(l.until))
	}
	return false
}

// start begins to read.
func (l *pollLine) start() {
	raw := l.c.transport.Raw()
	if raw == nil || l.p.fedOnly || !l.p.watch(l, raw) {
		l.fed, l.drained = newFeeder(l), true
	}
	l.exact = l.p.exact
	if l.c.cfg.ReadTimeout > 0 && l.fed == nil {
		l.c.armRead()
	}
}

// watch has the epoll instance tell of the line. It returns false where there is none.
func (p *Poller) watch(l *pollLine, raw syscall.RawConn) bool {
	if p.waiter == nil {
		w := newEpoll()
		if w == nil {
			return false
		}
		p.waiter = w
		p.mu.Lock()
		p.bell = w
		p.mu.Unlock()
	}
	return p.waiter.add(l, raw)
}

// letGo is the end of a line that nobody reads any more, except its feeder.
func (l *pollLine) letGo() {
	if l.fed != nil {
		l.fed.stop() // the rest is the feeder's
		return
	}
	l.unset(false)
	close(l.gone)
}

// unset has the connection without a line. restore puts its read deadline back on the
// transport.
func (l *pollLine) unset(restore bool) {
	d := &l.c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	times.line = nil
	if l.timer != nil {
		l.timer.Stop()
	}
	if restore && !d.readDeadlineDropped {
		_ = l.c.setReadDeadline(earlier(times.read, times.armedRead))
	}
}

// pollRead returns the next message that is here, or errNotHere, or errAside.
func (c *Conn) pollRead(l *pollLine) (Message, error) {
	if l.fed != nil && l.fed.busy && !c.ended() { // the feeder has the reading side: it must not meet a quick call
		l.drained = true
		return Message{}, errAside
	}
	if n, ok := c.readState.enter(); ok {
		if m, ok := c.r.BufferedFast(); ok {
			c.readState.leave(n + quickCount)
			return m, nil
		}
		c.readState.leave(n)
	}
	if l.halted.Load() && !c.ended() {
		l.drained = l.fed != nil // an edge may have gone by
		return Message{}, errAside
	}
	return c.tryRead(l)
}

// sawEnd looks at what a fill for the line, which ended with err, has left. The caller
// has the reading side. A fill from records that were here says nothing of the kernel.
func (l *pollLine) sawEnd(t transport.Transport, before uint64, err error) {
	if l.fed != nil {
		l.drained = true
	} else if t.Counters().Looks() != before {
		if l.drained = t.Drained(l.exact); l.drained {
			l.exact = l.p.exact
		}
	}
	if err == errNotHere && t.Ready() {
		l.drained = false // records are here, and one fill takes some of them
	}
}

// idle is told that the line waits for bytes. It returns the error of a deadline that has
// passed.
func (l *pollLine) idle() error {
	c := l.c
	if l.fed != nil {
		return l.fed.next()
	}
	if c.cfg.ReadTimeout > 0 {
		if n := c.received(); n != l.heard {
			l.heard = n
			c.armRead()
		}
	}
	if !l.late || !l.overdue() {
		l.late = false
		return nil
	}
	if taken, err := c.takeRead(false); !taken {
		return err
	}
	err := c.readFailed(os.ErrDeadlineExceeded)
	c.endRead(0)
	if err != nil {
		l.late = false
	}
	return err
}

// again reports whether another turn must follow although nothing is here: the deadline
// was the library's own, and the next read sets another (see armLast).
func (l *pollLine) again() bool {
	again := l.late
	if l.late = false; again {
		l.drained = l.fed != nil
	}
	return again
}

// halt has the line read no more until there is another deadline. It returns false if
// there is.
func (l *pollLine) halt() bool {
	l.halted.Store(true)
	if !l.overdue() {
		l.halted.Store(false)
		return false
	}
	return true
}

// feeder is the goroutine that waits for the bytes of a line which the Poller cannot
// read.
type feeder struct {
	l    *pollLine
	work chan struct{} // one turn; closed by stop
	err  error         // of the last turn

	busy bool // by the goroutine of Run: the feeder has the line
}

func newFeeder(l *pollLine) *feeder {
	f := &feeder{l: l, work: make(chan struct{}, 1)}
	go f.run()
	return f
}

// run takes a turn for each token of work.
func (f *feeder) run() {
	for range f.work {
		f.err = f.l.c.fillForPoller()
		f.l.post(newsFed)
	}
	f.l.unset(true)
	close(f.l.gone)
}

// fillForPoller waits for bytes.
func (c *Conn) fillForPoller() error {
	if err := c.beginRead(); err != nil {
		return err
	}
	err := c.fill(c.nextSpace())
	c.endRead(0)
	return err
}

// next has the feeder wait for more, or returns the error of its last turn.
func (f *feeder) next() error {
	if err := f.err; err != nil {
		f.err = nil
		return err
	}
	f.busy = true
	f.work <- struct{}{}
	return nil
}

// stop ends the feeder: a wait for bytes by a deadline that has passed.
func (f *feeder) stop() {
	d := &f.l.c.deadlines
	d.mu.Lock()
	f.l.leaving = f.busy
	if f.busy && !d.readDeadlineDropped { // otherwise it waits for nothing, and another reader may
		_ = f.l.c.transport.SetReadDeadline(past)
	}
	d.mu.Unlock()
	close(f.work)
}
