// Package cli is what the commands of this repository have in common: flags, errors of
// usage, output, secrets and numbers.
package cli

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// UsageError is a command line that cannot be run, or names what cannot be reached. The
// caller must correct it: exit code 2.
type UsageError struct{ Err error }

// Error returns the text of Err.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *UsageError) Unwrap() error { return e.Err }

// BadUsage returns a *UsageError with a formatted text.
func BadUsage(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// OneLine returns the text of err on one line, even if a server's text has several.
func OneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
}

// NewFlags returns the flag set of a subcommand. It prints no errors itself: package flag
// prints pages, and a command one line.
func NewFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// hiddenFlags are for the programs' own child processes.
var hiddenFlags = []string{"leash"}

// PrintFlags prints the flags of a subcommand, except hidden ones, in lines of Columns.
func PrintFlags(w io.Writer, f *flag.FlagSet) {
	shown := flag.NewFlagSet(f.Name(), flag.ContinueOnError)
	var b strings.Builder
	shown.SetOutput(&b)
	f.VisitAll(func(each *flag.Flag) {
		if !slices.Contains(hiddenFlags, each.Name) {
			shown.Var(each.Value, each.Name, each.Usage)
			shown.Lookup(each.Name).DefValue = each.DefValue
		}
	})
	shown.PrintDefaults()
	for line := range strings.Lines(b.String()) {
		// A tab precedes what a flag means, at column 8.
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			fmt.Fprintln(w, name)
			continue
		}
		for _, part := range Wrap(text, Columns-8) {
			fmt.Fprintf(w, "%s\t%s\n", name, part)
			name = "    "
		}
	}
}
