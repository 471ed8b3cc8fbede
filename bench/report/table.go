// Package report turns raw results into tables, BENCHMARKS.md and charts.
package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// Row is one entrant in one case, with all its rounds.
type Row struct {
	Scenario, Case, Entrant, Version, Command string
	Metrics                                   map[string]Summary

	units   []string        // in the order of the results
	refused map[string]bool // figures that their neighbours in size contradict
}

// Summary is the median over rounds, and the quartiles.
type Summary struct {
	Median, Low, High float64
	Rounds            int
}

// key is an entrant in a case.
type key struct{ scenario, kase, entrant string }

func keyOf(r scenario.Result) key { return key{r.Scenario, r.Case, r.Entrant} }

// Rows collects the rounds of results, in the order in which cases and entrants first
// occur. An entrant that failed in a case has no row there, because it has fewer rounds
// than the others. missing names it.
func Rows(results []scenario.Result) []*Row {
	gone := make(map[key]bool)
	for _, r := range missing(results) {
		gone[keyOf(r)] = true
	}
	at := make(map[key]*Row)
	values := make(map[*Row]map[string][]float64)
	var rows []*Row
	for _, r := range results {
		k := keyOf(r)
		if r.Profile != nil || gone[k] {
			continue
		}
		row := at[k]
		if row == nil {
			row = &Row{Scenario: r.Scenario, Case: r.Case, Entrant: r.Entrant, Version: r.Version, Metrics: make(map[string]Summary)}
			at[k], values[row] = row, make(map[string][]float64)
			rows = append(rows, row)
		}
		row.Command = r.Command
		for _, unit := range slices.Sorted(maps.Keys(r.Metrics)) {
			v := r.Metrics[unit]
			if !slices.Contains(row.units, unit) {
				row.units = append(row.units, unit)
			}
			values[row][unit] = append(values[row][unit], v)
		}
	}
	for _, row := range rows {
		for unit, v := range values[row] {
			row.Metrics[unit] = summarize(v)
		}
	}
	return rows
}

