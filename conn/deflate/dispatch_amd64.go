//go:build gc && !purego

package deflate

import "github.com/seed-7f57ff33/tickwire/asm"

// for the assembly
//
//lint:ignore U1000 assembly uses it
const avx2 = asm.AVX2

// tier is the active tier, for the assembly.
var tier uint32

func init() { asm.Follow(&tier) }

// decode works like decodeGeneric.
//
//go:noescape
func decode(s *decoder, opEnd int) verdict
