// Command kernels measures the masking and UTF-8 kernels against copy(), against
// themselves and against other libraries. It prints each ratio and its target. Run it
// from the repository's root:
//
//	GOWORK=off go -C bench run ./cmd/kernels            # all rows
//	GOWORK=off go -C bench run ./cmd/kernels -row XOR   # rows whose name matches
//	GOWORK=off go -C bench run ./cmd/kernels -quick     # one run, fewer batches
//	GOWORK=off go -C bench run ./cmd/kernels -pairs     # each size under its row
//	GOWORK=off go -C bench run ./cmd/kernels -sizes     # only kernels over sizes
//	GOWORK=off go -C bench run ./cmd/kernels -gate      # status 1 if a bound is missed
//
// A row is the median of five runs, each in five places of memory. -sizes measures each
// kernel at each tier, from 8 B to 1 MB.
//
// A row misses its bound if it is more than 3 % below it. The bounds are the project's
// requirements for its kernels, on the processor where they were set. Without -gate a
// miss is only reported.
//
// Each ratio is of cases that were interleaved in one process, without the slow moments
// of the machine (see package probe). Do not compare the nanoseconds of two runs.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// tolerance is how far a row may miss its target: the difference between runs of a median
// of five.
const tolerance = 0.03

func main() {
	quick := flag.Bool("quick", false, "one run instead of five, with fewer batches")
	match := flag.String("row", "", "only rows whose `name` matches this regular expression")
	all := flag.Bool("sizes", false, "print what each kernel takes over sizes, at each tier and beside others, instead of the rows")
	pairs := flag.Bool("pairs", false, "under a row that goes through sizes, print each size")
	gate := flag.Bool("gate", false, "exit with status 1 if a row is short of its bound")
	limit := flag.Duration("limit", 20*time.Second, "longest time for one row")
	flag.Parse()
	only, err := regexp.Compile(*match)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "kernels: bad -row or unexpected arguments")
		os.Exit(2)
	}
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	fmt.Printf("%s, %s %s/%s, tier %v\n\n", asm.CPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, asm.Active())
	probe.Calibrate(200 * time.Millisecond)
	if *all {
		printSizes(os.Stdout, options(*quick, *limit))
		return
	}
	fmt.Printf("%-62s %8s %9s %7s\n", "row", "measured", "at least", "aim")
	missed := false
	for _, r := range table() {
		if only.MatchString(r.name) && !measure(r, *quick, *pairs, *limit) {
			missed = true
		}
	}
	if missed && *gate {
		os.Exit(1)
	}
}

// placements is how often a run measures each case, each time in other memory. The place
// changes the time of a short call by up to a fifth, and may favour one case of a row.
const placements = 5

// measure prints one row and reports whether it reached its target.
func measure(r row, quick, pairs bool, limit time.Duration) bool {
	runs, opt := 5, options(quick || r.pairs, limit)
	if quick {
		runs = 1
	}
	opt.Limit /= time.Duration(runs)
	gated := true
	results := make([][]probe.Result, runs)
	for i := range runs {
		results[i] = measured(r.cases, opt)
		if len(results[i]) == 0 {
			fmt.Printf("%-62s %8s\n", r.name, "n/a here")
			return true
		}
		for _, one := range results[i] {
			gated = gated && !one.Forced
		}
		runtime.GC()
	}
	if r.pairs {
		results = [][]probe.Result{medianPairs(results)}
	}
	var ratios []float64
	for _, one := range results {
		ratio, _ := r.ratio(one)
		ratios = append(ratios, ratio)
	}
	got := median(ratios)
	_, note := r.ratio(results[slices.Index(ratios, got)])
	bound, ok := ">=", got >= r.least*(1-tolerance)
	if r.cost {
		bound, ok = "<=", got <= r.least*(1+tolerance)
	}
	if !ok {
		note = "short of its bound; " + note
	}
	if !gated {
		note += " (not all runs gated: the machine is busy)"
	}
	fmt.Printf("%-62s %8.2f %s %6.2f %7.2f  %s\n", r.name, got, bound, r.least, r.aim, note)
	if pairs && r.pairs {
		printPairs(results[0])
	}
	return ok
}

func options(few bool, limit time.Duration) probe.Options {
	if few {
		return probe.Options{Batches: 3, Limit: limit}
	}
	return probe.Options{Batches: 5, Limit: limit}
}

// measured runs cases once. All their placements take turns. The result of a case is that
// of its median placement.
func measured(cases func() []probe.Case, opt probe.Options) []probe.Result {
	var all []probe.Case
	for range placements {
		all = append(all, cases()...)
	}
	n := len(all) / placements
	if n == 0 {
		return nil
	}
	measured := probe.Measure(all, opt)
	results := make([]probe.Result, n)
	for i := range results {
		var same []probe.Result
		forced := false
		for k := i; k < len(measured); k += n {
			same = append(same, measured[k])
			forced = forced || measured[k].Forced
		}
		slices.SortFunc(same, func(a, b probe.Result) int { return cmp.Compare(a.NS, b.NS) })
		results[i] = same[placements/2]
		results[i].Forced = forced
	}
	return results
}

// printPairs prints the quotients that worstPair chose from.
func printPairs(r []probe.Result) {
	for i := 0; i+1 < len(r); i += 2 {
		fmt.Printf("    %-12s %5.1f ns, %s %5.1f ns: %.2f\n", r[i].Name, r[i].NS, r[i+1].Name, r[i+1].NS, r[i].NS/r[i+1].NS)
	}
}