func summarize(v []float64) Summary {
	v = slices.Clone(v)
	slices.Sort(v)
	at := func(q float64) float64 {
		x := q * float64(len(v)-1)
		i := int(x)
		if i+1 == len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return Summary{Median: at(.5), Low: at(.25), High: at(.75), Rounds: len(v)}
}

// main is the metric that a scenario is judged by, and more are the other columns.
var mains = map[string]struct {
	main string
	more []string
}{
	"decode":    {"ns/message", []string{"allocs/message"}},
	"encode":    {"ns/message", []string{"allocs/message"}},
	"feed":      {"cpu ns/message", []string{"messages/s", "allocs/message", "reads/message", "GCs/million"}},
	"paced":     {"cpu ns/message", []string{"p50 µs", "p99 µs", "p99.9 µs", "messages/s", "allocs/message", "reads/message", "switches/million"}},
	"lines":     {"p50 µs", []string{"p99 µs", "p99.9 µs", "cpu ns/message", "messages/s", "allocs/message", "reads/message", "switches/million"}},
	"echo":      {"p50 µs", []string{"p99 µs", "p99.9 µs", "client cpu ns/message", "allocs/message", "reads/message"}},
	"fanout":    {"cpu ns/message", []string{"messages/s", "allocs/message", "writes/message"}},
	"handshake": {"allocs/handshake", []string{"cpu ns/handshake", "handshakes/s", "reads/handshake", "writes/handshake"}},
	"sdk":       {"cpu ns/message", []string{"messages/s", "allocs/message", "reads/message", "switches/million"}},
	"idle":      {"resident B/connection", []string{"heap B/connection", "stack B/connection", "unused B/connection", "runtime B/connection"}},

	"feed-languages": {"cpu ns/message", []string{"messages/s"}},
	"echo-languages": {"p50 µs", []string{"p99 µs", "p99.9 µs", "client cpu ns/message"}},
}

// group is the rows of one case, best first.
type group struct {
	scenario, name string
	rows           []*Row
}

func groups(rows []*Row) []group {
	var all []group
	for _, r := range rows {
		i := slices.IndexFunc(all, func(g group) bool { return g.scenario == r.Scenario && g.name == r.Case })
		if i < 0 {
			i = len(all)
			all = append(all, group{scenario: r.Scenario, name: r.Case})
		}
		all[i].rows = append(all[i].rows, r)
	}
	for _, g := range all {
		main := mains[g.scenario].main
		if main == "" {
			continue // the tables of kernels keep their order
		}
		slices.SortStableFunc(g.rows, func(a, b *Row) int { return cmp.Compare(a.Metrics[main].Median, b.Metrics[main].Median) })
	}
	return all
}

// ours returns the row of tickwire that others are compared with, or nil.
func (g group) ours() *Row {
	for _, name := range []string{"tickwire", "tickwire/frame"} {
		if r := g.row(name); r != nil {
			return r
		}
	}
	return nil
}

func (g group) row(entrant string) *Row {
	for _, r := range g.rows {
		if r.Entrant == entrant {
			return r
		}
	}
	return nil
}

// Print writes the tables of files of results as plain text.
func Print(w io.Writer, files ...string) error {
	results, err := load(files)
	if err != nil {
		return err
	}
	all := groups(Rows(results))
	for _, r := range refuse(all) {
		fmt.Fprintln(w, "refused:", r)
	}
	for _, g := range all {
		if g.scenario == "kernels" {
			printKernels(w, g)
			continue
		}
		m := mains[g.scenario]
		fmt.Fprintf(w, "\n%s: %s\n%-44s %12s %17s %8s", g.scenario, g.name, "", m.main, "quartiles", "ratio")
		for _, unit := range m.more {
			fmt.Fprintf(w, " %14s", unit)
		}
		fmt.Fprintln(w)
		for _, r := range g.rows {
			fmt.Fprintf(w, "%-44s %12s %17s %8s", r.Entrant, r.cell(m.main), r.quartiles(m.main), g.ratio(r))
			for _, unit := range m.more {
				fmt.Fprintf(w, " %14s", r.cell(unit))
			}
			fmt.Fprintln(w)
		}
	}
	for _, s := range scenario.All {
		for _, line := range without(results, s.Name) {
			fmt.Fprintf(w, "\n%s: no figures of %s\n", s.Name, line)
		}
	}
	for _, r := range results {
		if r.Profile == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s, %s: %% of %s, and with what it calls\n", r.Scenario, r.Case, r.Entrant, r.Profile.Of)
		for _, s := range r.Profile.Top {
			fmt.Fprintf(w, "%8.1f %8.1f  %s\n", s.Flat, s.Sum, s.Function)
		}
	}
	return nil
}

// missing returns what could not be run, or failed: each entrant once per case.
func missing(results []scenario.Result) []scenario.Result {
	var all []scenario.Result
	told := make(map[key]bool)
	for _, r := range results {
		if k := keyOf(r); r.Missing != "" && !told[k] {
			told[k] = true
			all = append(all, r)
		}
	}
	return all
}

// without says which entrants have no figures in cases of a scenario, and why. It returns
// a text with the cases for each entrant and reason.
func without(results []scenario.Result, name string) []string {
	var cases []string // of the scenario
	for _, r := range results {
		if r.Scenario == name && !slices.Contains(cases, r.Case) {
			cases = append(cases, r.Case)
		}
	}
	type fault struct{ entrant, why string }
	var faults []fault
	in := make(map[fault][]string)
	for _, r := range missing(results) {
		if r.Scenario != name {
			continue
		}
		f := fault{r.Entrant, r.Missing}
		if in[f] == nil {
			faults = append(faults, f)
		}
		in[f] = append(in[f], r.Case)
	}
	var all []string
	for _, f := range faults {
		where := strings.Join(in[f], "; ")
		if n := len(cases); n > 1 && len(in[f]) == n {
			where = fmt.Sprintf("all %d cases", n)
		}
		all = append(all, fmt.Sprintf("%s in %s: %s", f.entrant, where, f.why))
	}
	return all
}

// printKernels writes a table of the kernels: every metric of every row.
func printKernels(w io.Writer, g group) {
	fmt.Fprintf(w, "\nkernels: %s\n%-62s", g.name, "")
	units := g.units()
	for _, u := range units {
		fmt.Fprintf(w, " %12s", u)
	}
	fmt.Fprintln(w)
	for _, r := range g.rows {
		fmt.Fprintf(w, "%-62s", r.Entrant)
		for _, u := range units {
			fmt.Fprintf(w, " %12s", figure(r.Metrics[u].Median))
		}
		fmt.Fprintln(w)
	}
}

// units returns the metrics of the group's rows, in the order of measurement.
func (g group) units() []string {
	var all []string
	for _, r := range g.rows {
		for _, u := range r.units {
			if !slices.Contains(all, u) {
				all = append(all, u)
			}
		}
	}
	return all
}

// ratio returns r's main metric relative to tickwire's.
func (g group) ratio(r *Row) string {
	ours := g.ours()
	main := mains[g.scenario].main
	if ours == nil || ours.Metrics[main].Median == 0 || r.refused[main] || ours.refused[main] {
		return "–"
	}
	return fmt.Sprintf("%.2f", r.Metrics[main].Median/ours.Metrics[main].Median)
}

// figure formats a number with three significant digits.
func figure(v float64) string {
	switch a := max(v, -v); {
	case v == 0:
		return "0"
	case a < 0.01:
		return fmt.Sprintf("%.4f", v)
	case a < 1:
		return fmt.Sprintf("%.3f", v)
	case a < 10:
		return fmt.Sprintf("%.2f", v)
	case a < 100:
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
