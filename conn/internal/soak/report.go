package soak

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

const chartWidth = 60

// Print writes the result for people.
func (r *Result) Print(w io.Writer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-22s "+format+"\n", append([]any{name}, args...)...)
	}
	t := r.Total
	fmt.Fprintf(w, "%d feeds, %d members of a Group, %s/%s, %d processors\n", r.Options.Conns, max(4, r.Options.Conns/10),
		runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	row("messages", "%d of %d bytes in all, each compared", t.Messages, t.Bytes)
	row("sessions", "%d; %d connections ended by the server, %d rotations", t.Sessions, t.Ended, t.Rotations)
	row("again in rotations", "%d", t.Repeated)
	row("broadcasts received", "%d; %d slow members ended", t.Broadcast, t.TooSlow)
	if t.Excused > 0 {
		row("not judged", "%d timeouts while this process was late itself", t.Excused)
	}
	if len(r.Samples) > 0 {
		first, last := r.Drift()
		row("p99.9 of latency", "%v in the first third, %v in the last", round(first), round(last))
		row("memory", "%d MiB at the end, slope %+.1f MiB an hour", r.Samples[len(r.Samples)-1].Resident>>20, r.Slope()/(1<<20))
		fmt.Fprintln(w)
		for _, c := range charts {
			most := slices.MaxFunc(r.Samples, func(a, b Sample) int { return int(c.value(a)) - int(c.value(b)) })
			fmt.Fprintf(w, "  %-14s %s  most %.0f%s\n", c.name, r.Chart(chartWidth, c.value), c.value(most), c.unit)
		}
	}
	fmt.Fprintln(w)
	if len(r.Failures) == 0 {
		fmt.Fprintln(w, "nothing lost, twice or out of order; no goroutine and no file descriptor left")
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED: %s\n", f)
	}
}

var charts = []struct {
	name, unit string
	value      func(Sample) float64
}{
	{"messages/s", "", func(s Sample) float64 { return s.PerSecond }},
	{"p99.9", " ms", func(s Sample) float64 { return float64(s.P999) / float64(time.Millisecond) }},
	{"memory", " MiB", func(s Sample) float64 { return float64(s.Resident >> 20) }},
	{"goroutines", "", func(s Sample) float64 { return float64(s.Goroutines) }},
	{"descriptors", "", func(s Sample) float64 { return float64(s.Descriptors) }},
	{"connections", "", func(s Sample) float64 { return float64(s.Connections) }},
}

func median(samples []Sample, value func(Sample) float64) time.Duration {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = value(s)
	}
	slices.Sort(v)
	return time.Duration(v[len(v)/2])
}

// round keeps about three figures.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Nanosecond)
}
