package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// TestR35MixedReads reads random streams with all read methods in random order. The
// Reader has a source or none, random portions, and errors between them. Each result is
// compared with a model of what the comment of Reader promises. TICKWIRE_FULL=1 reads
// thirty times as many streams.
func TestR35MixedReads(t *testing.T) {
	runs := 2500
	switch {
	case os.Getenv("TICKWIRE_FULL") != "":
		runs *= 30
	case testing.Short() || UnderRace:
		runs /= 10
	}
	for seed := range runs {
		for _, role := range []Role{Client, Server} {
			m := newMixed(role, uint64(seed))
			if err := m.run(); err != nil {
				t.Fatalf("%v, seed %d: %v\nframes %s\ncalls %s", role, seed, err, m.describe(), strings.Join(m.log, " "))
			}
		}
	}
}

// wireFrame is a frame of the stream and its place there.
type wireFrame struct {
	Frame
	body, end int
}

// mixed is one run with many read methods, and the model of its state.
type mixed struct {
	rnd     *rand.Rand
	rd      *Reader
	stream  []byte // the part that is not given yet
	given   int    // bytes
	pull    bool   // with a source
	waits   int    // of 8 reads, how many end with errTimeout
	log     []string
	batches []heldBatch

	frames []wireFrame
	broken int // the place of the byte that breaks a rule, or -1
	over   error

	cur   int   // the first frame that was not taken whole
	off   int   // bytes of that frame that were given
	claim claim // of frames before cur
	op    Opcode
	held  string // taken and not given
}

type heldBatch struct {
	*Batch
	want []string
}

func newMixed(role Role, seed uint64) *mixed {
	m := &mixed{rnd: rand.New(rand.NewPCG(seed, 6455)), broken: -1}
	m.pull, m.waits = m.rnd.IntN(2) == 0, m.rnd.IntN(8)
	sizes := []int{0, 0, 1, 2, 7, 125, 126, 700, 5000, 9000, 20000}[:7+m.rnd.IntN(5)]
	var frames []Frame
	add := func(op Opcode, fin bool, size int) {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = 'a' + byte(m.rnd.IntN(26))
		}
		frames = append(frames, Frame{Header{Opcode: op, Fin: fin}, payload})
	}
	for range 1 + m.rnd.IntN(6) {
		op := Text + Opcode(m.rnd.IntN(2))
		for fin := false; !fin; op = Continuation {
			for m.rnd.IntN(4) == 0 {
				add(Ping+Opcode(m.rnd.IntN(2)), true, m.rnd.IntN(126))
			}
			fin = m.rnd.IntN(2) == 0
			add(op, fin, sizes[m.rnd.IntN(len(sizes))])
		}
	}
	frames = frames[:1+m.rnd.IntN(len(frames))] // it may end within a message
	end := m.rnd.IntN(3)
	if end == 1 {
		frames = append(frames, Frame{Header{Opcode: Close, Fin: true}, []byte("\x03\xe8bye")})
	}
	at := 0
	for i, f := range frames {
		n := len(wire(role, frames[:i+1]...))
		m.frames = append(m.frames, wireFrame{f, n - len(f.Payload), n})
		at = n
	}
	m.stream = wire(role, frames...)
	switch {
	case end == 1:
		m.stream = append(m.stream, "behind the end"...)
	case end == 2:
		m.broken = at
		m.stream = append(m.stream, 0xFF)
	default:
		m.stream = m.stream[:at-m.rnd.IntN(at-m.start(len(frames)-1))]
	}
	var src io.Reader
	if m.pull {
		src = m
	}
	m.rd = NewReader(src, role, Options{})
	if m.rnd.IntN(2) == 0 {
		m.rd.SetMaxBuffer(minBuffer)
	}
	return m
}

func (m *mixed) start(i int) int {
	if i == 0 {
		return 0
	}
	return m.frames[i-1].end
}

func (m *mixed) describe() string {
	var b strings.Builder
	for _, f := range m.frames {
		fmt.Fprintf(&b, "%v/%d/%t@%d ", f.Header.Opcode, len(f.Payload), f.Header.Fin, f.end)
	}
	return fmt.Sprintf("%sof %d bytes, broken at %d", b.String(), m.given+len(m.stream), m.broken)
}

