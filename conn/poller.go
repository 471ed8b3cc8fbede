package conn

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Poller reads any number of connections with one goroutine, on its own thread. On Linux
// it has its own epoll instance beside the runtime's, so that a message costs no switch
// between goroutines. Each Conn behaves as with a goroutine that calls ReadMessage: pings
// are answered, clocks and deadlines hold, and the close handshake is done.
//
// Set the fields before Run, and do not change them afterwards. The zero value is ready,
// and drops all messages. A Poller must not be copied.
//
// On Linux it reads sockets, and TLS of this package over them. For any other Conn a
// goroutine waits for its bytes; the same Handler is called, on the same goroutine.
type Poller struct {
	// Handler gets each message. The view is valid until Handler returns, or reads c.
	// Conn.LastRead describes the read that brought it. Handler may write to any Conn,
	// and call all methods of the Poller. A write that waits delays all connections.
	// Shutdown waits for the peer: call StartClose, or Shutdown in a goroutine.
	Handler func(c *Conn, m Message)
	// Failed gets each error that ReadMessage would return. After an error that matches
	// os.ErrDeadlineExceeded and not net.ErrClosed the Poller continues to read c: at
	// once after Config.ReadTimeout, and after the next SetReadDeadline otherwise. After
	// any other error it has released c.
	Failed func(c *Conn, err error)

	// Spin is how long the Poller polls for bytes before it blocks. 0 means not at all;
	// negative means that it never blocks. It saves the wake-up, and keeps a processor
	// busy meanwhile.
	Spin time.Duration
	// Moderate is a pause after each round of reads. More bytes gather meanwhile, which
	// costs less CPU time. A message after a longer silence is read at once, others up to
	// Moderate later. 0 means none.
	Moderate time.Duration
	// MaxBytes is how many bytes of messages one Conn may deliver before the others get
	// their turn; the last message may exceed it. 0 means DefaultPollBytes; negative
	// means no limit.
	MaxBytes int
	// CPUs are the processors on which the thread may run during Run (Linux). nil means
	// all.
	CPUs []int
	// BusyPoll is SocketOptions.BusyPoll, for each connection that is added.
	BusyPoll time.Duration

	mu      sync.Mutex
	lines   []*pollLine // those of Add, until they are let go
	over    chan struct{}
	posted  []*pollLine // what the goroutine of Run is to look at
	running bool
	bell    pollBell // wakes it; nil while nothing runs

	news    atomic.Bool // something is posted, or Run is to end
	asleep  atomic.Bool // bell is needed
	stopped atomic.Bool // the context of Run has ended

	// By the goroutine of Run.
	waiter      *epoll // nil before the first socket
	quiet       chanBell
	ready, next []*pollLine
	spare       []*pollLine // posted, when it is taken
	delivered   bool        // since the last wait

	// For tests and benchmarks.
	fedOnly bool // as on systems without epoll
	exact   bool // each turn reads until it finds nothing
}

// DefaultPollBytes is the default of Poller.MaxBytes.
const DefaultPollBytes = 64 << 10

var (
	// ErrPolled says that a connection is in a Poller already.
	ErrPolled error = &stateError{"conn: the connection is in a Poller", false}
	// ErrPollerRuns is Poller.Run while it runs.
	ErrPollerRuns error = &stateError{"conn: the Poller runs already", false}
)

// PollerError says that an option of a Poller could not be set.
type PollerError struct {
	Option string // the field of Poller
	Err    error  // what the system answered
}

// Error returns the option and the cause.
func (e *PollerError) Error() string { return "conn: Poller." + e.Option + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *PollerError) Unwrap() error { return e.Err }

// PollHandler is the handler of a connection of AddTo. The goroutine of Run calls it.
type PollHandler interface {
	// Added is called once, before c is read.
	Added(c *Conn)
	// Message is called as Poller.Handler is.
	Message(c *Conn, m Message)
	// Failed is called as Poller.Failed is.
	Failed(c *Conn, err error)
}

// pollBell wakes the goroutine of Run.
type pollBell interface{ ring() }

// Add has the Poller read c, starting with the next message. No other read call may be
// made until the Poller releases c: both would get ErrConcurrentRead. Add may be called
// at any time, also before Run and by Handler. The error is ErrPolled, or a
// *SocketOptionError for BusyPoll.
func (p *Poller) Add(c *Conn) error { return p.AddTo(c, nil) }

// AddTo is Add with a handler for this connection. If h is not nil, it is called instead
// of Handler and Failed.
func (p *Poller) AddTo(c *Conn, h PollHandler) error {
	if p.BusyPoll != 0 {
		o := SocketOptions{BusyPoll: p.BusyPoll}
		if err := o.Set(c.base); err != nil {
			return err
		}
	}
	l := &pollLine{c: c, p: p, h: h, slot: -1, gone: make(chan struct{})}
	if !c.setLine(l) {
		return ErrPolled
	}
	p.mu.Lock()
	l.index = len(p.lines)
	p.lines = append(p.lines, l)
	p.mu.Unlock()
	l.post(newsAdded)
	return nil
}

