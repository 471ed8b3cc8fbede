package report

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

// bars are the cases that get a chart of ratios.
var bars = []struct{ scenario, kase, file string }{
	{"decode", decode200, "decode-200.svg"},
	{"decode", decode200m, "decode-200-masked.svg"},
	{"encode", "200 B, client", "encode-200-client.svg"},
	{"feed", feedTCP, "feed-tcp.svg"},
	{"feed", feedRecords, "feed-tls-records.svg"},
	{"feed", feedDeflate, "feed-deflate.svg"},
	{"echo", "128 B, both ends", "echo-one-cpu.svg"},
	{"echo", "128 B, each end", "echo.svg"},
	{"fanout", fanout1000, "fanout.svg"},
	{"fanout", "200 B to 10000 clients", "fanout-10000.svg"},
	{"handshake", "allocations", "handshake.svg"},
	{"idle", "", "idle.svg"},
}

var (
	oursColor  = color.RGBA{R: 0xd4, G: 0x5d, B: 0x1e, A: 0xff}
	peerColor  = color.RGBA{R: 0x6c, G: 0x8e, B: 0xbf, A: 0xff}
	limitColor = color.RGBA{R: 0xb0, G: 0xb0, B: 0xb0, A: 0xff}
)

// drawAll draws the charts into dir and returns the files of each scenario.
func drawAll(dir string, all []group) (map[string][]string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	files := make(map[string][]string)
	for _, c := range bars {
		i := slices.IndexFunc(all, func(g group) bool { return g.scenario == c.scenario && strings.HasPrefix(g.name, c.kase) })
		if i < 0 {
			continue
		}
		if err := drawBars(filepath.Join(dir, c.file), all[i]); err != nil {
			return nil, err
		}
		files[c.scenario] = append(files[c.scenario], c.file)
	}
	for _, side := range []string{"unmasked, UTF-8 checked", "masked, UTF-8 checked"} {
		name := "decode-sizes-" + strings.Fields(strings.ReplaceAll(side, ",", ""))[0] + ".svg"
		drawn, err := drawSizes(filepath.Join(dir, name), "decode", side, all)
		if err != nil {
			return nil, err
		}
		if drawn {
			files["decode"] = append(files["decode"], name)
		}
	}
	for _, g := range all {
		title, ok := strings.CutSuffix(g.name, scenario.KernelSizes)
		if !ok {
			continue
		}
		name := "kernels-" + strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(title), ",", ""), " ", "-") + ".svg"
		if err := drawKernels(filepath.Join(dir, name), title, g); err != nil {
			return nil, err
		}
		files["kernels"] = append(files["kernels"], name)
	}
	return files, nil
}

// drawKernels draws GB/s over sizes, both axes logarithmic.
func drawKernels(path, title string, g group) error {
	lines := make(map[string]plotter.XYs)
	var order []string
	for _, r := range g.rows {
		order = append(order, r.Entrant)
		for _, u := range r.units {
			size, unit, _ := strings.Cut(u, ", ")
			n, err := byteSize(size)
			if err != nil {
				continue // random lengths have no place on the axis
			}
			v := r.Metrics[u].Median
			if unit == "ns" {
				v = n / v
			}
			lines[r.Entrant] = append(lines[r.Entrant], plotter.XY{X: n, Y: v})
		}
	}
	return drawLines(path, title+", payload at offset 6", "bytes", "GB/s (more is better)", order, lines)
}

// byteSize reads a size as cmd/kernels prints it.
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

