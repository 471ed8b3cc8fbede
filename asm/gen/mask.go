package main

import "fmt"

// maskKernel prints one entry point and its kernels. XOR in place and the masked copy
// differ only in what they check, and in whether source and destination are one register.
type maskKernel struct {
	*Source
	dst, src string // registers of the two pointers; in place they are the same
	key      string // address of the argument
}

func maskKernels(s *Source) {
	s.Begin(
		"Masking, RFC 6455 §5.3: every octet is XORed with the key octet of its index modulo 4.",
		"",
		"A short input is covered by windows, half of them counted from its start and half from its end; where they overlap,",
		"both hold the same result, for all windows are loaded before the first is stored. A window that ends at the",
		"input's end starts at an index congruent to n modulo 4, so it takes the key rotated by n octets.",
		"",
		"To 64 bytes in place, to 32 in the copy, and in the SSE2 kernels, all encodings are legacy SSE: they cost the same and",
		"do not meet the transition penalty when somebody has left the upper halves of the YMM registers in use.",
		"At AVX-512 the copy has masked vectors to 128 bytes, in registers above 15, which have no such penalty.",
		"",
		"  DI  destination            AX  key          X0, Y0  key in every lane",
		"  SI  source (copy only)     BX  key after n  X1, Y1  key after n in every lane",
		"  DX  n                      CX, R8-R13  scratch      the others: windows",
	)
	s.Func("func xor(p *byte, n int, key Key)", 20, "xor works like xorGeneric, which it calls for tier Generic.")
	k := &maskKernel{s, "DI", "DI", "key+16(FP)"}
	k.Ins("MOVQ", "n+8(FP)", "DX")
	k.Ins("MOVQ", "p+0(FP)", "DI")
	k.Ins("MOVL", k.key, "AX")
	k.body()
	k.Label("generic", "pure Go: the arguments are where it expects them")
	k.Ins("JMP", "·xorGeneric(SB)")
	k.Label("long", "cut into pieces in Go, so that the scheduler gets a chance between them")
	k.Ins("JMP", "·xorLong(SB)")

	s.Func("func copyMasked(dst, src *byte, n int, key Key)", 28,
		"copyMasked works like copyGeneric, which it calls for tier Generic.")
	k = &maskKernel{s, "DI", "SI", "key+24(FP)"}
	k.Ins("MOVQ", "n+16(FP)", "DX")
	k.Ins("MOVQ", "dst+0(FP)", "DI")
	k.Ins("MOVQ", "src+8(FP)", "SI")
	k.Ins("MOVL", k.key, "AX")
	k.Note("dst-src+n < 2n, unsigned, is -n <= dst-src < n: all overlaps, and src right behind dst")
	k.Ins("LEAQ", "(DI)(DX*1)", "R9")
	k.Ins("SUBQ", "SI", "R9")
	k.Ins("LEAQ", "(DX)(DX*1)", "R10")
	k.Ins("CMPQ", "R9", "R10")
	k.Ins("JCS", "near")
	k.Ins("CMPL", "·tier(SB)", "$const_avx512")
	k.Ins("JCC", "wide")
	fmt.Fprintln(&k.buf, "\nallowed:")
	k.body()
	k.wideCopy()
	k.Label("near", "the same start, or src right behind dst: nothing that the kernels mind")
	k.Ins("CMPQ", "DI", "SI")
	k.Ins("JEQ", "allowed")
	k.Ins("TESTQ", "R9", "R9")
	k.Ins("JEQ", "allowed")
	k.Label("generic", "pure Go, which also panics for a partial overlap")
	k.Ins("JMP", "·copyGeneric(SB)")
	k.Label("long", "cut into pieces in Go")
	k.Ins("JMP", "·copyLong(SB)")
}

