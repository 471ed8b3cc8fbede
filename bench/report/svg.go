package report

import (
	"fmt"
	"html"
	"os"
	"strings"
)

// width is the width of all charts.
const width = 800

// The sizes of text, in pixels.
const (
	titleText = 16.0
	labelText = 13.0
	smallText = 12.0
)

// style names fonts, of which every system has one, and colours for light and dark pages.
// A chart has its own background, so that it can be read on any page.
const style = `<style>
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","DejaVu Sans","Liberation Sans",sans-serif}
.bg{fill:#ffffff}.fg{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#818b98;stroke-width:1}.box{fill:#f6f8fa;stroke:#d1d9e0}
@media (prefers-color-scheme:dark){.bg{fill:#151b23}.fg{fill:#f0f6fc}.dim{fill:#9198a1}.grid{stroke:#3d444d}.axis{stroke:#656c76}.box{fill:#212830;stroke:#3d444d}}
</style>
`

// drawing is an SVG in progress.
type drawing struct {
	b      strings.Builder
	height float64
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

// text writes s so that its left end, middle or right end ("start", "middle", "end") is
// at x, and its middle line at y.
func (d *drawing) text(x, y, size float64, class, anchor, s string) {
	d.printf(`<text class="%s" x="%.1f" y="%.1f" font-size="%g" text-anchor="%s">%s</text>`, class, x, y+0.35*size, size, anchor, html.EscapeString(s))
}

// heading writes a title, and below it a line that says what the figures are. It returns
// where the space below it begins.
func (d *drawing) heading(title, figures string) float64 {
	y := 24.0
	for _, line := range wrapped(title, titleText, width-32) {
		d.printf(`<text class="fg" x="16" y="%.1f" font-size="%g" font-weight="600">%s</text>`, y+0.35*titleText, titleText, html.EscapeString(line))
		y += 21
	}
	for _, line := range wrapped(figures, smallText, width-32) {
		d.text(16, y, smallText, "dim", "start", line)
		y += 17
	}
	return y + 4
}

// save writes the file. alt describes the result.
func (d *drawing) save(path, alt string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%d" height="%.0f" role="img">`+"\n", width, d.height, width, d.height)
	fmt.Fprintf(&b, "<title>%s</title>\n%s", html.EscapeString(alt), style)
	fmt.Fprintf(&b, `<rect class="bg" width="%d" height="%.0f" rx="6"/>`+"\n", width, d.height)
	b.WriteString(d.b.String())
	b.WriteString("</svg>\n")
	return os.WriteFile(path, []byte(b.String()), 0o666)
}

// textWidth bounds the width of a text, in the widest font of style.
func textWidth(s string, size float64) float64 {
	w := 0.0
	for _, c := range s {
		switch {
		case strings.ContainsRune("ijlI.,:;'|!()[] /-", c):
			w += 0.40
		case strings.ContainsRune("mwMW@%", c):
			w += 1.0
		case c >= 'A' && c <= 'Z':
			w += 0.73
		default:
			w += 0.64
		}
	}
	return w * size
}

// wrapped breaks a text into lines that fit.
func wrapped(s string, size, room float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && textWidth(line+" "+word, size) > room {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// library returns the library of an entrant or a function: all of one library have one
// colour.
func library(name string) string {
	for _, l := range []string{"tickwire", "gobwas", "gws", "gorilla", "fasthttp", "coder", "segmentio", "sonic", "unicode/utf8", "rust", "cpp", "python", "node"} {
		if strings.HasPrefix(name, l) {
			return l
		}
	}
	if strings.HasPrefix(name, "limit:") || name == "copy()" {
		return "limit"
	}
	return name
}

var colors = map[string]string{
	"tickwire": "#e0601f", "gobwas": "#3b82d6", "gws": "#2f9e5b", "gorilla": "#8f63c9", "fasthttp": "#a9842c",
	"coder": "#cf4f93", "segmentio": "#8f63c9", "sonic": "#2f9e5b", "unicode/utf8": "#3b82d6", "limit": "#8b949e",
	"rust": "#a0694b", "cpp": "#5b7fb5", "python": "#b39a1e", "node": "#4b9b4b",
}

func colorOf(name string) string {
	if c, ok := colors[library(name)]; ok {
		return c
	}
	return "#1a9aa8" // golang.org/x/net, and later additions
}
