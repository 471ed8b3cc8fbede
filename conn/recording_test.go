package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func readAll(t *testing.T, b []byte) (records []Record) {
	t.Helper()
	r, err := ReadRecording(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		rec.Data = bytes.Clone(rec.Data)
		records = append(records, rec)
	}
}

func TestRecordingRoundTrip(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, 0)
	at := time.Unix(1700000000, 123456789)
	one, two := r.begin("first\n"), r.begin("")
	one.data(at, []byte("bytes of one"))
	two.data(at.Add(1), []byte("of two"))
	one.end(at.Add(2))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		kind   RecordKind
		number uint32
		data   string
	}{{RecordBegin, 1, "first\n"}, {RecordBegin, 2, ""}, {RecordData, 1, "bytes of one"}, {RecordData, 2, "of two"}, {RecordEnd, 1, ""}}
	got := readAll(t, b.Bytes())
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; g.Kind != w.kind || g.Connection != w.number || string(g.Data) != w.data {
			t.Errorf("record %d: %+v, want %+v", i, g, w)
		}
	}
	if !got[2].Time.Equal(at) {
		t.Errorf("time %v, want %v", got[2].Time, at)
	}
	if r.Dropped() != 0 {
		t.Error("dropped")
	}
	one.data(at, []byte("late"))
	if r.Dropped() != 4 {
		t.Error("what came after Close was not counted")
	}
}

// stuck is a writer that takes nothing until it is let go.
type stuck struct {
	bytes.Buffer
	entered, let chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.let
	return s.Buffer.Write(p)
}

func TestRecorderDropsRatherThanWait(t *testing.T) {
	w := &stuck{entered: make(chan struct{}, 1), let: make(chan struct{})}
	r := NewRecorder(w, 10000)
	<-w.entered // it holds the magic now, and nothing more
	tp := r.begin("")
	chunk := bytes.Repeat([]byte("c"), 1000)
	for range 100 {
		tp.data(time.Now(), chunk)
	}
	tp.end(time.Now())
	close(w.let)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	kinds := map[RecordKind]int{}
	records := readAll(t, w.Bytes())
	for _, rec := range records {
		kinds[rec.Kind]++
	}
	if kinds[RecordData] != 9 || kinds[RecordGap] != 1 || kinds[RecordEnd] != 1 || r.Dropped() != 91000 {
		t.Errorf("%v, %d bytes dropped", kinds, r.Dropped())
	}
	if last := records[len(records)-2]; last.Kind != RecordGap {
		t.Errorf("before the end stands %v, want the gap", last.Kind)
	}
}

// What is being written counts as held.
func TestRecorderHoldsNoMoreThanItsBuffer(t *testing.T) {
	w := &stuck{entered: make(chan struct{}, 1), let: make(chan struct{})}
	r := NewRecorder(w, 10000)
	<-w.entered
	tp := r.begin("")
	chunk := bytes.Repeat([]byte("c"), 1000)
	for range 8 {
		tp.data(time.Now(), chunk)
	}
	w.let <- struct{}{} // the magic is written; the goroutine takes all the rest
	<-w.entered
	for range 8 {
		tp.data(time.Now(), chunk)
	}
	if r.Dropped() != 7000 {
		t.Errorf("%d bytes dropped; 10000 are to be held, and 8200 are being written", r.Dropped())
	}
	close(w.let)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// closing is a transport on which the connection ends while a read brings bytes.
type closing struct {
	net.Conn
	c *Conn
}

func (n *closing) Read(p []byte) (int, error) {
	n.c.Close()
	return copy(p, frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("x"))), nil
}

// Nothing stands behind a connection's end.
func TestRecordingEndsWithTheEnd(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, 0)
	a, far := netsim.Pipe(0)
	defer far.Close()
	n := &closing{Conn: a}
	n.c = New(n, frame.Client, &Config{Recorder: r, KeepAlive: -1})
	n.c.ReadMessage()
	r.Close()
	records := readAll(t, b.Bytes())
	if last := records[len(records)-1]; len(records) != 2 || last.Kind != RecordEnd {
		t.Errorf("%d records, the last of kind %v", len(records), last.Kind)
	}
}

// heldBy is what a Recorder holds for its writer, and the memory in which it does.
func heldBy(r *Recorder) (bytes, memory int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writing + len(r.pending), cap(r.pending)
}

