package fuzz_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// script returns the bytes of an input, and zeros after its end.
type script struct{ rest []byte }

func (s *script) done() bool { return len(s.rest) == 0 }

func (s *script) next() int {
	if s.done() {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b)
}

// size returns a payload length: often short, sometimes up to 70,000.
func (s *script) size() int {
	switch n := s.next(); {
	case n < 200:
		return n
	case n < 250:
		return s.next()*16 + s.next()
	default:
		return s.next() * 275
	}
}

// wire is a destination that keeps what is written. If vector is set it takes several
// pieces at once. It can fail before the first byte.
type wire struct {
	bytes.Buffer
	refuse bool
}

func (w *wire) Write(p []byte) (int, error) {
	if w.refuse {
		w.refuse = false
		return 0, errRefused
	}
	return w.Buffer.Write(p)
}

var errRefused = errors.New("refused")

type vectorWire struct{ wire }

func (w *vectorWire) WriteV(pieces [][]byte) (n int64, err error) {
	for _, p := range pieces {
		k, err := w.Write(p)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

type item struct {
	op   frame.Opcode
	data string
}

// writing is a Writer and what it should have written.
type writing struct {
	t        *testing.T
	s        *script
	w        *frame.Writer
	dst      *wire
	messages []item // in order
	controls []item // in any order: control frames may overtake messages
	open     *item  // an unfinished fragmented message
	counter  int
}

// payload returns n bytes of text that differ each time.
func (w *writing) payload(n int) []byte {
	w.counter++
	p := bytes.Repeat([]byte("text: größe 日本 "), n/19+1)[:n]
	for i := n - 1; i >= 0 && p[i] >= 0x80; i-- {
		p[i] = '.'
	}
	copy(p, fmt.Sprint(w.counter))
	if i := len(fmt.Sprint(w.counter)); i < n {
		for ; i < n && p[i]&0xC0 == 0x80; i++ {
			p[i] = '.'
		}
	}
	return p
}

// call makes a call that the script chooses. It checks that the caller's bytes are
// unchanged.
func (w *writing) call() {
	what, op := w.s.next(), frame.Text
	if what&0x80 != 0 {
		op = frame.Binary
	}
	p := w.payload(w.s.size())
	kept := bytes.Clone(p)
	var err error
	switch what %= 10; {
	case what < 5 && w.open != nil, what == 5:
		err = w.fragment(op, p)
	case what < 5:
		w.messages = append(w.messages, item{op, string(p)})
		err = w.message(what, op, p)
	case what < 8:
		p = p[:min(len(p), frame.MaxControlPayload)]
		control := []frame.Opcode{frame.Ping, frame.Pong}[what-6]
		w.controls = append(w.controls, item{control, string(p)})
		err = w.w.AppendControl(control, p)
	case what == 8:
		queued := w.w.Queued()
		w.dst.refuse = w.s.next() > 128 && queued > 0
		refused := w.dst.refuse
		if err = w.w.Flush(); refused && err == errRefused && w.w.Queued() == queued {
			err = w.w.Flush() // the queue was kept
		}
	case what == 9:
		w.w.Release()
	}
	if err != nil {
		w.t.Fatalf("call %d: %v", what, err)
	}
	if !bytes.Equal(p, kept[:len(p)]) {
		w.t.Fatalf("call %d changed the caller's bytes", what)
	}
}

// message writes a message in one of the five ways.
func (w *writing) message(way int, op frame.Opcode, p []byte) error {
	switch way {
	case 0:
		return w.w.Append(op, p)
	case 1:
		return w.w.Write(op, p)
	case 2:
		return w.w.WriteOwned(op, append(make([]byte, frame.MaxHeaderSize), p...))
	}
	prepared, err := frame.Prepare(op, p, false)
	switch {
	case err != nil:
		return err
	case way == 3:
		return w.w.AppendPrepared(prepared)
	}
	return w.w.WritePrepared(prepared)
}

// fragment queues one frame of a fragmented message. The script says when the message
// ends.
func (w *writing) fragment(op frame.Opcode, p []byte) error {
	h := frame.Header{Fin: w.s.next()%3 == 0}
	if w.open == nil {
		h.Opcode = op
		w.open = &item{op: op}
	}
	w.open.data += string(p)
	if h.Fin {
		w.messages = append(w.messages, *w.open)
		w.open = nil
	}
	return w.w.AppendFrame(h, p)
}

// finish ends an open message, sends a Close frame and flushes.
func (w *writing) finish() {
	if w.open != nil {
		w.messages = append(w.messages, *w.open)
		if err := w.w.AppendFrame(frame.Header{Fin: true}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := errors.Join(w.w.AppendClose(frame.CodeGoingAway, "auf Wiederhören"), w.w.Flush()); err != nil {
		w.t.Fatal(err)
	}
	if w.w.Queued() != 0 || w.w.Err() != nil {
		w.t.Fatalf("%d bytes queued after the flush, %v", w.w.Queued(), w.w.Err())
	}
}

// trickle is a source whose reads are as long as the script says.
type trickle struct {
	rest []byte
	s    *script
}

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := len(r.rest)
	if !r.s.done() {
		n = 1 + r.s.size()
	}
	n = copy(p, r.rest[:min(n, len(r.rest))])
	r.rest = r.rest[n:]
	return n, nil
}

// reading is a Reader and what it has read.
type reading struct {
	rd                 *frame.Reader
	s                  *script
	messages, controls []item
}

// next reads up to the end of the next data message, in a way that the script chooses.
func (r *reading) next(dst []byte) error {
	switch r.s.next() % 4 {
	case 1:
		return r.frames()
	case 2:
		return r.pieces(dst[:r.s.next()*80])
	case 3:
		return r.batches()
	}
	for {
		m, err := r.rd.Next()
		if err != nil {
			return err
		}
		if r.take(m.Opcode, string(m.Data)) {
			return nil
		}
	}
}

func (r *reading) batches() error {
	for data := false; !data; {
		b, err := r.rd.NextBatch()
		if err != nil {
			return err
		}
		for _, m := range b.Messages {
			data = r.take(m.Opcode, string(m.Data)) || data
		}
		b.Release()
		if r.s.next()%2 == 0 {
			r.rd.Release()
		}
	}
	return nil
}

// take keeps an item and reports whether it is a data message.
func (r *reading) take(op frame.Opcode, data string) bool {
	if op.IsControl() {
		r.controls = append(r.controls, item{op, data})
		return false
	}
	r.messages = append(r.messages, item{op, data})
	return true
}

func (r *reading) frames() error {
	var op frame.Opcode
	var data []byte
	for {
		f, err := r.rd.NextFrame()
		switch {
		case err != nil:
			return err
		case f.Header.Opcode.IsControl():
			r.take(f.Header.Opcode, string(f.Payload))
			continue
		case f.Header.Opcode != frame.Continuation:
			op = f.Header.Opcode
		}
		if data = append(data, f.Payload...); f.Header.Fin {
			r.take(op, string(data))
			return nil
		}
	}
}

func (r *reading) pieces(dst []byte) error {
	var data []byte
	for {
		p, err := r.rd.NextPiece(dst)
		if err != nil {
			return err
		}
		if p.Opcode.IsControl() {
			r.take(p.Opcode, string(p.Data))
			continue
		}
		if data = append(data, p.Data...); p.Last {
			r.take(p.Opcode, string(data))
			return nil
		}
	}
}

// FuzzReaderWriter writes messages with every method of Writer and reads them with every
// method of Reader. The input chooses the methods, the sizes and the lengths of the
// reads.
func FuzzReaderWriter(f *testing.F) {
	for i := range 60 {
		var calls, reads []byte
		for k := range 5 + i {
			calls = append(calls, byte(k*i+k), byte(k*37*i), byte(i), byte(k))
			reads = append(reads, byte(i*k*7), byte(k))
		}
		f.Add(uint8(i), calls, reads)
	}
	f.Add(uint8(0), []byte{5, 3, 1, 6, 4, 5, 0, 1, 7, 2, 5, 255, 99, 3, 255, 255}, []byte{2, 2, 1, 1, 1, 255, 200})
	f.Fuzz(func(t *testing.T, mode uint8, calls, reads []byte) {
		if len(calls) > 100 || len(reads) > 300 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		writer, reader := frame.Client, frame.Server
		if mode&1 != 0 {
			writer, reader = reader, writer
		}
		w := writing{t: t, s: &script{calls}, dst: new(wire)}
		if mode&2 != 0 {
			v := new(vectorWire)
			w.dst, w.w = &v.wire, frame.NewWriter(v, writer)
		} else {
			w.w = frame.NewWriter(w.dst, writer)
		}
		for !w.s.done() {
			w.call()
		}
		w.finish()

		stream := w.dst.Bytes()
		role := reference.Client
		if reader == frame.Server {
			role = reference.Server
		}
		if verdict := reference.Parse(role, reference.Options{}, stream); verdict.Err != nil || verdict.End != reference.Closed {
			t.Fatalf("the reference refuses what was written: %+v, end %d", verdict.Err, verdict.End)
		}
		r := reading{s: &script{reads}}
		r.rd = frame.NewReader(&trickle{stream, &script{reads}}, reader, frame.Options{})
		if mode&4 != 0 {
			r.rd.SetMaxBuffer(4096)
		}
		dst := make([]byte, 256*80)
		var err error
		for err == nil {
			err = r.next(dst)
		}
		if err != io.EOF {
			t.Fatalf("reading ends with %v", err)
		}
		w.controls = append(w.controls, item{frame.Close, "\x03\xE9auf Wiederhören"})
		if !slices.Equal(r.messages, w.messages) {
			t.Fatalf("%d messages written, %d read, or they differ", len(w.messages), len(r.messages))
		}
		if slices.SortFunc(w.controls, compare); len(r.controls) == 0 || r.controls[len(r.controls)-1].op != frame.Close {
			t.Fatal("Close is not the last frame")
		}
		if slices.SortFunc(r.controls, compare); !slices.Equal(r.controls, w.controls) {
			t.Fatalf("%d control frames written, %d read, or they differ", len(w.controls), len(r.controls))
		}
	})
}

func compare(a, b item) int {
	return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.data, b.data))
}
