package relay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// The values of Client.Start.
const (
	FromNow    = string(startNow)
	FromOldest = string(startOldest)
)

// DefaultSaveEvery is the default of Client.SaveEvery.
const DefaultSaveEvery = time.Second

// Client receives a stream from gateways. After a lost connection it continues with the
// message after the last one it has, at whichever gateway answers.
//
// Each message comes once, in order, within an incarnation of the stream. The Client
// checks that: it drops what it has had already, and leaves a gateway that skips
// something. Counts has both. Messages that nobody has any more are told as a Gap.
//
// Set the fields before Run or Messages, and do not change them afterwards. A Client runs
// once at a time. It can run again after it ended, and then continues.
type Client struct {
	// Redial dials the gateways: set its URL or URLs, and what else is needed, such as
	// Dialer and Backoff. It belongs to the Client, which sets OnConnect, Dialer,
	// FinalCodes and Classify in it at the first Run, so that these hold:
	//
	//   - the Dialer offers Subprotocol before its own Subprotocols;
	//   - OnConnect of the caller runs before the hello, for at most 5 seconds;
	//   - refusals that no attempt can mend are final: see RefusedError.
	Redial *redial.Client
	// Stream is the name of the stream.
	Stream string
	// Start says where to begin without a position: FromNow, the default, or FromOldest.
	Start string
	// After is the position of the last message that the caller has. The zero Position
	// means Start.
	After Position
	// Strict ends Run with ErrExpired if messages are missing because the stream no
	// longer has them. Otherwise a Gap with Reason Expired says so, and the oldest
	// message follows.
	Strict bool

	// Load, if not nil, returns the position to continue after, from an earlier process.
	// It is called once, by the first Run. The zero Position means After. Its error ends
	// Run. After ErrIncarnation or ErrExpired a kept position is of no more use: the
	// program drops it, and chooses where to begin.
	Load func() (Position, error)
	// Save, if not nil, keeps the position of the last message that was handled. It is
	// called every SaveEvery if there is a new one, after every SaveCount messages, and
	// when Run ends; one call at a time. Its error ends Run.
	//
	// After a crash the messages since the last Save come again. A program that cannot
	// take that keeps Message.Position together with its own data.
	Save func(Position) error
	// SaveEvery is the time between calls of Save. 0 means DefaultSaveEvery; negative
	// means never.
	SaveEvery time.Duration
	// SaveCount is the number of messages between calls of Save. With 1 no message is
	// passed to the handler before the position of the one before it is saved. 0 means
	// that only time counts.
	SaveCount int

	equipped *redial.Client // whose fields are set; by the goroutine of Run
	connect  func(context.Context, *redial.Session) error

	// By the goroutine that reads.
	epoch    uint64
	chain    place // the last record of the epoch
	unsaved  int   // messages since Save
	handling place // of the message that the handler has, until it is known to be handled

	mu       sync.Mutex
	running  bool
	loaded   bool
	at       place            // the last message that was handled; zero before there is one
	welcomes map[uint64]place // where epochs begin

	saving sync.Mutex
	saved  Position

	counts clientCounts
}

// Message is a record of the stream: a message, or a gap. Record.Epoch is 0, and From and
// To are only those of a gap: gateways do not send them. Data is a view, valid until the
// handler returns or the next message is asked for.
type Message struct {
	Record
	// Position is where the record is. Client.After continues after it. It has the
	// record's own index, where Client.Position and Save have EndOfBatch for the last one
	// of a batch.
	Position Position
	// First is, in a Gap with Reason Expired, the sequence of the first batch that is
	// gone. Perhaps only its records after the last message are gone.
	First uint64
	// Last is the sequence of the last batch that is gone.
	Last uint64
	// Session is the connection to the gateway.
	Session *redial.Session
}

// Run receives the stream and passes it to handler. It ends when ctx does, when handler
// returns an error, or with an error that is not retried. The last message counts as
// handled if handler returned nil: otherwise the next Run begins with it.
//
// Run returns what redial.Client.Run returns: the error of ctx, or a *redial.Error that
// wraps the handler's error, or a *RefusedError. An error of Load or Save is returned as
// it is, within one that says so.
func (c *Client) Run(ctx context.Context, handler func(context.Context, Message) error) error {
	if handler == nil {
		return redial.ErrNoHandler
	}
	return c.run(ctx, func(ctx context.Context) error {
		return c.Redial.Run(ctx, func(ctx context.Context, m redial.Message) error {
			return c.take(m, func(m Message) error { return handler(ctx, m) })
		})
	})
}

