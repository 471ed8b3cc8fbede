// Package scenario measures the entrants.
//
// What runs within one process is interleaved in short batches between probes. What needs
// sockets runs in child processes: one entrant after the other, in an order that is
// shuffled in each round. Every figure is emitted as a Result. Ratios are computed later,
// within one run.
package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/peers"
)

// Result is one measurement of one entrant.
type Result struct {
	Time     time.Time `json:"time"`
	Commit   string    `json:"commit"`
	Go       string    `json:"go"`
	CPU      string    `json:"cpu"`
	Tier     string    `json:"tier"`
	Command  string    `json:"command"`
	Scenario string    `json:"scenario"`
	Case     string    `json:"case"`
	Entrant  string    `json:"entrant"`
	Version  string    `json:"version,omitempty"`
	Round    int       `json:"round"`
	// Metrics maps a unit such as "ns/message" to the figure. All results of a case have
	// the same units.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Profile is set instead of Metrics in a run under the profiler.
	Profile *Profile `json:"profile,omitempty"`
	// Missing is set instead of Metrics for an entrant that failed or could not be built.
	// It is the reason, without a name of this machine. The entrant then has no figures
	// in the case.
	Missing string `json:"missing,omitempty"`
}

// Scenario is one thing to measure.
type Scenario struct {
	Name  string
	About string
	run   func(*Plan) error
}

// languages reports whether a scenario has programs in other languages. It then runs only
// with Plan.Languages.
func (s Scenario) languages() bool { return strings.HasSuffix(s.Name, "-languages") }

// All are the scenarios, in the order of the report.
var All = []Scenario{
	{"kernels", "masking, masked copy, UTF-8, unmask and check", kernels},
	{"decode", "messages decoded from memory", decode},
	{"encode", "messages encoded into memory", encode},
	{"feed", "a feed read from a loopback socket", feed},
	{"paced", "10,000 messages a second, one at a time", paced},
	{"lines", "latency over 1, 16 and 128 connections", lines},
	{"echo", "round trips", echo},
	{"fanout", "one message to many clients", fanout},
	{"handshake", "opening handshakes of a server", handshake},
	{"idle", "memory of idle connections", idle},
	{"feed-languages", "a feed read by programs in other languages", feedLanguages},
	{"echo-languages", "round trips by programs in other languages", echoLanguages},
	{"sdk", "an exchange's SDK that reads trades, by each of two modules", sdk},
}

// Plan says what a run does.
type Plan struct {
	Quick    bool              // a shorter run with fewer rounds, for CI
	Rounds   int               // of the scenarios with sockets; 0 means the default
	Match    func(string) bool // selects cases by "scenario/case"; nil selects all
	Entrants []string          // names; empty means all
	Clients  []int             // of fanout, instead of 1,000 and 10,000
	Stop     <-chan struct{}   // ends the run after the current measurement
	Command  string
	Dir      string // the module bench; "" means the working directory
	Emit     func(Result) error
	Progress io.Writer
	// Languages selects the scenarios with programs in other languages, and no others.
	Languages bool

	env   Result
	start time.Time
}

// Run runs the scenario.
func (s Scenario) Run(p *Plan) error {
	if s.languages() != p.Languages {
		return nil
	}
	if p.start.IsZero() {
		p.start = time.Now()
	}
	p.env = environment(p.Command, p.Dir)
	p.env.Scenario = s.Name
	if err := s.run(p); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}

func environment(command, dir string) Result {
	r := Result{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPU: asm.CPU(), Tier: asm.Active().String(), Command: command, Commit: "unknown",
	}
	git := func(args ...string) ([]byte, error) {
		c := exec.Command("git", args...)
		c.Dir = dir
		return c.Output()
	}
	if out, err := git("rev-parse", "--short=12", "HEAD"); err == nil {
		r.Commit = strings.TrimSpace(string(out))
		// The library may be changed. Files that the report writes do not count as a
		// change.
		if _, err := git("diff", "--quiet", "HEAD", "--", ":(top)", ":(top,exclude)bench", ":(top,exclude)BENCHMARKS.md"); err != nil {
			r.Commit += "+"
		}
	}
	return r
}

// wants reports whether a case is selected.
func (p *Plan) wants(name string) bool {
	return p.Match == nil || p.Match(p.env.Scenario+"/"+name)
}

// pick returns the entrants that are for this scenario and selected by the plan.
func (p *Plan) pick(all []entrant.Entrant) []entrant.Entrant {
	return slices.DeleteFunc(slices.Clone(all), func(e entrant.Entrant) bool {
		i := e.Info()
		return i.In != nil && !slices.Contains(i.In, p.env.Scenario) || len(p.Entrants) > 0 && !slices.Contains(p.Entrants, i.Name)
	})
}

