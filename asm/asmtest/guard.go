package asmtest

import (
	"runtime/debug"
	"testing"
)

// Guarded is memory between two pages without access. A kernel that reads or writes one
// byte outside it stops the program. Where memory cannot be protected (see Protected),
// canaries replace the pages. They find writes only.
type Guarded struct {
	all  []byte // guard, body, guard
	page int    // length of a guard
	body []byte
}

// NewGuarded returns at least size bytes of guarded memory, which is freed when the test
// ends.
func NewGuarded(tb testing.TB, size int) *Guarded {
	tb.Helper()
	g := &Guarded{}
	g.allocate(tb, size)
	return g
}

// Len returns the number of bytes between the guards.
func (g *Guarded) Len() int { return len(g.body) }

// Tail returns the last n bytes before the upper guard, with no capacity beyond them.
func (g *Guarded) Tail(n int) []byte { return g.body[len(g.body)-n:] }

// Head returns the first n bytes after the lower guard, with no capacity beyond them.
func (g *Guarded) Head(n int) []byte { return g.body[:n:n] }

// Before returns the byte before the guarded memory. Touching it faults if memory is
// protected, so a test can check that the guards work.
func (g *Guarded) Before() []byte { return g.all[g.page-1:][:1] }

// After returns the byte after the guarded memory; see Before.
func (g *Guarded) After() []byte { return g.all[g.page+len(g.body):][:1] }

// Faults runs f and reports whether it touched memory without access.
func Faults(f func()) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			faulted = true
		}
	}()
	f()
	return false
}
