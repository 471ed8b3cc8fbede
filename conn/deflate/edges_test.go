package deflate

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// A message without a byte ends with no block, also after one whose last block was final.
func TestR83EmptyAfterFinal(t *testing.T) {
	final := new(bitWriter).bits(1, 1).bits(1, 2).code(0x30+'a', 8).code(0, 7).p // a fixed block: "a"
	for name, before := range map[string][]byte{"at the beginning": nil, "after a final block": final} {
		d, err := NewInflater(InflateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if before != nil {
			if m, err := d.Message(before, true); err != nil || string(m) != "a" {
				t.Fatal(m, err)
			}
		}
		if m, err := d.Message(nil, true); !errors.Is(err, ErrMessageEnd) {
			t.Errorf("%s: %q, %v", name, m, err)
		}
	}
}

// The tail may be kept only where no context is taken over.
func TestKeptTailWithTakeover(t *testing.T) {
	kept := []byte{0x00, 0x01, 0x00, 0xFE, 0xFF, 'a', 0x00, 0x00, 0x00, 0xFF, 0xFF}
	for _, alone := range []bool{true, false} {
		d, err := NewInflater(InflateOptions{KeptTail: true, NoContextTakeover: alone})
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.Message(kept, true)
		if alone && (err != nil || string(m) != "a") || !alone && !errors.Is(err, ErrMessageEnd) {
			t.Errorf("no context takeover %t: %q, %v", alone, m, err)
		}
	}
}

// The ratio of a message is judged by its own bytes, not by those before it.
func TestR87RatioAfterALargeMessage(t *testing.T) {
	random := make([]byte, 300<<10)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(random)
	large, err := AppendMessage(nil, random, 15, 1)
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := AppendMessage(nil, make([]byte, 300<<10), 15, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewInflater(InflateOptions{MaxRatio: 100})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := d.Message(large, false); err != nil || !bytes.Equal(m, random) {
		t.Fatal(len(m), err)
	}
	if m, err := d.Message(bomb, false); !errors.Is(err, ErrRatio) {
		t.Errorf("%d bytes of %d, %v", len(m), len(bomb), err)
	}
}

// A repeat of code lengths must end where they do, or before: one more is refused.
func TestR85RepeatOverrunsByOne(t *testing.T) {
	for distances, want := range map[int]error{2: ErrCodeLengths, 3: nil} {
		w := new(bitWriter).bits(0, 1).bits(2, 2).bits(0, 5).bits(distances-1, 5).bits(14, 4)
		for _, symbol := range codeLenOrder[:18] {
			w.bits(map[uint8]int{18: 1, 1: 2, 17: 2}[symbol], 3)
		}
		w.code(0, 1).bits(138-11, 7).code(0, 1).bits(118-11, 7) // no literal
		w.code(2, 2)                                            // the end of the block, of one bit
		w.code(3, 2).bits(0, 3)                                 // three distances that are not used
		w.code(0, 1)                                            // the end
		w.bits(0, 3)                                            // the tail's block
		d, err := NewInflater(InflateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := d.Message(w.p, false); !errors.Is(err, want) || want == nil && (err != nil || len(m) != 0) {
			t.Errorf("%d distances: %q, %v, want %v", distances, m, err, want)
		}
	}
}

// Of input that comes in small pieces the inflater decodes symbol by symbol. There, too, a
// distance may not lead beyond the agreed window, or to before the first message.
func TestR85DistanceInSmallPieces(t *testing.T) {
	// match is a fixed block with a match of three bytes, and then the tail's block.
	match := func(code, extraBits, extra int) []byte {
		return new(bitWriter).bits(0, 1).bits(1, 2).code(1, 7).code(code, 5).bits(extra, extraBits).code(0, 7).bits(0, 3).p
	}
	for _, c := range []struct {
		distance  int
		code      int // of the distance, and its extra bits
		bits      int
		extra     int
		want      error
		sentFirst int
	}{
		{256, 15, 6, 63, nil, 300},
		{257, 16, 7, 0, ErrDistance, 300},
		{300, 16, 7, 43, ErrDistance, 400},
		{4, 3, 0, 0, nil, 4},
		{4, 3, 0, 0, ErrDistance, 3},
	} {
		d, err := NewInflater(InflateOptions{WindowBits: 8})
		if err != nil {
			t.Fatal(err)
		}
		first := bytes.Repeat([]byte("x"), c.sentFirst)
		n := c.sentFirst
		stored := append([]byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}, first...)
		if m, err := d.Message(append(stored, 0), false); err != nil || len(m) != n {
			t.Fatalf("%d bytes, %v", len(m), err)
		}
		if err := d.Begin(false); err != nil {
			t.Fatal(err)
		}
		m, err := byteByByte(d, match(c.code, c.bits, c.extra))
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || string(m) != "xxx") {
			t.Errorf("distance %d after %d bytes: %q, %v, want %v", c.distance, n, m, err, c.want)
		}
	}
}

// byteByByte pushes a message byte by byte.
func byteByByte(d *Inflater, p []byte) ([]byte, error) {
	for i := range p {
		if err := d.Push(p[i:i+1], false); err != nil {
			return nil, err
		}
	}
	err := d.Push(nil, true)
	return d.Bytes(), err
}
