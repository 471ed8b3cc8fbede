package main

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// used is what this process has used up to some moment.
type used struct {
	at      time.Time
	cpu     time.Duration
	mallocs uint64 // heap objects, including tiny ones
	cycles  uint64 // of the garbage collector
}

// takeExact reads exact values. It stops the world.
func takeExact() used {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return used{time.Now(), processCPU(), m.Mallocs, uint64(m.NumGC)}
}

// A meter reads the same values without stopping the world, for the live line. The
// runtime counts allocations late: when a thread has used up its cache of free objects.
type meter struct {
	samples []metrics.Sample
}

func newMeter() *meter {
	return &meter{[]metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/tiny/allocs:objects"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}}
}

func (m *meter) take() used {
	metrics.Read(m.samples)
	return used{
		at:      time.Now(),
		cpu:     processCPU(),
		mallocs: m.samples[0].Value.Uint64() + m.samples[1].Value.Uint64(),
		cycles:  m.samples[2].Value.Uint64(),
	}
}
