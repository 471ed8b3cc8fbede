//go:build race

package utf8

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernels runs TestRaceChild in another process. There a goroutine
// uses the bytes that a kernel writes, or writes those that it reads. The race detector
// must report it at every tier that has assembly.
func TestRaceDetectorSeesKernels(t *testing.T) {
	assembly := slices.DeleteFunc(asm.Available(), func(t asm.Tier) bool { return t < asm.SSSE3 })
	asmtest.Detected(t, "TestRaceChild", "DATA RACE", assembly,
		[]string{"written by Unmask", "written by Validator.Unmask", "read by Valid", "read by Push"}, "both read by Valid")
}

func TestRaceChild(t *testing.T) {
	name := asmtest.Case(t)
	for range 20 { // the detector does not promise to see every race
		race(name)
	}
}

func race(name string) {
	b, done := make([]byte, 300), make(chan byte)
	var v Validator
	go func() {
		if strings.HasPrefix(name, "read") {
			b[250]++
			done <- 0
		} else {
			done <- b[250]
		}
	}()
	switch name {
	case "written by Unmask":
		Unmask(b, 1)
	case "written by Validator.Unmask":
		v.Unmask(b, 1)
	case "read by Push":
		v.Push(b)
	default:
		Valid(b)
	}
	<-done
}
