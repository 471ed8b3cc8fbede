package relay

import (
	"maps"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// GatewayCounts are the counters and the state of a Gateway. Counters begin at 0 with it.
type GatewayCounts struct {
	Clients    int            `json:"clients"`    // connections, those before their hello included
	Replays    int            `json:"replays"`    // clients that catch up
	Refused    map[int]uint64 `json:"refused"`    // by HTTP status, or by Close code
	TooSlow    uint64         `json:"tooSlow"`    // clients that were dropped: with conn.ErrTooSlow, or in their turn
	CacheBytes int64          `json:"cacheBytes"` // memory of the cache in use
	Streams    []StreamCounts `json:"streams"`    // one for each stream that was asked for
}

// StreamCounts are those of a stream. Counters go on when the stream is made anew.
type StreamCounts struct {
	Stream      string   `json:"stream"`   // its name
	Ready       bool     `json:"ready"`    // clients are served
	Incarnation uint64   `json:"-"`        // 0 while the stream cannot be followed
	Position    Position `json:"position"` // the end of what was fanned out
	Head        uint64   `json:"head"`     // the last sequence that was fanned out
	Last        uint64   `json:"last"`     // the last one that the engine told of
	HeadTime    int64    `json:"headTime"` // the engine's stamp of the head, in nanoseconds since 1970

	Live      int `json:"live"`      // clients that get messages as they come, without those of Plain
	Plain     int `json:"plain"`     // clients without the subprotocol
	Replaying int `json:"replaying"` // clients that catch up

	Slow        int `json:"slow"`        // live clients for which something waits
	Waiting     int `json:"waiting"`     // bytes that wait for them
	MostWaiting int `json:"mostWaiting"` // the most for one of them: see GroupLag

	Batches    uint64 `json:"batches"`    // fanned out
	Records    uint64 `json:"records"`    // fanned out
	Messages   uint64 `json:"messages"`   // sent to clients, those of replays included
	Replayed   uint64 `json:"replayed"`   // of Messages, those of replays
	Bytes      uint64 `json:"bytes"`      // sent to clients
	Fills      uint64 `json:"fills"`      // batches that the engine did not republish, and that were read
	Gone       uint64 `json:"gone"`       // batches that were gone from the stream before they were fanned out
	Bad        uint64 `json:"bad"`        // batches that are malformed
	Duplicates uint64 `json:"duplicates"` // batches that the engine republished again

	Joins     uint64 `json:"joins"`     // hellos that were welcomed
	Resumes   uint64 `json:"resumes"`   // of Joins, those after a position with nothing missing
	Fetches   uint64 `json:"fetches"`   // reads of older batches for the cache
	Fetched   uint64 `json:"fetched"`   // batches that they brought
	CacheHits uint64 `json:"cacheHits"` // times that a replay found its batches in the cache
}

// Counts returns the current counters. It may be called at any time.
func (g *Gateway) Counts() GatewayCounts {
	g.init()
	g.mu.Lock()
	n := GatewayCounts{Clients: len(g.clients), Refused: maps.Clone(g.refused), TooSlow: g.dropped}
	g.mu.Unlock()
	n.CacheBytes = g.cache.bytes()
	for _, s := range g.streams {
		one := s.counts()
		n.Replays += one.Replaying
		n.Streams = append(n.Streams, one)
	}
	return n
}

func (s *stream) counts() StreamCounts {
	n := StreamCounts{
		Stream: s.name, Ready: s.ready() == nil, Replaying: int(s.replaying.Load()),
		Batches: s.batches.Load(), Records: s.records.Load(),
		Messages: s.messages.Load(), Replayed: s.replayed.Load(), Bytes: s.bytes.Load(),
		Fills: s.filled.Load(), Gone: s.gone.Load(), Bad: s.bad.Load(), Duplicates: s.duplicates.Load(),
		Joins: s.joins.Load(), Resumes: s.recovered.Load(),
		Fetches: s.fetches.Load(), Fetched: s.fetched.Load(), CacheHits: s.hits.Load(),
	}
	s.mu.Lock()
	f := s.feed
	n.Last = s.last
	s.mu.Unlock()
	if f == nil {
		return n
	}
	f.mu.Lock()
	n.Incarnation, n.Head, n.HeadTime = f.incarnation, f.head, f.headTime
	f.mu.Unlock()
	n.Last, n.Position = max(n.Last, n.Head), before(f, n.Head+1)
	n.Live, n.Plain = f.group.Len(), f.plain.Len()
	for _, g := range []*conn.Group{&f.group, &f.plain} {
		lag := g.Stats()
		n.Slow += lag.Slow
		n.Waiting += lag.Waiting
		n.MostWaiting = max(n.MostWaiting, lag.MostWaiting)
	}
	return n
}

// metric is one of a Gateway's, or of each of its streams.
type metric struct {
	desc    *prometheus.Desc
	counter bool
	value   func(*StreamCounts) float64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tickwire_relay_gateway_"+name, help, labels, nil)
}

func gauge(name, help string, value func(*StreamCounts) float64) metric {
	return metric{describe(name, help, "stream"), false, value}
}

func counter(name, help string, value func(*StreamCounts) uint64) metric {
	return metric{describe(name+"_total", help, "stream"), true, func(n *StreamCounts) float64 { return float64(value(n)) }}
}

var (
	clientsDesc = describe("connections", "Connections of clients, those before their hello included.")
	cacheDesc   = describe("cache_bytes", "Memory in use for older batches.")
	tooSlowDesc = describe("too_slow_total", "Clients that were dropped because they did not read.")
	refusedDesc = describe("refused_total", "Connections refused, by HTTP status or Close code.", "code")

	streamMetrics = []metric{
		gauge("ready", "1 if the engine answers for the stream and the gateway is at its head.", func(n *StreamCounts) float64 {
			if n.Ready {
				return 1
			}
			return 0
		}),
		gauge("head_sequence", "The last sequence that was fanned out.", func(n *StreamCounts) float64 { return float64(n.Head) }),
		gauge("last_sequence", "The last sequence that the engine told of.", func(n *StreamCounts) float64 { return float64(n.Last) }),
		gauge("head_timestamp_seconds", "When the engine stored the last batch that was fanned out.", func(n *StreamCounts) float64 { return float64(n.HeadTime) / 1e9 }),
		gauge("live_clients", "Clients that get records as they come.", func(n *StreamCounts) float64 { return float64(n.Live) }),
		gauge("plain_clients", "Clients without the subprotocol.", func(n *StreamCounts) float64 { return float64(n.Plain) }),
		gauge("replaying_clients", "Clients that catch up.", func(n *StreamCounts) float64 { return float64(n.Replaying) }),
		gauge("slow_clients", "Live clients for which something waits.", func(n *StreamCounts) float64 { return float64(n.Slow) }),
		gauge("waiting_bytes", "Bytes that wait for slow clients.", func(n *StreamCounts) float64 { return float64(n.Waiting) }),
		gauge("most_waiting_bytes", "Bytes that wait for the slowest client.", func(n *StreamCounts) float64 { return float64(n.MostWaiting) }),
		counter("batches", "Batches fanned out.", func(n *StreamCounts) uint64 { return n.Batches }),
		counter("records", "Records fanned out.", func(n *StreamCounts) uint64 { return n.Records }),
		counter("messages", "Messages sent to clients, those of replays included.", func(n *StreamCounts) uint64 { return n.Messages }),
		counter("replayed_messages", "Messages sent to clients that caught up.", func(n *StreamCounts) uint64 { return n.Replayed }),
		counter("bytes", "Bytes of messages sent to clients.", func(n *StreamCounts) uint64 { return n.Bytes }),
		counter("filled_batches", "Batches that the engine did not republish, and that were read.", func(n *StreamCounts) uint64 { return n.Fills }),
		counter("gone_batches", "Batches that were gone before they were fanned out.", func(n *StreamCounts) uint64 { return n.Gone }),
		counter("bad_batches", "Malformed batches.", func(n *StreamCounts) uint64 { return n.Bad }),
		counter("duplicate_batches", "Batches that the engine republished again.", func(n *StreamCounts) uint64 { return n.Duplicates }),
		counter("joins", "Hellos that were welcomed.", func(n *StreamCounts) uint64 { return n.Joins }),
		counter("resumes", "Hellos with a position after which nothing was missing.", func(n *StreamCounts) uint64 { return n.Resumes }),
		counter("fetches", "Reads of older batches.", func(n *StreamCounts) uint64 { return n.Fetches }),
		counter("fetched_batches", "Older batches that were read.", func(n *StreamCounts) uint64 { return n.Fetched }),
		counter("cache_hits", "Times that a replay found its batches in the cache.", func(n *StreamCounts) uint64 { return n.CacheHits }),
	}
)

// Collector returns a prometheus.Collector of Counts, for a registry of the caller's own.
// The names begin with tickwire_relay_gateway_. Two Gateways in one registry need
// prometheus.WrapRegistererWith.
func (g *Gateway) Collector() prometheus.Collector { return collector{g} }

type collector struct{ g *Gateway }

// Describe sends what can be told.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{clientsDesc, cacheDesc, tooSlowDesc, refusedDesc} {
		to <- d
	}
	for _, m := range streamMetrics {
		to <- m.desc
	}
}

// Collect sends what there is to tell.
func (c collector) Collect(to chan<- prometheus.Metric) {
	n := c.g.Counts()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	send(clientsDesc, prometheus.GaugeValue, float64(n.Clients))
	send(cacheDesc, prometheus.GaugeValue, float64(n.CacheBytes))
	send(tooSlowDesc, prometheus.CounterValue, float64(n.TooSlow))
	for code, times := range n.Refused {
		send(refusedDesc, prometheus.CounterValue, float64(times), strconv.Itoa(code))
	}
	for i := range n.Streams {
		for _, m := range streamMetrics {
			kind := prometheus.GaugeValue
			if m.counter {
				kind = prometheus.CounterValue
			}
			send(m.desc, kind, m.value(&n.Streams[i]), n.Streams[i].Stream)
		}
	}
}
