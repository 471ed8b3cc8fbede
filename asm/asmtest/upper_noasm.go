//go:build !gc || purego || !amd64

package asmtest

// DirtyUpper reports false: there are no YMM registers, or no assembly that could fill
// them.
func DirtyUpper() bool { return false }

// CleanUpper does nothing.
func CleanUpper() {}