// Read gives the next random portion, or errTimeout.
func (m *mixed) Read(p []byte) (int, error) {
	if m.rnd.IntN(8) < m.waits {
		return 0, errTimeout
	}
	if len(m.stream) == 0 {
		return 0, io.EOF
	}
	limit := []int{1, 3, 20, 300, 10000, 1 << 20}[m.rnd.IntN(6)]
	n := copy(p[:min(len(p), 1+m.rnd.IntN(limit))], m.stream)
	m.stream = m.stream[n:]
	m.given += n
	return n, nil
}

// run calls one read method after the other until the end of the stream was returned
// three times.
func (m *mixed) run() error {
	for ends := 0; ends < 3; {
		if m.rnd.IntN(8) == 0 {
			m.rd.Release()
		}
		if m.rd.More() {
			ahead := *m
			for {
				if got, ok, err := ahead.message(); !ok || err != nil {
					return fmt.Errorf("More was true, and the model has none (%v)", err)
				} else if !got.Opcode.IsControl() {
					break
				}
			}
		}
		way := m.rnd.IntN(4)
		err := m.call(way)
		m.log = append(m.log, fmt.Sprintf("%s=%v", [...]string{"Next", "NextFrame", "NextPiece", "NextBatch"}[way], err))
		switch {
		case err == nil || err == errTimeout || err == ErrMixedReads:
		case err == io.EOF || err == io.ErrUnexpectedEOF || m.over != nil && err == m.over:
			ends++
		default:
			return err
		}
	}
	for _, b := range m.batches {
		if err := b.release(); err != nil {
			return err
		}
	}
	m.rd.Reset(nil, Client, Options{})
	return nil
}

// call calls one read method and compares the result with the model. It returns an
// expected error of the Reader.
func (m *mixed) call(way int) error {
	var dst []byte
	if way == 2 {
		dst = make([]byte, m.rnd.IntN(20000))
		if m.rnd.IntN(2) == 0 {
			dst = nil
		}
	}
	for {
		var ok bool
		var err, wrong error
		switch way {
		case 0:
			ok, err, wrong = m.next()
		case 1:
			ok, err, wrong = m.nextFrame()
		case 2:
			ok, err, wrong = m.nextPiece(dst)
		case 3:
			ok, err, wrong = m.nextBatch()
		}
		if wrong != nil {
			return wrong
		}
		if ok || err != nil {
			return m.judged(err)
		}
		// Nothing is buffered. Without a source the bytes come from here. The method may
		// change after them.
		space := m.rd.SpaceIn(dst)
		n, err := m.Read(space)
		if err != nil {
			return err
		}
		m.rd.Filled(n)
		if m.rnd.IntN(4) == 0 {
			return nil
		}
	}
}

// judged records a final error of the Reader that the model has agreed to.
func (m *mixed) judged(err error) error {
	var broken *ProtocolError
	if errors.As(err, &broken) {
		if m.over != nil && err != m.over || broken.Offset != uint64(m.broken) {
			return fmt.Errorf("the error %v, after %v, at %d", err, m.over, m.broken)
		}
		m.over = err
	}
	return err
}

// agree checks that something came if and only if the model expects it. It reports
// whether there is a result to compare.
func (m *mixed) agree(got bool, err error, want bool, wantErr error) (bool, error) {
	var broken *ProtocolError
	midway := m.cur < len(m.frames) || m.broken >= 0 || len(m.frames) > 0 && m.openAt(m.cur)
	switch {
	case wantErr == errBroken && errors.As(err, &broken), wantErr == ErrMixedReads && err == wantErr:
		return false, nil
	case wantErr != nil:
	case got && err == nil && want:
		return true, nil
	case !got && err == nil && !want && !m.pull, !got && err == errTimeout && !want && m.pull:
		return false, nil
	case m.closed() && err == io.EOF && !got && !want:
		return false, nil
	case !want && len(m.stream) == 0 && err == io.ErrUnexpectedEOF && midway:
		return false, nil
	case !want && len(m.stream) == 0 && err == io.EOF && !midway:
		return false, nil
	}
	return false, fmt.Errorf("came %t, %v; want %t, %v (frame %d+%d, claim %d, %d held, %d bytes given)", got, err, want, wantErr, m.cur, m.off, m.claim, len(m.held), m.given)
}

