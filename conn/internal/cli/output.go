package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// Output is standard output. It keeps the first write error, and calls Failed at each: a
// command ends then.
type Output struct {
	W      io.Writer
	Failed func()

	mu  sync.Mutex
	err error
}

// Write writes to W.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.W.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.mu.Lock()
		if o.err == nil {
			o.err = err
		}
		o.mu.Unlock()
		o.Failed()
	}
	return n, err
}

// Err returns the first write error.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *Output) under() io.Writer { return o.W }

// Unwrap returns the writer that an Output or a Redactor writes to, and w itself if it is
// neither.
func Unwrap(w io.Writer) io.Writer {
	if u, ok := w.(interface{ under() io.Writer }); ok {
		return u.under()
	}
	return w
}

// IsTerminal reports whether w is a character device, except the null device.
func IsTerminal(w io.Writer) bool {
	f, ok := Unwrap(w).(*os.File)
	return ok && IsDevice(f)
}

// IsDevice is IsTerminal for a file.
func IsDevice(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// Wrap breaks text between words into lines of at most width characters. A longer word
// is not broken.
func Wrap(text string, width int) []string {
	var lines []string
	var line string
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// Columns is how wide a line of a Display, and of what -h prints, may be.
const Columns = 79

// Display shows a line a second. On a terminal each line replaces the last one, and is
// cut at Columns; elsewhere lines follow each other.
type Display struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	width    int // of the current line
}

// NewDisplay returns a Display that writes to w.
func NewDisplay(w io.Writer) *Display { return &Display{w: w, terminal: IsTerminal(w)} }

// NewTerminalDisplay returns a Display that takes w for a terminal.
func NewTerminalDisplay(w io.Writer) *Display { return &Display{w: w, terminal: true} }

// Terminal reports whether lines replace one another.
func (d *Display) Terminal() bool { return d.terminal }

// Show shows a line.
func (d *Display) Show(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.terminal {
		fmt.Fprintln(d.w, line)
		return
	}
	if r := []rune(line); len(r) > Columns {
		line = string(r[:Columns])
	}
	fmt.Fprintf(d.w, "\r%-*s", d.width, line)
	d.width = utf8.RuneCountInString(line)
}

// End keeps the last line on the terminal.
func (d *Display) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
}

func (d *Display) leave() {
	if d.terminal && d.width > 0 {
		fmt.Fprintln(d.w)
		d.width = 0
	}
}

// Write prints whole lines, below the one that is shown.
func (d *Display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
	return d.w.Write(p)
}

// Printable returns s with escapes for what could control a terminal: control characters,
// and those that change the direction of text. Line ends and tabs are kept.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case !CommandsTerminal(r):
			b.WriteRune(r)
		case r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// CommandsTerminal reports whether Printable escapes r.
func CommandsTerminal(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 ||
		r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}
