package report

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// slack is how far a figure may be from the bounds that its neighbours in size give. More
// work does not take less time, and k times the bytes take at most k times the time. The
// factor allows for caches, and for lengths that are not a multiple of a register.
const slack = 3

// Refusal is a figure that its neighbours in size contradict.
type Refusal struct {
	Scenario, Case, Entrant, Unit string
	Why                           string
}

// String says what is refused, and why.
func (r Refusal) String() string {
	return fmt.Sprintf("%s, %s, %s: %s", r.Scenario, r.Case, r.Entrant, r.Why)
}

// point is a time at a size.
type point struct {
	size, ns float64
	row      *Row
	unit     string
}

// contradict reports whether no program can have taken these times for these sizes.
func contradict(a, b point) bool { // a is the smaller one
	return a.ns > slack*b.ns || b.ns > slack*a.ns*b.size/a.size
}

// refusable returns the points to drop so that none contradicts its neighbour, by size.
// It keeps the longest list without a contradiction. If two lists are equally long, it
// drops the points that only one of them has, because nothing tells which is wrong.
func refusable(points []point) (bad []point) {
	n := len(points)
	before, after := make([]int, n), make([]int, n) // lengths of the longest list that ends, or begins, at a point
	for i := range n {
		before[i] = 1
		for j := range i {
			if !contradict(points[j], points[i]) {
				before[i] = max(before[i], before[j]+1)
			}
		}
	}
	longest := 0
	for i := n - 1; i >= 0; i-- {
		after[i] = 1
		for j := i + 1; j < n; j++ {
			if !contradict(points[i], points[j]) {
				after[i] = max(after[i], after[j]+1)
			}
		}
		longest = max(longest, before[i]+after[i]-1)
	}
	at := make([]int, longest+1) // how many points can be at a position in a longest list
	for i := range n {
		if before[i]+after[i]-1 == longest {
			at[before[i]]++
		}
	}
	for i := range n {
		if before[i]+after[i]-1 < longest || at[before[i]] > 1 {
			bad = append(bad, points[i])
		}
	}
	return bad
}

// refuse marks figures that contradict their neighbours, and returns them.
func refuse(all []group) []Refusal {
	var refusals []Refusal
	for _, points := range series(all) {
		slices.SortFunc(points, func(a, b point) int { return int(a.size - b.size) })
		for _, bad := range refusable(points) {
			var others []string
			for _, p := range points {
				if p != bad {
					others = append(others, fmt.Sprintf("%s at %s", figure(p.ns), size(p.size)))
				}
			}
			why := fmt.Sprintf("%s ns at %s, and %s", figure(bad.ns), size(bad.size), strings.Join(others, ", "))
			if bad.row.refused == nil {
				bad.row.refused = make(map[string]bool)
			}
			bad.row.refused[bad.unit] = true
			refusals = append(refusals, Refusal{bad.row.Scenario, bad.row.Case, bad.row.Entrant, bad.unit, why})
		}
	}
	return refusals
}

var sizeInName = regexp.MustCompile(`\b([0-9]+) B\b`)

// series returns the times of one function over sizes: from a table of kernels, or from
// cases whose names differ only in the size.
func series(all []group) [][]point {
	var lists [][]point
	at := make(map[string]int)
	add := func(key string, p point) {
		i, ok := at[key]
		if !ok {
			i = len(lists)
			at[key] = i
			lists = append(lists, nil)
		}
		lists[i] = append(lists[i], p)
	}
	for _, g := range all {
		for _, r := range g.rows {
			switch {
			case strings.HasSuffix(g.name, scenario.KernelSizes):
				for _, u := range r.units {
					if p, ok := kernelPoint(r, u); ok {
						add(g.name+"\x00"+r.Entrant, p)
					}
				}
			case len(sizeInName.FindAllString(g.name, -1)) == 1 && strings.HasSuffix(mains[g.scenario].main, "ns/message"):
				unit := mains[g.scenario].main
				n, _ := strconv.ParseFloat(sizeInName.FindStringSubmatch(g.name)[1], 64)
				if v := r.Metrics[unit].Median; v > 0 && n > 0 {
					add(g.scenario+"\x00"+sizeInName.ReplaceAllString(g.name, "")+"\x00"+r.Entrant, point{n, v, r, unit})
				}
			}
		}
	}
	return lists
}

// kernelPoint reads a cell of a table of kernels. Random lengths are not a point.
func kernelPoint(r *Row, unit string) (point, bool) {
	name, kind, _ := strings.Cut(unit, ", ")
	n, err := byteSize(name)
	v := r.Metrics[unit].Median
	if err != nil || v <= 0 {
		return point{}, false
	}
	if kind != "ns" {
		v = n / v
	}
	return point{n, v, r, unit}, true
}

// byteSize parses a size as printed by cmd/kernels.
func byteSize(s string) (float64, error) {
	unit := 1.0
	s = strings.TrimSpace(strings.TrimSuffix(s, "B"))
	for suffix, u := range map[string]float64{"K": 1 << 10, "M": 1 << 20} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = strings.TrimSpace(rest), u
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	return n * unit, err
}

// size prints a number of bytes.
func size(n float64) string {
	switch {
	case n >= 1<<20 && math.Mod(n, 1<<20) == 0:
		return figureOf(n/(1<<20)) + " MB"
	case n >= 1<<10 && math.Mod(n, 1<<10) == 0:
		return figureOf(n/(1<<10)) + " KB"
	}
	return figureOf(n) + " B"
}

func figureOf(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
