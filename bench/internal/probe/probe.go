// Package probe measures short pieces of code against each other on a machine that is not
// quiet.
//
// A virtual machine shares its cores. The same code runs at full speed for some
// milliseconds and at half speed for the next. So averages are useless for differences
// below a factor of two.
//
// Measure runs every batch of calls between two runs of a short fixed computation. The
// batch counts only if both were within a few percent of the fastest ever. The cases take
// turns in shuffled order, so slow drift affects all of them. Only ratios of cases
// measured together are meaningful.
package probe

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Case is something to measure.
type Case struct {
	Name string
	// Run makes n calls. n is the same in every batch of a run.
	Run func(n int)
	// Before is called before each batch, untimed. It may be nil.
	Before func()
}

// Options configure Measure. A zero field means the default in brackets.
type Options struct {
	Batch   time.Duration // length of one batch [40 µs]
	Batches int           // accepted batches per case [15]
	Slack   float64       // how much slower than the best probe a probe may be [0.03]
	Limit   time.Duration // time after which the fastest batches are taken without the check [10 s]
}

// Result is the result of one case.
type Result struct {
	Name string
	// NS is the median time of one call in the accepted batches, in nanoseconds.
	NS float64
	// Accepted and Tried count batches. Forced reports that too few were accepted before
	// the time limit: then the fastest ones were taken.
	Accepted, Tried int
	Forced          bool
}

// best is the shortest probe of the process.
var best = time.Duration(1 << 62)

// run runs the fixed computation: about 2 µs of integer additions in six independent
// chains. They use all integer units of a core, so another thread on the core shows at
// once.
func run() time.Duration {
	start := time.Now()
	sink += chains(300, 3)
	d := time.Since(start)
	best = min(best, d)
	return d
}

//lint:ignore U1000 it keeps the call from being left out
var sink uint64

//go:noinline
func chains(n int, x uint64) uint64 {
	var a, b, c, d, e, f uint64
	for i := 0; i < n; i++ {
		a += x
		b ^= x
		c += x
		d ^= x
		e += x
		f ^= x
		a ^= x
		b += x
		c ^= x
		d += x
		e ^= x
		f += x
		a += x
		b ^= x
		c += x
		d ^= x
		e += x
		f ^= x
		a ^= x
		b += x
		c ^= x
		d += x
		e ^= x
		f += x
	}
	return a + b + c + d + e + f
}

// Best returns the shortest probe that this process has seen. Do not compare measurements
// of processes whose shortest probes differ.
func Best() time.Duration { return best }

// Calibrate runs probes for d, so that the best one is known before the first batch.
func Calibrate(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		run()
	}
}

// Clean runs a probe and reports whether the processor ran at full speed. It is for what
// cannot be a Case, such as one end of a connection.
func Clean(slack float64) bool { return float64(run()) <= float64(best)*(1+slack) }

type batch struct {
	took  time.Duration
	clean bool
}

// Measure runs the cases interleaved and returns a result for each, in the given order.
func Measure(cases []Case, opt Options) []Result {
	if opt.Batch == 0 {
		opt.Batch = 40 * time.Microsecond
	}
	if opt.Batches == 0 {
		opt.Batches = 15
	}
	if opt.Slack == 0 {
		opt.Slack = 0.03
	}
	if opt.Limit == 0 {
		opt.Limit = 10 * time.Second
	}
	calls, order := make([]int, len(cases)), make([]int, len(cases))
	batches, clean := make([][]batch, len(cases)), make([]int, len(cases))
	for i, c := range cases {
		calls[i], order[i] = size(c, opt.Batch), i
	}
	for end, left := time.Now().Add(opt.Limit), len(cases); left > 0 && time.Now().Before(end); {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		left = 0
		for _, i := range order {
			if clean[i] >= opt.Batches {
				continue
			}
			left++
			b := one(cases[i], calls[i], opt.Slack)
			batches[i] = append(batches[i], b)
			if b.clean {
				clean[i]++
			}
		}
	}
	results := make([]Result, len(cases))
	for i, c := range cases {
		results[i] = summarize(c.Name, calls[i], batches[i], opt.Batches)
	}
	return results
}

// size returns how many calls take about d. It takes the fastest of three tries, because
// the first call may fill a buffer, and any call may be interrupted.
func size(c Case, d time.Duration) int {
	for n := 1; ; n *= 2 {
		took := time.Duration(1 << 62)
		for range 3 {
			if c.Before != nil {
				c.Before()
			}
			start := time.Now()
			c.Run(n)
			took = min(took, time.Since(start))
		}
		if took >= d/2 || n > 1<<24 {
			return max(1, int(float64(n)*float64(d)/float64(max(took, 1))))
		}
	}
}

func one(c Case, calls int, slack float64) batch {
	if c.Before != nil {
		c.Before()
	}
	before := Clean(slack)
	start := time.Now()
	c.Run(calls)
	took := time.Since(start)
	after := Clean(slack)
	return batch{took, before && after}
}

func summarize(name string, calls int, all []batch, want int) Result {
	var took []time.Duration
	for _, b := range all {
		if b.clean {
			took = append(took, b.took)
		}
	}
	r := Result{Name: name, Accepted: len(took), Tried: len(all)}
	if len(took) < (want+1)/2 {
		r.Forced = true
		took = took[:0]
		for _, b := range all {
			took = append(took, b.took)
		}
		slices.Sort(took)
		took = took[:max(1, len(took)/10)]
	}
	slices.Sort(took)
	r.NS = float64(took[len(took)/2].Nanoseconds()) / float64(calls)
	return r
}
