package redial

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// parting is how long the end of Run waits for the peer's answer to our Close.
const parting = 25 * time.Millisecond

// runner is one run of a Client. Its goroutine is that of Run or Messages. While a rotation is under way another one dials in
// its stead, so there is never more than one dial.
type runner struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	urls   []string
	sign   *conn.Prepared // LifeSign.Send, nil if none is to be sent

	s     *Session // delivers messages; nil without a connection
	reply []byte   // memory for LifeSign.Reply

	// By whoever dials.
	dials    int // since the last session
	allDials int
	epoch    uint64
	gapBegan time.Time
	last     error

	failures int           // attempts and unstable sessions in a row
	delay    time.Duration // before the next attempt

	helpers  sync.WaitGroup
	rotation chan rotated // of the rotation under way, nil if there is none; under Client.mu
	telling  sync.Mutex   // one OnChange at a time
}

func (c *Client) start(ctx context.Context) (*runner, error) {
	urls := c.URLs
	if len(urls) == 0 {
		urls = []string{c.URL}
	}
	if urls[0] == "" {
		return nil, ErrNoURL
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var sign *conn.Prepared
	if l := c.LifeSign; l != nil && l.Send != nil && l.Every > 0 {
		var err error
		if sign, err = conn.Prepare(l.opcode(), l.Send); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return nil, ErrRunning
	}
	c.running = true
	c.notify()
	r := &runner{c: c, urls: urls, sign: sign}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r, nil
}

// stop ends what the run began: connections, goroutines, those who wait in Send.
func (r *runner) stop() {
	r.cancel()
	c := r.c
	if r.s != nil {
		r.part(r.s)
		r.tellDown(r.s, conn.ErrClosed)
	}
	r.helpers.Wait()
	if next := r.takeRotation(); next != nil {
		if n := <-next; n.s != nil {
			r.part(n.s)
		}
	}
	c.mu.Lock()
	c.running, c.live, c.queue = false, nil, nil
	c.notify()
	c.mu.Unlock()
	r.tell(Change{State: Stopped, Err: r.last})
}

// part says goodbye and closes at once.
func (r *runner) part(s *Session) {
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	_ = s.Conn.Shutdown(ctx, frame.CodeGoingAway, "")
	_ = s.Conn.Close()
}

// partAtEnd has the end of the run part with s, from now until stop is called: for writes of the run's own, which could wait for ever
// for a peer that does not read.
func (r *runner) partAtEnd(s *Session) (stop func() bool) {
	return context.AfterFunc(r.ctx, func() { r.part(s) })
}

// setLive is Client.setLive for a session of this run.
func (r *runner) setLive(s *Session) {
	stop := r.partAtEnd(s)
	defer stop()
	r.c.setLive(s)
}

// read returns the next message, over as many connections as it takes.
func (r *runner) read() (Message, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return Message{}, err
		}
		if r.s == nil {
			if err := r.connect(); err != nil {
				return Message{}, err
			}
		}
		s := r.s
		m, err := s.Conn.ReadMessage()
		switch {
		case err == nil:
			if r.c.LifeSign != nil && r.consume(m.Data) {
				continue
			}
			s.messages++
			r.c.messages.Add(1)
			return Message{Message: m, Epoch: s.Epoch, Number: s.messages}, nil
		case s.Conn.Err() != nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue // a passed deadline does not end the connection, but keep sets one when the run ends
		default: // misuse: somebody else reads
			return Message{}, &Error{Op: "read", Epoch: s.Epoch, Number: s.messages, Err: err}
		}
		if err := r.lost(err); err != nil {
			return Message{}, err
		}
	}
}

