//go:build !gc || purego || !(amd64 || arm64)

package utf8

import (
	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/mask"
)

func valid(p *byte, n int, tier asm.Tier) bool { return validGeneric(p, n, tier) }

func unmask(p *byte, n int, key mask.Key, tier asm.Tier) bool { return unmaskGeneric(p, n, key, tier) }
