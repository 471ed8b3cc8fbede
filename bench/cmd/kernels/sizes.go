package main

import (
	"fmt"
	"io"
	"slices"
	std "unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// sizes are the lengths on the axis of the curves. 0 means random lengths 1..125.
var sizes = []int{8, 16, 32, 64, 125, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, 0}

// curves is a table of the times of some functions over sizes.
type curves struct {
	title string
	cases func(views func() *ring) []probe.Case
	text  func(n int) []byte // content of the views; nil: anything
}

// tables returns the tables of -sizes: each kernel at each tier, other libraries'
// functions for the same task, and copy().
func tables() []curves {
	all := []curves{
		{"mask in place", func(views func() *ring) []probe.Case {
			c := tiers(func() probe.Case { return on(maskers[0], views()) }, asm.SSSE3, asm.AVX512)
			for _, m := range maskers[1:] {
				c = append(c, on(m, views()))
			}
			return append(c, copying(views(), views()))
		}, nil},
		{"masked copy", func(views func() *ring) []probe.Case {
			return append(tiers(func() probe.Case { return maskedCopy(views(), views()) }, asm.SSSE3), copying(views(), views()))
		}, nil},
	}
	for _, t := range []struct {
		name string
		text func(int) []byte
	}{{"ASCII", ascii}, {"CJK", cjk}} {
		all = append(all, curves{"UTF-8, " + t.name, func(views func() *ring) []probe.Case {
			return append(tiers(func() probe.Case { return ourValid("", views()) }, asm.SSE2),
				valid("unicode/utf8", views(), std.Valid), valid("segmentio", views(), segmentioValid), valid("sonic", views(), sonicValid),
				copying(views(), views()))
		}, t.text}, curves{"unmask and check, " + t.name, func(views func() *ring) []probe.Case {
			return append(tiers(func() probe.Case { return unmask("", views()) }, asm.SSE2),
				cipherThenValid(views()), copying(views(), views()))
		}, t.text})
	}
	return all
}

// tiers returns the case once for each tier, the fastest first. It leaves out tiers
// without a kernel of their own.
func tiers(make func() probe.Case, without ...asm.Tier) []probe.Case {
	var cases []probe.Case
	for _, tier := range slices.Backward(asm.Available()) {
		if slices.Contains(without, tier) {
			continue
		}
		c := make()
		c.Name, c.Before = "tickwire/"+tier.String(), func() { asm.Force(tier) }
		cases = append(cases, c)
	}
	return cases
}

// cipherThenValid is gobwas's masker with the key 0, followed by unicode/utf8.
//
//go:noinline
func cipherThenValid(r *ring) probe.Case {
	return probe.Case{Name: "gobwas+unicode/utf8", Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				ws.Cipher(b, [4]byte{}, 0)
				if !std.Valid(b) {
					panic("unicode/utf8 refuses a valid text")
				}
			}
		})
	}}
}

// printSizes prints each table at offset 6: nanoseconds a call up to 256 bytes and for
// random lengths, GB/s above.
func printSizes(w io.Writer, opt probe.Options) {
	active := asm.Active()
	defer func() { asm.Force(active) }()
	for _, t := range tables() {
		fmt.Fprintf(w, "%s\n", t.title)
		for i, n := range sizes {
			views, name := func() *ring { return fixed(n, 6) }, bytesOf(n)
			switch {
			case n > 0 && t.text != nil:
				text := t.text(n)
				views = func() *ring { return texts(text, 6) }
			case n == 0 && t.text != nil:
				continue // the texts of random views would begin anywhere
			case n == 0:
				views, name = func() *ring { return random(125) }, "1..125"
			}
			cases := t.cases(views)
			if i == 0 {
				fmt.Fprintf(w, "%-8s", "bytes")
				for _, c := range cases {
					fmt.Fprintf(w, " %*s", width(c.Name), c.Name)
				}
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%-8s", name)
			var results []probe.Result
			if n > 256 {
				results = probe.Measure(cases, opt)
			} else { // so short that their place in memory matters
				results = measured(func() []probe.Case { return t.cases(views) }, opt)
			}
			for _, r := range results {
				figure := fmt.Sprintf("%.1f ns", r.NS)
				if n > 256 {
					figure = fmt.Sprintf("%.1f GB/s", float64(n)/r.NS)
				}
				fmt.Fprintf(w, " %*s", width(r.Name), figure)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
	}
}

// width returns the width of a column.
func width(name string) int { return max(len(name), 10) }
