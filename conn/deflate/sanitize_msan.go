//go:build msan

package deflate

import (
	"runtime"
	"unsafe"
)

// The memory sanitizer does not see assembly: it is told which bytes the kernel reads and
// writes.
const sanitize = true

func didRead(p []byte) {
	if len(p) > 0 {
		runtime.MSanRead(unsafe.Pointer(&p[0]), len(p))
	}
}

func didWrite(p []byte) {
	if len(p) > 0 {
		runtime.MSanWrite(unsafe.Pointer(&p[0]), len(p))
	}
}
