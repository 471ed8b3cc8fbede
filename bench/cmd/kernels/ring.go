package main

import (
	"math/rand/v2"
	"unsafe"
)

// ring is a sequence of views of memory. The calls of a case take one after the other,
// again and again.
type ring struct {
	views [][]byte
	at    int
}

// newRing repeats views. There are enough of them to make the wrap-around cheap, and few
// enough to leave the first-level cache to the memory that they show.
func newRing(views [][]byte) *ring {
	r := &ring{}
	for len(r.views) < 1<<8 {
		r.views = append(r.views, views...)
	}
	return r
}

// each passes the views of the next n calls to run.
func (r *ring) each(n int, run func(views [][]byte)) {
	for n > 0 {
		views := r.views[r.at:min(len(r.views), r.at+n)]
		run(views)
		n -= len(views)
		r.at = (r.at + len(views)) % len(r.views)
	}
}

// pairs passes the views of the next n calls to run, along with those of from, a ring of
// the same shape.
func (r *ring) pairs(n int, from *ring, run func(dst, src [][]byte)) {
	for n > 0 {
		dst := r.views[r.at:min(len(r.views), r.at+n)]
		src := from.views[r.at:][:len(dst)]
		run(dst, src)
		n -= len(dst)
		r.at = (r.at + len(dst)) % len(r.views)
	}
}

// The memory for short inputs. It has enough views that a call does not load what the
// last one is still storing. Two rings of it fit the first-level cache.
const footprint = 8 << 10

// arena returns size bytes that start off bytes after a multiple of 4096. Rings start 512
// bytes later, so that a length of whole pages does not end just after the start of a
// page. A store across a page costs as much as masking 500 bytes, and would hide the
// effect of alignment.
func arena(size, off int) []byte {
	b := make([]byte, size+off+8192)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & 4095)
	return b[skip+off:][:size:size]
}

// fixed returns a ring of views of n bytes that start off bytes after a multiple of 64.
// Short views are powers of two apart, so that none crosses a page; those of random do.
func fixed(n, off int) *ring {
	stride, count := 64, 1
	for stride < n+off {
		stride *= 2
	}
	for n <= 256 && count*2*stride <= footprint {
		count *= 2
	}
	mem := arena(stride*count, 512)
	var views [][]byte
	for i := range count {
		views = append(views, mem[i*stride+off:][:n:n])
	}
	return newRing(views)
}

// offsets returns a ring of 32 views that start 1 to 31 bytes after a multiple of 64 (one
// offset twice). They share as many stretches of memory as fit the footprint. So a call
// of 1 KiB does not load what the last one, at another offset, is still storing.
func offsets(n int) *ring {
	var mem [][]byte
	for range max(1, 2*footprint/(n+64)) {
		mem = append(mem, arena(n+64, 512))
	}
	var views [][]byte
	for i := range 32 {
		views = append(views, mem[i%len(mem)][max(i, 1):][:n:n])
	}
	return newRing(views)
}

// aligned is offsets with all starts at a multiple of 64.
func aligned(n int) *ring {
	r := offsets(n)
	for i, v := range r.views {
		r.views[i] = unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&v[0]), -max(i%32, 1))), n)
	}
	return r
}

// random returns a ring of views with lengths 1 to most and any start. They are too many
// for a branch predictor to learn.
func random(most int) *ring {
	rnd := rand.New(rand.NewPCG(1, 2))
	mem := arena(footprint, 512)
	var views [][]byte
	for range 1 << 14 {
		n := 1 + rnd.IntN(most)
		at := rnd.IntN(len(mem) - n)
		views = append(views, mem[at:][:n:n])
	}
	return newRing(views)
}

// texts returns a ring like fixed whose views hold text.
func texts(text []byte, off int) *ring {
	r := fixed(len(text), off)
	for _, v := range r.views {
		copy(v, text)
	}
	return r
}
