//go:build race

package conn

import "sync/atomic"

// publish stores v for others to load. No load behind it goes before it.
func publish(p *atomic.Uint64, v uint64) { p.Store(v) }

// claim is publish in the place of old, and returns false if that is not there any more. Under
// the race detector, which is slow anyway, it is exact.
func claim(p *atomic.Uint64, old, v uint64) bool { return p.CompareAndSwap(old, v) }

// fence has nothing to do where publish does it.
func fence() {}
