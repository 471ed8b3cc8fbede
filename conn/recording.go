package conn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"
)

// A recording is what connections received, byte for byte as it came out of TLS, with the
// time of each read. The format:
//
//	"tickwire recording 1\n", then records, each of
//	kind        1 byte: 1 begin, 2 data, 3 gap, 4 end of a connection
//	zero        3 bytes
//	connection  4 bytes: its number in the file, from 1, without holes, in the order
//	            of the begin records
//	time        8 bytes: Unix time in nanoseconds
//	length      4 bytes: of what follows the header
//	checksum    4 bytes: CRC-32C of what follows the header
//	and length bytes: in a data record the bytes read, in a begin record lines that end
//	in a line feed
//
// The lines of a begin record are "Role: client" or "Role: server", for the side that
// received, and the header lines of the handshake's answer with the subprotocol and the
// compression, if there are any. client_max_window_bits is left out: it says nothing of
// what was received. Numbers are little-endian.
//
// The data of a connection is everything that it received from its beginning up to its
// gap, to its end, or to the end of the file:
//
//   - After a gap there is no data of that connection, because the next frame boundary is
//     unknown. Only its end may follow.
//   - After its end there is nothing of that connection.
//   - A connection with neither was open when the recording ended, by Close or because
//     the writer failed.
//
// A connection that began when the Recorder had no space has no records. A file that ends
// within a record was cut, because the writer failed or the program was killed. The
// records before it are whole.
const recordingMagic = "tickwire recording 1\n"

const recordHeader = 24

// recordsOwed is the room that a connection keeps from its beginning to its end: for a
// gap and for the end.
const recordsOwed = 2 * recordHeader

// RecordKind is the kind of a record.
type RecordKind uint8

// The kinds of records.
const (
	RecordBegin RecordKind = 1 + iota // a connection begins
	RecordData                        // bytes came
	RecordGap                         // from here on bytes of this connection are missing
	RecordEnd                         // the connection ended
)

// DefaultRecorderBuffer is how many bytes a Recorder holds for a slow writer.
const DefaultRecorderBuffer = 4 << 20

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrRecording is a file that is not a recording, or is damaged. One that was cut
	// matches io.ErrUnexpectedEOF too.
	ErrRecording = errors.New("conn: not a recording, or a damaged one")

	errNoRecorder = errors.New("conn: a Recorder that NewRecorder has not made")
)

// Recorder writes what connections receive (Config.Recorder) to a file or other writer,
// in its own goroutine. It never delays a connection: when its buffer is full it drops
// bytes, and counts them. It can serve many connections at once.
type Recorder struct {
	mu          sync.Mutex
	pending     []byte // records that the goroutine has not taken
	writing     int    // bytes that it has
	reserved    int    // for gaps and ends of the connections that have begun
	limit       int
	connections uint32
	dropped     uint64
	err         error
	closed      bool

	work   chan struct{}
	done   chan struct{}
	failed chan struct{} // closed when err is set
}

// NewRecorder returns a Recorder that writes to w, and holds at most buffer bytes,
// including those being written. 0 means DefaultRecorderBuffer. Each open connection
// takes 48 of them, for its gap and its end. A connection that begins when there is no
// space is not recorded. Close the Recorder when the connections have ended. NewRecorder
// panics if w is nil. A panic of w counts as a write error.
func NewRecorder(w io.Writer, buffer int) *Recorder {
	if w == nil {
		panic("conn: NewRecorder without a writer")
	}
	if buffer <= 0 {
		buffer = DefaultRecorderBuffer
	}
	r := &Recorder{limit: buffer, work: make(chan struct{}, 1), done: make(chan struct{}), failed: make(chan struct{})}
	r.pending = append(r.pending, recordingMagic...)
	r.work <- struct{}{}
	go r.write(w)
	return r
}

// write is the goroutine: it takes all that is pending and writes it, until Close or an
// error.
func (r *Recorder) write(w io.Writer) {
	defer close(r.done)
	var taken []byte
	magic := len(recordingMagic) // of what is written next, the bytes that are no records
	for range r.work {
		r.mu.Lock()
		if cap(taken) > keepsRecords && cap(taken) > 4*len(r.pending) {
			taken = nil // the memory of a rush is not kept
		}
		taken, r.pending = r.pending, taken[:0]
		r.writing = len(taken)
		closed := r.closed
		r.mu.Unlock()
		n, err := 0, error(nil)
		if len(taken) > 0 {
			n, err = writeRecords(w, taken)
		}
		r.mu.Lock()
		r.writing = 0
		if err != nil {
			r.fail(err, taken[magic:], n-magic)
		}
		r.mu.Unlock()
		if closed || err != nil {
			return
		}
		magic = 0
	}
}

