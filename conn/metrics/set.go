package metrics

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// ErrName is returned for a name that is empty, not UTF-8, or taken.
var ErrName = errors.New("the name is empty, not UTF-8, or taken")

// Set is a set of things to measure: clients, lines, groups and connections, each with a
// name. The zero value is ready to use. A Set does not run or end what it measures. Its
// methods are safe for concurrent use.
//
// The name of a feed is a label. A Client, an Arbiter and Conns may have the same name.
type Set struct {
	mu      sync.Mutex
	sources []source
	ears    []*ear
}

// A source has values, under a name.
type source struct {
	name key
	read func(Emit)
	rtts *histogram // may be nil
}

// A key identifies a source: a feed and line, a feed's arbiter, or a group.
type key struct{ of, name, line string }

// Emit gets a value of a metric, with the values of Metric.Labels.
type Emit func(m *Metric, value float64, labels ...string)

// Client measures c as the only line of the feed, "0". Call it before c runs, after its
// fields are set. It wraps OnChange, OnConnect and Dialer.Config.Observer, and calls
// their old values. It copies the Dialer, so several Clients may share one Dialer.
func (s *Set) Client(feed string, c *redial.Client) error {
	return s.clients(feed, []*redial.Client{c})
}

// Lines measures l, and its Clients as the lines of the feed. Call it before l runs,
// after the fields of l and its Clients are set.
func Lines[K comparable](s *Set, feed string, l *redial.Lines[K]) error {
	return s.clients(feed, l.Clients, arbiterSource(feed, l, len(l.Clients)))
}

// clients adds the lines of a feed, and its other sources.
func (s *Set) clients(feed string, lines []*redial.Client, more ...source) error {
	var clients []*client
	for i, c := range lines {
		m := newClient(s, feed, strconv.Itoa(i), c)
		clients = append(clients, m)
		more = append(more, source{key{"feed", feed, m.line}, m.read, &m.rtts})
	}
	if err := s.add(feed, more...); err != nil {
		return err
	}
	for _, m := range clients {
		m.hook()
	}
	return nil
}

// An Arbiter is a *redial.Arbiter or a *redial.Lines.
type Arbiter interface{ Counts() redial.ArbiterCounts }

// Arbiter measures an Arbiter. Its lines may be measured by Client under other names, or
// not at all.
func (s *Set) Arbiter(feed string, a Arbiter) error { return s.add(feed, arbiterSource(feed, a, 0)) }

func arbiterSource(feed string, a Arbiter, lines int) source {
	return source{name: key{of: "arbiter", name: feed}, read: func(emit Emit) { readArbiter(emit, feed, a.Counts(), lines) }}
}

// Group measures g.
func (s *Set) Group(name string, g *conn.Group) error {
	return s.add(name, source{name: key{of: "group", name: name}, read: func(emit Emit) { readGroup(emit, name, g.Stats()) }})
}

// Conns measures connections without a Client, for example those of a server: see Conns.
func (s *Set) Conns(feed string) (*Conns, error) {
	c := &Conns{meter: meter{set: s, feed: feed}, open: map[*conn.Conn]bool{}}
	if err := s.add(feed, source{key{of: "feed", name: feed}, c.read, &c.rtts}); err != nil {
		return nil, err
	}
	return c, nil
}

// Remove removes everything with the name: a feed with all its lines, or a group.
func (s *Set) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = slices.DeleteFunc(slices.Clone(s.sources), func(c source) bool { return c.name.name == name })
}

// add adds all of sources, or none.
func (s *Set) add(name string, sources ...source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := slices.ContainsFunc(s.sources, func(o source) bool {
		return slices.ContainsFunc(sources, func(c source) bool { return c.name == o.name })
	})
	if name == "" || !utf8.ValidString(name) || taken {
		return fmt.Errorf("metrics: %q: %w", name, ErrName)
	}
	s.sources = append(s.sources, sources...)
	return nil
}

// snapshot returns the sources, to be read without the lock.
func (s *Set) snapshot() []source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sources)
}

// Collect reads the values of all metrics except Histograms, and passes each to emit.
// Exporters call it.
func (s *Set) Collect(emit Emit) {
	for _, c := range s.snapshot() {
		c.read(emit)
	}
}

// Histograms reads the distributions, and passes each to emit, with the values of
// Metric.Labels.
func (s *Set) Histograms(emit func(m *Metric, b Buckets, labels ...string)) {
	for _, c := range s.snapshot() {
		if c.rtts != nil {
			emit(connRoundTrip, c.rtts.read(), c.name.name, c.name.line)
		}
	}
}

type ear struct {
	hear func(m *Metric, value float64, labels ...string)
}

// Observe passes each value for a Histogram to emit, for exporters with their own
// distributions. emit must return soon; several goroutines call it. stop ends that.
func (s *Set) Observe(emit Emit) (stop func()) {
	e := &ear{emit}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ears = append(slices.Clone(s.ears), e)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ears = slices.DeleteFunc(slices.Clone(s.ears), func(o *ear) bool { return o == e })
	}
}

func (s *Set) tell(m *Metric, d time.Duration, labels ...string) {
	s.mu.Lock()
	ears := s.ears
	s.mu.Unlock()
	for _, e := range ears {
		e.hear(m, d.Seconds(), labels...)
	}
}

func readArbiter(emit Emit, feed string, n redial.ArbiterCounts, lines int) {
	for _, c := range []struct {
		m *Metric
		n uint64
	}{
		{arbiterDelivered, n.Delivered}, {arbiterDropped, n.Dropped}, {arbiterGaps, n.Gaps}, {arbiterForced, n.Forced},
		{arbiterMissing, n.Missing}, {arbiterRestarts, n.Restarts},
		{arbiterWaiting, uint64(n.Waiting)}, {arbiterBytes, uint64(n.WaitingBytes)},
	} {
		emit(c.m, float64(c.n), feed)
	}
	for len(n.Lines) < lines {
		n.Lines = append(n.Lines, redial.LineCounts{})
	}
	for i, l := range n.Lines {
		line := strconv.Itoa(i)
		emit(lineMessages, float64(l.First), feed, line, "first")
		emit(lineMessages, float64(l.Duplicate), feed, line, "duplicate")
		emit(lineMessages, float64(l.Late), feed, line, "late")
		emit(lineMessages, float64(l.Other), feed, line, "other")
		emit(lineFilled, float64(l.Filled), feed, line)
	}
}

func readGroup(emit Emit, name string, s conn.GroupStats) {
	emit(groupConnections, float64(s.Connections), name)
	emit(groupSlow, float64(s.Slow), name)
	emit(groupWaiting, float64(s.Waiting), name)
	emit(groupMost, float64(s.MostWaiting), name)
	emit(groupRemoved, float64(s.Removed), name)
}
