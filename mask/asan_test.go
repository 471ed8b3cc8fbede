//go:build asan

package mask

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
	asmtest.Detected(t, "TestASanChild", "AddressSanitizer", asm.Available(), []string{"XOR", "Copy from", "Copy to"}, "nothing")
}

func TestASanChild(t *testing.T) {
	name := asmtest.Case(t)
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
