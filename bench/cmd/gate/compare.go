package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchmath"
)

// slowerFactor is the slowdown that fails if it is significant.
const slowerFactor = 1.10

// measure is the main function of a child: it prints its figures as JSON. For times and
// ratios a second argument selects the cases.
func measure(args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errors.New("measure times|exact|ratios [EXPRESSION]")
	}
	pattern := ""
	if len(args) == 2 {
		pattern = args[1]
	}
	match, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	var v any
	switch args[0] {
	case "times":
		v, err = times(2*time.Second, match)
	case "exact":
		v, err = exact()
	case "ratios":
		v = ratios(match)
	default:
		err = fmt.Errorf("unknown measure %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// runChild runs a child and returns its figures.
func runChild[T any](program string, what ...string) (v T, err error) {
	c := exec.Command(program, append([]string{"measure"}, what...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return v, fmt.Errorf("%s measure %s: %w", filepath.Base(program), strings.Join(what, " "), err)
	}
	return v, json.Unmarshal(out, &v)
}

// plan says how to compare times.
type plan struct {
	pattern string // selects the cases
	rounds  int    // of each program
	layouts int    // programs of each side
	limit   time.Duration
}

// compareTimes compares the times of two libraries. It reports whether nothing is slower.
//
// What seems slower is measured again, by programs with another layout, and fails only if
// it is slower again. Of forty cases one may be slow by chance, and the cost of a layout
// is the same in each run of a program.
func compareTimes(base, head library, p plan) (ok bool, err error) {
	slow, err := measureTimes(base, head, p, 1)
	if err != nil || len(slow) == 0 {
		return err == nil, err
	}
	p.pattern = anyOf(slow)
	fmt.Printf("\nonce more, by other programs: %s\n", strings.Join(slow, ", "))
	again, err := measureTimes(base, head, p, 1+p.layouts)
	return err == nil && len(again) == 0, err
}

// anyOf returns the expression for exactly these cases.
func anyOf(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// measureTimes runs programs of base and head in turns, each layout equally often. It
// returns the cases that are slower.
func measureTimes(base, head library, p plan, layout int) (slow []string, err error) {
	var programs [2][]string
	for i, l := range []library{base, head} {
		if programs[i], err = l.build(layout, p.layouts); err != nil {
			return nil, err
		}
	}
	var samples [2][]sample
	best := time.Duration(1 << 62)
	start := time.Now()
	for round := 0; round < p.rounds; round++ {
		for _, i := range rand.Perm(2) {
			s, err := runChild[sample](programs[i][round%p.layouts], "times", p.pattern)
			if err != nil {
				return nil, err
			}
			best = min(best, s.Probe)
			samples[i] = append(samples[i], s)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d, %.0f s\n", round+1, p.rounds, time.Since(start).Seconds())
		if round+1 >= least && time.Since(start) > p.limit {
			break
		}
		if round+1 == p.rounds && p.rounds < maxRounds && (clean(samples[0], best) < enough || clean(samples[1], best) < enough) {
			p.rounds++
		}
	}
	return judgeTimes(figures(samples[0], best), figures(samples[1], best)), nil
}

const (
	least     = 5    // rounds: fewer than four cannot show a significant difference
	enough    = 6    // samples from processes that ran at full speed
	maxRounds = 60   // the other samples count too after this many
	slack     = 1.03 // of the probe
)

// clean counts the samples from processes that ran at full speed.
func clean(samples []sample, best time.Duration) int {
	n := 0
	for _, s := range samples {
		if float64(s.Probe) <= float64(best)*slack {
			n++
		}
	}
	return n
}

// figures collects the samples of each case: those from processes at full speed, or all
// if there are too few.
func figures(samples []sample, best time.Duration) map[string][]float64 {
	all := clean(samples, best) < enough
	ns := make(map[string][]float64)
	for _, s := range samples {
		if all || float64(s.Probe) <= float64(best)*slack {
			for name, v := range s.NS {
				ns[name] = append(ns[name], v)
			}
		}
	}
	return ns
}

// judgeTimes prints a table. It returns the cases that are significantly slower, by more
// than a tenth.
func judgeTimes(base, head map[string][]float64) (slow []string) {
	fmt.Printf("\n%-44s %10s %10s %9s %8s\n", "ns per message or call", "base", "head", "change", "p")
	for _, name := range slices.Sorted(maps.Keys(head)) {
		if len(base[name]) == 0 {
			continue
		}
		old := benchmath.NewSample(base[name], &benchmath.DefaultThresholds)
		new := benchmath.NewSample(head[name], &benchmath.DefaultThresholds)
		a := benchmath.AssumeNothing.Summary(old, 0.95).Center
		b := benchmath.AssumeNothing.Summary(new, 0.95).Center
		c := benchmath.AssumeNothing.Compare(old, new)
		verdict := ""
		if b > a*slowerFactor && c.P < c.Alpha {
			verdict, slow = "  SLOWER", append(slow, name)
		}
		fmt.Printf("%-44s %10.2f %10.2f %9s %8.3f%s\n", name, a, b, c.FormatDelta(a, b), c.P, verdict)
	}
	return slow
}

// judgeExact prints a table and reports whether no count has risen. from names the origin
// of before.
func judgeExact(from string, before, after map[string]count) bool {
	ok := true
	fmt.Printf("%-62s %18s %18s %18s\n", "per 10,000 messages, from "+from, "allocations", "reads", "writes")
	for _, c := range exactCases {
		n, known := after[c.name]
		if !known {
			continue
		}
		old, known := before[c.name]
		if !known {
			old = n
		}
		verdict := ""
		if n.above(old) {
			verdict, ok = "  RISEN", false
		}
		show := func(a, b int) string {
			if a == b {
				return fmt.Sprint(b)
			}
			return fmt.Sprintf("%d -> %d", a, b)
		}
		fmt.Printf("%-62s %18s %18s %18s%s\n", c.name, show(old.Allocs, n.Allocs), show(old.Reads, n.Reads), show(old.Writes, n.Writes), verdict)
	}
	return ok
}
