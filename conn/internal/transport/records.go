package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn/internal/tls13"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

const (
	recordData         = 23               // RFC 8446 §5.1: application_data
	tlsRecordHeader    = tls13.HeaderSize // RFC 8446 §5.1: type, version, length
	maxRecordBody      = 16<<10 + 2<<10   // RFC 5246 §6.2.3; crypto/tls refuses a longer one at its header
	maxRecord          = tlsRecordHeader + maxRecordBody
	minRecords         = 4 << 10 // the initial buffer size
	minRecordsSpace    = 1 << 10 // the buffer grows if less room is left after a partial record
	leastRecords       = 256     // a buffer of up to twice this size is kept
	shrinkRecordsAfter = 64      // the buffer halves after this many reads in a row that left three quarters empty
)

// Records is the connection below a tls.Conn. It reads the socket in large pieces, where
// crypto/tls alone would read little more than a record at a time.
//
// It hands out whole records, as many as crypto/tls has room for, and keeps a partial
// record. So a tls.Conn never waits in the middle of a record. crypto/tls allocates on
// each call of Read. It has room for two or three records of the largest size seen (go
// test -run TestAllocsUnderTLS -v ./conn).
type Records struct {
	net.Conn
	sock *socket // nil: read with Conn.Read

	above *tls.Conn // Fill reads from it into sink; nil until there is a Conn
	sink  Sink

	lent     *buffer.Buffer
	pos, end int // lent.B[pos:end] is to be handed out
	size     int // of the next buffer
	max      int
	lowFills int
	run      int   // bytes of the last fills, if each filled the buffer
	err      error // of the last fill; returned when no whole record is left

	partialLen  int  // length of a record that was handed out in part because it did not fit
	partialLeft int  // bytes of that record that are still to be handed out
	noWait      bool // Read returns errNoWait instead of waiting
	now         nowRead
	// plaintextLeft bounds the plaintext that the tls.Conn may still have from what it
	// was given. It is never too low. Records that are not data, and padding, make it too
	// high until crypto/tls has used them up and calls Read.
	plaintextLeft int
	overhead      int // the least that a record has besides data and header
	overheadKnown bool

	reads    atomic.Uint64 // calls of Conn.Read
	received atomic.Uint64 // bytes read from the socket
	writes   atomic.Uint64 // writes to the connection below
	writing  atomic.Bool   // a write is in progress, to a connection that is not a socket
	// Hear, if not nil, is called with all bytes that arrive during the handshake.
	Hear func([]byte)

	gathering gathering

	oneAtATime bool        // Read hands out one record at a time
	own        *ownRecords // nil where Dialer.OpenRecords is off
}

// nowRead says how often wait may read the connection below.
type nowRead uint8

const (
	readWaits nowRead = iota
	readOnce          // once, without waiting: see secure.FillNow
	readNever
)

// UnderTLS returns the connection to give to tls.Client or tls.Server instead of nc. The
// Transport of the tls.Conn then reads in large pieces.
//
// The buffer grows to twice Options.ReadBuffer. A partial record takes up to a quarter of
// 64 KiB. crypto/tls then allocates 0.0102 times a message, and 0.0085 times with 128 KiB
// (tickwire feed -tls).
func UnderTLS(nc net.Conn, o Options) *Records {
	r := &Records{Conn: nc, size: minRecords, max: 2 << bits.Len(uint(max(o.ReadBuffer, minRecords)-1))}
	r.sock = newSocket(nc, o, r)
	return r
}

// NetConn returns the connection below.
func (r *Records) NetConn() net.Conn { return r.Conn }

