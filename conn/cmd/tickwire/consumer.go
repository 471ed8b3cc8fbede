package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A feed is one run of tickwire feed.
type feed struct {
	options feedOptions
	dialer  *conn.Dialer
	url     string
	meter   *meter
	display *display
	opened  atomic.Pointer[string] // by whom TLS records are, as the last connection says
	secrets []string               // of the command line, not to be shown
}

// phase consumes on fresh connections for the phase's duration. The report is
// nil if the phase did not begin.
func (f *feed) phase(ctx context.Context, p phase) (*report, error) {
	var stop atomic.Bool
	consumers := make([]*consumer, 0, f.options.conns)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer func() {
		for _, c := range consumers {
			if c.conn != nil {
				c.conn.Close()
			}
		}
	}()
	for range f.options.conns {
		c, err := f.newConsumer(ctx, p)
		if err != nil {
			return nil, err
		}
		c.stop = &stop
		consumers = append(consumers, c)
	}

	var running sync.WaitGroup
	failed := make(chan error, len(consumers))
	from, before := takeExact(), total(consumers)
	for _, c := range consumers {
		c.begin = from.at.UnixNano()
		running.Go(func() {
			if err := c.consume(run); err != nil {
				failed <- err
			}
		})
	}
	latencies := newHistogram()
	failure := f.watch(ctx, p, consumers, failed, latencies)
	stop.Store(true)
	cancel()
	for _, c := range consumers {
		if c.conn != nil {
			c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the one that waits for a message
		}
	}
	running.Wait()
	to, after := takeExact(), total(consumers)
	drain(consumers, latencies)
	r := newReport(p, from, to, before, after, latencies)
	if failure == nil {
		select {
		case failure = <-failed:
		default:
			failure = goodbye(consumers)
		}
	}
	return &r, failure
}

// watch shows a line a second until the phase is over, a consumer fails or ctx ends.
func (f *feed) watch(ctx context.Context, p phase, consumers []*consumer, failed <-chan error, latencies *hdr.Histogram) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	end := time.NewTimer(p.duration)
	defer end.Stop()
	second := newHistogram()
	from, before := f.meter.take(), total(consumers)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
			drain(consumers, second)
			to, after := f.meter.take(), total(consumers)
			r := newReport(p, from, to, before, after, second)
			if f.display.terminal {
				f.display.show(r.short())
			} else {
				f.display.show(r.line(asm.Active().String()))
			}
			latencies.Merge(second)
			second.Reset()
			from, before = to, after
		}
	}
}

// total adds up what the consumers have seen.
func total(consumers []*consumer) (sum counts) {
	for _, c := range consumers {
		sum.messages += c.messages.Load()
		sum.bytes += c.bytes.Load()
		stats := c.stats()
		sum.wire += int64(stats.BytesRead)
		sum.reads += int64(stats.Reads + stats.Waits) // a read that finds nothing is a system call too
	}
	return sum
}

// drain moves the latencies that the consumers have measured into h.
func drain(consumers []*consumer, h *hdr.Histogram) {
	for _, c := range consumers {
		if c.latency == nil {
			continue
		}
		c.mu.Lock()
		h.Merge(c.latency)
		c.latency.Reset()
		c.mu.Unlock()
	}
}

// newHistogram holds latencies from 1 ns to 100 s to three figures.
func newHistogram() *hdr.Histogram { return hdr.New(1, 100e9, 3) }

// goodbye closes every connection with the close handshake.
func goodbye(consumers []*consumer) error {
	// What is still on its way is discarded up to the answer.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, len(consumers))
	for i, c := range consumers {
		if c.conn != nil {
			all.Go(func() { errs[i] = c.conn.Shutdown(ctx, frame.CodeNormal, "") })
		}
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close handshake: %w", err)
	}
	return nil
}

