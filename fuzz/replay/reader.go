package replay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/mask"
)

func keyOf(b []byte) mask.Key { return mask.Key(binary.LittleEndian.Uint32(b)) }

func (r *Run) start(src io.Reader, cuts []int) *frame.Reader {
	r.src = source{rest: r.stream, cuts: cuts}
	r.reader.Reset(src, r.role, r.opt)
	return &r.reader
}

// finish compares the error that ended a reader with the reference. It checks that the
// error stays.
func (r *Run) finish(err, again error) error {
	if again != err {
		return fmt.Errorf("the error changed from %v to %v", err, again)
	}
	if err := r.brokenClose(); err != nil {
		return err
	}
	switch {
	case r.Want.Err != nil:
		return r.sameError(err)
	case r.Want.End == reference.Closed || r.Want.End == reference.BetweenMessages:
		if err != io.EOF {
			return fmt.Errorf("error %v, want io.EOF", err)
		}
	case err != io.ErrUnexpectedEOF:
		return fmt.Errorf("error %v, want io.ErrUnexpectedEOF", err)
	}
	return r.decoderState(r.reader.Decoder())
}

// brokenClose compares what a failed reader says about a broken Close frame. It passes
// the rest of the stream as far as the reader asks for it.
func (r *Run) brokenClose() error {
	rd := &r.reader
	got, ok := rd.BrokenClose()
	for !got.Whole {
		n, err := r.src.Read(rd.Space())
		if err != nil {
			break
		}
		rd.Filled(n)
		got, ok = rd.BrokenClose()
	}
	want := r.Want.Broken
	if want == nil {
		if ok {
			return fmt.Errorf("BrokenClose without a broken Close frame: %+v", got)
		}
		return nil
	}
	if !ok || uint16(got.Code) != want.Code || got.Reason != want.Reason || got.Whole != want.Whole {
		return fmt.Errorf("BrokenClose (%t): %+v, want %+v", ok, got, *want)
	}
	return nil
}

func sameMessage(m *frame.Message, want *reference.Event) error {
	if byte(m.Opcode) != want.Opcode || string(m.Data) != want.Data || m.Compressed != (want.RSV1 && !want.IsControl()) {
		return fmt.Errorf("got %v (compressed %t) %.60q, want opcode %X (compressed %t) %.60q",
			m.Opcode, m.Compressed, m.Data, want.Opcode, want.RSV1, want.Data)
	}
	if cap(m.Data) != len(m.Data) {
		return fmt.Errorf("%v has capacity to spare", m.Opcode)
	}
	return nil
}

// Messages reads with Reader.Next. It also checks that More is true exactly if a whole
// message comes without a read.
func (r *Run) Messages(cuts ...int) error {
	rd := r.start(&r.src, cuts)
	more, reads := false, 0
	for i := 0; ; i++ {
		m, err := rd.Next()
		if more && err == nil && r.src.reads != reads {
			return fmt.Errorf("item %d: More was true, and Next read", i)
		}
		if err != nil {
			if i != len(r.items) {
				return fmt.Errorf("%d items, want %d (error %v)", i, len(r.items), err)
			}
			if more && err == io.EOF {
				return fmt.Errorf("a true More, and Next gave %v", err)
			}
			_, again := rd.Next()
			return r.finish(err, again)
		}
		if i >= len(r.items) {
			return fmt.Errorf("item %d: %v %.60q was not to come", i, m.Opcode, m.Data)
		}
		if err := sameMessage(&m, &r.items[i]); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		if !more && !m.Opcode.IsControl() && r.src.reads == reads {
			return fmt.Errorf("item %d: More was false, and Next did not read", i)
		}
		more, reads = rd.More(), r.src.reads
	}
}

// Frames reads with Reader.NextFrame.
func (r *Run) Frames(cuts ...int) error {
	rd := r.start(&r.src, cuts)
	for i := 0; ; i++ {
		f, err := rd.NextFrame()
		if err != nil {
			if i != len(r.frames) {
				return fmt.Errorf("%d frames, want %d (error %v)", i, len(r.frames), err)
			}
			_, again := rd.NextFrame()
			return r.finish(err, again)
		}
		if i >= len(r.frames) {
			return fmt.Errorf("frame %d: %+v was not to come", i, f.Header)
		}
		want := &r.frames[i]
		if err := r.sameHeader(&f.Header, want); err != nil {
			return err
		}
		if string(f.Payload) != want.Data || cap(f.Payload) != len(f.Payload) {
			return fmt.Errorf("frame %d: %.60q, want %.60q", i, f.Payload, want.Data)
		}
	}
}

