//go:build gc && !purego

package utf8

import (
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// for the assembly
const (
	//lint:ignore U1000 assembly uses it
	ssse3 = asm.SSSE3
	//lint:ignore U1000 assembly uses it
	avx2 = asm.AVX2
	//lint:ignore U1000 assembly uses it
	avx512 = asm.AVX512
)

// tier is the active tier, for the assembly. Reading it there takes one memory access; an
// argument takes three.
var tier uint32

func init() { asm.Follow(&tier) }

// The kernels take any n. Below the SSSE3 tier they jump to validGeneric or
// unmaskGeneric. Above pieceMax they jump to validLong or unmaskLong. So each exported
// function is one call, and small enough to be inlined.

// valid works like validGeneric.
//
//go:noescape
func valid(p *byte, n int) bool

// unmask works like unmaskGeneric.
//
//go:noescape
func unmask(p *byte, n int, key mask.Key) bool

// chunk is how many bytes unmaskChunks unmasks before it checks them. They are then in
// the first-level cache, and all stores except the last have left the store buffer.
//
//lint:ignore U1000 assembly uses it
const chunk = 2048

// unmaskChunks does the work of unmask at tiers without a kernel that does both at once.
//
//lint:ignore U1000 assembly uses it
func unmaskChunks(p *byte, n int, key mask.Key) bool {
	b := unsafe.Slice(p, n)
	checked, ok := 0, true
	for done := 0; done < n; {
		end := min(n, done+chunk)
		key = mask.XOR(b[done:end], key)
		done = end
		if !ok {
			continue
		}
		cut := end
		if end < n {
			cut -= unfinished(b[end-3], b[end-2], b[end-1])
		}
		ok = valid(&b[checked], cut-checked)
		checked = cut
	}
	return ok
}
