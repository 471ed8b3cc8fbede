package utf8

import (
	"fmt"
	"math/rand/v2"
	"testing"
	stdutf8 "unicode/utf8"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// On a shared machine the figures of `go test -bench` differ by half from run to run. To
// compare kernels or versions, use `GOWORK=off go -C bench run ./cmd/kernels`, which
// interleaves them. BenchmarkKernels is the short table. TICKWIRE_FULL=1 runs the others
// too.

// BenchmarkKernels measures the kernels at the best tier, and unicode/utf8 for comparison
// with Valid.
//
//	go test -run='^$' -bench=. ./mask ./utf8 ./frame
func BenchmarkKernels(b *testing.B) {
	run := func(op, name string, text []byte, tier string, f func([]byte) bool) {
		b.Run(fmt.Sprintf("op=%s/text=%s/size=%d/tier=%s", op, name, len(text), tier), func(b *testing.B) {
			for b.Loop() {
				if !f(text) {
					b.Fatal("a valid text is refused")
				}
			}
			b.ReportMetric(float64(len(text))*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
		})
	}
	best := asm.Active().String()
	mem := arena(4096 + 64)
	for i, c := range corpora(4096)[:2] {
		for _, n := range []int{64, 200, 4096} {
			text := mem[6:][:copy(mem[6:], whole(c.text, n))]
			run("Valid", c.name, text, best, Valid)
			run("Valid", c.name, text, "std", stdutf8.Valid)
			if i == 0 && n > 64 {
				run("Unmask", c.name, text, best, kernels[1].run)
			}
		}
	}
}

var sizes = []int{8, 16, 32, 64, 125, 174, 256, 400, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20}

// Unmasking with the key 0 does not change the text, so each call sees the same. The
// kernels do the same work with every key.
var kernels = []struct {
	name string
	run  func(p []byte) bool
}{
	{"Valid", Valid},
	{"Unmask", func(p []byte) bool { return Unmask(p, 0) }},
}

// arena returns size bytes that start at a multiple of 64.
func arena(size int) []byte {
	b := make([]byte, size+64)
	return b[-uintptr(unsafe.Pointer(&b[0]))&63:][:size]
}

// benchmarkKernel measures every tier, kind of text and size, at two alignments.
func benchmarkKernel(b *testing.B, run func([]byte) bool) {
	asmtest.SkipUnlessFull(b)
	mem := arena(1<<20 + 64)
	asmtest.EachTier(b, func(b *testing.B, _ asm.Tier) {
		for _, c := range corpora(1 << 20) {
			for _, n := range sizes {
				text := whole(c.text, n)
				for _, at := range []int{0, 6} {
					b.Run(fmt.Sprintf("%s/%d/at%d", c.name, n, at), func(b *testing.B) {
						p := mem[at:][:copy(mem[at:], text)]
						b.SetBytes(int64(n))
						for b.Loop() {
							if !run(p) {
								b.Fatal("a valid text is refused")
							}
						}
					})
				}
			}
		}
	})
}

func BenchmarkValid(b *testing.B)  { benchmarkKernel(b, kernels[0].run) }
func BenchmarkUnmask(b *testing.B) { benchmarkKernel(b, kernels[1].run) }

// BenchmarkStandard measures unicode/utf8 over the same texts.
func BenchmarkStandard(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, c := range corpora(1 << 20) {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				p := whole(c.text, n)
				b.SetBytes(int64(n))
				for b.Loop() {
					if !stdutf8.Valid(p) {
						b.Fatal("a valid text is refused")
					}
				}
			})
		}
	}
}

// BenchmarkRandom measures lengths 1 to 125, as in small messages. It mostly shows the
// cost of the branches on the length.
func BenchmarkRandom(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	asmtest.EachTier(b, func(b *testing.B, _ asm.Tier) {
		for _, c := range corpora(1 << 12) {
			rng := rand.New(rand.NewPCG(1, 2))
			texts := make([][]byte, 1<<10)
			total := 0
			mem := arena(len(texts) * 200)
			for i := range texts {
				n := 1 + rng.IntN(125)
				texts[i] = mem[i*128+rng.IntN(64):][:n]
				total += n
			}
			for _, k := range kernels {
				b.Run(c.name+"/"+k.name, func(b *testing.B) {
					for _, p := range texts {
						copy(p, whole(c.text, len(p)))
					}
					b.SetBytes(int64(total / len(texts)))
					b.ResetTimer()
					for i := 0; b.Loop(); i++ {
						k.run(texts[i%len(texts)])
					}
				})
			}
		}
	})
}

// BenchmarkPieces measures a Validator over a text in frames of 174 bytes, cut anywhere.
func BenchmarkPieces(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	asmtest.EachTier(b, func(b *testing.B, _ asm.Tier) {
		for _, c := range corpora(1 << 14) {
			text := whole(c.text, 1<<14)
			for _, hide := range []string{"Push", "Unmask"} {
				b.Run(c.name+"/"+hide, func(b *testing.B) {
					b.SetBytes(int64(len(text)))
					var v Validator
					for b.Loop() {
						for rest := text; len(rest) > 0; {
							p := rest[:min(174, len(rest))]
							i := 0
							if hide == "Push" {
								i = v.Push(p)
							} else {
								_, i = v.Unmask(p, 0)
							}
							if i >= 0 {
								b.Fatal("a valid text is refused")
							}
							rest = rest[len(p):]
						}
						if !v.Done() {
							b.Fatal("a whole text is not done")
						}
					}
				})
			}
		}
	})
}

// BenchmarkUpperHalves measures short texts with the upper halves of the YMM registers
// clean, and in use.
func BenchmarkUpperHalves(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, k := range kernels {
		for _, c := range corpora(128)[:2] {
			for _, n := range []int{8, 16, 32, 64, 125} {
				p := whole(c.text, n)
				run := func(prepare func()) func(b *testing.B) {
					return func(b *testing.B) {
						b.SetBytes(int64(n))
						for b.Loop() {
							prepare()
							k.run(p)
						}
					}
				}
				b.Run(fmt.Sprintf("%s/%s/%d/clean", k.name, c.name, n), run(asmtest.CleanUpper))
				b.Run(fmt.Sprintf("%s/%s/%d/dirty", k.name, c.name, n), run(func() { asmtest.DirtyUpper() }))
			}
		}
	}
}
