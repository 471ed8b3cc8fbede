package conn

import (
	"io"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// messageReader reads the message that NextReader has found. There is one in a Conn.
type messageReader struct {
	c    *Conn
	rest []byte // of the piece in hand: a view
	open bool   // the message has begun and its end was not seen

	begun   bool // NextReader or NextFrame has handed out of a message what other read calls must pass over the rest of
	framed  bool // NextFrame has
	passing bool // and one of them does

	compressed bool // the message is compressed, and its end was not inflated

	joining bool   // ReadMessage or TakeBatch has inflated a part of a message, and waits for the rest
	op      Opcode // of that message

	freed bool // the connection has ended, and the memory of its Reader went back
}

// NextReader finds the next message, and returns its type and a reader of its payload.
// The payload may have any size, because it is not gathered. Text is checked as it comes,
// so an error of UTF-8 may come after bytes that were delivered. The reader ends with
// io.EOF. It is valid until the next read call of another kind, which skips the rest.
func (c *Conn) NextReader() (Opcode, io.Reader, error) {
	if err := c.beginRead(); err != nil {
		return 0, nil, err
	}
	r := &c.msgReader
	if r.begun {
		if err := c.passOver(); err != nil {
			c.endRead(0)
			return 0, nil, err
		}
	}
	if r.joining {
		op := r.resume()
		c.endRead(1)
		return op, r, nil
	}
	p, err := r.next(nil)
	if err != nil {
		c.endRead(0)
		return 0, nil, err
	}
	r.rest, r.begun = left(p.Data), true
	if p.Compressed && c.compression != nil {
		r.rest = nil
		if err := r.beginCompressed(c.checks(p.Opcode), p.Data, p.Last); err != nil {
			c.endRead(0)
			return 0, nil, err
		}
	}
	c.endRead(1)
	return p.Opcode, r, nil
}

// next returns the next piece of a message; into dst if it can.
func (r *messageReader) next(dst []byte) (frame.Piece, error) {
	c := r.c
	for {
		p, ok, err := c.r.BufferedPiece()
		switch {
		case err != nil:
			return p, c.readFailed(err)
		case !ok:
			err = c.await(dst)
		case p.Opcode.IsControl():
			err = c.handleControl(p.Opcode, p.Data)
		default:
			r.open = !p.Last
			return p, nil
		}
		if err != nil {
			return p, err
		}
	}
}

// Read implements io.Reader.
func (r *messageReader) Read(p []byte) (int, error) {
	c := r.c
	if err := c.beginRead(); err != nil {
		return 0, err
	}
	defer c.endRead(0)
	if !r.begun || r.framed || r.passing {
		return 0, io.EOF // another read call has passed over the rest, or a part of it
	}
	if r.compressed {
		return r.readCompressed(p)
	}
	for len(r.rest) == 0 {
		switch {
		case !r.open:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		piece, err := r.next(p)
		if err != nil {
			return 0, err
		}
		if n := len(piece.Data); n > 0 && &piece.Data[0] == &p[0] {
			return n, nil
		}
		r.rest = left(piece.Data)
	}
	n := copy(p, r.rest)
	r.rest = left(r.rest[n:])
	return n, nil
}

// passOver passes over the rest of a message that was begun in parts. If it is compressed
// it is inflated: later messages may refer to it. A passed deadline stops it; the next
// read call goes on.
func (c *Conn) passOver() error {
	r := &c.msgReader
	r.framed, r.passing = false, true
	for {
		if _, err := c.inflatePiece(); err != nil {
			return err
		}
		r.rest = nil
		if !r.open {
			r.begun, r.passing = false, false
			return nil
		}
		piece, err := r.next(nil)
		if err != nil {
			return err
		}
		if r.compressed {
			if err := c.compression.in.Feed(piece.Data, piece.Last); err != nil {
				return c.inflateFailed(err)
			}
		}
	}
}

// left returns p, and nil if nothing is: an empty slice would keep the memory that it is
// of.
func left(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	return p
}
