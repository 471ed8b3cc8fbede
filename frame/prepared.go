package frame

// Prepared is a message encoded once, to be written to many connections. It is immutable
// and safe for concurrent use.
type Prepared struct {
	b0      byte
	encoded []byte // the frame as a server sends it
	payload []byte // its payload, a view of encoded
}

// Prepare encodes a text or binary message. It copies payload, and returns ErrOpcode for
// another opcode. With compressed set the frame has RSV1. payload must then be the
// message compressed by permessage-deflate without context takeover (RFC 7692 §7.2.1).
func Prepare(op Opcode, payload []byte, compressed bool) (*Prepared, error) {
	if op != Text && op != Binary {
		return nil, ErrOpcode
	}
	h := Header{Fin: true, RSV1: compressed, Opcode: op}
	b := AppendFrame(make([]byte, 0, MaxHeaderSize+len(payload)), h, payload)
	return &Prepared{b0: b[0], encoded: b, payload: b[len(b)-len(payload):]}, nil
}

// Size returns the length in bytes of the frame as a server sends it.
func (p *Prepared) Size() int { return len(p.encoded) }

// AppendPrepared queues p. A client masks it with a fresh key, like any frame.
func (w *Writer) AppendPrepared(p *Prepared) error {
	if w.role == Client {
		return w.append(p.b0, p.payload)
	}
	if w.err != nil {
		return w.err
	}
	w.room(len(p.encoded))
	w.end += copy(w.queue.B[w.end:], p.encoded)
	return nil
}

// EncodePrepared is Encode for p. For a server it returns p's own bytes, which the caller
// must not change.
func (w *Writer) EncodePrepared(p *Prepared) []byte {
	switch {
	case w.start != w.end || w.err != nil:
		return nil
	case w.role == Server:
		return p.encoded
	}
	w.room(MaxHeaderSize + len(p.payload))
	b := w.queue.B[w.end:]
	return b[:w.put(b, p.b0, p.payload)]
}

// WritePrepared queues p and flushes. A server with an empty queue writes p's own bytes,
// without copying them.
func (w *Writer) WritePrepared(p *Prepared) error {
	if w.role == Server && w.err == nil && (w.Queued() == 0 || len(p.encoded) >= zeroCopyMin && w.vector() != nil) {
		return w.flush(p.encoded)
	}
	if err := w.AppendPrepared(p); err != nil {
		return err
	}
	return w.Flush()
}
