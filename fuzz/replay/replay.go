// Package replay runs the engine over a stream that is cut anywhere. It compares
// everything with the reference parser: frames, messages, the error with its position,
// and the end. Tests of frame and fuzz targets share it.
package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// Run is a stream and what the reference says about it. It can be used for many cuts, but
// not concurrently.
type Run struct {
	Want reference.Result

	role    frame.Role
	opt     frame.Options
	stream  []byte
	frames  []reference.Event // complete frames
	items   []reference.Event // messages, and control frames in their places
	dec     frame.Decoder
	reader  frame.Reader
	src     source
	scratch []byte
	dst     []byte // memory for Pieces
}

// New prepares a run. Here the reference reads the stream, once.
func New(role reference.Role, o reference.Options, stream []byte) *Run {
	r := &Run{role: frame.Client, stream: stream}
	if role == reference.Server {
		r.role = frame.Server
	}
	o.MaxMessage, o.MaxFrame = addressable(o.MaxMessage), addressable(o.MaxFrame)
	r.opt = frame.Options{
		MaxMessage: int64(o.MaxMessage), MaxFrame: int64(o.MaxFrame),
		MaxFragments: o.MaxFragments, MaxControlPerMessage: o.MaxControlPerMessage,
		Compression: o.Compression, AllowNonMinimal: o.AllowNonMinimal, SkipUTF8: o.SkipUTF8,
	}
	r.Want = reference.Parse(role, o, stream)
	for _, e := range r.Want.Events {
		switch {
		case e.Kind == reference.MessageEvent:
			r.items = append(r.items, e)
			continue
		case e.IsControl():
			r.items = append(r.items, e)
		}
		r.frames = append(r.frames, e)
	}
	return r
}

// addressable bounds a limit as the engine does: a slice cannot hold more.
func addressable(limit uint64) uint64 {
	return min(limit, math.MaxInt-frame.MaxHeaderSize)
}

// All runs every way to read with the same cuts.
func (r *Run) All(cuts ...int) error {
	for _, way := range []struct {
		name string
		run  func(...int) error
	}{
		{"Decoder", r.Decoder}, {"Reader.Next", r.Messages}, {"Reader.NextFrame", r.Frames},
		{"Reader.NextPiece", r.Pieces}, {"Reader.NextBatch", r.Batches}, {"Reader.Buffered", r.Pushed},
	} {
		if err := way.run(cuts...); err != nil {
			return fmt.Errorf("%s, cut at %v: %w", way.name, cuts, err)
		}
	}
	return nil
}

// Decoder passes the pieces of the stream between the ascending cuts to a frame.Decoder.
func (r *Run) Decoder(cuts ...int) error {
	d := &r.dec
	d.Reset(r.role, r.opt)
	r.scratch = append(r.scratch[:0], r.stream...)
	c := frameCheck{run: r}
	from := 0
	for i := 0; i <= len(cuts); i++ {
		to := len(r.scratch)
		if i < len(cuts) {
			to = cuts[i]
		}
		piece := r.scratch[from:to:to]
		for {
			ev, n, err := d.Next(piece)
			if n < 0 || n > len(piece) {
				return fmt.Errorf("a Next that took %d bytes of %d", n, len(piece))
			}
			if err != nil {
				if ev.Start || ev.End || len(ev.Data) > 0 {
					return errors.New("an event came with the error")
				}
				if _, _, again := d.Next(nil); again != err {
					return fmt.Errorf("the error changed to %v", again)
				}
				return c.end(err)
			}
			piece = piece[n:]
			if !ev.Start && !ev.End && len(ev.Data) == 0 {
				if len(piece) > 0 {
					return fmt.Errorf("a Next that left %d bytes without an event", len(piece))
				}
				break
			}
			if err := c.event(&ev); err != nil {
				return err
			}
		}
		if !bytes.Equal(r.scratch[to:], r.stream[to:]) {
			return errors.New("bytes behind the piece were written")
		}
		from = to
	}
	if d.Offset() != uint64(len(r.stream)) {
		return fmt.Errorf("an Offset of %d behind %d bytes", d.Offset(), len(r.stream))
	}
	if err := r.decoderState(d); err != nil {
		return err
	}
	return c.end(nil)
}

