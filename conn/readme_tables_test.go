package conn_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A figureTable is the first table behind a heading of the pages of figures.
type figureTable struct {
	columns []string
	rows    map[string][]string // by what stands in the first cell, without stress
}

// figure returns what a row has in a column; "" if there is none.
func (f figureTable) figure(row, column string) string {
	for i, c := range f.columns {
		if c == column && i < len(f.rows[row]) {
			return f.rows[row][i]
		}
	}
	return ""
}

// figurePages returns BENCHMARKS.md, and behind it the page of all tables where there is
// one.
func figurePages(t *testing.T) string {
	text := readPage(t, "../BENCHMARKS.md")
	if _, err := os.Stat("../bench/TABLES.md"); err == nil {
		text += "\n" + readPage(t, "../bench/TABLES.md")
	}
	return text
}

// summary matches the chart of everything, with what it says in words.
var summary = regexp.MustCompile(`!\[[^\]]*\]\(bench/charts/summary\.svg\)`)

func figureTables(text string) map[string]figureTable {
	tables := map[string]figureTable{}
	heading, open := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			heading, open = strings.TrimSpace(strings.TrimLeft(line, "#")), false
		case !strings.HasPrefix(line, "|"):
			open = false
		case strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| ---"):
		default:
			cells := splitCells(line)
			if strings.HasPrefix(line, "| |") {
				cells = append([]string{""}, splitCells(strings.TrimPrefix(line, "| |"))...)
			}
			if _, seen := tables[heading]; !seen {
				tables[heading] = figureTable{cells, map[string][]string{}}
				open = true
			} else if open {
				tables[heading].rows[strings.Trim(cells[0], "* ")] = cells
			}
		}
	}
	return tables
}

// What the table of results shows: where it stands in BENCHMARKS.md, and in which column.
// ours, if there is one, is the entrant in the first column.
var readmeResults = []struct{ title, heading, column, ours string }{
	{"feed over ws, 200 B: CPU ns a message", "feed: TCP, 200 B, UTF-8 checked", "cpu ns/message", ""},
	{"feed over wss, large records", "feed: TLS, 200 B, large records, UTF-8 checked", "cpu ns/message", ""},
	{"feed over wss, a record per message", "feed: TLS, 200 B, a record per message, UTF-8 checked", "cpu ns/message", ""},
	{"the same with `Dialer.OpenRecords`", "feed: TLS, 200 B, a record per message, UTF-8 checked", "cpu ns/message", "tickwire-opens"},
	{"decode, 200 B in memory: ns a message", "decode: 200 B, unmasked, UTF-8 checked", "ns/message", ""},
	{"echo, 128 B on one CPU: µs a round trip", "echo: 128 B, both ends on one CPU", "p50 µs", ""},
	{"the same, read by a `Poller`", "echo: 128 B, both ends on one CPU", "p50 µs", "tickwire-poller"},
	{"fan-out to 1,000: CPU ns a client and message", "fanout: 200 B to 1000 clients", "cpu ns/message", ""},
}

// The libraries: gobwas at its low level where it has one, the others by their usual
// calls.
var readmeEntrants = []struct {
	title string
	names []string
}{
	{"tickwire", []string{"tickwire"}},
	{"gobwas", []string{"gobwas-low", "gobwas"}},
	{"gws", []string{"gws"}},
	{"gorilla", []string{"gorilla"}},
	{"coder", []string{"coder"}},
}

// results makes the README's table of results, and its chart: the one of everything, or
// else that of the first row.
func results(t *testing.T, pages string) string {
	tables := figureTables(pages)
	var b strings.Builder
	head, rule := "| ", "|---"
	for _, e := range readmeEntrants {
		head, rule = head+"| "+e.title+" ", rule+"|---:"
	}
	fmt.Fprintf(&b, "%s|\n%s|\n", head, rule)
	alt := "CPU time for each message of a feed over TCP:"
	for i, r := range readmeResults {
		fmt.Fprintf(&b, "| %s ", r.title)
		for j, e := range readmeEntrants {
			figure, names := "", e.names
			if j == 0 && r.ours != "" {
				names = []string{r.ours}
			}
			for _, name := range names {
				if figure == "" {
					figure = tables[r.heading].figure(name, r.column)
				}
			}
			if figure == "" {
				t.Errorf("the pages of figures: %q has no %s of %s", r.heading, r.column, e.title)
			}
			if i == 0 {
				alt += fmt.Sprintf(" %s %s ns,", e.title, figure)
			}
			if j == 0 {
				figure = "**" + figure + "**"
			}
			fmt.Fprintf(&b, "| %s ", figure)
		}
		b.WriteString("|\n")
	}
	image := fmt.Sprintf("![%s](bench/charts/feed-tcp.svg)", strings.TrimSuffix(alt, ","))
	if s := summary.FindString(pages); s != "" {
		image = s
	}
	fmt.Fprintf(&b, "\n%s\n", image)
	return b.String()
}

