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
	minRecords         = 4 << 10 // the buffer a connection starts with
	minRecordsSpace    = 1 << 10 // with less room behind the beginning of a record, the buffer grows
	leastRecords       = 256     // a buffer of up to twice as much stays, whatever it holds
	shrinkRecordsAfter = 64      // reads in a row that left three quarters of it empty, after which it halves
)

// Records stands under a tls.Conn and reads the socket in large pieces, where crypto/tls
// alone would read little more than a record at a time.
//
// It hands out whole records, as many as crypto/tls has room for, so that a tls.Conn never waits in the middle of one: what has come
// of a record that is not whole stays here. crypto/tls allocates for each call of Read, and has room for two or three records of the
// handshake's or the feed's largest (go test -run TestAllocsUnderTLS -v ./conn).
type Records struct {
	net.Conn
	sock *socket // nil: Conn.Read

	above *tls.Conn // and what Fill reads from it goes to sink; nil before there is a Conn
	sink  Sink

	lent     *buffer.Buffer
	pos, end int // what is to be handed out
	size     int // of the buffer to take next
	max      int
	lowFills int
	run      int   // bytes of the last fills that filled the buffer
	err      error // of the last fill: due when no whole record is left

	part   int  // length of a record whose beginning was handed out, because it did not fit
	left   int  // of it
	noWait bool // Read does not wait, but returns errNoWait
	now    nowRead
	// held is how much data the tls.Conn may still have of what it was given: never less than it has. Records that are not
	// data, and padding, make it more, until crypto/tls has used them up and calls Read.
	held     int
	overhead int  // what a record has at least beside data and header
	shaken   bool // overhead is known

	reads    atomic.Uint64 // by Conn.Read
	received atomic.Uint64 // bytes of the socket
	writes   atomic.Uint64 // of the connection below
	pushing  atomic.Bool   // it is being written to, where it is no socket
	// Hear, if not nil, hears all that comes. It is for the handshake.
	Hear func([]byte)

	gathering gathering

	alone bool        // Read hands out one record at a time
	own   *ownRecords // nil where Dialer.OpenRecords is off
}

// nowRead says how wait may read the connection below.
type nowRead uint8

const (
	readWaits nowRead = iota
	readOnce          // once, what is here: see secure.FillNow
	readNever
)

// UnderTLS returns what to give to tls.Client and tls.Server in the place of nc, so that
// the Transport of the tls.Conn reads in large pieces. The buffer grows to twice
// Options.ReadBuffer: of 64 KiB the rest of a record that has not come whole is up to a
// quarter, which made 0.0102 allocations of crypto/tls's a message (tickwire feed -tls),
// and 128 KiB make 0.0085.
func UnderTLS(nc net.Conn, o Options) *Records {
	r := &Records{Conn: nc, size: minRecords, max: 2 << bits.Len(uint(max(o.ReadBuffer, minRecords)-1))}
	r.sock = newSocket(nc, o, r)
	return r
}

// NetConn returns the connection below.
func (r *Records) NetConn() net.Conn { return r.Conn }

