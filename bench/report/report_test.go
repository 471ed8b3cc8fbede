package report

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/peers"
	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

func rows(scen, kase, metric string, figures map[string][]float64) []scenario.Result {
	var all []scenario.Result
	for name, v := range figures {
		for round, x := range v {
			all = append(all, scenario.Result{Scenario: scen, Case: kase, Entrant: name, Round: round, Metrics: map[string]float64{metric: x}})
		}
	}
	return all
}

func TestSummaryIsTheMedianOfTheRounds(t *testing.T) {
	g := groups(Rows(rows("decode", "x", "ns/message", map[string][]float64{"tickwire": {30, 10, 20}, "gws": {60, 50, 70}})))
	if len(g) != 1 || g[0].rows[0].Entrant != "tickwire" {
		t.Fatalf("%+v", g)
	}
	if s := g[0].rows[0].Metrics["ns/message"]; s != (Summary{20, 15, 25, 3}) {
		t.Errorf("%+v", s)
	}
	if r := g[0].ratio(g[0].rows[1]); r != "3.00" {
		t.Errorf("ratio %s", r)
	}
}

func TestTargetsAreJudged(t *testing.T) {
	g := groups(Rows(rows("decode", decode200, "ns/message", map[string][]float64{
		"tickwire": {20}, "gobwas-low": {40}, "gws": {50}, entrant.LimitParse: {10},
	})))
	base := target{scenario: "decode", kase: decode200, ours: "tickwire"}
	for name, c := range map[string]struct {
		change  func(*target)
		value   float64
		verdict string
	}{
		"at least, met":    {func(t *target) { t.against, t.least = "gws", 2.5 }, 2.5, "reached"},
		"at least, missed": {func(t *target) { t.against, t.least = "gws", 2.6 }, 2.5, "**falls short**"},
		"missed, limit": {func(t *target) { t.against, t.least, t.limit = "gws", 2.6, entrant.LimitParse }, 2.5,
			"**falls short**; " + entrant.LimitParse + ": 5.00×"},
		"figure, limit": {func(t *target) { t.figure, t.least, t.limit = true, 19, entrant.LimitParse }, 20,
			"**falls short**; " + entrant.LimitParse + ": 10.0"},
		"aim missed":     {func(t *target) { t.against, t.least, t.want = "gws", 2, 3 }, 2.5, "reached, aim not"},
		"leanest":        {func(t *target) { t.against, t.least = leanest, 2 }, 2, "reached"},
		"cost, met":      {func(t *target) { t.against, t.cost, t.want = entrant.LimitParse, true, 2 }, 2, "reached"},
		"cost, missed":   {func(t *target) { t.against, t.cost, t.want = entrant.LimitParse, true, 1.9 }, 2, "aim not reached"},
		"figure, missed": {func(t *target) { t.figure, t.least = true, 19 }, 20, "**falls short**"},
		"no verdict":     {func(t *target) { t.against, t.least, t.notAlike = "gws", 2.6, true }, 2.5, "no verdict"},
		"not run":        {func(t *target) { t.against, t.least = "coder", 2 }, 20, "not run, or refused"},
	} {
		one := base
		c.change(&one)
		o := one.judge(g)
		if o.verdict() != c.verdict || o.value != c.value {
			t.Errorf("%s: %s, %v", name, o.verdict(), o.value)
		}
	}
}