// wideCopy covers up to 128 bytes with two masked vectors. It does not branch on the
// length. It uses registers above 15, which need no VZEROUPPER. In place it could be
// slow: a masked store covers the start of the next frame, whose load might wait for it.
// That is not measured.
func (k *maskKernel) wideCopy() {
	k.Label("wide", "AVX-512: up to 128, and no byte in common")
	k.Ins("CMPQ", "DX", 128)
	k.Ins("JHI", "allowed")
	k.Ins("VPBROADCASTD", "AX", "Z16")
	k.Ins("MOVQ", -1, "R8")
	k.Ins("BZHIQ", "DX", "R8", "R9")
	k.Ins("KMOVQ", "R9", "K1")
	k.Note("with 64 and less the second mask is empty, and its vector stands where the first does")
	k.Ins("XORL", "CX", "CX")
	k.Ins("MOVL", 64, "R10")
	k.Ins("SUBQ", 64, "DX")
	k.Ins("CMOVQCS", "CX", "DX")
	k.Ins("CMOVQCS", "CX", "R10")
	k.Ins("BZHIQ", "DX", "R8", "R9")
	k.Ins("KMOVQ", "R9", "K2")
	k.Ins("VMOVDQU8.Z", "(SI)", "K1", "Z17")
	k.Ins("VMOVDQU8.Z", "(SI)(R10*1)", "K2", "Z18")
	k.Ins("VPXORQ", "Z16", "Z17", "Z17")
	k.Ins("VPXORQ", "Z16", "Z18", "Z18")
	k.Ins("VMOVDQU8", "Z17", "K1", "(DI)")
	k.Ins("VMOVDQU8", "Z18", "K2", "(DI)(R10*1)")
	k.Ins("RET")
}

func (k *maskKernel) body() {
	k.Note("key after n")
	k.Ins("LEAL", "(DX*8)", "CX")
	k.Ins("MOVL", "AX", "BX")
	k.Ins("RORL", "CX", "BX")
	k.Ins("CMPQ", "DX", 64)
	k.Ins("JHI", "over64")
	if k.dst == k.src {
		k.hasTier()
		k.Ins("CMPQ", "DX", 16)
		k.Ins("JCS", "under16")
		k.Note("16..64: four windows of 16; up to 32 the inner two are the outer two again")
		k.fourWindows()
		k.Ins("RET")
	} else {
		k.Ins("CMPQ", "DX", 32)
		k.Ins("JHI", "over32")
		k.hasTier()
		k.Ins("CMPQ", "DX", 16)
		k.Ins("JCS", "under16")
		k.Note("16..32: two windows of 16")
		k.windows("MOVOU", "PXOR", X, 16, 1)
		k.Ins("RET")
		k.Label("over32", "33..64: two windows of 32, or four of 16")
		k.Ins("CMPL", "·tier(SB)", "$const_avx2")
		k.Ins("JCS", "narrow")
		k.windows("VMOVDQU", "VPXOR", Y, 32, 1)
		k.Ins("VZEROUPPER")
		k.Ins("RET")
		k.Mark("narrow")
		k.hasTier()
		k.windows("MOVOU", "PXOR", X, 16, 2)
		k.Ins("RET")
	}
	k.under16()
	k.over64()
	k.over128("MOVOU", "PXOR", X, 16)
	k.over128("VMOVDQU", "VPXOR", Y, 32)
}

// hasTier jumps to pure Go if the tier is Generic.
func (k *maskKernel) hasTier() {
	k.Ins("CMPL", "·tier(SB)", 0)
	k.Ins("JEQ", "generic")
}

// broadcast fills registers 0 and 1 with the key, and with the key after n bytes.
func (k *maskKernel) broadcast(vex bool) {
	if vex {
		for i, r := range []string{"AX", "BX"} {
			k.Ins("VMOVD", r, X(i))
			k.Ins("VPBROADCASTD", X(i), Y(i))
		}
		return
	}
	for i, r := range []string{"AX", "BX"} {
		k.Ins("MOVL", r, X(i)) // MOVD
		k.Ins("PSHUFL", 0, X(i), X(i))
	}
}

// xorWith prints window ^= key.
func (k *maskKernel) xorWith(op string, key, window string) {
	if op == "PXOR" {
		k.Ins(op, key, window)
	} else {
		k.Ins(op, key, window, window)
	}
}

// fourWindows covers 16..64 bytes with windows of 16 bytes at 0, o, n-16-o and n-16. o is
// 16 if n > 32, otherwise 0.
func (k *maskKernel) fourWindows() {
	k.broadcast(false)
	k.Ins("LEAQ", "-1(DX)", "R8")
	k.Ins("ANDQ", 32, "R8")
	k.Ins("SHRQ", 1, "R8")
	k.Ins("MOVQ", "DX", "R9")
	k.Ins("SUBQ", "R8", "R9")
	win := func(p string, i int) string {
		return []string{
			Mem(p, 0), MemIdx(p, 0, "R8", 1), MemIdx(p, -16, "R9", 1), MemIdx(p, -16, "DX", 1),
		}[i]
	}
	for i := range 4 {
		k.Ins("MOVOU", win(k.src, i), X(2+i))
	}
	for i := range 4 {
		k.Ins("PXOR", X(i/2), X(2+i))
	}
	for i := range 4 {
		k.Ins("MOVOU", X(2+i), win(k.dst, i))
	}
}

