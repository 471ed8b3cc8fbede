// Package redial is one logical client over many connections: it dials, logs in and subscribes by a hook, delivers messages, and
// when a connection ends does it again, with a back-off that does not hammer and errors that are not swallowed.
//
// What one connection delivers is an epoch. Every message carries the number of its epoch, and none of an old epoch comes after the
// first of a new one. A new epoch is a new session on the server: whatever was subscribed or logged in is gone, and messages may
// have been missed; OnConnect is where to see to that, and it is told how long the gap was and why there was one.
//
// One goroutine reads, that of Run or Messages; at most one dial is under way at any time, and at most one connection is open but
// during a rotation with Overlap.
package redial

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// Client is the description of a logical connection. Set its fields before Run or Messages and leave them alone from then on. A
// Client runs once at a time; it can run again after it ended.
type Client struct {
	// URL is what to dial. With URLs the attempts go through them in turn, and URL is not used.
	URL  string
	URLs []string
	// Dialer makes the connections; nil means one with no options. Its Config holds the keepalive clocks.
	Dialer *conn.Dialer

	// OnConnect runs once for each connection, before any of its messages is delivered: log in, subscribe. It may read and write
	// on s.Conn. It should return when the server has confirmed: with Overlap the old connection is closed then. An error closes the connection and is judged like that of a dial: wrap it with Fatal to end Run. Its
	// context ends when Run's does.
	OnConnect func(ctx context.Context, s *Session) error
	// OnChange hears what becomes of the connection, one call at a time. It must not block.
	OnChange func(Change)

	Backoff Backoff
	// Limiter, if not nil, is asked before every dial. Several Clients can share one.
	Limiter *Limiter
	// Classify decides what follows from the error that ended an attempt or a connection; nil means the function Classify.
	Classify func(error) Decision

	// MaxAge is how old a connection may get before it is replaced, for servers that end it at a known age; 0 means any age. A
	// random part of up to a tenth is taken off, so that many clients do not come at once.
	MaxAge time.Duration
	// Rotation says how it is replaced.
	Rotation Rotation

	// LifeSign is what the server expects or sends as a sign of life besides the pings of the protocol; nil means none.
	LifeSign *LifeSign
	// Outbound, if not nil, is asked before anything is sent but a Close frame, for servers that limit or ban by what they receive:
	// each message, those of LifeSign and those that OnConnect writes included, each ping and each pong. It may wait: the
	// message does then, or the ping or pong, and with LifeSign.Reply the reading. An error keeps it from being sent, and
	// comes back from Send; a ping of the keepalive is asked about again later, a pong is left out. See conn.Config.Outbound, by
	// which this is done. It is called from several goroutines.
	Outbound func(Outbound) error

	// WhenDown says what Send does without a connection.
	WhenDown SendPolicy
	// Queue is how many messages wait with QueueWhenDown.
	Queue int

	mu      sync.Mutex
	running bool
	live    *Session      // messages can be sent on it
	changed chan struct{} // closed when live or running changes
	queue   []queued
	counts  Counts

	messages, consumed atomic.Uint64
}

// Rotation is the way in which a connection that has reached MaxAge is replaced.
type Rotation uint8

const (
	// Replace closes the old connection and then dials the new one: for servers that allow one.
	Replace Rotation = iota
	// Overlap dials the new connection and runs OnConnect on it while messages of the old one are still delivered, then closes
	// the old one, delivers what it still brings, and goes on with the new. Nothing is missed in between; what both
	// connections delivered comes twice, and is the consumer's to drop (see Arbiter).
	Overlap
)

// Message is a message and where it comes from.
type Message struct {
	conn.Message // a view, valid until the handler returns or the next message is asked for
	Epoch        uint64
	Number       uint64 // of the message within its epoch, from 1
}

// Session is one connection of a Client.
type Session struct {
	// Conn is the connection. Its reading side is the Client's once OnConnect has returned.
	Conn *conn.Conn
	// Epoch counts the connections on which OnConnect ran, from 1.
	Epoch uint64
	// URL is what was dialed.
	URL string
	// Attempt counts the dials since the last session, from 1.
	Attempt int
	// Began is when the connection was made.
	Began time.Time
	// GapBegan is when the session before it ended, zero for the first one. In a rotation with Overlap there is no gap: it is
	// zero as well.
	GapBegan time.Time
	// Last is the error that ended the session before it, or the attempt before it; nil in a rotation.
	Last error

	messages uint64      // delivered; by the reading goroutine
	answered atomic.Bool // since the sign of life was sent from which keep counts
	silent   atomic.Bool // it was closed because no answer came
	due      bool        // it reached MaxAge and is being closed for that; under Client.mu
	lost     bool        // the reading goroutine has seen its end; under Client.mu
}

// Error is why a Client ended. It wraps the error of the handler, of OnConnect, of the dial or of the connection.
type Error struct {
	// Op is "dial", "connect hook", "read" or "handler".
	Op string
	// Epoch is the session's, 0 if there was none yet. Number is that of the last message delivered in it.
	Epoch, Number uint64
	// Attempts is how many attempts had failed in a row.
	Attempts int
	// Limit is Backoff.MaxAttempts if only that kept the Client from another attempt, and 0 otherwise.
	Limit int
	Err   error
}

var (
	// ErrRunning is a second Run of a Client.
	ErrRunning = errors.New("redial: the client is running already")
	// ErrStopped is Send on a Client that does not run.
	ErrStopped = errors.New("redial: the client is not running")
	// ErrDown is Send without a connection, with FailWhenDown.
	ErrDown = errors.New("redial: no connection")
	// ErrQueueFull is Send without a connection and with Queue messages waiting. It comes within an error that tells Queue.
	ErrQueueFull = errors.New("redial: no connection, and the queue is full")
	// ErrSilent is what ended a connection on which no answer to a LifeSign came.
	ErrSilent = errors.New("redial: no answer to a sign of life")
	// ErrNoURL is a Client without a URL.
	ErrNoURL = errors.New("redial: no URL")
	// ErrNoHandler is Run without a handler.
	ErrNoHandler = errors.New("redial: no handler")
)

// Run dials and delivers messages to handler until ctx ends, handler returns an error, or an error comes that Classify does not
// retry. The message is a view, valid until handler returns. Run returns the error of ctx, or an *Error; of a Client that cannot
// run, ErrNoURL, ErrNoHandler, ErrRunning or what is wrong with LifeSign.Send.
func (c *Client) Run(ctx context.Context, handler func(context.Context, Message) error) error {
	if handler == nil {
		return ErrNoHandler
	}
	r, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	for {
		m, err := r.read()
		if err != nil {
			return err
		}
		if err := handler(ctx, m); err != nil {
			return &Error{Op: "handler", Epoch: m.Epoch, Number: m.Number, Err: err}
		}
	}
}

// Messages is Run as an iterator: it yields messages, and as its last pair the error that Run would return. Leaving the loop closes
// the connection.
func (c *Client) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		r, err := c.start(ctx)
		if err != nil {
			yield(Message{}, err)
			return
		}
		defer r.stop()
		for {
			m, err := r.read()
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}
