package report

import (
	"bufio"
	"errors"
	"fmt"
	"html"
	"os"
	"strings"
)

// A picture is rows of boxes with arrows between them, written as text:
//
//	title: The read path
//	socket | bytes from the peer
//	v one system call reads many messages
//	view: 0 copies | joined: 1 copy | inflated: bounded
//
// A line of one box is its name, and after a bar what it is. A line of more boxes is
// "name: what it is", divided by bars. A line that begins with v or ^ is an arrow down or
// up, with a label.
type picture struct {
	title string
	rows  []pictureRow
}

// pictureRow is an arrow, or boxes beside one another.
type pictureRow struct {
	arrow rune // 'v', '^', or 0
	label string
	boxes []pictureBox
}

type pictureBox struct{ name, text string }

// parsePicture parses the text of a picture.
func parsePicture(source string) (p picture, err error) {
	lines := bufio.NewScanner(strings.NewReader(source))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		title, isTitle := strings.CutPrefix(line, "title: ")
		switch {
		case line == "":
		case isTitle:
			p.title = title
		case line == "v" || line == "^" || strings.HasPrefix(line, "v ") || strings.HasPrefix(line, "^ "):
			p.rows = append(p.rows, pictureRow{arrow: rune(line[0]), label: strings.TrimSpace(line[1:])})
		default:
			boxes, err := parseBoxes(line)
			if err != nil {
				return p, fmt.Errorf("line %d: %w", n, err)
			}
			p.rows = append(p.rows, pictureRow{boxes: boxes})
		}
	}
	if p.title == "" || len(p.rows) == 0 {
		return p, errors.New("a picture needs a title and rows")
	}
	return p, nil
}

func parseBoxes(line string) ([]pictureBox, error) {
	parts := strings.Split(line, "|")
	if len(parts) == 2 && !strings.Contains(line, ": ") {
		return []pictureBox{{strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1])}}, nil
	}
	var boxes []pictureBox
	for _, part := range parts {
		name, text, _ := strings.Cut(strings.TrimSpace(part), ": ")
		if name == "" {
			return nil, errors.New("a box without a name")
		}
		boxes = append(boxes, pictureBox{name, text})
	}
	return boxes, nil
}

// The measures of pictures, in pixels.
const (
	pictureMargin = 16.0
	boxSpace      = 12.0 // between boxes, and within them
	boxLine       = 18.0
	arrowHeight   = 34.0
	labelSpace    = 12.0 // between an arrow and its label
)

// DrawPicture draws the picture of a text file into an SVG file.
func DrawPicture(source, path string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	p, err := parsePicture(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	d := &drawing{}
	y := d.heading(p.title, "") - 10
	for _, row := range p.rows {
		if row.arrow != 0 {
			if textWidth(row.label, smallText) > width/2-labelSpace {
				return fmt.Errorf("%s: the label %q is too long", source, row.label)
			}
			d.arrow(y, row)
			y += arrowHeight
		} else {
			y += d.boxes(y, row.boxes)
		}
	}
	d.height = y + pictureMargin
	return d.save(path, p.alt())
}

// alt says in words what the picture shows, from the top to the bottom.
func (p picture) alt() string {
	var b strings.Builder
	b.WriteString(p.title)
	separator := ": "
	for _, row := range p.rows {
		for _, box := range row.boxes {
			b.WriteString(separator + box.name)
			if box.text != "" {
				b.WriteString(" (" + box.text + ")")
			}
			separator = ", "
		}
		separator = "; "
	}
	return b.String()
}

// arrow draws an arrow over the height of a row, and its label beside it.
func (d *drawing) arrow(y float64, row pictureRow) {
	const x = width / 2
	from, to, head := y+4, y+arrowHeight-4, -6.0
	if row.arrow == '^' {
		from, to, head = to, from, 6
	}
	d.printf(`<path class="axis" fill="none" d="M%d %.1fV%.1f"/>`, x, from, to)
	d.printf(`<path class="axis" fill="none" d="M%d %.1fL%d %.1fL%d %.1f"/>`, x-4, to+head, x, to, x+4, to+head)
	d.text(x+labelSpace, y+arrowHeight/2, smallText, "dim", "start", row.label)
}

// boxes draws boxes side by side, and returns their height.
func (d *drawing) boxes(y float64, boxes []pictureBox) float64 {
	n := float64(len(boxes))
	w := (width - 2*pictureMargin - (n-1)*boxSpace) / n
	lines := make([][]string, len(boxes))
	most := 0
	for i, box := range boxes {
		lines[i] = wrapped(box.name, labelText*1.1, w-boxSpace)
		lines[i] = append(lines[i], "")
		lines[i] = append(lines[i], wrapped(box.text, smallText, w-boxSpace)...)
		most = max(most, len(lines[i])-1)
	}
	height := float64(most)*boxLine + boxSpace
	for i := range boxes {
		x := pictureMargin + float64(i)*(w+boxSpace)
		d.printf(`<rect class="box" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="6"/>`, x, y, w, height)
		at, class, weight := y+boxSpace/2+boxLine/2, "fg", "600"
		for _, line := range lines[i] {
			if line == "" {
				class, weight = "dim", "400"
				continue
			}
			d.printf(`<text class="%s" x="%.1f" y="%.1f" font-size="%g" font-weight="%s" text-anchor="middle">%s</text>`,
				class, x+w/2, at+0.35*labelText, labelText, weight, html.EscapeString(line))
			at += boxLine
		}
	}
	return height
}
