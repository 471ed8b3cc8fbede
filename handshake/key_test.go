package handshake

import (
	"encoding/base64"
	"testing"
)

func TestR39KeysAreFresh(t *testing.T) {
	const n = 100_000
	seen := make(map[Key]bool, n)
	var ones [128]int
	for range n {
		k := NewKey()
		raw, err := base64.StdEncoding.Strict().DecodeString(string(k[:]))
		if err != nil || len(raw) != 16 || seen[k] {
			t.Fatalf("%q: %d bytes, %v, seen before: %v", k[:], len(raw), err, seen[k])
		}
		seen[k] = true
		for i := range ones {
			ones[i] += int(raw[i/8] >> (i % 8) & 1)
		}
	}
	for i, c := range ones { // within 10 standard deviations: no bit is stuck or biased
		if d := c - n/2; d*d > 100*n/4 {
			t.Errorf("bit %d is set in %d of %d keys", i, c, n)
		}
	}
}

func TestR45AcceptOfRFC(t *testing.T) {
	if got := string(AppendAccept([]byte("x"), rfcKey)); got != "x"+rfcAccept {
		t.Errorf("%q", got)
	}
	dst, k := make([]byte, 0, acceptLen), keyOf(rfcKey)
	if n := testing.AllocsPerRun(1000, func() { AppendAccept(dst, k[:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !validAccept(rfcAccept, &k) {
		t.Error("the right value is refused")
	}
	for i := range rfcAccept {
		bad := []byte(rfcAccept)
		bad[i] ^= 0x20
		if validAccept(bad, &k) || validAccept(rfcAccept[:i], &k) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func BenchmarkAppendAccept(b *testing.B) {
	dst := make([]byte, 0, acceptLen)
	b.ReportAllocs()
	for b.Loop() {
		AppendAccept(dst, rfcKey)
	}
}
