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

// Client is the description of a logical connection. Set its fields before Run or Messages and leave them alone from then on. A
// Client runs once at a time; it can run again after it ended.
type Client struct {
	// URL is what to dial. With URLs the attempts go through them in turn, and URL is not used.
	URL  string
	URLs []string
	// URLFunc, if not nil, makes the URL of each attempt, for listen keys, tokens and nonces. URL and URLs may be empty then. Its
	// error is judged like that of a dial. Dialer.HeaderFunc does the same for the header.
	URLFunc func(ctx context.Context, a Attempt) (string, error)
	// Dialer makes the connections; nil means one with no options. Its Config holds the
	// keepalive clocks. Of these the data clock, Config.DataTimeout, counts only messages
	// that reach the handler here, not those that LifeSign takes. Config.ReadTimeout ends
	// nothing here, since reading goes on after it: with KeepAlive turned off and no
	// DataTimeout, LifeSign.Timeout or Session.Watch, a peer that falls silent is waited
	// for without end.
	Dialer *conn.Dialer

	// ConnectTimeout bounds each attempt, from URLFunc to the return of OnConnect; 0 means DefaultConnectTimeout, negative none. An
	// attempt that takes longer fails with a *TimeoutError, and is retried. What is said of OnConnect and the end of its context holds
	// for URLFunc and for the hooks of Dialer as well.
	ConnectTimeout time.Duration
	// OnConnect runs once for each connection, before any of its messages is delivered: log in, subscribe. It may read and write on
	// s, and should return when the server has confirmed (Session.Await). An error closes the connection and is judged like that
	// of a dial: wrap it with Fatal to end Run. A read or write deadline that it sets on the connection is undone.
	//
	// It runs in a goroutine of its own. In a rotation with Overlap the handler goes on with the old connection meanwhile: what both
	// of them use needs a lock.
	//
	// Its context ends with ConnectTimeout, with the session and with Run; with ConnectTimeout and Run the connection is closed as
	// well. It must return then. Of one that does not, the client goes on without: what it returns later is not looked at. The next
	// attempt waits a second for it at most.
	OnConnect func(ctx context.Context, s *Session) error
	// OnChange hears what becomes of the connection, one call at a time. It must not block. Send by it works at Up; where Send would
	// have to wait for a connection it returns ErrInConnect. See LogChanges.
	OnChange func(Change)

	// Poller, if not nil, reads the connections of Run, and its goroutine calls the handler:
	// any number of Clients share one loop. OnConnect reads by itself, and so does Messages.
	// The Poller must run while the Client does: until it does nothing is delivered, and
	// when it ends Run does, with an *Error that matches ErrPollerEnded. Its Handler and
	// Failed are not called for these connections, and Remove is not for them.
	//
	// A handler that waits holds up all connections of the Poller, and so do Decode and
	// LifeSign, of which Reply can wait for a peer that takes no bytes. It must not wait
	// for the end of a Run that has the same Poller. If it panics, Run does: the value is
	// an error that tells the stack, and wraps what was an error. The Poller goes on.
	Poller *conn.Poller

	Backoff Backoff
	// Limiter, if not nil, is asked before every dial. Several Clients can share one.
	Limiter *Limiter
	// Policy says which errors are retried; the zero value is Persistent.
	Policy Policy
	// FinalCodes are Close codes that end Run, beside those of Policy: the peer's where its Close came first, and those that were sent
	// to a peer that broke the protocol.
	FinalCodes []frame.CloseCode
	// Classify, if not nil, decides in the place of Policy and FinalCodes. It can begin from Policy.Classify. A server's
	// Retry-After is obeyed whatever it says of After. It is not asked after Reconnect.
	Classify func(error) Decision
	// MaxRetryAfter bounds Decision.After; 0 means DefaultMaxRetryAfter, negative no bound.
	MaxRetryAfter time.Duration

	// MaxAge is how old a connection may get before it is replaced, for servers that end it at a known age; 0 means any age. A
	// random part of up to a tenth is taken off, so that many clients do not come at once.
	MaxAge time.Duration
	// Rotation says how it is replaced.
	Rotation Rotation
	// OverlapWait is how long, in a rotation with Overlap, the new epoch may have to wait
	// for what the old connection still brings and for its answer to our Close; 0 means
	// DefaultOverlapWait. It should be longer than the round trip to the server: without
	// the answer something may be missing, and Session.GapBegan says so. Time that the
	// handler takes does not count: what has come is delivered, while the handler takes
	// no longer than Config.CloseTimeout for a message.
	OverlapWait time.Duration
	// CloseWait is how long the end of a session by this side waits for the answer to our Close frame; 0 means DefaultCloseWait.
	CloseWait time.Duration

	// Decode, if not nil, turns the data of each message into what LifeSign and the handler get: it appends that to dst, or returns
	// m.Data. The memory is used again for the next message. An error ends the session with a *DecodeError. It may be called from
	// two goroutines at once. See Gunzip.
	Decode func(dst []byte, m conn.Message) ([]byte, error)
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
	// MaxUnread is how many bytes Session.Unread and Await keep for the handler, each message counted with 64 more; 0 means
	// DefaultMaxUnread.
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

// Attempt is what is known before a dial.
type Attempt struct {
	// Number counts the dials since the last session, from 1.
	Number int
	// URL is Client.URL, or that of URLs whose turn it is.
	URL string
	// Epoch is that of the session which this may become.
	Epoch uint64
	// Last is the error that ended the session before it, or the attempt before it; nil in a rotation.
	Last error
}

// Rotation is the way in which a connection that has reached MaxAge is replaced.
type Rotation uint8

const (
	// Replace closes the old connection and then dials the new one: for servers that allow one.
	Replace Rotation = iota
	// Overlap dials the new connection and runs OnConnect on it while messages of the old
	// one are still delivered. It then closes the old one, delivers what that still
	// brings, and goes on with the new. If the old one answers our Close within
	// OverlapWait nothing is missing. If it does not, or ends in any other way, something
	// may be: Session.GapBegan says so. Of a server that answers no Close, or with
	// another code, that is so in each rotation.
	//
	// What both connections delivered comes twice, and is the consumer's to drop (see
	// Arbiter). If the new connection cannot be had, the old one lives on, and when it
	// ends the client dials again.
	Overlap
)

// String returns the rotation's name in lower case.
func (r Rotation) String() string { return name("Rotation", uint8(r), "replace", "overlap") }

// MarshalText returns String.
func (r Rotation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// LogValue returns String.
func (r Rotation) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Run dials and delivers messages to handler until ctx ends, handler returns an error of
// its own, or an error comes that is not to be retried. The end of a connection that
// handler has met in Send or on Message.Session is none: Run goes on with the next
// message. The message is a view, valid until handler returns. Run returns the error of
// ctx, or an *Error; of a Client that cannot run ErrNoHandler, ErrNoURL, ErrRunning, or
// what is wrong with a URL or with LifeSign.Opcode.
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

// Messages is Run as an iterator: it yields messages, and as its last pair the error that Run would return. Leaving the loop closes
// the connection. Client.Poller is not used: the goroutine of the loop reads.
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

// Reconnect ends the session whose messages are delivered, from any goroutine, and has
// the client dial again: for a consumer that finds out that the session is of no use.
// reason is told as *ReconnectError in Session.Last and Change. Whatever it is, the
// client dials again, unless it was wrapped with Fatal: that ends Run. A handler that
// calls Reconnect gets no other message of this session. If the session was not stable
// the back-off counts it like one that was lost, also towards MaxAttempts.
//
// Without a session it returns ErrDown, and does nothing: an attempt is under way. OnConnect returns an error instead.
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
