package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	std "unicode/utf8"

	"github.com/klauspost/cpuid/v2"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// row is a ratio with its targets.
type row struct {
	name string
	// least and aim are lower bounds of the ratio, or with cost set upper bounds.
	least, aim float64
	cost       bool
	cases      func() []probe.Case
	// ratio takes the results in the order of cases. It may add a note.
	ratio func(r []probe.Result) (float64, string)
	pairs bool // many pairs of cases, of which ratio takes the worst: fewer batches each
}

// The first over the second, and the reverse.
func speedup(r []probe.Result) (float64, string) {
	return r[1].NS / r[0].NS, fmt.Sprintf("%.1f ns, %s %.1f ns", r[0].NS, r[1].Name, r[1].NS)
}

func share(r []probe.Result) (float64, string) {
	return r[0].NS / r[1].NS, fmt.Sprintf("%.1f ns, %s %.1f ns", r[0].NS, r[1].Name, r[1].NS)
}

// overBest compares the first with the fastest of the others.
func overBest(r []probe.Result) (float64, string) {
	best := r[1]
	var all []string
	for _, p := range r[1:] {
		if p.NS < best.NS {
			best = p
		}
		all = append(all, fmt.Sprintf("%s %.1f", p.Name, p.NS))
	}
	return best.NS / r[0].NS, fmt.Sprintf("%.1f ns; %s", r[0].NS, strings.Join(all, ", "))
}

// worstPair returns the largest quotient of a pair of results.
func worstPair(r []probe.Result) (float64, string) {
	worst, at := 0.0, 0
	for i := 0; i+1 < len(r); i += 2 {
		if q := r[i].NS / r[i+1].NS; q > worst {
			worst, at = q, i
		}
	}
	return worst, fmt.Sprintf("worst at %s: %.1f ns, %s %.1f ns", r[at].Name, r[at].NS, r[at+1].Name, r[at+1].NS)
}

// The functions that make cases are not inlined. In the copies of a closure that inlining
// makes, the compiler does not inline what the closure calls. The wrappers under test
// would then be measured as calls.
//
//go:noinline
func on(m masker, r *ring) probe.Case {
	return probe.Case{Name: m.name, Run: func(n int) { r.each(n, m.run) }}
}

//go:noinline
func copying(d, s *ring) probe.Case {
	return probe.Case{Name: "copy()", Run: func(n int) {
		d.pairs(n, s, func(dst, src [][]byte) {
			for i, b := range src {
				copy(dst[i], b)
			}
		})
	}}
}

//go:noinline
func maskedCopy(d, s *ring) probe.Case {
	return probe.Case{Name: "Copy", Run: func(n int) {
		d.pairs(n, s, func(dst, src [][]byte) {
			for i, b := range src {
				mask.Copy(dst[i], b, key)
			}
		})
	}}
}

//go:noinline
func valid(name string, r *ring, f func([]byte) bool) probe.Case {
	return probe.Case{Name: name, Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				if !f(b) {
					panic(name + " refuses a valid text")
				}
			}
		})
	}}
}

//go:noinline
func ourValid(name string, r *ring) probe.Case {
	return probe.Case{Name: name, Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				if !utf8.Valid(b) {
					panic("Valid refuses a valid text")
				}
			}
		})
	}}
}

// unmask runs over texts with the key 0. So the text stays the same from call to call,
// and the kernels do the same work as with any key.
//
//go:noinline
func unmask(name string, r *ring) probe.Case {
	return probe.Case{Name: name, Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				if !utf8.Unmask(b, 0) {
					panic("Unmask refuses a valid text")
				}
			}
		})
	}}
}

//go:noinline
func xorZero(name string, r *ring) probe.Case {
	return probe.Case{Name: name, Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				mask.XOR(b, 0)
			}
		})
	}}
}

//go:noinline
func twoPasses(r *ring) probe.Case {
	return probe.Case{Name: "XOR then Valid", Run: func(n int) {
		r.each(n, func(views [][]byte) {
			for _, b := range views {
				mask.XOR(b, 0)
				if !utf8.Valid(b) {
					panic("Valid refuses a valid text")
				}
			}
		})
	}}
}

func bytesOf(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%dK", n>>10)
	}
	return fmt.Sprint(n)
}

// byFamily returns the target for this processor: zen5 for AMD's family 26 and later. All
// other processors have that of family 25, where all targets were set.
func byFamily(zen3, zen5 float64) float64 {
	if cpuid.CPU.VendorID == cpuid.AMD && cpuid.CPU.Family >= 26 {
		return zen5
	}
	return zen3
}

