package exchange

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"unicode/utf8"
)

// published returns the first n messages as an exchange sends them.
func published(n int, first uint64, made int64) [][]byte {
	cycle := newCycle(1)
	s := newStamp(first)
	s.setTime(made)
	messages := make([][]byte, n)
	for i := range messages {
		b := cycle[(first-FirstSequence+uint64(i))%cycleLength]
		messages[i] = s.appendTo(bytes.Clone(b.text), b.sum)
	}
	return messages
}

func TestCycleIsTheFeedItClaimsToBe(t *testing.T) {
	kinds := map[string]int{}
	seen := map[string]bool{}
	around200, smallest, largest, total, beyondASCII := 0, 1<<20, 0, 0, 0
	for _, p := range published(cycleLength, FirstSequence, 1_732_363_200_123_456_789) {
		var m struct {
			N          uint64
			T          int64
			E, S       string
			Bids, Asks [][2]string
			Books      []struct{ Bids, Asks [][2]string }
		}
		if err := json.Unmarshal(p, &m); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if !utf8.Valid(p) {
			t.Fatalf("not UTF-8: %q", p)
		}
		if m.E == "depth" && (len(m.Bids) != 20 || len(m.Asks) != 20) {
			t.Fatalf("a book of %d and %d levels", len(m.Bids), len(m.Asks))
		}
		kinds[m.E]++
		seen[m.S] = true
		if len(p) >= 150 && len(p) < 300 {
			around200++
		}
		if len(p) != len([]rune(string(p))) {
			beyondASCII++
		}
		total += len(p)
		smallest, largest = min(smallest, len(p)), max(largest, len(p))
	}
	for _, e := range []string{"trade", "bbo", "depth", "snapshot", "hb"} {
		if kinds[e] == 0 {
			t.Errorf("no message of type %s", e)
		}
	}
	for _, s := range symbols {
		if !seen[s.name] {
			t.Errorf("no message about %s", s.name)
		}
	}
	t.Logf("%d messages, %d bytes on average, %d to %d, %d near 200, %d beyond ASCII, %v",
		cycleLength, total/cycleLength, smallest, largest, around200, beyondASCII, kinds)
	if around200 < cycleLength*3/4 || smallest > 100 || largest < 6000 || largest > 12000 || beyondASCII < cycleLength/10 {
		t.Error("the mix of sizes is not that of a feed")
	}
}

func TestCheckerPassesWhatWasPublished(t *testing.T) {
	for _, first := range []uint64{FirstSequence, FirstSequence + 9, 1_999_999_999_999_990, lastSequence - 100} {
		c := NewChecker(first)
		for i, p := range published(100, first, 1_732_363_200_123_456_789) {
			if err := c.Check(p); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if got := Sequence(p); got != first+uint64(i) {
				t.Fatalf("sequence %d, want %d", got, first+uint64(i))
			}
			if got := Made(p); got != 1_732_363_200_123_456_789 {
				t.Fatalf("made at %d", got)
			}
		}
	}
}

func TestCheckerFindsEachDamage(t *testing.T) {
	messages := published(3, FirstSequence, 1_732_363_200_123_456_789)
	for at := range messages[0] {
		damaged := bytes.Clone(messages[0])
		damaged[at] ^= 0x10
		err := NewChecker(FirstSequence).Check(damaged)
		// The punctuation around the checksum is not part of what is summed; everything else is.
		fromEnd := len(damaged) - at
		if fromEnd <= summedTo && fromEnd > checksumAt || fromEnd <= checksumTo {
			continue
		}
		if !errors.Is(err, ErrChecksum) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
	}
	for n := range messages[0] {
		err := NewChecker(FirstSequence).Check(messages[0][:n])
		if !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrMessage) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for _, order := range [][]int{{0, 2}, {1}, {0, 0}, {0, 1, 0}} {
		c := NewChecker(FirstSequence)
		var err error
		for _, i := range order {
			err = c.Check(messages[i])
		}
		if !errors.Is(err, ErrGap) {
			t.Errorf("messages %v: %v, want a gap", order, err)
		} else if !strings.Contains(err.Error(), "100000000000000") {
			t.Errorf("%v names no number", err)
		}
	}
}

func TestHexadecimal(t *testing.T) {
	for _, v := range []uint32{0, 1, 9, 10, 15, 16, 0x89abcdef, 0x01234567, 0xfedcba98, 0xffffffff, 0xa0a0a0a0} {
		var got [8]byte
		binary.LittleEndian.PutUint64(got[:], hexadecimal(v))
		if want := fmt.Sprintf("%08x", v); string(got[:]) != want {
			t.Errorf("hexadecimal(%#x) = %q", v, got[:])
		}
	}
}

func TestChecksumIsCRC32C(t *testing.T) {
	p := published(1, FirstSequence, 1)[0]
	cut := bytes.LastIndex(p, []byte(`,"c":`))
	want := fmt.Sprintf("%08x", crc32.Checksum(p[:cut], crc32.MakeTable(crc32.Castagnoli)))
	if got := string(p[len(p)-10 : len(p)-2]); got != want {
		t.Errorf("checksum %s, want %s", got, want)
	}
}

func TestDecimal(t *testing.T) {
	for _, test := range []struct {
		v        int64
		decimals int
		want     string
	}{
		{0, 0, `"0"`}, {38415, 0, `"38415"`}, {0, 2, `"0.00"`}, {5, 2, `"0.05"`}, {9712345, 2, `"97123.45"`},
		{1_000_000, 6, `"1.000000"`}, {1, 6, `"0.000001"`}, {340, 3, `"0.340"`},
	} {
		if got := string(appendDecimal(nil, test.v, test.decimals)); got != test.want {
			t.Errorf("%d with %d decimals: %s, want %s", test.v, test.decimals, got, test.want)
		}
	}
}

func BenchmarkStamp(b *testing.B) {
	cycle := newCycle(1)
	s := newStamp(FirstSequence)
	s.setTime(1_732_363_200_123_456_789)
	scratch := make([]byte, 0, 16<<10)
	for i := 0; b.Loop(); i++ {
		body := cycle[i%cycleLength]
		s.appendTo(append(scratch[:0], body.text...), body.sum)
	}
}

func BenchmarkCheck(b *testing.B) {
	messages := published(cycleLength, FirstSequence, 1_732_363_200_123_456_789)
	c := NewChecker(FirstSequence)
	for i := 0; b.Loop(); i++ {
		if i%cycleLength == 0 {
			c.next = newDigits16(FirstSequence)
		}
		if err := c.Check(messages[i%cycleLength]); err != nil {
			b.Fatal(err)
		}
	}
}