// Remove has the Poller release c, which stays open. The returned channel is closed when
// the Poller no longer uses c, so that another goroutine can read it. A running handler
// finishes first; so Handler must not wait for the channel. No message is lost: Handler
// got it, or the next read call gets it. If c is not in p, the channel is closed already.
//
// A Conn without a socket and without read deadlines is released only when bytes come.
func (p *Poller) Remove(c *Conn) (gone <-chan struct{}) {
	l := c.line()
	if l == nil || l.p != p {
		return closedChan
	}
	l.removed.Store(true)
	p.mu.Lock()
	running := p.running
	alone := !running && p.unlist(l)
	p.mu.Unlock()
	switch {
	case alone:
		l.letGo()
	case running:
		l.post(newsRemoved)
	}
	return l.gone
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Run reads the connections until ctx ends, and returns context.Cause(ctx). It then
// releases all of them, and leaves them open. Run may be called again after another Add.
// Other errors come before anything is read: ErrPollerRuns, or a *PollerError of CPUs. If
// Handler panics, Run releases all connections, and panics.
func (p *Poller) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running {
		p.mu.Unlock()
		return ErrPollerRuns
	}
	p.running = true
	p.quiet = make(chanBell, 1)
	p.bell = p.quiet
	p.stopped.Store(false)
	p.mu.Unlock()
	runtime.LockOSThread()
	restore, err := runOn(p.CPUs)
	defer func() {
		p.end()
		if restore() {
			runtime.UnlockOSThread()
		}
	}()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		p.stopped.Store(true)
		p.ring()
	})
	defer stop()
	for !p.stopped.Load() {
		p.round()
	}
	return context.Cause(ctx)
}

// end lets go of all.
func (p *Poller) end() {
	p.ready, p.next, p.spare = nil, nil, nil
	waiter := p.waiter
	p.waiter = nil
	p.mu.Lock()
	lines := p.lines
	over := p.over
	p.lines, p.posted, p.bell, p.over = nil, nil, nil, nil
	p.running = false // another Run may begin from here on
	p.mu.Unlock()
	if waiter != nil {
		waiter.close()
	}
	for _, l := range lines {
		l.removed.Store(true)
		l.letGo()
	}
	if over != nil {
		close(over)
	}
}

// Done returns a channel that is closed when the current Run returns, or the next one if
// none is running. Nothing is called any more then.
func (p *Poller) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil {
		p.over = make(chan struct{})
	}
	return p.over
}

// ring has the goroutine of Run look at what is posted.
func (p *Poller) ring() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ringLocked()
}

func (p *Poller) ringLocked() {
	p.news.Store(true)
	if p.asleep.CompareAndSwap(true, false) && p.bell != nil {
		p.bell.ring()
	}
}

// round looks for bytes, and gives each connection that has some its turn.
func (p *Poller) round() {
	if len(p.ready) == 0 {
		p.wait()
	} else if p.waiter != nil {
		p.waiter.poll(p)
	}
	if p.news.Load() {
		if p.waiter != nil {
			p.waiter.poll(p) // bytes that are here count before a deadline that has passed
		}
		p.takePosted()
	}
	turns := p.ready
	p.ready, p.next = p.next[:0], turns
	for i, l := range turns {
		turns[i] = nil
		if p.stopped.Load() {
			return
		}
		if l.ready = false; !l.removed.Load() && p.turn(l) {
			p.makeReady(l)
		}
	}
}

// makeReady gives a connection a turn in the next round.
func (p *Poller) makeReady(l *pollLine) {
	if !l.ready {
		l.ready = true
		p.ready = append(p.ready, l)
	}
}

// spinLook is how many looks there are between two at the clock.
const spinLook = 16

// wait returns when something may be ready, or posted.
func (p *Poller) wait() {
	if p.Moderate > 0 && p.delivered {
		p.sleep(p.Moderate)
	}
	p.delivered = false
	if p.waiter == nil {
		p.waitQuiet()
		return
	}
	if p.Spin != 0 {
		p.spin()
	}
	if len(p.ready) > 0 || !p.mayBlock() {
		return
	}
	p.waiter.block(p)
	p.asleep.Store(false)
}

// spin looks for bytes until some have come, or something is posted, or Spin has passed.
func (p *Poller) spin() {
	var until time.Time
	for looks := 1; ; looks++ {
		if p.waiter.poll(p); len(p.ready) > 0 || p.news.Load() {
			return
		}
		if p.Spin < 0 || looks%spinLook != 0 {
			continue
		}
		if now := time.Now(); until.IsZero() {
			until = now.Add(p.Spin)
		} else if !now.Before(until) {
			return
		}
	}
}

