package report

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// notes has what profiles say about rows that fall short, each under the heading of its scenario.
//
//go:embed notes.md
var notes string

// Write makes BENCHMARKS.md in root and the charts in bench/charts, from files of raw results.
func Write(root string, files ...string) error {
	results, err := load(files)
	if err != nil {
		return err
	}
	all := groups(Rows(results))
	charts, err := drawAll(filepath.Join(root, "bench", "charts"), all)
	if err != nil {
		return err
	}
	var b strings.Builder
	head(&b, results)
	targetTable(&b, all)
	for _, s := range scenario.All {
		section(&b, s, all, results, charts)
	}
	return os.WriteFile(filepath.Join(root, "BENCHMARKS.md"), []byte(b.String()), 0o666)
}

// load reads files of results. Where a case is in several files the last one counts.
func load(files []string) ([]scenario.Result, error) {
	var results []scenario.Result
	for _, f := range files {
		more, err := scenario.Read(f)
		if err != nil {
			return nil, err
		}
		results = replaced(results, more)
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no results in %s", strings.Join(files, ", "))
	}
	return results, nil
}

// replaced returns old without the cases that are in more, and more.
func replaced(old, more []scenario.Result) []scenario.Result {
	type kase struct {
		scenario, name string
		profile        bool
	}
	of := func(r scenario.Result) kase { return kase{r.Scenario, r.Case, r.Profile != nil} }
	in := make(map[kase]bool)
	for _, r := range more {
		in[of(r)] = true
	}
	return append(slices.DeleteFunc(old, func(r scenario.Result) bool { return in[of(r)] }), more...)
}

const method = `Every figure is a median, and only figures of one table compare: they were taken in turns, in one run, on one machine that
other jobs share. In memory (decode, encode) all entrants take turns in batches of 100 µs, and a batch counts only if the
processor ran at full speed before and after it; the figure is the median of 15 such batches, then of the rounds. Over
sockets each entrant has processes of its own, and the entrants are shuffled in each round; feeds over TCP and round trips, where what
others do on the machine makes the most of a figure, are measured in many short turns, the processes made anew after every %d.
The median of round trips on one CPU is of batches that ran at full speed, as in memory; the high percentiles are of all trips.
CPU is what the kernel accounts to the process that is measured, the peer being another one. "Quartiles" are those of the rounds. "Ratio" is against tickwire in the
same table: 2.00 is twice as much of what the column counts.

All libraries get a 64 KiB read buffer where their documentation has a knob for it, which is what tickwire takes by itself, a
write buffer that holds the whole message, and each is called in the way that its documentation calls fastest; the adapters in [bench/entrant](bench/entrant) say why for
each call. "Limits" are programs without a protocol that do only what nobody can leave out. Messages are JSON of numbers and
short keys, their lengths within a quarter of the size that is named. Where a row of tickwire's falls short of its target,
the top of its profile stands under the table, taken in a run of its own.
`

