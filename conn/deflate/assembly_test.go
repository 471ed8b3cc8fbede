package deflate

import (
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// TestNoTransitionPenalty reads the assembly for legacy SSE instructions where VEX ones
// have run, and for ways out without VZEROUPPER.
func TestNoTransitionPenalty(t *testing.T) { asmtest.CheckAssembly(t, "kernel_amd64.s") }
