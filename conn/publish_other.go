//go:build !amd64 && !race

package conn

import "sync/atomic"

// publish stores v for other goroutines. No later load is executed before it.
func publish(p *atomic.Uint64, v uint64) { p.Store(v) }

// claim is publish in the place of old. What another goroutine has claimed just now need
// not be seen.
func claim(p *atomic.Uint64, _, v uint64) bool { publish(p, v); return true }

// fence has nothing to do where publish does it.
func fence() {}
