//go:build race

package deflate

import (
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernel runs TestRaceChild in another process, where a goroutine
// reads the bytes that the kernel writes, or writes those that it reads, and expects the
// race detector's report at every tier that has assembly.
func TestRaceDetectorSeesKernel(t *testing.T) {
	assembly := slices.DeleteFunc(asm.Available(), func(t asm.Tier) bool { return t < asm.AVX2 })
	asmtest.Detected(t, "TestRaceChild", "DATA RACE", assembly, []string{"written by Message", "read by Message"}, "both read by Message")
}

func TestRaceChild(t *testing.T) {
	name := asmtest.Case(t)
	for range 20 { // the detector does not promise to see every race
		race(t, name)
	}
}

func race(t *testing.T, name string) {
	p := stdCompress(t, feed(1, 8000), 6, false)[0]
	d := newInflater(t, InflateOptions{NoContextTakeover: true})
	view, err := d.Message(p, false)
	if err != nil {
		t.Fatal(err)
	}
	other, done := newInflater(t, InflateOptions{}), make(chan byte)
	go func() {
		switch name {
		case "written by Message":
			done <- view[250]
		case "read by Message":
			p[250]++
			done <- 0
		default:
			other.Message(p, false)
			done <- 0
		}
	}()
	d.Message(p, false)
	<-done
}