// decoderState compares a decoder's state at the end of a stream without errors.
func (r *Run) decoderState(d *frame.Decoder) error {
	end := r.Want.End
	midway := end != reference.BetweenMessages && end != reference.Closed
	if r.Want.Err == nil && (d.Incomplete() != midway || d.Closed() != (end == reference.Closed)) {
		return fmt.Errorf("an Incomplete of %t and a Closed of %t at end %d", d.Incomplete(), d.Closed(), end)
	}
	if d.NonMinimal() != uint64(r.Want.NonMinimal) {
		return fmt.Errorf("NonMinimal is %d, want %d", d.NonMinimal(), r.Want.NonMinimal)
	}
	return nil
}

// frameCheck compares the events of a decoder with the complete frames and the partial
// one.
type frameCheck struct {
	run  *Run
	next int // the next frame
	got  int // payload bytes received of it
	in   bool
}

func (c *frameCheck) event(ev *frame.Event) error {
	if ev.Start == c.in {
		return fmt.Errorf("frame %d: Start is %t", c.next, ev.Start)
	}
	if cap(ev.Data) != len(ev.Data) {
		return fmt.Errorf("frame %d: a piece has capacity to spare", c.next)
	}
	c.in = !ev.End
	if c.next == len(c.run.frames) {
		partial := c.run.Want.Partial
		if ev.End || len(partial)-c.got < len(ev.Data) || partial[c.got:c.got+len(ev.Data)] != string(ev.Data) {
			return fmt.Errorf("event %+v of a frame that is not complete", *ev)
		}
		c.got += len(ev.Data)
		return nil
	}
	f := &c.run.frames[c.next]
	if err := c.run.sameHeader(&ev.Header, f); err != nil {
		return err
	}
	if len(f.Data)-c.got < len(ev.Data) || f.Data[c.got:c.got+len(ev.Data)] != string(ev.Data) {
		return fmt.Errorf("frame %d: payload differs from byte %d", c.next, c.got)
	}
	c.got += len(ev.Data)
	if ev.End != (c.got == len(f.Data)) {
		return fmt.Errorf("frame %d: End is %t at byte %d of %d", c.next, ev.End, c.got, len(f.Data))
	}
	if ev.End {
		c.next++
		c.got = 0
	}
	return nil
}

func (c *frameCheck) end(err error) error {
	if c.next != len(c.run.frames) {
		return fmt.Errorf("%d frames, want %d (error %v)", c.next, len(c.run.frames), err)
	}
	if err == nil && c.got != len(c.run.Want.Partial) {
		return fmt.Errorf("%d bytes of the last frame, want %d", c.got, len(c.run.Want.Partial))
	}
	return c.run.sameError(err)
}

func (r *Run) sameHeader(h *frame.Header, f *reference.Event) error {
	if h.Fin != f.Fin || h.RSV1 != f.RSV1 || h.RSV2 || h.RSV3 || byte(h.Opcode) != f.Opcode ||
		h.Masked != (r.role == frame.Server) || h.Length != uint64(len(f.Data)) {
		return fmt.Errorf("header %+v of the frame at byte %d", *h, f.Offset)
	}
	if h.Masked {
		at := int(f.Offset) + h.Size() // wrong by the extra bytes of the length if its form is not the shortest
		if r.opt.AllowNonMinimal {
			return nil
		}
		if k := r.stream[at-4 : at]; h.Key != keyOf(k) {
			return fmt.Errorf("key %08x of the frame at byte %d", h.Key, f.Offset)
		}
	}
	return nil
}

// sameError compares an error of the engine with the reference's violation, in every
// field.
func (r *Run) sameError(err error) error {
	want := r.Want.Err
	if want == nil {
		if err != nil {
			return fmt.Errorf("error %w, want none", err)
		}
		return nil
	}
	var e *frame.ProtocolError
	if !errors.As(err, &e) {
		return fmt.Errorf("error %v, want %s at byte %d", err, want.Rule.Name, want.Offset)
	}
	if e.Rule != want.Rule.Name || uint16(e.Code) != want.Rule.Code || e.Section != want.Rule.RFC ||
		e.Offset != want.Offset || byte(e.Opcode) != want.Opcode || e.Length != want.Length {
		return fmt.Errorf("error %+v, want %s (%d, %s) at byte %d, opcode %X, length %d",
			*e, want.Rule.Name, want.Rule.Code, want.Rule.RFC, want.Offset, want.Opcode, want.Length)
	}
	if s := sentinels[e.Rule]; s == nil || !errors.Is(err, s) {
		return fmt.Errorf("no exported value stands for %q", e.Rule)
	}
	return nil
}

