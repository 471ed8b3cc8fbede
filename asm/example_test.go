package asm_test

import (
	"fmt"
	"slices"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// Active is the tier in use, and Available has all that could run here.
func ExampleActive() {
	fmt.Println(slices.Contains(asm.Available(), asm.Active()), asm.Available()[0])
	// Output: true generic
}

// A benchmark compares a tier with pure Go. Nothing else may force a tier at the same
// time.
func ExampleForce() {
	before := asm.Active()
	restore := asm.Force(asm.Generic)
	fmt.Println(asm.Active())
	restore()
	fmt.Println(asm.Active() == before)
	// Output:
	// generic
	// true
}

func ExampleParse() {
	for _, name := range []string{"AVX2", "neon", "mmx"} {
		tier, ok := asm.Parse(name)
		fmt.Println(tier, ok)
	}
	// Output:
	// avx2 true
	// neon true
	// generic false
}
