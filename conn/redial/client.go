package redial

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Client describes a logical connection. Set its fields before Run or Messages, and do
// not change them afterwards. A Client runs once at a time, and can run again after it
// ended.
type Client struct {
	// URL is what to dial. It is not used with URLs.
	URL string
	// URLs are dialed in turn, one for each attempt.
	URLs []string
	// URLFunc, if not nil, returns the URL of each attempt, for listen keys, tokens and
	// nonces. URL and URLs may be empty then. An error is judged like that of a dial.
	// Dialer.HeaderFunc does the same for the header.
	URLFunc func(ctx context.Context, a Attempt) (string, error)
	// Dialer makes the connections; nil means one without options. Its Config has the
	// keepalive clocks. The data clock, Config.DataTimeout, counts only messages that
	// reach the handler, not those that LifeSign takes.
	//
	// Config.ReadTimeout does not end a session, because reading continues after it. If
	// KeepAlive is off, and DataTimeout, LifeSign.Timeout and Session.Watch are not
	// used, the client waits for a silent peer without limit.
	Dialer *conn.Dialer

	// ConnectTimeout limits each attempt, from URLFunc to the return of OnConnect. 0
	// means DefaultConnectTimeout; negative means no limit. A longer attempt fails with
	// a *TimeoutError, and is retried. The rules for the context of OnConnect also hold
	// for URLFunc and the hooks of Dialer.
	ConnectTimeout time.Duration
	// OnConnect runs once for each connection, before any of its messages is delivered.
	// Log in and subscribe here. It may read and write on s, and should return once the
	// server has confirmed (Session.Await). An error closes the connection, and is judged
	// like that of a dial; wrap it with Fatal to end Run. Deadlines that it sets on the
	// connection are reset.
	//
	// It runs in its own goroutine. In a rotation with Overlap the handler continues with
	// the old connection meanwhile, so shared state needs a lock.
	//
	// Its context ends with ConnectTimeout, with the session and with Run. With
	// ConnectTimeout and Run the connection is closed too. OnConnect must return then. If
	// it does not, the client continues without it, and ignores its result. The next
	// attempt waits at most a second for it.
	OnConnect func(ctx context.Context, s *Session) error
	// OnChange is told of every change of state, one call at a time. It must not block.
	// It may call Send at Up. If Send would wait for a connection, it returns
	// ErrInConnect. See LogChanges.
	OnChange func(Change)

	// Poller, if not nil, reads the connections of Run, and its goroutine calls the
	// handler. So any number of Clients share one loop. OnConnect and Messages still read
	// by themselves. The Poller must run while the Client does: nothing is delivered
	// before, and when the Poller ends, Run returns an *Error that matches
	// ErrPollerEnded. The Poller's own Handler and Failed are not called for these
	// connections; do not Remove them.
	//
	// A handler that waits stops all connections of the Poller. The same holds for
	// Decode and LifeSign; LifeSign.Reply may wait for a peer that takes no bytes. The
	// handler must not wait for the end of a Run on the same Poller. While a handler of
	// one Client has a message, the clocks of the others wait. The clocks run on during
	// the handlers of the Poller's other connections. If such a handler takes longer
	// than a clock, live connections can end. If a Client's handler panics, Run panics
	// with an error that has the stack, and the Poller continues.
	Poller *conn.Poller

	// Backoff is the wait between attempts.
	Backoff Backoff
	// Limiter, if not nil, is asked before every dial. Several Clients can share one.
	Limiter *Limiter
	// Policy says which errors are retried; the zero value is Persistent.
	Policy Policy
	// FinalCodes are Close codes that end Run, in addition to those of Policy: the peer's
	// code if its Close came first, or the code sent to a peer that broke the protocol.
	FinalCodes []frame.CloseCode
	// Classify, if not nil, replaces Policy and FinalCodes. It may start from
	// Policy.Classify. A server's Retry-After is obeyed whatever After says. It is not
	// called after Reconnect.
	Classify func(error) Decision
	// MaxRetryAfter limits Decision.After. 0 means DefaultMaxRetryAfter; negative means
	// no limit.
	MaxRetryAfter time.Duration

	// MaxAge is the age at which a connection is replaced, for servers that end
	// connections at a known age. 0 means never. Up to a tenth, at random, is subtracted,
	// so that many clients do not return at once.
	MaxAge time.Duration
	// Rotation says how a connection of MaxAge is replaced.
	Rotation Rotation
	// OverlapWait is for a rotation with Overlap. It limits how long the new session
	// waits for the old connection's remaining messages and its answer to our Close
	// frame. 0 means DefaultOverlapWait. It should exceed the round trip to the server.
	// Without the answer messages may be missing, and Session.GapBegan says so. The
	// handler's time does not count, up to Config.CloseTimeout for each message.
	OverlapWait time.Duration
	// CloseWait is how long this side waits for the answer to its Close frame when it
	// ends a session. 0 means DefaultCloseWait.
	CloseWait time.Duration

	// Decode, if not nil, transforms the data of each message before LifeSign and the
	// handler see it. It appends the result to dst, or returns m.Data. The memory is
	// reused for the next message. An error ends the session with a *DecodeError. Two
	// goroutines may call it at once. See Gunzip.
	Decode func(dst []byte, m conn.Message) ([]byte, error)
	// LifeSign is a keepalive in messages, in addition to the protocol's pings. nil means
	// none.
	LifeSign *LifeSign
	// Outbound, if not nil, is asked before anything except a Close frame is sent, for
	// servers that limit what they receive. It is asked for each message, including
	// those of LifeSign and OnConnect, and for each ping and pong. It may wait, and the
	// message, ping or pong waits with it. During LifeSign.Reply reading waits too.
	//
	// An error refuses. Send returns it for a message. A refused keepalive ping is
	// retried later, and a refused pong is dropped. See conn.Config.Outbound. Several
	// goroutines call it.
	Outbound func(Outbound) error

	// WhenDown says what Send does while there is no connection.
	WhenDown SendPolicy
	// Queue is how many messages may wait with QueueWhenDown.
	Queue int
	// MaxUnread limits the bytes that Session.Unread and Await keep for the handler. Each
	// message counts 64 bytes more than its data. 0 means DefaultMaxUnread.
	MaxUnread int

	mu       sync.Mutex
	run      *runner           // nil while none runs
	stopping bool              // it is about to end
	live     *Session          // messages can be sent on it
	current  *Session          // delivers messages, nil for none
	attempts map[*attempt]bool // whose hooks run
	changed  chan struct{}     // closed when live or run changes
	queue    []queued
	flushing bool     // it is being sent
	unsent   [4]error // what Send has returned last for want of a connection, each once
	counts   Counts

	messages, consumed atomic.Uint64
}

