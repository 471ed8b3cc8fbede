package main

import (
	"regexp"
	"testing"
)

// The comparison runs, and prints a figure for each way. What the figures are is not
// tested.
func TestBench(t *testing.T) {
	stdout, stderr, code := run(t, "bench", "-scale", "0.002", "-rounds", "1", "-clients", "10", "-replicas", "1")
	if code != exitOK {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	for _, name := range []string{"sync", "async", "ingest", "group", "gateway"} {
		if !regexp.MustCompile(`(?m)^  ` + benchNames[name] + ` +[0-9.]+ (ns|µs|ms) +[0-9.]+×$`).MatchString(stdout) {
			t.Errorf("no figure for %q in\n%s", benchNames[name], stdout)
		}
	}
	for _, args := range [][]string{{"-scale", "0"}, {"-replicas", "2"}, {"-rounds", "0"}} {
		if _, stderr, code := run(t, append([]string{"bench"}, args...)...); code != exitUsage {
			t.Errorf("%q: code %d, %s", args, code, stderr)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2}} {
		if got := median(test.values); got != test.want {
			t.Errorf("%v: %v", test.values, got)
		}
	}
}
