//go:build race

package utf8

import (
	"runtime"
	"unsafe"
)

// The race detector does not see assembly. These functions tell it which bytes the
// kernels read and write.
const sanitize = true

func checked(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&p[0]), len(p))
	}
}

func unmasked(p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&p[0]), len(p))
	}
}