// openAt reports whether a message is open after the first n frames.
func (m *mixed) openAt(n int) bool {
	for n--; n >= 0; n-- {
		if !m.frames[n].Header.Opcode.IsControl() {
			return !m.frames[n].Header.Fin
		}
	}
	return false
}

// errBroken is a ProtocolError in the model.
var errBroken = errors.New("broken")

func (m *mixed) closed() bool {
	return m.cur > 0 && m.frames[m.cur-1].Header.Opcode == Close
}

// whole returns the next frame if it has come whole. A failed stream has none.
func (m *mixed) whole() (f *wireFrame, ok bool, err error) {
	if m.cur == len(m.frames) {
		if m.broken >= 0 && m.given > m.broken {
			err = errBroken
		}
		return nil, false, err
	}
	f = &m.frames[m.cur]
	return f, m.given >= f.end, nil
}

// take moves past the frame cur, whose message then has the claim c. It returns the part
// of the payload that was not given.
func (m *mixed) take(c claim) string {
	f := &m.frames[m.cur]
	rest := string(f.Payload[m.off:])
	m.cur, m.off = m.cur+1, 0
	if op := f.Header.Opcode; op.IsControl() {
		return rest
	} else if op != Continuation {
		m.op = op
	}
	if m.claim = c; f.Header.Fin {
		m.claim = unclaimed
	}
	return rest
}

// message is the model of Next.
func (m *mixed) message() (want Message, ok bool, err error) {
	if m.claim.given() {
		m.claim, m.held = dropped, ""
	}
	for {
		f, ok, err := m.whole()
		switch {
		case !ok:
			return want, false, err
		case f.Header.Opcode.IsControl():
			return Message{Opcode: f.Header.Opcode, Data: []byte(m.take(0))}, true, nil
		case m.claim == dropped:
			m.take(dropped)
			continue
		}
		m.held += m.take(joined)
		if f.Header.Fin {
			want = Message{Opcode: m.op, Data: []byte(m.held)}
			m.held = ""
			return want, true, nil
		}
	}
}

func (m *mixed) next() (ok bool, err, wrong error) {
	var got Message
	if m.pull {
		got, err = m.rd.Next()
		ok = err == nil
	} else {
		got, ok, err = m.rd.Buffered()
	}
	want, wantOK, wantErr := m.message()
	same, wrong := m.agree(ok, err, wantOK, wantErr)
	if same {
		wrong = sameData(got.Opcode, want.Opcode, got.Data, want.Data)
	}
	return ok, err, wrong
}

func sameData(op, wantOp Opcode, data, want []byte) error {
	if op != wantOp || !bytes.Equal(data, want) {
		return fmt.Errorf("%v %.50q (%d bytes), want %v %.50q (%d bytes)", op, data, len(data), wantOp, want, len(want))
	}
	return nil
}

// frame is the model of NextFrame.
func (m *mixed) frame() (want Frame, ok bool, err error) {
	switch {
	case m.claim == joined && m.over == nil && !m.closed():
		return want, false, ErrMixedReads
	case m.claim == pieced:
		m.claim = dropped
	}
	for {
		f, ok, err := m.whole()
		switch {
		case !ok:
			return want, false, err
		case m.claim == dropped && !f.Header.Opcode.IsControl():
			m.take(dropped)
			continue
		}
		m.take(framed)
		return f.Frame, true, nil
	}
}

func (m *mixed) nextFrame() (ok bool, err, wrong error) {
	var got Frame
	if m.pull {
		got, err = m.rd.NextFrame()
		ok = err == nil
	} else {
		got, ok, err = m.rd.BufferedFrame()
	}
	want, wantOK, wantErr := m.frame()
	same, wrong := m.agree(ok, err, wantOK, wantErr)
	if same {
		if wrong = sameData(got.Header.Opcode, want.Header.Opcode, got.Payload, want.Payload); got.Header.Fin != want.Header.Fin {
			wrong = fmt.Errorf("the header %+v, want %+v", got.Header, want.Header)
		}
	}
	return ok, err, wrong
}

