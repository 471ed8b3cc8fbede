//go:build !gc || purego || !(amd64 || arm64)

package mask

func xor(p *byte, n int, key Key) { xorGeneric(p, n, key) }

func copyMasked(dst, src *byte, n int, key Key) { copyGeneric(dst, src, n, key) }
