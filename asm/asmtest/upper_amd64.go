//go:build gc && !purego

package asmtest

import "github.com/seed-7f57ff33/tickwire/asm"

//go:noescape
func dirtyUpper()

//go:noescape
func cleanUpper()

// DirtyUpper leaves the upper halves of the YMM registers in use, as a library without
// VZEROUPPER does, and reports whether it could: without AVX2 there is nothing to dirty.
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
