package frame_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

var roles = []reference.Role{reference.Server, reference.Client}

// full (TICKWIRE_FULL=1) enlarges the samples of the slow tests.
var full = os.Getenv("TICKWIRE_FULL") != ""

// thin divides the number of runs of the slow tests, under the race detector and with
// -short (for emulators).
func thin() int {
	switch {
	case full:
		return 1
	case testing.Short():
		return 20
	case frame.UnderRace:
		return 10
	}
	return 1
}

// TestR35R36EveryCut: the cut of a stream changes nothing. Frames, messages, the error,
// its offset and the end are those of the reference parser. Every stream is read in one
// piece, in pieces of one byte, and with every single cut.
func TestR35R36EveryCut(t *testing.T) {
	for _, role := range roles {
		streams := reference.Streams(role)
		if len(streams) < 300 {
			t.Fatalf("%d streams", len(streams))
		}
		for i, s := range streams {
			if i%thin() != 0 {
				continue
			}
			r := replay.New(role, s.Options, s.Bytes)
			// On machines where no slice can be as long as the limit of a stream, its
			// written verdict does not apply.
			if got := r.Want.Err; (got == nil) != (s.Want == "") && s.Options.MaxFrame <= math.MaxInt {
				t.Errorf("%s, %s: the reference says %+v, its author %q", role, s.Name, got, s.Want)
			}
			err := errors.Join(r.All(), r.All(replay.Drip(len(s.Bytes))...))
			for cut := 1; cut < len(s.Bytes) && err == nil; cut++ {
				err = r.All(cut)
			}
			report(t, s, err)
		}
	}
}

// TestR35EveryTwoCuts does the same with every pair of cuts in the streams of up to 300
// bytes.
func TestR35EveryTwoCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	for _, role := range roles {
		t.Run(role.String(), func(t *testing.T) {
			t.Parallel()
			for i, s := range reference.Streams(role) {
				if len(s.Bytes) > 300 || i%(2*thin()-1) != 0 {
					continue
				}
				r := replay.New(role, s.Options, s.Bytes)
				var err error
				for a := 1; a < len(s.Bytes) && err == nil; a++ {
					for b := a + 1; b < len(s.Bytes) && err == nil; b++ {
						if err = r.Decoder(a, b); err == nil {
							err = r.Messages(a, b)
						}
					}
				}
				report(t, s, err)
			}
		})
	}
}

// TestR35LargeStreams cuts the streams of more than a few kilobytes near their ends and
// at random. TICKWIRE_FULL=1 cuts them at every byte. Some are longer than the read
// buffer.
func TestR35LargeStreams(t *testing.T) {
	random := rand.New(rand.NewPCG(6455, 7692))
	times := 5
	switch {
	case full:
		times = 100
	case frame.UnderRace || testing.Short():
		times = 1
	}
	for _, role := range roles {
		streams := append(reference.LargeStreams(role), reads(role)...)
		for i, s := range streams {
			if thin() > 1 && i%4 != 0 {
				continue
			}
			r := replay.New(role, s.Options, s.Bytes)
			err := r.All()
			n := len(s.Bytes)
			for cut := 1; cut < n && err == nil; cut++ {
				if full || cut < 16 || cut > n-6 {
					err = r.All(cut)
				}
			}
			for i := 0; i < times && err == nil; i++ {
				cuts := make([]int, random.IntN(100))
				for i := range cuts {
					cuts[i] = 1 + random.IntN(n-1)
				}
				slices.Sort(cuts)
				err = r.All(cuts...)
			}
			report(t, s, err)
		}
	}
}

