package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A report says what a demo brought. The JSON names are for machines and stay.
type report struct {
	Messages    uint64       `json:"messages"` // of the feed
	Rate        float64      `json:"rate"`     // asked for, messages per second
	Clients     int          `json:"clients"`
	Replicas    int          `json:"replicas"`
	Seconds     float64      `json:"seconds"`   // the feed lasted
	Delivered   uint64       `json:"delivered"` // messages to all clients
	PerSecond   float64      `json:"delivered_per_second"`
	Lost        uint64       `json:"lost"`
	Told        uint64       `json:"told_missing"` // numbers that gap records tell, over all clients
	Doubled     uint64       `json:"doubled"`
	Disorder    uint64       `json:"out_of_order"`
	Wrong       uint64       `json:"wrong"` // checksum
	Resumed     uint64       `json:"resumed"`
	Jumps       uint64       `json:"jumps"`
	CPU         cpuReport    `json:"cpu_ns"`
	Before      latency      `json:"added_latency_ns_before_kills"`
	Latency     latency      `json:"added_latency_ns"`
	Kills       []killReport `json:"kills,omitempty"`
	Kept        string       `json:"kept,omitempty"`
	Interrupted bool         `json:"interrupted,omitempty"`
}

// cpuReport is CPU time in nanoseconds: of the first three for a message of the feed, of
// the others for a delivered message.
type cpuReport struct {
	Exchange  float64 `json:"exchange_per_message"`
	Ingesters float64 `json:"ingesters_per_message"`
	Engine    float64 `json:"engine_per_message,omitempty"`
	Gateways  float64 `json:"gateways_per_delivered_message"`
	Clients   float64 `json:"clients_per_delivered_message"`
}

// latency is from the ingester's receive stamp to the client's handler.
type latency struct {
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`
}

// A killReport says how long no message came at a client after a part was killed, at the
// client that waited longest.
type killReport struct {
	Name    string  `json:"name"`
	At      float64 `json:"at"`      // seconds
	Silence float64 `json:"silence"` // seconds
}

func perMessage(used time.Duration, messages uint64) float64 {
	return float64(used) / float64(max(messages, 1))
}

// count adds up what the clients have so far.
func (r *report) count(consumers []*consumer) {
	r.Delivered, r.Lost, r.Told, r.Doubled, r.Disorder, r.Wrong = 0, 0, 0, 0, 0, 0
	for _, c := range consumers {
		r.Delivered += c.delivered.Load()
		r.Lost += c.lost.Load()
		r.Told += c.told.Load()
		r.Doubled += c.doubled.Load()
		r.Disorder += c.disorder.Load()
		r.Wrong += c.wrong.Load()
	}
}

// end completes the counts, after so long.
func (r *report) end(consumers []*consumer, after time.Duration) {
	r.PerSecond = float64(r.Delivered) / after.Seconds()
	var before, all histogram
	for _, c := range consumers {
		c.end(r.Messages)
		n := c.client.Counts()
		r.Resumed += n.Resumed
		r.Jumps += n.Jumps
		before.merge(&c.latencies[0])
		all.merge(&c.latencies[0])
		all.merge(&c.latencies[1])
	}
	r.count(consumers)
	r.Before, r.Latency = latencyOf(&before), latencyOf(&all)
}

func latencyOf(h *histogram) latency {
	return latency{int64(h.quantile(0.5)), int64(h.quantile(0.99)), int64(h.quantile(1))}
}

// failed returns an error if the demo did not show what it should.
func (r *report) failed() error {
	if r.Lost+r.Doubled+r.Disorder+r.Wrong == 0 {
		return nil
	}
	return fmt.Errorf("%d lost, %d doubled, %d out of order, %d wrong", r.Lost, r.Doubled, r.Disorder, r.Wrong)
}

// line is the progress, in less than 80 columns.
func (r *report) line(after time.Duration) string {
	return fmt.Sprintf("%4.0f s  %s delivered, %s/s  lost %d  doubled %d  out of order %d", after.Seconds(), cli.Quantity(float64(r.Delivered)),
		cli.Quantity(float64(r.Delivered)/after.Seconds()), r.Lost, r.Doubled, r.Disorder)
}

// print writes the report for people, or as one JSON object.
func (r *report) print(w io.Writer, machine bool) error {
	if machine {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-24s "+format+"\n", append([]any{name}, args...)...)
	}
	row("feed", "%d messages in %.1f s, %d replica(s)", r.Messages, r.Seconds, r.Replicas)
	row("delivered", "%d messages to %d clients, %s/s", r.Delivered, r.Clients, cli.Quantity(r.PerSecond))
	row("lost", "%d (%d told by gap records)", r.Lost, r.Told)
	row("doubled", "%d", r.Doubled)
	row("out of order", "%d", r.Disorder)
	row("wrong checksum", "%d", r.Wrong)
	row("resumed sessions", "%d", r.Resumed)
	row("CPU, exchange", "%s a message", costs(r.CPU.Exchange))
	row("CPU, ingesters", "%s a message", costs(r.CPU.Ingesters))
	if r.CPU.Engine > 0 {
		row("CPU, engine", "%s a message", costs(r.CPU.Engine))
	}
	row("CPU, gateways", "%s a delivered message", costs(r.CPU.Gateways))
	row("CPU, clients", "%s a delivered message, with all checks", costs(r.CPU.Clients))
	if len(r.Kills) > 0 {
		row("added latency, no kills", "p50 %s, p99 %s", costs(float64(r.Before.P50)), costs(float64(r.Before.P99)))
	}
	row("added latency, all", "p50 %s, p99 %s, max %s", costs(float64(r.Latency.P50)), costs(float64(r.Latency.P99)), costs(float64(r.Latency.Max)))
	for _, k := range r.Kills {
		row("killed "+k.Name, "at %.1f s: silence of %s at most", k.At, costs(k.Silence*1e9))
	}
	if r.Kept != "" {
		row("kept", "%s", r.Kept)
	}
	if r.Interrupted {
		row("interrupted", "the feed ended early")
	}
	return nil
}

// costs returns nanoseconds as cli.Duration does, and less than a microsecond as such.
func costs(ns float64) string {
	if ns < 999.5 {
		return strconv.FormatFloat(ns, 'f', 0, 64) + " ns"
	}
	return cli.Duration(ns)
}
