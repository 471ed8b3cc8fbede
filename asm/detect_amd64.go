//go:build gc && !purego

package asm

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// detect asks cpuid, which also honours OSXSAVE and XCR0: a kernel that does not save the
// YMM registers has no AVX2, and one that does not save the ZMM registers no AVX512.
func detect() (tiers []Tier, cpu string) {
	tiers = []Tier{Generic, SSE2}
	if cpuid.CPU.Supports(cpuid.SSSE3) {
		tiers = append(tiers, SSSE3)
	}
	// The AVX2 kernels use BMI2 too, which came with it. A tier includes those below it.
	if cpuid.CPU.Supports(cpuid.SSSE3, cpuid.AVX2, cpuid.BMI2) {
		tiers = append(tiers, AVX2)
		// Not on macOS: there were kernels that lost the mask registers when a signal
		// came.
		wide := cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512DQ, cpuid.AVX512VBMI)
		if wide && runtime.GOOS != "darwin" {
			tiers = append(tiers, AVX512)
		}
	}
	cpu = cpuid.CPU.BrandName
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	return tiers, cpu
}
