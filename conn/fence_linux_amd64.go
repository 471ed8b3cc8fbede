//go:build !race

package conn

import (
	"sync"

	"golang.org/x/sys/unix"
)

// The commands of membarrier(2).
const (
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
)

var hasMembarrier = sync.OnceValue(func() bool { return membarrier(membarrierRegisterPrivateExpedited) })

func membarrier(command uintptr) bool {
	_, _, e := unix.Syscall(unix.SYS_MEMBARRIER, command, 0, 0)
	return e == 0
}

// fence returns when every thread of this process has executed a full memory barrier
// since the call.
func fence() {
	if !hasMembarrier() || !membarrier(membarrierPrivateExpedited) {
		stopTheWorld()
	}
}
