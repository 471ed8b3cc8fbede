//go:build gc && !purego

// Masking for NEON. The windows are those of the amd64 kernels: half of them counted from the start and half from the
// end, all loaded before the first is stored, the latter with the key rotated by n octets.
//
//   R0  destination           R2  key               V0  key in every lane
//   R1  n                     R3  key after n       V1  key after n in every lane
//   R5  source                R4, R8-R11  scratch   V2-V9, V16-V19  windows
//   R6  end of the source     R7  end of the destination

#include "go_asm.h"
#include "textflag.h"

// xor works like xorGeneric, which it calls for tier Generic.
// func xor(p *byte, n int, key Key)
TEXT ·xor(SB), NOSPLIT, $0-20
	MOVWU ·tier(SB), R4
	MOVD  p+0(FP), R0
	MOVD  n+8(FP), R1
	MOVWU key+16(FP), R2
	CBZ   R4, generic
	MOVD  $const_piece, R4
	CMP   R4, R1
	BGT   long
	MOVD  R0, R5
	B     windows<>(SB)

generic: // pure Go: the arguments are where it expects them
	B ·xorGeneric(SB)

long: // cut into pieces in Go, so that the scheduler gets a chance between them
	B ·xorLong(SB)

// copyMasked works like copyGeneric, which it calls for tier Generic.
// func copyMasked(dst, src *byte, n int, key Key)
TEXT ·copyMasked(SB), NOSPLIT, $0-28
	MOVWU ·tier(SB), R4
	MOVD  dst+0(FP), R0
	MOVD  src+8(FP), R5
	MOVD  n+16(FP), R1
	MOVWU key+24(FP), R2
	CBZ   R4, generic

	// dst-src+n < 2n, unsigned, is -n <= dst-src < n: all overlaps, and src right behind dst
	ADD R0, R1, R9
	SUB R5, R9
	LSL $1, R1, R10
	CMP R10, R9
	BLO near

allowed:
	MOVD $const_piece, R4
	CMP  R4, R1
	BGT  long
	B    windows<>(SB)

near: // the same start, or src right behind dst: nothing that the kernel minds
	CMP R5, R0
	BEQ allowed
	CBZ R9, allowed

generic: // pure Go, which also panics for a partial overlap
	B ·copyGeneric(SB)

long: // cut into pieces in Go
	B ·copyLong(SB)

// windows masks R1 bytes from R5 to R0, which are equal or disjoint, with the key in R2.
TEXT windows<>(SB), NOSPLIT, $0-0
	LSL  $3, R1, R4
	RORW R4, R2, R3
	ADD  R1, R5, R6
	ADD  R1, R0, R7
	CMP  $16, R1
	BLT  under16
	VDUP R2, V0.S4
	VDUP R3, V1.S4
	CMP  $32, R1
	BGT  over32

	// 16..32: two windows
	FMOVQ (R5), F2
	FMOVQ -16(R6), F3
	VEOR  V0.B16, V2.B16, V2.B16
	VEOR  V1.B16, V3.B16, V3.B16
	FMOVQ F2, (R0)
	FMOVQ F3, -16(R7)
	RET

over32: // 33..64: four windows
	CMP   $64, R1
	BGT   over64
	FLDPQ (R5), (F2, F3)
	FLDPQ -32(R6), (F4, F5)
	VEOR  V0.B16, V2.B16, V2.B16
	VEOR  V0.B16, V3.B16, V3.B16
	VEOR  V1.B16, V4.B16, V4.B16
	VEOR  V1.B16, V5.B16, V5.B16
	FSTPQ (F2, F3), (R0)
	FSTPQ (F4, F5), -32(R7)
	RET

over64: // 65..128: eight windows
	CMP   $128, R1
	BGT   over128
	FLDPQ (R5), (F2, F3)
	FLDPQ 32(R5), (F4, F5)
	FLDPQ -64(R6), (F6, F7)
	FLDPQ -32(R6), (F8, F9)
	VEOR  V0.B16, V2.B16, V2.B16
	VEOR  V0.B16, V3.B16, V3.B16
	VEOR  V0.B16, V4.B16, V4.B16
	VEOR  V0.B16, V5.B16, V5.B16
	VEOR  V1.B16, V6.B16, V6.B16
	VEOR  V1.B16, V7.B16, V7.B16
	VEOR  V1.B16, V8.B16, V8.B16
	VEOR  V1.B16, V9.B16, V9.B16
	FSTPQ (F2, F3), (R0)
	FSTPQ (F4, F5), 32(R0)
	FSTPQ (F6, F7), -64(R7)
	FSTPQ (F8, F9), -32(R7)
	RET

over128: // head and last four windows wait in registers, for the loop overwrites parts of them
	FMOVQ (R5), F2
	FLDPQ -64(R6), (F3, F4)
	FLDPQ -32(R6), (F5, F6)
	VEOR  V0.B16, V2.B16, V2.B16
	VEOR  V1.B16, V3.B16, V3.B16
	VEOR  V1.B16, V4.B16, V4.B16
	VEOR  V1.B16, V5.B16, V5.B16
	VEOR  V1.B16, V6.B16, V6.B16

	// R9 and R10: first aligned store and its source; V0: key there; R11: where the last windows begin
	NEG  R0, R8
	AND  $15, R8
	LSL  $3, R8, R4
	RORW R4, R2, R2
	VDUP R2, V0.S4
	ADD  R8, R0, R9
	ADD  R8, R5, R10
	SUB  $64, R7, R11
	PCALIGN $16

loop:
	FLDPQ (R10), (F16, F17)
	FLDPQ 32(R10), (F18, F19)
	ADD   $64, R10
	VEOR  V0.B16, V16.B16, V16.B16
	VEOR  V0.B16, V17.B16, V17.B16
	VEOR  V0.B16, V18.B16, V18.B16
	VEOR  V0.B16, V19.B16, V19.B16
	FSTPQ (F16, F17), (R9)
	FSTPQ (F18, F19), 32(R9)
	ADD   $64, R9
	CMP   R11, R9
	BLO   loop
	FMOVQ F2, (R0)
	FSTPQ (F3, F4), -64(R7)
	FSTPQ (F5, F6), -32(R7)
	RET

under16: // 8..15: two words
	CMP  $8, R1
	BLT  under8
	MOVD (R5), R8
	MOVD -8(R6), R9
	ORR  R2<<32, R2
	ORR  R3<<32, R3
	EOR  R2, R8
	EOR  R3, R9
	MOVD R8, (R0)
	MOVD R9, -8(R7)
	RET

under8: // 4..7: two half words
	CMP   $4, R1
	BLT   under4
	MOVWU (R5), R8
	MOVWU -4(R6), R9
	EOR   R2, R8
	EOR   R3, R9
	MOVW  R8, (R0)
	MOVW  R9, -4(R7)
	RET

under4: // 1..3: the octets 0, n/2 and n-1; key octet n-1 is the last one of the key after n
	CBZ   R1, none
	LSR   $1, R1, R4
	MOVBU (R5), R8
	MOVBU (R5)(R4), R9
	MOVBU -1(R6), R10
	LSL   $3, R4, R11
	LSR   R11, R2, R11
	LSR   $24, R3
	EOR   R2, R8
	EOR   R11, R9
	EOR   R3, R10
	MOVB  R8, (R0)
	MOVB  R9, (R0)(R4)
	MOVB  R10, -1(R7)

none:
	RET
