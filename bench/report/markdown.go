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
	"github.com/seed-7f57ff33/tickwire/bench/peers"
	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// notes says what profiles show about rows that miss their targets, each under the
// heading of its scenario.
//
//go:embed notes.md
var notes string

// Write writes BENCHMARKS.md in root, and in bench the charts, METHOD.md, TARGETS.md and
// TABLES.md, from files of raw results.
func Write(root string, files ...string) error {
	results, err := load(files)
	if err != nil {
		return err
	}
	all := groups(Rows(results))
	refused := refuse(all)
	charts, err := drawAll(filepath.Join(root, "bench", "charts"), all)
	if err != nil {
		return err
	}
	first, err := front(filepath.Join(root, "bench", "charts"), all, results, charts, refused)
	if err != nil {
		return err
	}
	for path, text := range map[string]string{
		"BENCHMARKS.md":    first,
		"bench/METHOD.md":  methodPage(results),
		"bench/TARGETS.md": targetsPage(all, results),
		"bench/TABLES.md":  tablesPage(all, results, charts, refused),
	} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// front returns BENCHMARKS.md: the most important results, then a chart and a table for
// each scenario.
func front(dir string, all []group, results []scenario.Result, charts map[string][]chart, refused []Refusal) (string, error) {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n")
	b.WriteString(measuredOn(results) + " Less is better everywhere; in brackets: times tickwire's. Each library by its fastest way.\n\n")
	panels := summarizeAll(&b, all)
	if len(panels) > 0 {
		if err := drawPanels(filepath.Join(dir, "summary.svg"), "tickwire beside other libraries in Go", "less is better; in brackets: times tickwire's", panels); err != nil {
			return "", err
		}
		var said []string
		for _, p := range panels {
			said = append(said, altOf(p.title, p.all))
		}
		fmt.Fprintf(&b, "![%s](bench/charts/summary.svg)\n\n", strings.Join(said, ". "))
	}
	b.WriteString("Messages are JSON of 200 B, UTF-8 checked; a round trip has 128 B, both ends on one CPU; in fan-out messages follow one another, and a Group writes those that wait at once. [How it is measured](bench/METHOD.md), " +
		"[targets](bench/TARGETS.md), [all tables](bench/TABLES.md). All of this page again, in some 40 minutes:\n\n" +
		"```\nGOWORK=off go -C bench run ./cmd/compare -report\n```\n\n")
	b.WriteString("Other languages are in sections of their own at the end; they run with `-languages`, and `-from FILE,FILE -report` puts both runs into one page.\n\n")
	for _, s := range scenario.All {
		frontSection(&b, s, all, results, charts)
	}
	refusals(&b, refused)
	return b.String(), nil
}

// frontSection writes one chart, one table and the command of a scenario.
func frontSection(b *strings.Builder, s scenario.Scenario, all []group, results []scenario.Result, charts map[string][]chart) {
	gaps := without(results, s.Name)
	if len(gaps) == 0 && !slices.ContainsFunc(all, func(g group) bool { return g.scenario == s.Name }) {
		return
	}
	fmt.Fprintf(b, "## %s: %s\n\n", s.Name, s.About)
	if c := charts[s.Name]; len(c) > 0 {
		fmt.Fprintf(b, "![%s](bench/charts/%s)\n\n", c[0].alt, c[0].file)
	}
	for _, v := range views {
		if v.scenario == s.Name {
			v.write(b, all)
		}
	}
	if s.Name == "kernels" {
		if i := slices.IndexFunc(all, func(g group) bool { return strings.HasSuffix(g.name, scenario.KernelSizes) }); i >= 0 {
			kernelSizes(b, all[i])
		}
		b.WriteString("Masked copies and UTF-8 are in [all tables](bench/TABLES.md), the ratios and their bounds in [targets](bench/TARGETS.md).\n\n")
	}
	noFigures(b, gaps)
}

// noFigures writes the entrants that failed or could not be built, one a paragraph.
func noFigures(b *strings.Builder, gaps []string) {
	for _, line := range gaps {
		fmt.Fprintf(b, "No figures of %s.\n\n", line)
	}
}

// refusals writes the figures that are not printed.
func refusals(b *strings.Builder, refused []Refusal) {
	if len(refused) == 0 {
		return
	}
	fmt.Fprintf(b, "## Refused\n\nThese figures contradict those of neighbouring sizes, by more than %d times what the bytes allow. They are to be measured again.\n\n", slack)
	for _, r := range refused {
		fmt.Fprintf(b, "- %s\n", r)
	}
	b.WriteByte('\n')
}

// tablesPage returns a page with each case and all its entrants and metrics.
func tablesPage(all []group, results []scenario.Result, charts map[string][]chart, refused []Refusal) string {
	var b strings.Builder
	b.WriteString("# All tables\n\nEach case of each scenario; the command above a table prints it. [BENCHMARKS.md](../BENCHMARKS.md) has what matters most, [METHOD.md](METHOD.md) how it is measured.\n\n")
	for _, s := range scenario.All {
		section(&b, s, all, charts)
		noFigures(&b, without(results, s.Name))
	}
	refusals(&b, refused)
	return b.String()
}

// targetsPage returns a page with the targets, and a profile of each row that misses one.
func targetsPage(all []group, results []scenario.Result) string {
	var b strings.Builder
	b.WriteString("# Targets\n\n" + measuredOn(results) + "\n\n")
	targetTable(&b, all)
	for _, g := range all {
		if g.name == scenario.KernelRows {
			b.WriteString("## Kernels\n\n")
			kernelRows(&b, g)
		}
	}
	b.WriteString("## Where the time goes\n\n")
	for _, s := range scenario.All {
		var text strings.Builder
		if note := noteOf(s.Name); note != "" {
			text.WriteString(note + "\n\n")
		}
		for _, r := range results {
			i := slices.IndexFunc(all, func(g group) bool { return g.scenario == r.Scenario && g.name == r.Case })
			if r.Profile != nil && r.Scenario == s.Name && i >= 0 {
				profile(&text, all[i], r)
			}
		}
		if text.Len() > 0 {
			fmt.Fprintf(&b, "### %s\n\n%s", s.Name, text.String())
		}
	}
	return b.String()
}

// load reads files of results. If a case is in several files the last one counts.
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

// replaced returns old without the cases in more, followed by more.
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

const method = `Every figure is a median. Compare only figures of one table: they were taken in turns, in one run, on one machine that other
jobs share.

In memory (decode, encode) the entrants take turns in batches of 100 µs. A batch counts only if the processor ran at full
speed before and after it. A figure is the median of 15 such batches, then of the rounds.

Over sockets each entrant has processes of its own, and each round has a new random order. Feeds over TCP and round trips vary
most with the other jobs of the machine. They are measured in many short turns, with new processes after every %d. The median
of round trips on one CPU is of batches at full speed, as in memory. The high percentiles are of all trips.

In paced and lines the sender puts the time into each message before it encrypts and writes it. The sender waits for the next
message in a loop, on a CPU of its own. The reader has the other CPU. It takes the time when its library has delivered the
message. Both clocks are CLOCK_MONOTONIC.

CPU is the time that the kernel accounts to the measured process; the peer is another process. "Quartiles" are those of the
rounds. "Ratio" is the figure ÷ tickwire's figure in the same table.

A Go program on one CPU has GOMAXPROCS=1, as if started there. These are the clients and servers of echo and echo-languages,
and the senders and readers of paced and lines. Programs in other languages are started on their CPU.

Libraries with an option for the read buffer get 64 KiB, which is tickwire's default. Write buffers hold a whole message. Each
library is called in the way that its documentation calls fastest. Comments in [entrant](entrant) give the reason for each
call. "Limits" are programs without a protocol: they do only the work that every library must do. Messages are JSON of numbers
and short keys. Their lengths differ by up to a quarter from the named size. For a row of tickwire that falls short of its
target, [TARGETS.md](TARGETS.md) has the top of its profile, from a separate run.

A figure that contradicts those of neighbouring sizes is refused: the report names it and does not print it. More bytes must
take more than a third of the time. k times the bytes must take at most 3 k times the time.

Programs in other languages ([peers](peers)) are clients of the same senders, and take turns with the same Go programs. Each
reads the same messages, which are counted and summed. Each reports its CPU time from getrusage, as the Go programs do. The
kernel accounts at least that time to the whole process. The versions of the libraries in Rust, Python and JavaScript are
pinned. Those in C++ are the installed packages of Debian; the table has their versions. Rust is built with lto and C++ with
-O3, both for this processor. "go run ./cmd/peers" builds them, and "compare -languages" does so first. A program that cannot be
built or fails in a case has no row. A line below the table names it, and the output of the run has the whole reason.
`

// measuredOn says when and on which machine the results were measured.
func measuredOn(results []scenario.Result) string {
	last := results[len(results)-1]
	commits, goes := make(map[string]bool), make(map[string]bool)
	for _, r := range results {
		commits[r.Commit], goes[r.Go] = true, true
	}
	return fmt.Sprintf("Measured %s on %s, tier %s, %s, commit %s.", last.Time.Format("2006-01-02"), last.CPU, last.Tier,
		strings.Join(slices.Sorted(maps.Keys(goes)), ", "), commitList(slices.Sorted(maps.Keys(commits))))
}

// methodPage returns a page about the method of measurement.
func methodPage(results []scenario.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# How it is measured\n\n%s\n\n%s\n", measuredOn(results), fmt.Sprintf(method, scenario.ProcessTurns))
	b.WriteString("The kernels (masking, masked copy, UTF-8) have a command of their own: `GOWORK=off go -C bench run ./cmd/kernels`.\n" +
		"`GOWORK=off go -C bench run ./cmd/gate -base REV` tells whether a change made something slower.\n" +
		"`GOWORK=off go -C bench run ./cmd/compare -from FILE,FILE -report` writes the report from raw results, without a run.\n\n")
	b.WriteString("## Entrants\n\n| entrant | module | version | used by | UTF-8 is checked by |\n|---|---|---|---|---|\n")
	version := func(name string) string {
		v := ""
		for _, r := range results {
			if r.Entrant == name && r.Version != "" {
				v = r.Version
			}
		}
		return v
	}
	for _, e := range entrant.All() {
		i := e.Info()
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", i.Name, i.Module, version(i.Name), i.Calls, i.Check)
	}
	for _, p := range peers.All() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", p.Name(), p.Library, version(p.Name()), p.Calls, p.Check)
	}
	return b.String()
}

