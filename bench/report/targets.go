package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

// target is one line of the table of targets: a ratio, or a figure of tickwire alone.
type target struct {
	title    string
	scenario string
	kase     string // the case, or a prefix of its name
	ours     string // entrant
	metric   string // instead of the scenario's main one

	// "At least" targets: peer ÷ tickwire. "At most" targets, with cost set: tickwire ÷
	// peer. against is an entrant, or leanest: the best of the other libraries.
	against     string
	otherCase   string // of against, if not the same
	cost        bool
	least, want float64 // 0 means none

	// notAlike marks a target whose two sides do different work, such as a connection and
	// calls without one. The figure is shown without a verdict.
	notAlike bool

	// figure says that least and want are bounds of tickwire's figure itself.
	figure bool

	// limit is an entrant that does only the part of the work that every library must do.
	// If tickwire misses the target, the table shows what the limit reaches.
	limit string
}

const leanest = "the leanest other library"

const (
	decode200   = "200 B, unmasked, UTF-8 checked"
	decode200m  = "200 B, masked, UTF-8 checked"
	feedTCP     = "TCP, 200 B, UTF-8 checked"
	feedLarge   = "TLS, 200 B, large records"
	feedRecords = "TLS, 200 B, a record per message"
	feedDeflate = "TCP, 200 B, deflate with takeover"
	fanout1000  = "200 B to 1000 clients"
)

// faster returns targets for one case against several entrants.
func faster(title, scenario, kase, ours string, bounds ...any) []target {
	var all []target
	for i := 0; i < len(bounds); i += 3 {
		all = append(all, target{
			title: title, scenario: scenario, kase: kase, ours: ours,
			against: bounds[i].(string), least: number(bounds[i+1]), want: number(bounds[i+2]),
		})
	}
	return all
}

func number(v any) float64 {
	if n, ok := v.(int); ok {
		return float64(n)
	}
	return v.(float64)
}

// cost returns a target of at most want times another entrant's figure.
func cost(title, scenario, kase, ours, against string, least, want float64) target {
	return target{title: title, scenario: scenario, kase: kase, ours: ours, against: against, cost: true, least: least, want: want}
}

// within sets the limit of targets.
func within(limit string, all []target) []target {
	for i := range all {
		all[i].limit = limit
	}
	return all
}

// notAlike marks targets whose two sides do different work.
func notAlike(all []target) []target {
	for i := range all {
		all[i].notAlike = true
	}
	return all
}

