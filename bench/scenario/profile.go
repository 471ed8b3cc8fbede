package scenario

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

// ProfileDir, if set, is the folder for profiles of children and of code in this process.
// A run then has the top of each profile as its results instead of figures, which a
// profiler distorts.
var ProfileDir string

// Sample is one function of a profile, in percent of the whole.
type Sample struct {
	Function string  `json:"function"`
	Flat     float64 `json:"flat"` // in the function itself
	Sum      float64 `json:"sum"`  // with what it calls
}

// Profile is the top of a profile.
type Profile struct {
	Of  string   `json:"of"` // what is counted
	Top []Sample `json:"top"`
}

// profileLength is the CPU time under the profiler, for code in this process and for a
// turn of a feed. profileTop is how many functions are kept.
const (
	profileLength = 2 * time.Second
	profileTop    = 12
)

// longer is the factor for the work of a child under a profiler, which samples it a
// hundred times a second.
func longer() int {
	if ProfileDir != "" {
		return 5
	}
	return 1
}

// profileFile returns the first name for the profile of an entrant in a role.
func profileFile(entrant, role string) string {
	return filepath.Join(ProfileDir, plainName(entrant+"."+role)+".prof")
}

func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /,:%", r) {
			return '-'
		}
		return r
	}, s)
}

// emitProfile emits the profile that a child of e has written.
func (p *Plan) emitProfile(name string, e entrant.Entrant) error {
	for _, role := range measured {
		file := profileFile(e.Info().Name, role)
		if _, err := os.Stat(file); err == nil {
			return p.emitProfileFile(name, e, file)
		}
	}
	return errors.New("no profile")
}

// emitProfileFile emits the profile in a file, and renames the file after its case.
func (p *Plan) emitProfileFile(name string, e entrant.Entrant, file string) error {
	kept := filepath.Join(ProfileDir, plainName(p.env.Scenario+"."+name+"."+e.Info().Name)+".prof")
	if err := os.Rename(file, kept); err != nil {
		return err
	}
	index, of := "cpu", "CPU"
	switch p.env.Scenario {
	case "idle":
		index, of = "inuse_space", "bytes of the heap"
	case "handshake":
		if strings.HasPrefix(name, allocationCase) {
			index, of = "alloc_objects", "allocations"
		}
	}
	top, err := profileLines(kept, index)
	if err != nil {
		return err
	}
	r := p.env
	r.Case, r.Entrant, r.Version, r.Profile = name, e.Info().Name, entrant.Version(e.Info().Module), &Profile{of, top}
	return p.Emit(r)
}

var profileLine = regexp.MustCompile(`^ *\S+ +([0-9.]+)% +[0-9.]+% +\S+ +([0-9.]+)%  (.+)$`)

// profileLines asks pprof for the top of a profile. The harness's own allocations are
// left out.
func profileLines(file, index string) ([]Sample, error) {
	out, err := exec.Command("go", "tool", "pprof", "-top", "-sample_index="+index, "-ignore=newScript", "-nodecount="+strconv.Itoa(profileTop), file).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	var top []Sample
	for line := range strings.Lines(string(out)) {
		m := profileLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		flat, err1 := strconv.ParseFloat(m[1], 64)
		sum, err2 := strconv.ParseFloat(m[2], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if flat > 0 {
			top = append(top, Sample{shortName(m[3]), flat, sum})
		}
	}
	if len(top) == 0 {
		return nil, fmt.Errorf("no samples in %s", file)
	}
	return top, nil
}

// shortName returns a function's name without host and owner.
func shortName(function string) string {
	function = strings.TrimSuffix(function, " (inline)")
	function = strings.TrimPrefix(function, "github.com/")
	return strings.TrimPrefix(function, "seed-7f57ff33/tickwire/")
}

// profileSteps runs step in this process under the profiler.
func (p *Plan) profileSteps(name string, e entrant.Entrant, step func(n int) error) error {
	file := profileFile(e.Info().Name, "steps")
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	for end, start := time.Now().Add(5*profileLength), cpuTime(); err == nil && cpuTime()-start < profileLength && time.Now().Before(end); {
		err = step(1000)
	}
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	return p.emitProfileFile(name, e, file)
}

// profiledAllocs writes a profile of all allocations of run, if profiles are wanted.
func profiledAllocs(e entrant.Entrant, run func() (float64, error)) (float64, error) {
	if ProfileDir == "" {
		return run()
	}
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	n, err := run()
	if err != nil {
		return 0, err
	}
	f, err := os.Create(profileFile(e.Info().Name, measured[0]))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	runtime.GC()
	return n, pprof.Lookup("allocs").WriteTo(f, 0)
}

// profiled runs a child under a profiler, if profiles are wanted.
func profiled(s *Spec, run func() error) error {
	if s.Profile == "" || !slices.Contains(measured, s.Role) {
		return run()
	}
	f, err := os.Create(s.Profile)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.Role == "idle server" {
		runtime.MemProfileRate = 1
		err := run()
		return errors.Join(err, pprof.WriteHeapProfile(f))
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return run()
}
