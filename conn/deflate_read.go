package conn

import (
	"errors"
	"io"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// inflated takes what is buffered of a compressed message and inflates it: nothing
// compressed is gathered, and what is wrong is met with the bytes that show it. It
// returns the message when it is whole, in the inflater's memory, or a control frame
// between.
func (c *Conn) inflated() (m Message, ok bool, err error) {
	r, in := &c.msgReader, c.compression.in
	for {
		p, ok, err := c.r.BufferedPiece()
		switch {
		case !ok || err != nil:
			return Message{}, false, err
		case p.Opcode.IsControl():
			return Message{Opcode: p.Opcode, Data: p.Data}, true, nil
		case !r.joining:
			r.joining = true
			err = c.compression.beginInflate(c.checks(p.Opcode))
		}
		if err == nil {
			err = in.Push(p.Data, p.Last)
		}
		if err != nil {
			return Message{}, false, c.inflateError(err)
		}
		if p.Last {
			r.joining = false
			return Message{Opcode: p.Opcode, Data: in.Bytes()}, true, nil
		}
		r.op = p.Opcode
	}
}

// checks reports whether messages of this type are to be checked as UTF-8.
func (c *Conn) checks(op Opcode) bool { return op == Text && !c.cfg.Frame.SkipUTF8 }

// inflatedBatch is nextBatch where the next message is compressed.
func (c *Conn) inflatedBatch() (*Batch, error) {
	m, ok, err := c.inflated()
	switch {
	case err != nil:
		return nil, c.readFailed(err)
	case !ok:
		return nil, c.fill(c.nextSpace())
	case m.Opcode.IsControl():
		return nil, c.handleControl(m.Opcode, m.Data)
	}
	own := c.compression.in.Detach()
	if own == nil {
		own = buffer.Get(len(m.Data))
		m.Data = own.B[:copy(own.B, m.Data):len(m.Data)]
	}
	b := frame.NewBatch(m)
	b.Own(own)
	return b, nil
}

// inflateError adds the position of the message that cannot be inflated: the frame in
// which that showed. It does not depend on how the bytes came.
func (c *Conn) inflateError(err error) error {
	var rule *frame.ProtocolError
	if errors.As(err, &rule) {
		h, at := c.r.FrameAt()
		broken := *rule
		broken.Offset, broken.Opcode, broken.Length = at, h.Opcode, h.Length
		switch { // the field of Config that the Inflater's was made from
		case errors.Is(rule, deflate.ErrTooLarge):
			broken.Field = "frame.Options.MaxMessage"
			if c.cfg.Deflate.MaxInflated != 0 {
				broken.Field = "deflate.Config.MaxInflated"
			}
		case errors.Is(rule, deflate.ErrRatio):
			broken.Field = "deflate.Config.MaxRatio"
		}
		return &broken
	}
	return err
}

// inflateFailed ends the connection: the peer's context is lost with the message.
func (c *Conn) inflateFailed(err error) error { return c.readFailed(c.inflateError(err)) }

// inflatePiece drops what is inflated of what was fed. done says that the message ended.
func (c *Conn) inflatePiece() (done bool, err error) {
	r := &c.msgReader
	for r.compressed {
		switch more, err := r.inflated(); {
		case err != nil:
			return false, err
		case !more:
			return false, nil
		}
	}
	return true, nil
}

// inflated takes the next inflated bytes of the message into r.rest. It reports false if
// more has to be fed; the end of the message is the end of r.compressed.
func (r *messageReader) inflated() (more bool, err error) {
	piece, err := r.c.compression.in.Next()
	switch {
	case err == io.EOF:
		r.compressed, r.rest = false, nil
		return true, nil
	case err != nil:
		return false, r.c.inflateFailed(err)
	}
	r.rest = left(piece)
	return len(piece) > 0, nil
}

// readCompressed is Read of a compressed message.
func (r *messageReader) readCompressed(p []byte) (int, error) {
	for len(r.rest) == 0 {
		more, err := r.inflated()
		switch {
		case err != nil:
			return 0, err
		case !r.compressed:
			return 0, io.EOF
		case more:
			continue
		case len(p) == 0:
			return 0, nil
		}
		piece, err := r.next(nil)
		if err != nil {
			return 0, err
		}
		if err := r.c.compression.in.Feed(piece.Data, piece.Last); err != nil {
			return 0, r.c.inflateFailed(err)
		}
	}
	n := copy(p, r.rest)
	r.rest = left(r.rest[n:])
	return n, nil
}

// beginCompressed starts a compressed message that is read in parts.
func (r *messageReader) beginCompressed(text bool, data []byte, last bool) error {
	in := r.c.compression.in
	err := r.c.compression.beginInflate(text)
	if err == nil {
		err = in.Feed(data, last)
	}
	if err != nil {
		return r.c.inflateFailed(err)
	}
	r.compressed = true
	return nil
}

// resume has NextReader go on with the message that ReadMessage or TakeBatch has begun to
// inflate.
func (r *messageReader) resume() Opcode {
	r.joining, r.compressed, r.open, r.begun, r.rest = false, true, true, true, nil
	return r.op
}

// frameSeen keeps the context of what is compressed whole while NextFrame hands out
// frames as they are.
func (c *Conn) frameSeen(f Frame) error {
	if f.Header.Opcode.IsControl() {
		return nil
	}
	r := &c.msgReader
	switch {
	case f.Header.RSV1:
		if err := r.beginCompressed(false, f.Payload, f.Header.Fin); err != nil {
			return err
		}
	case r.compressed:
		if _, err := c.inflatePiece(); err != nil {
			return err
		}
		if err := c.compression.in.Feed(f.Payload, f.Header.Fin); err != nil {
			return c.inflateFailed(err)
		}
	default:
		return nil
	}
	_, err := c.inflatePiece()
	r.rest = nil
	return err
}