func (p *Plan) emit(name string, e entrant.Entrant, round int, metrics map[string]float64) error {
	r := p.env
	i := e.Info()
	r.Case, r.Entrant, r.Version, r.Round, r.Metrics = name, i.Name, i.Version, round, metrics
	if r.Version == "" {
		r.Version = entrant.Version(i.Module)
	}
	return p.Emit(r)
}

func (p *Plan) rounds(full, quick int) int {
	switch {
	case p.Rounds > 0:
		return p.Rounds
	case p.Quick:
		return quick
	}
	return full
}

// say shows progress, with the time since the first scenario began.
func (p *Plan) say(format string, args ...any) {
	t := int(time.Since(p.start).Seconds())
	fmt.Fprintf(p.Progress, "%2d:%02d  %s\n", t/60, t%60, fmt.Sprintf(format, args...))
}

func (p *Plan) interrupted() bool {
	select {
	case <-p.Stop:
		return true
	default:
		return false
	}
}

// each runs one measurement per round and entrant, in an order that is shuffled in each
// round. After limit no further round begins. An entrant that fails is left out from then
// on, and a result says so. Only its row is then missing.
func (p *Plan) each(name string, entrants []entrant.Entrant, rounds int, limit time.Duration, run func(e entrant.Entrant) (map[string]float64, error)) error {
	if !p.wants(name) {
		return nil
	}
	entrants = p.pick(entrants)
	if ProfileDir != "" {
		rounds = 1
	}
	began := time.Now()
	for round := range rounds {
		if round > 0 && time.Since(began) > limit {
			return nil
		}
		start := time.Now()
		rand.Shuffle(len(entrants), func(i, j int) { entrants[i], entrants[j] = entrants[j], entrants[i] })
		var failed []string
		for _, e := range entrants {
			if p.interrupted() {
				return nil
			}
			metrics, err := run(e)
			if err != nil && p.interrupted() {
				return nil // the child got the interrupt too
			}
			if err != nil {
				failed = append(failed, e.Info().Name)
				if err := p.leaveOut(name, e, err); err != nil {
					return err
				}
				continue
			}
			if ProfileDir != "" {
				err = p.emitProfile(name, e)
			} else {
				err = p.emit(name, e, round, metrics)
			}
			if err != nil {
				return err
			}
		}
		entrants = slices.DeleteFunc(entrants, func(e entrant.Entrant) bool { return slices.Contains(failed, e.Info().Name) })
		p.say("%s/%s: round %d of %d, %.1f s", p.env.Scenario, name, round+1, rounds, time.Since(start).Seconds())
	}
	return nil
}

// leaveOut reports an entrant that failed, and adds it to the results. Under the profiler
// it adds nothing, as there are no figures.
func (p *Plan) leaveOut(name string, e entrant.Entrant, failed error) error {
	p.say("%s/%s: %s left out: %v", p.env.Scenario, name, e.Info().Name, failed)
	if ProfileDir != "" {
		return nil
	}
	return p.emitMissing(name, e, peers.Short(failed))
}

func (p *Plan) emitMissing(name string, e entrant.Entrant, why string) error {
	r := p.env
	r.Case, r.Entrant, r.Missing = name, e.Info().Name, why
	return p.Emit(r)
}

// openEntrant is an entrant with its processes, to be measured again and again.
type openEntrant struct {
	turn  func() (map[string]float64, error)
	end   func()
	taken int
}

// ProcessTurns is the number of turns after which an entrant gets new processes. So a
// chance property of a process, such as the places of its memory, is not in all figures.
const ProcessTurns = 6

// inTurns is each for entrants that stay open between rounds. Rounds are then short, so
// slow moments of the machine affect all entrants.
func (p *Plan) inTurns(name string, entrants []entrant.Entrant, rounds int, limit time.Duration, open func(e entrant.Entrant) (*openEntrant, error)) error {
	all := make(map[string]*openEntrant)
	defer func() {
		for _, o := range all {
			o.end()
		}
	}()
	return p.each(name, entrants, rounds, limit, func(e entrant.Entrant) (map[string]float64, error) {
		name := e.Info().Name
		o := all[name]
		if o == nil {
			var err error
			if o, err = open(e); err != nil {
				return nil, err
			}
			all[name] = o
		}
		metrics, err := o.turn()
		if o.taken++; o.taken == ProcessTurns || ProfileDir != "" { // the profile is complete when its process has ended
			o.end()
			delete(all, name)
		}
		return metrics, err
	})
}

// Writer returns an Emit that appends JSON lines to a file.
func Writer(path string) (emit func(Result) error, close func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, nil, err
	}
	enc := json.NewEncoder(f)
	return func(r Result) error { return enc.Encode(r) }, f.Close, nil
}

// Read returns the results in files.
func Read(paths ...string) ([]Result, error) {
	var all []Result
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		for dec := json.NewDecoder(f); ; {
			var r Result
			if err := dec.Decode(&r); err == io.EOF {
				break
			} else if err != nil {
				f.Close()
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			all = append(all, r)
		}
		f.Close()
	}
	return all, nil
}