func (k *maskKernel) under16() {
	k.Label("under16", "8..15: two windows of 8")
	k.Ins("CMPQ", "DX", 8)
	k.Ins("JCS", "under8")
	k.Ins("MOVQ", "AX", "R8")
	k.Ins("SHLQ", 32, "R8")
	k.Ins("ORQ", "R8", "AX")
	k.Ins("MOVQ", "BX", "R9")
	k.Ins("SHLQ", 32, "R9")
	k.Ins("ORQ", "R9", "BX")
	k.Ins("XORQ", Mem(k.src, 0), "AX")
	k.Ins("XORQ", MemIdx(k.src, -8, "DX", 1), "BX")
	k.Ins("MOVQ", "AX", Mem(k.dst, 0))
	k.Ins("MOVQ", "BX", MemIdx(k.dst, -8, "DX", 1))
	k.Ins("RET")

	k.Label("under8", "4..7: two windows of 4")
	k.Ins("CMPQ", "DX", 4)
	k.Ins("JCS", "under4")
	k.Ins("XORL", Mem(k.src, 0), "AX")
	k.Ins("XORL", MemIdx(k.src, -4, "DX", 1), "BX")
	k.Ins("MOVL", "AX", Mem(k.dst, 0))
	k.Ins("MOVL", "BX", MemIdx(k.dst, -4, "DX", 1))
	k.Ins("RET")

	k.Label("under4", "1..3: the octets 0, n/2 and n-1")
	k.Ins("TESTQ", "DX", "DX")
	k.Ins("JEQ", "none")
	k.Ins("MOVQ", "DX", "R8")
	k.Ins("SHRQ", 1, "R8")
	k.Note("key octet n-1 is the last octet of the key after n; n/2 is 1 unless n is 1, and then it is 0")
	k.Ins("LEAL", "(R8*8)", "CX")
	k.Ins("MOVL", "AX", "R9")
	k.Ins("RORL", "CX", "R9")
	k.Ins("ROLL", 8, "BX")
	k.Ins("MOVBLZX", Mem(k.src, 0), "R10")
	k.Ins("MOVBLZX", MemIdx(k.src, 0, "R8", 1), "R11")
	k.Ins("MOVBLZX", MemIdx(k.src, -1, "DX", 1), "R12")
	k.Ins("XORL", "AX", "R10")
	k.Ins("XORL", "R9", "R11")
	k.Ins("XORL", "BX", "R12")
	k.Ins("MOVB", "R10", Mem(k.dst, 0))
	k.Ins("MOVB", "R11", MemIdx(k.dst, 0, "R8", 1))
	k.Ins("MOVB", "R12", MemIdx(k.dst, -1, "DX", 1))
	fmt.Fprintln(&k.buf, "\nnone:")
	k.Ins("RET")
}

func (k *maskKernel) over64() {
	k.Label("over64", "65 and more: which tier")
	k.Ins("CMPL", "·tier(SB)", "$const_avx2")
	k.Ins("JCS", "sse2")
	k.Ins("CMPQ", "DX", 128)
	k.Ins("JHI", "over128VPXOR")
	k.Note("65..128: four windows of 32")
	k.windows("VMOVDQU", "VPXOR", Y, 32, 2)
	k.Ins("VZEROUPPER")
	k.Ins("RET")

	k.Label("sse2", "65..128: eight windows of 16")
	k.Ins("CMPL", "·tier(SB)", 0)
	k.Ins("JEQ", "generic")
	k.Ins("CMPQ", "DX", 128)
	k.Ins("JHI", "over128PXOR")
	k.windows("MOVOU", "PXOR", X, 16, 4)
	k.Ins("RET")
}

// windows covers pairs*w..2*pairs*w bytes. Half of the windows are adjacent from the
// start on, the other half up to the end.
func (k *maskKernel) windows(mov, xor string, reg func(int) string, w, pairs int) {
	k.broadcast(mov != "MOVOU")
	win := func(p string, i int) string {
		if i < pairs {
			return Mem(p, i*w)
		}
		return MemIdx(p, (i-2*pairs)*w, "DX", 1)
	}
	if mov == "MOVOU" {
		for i := range 2 * pairs {
			k.Ins(mov, win(k.src, i), reg(2+i))
		}
		for i := range 2 * pairs {
			k.xorWith(xor, reg(i/pairs), reg(2+i))
		}
	} else {
		for i := range 2 * pairs {
			k.Ins(xor, win(k.src, i), reg(i/pairs), reg(2+i)) // with loads included: 5 % less time at 125 bytes than with separate moves
		}
	}
	for i := range 2 * pairs {
		k.Ins(mov, reg(2+i), win(k.dst, i))
	}
}