// piece is the model of NextPiece. Any front of want may come; a control frame comes
// whole.
func (m *mixed) piece() (op Opcode, want []byte, ok bool, err error) {
	if m.over != nil || m.closed() {
		_, _, err = m.whole()
		return 0, nil, false, err
	}
	for {
		f, whole, err := m.whole()
		switch control := f != nil && f.Header.Opcode.IsControl(); {
		case m.held != "" && (f == nil || control):
			return m.op, []byte(m.held), true, nil
		case f == nil:
			return 0, nil, false, err
		case control && whole:
			return f.Header.Opcode, []byte(m.take(0)), true, nil
		case control:
			return 0, nil, false, nil
		case m.claim == dropped && whole:
			m.take(dropped)
			continue
		case m.claim == dropped:
			return 0, nil, false, nil
		}
		if f.Header.Opcode != Continuation {
			m.op = f.Header.Opcode
		}
		if here := min(m.given, f.end) - f.body - m.off; here > 0 {
			want = f.Payload[m.off : m.off+here]
		}
		switch want = append([]byte(m.held), want...); {
		case len(want) > 0 || whole && f.Header.Fin:
			return m.op, want, true, nil
		case !whole:
			return 0, nil, false, nil
		case m.claim == framed || m.claim == pieced || len(f.Payload) > 0:
			m.take(pieced)
		default:
			m.take(joined)
		}
	}
}

func (m *mixed) nextPiece(dst []byte) (ok bool, err, wrong error) {
	var got Piece
	if m.pull {
		got, err = m.rd.NextPiece(dst)
		ok = err == nil
	} else {
		got, ok, err = m.rd.BufferedPiece()
	}
	op, want, wantOK, wantErr := m.piece()
	same, wrong := m.agree(ok, err, wantOK, wantErr)
	switch {
	case !same:
		return ok, err, wrong
	case op.IsControl() || len(got.Data) > len(want):
		return ok, err, sameData(got.Opcode, op, got.Data, want)
	}
	if wrong = sameData(got.Opcode, op, got.Data, want[:len(got.Data)]); wrong != nil {
		return ok, err, wrong
	}
	fromHeld := min(len(got.Data), len(m.held))
	m.held = m.held[fromHeld:]
	m.claim = pieced
	last := false
	if m.cur < len(m.frames) {
		f := &m.frames[m.cur]
		m.off += len(got.Data) - fromHeld
		if !f.Header.Opcode.IsControl() && m.held == "" && m.off == len(f.Payload) && m.off > 0 || len(want) == 0 {
			last = f.Header.Fin
			m.take(pieced)
		}
	}
	if got.Last != last || len(got.Data) == 0 && !last {
		wrong = fmt.Errorf("a piece of %d bytes with Last %t, want %t", len(got.Data), got.Last, last)
	}
	return ok, err, wrong
}

func (m *mixed) nextBatch() (ok bool, err, wrong error) {
	var got *Batch
	if m.pull {
		got, err = m.rd.NextBatch()
		ok = err == nil
	} else {
		got, ok, err = m.rd.BufferedBatch()
	}
	want, wantOK, wantErr := m.message()
	same, wrong := m.agree(ok, err, wantOK, wantErr)
	if !same {
		return ok, err, wrong
	}
	held := heldBatch{Batch: got}
	for i, g := range got.Messages {
		if i > 0 {
			if want, ok, err = m.message(); !ok || err != nil {
				return ok, nil, fmt.Errorf("message %d of a batch was not to come", i)
			}
		}
		if wrong := sameData(g.Opcode, want.Opcode, g.Data, want.Data); wrong != nil {
			return ok, nil, wrong
		}
		held.want = append(held.want, string(want.Data))
	}
	m.batches = append(m.batches, held)
	if len(m.batches) > 2 {
		wrong = m.batches[0].release()
		m.batches = m.batches[1:]
	}
	return true, nil, wrong
}

// release compares the messages of a batch that was kept, and releases the batch.
func (b heldBatch) release() error {
	for i, g := range b.Messages {
		if string(g.Data) != b.want[i] {
			return fmt.Errorf("message %d of a batch that was kept has changed", i)
		}
	}
	b.Batch.Release()
	return nil
}
