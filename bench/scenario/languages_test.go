package scenario

import (
	"os"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/peers"
)

// TestForeignFailures: a missing program and one that fails have a result with the
// reason. The others continue.
func TestForeignFailures(t *testing.T) {
	gone := &foreign{peer: &peers.Peer{Language: "rust", Library: "gone", Missing: "no cargo here"}}
	broken := &foreign{peer: &peers.Peer{Language: "cpp", Library: "broken", Program: []string{"/bin/false"}}}
	var results []Result
	p := planOf("", &results)
	p.Entrants, p.Match = nil, nil
	p.env.Scenario = "feed-languages"
	here, err := p.present("x", []entrant.Entrant{entrant.ByName("tickwire"), gone, broken})
	if err != nil || len(here) != 2 {
		t.Fatalf("%v, %v", here, err)
	}
	err = p.each("x", here, 2, 1<<40, func(e entrant.Entrant) (map[string]float64, error) {
		if f, ok := e.(*foreign); ok {
			return f.trips(Spec{Messages: 10, Size: 10})
		}
		return map[string]float64{"p50 µs": 1}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	good := 0
	for _, r := range results {
		if r.Missing != "" {
			if _, twice := said[r.Entrant]; twice {
				t.Errorf("%s is told twice", r.Entrant)
			}
			said[r.Entrant] = r.Missing
		} else if r.Entrant == "tickwire" {
			good++
		}
	}
	if said["rust: gone"] != "no cargo here" || said["cpp: broken"] != "exit status 1" || good != 2 {
		t.Errorf("%v, %d good ones", said, good)
	}
}

// TestLanguages builds the peers in JavaScript and Python, and runs them against the
// scenarios' own servers.
func TestLanguages(t *testing.T) {
	if os.Getenv("TICKWIRE_FULL") != "1" {
		t.Skip("installs packages: only with TICKWIRE_FULL=1")
	}
	for scenario, kase := range map[string]string{
		"feed-languages": "wss, 200 B, a record per message, UTF-8 checked",
		"echo-languages": "128 B, both ends on one CPU, one server for all",
	} {
		var results []Result
		p := planOf(scenario+"/"+kase, &results)
		p.Languages, p.Entrants, p.Dir = true, []string{"tickwire", "node: ws", "python: picows", "python: websockets", "python: websocket-client"}, ".."
		run(t, scenario, p)
		if len(results) != len(p.Entrants) {
			t.Errorf("%s: %d results: %+v", scenario, len(results), results)
		}
		for _, r := range results {
			m := r.Metrics
			if r.Missing != "" || r.Version == "" || m["cpu ns/message"]+m["client cpu ns/message"] <= 0 {
				t.Errorf("%s: %+v", scenario, r)
			}
		}
	}
}
