package frame

import (
	"encoding/binary"
	"io"
	"math/bits"
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// VectorWriter is an optional interface of a Writer's destination. WriteV writes all
// pieces in order, usually in one system call, or returns an error. n is the number of
// bytes written.
type VectorWriter interface {
	WriteV(pieces [][]byte) (n int64, err error)
}

const (
	// controlHeadroom is the number of bytes kept free at the front of the queue. Three
	// control frames can so overtake the queued frames.
	controlHeadroom = 3 * (2 + 4 + MaxControlPayload)
	// minQueue is the size in bytes of the queue that a Writer starts with.
	minQueue = 2 << 10
	// zeroCopyMin is the least length of a payload that Write hands to WriteV without a
	// copy. For a shorter one the copy costs less than the second piece.
	zeroCopyMin = 16 << 10
	// keepQueue is the size in bytes of the largest queue that the Writer keeps after a
	// flush.
	keepQueue = 64 << 10
)

// Writer encodes frames into a queue, and writes the queue with one call. A client's
// frames are masked while they are copied into the queue, each with a fresh key. Only
// WriteOwned changes the caller's bytes.
//
// Methods named Append only queue; methods named Write queue and flush. The Writer does
// not check the order of fragments. Make one with NewWriter or Reset. It is not safe for
// concurrent use.
type Writer struct {
	dst     io.Writer
	role    Role
	maskBit byte           // set in each header
	keys    *mask.Source   // a client's, nil until the first frame and after Release
	queue   *buffer.Buffer // nil while nothing is queued
	start   int            // the queue is queue.B[start:end]
	end     int
	pieces  *[2][]byte // for WriteV, made by the first call of it
	err     error
}

// NewWriter returns a Writer for the endpoint of the given role.
func NewWriter(dst io.Writer, role Role) *Writer {
	w := new(Writer)
	w.Reset(dst, role)
	return w
}

// Reset makes w a new Writer and drops queued frames. Use it for a Writer inside a larger
// struct.
func (w *Writer) Reset(dst io.Writer, role Role) {
	buffer.Put(w.queue)
	*w = Writer{dst: dst, role: role}
	if role == Client {
		w.maskBit = bitMask
	}
}

// vector returns dst if it is a VectorWriter. Only large messages ask.
func (w *Writer) vector() VectorWriter {
	v, _ := w.dst.(VectorWriter)
	return v
}

// Queued returns the number of bytes that wait for a flush.
func (w *Writer) Queued() int { return w.end - w.start }

// Err returns the error of the write that ended the Writer, or nil. That write failed
// after its first byte, so nothing can follow on the stream.
func (w *Writer) Err() error { return w.err }

// Append queues a text or binary message in one frame. Text must be UTF-8 (RFC 6455
// §5.6); it is not checked.
func (w *Writer) Append(op Opcode, payload []byte) error {
	if op != Text && op != Binary {
		return ErrOpcode
	}
	return w.append(bitFin|byte(op), payload)
}

// Encode encodes a message in one frame and returns the frame. The caller writes it to
// the destination in one call. The frame is valid until the next call of a method; its
// memory is held until Release. Encode returns nil, and does nothing, if Append would
// fail or if the queue is not empty.
func (w *Writer) Encode(op Opcode, payload []byte) []byte {
	if op != Text && op != Binary || w.start != w.end || w.err != nil {
		return nil
	}
	if w.queue == nil || len(w.queue.B)-w.end < MaxHeaderSize+len(payload) {
		w.room(MaxHeaderSize + len(payload))
	}
	b := w.queue.B[w.end:]
	return b[:w.put(b, bitFin|byte(op), payload)]
}

// AppendFrame queues one frame with the Fin, RSV1 and Opcode of h. It ignores the other
// fields of h. ErrControlPayload: a control frame without Fin, with RSV1, or over 125
// bytes. ErrOpcode: a reserved opcode, or a continuation with RSV1.
func (w *Writer) AppendFrame(h Header, payload []byte) error {
	switch {
	case h.Opcode.IsReserved():
		return ErrOpcode
	case h.Opcode.IsControl() && (len(payload) > MaxControlPayload || !h.Fin || h.RSV1):
		return ErrControlPayload
	case h.Opcode == Continuation && h.RSV1:
		return ErrOpcode
	}
	b0 := byte(h.Opcode)
	if h.Fin {
		b0 |= bitFin
	}
	if h.RSV1 {
		b0 |= bitRSV1
	}
	return w.append(b0, payload)
}

// AppendControl queues a ping or pong before the queued frames if there is room, and
// after them otherwise. The first byte of the queue must be the first of a frame; only a
// wrong DropFront changes that.
func (w *Writer) AppendControl(op Opcode, payload []byte) error {
	switch {
	case op != Ping && op != Pong:
		return ErrOpcode
	case len(payload) > MaxControlPayload:
		return ErrControlPayload
	case w.err != nil:
		return w.err
	}
	var frame [MaxHeaderSize + MaxControlPayload]byte
	b := frame[:w.put(frame[:], bitFin|byte(op), payload)]
	if w.Queued() == 0 || w.start < len(b) {
		w.room(len(b))
		w.end += copy(w.queue.B[w.end:], b)
		return nil
	}
	w.start -= len(b)
	copy(w.queue.B[w.start:], b)
	return nil
}

// AppendClose queues a Close frame after all queued frames. Errors are those of the
// function AppendClose.
func (w *Writer) AppendClose(code CloseCode, reason string) error {
	var body [MaxControlPayload]byte
	b, err := AppendClose(body[:0], w.role, code, reason)
	if err != nil {
		return err
	}
	return w.append(bitFin|byte(Close), b)
}

// Write queues a message like Append, and flushes. If the destination is a VectorWriter,
// an unmasked payload of 16 KiB or more is written without a copy.
func (w *Writer) Write(op Opcode, payload []byte) error {
	if len(payload) < zeroCopyMin {
		if b := w.Encode(op, payload); b != nil {
			if n, err := w.dst.Write(b); err != nil || n != len(b) {
				w.end = w.start + len(b)
				return w.failed(int64(n), err)
			}
			return nil
		}
	}
	if w.role == Client || len(payload) < zeroCopyMin || w.vector() == nil {
		if err := w.Append(op, payload); err != nil {
			return err
		}
		return w.Flush()
	}
	switch {
	case op != Text && op != Binary:
		return ErrOpcode
	case w.err != nil:
		return w.err
	}
	queued := w.Queued()
	w.room(MaxHeaderSize)
	w.end = len(appendHeader(w.queue.B[:w.end], bitFin|byte(op), false, 0, uint64(len(payload))))
	err := w.flush(payload)
	if err != nil {
		w.Drop(queued) // a header must not wait without its payload
	}
	return err
}

// WriteOwned writes a message without a copy, and changes b. The payload is
// b[MaxHeaderSize:]; the header is put before it. A client masks the payload in place.
// Queued frames are written first. ErrOpcode: not a text or binary message, or b is
// shorter than MaxHeaderSize.
func (w *Writer) WriteOwned(op Opcode, b []byte) error {
	switch {
	case op != Text && op != Binary || len(b) < MaxHeaderSize:
		return ErrOpcode
	case w.err != nil:
		return w.err
	}
	payload := b[MaxHeaderSize:]
	h := Header{Fin: true, Opcode: op, Length: uint64(len(payload))}
	if w.role == Client {
		h.Masked, h.Key = true, w.takeKeys().Next()
		mask.XOR(payload, h.Key)
	}
	b = b[MaxHeaderSize-h.Size():]
	AppendHeader(b[:0], h)
	if w.Queued() > 0 && w.vector() == nil {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return w.flush(b)
}

// Flush writes the queue with one call of Write.
//
// If the write fails before its first byte, the frames stay queued, and a later Flush can
// write them. If it fails later, the stream is cut inside a frame. Every later call then
// returns that error.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if w.Queued() == 0 {
		return nil
	}
	return w.flush(nil)
}

