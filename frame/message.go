package frame

// Message is a whole message, or a control frame.
type Message struct {
	// Opcode is Text or Binary, or Close, Ping or Pong for a control frame.
	Opcode Opcode
	// Compressed says that Data is still deflated: RSV1 was set on the first frame of the
	// message (RFC 7692 §6).
	Compressed bool
	// Data is the payload, unmasked. It is a view, valid until the next read. Its
	// capacity is its length.
	Data []byte
}

// Clone returns the message with a copy of its data, which the caller may keep.
func (m Message) Clone() Message {
	m.Data = append([]byte(nil), m.Data...)
	return m
}

// Frame is one frame with its whole payload.
type Frame struct {
	// Header is the frame's, as it came.
	Header Header
	// Payload is unmasked. It is a view, valid until the next read. Its capacity is its
	// length.
	Payload []byte
}

// Piece is a part of a message, delivered before the message is whole.
type Piece struct {
	// Opcode is Text or Binary, the type of the message; or Close, Ping or Pong for a
	// whole control frame.
	Opcode Opcode
	// Compressed says that the message's data is deflated.
	Compressed bool
	// Last says that the message ends with this piece.
	Last bool
	// Data is a part of the payload, unmasked and checked. It can be empty. It is a view,
	// valid until the next read, or the front of the caller's memory.
	Data []byte
}
