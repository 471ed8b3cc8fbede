package scenario

import (
	"errors"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

// TestMain lets the test program run as a child of a scenario.
func TestMain(m *testing.M) {
	Child()
	os.Exit(m.Run())
}

// planOf runs only tickwire in one case, and keeps the emitted results.
func planOf(name string, results *[]Result) *Plan {
	return &Plan{
		Quick: true, Entrants: []string{"tickwire"}, Progress: io.Discard,
		Match: func(n string) bool { return n == name },
		Emit:  func(r Result) error { *results = append(*results, r); return nil },
	}
}

func run(t *testing.T, name string, p *Plan) {
	t.Helper()
	for _, s := range All {
		if s.Name == name {
			if err := s.Run(p); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestProfileInsteadOfFigures runs a case under the profiler: the result is the top of
// the profile.
func TestProfileInsteadOfFigures(t *testing.T) {
	ProfileDir = t.TempDir()
	defer func() { ProfileDir = "" }()
	for scenario, kase := range map[string]string{"encode": "60 B, client", "handshake": allocationCase} {
		var results []Result
		run(t, scenario, planOf(scenario+"/"+kase, &results))
		if len(results) != 1 || results[0].Entrant != "tickwire" || results[0].Metrics != nil || results[0].Profile == nil {
			t.Fatalf("%s: %+v", kase, results)
		}
		top := results[0].Profile.Top
		if len(top) == 0 || top[0].Function == "" || top[0].Flat <= 0 || top[0].Flat > 100 || top[0].Sum < top[0].Flat {
			t.Errorf("%s: %+v", kase, top)
		}
	}
}

// TestEach: an entrant that fails is left out and reported once in brief. No round begins
// after the limit or an interrupt. Earlier results are kept.
func TestEach(t *testing.T) {
	two := entrant.Libraries()[:2]
	good, bad := two[0].Info().Name, two[1].Info().Name
	for name, c := range map[string]struct {
		limit time.Duration
		stop  int // the number of measurements before the interrupt
		want  int
	}{
		"all rounds":       {time.Hour, 1000, 3},
		"one round":        {-1, 1000, 1},
		"stopped":          {time.Hour, 2, 2},
		"stopped at once":  {time.Hour, 0, 0},
		"stopped late":     {time.Hour, 3, 3},
		"stopped too late": {-1, 3, 1},
	} {
		stop := make(chan struct{})
		var results, missing []Result
		p := planOf("", &results)
		p.Emit = func(r Result) error {
			if r.Missing != "" {
				missing = append(missing, r)
			} else {
				results = append(results, r)
			}
			return nil
		}
		p.Entrants, p.Match, p.Stop = nil, nil, stop
		p.env.Scenario = "feed"
		if c.stop == 0 {
			close(stop)
		}
		err := p.each("x", two, 3, c.limit, func(e entrant.Entrant) (map[string]float64, error) {
			if e.Info().Name == bad {
				return nil, errors.New("dial tcp 10.1.2.3:4: no route, see /home/someone")
			}
			if len(results)+1 == c.stop {
				close(stop)
			}
			return map[string]float64{"ns": 1}, nil
		})
		if err != nil || len(results) != c.want {
			t.Errorf("%s: %d results, want %d; %v", name, len(results), c.want, err)
		}
		if len(missing) > 1 || len(missing) == 0 && c.stop > c.want {
			t.Errorf("%s: told %d times", name, len(missing))
		}
		for _, r := range missing {
			if r.Scenario != "feed" || r.Case != "x" || r.Entrant != bad || r.Missing != "failed" || r.Metrics != nil {
				t.Errorf("%s: %+v", name, r)
			}
		}
		for i, r := range results {
			if r.Entrant != good || r.Round != i {
				t.Errorf("%s: result %d is of %s, round %d", name, i, r.Entrant, r.Round)
			}
		}
	}
}

// TestInterruptedIsNotMissing: if an interrupt ends a child, its entrant has not failed.
func TestInterruptedIsNotMissing(t *testing.T) {
	stop := make(chan struct{})
	var results []Result
	p := planOf("", &results)
	p.Match, p.Stop = nil, stop
	err := p.each("x", entrant.All(), 3, time.Hour, func(entrant.Entrant) (map[string]float64, error) {
		close(stop)
		return nil, io.EOF
	})
	if err != nil || len(results) != 0 {
		t.Errorf("%+v, %v", results, err)
	}
}

// TestMemoryLeavesOut: an entrant that fails in memory is also reported, except under the
// profiler.
func TestMemoryLeavesOut(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		ProfileDir = dir
		var results []Result
		p := planOf("", &results)
		p.Match = nil
		p.env.Scenario = "decode"
		err := p.memory("x", entrant.All(), func(entrant.Entrant) (func(int) error, func(), error) {
			return nil, nil, errors.New("no")
		})
		ProfileDir = ""
		want := 1
		if dir != "" {
			want = 0
		}
		if err != nil || len(results) != want || want == 1 && (results[0].Entrant != "tickwire" || results[0].Missing != "failed") {
			t.Errorf("profiles in %q: %+v, %v", dir, results, err)
		}
	}
}

// TestInTurns: an entrant gets new processes after ProcessTurns, and each process is
// ended once. An entrant that fails is not opened again.
func TestInTurns(t *testing.T) {
	two := entrant.Libraries()[:2]
	good, bad := two[0].Info().Name, two[1].Info().Name
	var results []Result
	p := planOf("", &results)
	p.Entrants, p.Match = nil, nil
	p.env.Scenario = "feed"
	begun, ended := make(map[string]int), make(map[string]int)
	err := p.inTurns("x", two, 2*ProcessTurns+1, time.Hour, func(e entrant.Entrant) (*openEntrant, error) {
		name := e.Info().Name
		begun[name]++
		turns := 0
		return &openEntrant{
			turn: func() (map[string]float64, error) {
				if turns++; name == bad && turns == 2 {
					return nil, errors.New("no")
				}
				return map[string]float64{"turn": float64(turns)}, nil
			},
			end: func() { ended[name]++ },
		}, nil
	})
	if err != nil || begun[good] != 3 || ended[good] != 3 || begun[bad] != 1 || ended[bad] != 1 {
		t.Errorf("begun %v, ended %v; %v", begun, ended, err)
	}
	turns := 0
	for _, r := range results {
		if r.Entrant != good {
			if r.Missing == "" && r.Round > 0 {
				t.Errorf("%+v", r)
			}
			continue
		}
		if want := float64(turns%ProcessTurns + 1); r.Metrics["turn"] != want {
			t.Errorf("round %d is turn %v of its processes, want %v", r.Round, r.Metrics["turn"], want)
		}
		turns++
	}
	if turns != 2*ProcessTurns+1 {
		t.Errorf("%d turns", turns)
	}
}

// TestLooksAreNotCounted: reading the usage is not part of the usage. Other goroutines
// may allocate meanwhile, but not each time.
func TestLooksAreNotCounted(t *testing.T) {
	least := math.Inf(1)
	for range 100 {
		u := used()
		least = min(least, u.since(1)["allocs/message"])
	}
	if least != 0 {
		t.Errorf("%v allocations", least)
	}
}
