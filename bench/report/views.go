package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// column is a case, or one metric of a case, in a table of several.
type column struct {
	head   string
	kase   string // a prefix is enough
	metric string // instead of the scenario's main one
}

// view is the one table of a scenario in BENCHMARKS.md: entrants by cases.
type view struct {
	scenario string
	says     string // what the figures are
	columns  []column
}

// mostRows is the most rows of a view.
const mostRows = 12

// views are the views of the report, in the order of the scenarios.
var views = []view{
	{"decode", "Nanoseconds a message from memory, as a client (server: masked).", []column{
		{"60 B", "60 B, unmasked, UTF-8 checked", ""}, {"200 B", decode200, ""}, {"1000 B", "1000 B, unmasked, UTF-8 checked", ""},
		{"8000 B", "8000 B, unmasked, UTF-8 checked", ""}, {"200 B, 13 % CJK", "200 B with 13 % CJK, unmasked", ""},
		{"200 B, server", decode200m, ""}, {"allocations, 200 B", decode200, "allocs/message"},
	}},
	{"encode", "Nanoseconds a message into memory.", []column{
		{"60 B, client", "60 B, client", ""}, {"200 B, client", "200 B, client", ""}, {"1000 B, client", "1000 B, client", ""},
		{"8000 B, client", "8000 B, client", ""}, {"200 B, server", "200 B, server", ""}, {"allocations, 200 B", "200 B, client", "allocs/message"},
	}},
	{"feed", "Nanoseconds of CPU a message, from a loopback socket that is never empty. wss: a TLS record a message, or large records. UTF-8 is checked, except at 60 B over ws.", []column{
		{"ws, 200 B", feedTCP, ""}, {"ws, CJK", "TCP, 200 B with 13 % CJK", ""}, {"ws, 60 B", "TCP, 60 B", ""}, {"wss, 200 B", feedRecords, ""},
		{"wss, 60 B", "TLS, 60 B", ""}, {"wss, 1000 B", "TLS, 1000 B", ""}, {"wss, large records", feedLarge, ""}, {"deflate", feedDeflate, ""},
	}},
	{"paced", "One message every 100 µs to one connection: nanoseconds of CPU a message, and the time from the sender's stamp to the message's handing out.", []column{
		{"ws, CPU", "ws, ", ""}, {"p50 µs", "ws, ", "p50 µs"}, {"p99 µs", "ws, ", "p99 µs"},
		{"wss, CPU", "wss, ", ""}, {"p50 µs", "wss, ", "p50 µs"}, {"p99 µs", "wss, ", "p99 µs"},
	}},
	{"lines", "200 B over ws, one processor reads all connections: microseconds from the sender's stamp to the handler (p50, p99.9), and nanoseconds of CPU a message.", []column{
		{"1 × 10,000/s, p50", linesAt(1, 10_000), ""}, {"CPU", linesAt(1, 10_000), "cpu ns/message"},
		{"16 × 10,000/s, p50", linesAt(16, 10_000), ""}, {"p99.9", linesAt(16, 10_000), "p99.9 µs"}, {"CPU", linesAt(16, 10_000), "cpu ns/message"},
		{"128 × 100,000/s, p50", linesAt(128, 100_000), ""}, {"p99.9", linesAt(128, 100_000), "p99.9 µs"}, {"CPU", linesAt(128, 100_000), "cpu ns/message"},
	}},
	{"echo", "A message of 128 B and its answer, microseconds. Both ends run the same library.", []column{
		{"one CPU, p50", "128 B, both ends", ""}, {"p99", "128 B, both ends", "p99 µs"}, {"CPU ns", "128 B, both ends", "client cpu ns/message"},
		{"a CPU each, p50", "128 B, each end", ""}, {"p99", "128 B, each end", "p99 µs"}, {"CPU ns", "128 B, each end", "client cpu ns/message"},
	}},
	{"fanout", "Nanoseconds of the server's CPU for each client and message.", []column{
		{"1,000 clients", fanout1000, ""}, {"writes a message", fanout1000, "writes/message"}, {"10,000 clients", "200 B to 10000 clients", ""},
		{"writes a message", "200 B to 10000 clients", "writes/message"},
	}},
	{"handshake", "A handshake as the server's.", []column{
		{"allocations", "allocations", ""}, {"CPU ns", "", "cpu ns/handshake"}, {"a second", "", "handshakes/s"},
	}},
	{"idle", "Bytes of memory for each connection that has carried a message and waits.", []column{
		{"resident", "", ""}, {"heap", "", "heap B/connection"}, {"stack", "", "stack B/connection"},
	}},
	{"sdk", "Trades of go-binance, with gorilla and with conn/gorilla in its place: nanoseconds of CPU a message. Decoding JSON is most of it.", []column{
		{"ws", "aggTrade of go-binance, ws", ""}, {"wss", "aggTrade of go-binance, wss", ""},
		{"ws, compressed", "aggTrade of go-binance, ws, compressed", ""}, {"wss, compressed", "aggTrade of go-binance, wss, compressed", ""},
		{"allocations, ws", "aggTrade of go-binance, ws", "allocs/message"},
	}},
	{"feed-languages", "Nanoseconds of CPU a message, as in feed, by programs in other languages.", []column{
		{"ws, 60 B", "ws, 60 B", ""}, {"ws, 200 B", "ws, 200 B", ""}, {"ws, 1000 B", "ws, 1000 B", ""},
		{"wss, 60 B", "wss, 60 B", ""}, {"wss, 200 B", "wss, 200 B", ""}, {"wss, 1000 B", "wss, 1000 B", ""},
	}},
	{"echo-languages", "A message of 128 B and its answer from one server for all, on one CPU, microseconds.", []column{
		{"p50", "", ""}, {"p99", "", "p99 µs"}, {"p99.9", "", "p99.9 µs"}, {"CPU ns", "", "client cpu ns/message"},
	}},
}

