//go:build race

package conn

import "sync/atomic"

// publish stores v for other goroutines. No later load is executed before it.
func publish(p *atomic.Uint64, v uint64) { p.Store(v) }

// claim is publish in the place of old, and returns false if that is not there any more.
// Under the race detector, which is slow anyway, it is exact.
func claim(p *atomic.Uint64, old, v uint64) bool { return p.CompareAndSwap(old, v) }

// fence has nothing to do where publish does it.
func fence() {}
