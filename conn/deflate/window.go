package deflate

import "github.com/seed-7f57ff33/tickwire/frame/buffer"

const (
	windowMax  = 1 << 15
	bufferMin  = 4 << 10
	bufferMax  = 2 * windowMax
	partMin    = 32 << 10
	partLeast  = 4 << 10 // of the last ones before the limit
	pooledJoin = 1 << 20 // joined messages over this size, or half the limit, are allocated as large as they are
)

// The inflater writes into one buffer that holds the history and, behind it, the message: a match is a copy inside it, and
// the next message goes on where the last one ended. Only when its end is reached do the last 32 KiB move to its front, once
// in 32 KiB of output. The buffer starts small and grows to two windows; a message that does not fit moves out in parts, and is
// joined at its end, so that a message that is refused never has more memory than the limit and the buffer.
//
//	out: … base ─ history ─ start ─ message ─ op ─ free … slack

// open makes room for a message at d.op.
func (d *Inflater) open() {
	if d.buf == nil {
		d.hold(buffer.Get(bufferMin))
		d.base, d.op = 0, 0
	}
	if d.alone {
		d.op = 0
		d.base = 0
	}
	d.start, d.shown, d.checked = d.op, d.op, d.op
}

func (d *Inflater) hold(b *buffer.Buffer) {
	d.buf = b
	d.out = b.B
}

// makeRoom is called when d.op has reached the end of the buffer.
func (d *Inflater) makeRoom() {
	keep := max(d.base, min(d.start, d.op-d.window))
	if d.op-keep > len(d.out)/2 {
		if len(d.out) < bufferMax {
			b := buffer.Get(2 * len(d.out))
			copy(b.B, d.out[keep:d.op])
			buffer.Put(d.buf)
			d.hold(b)
			d.shift(keep)
			return
		}
		d.moveOut(d.op - windowMax)
		keep = d.op - windowMax
	}
	copy(d.out, d.out[keep:d.op])
	d.shift(keep)
}

func (d *Inflater) shift(n int) {
	d.base = max(0, d.base-n)
	d.start -= n
	d.shown -= n
	d.checked -= n
	d.op -= n
}

// moveOut puts the message's bytes up to end into parts.
func (d *Inflater) moveOut(end int) {
	for d.start < end {
		if d.free == 0 {
			part := buffer.Get(d.partSize())
			d.parts = append(d.parts, part)
			d.free = len(part.B)
		}
		last := d.parts[len(d.parts)-1].B
		n := copy(last[len(last)-d.free:], d.out[d.start:end])
		d.free -= n
		d.moved += n
		d.start += n
	}
	d.shown = d.start
}

// partSize returns the size of the next part. Parts grow with the message, so that there are few, and fall short of what the
// message may still have in them: its last 32 KiB stay in the window, so that all parts have 28 KiB less than the limit at most.
// The window's buffer, and the tables of a block, then fit into the limit and 64 KiB.
func (d *Inflater) partSize() int {
	size := partMin
	for size < d.moved/8 && size < buffer.MaxPooled {
		size <<= 1
	}
	for left := d.limit - windowMax - d.moved; size > left && size > partLeast; {
		size >>= 1
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
	d.moved -= len(p)
	d.handed += len(p)
	return p[:len(p):len(p)]
}

// join returns the message, of all its parts.
func (d *Inflater) join() []byte {
	if len(d.parts) == 0 {
		return d.out[d.start:d.op:d.op]
	}
	n := d.moved + d.op - d.start
	if n <= pooledJoin && d.moved+d.free+2*n <= d.limit {
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
	d.moved, d.free, d.given = 0, 0, 0
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
	buffer.Put(d.buf)
	d.buf, d.out, d.in, d.more, d.codes = nil, nil, nil, nil, nil
	d.base, d.start, d.shown, d.op, d.checked = 0, 0, 0, 0, 0
}