// linesAt returns the name of a case of the scenario lines, over ws.
func linesAt(n, rate int) string { return scenario.LinesCase("ws", n, rate) }

// groups returns the case of each column, nil if it was not run.
func (v view) groups(all []group) []*group {
	var cases []*group
	for _, c := range v.columns {
		g := find(all, v.scenario, c.kase)
		if c.kase == "" && c.metric != "" { // any case that has it
			for i := range all {
				if all[i].scenario == v.scenario && all[i].has(c.metric) {
					g = &all[i]
					break
				}
			}
		}
		cases = append(cases, g)
	}
	return cases
}

// has reports whether any row has the metric.
func (g *group) has(metric string) bool {
	return slices.ContainsFunc(g.rows, func(r *Row) bool { return r.Metrics[metric].Rounds > 0 })
}

func (v view) metric(i int) string { return cmp.Or(v.columns[i].metric, mains[v.scenario].main) }

// entrants returns the names of the rows: best first in the first column that was run,
// limits last. If there are too many, slower entrants of the same library are dropped
// first, then limits. In a view with programs in other languages, libraries in Go are
// dropped first.
func (v view) entrants(cases []*group) []string {
	var names []string
	for _, g := range cases {
		if g == nil {
			continue
		}
		for _, r := range g.rows {
			if !slices.Contains(names, r.Entrant) {
				names = append(names, r.Entrant)
			}
		}
	}
	drop := func(may func(name string, before []string) bool) {
		for i := len(names) - 1; i >= 0 && len(names) > mostRows; i-- {
			if may(names[i], names[:i]) {
				names = slices.Delete(names, i, i+1)
			}
		}
	}
	limit := func(name string) bool { return strings.HasPrefix(name, "limit:") }
	foreign := func(name string) bool { return strings.Contains(name, ": ") && !limit(name) }
	ours := func(name string) bool { return library(name) == "tickwire" }
	if slices.ContainsFunc(names, foreign) {
		drop(func(name string, _ []string) bool { return !foreign(name) && !ours(name) })
		drop(func(name string, _ []string) bool { return foreign(name) })
	}
	drop(func(name string, before []string) bool {
		return !limit(name) && !ours(name) && slices.ContainsFunc(before, func(b string) bool { return library(b) == library(name) })
	})
	drop(func(name string, before []string) bool { return limit(name) && slices.ContainsFunc(before, limit) })
	drop(func(name string, _ []string) bool { return limit(name) })
	drop(func(name string, _ []string) bool { return name != "tickwire" && ours(name) })
	drop(func(name string, _ []string) bool { return name != "tickwire" })
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(boolToInt(limit(a)), boolToInt(limit(b)))
	})
	return names
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// write writes the table, and the command above it.
func (v view) write(b *strings.Builder, all []group) {
	cases := v.groups(all)
	names := v.entrants(cases)
	if len(names) == 0 {
		return
	}
	var patterns []string
	for _, g := range cases {
		if g != nil && !slices.Contains(patterns, regexp.QuoteMeta(g.name)) {
			patterns = append(patterns, regexp.QuoteMeta(g.name))
		}
	}
	pattern := "^" + v.scenario + "/" + patterns[0] + "$"
	if len(patterns) > 1 {
		pattern = "^" + v.scenario + "/(" + strings.Join(patterns, "|") + ")$"
	}
	flags := ""
	if strings.HasSuffix(v.scenario, "-languages") {
		flags = " -languages"
	}
	fmt.Fprintf(b, "%s\n\n```\nGOWORK=off go -C bench run ./cmd/compare%s -run '%s'\n```\n\n|", v.says, flags, pattern)
	for i, c := range v.columns {
		if cases[i] != nil {
			b.WriteString(" | " + c.head)
		}
	}
	b.WriteString(" |\n|---|")
	for i := range v.columns {
		if cases[i] != nil {
			b.WriteString("---:|")
		}
	}
	b.WriteByte('\n')
	for _, name := range names {
		var cells []string
		version := ""
		for i, g := range cases {
			if g == nil {
				continue
			}
			r := g.row(name)
			cells = append(cells, r.cell(v.metric(i)))
			if r != nil && strings.Contains(name, ": ") && !strings.HasPrefix(name, "limit:") {
				version = " " + r.Version
			}
		}
		if strings.HasPrefix(name, "tickwire") {
			name = "**" + name + "**"
		}
		fmt.Fprintf(b, "| %s%s | %s |\n", name, version, strings.Join(cells, " | "))
	}
	b.WriteByte('\n')
}

