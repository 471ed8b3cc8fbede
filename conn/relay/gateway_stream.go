package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// stream is one of Gateway.Streams. It has a feed as long as it has an incarnation.
type stream struct {
	g    *Gateway
	name string
	counters

	mu       sync.Mutex
	feed     *feed
	changed  chan struct{} // closed when feed is set
	err      error         // of the newest question to the engine, or nil
	answered time.Time     // when the engine told something of the stream
	last     uint64        // the last sequence that it told
}

// counters are those of a stream over all its incarnations.
type counters struct {
	messages, bytes  atomic.Uint64 // to clients, live and replayed
	replayed         atomic.Uint64 // of messages
	batches, records atomic.Uint64 // fanned out
	filled, gone     atomic.Uint64 // batches: read because the engine did not republish them; gone from the stream
	bad, duplicates  atomic.Uint64 // batches
	fetches, fetched atomic.Uint64 // direct gets of the cache, and their batches
	hits             atomic.Uint64 // of the cache
	joins, recovered atomic.Uint64 // hellos that were welcomed; of them those after a position, with nothing missing
	replaying        atomic.Int64
}

func newStream(g *Gateway, name string) *stream {
	return &stream{g: g, name: name, changed: make(chan struct{}), err: ErrBehind}
}

// run follows a stream through its incarnations. At the end of ctx the clients get a bye.
func (s *stream) run(ctx context.Context, until func() time.Time) {
	for {
		f, err := s.begin(ctx)
		if err == nil {
			err = f.follow(ctx)
			f.sub.Unsubscribe()
			if ctx.Err() != nil {
				f.end(errGoingAway, until())
				return
			}
			f.end(err, time.Now().Add(farewellTimeout))
		}
		if ctx.Err() != nil {
			return
		}
		s.note(0, err)
		sleep(ctx, beginAgain)
	}
}

// sleep waits for d, or until ctx ends. Then it returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// note keeps what the engine told last of the stream. An error is reported once.
func (s *stream) note(last uint64, err error) {
	s.mu.Lock()
	before := s.err
	if s.err = err; err == nil {
		s.answered, s.last = time.Now(), max(s.last, last)
	}
	s.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		s.g.report(fmt.Errorf("relay: gateway: stream %s: %w", s.name, err))
	}
}

func (s *stream) ready() error {
	s.mu.Lock()
	f, err, answered, last := s.feed, s.err, s.answered, s.last
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case f == nil:
		return ErrBehind
	case time.Since(answered) > askAlways+askTimeout:
		return ErrNoLeader
	}
	if head := f.position(); head < last {
		return fmt.Errorf("%w: at %d of %d", ErrBehind, head, last)
	}
	return nil
}

// current returns the stream's feed, and waits for it.
func (s *stream) current(ctx context.Context) (*feed, error) {
	for {
		s.mu.Lock()
		f, err, changed := s.feed, s.err, s.changed
		s.mu.Unlock()
		switch {
		case f != nil:
			return f, nil
		case errors.Is(err, ErrStreamNotFound):
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// begin subscribes to a stream, and begins at its last batch.
func (s *stream) begin(ctx context.Context) (*feed, error) {
	info, err := s.lookup(ctx)
	if err != nil {
		return nil, err
	}
	f := &feed{stream: s, incarnation: info.Incarnation, over: make(chan struct{}), moved: make(chan struct{}),
		live: map[*client]struct{}{}, origins: map[time.Duration]*origin{}, messages: make(chan *nats.Msg, liveQueue), answers: make(chan answer, 1)}
	for _, group := range []*conn.Group{&f.group, &f.plain} {
		group.Buffer, group.Lag = groupBuffer, s.g.GroupLag
	}
	f.reconnects = s.g.Conn.Stats().Reconnects
	if f.sub, err = s.g.Conn.ChanSubscribe(info.Live, f.messages); err != nil {
		return nil, engineError(err)
	}
	if err = f.start(ctx); err != nil {
		f.sub.Unsubscribe()
		return nil, err
	}
	s.mu.Lock()
	s.feed, s.err, s.answered, s.last = f, nil, time.Now(), f.head
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return f, nil
}

func (s *stream) lookup(ctx context.Context) (StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return LookupStream(ctx, s.g.Conn, s.name)
}
