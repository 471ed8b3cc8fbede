package mask

import (
	"testing"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

func TestNoTransitionPenalty(t *testing.T) { asmtest.CheckAssembly(t, "kernel_amd64.s") }
