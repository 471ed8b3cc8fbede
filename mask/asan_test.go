//go:build asan

package mask

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestAddressSanitizerSeesKernels runs TestASanChild in another process, where a kernel gets one byte more than was
// allocated, and expects the address sanitizer's report; and none for what was allocated.
func TestAddressSanitizerSeesKernels(t *testing.T) {
	for _, tier := range asm.Available() {
		for _, name := range []string{"XOR", "Copy from", "Copy to"} {
			if out, failed := asmtest.Child(t, "TestASanChild", tier.String()+" "+name); !failed || !strings.Contains(out, "AddressSanitizer") {
				t.Errorf("%v, %s: no error found\n%s", tier, name, out)
			}
		}
		if out, failed := asmtest.Child(t, "TestASanChild", tier.String()+" nothing"); failed {
			t.Errorf("%v: within bounds:\n%s", tier, out)
		}
	}
}

func TestASanChild(t *testing.T) {
	first, name, ok := strings.Cut(asmtest.Case(), " ")
	if !ok {
		t.Skip("runs in a process of its own")
	}
	tier, _ := asm.Parse(first)
	defer asm.Force(tier)()
	b, c := make([]byte, 300), make([]byte, 301)
	more := unsafe.Slice(&b[0], 301)
	switch name {
	case "XOR":
		XOR(more, 1)
	case "Copy from":
		Copy(c, more, 1)
	case "Copy to":
		Copy(more, c, 1)
	default:
		XOR(b, 1)
		Copy(c, b, 1)
		Copy(b, c[:300], 1)
	}
}
