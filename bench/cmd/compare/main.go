// Command compare runs the scenarios and writes what they measured.
//
//	GOWORK=off go -C bench run ./cmd/compare -list
//	GOWORK=off go -C bench run ./cmd/compare -quick
//	GOWORK=off go -C bench run ./cmd/compare -run 'decode/200 B' -rounds 5
//	GOWORK=off go -C bench run ./cmd/compare -run '^feed/' -entrants tickwire -profile DIR
//	GOWORK=off go -C bench run ./cmd/compare -languages
//	GOWORK=off go -C bench run ./cmd/compare -report
//
// A whole run takes about 40 minutes, and one with -quick five. A run with -languages
// takes 15 more. Raw results go to bench/results, one JSON line per entrant and round.
// Each is written at once, so an interrupted run keeps its results.
//
// -report first runs rows that miss their targets once more, under a profiler. Then it
// writes BENCHMARKS.md, bench/METHOD.md, bench/TARGETS.md, bench/TABLES.md and
// bench/charts. They show the results of this run, or with -from those of earlier ones.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/peers"
	"github.com/seed-7f57ff33/tickwire/bench/report"
	"github.com/seed-7f57ff33/tickwire/bench/scenario"
)

func main() {
	scenario.Child()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		list     = flag.Bool("list", false, "list scenarios and entrants with their versions")
		pattern  = flag.String("run", "", "run only what matches the regular `expression`, of scenario/case")
		entrants = flag.String("entrants", "", "run only these, comma-separated")
		quick    = flag.Bool("quick", false, "short: fewer rounds, fewer messages")
		rounds   = flag.Int("rounds", 0, "rounds, instead of each scenario's default")
		clients  = flag.String("clients", "", "numbers of clients of fanout, comma-separated, instead of 1000 and 10000")
		out      = flag.String("out", "", "file of raw results; appended to (default bench/results/TIME.jsonl)")
		write    = flag.Bool("report", false, "write BENCHMARKS.md, and in bench METHOD.md, TARGETS.md, TABLES.md and charts")
		others   = flag.Bool("languages", false, "run the scenarios with programs in Rust, C++, Python and JavaScript, and no others; they are built first")
		from     = flag.String("from", "", "take these files of raw results, comma-separated, and run nothing")
	)
	flag.StringVar(&scenario.ProfileDir, "profile", "", "run under a profiler, whose files go to this `directory`: the results are the top of each profile, instead of figures")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("no argument is expected, got %q: cases are picked by -run", flag.Args())
	}
	root, err := repository()
	if err != nil {
		return err
	}
	if *list {
		print()
		return nil
	}
	if files := strings.Split(*from, ","); *from != "" && *write {
		return report.Write(root, files...)
	} else if *from != "" {
		return report.Print(os.Stdout, files...)
	}
	p, err := plan(*pattern, *entrants, *clients)
	if err != nil {
		return err
	}
	p.Quick, p.Rounds, p.Languages, p.Dir = *quick, *rounds, *others, filepath.Join(root, "bench")
	if *out == "" {
		*out = filepath.Join(root, "bench", "results", time.Now().UTC().Format("20060102T150405")+".jsonl")
	}
	emit, done, err := scenario.Writer(*out)
	if err != nil {
		return err
	}
	measured := 0
	p.Emit = func(r scenario.Result) error { measured++; return emit(r) }
	if scenario.ProfileDir != "" {
		if err := os.MkdirAll(scenario.ProfileDir, 0o777); err != nil {
			return err
		}
	}
	// The first interrupt ends the run after the current measurement, the second one at
	// once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	p.Stop = ctx.Done()
	err = all(p)
	if err == nil && measured == 0 && ctx.Err() == nil {
		err = errors.New("no case matches -run, or none is for the -entrants")
	}
	if *write && err == nil && ctx.Err() == nil {
		err = profileShort(p, *out)
	}
	if err := errors.Join(err, done()); err != nil && measured == 0 {
		return err
	} else if err != nil {
		return fmt.Errorf("%w\nwhat was measured before is in %s", err, *out)
	}
	if err := report.Print(os.Stdout, *out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; what was measured before is in %s", *out)
	}
	if *write {
		return report.Write(root, *out)
	}
	return nil
}

// plan returns what to run: the cases that match a pattern, with lists of entrants and of
// numbers of clients.
func plan(pattern, entrants, clients string) (*scenario.Plan, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	p := &scenario.Plan{Match: match.MatchString, Command: command(), Progress: os.Stderr}
	if p.Entrants, err = names(entrants); err != nil {
		return nil, err
	}
	for _, n := range strings.FieldsFunc(clients, func(r rune) bool { return r == ',' }) {
		v, err := strconv.Atoi(n)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("%q is not a number of clients", n)
		}
		p.Clients = append(p.Clients, v)
	}
	return p, nil
}

// names splits a list of entrants. Some of their names contain commas.
func names(list string) (all []string, err error) {
	for list != "" {
		name := ""
		for _, e := range entrant.All() {
			if n := e.Info().Name; len(n) > len(name) && strings.HasPrefix(list+",", n+",") {
				name = n
			}
		}
		for _, p := range peers.All() {
			if n := p.Name(); strings.HasPrefix(list+",", n+",") {
				name = n
			}
		}
		if name == "" {
			return nil, fmt.Errorf("no entrant %q; -list has their names", list)
		}
		all = append(all, name)
		list = strings.TrimPrefix(list[len(name):], ",")
	}
	return all, nil
}

func all(p *scenario.Plan) error {
	for _, s := range scenario.All {
		if err := s.Run(p); err != nil {
			return err
		}
	}
	return nil
}

// profileShort runs what misses a target once more, under a profiler.
func profileShort(p *scenario.Plan, results string) error {
	short, err := report.FallingShort(results)
	if err != nil {
		return err
	}
	if scenario.ProfileDir, err = os.MkdirTemp("", "compare"); err != nil {
		return err
	}
	defer os.RemoveAll(scenario.ProfileDir)
	for _, row := range short {
		q := *p
		q.Match, q.Entrants = func(name string) bool { return name == row.Scenario+"/"+row.Case }, []string{row.Entrant}
		if err := all(&q); err != nil {
			return err
		}
	}
	return nil
}

// command returns the command line that repeats this run.
func command() string {
	line := "GOWORK=off go -C bench run ./cmd/compare"
	for _, a := range os.Args[1:] {
		if strings.ContainsAny(a, " '\"|()*,;&") {
			a = "'" + a + "'"
		}
		line += " " + a
	}
	return line
}

// repository returns the root of the checkout around the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "bench", "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not within the repository", dir)
		}
	}
}

func print() {
	for _, s := range scenario.All {
		fmt.Printf("%-14s %s\n", s.Name, s.About)
	}
	fmt.Println()
	for _, e := range entrant.All() {
		i := e.Info()
		fmt.Printf("%-46s %-10s %s\n", i.Name, entrant.Version(i.Module), i.Calls)
	}
	fmt.Println("\nwith -languages:")
	for _, p := range peers.All() {
		fmt.Printf("%-46s %-10s %s\n", p.Name(), "", p.Calls)
	}
}
