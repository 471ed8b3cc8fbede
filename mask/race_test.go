//go:build race

package mask

import (
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernels runs TestRaceChild in another process, where a goroutine uses the bytes that a kernel
// writes, or writes those that it reads, and expects the race detector's report.
func TestRaceDetectorSeesKernels(t *testing.T) {
	for _, name := range []string{"written by XOR", "written by Copy", "read by Copy"} {
		if out, failed := asmtest.Child(t, "TestRaceChild", name); !failed || !strings.Contains(out, "DATA RACE") {
			t.Errorf("%s: no race found\n%s", name, out)
		}
	}
	if out, failed := asmtest.Child(t, "TestRaceChild", "both read by Copy"); failed {
		t.Errorf("two reads:\n%s", out)
	}
}

func TestRaceChild(t *testing.T) {
	name := asmtest.Case()
	if name == "" {
		t.Skip("runs in a process of its own")
	}
	asmtest.EachTier(t, func(t *testing.T, _ asm.Tier) {
		b, c, done := make([]byte, 300), make([]byte, 300), make(chan byte)
		go func() {
			switch name {
			case "read by Copy":
				b[250]++
			default:
				done <- b[250]
				return
			}
			done <- 0
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
	})
}
