//go:build !amd64 || race

package conn

import "sync/atomic"

// publish stores v for others to load. No load behind it goes before it.
func publish(p *atomic.Uint64, v uint64) { p.Store(v) }

// fence has nothing to do where publish does it.
func fence() {}