// keepsRecords is how large the memory may be that the goroutine keeps when little comes.
const keepsRecords = 64 << 10

// writeRecords is w.Write, which may break its contract or panic.
func writeRecords(w io.Writer, b []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("conn: the Recorder's writer panicked: %v", v)
		}
	}()
	n, err = w.Write(b)
	n = min(max(n, 0), len(b))
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// fail ends the recording: of the records taken, n bytes were written. The caller holds
// r.mu.
func (r *Recorder) fail(err error, taken []byte, n int) {
	r.dropped += dataIn(taken, n) + dataIn(r.pending, 0)
	r.pending, r.reserved = nil, 0
	r.err = err
	close(r.failed)
}

// dataIn adds up the data of the records in b that end after the first n bytes.
func dataIn(b []byte, n int) (sum uint64) {
	for at := 0; at < len(b); {
		kind, length := RecordKind(b[at]), int(binary.LittleEndian.Uint32(b[at+16:]))
		if at += recordHeader + length; kind == RecordData && at > n {
			sum += uint64(length)
		}
	}
	return sum
}

// Err returns the first write error, or nil. Nothing is recorded after it.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Failed returns a channel that is closed when a write fails. Err then returns why.
func (r *Recorder) Failed() <-chan struct{} { return r.failed }

// Close writes what is pending, waits until that is done, and returns the first write
// error. Nothing is recorded afterwards. Connections that are still open have no end in
// the recording.
func (r *Recorder) Close() error {
	if r.work == nil {
		return errNoRecorder
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	<-r.done
	return r.Err()
}

// Dropped returns how many received bytes were not recorded: because there was no space,
// because a write failed, or because they came after the end of the connection.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

func (r *Recorder) wake() {
	select {
	case r.work <- struct{}{}:
	default:
	}
}

// connRecorder is the recording of one connection. The reading goroutine writes to it;
// the goroutine that ends the connection ends it.
type connRecorder struct {
	r      *Recorder
	number uint32 // 0: it is not recorded
	owed   int    // under r.mu: of r.reserved, what is this connection's
	gapped bool   // likewise: bytes are missing
	ended  bool   // likewise: nothing follows a connection's end, though a read in progress may still bring bytes
}

// begin starts a connection; about are the lines of its begin record.
func (r *Recorder) begin(about string) *connRecorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &connRecorder{r: r}
	if r.stopped() || !r.fits(recordHeader+len(about)+recordsOwed) {
		t.gapped = true
		return t
	}
	r.connections++
	t.number, t.owed = r.connections, recordsOwed
	r.reserved += t.owed
	r.append(RecordBegin, t.number, time.Now(), []byte(about))
	return t
}

// stopped reports that nothing is recorded any more. The caller holds r.mu.
func (r *Recorder) stopped() bool { return r.closed || r.err != nil }

// fits reports whether n more bytes can be held. The caller holds r.mu.
func (r *Recorder) fits(n int) bool { return n <= r.limit-r.reserved-r.writing-len(r.pending) }

// data records b, or a gap.
func (t *connRecorder) data(at time.Time, b []byte) {
	r := t.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if !t.ended && !t.gapped && !r.stopped() {
		if r.fits(recordHeader + len(b)) {
			r.append(RecordData, t.number, at, b)
			return
		}
		t.settle(recordHeader)
		r.append(RecordGap, t.number, at, nil)
	}
	t.gapped = true
	r.dropped += uint64(len(b))
}

// end records the end.
func (t *connRecorder) end(at time.Time) {
	r := t.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if !t.ended && t.number > 0 && !r.stopped() {
		t.settle(t.owed)
		r.append(RecordEnd, t.number, at, nil)
	}
	t.ended = true
}

// settle gives room back that a record of the connection now takes, or that none will.
// The caller holds r.mu.
func (t *connRecorder) settle(n int) {
	t.owed -= n
	t.r.reserved -= n
}

// append adds a record, for which there is room. The caller holds r.mu.
func (r *Recorder) append(kind RecordKind, number uint32, at time.Time, b []byte) {
	if need := len(r.pending) + recordHeader + len(b); need > cap(r.pending) { // append would grow it past the limit
		grown := make([]byte, len(r.pending), max(min(2*cap(r.pending), r.limit), need))
		copy(grown, r.pending)
		r.pending = grown
	}
	le := binary.LittleEndian
	r.pending = append(r.pending, byte(kind), 0, 0, 0)
	r.pending = le.AppendUint32(r.pending, number)
	r.pending = le.AppendUint64(r.pending, uint64(at.UnixNano()))
	r.pending = le.AppendUint32(r.pending, uint32(len(b)))
	r.pending = le.AppendUint32(r.pending, crc32.Checksum(b, castagnoli))
	r.pending = append(r.pending, b...)
	r.wake()
}