// A writer that takes nothing costs the buffer and no more, whatever comes; and what it takes in the end is readable.
func TestF81RecorderIsBounded(t *testing.T) {
	const buffer, connections = 10000, 20000
	w := &stuck{entered: make(chan struct{}, 1), let: make(chan struct{})}
	r := NewRecorder(w, buffer)
	<-w.entered
	offered := uint64(0)
	var open []*connRecorder
	for i := range connections {
		tp := r.begin("Role: client\n")
		b := bytes.Repeat([]byte{byte(i)}, i%100)
		tp.data(time.Now(), b)
		tp.data(time.Now(), b)
		offered += 2 * uint64(len(b))
		if i%3 == 0 { // each end comes late for some, and at once for others
			open = append(open, tp)
		} else {
			tp.end(time.Now())
		}
		if n, memory := heldBy(r); n > buffer || memory > buffer {
			t.Fatalf("%d connections: %d bytes held in %d, of at most %d", i+1, n, memory, buffer)
		}
	}
	for _, tp := range open {
		tp.data(time.Now(), []byte("more"))
		tp.end(time.Now())
		offered += 4
	}
	if n, memory := heldBy(r); n > buffer || memory > buffer {
		t.Fatalf("%d bytes held in %d, of at most %d", n, memory, buffer)
	}
	close(w.let)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	begun, last := uint32(0), map[uint32]RecordKind{}
	for _, rec := range readAll(t, w.Bytes()) {
		offered -= uint64(len(rec.Data))
		was := last[rec.Connection]
		switch rec.Kind {
		case RecordBegin:
			offered += uint64(len(rec.Data))
			if begun++; rec.Connection != begun {
				t.Fatalf("connection %d begins after %d", rec.Connection, begun-1)
			}
		case RecordEnd:
			if was == 0 || was == RecordEnd {
				t.Fatalf("connection %d ends after kind %d", rec.Connection, was)
			}
		default:
			if was != RecordBegin && was != RecordData {
				t.Fatalf("connection %d: kind %d after kind %d", rec.Connection, rec.Kind, was)
			}
		}
		last[rec.Connection] = rec.Kind
	}
	for number, kind := range last {
		if kind != RecordEnd {
			t.Errorf("connection %d has no end, its last record is of kind %d", number, kind)
		}
	}
	if begun < 50 || r.Dropped() != offered {
		t.Errorf("%d connections recorded, %d bytes dropped, want %d", begun, r.Dropped(), offered)
	}
}

// What a rush has taken is given back when little comes.
func TestRecorderGivesMemoryBack(t *testing.T) {
	var b bytes.Buffer
	w := &paced{to: &b, entered: make(chan struct{}), let: make(chan struct{})}
	r := NewRecorder(w, 0)
	tp := r.begin("")
	<-w.entered
	for range 16 {
		tp.data(time.Now(), make([]byte, 64<<10))
	}
	for range 4 { // the rush and what follows it, one write each
		w.let <- struct{}{}
		<-w.entered
		tp.data(time.Now(), []byte("x"))
	}
	if _, memory := heldBy(r); memory > keepsRecords {
		t.Errorf("%d bytes of memory for one small record", memory)
	}
	close(w.let)
	go func() {
		for range w.entered {
		}
	}()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	close(w.entered)
}

// paced is a writer that says when it is entered, and goes on when it may.
type paced struct {
	to           io.Writer
	entered, let chan struct{}
}

func (p *paced) Write(b []byte) (int, error) {
	p.entered <- struct{}{}
	<-p.let
	return p.to.Write(b)
}

type failing struct{}

var errDisk = errors.New("disk full")

func (failing) Write([]byte) (int, error) { return 0, errDisk }

// full takes so many bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	n := min(f.room, len(b))
	f.room -= n
	if n < len(b) {
		return n, errDisk
	}
	return n, nil
}

type short struct{}

func (short) Write(b []byte) (int, error) { return len(b) - 1, nil }

// A writer that fails ends the recording at once, and all that it did not take counts as dropped.
func TestF81RecorderTellsItsWritersError(t *testing.T) {
	begun := len(recordingMagic) + recordHeader
	for _, test := range []struct {
		name    string
		w       io.Writer
		want    string
		dropped uint64
	}{
		{"disk full at once", failing{}, errDisk.Error(), 9},
		{"disk full within the magic", &full{5}, errDisk.Error(), 9},
		{"disk full before the first data", &full{begun}, errDisk.Error(), 9},
		{"disk full within the first data", &full{begun + recordHeader + 3}, errDisk.Error(), 9},
		{"disk full after the first data", &full{begun + recordHeader + 4}, errDisk.Error(), 5},
		{"short write", short{}, io.ErrShortWrite.Error(), 9},
		{"panic", (*bytes.Buffer)(nil), "conn: the Recorder's writer panicked: runtime error: invalid memory address or nil pointer dereference", 9},
		{"closed file", (*os.File)(nil), os.ErrInvalid.Error(), 9},
	} {
		f, ok := test.w.(*full)
		late := ok && f.room > len(recordingMagic)
		w := &paced{to: test.w, entered: make(chan struct{}), let: make(chan struct{})}
		r := NewRecorder(w, 0)
		<-w.entered
		tp := r.begin("")
		tp.data(time.Now(), []byte("four"))
		select {
		case <-r.Failed():
			t.Errorf("%s: failed before it was written", test.name)
		default:
		}
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v before it was written", test.name, err)
		}
		close(w.let)
		go func() {
			for range w.entered {
			}
		}()
		if late {
			for n, _ := heldBy(r); n > 0; n, _ = heldBy(r) {
				runtime.Gosched() // the second write takes what is there
			}
		} else {
			<-r.Failed()
		}
		tp.data(time.Now(), []byte("fifth"))
		tp.end(time.Now())
		r.begin("").end(time.Now())
		<-r.Failed()
		if err := r.Err(); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
		if n, _ := heldBy(r); n != 0 {
			t.Errorf("%s: %d bytes held after the end", test.name, n)
		}
		if r.Dropped() != test.dropped {
			t.Errorf("%s: %d bytes dropped, want %d", test.name, r.Dropped(), test.dropped)
		}
		for range 2 {
			if err := r.Close(); err != r.Err() {
				t.Errorf("%s: Close: %v", test.name, err)
			}
		}
		close(w.entered)
	}
}