// drawBars draws the main metric of one case, best on top, with the ratio to tickwire at the end of each bar.
func drawBars(path string, g group) error {
	p := plot.New()
	metric := mains[g.scenario].main
	p.Title.Text = g.scenario + ": " + g.name
	p.X.Label.Text = metric + " (less is better); at the end of each bar the ratio to tickwire"
	p.X.Min = 0
	rows := slices.Clone(g.rows)
	slices.Reverse(rows)
	names := make([]string, len(rows))
	var labels plotter.XYLabels
	for i, r := range rows {
		names[i] = r.Entrant
		bar, err := plotter.NewBarChart(plotter.Values{r.Metrics[metric].Median}, vg.Points(13))
		if err != nil {
			return err
		}
		bar.Horizontal, bar.XMin, bar.LineStyle.Width = true, float64(i), 0
		switch {
		case strings.HasPrefix(r.Entrant, "tickwire"):
			bar.Color = oursColor
		case strings.HasPrefix(r.Entrant, "limit:"):
			bar.Color = limitColor
		default:
			bar.Color = peerColor
		}
		p.Add(bar)
		labels.XYs = append(labels.XYs, plotter.XY{X: r.Metrics[metric].Median, Y: float64(i)})
		labels.Labels = append(labels.Labels, fmt.Sprintf(" %s (%s)", figure(r.Metrics[metric].Median), g.ratio(r)))
	}
	text, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range text.TextStyle {
		text.TextStyle[i].YAlign = draw.YCenter
	}
	p.Add(text)
	p.NominalY(names...)
	p.X.Max *= 1.18
	return p.Save(vg.Points(760), vg.Points(70+20*float64(len(rows))), path)
}

// drawSizes draws a metric over message sizes, both axes logarithmic.
func drawSizes(path, scen, side string, all []group) (bool, error) {
	lines := make(map[string]plotter.XYs)
	var order []string
	for _, g := range all {
		size, rest, ok := strings.Cut(g.name, " B, ")
		n, err := strconv.Atoi(size)
		if g.scenario != scen || !ok || rest != side || err != nil {
			continue
		}
		for _, r := range g.rows {
			if lines[r.Entrant] == nil {
				order = append(order, r.Entrant)
			}
			lines[r.Entrant] = append(lines[r.Entrant], plotter.XY{X: float64(n), Y: r.Metrics[mains[scen].main].Median})
		}
	}
	if len(lines) == 0 {
		return false, nil
	}
	return true, drawLines(path, scen+", "+side, "message, bytes", mains[scen].main, order, lines)
}

// drawLines draws one line per name, both axes logarithmic.
func drawLines(path, title, x, y string, order []string, lines map[string]plotter.XYs) error {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	peers, ours := 0, 0
	if slices.Contains(order, "tickwire") {
		ours = 1
	}
	for _, name := range order {
		line, err := plotter.NewLine(lines[name])
		if err != nil {
			return err
		}
		line.Width = vg.Points(1.2)
		switch {
		case strings.HasPrefix(name, "tickwire"):
			line.Color, line.Width = oursColor, vg.Points(2.4)
			if name != "tickwire" {
				line.Dashes = dashes[ours%len(dashes)]
				ours++
			}
		case strings.HasPrefix(name, "limit:") || name == "copy()":
			line.Color, line.Dashes = limitColor, []vg.Length{vg.Points(2), vg.Points(2)}
		default:
			line.Color = palette[peers%len(palette)]
			peers++
		}
		p.Add(line)
		p.Legend.Add(name, line)
	}
	p.X.Max *= 1.6 // room for half a label
	return p.Save(vg.Points(760), vg.Points(480), path)
}

// dashes tell tickwire's ways apart: none for "tickwire" itself or, where that is not drawn, for the first.
var dashes = [][]vg.Length{nil, {vg.Points(5), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(8), vg.Points(3), vg.Points(2), vg.Points(3)}}

// palette tells the other libraries apart.
var palette = []color.Color{
	color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}, color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 0xff},
	color.RGBA{R: 0x8c, G: 0x56, B: 0x4b, A: 0xff}, color.RGBA{R: 0xe3, G: 0x77, B: 0xc2, A: 0xff}, color.RGBA{R: 0x17, G: 0xbe, B: 0xcf, A: 0xff},
	color.RGBA{R: 0xbc, G: 0xbd, B: 0x22, A: 0xff}, color.RGBA{R: 0x39, G: 0x3b, B: 0x79, A: 0xff}, color.RGBA{R: 0x63, G: 0x79, B: 0x39, A: 0xff},
}
