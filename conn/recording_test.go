package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
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
	one.put(RecordData, at, []byte("bytes of one"))
	two.put(RecordData, at.Add(1), []byte("of two"))
	one.put(RecordEnd, at.Add(2), nil)
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
	one.put(RecordData, at, []byte("late"))
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
		tp.put(RecordData, time.Now(), chunk)
	}
	tp.put(RecordEnd, time.Now(), nil)
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
		tp.put(RecordData, time.Now(), chunk)
	}
	w.let <- struct{}{} // the magic is written; the goroutine takes all the rest
	<-w.entered
	for range 8 {
		tp.put(RecordData, time.Now(), chunk)
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

type failing struct{}

var errDisk = errors.New("disk full")

func (failing) Write([]byte) (int, error) { return 0, errDisk }

func TestRecorderTellsItsWritersError(t *testing.T) {
	r := NewRecorder(failing{}, 0)
	tp := r.begin("")
	tp.put(RecordData, time.Now(), []byte("x"))
	if err := r.Close(); err != errDisk {
		t.Fatal(err)
	}
}

func TestRecordingDamaged(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, 0)
	r.begin("about").put(RecordData, time.Now(), []byte("data"))
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
		c := newConn(client, frame.Client, &Config{Recorder: rec}, wire[:early], "proto")
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
