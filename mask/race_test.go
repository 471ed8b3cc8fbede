//go:build race

package mask

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestRaceDetectorSeesKernels runs this test again in another process, where a goroutine uses the bytes that a kernel
// writes, or writes those that it reads, and expects the race detector's report.
func TestRaceDetectorSeesKernels(t *testing.T) {
	if os.Getenv("MASK_RACE_CHILD") != "" {
		return
	}
	for _, name := range []string{"written by XOR", "written by Copy", "read by Copy"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRaceChild$")
		cmd.Env = append(os.Environ(), "MASK_RACE_CHILD="+name)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "DATA RACE") {
			t.Errorf("%s: no race found: %v\n%s", name, err, out)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRaceChild$")
	cmd.Env = append(os.Environ(), "MASK_RACE_CHILD=both read by Copy")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("two reads: %v\n%s", err, out)
	}
}

func TestRaceChild(t *testing.T) {
	name := os.Getenv("MASK_RACE_CHILD")
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