// table returns all rows, in the order in which the targets were set.
func table() []row {
	var rows []row
	add := func(r row) { rows = append(rows, r) }
	for _, n := range []int{4 << 10, 16 << 10} {
		add(row{name: "XOR " + bytesOf(n) + " aligned vs copy()", least: 1, aim: 1.03, ratio: speedup,
			cases: func() []probe.Case {
				return []probe.Case{on(maskers[0], fixed(n, 0)), copying(fixed(n, 0), fixed(n, 0))}
			}})
	}
	for _, n := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		add(row{name: "XOR " + bytesOf(n) + " at offsets 1-31 vs aligned", least: 0.88, aim: 0.93,
			ratio: func(r []probe.Result) (float64, string) { return speedup(r) },
			cases: func() []probe.Case {
				c := []probe.Case{on(maskers[0], offsets(n)), on(maskers[0], aligned(n))}
				c[1].Name = "aligned"
				return c
			}})
	}
	peers := func(make func() *ring) func() []probe.Case {
		return func() []probe.Case {
			var c []probe.Case
			for _, m := range maskers {
				c = append(c, on(m, make()))
			}
			return c
		}
	}
	add(row{name: "XOR random 1..125 vs best peer", least: 2.3, aim: 3, ratio: overBest, cases: peers(func() *ring { return random(125) })})
	add(row{name: "XOR 125 B at offset 6 vs best peer", least: 2.1, aim: 2.3, ratio: overBest, cases: peers(func() *ring { return fixed(125, 6) })})
	for _, n := range []int{32, 64, 125, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		least := 1.0
		switch {
		case n < 64:
			least = 0 // there is only an aim
		case n == 64:
			// copy() gets its arguments in registers, assembly in memory. That costs a
			// cycle or two, and copying 64 bytes takes eight. Family 26 measures 0.86 to
			// 0.90.
			least = byFamily(1, 0.85)
		}
		add(row{name: "Copy " + bytesOf(n) + " at offset 6 vs copy()", least: least, aim: 1, ratio: speedup,
			cases: func() []probe.Case {
				return []probe.Case{maskedCopy(fixed(n, 6), fixed(n, 6)), copying(fixed(n, 6), fixed(n, 6))}
			}})
	}
	add(row{name: "Valid CJK 4K vs best Go module", least: 1.48, aim: 1.6, ratio: overBest, cases: func() []probe.Case {
		r := texts(cjk(4<<10), 6)
		return []probe.Case{ourValid("Valid", r), valid("segmentio", r, segmentioValid), valid("sonic", r, sonicValid)}
	}})
	// From family 25 to 26 the standard library's loop gains more than the AVX2 kernel:
	// 14.2 there.
	add(row{name: "Valid CJK 4K vs unicode/utf8", least: byFamily(17, 14), aim: 17, ratio: speedup, cases: func() []probe.Case {
		r := texts(cjk(4<<10), 6)
		return []probe.Case{ourValid("Valid", r), valid("unicode/utf8", r, std.Valid)}
	}})
	add(row{name: "Valid ASCII JSON 16K vs unicode/utf8", least: 2.3, aim: 3, ratio: speedup, cases: func() []probe.Case {
		r := texts(ascii(16<<10), 6)
		return []probe.Case{ourValid("Valid", r), valid("unicode/utf8", r, std.Valid)}
	}})
	for _, n := range []int{128, 200, 256} {
		// Measured on family 25 (Zen 3): a tail takes 1.75 and 1.58 for Valid, 1.5 for
		// Unmask; inside it takes 2.1 and 1.7. Checking every block took 2.8 to 2.0 and
		// 2.0 to 3.7.
		for _, f := range []struct {
			name         string
			of           func(string, *ring) probe.Case
			tail, inside float64
		}{{"Valid", ourValid, 1.85, 2.2}, {"Unmask", unmask, 1.6, 1.85}} {
			add(row{name: fmt.Sprintf("%s JSON with a CJK tail %d, cost vs ASCII", f.name, n), least: f.tail, aim: 1.5, cost: true,
				ratio: share, cases: func() []probe.Case {
					return []probe.Case{f.of(f.name, texts(named(n, 0), 6)), f.of("ASCII", texts(ascii(n), 6))}
				}})
			add(row{name: fmt.Sprintf("%s JSON with CJK inside %d, cost vs ASCII", f.name, n), least: f.inside, aim: 1.5, cost: true,
				ratio: share, cases: func() []probe.Case {
					return []probe.Case{f.of(f.name, texts(named(n, 40), 6)), f.of("ASCII", texts(ascii(n), 6))}
				}})
		}
	}
	for _, c := range []struct {
		n          int
		least, aim float64
	}{{4 << 10, 1.18, 1.10}, {16 << 10, 1.09, 1.06}} {
		add(row{name: "Unmask CJK " + bytesOf(c.n) + ", cost vs Valid", least: c.least, aim: c.aim, cost: true, ratio: share,
			cases: func() []probe.Case {
				text := cjk(c.n)
				return []probe.Case{unmask("Unmask", texts(text, 6)), ourValid("Valid", texts(text, 6))}
			}})
	}
	for _, n := range []int{4 << 10, 16 << 10, 64 << 10} {
		add(row{name: "Unmask ASCII " + bytesOf(n) + ", cost vs XOR", least: 1.2, aim: 1.05, cost: true, ratio: share,
			cases: func() []probe.Case {
				text := ascii(n)
				return []probe.Case{unmask("Unmask", texts(text, 6)), xorZero("XOR", texts(text, 6))}
			}})
	}
	// Up to 16 bytes a third of the time or more is the call. So two passes hardly take
	// twice as long as one: 2, 3 and 8 bytes are above 0.55.
	for _, c := range []struct {
		name       string
		text       func(int) []byte
		from, to   int
		least, aim float64
	}{{"ASCII", ascii, 1, 125, 0.75, 0.75}, {"CJK", cjk, 2, 16, 0.7, 0.55}, {"CJK", cjk, 17, 125, 0.55, 0.55}} {
		add(row{name: fmt.Sprintf("Unmask %s %d..%d B, every n, time vs XOR then Valid", c.name, c.from, c.to), least: c.least, aim: c.aim, cost: true,
			ratio: worstPair, pairs: true, cases: func() []probe.Case {
				var cases []probe.Case
				for n := c.from; n <= c.to; n++ {
					cases = append(cases, unmask(fmt.Sprint("n=", n), texts(c.text(n), 6)), twoPasses(texts(c.text(n), 6)))
				}
				return cases
			}})
	}
	add(row{name: "any kernel <= 64 B, dirty upper halves, cost vs clean", least: 1.15, aim: 1.1, cost: true,
		ratio: worstPair, pairs: true, cases: dirtyAndClean})
	add(row{name: "purego XOR random 1..125 vs best pure-Go peer", least: 1.45, aim: 1.6, ratio: overBest,
		cases: func() []probe.Case {
			cases := []probe.Case{on(twin, random(125))}
			for _, m := range maskers {
				if m.pure {
					cases = append(cases, on(m, random(125)))
				}
			}
			return cases
		}})
	return rows
}

