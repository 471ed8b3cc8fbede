//go:build asan

package deflate

import (
	"runtime"
	"unsafe"
)

// The address sanitizer does not see assembly: it is told which bytes the kernel reads
// and writes.
const sanitize = true

func didRead(p []byte) {
	if len(p) > 0 {
		runtime.ASanRead(unsafe.Pointer(&p[0]), len(p))
	}
}

func didWrite(p []byte) {
	if len(p) > 0 {
		runtime.ASanWrite(unsafe.Pointer(&p[0]), len(p))
	}
}
