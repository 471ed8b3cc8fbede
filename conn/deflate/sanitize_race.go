//go:build race

package deflate

import (
	"runtime"
	"unsafe"
)

// The race detector does not see assembly: it is told which bytes the kernel reads and
// writes.
const sanitize = true

func didRead(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&p[0]), len(p))
	}
}

func didWrite(p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&p[0]), len(p))
	}
}
