package report

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// chart is a file in bench/charts, with a text that says what it shows.
type chart struct{ file, alt string }

// bars are the cases that get a chart. The first one of a scenario is in BENCHMARKS.md.
var bars = []struct{ scenario, kase, file string }{
	{"decode", decode200, "decode-200.svg"},
	{"decode", decode200m, "decode-200-masked.svg"},
	{"encode", "200 B, client", "encode-200-client.svg"},
	{"feed", feedTCP, "feed-tcp.svg"},
	{"feed", feedRecords, "feed-tls-records.svg"},
	{"feed", feedDeflate, "feed-deflate.svg"},
	{"paced", "ws, ", "paced.svg"},
	{"paced", "wss, ", "paced-tls.svg"},
	{"lines", "ws, 200 B, 16 connections, 10000", "lines-16.svg"},
	{"lines", "ws, 200 B, 128 connections, 100000", "lines-128.svg"},
	{"echo", "128 B, both ends", "echo-one-cpu.svg"},
	{"echo", "128 B, each end", "echo.svg"},
	{"fanout", fanout1000, "fanout.svg"},
	{"fanout", "200 B to 10000 clients", "fanout-10000.svg"},
	{"handshake", "allocations", "handshake.svg"},
	{"idle", "", "idle.svg"},
	{"feed-languages", "ws, 200 B", "languages-feed.svg"},
	{"feed-languages", "wss, 200 B", "languages-feed-tls.svg"},
	{"echo-languages", "", "languages-echo.svg"},
}

// drawAll draws the charts into dir and returns those of each scenario.
func drawAll(dir string, all []group) (map[string][]chart, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	charts := make(map[string][]chart)
	add := func(scenario, file, alt string, err error) error {
		charts[scenario] = append(charts[scenario], chart{file, alt})
		return err
	}
	for _, c := range bars {
		if g := find(all, c.scenario, c.kase); g != nil && g.ours() != nil {
			alt, err := drawBars(filepath.Join(dir, c.file), *g)
			if err := add(c.scenario, c.file, alt, err); err != nil {
				return nil, err
			}
		}
	}
	for _, side := range []string{"unmasked", "masked"} {
		file := "decode-sizes-" + side + ".svg"
		if l := sizesOf("decode", side+", UTF-8 checked", all); len(l.order) > 0 {
			alt, err := l.draw(filepath.Join(dir, file))
			if err := add("decode", file, alt, err); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range all {
		title, ok := strings.CutSuffix(g.name, scenario.KernelSizes)
		if !ok {
			continue
		}
		file := "kernels-" + strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(title), ",", ""), " ", "-") + ".svg"
		alt, err := kernelLines(title, g).draw(filepath.Join(dir, file))
		if err := add("kernels", file, alt, err); err != nil {
			return nil, err
		}
	}
	return charts, nil
}

// find returns the first case of a scenario whose name has the prefix, or nil.
func find(all []group, scenario, prefix string) *group {
	for i := range all {
		if all[i].scenario == scenario && strings.HasPrefix(all[i].name, prefix) {
			return &all[i]
		}
	}
	return nil
}

// bar is one line of a bar chart.
type bar struct {
	name  string
	value float64
	ratio float64 // to tickwire; 0 means none
}

func (b bar) label() string {
	if b.ratio == 0 {
		return figure(b.value)
	}
	return figure(b.value) + "  (" + times(b.ratio) + ")"
}

// times prints a ratio.
func times(r float64) string {
	switch {
	case r < 0.95:
		return fmt.Sprintf("%.2f×", r)
	case r < 9.95:
		return fmt.Sprintf("%.1f×", r)
	}
	return fmt.Sprintf("%.0f×", r)
}

// barsOf returns the rows of a case as bars, best first.
func barsOf(g group) []bar {
	metric := mains[g.scenario].main
	ours := g.ours()
	var all []bar
	for _, r := range g.rows {
		if r.refused[metric] || r.Metrics[metric].Rounds == 0 {
			continue
		}
		one := bar{name: r.Entrant, value: r.Metrics[metric].Median}
		if ours != nil && ours.Metrics[metric].Median > 0 {
			one.ratio = one.value / ours.Metrics[metric].Median
		}
		all = append(all, one)
	}
	return all
}

