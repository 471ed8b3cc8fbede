package soak

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// follower is the client of a feed.
type follower struct {
	run  *run
	feed uint64
	next atomic.Uint64 // the number to come

	epoch uint64
	last  uint64 // the number that came last in this epoch
}

// follow consumes a feed until ctx ends.
func (r *run) follow(ctx context.Context, feed uint64) {
	f := &follower{run: r, feed: feed}
	c := &redial.Client{
		URL:    r.server.url,
		Dialer: &conn.Dialer{Config: conn.Config{KeepAlive: 2 * silence, DataTimeout: silence}},
		OnConnect: func(_ context.Context, s *redial.Session) error {
			return s.Conn.WriteMessage(conn.Text, fmt.Appendf(nil, "feed %d %d", feed, f.next.Load()))
		},
		Backoff:     redial.Backoff{Base: 10 * time.Millisecond, Cap: time.Second, StableMessages: 10},
		MaxAge:      time.Duration(6+feed%10) * time.Second,
		Rotation:    redial.Rotation(feed % 2),
		OverlapWait: time.Second,
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

// take is the handler of a feed's messages.
func (f *follower) take(_ context.Context, m redial.Message) error {
	number, at, err := parseMessage(f.feed, m.Message)
	if err != nil {
		return err
	}
	next := f.next.Load()
	switch {
	case m.Epoch == f.epoch && number != f.last+1:
		return fmt.Errorf("message %d after %d of the same connection", number, f.last)
	case number > next:
		return fmt.Errorf("message %d where %d was due: %d are missing", number, next, number-next)
	}
	f.epoch, f.last = m.Epoch, number
	if number < next { // both connections of a rotation have brought it
		f.run.counters.repeated.Add(1)
		return nil
	}
	f.next.Store(next + 1)
	f.run.counters.messages.Add(1)
	f.run.counters.bytes.Add(uint64(len(m.Data)))
	f.run.latency.add(time.Since(f.run.began) - at)
	return nil
}

// listen is a member of the Group, again and again until ctx ends. One in four does not
// read for a while and is ended for that.
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
		if err := r.hear(ctx, c, member%4 == 3); err != nil {
			r.fail("member %d: %v", member, err)
		}
		stop()
		c.Close()
	}
}

// hear reads what the Group sends, and compares the numbers.
func (r *run) hear(ctx context.Context, c *conn.Conn, slow bool) error {
	if err := c.WriteMessage(conn.Text, []byte("group")); err != nil {
		return nil // the end of the run
	}
	began, last := false, uint64(0)
	for m, err := range c.Messages() {
		if err != nil {
			if ctx.Err() == nil && !slow {
				return err
			}
			return nil
		}
		if len(m.Data) < 16 {
			return fmt.Errorf("a broadcast of %d bytes", len(m.Data))
		}
		number, err := strconv.ParseUint(string(m.Data[:16]), 16, 64)
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
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}
