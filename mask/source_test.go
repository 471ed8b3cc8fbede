package mask

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"math/bits"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestV18KeysLookRandom takes a million keys. By the birthday bound 116 of them repeat an
// earlier one, give or take 11. Many more or far fewer mean that the keys are not
// independent. Each bit is set in half of the keys, give or take 500.
func TestV18KeysLookRandom(t *testing.T) {
	const count = 1_000_000
	var s Source
	keys, set := make([]Key, count), [32]int{}
	for i := range keys {
		keys[i] = s.Next()
		for k := keys[i]; k != 0; k &= k - 1 {
			set[bits.TrailingZeros32(uint32(k))]++
		}
	}
	for bit, n := range set {
		if n < count/2-4000 || n > count/2+4000 {
			t.Errorf("bit %d is set in %d of %d keys", bit, n, count)
		}
	}
	slices.Sort(keys)
	repeats := count - len(slices.Compact(keys))
	if repeats < 30 || repeats > 220 {
		t.Errorf("%d of %d keys repeat an earlier one; 116 do by chance", repeats, count)
	}
}

// counting gives a known sequence and records the size of each read.
type counting struct {
	next  byte
	reads []int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads = append(c.reads, len(p))
	for i := range p {
		p[i] = c.next*3 + c.next>>3
		c.next++
	}
	return len(p), nil
}

// TestV18KeysComeFromCryptoRand replaces the reader of crypto/rand. Its bytes must be the
// keys of a zero Source: four for each key, none twice, read in batches.
func TestV18KeysComeFromCryptoRand(t *testing.T) {
	c := &counting{}
	defer func(r io.Reader) { rand.Reader = r }(rand.Reader)
	rand.Reader = c
	var s Source
	for i := range 2500 {
		var want [4]byte
		for k := range want {
			n := byte(4*i + k)
			want[k] = n*3 + n>>3
		}
		if got := s.Next(); got != Key(binary.LittleEndian.Uint32(want[:])) {
			t.Fatalf("key %d is %08x, want the octets % x", i, got, want)
		}
	}
	if !slices.Equal(c.reads, []int{4096, 4096, 4096}) {
		t.Errorf("reads of %v bytes, want three batches of 4096", c.reads)
	}
}

// TestV18NoOtherRandomness: no file of the package imports math/rand.
func TestV18NoOtherRandomness(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		for _, imp := range file.Imports {
			if strings.Contains(imp.Path.Value, "math/rand") {
				t.Errorf("%s imports %s", name, imp.Path.Value)
			}
		}
	}
	if seen == 0 {
		t.Error("no file found")
	}
}

func TestSourceOfATest(t *testing.T) {
	s := Source{Rand: io.MultiReader(iotest{bytes.NewReader(bytes.Repeat([]byte{1, 2, 3, 4}, 1024))}, failing{})}
	for range 1024 {
		if k := s.Next(); k != 0x04030201 {
			t.Fatalf("%08x", k)
		}
	}
	if msg := panics(func() { s.Next() }); !strings.Contains(msg, "no more") {
		t.Errorf("a failing reader: panic %q", msg)
	}
}

// iotest is a reader that returns at most 1000 bytes at a time.
type iotest struct{ r io.Reader }

func (r iotest) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 1000)]) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no more") }
