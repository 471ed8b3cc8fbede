//go:build race

package utf8

import (
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernels runs TestRaceChild in another process, where a goroutine uses the bytes that a kernel
// writes, or writes those that it reads, and expects the race detector's report at every tier that has assembly.
func TestRaceDetectorSeesKernels(t *testing.T) {
	for _, tier := range asm.Available() {
		if tier < asm.SSSE3 {
			continue // plain Go
		}
		for _, name := range []string{"written by Unmask", "written by Validator.Unmask", "read by Valid", "read by Push"} {
			if out, failed := asmtest.Child(t, "TestRaceChild", tier.String()+" "+name); !failed || !strings.Contains(out, "DATA RACE") {
				t.Errorf("%v, %s: no race found\n%s", tier, name, out)
			}
		}
		if out, failed := asmtest.Child(t, "TestRaceChild", tier.String()+" both read by Valid"); failed {
			t.Errorf("%v: two reads:\n%s", tier, out)
		}
	}
}

func TestRaceChild(t *testing.T) {
	first, name, ok := strings.Cut(asmtest.Case(), " ")
	if !ok {
		t.Skip("runs in a process of its own")
	}
	tier, _ := asm.Parse(first)
	defer asm.Force(tier)()
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
