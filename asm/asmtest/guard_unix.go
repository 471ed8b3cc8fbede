//go:build unix

package asmtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Protected reports whether the neighbours of Guarded memory fault when touched.
const Protected = true

func (g *Guarded) allocate(tb testing.TB, size int) {
	tb.Helper()
	page := os.Getpagesize()
	size = (max(size, 1) + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		tb.Fatalf("mmap: %v", err)
	}
	tb.Cleanup(func() { unix.Munmap(all) })
	for _, guard := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			tb.Fatalf("mprotect: %v", err)
		}
	}
	g.all, g.page, g.body = all, page, all[page:page+size:page+size]
}
