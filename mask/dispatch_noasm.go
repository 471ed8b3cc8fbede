//go:build !gc || purego || !(amd64 || arm64)

package mask

import "github.com/seed-7f57ff33/tickwire/asm"

func xor(p *byte, n int, key Key, tier asm.Tier) Key { return xorGeneric(p, n, key, tier) }

func copyMasked(dst *byte, room int, src *byte, n int, key Key, tier asm.Tier) Key {
	return copyGeneric(dst, room, src, n, key, tier)
}
