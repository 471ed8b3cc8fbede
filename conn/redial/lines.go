package redial

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLines is returned by Run of Lines that has no Clients, more than MaxLines of them,
// no Number, or no handler.
var ErrLines = errors.New("redial: lines need clients, a Number and a handler")

// Lines is one feed over several Clients that all bring it. Each runs independently, and
// an Arbiter joins their messages. If a line is down or ends, the others continue.
//
// Set the fields before Run, and do not change them afterwards. Lines runs once at a
// time. It can run again after it ended, and then begins without keys.
type Lines[K comparable] struct {
	// Clients are the lines, counted from 0, each with its own URL, Dialer and OnConnect.
	// They must be set up so that they receive the same messages.
	Clients []*Client
	// Number returns the key of a message and its number (from = to) or range: see
	// Arbiter. It reports false for a message without one. Several lines call it at once.
	// It must not keep data.
	Number func(data []byte) (key K, from, to uint64, ok bool)
	// Each, if not nil, sees every numbered message of every line, before the lines are
	// joined. Reset a clock of Session.Watch here, because the handler never gets the
	// messages of the slower line. It is called like Number; m is a view until it
	// returns.
	Each func(line int, key K, m Message)
	// Other gets the messages without a number, or with a range that ends before it
	// begins: answers to subscriptions, errors, heartbeats. They come from every line, at
	// once. It is called like the handler, and its error ends Run like that of the
	// handler. Without it they are dropped; LineCounts.Other counts them.
	Other func(ctx context.Context, line int, m Message) error
	// OnGap, if not nil, is told of numbers that no line brought: see Arbiter. It is
	// called like the handler.
	OnGap func(Gap[K])
	// OnEnd, if not nil, is told that a line has ended for good, and why, unless Run
	// itself ends. It is called like the handler. Retries are told only to the Client's
	// OnChange.
	OnEnd func(line int, err error)

	// Window is Arbiter.Window. Time in the handler does not count, because lines cannot
	// bring messages then.
	Window time.Duration
	// Count is Arbiter.Count.
	Count int
	// Bytes is Arbiter.Bytes.
	Bytes int
	// Restart is Arbiter.Restart.
	Restart uint64
	// Keys is Arbiter.Keys. A message of another key ends Run with an error that matches
	// ErrKeys.
	Keys int

	running atomic.Bool

	mu      turn // held while anything is called
	arbiter Arbiter[K]
	ctx     context.Context
	cancel  context.CancelFunc
	handler func(context.Context, Delivery[K]) error
	err     error // of the handler or of Other, nil until then
	over    bool  // nothing is called any more
	held    time.Duration
	timer   *time.Timer // ends waits when no message does
	armed   bool
	granted time.Time // the deadline at which more time was given
	clock   func() time.Time

	asked   sync.Mutex
	queue   []func() error // of Snapshot and Reset
	waiting atomic.Bool    // there is a queue
}

// errOver ends a line whose messages nobody takes any more.
var errOver = errors.New("redial: the lines have ended")

// Run runs the Clients and passes messages to handler, once each and in the order of
// their key's numbers. One goroutine at a time calls the handler and the hooks, not
// always the same. A message is a view, valid until handler returns. The handler must not
// read from the message's connection.
//
// Run ends in three cases. If ctx ends, it returns the error of ctx. If handler returns
// an error of its own (see Client.Run), it returns an *Error. If all lines have ended,
// it delivers the waiting messages and returns the lines' errors, joined. After that no
// Client runs, and nothing is called. If Lines cannot run, the error is ErrLines or
// ErrRunning.
func (l *Lines[K]) Run(ctx context.Context, handler func(context.Context, Delivery[K]) error) error {
	if len(l.Clients) == 0 || len(l.Clients) > MaxLines || l.Number == nil || handler == nil {
		return ErrLines
	}
	if !l.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer l.running.Store(false)
	l.begin(ctx, handler)
	defer l.cancel()
	errs := make([]error, len(l.Clients))
	var lines sync.WaitGroup
	for i, c := range l.Clients {
		lines.Go(func() {
			err := c.Run(l.ctx, func(_ context.Context, m Message) error { return l.take(i, m) })
			errs[i] = &lineError{i, err}
			l.ended(i, err)
		})
	}
	lines.Wait()
	return l.end(ctx, errs)
}

