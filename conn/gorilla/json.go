package websocket

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// WriteJSON is Conn.WriteJSON.
//
// Deprecated: Use Conn.WriteJSON.
func WriteJSON(c *Conn, v any) error { return c.WriteJSON(v) }

// ReadJSON is Conn.ReadJSON.
//
// Deprecated: Use Conn.ReadJSON.
func ReadJSON(c *Conn, v any) error { return c.ReadJSON(v) }

// WriteJSON writes the JSON encoding of v and a newline as a text message. If encoding
// fails nothing is sent.
func (c *Conn) WriteJSON(v any) error {
	if err := c.beginMessage(TextMessage); err != nil {
		return err
	}
	b := encodings.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= maxEncoding {
			b.Reset()
			encodings.Put(b)
		}
	}()
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return err
	}
	return c.WriteMessage(TextMessage, b.Bytes())
}

var encodings = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxEncoding is the largest buffer that is kept.
const maxEncoding = 64 << 10

// ReadJSON reads the next message, text or binary, and decodes the JSON value at its
// beginning into v. If the message ends within the value, the error is
// io.ErrUnexpectedEOF.
func (c *Conn) ReadJSON(v any) error {
	m, err := c.next()
	if err != nil {
		return err
	}
	err = json.Unmarshal(m.Data, v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && !json.Valid(m.Data) {
		// Nothing is decoded yet. A Decoder stops after the value, and distinguishes an
		// end from an error.
		err = json.NewDecoder(bytes.NewReader(m.Data)).Decode(v)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
