//go:build gc && !purego

// Registers: Y0..Y15 all ones, on purpose without VZEROUPPER.

#include "textflag.h"

// func dirtyUpper()
TEXT ·dirtyUpper(SB), NOSPLIT, $0-0
	VPCMPEQD Y0, Y0, Y0
	VMOVDQU  Y0, Y1
	VMOVDQU  Y0, Y14
	RET

// func cleanUpper()
TEXT ·cleanUpper(SB), NOSPLIT, $0-0
	VZEROUPPER
	RET
