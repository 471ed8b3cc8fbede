package mask

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// On a shared machine the figures of `go test -bench` differ by half from run to run. To
// compare kernels or versions, use `GOWORK=off go -C bench run ./cmd/kernels`, which
// interleaves them. BenchmarkKernels is the short table. TICKWIRE_FULL=1 runs the others
// too.

// BenchmarkKernels measures the kernels at the best tier and in pure Go. For comparison
// it measures XORBytes of the standard library, with a key of the same length, and copy.
//
//	go test -run='^$' -bench=. ./mask ./utf8 ./frame
func BenchmarkKernels(b *testing.B) {
	dst, src := newArena(64<<10+64), newArena(64<<10+64)
	pattern := bytes.Repeat(binary.LittleEndian.AppendUint32(nil, 0x8D21FA37), 16<<10)
	run := func(op string, n int, tier string, f func(dst, src []byte)) {
		b.Run(fmt.Sprintf("op=%s/size=%d/tier=%s", op, n, tier), func(b *testing.B) {
			to, from := dst[6:][:n], src[6:][:n]
			for b.Loop() {
				f(to, from)
			}
			b.ReportMetric(float64(n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
		})
	}
	best := asm.Active()
	for _, n := range []int{64, 200, 4096, 65536} {
		run("XOR", n, best.String(), kernels[0].run)
		if best != asm.Generic {
			restore := asm.Force(asm.Generic)
			run("XOR", n, asm.Generic.String(), kernels[0].run)
			restore()
		}
		run("XOR", n, "std", func(_, src []byte) { subtle.XORBytes(src, src, pattern) })
	}
	for _, n := range []int{200, 4096} {
		run("Copy", n, best.String(), kernels[1].run)
		run("Copy", n, "std", func(dst, src []byte) { copy(dst, src) })
	}
}

var sizes = []int{8, 16, 32, 64, 125, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20}

var kernels = []struct {
	name string
	run  func(dst, src []byte)
}{
	{"XOR", func(_, src []byte) { XOR(src, 0x8D21FA37) }},
	{"Copy", func(dst, src []byte) { Copy(dst, src, 0x8D21FA37) }},
}

// BenchmarkTiers measures every tier, function and size, at two alignments.
func BenchmarkTiers(b *testing.B) {
	asmtest.SkipUnlessFull(b)
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

// BenchmarkRandom measures lengths 1 to 125 at any offset, as in control frames and small
// messages. It mostly shows the cost of the branches on the length.
func BenchmarkRandom(b *testing.B) {
	asmtest.SkipUnlessFull(b)
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

// BenchmarkUpperHalves measures short inputs with the upper halves of the YMM registers
// clean, and in use.
func BenchmarkUpperHalves(b *testing.B) {
	asmtest.SkipUnlessFull(b)
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
	asmtest.SkipUnlessFull(b)
	var s Source
	for b.Loop() {
		s.Next()
	}
}
