package main

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// Used is what this process has used up to one moment.
type used struct {
	at      time.Time
	cpu     time.Duration
	mallocs uint64 // heap objects, tiny ones included
	cycles  uint64 // of the garbage collector
}

// takeExact reads everything to the last object. It stops the world.
func takeExact() used {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return used{time.Now(), processCPU(), m.Mallocs, uint64(m.NumGC)}
}

// A meter reads the same without stopping the world, for the live line; the
// runtime counts an allocation late, when a thread's cache of free objects is
// used up.
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
