package scenario

import (
	"runtime"
	"testing"
)

// TestLines runs a case with many connections, for readers of each kind.
func TestLines(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("the sender needs a CPU of its own")
	}
	for _, scheme := range []string{"ws", "wss"} {
		var results []Result
		p := planOf("lines/"+LinesCase(scheme, 16, 10_000), &results)
		p.Entrants = []string{"tickwire", "tickwire-opens", "tickwire-poller", "tickwire-poller-spin", "tickwire-poller-moderated", "gws"}
		run(t, "lines", p)
		want := len(p.Entrants)
		if scheme == "ws" {
			want--
		}
		if len(results) != want {
			t.Errorf("%s: %d results", scheme, len(results))
		}
		for _, r := range results {
			m := r.Metrics
			if m["messages/s"] <= 0 || m["p50 µs"] <= 0 || m["p99 µs"] < m["p50 µs"] || m["p99.9 µs"] < m["p99 µs"] || m["cpu ns/message"] <= 0 {
				t.Errorf("%s, %s: %v", scheme, r.Entrant, m)
			}
		}
	}
}

// TestEchoWaiters makes round trips with each way to wait for bytes.
func TestEchoWaiters(t *testing.T) {
	var results []Result
	p := planOf("echo/128 B, both ends on one CPU", &results)
	p.Entrants = []string{"tickwire", "tickwire-blocking", "tickwire-poller"}
	run(t, "echo", p)
	if len(results) != len(p.Entrants) {
		t.Fatalf("%d results: %v", len(results), results)
	}
	for _, r := range results {
		if m := r.Metrics; m["p50 µs"] <= 0 || m["p99.9 µs"] < m["p50 µs"] || m["client cpu ns/message"] <= 0 || m["writes/message"] < 0.9 {
			t.Errorf("%s: %v", r.Entrant, m)
		}
	}
}
