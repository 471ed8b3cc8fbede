// Command kernels measures the masking and UTF-8 kernels against copy(), against themselves and against other
// libraries, and prints each ratio beside its target, from the repository's root:
//
//	GOWORK=off go -C bench run ./cmd/kernels            # all rows, median of five runs
//	GOWORK=off go -C bench run ./cmd/kernels -row XOR   # rows whose name matches
//	GOWORK=off go -C bench run ./cmd/kernels -quick     # one run, fewer batches
//	GOWORK=off go -C bench run ./cmd/kernels -pairs     # under a row that goes through sizes, each size
//	GOWORK=off go -C bench run ./cmd/kernels -sizes     # instead: every masker at sizes from 8 B to 1 MB
//
// The exit status is 1 if a row misses its target by more than 3 %. The ratios are those of one process with its cases
// interleaved and slow moments of the machine left out (see package probe); do not compare the nanoseconds of two runs.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// tolerance is how far a row may miss its target: the run-to-run difference of a median of five.
const tolerance = 0.03

func main() {
	quick := flag.Bool("quick", false, "one run instead of five, with fewer batches")
	match := flag.String("row", "", "only rows whose `name` matches this regular expression")
	all := flag.Bool("sizes", false, "print the times of every masker over sizes, instead of the rows")
	pairs := flag.Bool("pairs", false, "under a row that goes through sizes, print each size")
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
		printSizes(os.Stdout, *quick, *limit)
		return
	}
	fmt.Printf("%-62s %8s %9s %7s\n", "row", "measured", "at least", "aim")
	missed := false
	for _, r := range table() {
		if only.MatchString(r.name) && !measure(r, *quick, *pairs, *limit) {
			missed = true
		}
	}
	if missed {
		os.Exit(1)
	}
}

// measure prints one row and reports whether it reached its target.
func measure(r row, quick, pairs bool, limit time.Duration) bool {
	cases := r.cases()
	if len(cases) == 0 {
		fmt.Printf("%-62s %8s\n", r.name, "n/a here")
		return true
	}
	runs, opt := 5, probe.Options{Batches: 15}
	if r.pairs {
		opt.Batches = 7
	}
	if quick {
		runs, opt.Batches = 1, 5
	}
	opt.Limit = limit / time.Duration(runs)
	ratios, note, gated := make([]float64, runs), "", true
	results := make([][]probe.Result, runs)
	for i := range runs {
		results[i] = probe.Measure(cases, opt)
		ratios[i], note = r.ratio(results[i])
		for _, one := range results[i] {
			gated = gated && !one.Forced
		}
	}
	if r.pairs {
		results[0] = medianPairs(results)
		ratios[0], note = r.ratio(results[0])
		ratios = ratios[:1]
	}
	got, bound, ok := median(ratios), ">=", false
	if r.cost {
		bound, ok = "<=", got <= r.least*(1+tolerance)
	} else {
		ok = got >= r.least*(1-tolerance)
	}
	if !ok {
		note = "MISSED; " + note
	}
	if !gated {
		note += " (not all runs gated: the machine is busy)"
	}
	fmt.Printf("%-62s %8.2f %s %6.2f %7.2f  %s\n", r.name, got, bound, r.least, r.aim, note)
	if pairs && r.pairs {
		printPairs(results[0])
	}
	runtime.GC()
	return ok
}

// printPairs prints the quotients that worstPair chose from.
func printPairs(r []probe.Result) {
	for i := 0; i+1 < len(r); i += 2 {
		fmt.Printf("    %-12s %5.1f ns, %s %5.1f ns: %.2f\n", r[i].Name, r[i].NS, r[i+1].Name, r[i+1].NS, r[i].NS/r[i+1].NS)
	}
}
