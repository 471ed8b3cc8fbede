//go:build gc && !purego

package asm

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// detect does not ask for NEON. The Go runtime needs it on every arm64 system, and
// package cpuid cannot see it on some.
func detect() (tiers []Tier, cpu string) {
	cpu = cpuid.CPU.BrandName
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	return []Tier{Generic, NEON}, cpu
}
