package frame

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

// script is a source that answers each Read from a list. It records the memory that each
// Read gave.
type script struct {
	reads  []string
	err    error // after the last answer
	calls  int
	spaces [][]byte
}

func (s *script) Read(p []byte) (int, error) {
	s.calls++
	s.spaces = append(s.spaces, p)
	if len(s.reads) == 0 {
		return 0, s.err
	}
	n := copy(p, s.reads[0])
	if s.reads[0] = s.reads[0][n:]; s.reads[0] == "" {
		s.reads = s.reads[1:]
	}
	return n, nil
}

func TestOneReadManyMessages(t *testing.T) {
	var frames []Frame
	for range 50 {
		frames = append(frames, data(Text, true, "0123456789"), data(Ping, true, "p"))
	}
	s := &script{reads: []string{string(wire(Client, frames...))}, err: io.EOF}
	r := NewReader(s, Client, Options{})
	for i := range frames {
		if _, err := r.Next(); err != nil || s.calls != 1 {
			t.Fatalf("frame %d: %d reads, %v", i, s.calls, err)
		}
	}
	if r.More() {
		t.Error("more of an empty buffer")
	}
}

func TestLargePayloadIsReadIntoItsPlace(t *testing.T) {
	payload := strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB
	for _, fragmented := range []bool{false, true} {
		frames := []Frame{data(Text, true, payload)}
		if fragmented {
			frames = []Frame{data(Text, false, payload[:100000]), data(Continuation, true, payload[100000:])}
		}
		s := &script{reads: []string{string(wire(Server, frames...))}, err: io.EOF}
		r := NewReader(s, Server, Options{})
		m, err := r.Next()
		if err != nil || string(m.Data) != payload {
			t.Fatalf("%d bytes, %v", len(m.Data), err)
		}
		first, last := uintptr(unsafe.Pointer(&m.Data[0])), uintptr(unsafe.Pointer(&m.Data[len(m.Data)-1]))
		direct := 0
		for _, p := range s.spaces {
			if at := uintptr(unsafe.Pointer(&p[0])); at >= first && at <= last {
				direct += len(p)
			}
		}
		// Bytes that were not read into the last, largest buffer were moved there once,
		// when it grew.
		if direct < len(payload)/4 {
			t.Errorf("fragmented %v: %d of %d bytes were read into their place", fragmented, direct, len(payload))
		}
	}
}

func TestPieceIsReadIntoCallersMemory(t *testing.T) {
	payload := strings.Repeat("x", 1<<20)
	s := &script{reads: []string{string(wire(Client, data(Binary, true, payload)))}, err: io.EOF}
	r := NewReader(s, Client, Options{})
	dst := make([]byte, 100000)
	inDst := 0
	for {
		p, err := r.NextPiece(dst)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) > 0 && &p.Data[0] == &dst[0] {
			inDst += len(p.Data)
		}
		if p.Last {
			break
		}
	}
	if inDst < len(payload)-DefaultMaxBuffer {
		t.Errorf("%d of %d bytes were read into the caller's memory", inDst, len(payload))
	}
	if r.message != nil {
		t.Error("memory was taken for a message that was read in pieces")
	}
}

func TestR12NothingTakenForADeclaredLength(t *testing.T) {
	header := AppendHeader(nil, Header{Fin: true, Opcode: Binary, Length: 16 << 20})
	s := &script{reads: []string{string(header) + "few bytes"}, err: errTimeout}
	r := NewReader(s, Client, Options{})
	if _, err := r.Next(); err != errTimeout {
		t.Fatal(err)
	}
	if held := len(r.message.B) + r.Buffer(); held > 128<<10 {
		t.Errorf("%d bytes held after 9 of 16 MiB came", held)
	}
	// As the bytes come, the memory stays within twice of what came.
	got := 9
	for got < 4<<20 {
		space := r.Space()
		r.Filled(len(space))
		got += len(space)
		if _, ok, err := r.Buffered(); ok || err != nil {
			t.Fatal(ok, err)
		}
		if held := len(r.message.B) + r.Buffer(); held > 2*got+128<<10 {
			t.Fatalf("%d bytes held after %d came", held, got)
		}
	}
}

func TestR12VerdictBeforeThePayload(t *testing.T) {
	for _, n := range []uint64{DefaultMaxMessage + 1, 1 << 31, 1<<32 + 5, 1 << 62} {
		s := &script{reads: []string{string(AppendHeader(nil, Header{Fin: true, Opcode: Text, Length: n}))}, err: errors.New("read on")}
		r := NewReader(s, Client, Options{MaxFrame: 1 << 62})
		_, err := r.Next()
		var p *ProtocolError
		if !errors.As(err, &p) || p.Code != CodeMessageTooBig || p.Length != n || s.calls != 1 || r.message != nil {
			t.Errorf("length %d: %v after %d reads", n, err, s.calls)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("then %v", again)
		}
	}
}

