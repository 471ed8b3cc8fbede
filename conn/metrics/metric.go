package metrics

import (
	"slices"
	"strings"
)

// Kind is the kind of a metric's values.
type Kind uint8

// The kinds.
const (
	Counter   Kind = iota // a sum that never falls
	UpDown                // a sum that may fall; adding it over feeds is meaningful
	Gauge                 // a value that must not be added up
	Histogram             // a distribution: see Set.Histograms
)

// Metric describes one metric. Feeds share it, and labels distinguish them.
type Metric struct {
	// Name is dotted, as in OpenTelemetry.
	Name string
	// Unit is UCUM: "s", "By", or an annotation such as "{message}".
	Unit string
	// Kind says how its values are to be read.
	Kind Kind
	// Help is one sentence about it.
	Help string
	// Labels are the keys of the labels, in the order of their values.
	Labels []string
	// Bounds are the upper bounds of a Histogram's buckets, without +Inf.
	Bounds []float64
}

// Prometheus returns the name in Prometheus: with underscores, the unit, and _total for a
// counter. An OpenTelemetry exporter for Prometheus makes the same name from Name and
// Unit.
func (m *Metric) Prometheus() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	switch m.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

// The keys of labels.
const (
	LabelFeed      = "feed"      // the name from the program
	LabelLine      = "line"      // from "0"; "" for Conns
	LabelGroup     = "group"     // the name from the program
	LabelDirection = "direction" // "receive" or "transmit"
	LabelSide      = "side"      // see redial.Side
	LabelCode      = "code"      // a registered Close code, "3xxx", "4xxx" or "other"
	LabelReason    = "reason"    // why an attempt failed
	LabelOutcome   = "outcome"   // "first", "duplicate", "late" or "other"
)

const (
	receive  = "receive"
	transmit = "transmit"
)

// Metrics returns all metrics, in a fixed order. Do not change them.
func Metrics() []*Metric { return slices.Clone(all) }

var all []*Metric

func define(kind Kind, name, unit, help string, labels ...string) *Metric {
	m := &Metric{Name: "tickwire." + name, Unit: unit, Kind: kind, Help: help, Labels: labels}
	if kind == Histogram {
		m.Bounds = roundTripBounds[:]
	}
	all = append(all, m)
	return m
}

// Of a redial.Client.
var (
	clientDials     = define(Counter, "client.dials", "{dial}", "Attempts to connect that have begun.", LabelFeed, LabelLine)
	clientFailed    = define(Counter, "client.failed_attempts", "{attempt}", "Attempts that failed, in OnConnect too, by reason.", LabelFeed, LabelLine, LabelReason)
	clientSessions  = define(Counter, "client.sessions", "{session}", "Connections on which OnConnect has succeeded.", LabelFeed, LabelLine)
	clientRotations = define(Counter, "client.rotations", "{rotation}", "Connections replaced at their MaxAge.", LabelFeed, LabelLine)
	clientUp        = define(UpDown, "client.up", "{session}", "1 while there is a session, otherwise 0.", LabelFeed, LabelLine)
	clientDown      = define(Counter, "client.down.time", "s", "Time without a session while the client ran.", LabelFeed, LabelLine)
	clientDelivered = define(Counter, "client.messages.delivered", "{message}", "Messages that the handler got.", LabelFeed, LabelLine)
	clientConsumed  = define(Counter, "client.messages.consumed", "{message}", "Messages that LifeSign consumed: answers and pings.", LabelFeed, LabelLine)
	clientSent      = define(Counter, "client.messages.sent", "{message}", "Messages sent by Send and LifeSign.", LabelFeed, LabelLine)
	clientRefused   = define(Counter, "client.outbound.refused", "{frame}", "Messages, pings and pongs that Outbound refused.", LabelFeed, LabelLine)
)

