//go:build !race && !asan && !msan

package mask

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestNoAllocations counts over ten thousand rounds, so that an allocation once in a
// thousand calls shows. The arrays are on the stack, so an argument that escapes would
// allocate in each round.
func TestNoAllocations(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var s Source
	s.Next() // the first use of crypto/rand in a process allocates
	long := make([]byte, 3*(256<<10)+5)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		// The runtime's own goroutines allocate now and then, but not in each of five
		// rounds.
		least := uint64(1 << 62)
		for range 5 {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for i := range 10_000 {
				var a, b [200]byte
				key := XOR(a[:i%200], s.Next())
				Copy(b[:], a[:i%200], key)
				if i%1000 == 0 {
					XOR(long, key)
					Copy(long, long, key)
				}
			}
			runtime.ReadMemStats(&after)
			least = min(least, after.Mallocs-before.Mallocs)
		}
		if least != 0 {
			t.Errorf("%d allocations in each of five rounds", least)
		}
	})
}
