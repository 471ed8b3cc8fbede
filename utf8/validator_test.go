package utf8

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	stdutf8 "unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// pushAll takes p in pieces, cut at the ascending cuts. It returns the index of the first
// error in p, or -1, and whether the text may end. With hide the pieces are masked, and
// must be p once unmasked.
func pushAll(t testing.TB, p []byte, cuts []int, hide bool) (index int, done bool) {
	t.Helper()
	var v Validator
	key := testKey
	work := p
	if hide {
		work = masked(p, key)
	}
	from := 0
	for _, to := range append(cuts[:len(cuts):len(cuts)], len(p)) {
		i := -1
		if hide {
			key, i = v.Unmask(work[from:to], key)
			if !bytes.Equal(work[from:to], p[from:to]) {
				t.Fatalf("%x cut at %v: [%d:%d] unmasked to %x", p, cuts, from, to, work[from:to])
			}
			if want := testKey.Rotate(to); key != want {
				t.Fatalf("%x cut at %v: key %x, want %x", p, cuts, key, want)
			}
		} else {
			i = v.Push(work[from:to])
		}
		if i >= 0 {
			return from + i, false
		}
		from = to
	}
	return -1, v.Done()
}

func checkCuts(t testing.TB, p []byte, cuts []int) {
	t.Helper()
	index := firstImpossible(p)
	done := stdutf8.Valid(p)
	for _, hide := range []bool{false, true} {
		if i, d := pushAll(t, p, cuts, hide); i != index || d != done {
			t.Fatalf("%x cut at %v, masked %v: %d, %v; want %d, %v", p, cuts, hide, i, d, index, done)
		}
	}
}

// TestR32FirstImpossibleByte checks the byte at which each invalid text is refused, as
// the strict cases 6.4 of Autobahn demand.
func TestR32FirstImpossibleByte(t *testing.T) {
	for _, c := range []struct {
		text  string
		index int
	}{
		{"abc", -1}, {"\xE0\x80", 1}, {"\xE0\xA0", -1}, {"\xF4\x90", 1}, {"\xF4\x8F", -1}, {"\xED\xA0", 1}, {"\xED\x9F", -1},
		{"\xF0\x8F", 1}, {"\xF0\x90", -1}, {"\xC0", 0}, {"\xC1", 0}, {"\xF5", 0}, {"\xFF", 0}, {"\x80", 0}, {"\xC3", -1},
		{"\xC3A", 1}, {"\xE4\xB8A", 2}, {"\xE4A", 1}, {"\xF0\x9F\x98A", 3}, {"\xF0\x9F\x98\xC3", 3}, {"日\x80", 3},
		{"κόσμε\xF4\x90\x80\x80edited", 11}, {"κόσμε\xED\xA0\x80edited", 11},
		{"\x00\x7F\u0080\u07FF\u0800\uFFFF\U00010000\U0010FFFF", -1}, {"\uFFFE\uFFFF", -1},
	} {
		if got := firstImpossible([]byte(c.text)); got != c.index {
			t.Fatalf("the reference says %d for %q, want %d", got, c.text, c.index)
		}
		asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
			for _, before := range []int{0, 1, 13, 16, 31, 64, 100, 127, 128, 300, 1024, 2000} {
				for _, behind := range []int{0, 1, 40, 500, 3000} {
					if c.index < 0 && behind > 0 {
						continue // the text that follows would break an unfinished character
					}
					p := append(bytes.Repeat([]byte("x"), before), c.text...)
					p = append(p, bytes.Repeat([]byte("é"), behind)...)
					want := c.index
					if want >= 0 {
						want += before
					}
					var v Validator
					if got := v.Push(p); got != want {
						t.Fatalf("%q after %d bytes: Push = %d, want %d", c.text, before, got, want)
					}
					v.Reset()
					if _, got := v.Unmask(masked(p, testKey), testKey); got != want {
						t.Fatalf("%q after %d bytes: Unmask = %d, want %d", c.text, before, got, want)
					}
				}
			}
		})
	}
}

