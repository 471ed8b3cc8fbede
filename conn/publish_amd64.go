//go:build amd64 && !race

package conn

import (
	"sync/atomic"
	"unsafe"
)

// publish stores v for other goroutines, after all earlier stores. It is a plain store,
// which on this processor is enough; sync/atomic compiles to an XCHG, which also waits
// until the value is visible. Call fence to be sure that it is.
func publish(p *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(p)) = v }

// claim is publish in the place of old. What another goroutine has claimed just now need
// not be seen.
func claim(p *atomic.Uint64, _, v uint64) bool { publish(p, v); return true }
