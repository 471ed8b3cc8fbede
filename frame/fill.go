package frame

import (
	"errors"
	"io"
	"math/bits"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// ErrMixedReads is the error of NextFrame while another read method holds frames of the
// same message (see Reader). Finish that message with the other method first.
var ErrMixedReads = errors.New("frame: NextFrame inside a message that another method has begun; read that message to its end first")

var errReadCount = errors.New("frame: the source returned an impossible count from Read")

const (
	minBuffer     = 4 << 10 // the read buffer a connection starts with
	minMoved      = 256     // a buffer of up to twice as much stays where it is, whatever it holds
	directAtLeast = 8 << 10 // a shorter rest of a payload is read through the buffer, with what follows
	minSpace      = 1 << 10 // with less space after them, the bytes left in the buffer move to its front
	shrinkAfter   = 64      // fills in a row that left three quarters of the buffer empty, after which it halves
	maxEmptyReads = 100     // reads of (0, nil) in a row before io.ErrNoProgress

	// DefaultMaxBuffer is the largest size of the read buffer by default, in bytes. On a
	// busy loopback feed of 200 B messages, 16 KiB cost 10 % more CPU per message than 64
	// KiB. 1 MiB saved 5 %.
	DefaultMaxBuffer = 64 << 10
)

// Space returns memory for the next bytes of the stream. Put bytes at its front, and call
// Filled with their number. It is never empty. Earlier views become invalid.
//
// Use Space to hold the memory while waiting for bytes. Until a fill uses all its space,
// the Reader holds at most twice the received bytes of the message in progress, or 4 KiB.
// One buffer of 256 B may be added.
func (r *Reader) Space() []byte { return r.space(nil, true) }

// WaitSpace is Space for use with BufferedPiece. If the payload of the open message can
// be read straight into dst, WaitSpace returns the front of dst.
func (r *Reader) WaitSpace(dst []byte) []byte { return r.space(dst, true) }

// SpaceIn is WaitSpace for a caller that does not wait. Either bytes are ready to be
// read, or the caller calls Release before it waits. The space is as large as recent
// fills suggest.
func (r *Reader) SpaceIn(dst []byte) []byte { return r.space(dst, false) }

func (r *Reader) space(dst []byte, waits bool) []byte {
	r.into = nil
	if r.pos == r.end && r.start < 0 && r.dec.inFrame && r.dec.left >= directAtLeast && !r.dec.header.Opcode.IsControl() {
		switch {
		case len(dst) >= directAtLeast && r.gathered == 0 && r.claim != dropped:
			r.into = dst
		case dst == nil && r.claim < pieced:
			r.into = r.gatherSpace(waits)
		}
		if r.into != nil {
			r.putBuffer()
			r.into = r.into[:min(uint64(len(r.into)), r.dec.left)]
			return r.into
		}
	}
	r.makeRoom(waits)
	space := r.buf[r.end:]
	r.offered = len(space)
	return space
}

// Refill is SpaceIn(nil) after Release, and uses less stack. It returns nil inside a
// frame, or if a buffer is still held; call SpaceIn then.
func (r *Reader) Refill() []byte {
	if r.lent != nil || r.dec.inFrame {
		return nil
	}
	r.into = nil
	r.lent = buffer.Get(max(r.size, minSpace))
	r.buf = r.lent.B
	r.pos, r.end, r.offered = 0, 0, len(r.buf)
	return r.buf
}

// growth returns the size of the buffer that may be held for n received bytes. It is the
// largest power of two of at most 2n, and at least minBuffer. So it is never less than n.
func growth(n int) int { return max(minBuffer, 1<<bits.Len(uint(n))) }

// gatherSpace returns the free memory after the gathered part of the message, and takes
// more if there is none. The memory doubles with the received bytes, whatever length was
// declared.
func (r *Reader) gatherSpace(waits bool) []byte {
	switch {
	case r.given:
		return nil // the caller may still look at it: the next step frees it
	case r.message == nil && waits:
		r.message = buffer.Get(int(min(r.dec.left, minBuffer)))
	case r.message == nil:
		r.message = buffer.Get(int(min(r.dec.left, uint64(r.size))))
	case r.gathered == len(r.message.B):
		r.message = buffer.Grow(r.message, r.gathered, r.gatherSize(r.gathered))
	}
	return r.message.B[r.gathered:]
}

// gatherSize returns how many bytes of memory to take for n gathered bytes and the rest.
func (r *Reader) gatherSize(n int) int {
	return max(n, int(min(uint64(growth(n+r.dec.header.Size())), uint64(n)+r.dec.left)))
}

// makeRoom ensures that there is a read buffer with free space after r.end.
func (r *Reader) makeRoom(waits bool) {
	keep := r.pos // the first byte still needed
	want := uint64(minSpace)
	if r.start >= 0 {
		keep = r.start
		want = r.dec.left
	}
	used := r.end - keep
	size := r.bufferSize(used, int(min(want, minSpace)))
	if waits {
		size = r.waitSize(used, size)
	}
	switch {
	case r.lent == nil:
		r.lent = buffer.Get(size)
	case size != len(r.buf):
		old := r.lent
		r.lent = buffer.Get(size)
		copy(r.lent.B, r.buf[keep:r.end])
		buffer.Put(old)
	case keep > 0 && (used == 0 || uint64(len(r.buf)-r.end) < want):
		copy(r.buf, r.buf[keep:r.end])
	default:
		return
	}
	r.buf = r.lent.B
	r.pos -= keep
	r.end -= keep
	if r.start >= 0 {
		r.start = 0
	}
}

// bufferSize returns the size of the read buffer with used bytes in it and room for need
// more. More than minBuffer bytes move to a larger buffer only when theirs is full or the
// last fill was full. So a peer that sends single bytes does not cause a move for each.
func (r *Reader) bufferSize(used, need int) int {
	size := max(r.size, len(r.buf))
	switch {
	case used == 0:
		return r.size
	case used > minBuffer:
		if need = 1; r.run == 0 {
			size = len(r.buf)
		}
	}
	if size-used < need {
		size *= 2
	}
	return size
}

// waitSize bounds the size of the buffer held during a wait. The bound follows the
// received bytes of the message, or those of the last fills if they were full. Full fills
// show that more bytes are ready.
func (r *Reader) waitSize(used, size int) int {
	came := r.gathered + used
	if r.dec.inFrame {
		came += r.dec.header.Size()
	}
	most := max(minBuffer, 2*max(came, int(r.run)))
	if r.message != nil {
		most -= len(r.message.B)
	}
	if most < size {
		size = max(minMoved, 1<<bits.Len(uint(used)), 1<<bits.Len(uint(max(most, 1)))/2)
	}
	return size
}

// Filled tells r that n bytes were put at the front of the last Space, WaitSpace, SpaceIn
// or Refill.
func (r *Reader) Filled(n int) {
	if r.into != nil {
		if r.filled(n, n == len(r.into) && uint64(n) < r.dec.left) {
			r.size = max(r.size, min(1<<bits.Len(uint(n)), r.maxSize))
		}
		r.fresh, r.into = r.into[:n], nil
		return
	}
	r.end += n
	switch ends := r.dec.inFrame && r.dec.left == uint64(n); { // the frame ends here: a full fill does not show that more is there
	case r.filled(n, n == r.offered && !ends):
		r.size = max(r.size, min(2*len(r.buf), r.maxSize))
		r.lowFills = 0
	case n > r.size/4:
		r.lowFills = 0
	default:
		if r.lowFills++; r.lowFills == shrinkAfter {
			r.size = max(r.size/2, minBuffer)
			r.lowFills = 0
		}
	}
}

// filled counts the bytes of full fills in a row. It returns full.
func (r *Reader) filled(n int, full bool) bool {
	if full {
		r.run = int32(min(int(r.run)+n, 1<<29))
	} else {
		r.run = 0
	}
	return full
}

// Latest returns the n bytes of the last Filled(n), as they came. Call it before the next
// decoding step, which unmasks in place.
func (r *Reader) Latest(n int) []byte {
	if len(r.fresh) > 0 {
		return r.fresh[:n:n]
	}
	return r.buf[r.end-n : r.end : r.end]
}

// Release returns memory to the pool. It keeps at most twice the bytes that are still to
// be delivered, or 512 B. All views become invalid. The next Space takes new memory. Call
// it before waiting for bytes.
func (r *Reader) Release() {
	r.into = nil
	if len(r.fresh) == 0 {
		if r.gathered == 0 {
			buffer.Put(r.message)
			r.message, r.given = nil, false
		} else if len(r.message.B) > 2*max(r.gathered, minMoved) {
			r.message = buffer.Grow(r.message, r.gathered, r.gathered)
		}
	}
	if r.pos == r.end && r.start < 0 {
		r.putBuffer()
	} else {
		r.shrink()
	}
}

// putBuffer gives back the read buffer, which must be empty.
func (r *Reader) putBuffer() {
	if r.lent != nil {
		buffer.Put(r.lent)
		r.lent, r.buf, r.pos, r.end = nil, nil, 0, 0
	}
}

// shrink moves the bytes of the read buffer to a smaller one if it is more than twice as
// large as they are.
func (r *Reader) shrink() {
	keep := r.pos
	if r.start >= 0 {
		keep = r.start
		r.start = 0
	}
	used := r.end - keep
	switch {
	case used == 0:
		r.pos = r.end
		r.putBuffer()
		return
	case len(r.buf) > 2*max(used, minMoved):
		old := r.lent
		r.lent = buffer.Get(used)
		copy(r.lent.B, r.buf[keep:r.end])
		buffer.Put(old)
		r.buf = r.lent.B
	case keep == 0:
		return
	default:
		copy(r.buf, r.buf[keep:r.end])
	}
	r.pos -= keep
	r.end = used
}

// Buffer returns the size in bytes of the read buffer held now, or 0.
func (r *Reader) Buffer() int { return len(r.buf) }

// Pending returns the number of bytes received but not decoded.
func (r *Reader) Pending() int { return r.end - r.pos + len(r.fresh) }

// fillInto reads once from the source.
func (r *Reader) fillInto(dst []byte) error {
	if r.dec.closed {
		return io.EOF
	}
	if err := r.src.err; err != nil {
		r.src.err = nil
		return r.endError(err)
	}
	for range maxEmptyReads {
		space := r.space(dst, false)
		n, err := r.src.Read(space)
		if n < 0 || n > len(space) {
			return errReadCount
		}
		if n > 0 {
			r.Filled(n)
			r.src.err = err
			return nil
		}
		if err != nil {
			r.Release()
			return r.endError(err)
		}
	}
	return io.ErrNoProgress
}

// endError turns an end of the source within a frame or message into io.ErrUnexpectedEOF.
func (r *Reader) endError(err error) error {
	if err == io.EOF && r.dec.Incomplete() {
		return io.ErrUnexpectedEOF
	}
	return err
}
