//go:build gc && !purego

package utf8

import (
	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// tier is the active tier, for the assembly. Reading it there takes one memory access; an
// argument takes three.
var tier uint32

func init() { asm.Follow(&tier) }

// The kernels take any n. At tier Generic they jump to validGeneric or unmaskGeneric.
// Above pieceMax they jump to validLong or unmaskLong. So each exported function is one
// call, and small enough to be inlined.

// valid works like validGeneric.
//
//go:noescape
func valid(p *byte, n int) bool

// unmask works like unmaskGeneric.
//
//go:noescape
func unmask(p *byte, n int, key mask.Key) bool