// A consumer reads one connection, or with follow set as many as it takes.
type consumer struct {
	conn    *conn.Conn // nil with follow
	follow  *following
	stop    *atomic.Bool
	begin   int64             // of the phase, Unix time in nanoseconds
	checker *exchange.Checker // nil: a server whose messages say nothing about themselves

	messages, bytes atomic.Int64 // for the live line; behind by less than publishEvery at full speed

	mu      sync.Mutex
	latency *hdr.Histogram // guarded by mu; nil if it is not measured
}

// publishEvery is the number of messages after which a consumer at full speed
// makes its counts visible: an atomic store of 6 ns is dear at 100 ns a message.
const publishEvery = 64

// newConsumer returns a consumer that is connected and has subscribed, or will.
func (f *feed) newConsumer(ctx context.Context, p phase) (*consumer, error) {
	if f.options.reconnect {
		return &consumer{follow: f.newFollowing()}, nil
	}
	return f.dial(ctx, p)
}

// stats returns the counters of the consumer's connections.
func (c *consumer) stats() conn.Stats {
	if c.follow != nil {
		return c.follow.stats()
	}
	return c.conn.Stats()
}

// connected notes who opens the records of a connection.
func (f *feed) connected(c *conn.Conn) {
	opened := "by the engine"
	if i := c.TransportInfo(); !i.OpensRecords {
		opened = "by crypto/tls: " + i.Why
	}
	f.opened.Store(&opened)
}

// dial connects and subscribes.
func (f *feed) dial(ctx context.Context, p phase) (*consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c, err := dialURL(ctx, f.dialer, f.url)
	if err != nil {
		return nil, err
	}
	f.connected(c)
	consumer := &consumer{conn: c}
	if p.latency {
		consumer.latency = newHistogram()
	}
	if f.options.url != "" {
		if f.options.send != "" {
			err = c.WriteMessage(frame.Text, []byte(f.options.send))
		}
	} else {
		err = consumer.subscribe(p.rate / float64(f.options.conns))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return consumer, nil
}

// subscribe asks the exchange for its feed and learns its first number.
func (c *consumer) subscribe(rate float64) error {
	request, err := json.Marshal(exchange.Subscribe{Op: "subscribe", Rate: rate})
	if err != nil {
		return err
	}
	if err := c.conn.WriteMessage(frame.Text, request); err != nil {
		return err
	}
	m, err := c.conn.ReadMessage()
	if err != nil {
		return err
	}
	var answer exchange.Subscribed
	if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Op != "subscribed" {
		return fmt.Errorf("the exchange answered %q", m.Data)
	}
	c.checker = exchange.NewChecker(answer.First)
	return nil
}

// consume reads messages until stop is set.
func (c *consumer) consume(ctx context.Context) error {
	if c.follow != nil {
		return c.follow.run(ctx, c)
	}
	var messages, bytes int64
	defer func() {
		c.messages.Store(messages)
		c.bytes.Store(bytes)
	}()
	every := int64(publishEvery)
	if c.latency != nil || c.checker == nil {
		every = 1
	}
	for !c.stop.Load() {
		m, err := c.conn.ReadMessage()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && c.stop.Load() {
				return nil // it was woken
			}
			return err
		}
		if c.checker != nil {
			if err := c.checker.Check(m.Data); err != nil {
				return err
			}
			if c.latency != nil {
				// What was made before has waited for us to begin.
				if made := exchange.Made(m.Data); made >= c.begin {
					c.record(time.Now().UnixNano() - made)
				}
			}
		}
		messages++
		bytes += int64(len(m.Data))
		if messages%every == 0 || messages < publishEvery {
			c.messages.Store(messages)
			c.bytes.Store(bytes)
		}
	}
	return nil
}

// record counts a latency. The lock is free but for the once a second of drain.
func (c *consumer) record(ns int64) {
	c.mu.Lock()
	// Clocks may be set back while we run; and what is over 100 s is 100 s.
	c.latency.RecordValue(min(max(ns, 1), 100e9))
	c.mu.Unlock()
}
