//go:build !unix

package asmtest

import "testing"

// Protected reports whether the neighbours of Guarded memory fault when touched.
const Protected = false

func (g *Guarded) allocate(tb testing.TB, size int) {
	tb.Helper()
	const page = 4096
	size = (max(size, 1) + page - 1) / page * page
	g.all = make([]byte, size+2*page)
	g.page, g.body = page, g.all[page:page+size:page+size]
	Arm(g.all, page, page+size)
	tb.Cleanup(func() {
		if i := Touched(g.all, page, page+size); i >= 0 {
			tb.Errorf("byte %d outside guarded memory was written", i-page)
		}
	})
}
