package conn

import (
	"encoding/binary"
	"io"
	"math/bits"
	"net"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

const (
	tlsRecordHeader    = 5       // RFC 8446 §5.1: type, version, length
	minRecords         = 4 << 10 // the buffer a connection starts with
	shrinkRecordsAfter = 64      // reads in a row that left three quarters of it empty, after which it halves
)

// records stands under a tls.Conn and reads the socket in large pieces, where crypto/tls alone would read little more than a
// record at a time. It hands out one record after the other, never the beginning of the next, so that after each the tls.Conn
// holds no bytes: then it can wait for the next one with no buffer held.
type records struct {
	net.Conn
	sock *socket // nil: Conn.Read

	lent     *buffer.Buffer
	pos, end int // what is to be handed out
	size     int // of the buffer to take next
	max      int
	lowFills int
	err      error // of wait, for the next Read

	head    [tlsRecordHeader]byte // of the record being handed out
	headN   int
	left    int // bytes of its body
	noWait  bool
	counted readCounter
}

// underTLS returns what to give to tls.Client and tls.Server in the place of nc, so that the Conn made of the tls.Conn reads in
// large pieces.
func underTLS(nc net.Conn, cfg *Config) net.Conn {
	full := cfg.withDefaults()
	return &records{Conn: nc, sock: newSocket(nc, &full), size: minRecords, max: 1 << bits.Len(uint(max(full.ReadBuffer, minRecords)-1))}
}

// CloseWrite ends the outgoing half of the connection below, if it has one.
func (r *records) CloseWrite() error {
	if h, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Read returns the rest of the current record, or what has come of the next one.
func (r *records) Read(p []byte) (int, error) {
	if r.pos == r.end {
		if r.noWait {
			return 0, errNoWait
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := 0
	b := r.lent.B[r.pos:r.end]
	if r.headN < tlsRecordHeader {
		n = copy(r.head[r.headN:], b)
		n = copy(p, r.head[r.headN:r.headN+n])
		r.headN += n
		if r.headN == tlsRecordHeader {
			r.left = int(binary.BigEndian.Uint16(r.head[3:]))
		}
	}
	if r.headN == tlsRecordHeader {
		k := copy(p[n:], b[n:min(len(b), n+r.left)])
		r.left -= k
		n += k
		if r.left == 0 {
			r.headN = 0
		}
	}
	r.pos += n
	return n, nil
}

// errNoWait is temporary, or crypto/tls would keep it.
var errNoWait error = &deadlineError{"conn: no whole record is here"}

// whole reports whether the next record has come whole.
func (r *records) whole() bool {
	if r.headN != 0 || r.end-r.pos < tlsRecordHeader {
		return false
	}
	return r.end-r.pos-tlsRecordHeader >= int(binary.BigEndian.Uint16(r.lent.B[r.pos+3:]))
}

// empty reports whether neither this buffer nor the tls.Conn above holds bytes.
func (r *records) empty() bool { return r.pos == r.end && r.headN == 0 }

// wait waits for bytes, with no buffer held meanwhile. An error comes from the next Read.
func (r *records) wait() {
	if r.err == nil {
		if err := r.fill(); err != nil {
			r.err = err
		}
	}
}

func (r *records) fill() error {
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	if r.sock != nil {
		_, err := r.sock.read(r, nil)
		r.counted = r.sock.counted
		return err
	}
	for range maxEmptyReads {
		n, err := r.Conn.Read(r.SpaceIn(nil))
		r.counted.reads++
		if n > 0 {
			r.Filled(n)
			r.err = err
			return nil
		}
		if err != nil {
			r.Release()
			return err
		}
	}
	return io.ErrNoProgress
}

// SpaceIn, Filled and Release make r a sink. It is filled only when it is empty.
func (r *records) SpaceIn([]byte) []byte {
	if r.lent != nil && len(r.lent.B) != r.size {
		r.Release()
	}
	if r.lent == nil {
		r.lent = buffer.Get(r.size)
	}
	return r.lent.B
}

// Filled tells how many bytes have come.
func (r *records) Filled(n int) {
	r.pos, r.end = 0, n
	switch {
	case n == len(r.lent.B):
		r.size = min(2*r.size, r.max)
		r.lowFills = 0
	case n > len(r.lent.B)/4:
		r.lowFills = 0
	default:
		if r.lowFills++; r.lowFills == shrinkRecordsAfter {
			r.size = max(r.size/2, minRecords)
			r.lowFills = 0
		}
	}
}

// Release gives the buffer back.
func (r *records) Release() {
	buffer.Put(r.lent)
	r.lent, r.pos, r.end = nil, 0, 0
}

// Write writes to the connection below.
func (r *records) Write(p []byte) (int, error) {
	if r.sock != nil {
		return r.sock.write(p, nil, false)
	}
	return r.Conn.Write(p)
}

var _ sink = (*frame.Reader)(nil)
