//go:build msan

package mask

import (
	"runtime"
	"unsafe"
)

// The memory sanitizer does not see assembly. These functions tell it which bytes the
// kernels read and write.
const sanitize = true

func written(b []byte) {
	if len(b) > 0 {
		runtime.MSanRead(unsafe.Pointer(&b[0]), len(b))
		runtime.MSanWrite(unsafe.Pointer(&b[0]), len(b))
	}
}

func copied(dst, src []byte) {
	if len(src) > 0 {
		runtime.MSanRead(unsafe.Pointer(&src[0]), len(src))
		runtime.MSanWrite(unsafe.Pointer(&dst[0]), len(dst))
	}
}
