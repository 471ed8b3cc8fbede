package buffer

import (
	"runtime"
	"testing"
)

func TestSizes(t *testing.T) {
	for _, tt := range []struct{ n, want int }{
		{-1, 256}, {0, 256}, {1, 256}, {256, 256}, {257, 512}, {4096, 4096}, {4097, 8192}, {64 << 10, 64 << 10},
		{MaxPooled, MaxPooled}, {MaxPooled + 1, 2 * MaxPooled},
	} {
		b := Get(tt.n)
		if len(b.B) != tt.want || cap(b.B) != tt.want {
			t.Errorf("Get(%d): length %d, capacity %d, want %d", tt.n, len(b.B), cap(b.B), tt.want)
		}
		b.B = b.B[:0] // callers may reslice
		Put(b)
	}
	Put(nil)
	Put(&Buffer{B: make([]byte, 300)}) // not from Get: left to the collector
}

func TestGrowKeepsWhatWasUsed(t *testing.T) {
	b := Get(256)
	copy(b.B, "kept")
	b = Grow(b, 4, 5000)
	if len(b.B) != 8192 || string(b.B[:4]) != "kept" {
		t.Fatalf("%d bytes, %q", len(b.B), b.B[:4])
	}
	Put(b)
}

// The pool calibrates every 42,000 Puts, and allocates then. This test bounds the cost.
func TestAllocationsPerPut(t *testing.T) {
	if raceEnabled || debugEnabled {
		t.Skip("the race detector and the debug build allocate")
	}
	const puts = 200000
	var before, after runtime.MemStats
	Put(Get(1000))
	runtime.ReadMemStats(&before)
	for range puts {
		Put(Get(1000))
	}
	runtime.ReadMemStats(&after)
	// There are five calibrations of a few objects each. A collection may also empty the
	// pool a few times.
	if n := after.Mallocs - before.Mallocs; n > 100 {
		t.Errorf("%d allocations in %d puts", n, puts)
	}
}
