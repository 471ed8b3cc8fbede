package utf8

import (
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestNoTransitionPenalty searches the assembly for legacy SSE instructions after VEX
// instructions, and for returns without VZEROUPPER.
func TestNoTransitionPenalty(t *testing.T) { asmtest.CheckAssembly(t, "kernel_amd64.s") }