// costOfTLS makes the table of what wss costs, with and without Dialer.OpenRecords; ""
// while no page has it.
func costOfTLS(tables map[string]figureTable) string {
	var b strings.Builder
	b.WriteString("| a record per message of | crypto/tls opens it | `OpenRecords` | ratio | allocations |\n|---|---:|---:|---:|---:|\n")
	for _, size := range []string{"60", "200", "1000"} {
		f := tables["feed: TLS, "+size+" B, a record per message, UTF-8 checked"]
		without, with := f.figure("tickwire", "cpu ns/message"), f.figure("tickwire-opens", "cpu ns/message")
		a, errA := strconv.ParseFloat(strings.ReplaceAll(without, ",", ""), 64)
		b2, errB := strconv.ParseFloat(strings.ReplaceAll(with, ",", ""), 64)
		if errA != nil || errB != nil {
			return ""
		}
		fmt.Fprintf(&b, "| %s B | %s ns | %s ns | %.2f | %s → %s |\n", size, without, with, b2/a,
			f.figure("tickwire", "allocs/message"), f.figure("tickwire-opens", "allocs/message"))
	}
	return b.String()
}

// The README's figures are those of BENCHMARKS.md. TICKWIRE_UPDATE_README=1 writes them.
func TestReadmeFigures(t *testing.T) {
	pages := figurePages(t)
	readme := readPage(t, "../README.md")
	text := readme
	for name, want := range map[string]string{"results": results(t, pages), "wss": costOfTLS(figureTables(pages))} {
		part := regexp.MustCompile(`(?s)(<!-- ` + name + `[^>]*-->\n)(.*?)(<!-- end of ` + name + ` -->)`)
		m := part.FindStringSubmatchIndex(text)
		if m == nil {
			t.Fatalf("the README has no place for its table of %s", name)
		}
		if want == "" {
			if !strings.Contains(text[m[4]:m[5]], "OpenRecords") {
				t.Errorf("the README has no table of %s", name)
			}
			continue
		}
		if text[m[4]:m[5]] != want && os.Getenv("TICKWIRE_UPDATE_README") == "" {
			t.Errorf("the README's %s are not those of BENCHMARKS.md; TICKWIRE_UPDATE_README=1 go test -run TestReadmeFigures ./conn writes\n%s", name, want)
		}
		text = text[:m[4]] + want + text[m[5]:]
	}
	if os.Getenv("TICKWIRE_UPDATE_README") != "" && !t.Failed() && text != readme {
		if err := os.WriteFile("../README.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A figure is found by its heading, row and column, and not in a later table behind the
// same heading.
func TestFigureTables(t *testing.T) {
	tables := figureTables("## a\n\n### b: c\n\n`x`\n\n| | ns | allocs |\n|---|---:|---:|\n| **own** | 1,234 | 0 |\n| other | 5 | 1 |\n\ntext\n\n| function | itself |\n|---|---:|\n| own | 99 |\n")
	for _, test := range [][3]string{{"own", "ns", "1,234"}, {"own", "allocs", "0"}, {"other", "ns", "5"}, {"own", "itself", ""}, {"none", "ns", ""}} {
		if got := tables["b: c"].figure(test[0], test[1]); got != test[2] {
			t.Errorf("%s of %s: %q", test[1], test[0], got)
		}
	}
}

// The README's table of limits has the defaults of the code.
func TestReadmeLimits(t *testing.T) {
	text := readPage(t, "../README.md")
	section := text[strings.Index(text, "## Limits and defaults"):strings.Index(text, "## Questions")]
	for _, row := range []struct {
		field string
		want  string
	}{
		{"Config.Frame.MaxMessage", fmt.Sprintf("%d MiB", frame.DefaultMaxMessage>>20)},
		{"Config.Frame.MaxFragments", "131,072"},
		{"Config.ReadBuffer", fmt.Sprintf("%d KiB", frame.DefaultMaxBuffer>>10)},
		{"Config.KeepAlive", fmt.Sprintf("%.0f s; %.0f s", (conn.DefaultKeepAlive / 2).Seconds(), conn.DefaultKeepAlive.Seconds())},
		{"Config.StallTimeout", fmt.Sprintf("%.0f s", conn.DefaultStallTimeout.Seconds())},
		{"Config.CloseTimeout", fmt.Sprintf("%.0f s", conn.DefaultCloseTimeout.Seconds())},
		{"Dialer.HandshakeTimeout", fmt.Sprintf("%.0f s", conn.DefaultHandshakeTimeout.Seconds())},
		{"Dialer.Limits", fmt.Sprintf("%d KiB, %d lines", handshake.DefaultBytes>>10, handshake.DefaultLines)},
		{"Group.Lag", fmt.Sprintf("%d MiB", conn.DefaultGroupLag>>20)},
	} {
		if !regexp.MustCompile(`(?m)^\|[^|]*\| ` + regexp.QuoteMeta(row.want) + " \\| `" + regexp.QuoteMeta(row.field) + "`").MatchString(section) {
			t.Errorf("the README does not say that the default of %s is %s", row.field, row.want)
		}
	}
	if frame.DefaultMaxFragments != 131072 {
		t.Error("the README's number of fragments is another one")
	}
}
