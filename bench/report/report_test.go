package report

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
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
		"beside":         {func(t *target) { t.against, t.least, t.beside = "gws", 2.6, true }, 2.5, "beside"},
		"not run":        {func(t *target) { t.against, t.least = "coder", 2 }, 20, "not run"},
	} {
		one := base
		c.change(&one)
		o := one.judge(g)
		if o.verdict() != c.verdict || o.value != c.value {
			t.Errorf("%s: %s, %v", name, o.verdict(), o.value)
		}
	}
}

// TestFallingShort names what is to be profiled: each case once, and nothing that stands beside or was not run.
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

// TestEveryTargetNamesAnEntrantThatRuns keeps a mistyped name from reading "not run" for ever.
func TestEveryTargetNamesAnEntrantThatRuns(t *testing.T) {
	for _, one := range targets() {
		for _, name := range []string{one.ours, one.against, one.limit} {
			if name != "" && name != leanest && entrant.ByName(name) == nil {
				t.Errorf("%s: no entrant %q", one.title, name)
			}
		}
	}
}

// TestKernelRowsAreJudged as other targets are: by their bound, and then by their aim.
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
	if err := Write(root, filepath.Join(root, "a.jsonl")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| gws | 250 | 250–250 | 12.50 |", "12.50× | ≥ 6× | ≥ 8× | reached |", "-run '^decode/200 B, unmasked, UTF-8 checked$'", "-entrants tickwire -profile", "| `runtime.memmove` | 20.0 | 25.5 |"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in the report", want)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(root, "bench", "charts", "decode-200.svg")); err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("no chart: %v", err)
	}
}
