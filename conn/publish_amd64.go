//go:build amd64 && !race

package conn

import (
	"sync/atomic"
	"unsafe"
)

// publish stores v for others to load, behind all stores before it. It is a plain store,
// which on this processor comes to just that: what sync/atomic compiles to is an XCHG, which
// also waits until it is seen. Who must know that it is seen calls fence.
func publish(p *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(p)) = v }

// claim is publish in the place of old. What another goroutine has claimed just now need
// not be seen.
func claim(p *atomic.Uint64, _, v uint64) bool { publish(p, v); return true }