// The defaults of Client.
const (
	DefaultConnectTimeout = 15 * time.Second
	DefaultMaxRetryAfter  = 5 * time.Minute
	DefaultOverlapWait    = 100 * time.Millisecond
	DefaultCloseWait      = 25 * time.Millisecond
	DefaultMaxUnread      = 16 << 20
)

// Attempt describes a dial before it begins.
type Attempt struct {
	// Number counts the dials since the last session, from 1.
	Number int
	// URL is Client.URL, or the next of URLs.
	URL string
	// Epoch is the epoch of the session that this attempt may become.
	Epoch uint64
	// Last is the error that ended the previous session or attempt. It is nil in a
	// rotation.
	Last error
}

// Rotation says how a connection that has reached MaxAge is replaced.
type Rotation uint8

const (
	// Replace closes the old connection and then dials the new one: for servers that
	// allow one.
	Replace Rotation = iota
	// Overlap dials the new connection and runs OnConnect on it while messages of the
	// old one are still delivered. Then it closes the old connection, delivers its
	// remaining messages, and continues with the new one. If the server answers our
	// Close frame on the old one within OverlapWait, nothing is missing. After any other
	// end messages may be missing: Session.GapBegan says so. A server that never answers
	// a Close, or answers with another code, causes this in each rotation.
	//
	// Messages that both connections deliver come twice. The consumer must drop the
	// copies (see Arbiter). If no new connection opens, the old one stays in use. When
	// it ends, the client dials again.
	Overlap
)

// String returns the rotation's name in lower case.
func (r Rotation) String() string { return name("Rotation", uint8(r), "replace", "overlap") }

// MarshalText returns String.
func (r Rotation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// LogValue returns String.
func (r Rotation) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Run dials, and passes messages to handler. It ends when ctx does, when handler returns
// an error of its own, or with an error that is not retried. If handler returns the error
// of a connection that ended while it used Send or Message.Session, Run continues with
// the next message. The message is a view, valid until handler returns.
//
// Run returns the error of ctx, or an *Error. If the Client cannot run it returns
// ErrNoHandler, ErrNoURL, ErrRunning, or an error about a URL or LifeSign.Opcode.
func (c *Client) Run(ctx context.Context, handler func(context.Context, Message) error) (err error) {
	if handler == nil {
		return ErrNoHandler
	}
	r, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { r.stop(err) }()
	if c.Poller != nil {
		return r.runOn(ctx, c.Poller, handler)
	}
	for {
		m, err := r.read()
		if err != nil {
			return err
		}
		if err := handler(ctx, m); err != nil && !c.ownEnd(m.Session, err) {
			return &Error{Op: "handler", Epoch: m.Epoch, Number: m.Number, Err: err}
		}
	}
}

// Messages is Run as an iterator. It yields messages, and as its last pair the error that
// Run would return. Leaving the loop closes the connection. Client.Poller is not used:
// the goroutine of the loop reads.
func (c *Client) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		r, err := c.start(ctx)
		if err != nil {
			yield(Message{}, err)
			return
		}
		defer func() { r.stop(err) }()
		for {
			var m Message
			m, err = r.read()
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Reconnect ends the current session and has the client dial again. Use it if the session
// turns out to be useless. It may be called from any goroutine.
//
// Session.Last and Change report reason as a *ReconnectError. The client dials again
// whatever the reason, unless Fatal wraps it: then Run ends. A handler that calls
// Reconnect gets no further message of this session. If the session was not stable, the
// back-off counts it like a lost one, also towards MaxAttempts.
//
// Without a session it returns ErrDown and does nothing, because an attempt is in
// progress. OnConnect returns an error instead.
func (c *Client) Reconnect(reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.current
	switch {
	case c.run == nil || c.stopping:
		return ErrStopped
	case s == nil:
		return ErrDown
	}
	s.condemn(&ReconnectError{reason})
	c.run.helpers.Go(func() { s.part(frame.CodeGoingAway) }) // the reader may wait for the peer
	return nil
}

// Counts are totals over the life of a Client.
type Counts struct {
	Dials       uint64 // attempts begun
	Connections uint64 // of these, whose OnConnect returned nil; epochs count also those on which it failed
	Rotations   uint64 // connections replaced at MaxAge
	Messages    uint64 // delivered
	Consumed    uint64 // answers and pings that LifeSign took
	Sent        uint64 // by Send and LifeSign
	Refused     uint64 // by Outbound
}

// Counts returns the totals so far.
func (c *Client) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Messages, n.Consumed = c.messages.Load(), c.consumed.Load()
	return n
}

func (c *Client) count(f func(*Counts)) {
	c.mu.Lock()
	f(&c.counts)
	c.mu.Unlock()
}
