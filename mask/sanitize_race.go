//go:build race

package mask

import (
	"runtime"
	"unsafe"
)

// The race detector does not see assembly. These functions tell it which bytes the
// kernels read and write.
const sanitize = true

func written(b []byte) {
	if len(b) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&b[0]), len(b))
	}
}

func copied(dst, src []byte) {
	if len(src) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&src[0]), len(src))
		written(dst)
	}
}