func TestBufferAdapts(t *testing.T) {
	small := string(wire(Client, data(Text, true, "small")))
	r := NewReader(nil, Client, Options{})
	if r.Buffer() != 0 {
		t.Error("a new Reader holds a buffer")
	}
	fill := func(n int) {
		space := r.Space()
		b := bytes.Repeat([]byte(small), n/len(small)+1)
		r.Filled(copy(space, b))
		for {
			if _, ok, err := r.Buffered(); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
		}
	}
	// Whole frames only, so that the stream continues correctly after each fill.
	whole := func(n int) int { return n / len(small) * len(small) }
	fill(1)
	if r.Buffer() != minBuffer {
		t.Fatalf("starts with %d", r.Buffer())
	}
	for range 6 {
		space := r.Space()
		n := whole(len(space))
		copy(space, strings.Repeat(small, n/len(small)))
		r.offered = n // as if that were all
		r.Filled(n)
		for {
			if _, ok, _ := r.Buffered(); !ok {
				break
			}
		}
	}
	if r.Space(); r.Buffer() != DefaultMaxBuffer {
		t.Fatalf("grew to %d, want %d", r.Buffer(), DefaultMaxBuffer)
	}
	for range shrinkAfter * 5 {
		space := r.Space()
		r.Filled(copy(space, small))
		r.Buffered()
	}
	if r.Buffer() != minBuffer {
		t.Fatalf("shrank to %d, want %d", r.Buffer(), minBuffer)
	}
	r.Release()
	if r.Buffer() != 0 {
		t.Fatal("Release kept the buffer")
	}
	space := r.Space()
	r.Filled(copy(space, small[:5])) // header and a part of the payload
	r.Buffered()
	r.Release()
	if r.Buffer() == 0 {
		t.Fatal("Release gave bytes away that are still needed")
	}
	space = r.Space()
	r.Filled(copy(space, small[5:]))
	if m, ok, err := r.Buffered(); !ok || err != nil || string(m.Data) != "small" {
		t.Fatalf("%q %v %v", m.Data, ok, err)
	}
}

func TestMaxBuffer(t *testing.T) {
	payload := strings.Repeat("p", 500000)
	for _, limit := range []int{1, 8 << 10, 1 << 20} {
		r := NewReader(bytes.NewReader(wire(Client, data(Text, true, payload), data(Text, true, "x"))), Client, Options{})
		r.SetMaxBuffer(limit)
		if m, err := r.Next(); err != nil || string(m.Data) != payload {
			t.Fatal(len(m.Data), err)
		}
		if r.Buffer() > max(limit, minBuffer) {
			t.Errorf("limit %d: buffer of %d", limit, r.Buffer())
		}
		if m, err := r.Next(); err != nil || string(m.Data) != "x" {
			t.Fatal(m, err)
		}
	}
}

type oddReader func(p []byte) (int, error)

func (f oddReader) Read(p []byte) (int, error) { return f(p) }

func TestOddSources(t *testing.T) {
	if _, err := NewReader(oddReader(func([]byte) (int, error) { return 0, nil }), Client, Options{}).Next(); err != io.ErrNoProgress {
		t.Errorf("a source that gives nothing: %v", err)
	}
	for _, n := range []int{-1, 1 << 30} {
		if _, err := NewReader(oddReader(func([]byte) (int, error) { return n, nil }), Client, Options{}).Next(); err != errReadCount {
			t.Errorf("a source that claims %d bytes: %v", n, err)
		}
	}
	// Bytes and an error come together: the bytes are delivered first.
	b := wire(Client, data(Text, true, "message"))
	once := false
	r := NewReader(oddReader(func(p []byte) (int, error) {
		if once {
			t.Error("read again before the error was told")
		}
		once = true
		return copy(p, b), errTimeout
	}), Client, Options{})
	if m, err := r.Next(); err != nil || string(m.Data) != "message" {
		t.Fatal(m, err)
	}
	if _, err := r.Next(); err != errTimeout {
		t.Fatal(err)
	}
}

func TestNextFrameWithinAJoinedMessage(t *testing.T) {
	s := &script{reads: []string{string(wire(Client, data(Text, false, "a")))}, err: errTimeout}
	r := NewReader(s, Client, Options{})
	if _, err := r.Next(); err != errTimeout {
		t.Fatal(err)
	}
	if _, err := r.NextFrame(); err != ErrMixedReads {
		t.Fatalf("%v, want ErrMixedReads", err)
	}
	s.reads = []string{string(wire(Client, data(Continuation, true, "b")))}
	if m, err := r.Next(); err != nil || string(m.Data) != "ab" {
		t.Fatal(m, err)
	}
}

