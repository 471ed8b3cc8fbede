package redial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// runner is one run of a Client. Its goroutine is that of Run or Messages. While a
// rotation is under way another one dials in its stead, so there is never more than one
// dial.
type runner struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	urls   []string
	turns  *turns // of Client.Poller, nil without

	s *Session // delivers messages; nil without a connection

	// By the goroutine that dials.
	dials    int // since the last session
	allDials int
	epoch    uint64
	gapBegan time.Time
	last     error
	hook     chan struct{} // of the attempt that was given up last: closed when its hook has returned

	failures  int           // attempts and unstable sessions in a row
	delay     time.Duration // before the next attempt
	notBefore time.Time     // what a server has asked for in a rotation; by the goroutine that dials

	helpers  sync.WaitGroup
	rotation chan *Session          // of the rotation under way, nil if there is none; under Client.mu
	telling  sync.Mutex             // one OnChange at a time
	teller   atomic.Pointer[[]byte] // the goroutine that calls it
}

func (c *Client) start(ctx context.Context) (*runner, error) {
	urls := c.URLs
	if len(urls) == 0 && (c.URL != "" || c.URLFunc == nil) {
		urls = []string{c.URL}
	}
	for _, url := range urls {
		if url == "" {
			return nil, ErrNoURL
		}
		if _, err := handshake.ParseURL(url); err != nil && c.URLFunc == nil {
			return nil, fmt.Errorf("redial: URL %q: %w", url, err)
		}
	}
	if err := c.LifeSign.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != nil {
		return nil, ErrRunning
	}
	r := &runner{c: c, urls: urls, turns: takeTurns(c.Poller)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	c.run = r
	c.notify()
	return r, nil
}

// stop ends what the run began: connections, goroutines, those who wait in Send. err is
// why.
func (r *runner) stop(err error) {
	r.cancel()
	c := r.c
	if s := r.s; s != nil {
		s.part(frame.CodeGoingAway)
		r.leave(s)
		r.tellDown(s, s.Conn.Err())
	}
	c.mu.Lock()
	c.stopping = true // Reconnect begins nothing any more
	c.mu.Unlock()
	r.helpers.Wait()
	r.turns.release(c.Poller)
	if next := r.takeRotation(); next != nil {
		if n := <-next; n != nil {
			n.part(frame.CodeGoingAway)
			n.end(conn.ErrClosed)
		}
	}
	c.mu.Lock()
	c.run, c.live, c.queue, c.stopping = nil, nil, nil, false
	c.notify()
	c.mu.Unlock()
	r.tell(Change{State: Stopped, Epoch: r.epoch, Err: err})
}

// partAtEnd has the end of the run part with s, from now until stop is called: for writes
// of the run's own, which could wait for ever for a peer that does not read.
func (s *Session) partAtEnd(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.part(frame.CodeGoingAway) })
}

// read returns the next message, over as many connections as it takes.
func (r *runner) read() (Message, error) {
	if s := r.s; s != nil {
		r.taken(s)
	}
	for {
		s, err := r.session()
		if err != nil {
			return Message{}, err
		}
		if s.due.Load() != nil && !s.drain.closing {
			r.drain(s)
		}
		m, ok, err := s.next()
		switch {
		case ok:
			return r.give(s, m), nil
		case err != nil:
			if err := r.readFailed(s, err); err != nil {
				return Message{}, err
			}
		}
	}
}

// session returns the session that is to be read. There is a new one if none is left.
func (r *runner) session() (*Session, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		if r.s == nil {
			if err := r.connect(); err != nil {
				return nil, err
			}
		}
		if r.s.cause.Load() == nil {
			return r.s, nil
		}
		if err := r.lost(nil); err != nil {
			return nil, err
		}
	}
}

// readFailed deals with an error of reading. It returns the one that ends the run.
func (r *runner) readFailed(s *Session, err error) error {
	switch {
	case s.Conn.Err() != nil:
		return r.lost(err)
	case undecoded(err): // whatever Decode's error wraps
		s.condemn(err)
		s.part(frame.CodeInvalidPayload)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.deadlinePassed()
	default: // misuse: somebody else reads
		return &Error{Op: "read", Epoch: s.Epoch, Number: s.messages, Err: err}
	}
	return nil
}

// taken is told that the handler has returned.
func (r *runner) taken(s *Session) {
	s.handled()
	if s.draining() {
		s.drainHandled()
	}
}

// give makes m the next message for the handler.
func (r *runner) give(s *Session, m conn.Message) Message {
	s.messages++
	r.c.messages.Add(1)
	s.given()
	if s.draining() {
		s.drainGiven()
	}
	return Message{Message: m, Epoch: s.Epoch, Number: s.messages, Session: s}
}

func undecoded(err error) bool {
	var e *DecodeError
	return errors.As(err, &e)
}

