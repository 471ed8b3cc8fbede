package asmtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm"
)

const childCase = "ASMTEST_CASE"

// Detected checks that a detector (race, asan) finds faults of the kernels. It runs the
// named test of this program in a new process for each tier and case. For each of faults
// the process must fail and print report. For the case clean it must pass. The test gets
// its case from Case.
func Detected(t *testing.T, test, report string, tiers []asm.Tier, faults []string, clean string) {
	t.Helper()
	for _, tier := range tiers {
		for _, name := range faults {
			if out, failed := child(test, tier, name); !failed || !strings.Contains(out, report) {
				t.Errorf("%v, %s: nothing found\n%s", tier, name, out)
			}
		}
		if out, failed := child(test, tier, clean); failed {
			t.Errorf("%v, %s:\n%s", tier, clean, out)
		}
	}
}

func child(test string, tier asm.Tier, name string) (output string, failed bool) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), childCase+"="+tier.String()+" "+name)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

// Case returns the name of the case that Detected has started this process for. It forces
// the tier of the process until the test ends. In any other process it skips the test.
func Case(t *testing.T) string {
	t.Helper()
	tier, name, ok := strings.Cut(os.Getenv(childCase), " ")
	if !ok {
		t.Skip("runs in a process of its own")
	}
	forced, _ := asm.Parse(tier)
	t.Cleanup(asm.Force(forced))
	return name
}
