package main

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func spread(center float64) []float64 {
	v := make([]float64, 10)
	for i := range v {
		v[i] = center * (1 + float64(i%5-2)/100)
	}
	return v
}

func TestJudgeTimes(t *testing.T) {
	for name, c := range map[string]struct {
		base, head []float64
		ok         bool
	}{
		"the same":                  {spread(100), spread(100), true},
		"faster":                    {spread(100), spread(50), true},
		"slower by less than tenth": {spread(100), spread(108), true},
		"slower":                    {spread(100), spread(115), false},
		"slower, not significantly": {[]float64{90, 100, 140}, []float64{95, 120, 130}, true},
		"a new case":                {nil, spread(100), true},
	} {
		if slow := judgeTimes(map[string][]float64{"x": c.base}, map[string][]float64{"x": c.head}); (len(slow) == 0) != c.ok {
			t.Errorf("%s: %v", name, slow)
		}
	}
}

func TestJudgeExact(t *testing.T) {
	name := exactCases[0].name
	for _, c := range []struct {
		before, after count
		ok            bool
	}{
		{count{1, 1, 1}, count{1, 1, 1}, true},
		{count{1, 1, 1}, count{0, 1, 1}, true},
		{count{0, 1, 1}, count{noise, 1, 1}, true},
		{count{0, 1, 1}, count{noise + 1, 1, 1}, false},
		{count{0, 1, 1}, count{0, noise + 2, 1}, false},
		{count{0, 1, 1}, count{0, 1, noise + 2}, false},
	} {
		if ok := judgeExact("test", map[string]count{name: c.before}, map[string]count{name: c.after}); ok != c.ok {
			t.Errorf("%v to %v: %v", c.before, c.after, ok)
		}
	}
}

// TestFigures: samples that were taken while the machine was slow are dropped.
func TestFigures(t *testing.T) {
	var samples []sample
	for i := range 10 {
		samples = append(samples, sample{Probe: time.Duration(1000 + 100*(i%2)), NS: map[string]float64{"x": float64(i % 2)}})
	}
	if got := len(figures(samples, 1000)["x"]); got != 10 {
		t.Errorf("of too few clean samples %d were taken, want all", got)
	}
	samples = append(samples, samples[0])
	for _, v := range figures(samples, 1000)["x"] {
		if v != 0 {
			t.Error("a sample of a slow process was taken")
		}
	}
}

// raced says that the race detector is on. A sync.Pool then drops some of its objects.
var raced bool

// TestExact counts on this machine. Reading and writing a message allocates nothing, a
// burst is one read, and every case has a baseline.
func TestExact(t *testing.T) {
	counts, err := exact()
	if err != nil {
		t.Fatal(err)
	}
	free := count{0, bursts, burst * bursts}
	names := []string{"frame.Reader, 200 B", "ReadMessage over TCP, bursts of 100"}
	if !raced {
		names = append(names, "ReadMessage over TCP, three fragments each, bursts of 100",
			"ReadMessage over TCP, deflate with takeover, bursts of 100", "TakeBatch over TCP, bursts of 100")
	}
	for _, name := range names {
		if n, ok := counts[name]; !ok || n.above(free) {
			t.Errorf("%s: %+v", name, n)
		}
	}
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	var before map[string]count
	if err := load(exactFile(root), &before); err != nil {
		t.Fatal(err)
	}
	if want, got := slices.Sorted(maps.Keys(counts)), slices.Sorted(maps.Keys(before)); !slices.Equal(got, want) {
		t.Errorf("the baseline is of %q, the cases are %q: gate -update", got, want)
	}
}
