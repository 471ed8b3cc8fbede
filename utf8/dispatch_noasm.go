//go:build !gc || purego || !(amd64 || arm64)

package utf8

import (
	"github.com/seed-7f57ff33/tickwire/mask"
)

func valid(p *byte, n int) bool { return validGeneric(p, n) }

func unmask(p *byte, n int, key mask.Key) bool { return unmaskGeneric(p, n, key) }