// targets returns the project's targets, in the order of the report.
func targets() []target {
	var all []target
	add := func(t ...target) { all = append(all, t...) }

	const dec = "decode, 200 B text, UTF-8 checked, client side"
	add(faster(dec, "decode", decode200, "tickwire/frame", "gobwas-low", 2.4, 3)...)
	add(notAlike(faster(dec, "decode", decode200, "tickwire", "gobwas-low", 2.4, 3))...)
	add(faster(dec, "decode", decode200, "tickwire", "gws", 6, 8, "gorilla", 8, 10, "coder", 20, 25)...)
	add(cost(dec, "decode", decode200, "tickwire", entrant.LimitParse, 0, 0.9))
	add(cost(dec, "decode", decode200, "tickwire", "tickwire/frame", 0, 1.15))
	const unchecked = "decode, 200 B, UTF-8 off"
	add(faster(unchecked, "decode", "200 B, unmasked, unchecked", "tickwire/frame", "gobwas-low", 3, 0)...)
	add(notAlike(faster(unchecked, "decode", "200 B, unmasked, unchecked", "tickwire", "gobwas-low", 3, 0))...)
	add(cost(unchecked, "decode", "200 B, unmasked, unchecked", "tickwire/frame", entrant.LimitParse, 0, 1.5))
	const masked = "decode, 200 B text masked, UTF-8 checked, server side"
	add(faster(masked, "decode", decode200m, "tickwire/frame", "gobwas-low", 2.3, 0)...)
	add(notAlike(faster(masked, "decode", decode200m, "tickwire", "gobwas-low", 2.3, 0))...)
	add(faster(masked, "decode", decode200m, "tickwire", "gws", 6, 0, "gorilla", 8, 0, "coder", 20, 0)...)
	all = append(all, target{
		title: masked, scenario: "decode", kase: decode200m, ours: "tickwire", against: "tickwire", otherCase: decode200, cost: true, want: 1.25,
	})
	for _, size := range []string{"1000 B", "8000 B"} {
		title := "decode, " + size + ", UTF-8 checked"
		add(within(entrant.LimitParseKernel, faster(title, "decode", size+", unmasked, UTF-8 checked", "tickwire/frame", leanest, 2, 0))...)
		add(notAlike(faster(title, "decode", size+", unmasked, UTF-8 checked", "tickwire", leanest, 2, 0))...)
		add(cost(title, "decode", size+", unmasked, UTF-8 checked", "tickwire", entrant.LimitParseKernel, 0, 1.2))
	}

	const enc, encs = "encode, 200 B, client", "encode, 200 B, server"
	add(faster(enc, "encode", "200 B, client", "tickwire/frame", "gobwas-low", 1.5, 0)...)
	add(notAlike(faster(enc, "encode", "200 B, client", "tickwire", "gobwas-low", 1.5, 0))...)
	add(faster(enc, "encode", "200 B, client", "tickwire", "gws", 3.5, 0, "gorilla", 3.5, 0)...)
	add(cost(enc, "encode", "200 B, client", "tickwire/frame", entrant.LimitParse, 0, 1.1))
	add(faster(encs, "encode", "200 B, server", "tickwire/frame", "gobwas-low", 1.3, 0)...)
	add(notAlike(faster(encs, "encode", "200 B, server", "tickwire", "gobwas-low", 1.3, 0))...)
	add(cost(encs, "encode", "200 B, server", "tickwire/frame", entrant.LimitParse, 0, 1.1))

	add(faster("encode, 60 B, server", "encode", "60 B, server", "tickwire/frame", "gobwas-low", 1, 0)...)
	add(cost("encode, 60 B, server", "encode", "60 B, server", "tickwire", "gobwas-low", 0, 1.2))
	const queued = "encode, 100 of 200 B queued and flushed"
	add(cost(queued+", client", "encode", "200 B, client, 100", "tickwire", "tickwire/frame", 0, 1.1), cost(queued+", server", "encode", "200 B, server, 100", "tickwire", "tickwire/frame", 0, 1.1))

	const tcp = "feed over TCP, 200 B, UTF-8 checked"
	add(within(entrant.LimitDiscard, faster(tcp, "feed", feedTCP, "tickwire", "gobwas-low", 2.7, 0, "gws", 6, 0, "gorilla", 8, 0, "coder", 15, 0))...)
	add(cost(tcp, "feed", feedTCP, "tickwire-raw", entrant.LimitParseRaw, 0, 0.8), cost(tcp, "feed", feedTCP, "tickwire-plain", entrant.LimitParse, 0, 0.8))
	const short = "feed over TCP, 60 B, UTF-8 off"
	add(cost(short, "feed", "TCP, 60 B", "tickwire-messages", "tickwire-batch", 0, 1.1), cost(short, "feed", "TCP, 60 B", "tickwire", "tickwire-batch", 0, 1.25))
	const large = "feed over TLS, large records"
	add(faster(large, "feed", feedLarge, "tickwire", leanest, 1.1, 0, "gws", 2, 0, "gorilla", 2, 0)...)
	add(cost(large, "feed", feedLarge, "tickwire", entrant.LimitCopy, 0, 1.05))
	const record = "feed over TLS, one 200 B record per message"
	add(faster(record, "feed", feedRecords, "tickwire", leanest, 1.3, 0, "gws", 1.7, 0, "gorilla", 2, 0)...)
	add(cost(record, "feed", feedRecords, "tickwire", entrant.LimitBuffered, 0, 1.1))
	const opened = "feed over TLS, one 200 B record per message, with OpenRecords"
	add(faster(opened, "feed", feedRecords, "tickwire-opens", "tickwire", 1.3, 0, "gobwas-low", 1.75, 0, "gws", 2.4, 0, "gorilla", 3.4, 0)...)
	add(
		target{
			title: opened, scenario: "feed", kase: feedRecords, ours: "tickwire-opens", against: entrant.LimitReadOpen, cost: true, least: 1.45,
		},
		target{title: opened, scenario: "feed", kase: feedRecords, ours: "tickwire-opens", metric: "allocs/message", figure: true, least: 0.01},
	)
	const deflate = "feed with permessage-deflate and takeover, 200 B"
	add(faster(deflate, "feed", feedDeflate, "tickwire", "gws", 2.3, 3.2, "coder", 3, 0)...)

	const echo = "echo round trip, 128 B, p50"
	for _, ours := range []string{"tickwire", "tickwire-noclock"} {
		add(within(entrant.LimitParse, faster(echo+", one CPU", "echo", "128 B, both ends on one CPU", ours, leanest, 1, 0))...)
	}
	add(within(entrant.LimitParse, faster(echo+", across CPUs", "echo", "128 B, each end", "tickwire", leanest, 1, 0))...)
	add(cost(echo+", across CPUs", "echo", "128 B, each end", "tickwire-spin", leanest, 0, 0.6))
	add(faster(echo+", one CPU, beside other languages", "echo-languages", "", "tickwire-poller", leanest, 1, 0)...)
	add(faster(echo+", one CPU, beside other languages", "echo-languages", "", "tickwire-blocking", leanest, 1, 0)...)
	add(cost("16 lines, 10,000/s in total, p50", "lines", linesAt(16, 10_000), "tickwire-poller-spin", "tickwire", 0.25, 0))
	moderated := cost("16 lines, 10,000/s in total, CPU", "lines", linesAt(16, 10_000), "tickwire-poller-moderated", "tickwire", 0.333, 0)
	moderated.metric = "cpu ns/message"
	add(moderated)

	const fan = "fan-out to 1,000, server"
	add(faster(fan, "fanout", fanout1000, "tickwire", "gorilla", 1.2, 0, "gws", 1, 0)...)
	all = append(all, target{title: fan, scenario: "fanout", kase: fanout1000, ours: "tickwire", metric: "allocs/message", figure: true, least: 0.01})

	const dropIn = "conn/gorilla against gorilla, "
	all = append(all,
		cost(dropIn+"ReadMessage, 200 B, ws", "feed", "TCP, 200 B, unchecked", "tickwire-gorilla", "gorilla", 0.55, 0),
		cost(dropIn+"ReadMessage, 200 B, wss", "feed", feedLarge, "tickwire-gorilla", "gorilla", 0.6, 0),
		cost(dropIn+"idle server connections, the zero Upgrader", "idle", "", "tickwire-gorilla-default", "gorilla-default", 0.65, 0))

	const shake = "handshake, server, allocations"
	all = append(all,
		target{title: shake, scenario: "handshake", kase: "allocations", ours: "tickwire", figure: true, least: 4},
		target{title: shake, scenario: "handshake", kase: "allocations", ours: "tickwire-http", figure: true, least: 30, limit: entrant.LimitHijack},
		target{title: "resident bytes per idle connection", scenario: "idle", ours: "tickwire", figure: true, least: 6000, want: 4500},
	)
	return all
}