// commitList returns the commits of the results.
func commitList(commits []string) string {
	list := strings.Join(commits, ", ")
	if strings.Contains(list, "+") {
		list += " (+: with changes that were not committed)"
	}
	return list
}

func targetTable(b *strings.Builder, all []group) {
	b.WriteString("\"At least\" rows: peer ÷ tickwire. \"At most\" rows: tickwire ÷ peer. " +
		"Rows compare equal work. tickwire/frame (frame.Reader and frame.Writer) has no connection, and neither has gobwas-low. " +
		"tickwire (ReadMessage and WriteMessage) is a connection, and so are gws, gorilla and coder. " +
		"In decode and encode, tickwire against gobwas-low has no verdict, and its bound is in brackets. " +
		"A connection also has a lock, a queue, limits, clocks and control frames, which gobwas-low leaves to its caller. " +
		"After \"falls short\" is the figure that a limit reaches in tickwire's place.\n\n" +
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

func section(b *strings.Builder, s scenario.Scenario, all []group, charts map[string][]chart) {
	some := slices.DeleteFunc(slices.Clone(all), func(g group) bool { return g.scenario != s.Name })
	if len(some) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s: %s\n\n", s.Name, s.About)
	for _, c := range charts[s.Name] {
		fmt.Fprintf(b, "![%s](charts/%s)\n", c.alt, c.file)
	}
	if len(charts[s.Name]) > 0 {
		b.WriteByte('\n')
	}
	for _, g := range some {
		switch {
		case g.name == scenario.KernelRows: // in TARGETS.md
		case strings.HasSuffix(g.name, scenario.KernelSizes):
			kernelSizes(b, g)
		default:
			table(b, g)
		}
	}
}

// profile writes a table of the functions that take an entrant's time or memory.
func profile(b *strings.Builder, g group, r scenario.Result) {
	fmt.Fprintf(b, "Where %s falls short: its %s, in percent.\n\n`GOWORK=off go -C bench run ./cmd/compare -run '%s' -entrants %s -profile DIR`\n\n", r.Entrant, r.Profile.Of, pattern(g), r.Entrant)
	b.WriteString("| function | itself | with what it calls |\n|---|---:|---:|\n")
	for _, s := range r.Profile.Top {
		fmt.Fprintf(b, "| `%s` | %.1f | %.1f |\n", s.Function, s.Flat, s.Sum)
	}
	b.WriteByte('\n')
}

// kernelRows writes the table of the kernels' ratios.
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
			bound = "" // the row only has an aim
		}
		o := outcome{target: target{least: limit}, known: true, met: limit == 0 || holds(limit), wanted: holds(aim)}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", strings.ReplaceAll(r.Entrant, "|", "/"), figure(v), bound, sign+figure(aim), o.verdict())
	}
	b.WriteByte('\n')
}

