package frame

import (
	"io"
	"math/bits"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Reader reads whole messages from a byte stream. It runs a Decoder over a pooled buffer,
// which large reads fill. A message of one frame is a view into that buffer. The
// fragments of a message are gathered in a second buffer. Nothing is read while a whole
// message is buffered.
//
// There are two ways to use it. With an io.Reader, Next reads if it must. Without one,
// the caller asks Buffered for messages; if there is none, it reads bytes into Space and
// calls Filled with their number.
//
// The read methods can be mixed. Each control frame is delivered once, by the method that
// meets it. No byte is delivered twice, and no part of a message is delivered as a whole
// message:
//
//   - After a part of a message was delivered as frames or pieces, Next and NextBatch
//     skip the rest of it.
//   - NextPiece continues after the last byte that was delivered. It includes what Next,
//     NextBatch or NextFrame had read but not delivered.
//   - NextFrame skips the rest of a message of which NextPiece delivered a part.
//     NextFrame returns ErrMixedReads while another method holds frames of a message that
//     it has not delivered.
//
// Make one with NewReader. It is not safe for concurrent use.
type Reader struct {
	dec Decoder
	buf []byte // the lent buffer, nil when none is held
	pos int    // of the first byte that the decoder has not taken
	end int    // of the bytes read

	// The message or frame in progress: either buf[start:pos], or gathered in
	// message.B[:gathered].
	start    int // -1 if it is not in buf
	gathered int
	lent     *buffer.Buffer // holds buf
	message  *buffer.Buffer // nil, or holds what is gathered, until the read after its delivery

	into  []byte // where the next fill goes, if not into buf
	fresh []byte // what it brought, still to be decoded

	src      *source // nil without an io.Reader
	size     int     // of the buffer to take next
	maxSize  int
	offered  int   // the space that the next fill may use
	run      int32 // bytes of the last fills that used all of theirs
	lowFills uint8 // fills in a row that left most of the buffer empty
	claim    claim // on the open message
	given    bool  // the caller has seen what message holds; it goes back at the next step
}

// source is where Next and its like read.
type source struct {
	io.Reader
	err error // came together with bytes, reported when they are used up
}

// claim says how the whole frames taken from the open message were delivered. It decides
// what the methods do with the rest of that message. The frame in progress has no claim
// before a part of it was given.
type claim uint8

const (
	unclaimed claim = iota // there are none
	joined                 // they are gathered, to be given as one
	framed                 // they were given as frames
	pieced                 // they, or a part of the frame in progress, were given as pieces
	dropped                // the rest of the message is skipped
)

// given reports whether a part of the message was given. The rest is then not a message
// of its own.
func (c claim) given() bool { return c >= framed }

// NewReader returns a Reader for the endpoint of the given role. src may be nil.
func NewReader(src io.Reader, role Role, o Options) *Reader {
	r := new(Reader)
	r.Reset(src, role, o)
	return r
}

// Reset prepares r for a new stream, and returns its memory to the pool.
func (r *Reader) Reset(src io.Reader, role Role, o Options) {
	buffer.Put(r.lent)
	buffer.Put(r.message)
	*r = Reader{}
	if src != nil {
		r.src = &source{Reader: src}
	}
	r.start, r.size, r.maxSize = -1, minBuffer, DefaultMaxBuffer
	r.dec.Reset(role, o)
}

// SetMaxBuffer limits the read buffer to n bytes, rounded up to a power of two, and at
// least 4 KiB. The default is DefaultMaxBuffer. A message that does not fit is gathered
// in a buffer of its own.
func (r *Reader) SetMaxBuffer(n int) {
	r.maxSize = 1 << min(bits.Len(uint(max(n, minBuffer)-1)), bits.UintSize-2)
}

// SetMaxMessage changes Options.MaxMessage, as Decoder.SetMaxMessage does.
func (r *Reader) SetMaxMessage(n int64) { r.dec.SetMaxMessage(n) }

// Decoder returns the Decoder inside r, for its counters. Do not call its Next.
func (r *Reader) Decoder() *Decoder { return &r.dec }

// Next returns the next message, or a control frame that comes before it. The message is
// a view, valid until the next call of any method. Next skips the rest of a message of
// which another method delivered a part.
//
// At the end of the stream the error is io.EOF; inside a frame or a fragmented message it
// is io.ErrUnexpectedEOF. Other errors of the source are returned unchanged. After an
// error that does not end the source, such as a passed deadline, any read method may be
// called again.
func (r *Reader) Next() (Message, error) {
	// This is BufferedFast, inlined: the call would cost a tenth of the time.
	if m, next := r.dec.decodeFast(r.buf[:r.end], r.pos); m.Opcode != 0 {
		r.pos = next
		return m, nil
	}
	return r.next()
}

func (r *Reader) next() (Message, error) {
	for {
		m, ok, err := r.Buffered()
		if ok || err != nil {
			return m, err
		}
		if err := r.fillInto(nil); err != nil {
			return Message{}, err
		}
	}
}

// NextFrame returns the next frame with its header as it was sent and its whole payload,
// unmasked. Errors and lifetime are those of Next. A call that returns ErrMixedReads
// takes nothing from the stream.
func (r *Reader) NextFrame() (Frame, error) {
	for {
		f, ok, err := r.BufferedFrame()
		if ok || err != nil {
			return f, err
		}
		if err := r.fillInto(nil); err != nil {
			return Frame{}, err
		}
	}
}

// NextPiece returns the next part of a message as it comes, or a whole control frame. If
// the payload can be read straight into dst, Data is the front of dst. Otherwise Data is
// a view, as with Next. All limits of Options hold. Errors are those of Next.
func (r *Reader) NextPiece(dst []byte) (Piece, error) {
	for {
		p, ok, err := r.BufferedPiece()
		if ok || err != nil {
			return p, err
		}
		if err := r.fillInto(dst); err != nil {
			return Piece{}, err
		}
	}
}

// BufferedFast returns the next message if it is buffered whole and of the common kind:
// one text or binary frame of less than 64 KiB without reserved bits. Otherwise ok is
// false; call Buffered then.
func (r *Reader) BufferedFast() (m Message, ok bool) {
	m, r.pos = r.dec.decodeFast(r.buf[:r.end], r.pos)
	return m, m.Opcode != 0
}

// Buffered returns the next message if it is buffered whole. ok is false if more bytes
// are needed.
func (r *Reader) Buffered() (m Message, ok bool, err error) {
	if r.pos == r.end && r.dec.betweenMessages() && len(r.fresh) == 0 && !r.given {
		return Message{}, false, nil // nothing is here, and nothing begun: the usual case before a read
	}
	if m, ok := r.BufferedFast(); ok {
		return m, true, nil
	}
	return r.assemble()
}

// assemble is Buffered for everything but the plain frame.
func (r *Reader) assemble() (Message, bool, error) {
	if r.claim.given() {
		r.drop()
	}
	for {
		var ev Event
		if ok, err := r.frame(&ev, false); !ok || err != nil {
			return Message{}, false, err
		}
		switch op := ev.Header.Opcode; {
		case op.IsControl():
			return Message{Opcode: op, Data: ev.Data}, true, nil
		case ev.Header.Fin:
			return Message{Opcode: r.dec.opcode, Compressed: r.dec.rsv1, Data: ev.Data}, true, nil
		}
	}
}

// BufferedFrame returns the next frame if it is buffered whole. ok is false if more bytes
// are needed.
func (r *Reader) BufferedFrame() (f Frame, ok bool, err error) {
	switch {
	case r.claim == joined && !r.ended():
		return Frame{}, false, ErrMixedReads
	case r.claim == pieced:
		r.drop()
	}
	var ev Event
	if ok, err := r.frame(&ev, true); !ok || err != nil {
		return Frame{}, false, err
	}
	return Frame{Header: ev.Header, Payload: ev.Data}, true, nil
}

// ended reports whether only an error or io.EOF can follow.
func (r *Reader) ended() bool { return r.dec.err != nil || r.dec.closed }

// drop begins to skip the rest of the open message.
func (r *Reader) drop() {
	r.claim = dropped
	r.gathered = 0
	if !r.dec.header.Opcode.IsControl() {
		r.start = -1
	}
}

// BufferedPiece returns the buffered part of the next message, or a whole control frame.
// ok is false if more bytes are needed.
func (r *Reader) BufferedPiece() (p Piece, ok bool, err error) {
	if p, ok, err = r.handOver(); ok || err != nil {
		return p, ok, err
	}
	for {
		var ev Event
		if err := r.decode(&ev); err != nil || ev.none() {
			return Piece{}, false, err
		}
		if op := ev.Header.Opcode; op.IsControl() {
			if ev.Start {
				r.start = r.pos - len(ev.Data)
			}
			if ev.End {
				data := r.buf[r.start:r.pos:r.pos]
				r.start = -1
				return Piece{Opcode: op, Last: true, Data: data}, true, nil
			}
			continue
		}
		last := ev.End && ev.Header.Fin
		switch {
		case r.claim == dropped:
			if last {
				r.claim = unclaimed
			}
		case last || len(ev.Data) > 0:
			return r.piece(ev.Data, last), true, nil
		case ev.End && r.claim == unclaimed:
			r.claim = joined // an empty fragment is taken, and nothing given
		case ev.End && r.claim == framed:
			r.claim = pieced
		}
	}
}

// handOver gives what the other methods have read of a message in progress but not
// delivered.
func (r *Reader) handOver() (p Piece, ok bool, err error) {
	switch {
	case r.ended():
	case r.gathered > 0 && len(r.fresh) > 0:
		// The newest bytes follow the gathered ones in the same memory, which is handed
		// out here.
		var ev Event
		if err := r.decode(&ev); err != nil {
			return Piece{}, false, err
		}
		r.gather(ev.Data)
		return r.piece(r.taken(), ev.End && ev.Header.Fin), true, nil
	case r.gathered > 0:
		return r.piece(r.taken(), false), true, nil
	case r.start >= 0 && !r.dec.header.Opcode.IsControl():
		data := r.buf[r.start:r.pos:r.pos]
		r.start = -1
		if len(data) > 0 {
			return r.piece(data, false), true, nil
		}
	}
	return Piece{}, false, nil
}

// piece returns data as a piece of the open message. If r.message holds it, that memory
// goes back at the next step.
func (r *Reader) piece(data []byte, last bool) Piece {
	r.claim = pieced
	if last {
		r.claim = unclaimed
	}
	r.given = r.message != nil
	return Piece{Opcode: r.dec.opcode, Compressed: r.dec.rsv1, Last: last, Data: data}
}

// frame decodes to the end of the next frame that is not skipped. With alone set, ev.Data
// is the whole payload of the frame. Otherwise it is the whole message, or nil before the
// message ends.
func (r *Reader) frame(ev *Event, alone bool) (ok bool, err error) {
	for {
		if err := r.decode(ev); err != nil || ev.none() {
			return false, err
		}
		control := ev.Header.Opcode.IsControl()
		if !control && r.claim == dropped {
			if ev.End && ev.Header.Fin {
				r.claim = unclaimed
			}
			continue
		}
		if ev.Start && r.staysInBuffer(&ev.Header, alone) {
			r.start = r.pos - len(ev.Data)
		}
		if control {
			if !ev.End {
				continue
			}
			ev.Data = r.buf[r.start:r.pos:r.pos]
			r.start = -1
			return true, nil
		}
		if r.start < 0 {
			r.gather(ev.Data)
		}
		if ev.End {
			ev.Data = r.endFrame(&ev.Header, alone)
			return true, nil
		}
	}
}

// endFrame returns the payload of the data frame that has just ended. Without alone it
// returns that of its message, or nil if the message is not whole.
func (r *Reader) endFrame(h *Header, alone bool) (data []byte) {
	if r.start >= 0 && !r.staysInBuffer(h, alone) {
		// NextFrame began this fragment, to deliver it in place. Now it joins its
		// message.
		r.gather(r.buf[r.start:r.pos])
		r.start = -1
	}
	switch {
	case r.start >= 0:
		data = r.buf[r.start:r.pos:r.pos]
		r.start = -1
	case alone || h.Fin:
		data = r.taken()
	}
	switch {
	case h.Fin:
		r.claim = unclaimed
	case alone:
		r.claim = framed
	default:
		r.claim = joined
	}
	return data
}

// decode feeds the decoder and puts its event into ev. ev is none if more bytes are
// needed.
func (r *Reader) decode(ev *Event) error {
	if r.given {
		buffer.Put(r.message)
		r.message, r.given = nil, false
	}
	if len(r.fresh) > 0 {
		n, err := r.dec.next(r.fresh, ev)
		if r.fresh = r.fresh[n:]; len(r.fresh) == 0 {
			r.fresh = nil // an empty slice would keep the message's memory alive
		}
		return err
	}
	n, err := r.dec.next(r.buf[r.pos:r.end], ev)
	r.pos += n
	return err
}

// staysInBuffer reports whether the payload of a new frame is delivered as a view into
// the read buffer. It is, if it is delivered alone and fits.
func (r *Reader) staysInBuffer(h *Header, alone bool) bool {
	return (alone || h.Opcode.IsControl() || h.Fin && h.Opcode != Continuation) && h.Length <= uint64(r.maxSize)
}

// gather appends data to the message in progress. Data that the last fill put in place
// already is only counted.
func (r *Reader) gather(data []byte) {
	if len(data) == 0 {
		return
	}
	need := r.gathered + len(data)
	switch {
	case r.message == nil:
		r.message = buffer.Get(r.gatherSize(need))
	case len(r.message.B) < need:
		r.message = buffer.Grow(r.message, r.gathered, r.gatherSize(need))
	}
	if &data[0] != &r.message.B[r.gathered] {
		copy(r.message.B[r.gathered:], data)
	}
	r.gathered = need
}

// taken hands out what was gathered. Its memory goes back at the next step.
func (r *Reader) taken() []byte {
	n := r.gathered
	r.gathered = 0
	if r.message == nil {
		return nil
	}
	r.given = true
	return r.message.B[:n:n]
}

// Compressed reports whether the message in progress is compressed. Between messages it
// reports on the message that starts at the next buffered byte, and is false if there is
// none. BufferedPiece reads a compressed message without gathering it first.
func (r *Reader) Compressed() bool {
	d := &r.dec
	switch {
	case d.open, d.inFrame && !d.header.Opcode.IsControl():
		return d.rsv1
	case d.inFrame:
		return false
	case d.headLen > 0:
		return d.header.RSV1
	}
	return r.pos < r.end && r.buf[r.pos]&bitRSV1 != 0
}

// FrameAt returns the header of the frame that held the last piece of a compressed
// message. payload is the offset of that frame's payload in the stream. Use both to
// report an error found while inflating. They do not depend on how the stream was split.
func (r *Reader) FrameAt() (h Header, payload uint64) {
	return r.dec.header, r.dec.offset - (r.dec.header.Length - r.dec.left)
}

// More reports whether a whole message is buffered, so that the next one needs no read.
// Control frames before it do not count. After a Close frame it is false.
func (r *Reader) More() bool {
	d, p := &r.dec, r.buf[r.pos:r.end]
	if d.err != nil || d.closed || d.headLen > 0 || len(r.fresh) > 0 {
		return false
	}
	skipping := r.claim.given()
	if d.inFrame {
		if d.left > uint64(len(p)) {
			return false
		}
		if d.header.Opcode == Close {
			return false
		}
		p = p[d.left:]
		if last := d.header.Fin && !d.header.Opcode.IsControl(); last && !skipping {
			return true
		} else if last {
			skipping = false
		}
	}
	for {
		h, n := ParseHeader(p)
		if n == 0 || h.Length > uint64(len(p)-n) || h.Opcode == Close {
			return false
		}
		if h.Fin && !h.Opcode.IsControl() {
			if !skipping {
				return true
			}
			skipping = false
		}
		p = p[n+int(h.Length):]
	}
}