// connect dials until there is a session.
func (r *runner) connect() error {
	for {
		if r.delay > 0 {
			r.tell(Change{State: Waiting, Delay: r.delay, Attempt: r.dials + 1, Err: r.last})
		}
		if err := sleep(r.ctx, r.delay); err != nil {
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

// dial makes one attempt, OnConnect included. op names the step that failed.
func (r *runner) dial() (s *Session, op string, err error) {
	c := r.c
	if err := c.Limiter.Wait(r.ctx); err != nil {
		return nil, "dial", err
	}
	url := r.urls[r.allDials%len(r.urls)]
	r.allDials++
	r.dials++
	c.count(func(n *Counts) { n.Dials++ })
	r.tell(Change{State: Dialing, Attempt: r.dials, URL: url})
	dialer := c.Dialer
	if dialer == nil {
		dialer = new(conn.Dialer)
	}
	nc, err := r.guarded(dialer).Dial(r.ctx, url)
	if err != nil {
		r.fail(url, err)
		return nil, "dial", err
	}
	r.epoch++
	s = &Session{Conn: nc, Epoch: r.epoch, URL: url, Attempt: r.dials, Began: time.Now(), GapBegan: r.gapBegan, Last: r.last}
	if err := r.greet(s); err != nil {
		r.part(s)
		r.fail(url, err)
		return nil, "connect hook", err
	}
	r.dials = 0
	c.count(func(n *Counts) { n.Connections++ })
	return s, "", nil
}

// greet runs OnConnect; the end of the run ends the connection under it.
func (r *runner) greet(s *Session) error {
	if r.c.OnConnect == nil {
		return nil
	}
	stop := context.AfterFunc(r.ctx, func() { _ = s.Conn.Close() })
	defer stop()
	if err := r.c.OnConnect(r.ctx, s); err != nil {
		return err
	}
	// A deadline for the log-in must not end up as one for the feed.
	_ = s.Conn.SetDeadline(time.Time{})
	return r.ctx.Err()
}

func (r *runner) fail(url string, err error) {
	r.last = err
	r.tell(Change{State: Failed, Attempt: r.dials, URL: url, Err: err})
}

// judge decides after a failed attempt, or after a session of n messages that was not stable: it returns the error that ends the
// run, or sets the wait before the next attempt.
func (r *runner) judge(op string, err error, n uint64) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	decision := r.decide(err)
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

func (r *runner) decide(err error) Decision {
	if r.c.Classify != nil {
		return r.c.Classify(err)
	}
	return Classify(err)
}

// adopt begins to deliver from s.
func (r *runner) adopt(s *Session) {
	r.s = s
	r.last, r.delay, r.gapBegan = nil, 0, time.Time{}
	r.tell(Change{State: Up, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL})
	r.setLive(s)
	r.helpers.Go(func() { r.keep(s) })
}

// lost deals with the end of the session: it returns the error that ends the run, or nil when there is a new session or is to be
// one.
func (r *runner) lost(err error) error {
	s := r.s
	r.s = nil
	if s.silent.Load() {
		err = ErrSilent
	}
	r.c.unsetLive(s)
	r.tellDown(s, err)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if next := r.takeRotation(); next != nil {
		select {
		case n := <-next:
			if n.s != nil {
				r.failures = 0
				r.adopt(n.s)
				return nil
			}
		case <-r.ctx.Done():
			r.setRotation(next) // stop sees to it
			return r.ctx.Err()
		}
	}
	r.gapBegan = time.Now()
	if r.isDue(s) {
		r.last, r.delay = nil, 0
		return nil
	}
	r.last = err
	if !r.c.Backoff.stable(time.Since(s.Began), s.messages) {
		return r.judge("read", err, s.messages)
	}
	r.failures = 0
	decision := r.decide(err)
	if !decision.Retry {
		return &Error{Op: "read", Epoch: s.Epoch, Number: s.messages, Err: err}
	}
	r.delay = max(r.c.Backoff.Floor, decision.After)
	return nil
}

// consume takes out what LifeSign knows.
func (r *runner) consume(data []byte) bool {
	l, s := r.c.LifeSign, r.s
	if l.IsAnswer == nil {
		if l.Timeout > 0 {
			s.answered.Store(true)
		}
	} else if l.IsAnswer(data) {
		s.answered.Store(true)
		r.c.consumed.Add(1)
		return true
	}
	if l.Reply == nil {
		return false
	}
	reply, ok := l.Reply(r.reply[:0], data)
	if !ok {
		return false
	}
	r.reply = reply
	r.c.consumed.Add(1)
	stop := r.partAtEnd(s)
	_ = r.c.sendOn(s, l.opcode(), reply) // a lost connection shows at the next read
	stop()
	return true
}

// keep looks after s until it ends: signs of life, and its age.
func (r *runner) keep(s *Session) {
	var age, sign, silence <-chan time.Time
	if limit := r.c.MaxAge; limit > 0 {
		t := time.NewTimer(limit - rand.N(limit/10+1))
		defer t.Stop()
		age = t.C
	}
	l := r.c.LifeSign
	if r.sign != nil {
		t := time.NewTicker(l.Every)
		defer t.Stop()
		sign = t.C
	}
	// The reader comes back and sees that the run has ended.
	wake := func() { _ = s.Conn.SetReadDeadline(time.Unix(1, 0)) }
	stop := context.AfterFunc(r.ctx, wake) // also while a sign is being written
	defer stop()
	for {
		select {
		case <-r.ctx.Done():
			wake() // stop may come before the other
			return
		case <-s.Conn.Done():
			return
		case <-age:
			r.helpers.Go(func() { r.rotate(s) })
		case <-sign:
			if silence == nil || s.answered.Load() { // otherwise the time runs on from the sign that has no answer yet
				silence = nil
				s.answered.Store(false)
			}
			if r.c.sendSign(s, r.sign) == nil && l.Timeout > 0 && silence == nil {
				silence = time.After(l.Timeout)
			}
		case <-silence:
			silence = nil
			if !s.answered.Load() {
				s.silent.Store(true)
				_ = s.Conn.Close()
			}
		}
	}
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
func (r *runner) tell(ch Change) {
	if r.c.OnChange == nil {
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	r.c.OnChange(ch)
}

func (r *runner) tellDown(s *Session, err error) {
	code := frame.CodeAbnormal
	var closed *conn.CloseError
	if errors.As(err, &closed) {
		code = closed.Code
	}
	r.tell(Change{
		State: Down, Epoch: s.Epoch, Attempt: s.Attempt, URL: s.URL, Err: err,
		By: endedBy(err), Code: code, Age: time.Since(s.Began), Messages: s.messages, Stats: s.Conn.Stats(),
	})
}