// TestR35ChangeOfWay changes the read method when the source has no bytes for a moment.
// No byte that was not delivered may be lost.
func TestR35ChangeOfWay(t *testing.T) {
	later := errors.New("later")
	stream := "\x82\x05first\x81\x06second\x81\x05third"
	for cut := 1; cut < len(stream)-1; cut++ {
		rd := frame.NewReader(io.MultiReader(strings.NewReader(stream[:cut]), &once{err: later}, strings.NewReader(stream[cut:])), frame.Client, frame.Options{})
		var got []string
		way := 0
		for {
			var data []byte
			var err error
			if way%2 == 0 {
				// A piece is taken as a whole message, so the rest that Next skips after
				// it is no loss.
				var p frame.Piece
				p, err = rd.NextPiece(nil)
				data = p.Data
			} else {
				var m frame.Message
				m, err = rd.Next()
				data = m.Data
			}
			if err == io.EOF {
				break
			}
			if err == later {
				way++
				continue
			}
			got = append(got, string(data))
		}
		// Next returns the whole message that the cut goes through, or NextPiece returns
		// a part of it before.
		want := []string{"first", "second", "third"}
		at := 0
		for i, m := range want {
			at += 2
			if in := cut - at; in > 0 && in < len(m) {
				want[i] = m[:in]
			}
			at += len(m)
		}
		if !slices.Equal(got, want) {
			t.Errorf("cut at %d: %q, want %q", cut, got, want)
		}
	}
}

// TestR35NextAfterNextFrame asks for a frame that is not there yet, and then for its
// message.
func TestR35NextAfterNextFrame(t *testing.T) {
	later := errors.New("later")
	stream := "\x01\x05first\x80\x03end"
	for cut := range len(stream) {
		rd := frame.NewReader(io.MultiReader(strings.NewReader(stream[:cut]), &once{err: later}, strings.NewReader(stream[cut:])), frame.Client, frame.Options{})
		want := "firstend"
		if f, err := rd.NextFrame(); err == nil && string(f.Payload) == "first" {
			want = "end" // the first frame was delivered; the second is read by the same method
			if f, err = rd.NextFrame(); err == later {
				f, err = rd.NextFrame()
			}
			if err != nil || string(f.Payload) != want {
				t.Errorf("cut at %d: %q, %v", cut, f.Payload, err)
			}
			continue
		} else if err != later {
			t.Fatalf("cut at %d: %q, %v", cut, f.Payload, err)
		}
		if m, err := rd.Next(); err != nil || string(m.Data) != want || m.Opcode != frame.Text {
			t.Errorf("cut at %d: %q, %v, want %q", cut, m.Data, err, want)
		}
	}
}

// once is a source that gives one error, then its end.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = io.EOF
	return 0, err
}

// reads are streams made for the reader: messages near the size of its buffer, joined,
// and followed by small ones.
func reads(role reference.Role) []reference.Stream {
	var all []reference.Stream
	add := func(name string, o reference.Options, pieces ...reference.Piece) {
		all = append(all, reference.Stream{Name: name, Role: role, Options: o, Bytes: reference.Write(role, pieces...)})
	}
	of := func(first byte, n int) reference.Piece {
		p := reference.Piece{First: first, Payload: make([]byte, n)}
		for i := range p.Payload {
			p.Payload[i] = "größe: 12 €; "[i%15]
		}
		for n > 0 && p.Payload[n-1] >= 0x80 {
			n--
			p.Payload[n] = '.'
		}
		return p
	}
	for _, n := range []int{1000, 4090, 8192, 16000, 65536, 150000} {
		add(fmt.Sprintf("one of %d between small ones", n), reference.Options{}, of(0x81, 3), of(0x81, n), of(0x89, 5), of(0x82, 20), of(0x81, 0))
		add(fmt.Sprintf("pieces of %d with pings", n), reference.Options{}, of(0x81, 9), of(0x01, n), of(0x89, 125), of(0x00, n/2), of(0x00, 0), of(0x8A, 1), of(0x80, n), of(0x82, 7))
		add(fmt.Sprintf("broken behind %d", n), reference.Options{}, of(0x82, 9), of(0x01, n), of(0x80, n/3), of(0x01, n), reference.Piece{First: 0x80, Payload: []byte("12345\xFF")})
		add(fmt.Sprintf("cut short behind %d", n), reference.Options{}, of(0x82, n), of(0x01, n), reference.Piece{Raw: []byte{0x00}})
	}
	var many []reference.Piece
	for i := range 3000 {
		many = append(many, of(0x81+byte(i%2), i%211))
	}
	add("a feed", reference.Options{}, many...)
	return all
}

func report(t *testing.T, s reference.Stream, err error) {
	if err != nil {
		t.Helper()
		t.Errorf("%s, %s (% .40x): %v", s.Role, s.Name, s.Bytes, err)
	}
}