// over128 covers more than 4w bytes: an aligned loop of 4w bytes between a head and a
// tail window.
func (k *maskKernel) over128(mov, xor string, reg func(int) string, w int) {
	vex := mov != "MOVOU"
	k.Label("over128"+xor, "more than 128")
	k.Ins("CMPQ", "DX", "$const_piece")
	k.Ins("JHI", "long")
	if vex {
		k.Ins("CMPQ", "DX", 256)
		k.Ins("JHI", "stream"+xor)
		k.Note("129..256: eight windows of 32")
		k.windows(mov, xor, reg, w, 4)
		k.Ins("VZEROUPPER")
		k.Ins("RET")
		k.Label("stream"+xor, "more than 256")
	}
	k.broadcast(vex)
	k.Note("R8: bytes to the first aligned store, 0..%d; key from there on in register 4", w-1)
	k.Ins("MOVQ", k.dst, "R8")
	k.Ins("NEGQ", "R8")
	k.Ins("ANDQ", w-1, "R8")
	k.Ins("LEAL", "(R8*8)", "CX")
	k.Ins("RORL", "CX", "AX")
	if vex {
		k.Ins("VMOVD", "AX", "X4")
		k.Ins("VPBROADCASTD", "X4", "Y4")
	} else {
		k.Ins("MOVL", "AX", "X4")
		k.Ins("PSHUFL", 0, "X4", "X4")
	}
	k.Note("R9: where the steps of %d end; R10: the window that ends at n; R11, R12, R13: the last aligned windows, held", 4*w)
	k.Note("back to R10 where they would go beyond: what they leave there, R10, stored after them, puts right")
	k.Ins("MOVQ", "DX", "R9")
	k.Ins("SUBQ", "R8", "R9")
	k.Ins("ANDQ", -4*w, "R9")
	k.Ins("ADDQ", "R8", "R9")
	k.Ins("LEAQ", Mem("DX", -w), "R10")
	last := []string{"R11", "R12", "R13"}
	for i, r := range last {
		k.Ins("LEAQ", Mem("R9", i*w), r)
	}
	for _, r := range last {
		k.Ins("CMPQ", r, "R10")
		k.Ins("CMOVQHI", "R10", r)
	}
	k.Note("head, tail and last windows are loaded before the loop writes, and not just behind its stores")
	k.Ins(mov, Mem(k.src, 0), reg(2))
	k.Ins(mov, MemIdx(k.src, 0, "R10", 1), reg(3))
	for i, r := range last {
		k.Ins(mov, MemIdx(k.src, 0, r, 1), reg(5+i))
	}
	k.xorWith(xor, reg(0), reg(2))
	k.xorWith(xor, reg(1), reg(3))
	for i := range last {
		k.xorWith(xor, reg(4), reg(5+i))
	}
	fmt.Fprintf(&k.buf, "\tPCALIGN $32\n\nloop%s:\n", xor)
	for i := range 4 {
		if vex {
			k.Ins("VPXOR", MemIdx(k.src, i*w, "R8", 1), reg(4), reg(8+i))
		} else {
			k.Ins(mov, MemIdx(k.src, i*w, "R8", 1), reg(8+i))
		}
	}
	for i := range 4 {
		if !vex {
			k.xorWith(xor, reg(4), reg(8+i))
		}
	}
	for i := range 4 {
		k.Ins(mov, reg(8+i), MemIdx(k.dst, i*w, "R8", 1))
	}
	k.Ins("ADDQ", 4*w, "R8")
	k.Ins("CMPQ", "R8", "R9")
	k.Ins("JCS", "loop"+xor)
	k.Note("an aligned start has no head, a whole number of steps no rest; neither is common with lengths that vary")
	k.Ins("TESTL", w-1, "DI")
	k.Ins("JEQ", "nohead"+xor)
	k.Ins(mov, reg(2), Mem(k.dst, 0))
	fmt.Fprintf(&k.buf, "\nnohead%s:\n", xor)
	k.Ins("CMPQ", "DX", "R9")
	k.Ins("JEQ", "end"+xor)
	k.Note("last windows, tail")
	for i, r := range last {
		k.Ins(mov, reg(5+i), MemIdx(k.dst, 0, r, 1))
	}
	k.Ins(mov, reg(3), MemIdx(k.dst, 0, "R10", 1))
	fmt.Fprintf(&k.buf, "\nend%s:\n", xor)
	if vex {
		k.Ins("VZEROUPPER")
	}
	k.Ins("RET")
}