// Of connections: sums over open connections and those that have ended.
var (
	connOpen       = define(UpDown, "conn.open", "{connection}", "Connections that are open.", LabelFeed, LabelLine)
	connClosed     = define(Counter, "conn.closed", "{connection}", "Ended connections, also without a session, by who ended them and the peer's code.", LabelFeed, LabelLine, LabelSide, LabelCode)
	connMessages   = define(Counter, "conn.messages", "{message}", "Messages read and written.", LabelFeed, LabelLine, LabelDirection)
	connIO         = define(Counter, "conn.io", "By", "Bytes read from and written to the transport.", LabelFeed, LabelLine, LabelDirection)
	connPings      = define(Counter, "conn.pings", "{ping}", "Pings read and written.", LabelFeed, LabelLine, LabelDirection)
	connPongs      = define(Counter, "conn.pongs", "{pong}", "Pongs read and written.", LabelFeed, LabelLine, LabelDirection)
	connReads      = define(Counter, "conn.reads", "{read}", "Reads of the transport that returned bytes.", LabelFeed, LabelLine)
	connWaits      = define(Counter, "conn.waits", "{wait}", "Reads that found nothing and waited.", LabelFeed, LabelLine)
	connWrites     = define(Counter, "conn.writes", "{write}", "Writes to the transport.", LabelFeed, LabelLine)
	connStamped    = define(Counter, "conn.stamped_reads", "{read}", "Reads with a known receive lag (Config.Timestamps).", LabelFeed, LabelLine)
	connLag        = define(Counter, "conn.receive_lag.time", "s", "Sum of the receive lags of stamped reads: the wait in the kernel.", LabelFeed, LabelLine)
	connMaxLag     = define(Gauge, "conn.receive_lag.max", "s", "Longest receive lag of the connections that are open.", LabelFeed, LabelLine)
	connMaxBacklog = define(Gauge, "conn.receive_backlog.max", "By", "Most bytes that a read of an open connection left in the kernel.", LabelFeed, LabelLine)
	connSlow       = define(Counter, "conn.slow_reads", "{event}", "Times that this side was found to read too slowly (Observer.Slow).", LabelFeed, LabelLine)
	connRoundTrip  = define(Histogram, "conn.round_trip.duration", "s", "Round-trip time of pings.", LabelFeed, LabelLine)
)

// Of a redial.Arbiter or redial.Lines, and of each of its lines.
var (
	arbiterDelivered = define(Counter, "arbiter.messages.delivered", "{message}", "Messages delivered in order, once each.", LabelFeed)
	arbiterDropped   = define(Counter, "arbiter.messages.dropped", "{message}", "First copies that others, a snapshot or a reset cover.", LabelFeed)
	arbiterGaps      = define(Counter, "arbiter.gaps", "{gap}", "Gaps: runs of numbers that no line delivered in time.", LabelFeed)
	arbiterForced    = define(Counter, "arbiter.forced_gaps", "{gap}", "Gaps declared before the window ended, because too much waited.", LabelFeed)
	arbiterMissing   = define(Counter, "arbiter.numbers.missing", "{number}", "Numbers that are missing in gaps.", LabelFeed)
	arbiterRestarts  = define(Counter, "arbiter.restarts", "{restart}", "Times that the numbering restarted.", LabelFeed)
	arbiterWaiting   = define(UpDown, "arbiter.waiting", "{message}", "Messages that wait for earlier numbers.", LabelFeed)
	arbiterBytes     = define(UpDown, "arbiter.waiting.size", "By", "Size of the messages that wait for earlier numbers.", LabelFeed)
	lineMessages     = define(Counter, "arbiter.line.messages", "{message}", "Messages from a line, by outcome.", LabelFeed, LabelLine, LabelOutcome)
	lineFilled       = define(Counter, "arbiter.line.filled", "{message}", "Messages from a line for which later ones waited.", LabelFeed, LabelLine)
)

// Of a conn.Group.
var (
	groupConnections = define(UpDown, "group.connections", "{connection}", "Connections in the group.", LabelGroup)
	groupSlow        = define(UpDown, "group.slow", "{connection}", "Connections with queued bytes.", LabelGroup)
	groupWaiting     = define(UpDown, "group.waiting.size", "By", "Bytes queued for slow connections.", LabelGroup)
	groupMost        = define(Gauge, "group.waiting.max", "By", "Most bytes queued for one connection, bounded by Group.Lag.", LabelGroup)
	groupRemoved     = define(Counter, "group.removed", "{connection}", "Connections ended because they were too slow.", LabelGroup)
)
