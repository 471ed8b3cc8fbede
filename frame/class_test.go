package frame_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// hostileLengths are lengths that overflow counters: near the maximum of 64, 63, 32 and
// 31 bits.
var hostileLengths = []uint64{
	1 << 63, 1<<63 + 5, 1<<64 - 1, 1<<64 - 14, 1<<63 - 1, 1<<63 - 14, 1 << 62, 1<<32 + 5, 1 << 32, 1<<32 - 1, 1<<31 + 5, 1 << 31, 1<<31 - 1,
}

// TestV1V2V3HostileLengths declares each hostile length and each length of a single bit.
// They are in the first frame and in a continuation whose sum overflows. The limits are
// the defaults or off. After the header the buffer holds every number of bytes.
func TestV1V2V3HostileLengths(t *testing.T) {
	lengths := append([]uint64(nil), hostileLengths...)
	for bit := range 64 {
		lengths = append(lengths, 1<<bit)
	}
	for _, role := range roles {
		for _, length := range lengths {
			for _, o := range []reference.Options{{}, {MaxFrame: math.MaxUint64, MaxMessage: math.MaxUint64}} {
				for _, first := range []byte{0x82, 0x80} {
					var stream []byte
					if first == 0x80 {
						stream = bytesOf(role, piece(0x01, "some bytes before"))
					}
					stream = reference.Piece{First: first, Declared: &length, Form: reference.Form64}.Append(stream, role)
					for fill := range 20 / thin() {
						r := replay.New(role, o, append(bytes.Clone(stream), make([]byte, fill)...))
						if err := errors.Join(r.All(), r.All(len(stream))); err != nil {
							t.Fatalf("length %#x for a %v, %d bytes after the header: %v", length, role, fill, err)
						}
					}
				}
			}
		}
	}
}

// TestV5StreamsWithoutLimits reads every stream with all limits off. All other rules
// still hold, and no declared length is trusted.
func TestV5StreamsWithoutLimits(t *testing.T) {
	huge := reference.Options{MaxFrame: math.MaxUint64, MaxMessage: math.MaxUint64, MaxFragments: math.MaxInt, MaxControlPerMessage: math.MaxInt}
	off := frame.Options{MaxFrame: -1, MaxMessage: -1, MaxFragments: -1, MaxControlPerMessage: -1}
	hard := reference.Options{MaxFrame: frame.HardMaxMessage, MaxMessage: frame.HardMaxMessage, MaxFragments: math.MaxInt, MaxControlPerMessage: math.MaxInt}
	for _, role := range roles {
		for _, s := range append(reference.Streams(role), reference.LargeStreams(role)...) {
			o := huge
			o.Compression, o.AllowNonMinimal, o.SkipUTF8 = s.Options.Compression, s.Options.AllowNonMinimal, s.Options.SkipUTF8
			report(t, s, replay.New(role, o, s.Bytes).All())

			hard.Compression, hard.AllowNonMinimal, hard.SkipUTF8 = o.Compression, o.AllowNonMinimal, o.SkipUTF8
			off.Compression, off.AllowNonMinimal, off.SkipUTF8 = o.Compression, o.AllowNonMinimal, o.SkipUTF8
			want := reference.Parse(role, hard, s.Bytes).Err
			got := decode(roleOf(role), off, s.Bytes)
			if (want == nil) != (got == nil) || want != nil && (got.Rule != want.Rule.Name || got.Offset != want.Offset) {
				t.Errorf("%v, %s: %v, want %+v", role, s.Name, got, want)
			}
		}
	}
}

// endless is a source that gives a head, then the same bytes again and again. It counts
// what it gave.
type endless struct {
	head, again []byte
	at          int
	given       int
	left        int // bytes until io.EOF
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for n < len(p) {
		if len(e.head) > 0 {
			k := copy(p[n:], e.head)
			e.head = e.head[k:]
			n += k
			continue
		}
		k := copy(p[n:], e.again[e.at:])
		e.at = (e.at + k) % len(e.again)
		n += k
	}
	e.given += n
	e.left -= n
	return n, nil
}

// allocated returns how many bytes f allocates on the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestV6EndlessMessage reads fragments that never end. The limit stops them, and memory
// is in proportion to the limit.
func TestV6EndlessMessage(t *testing.T) {
	const limit = 1 << 20
	for _, role := range roles {
		src := &endless{head: bytesOf(role, piece(0x02, "")), again: bytesOf(role, piece(0x00, string(make([]byte, 1000)))), left: 1 << 30}
		rd := frame.NewReader(src, roleOf(role), frame.Options{MaxMessage: limit})
		var err error
		took := allocated(func() { _, err = rd.Next() })
		if !errors.Is(err, frame.ErrMessageTooLarge) {
			t.Errorf("%v: %v", role, err)
		}
		if src.given > limit+limit/8 {
			t.Errorf("%v: %d bytes were read for a limit of %d", role, src.given, limit)
		}
		if took > 8*limit {
			t.Errorf("%v: %d bytes were allocated for a limit of %d", role, took, limit)
		}
	}
}

