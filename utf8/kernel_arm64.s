//go:build gc && !purego

// UTF-8, RFC 3629: is it text, and the same for masked text that is unmasked on the way.
//
// A vector is checked against three others that begin 1, 2 and 3 bytes earlier in the text, extracted from it and the
// vector before it. What is left behind the last whole vector is taken from the text's last 16 bytes and moved to the
// start of a vector with zeros behind it, which show an unfinished character. Texts of less than 16 bytes are put
// together in general registers. Memory is loaded once: unmask has the last 16 bytes in a register before it stores.
//
//   R0  next byte           V0-V3    text               V16  0x60
//   R1  bytes left          V4       vector before      V17  0x70
//   R2  tier, scratch       V5       last 16 bytes      V18  0x80
//   R3  key, key twice      V6       key                V19  largest bytes at the end
//   R4  end of the text     V7       key at the end     V20-V24  scratch
//   R5-R11  scratch         V10      errors so far      V25  0
//                           V12-V14  classes            V15  0x0F

#include "go_asm.h"
#include "textflag.h"

// Tables and constants, 16 bytes each; the classes are those of asm/gen/utf8.go.
// classes by the high half of the first byte
DATA utf8rows<>+0(SB)/8, $0x0202020202020202
DATA utf8rows<>+8(SB)/8, $0x4915012180808080
// by its low half
DATA utf8rows<>+16(SB)/8, $0xcbcbcb8b8383a3e7
DATA utf8rows<>+24(SB)/8, $0xcbcbdbcbcbcbcbcb
// by the high half of the second byte
DATA utf8rows<>+32(SB)/8, $0x0101010101010101
DATA utf8rows<>+40(SB)/8, $0x01010101babaaee6
// 0x0F
DATA utf8rows<>+48(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA utf8rows<>+56(SB)/8, $0x0f0f0f0f0f0f0f0f
// 0x60: leaves the top bit of E0 and above
DATA utf8rows<>+64(SB)/8, $0x6060606060606060
DATA utf8rows<>+72(SB)/8, $0x6060606060606060
// 0x70: of F0 and above
DATA utf8rows<>+80(SB)/8, $0x7070707070707070
DATA utf8rows<>+88(SB)/8, $0x7070707070707070
// 0x80
DATA utf8rows<>+96(SB)/8, $0x8080808080808080
DATA utf8rows<>+104(SB)/8, $0x8080808080808080
// the largest bytes that need nothing behind the vector's end
DATA utf8rows<>+112(SB)/8, $0xffffffffffffffff
DATA utf8rows<>+120(SB)/8, $0xbfdfefffffffffff
GLOBL utf8rows<>(SB), NOPTR|RODATA, $128

// From 16-r on: the indices that move the last r bytes of a vector to its start, and zeros behind them.
DATA utf8slide<>+0(SB)/8, $0x0706050403020100
DATA utf8slide<>+8(SB)/8, $0x0f0e0d0c0b0a0908
DATA utf8slide<>+16(SB)/8, $0xffffffffffffffff
DATA utf8slide<>+24(SB)/8, $0xffffffffffffffff
GLOBL utf8slide<>(SB), NOPTR|RODATA, $32

// The assembler has no name for UQSUB: d = n - m, at least 0, in 16 bytes.
#define UQSUB(m, n, d) WORD $(0x6E202C00 | (m)<<16 | (n)<<5 | (d))

// CONSTANTS loads what CHECK needs, clears the errors and puts nothing before the text.
#define CONSTANTS \
	MOVD    $utf8rows<>(SB), R5 \
	VLD1.P  64(R5), [V12.B16, V13.B16, V14.B16, V15.B16] \
	VLD1    (R5), [V16.B16, V17.B16, V18.B16, V19.B16] \
	VEOR    V10.B16, V10.B16, V10.B16 \
	VEOR    V25.B16, V25.B16, V25.B16 \
	VEOR    V4.B16, V4.B16, V4.B16

// CHECK adds the errors of the vector c behind the vector p.
#define CHECK(c, p) \
	VEXT  $15, c.B16, p.B16, V20.B16 \
	VEXT  $14, c.B16, p.B16, V21.B16 \
	VEXT  $13, c.B16, p.B16, V22.B16 \
	VUSHR $4, V20.B16, V23.B16 \
	VAND  V15.B16, V20.B16, V20.B16 \
	VUSHR $4, c.B16, V24.B16 \
	VTBL  V23.B16, [V12.B16], V23.B16 \
	VTBL  V20.B16, [V13.B16], V20.B16 \
	VTBL  V24.B16, [V14.B16], V24.B16 \
	UQSUB(16, 21, 21) \
	UQSUB(17, 22, 22) \
	VAND  V20.B16, V23.B16, V23.B16 \
	VORR  V22.B16, V21.B16, V21.B16 \
	VAND  V24.B16, V23.B16, V23.B16 \
	VAND  V18.B16, V21.B16, V21.B16 \
	VEOR  V21.B16, V23.B16, V23.B16 \
	VORR  V23.B16, V10.B16, V10.B16

// OPEN adds an error if V4, the vector before, ends in an unfinished character.
#define OPEN \
	VORR  V4.B16, V4.B16, V21.B16 \
	UQSUB(19, 21, 21) \
	VORR  V21.B16, V10.B16, V10.B16

// FOLD ORs both halves of v into R6.
#define FOLD(v) \
	VMOV v.D[0], R6 \
	VMOV v.D[1], R7 \
	ORR  R7, R6, R6

// OR64 leaves the OR of V0 to V3 in V20.
#define OR64 \
	VORR V0.B16, V1.B16, V20.B16 \
	VORR V2.B16, V3.B16, V21.B16 \
	VORR V20.B16, V21.B16, V20.B16

// CHECK64 checks V0 to V3 behind V4.
#define CHECK64 \
	CHECK(V0, V4) \
	CHECK(V1, V0) \
	CHECK(V2, V1) \
	CHECK(V3, V2) \
	VORR V3.B16, V3.B16, V4.B16

// REST moves the last R1 bytes of V5, 1 to 15, to the start of V0, with zeros behind them.
#define REST \
	MOVD $utf8slide<>+16(SB), R5 \
	SUB  R1, R5, R5 \
	VLD1 (R5), [V20.B16] \
	VTBL V20.B16, [V5.B16], V0.B16

// PAD puts the n text bytes, 8 to 15, of which R6 has the first 8 and R7 the last 8, into V0.
#define PAD \
	MOVD $16, R8 \
	SUB  R1, R8, R8 \
	LSL  $2, R8, R8 \
	LSR  R8, R7, R7 \
	LSR  R8, R7, R7 \
	VMOV R6, V0.D[0] \
	VMOV R7, V0.D[1]

// JOIN4 puts 4 to 7 bytes, of which R6 has the first 4 and R7 the last 4, into V0.
#define JOIN4 \
	MOVD $8, R8 \
	SUB  R1, R8, R8 \
	LSL  $3, R8, R8 \
	LSR  R8, R7, R7 \
	ORR  R7<<32, R6, R6 \
	VEOR V0.B16, V0.B16, V0.B16 \
	VMOV R6, V0.D[0]

// JOIN1 puts 1 to 3 bytes, of which R6 has the first, R7 that at n/2 and R8 the last, into V0. R9 is n/2.
#define JOIN1 \
	LSL  $3, R9, R10 \
	LSL  R10, R7, R7 \
	SUB  $1, R1, R10 \
	LSL  $3, R10, R10 \
	LSL  R10, R8, R8 \
	ORR  R7, R6, R6 \
	ORR  R8, R6, R6 \
	VEOR V0.B16, V0.B16, V0.B16 \
	VMOV R6, V0.D[0]

// func valid(p *byte, n int) bool
// valid works like validGeneric.
TEXT ·valid(SB), NOSPLIT, $0-17
	MOVD  p+0(FP), R0
	MOVD  n+8(FP), R1
	MOVWU ·tier(SB), R2
	CBZ   R2, generic
	MOVD  $0x8080808080808080, R11
	CMP   $16, R1
	BLO   under16
	CMP   $const_pieceMax, R1
	BHI   long
	ADD   R0, R1, R4
	CMP   $64, R1
	BLO   check

	// ASCII, 64 bytes a round
ascii:
	VLD1 (R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	OR64
	FOLD(V20)
	TST  R11, R6
	BNE  check
	ADD  $64, R0
	SUB  $64, R1
	CMP  $64, R1
	BHS  ascii
	CBZ  R1, true

	// from R0 on there may be anything; before it is ASCII, or nothing
check:
	CONSTANTS
	SUB  $16, R4, R5
	VLD1 (R5), [V5.B16]
	CMP  $64, R1
	BLO  tail

	PCALIGN $16
loop:
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	SUB    $64, R1
	OR64
	FOLD(V20)
	TST    R11, R6
	BEQ    skip
	CHECK64
	CMP    $64, R1
	BHS    loop
	B      tail

	// nothing to check in ASCII but that the character before it is finished
skip:
	OPEN
	VORR V3.B16, V3.B16, V4.B16
	CMP  $64, R1
	BHS  loop

	// whole vectors
tail:
	CMP    $16, R1
	BLO    rest
	VLD1.P 16(R0), [V0.B16]
	SUB    $16, R1
	CHECK(V0, V4)
	VORR   V0.B16, V0.B16, V4.B16
	B      tail

	// less than one vector
rest:
	CBZ R1, closed
	REST
	CHECK(V0, V4)
	B   verdict

	// the text ends with a vector
closed:
	OPEN

verdict:
	FOLD(V10)
	CMP  $0, R6
	CSET EQ, R6
	MOVB R6, ret+16(FP)
	RET

	// 8..15: the first word and the last
under16:
	CMP  $8, R1
	BLO  under8
	ADD  R0, R1, R4
	MOVD (R0), R6
	MOVD -8(R4), R7
	ORR  R7, R6, R8
	TST  R11, R8
	BEQ  true
	PAD

padded:
	CONSTANTS
	CHECK(V0, V25)
	B verdict

	// 4..7: the same with half words
under8:
	CMP   $4, R1
	BLO   under4
	ADD   R0, R1, R4
	MOVWU (R0), R6
	MOVWU -4(R4), R7
	ORR   R7, R6, R8
	TST   R11, R8
	BEQ   true
	JOIN4
	B     padded

	// 1..3: the bytes 0, n/2 and n-1
under4:
	CBZ   R1, true
	LSR   $1, R1, R9
	ADD   R0, R1, R4
	MOVBU (R0), R6
	MOVBU (R0)(R9), R7
	MOVBU -1(R4), R8
	ORR   R7, R6, R10
	ORR   R8, R10, R10
	TST   R11, R10
	BEQ   true
	JOIN1
	B     padded

true:
	MOVD $1, R6
	MOVB R6, ret+16(FP)
	RET

	// pure Go: the arguments are where it expects them
generic:
	B ·validGeneric(SB)

	// cut into pieces in Go, so that the scheduler gets a chance between them
long:
	B ·validLong(SB)

// func unmask(p *byte, n int, key mask.Key) bool
// unmask works like unmaskGeneric.
TEXT ·unmask(SB), NOSPLIT, $0-25
	MOVD  p+0(FP), R0
	MOVD  n+8(FP), R1
	MOVWU key+16(FP), R3
	MOVWU ·tier(SB), R2
	CBZ   R2, generic
	MOVD  $0x8080808080808080, R11
	ADD   R0, R1, R4
	LSL   $3, R1, R5
	RORW  R5, R3, R2
	CMP   $16, R1
	BLO   under16
	CMP   $const_pieceMax, R1
	BHI   long
	VDUP  R3, V6.S4
	VDUP  R2, V7.S4

	// the last 16 bytes: what stands before them is stored over them below, and they over that at the end
	SUB  $16, R4, R10
	VLD1 (R10), [V5.B16]
	VEOR V7.B16, V5.B16, V5.B16
	CMP  $64, R1
	BLO  check

	// ASCII, 64 bytes a round
ascii:
	VLD1 (R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VEOR V6.B16, V0.B16, V0.B16
	VEOR V6.B16, V1.B16, V1.B16
	VEOR V6.B16, V2.B16, V2.B16
	VEOR V6.B16, V3.B16, V3.B16
	OR64
	FOLD(V20)
	TST  R11, R6
	BNE  check
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	SUB  $64, R1
	CMP  $64, R1
	BHS  ascii

	// from R0 on there may be anything; before it is ASCII, or nothing
check:
	CONSTANTS
	CMP $64, R1
	BLO tail

	PCALIGN $16
loop:
	VLD1 (R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	SUB  $64, R1
	VEOR V6.B16, V0.B16, V0.B16
	VEOR V6.B16, V1.B16, V1.B16
	VEOR V6.B16, V2.B16, V2.B16
	VEOR V6.B16, V3.B16, V3.B16
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0)
	OR64
	FOLD(V20)
	TST  R11, R6
	BEQ  skip
	CHECK64
	CMP  $64, R1
	BHS  loop
	B    tail

	// nothing to check in ASCII but that the character before it is finished
skip:
	OPEN
	VORR V3.B16, V3.B16, V4.B16
	CMP  $64, R1
	BHS  loop

	// whole vectors
tail:
	CMP  $16, R1
	BLO  rest
	VLD1 (R0), [V0.B16]
	SUB  $16, R1
	VEOR V6.B16, V0.B16, V0.B16
	VST1.P [V0.B16], 16(R0)
	CHECK(V0, V4)
	VORR V0.B16, V0.B16, V4.B16
	B    tail

	// less than one vector
rest:
	VST1 [V5.B16], (R10)
	CBZ  R1, closed
	REST
	CHECK(V0, V4)
	B    verdict

	// the text ends with a vector
closed:
	OPEN

verdict:
	FOLD(V10)
	CMP  $0, R6
	CSET EQ, R6
	MOVB R6, ret+24(FP)
	RET

	// 8..15: the first word and the last
under16:
	CMP  $8, R1
	BLO  under8
	ORR  R3<<32, R3, R3
	ORR  R2<<32, R2, R2
	MOVD (R0), R6
	MOVD -8(R4), R7
	EOR  R3, R6, R6
	EOR  R2, R7, R7
	MOVD R6, (R0)
	MOVD R7, -8(R4)
	ORR  R7, R6, R8
	TST  R11, R8
	BEQ  true
	PAD

padded:
	CONSTANTS
	CHECK(V0, V25)
	B verdict

	// 4..7: the same with half words
under8:
	CMP   $4, R1
	BLO   under4
	MOVWU (R0), R6
	MOVWU -4(R4), R7
	EORW  R3, R6, R6
	EORW  R2, R7, R7
	MOVW  R6, (R0)
	MOVW  R7, -4(R4)
	ORR   R7, R6, R8
	TST   R11, R8
	BEQ   true
	JOIN4
	B     padded

	// 1..3: the bytes 0, n/2 and n-1; the key byte of the last is the highest of the key behind it
under4:
	CBZ   R1, true
	LSR   $1, R1, R9
	LSL   $3, R9, R10
	LSR   $24, R2, R2
	LSR   R10, R3, R5
	MOVBU (R0), R6
	MOVBU (R0)(R9), R7
	MOVBU -1(R4), R8
	EOR   R3, R6, R6
	EOR   R5, R7, R7
	EOR   R2, R8, R8
	AND   $0xFF, R6, R6
	AND   $0xFF, R7, R7
	MOVB  R6, (R0)
	MOVB  R7, (R0)(R9)
	MOVB  R8, -1(R4)
	ORR   R7, R6, R10
	ORR   R8, R10, R10
	TST   R11, R10
	BEQ   true
	JOIN1
	B     padded

true:
	MOVD $1, R6
	MOVB R6, ret+24(FP)
	RET

	// pure Go: the arguments are where it expects them
generic:
	B ·unmaskGeneric(SB)

	// cut into pieces in Go, so that the scheduler gets a chance between them
long:
	B ·unmaskLong(SB)
