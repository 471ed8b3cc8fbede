package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// A consumer is a client of the demo that verifies what it gets.
type consumer struct {
	client *relay.Client
	phase  *atomic.Int32 // of the demo: how many kills there were
	warm   *atomic.Int64 // when latency is measured from, in nanoseconds since 1970
	up     *told[struct{}]

	last                               atomic.Uint64 // the highest number that came
	delivered, lost, doubled, disorder atomic.Uint64
	wrong                              atomic.Uint64 // not the feed's bytes
	told                               atomic.Uint64 // numbers that gap records tell

	// By the goroutine of run.
	missing   []span // numbers that did not come
	arrived   int64  // the last message, in nanoseconds since 1970
	silence   []time.Duration
	latencies [2]histogram // before the first kill; after it
}

// A span is numbers from first to last.
type span struct{ first, last uint64 }

func newConsumer(stream string, urls []string, d *demo) *consumer {
	c := &consumer{phase: &d.phase, warm: &d.warm, up: newTold[struct{}](), silence: make([]time.Duration, 1+len(d.kills))}
	c.client = &relay.Client{
		Redial: &redial.Client{
			URLs: urls,
			OnChange: func(ch redial.Change) {
				if ch.State == redial.Up {
					c.up.tell(struct{}{})
				}
			},
			Backoff: redial.Backoff{Base: 20 * time.Millisecond, Cap: 500 * time.Millisecond, StableMessages: 1},
		},
		Stream: stream, Start: relay.FromOldest,
	}
	return c
}

// run receives until ctx ends.
func (c *consumer) run(ctx context.Context) error {
	err := c.client.Run(ctx, func(_ context.Context, m relay.Message) error {
		c.take(m, time.Now().UnixNano())
		return nil
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (c *consumer) take(m relay.Message, now int64) {
	phase := c.phase.Load()
	if c.arrived != 0 {
		c.silence[phase] = max(c.silence[phase], time.Duration(now-c.arrived))
	}
	c.arrived = now
	if m.Kind == relay.Gap {
		if m.From > 0 && m.From <= m.To {
			c.told.Add(m.To - m.From + 1)
		}
		return
	}
	c.delivered.Add(1)
	if m.Received >= c.warm.Load() {
		c.latencies[min(phase, 1)].add(time.Duration(now - m.Received))
	}
	n, err := checkFeed(m.Data)
	if err != nil {
		c.wrong.Add(1)
		return
	}
	c.number(n)
}

// number judges the number of a message.
func (c *consumer) number(n uint64) {
	last := c.last.Load()
	switch {
	case n == last+1:
		c.last.Store(n)
	case n > last:
		c.missing = append(c.missing, span{last + 1, n - 1})
		c.lost.Add(n - 1 - last)
		c.last.Store(n)
	case c.found(n):
		c.lost.Add(^uint64(0))
		c.disorder.Add(1)
	default:
		c.doubled.Add(1)
	}
}

// found reports whether a number was missing, and no longer is.
func (c *consumer) found(n uint64) bool {
	for i, s := range c.missing {
		if n < s.first || n > s.last {
			continue
		}
		c.missing = append(c.missing[:i], c.missing[i+1:]...)
		if n > s.first {
			c.missing = append(c.missing, span{s.first, n - 1})
		}
		if n < s.last {
			c.missing = append(c.missing, span{n + 1, s.last})
		}
		return true
	}
	return false
}

// end counts what has not come of a feed with that number of messages.
func (c *consumer) end(messages uint64) {
	if last := c.last.Load(); last < messages {
		c.lost.Add(messages - last)
	}
}