// errLeft is the end of a loop over Messages.
var errLeft = errors.New("relay: the loop was left")

// Messages is Run as an iterator. It yields messages, and as its last pair the error that
// Run would return. Leaving the loop closes the connection.
//
// A message counts as handled when the next one is asked for. The one at which the loop
// is left comes again in the next run. End ctx instead to stop after a message that was
// handled. Redial.Poller is not used.
func (c *Client) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		handler := func(m Message) error {
			if !yield(m, nil) {
				return errLeft
			}
			return nil
		}
		err := c.run(ctx, func(ctx context.Context) error {
			for m, err := range c.Redial.Messages(ctx) {
				if err != nil {
					return err
				}
				if err := c.take(m, handler); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errLeft) {
			yield(Message{}, err)
		}
	}
}

// Position returns the position of the last message that was handled, with EndOfBatch as
// its index if it is the last one of its batch. Before the first one it is where the
// stream began for this Client, or the zero Position.
func (c *Client) Position() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at.told()
}

// ClientCounts are totals over the life of a Client.
type ClientCounts struct {
	Messages   uint64 // handled, gaps included
	Gaps       uint64 // of these, gaps
	Expired    uint64 // of these, with Reason Expired
	Duplicates uint64 // dropped: the Client had them already
	Jumps      uint64 // sessions ended because something was skipped
	Malformed  uint64 // sessions ended because of a message that is none of the subprotocol
	Resumed    uint64 // sessions that continued without a gap
	Refused    uint64 // errors from a gateway
	Byes       uint64 // gateways that said they are going away
	Saves      uint64 // calls of Save that succeeded
}

type clientCounts struct {
	messages, gaps, expired, duplicates, jumps, malformed, resumed, refused, byes, saves atomic.Uint64
}

// Counts returns the totals so far.
func (c *Client) Counts() ClientCounts {
	n := &c.counts
	return ClientCounts{
		Messages: n.messages.Load(), Gaps: n.gaps.Load(), Expired: n.expired.Load(),
		Duplicates: n.duplicates.Load(), Jumps: n.jumps.Load(), Malformed: n.malformed.Load(),
		Resumed: n.resumed.Load(), Refused: n.refused.Load(), Byes: n.byes.Load(), Saves: n.saves.Load(),
	}
}

// run is Run, where loop passes the messages of Redial to take.
func (c *Client) run(ctx context.Context, loop func(context.Context) error) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	if err := c.load(); err != nil {
		return err
	}
	c.equip()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var saver sync.WaitGroup
	if c.Save != nil && c.SaveEvery >= 0 {
		saver.Go(func() { c.saveRegularly(ctx, cancel) })
	}
	err := asRefused(loop(ctx))
	if failed := (*saveError)(nil); errors.As(context.Cause(ctx), &failed) {
		err = failed
	}
	cancel(nil)
	saver.Wait()
	var failed *saveError
	if last := c.save(); last != nil && !errors.As(err, &failed) {
		err = errors.Join(err, last)
	}
	return err
}

// begin checks the fields, and that no other Run runs.
func (c *Client) begin() error {
	switch {
	case c.Redial == nil:
		return redial.ErrNoURL
	case c.Stream == "":
		return errors.New("relay: the Client has no Stream")
	case c.Start != "" && c.Start != FromNow && c.Start != FromOldest:
		return fmt.Errorf("relay: Start is %q, neither FromNow nor FromOldest", c.Start)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return redial.ErrRunning
	}
	c.running = true
	c.epoch, c.chain, c.handling, c.welcomes = 0, place{}, place{}, map[uint64]place{}
	return nil
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
}

// load sets the position to begin with.
func (c *Client) load() error {
	if c.loaded {
		return nil
	}
	p := Position{}
	if c.Load != nil {
		var err error
		if p, err = c.Load(); err != nil {
			return fmt.Errorf("relay: load the position: %w", err)
		}
	}
	c.saved = p
	if p.IsZero() {
		p = c.After
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded = true
	if !p.IsZero() {
		c.at = placeAfter(p)
	}
	return nil
}