func head(b *strings.Builder, results []scenario.Result) {
	last := results[len(results)-1]
	commits, goes := make(map[string]bool), make(map[string]bool)
	for _, r := range results {
		commits[r.Commit], goes[r.Go] = true, true
	}
	fmt.Fprintf(b, "# Benchmarks\n\nWritten by `GOWORK=off go -C bench run ./cmd/compare -report`; the command above each table prints that table. ")
	fmt.Fprintf(b, "Measured %s on %s, tier %s, %s, commit %s.\n\n%s\n", last.Time.Format("2006-01-02"), last.CPU, last.Tier,
		strings.Join(slices.Sorted(maps.Keys(goes)), ", "), commitList(slices.Sorted(maps.Keys(commits))), fmt.Sprintf(method, scenario.ProcessTurns))
	b.WriteString("The kernels (masking, masked copy, UTF-8) have a command of their own, `GOWORK=off go -C bench run ./cmd/kernels`. Whether a change made something slower:\n" +
		"`GOWORK=off go -C bench run ./cmd/gate -base REV`.\n\n")
	b.WriteString("| entrant | module | version | used by | UTF-8 is checked by |\n|---|---|---|---|---|\n")
	for _, e := range entrant.All() {
		i := e.Info()
		version := ""
		for _, r := range results {
			if r.Entrant == i.Name {
				version = r.Version
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", i.Name, i.Module, version, i.Calls, i.Check)
	}
	b.WriteByte('\n')
}

// commitList is the commits that results are of.
func commitList(commits []string) string {
	list := strings.Join(commits, ", ")
	if strings.Contains(list, "+") {
		list += " (+: with changes that were not committed)"
	}
	return list
}

func targetTable(b *strings.Builder, all []group) {
	b.WriteString("## Targets\n\nRatios are the other's figure over ours where they are to be at least so much, and ours over the other's where at most. " +
		"Calls without a connection are judged by calls without one (tickwire/frame, which is frame.Reader and frame.Writer, by gobwas-low), connections by connections " +
		"(tickwire, which is ReadMessage and WriteMessage, by gws, gorilla and coder). In decode and encode a connection against calls without one stands beside, its bound in brackets: " +
		"it also has a lock, a queue, limits, clocks and control frames, which the other leaves to its caller. Behind \"falls short\" stands what a limit would reach in our place.\n\n" +
		"| scenario | ours | against | measured | at least | aim | |\n|---|---|---|---:|---:|---:|---|\n")
	title := ""
	for _, t := range targets() {
		o := t.judge(all)
		shown := o.title
		if shown == title {
			shown = ""
		}
		title = o.title
		against, value := o.name, "–"
		switch {
		case o.figure && o.metric != "":
			against = o.metric
		case o.figure:
			against = mains[o.scenario].main
		case o.otherCase != "":
			against = "itself: " + o.otherCase
		}
		if o.known {
			value = o.ratio(o.value)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", shown, o.ours, against, value, o.bound(o.least), o.bound(o.want), o.verdict())
	}
	b.WriteByte('\n')
}

func section(b *strings.Builder, s scenario.Scenario, all []group, results []scenario.Result, charts map[string][]string) {
	some := slices.DeleteFunc(slices.Clone(all), func(g group) bool { return g.scenario != s.Name })
	if len(some) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s: %s\n\n", s.Name, s.About)
	if note := noteOf(s.Name); note != "" {
		b.WriteString(note + "\n\n")
	}
	for _, c := range charts[s.Name] {
		fmt.Fprintf(b, "![%s](bench/charts/%s)\n", s.About, c)
	}
	if len(charts[s.Name]) > 0 {
		b.WriteByte('\n')
	}
	for _, g := range some {
		switch {
		case g.name == scenario.KernelRows:
			kernelRows(b, g)
		case strings.HasSuffix(g.name, scenario.KernelSizes):
			kernelSizes(b, g)
		default:
			table(b, g)
		}
		for _, r := range results {
			if r.Profile != nil && r.Scenario == g.scenario && r.Case == g.name {
				profile(b, g, r)
			}
		}
	}
}

// profile is the table of where an entrant's time or memory goes.
func profile(b *strings.Builder, g group, r scenario.Result) {
	fmt.Fprintf(b, "Where %s falls short: its %s, in percent.\n\n`GOWORK=off go -C bench run ./cmd/compare -run '%s' -entrants %s -profile DIR`\n\n", r.Entrant, r.Profile.Of, pattern(g), r.Entrant)
	b.WriteString("| function | itself | with what it calls |\n|---|---:|---:|\n")
	for _, s := range r.Profile.Top {
		fmt.Fprintf(b, "| `%s` | %.1f | %.1f |\n", s.Function, s.Flat, s.Sum)
	}
	b.WriteByte('\n')
}

// kernelRows is the table of the kernels' ratios.
func kernelRows(b *strings.Builder, g group) {
	b.WriteString("`GOWORK=off go -C bench run ./cmd/kernels`\n\n| | ratio | bound | aim | |\n|---|---:|---:|---:|---|\n")
	for _, r := range g.rows {
		v, limit, aim, sign := r.Metrics["ratio"].Median, r.Metrics["at least"].Median, r.Metrics["aim"].Median, "≥ "
		holds := func(bound float64) bool { return v >= bound }
		if most, cost := r.Metrics["at most"]; cost {
			limit, sign = most.Median, "≤ "
			holds = func(bound float64) bool { return v <= bound }
		}
		bound := sign + figure(limit)
		if limit == 0 {
			bound = "" // the row has an aim alone
		}
		o := outcome{target: target{least: limit}, known: true, met: limit == 0 || holds(limit), wanted: holds(aim)}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", strings.ReplaceAll(r.Entrant, "|", "/"), figure(v), bound, sign+figure(aim), o.verdict())
	}
	b.WriteByte('\n')
}

// kernelSizes is a table of functions over sizes, one line per size.
func kernelSizes(b *strings.Builder, g group) {
	fmt.Fprintf(b, "### %s: %s\n\nPayload at offset 6. `GOWORK=off go -C bench run ./cmd/kernels -sizes`\n\n|", g.scenario, g.name)
	for _, r := range g.rows {
		b.WriteString(" | " + r.Entrant)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---:|", len(g.rows)) + "\n")
	for _, size := range g.units() {
		b.WriteString("| " + size)
		for _, r := range g.rows {
			b.WriteString(" | " + figure(r.Metrics[size].Median))
		}
		b.WriteString(" |\n")
	}
	b.WriteByte('\n')
}

// noteOf returns what notes.md has under "## scenario".
func noteOf(scenario string) string {
	_, rest, found := strings.Cut(notes, "## "+scenario+"\n")
	if !found {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return strings.TrimSpace(rest)
}

func table(b *strings.Builder, g group) {
	m := mains[g.scenario]
	fmt.Fprintf(b, "### %s: %s\n\n`GOWORK=off go -C bench run ./cmd/compare -run '%s'`, here %s\n\n", g.scenario, g.name, pattern(g), g.rounds())
	more := slices.DeleteFunc(slices.Clone(m.more), func(unit string) bool {
		return !slices.ContainsFunc(g.rows, func(r *Row) bool { _, has := r.Metrics[unit]; return has })
	})
	fmt.Fprintf(b, "| | %s | quartiles | ratio |", m.main)
	for _, unit := range more {
		fmt.Fprintf(b, " %s |", unit)
	}
	b.WriteString("\n|---|---:|---:|---:|" + strings.Repeat("---:|", len(more)) + "\n")
	for _, r := range g.rows {
		s := r.Metrics[m.main]
		name := r.Entrant
		if strings.HasPrefix(name, "tickwire") {
			name = "**" + name + "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s–%s | %s |", name, figure(s.Median), figure(s.Low), figure(s.High), g.ratio(r))
		for _, unit := range more {
			fmt.Fprintf(b, " %s |", figure(r.Metrics[unit].Median))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

// rounds says of how many rounds the figures are.
func (g group) rounds() string {
	most := 0
	for _, r := range g.rows {
		most = max(most, r.Metrics[mains[g.scenario].main].Rounds)
	}
	if most == 1 {
		return "one round"
	}
	return fmt.Sprintf("%d rounds", most)
}

// pattern returns the expression that picks this case.
func pattern(g group) string {
	return "^" + regexp.QuoteMeta(g.scenario+"/"+g.name) + "$"
}