// Drop removes everything after the first n bytes of the queue. Those n bytes must end at
// a frame boundary.
func (w *Writer) Drop(n int) {
	w.end = w.start + min(n, w.Queued())
}

// DropFront removes the first n bytes of the queue, such as frames of AppendControl. They
// must end at a frame boundary.
func (w *Writer) DropFront(n int) {
	if w.start += min(n, w.Queued()); w.start == w.end && w.queue != nil {
		w.start, w.end = controlHeadroom, controlHeadroom
	}
}

// Release returns the memory of the queue and a client's supply of keys to their pools.
// It does nothing while frames are queued.
func (w *Writer) Release() {
	if w.Queued() != 0 {
		return
	}
	buffer.Put(w.queue)
	w.queue, w.start, w.end = nil, 0, 0
	if w.keys != nil {
		sources.Put(w.keys)
		w.keys = nil
	}
}

// sources lends supplies of keys. Each key is used once, by the Writer that holds its
// supply.
var sources = sync.Pool{New: func() any { return new(mask.Source) }}

// takeKeys returns a client's supply of keys. It takes one from the pool for the first
// frame, and for the first after Release.
func (w *Writer) takeKeys() *mask.Source {
	if w.keys == nil {
		w.keys = sources.Get().(*mask.Source)
	}
	return w.keys
}

