//go:build race

package transport

import (
	"runtime"
	"unsafe"
)

// The race detector does not see raw system calls. These functions tell it which bytes
// such a call reads or writes.

func raceRead(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
}

func raceWrite(p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
}