func TestResetGivesMemoryBack(t *testing.T) {
	r := NewReader(bytes.NewReader(wire(Client, data(Text, false, "half"))), Client, Options{})
	r.Next()
	r.Reset(bytes.NewReader(wire(Server, data(Text, true, "other"))), Server, Options{})
	if m, err := r.Next(); err != nil || string(m.Data) != "other" {
		t.Fatal(m, err)
	}
	if r.Decoder().Offset() != 11 {
		t.Errorf("offset %d", r.Decoder().Offset())
	}
}

func TestLatestIsWhatCame(t *testing.T) {
	b := wire(Server, data(Text, true, "small"), data(Binary, true, strings.Repeat("large", 100000)), data(Text, true, "end"))
	r := NewReader(nil, Server, Options{})
	var got []byte
	for rest := b; len(rest) > 0; {
		n := copy(r.Space(), rest)
		rest = rest[n:]
		r.Filled(n)
		got = append(got, r.Latest(n)...)
		for {
			if _, ok, err := r.Buffered(); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
		}
	}
	if !bytes.Equal(got, b) {
		t.Fatal("what came is not what was put there")
	}
}

// Refill returns what SpaceIn would, or nil, at every place of the stream where a
// connection waits.
func TestRefillIsSpace(t *testing.T) {
	big := strings.Repeat("b", 100_000)
	stream := wire(Client, data(Text, true, "a"), data(Text, true, big), data(Text, false, "c"), data(Continuation, true, big), data(Text, true, ""))
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int{1, 8 << 10, DefaultMaxBuffer} {
		for range 50 {
			one, other := NewReader(nil, Client, Options{}), NewReader(nil, Client, Options{})
			one.SetMaxBuffer(limit)
			other.SetMaxBuffer(limit)
			messages, refills := 0, 0
			for left := stream; len(left) > 0; {
				one.Release()
				other.Release()
				space, again := one.SpaceIn(nil), other.Refill()
				if again == nil {
					again = other.SpaceIn(nil)
				} else {
					refills++
				}
				if len(space) != len(again) || one.Buffer() != other.Buffer() {
					t.Fatalf("%d bytes of %d, and %d of %d with %d left", len(space), one.Buffer(), len(again), other.Buffer(), len(left))
				}
				n := min(1+rnd.IntN([]int{2, 300, 40_000}[rnd.IntN(3)]), len(space), len(left))
				one.Filled(copy(space, left[:n]))
				other.Filled(copy(again, left[:n]))
				left = left[n:]
				for {
					m, ok, err := one.Buffered()
					m2, ok2, err2 := other.Buffered()
					if ok != ok2 || err != err2 || m.Opcode != m2.Opcode || !bytes.Equal(m.Data, m2.Data) {
						t.Fatal(ok, err, ok2, err2)
					}
					if !ok {
						break
					}
					messages++
				}
			}
			if messages != 4 || refills == 0 {
				t.Fatalf("%d messages, %d refills", messages, refills)
			}
		}
	}
}

// F78: during a wait with a Space, or after Release, the Reader holds at most twice the
// received bytes of the message, or 4 KiB. The declared length and the size of earlier
// fills do not matter.
func TestF78HeldIsTwiceWhatCame(t *testing.T) {
	busy := wire(Client, data(Text, true, strings.Repeat("b", 1000)))
	for _, limit := range []int{DefaultMaxBuffer, 1 << 20} {
		for _, size := range []int{4000, 60_000, 70_000, 1 << 20} {
			stream := wire(Client, data(Binary, true, strings.Repeat("p", size)))
			for _, waits := range []bool{true, false} {
				for _, step := range []int{1 + size/500, 4096, 5000, 30_000} {
					r := NewReader(nil, Client, Options{})
					r.SetMaxBuffer(limit)
					for range 200 { // as after a busy feed
						space := r.SpaceIn(nil)
						n := len(space) / len(busy) * len(busy)
						copy(space, bytes.Repeat(busy, n/len(busy)))
						r.offered = n
						r.Filled(n)
						for ok := true; ok; {
							_, ok, _ = r.Buffered()
						}
					}
					r.Filled(copy(r.Space(), busy)) // the last one was not full
					r.Buffered()
					if r.size < limit {
						t.Fatalf("a buffer of %d was learned", r.size)
					}
					for came := 0; came < len(stream); {
						r.Release()
						space := r.SpaceIn(nil)
						if waits {
							space = r.WaitSpace(nil)
						}
						n := min(step, len(space), len(stream)-came)
						if !waits {
							r.Release()
						}
						held := r.Buffer()
						if r.message != nil {
							held += len(r.message.B)
						}
						if held > max(minBuffer, 2*came)+minMoved { // plus the smallest buffer, for the wait inside a message
							t.Fatalf("limit %d, waits %v: %d bytes held after %d of %d in steps of %d", limit, waits, held, came, size, step)
						}
						if !waits {
							space = r.SpaceIn(nil)
							n = min(step, len(space), len(stream)-came)
						}
						r.Filled(copy(space, stream[came:came+n]))
						came += n
						if _, _, err := r.Buffered(); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
}