// sentinels are the exported errors, by the name of their rule in the reference.
var sentinels = map[string]*frame.ProtocolError{
	reference.ReservedBits.Name:           frame.ErrReservedBits,
	reference.ReservedOpcode.Name:         frame.ErrReservedOpcode,
	reference.FragmentedControl.Name:      frame.ErrFragmentedControl,
	reference.UnexpectedContinuation.Name: frame.ErrUnexpectedContinuation,
	reference.UnfinishedMessage.Name:      frame.ErrUnfinishedMessage,
	reference.TooManyFragments.Name:       frame.ErrTooManyFragments,
	reference.TooManyControls.Name:        frame.ErrTooManyControls,
	reference.UnmaskedClientFrame.Name:    frame.ErrUnmaskedClientFrame,
	reference.MaskedServerFrame.Name:      frame.ErrMaskedServerFrame,
	reference.ControlTooLong.Name:         frame.ErrControlTooLong,
	reference.CloseBodyOneByte.Name:       frame.ErrCloseBodyLength,
	reference.LengthTopBit.Name:           frame.ErrLengthTopBit,
	reference.LengthNotMinimal.Name:       frame.ErrLengthNotMinimal,
	reference.FrameTooLarge.Name:          frame.ErrFrameTooLarge,
	reference.MessageTooLarge.Name:        frame.ErrMessageTooLarge,
	reference.InvalidCloseCode.Name:       frame.ErrCloseCode,
	reference.InvalidUTF8.Name:            frame.ErrInvalidUTF8,
	reference.TruncatedUTF8.Name:          frame.ErrTruncatedUTF8,
}

// Drip returns the cuts for pieces of one byte.
func Drip(n int) []int {
	var cuts []int
	for i := 1; i < n; i++ {
		cuts = append(cuts, i)
	}
	return cuts
}

// Cuts returns ascending cuts of a stream of n bytes. The bytes of a fuzzer are the
// lengths of the pieces, in turn and repeated. None means one piece.
func Cuts(n int, pieces []byte) []int {
	if len(pieces) == 0 || !slices.ContainsFunc(pieces, func(b byte) bool { return b != 0 }) {
		return nil
	}
	var cuts []int
	for i, at := 0, 0; ; i++ {
		at += int(pieces[i%len(pieces)])
		if at >= n {
			return cuts
		}
		cuts = append(cuts, at)
	}
}

// Masked masks each frame of a stream for clients, as far as it can be read. A fuzzer
// that writes unmasked streams then reaches the payload that a server sees.
func Masked(p []byte) (out []byte) {
	for len(p) > 0 {
		h, n := frame.ParseHeader(p)
		if n == 0 || h.Masked {
			return append(out, p...)
		}
		take := int(min(h.Length, uint64(len(p)-n)))
		key := mask.Key(0x9E3779B9 * uint32(len(out)+1))
		at := len(out)
		out = append(out, p[:n]...)
		out[at+1] |= 0x80
		out = binary.LittleEndian.AppendUint32(out, uint32(key))
		out = append(out, p[n:n+take]...)
		mask.XOR(out[len(out)-take:], key)
		p = p[n+take:]
	}
	return out
}

// source returns the stream in the pieces between the cuts and counts the reads.
type source struct {
	rest  []byte
	cuts  []int
	at    int
	reads int
}

func (s *source) Read(p []byte) (int, error) {
	s.reads++
	for len(s.cuts) > 0 && s.cuts[0] <= s.at {
		s.cuts = s.cuts[1:]
	}
	n := len(s.rest)
	if n == 0 {
		return 0, io.EOF
	}
	if len(s.cuts) > 0 {
		n = min(n, s.cuts[0]-s.at)
	}
	n = copy(p, s.rest[:n])
	s.rest = s.rest[n:]
	s.at += n
	return n, nil
}
