package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Report has the results of one agent.
type Report struct {
	Agent   string    `json:"agent"`
	Role    string    `json:"role"`
	Started time.Time `json:"started"`
	Results []Result  `json:"results"`
}

// Counts returns the number of cases with each verdict.
func (r *Report) Counts() (n [Failed + 1]int) {
	for _, x := range r.Results {
		n[x.Verdict]++
	}
	return n
}

// Summary returns the counts on one line. Verdicts without a case are left out, except
// OK.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%d cases", len(r.Results))
	for v, n := range r.Counts() {
		if n > 0 || v == int(OK) {
			s += fmt.Sprintf(", %d %v", n, Verdict(v))
		}
	}
	return s
}

// WriteJSON writes reports as one JSON array.
func WriteJSON(w io.Writer, reports []*Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(reports)
}

// ReadJSON reads the output of WriteJSON.
func ReadJSON(r io.Reader) (reports []*Report, err error) {
	if err = json.NewDecoder(r).Decode(&reports); err == nil && slices.Contains(reports, nil) {
		err = errors.New("a report that is null")
	}
	return reports, err
}

// WriteTable writes, for each agent, a line for each family and one for each case that is
// not OK. With all it writes one for every case. With coloured it uses the terminal's
// colours.
func WriteTable(w io.Writer, reports []*Report, all, coloured bool) error {
	for _, r := range reports {
		if _, err := fmt.Fprintf(w, "%s, a %s\n", shortened(r.Agent, 100), r.Role); err != nil {
			return err
		}
		for _, f := range r.families() {
			if _, err := fmt.Fprintf(w, "  %-8s %s\n", f.Agent, f.Summary()); err != nil {
				return err
			}
		}
		for _, x := range r.Results {
			if x.Verdict == OK && !all {
				continue
			}
			if err := x.line(w, coloured); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", shortened(r.Agent, 100), r.Summary()); err != nil {
			return err
		}
	}
	return nil
}

// families returns a report for each family, by number.
func (r *Report) families() (all []*Report) {
	for _, x := range r.Results {
		family, _, _ := strings.Cut(x.ID, ".")
		if strings.HasPrefix(family, "R") {
			family = "R1-R89"
		}
		if n := len(all); n == 0 || all[n-1].Agent != family {
			all = append(all, &Report{Agent: family})
		}
		last := all[len(all)-1]
		last.Results = append(last.Results, x)
	}
	return all
}

// colours of the verdicts, from the terminal's own palette, which fits light and dark.
var colours = [...]string{OK: "\x1b[32m", Unimplemented: "\x1b[2m", Informational: "\x1b[36m", NonStrict: "\x1b[33m", Failed: "\x1b[31m"}

func (x *Result) line(w io.Writer, coloured bool) error {
	verdict := fmt.Sprintf("%-13s", x.Verdict)
	if coloured {
		verdict = colours[x.Verdict] + verdict + "\x1b[0m"
	}
	s := fmt.Sprintf("  %-8s %s %s", x.ID, verdict, shortened(x.Title, 100))
	if x.Note != "" {
		s += "\n" + strings.Repeat(" ", 25) + shortened(x.Note, 200)
	}
	if x.Verdict >= NonStrict && x.Decided != "" {
		s += "\n" + strings.Repeat(" ", 25) + "octets " + shortened(x.Decided, 64)
	}
	_, err := fmt.Fprintln(w, s)
	return err
}

// shortened returns the beginning of an agent's text, on one line.
func shortened(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return '.'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