// TestFallingShort: each case that falls short is named once. Rows without a verdict and
// cases that were not run are not named.
func TestFallingShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	emit, done, err := scenario.Writer(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows("encode", "200 B, client", "ns/message", map[string][]float64{
		"tickwire": {100}, "tickwire/frame": {10}, "gobwas-low": {20}, "gws": {110}, "gorilla": {120},
	}) {
		if err := emit(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	short, err := FallingShort(file)
	if err != nil || len(short) != 1 || short[0] != (Short{"encode", "200 B, client", "tickwire"}) {
		t.Errorf("%v, %v", short, err)
	}
}

// TestEveryTargetNamesAnEntrantThatRuns fails for a mistyped name, which would otherwise
// always be "not run".
func TestEveryTargetNamesAnEntrantThatRuns(t *testing.T) {
	for _, one := range targets() {
		for _, name := range []string{one.ours, one.against, one.limit} {
			if name != "" && name != leanest && entrant.ByName(name) == nil {
				t.Errorf("%s: no entrant %q", one.title, name)
			}
		}
	}
}

// TestKernelRowsAreJudged: rows of kernels are judged like other targets, first by their
// bound and then by their aim.
func TestKernelRowsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		metrics map[string]float64
		want    string
	}{
		"reached":          {map[string]float64{"ratio": 1.2, "at least": 1, "aim": 1.1}, "| 1.20 | ≥ 1.00 | ≥ 1.10 | reached |"},
		"aim missed":       {map[string]float64{"ratio": 1.05, "at least": 1, "aim": 1.1}, "| 1.05 | ≥ 1.00 | ≥ 1.10 | reached, aim not |"},
		"missed":           {map[string]float64{"ratio": 0.9, "at least": 1, "aim": 1.1}, "| 0.900 | ≥ 1.00 | ≥ 1.10 | **falls short** |"},
		"a cost, reached":  {map[string]float64{"ratio": 1.1, "at most": 1.2, "aim": 1.1}, "| 1.10 | ≤ 1.20 | ≤ 1.10 | reached |"},
		"a cost, missed":   {map[string]float64{"ratio": 1.3, "at most": 1.2, "aim": 1.1}, "| 1.30 | ≤ 1.20 | ≤ 1.10 | **falls short** |"},
		"no bound, missed": {map[string]float64{"ratio": 0.83, "at least": 0, "aim": 1}, "| 0.830 |  | ≥ 1.00 | aim not reached |"},
	} {
		var b strings.Builder
		kernelRows(&b, groups(Rows([]scenario.Result{{Scenario: "kernels", Case: scenario.KernelRows, Entrant: "row", Metrics: c.metrics}}))[0])
		if !strings.Contains(b.String(), "| row "+c.want) {
			t.Errorf("%s: %s", name, b.String())
		}
	}
}

func TestWrite(t *testing.T) {
	root := t.TempDir()
	emit, done, err := scenario.Writer(filepath.Join(root, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows("decode", decode200, "ns/message", map[string][]float64{"tickwire": {20}, "gws": {250}}) {
		if err := emit(r); err != nil {
			t.Fatal(err)
		}
	}
	profiled := scenario.Result{Scenario: "decode", Case: decode200, Entrant: "tickwire", Profile: &scenario.Profile{Of: "CPU", Top: []scenario.Sample{{Function: "runtime.memmove", Flat: 20, Sum: 25.5}}}}
	if err := errors.Join(emit(profiled), done()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "bench"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Write(root, filepath.Join(root, "a.jsonl")); err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		"BENCHMARKS.md":               {"decode,<br>ns a message", "250 (12×)", "-run '^decode/200 B, unmasked, UTF-8 checked$'", "(bench/charts/summary.svg)", "(bench/charts/decode-200.svg)"},
		"bench/TABLES.md":             {"| gws | 250 | 250–250 | 12.50 |", "(charts/decode-200.svg)"},
		"bench/TARGETS.md":            {"12.50× | ≥ 6× | ≥ 8× | reached |", "-entrants tickwire -profile", "| `runtime.memmove` | 20.0 | 25.5 |"},
		"bench/METHOD.md":             {"| gws | github.com/lxzan/gws |", "| python: picows |"},
		"bench/charts/decode-200.svg": {"<svg", "gws 250 (12×)"},
	} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(b), want) {
				t.Errorf("no %q in %s", want, file)
			}
		}
	}
}

