// Package asmtest helps to test and measure assembly kernels. It runs every tier in turn,
// gives memory between guard pages, sets canaries and lists sizes. It also checks
// assembly source for transitions between SSE and AVX.
package asmtest

import (
	"os"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// Full reports whether TICKWIRE_FULL=1 asks for the long form of each test.
func Full() bool { return os.Getenv("TICKWIRE_FULL") == "1" }

// Thin reports whether TICKWIRE_THIN=1 asks for the short form of each test. It is for
// emulators of whole machines, which are a thousand times slower.
func Thin() bool { return os.Getenv("TICKWIRE_THIN") == "1" }

type runner[T any] interface {
	testing.TB
	Run(name string, f func(T)) bool
}

// EachTier runs f as a subtest or sub-benchmark under every tier that this machine has,
// with that tier forced. The subtests must not be parallel.
func EachTier[T runner[T]](tb T, f func(tb T, tier asm.Tier)) {
	tb.Helper()
	for _, tier := range asm.Available() {
		tb.Run(tier.String(), func(tb T) {
			defer asm.Force(tier)()
			f(tb, tier)
		})
	}
}

// Lengths returns lengths from 0 to max in ascending order. In a full run it returns all
// of them. Otherwise it returns all up to 300, which have every window shape of the
// kernels. Above 300 it returns powers of two and multiples of 1024, with neighbours up
// to 3 away, and steps of a prime number.
func Lengths(max int) []int {
	var out []int
	for n := 0; n <= max; n++ {
		d := n % 1024
		near := d <= 3 || d >= 1021 || n&(n-1) == 0
		for k := -3; k <= 3 && !near; k++ {
			m := n + k
			near = m > 0 && m&(m-1) == 0
		}
		if Full() || n <= 300 || near || n%37 == 0 || n == max {
			out = append(out, n)
		}
	}
	return out
}

// Alignments returns the offsets for the start of a buffer in a test. In a full run they
// are 0 to 63. Otherwise they are those near the edges of words, vectors and cache lines,
// and some between.
func Alignments() []int {
	if Full() {
		out := make([]int, 64)
		for i := range out {
			out[i] = i
		}
		return out
	}
	return []int{0, 1, 2, 3, 4, 6, 7, 8, 9, 14, 15, 16, 17, 23, 31, 32, 33, 47, 48, 61, 63}
}

func canary(i int) byte { return byte(i*131 + i>>8*17 + 0x5A) }

// Arm fills b outside b[lo:hi] with canary bytes, which Touched checks.
func Arm(b []byte, lo, hi int) {
	for i := 0; i < lo; i++ {
		b[i] = canary(i)
	}
	for i := hi; i < len(b); i++ {
		b[i] = canary(i)
	}
}

// Touched returns the index of the first byte of b outside b[lo:hi] that is not the
// canary that Arm put there, or -1.
func Touched(b []byte, lo, hi int) int {
	for i := 0; i < lo; i++ {
		if b[i] != canary(i) {
			return i
		}
	}
	for i := hi; i < len(b); i++ {
		if b[i] != canary(i) {
			return i
		}
	}
	return -1
}