// Pieces reads with Reader.NextPiece, with and without memory of its own.
func (r *Run) Pieces(cuts ...int) error {
	if r.dst == nil {
		r.dst = make([]byte, 10_000)
	}
	for _, dst := range [][]byte{nil, r.dst} {
		if err := r.pieces(dst, cuts); err != nil {
			return fmt.Errorf("with %d bytes of dst: %w", len(dst), err)
		}
	}
	return nil
}

func (r *Run) pieces(dst []byte, cuts []int) error {
	rd := r.start(&r.src, cuts)
	next := 0
	var joined []byte
	for {
		p, err := rd.NextPiece(dst)
		if err != nil {
			if next != len(r.items) {
				return fmt.Errorf("%d items, want %d (error %v)", next, len(r.items), err)
			}
			_, again := rd.NextPiece(dst)
			return r.finish(err, again)
		}
		if cap(p.Data) != len(p.Data) && (len(p.Data) == 0 || len(dst) == 0 || &p.Data[0] != &dst[0]) {
			return errors.New("a piece has capacity to spare")
		}
		m := frame.Message{Opcode: p.Opcode, Compressed: p.Compressed, Data: p.Data}
		if !p.Opcode.IsControl() {
			joined = append(joined, p.Data...)
			if !p.Last {
				continue
			}
			m.Data = joined[:len(joined):len(joined)]
			joined = joined[:0]
		}
		if next >= len(r.items) {
			return fmt.Errorf("item %d: %v was not to come", next, p.Opcode)
		}
		if err := sameMessage(&m, &r.items[next]); err != nil {
			return fmt.Errorf("item %d: %w", next, err)
		}
		next++
	}
}

// Batches reads with Reader.NextBatch. It inspects each batch again after the next one.
func (r *Run) Batches(cuts ...int) error {
	rd := r.start(&r.src, cuts)
	next := 0
	var before *frame.Batch
	for {
		b, err := rd.NextBatch()
		if before != nil {
			for i := range before.Messages {
				if e := sameMessage(&before.Messages[i], &r.items[next-len(before.Messages)+i]); e != nil {
					return fmt.Errorf("a held batch changed: %w", e)
				}
			}
			before.Release()
		}
		if err != nil {
			if next != len(r.items) {
				return fmt.Errorf("%d items, want %d (error %v)", next, len(r.items), err)
			}
			_, again := rd.NextBatch()
			return r.finish(err, again)
		}
		if len(b.Messages) == 0 || next+len(b.Messages) > len(r.items) {
			return fmt.Errorf("a batch of %d behind item %d of %d", len(b.Messages), next, len(r.items))
		}
		for i := range b.Messages {
			if err := sameMessage(&b.Messages[i], &r.items[next+i]); err != nil {
				return fmt.Errorf("item %d: %w", next+i, err)
			}
		}
		next += len(b.Messages)
		before = b
	}
}

// Pushed reads without a source: Space, Filled, Buffered. The memory is released whenever
// nothing is buffered.
func (r *Run) Pushed(cuts ...int) error {
	rd := r.start(nil, cuts)
	for i := 0; ; {
		m, ok, err := rd.Buffered()
		if err != nil {
			if i != len(r.items) {
				return fmt.Errorf("%d items, want %d (error %v)", i, len(r.items), err)
			}
			_, _, again := rd.Buffered()
			return r.finish(err, again)
		}
		if ok {
			if i >= len(r.items) {
				return fmt.Errorf("item %d: %v was not to come", i, m.Opcode)
			}
			if err := sameMessage(&m, &r.items[i]); err != nil {
				return fmt.Errorf("item %d: %w", i, err)
			}
			i++
			continue
		}
		rd.Release()
		space := rd.Space()
		if len(space) == 0 {
			return errors.New("an empty Space")
		}
		n, err := r.src.Read(space)
		if err == nil {
			rd.Filled(n)
			continue
		}
		if r.Want.Err != nil || i != len(r.items) {
			return fmt.Errorf("%d items and no error, want %d and %v", i, len(r.items), r.Want.Err)
		}
		if err := r.brokenClose(); err != nil {
			return err
		}
		return r.decoderState(rd.Decoder())
	}
}
