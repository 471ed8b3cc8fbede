package deflate

import (
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

const (
	windowMax  = 1 << 15
	windowRest = windowMax + 8<<10
	bufferMin  = 4 << 10
	bufferMax  = 2 * windowMax
	partMin    = 32 << 10
	pooledJoin = 1 << 20 // joined messages over this size, or half the limit, are allocated as large as they are
	wholeFrom  = 5       // a message over so great a part of the limit is put together as it comes
)

// The inflater writes into one buffer that holds the history and, after it, the message:
// a match is a copy inside it, and the next message goes on where the last one ended.
// Only when its end is reached does the window move to its front. The buffer starts small
// and grows to the resting size, the window and some room. A long message has one of 64
// KiB until it ends. What does not fit there moves out in parts, which are joined at the
// end of the message.
//
// Joining needs the message twice for a moment. So a message of more than a fifth of the
// limit moves from its parts into memory of the whole limit: no message needs more than
// the limit and a quarter of it, and the buffer.
//
//	out: … base ─ history ─ start ─ message ─ op ─ free … slack

// open makes room for a message at d.op.
func (d *Inflater) open() {
	if d.buf == nil {
		d.hold(buffer.Get(bufferMin))
		d.base, d.op = 0, 0
	}
	if d.noContextTakeover {
		d.op = 0
		d.base = 0
	}
	d.start, d.emittedTo, d.checked = d.op, d.op, d.op
}

// windows lends buffers of windowRest bytes, a size that package buffer has not.
var windows = sync.Pool{New: func() any { return &buffer.Buffer{B: make([]byte, windowRest)} }}

func getWindow(size int) *buffer.Buffer {
	if size == windowRest {
		return windows.Get().(*buffer.Buffer)
	}
	return buffer.Get(size)
}

func putWindow(b *buffer.Buffer) {
	if b != nil && len(b.B) == windowRest {
		windows.Put(b)
		return
	}
	buffer.Put(b)
}

func (d *Inflater) hold(b *buffer.Buffer) {
	d.buf = b
	d.out = b.B
}

// restSize returns the size of the buffer that is held between messages. The largest
// window has less room beside it than the others: moving it once in 8 KiB of output costs
// 4 % of inflating these.
func (d *Inflater) restSize() int {
	if d.window == windowMax {
		return windowRest
	}
	return max(bufferMin, 2*d.window)
}

// makeRoom is called when d.op has reached the end of the buffer.
func (d *Inflater) makeRoom() {
	keep := max(d.base, min(d.start, d.op-d.window))
	size, rest := len(d.out), d.restSize()
	if d.op-keep > size/2 {
		switch {
		case size < rest:
			next := 2 * size
			if d.op-d.start <= size/2 {
				next = min(next, rest)
			}
			d.move(keep, next)
			return
		case d.op-d.start <= d.window: // only the window is in the way
		case size < bufferMax:
			d.move(keep, min(2*size, bufferMax))
			return
		default:
			d.moveOut(d.op - windowMax)
			keep = d.op - windowMax
		}
	}
	copy(d.out, d.out[keep:d.op])
	d.shift(keep)
}

// move puts the bytes from keep on at the front of another buffer.
func (d *Inflater) move(keep, size int) {
	b := getWindow(size)
	copy(b.B, d.out[keep:d.op])
	putWindow(d.buf)
	d.hold(b)
	d.shift(keep)
}

func (d *Inflater) shift(n int) {
	d.base = max(0, d.base-n)
	d.start -= n
	d.emittedTo -= n
	d.checked -= n
	d.op -= n
}

// moveOut puts the message's bytes up to end into parts.
func (d *Inflater) moveOut(end int) {
	if n := d.spilled + end - d.start; n > d.limit/wholeFrom && !d.whole {
		d.gather()
	}
	for d.start < end {
		if d.free == 0 {
			part := buffer.Get(d.partSize())
			d.parts = append(d.parts, part)
			d.free = len(part.B)
		}
		last := d.parts[len(d.parts)-1].B
		n := copy(last[len(last)-d.free:], d.out[d.start:end])
		d.free -= n
		d.spilled += n
		d.start += n
	}
	d.emittedTo = d.start
}

// gather makes memory for a message of any size up to the limit the only part.
func (d *Inflater) gather() {
	b := &buffer.Buffer{B: make([]byte, d.limit)}
	n, moved := 0, d.spilled
	for _, part := range d.parts {
		n += copy(b.B[n:moved], part.B)
	}
	d.dropParts()
	d.parts = append(d.parts, b)
	d.whole, d.spilled, d.free = true, moved, d.limit-moved
}

// partSize returns the size of the next part. Parts grow with the message, so that there
// are few.
func (d *Inflater) partSize() int {
	size := partMin
	for size < d.spilled/8 && size < buffer.MaxPooled {
		size <<= 1
	}
	return size
}

// nextPart returns the next part that Next has not, and nil when there are no more.
func (d *Inflater) nextPart() []byte {
	if d.given == len(d.parts) {
		d.dropParts()
		return nil
	}
	p := d.parts[d.given].B
	if d.given++; d.given == len(d.parts) {
		p = p[:len(p)-d.free]
	}
	d.spilled -= len(p)
	d.emitted += len(p)
	return p[:len(p):len(p)]
}

// join returns the message, of all its parts.
func (d *Inflater) join() []byte {
	if len(d.parts) == 0 {
		return d.out[d.start:d.op:d.op]
	}
	n := d.spilled + d.op - d.start
	if d.whole {
		d.joined = d.parts[0]
		d.parts = d.parts[:0]
		copy(d.joined.B[d.spilled:], d.out[d.start:d.op])
		d.dropParts()
		return d.joined.B[:n:n]
	}
	if n <= pooledJoin && d.spilled+d.free+2*n <= d.limit {
		d.joined = buffer.Get(n)
	} else {
		d.joined = &buffer.Buffer{B: make([]byte, n)}
	}
	p := d.joined.B[:0]
	for i, part := range d.parts {
		if i == len(d.parts)-1 {
			part.B = part.B[:len(part.B)-d.free]
		}
		p = append(p, part.B...)
	}
	p = append(p, d.out[d.start:d.op]...)
	d.dropParts()
	return p[:n:n]
}

func (d *Inflater) dropParts() {
	for i, part := range d.parts {
		buffer.Put(part)
		d.parts[i] = nil
	}
	d.parts = d.parts[:0]
	d.spilled, d.free, d.given, d.whole = 0, 0, 0, false
}

// closeMessage gives back what only the last message needed.
func (d *Inflater) closeMessage() {
	if d.joined != nil {
		buffer.Put(d.joined)
		d.joined = nil
	}
	d.dropParts()
	if d.dyn != nil {
		dynamics.Put(d.dyn)
		d.dyn = nil
	}
}

// discard gives everything back, the history too.
func (d *Inflater) discard() {
	d.closeMessage()
	putWindow(d.buf)
	d.buf, d.out, d.in, d.more, d.codes = nil, nil, nil, nil, nil
	d.base, d.start, d.emittedTo, d.op, d.checked = 0, 0, 0, 0, 0
}
