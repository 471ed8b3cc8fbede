package redial

import (
	"context"
	"errors"
	"os"
	"runtime/debug"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// errHandlerExit is a handler that called runtime.Goexit in the goroutine of a Poller.
var errHandlerExit = errors.New("the handler ended the goroutine of the Poller")

// runOn is Run with a Poller. The Poller reads the sessions and calls handler. This
// goroutine waits until a session is over, and does what comes between two of them.
func (r *runner) runOn(ctx context.Context, p *conn.Poller, handler func(context.Context, Message) error) error {
	over := p.Done()
	r.helpers.Go(func() {
		select {
		case <-over:
			r.cancel()
		case <-r.ctx.Done():
		}
	})
	for {
		s, err := r.session()
		if err == nil {
			err = r.readOn(ctx, p, s, handler)
		}
		if err == nil {
			continue
		}
		if err == r.ctx.Err() && ctx.Err() == nil {
			e := &Error{Op: "read", Epoch: r.epoch, Err: ErrPollerEnded}
			if r.s != nil {
				e.Number = r.s.messages
			}
			return e
		}
		return err
	}
}

// readOn has p read s until that is over. It returns the error that ends the run.
func (r *runner) readOn(ctx context.Context, p *conn.Poller, s *Session, handler func(context.Context, Message) error) error {
	l := &polled{r: r, s: s, p: p, ctx: ctx, handler: handler, result: make(chan pollEnd, 1)}
	s.poller = p
	if err := p.AddTo(s.Conn, l); err != nil {
		return r.readFailed(s, err)
	}
	var end pollEnd
	select {
	case end = <-l.result:
	case <-r.ctx.Done():
		<-p.Remove(s.Conn) // keep closes the connection: it is let go
		select {
		case end = <-l.result:
		default:
		}
	}
	switch {
	case end.panicked != nil:
		panic(end.panicked)
	case end.final != nil:
		return end.final
	case end.failed != nil:
		return r.readFailed(s, end.failed)
	}
	return nil
}

// polled is a session that a Poller reads. What a session holds for the goroutine that
// reads belongs to that of the Poller, from AddTo until there is a result or Remove is
// done.
type polled struct {
	r       *runner
	s       *Session
	p       *conn.Poller
	ctx     context.Context
	handler func(context.Context, Message) error
	result  chan pollEnd // has a place

	over   bool // there is a result: nothing more is delivered
	inside bool // a call runs that may call something of the user's
}

// polled reports whether a Poller reads s.
func (s *Session) polled() bool { return s != nil && s.poller != nil }

// pollEnd is why the Poller reads a session no more. If all is empty the session's cause
// or the context of the run is why.
type pollEnd struct {
	failed   error      // of reading
	final    error      // ends the run
	panicked *hookPanic // of the handler, Decode or LifeSign
}

// Added delivers what OnConnect has kept.
func (l *polled) Added(*conn.Conn) {
	defer l.left()
	l.r.turns.begin()
	l.inside = true
	for l.goOn(); !l.over && len(l.s.kept) > 0; l.goOn() {
		l.deliver(l.s.nextKept())
	}
	l.inside = false
}

// Message implements conn.PollHandler.
func (l *polled) Message(_ *conn.Conn, m conn.Message) {
	if l.over {
		return
	}
	defer l.left()
	l.r.turns.begin()
	l.inside = true
	ok := true
	if c := l.s.c; c.Decode != nil || c.LifeSign != nil {
		var err error
		if m, ok, err = l.s.take(m); err != nil {
			l.finish(pollEnd{failed: err})
		}
	}
	if ok {
		l.deliver(m)
	}
	l.goOn()
	l.inside = false
}

// Failed implements conn.PollHandler.
func (l *polled) Failed(_ *conn.Conn, err error) {
	switch {
	case l.over:
	case l.s.Conn.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded):
		l.s.deadlinePassed()
		l.goOn()
	default:
		l.finish(pollEnd{failed: err})
	}
}

// deliver gives a message to the handler.
func (l *polled) deliver(m conn.Message) {
	given := l.r.give(l.s, m)
	if err := l.handler(l.ctx, given); err != nil && !l.r.c.ownEnd(l.s, err) {
		l.finish(pollEnd{final: &Error{Op: "handler", Epoch: given.Epoch, Number: given.Number, Err: err}})
		return
	}
	l.r.taken(l.s)
}

// goOn is what comes before each read.
func (l *polled) goOn() {
	s := l.s
	switch {
	case l.over:
	case l.r.ctx.Err() != nil || s.cause.Load() != nil:
		l.finish(pollEnd{})
	case s.due.Load() != nil && !s.drain.closing:
		l.r.drain(s)
	}
}

// left is the end of a call: a panic is that of the goroutine of Run, and leaves the
// Poller to the others.
func (l *polled) left() {
	l.r.turns.end()
	if !l.inside {
		return
	}
	l.inside = false
	if v := recover(); v != nil {
		l.finish(pollEnd{panicked: &hookPanic{v, debug.Stack()}})
		return
	}
	l.finish(pollEnd{final: &Error{Op: "handler", Epoch: l.s.Epoch, Number: l.s.messages, Err: errHandlerExit}})
}

// finish hands the session to the goroutine of Run.
func (l *polled) finish(end pollEnd) {
	if l.over {
		return
	}
	l.over = true
	l.p.Remove(l.s.Conn)
	l.result <- end
}