func dirtyAndClean() []probe.Case {
	if !asmtest.DirtyUpper() {
		return nil
	}
	asmtest.CleanUpper()
	var cases []probe.Case
	pair := func(c probe.Case) {
		dirty := c
		dirty.Before = func() { asmtest.DirtyUpper() }
		c.Before, c.Name = asmtest.CleanUpper, "clean"
		cases = append(cases, dirty, c)
	}
	for _, n := range []int{8, 15, 16, 32, 48, 64} {
		named := func(c probe.Case, name string) probe.Case { c.Name = fmt.Sprint(name, " ", n); return c }
		pair(named(on(maskers[0], fixed(n, 6)), "XOR"))
		pair(named(maskedCopy(fixed(n, 6), fixed(n, 6)), "Copy"))
		for _, text := range [][]byte{ascii(n), cjk(n)} {
			pair(named(ourValid("", texts(text, 6)), "Valid"))
			pair(named(unmask("", texts(text, 6)), "Unmask"))
		}
	}
	return cases
}

// medianPairs takes the results of several runs. For each pair of cases it returns those
// of the run with the median quotient. The worst pair of one run would be the one that
// was disturbed most.
func medianPairs(runs [][]probe.Result) []probe.Result {
	var merged []probe.Result
	for i := 0; i+1 < len(runs[0]); i += 2 {
		slices.SortFunc(runs, func(a, b []probe.Result) int { return cmp.Compare(a[i].NS/a[i+1].NS, b[i].NS/b[i+1].NS) })
		merged = append(merged, runs[len(runs)/2][i:i+2]...)
	}
	return merged
}

// median returns the median of an odd number of values.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