// connect dials until there is a session.
func (r *runner) connect() error {
	for {
		delay := max(r.delay, time.Until(r.notBefore))
		if delay > 0 {
			r.tell(Change{State: Waiting, Epoch: r.epoch, Delay: delay, Attempt: r.dials + 1, Err: r.last})
		}
		if err := sleep(r.ctx, delay); err != nil {
			return err
		}
		s, op, err := r.dial()
		if err == nil {
			r.adopt(s)
			return nil
		}
		if err := r.judge(op, err, 0); err != nil {
			return err
		}
	}
}

// judge decides after a failed attempt, or after a session of n messages that was not
// stable: it returns the error that ends the run, or sets the wait before the next
// attempt.
func (r *runner) judge(op string, err error, n uint64) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	decision := r.c.decide(err)
	r.failures++
	if limit := r.c.Backoff.MaxAttempts; !decision.Retry || limit > 0 && r.failures >= limit {
		e := &Error{Op: op, Epoch: r.epoch, Number: n, Attempts: r.failures, Err: err}
		if decision.Retry {
			e.Limit = limit
		}
		return e
	}
	r.delay = max(r.c.Backoff.Delay(r.failures-1), decision.After)
	return nil
}

// adopt begins to deliver from s.
func (r *runner) adopt(s *Session) {
	r.s = s
	r.last, r.delay, r.gapBegan = nil, 0, time.Time{}
	if l := r.c.LifeSign; r.c.dataTimeout() > 0 || l != nil && l.Timeout > 0 {
		s.clocks.on.Store(true)
	}
	r.c.setCurrent(s)
	r.setLive(s)
	r.tell(Change{State: Up, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL})
	r.helpers.Go(func() { r.keep(s) })
}

// leave is the end of the session for those who use it.
func (r *runner) leave(s *Session) {
	if s.poller != nil {
		// Before Send waits for a successor: a handler that calls it could keep the
		// Poller from letting go.
		<-s.poller.Remove(s.Conn)
	}
	r.s = nil
	r.c.unsetLive(s)
	if s.flushed != nil {
		<-s.flushed // what did not go out is queued again
	}
	s.end(conn.ErrClosed)
}

// lost deals with the end of the session: it returns the error that ends the run, or nil
// when there is a new session or is to be one.
func (r *runner) lost(err error) error {
	s, ended := r.s, time.Now() // nothing more of it is delivered
	if cause := s.cause.Load(); cause != nil {
		err = *cause
		s.part(frame.CodeGoingAway) // if it has not ended yet
	}
	r.leave(s)
	r.tellDown(s, err)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	stable := r.c.Backoff.stable(time.Since(s.Began), s.messages)
	if stable {
		r.failures = 0
	}
	if fatal(err) && !r.c.decide(err).Retry { // a successor is left to stop
	} else if next := r.takeRotation(); next != nil {
		select {
		case n := <-next:
			if n != nil {
				if !s.drained() {
					n.GapBegan, n.Last = ended, err
				}
				r.adopt(n)
				return nil
			}
		case <-r.ctx.Done():
			r.setRotation(next) // stop sees to it
			return r.ctx.Err()
		}
	}
	r.gapBegan = ended
	if s.due.Load() != nil && s.cause.Load() == nil {
		r.last, r.delay = nil, 0
		return nil
	}
	r.last = err
	if !stable {
		return r.judge("read", err, s.messages)
	}
	decision := r.c.decide(err)
	if !decision.Retry {
		return &Error{Op: "read", Epoch: s.Epoch, Number: s.messages, Err: err}
	}
	r.delay = max(r.c.Backoff.Floor, decision.After)
	return nil
}

// sleepWhile waits for d; it returns false at once when s or the run ends.
func (r *runner) sleepWhile(s *Session, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.Conn.Done():
	case <-r.ctx.Done():
	}
	return false
}

// tell gives a change to OnChange.
func (r *runner) tell(ch Change) { r.tellIf(nil, ch) }

// tellIf is tell if a condition, where there is one, still holds when it is this change's
// turn. It reports whether it did.
func (r *runner) tellIf(holds func() bool, ch Change) bool {
	r.telling.Lock()
	defer r.telling.Unlock()
	if holds != nil && !holds() {
		return false
	}
	if r.c.OnChange == nil {
		return true
	}
	name := goroutine()
	r.teller.Store(&name)
	defer r.teller.Store(nil)
	r.c.OnChange(ch)
	return true
}

// tellDown tells how a session ended with err. The codes are those of the connection's
// own end.
func (r *runner) tellDown(s *Session, err error) {
	ch := Change{
		State: Down, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL, Err: err,
		By: endedBy(err), Code: frame.CodeAbnormal, SentCode: frame.CodeAbnormal,
		Age: time.Since(s.Began), Messages: s.messages, Stats: s.Conn.Stats(),
	}
	if code := s.sent.Load(); code != 0 {
		ch.SentCode = frame.CloseCode(code)
	}
	var closed *conn.CloseError
	if errors.As(s.Conn.Err(), &closed) {
		ch.Code, ch.SentCode = closed.Code, closed.SentCode
	}
	r.tell(ch)
}
