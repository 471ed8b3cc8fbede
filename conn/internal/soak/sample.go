package soak

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Sample is the state of a run at one time.
type Sample struct {
	At          time.Duration // counted from the start of the run
	Resident    uint64        // bytes of memory; if the system does not tell, the runtime's memory
	Goroutines  int
	Descriptors int // file descriptors; 0 if the system does not tell
	Connections int // the server's open connections
	PerSecond   float64
	P50, P999   time.Duration // latency since the last sample
	Counts      Counts
}

// latency collects latencies since the last sample.
type latency struct {
	mu sync.Mutex
	h  *hdr.Histogram
}

const longestLatency = time.Minute

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		l.h = hdr.New(1000, int64(longestLatency), 2)
	}
	_ = l.h.RecordValue(int64(min(d, longestLatency)))
}

func (l *latency) take() (p50, p999 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		return 0, 0
	}
	p50, p999 = time.Duration(l.h.ValueAtQuantile(50)), time.Duration(l.h.ValueAtQuantile(99.9))
	l.h.Reset()
	return p50, p999
}

// sample takes samples until ctx ends.
func (r *run) sample(ctx context.Context) (samples []Sample) {
	tick := time.NewTicker(r.o.Every)
	defer tick.Stop()
	var before Sample
	for {
		select {
		case <-ctx.Done():
			return samples
		case <-tick.C:
		}
		s := Sample{
			At:          time.Since(r.began),
			Resident:    resident(),
			Goroutines:  runtime.NumGoroutine(),
			Descriptors: descriptors(),
			Connections: r.server.Len(),
			Counts:      r.counts(),
		}
		s.PerSecond = float64(s.Counts.Messages-before.Counts.Messages) / (s.At - before.At).Seconds()
		s.P50, s.P999 = r.latency.take()
		samples = append(samples, s)
		before = s
		if r.o.Sampled != nil {
			r.o.Sampled(s)
		}
	}
}

// resident returns the memory of this process in bytes.
func resident() uint64 {
	var pages uint64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err := fmt.Sscanf(string(b), "%d %d", new(uint64), &pages); err == nil {
			return pages * uint64(os.Getpagesize())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys
}

// descriptors returns how many files this process has open, or 0 if the system does not
// tell.
func descriptors() int {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return max(0, len(names)-1) // without the open directory itself
}

// How much memory may grow in the second half of a run, compared with the maximum of the
// first half.
const (
	growthShare = 0.25
	growthFree  = 16 << 20
)

// warmUp is the shortest run whose memory is judged. Pools and compression windows fill
// for minutes.
const warmUp = 4 * time.Minute

// judgeMemory fails if memory has grown in the second half of a run. The first quarter
// does not count, since some things are allocated once.
func (r *run) judgeMemory(samples []Sample) {
	n := len(samples)
	if n < 8 || samples[n-1].At < warmUp {
		return
	}
	first, second := uint64(0), uint64(0)
	for _, s := range samples[n/4 : n/2] {
		first = max(first, s.Resident)
	}
	for _, s := range samples[n-n/4:] {
		second = max(second, s.Resident)
	}
	if float64(second) > float64(first)*(1+growthShare)+growthFree {
		r.fail("memory has grown from %d to %d MiB", first>>20, second>>20)
	}
}

// Slope is the growth of memory in bytes an hour, by least squares, without the first
// quarter of the samples.
func (r *Result) Slope() float64 {
	samples := r.Samples[len(r.Samples)/4:]
	if len(samples) < 2 {
		return 0
	}
	var x, y, xx, xy float64
	for _, s := range samples {
		h := s.At.Hours()
		x += h
		y += float64(s.Resident)
		xx += h * h
		xy += h * float64(s.Resident)
	}
	n := float64(len(samples))
	return (n*xy - x*y) / (n*xx - x*x)
}

// Drift returns the median p99.9 of the first third and of the last third of a run.
func (r *Result) Drift() (first, last time.Duration) {
	third := len(r.Samples) / 3
	if third == 0 {
		return 0, 0
	}
	of := func(samples []Sample) time.Duration {
		return median(samples, func(s Sample) float64 { return float64(s.P999) })
	}
	return of(r.Samples[:third]), of(r.Samples[len(r.Samples)-third:])
}

// Chart draws a value of the samples over time, width characters wide.
func (r *Result) Chart(width int, value func(Sample) float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	bars := []rune(levels)
	n := min(width, len(r.Samples))
	points := make([]float64, n)
	most := 0.0
	for i := range points {
		part := r.Samples[i*len(r.Samples)/n : (i+1)*len(r.Samples)/n]
		for _, s := range part {
			points[i] = max(points[i], value(s))
		}
		most = max(most, points[i])
	}
	var b strings.Builder
	for _, p := range points {
		i := 0
		if most > 0 {
			i = int(p / most * float64(len(bars)-1))
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}