// startRecording begins the recording of the connection; early is what came with the
// handshake.
func (c *Conn) startRecording(early []byte) {
	if c.cfg.Recorder == nil {
		return
	}
	about := fmt.Appendf(nil, "Role: %v\n", c.role)
	if c.subprotocol != "" {
		about = fmt.Appendf(about, "Sec-WebSocket-Protocol: %s\n", c.subprotocol)
	}
	if p, ok := c.Compression(); ok {
		about = append(about, "Sec-WebSocket-Extensions: permessage-deflate"...)
		if p.ServerNoContextTakeover {
			about = append(about, "; server_no_context_takeover"...)
		}
		if p.ClientNoContextTakeover {
			about = append(about, "; client_no_context_takeover"...)
		}
		about = fmt.Appendf(about, "; server_max_window_bits=%d\n", p.ServerMaxWindowBits)
	}
	c.recorder = c.cfg.Recorder.begin(string(about))
	if len(early) > 0 {
		c.recorder.data(time.Now(), early)
	}
}

func (c *Conn) endRecording() {
	if c.recorder != nil {
		c.recorder.end(time.Now())
	}
}

// record keeps the n bytes that the last fill has brought.
func (c *Conn) record(n int) { c.recorder.data(c.receivedAt(), c.r.Latest(n)) }

// receivedAt is the time of the last read: the kernel's if it tells.
func (c *Conn) receivedAt() time.Time {
	if i := c.transport.Info(); i != nil && !i.Kernel.IsZero() {
		return i.Kernel
	}
	return time.Now()
}

// Record is one record of a recording.
type Record struct {
	Kind       RecordKind // what Data is
	Connection uint32     // from 1
	Time       time.Time  // when it was read, written, opened or closed
	Data       []byte     // a view, valid until the next record is read
}

// Recording reads what a Recorder wrote.
type Recording struct {
	r    *bufio.Reader
	data []byte
}

// ReadRecording returns the recording in r, or ErrRecording if there is none. Errors of r
// are wrapped by those of ReadRecording and Next.
func ReadRecording(r io.Reader) (*Recording, error) {
	if r == nil {
		return nil, fmt.Errorf("%w: there is no reader", ErrRecording)
	}
	b := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(recordingMagic))
	switch _, err := io.ReadFull(b, magic); {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("conn: reading a recording: %w", err)
	case err != nil || string(magic) != recordingMagic:
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrRecording, recordingMagic)
	}
	return &Recording{r: b}, nil
}

// within is the error of a read that did not bring the whole of a record.
func within(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it is cut within a record: %w", ErrRecording, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("conn: reading a recording: %w", err)
}

// Next returns the next record. It returns io.EOF after the last one, and an error that
// matches ErrRecording if the file is damaged or truncated.
func (r *Recording) Next() (Record, error) {
	var h [recordHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		if err == io.EOF {
			return Record{}, err
		}
		return Record{}, within(err)
	}
	le := binary.LittleEndian
	rec := Record{
		Kind:       RecordKind(h[0]),
		Connection: le.Uint32(h[4:]),
		Time:       time.Unix(0, int64(le.Uint64(h[8:]))),
	}
	n := int64(le.Uint32(h[16:]))
	if rec.Kind < RecordBegin || rec.Kind > RecordEnd || h[1]|h[2]|h[3] != 0 {
		return Record{}, fmt.Errorf("%w: record of kind %d", ErrRecording, h[0])
	}
	// The memory grows with what is there, not with what the header claims.
	r.data = r.data[:0]
	for int64(len(r.data)) < n {
		step := int(min(n-int64(len(r.data)), 64<<10))
		at := len(r.data)
		r.data = append(r.data, make([]byte, step)...)
		if _, err := io.ReadFull(r.r, r.data[at:]); err != nil {
			return Record{}, within(err)
		}
	}
	if crc32.Checksum(r.data, castagnoli) != le.Uint32(h[20:]) {
		return Record{}, fmt.Errorf("%w: checksum of a record of connection %d", ErrRecording, rec.Connection)
	}
	rec.Data = r.data
	return rec, nil
}
