package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/seed-7f57ff33/tickwire/asm"
)

const (
	slower = 1.10 // the slowdown that fails, if it is significant
	worse  = 1.25 // the same for a ratio against the baseline, which is compared without statistics
)

// measure is what a child does: it prints its figures as JSON.
func measure(args []string) error {
	if len(args) != 1 {
		return errors.New("measure times|exact|ratios")
	}
	var v any
	var err error
	switch args[0] {
	case "times":
		v, err = times(2 * time.Second)
	case "exact":
		v, err = exact()
	case "ratios":
		v = ratios()
	default:
		err = fmt.Errorf("unknown measure %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// ask runs a child and returns its figures.
func ask[T any](program, what string) (v T, err error) {
	c := exec.Command(program, "measure", what)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return v, fmt.Errorf("%s measure %s: %w", filepath.Base(program), what, err)
	}
	return v, json.Unmarshal(out, &v)
}

// compare runs the programs of base and head in turns, each layout as often as the others.
func compare(base, head []string, rounds int) (ok bool, err error) {
	before, err := ask[map[string]count](base[0], "exact")
	if err != nil {
		return false, err
	}
	after, err := ask[map[string]count](head[0], "exact")
	if err != nil {
		return false, err
	}
	ok = judgeExact(before, after)
	programs, samples := [][]string{base, head}, [2][]sample{}
	best := time.Duration(1 << 62)
	for round := 0; round < rounds; round++ {
		for _, i := range rand.Perm(2) {
			s, err := ask[sample](programs[i][round%len(base)], "times")
			if err != nil {
				return false, err
			}
			best = min(best, s.Probe)
			samples[i] = append(samples[i], s)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		if round+1 == rounds && rounds < maxRounds && (clean(samples[0], best) < enough || clean(samples[1], best) < enough) {
			rounds++
		}
	}
	return judgeTimes(figures(samples[0], best), figures(samples[1], best)) && ok, nil
}

const (
	enough    = 6    // samples from processes that ran at full speed
	maxRounds = 60   // after which the others are taken too
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

// figures puts the samples of each case together: those from processes that ran at full speed, or all if there are too few.
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

// judgeTimes prints a table and says whether nothing has become significantly slower by more than a tenth.
func judgeTimes(base, head map[string][]float64) bool {
	ok := true
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
		if b > a*slower && c.P < c.Alpha {
			verdict, ok = "  SLOWER", false
		}
		fmt.Printf("%-44s %10.2f %10.2f %9s %8.3f%s\n", name, a, b, c.FormatDelta(a, b), c.P, verdict)
	}
	return ok
}

// judgeExact prints a table and says whether no count has risen.
func judgeExact(before, after map[string]count) bool {
	ok := true
	fmt.Printf("%-62s %18s %18s %18s\n", "per burst of 100 messages", "allocations", "reads", "writes")
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
		if n.Allocs > old.Allocs || n.Reads > old.Reads || n.Writes > old.Writes {
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

// ratioFile is where the ratios of this CPU model stand.
func ratioFile(root string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, asm.CPU()+" "+asm.Active().String())
	return filepath.Join(root, "bench", "baseline", "ratios-"+name+".json")
}

func exactFile(root string) string { return filepath.Join(root, "bench", "baseline", "exact.json") }

// checkBaseline compares with what is committed.
func checkBaseline(root, head string) (ok bool, err error) {
	after, err := ask[map[string]count](head, "exact")
	if err != nil {
		return false, err
	}
	var before map[string]count
	if err := load(exactFile(root), &before); err != nil {
		return false, err
	}
	ok = judgeExact(before, after)
	var old map[string]float64
	if err := load(ratioFile(root), &old); errors.Is(err, fs.ErrNotExist) {
		fmt.Printf("\nno ratios are known for %s at tier %v\n", asm.CPU(), asm.Active())
		return ok, nil
	} else if err != nil {
		return false, err
	}
	new, err := ask[map[string]float64](head, "ratios")
	if err != nil {
		return false, err
	}
	fmt.Printf("\n%-44s %10s %10s\n", "ratios, "+asm.CPU(), "baseline", "now")
	for _, name := range slices.Sorted(maps.Keys(old)) {
		verdict := ""
		switch v, known := new[name]; {
		case !known:
			verdict = "  the machine is too busy"
		case v > old[name]*worse:
			verdict, ok = "  WORSE", false
		}
		fmt.Printf("%-44s %10.3f %10.3f%s\n", name, old[name], new[name], verdict)
	}
	return ok, nil
}

// updateBaseline writes what checkBaseline compares with.
func updateBaseline(root, head string) error {
	counts, err := ask[map[string]count](head, "exact")
	if err != nil {
		return err
	}
	if err := save(exactFile(root), counts); err != nil {
		return err
	}
	r, err := ask[map[string]float64](head, "ratios")
	if err != nil {
		return err
	}
	for name, v := range r {
		r[name] = float64(int(v*1000+0.5)) / 1000
	}
	return save(ratioFile(root), r)
}

func load(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func save(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}
