package mask

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// The figures of one `go test -bench` on a shared machine differ by half from run to run. To compare kernels, or a change
// with what was before, use the interleaved `GOWORK=off go -C bench run ./cmd/kernels`.

var sizes = []int{8, 16, 32, 64, 125, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20}

var kernels = []struct {
	name string
	run  func(dst, src []byte)
}{
	{"XOR", func(_, src []byte) { XOR(src, 0x8D21FA37) }},
	{"Copy", func(dst, src []byte) { Copy(dst, src, 0x8D21FA37) }},
}

// BenchmarkTiers goes through tiers, functions, sizes and two alignments.
func BenchmarkTiers(b *testing.B) {
	dst, src := newArena(1<<20+64), newArena(1<<20+64)
	asmtest.EachTier(b, func(b *testing.B, _ asm.Tier) {
		for _, k := range kernels {
			for _, n := range sizes {
				for _, at := range []int{0, 6} {
					b.Run(fmt.Sprintf("%s/%d/at%d", k.name, n, at), func(b *testing.B) {
						b.SetBytes(int64(n))
						for b.Loop() {
							k.run(dst[at:][:n], src[at:][:n])
						}
					})
				}
			}
		}
	})
}

// BenchmarkRandom has lengths 1 to 125 at any offset, as control frames and small messages have; what it shows most is
// the branches that a length takes.
func BenchmarkRandom(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	src, dst := newArena(16<<10), newArena(16<<10)
	type span struct{ at, n int }
	spans, total := make([]span, 1<<13), 0
	for i := range spans {
		n := 1 + rnd.IntN(125)
		spans[i] = span{rnd.IntN(len(src) - n), n}
		total += n
	}
	asmtest.EachTier(b, func(b *testing.B, _ asm.Tier) {
		for _, k := range kernels {
			b.Run(k.name, func(b *testing.B) {
				b.SetBytes(int64(total / len(spans)))
				for i := 0; b.Loop(); i++ {
					s := spans[i%len(spans)]
					k.run(dst[s.at:][:s.n], src[s.at:][:s.n])
				}
			})
		}
	})
}

// BenchmarkUpperHalves runs the short inputs with the upper halves of the YMM registers clean, and in use.
func BenchmarkUpperHalves(b *testing.B) {
	dst, src := newArena(256), newArena(256)
	for _, k := range kernels {
		for _, n := range []int{8, 16, 32, 64, 125} {
			b.Run(fmt.Sprintf("%s/%d/clean", k.name, n), func(b *testing.B) {
				asmtest.CleanUpper()
				b.SetBytes(int64(n))
				for b.Loop() {
					k.run(dst[:n], src[:n])
				}
			})
			b.Run(fmt.Sprintf("%s/%d/dirty", k.name, n), func(b *testing.B) {
				if !asmtest.DirtyUpper() {
					b.Skip("no YMM registers")
				}
				b.SetBytes(int64(n))
				for b.Loop() {
					k.run(dst[:n], src[:n])
				}
				asmtest.CleanUpper()
			})
		}
	}
}

func BenchmarkNext(b *testing.B) {
	var s Source
	for b.Loop() {
		s.Next()
	}
}
