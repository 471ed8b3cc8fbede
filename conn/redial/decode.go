package redial

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/gzip"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// maxDecoded is the most memory that a session keeps for its next message.
const maxDecoded = 1 << 20

// ErrDecodedSize says that a message is longer than its limit after decoding.
var ErrDecodedSize = errors.New("redial: the message is longer than the limit when decoded")

// decode is Client.Decode with the session's memory.
func (s *Session) decode(m conn.Message) ([]byte, error) {
	data, err := s.c.Decode(s.decoded[:0], m)
	switch {
	case err != nil:
		return nil, &DecodeError{err}
	case cap(data) > maxDecoded:
		s.decoded = nil
	case !within(data, m.Data):
		s.decoded = data[:0]
	}
	return data[:len(data):len(data)], nil
}

// within reports whether a is a part of b.
func within(a, b []byte) bool {
	start, end := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(cap(b))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(a)))
	return at >= start && at-start <= end
}

// Gunzip returns a Client.Decode for feeds that send each message as a gzip member of its
// own (RFC 1952). Other messages are left unchanged. limit is the most bytes that a
// message may inflate to; 0 means frame.DefaultMaxMessage.
func Gunzip(limit int) func(dst []byte, m conn.Message) ([]byte, error) {
	if limit <= 0 {
		limit = frame.DefaultMaxMessage
	}
	inflaters := sync.Pool{New: func() any { return new(inflater) }}
	return func(dst []byte, m conn.Message) ([]byte, error) {
		if !bytes.HasPrefix(m.Data, []byte{0x1f, 0x8b}) {
			return m.Data, nil
		}
		f := inflaters.Get().(*inflater)
		defer inflaters.Put(f)
		return f.appendTo(dst, m.Data, limit)
	}
}

// inflater is the memory of gzip.
type inflater struct {
	src bytes.Reader
	z   gzip.Reader
}

// appendTo appends what src inflates to. dst grows with what has come, never by what src
// says of itself.
func (f *inflater) appendTo(dst, src []byte, limit int) ([]byte, error) {
	f.src.Reset(src)
	defer f.src.Reset(nil)
	if err := f.z.Reset(&f.src); err != nil {
		return nil, err
	}
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		room := min(cap(dst)-len(dst), limit+1-(len(dst)-start))
		n, err := f.z.Read(dst[len(dst) : len(dst)+room])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return nil, ErrDecodedSize
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
}
