package soak

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// follower is the client of a feed.
type follower struct {
	run  *run
	feed uint64
	next atomic.Uint64 // the next number

	progress atomic.Int64 // when next last grew, counted from the start of the run
	sessions sessions

	// Used by the handler, and by OnChange at Down, when no handler runs.
	epoch uint64
	last  uint64 // the last number received in this epoch
}

// overlapWait is Client.OverlapWait.
const overlapWait = time.Second

// follow consumes a feed until ctx ends. A third of the feeds share one Poller.
func (r *run) follow(ctx context.Context, f *follower) {
	feed := f.feed
	c := &redial.Client{
		URL:    r.server.url,
		Dialer: &conn.Dialer{Config: conn.Config{KeepAlive: 2 * silence, DataTimeout: silence}},
		OnConnect: func(_ context.Context, s *redial.Session) error {
			number := f.next.Load()
			f.sessions.get(s.Epoch).asked.Store(number)
			return s.Conn.WriteMessage(conn.Text, fmt.Appendf(nil, "feed %d %d %d", feed, number, s.Epoch))
		},
		OnChange:    func(ch redial.Change) { f.changed(ctx, ch) },
		Backoff:     redial.Backoff{Base: 10 * time.Millisecond, Cap: time.Second, StableMessages: 10},
		MaxAge:      time.Duration(6+feed%10) * time.Second,
		Rotation:    redial.Rotation(feed % 2),
		OverlapWait: overlapWait,
	}
	if feed%3 == 0 {
		c.Poller = &r.poller
	}
	if feed&2 != 0 {
		c.URL = r.server.secureURL
		c.Dialer.TLSConfig = &tls.Config{RootCAs: r.roots}
		c.Dialer.OpenRecords = feed&8 != 0
	}
	if feed&4 != 0 {
		c.Dialer.Config.Deflate = compression()
	}
	err := c.Run(ctx, f.take)
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		r.fail("feed %d ended: %v", feed, err)
	}
	n := c.Counts()
	r.counters.sessions.Add(n.Connections)
	r.counters.rotations.Add(n.Rotations)
}

// take is the handler of the feed's messages.
func (f *follower) take(_ context.Context, m redial.Message) error {
	number, at, err := parseMessage(f.feed, m.Message)
	if err != nil {
		return err
	}
	next, first := f.next.Load(), m.Epoch != f.epoch
	switch asked := f.sessions.get(m.Epoch).asked.Load(); {
	case first && number != asked:
		return fmt.Errorf("message %d is the first one, %d was asked for", number, asked)
	case !first && number != f.last+1:
		return fmt.Errorf("message %d after %d of the same connection", number, f.last)
	case number > next:
		return fmt.Errorf("message %d where %d was due: %d are missing", number, next, number-next)
	}
	if first {
		f.sessions.forget(m.Epoch)
	}
	f.epoch, f.last = m.Epoch, number
	if number < next { // both connections of a rotation have delivered it
		f.run.counters.repeated.Add(1)
		return nil
	}
	f.next.Store(next + 1)
	f.run.counters.messages.Add(1)
	f.run.counters.bytes.Add(uint64(len(m.Data)))
	now := time.Since(f.run.began)
	f.progress.Store(int64(now))
	f.run.latency.add(now - at)
	if now-at > tooLate {
		f.run.hiccups.note()
	}
	return nil
}

// listen joins the Group again and again until ctx ends. One member in four stops reading
// for a while, and is then ended.
func (r *run) listen(ctx context.Context, member int) {
	d := &conn.Dialer{SocketOptions: conn.SocketOptions{ReceiveBuffer: socketBuffer}}
	for ctx.Err() == nil {
		c, err := d.Dial(ctx, r.server.url)
		if err != nil {
			if ctx.Err() == nil {
				r.fail("member %d: %v", member, err)
				return
			}
			break
		}
		stop := c.Bind(ctx)
		slow := member%4 == 3
		err = r.hear(ctx, c, slow)
		switch {
		case ctx.Err() != nil && (errors.Is(err, conn.ErrClosed) || endedAbruptly(err)):
			// The end of the run.
		case slow && endedAbruptly(err):
			r.counters.slowEnded.Add(1)
		case endedAbruptly(err) && r.hiccups.within(silence):
			r.counters.excused.Add(1) // the process was starved, so the member was too slow as well
			r.counters.slowEnded.Add(1)
		default:
			r.fail("member %d: %v", member, err)
		}
		stop()
		c.Close()
	}
}

// endedAbruptly reports whether a connection ended without a Close frame, by a reset or
// the end of the stream. That is the end of a member that is too slow (conn.ErrTooSlow).
func endedAbruptly(err error) bool {
	var lost *conn.TransportError
	return errors.As(err, &lost)
}

// slowness is how long a slow member does not read. Meanwhile more messages are sent than
// its sockets and groupLag hold.
const slowness = 6 * time.Second

// hear reads and compares what the Group sends. It returns how the connection ended.
func (r *run) hear(ctx context.Context, c *conn.Conn, slow bool) error {
	if err := c.WriteMessage(conn.Text, []byte("group")); err != nil {
		return err
	}
	began, last := false, uint64(0)
	for m, err := range c.Messages() {
		if err != nil {
			return err
		}
		number, err := parseBroadcast(m)
		if err != nil {
			return err
		}
		if began && number != last+1 {
			return fmt.Errorf("broadcast %d after %d", number, last)
		}
		began, last = true, number
		r.counters.broadcast.Add(1)
		if slow && number%100 == 0 {
			select {
			case <-time.After(slowness):
			case <-ctx.Done():
			}
		}
	}
	return c.Err() // not reached: the last pair has an error
}
