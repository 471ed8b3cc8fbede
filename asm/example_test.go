package asm_test

import (
	"fmt"
	"slices"

	"github.com/seed-7f57ff33/tickwire/asm"
)

// Which kernels run here, and which could.
func ExampleActive() {
	fmt.Println(slices.Contains(asm.Available(), asm.Active()), asm.Available()[0])
	// Output: true generic
}

// A benchmark compares a tier with plain Go. Nothing else may force a tier meanwhile.
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