// kernelSizes writes a table of functions over sizes, one line per size.
func kernelSizes(b *strings.Builder, g group) {
	fmt.Fprintf(b, "### %s: %s\n\nPayload at offset 6. `GOWORK=off go -C bench run ./cmd/kernels -sizes`\n\n|", g.scenario, g.name)
	for _, r := range g.rows {
		b.WriteString(" | " + r.Entrant)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---:|", len(g.rows)) + "\n")
	for _, size := range g.units() {
		b.WriteString("| " + size)
		for _, r := range g.rows {
			b.WriteString(" | " + r.cell(size))
		}
		b.WriteString(" |\n")
	}
	b.WriteByte('\n')
}

// noteOf returns the text in notes.md under "## scenario".
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
	flags := ""
	if strings.HasSuffix(g.scenario, "-languages") {
		flags = " -languages"
	}
	fmt.Fprintf(b, "### %s: %s\n\n`GOWORK=off go -C bench run ./cmd/compare%s -run '%s'`, here %s\n\n", g.scenario, g.name, flags, pattern(g), g.rounds())
	more := slices.DeleteFunc(slices.Clone(m.more), func(unit string) bool {
		return !slices.ContainsFunc(g.rows, func(r *Row) bool { _, has := r.Metrics[unit]; return has })
	})
	fmt.Fprintf(b, "| | %s | quartiles | ratio |", m.main)
	for _, unit := range more {
		fmt.Fprintf(b, " %s |", unit)
	}
	b.WriteString("\n|---|---:|---:|---:|" + strings.Repeat("---:|", len(more)) + "\n")
	for _, r := range g.rows {
		name := r.Entrant
		if strings.HasPrefix(name, "tickwire") {
			name = "**" + name + "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |", name, r.cell(m.main), r.quartiles(m.main), g.ratio(r))
		for _, unit := range more {
			fmt.Fprintf(b, " %s |", r.cell(unit))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

// rounds says how many rounds the figures have.
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

// pattern returns the expression that selects this case.
func pattern(g group) string {
	return "^" + regexp.QuoteMeta(g.scenario+"/"+g.name) + "$"
}