// append queues one frame with the given first octet.
func (w *Writer) append(b0 byte, payload []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.queue == nil || len(w.queue.B)-w.end < MaxHeaderSize+len(payload) {
		w.room(MaxHeaderSize + len(payload))
	}
	w.end += w.put(w.queue.B[w.end:], b0, payload)
	return nil
}

// put writes one frame to the front of b and returns its length. b has room for the
// longest header and the payload. A client's frame of 200 B takes 32 ns: the key 9
// (crypto/rand 7 of these), the masked copy 8.
func (w *Writer) put(b []byte, b0 byte, payload []byte) int {
	n, size := 2, len(payload)
	_ = b[MaxHeaderSize-1]
	head := uint32(b0) | uint32(w.maskBit)<<8
	switch {
	case size < length16:
		binary.LittleEndian.PutUint16(b, uint16(head|uint32(size)<<8))
	case size <= 0xFFFF:
		binary.LittleEndian.PutUint32(b, head|length16<<8|uint32(bits.ReverseBytes16(uint16(size)))<<16)
		n = 4
	default:
		binary.LittleEndian.PutUint16(b, uint16(head|length64<<8))
		binary.BigEndian.PutUint64(b[2:], uint64(size))
		n = 10
	}
	keys := w.keys
	if keys == nil {
		if w.role != Client {
			return n + copy(b[n:], payload)
		}
		keys = w.takeKeys()
	}
	key := keys.Next()
	binary.LittleEndian.PutUint32(b[n:], uint32(key))
	mask.Copy(b[n+4:], payload, key)
	return n + 4 + size
}

// room makes room for n bytes at the end of the queue.
func (w *Writer) room(n int) {
	switch {
	case w.queue == nil:
		w.queue = buffer.Get(max(controlHeadroom+n, minQueue))
		w.start, w.end = controlHeadroom, controlHeadroom
	case len(w.queue.B)-w.end < n:
		w.queue = buffer.Grow(w.queue, w.end, w.end+n)
	}
}

// flush writes the queue and then more.
func (w *Writer) flush(more []byte) error {
	var n int64
	var err error
	queued := w.Queued()
	total := int64(queued + len(more))
	switch {
	case queued == 0:
		n, err = w.write(more)
	case len(more) == 0:
		n, err = w.write(w.queue.B[w.start:w.end])
	default:
		if w.pieces == nil {
			w.pieces = new([2][]byte)
		}
		*w.pieces = [2][]byte{w.queue.B[w.start:w.end], more}
		n, err = w.vector().WriteV(w.pieces[:])
		*w.pieces = [2][]byte{}
	}
	if err != nil || n != total {
		return w.failed(n, err)
	}
	w.start, w.end = controlHeadroom, controlHeadroom
	if w.queue != nil && len(w.queue.B) > keepQueue {
		w.Release()
	}
	return nil
}

// failed records a write that failed after n bytes. After the first byte nothing can
// follow.
func (w *Writer) failed(n int64, err error) error {
	if err == nil {
		err = io.ErrShortWrite
	}
	if n != 0 || err == io.ErrShortWrite {
		w.err = err
	}
	return err
}

func (w *Writer) write(b []byte) (int64, error) {
	n, err := w.dst.Write(b)
	return int64(n), err
}
