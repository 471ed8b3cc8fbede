// Package asm selects the tier of assembly kernels that runs on this machine.
//
// The assembly of a package with kernels picks one by the active tier. It compares a
// variable of its own package, which follows the active tier (see [Follow]), and takes a
// predicted branch. It does not call through a function variable, because then escape
// analysis fails and every call allocates its arguments.
//
// The build tag purego removes all assembly. Generic is then the only tier.
package asm

import (
	"os"
	"strings"
	"sync/atomic"
)

// Tier names a set of kernels. On one architecture a higher value includes the lower
// ones. NEON is above Generic, and unrelated to the amd64 tiers: no machine has both.
type Tier uint32

const (
	// Generic is pure Go, word by word. It is built on every architecture, and tests
	// compare the other tiers with it.
	Generic Tier = iota
	// SSE2 has 16-byte vectors. Every amd64 processor has it.
	SSE2
	// SSSE3 adds byte shuffles.
	SSSE3
	// AVX2 has 32-byte integer vectors, and BMI2, which came with them.
	AVX2
	// AVX512 has 64-byte vectors with masks, shuffles of bytes across them (VBMI), and
	// all that AVX2 has: Ice Lake, Zen 4 and later.
	AVX512
	// NEON has 16-byte vectors. Every arm64 processor that Go supports has it.
	NEON
)

var names = [...]string{Generic: "generic", SSE2: "sse2", SSSE3: "ssse3", AVX2: "avx2", AVX512: "avx512", NEON: "neon"}

// String returns the name in lower case, as TICKWIRE_TIER takes it.
func (t Tier) String() string {
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// Parse returns the tier with the given name, in any letter case.
func Parse(name string) (t Tier, ok bool) {
	for i, s := range names {
		if strings.EqualFold(s, name) {
			return Tier(i), true
		}
	}
	return Generic, false
}

// The tier in use. It is atomic, so that Force is safe while kernels run. On amd64 its
// load is an ordinary move, as for a plain variable.
var active atomic.Uint32

var followers []*uint32

var (
	available []Tier // ascending, begins with Generic
	cpuName   string
	wish      string
)

func init() {
	available, cpuName = detect()
	wish = os.Getenv("TICKWIRE_TIER")
	activate(choose(available, wish))
}

// choose returns the highest available tier, or the wished one if it is available. So a
// wish can only lower the tier.
func choose(available []Tier, wish string) Tier {
	best := available[len(available)-1]
	if t, ok := Parse(wish); ok {
		for _, a := range available {
			if a == t {
				return t
			}
		}
	}
	return best
}

// Active returns the tier in use. It is the highest available one, unless the environment
// variable TICKWIRE_TIER, read once at start, names a lower one, or Force changed it.
func Active() Tier { return Tier(active.Load()) }

// Follow sets *tier to the active tier, and changes it with every Force. Call it during
// initialization of a package with kernels. Its assembly reads that variable with one
// memory access; an argument would take three.
func Follow(tier *uint32) {
	atomic.StoreUint32(tier, active.Load())
	followers = append(followers, tier)
}

func activate(t Tier) {
	active.Store(uint32(t))
	for _, f := range followers {
		atomic.StoreUint32(f, uint32(t))
	}
}

// Available returns the tiers that this machine and build can run, in ascending order,
// whatever TICKWIRE_TIER says. The first is always Generic. The caller owns the slice.
func Available() []Tier { return append([]Tier(nil), available...) }

// Wish returns the value of TICKWIRE_TIER at the start of the process, or "". An unknown
// or unavailable name has no effect. Compare Wish with Active to detect that.
func Wish() string { return wish }

// CPU returns the name of the processor, for display.
func CPU() string { return cpuName }

// Force makes t the active tier of the process until restore is called. It panics if t is
// not available. Use it in benchmarks and tests that run alone, one Force at a time.
// Kernels that run during the change are correct, but may use either tier.
func Force(t Tier) (restore func()) {
	for _, a := range available {
		if a == t {
			before := Active()
			activate(t)
			return func() { activate(before) }
		}
	}
	panic("asm: Force: tier " + t.String() + " is not available here")
}
