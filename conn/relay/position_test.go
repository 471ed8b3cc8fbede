package relay

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestPositionText(t *testing.T) {
	for _, p := range []Position{
		{}, {1, 2, 3}, {0x18a1b2c3d4e5f607, 1042, 17}, {math.MaxUint64, math.MaxUint64, EndOfBatch},
	} {
		got, err := ParsePosition(p.String())
		if err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got = Position{9, 9, 9}
		if err := json.Unmarshal(data, &got); err != nil || got != p {
			t.Errorf("%s: %v, %v", data, got, err)
		}
	}
	if got, want := (Position{0x18a1b2c3d4e5f607, 1042, 17}).String(), "18a1b2c3d4e5f607.1042.17"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, s := range []string{
		"", "1", "1.2", "1.2.3.4", "1.2.", ".2.3", "1..3", "01.2.3", "1.02.3", "1.2.03", "A.2.3", "0x1.2.3", "+1.2.3",
		"1.+2.3", "1.2.-3", "1.2.65536", "1.18446744073709551616.3", "10000000000000000.2.3", " 1.2.3", "1.2.3 ", "1.2_0.3",
		strings.Repeat("1", 1<<16),
	} {
		if p, err := ParsePosition(s); !errors.Is(err, ErrPosition) || !p.IsZero() {
			t.Errorf("%.30q: %v, %v", s, p, err)
		}
		var p Position
		if err := p.UnmarshalText([]byte(s)); !errors.Is(err, ErrPosition) {
			t.Errorf("%.30q: %v", s, err)
		}
	}
}

func TestPositionCompare(t *testing.T) {
	ordered := []Position{{1, 0, EndOfBatch}, {1, 1, 0}, {1, 1, 1}, {1, 1, EndOfBatch}, {1, 2, 0}, {1, math.MaxUint64, 0}}
	for i, p := range ordered {
		for j, q := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := p.Compare(q); got != want {
				t.Errorf("%v, %v: %d", p, q, got)
			}
		}
	}
	if !(Position{}).IsZero() || (Position{1, 0, 0}).IsZero() {
		t.Error("IsZero")
	}
}
