package redial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// The steps of an attempt, as in Error.Op.
const (
	opURL  = "URL"
	opDial = "dial"
	opHook = "connect hook"
)

// patience is how long the next attempt waits for a hook that has not returned when its
// context ended.
const patience = time.Second

// An attempt is one try at a session. It runs in its own goroutine, so that a hook that
// does not return blocks nobody. The caller waits for the result, or gives it up.
type attempt struct {
	c        *Client
	info     Attempt
	gapBegan time.Time
	over     chan struct{} // closed when no hook runs any more
	result   chan outcome  // has a place

	goroutine []byte      // its name
	greeting  atomic.Bool // OnConnect runs

	mu      sync.Mutex
	op      string
	s       *Session // once there is a connection
	givenUp bool     // nobody waits
}

type outcome struct {
	s        *Session
	err      error
	panicked *hookPanic
}

// hookPanic is the panic of a hook, on its way to the goroutine that waits.
type hookPanic struct {
	value any
	stack []byte
}

// Error returns the value of the panic and its stack.
func (p *hookPanic) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

// Unwrap returns the value if that was an error.
func (p *hookPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// errConnectTime is the cause of the end of an attempt's context.
var errConnectTime error = connectTime{}

type connectTime struct{}

func (connectTime) Error() string   { return "the connect timeout passed" }
func (connectTime) Timeout() bool   { return true }
func (connectTime) Temporary() bool { return true }
func (connectTime) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// errHookExit is a hook that called runtime.Goexit.
var errHookExit = errors.New("the hook ended its goroutine")

// dial makes one attempt, OnConnect included. op names the step that failed.
func (r *runner) dial() (s *Session, op string, err error) {
	c := r.c
	if err := r.awaitHook(); err != nil {
		return nil, opDial, err
	}
	if err := c.Limiter.Wait(r.ctx); err != nil {
		return nil, opDial, err
	}
	r.dials++
	a := &attempt{c: c, op: opURL, over: make(chan struct{}), result: make(chan outcome, 1)}
	a.info = Attempt{Number: r.dials, Epoch: r.epoch + 1, Last: r.last}
	if len(r.urls) > 0 {
		a.info.URL = r.urls[r.allDials%len(r.urls)]
	}
	r.allDials++
	c.count(func(n *Counts) { n.Dials++ })
	ctx, cancel := context.WithCancelCause(r.ctx)
	limit := c.ConnectTimeout
	if limit == 0 {
		limit = DefaultConnectTimeout
	}
	var timer *time.Timer
	if limit > 0 {
		timer = time.AfterFunc(limit, func() { cancel(errConnectTime) })
	}
	a.gapBegan = r.gapBegan
	go a.run(ctx, r, cancel, limit)
	o := a.await(ctx)
	if timer != nil && !timer.Stop() {
		<-ctx.Done()
	}
	op = a.op
	if a.s != nil {
		r.epoch = a.info.Epoch
	}
	if o.panicked != nil {
		cancel(nil)
		panic(o.panicked)
	}
	if context.Cause(ctx) == errConnectTime || errors.Is(o.err, errConnectTime) {
		o.err = &TimeoutError{Clock: ClockConnect, Limit: limit, Op: op, Err: o.err}
	}
	if o.err != nil {
		cancel(o.err)
		r.discard(a, o.err)
		return nil, op, o.err
	}
	r.dials = 0
	c.count(func(n *Counts) { n.Connections++ })
	return o.s, "", nil
}

// discard is the end of an attempt that failed.
func (r *runner) discard(a *attempt, err error) {
	url := a.info.URL
	if a.s != nil {
		a.s.part(frame.CodeGoingAway)
		url = a.s.URL
	}
	r.last = err
	if !a.isOver() {
		r.hook = a.over
	}
	r.tell(Change{State: Failed, Epoch: r.epoch, Attempt: a.info.Number, URL: url, Err: err})
}

// awaitHook gives a hook that was given up some more time, so that a slow one does not
// run beside the next.
func (r *runner) awaitHook() error {
	if r.hook == nil {
		return nil
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-r.hook:
	case <-t.C:
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	r.hook = nil
	return nil
}

// await returns the outcome. When ctx ends it soon has one: a hook that does not return
// is given up.
func (a *attempt) await(ctx context.Context) outcome {
	select {
	case o := <-a.result:
		return o
	case <-ctx.Done():
	}
	t := time.NewTimer(DefaultCloseWait)
	defer t.Stop()
	select {
	case o := <-a.result:
		return o
	case <-t.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case o := <-a.result:
		return o
	default:
	}
	a.givenUp = true
	return outcome{err: context.Cause(ctx)}
}

func (a *attempt) isOver() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// run goes through the steps.
func (a *attempt) run(ctx context.Context, r *runner, cancel context.CancelCauseFunc, limit time.Duration) {
	a.goroutine = goroutine()
	a.c.begin(a)
	o := outcome{err: Fatal(errHookExit)}
	returned := false
	defer func() {
		if !returned {
			if v := recover(); v != nil {
				o.panicked = &hookPanic{v, debug.Stack()}
			}
		}
		a.c.ended(a)
		a.deliver(o)
		close(a.over)
	}()
	o.s, o.err = a.steps(ctx, r, cancel, limit)
	returned = true
}

// deliver hands the outcome to the one who waits. Nobody looks at what comes too late,
// except at a panic: that must not be hidden.
func (a *attempt) deliver(o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.givenUp {
		a.result <- o
	} else if o.panicked != nil {
		panic(o.panicked)
	}
}

func (a *attempt) steps(ctx context.Context, r *runner, cancel context.CancelCauseFunc, limit time.Duration) (*Session, error) {
	c := a.c
	url, err := a.url(ctx)
	began := a.goOn(opURL, func() {
		r.tell(Change{State: Dialing, Epoch: a.info.Epoch - 1, Attempt: a.info.Number, URL: url})
		if err == nil {
			a.op = opDial
		}
	})
	if err != nil || !began {
		return nil, err
	}
	dialCtx := ctx
	if limit > 0 {
		var stop context.CancelFunc // addresses are tried by the time there is
		dialCtx, stop = context.WithTimeoutCause(ctx, limit, errConnectTime)
		defer stop()
	}
	nc, err := c.dialerFor(a.info.Epoch).Dial(dialCtx, url)
	if errors.Is(err, handshake.ErrValue) && c.Dialer != nil && c.Dialer.HeaderFunc != nil {
		err = madeAnew{err}
	}
	if err != nil {
		return nil, err
	}
	s := &Session{
		Conn: nc, Epoch: a.info.Epoch, URL: url, Attempt: a.info.Number, Began: time.Now(), GapBegan: a.gapBegan, Last: a.info.Last,
		c: c, end: cancel,
	}
	s.clocks.poke = make(chan struct{}, 1)
	if !a.goOn(opHook, func() { a.s = s }) {
		_ = nc.Close()
		return nil, context.Cause(ctx)
	}
	return s, a.greet(ctx, s)
}

// url returns what is to be dialed.
func (a *attempt) url(ctx context.Context) (string, error) {
	if a.c.URLFunc == nil {
		return a.info.URL, nil
	}
	url, err := a.c.URLFunc(ctx, a.info)
	if err != nil {
		return "", err
	}
	if _, bad := handshake.ParseURL(url); bad != nil {
		return url, fmt.Errorf("redial: what URLFunc returned cannot be dialed: %v", bad) // the next may be: it is not the error that is final
	}
	return url, nil
}

// goOn says which step begins, and does what belongs to that, if anybody still waits for
// the outcome.
func (a *attempt) goOn(op string, do func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.givenUp {
		return false
	}
	a.op = op
	do()
	return true
}

// greet runs OnConnect; the end of ctx ends the connection under it.
func (a *attempt) greet(ctx context.Context, s *Session) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Conn.Close() })
	if hook := a.c.OnConnect; hook != nil {
		a.greeting.Store(true)
		err := hook(context.WithValue(ctx, attemptKey{}, a), s)
		a.greeting.Store(false)
		if err != nil {
			stop()
			return err
		}
	}
	if !stop() {
		return context.Cause(ctx)
	}
	_ = s.Conn.SetDeadline(time.Time{}) // one for the log-in must not end up as one for the feed
	return nil
}

// attemptKey is the key of the attempt in the context of OnConnect.
type attemptKey struct{}

func (c *Client) begin(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attempts == nil {
		c.attempts = map[*attempt]bool{}
	}
	c.attempts[a] = true
}

func (c *Client) ended(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attempts, a)
}

// inHook tells whether ctx is that of OnConnect, or the calling goroutine one that runs
// hooks or OnChange. The caller holds c.mu.
func (c *Client) inHook(ctx context.Context) (hook, connect bool) {
	var teller *[]byte
	if c.run != nil {
		teller = c.run.teller.Load()
	}
	if len(c.attempts) == 0 && teller == nil {
		return false, false
	}
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok && c.attempts[a] && a.greeting.Load() {
		return true, true
	}
	name := goroutine()
	for a := range c.attempts {
		if bytes.Equal(a.goroutine, name) {
			return true, a.greeting.Load()
		}
	}
	return teller != nil && bytes.Equal(*teller, name), false
}

// goroutine returns the name of the calling goroutine, from the top of its stack:
// "goroutine 17". It finds a hook that would wait for itself, whatever context it uses.
// It takes a microsecond, and is called only in hooks and while they run.
func goroutine() []byte {
	var b [64]byte
	head, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
	return head
}