// A reader's own failure is no damage of the file.
func TestReadRecordingTellsItsReadersError(t *testing.T) {
	whole := append([]byte(recordingMagic), make([]byte, recordHeader)...)
	whole[len(recordingMagic)] = byte(RecordEnd)
	for at := range len(whole) {
		r, err := ReadRecording(io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(errDisk)))
		if err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, errDisk) || errors.Is(err, ErrRecording) {
			t.Errorf("fails after %d bytes: %v", at, err)
		}
	}
}

func TestRecordingDamaged(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, 0)
	r.begin("about").data(time.Now(), []byte("data"))
	r.Close()
	whole := b.Bytes()
	borders := map[int]bool{len(recordingMagic): true, len(recordingMagic) + recordHeader + 5: true, len(whole): true}
	read := func(b []byte) error {
		r, err := ReadRecording(bytes.NewReader(b))
		for err == nil {
			_, err = r.Next()
		}
		return err
	}
	for cut := range len(whole) + 1 {
		err := read(whole[:cut])
		if cut > len(recordingMagic) && errors.Is(err, io.ErrUnexpectedEOF) == borders[cut] {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if borders[cut] && err != io.EOF || !borders[cut] && !errors.Is(err, ErrRecording) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x80
		at := (i - len(recordingMagic)) % recordHeader
		if err := read(damaged); err == io.EOF && !(i >= len(recordingMagic) && at >= 4 && at < 16) {
			// A connection's number and a time are not covered by the checksum.
			if second := i - len(recordingMagic) - recordHeader - 5; second < 4 || second >= 16 {
				t.Errorf("byte %d damaged: read without an error", i)
			}
		}
	}
}

// What a connection records is what its peer wrote, also of what came with the handshake and under every way of reading.
func TestConnRecordsWhatItReceives(t *testing.T) {
	for _, early := range []int{0, 5, 40} {
		var b bytes.Buffer
		rec := NewRecorder(&b, 0)
		var wire []byte
		for _, n := range []int{3, 200, 70000, 0} {
			wire = frame.AppendFrame(wire, frame.Header{Fin: true, Opcode: frame.Binary}, bytes.Repeat([]byte{'x'}, n))
		}
		client, server := netsim.Pipe(1 << 20)
		c := newConn(client, frame.Client, &Config{Recorder: rec}, settled{early: wire[:early], subprotocol: "proto"})
		server.Write(wire[early:])
		for range 4 {
			if _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		server.Close()
		if err := rec.Close(); err != nil {
			t.Fatal(err)
		}
		records := readAll(t, b.Bytes())
		var got []byte
		for _, r := range records[1 : len(records)-1] {
			got = append(got, r.Data...)
		}
		if first, last := records[0], records[len(records)-1]; string(first.Data) != "Role: client\nSec-WebSocket-Protocol: proto\n" || last.Kind != RecordEnd || !bytes.Equal(got, wire) {
			t.Errorf("%d early: began with %q, ended with kind %d, %d bytes of %d", early, first.Data, last.Kind, len(got), len(wire))
		}
	}
}

// BenchmarkRecording decodes what a client received: TICKWIRE_RECORDING names a file of tickwire record, and without it the one that
// seeds the fuzz targets is taken. An operation is a message.
func BenchmarkRecording(b *testing.B) {
	name := os.Getenv("TICKWIRE_RECORDING")
	if name == "" {
		name = "../fuzz/testdata/feed.rec"
	}
	file, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	recording, err := ReadRecording(file)
	if err != nil {
		b.Fatal(err)
	}
	var wire []byte
	for {
		r, err := recording.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if r.Kind == RecordData && r.Connection == 1 {
			wire = append(wire, r.Data...)
		}
	}
	r := frame.NewReader(nil, frame.Client, frame.Options{Compression: true})
	b.ReportAllocs()
	bytes := 0
	for n := 0; n < b.N; {
		r.Reset(nil, frame.Client, frame.Options{Compression: true})
		for rest := wire; len(rest) > 0 && n < b.N; {
			k := copy(r.Space(), rest)
			r.Filled(k)
			rest = rest[k:]
			for {
				m, ok, err := r.Buffered()
				if err != nil {
					b.Fatal(err)
				}
				if !ok {
					break
				}
				bytes += len(m.Data)
				n++
			}
		}
	}
	b.SetBytes(int64(bytes / b.N))
}