// cell formats a metric of a row, which may be nil.
func (r *Row) cell(metric string) string {
	switch {
	case r == nil || r.Metrics[metric].Rounds == 0:
		return "–"
	case r.refused[metric]:
		return "refused"
	}
	return figure(r.Metrics[metric].Median)
}

// quartiles formats the quartiles of the rounds.
func (r *Row) quartiles(metric string) string {
	if r.refused[metric] {
		return "–"
	}
	s := r.Metrics[metric]
	return figure(s.Low) + "–" + figure(s.High)
}

// summary is the first table: one column a scenario, one row a library.
var summary = []struct {
	head, scenario, kase string
	unit                 string
}{
	{"feed, ws", "feed", feedTCP, "ns of CPU a message"},
	{"feed, wss", "feed", feedRecords, "ns of CPU a message"},
	{"decode", "decode", decode200, "ns a message"},
	{"echo", "echo", "128 B, both ends", "µs a round trip"},
	{"fan-out to 1,000", "fanout", fanout1000, "ns of CPU a client and message"},
}

// summed are the libraries of the summary.
var summed = []string{"tickwire", "gobwas", "gws", "gorilla", "coder"}

// best returns the row of a library's fastest entrant in a case. For tickwire that is the
// one with ReadMessage and WriteMessage.
func (g *group) best(lib string) *Row {
	if g == nil {
		return nil
	}
	if lib == "tickwire" {
		return g.row(lib)
	}
	for _, r := range g.rows { // best first
		if library(r.Entrant) == lib && !r.refused[mains[g.scenario].main] {
			return r
		}
	}
	return nil
}

// summarizeAll writes the first table, and returns the panels of the first chart.
func summarizeAll(b *strings.Builder, all []group) []panel {
	var cases []*group
	var panels []panel
	b.WriteString("|")
	for _, s := range summary {
		cases = append(cases, find(all, s.scenario, s.kase))
		fmt.Fprintf(b, " | %s,<br>%s", s.head, s.unit)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---:|", len(summary)) + "\n")
	for _, lib := range summed {
		name := lib
		if lib == "tickwire" {
			name = "**tickwire**"
		}
		b.WriteString("| " + name)
		for _, g := range cases {
			b.WriteString(" | " + summaryCell(g, lib))
		}
		b.WriteString(" |\n")
	}
	b.WriteByte('\n')
	for i, s := range summary {
		if g := cases[i]; g != nil && g.row("tickwire") != nil {
			panels = append(panels, panel{s.head + ": " + s.unit, summaryBars(g)})
		}
	}
	return panels
}

func summaryCell(g *group, lib string) string {
	r := g.best(lib)
	if r == nil {
		return "–"
	}
	metric := mains[g.scenario].main
	ours := g.row("tickwire")
	if lib == "tickwire" || ours == nil || r.refused[metric] {
		return r.cell(metric)
	}
	return fmt.Sprintf("%s (%s)", r.cell(metric), times(r.Metrics[metric].Median/ours.Metrics[metric].Median))
}

func summaryBars(g *group) []bar {
	metric := mains[g.scenario].main
	ours := g.row("tickwire").Metrics[metric].Median
	var all []bar
	for _, lib := range summed {
		if r := g.best(lib); r != nil {
			v := r.Metrics[metric].Median
			all = append(all, bar{lib, v, v / ours})
		}
	}
	slices.SortStableFunc(all, func(a, b bar) int { return cmp.Compare(a.value, b.value) })
	return all
}
