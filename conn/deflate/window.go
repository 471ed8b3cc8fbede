package deflate

import "github.com/seed-7f57ff33/tickwire/frame/buffer"

const (
	windowMax  = 1 << 15
	bufferMin  = 4 << 10
	bufferMax  = 2 * windowMax
	partSize   = 32 << 10
	pooledJoin = 1 << 20 // joined messages over this size are allocated as large as they are, not to the next power of two
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
	d.start, d.checked = d.op, d.op
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
	d.checked -= n
	d.op -= n
}

// moveOut puts the message's bytes up to end into parts.
func (d *Inflater) moveOut(end int) {
	for d.start < end {
		if d.moved%partSize == 0 {
			d.parts = append(d.parts, buffer.Get(partSize))
		}
		last := d.parts[len(d.parts)-1].B
		n := copy(last[d.moved%partSize:], d.out[d.start:end])
		d.moved += n
		d.start += n
	}
}

// join returns the message, of all its parts.
func (d *Inflater) join() []byte {
	if len(d.parts) == 0 {
		return d.out[d.start:d.op:d.op]
	}
	n := d.moved + d.op - d.start
	if n <= pooledJoin {
		d.joined = buffer.Get(n)
	} else {
		d.joined = &buffer.Buffer{B: make([]byte, n)}
	}
	p := d.joined.B[:0]
	for i, part := range d.parts {
		p = append(p, part.B[:min(partSize, d.moved-i*partSize)]...)
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
	d.moved = 0
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
	d.buf, d.out, d.in, d.codes = nil, nil, nil, nil
	d.base, d.start, d.op, d.checked = 0, 0, 0, 0
}
