//go:build asan

package utf8

import (
	"testing"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestAddressSanitizerSeesKernels runs TestASanChild in another process. There a kernel
// gets one byte more than was allocated, and the address sanitizer must report it. It
// must report nothing for allocated bytes.
func TestAddressSanitizerSeesKernels(t *testing.T) {
	asmtest.Detected(t, "TestASanChild", "AddressSanitizer", asm.Available(), []string{"Valid", "ValidString", "Unmask", "Push", "Validator.Unmask"}, "nothing")
}

func TestASanChild(t *testing.T) {
	name := asmtest.Case(t)
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
