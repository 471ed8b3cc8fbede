//go:build msan

package utf8

import (
	"runtime"
	"unsafe"
)

// The memory sanitizer does not see assembly. These functions tell it which bytes the
// kernels read and write.
const sanitize = true

func checked(p []byte) {
	if len(p) > 0 {
		runtime.MSanRead(unsafe.Pointer(&p[0]), len(p))
	}
}

func unmasked(p []byte) {
	if len(p) > 0 {
		runtime.MSanRead(unsafe.Pointer(&p[0]), len(p))
		runtime.MSanWrite(unsafe.Pointer(&p[0]), len(p))
	}
}
