package asm

import (
	"os"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	for tier := Generic; tier <= NEON; tier++ {
		if got, ok := Parse(tier.String()); !ok || got != tier {
			t.Errorf("Parse(%q) = %v, %v", tier.String(), got, ok)
		}
	}
	if got, ok := Parse("AVX2"); !ok || got != AVX2 {
		t.Errorf("Parse in upper case = %v, %v", got, ok)
	}
	for _, s := range []string{"", "unknown", "avx", "avx512vbmi", " sse2"} {
		if got, ok := Parse(s); ok || got != Generic {
			t.Errorf("Parse(%q) = %v, %v", s, got, ok)
		}
	}
	if got := Tier(99).String(); got != "unknown" {
		t.Errorf("Tier(99) is %q", got)
	}
}

// TestWishOnlyLowers tries wishes for lists of available tiers, also of other machines.
func TestWishOnlyLowers(t *testing.T) {
	old, new, arm := []Tier{Generic, SSE2}, []Tier{Generic, SSE2, SSSE3, AVX2}, []Tier{Generic, NEON}
	wide := []Tier{Generic, SSE2, SSSE3, AVX2, AVX512}
	for _, c := range []struct {
		available []Tier
		wish      string
		want      Tier
	}{
		{new, "", AVX2}, {new, "avx2", AVX2}, {new, "ssse3", SSSE3}, {new, "SSE2", SSE2}, {new, "generic", Generic},
		{new, "neon", AVX2}, {new, "avx512", AVX2}, {new, "nonsense", AVX2},
		{wide, "", AVX512}, {wide, "avx2", AVX2}, {wide, "AVX512", AVX512}, {wide, "ssse3", SSSE3}, {wide, "neon", AVX512},
		{old, "", SSE2}, {old, "avx2", SSE2}, {old, "ssse3", SSE2}, {old, "generic", Generic},
		{arm, "", NEON}, {arm, "sse2", NEON}, {arm, "generic", Generic},
		{[]Tier{Generic}, "avx2", Generic},
	} {
		if got := choose(c.available, c.wish); got != c.want {
			t.Errorf("of %v with wish %q: %v, want %v", c.available, c.wish, got, c.want)
		}
	}
	if got, want := Active(), choose(Available(), Wish()); got != want {
		t.Errorf("active %v, want %v of %v with wish %q", got, want, Available(), Wish())
	}
}

func TestFollow(t *testing.T) {
	defer func(before []*uint32) { followers = before }(followers)
	var tier uint32 = 99
	Follow(&tier)
	if Tier(tier) != Active() {
		t.Errorf("%d, active %d", tier, Active())
	}
	for _, want := range Available() {
		restore := Force(want)
		if Tier(tier) != want {
			t.Errorf("forced %d, following %d", want, tier)
		}
		restore()
		if Tier(tier) != Active() {
			t.Errorf("restored %d, following %d", Active(), tier)
		}
	}
}

func TestForce(t *testing.T) {
	before := Active()
	for _, tier := range Available() {
		restore := Force(tier)
		if Active() != tier {
			t.Errorf("forced %v, active %v", tier, Active())
		}
		inner := Force(Generic)
		inner()
		if Active() != tier {
			t.Errorf("after an inner restore %v, want %v", Active(), tier)
		}
		restore()
		if Active() != before {
			t.Errorf("after restore %v, want %v", Active(), before)
		}
	}
	for tier := Generic; tier <= NEON+1; tier++ {
		if slices.Contains(Available(), tier) {
			continue
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Force(%v) does not panic, though it is not available", tier)
				}
			}()
			Force(tier)
		}()
	}
}

func TestAvailable(t *testing.T) {
	tiers := Available()
	if len(tiers) == 0 || tiers[0] != Generic || !slices.IsSorted(tiers) {
		t.Fatalf("%v", tiers)
	}
	tiers[0] = 77
	if Available()[0] != Generic {
		t.Error("the slice is not the caller's own")
	}
	if CPU() == "" {
		t.Error("the processor has no name")
	}
	t.Logf("%s: %v, active %v", CPU(), Available(), Active())
}

// TestFlagship fails if the tier named by TICKWIRE_FLAGSHIP, for example avx2, is not
// found and active. Otherwise all kernel tests would pass there without having run that
// tier.
func TestFlagship(t *testing.T) {
	name := os.Getenv("TICKWIRE_FLAGSHIP")
	if name == "" {
		t.Skip("TICKWIRE_FLAGSHIP is not set")
	}
	want, ok := Parse(name)
	if !ok {
		t.Fatalf("TICKWIRE_FLAGSHIP=%q names no tier", name)
	}
	if !slices.Contains(Available(), want) || Active() != want {
		t.Fatalf("available %v, active %v: want %v", Available(), Active(), want)
	}
}

func BenchmarkActive(b *testing.B) {
	b.Run("atomic", func(b *testing.B) {
		n := 0
		for b.Loop() {
			if Active() == NEON {
				n++
			}
		}
	})
	plain := new(Tier)
	b.Run("plain", func(b *testing.B) {
		n := 0
		for b.Loop() {
			if *plain == NEON {
				n++
			}
		}
	})
}
