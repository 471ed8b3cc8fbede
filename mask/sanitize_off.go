//go:build !race && !msan && !asan

package mask

const sanitize = false

func written([]byte) {}

func copied(dst, src []byte) {}
