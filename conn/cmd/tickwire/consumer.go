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
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A feed is one run of tickwire feed.
type feed struct {
	options feedOptions
	dialer  *conn.Dialer
	url     string
	meter   *meter
	display *cli.Display
	opened  atomic.Pointer[string] // who decrypts TLS records, according to the last connection
	secrets []string               // of the command line; never printed
}

// phase consumes the feed on new connections for the phase's duration. The report is nil
// if the phase did not start.
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
			c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
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
			failure = closeAll(consumers)
		}
	}
	return &r, failure
}

// watch prints a line a second until the phase is over, a consumer fails or ctx ends.
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
			if f.display.Terminal() {
				f.display.Show(r.short())
			} else {
				f.display.Show(r.line(asm.Active().String()))
			}
			latencies.Merge(second)
			second.Reset()
			from, before = to, after
		}
	}
}

// total adds up the counts of the consumers.
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

// drain moves the consumers' latencies into h.
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

// newHistogram returns a histogram for latencies from 1 ns to 100 s, with three figures.
func newHistogram() *hdr.Histogram { return hdr.New(1, 100e9, 3) }

// closeAll closes every connection with the close handshake.
func closeAll(consumers []*consumer) error {
	// The close handshake discards what arrives before the answer.
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

// A consumer reads one connection. If follow is set it reads as many connections as it
// needs.
type consumer struct {
	conn    *conn.Conn // nil with follow
	follow  *following
	stop    *atomic.Bool
	begin   int64             // start of the phase, Unix time in nanoseconds
	checker *exchange.Checker // nil for a server whose messages have no numbers

	messages, bytes atomic.Int64 // for the live line; at full speed up to publishEvery messages late

	mu      sync.Mutex
	latency *hdr.Histogram // guarded by mu; nil if not measured
}

// publishEvery is how many messages a consumer at full speed reads before it publishes
// its counts. An atomic store costs 6 ns, and a message 100 ns.
const publishEvery = 64

// newConsumer returns a consumer that has connected and subscribed, or that will do so
// itself.
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

// connected notes who decrypts the records of a connection.
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

// subscribe asks the exchange for its feed and reads the answer with the first number.
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
				return nil // the phase is over
			}
			return err
		}
		if c.checker != nil {
			if err := c.checker.Check(m.Data); err != nil {
				return err
			}
			if c.latency != nil {
				// An earlier message has waited for the start of the phase.
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

// record counts a latency. The lock is free except once a second, during drain.
func (c *consumer) record(ns int64) {
	c.mu.Lock()
	// Clocks may be set back, so a latency is at least 1 ns. The histogram ends at 100 s.
	c.latency.RecordValue(min(max(ns, 1), 100e9))
	c.mu.Unlock()
}