// drawBars draws the main metric of one case, best on top. It returns a text with the
// result.
func drawBars(path string, g group) (alt string, err error) {
	metric := mains[g.scenario].main
	all := barsOf(g)
	var d drawing
	y := d.heading(g.scenario+": "+g.name, metric+", less is better; in brackets: times tickwire's")
	y = d.bars(all, 16, y, width-32)
	d.height = y + 12
	alt = altOf(g.scenario+", "+g.name+", "+metric, all)
	return alt, d.save(path, alt)
}

// altOf describes bars in words.
func altOf(title string, all []bar) string {
	var said []string
	for _, b := range all {
		if !strings.HasPrefix(b.name, "limit:") {
			said = append(said, b.name+" "+b.label())
		}
	}
	return title + ": " + strings.ReplaceAll(strings.Join(said, ", "), "  ", " ")
}

const barStep = 22.0

// bars draws bars in a column: names, bars, and figures at their ends. It returns where
// the space below them begins.
func (d *drawing) bars(all []bar, x, y, room float64) float64 {
	names, labels, most := 0.0, 0.0, 0.0
	for _, b := range all {
		names, labels, most = max(names, textWidth(b.name, labelText)), max(labels, textWidth(b.label(), labelText)), max(most, b.value)
	}
	left := x + names + 10
	space := max(room-names-10-labels-8, 40)
	for _, b := range all {
		w := max(space*b.value/most, 1.5)
		middle := y + barStep/2
		class := "fg"
		if strings.HasPrefix(b.name, "limit:") {
			class = "dim"
		}
		d.text(left-8, middle, labelText, class, "end", b.name)
		d.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="14" rx="2" fill="%s"/>`, left, middle-7, w, colorOf(b.name))
		d.text(left+w+6, middle, labelText, "fg", "start", b.label())
		y += barStep
	}
	return y
}

// panel is one small bar chart.
type panel struct {
	title string
	all   []bar
}

// drawPanels draws small bar charts in two columns.
func drawPanels(path, title, figures string, panels []panel) error {
	var d drawing
	top := d.heading(title, figures)
	const gap, room = 28.0, (width - 32 - 28.0) / 2
	low := top
	for i, p := range panels {
		if i%2 == 0 {
			top = low + 6
		}
		x := 16 + float64(i%2)*(room+gap)
		y := top
		for _, line := range wrapped(p.title, labelText, room) {
			d.printf(`<text class="fg" x="%.1f" y="%.1f" font-size="%g" font-weight="600">%s</text>`, x, y+14, labelText, line)
			y += 19
		}
		low = max(low, d.bars(p.all, x, y+4, room)+8)
	}
	d.height = low + 8
	var said []string
	for _, p := range panels {
		said = append(said, altOf(p.title, p.all))
	}
	return d.save(path, strings.Join(said, ". "))
}

// lines is a chart of lines over sizes, with two logarithmic axes.
type lines struct {
	title, y string
	less     bool // less is better
	order    []string
	points   map[string][]xy
}

type xy struct{ x, y float64 }

func (l *lines) add(name string, p xy) {
	if l.points == nil {
		l.points = make(map[string][]xy)
	}
	if l.points[name] == nil {
		l.order = append(l.order, name)
	}
	l.points[name] = append(l.points[name], p)
}

// kernelLines returns lines of GB/s over sizes.
func kernelLines(title string, g group) *lines {
	l := &lines{title: "kernels: " + title + ", payload at offset 6", y: "GB/s, more is better"}
	for _, r := range g.rows {
		for _, u := range r.units {
			if p, ok := kernelPoint(r, u); ok && !r.refused[u] {
				l.add(r.Entrant, xy{p.size, p.size / p.ns})
			}
		}
	}
	return l
}

// sizesOf returns lines of a scenario's main metric over message sizes.
func sizesOf(scen, side string, all []group) *lines {
	l := &lines{title: scen + ": " + side, y: mains[scen].main + ", less is better", less: true}
	for _, g := range all {
		n, rest, ok := strings.Cut(g.name, " B, ")
		x, err := strconv.ParseFloat(n, 64)
		if g.scenario != scen || !ok || rest != side || err != nil {
			continue
		}
		for _, r := range g.rows {
			if m := mains[scen].main; !r.refused[m] {
				l.add(r.Entrant, xy{x, r.Metrics[m].Median})
			}
		}
	}
	return l
}

// span is the range of one axis, in logarithms.
type span struct{ low, high float64 }

func (s span) at(v, from, to float64) float64 {
	if s.high == s.low {
		return (from + to) / 2
	}
	return from + (to-from)*(math.Log(v)-s.low)/(s.high-s.low)
}

func (l *lines) spans() (x, y span, sizes []float64) {
	x, y = span{math.Inf(1), math.Inf(-1)}, span{math.Inf(1), math.Inf(-1)}
	for _, points := range l.points {
		for _, p := range points {
			x.low, x.high = min(x.low, math.Log(p.x)), max(x.high, math.Log(p.x))
			y.low, y.high = min(y.low, math.Log(p.y)), max(y.high, math.Log(p.y))
			if !slices.Contains(sizes, p.x) {
				sizes = append(sizes, p.x)
			}
		}
	}
	slices.Sort(sizes)
	pad := 0.04 * (y.high - y.low)
	return x, span{y.low - pad, y.high + pad}, sizes
}

// ticks returns 1, 2 and 5 times the powers of ten, or only the powers if there are many.
func ticks(s span) []float64 {
	steps := []float64{1, 2, 5}
	if s.high-s.low > 4*math.Log(10) {
		steps = steps[:1]
	}
	var all []float64
	for e := math.Floor(s.low / math.Log(10)); e <= s.high/math.Log(10)+1; e++ {
		for _, m := range steps {
			if v := m * math.Pow(10, e); math.Log(v) >= s.low && math.Log(v) <= s.high {
				all = append(all, v)
			}
		}
	}
	return all
}

// dashes distinguish the entrants of one library.
var dashes = []string{"", "7 4", "2 3", "9 3 2 3", "4 2", "1 4"}

// draw draws one line per name. It returns a text with the result.
func (l *lines) draw(path string) (alt string, err error) {
	var d drawing
	top := d.heading(l.title, l.y)
	legend := 0.0
	for _, name := range l.order {
		legend = max(legend, textWidth(name, smallText))
	}
	const below, plot = 34.0, 360.0
	left, right := 64.0, width-legend-16-34-12
	bottom := top + max(plot, 18*float64(len(l.order)))
	x, y, sizes := l.spans()
	for _, v := range ticks(y) {
		at := y.at(v, bottom, top)
		d.printf(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, at, right, at)
		label := strconv.FormatFloat(v, 'f', -1, 64)
		if v >= 1000 {
			label = figure(v)
		}
		d.text(left-8, at, smallText, "dim", "end", label)
	}
	free := 0.0
	for _, v := range sizes {
		at := x.at(v, left, right)
		d.printf(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, at, top, at, bottom)
		if w := textWidth(size(v), smallText); at-w/2 > free {
			d.text(at, bottom+16, smallText, "dim", "middle", size(v))
			free = at + w/2 + 4
		}
	}
	d.printf(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, bottom, right, bottom)
	d.printf(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, top, left, bottom)
	order := l.ranked()
	same := make(map[string]int)
	for i, name := range order {
		lib := library(name)
		dash, thick := dashes[same[lib]%len(dashes)], 1.6
		same[lib]++
		if lib == "tickwire" {
			thick = 2.6
		}
		look := fmt.Sprintf(`fill="none" stroke="%s" stroke-width="%g" stroke-linejoin="round"`, colorOf(name), thick)
		if dash != "" {
			look += fmt.Sprintf(` stroke-dasharray="%s"`, dash)
		}
		var path []string
		points := slices.SortedFunc(slices.Values(l.points[name]), func(a, b xy) int { return cmp.Compare(a.x, b.x) })
		for _, p := range points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.x, left, right), y.at(p.y, bottom, top)))
		}
		d.printf(`<polyline points="%s" %s/>`, strings.Join(path, " "), look)
		at := top + 9 + 18*float64(i)
		d.printf(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`, right+14, at, right+42, at, look)
		d.text(right+48, at, smallText, "fg", "start", name)
	}
	d.height = bottom + below
	alt = l.alt(order, sizes)
	return alt, d.save(path, alt)
}

// ranked returns the names, best first at the middle size.
func (l *lines) ranked() []string {
	middle := func(name string) float64 {
		p := l.points[name]
		v := p[len(p)/2].y
		if !l.less {
			v = -v
		}
		return v
	}
	order := slices.Clone(l.order)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(middle(a), middle(b)) })
	return order
}

// alt says the figures at one size in the middle.
func (l *lines) alt(order []string, sizes []float64) string {
	at := sizes[len(sizes)/2]
	var said []string
	for _, name := range order {
		for _, p := range l.points[name] {
			if p.x == at {
				said = append(said, name+" "+figure(p.y))
			}
		}
	}
	return fmt.Sprintf("%s, %s; at %s: %s", l.title, l.y, size(at), strings.Join(said, ", "))
}
