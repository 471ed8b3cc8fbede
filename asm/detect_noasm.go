//go:build !gc || purego || !(amd64 || arm64)

package asm

import "runtime"

func detect() (tiers []Tier, cpu string) { return []Tier{Generic}, runtime.GOARCH }