// CloseWrite closes the outgoing half of the connection below, if that has one.
func (r *Records) CloseWrite() error {
	if h, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Read returns as many whole records as fit into p. It stops before a record that is not
// data: see odd.
//
// It returns part of a record in three cases: nothing more will come; one record alone is
// too long for p; or the part makes crypto/tls grow its bytes.Buffer. The buffer doubles
// if its content and the missing bytes are more than half of it. Otherwise it moves its
// content to the front.
func (r *Records) Read(p []byte) (int, error) {
	if r.Opens() {
		return r.own.readGiven(p)
	}
	r.plaintextLeft = 0 // crypto/tls reads only when it has no whole record
	if r.noWait && r.nonData(0) {
		return 0, errNoWait
	}
	if r.partialLeft == 0 && !r.hasRecord() {
		if r.noWait && r.err == nil {
			return 0, errNoWait
		}
		if err := r.wait(); err != nil {
			return 0, err
		}
		if !r.hasRecord() {
			if r.pos == r.end || !r.hasFinalErr() {
				err := r.err
				r.err = nil
				return 0, err
			}
			n := copy(p, r.lent.B[r.pos:r.end])
			r.pos += n
			return n, nil
		}
	}
	room := len(p)
	n := min(r.partialLeft, len(p))
	if r.partialLeft > 0 {
		room += r.partialLen - r.partialLeft
		if r.partialLeft -= n; r.partialLeft == 0 {
			r.plaintextLeft += r.dataIn(r.partialLen)
		}
	}
	for r.partialLeft == 0 && n < len(p) {
		k := r.recordLen(r.pos + n)
		if k == 0 || n > 0 && (r.oneAtATime || r.nonData(n)) {
			break
		}
		if r.oneAtATime && k != tlsRecordHeader+int(binary.BigEndian.Uint16(r.lent.B[r.pos+3:])) {
			r.own.readAhead = true // not a record of TLS 1.3, whose header is not protected during the handshake
		}
		if r.nonData(n) {
			r.overhead = 0 // a renegotiation may choose another cipher suite
		}
		if n+k > len(p) {
			if n == 0 || 2*(k+bytes.MinRead) > room {
				r.partialLen, r.partialLeft = k, n+k-len(p)
				n = len(p)
			}
			break
		}
		n += k
		r.plaintextLeft += r.dataIn(k)
	}
	copy(p, r.lent.B[r.pos:r.pos+n])
	r.pos += n
	return n, nil
}

// errNoWait is temporary: crypto/tls keeps any other error.
var errNoWait error = noWaitError{}

type noWaitError struct{}

func (noWaitError) Error() string        { return "conn: no whole record is here" }
func (noWaitError) Timeout() bool        { return true }
func (noWaitError) Temporary() bool      { return true }
func (noWaitError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// recordLen returns the length of the record at lent.B[at], or 0 if the record is not
// whole. A record that crypto/tls refuses at its header counts as whole once the header
// is here.
func (r *Records) recordLen(at int) int {
	if r.end-at < tlsRecordHeader {
		return 0
	}
	b := r.lent.B[at:r.end]
	if r.Opens() {
		return tls13.Span(b)
	}
	n := tlsRecordHeader + int(binary.BigEndian.Uint16(b[3:]))
	switch {
	case b[0]-20 > 4 || b[1] != 3 || n > maxRecord:
		return len(b)
	case n > len(b):
		return 0
	}
	return n
}

// handshake completes the handshake of t, the tls.Conn above. That may wait for bytes.
func (r *Records) handshake(t *tls.Conn) error {
	if err := t.Handshake(); err != nil {
		return err
	}
	r.overheadKnown = true
	switch s := t.ConnectionState(); {
	case s.Version == tls.VersionTLS13:
		r.overhead = 17 // RFC 8446 §5.2: the type, and the 16-byte tag of every cipher suite of crypto/tls
	case strings.Contains(tls.CipherSuiteName(s.CipherSuite), "_GCM_"):
		r.overhead = 24 // RFC 5288 §3
	case strings.Contains(tls.CipherSuiteName(s.CipherSuite), "_CHACHA20_"):
		r.overhead = 16 // RFC 7905 §2
	}
	return nil
}

// nonData reports whether the record after the next n bytes is not data: an alert, or a
// renegotiation, for which crypto/tls must wait. Only records up to TLS 1.2 show their
// type. crypto/tls also looks for an alert after the data that it returns.
func (r *Records) nonData(n int) bool {
	return r.partialLeft == 0 && r.pos+n < r.end && r.lent.B[r.pos+n] != recordData
}

// dataIn returns the most data that a record of n bytes can hold.
func (r *Records) dataIn(n int) int { return max(n-tlsRecordHeader-r.overhead, 0) }

// Buffer returns the size of the read buffer, or 0 if there is none.
func (r *Records) Buffer() int {
	if r.lent == nil {
		return 0
	}
	return len(r.lent.B)
}

// hasRecord reports whether the next record is whole.
func (r *Records) hasRecord() bool { return r.recordLen(r.pos) > 0 }

// ready reports whether the tls.Conn may have data without another read of the socket.
func (r *Records) ready() bool {
	return r.plaintextLeft > 0 || r.partialLeft > 0 || r.Opens() && (r.own.data > 0 || r.own.pending > 0) || r.hasRecord()
}

// hasFinalErr reports whether the last read failed for good, that is, with an error other
// than a deadline.
func (r *Records) hasFinalErr() bool {
	return r.err != nil && !errors.Is(r.err, os.ErrDeadlineExceeded)
}

// readFrom is t.Read, of the tls.Conn above. It waits only for records that odd reports.
func (r *Records) readFrom(t *tls.Conn, p []byte) (int, error) {
	r.noWait = r.plaintextLeft > 0 || !r.nonData(0)
	n, err := t.Read(p)
	r.noWait = false
	r.plaintextLeft = max(r.plaintextLeft-n, 0)
	return n, err
}

// wait waits for a whole record. While nothing is there it holds no buffer. It returns
// only the error of a deadline that has passed: Read returns any other, so that
// crypto/tls sees it.
func (r *Records) wait() error {
	for !r.hasRecord() && r.err == nil {
		if r.now == readNever {
			return errNoWait
		}
		if err := r.fill(); err == ErrNothing {
			return errNoWait
		} else if err != nil {
			r.err = err
		}
	}
	if !r.hasRecord() && !r.hasFinalErr() {
		err := r.err
		r.err = nil
		return err
	}
	return nil
}

// fill reads the connection below once.
func (r *Records) fill() error {
	switch {
	case r.now == readOnce:
		r.now = readNever
		_, err := r.sock.FillNow(nil)
		return err
	case r.sock != nil:
		_, err := r.sock.Fill(nil)
		return err
	}
	for range MaxEmptyReads {
		space := r.space(true)
		n, err := r.Conn.Read(space)
		r.reads.Add(1)
		if n < 0 || n > len(space) {
			return ErrReadCount
		}
		if n > 0 {
			r.Filled(n)
			return err
		}
		if err != nil {
			r.Release()
			return err
		}
	}
	return io.ErrNoProgress
}

// SpaceIn, Refill, Filled and Release make r a Sink. Fill calls them only when no whole
// record is there. SpaceIn moves a partial record to the front.
func (r *Records) SpaceIn([]byte) []byte { return r.space(false) }

// space returns room after a partial record. If waits is true the room is held during the
// wait, so it grows only with the bytes that come, as in frame.Reader.
func (r *Records) space(waits bool) []byte {
	used := r.end - r.pos
	size, least := r.size, minRecordsSpace
	if used > minRecords || waits {
		least = 1
		if waits || r.run == 0 {
			size = min(size, max(minRecords, 1<<bits.Len(uint(max(used, r.run)))))
		}
	}
	for size < used+least {
		size *= 2
	}
	switch {
	case r.lent == nil:
		r.lent = buffer.Get(size)
	case len(r.lent.B) != size:
		r.move(size, used)
	case r.pos > 0:
		copy(r.lent.B, r.lent.B[r.pos:r.end])
	}
	r.pos, r.end = 0, used
	return r.lent.B[used:]
}

// move copies the used bytes into a buffer of another size.
func (r *Records) move(size, used int) {
	old := r.lent
	r.lent = buffer.Get(size)
	copy(r.lent.B, old.B[r.pos:r.end])
	buffer.Put(old)
	r.pos, r.end = 0, used
}

// Filled adds n bytes to the buffer.
func (r *Records) Filled(n int) {
	r.end += n
	r.received.Add(uint64(n))
	if r.Hear != nil {
		r.Hear(r.lent.B[r.end-n : r.end])
	}
	full := r.end == len(r.lent.B)
	if r.run = min(r.run+n, 1<<29); !full {
		r.run = 0
	}
	switch {
	case full:
		r.size = max(r.size, min(2*len(r.lent.B), r.max))
		r.lowFills = 0
	case n > r.size/4:
		r.lowFills = 0
	default:
		if r.lowFills++; r.lowFills == shrinkRecordsAfter {
			r.size = max(r.size/2, minRecords)
			r.lowFills = 0
		}
	}
}

// Refill returns the same room as SpaceIn.
func (r *Records) Refill() []byte { return r.space(false) }

// WriteWaits passes the call to the sink.
func (r *Records) WriteWaits() {
	if r.sink != nil {
		r.sink.WriteWaits()
	}
}

// Release returns an empty buffer to its pool. A buffer more than twice as large as its
// content is replaced by a smaller one.
func (r *Records) Release() {
	switch used := r.end - r.pos; {
	case used == 0:
		r.freeBuffer()
	case len(r.lent.B) > 2*max(used, leastRecords):
		r.move(used, used)
	}
}

// freeBuffer returns the buffer to its pool.
func (r *Records) freeBuffer() {
	buffer.Put(r.lent)
	r.lent, r.pos, r.end, r.partialLeft = nil, 0, 0, 0
}

// free frees everything, after the connection has ended.
func (r *Records) free() {
	r.freeBuffer()
	if r.own != nil {
		r.own.end()
	}
}
