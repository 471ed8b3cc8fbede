//go:build gc && !purego

package asm

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// detect asks package cpuid, which also reads OSXSAVE and XCR0. So there is no AVX2 if
// the operating system does not save the YMM registers, and no AVX512 without the ZMM
// registers.
func detect() (tiers []Tier, cpu string) {
	tiers = []Tier{Generic, SSE2}
	if cpuid.CPU.Supports(cpuid.SSSE3) {
		tiers = append(tiers, SSSE3)
	}
	// The AVX2 kernels also use BMI2. A tier includes the lower ones.
	if cpuid.CPU.Supports(cpuid.SSSE3, cpuid.AVX2, cpuid.BMI2) {
		tiers = append(tiers, AVX2)
		// AVX512 is off on macOS: some of its versions lost the mask registers at a
		// signal.
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
