//go:build asan

package mask

import (
	"runtime"
	"unsafe"
)

// The address sanitizer does not see assembly. These functions tell it which bytes the
// kernels read and write.
const sanitize = true

func written(b []byte) {
	if len(b) > 0 {
		runtime.ASanRead(unsafe.Pointer(&b[0]), len(b))
		runtime.ASanWrite(unsafe.Pointer(&b[0]), len(b))
	}
}

func copied(dst, src []byte) {
	if len(src) > 0 {
		runtime.ASanRead(unsafe.Pointer(&src[0]), len(src))
		runtime.ASanWrite(unsafe.Pointer(&dst[0]), len(dst))
	}
}
