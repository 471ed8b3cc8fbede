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

// A recording is what connections received, byte for byte as it came out of TLS, with the times at which it was read. The format:
//
//	"tickwire recording 1\n", then records one behind the other, each of
//	kind        1 byte: 1 begin, 2 data, 3 gap, 4 end of a connection
//	zero        3 bytes
//	connection  4 bytes: its number in the file, from 1
//	time        8 bytes: Unix time in nanoseconds
//	length      4 bytes: of what follows the header
//	checksum    4 bytes: CRC-32C of what follows the header
//	and length bytes: of a data record the bytes read; of a begin record lines that end in a line feed: "Role: client" or
//	"Role: server", which is who received, and the header lines of the handshake's answer that tell the subprotocol and
//	the compression, if there are any (client_max_window_bits, which says nothing of what was received, is left out).
//
// Numbers are little-endian. After a gap nothing more of that connection is recorded: the border of the next frame is unknown.
const recordingMagic = "tickwire recording 1\n"

const recordHeader = 24

// RecordKind is what a record tells.
type RecordKind uint8

// The kinds of records.
const (
	RecordBegin RecordKind = 1 + iota // a connection begins
	RecordData                        // bytes came
	RecordGap                         // from here on bytes of this connection are missing
	RecordEnd                         // the connection ended
)

// DefaultRecorderBuffer is how many bytes a Recorder holds for a writer that is slower than its connections.
const DefaultRecorderBuffer = 4 << 20

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrRecording is a file that is not a recording, or is damaged.
	ErrRecording = errors.New("conn: not a recording, or a damaged one")
)

// Recorder writes what connections receive (Config.Recorder) to a file or the like, from a goroutine of its own. It never holds a
// connection up: when its buffer is full it drops, and counts what it drops. It can serve many connections at once.
type Recorder struct {
	mu          sync.Mutex
	pending     []byte // records that the goroutine has not taken
	writing     int    // bytes that it has
	limit       int
	connections uint32
	dropped     uint64
	err         error
	closed      bool

	work chan struct{}
	done chan struct{}
}

// NewRecorder returns a Recorder that writes to w and holds at most buffer bytes for it, those being written included; 0 means
// DefaultRecorderBuffer. Close it when the connections have ended.
func NewRecorder(w io.Writer, buffer int) *Recorder {
	if buffer <= 0 {
		buffer = DefaultRecorderBuffer
	}
	r := &Recorder{limit: buffer, work: make(chan struct{}, 1), done: make(chan struct{})}
	r.pending = append(r.pending, recordingMagic...)
	r.work <- struct{}{}
	go r.write(w)
	return r
}

// write is the goroutine: it takes all that is pending and writes it, until Close.
func (r *Recorder) write(w io.Writer) {
	defer close(r.done)
	var taken []byte
	for range r.work {
		r.mu.Lock()
		taken, r.pending = r.pending, taken[:0]
		r.writing = len(taken)
		closed, err := r.closed, r.err
		r.mu.Unlock()
		if err == nil && len(taken) > 0 {
			_, err = w.Write(taken)
		}
		r.mu.Lock()
		r.writing, r.err = 0, err
		r.mu.Unlock()
		if closed {
			return
		}
	}
}

// Close writes what is pending and returns the first error of writing. Nothing is recorded from then on.
func (r *Recorder) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Dropped returns how many bytes of connections were not recorded: for want of room, because writing failed, or because they came when the
// connection had ended.
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

// tape is the recording of one connection. The goroutine that reads writes to it, and whoever ends the connection ends it.
type tape struct {
	r      *Recorder
	number uint32
	cut    bool // under r.mu: bytes are missing
	ended  bool // likewise: nothing stands behind a connection's end, though a read that it met may still bring bytes
}

// begin starts a connection; about are the lines of its begin record.
func (r *Recorder) begin(about string) *tape {
	r.mu.Lock()
	r.connections++
	t := &tape{r: r, number: r.connections}
	r.mu.Unlock()
	t.put(RecordBegin, time.Now(), []byte(about))
	return t
}

// put records b, or a gap.
func (t *tape) put(kind RecordKind, at time.Time, b []byte) {
	r := t.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.ended:
		r.dropped += uint64(len(b))
		return
	case kind == RecordEnd && !r.closed:
		t.ended = true
		r.append(kind, t.number, at, nil)
		return
	case t.cut || r.closed || r.err != nil || r.writing+len(r.pending)+recordHeader+len(b) > r.limit:
		r.dropped += uint64(len(b))
		if !t.cut && !r.closed {
			r.append(RecordGap, t.number, at, nil)
		}
		t.cut = true
		return
	}
	r.append(kind, t.number, at, b)
}

// append adds a record. The caller holds r.mu.
func (r *Recorder) append(kind RecordKind, number uint32, at time.Time, b []byte) {
	le := binary.LittleEndian
	r.pending = append(r.pending, byte(kind), 0, 0, 0)
	r.pending = le.AppendUint32(r.pending, number)
	r.pending = le.AppendUint64(r.pending, uint64(at.UnixNano()))
	r.pending = le.AppendUint32(r.pending, uint32(len(b)))
	r.pending = le.AppendUint32(r.pending, crc32.Checksum(b, castagnoli))
	r.pending = append(r.pending, b...)
	r.wake()
}

// startTape begins the recording of the connection; early is what came with the handshake.
func (c *Conn) startTape(early []byte) {
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
	c.tape = c.cfg.Recorder.begin(string(about))
	if len(early) > 0 {
		c.tape.put(RecordData, time.Now(), early)
	}
}

func (c *Conn) endTape() {
	if c.tape != nil {
		c.tape.put(RecordEnd, time.Now(), nil)
	}
}

// record keeps the n bytes that the last fill has brought.
func (c *Conn) record(n int) { c.tape.put(RecordData, c.receivedAt(), c.r.Latest(n)) }

// receivedAt is the time of the last read: the kernel's if it tells.
func (c *Conn) receivedAt() time.Time {
	if s := c.stampedRead(); s != nil && !s.info.Kernel.IsZero() {
		return s.info.Kernel
	}
	return time.Now()
}

// Record is one record of a recording.
type Record struct {
	Kind       RecordKind
	Connection uint32 // from 1
	Time       time.Time
	Data       []byte // a view, valid until the next record is read
}

// Recording reads what a Recorder wrote.
type Recording struct {
	r    *bufio.Reader
	data []byte
}

// ReadRecording returns the recording that r holds, or ErrRecording if it holds none.
func ReadRecording(r io.Reader) (*Recording, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(recordingMagic))
	if _, err := io.ReadFull(b, magic); err != nil || string(magic) != recordingMagic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrRecording, recordingMagic)
	}
	return &Recording{r: b}, nil
}

// Next returns the next record; io.EOF behind the last one, and an error that matches ErrRecording where the file is damaged or
// cut.
func (r *Recording) Next() (Record, error) {
	var h [recordHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		if err == io.EOF {
			return Record{}, err
		}
		return Record{}, fmt.Errorf("%w: it is cut within a record", ErrRecording)
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
			return Record{}, fmt.Errorf("%w: it is cut within a record", ErrRecording)
		}
	}
	if crc32.Checksum(r.data, castagnoli) != le.Uint32(h[20:]) {
		return Record{}, fmt.Errorf("%w: checksum of a record of connection %d", ErrRecording, rec.Connection)
	}
	rec.Data = r.data
	return rec, nil
}
