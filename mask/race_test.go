//go:build race

package mask

import (
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernels runs TestRaceChild in another process. There a goroutine
// uses the bytes that a kernel writes, or writes those that it reads. The race detector
// must report it at every tier that has assembly.
func TestRaceDetectorSeesKernels(t *testing.T) {
	assembly := asm.Available()[1:]
	asmtest.Detected(t, "TestRaceChild", "DATA RACE", assembly, []string{"written by XOR", "written by Copy", "read by Copy"}, "both read by Copy")
}

func TestRaceChild(t *testing.T) {
	name := asmtest.Case(t)
	for range 20 { // the detector does not promise to see every race
		race(name)
	}
}

func race(name string) {
	b, c, done := make([]byte, 300), make([]byte, 300), make(chan byte)
	go func() {
		if name == "read by Copy" {
			b[250]++
			done <- 0
		} else {
			done <- b[250]
		}
	}()
	switch name {
	case "written by XOR":
		XOR(b, 1)
	case "written by Copy":
		Copy(b, c, 1)
	default:
		Copy(c, b, 1)
	}
	<-done
}
