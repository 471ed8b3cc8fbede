package main

import (
	"fmt"
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// sizes are the lengths of the second table, 0 standing for random lengths 1..125.
var sizes = []int{8, 16, 32, 64, 125, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, 0}

// printSizes prints what each masker takes at offset 6: nanoseconds a call up to 256 bytes and for random lengths,
// GB/s above.
func printSizes(w io.Writer, quick bool, limit time.Duration) {
	opt := probe.Options{Batches: 15, Limit: limit}
	if quick {
		opt.Batches = 5
	}
	fmt.Fprintf(w, "%-8s", "bytes")
	for _, m := range maskers {
		fmt.Fprintf(w, " %10s", m.name)
	}
	fmt.Fprintf(w, " %10s %10s %10s\n", "purego", "Copy", "copy()")
	for _, n := range sizes {
		views, name := func() *ring { return fixed(n, 6) }, bytesOf(n)
		if n == 0 {
			views, name = func() *ring { return random(125) }, "1..125"
		}
		var cases []probe.Case
		for _, m := range append(maskers[:len(maskers):len(maskers)], twin) {
			cases = append(cases, on(m, views()))
		}
		cases = append(cases, maskedCopy(views(), views()), copying(views(), views()))
		fmt.Fprintf(w, "%-8s", name)
		for _, r := range probe.Measure(cases, opt) {
			if n > 256 {
				fmt.Fprintf(w, " %5.1f GB/s", float64(n)/r.NS)
			} else {
				fmt.Fprintf(w, " %7.1f ns", r.NS)
			}
		}
		fmt.Fprintln(w)
	}
}