// mayBlock prepares for a wait that the bell ends. It returns false if there is news.
func (p *Poller) mayBlock() bool {
	p.asleep.Store(true)
	if p.news.Load() {
		p.asleep.Store(false)
		return false
	}
	return true
}

// waitQuiet is wait where no socket is read.
func (p *Poller) waitQuiet() {
	for p.Spin < 0 && !p.news.Load() {
		runtime.Gosched()
	}
	if p.mayBlock() {
		<-p.quiet
	}
}

// sleep waits for d, or for the bell.
func (p *Poller) sleep(d time.Duration) {
	if !p.mayBlock() {
		return
	}
	if p.waiter != nil {
		p.waiter.sleep(d)
	} else {
		t := time.NewTimer(d)
		select {
		case <-p.quiet:
		case <-t.C:
		}
		t.Stop()
	}
	p.asleep.Store(false)
}

// chanBell is the bell where no socket is read.
type chanBell chan struct{}

func (b chanBell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// takePosted looks at what was posted.
func (p *Poller) takePosted() {
	p.mu.Lock()
	p.news.Store(p.stopped.Load()) // then it stays
	posted := p.posted
	p.posted = p.spare[:0]
	p.mu.Unlock()
	for i, l := range posted {
		posted[i] = nil
		p.take(l, l.news.Swap(0))
	}
	p.spare = posted[:0]
}

// take looks at the news of a connection.
func (p *Poller) take(l *pollLine, news uint32) {
	switch {
	case l.removed.Load():
		p.drop(l)
		return
	case l.started:
	case news&newsAdded == 0: // which comes once Add has put it into lines
		l.late = l.late || news&newsLate != 0
		return
	default:
		l.started = true
		if l.h != nil {
			l.h.Added(l.c)
		}
		if l.removed.Load() {
			return // it is posted, if this call has done it
		}
		l.start()
	}
	if news&newsFed != 0 {
		l.fed.busy = false
	}
	if news&newsLate != 0 {
		l.late = true
	}
	if news&newsDeadline != 0 {
		l.halted.Store(false)
	}
	p.makeReady(l)
}

// drop lets go of a connection, once.
func (p *Poller) drop(l *pollLine) {
	p.mu.Lock()
	listed := p.unlist(l)
	p.mu.Unlock()
	if !listed {
		return
	}
	if l.slot >= 0 {
		p.waiter.remove(l)
	}
	l.letGo()
}

// unlist removes l from the list, and reports whether it was there. The caller has p.mu.
func (p *Poller) unlist(l *pollLine) bool {
	if l.index >= len(p.lines) || p.lines[l.index] != l {
		return false
	}
	last := p.lines[len(p.lines)-1]
	p.lines[l.index] = last
	last.index = l.index
	p.lines[len(p.lines)-1] = nil
	p.lines = p.lines[:len(p.lines)-1]
	return true
}

// turn reads a connection until it has nothing, or has had its share. It reports whether
// there may be more.
//
// A read that brings less than it has room for is the last: what comes after it shows as
// an edge. So a message costs one read, and not a second one that finds nothing.
func (p *Poller) turn(l *pollLine) (more bool) {
	c, share := l.c, p.share()
	for !l.removed.Load() {
		m, err := c.pollRead(l)
		switch err {
		case nil:
			p.delivered = true
			switch {
			case l.h != nil:
				l.h.Message(c, m)
			case p.Handler != nil:
				p.Handler(c, m)
			}
			if share -= len(m.Data) + minFrame; share <= 0 {
				return true
			}
			continue
		case errAside: // the end, a feeder or another deadline is awaited, and will be posted
			return false
		case errNotHere:
			if !l.drained {
				return true // in the next round: there are no messages, but bytes
			}
			if err = l.idle(); err == nil {
				return l.again()
			}
		}
		return p.failed(l, err)
	}
	return false
}

// minFrame is what an empty message counts for Poller.MaxBytes.
const minFrame = 2

func (p *Poller) share() int {
	switch {
	case p.MaxBytes > 0:
		return p.MaxBytes
	case p.MaxBytes < 0:
		return int(^uint(0) >> 1)
	}
	return DefaultPollBytes
}

// failed tells of an error. It reports whether reading goes on now.
func (p *Poller) failed(l *pollLine, err error) (more bool) {
	if l.fed != nil && !l.fed.busy {
		l.fed.err = nil // it has met the same
	}
	over := l.c.ended() || !errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case over:
		l.removed.Store(true)
		p.drop(l)
	case err == errReadTimeout:
		if more = true; l.fed == nil {
			l.c.armRead()
		}
	default:
		more = !l.halt()
	}
	switch {
	case l.h != nil:
		l.h.Failed(l.c, err)
	case p.Failed != nil:
		p.Failed(l.c, err)
	}
	return more
}
