//go:build gc && !purego

package asmtest

import "github.com/seed-7f57ff33/tickwire/asm"

//go:noescape
func dirtyUpper()

//go:noescape
func cleanUpper()

// DirtyUpper puts the upper halves of the YMM registers into use, as code without
// VZEROUPPER does. It returns false without AVX2, where there are no upper halves.
func DirtyUpper() bool {
	if !hasYMM() {
		return false
	}
	dirtyUpper()
	return true
}

// CleanUpper clears the upper halves of the YMM registers.
func CleanUpper() {
	if hasYMM() {
		cleanUpper()
	}
}

func hasYMM() bool {
	tiers := asm.Available()
	return tiers[len(tiers)-1] >= asm.AVX2
}
