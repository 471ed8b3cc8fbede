//go:build !race

package conn

import (
	"runtime"
	"testing"
)

// The same by the fence of systems without membarrier(2).
func TestReadLockKeepsQuickCallsOutByStops(t *testing.T) {
	testQuickCallsOut(t, 2000, func(l *readLock) {
		stopTheWorld()
		for l.quick.Load()&quickBusy != 0 {
			runtime.Gosched()
		}
	})
}
