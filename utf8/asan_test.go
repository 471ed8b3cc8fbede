//go:build asan

package utf8

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
		for _, name := range []string{"Valid", "ValidString", "Unmask", "Push", "Validator.Unmask"} {
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
	b := make([]byte, 300)
	more := unsafe.Slice(&b[0], 301)
	var v Validator
	switch name {
	case "Valid":
		Valid(more)
	case "ValidString":
		ValidString(unsafe.String(&b[0], 301))
	case "Unmask":
		Unmask(more, 1)
	case "Push":
		v.Push(more)
	case "Validator.Unmask":
		v.Unmask(more, 1)
	default:
		Valid(b)
		Unmask(b, 1)
		v.Push(b)
		v.Unmask(b, 1)
	}
}
