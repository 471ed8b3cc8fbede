// Package buffertest helps tests that count allocations of what uses package buffer.
package buffertest

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Mallocs returns how many objects the process allocates while f runs, with the collector
// off. It is the least of some runs, because the runtime itself allocates now and then,
// for example for the scavenger's timer. What f allocates it allocates every time. f runs
// on one processor: pools keep something for each, so that a goroutine that is moved
// meets pools that are still empty.
func Mallocs(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.Mallocs-before.Mallocs); least == 0 {
			break
		}
	}
	return least
}

// Calibrate puts buffers of every class back until its pool has just calibrated. A
// bytebufferpool.Pool does that at the first Put beyond 42,000 of one size since the last
// time, and allocates twice: the list of its counts, and that list as a sort.Interface.
// After this, no test of fewer Puts a class meets one.
func Calibrate(t testing.TB) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const between, step = 42000, 500
	for size := 256; size <= buffer.MaxPooled; size *= 2 {
		buffer.Put(buffer.Get(size))
		for puts := 0; ; puts += step {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range step {
				buffer.Put(buffer.Get(size))
			}
			runtime.ReadMemStats(&after)
			if after.Mallocs-before.Mallocs >= 2 {
				break
			}
			if puts > between+step {
				t.Fatalf("the pool of %d B did not allocate in %d Puts", size, puts)
			}
		}
	}
}
