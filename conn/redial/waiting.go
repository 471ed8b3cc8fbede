package redial

import (
	"slices"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// An entry is a message that waits for those before it.
type entry struct {
	from, to uint64
	at       int64 // when it came
	since    int64 // when it was known that what is directly before it is missing: the least at from it on
	line     int
	m        Message // its Data lies in memory
	memory   *buffer.Buffer
}

// waiting is messages that wait, by their first number. None of them covers another, so
// their last numbers rise as well.
//
// A sorted slice: nearly all messages are appended at its end and taken from its front.
type waiting struct {
	items []entry
	head  int // where they begin
}

func (w *waiting) len() int { return len(w.items) - w.head }

func (w *waiting) first() *entry { return &w.items[w.head] }

// pop takes the first one out.
func (w *waiting) pop() entry {
	e := w.items[w.head]
	w.items[w.head] = entry{}
	if w.head++; w.head == len(w.items) {
		w.items, w.head = w.items[:0], 0
	}
	return e
}

// find returns the place of a message from..to, and whether others have all its numbers
// from low on.
func (w *waiting) find(low, from, to uint64) (i int, there bool) {
	all := w.items[w.head:]
	if n := len(all); n == 0 || all[n-1].to < from {
		return n, false // mostly
	}
	i = w.place(all, from)
	next := max(low, from) // not found yet
	for _, e := range all[max(i-1, 0):] {
		switch {
		case e.from > next:
			return i, false
		case e.to >= to:
			return i, true
		case e.to >= next:
			next = e.to + 1
		}
	}
	return i, false
}

// place returns the index of the first message that does not begin before from. It is
// mostly near the end.
func (w *waiting) place(all []entry, from uint64) int {
	low, high := 0, len(all)
	for step := 1; ; step *= 2 {
		if step > high {
			break
		}
		if all[high-step].from < from {
			low = high - step + 1
			break
		}
		high -= step
	}
	for low < high {
		if middle := int(uint(low+high) / 2); all[middle].from < from {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// insert puts e at the place that find returned and returns how many of those that follow
// it covers: they are to be taken out with cut(i+1, n).
func (w *waiting) insert(i int, e entry) (covered int) {
	if len(w.items) == cap(w.items) && w.head > 0 {
		n := copy(w.items, w.items[w.head:])
		clear(w.items[n:])
		w.items, w.head = w.items[:n], 0
	}
	if i < w.len() {
		e.since = w.items[w.head+i].since
	}
	w.items = append(w.items, e)
	if at := w.head + i; at < len(w.items)-1 {
		copy(w.items[at+1:], w.items[at:])
		w.items[at] = e
	}
	for _, x := range w.items[w.head+i+1:] {
		if x.to > e.to {
			break
		}
		covered++
	}
	return covered
}

// cut takes n messages out, beginning with the i-th.
func (w *waiting) cut(i, n int) {
	w.items = slices.Delete(w.items, w.head+i, w.head+i+n)
}

// sizeOf is what a message counts for in Arbiter.Bytes.
func sizeOf(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	return max(len(data), 256) // the smallest buffer
}
