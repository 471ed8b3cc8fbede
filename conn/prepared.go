package conn

import (
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// Prepared is a message encoded once, to be written to many connections. For those that
// compress, it is compressed once for each window and level.
type Prepared struct {
	plain *frame.Prepared
	op    Opcode
	data  []byte

	mu              sync.Mutex
	compressedForms atomic.Pointer[[]preparedCompressed]
}

type preparedCompressed struct {
	bits, level int
	encoded     *frame.Prepared
}

// Prepare encodes a message for WritePrepared. data is copied. Text must be UTF-8:
// ErrNotUTF8.
func Prepare(op Opcode, data []byte) (*Prepared, error) {
	if op == Text && !utf8.Valid(data) {
		return nil, ErrNotUTF8
	}
	return PrepareUnchecked(op, data)
}

// PrepareUnchecked is Prepare without the check that text is UTF-8, like
// Config.UncheckedText for messages.
func PrepareUnchecked(op Opcode, data []byte) (*Prepared, error) {
	plain, err := frame.Prepare(op, data, false)
	if err != nil {
		return nil, err
	}
	return &Prepared{plain: plain, op: op, data: append([]byte(nil), data...)}, nil
}

// Size returns the length in bytes of the frame without compression and mask.
func (p *Prepared) Size() int { return p.plain.Size() }

// compressed returns the message as a connection with such a compressor gets it.
func (p *Prepared) compressed(bits, level int) (*frame.Prepared, error) {
	find := func() *frame.Prepared {
		if list := p.compressedForms.Load(); list != nil {
			for _, q := range *list {
				if q.bits == bits && q.level == level {
					return q.encoded
				}
			}
		}
		return nil
	}
	if q := find(); q != nil {
		return q, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := find(); q != nil {
		return q, nil
	}
	data, err := deflate.AppendMessage(nil, p.data, bits, level)
	if err != nil {
		return nil, err
	}
	q, err := frame.Prepare(p.op, data, true)
	if err != nil {
		return nil, err
	}
	var list []preparedCompressed
	if old := p.compressedForms.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, preparedCompressed{bits, level, q})
	p.compressedForms.Store(&list)
	return q, nil
}