// TestRefusable drops the times over sizes that no program can have taken, and no others.
func TestRefusable(t *testing.T) {
	for name, c := range map[string]struct {
		ns   []float64 // at 8, 16, 32, 64 B
		want []float64
	}{
		"constant":            {[]float64{5, 5, 5, 5}, nil},
		"linear":              {[]float64{5, 10, 20, 40}, nil},
		"a tail costs twice":  {[]float64{3, 7, 4, 4}, nil},
		"one too slow":        {[]float64{3.5, 120, 5.9, 6.2}, []float64{120}},
		"the first too slow":  {[]float64{120, 5, 5, 5}, []float64{120}},
		"the last too slow":   {[]float64{5, 5, 5, 120}, []float64{120}},
		"one too fast":        {[]float64{5, 6, 0.1, 8}, []float64{0.1}},
		"two that contradict": {[]float64{5, 120}, []float64{5, 120}},
		"two against two":     {[]float64{120, 5, 120, 5.5}, []float64{120, 5, 120, 5.5}},
		"two too slow":        {[]float64{120, 5, 120, 5.5, 6}, []float64{120, 120}},
	} {
		var points []point
		for i, ns := range c.ns {
			points = append(points, point{size: float64(int(8) << i), ns: ns})
		}
		var got []float64
		for _, p := range refusable(points) {
			got = append(got, p.ns)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestRefusedIsNotPrinted: a figure that contradicts its neighbours is named, and is in
// no table and no chart.
func TestRefusedIsNotPrinted(t *testing.T) {
	var results []scenario.Result
	for size, ns := range map[int]float64{60: 10, 200: 7777, 1000: 30, 8000: 200} {
		results = append(results, rows("decode", fmt.Sprintf("%d B, unmasked, UTF-8 checked", size), "ns/message", map[string][]float64{"gws": {ns}, "tickwire": {float64(size) / 60}})...)
	}
	kernel := scenario.Result{Scenario: "kernels", Case: "UTF-8, ASCII" + scenario.KernelSizes, Entrant: "segmentio", Metrics: map[string]float64{
		"8, ns": 4, "16, ns": 6666, "32, ns": 5, "4K, GB/s": 40, "1..125, ns": 5555,
	}}
	root := t.TempDir()
	emit, done, err := scenario.Writer(filepath.Join(root, "bench", "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(results, kernel) {
		if err := emit(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(done(), Write(root, filepath.Join(root, "bench", "a.jsonl"))); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"BENCHMARKS.md", "bench/TABLES.md", "bench/charts/decode-200.svg", "bench/charts/kernels-utf-8-ascii.svg"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		text, named, _ := strings.Cut(string(b), "## Refused")
		for _, refused := range []string{"7,777", "6,666"} {
			if strings.Contains(text, refused) {
				t.Errorf("%s is in %s", refused, file)
			}
			if strings.HasSuffix(file, ".md") && !strings.Contains(named, refused+" ns at") {
				t.Errorf("%s is not named in %s", refused, file)
			}
		}
		if strings.HasSuffix(file, ".md") && (!strings.Contains(text, "refused") || !strings.Contains(text, "5,555")) {
			t.Errorf("%s: nothing is refused, or what has no size is", file)
		}
	}
}

// TestLanguagesInReport: programs in other languages have a table with their versions.
// Missing ones are named.
func TestLanguagesInReport(t *testing.T) {
	results := rows("feed-languages", "ws, 200 B, UTF-8 checked", "cpu ns/message", map[string][]float64{"tickwire": {30}, "rust: sockudo-ws": {90}})
	for i := range results {
		if results[i].Entrant != "tickwire" {
			results[i].Version = "3.1.0"
		}
	}
	for range 2 {
		results = append(results, scenario.Result{Scenario: "feed-languages", Case: "ws, 200 B, UTF-8 checked", Entrant: "cpp: beast", Missing: "no g++ here"})
	}
	root := t.TempDir()
	emit, done, err := scenario.Writer(filepath.Join(root, "bench", "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if err := emit(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(done(), Write(root, filepath.Join(root, "bench", "a.jsonl"))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{
		"| rust: sockudo-ws 3.1.0 | 90.0 |": 1, "No figures of cpp: beast in ws, 200 B, UTF-8 checked: no g++ here.": 1,
		"./cmd/compare -languages -run '^feed-languages/ws, 200 B, UTF-8 checked$'": 1,
	} {
		if strings.Count(string(b), want) != n {
			t.Errorf("%q is not there %d times:\n%s", want, n, b)
		}
	}
}

// TestMissing: an entrant that failed in a case has no row there, not even of earlier
// rounds. It is named with the case. In other cases it has a row.
func TestMissing(t *testing.T) {
	const a, b = "60 B, client", "200 B, client"
	results := rows("encode", a, "ns/message", map[string][]float64{"tickwire": {7, 7}, "gws": {17}, "gorilla": {27, 27}})
	results = append(results, rows("encode", b, "ns/message", map[string][]float64{"tickwire": {9}, "gws": {19}})...)
	gone := func(kase, name, why string) scenario.Result {
		return scenario.Result{Scenario: "encode", Case: kase, Entrant: name, Missing: why}
	}
	results = append(results, gone(a, "gws", "failed"), gone(b, "coder", "failed"), gone(a, "coder", "failed"),
		gone(a, "gobwas", "failed"), gone(b, "gobwas", "took too long"))
	want := []string{
		"gws in " + a + ": failed", "coder in all 2 cases: failed",
		"gobwas in " + a + ": failed", "gobwas in " + b + ": took too long",
	}
	if got := without(results, "encode"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := without(results, "decode"); got != nil {
		t.Errorf("in another scenario %q", got)
	}
	for kase, want := range map[string][]string{a: {"gorilla", "tickwire"}, b: {"gws", "tickwire"}} {
		var got []string
		for _, r := range find(groups(Rows(results)), "encode", kase).rows {
			got = append(got, r.Entrant)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has rows of %q, want %q", kase, got, want)
		}
	}
	var page, tables strings.Builder
	all := groups(Rows(results))
	for _, s := range scenario.All {
		frontSection(&page, s, all, results, nil)
	}
	tables.WriteString(tablesPage(all, results, nil, nil))
	for name, text := range map[string]string{"front": page.String(), "tables": tables.String()} {
		if strings.Count(text, "No figures of gws in "+a+": failed.") != 1 || strings.Count(text, "17.0") != 0 {
			t.Errorf("%s: %s", name, text)
		}
	}
	var only strings.Builder // no entrant at all
	frontSection(&only, scenario.All[2], nil, []scenario.Result{gone(a, "gws", "failed")}, nil)
	if !strings.Contains(only.String(), "No figures of gws in "+a+": failed.") {
		t.Errorf("without a row: %q", only.String())
	}
}

// TestViews: a table has at most mostRows rows. They include tickwire's and each
// library's best.
func TestViews(t *testing.T) {
	figures := map[string][]float64{}
	for i, e := range entrant.All() {
		figures[e.Info().Name] = []float64{float64(10 + i)}
	}
	v := view{scenario: "decode", columns: []column{{"", "x", ""}}}
	names := v.entrants(v.groups(groups(Rows(rows("decode", "x", "ns/message", figures)))))
	if len(names) > mostRows {
		t.Errorf("%d rows: %q", len(names), names)
	}
	for _, want := range []string{"tickwire", "gobwas-low", "gws", "gorilla-reuse", "coder-reuse"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %q", want, names)
		}
	}
	figures = map[string][]float64{"tickwire": {40}, "tickwire-poller": {41}, "gws": {30}}
	for i, p := range peers.All() {
		figures[p.Name()] = []float64{float64(50 + i)}
	}
	v.scenario = "echo-languages"
	names = v.entrants(v.groups(groups(Rows(rows("echo-languages", "x", "p50 µs", figures)))))
	if len(names) != mostRows || slices.Contains(names, "gws") || !slices.Contains(names, "tickwire-poller") || !slices.Contains(names, "node: ws") {
		t.Errorf("beside other languages: %q", names)
	}
	for _, v := range views {
		if mains[v.scenario].main == "" || !slices.ContainsFunc(scenario.All, func(s scenario.Scenario) bool { return s.Name == v.scenario }) {
			t.Errorf("a view of %q, which is no scenario", v.scenario)
		}
	}
}

func TestTicks(t *testing.T) {
	for name, c := range map[string]struct {
		low, high float64
		want      []float64
	}{
		"one decade":   {1, 10, []float64{1, 2, 5, 10}},
		"within":       {30, 150, []float64{50, 100}},
		"small":        {0.05, 0.6, []float64{0.05, 0.1, 0.2, 0.5}},
		"many decades": {1, 200_000, []float64{1, 10, 100, 1000, 10_000, 100_000}},
	} {
		got := ticks(span{math.Log(c.low) - 1e-9, math.Log(c.high) + 1e-9})
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a/b-1) < 1e-9 }) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