// Short is an entrant that misses a target in a case.
type Short struct{ Scenario, Case, Entrant string }

// FallingShort returns the entrants that miss targets in files of results, each once. It
// looks at the bounds, not at the aims.
func FallingShort(files ...string) ([]Short, error) {
	results, err := load(files)
	if err != nil {
		return nil, err
	}
	var short []Short
	all := groups(Rows(results))
	refuse(all)
	for _, t := range targets() {
		o := t.judge(all)
		if !o.known || o.met || o.notAlike {
			continue
		}
		one := Short{t.scenario, o.caseName, t.ours}
		if !slices.Contains(short, one) {
			short = append(short, one)
		}
	}
	return short, nil
}

// outcome is a target with its measurement.
type outcome struct {
	target
	value       float64
	name        string // of the entrant against
	caseName    string
	known       bool
	met, wanted bool
	limitValue  float64 // the figure of the limit; 0 if unknown
}

// judge finds the figures of a target among the groups.
func (t target) judge(all []group) outcome {
	o := outcome{target: t, name: t.against}
	metric := t.metric
	if metric == "" {
		metric = mains[t.scenario].main
	}
	g := find(all, t.scenario, t.kase)
	if g == nil || g.row(t.ours) == nil || g.row(t.ours).refused[metric] {
		return o
	}
	o.caseName = g.name
	o.value = g.row(t.ours).Metrics[metric].Median
	if r := g.row(t.limit); r != nil {
		o.limitValue = r.Metrics[metric].Median
	}
	if !t.figure {
		other := g
		if t.otherCase != "" {
			other = find(all, t.scenario, t.otherCase)
		}
		row := other.peer(t.against)
		if row == nil || row.refused[metric] {
			return o
		}
		o.name = row.Entrant
		o.value = row.Metrics[metric].Median / o.value
		if o.limitValue != 0 {
			o.limitValue = row.Metrics[metric].Median / o.limitValue
		}
		if t.cost {
			o.value = 1 / o.value
		}
	}
	o.known = true
	holds := func(bound float64) bool {
		switch {
		case bound == 0:
			return true
		case t.cost || t.figure:
			return rounded(o.value) <= bound
		}
		return rounded(o.value) >= bound
	}
	o.met, o.wanted = holds(t.least), holds(t.want)
	return o
}

// rounded rounds to the digits that are printed.
func rounded(v float64) float64 {
	if math.Abs(v) < 100 {
		return math.Round(v*100) / 100
	}
	return math.Round(v)
}

// peer returns the row of an entrant, or of the leanest other library.
func (g *group) peer(name string) *Row {
	if g == nil {
		return nil
	}
	if name != leanest {
		return g.row(name)
	}
	for _, r := range g.rows { // best first
		if !strings.HasPrefix(r.Entrant, "tickwire") && !strings.HasPrefix(r.Entrant, "limit:") {
			return r
		}
	}
	return nil
}

// bound formats a bound for the table.
func (o outcome) bound(v float64) string {
	switch {
	case v == 0:
		return ""
	case o.notAlike:
		return fmt.Sprintf("(%g×)", v)
	case o.figure:
		return "≤ " + figure(v)
	case o.cost:
		return "≤ " + fmt.Sprintf("%g×", v)
	}
	return "≥ " + fmt.Sprintf("%g×", v)
}

// ratio formats the measured ratio.
func (o outcome) ratio(v float64) string {
	if o.figure {
		return figure(v)
	}
	return fmt.Sprintf("%.2f×", v)
}

// verdict returns the last column.
func (o outcome) verdict() string {
	switch {
	case !o.known:
		return "not run, or refused"
	case o.notAlike:
		return "no verdict"
	case !o.met && o.limitValue != 0:
		return fmt.Sprintf("**falls short**; %s: %s", o.limit, o.ratio(o.limitValue))
	case !o.met:
		return "**falls short**"
	case !o.wanted && o.least == 0:
		return "aim not reached"
	case !o.wanted:
		return "reached, aim not"
	}
	return "reached"
}