// lineError is the end of a line. Its text names the package once.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string {
	return fmt.Sprintf("redial: line %d: %s", e.line, strings.TrimPrefix(fmt.Sprint(e.err), "redial: "))
}

func (e *lineError) Unwrap() error { return e.err }

// Counts returns the totals of all runs. It may be called at any time, also by the
// handler.
func (l *Lines[K]) Counts() ArbiterCounts { return l.arbiter.Counts() }

// Snapshot is Arbiter.Snapshot. It may be called at any time, also by the handler and the
// hooks, and takes effect before the next message is delivered.
func (l *Lines[K]) Snapshot(key K, last uint64) {
	l.ask(func() error {
		err := l.arbiter.Snapshot(key, last)
		if errors.Is(err, ErrKeys) && l.err == nil && !l.over {
			l.endWith(&Error{Op: "key", Err: err})
		}
		return err
	})
}

// Reset is Arbiter.Reset, and may be called like Snapshot.
func (l *Lines[K]) Reset(key K) {
	l.ask(func() error { l.arbiter.Reset(key); return nil })
}

func (l *Lines[K]) begin(ctx context.Context, handler func(context.Context, Delivery[K]) error) {
	if l.mu.free == nil {
		l.mu.free = make(chan struct{}, 1)
	}
	l.mu.lock()
	defer l.mu.unlock()
	a := &l.arbiter
	a.resetAll()
	a.Window, a.Count, a.Bytes, a.Restart, a.Keys = l.Window, l.Count, l.Bytes, l.Restart, l.Keys
	a.Deliver, a.OnGap, a.Clock = l.deliver, l.gap, l.now
	a.session = func(line int) (uint64, bool) { return l.Clients[line].sessionEpoch() }
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.handler, l.err, l.over = handler, nil, false
	l.timer, l.armed = nil, false
}

// take takes a message from a line.
func (l *Lines[K]) take(line int, m Message) error {
	key, from, to, ok := l.Number(m.Data)
	ok = ok && from <= to
	if ok && l.Each != nil {
		l.Each(line, key, m)
	}
	l.mu.lock()
	if l.over {
		l.mu.unlock()
		return errOver
	}
	l.answer()
	kept := false
	if !ok {
		l.other(line, m)
	} else {
		var err error
		if kept, err = l.arbiter.offer(line, key, from, to, m); errors.Is(err, ErrKeys) && l.err == nil {
			l.endWith(&Error{Op: "key", Epoch: m.Epoch, Number: m.Number, Err: err})
		} else if kept && l.Window < 0 { // an error is in l.err
			_ = l.arbiter.Tick()
		}
	}
	over := l.over
	l.unlock()
	if over {
		return errOver
	}
	if kept && !m.Session.polled() {
		runtime.Gosched() // another line may have what is missing
	}
	return nil
}

// unlock gives up mu, after what was asked for and with the timer set.
func (l *Lines[K]) unlock() {
	for {
		l.answer()
		l.arm()
		l.mu.unlock()
		if !l.waiting.Load() || !l.mu.tryLock() {
			return
		}
	}
}

// ask has f done by the goroutine that holds mu, or by this one if none does.
func (l *Lines[K]) ask(f func() error) {
	l.asked.Lock()
	l.queue = append(l.queue, f)
	l.waiting.Store(true)
	l.asked.Unlock()
	if l.mu.tryLock() {
		l.unlock()
	}
}

// answer does what was asked for. The caller holds mu.
func (l *Lines[K]) answer() {
	for l.waiting.Load() {
		l.asked.Lock()
		queue := l.queue
		l.queue = nil
		l.waiting.Store(false)
		l.asked.Unlock()
		for _, f := range queue {
			_ = f() // an error is in l.err
		}
	}
}

// deliver gives a message to the handler.
func (l *Lines[K]) deliver(d Delivery[K]) error {
	if l.over {
		return errOver
	}
	began := l.pause()
	err := l.handler(l.ctx, d)
	l.resume(began)
	if err != nil && !l.ownEnd(d.Line, d.Session, err) {
		l.fail(d.Message, err)
		return err
	}
	l.answer()
	return nil
}