// CloseWrite ends the outgoing half of the connection below, if it has one.
func (r *Records) CloseWrite() error {
	if h, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Read returns as many whole records as fit p, up to one that is not data and comes behind others: see odd. It returns the
// beginning of one too where nothing more will come, where one alone is too long for p, and where that has crypto/tls make more
// room: its bytes.Buffer doubles, instead of moving what it holds to the front, if that and what is missing are more than half of it.
func (r *Records) Read(p []byte) (int, error) {
	if r.Opens() {
		return r.own.give(p)
	}
	r.held = 0 // crypto/tls reads when it has no whole record
	if r.noWait && r.odd(0) {
		return 0, errNoWait
	}
	if r.left == 0 && !r.whole() {
		if r.noWait && r.err == nil {
			return 0, errNoWait
		}
		if err := r.wait(); err != nil {
			return 0, err
		}
		if !r.whole() {
			if r.pos == r.end || !r.cut() {
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
	n := min(r.left, len(p))
	if r.left > 0 {
		room += r.part - r.left
		if r.left -= n; r.left == 0 {
			r.held += r.dataIn(r.part)
		}
	}
	for r.left == 0 && n < len(p) {
		k := r.span(r.pos + n)
		if k == 0 || n > 0 && (r.alone || r.odd(n)) {
			break
		}
		if r.alone && k != tlsRecordHeader+int(binary.BigEndian.Uint16(r.lent.B[r.pos+3:])) {
			r.own.strayed = true // no record of TLS 1.3: its header is not protected during the handshake
		}
		if r.odd(n) {
			r.overhead = 0 // a renegotiation may bring another cipher suite
		}
		if n+k > len(p) {
			if n == 0 || 2*(k+bytes.MinRead) > room {
				r.part, r.left = k, n+k-len(p)
				n = len(p)
			}
			break
		}
		n += k
		r.held += r.dataIn(k)
	}
	copy(p, r.lent.B[r.pos:r.pos+n])
	r.pos += n
	return n, nil
}

// errNoWait is temporary, or crypto/tls would keep it.
var errNoWait error = noWaitError{}

type noWaitError struct{}

func (noWaitError) Error() string        { return "conn: no whole record is here" }
func (noWaitError) Timeout() bool        { return true }
func (noWaitError) Temporary() bool      { return true }
func (noWaitError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// span returns the length of the record that begins at lent.B[at], 0 if it has not come whole. What crypto/tls refuses at its
// header needs to be no longer than that.
func (r *Records) span(at int) int {
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

// shake sees to it that the handshake of t, the tls.Conn above, is done: that must wait for what comes.
func (r *Records) shake(t *tls.Conn) error {
	if err := t.Handshake(); err != nil {
		return err
	}
	r.shaken = true
	switch s := t.ConnectionState(); {
	case s.Version == tls.VersionTLS13:
		r.overhead = 17 // RFC 8446 §5.2: the type, and a tag of 16 bytes with all cipher suites of crypto/tls
	case strings.Contains(tls.CipherSuiteName(s.CipherSuite), "_GCM_"):
		r.overhead = 24 // RFC 5288 §3
	case strings.Contains(tls.CipherSuiteName(s.CipherSuite), "_CHACHA20_"):
		r.overhead = 16 // RFC 7905 §2
	}
	return nil
}

// odd reports whether the record behind the next n bytes is not data, which up to TLS 1.2 shows: an alert, or a renegotiation, for
// which crypto/tls must wait. It looks behind what it returns for an alert, too.
func (r *Records) odd(n int) bool {
	return r.left == 0 && r.pos+n < r.end && r.lent.B[r.pos+n] != recordData
}

// dataIn returns how much data a record of n bytes holds at most.
func (r *Records) dataIn(n int) int { return max(n-tlsRecordHeader-r.overhead, 0) }

// Buffer returns the size of the buffer that is held, 0 if none is.
func (r *Records) Buffer() int {
	if r.lent == nil {
		return 0
	}
	return len(r.lent.B)
}

// whole reports whether the next record has come whole.
func (r *Records) whole() bool { return r.span(r.pos) > 0 }

// ready reports whether the tls.Conn may have data that need no more bytes of the socket.
func (r *Records) ready() bool {
	return r.held > 0 || r.left > 0 || r.Opens() && (r.own.data > 0 || r.own.pending > 0) || r.whole()
}

// cut reports whether an error other than a passed deadline has come: nothing follows what is here.
func (r *Records) cut() bool { return r.err != nil && !errors.Is(r.err, os.ErrDeadlineExceeded) }

// readFrom is t.Read, of the tls.Conn above, without waiting but for what odd tells of.
func (r *Records) readFrom(t *tls.Conn, p []byte) (int, error) {
	r.noWait = r.held > 0 || !r.odd(0)
	n, err := t.Read(p)
	r.noWait = false
	r.held = max(r.held-n, 0)
	return n, err
}

// wait waits until a record has come whole, with no buffer held while nothing is there, or returns the error of a deadline that
// has passed. Any other error is left to Read, and to what crypto/tls makes of it.
func (r *Records) wait() error {
	for !r.whole() && r.err == nil {
		if r.now == readNever {
			return errNoWait
		}
		if err := r.fill(); err == ErrNothing {
			return errNoWait
		} else if err != nil {
			r.err = err
		}
	}
	if !r.whole() && !r.cut() {
		err := r.err
		r.err = nil
		return err
	}
	return nil
}

// fill reads once.
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

// SpaceIn, Refill, Filled and Release make r a sink. It is filled only when no whole record is there; the beginning of one moves to the front.
func (r *Records) SpaceIn([]byte) []byte { return r.space(false) }

// space returns room behind the beginning of a record. If it is held while bytes are waited for it grows with what has come, as
// that of frame.Reader does.
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

// move takes a buffer of another size for the used bytes.
func (r *Records) move(size, used int) {
	old := r.lent
	r.lent = buffer.Get(size)
	copy(r.lent.B, old.B[r.pos:r.end])
	buffer.Put(old)
	r.pos, r.end = 0, used
}

// Filled tells how many bytes have come.
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

// Refill is SpaceIn.
func (r *Records) Refill() []byte { return r.space(false) }

// WriteWaits is told to the Conn.
func (r *Records) WriteWaits() {
	if r.sink != nil {
		r.sink.WriteWaits()
	}
}

// Release gives the buffer back if it holds nothing, and otherwise what is more than twice what it holds.
func (r *Records) Release() {
	switch used := r.end - r.pos; {
	case used == 0:
		r.drop()
	case len(r.lent.B) > 2*max(used, leastRecords):
		r.move(used, used)
	}
}

// drop gives the buffer back.
func (r *Records) drop() {
	buffer.Put(r.lent)
	r.lent, r.pos, r.end, r.left = nil, 0, 0, 0
}

// finish is drop for a connection that has ended.
func (r *Records) finish() {
	r.drop()
	if r.own != nil {
		r.own.end()
	}
}
