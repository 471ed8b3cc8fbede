package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// An output is standard output: it remembers the first error of writing, and has the
// command end when there is one.
type output struct {
	w      io.Writer
	failed func()

	mu  sync.Mutex
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.mu.Lock()
		if o.err == nil {
			o.err = err
		}
		o.mu.Unlock()
		o.failed()
	}
	return n, err
}

// Err returns the first error.
func (o *output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *output) under() io.Writer { return o.w }

// under returns the writer that w passes its bytes to, and w itself if there is none.
func under(w io.Writer) io.Writer {
	if u, ok := w.(interface{ under() io.Writer }); ok {
		return u.under()
	}
	return w
}

// isTerminal reports whether w is a character device, except the null device.
func isTerminal(w io.Writer) bool {
	f, ok := under(w).(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// A display shows a line that is rewritten in place on a terminal, and one line below the
// other elsewhere.
type display struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	width    int // of the line that is shown
}

func newDisplay(w io.Writer) *display { return &display{w: w, terminal: isTerminal(w)} }

// columns is how wide a line of a display may be.
const columns = 79

func (d *display) show(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.terminal {
		fmt.Fprintln(d.w, line)
		return
	}
	if r := []rune(line); len(r) > columns {
		line = string(r[:columns])
	}
	fmt.Fprintf(d.w, "\r%-*s", d.width, line)
	d.width = utf8.RuneCountInString(line)
}

// Write prints whole lines below the one that is shown.
func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
	return d.w.Write(p)
}

// end leaves the last line standing.
func (d *display) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave()
}

func (d *display) leave() {
	if d.terminal && d.width > 0 {
		fmt.Fprintln(d.w)
		d.width = 0
	}
}

// printable returns s with what could command a terminal made visible: control
// characters, and those that turn the direction of text. Line ends and tabs stay.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case !commandsTerminal(r):
			b.WriteRune(r)
		case r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// commandsTerminal reports whether r is one of the characters that printable makes
// visible.
func commandsTerminal(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 ||
		r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}
