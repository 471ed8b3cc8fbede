package conn

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// ReadJSON reads the next message, and decodes it into v with encoding/json: see
// ReadValue.
func (c *Conn) ReadJSON(v any) error { return ReadValue(c, v, json.Unmarshal) }

// WriteJSON writes v as a Text message, encoded with encoding/json: see WriteValue.
func (c *Conn) WriteJSON(v any) error { return WriteValue(c, Text, v, encodeJSON) }

func encodeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// ReadValue reads the next message of either type, and decodes it into v. decode gets the
// view that ReadMessage returns, and must copy what it keeps; some codecs have an option
// for that. ReadValue allocates only what decode does. The functions of codecs fit
// directly, in some cases with their type named:
//
//	conn.ReadValue[any](c, &trade, sonic.Unmarshal)
//	conn.ReadValue[easyjson.Unmarshaler](c, &trade, easyjson.Unmarshal)
//
// Errors are those of ReadMessage, and those of decode, unchanged. After an error of
// decode the next call reads the next message. The connection's Err says whether it has
// ended.
func ReadValue[V any](c *Conn, v V, decode func(data []byte, v V) error) error {
	m, err := c.ReadMessage()
	if err != nil {
		return err
	}
	return decode(m.Data, v)
}

// WriteValue lets encode write v, in any number of pieces, and sends the result as one
// message of type op. It is gathered in pooled memory: WriteValue allocates only what
// encode does. One newline at the end of Text, which JSON encoders add, is removed. An
// error of encode is returned unchanged, and nothing is sent; other errors are those of
// WriteMessage. encode must not keep w.
//
//	conn.WriteValue(c, conn.Text, order, func(w io.Writer, o *Order) error {
//		return sonic.ConfigDefault.NewEncoder(w).Encode(o)
//	})
func WriteValue[V any](c *Conn, op Opcode, v V, encode func(w io.Writer, v V) error) error {
	g := gatherings.Get().(*gathering)
	defer g.release() // also if encode panics
	if err := encode(g, v); err != nil {
		return err
	}
	return c.WriteMessage(op, g.message(op))
}

// gathering is what WriteValue's encoder writes to.
type gathering struct {
	buf *buffer.Buffer
	n   int
}

var gatherings = sync.Pool{New: func() any { return new(gathering) }}

// Write implements io.Writer.
func (g *gathering) Write(p []byte) (int, error) {
	g.grow(len(p))
	g.n += copy(g.buf.B[g.n:], p)
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (g *gathering) WriteString(s string) (int, error) {
	g.grow(len(s))
	g.n += copy(g.buf.B[g.n:], s)
	return len(s), nil
}

// WriteByte implements io.ByteWriter.
func (g *gathering) WriteByte(b byte) error {
	g.grow(1)
	g.buf.B[g.n] = b
	g.n++
	return nil
}

func (g *gathering) grow(n int) {
	switch size := g.n + n; {
	case g.buf == nil:
		g.buf = buffer.Get(size)
	case size > len(g.buf.B):
		g.buf = buffer.Grow(g.buf, g.n, size)
	}
}

func (g *gathering) message(op Opcode) []byte {
	if g.buf == nil {
		return nil
	}
	b := g.buf.B[:g.n]
	if op == Text && g.n > 0 && b[g.n-1] == '\n' {
		b = b[:g.n-1]
	}
	return b
}

func (g *gathering) release() {
	buffer.Put(g.buf)
	g.buf, g.n = nil, 0
	gatherings.Put(g)
}
