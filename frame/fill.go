package frame

import (
	"errors"
	"io"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// ErrMixedReads says that NextFrame was called within a message of which another way to read holds frames: see Reader.
var ErrMixedReads = errors.New("frame: NextFrame within a message that Next has begun")

var errReadCount = errors.New("frame: the source returned an impossible count from Read")

const (
	minBuffer     = 4 << 10  // the read buffer a connection starts with
	firstGather   = 64 << 10 // the most that is taken for a message before its bytes have come
	directAtLeast = 8 << 10  // a shorter rest of a payload is read through the buffer, together with what follows it
	minSpace      = 1 << 10  // with less room behind them, the bytes left in the buffer move to its front
	shrinkAfter   = 64       // fills in a row that left three quarters of the buffer empty, after which it halves
	maxEmptyReads = 100      // reads of (0, nil) in a row before io.ErrNoProgress

	// DefaultMaxBuffer is how far the read buffer grows by default. On a busy loopback feed of 200 B messages 16 KiB cost
	// a tenth more CPU per message than 64 KiB, and 1 MiB saved a twentieth.
	DefaultMaxBuffer = 64 << 10
)

// Space returns memory for the next bytes of the stream; how many were put there is told to Filled. It is never empty.
// Views given before are no longer valid.
func (r *Reader) Space() []byte { return r.SpaceIn(nil) }

// SpaceIn is Space for a caller of BufferedPiece: where the payload of the open message can be read straight into dst, the
// space is the front of dst.
func (r *Reader) SpaceIn(dst []byte) []byte {
	r.into = nil
	if r.pos == r.end && r.start < 0 && r.dec.inFrame && r.dec.left >= directAtLeast && !r.dec.header.Opcode.IsControl() {
		switch {
		case len(dst) >= directAtLeast && r.gathered == 0 && r.claim != dropped:
			r.into = dst
		case dst == nil && r.claim < pieced:
			r.into = r.gatherSpace()
		}
		if r.into != nil {
			r.into = r.into[:min(uint64(len(r.into)), r.dec.left)]
			return r.into
		}
	}
	r.makeRoom()
	space := r.buf[r.end:]
	r.offered = len(space)
	return space
}

// Refill is Space behind a Release, with less of the stack; nil if a frame, or its beginning, is here: ask Space then.
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

// gatherSpace returns the room behind what is gathered of the message, after more was made if there was none. It doubles
// with the bytes that came, whatever length was declared.
func (r *Reader) gatherSpace() []byte {
	switch {
	case r.given:
		return nil // the caller may still look at it: the next step frees it
	case r.message == nil:
		r.message = buffer.Get(int(min(r.dec.left, firstGather)))
	case r.gathered == len(r.message.B):
		r.message = buffer.Grow(r.message, r.gathered, 2*r.gathered)
	}
	return r.message.B[r.gathered:]
}

// makeRoom sees to it that there is a read buffer with room behind r.end.
func (r *Reader) makeRoom() {
	keep := r.pos // the first byte still needed
	need := minSpace
	if r.start >= 0 {
		keep = r.start
		need = int(r.dec.left)
	}
	used := r.end - keep
	size := r.size
	if r.lent != nil {
		size = max(size, len(r.buf))
	}
	if used == 0 {
		size = r.size
	}
	size = max(size, used+need)
	switch {
	case r.lent == nil:
		r.lent = buffer.Get(size)
	case size > len(r.buf) || used == 0 && size < len(r.buf):
		old := r.lent
		r.lent = buffer.Get(size)
		copy(r.lent.B, r.buf[keep:r.end])
		buffer.Put(old)
	case keep > 0 && (used == 0 || len(r.buf)-r.end < need):
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

// Filled tells that n bytes have been put at the front of the last Space.
func (r *Reader) Filled(n int) {
	if r.into != nil {
		r.fresh, r.into = r.into[:n], nil
		return
	}
	r.end += n
	switch {
	case n == r.offered:
		r.size = min(2*len(r.buf), r.maxSize)
		r.lowFills = 0
	case n > len(r.buf)/4:
		r.lowFills = 0
	default:
		if r.lowFills++; r.lowFills == shrinkAfter {
			r.size = max(r.size/2, minBuffer)
			r.lowFills = 0
		}
	}
}

// Latest returns the bytes of the last Filled, as they came; n is what that was given. It is for whoever wants to keep them: call
// it before the next step of decoding, which unmasks in place.
func (r *Reader) Latest(n int) []byte {
	if len(r.fresh) > 0 {
		return r.fresh[:n:n]
	}
	return r.buf[r.end-n : r.end : r.end]
}

// Release gives the memory back that holds no bytes still to be handed out. All views are then invalid. The next Space takes
// new memory.
func (r *Reader) Release() {
	if r.gathered == 0 && len(r.fresh) == 0 {
		buffer.Put(r.message)
		r.message, r.given = nil, false
	}
	if r.lent != nil && r.pos == r.end && r.start < 0 {
		buffer.Put(r.lent)
		r.lent, r.buf, r.pos, r.end = nil, nil, 0, 0
	}
}

// Buffer returns the size in bytes of the read buffer that is held now, 0 if none is.
func (r *Reader) Buffer() int { return len(r.buf) }

// Pending returns the number of bytes that have come and are not decoded yet.
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
		space := r.SpaceIn(dst)
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
			return r.endError(err)
		}
	}
	return io.ErrNoProgress
}

// endError turns an end of the source within a frame or message into io.ErrUnexpectedEOF.
func (r *Reader) endError(err error) error {
	if err == io.EOF && r.dec.Midway() {
		return io.ErrUnexpectedEOF
	}
	return err
}