// TestV7EmptyFragmentFlood sends continuations of 0 and of 1 byte without end. The
// default limit stops them at the frame that exceeds it. With the limit off a million of
// them cost no memory beyond their bytes.
func TestV7EmptyFragmentFlood(t *testing.T) {
	for _, role := range roles {
		for _, payload := range []string{"", "x"} {
			first, again := bytesOf(role, piece(0x01, payload)), bytesOf(role, piece(0x00, payload))
			rd := frame.NewReader(&endless{head: first, again: again, left: 1 << 30}, roleOf(role), frame.Options{})
			_, err := rd.Next()
			var e *frame.ProtocolError
			if want := uint64(len(first) + (frame.DefaultMaxFragments-1)*len(again)); !errors.Is(err, frame.ErrTooManyFragments) || !errors.As(err, &e) || e.Offset != want {
				t.Errorf("%v, %q: %v, want %v at byte %d", role, payload, err, frame.ErrTooManyFragments.Rule, want)
			}
			frames := 1_000_000 / thin()
			rd.Reset(&endless{head: bytesOf(role, piece(0x01, payload)), again: again, left: frames * len(again)}, roleOf(role), frame.Options{MaxFragments: -1})
			took := allocated(func() { _, err = rd.Next() })
			if err != io.ErrUnexpectedEOF {
				t.Errorf("%v, %q: %v", role, payload, err)
			}
			if took > uint64(8*frames) && !frame.UnderRace { // the race detector allocates, and its pools drop buffers on purpose
				t.Errorf("%v, %q: %d bytes were allocated for %d frames", role, payload, took, frames)
			}
		}
	}
}

// TestV14HugeLengthOfARefusedFrame: a frame that is refused at its first byte is not read
// or waited for.
func TestV14HugeLengthOfARefusedFrame(t *testing.T) {
	length := uint64(1) << 40
	for _, role := range roles {
		for first := range 256 {
			op := frame.Opcode(first & 0xF)
			if !op.IsReserved() && !op.IsControl() {
				continue
			}
			src := &endless{head: reference.Piece{First: byte(first), Declared: &length}.Append(nil, role), again: []byte{0}, left: 1 << 30}
			rd := frame.NewReader(src, roleOf(role), frame.Options{Compression: true})
			var err error
			took := allocated(func() { _, err = rd.Next() })
			var e *frame.ProtocolError
			if !errors.As(err, &e) || e.Offset > 1 {
				t.Errorf("%v, first byte %02x: %v", role, first, err)
			}
			if src.given > 1<<16 || took > 1<<16 {
				t.Errorf("%v, first byte %02x: %d bytes read, %d allocated", role, first, src.given, took)
			}
		}
	}
}

// TestV15UnsolicitedPongs reads a million pongs. They are delivered one by one, and no
// memory stays in use.
func TestV15UnsolicitedPongs(t *testing.T) {
	pongs := 1_000_000 / thin()
	for _, role := range roles {
		pong := bytesOf(role, piece(0x8A, "unasked"))
		rd := frame.NewReader(&endless{again: pong, left: pongs * len(pong)}, roleOf(role), frame.Options{})
		n := 0
		took := allocated(func() {
			for {
				m, err := rd.Next()
				if err != nil {
					return
				}
				if m.Opcode != frame.Pong || string(m.Data) != "unasked" {
					t.Fatalf("%v %q", m.Opcode, m.Data)
				}
				n++
			}
		})
		if n < pongs {
			t.Errorf("%v: %d pongs", role, n)
		}
		if took > 1<<20 && !frame.UnderRace {
			t.Errorf("%v: %d bytes were allocated", role, took)
		}
	}
}

// TestV16SeveralFramesInOneRead gives a reader several messages at once, for every number
// of them. Some begin with an empty fragment.
func TestV16SeveralFramesInOneRead(t *testing.T) {
	for _, role := range roles {
		unit := bytesOf(role, piece(0x01, ""), piece(0x80, ""), piece(0x82, "b"), piece(0x89, ""), piece(0x01, ""), piece(0x00, "c"), piece(0x80, ""))
		for n := range 30 {
			stream := bytes.Repeat(unit, n)
			got, err := readAll(role, frame.Options{}, stream)
			if err != io.EOF || len(got) != 4*n {
				t.Fatalf("%v: %d items of %d units, %v", role, len(got), n, err)
			}
			for i, want := range []string{"text ", "binary b", "ping ", "text c"} {
				if n > 0 && got[4*(n-1)+i] != want {
					t.Fatalf("%v: item %d of the last unit is %q", role, i, got[4*(n-1)+i])
				}
			}
		}
	}
}

// TestV17NextAlwaysEnds bounds the calls of Next for n bytes of any content, so a loop
// over Next always ends. Every call takes a byte or is the last one of its piece. One
// more call may return the event of an empty frame.
func TestV17NextAlwaysEnds(t *testing.T) {
	for _, role := range roles {
		for _, s := range reference.Streams(role) {
			d := frame.NewDecoder(roleOf(role), frame.Options{Compression: s.Options.Compression})
			p := bytes.Clone(s.Bytes)
			for len(p) > 0 {
				ev, n, err := d.Next(p)
				if err != nil {
					break
				}
				if n == 0 {
					t.Fatalf("%v, %s: an event %+v for no byte of %d", role, s.Name, ev, len(p))
				}
				p = p[n:]
			}
		}
	}
}

// TestNegativeLimits: a negative field means that the limit is off, not that it is below
// zero.
func TestNegativeLimits(t *testing.T) {
	o := frame.Options{MaxFrame: -1, MaxMessage: -1, MaxFragments: -1, MaxControlPerMessage: -1}
	for _, role := range roles {
		pieces := []reference.Piece{piece(0x01, "a")}
		want := []string{}
		for i := range 50 {
			pieces = append(pieces, piece(0x00, "b"), piece(0x8A, fmt.Sprint(i)))
			want = append(want, fmt.Sprint("pong ", i))
		}
		stream := bytesOf(role, append(pieces, piece(0x80, ""))...)
		mustPass(t, role, o, stream, append(want, "text a"+string(bytes.Repeat([]byte("b"), 50)))...)
	}
}
