// Package buffertest counts allocations in tests of packages that use package buffer.
package buffertest

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Mallocs returns how many objects the process allocates while f runs, with the collector
// off. It runs f up to five times and returns the least count. The runtime itself
// allocates now and then, for example for the scavenger's timer; f must allocate the same
// in every run. f runs with GOMAXPROCS 1, because a pool has a part for each processor
// and some could be empty.
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

// Calibrate makes the pool of each size calibrate now, so that it does not while a test
// counts. A bytebufferpool.Pool calibrates at the first Put after 42,000 of one size, and
// allocates two objects. A test of fewer Puts per size then meets no calibration.
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