// TestR31EverySplit cuts texts into two and three pieces at every place. The result and
// the offset do not change.
func TestR31EverySplit(t *testing.T) {
	all := seeds()
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		rng := rand.New(rand.NewPCG(13, 13))
		for k, s := range all {
			if thin && k%5 != 0 {
				continue
			}
			p := []byte(s)
			for i := 0; i <= len(p); i++ {
				checkCuts(t, p, []int{i})
				for j := i; j <= len(p); j++ {
					checkCuts(t, p, []int{i, j})
				}
			}
			// byte by byte, after and before other text
			long := append([]byte("a日b"), s...)
			long = append(long, "é😀"...)
			single := make([]int, len(long))
			for i := range single {
				single[i] = i
			}
			checkCuts(t, long, single)
		}
		for _, c := range corpora(1000) {
			for _, n := range []int{20, 70, 150, 300} {
				p := whole(c.text, n)
				if rng.IntN(2) == 0 {
					copy(p[rng.IntN(n):], all[rng.IntN(len(all))])
				}
				for i := 0; i <= n; i++ {
					checkCuts(t, p, []int{i})
				}
			}
		}
	})
}

// TestR31RandomSplits cuts longer texts into many pieces of random length.
func TestR31RandomSplits(t *testing.T) {
	rounds := 300
	if asmtest.Full() {
		rounds = 20000
	}
	all := seeds()
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		rng := rand.New(rand.NewPCG(17, 17))
		texts := corpora(8192)
		for range rounds {
			p := whole(texts[rng.IntN(len(texts))].text, 1+rng.IntN(5000))
			if rng.IntN(2) == 0 {
				copy(p[rng.IntN(len(p)):], all[rng.IntN(len(all))])
			}
			var cuts []int
			step := []int{3, 20, 200, 2000}[rng.IntN(4)]
			for at := rng.IntN(step); at < len(p); at += rng.IntN(step) {
				cuts = append(cuts, at)
				if len(cuts) > 4*len(p) {
					break
				}
			}
			checkCuts(t, p, cuts)
		}
	})
}

// TestLocate puts one invalid byte at many places of a long text, at and near the steps
// of the search.
func TestLocate(t *testing.T) {
	step := 7
	if thin {
		step = 97
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		for _, c := range corpora(3*locateStep + 50) {
			p := whole(c.text, 3*locateStep+50)
			for at := 0; at < len(p); at += 1 + at%step {
				q := append([]byte(nil), p...)
				q[at] = 0xFE
				var v Validator
				if got, want := v.Push(q), firstImpossible(q); got != want {
					t.Fatalf("%s: FE at %d: Push = %d, want %d", c.name, at, got, want)
				}
			}
		}
	})
}

func TestDoneAndReset(t *testing.T) {
	var v Validator
	if i := v.Push([]byte("\xE4\xB8")); i != -1 || v.Done() {
		t.Error("an unfinished text is done")
	}
	if i := v.Push([]byte("a")); i != -1 || !v.Done() {
		t.Error("Done does not make ready for the next text")
	}
	v.Push([]byte("\xF0\x9F"))
	v.Reset()
	if i := v.Push([]byte("a")); i != -1 || !v.Done() {
		t.Error("Reset does not make ready for the next text")
	}
}

// TestNoAllocations counts over many calls of all sizes at every tier.
func TestNoAllocations(t *testing.T) {
	if thin {
		t.Skip("detectors allocate")
	}
	texts := corpora(4096)
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		var v Validator
		var key mask.Key = testKey
		work := make([]byte, 4096)
		var before, after runtime.MemStats
		bad := 0
		runtime.ReadMemStats(&before)
		for i := range 10_000 {
			p := work[:copy(work, texts[i%len(texts)].text[:i%4000])]
			if Valid(p) {
				bad++
			}
			Unmask(p, key)
			Unmask(p, key)
			v.Push(p)
			key, _ = v.Unmask(p, key)
			v.Done()
		}
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n != 0 {
			t.Errorf("%d allocations in 10,000 rounds", n)
		}
		if bad == 0 {
			t.Error("nothing was valid")
		}
	})
}

func ExampleValidator() {
	var v Validator
	fmt.Println(v.Push([]byte("価\xE6")), v.Push([]byte("\xA0\xBC.")), v.Done())
	fmt.Println(v.Push([]byte("ab\xF4\x90")))
	// Output:
	// -1 -1 true
	// 3
}