func (l *Lines[K]) other(line int, m Message) {
	l.arbiter.lines[line].other.Add(1)
	if l.Other == nil {
		return
	}
	began := l.pause()
	err := l.Other(l.ctx, line, m)
	l.resume(began)
	if err != nil && !l.ownEnd(line, m.Session, err) {
		l.fail(m, err)
	}
}

// ownEnd is that of the line which has brought the message, or of another on which the
// handler has called Send.
func (l *Lines[K]) ownEnd(line int, s *Session, err error) bool {
	return l.Clients[line].ownEnd(s, err) ||
		!fatal(err) && slices.ContainsFunc(l.Clients, func(c *Client) bool { return c.saidUnsent(err) })
}

func (l *Lines[K]) gap(g Gap[K]) {
	if l.OnGap == nil || l.over {
		return
	}
	began := l.pause()
	l.OnGap(g)
	l.resume(began)
	l.answer()
}

func (l *Lines[K]) fail(m Message, err error) {
	l.endWith(&Error{Op: "handler", Epoch: m.Epoch, Number: m.Number, Err: err})
}

func (l *Lines[K]) endWith(err error) {
	l.err, l.over = err, true
	l.cancel()
}

// ended tells that a line has ended.
func (l *Lines[K]) ended(line int, err error) {
	if l.OnEnd == nil || l.ctx.Err() != nil {
		return
	}
	l.mu.lock()
	defer l.unlock()
	if !l.over {
		began := l.pause()
		l.OnEnd(line, err)
		l.resume(began)
	}
}

// end ends a run whose lines have ended.
func (l *Lines[K]) end(ctx context.Context, errs []error) error {
	l.mu.lock()
	defer l.mu.unlock()
	if !l.over && ctx.Err() == nil {
		l.answer()
		_ = l.arbiter.Flush() // an error is in l.err
	}
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.arbiter.resetAll()
	switch {
	case l.err != nil:
		return l.err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errors.Join(errs...)
}

// pause stops the clock of the arbiter until resume, if anything waits.
func (l *Lines[K]) pause() (began time.Time) {
	if l.arbiter.oldest != nil {
		began = l.wall()
	}
	return began
}

func (l *Lines[K]) resume(began time.Time) {
	if !began.IsZero() {
		l.held += l.wall().Sub(began)
	}
}

func (l *Lines[K]) wall() time.Time {
	if l.clock != nil {
		return l.clock()
	}
	return time.Now()
}

// now is the clock of the arbiter.
func (l *Lines[K]) now() time.Time { return l.wall().Add(-l.held) }

// arm sets the timer if something waits. The caller holds mu.
func (l *Lines[K]) arm() {
	if at, some := l.arbiter.Deadline(); some && !l.armed && !l.over {
		l.wake(at.Sub(l.now()))
	}
}

func (l *Lines[K]) wake(after time.Duration) {
	l.armed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(after, l.tick)
		return
	}
	l.timer.Reset(after)
}

// tick gives up what no line brought. If the timer comes late, this process was held up,
// and so were the lines: they get some time to bring what has come meanwhile.
func (l *Lines[K]) tick() {
	l.mu.lock()
	defer l.unlock()
	l.armed = false
	l.answer()
	at, some := l.arbiter.Deadline()
	if !some || l.over {
		return
	}
	grace := time.Duration(l.arbiter.window() / 4)
	if l.now().Sub(at) > grace && l.granted != at && grace > 0 {
		l.granted = at
		l.wake(grace)
		return
	}
	_ = l.arbiter.Tick() // an error is in l.err
}

// A turn is a lock whose waiters wait at a channel: on synthetic time a handler may sleep
// while others wait for their turn.
type turn struct {
	state atomic.Uint32
	free  chan struct{} // of one place
}

const (
	turnHeld   = 1 << iota
	turnWaited // perhaps
)

func (t *turn) tryLock() bool { return t.state.CompareAndSwap(0, turnHeld) }

func (t *turn) lock() {
	if t.tryLock() {
		return
	}
	for t.state.Or(turnHeld|turnWaited)&turnHeld != 0 {
		<-t.free
	}
}

func (t *turn) unlock() {
	if t.state.Swap(0)&turnWaited != 0 {
		select {
		case t.free <- struct{}{}:
		default: // a token lies there already: the one that takes it looks again
		}
	}
}
