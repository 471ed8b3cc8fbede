package asmtest

import (
	"os"
	"os/exec"
	"testing"
)

const childCase = "ASMTEST_CASE"

// Child runs the named test of this program again, in a process of its own in which Case returns the given name, and returns
// what it printed. It is for tests of the detectors (race, asan), whose reports end or fail the process.
func Child(t *testing.T, test, name string) (output string, failed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), childCase+"="+name)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

// Case returns the name that this process was given by Child, "" if it is no child.
func Case() string { return os.Getenv(childCase) }
