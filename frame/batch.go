package frame

import (
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Batch holds messages together with their memory. Use it to hand messages to another
// goroutine without copying them.
type Batch struct {
	// Messages stay valid until Release. A control frame is a batch of its own.
	Messages []Message

	read, message *buffer.Buffer
	owned         *buffer.Buffer
}

// NewBatch returns a batch of one message that did not come from a Reader, such as an
// inflated one. Own tells the batch which memory holds the message.
func NewBatch(m Message) *Batch {
	b := batches.Get().(*Batch)
	b.Messages = append(b.Messages, m)
	return b
}

// Own hands a buffer to the batch: Release returns it to the pool. Use it after replacing
// the messages, for example with their inflated form. A batch has one such buffer.
func (b *Batch) Own(buf *buffer.Buffer) {
	buffer.Put(b.owned)
	b.owned = buf
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// Release returns the memory to the pool. The batch and its messages must not be used
// afterwards.
func (b *Batch) Release() {
	buffer.Put(b.read)
	buffer.Put(b.message)
	buffer.Put(b.owned)
	clear(b.Messages)
	*b = Batch{Messages: b.Messages[:0]}
	batches.Put(b)
}

// BufferedBatch returns the next message and those that BufferedFast would return after
// it. A control frame is returned alone. ok is false if the first message needs more
// bytes. The batch owns the memory. Bytes after its last message are copied to a new
// buffer.
func (r *Reader) BufferedBatch() (b *Batch, ok bool, err error) {
	m, ok, err := r.Buffered()
	if !ok || err != nil {
		return nil, false, err
	}
	b = NewBatch(m)
	for !m.Opcode.IsControl() {
		m, ok := r.BufferedFast()
		if !ok {
			break // if the decoder has found an error, it returns that again, after this batch
		}
		b.Messages = append(b.Messages, m)
	}
	r.detach(b)
	return b, true, nil
}

// NextBatch returns the next batch, and reads if it must. Errors are those of Next.
func (r *Reader) NextBatch() (*Batch, error) {
	for {
		b, ok, err := r.BufferedBatch()
		if ok || err != nil {
			return b, err
		}
		if err := r.fillInto(nil); err != nil {
			return nil, err
		}
	}
}

// DetachViews keeps the current views valid for as long as they are referenced: their
// memory is left to the garbage collector. Use it when another goroutine takes over
// reading while the first still holds views.
func (r *Reader) DetachViews() {
	if r.given {
		r.message, r.given = nil, false
	}
	keep := r.pos
	if r.start >= 0 {
		keep = r.start
	}
	rest := r.buf[keep:r.end]
	r.lent, r.buf = nil, nil
	if len(rest) > 0 {
		r.lent = buffer.Get(max(r.size, len(rest)))
		r.buf = r.lent.B
		copy(r.buf, rest)
	}
	r.pos -= keep
	r.end -= keep
	if r.start >= 0 {
		r.start = 0
	}
}

// detach gives the memory of the messages just returned to b.
func (r *Reader) detach(b *Batch) {
	if r.given {
		b.message, r.message, r.given = r.message, nil, false
	}
	b.read = r.lent
	if rest := r.buf[r.pos:r.end]; len(rest) > 0 {
		r.lent = buffer.Get(max(r.size, len(rest)))
		r.buf = r.lent.B
		r.pos, r.end = 0, copy(r.buf, rest)
	} else {
		r.lent, r.buf, r.pos, r.end = nil, nil, 0, 0
	}
}
