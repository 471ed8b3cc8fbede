package main

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// lagMin is the least remaining text for which unmasking runs ahead of checking. It
	// has enough bytes for the vectors at its end. Up to 256 bytes it is faster to check
	// the masked bytes (BenchmarkUnmask, cjk, 174 and 400 B).
	lagMin = 257
	// lagAhead is the distance. Bytes stored less than about 256 bytes ago would be
	// loaded from the store buffer, which is slow.
	lagAhead = 512
	// lagCalm is the number of rounds of ASCII after which ASCII mode is tried again.
	lagCalm = 8
)

func printUnmask(s *Source) {
	s.Func("func unmask(p *byte, n int, key mask.Key) bool", 25, "unmask works like unmaskGeneric.")
	k := &utf8Kernel{s, "ret+24(FP)"}
	k.Ins("MOVQ", "n+8(FP)", "SI")
	k.Ins("MOVQ", "p+0(FP)", "DI")
	k.Ins("CMPL", "·tier(SB)", "$const_avx2")
	k.Ins("JCS", "older")
	k.Ins("CMPQ", "SI", 16)
	k.Ins("JCS", "under16")
	k.Ins("JEQ", "sixteen")
	k.Ins("CMPQ", "SI", 32)
	k.Ins("JHI", "over32")
	k.Ins("JEQ", "thirtytwo")
	k.unmaskShort()
	k.Label("over64", "65 and more: which tier")
	k.Ins("CMPL", "·tier(SB)", "$const_avx512")
	k.Ins("JCC", "wide")
	k.unmaskEnds()
	k.Ins("CMPQ", "SI", 128)
	k.Ins("JHI", "over128")
	k.unmask128()
	k.unmaskWhole()
	k.under16("", func() { k.CheckSmall(false) }, func() {
		k.Ins("VMOVQ", "AX", "X0")
		k.CheckSmall(false)
	})
	k.Label("over128", "129 and more")
	k.Ins("CMPQ", "SI", "$const_pieceMax")
	k.Ins("JHI", "long")
	k.unmaskLong()
	k.Label("older", "without AVX2")
	k.Ins("CMPL", "·tier(SB)", "$const_ssse3")
	k.Ins("JCS", "generic")
	k.Ins("CMPQ", "SI", 16)
	k.Ins("JCS", "under16X")
	k.Ins("CMPQ", "SI", 64)
	k.Ins("JHI", "over64X")
	k.unmaskShortX()
	k.under16("X", k.Padded, func() {
		k.Ins("MOVQ", "AX", "X0")
		k.Padded()
	})
	k.Label("over64X", "chunk by chunk, or cut into pieces in Go, so that the scheduler gets a chance between them")
	k.Ins("CMPQ", "SI", "$const_pieceMax")
	k.Ins("JHI", "cut")
	k.Ins("JMP", "·unmaskChunks(SB)")
	k.unmaskWide()
	k.Mark("long")
	k.Ins("VZEROUPPER")
	k.Mark("cut")
	k.Ins("JMP", "·unmaskLong(SB)")
	k.Label("generic", "pure Go: the arguments are where it expects them")
	k.Ins("JMP", "·unmaskGeneric(SB)")
}

// keyX spreads the key in reg over the vector x.
func (k *utf8Kernel) keyX(reg, x string) {
	k.Ins("MOVL", reg, x)
	k.Ins("PSHUFD", 0, x, x)
}

// keyAfter loads the key after n bytes into reg. CX becomes 8n.
func (k *utf8Kernel) keyAfter(reg string) {
	k.Ins("MOVL", "key+16(FP)", reg)
	k.Ins("LEAL", "(SI*8)", "CX")
	k.Ins("RORL", "CX", reg)
}

// unmaskShort prints n from 17 to 64 for AVX2, except 32. In this and all other short
// cases everything is loaded before the first store, and nothing stored is loaded again.
func (k *utf8Kernel) unmaskShort() {
	k.Note("17..31: the first vector and the last")
	k.Ins("VBROADCASTSS", "key+16(FP)", "X4")
	k.keyAfter("R8")
	k.Ins("VMOVD", "R8", "X5")
	k.Ins("VPBROADCASTD", "X5", "X5")
	k.Ins("VPXOR", "(DI)", "X4", "X0")
	k.Ins("VPXOR", "-16(DI)(SI*1)", "X5", "X3")
	k.Ins("VPOR", "X3", "X0", "X2")
	k.Ins("VMOVDQU", "X0", "(DI)")
	k.Ins("VMOVDQU", "X3", "-16(DI)(SI*1)")
	k.Ins("VPMOVMSKB", "X2", "AX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", "check32")
	k.Ins("VZEROUPPER")
	k.True()
	k.Mark("check32")
	k.Short32()

	k.Label("over32", "33..64: the first vector and the last, of 32")
	k.Ins("CMPQ", "SI", 64)
	k.Ins("JHI", "over64")
	k.unmaskEnds()
	k.Ins("VPXOR", "(DI)", "Y6", "Y0")
	k.Ins("VPXOR", "-32(R12)", "Y12", "Y3")
	k.Ins("VPOR", "Y3", "Y0", "Y2")
	k.Ins("VPMOVMSKB", "Y2", "AX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", "check64")
	store := func() {
		k.Ins("VMOVDQU", "Y0", "(DI)")
		k.Ins("VMOVDQU", "Y3", "-32(R12)")
	}
	store()
	k.Ins("VZEROUPPER")
	k.True()
	k.Mark("check64")
	k.ConstantsShort()
	k.FirstShort("Y0", "Y7", "Y4", "Y5", "Y13")
	k.Ins("CMPQ", "SI", 35)
	k.Ins("JCS", "near64")
	k.keysShort("Y12")
	k.MaskedShort("Y3", at("R12", -32))
	k.Mark("store64")
	store()
	k.OpenY("Y3")
	k.VerdictY()
	k.Label("near64", "33, 34: the last vector cannot see 3 bytes before it, but the first has checked what needs them")
	k.FirstShort("Y3", "Y4", "Y5", "Y13", "Y14")
	k.Ins("VPAND", row(rowSkip3), "Y4", "Y4")
	k.Ins("VPOR", "Y4", "Y7", "Y7")
	k.Ins("JMP", "store64")
}

// unmaskEnds sets R12 to the end, Y6 to the key, and R8 and Y12 to the key at the end.
func (k *utf8Kernel) unmaskEnds() {
	k.Ins("LEAQ", "(DI)(SI*1)", "R12")
	k.Ins("VBROADCASTSS", "key+16(FP)", "Y6")
	k.keyAfter("R8")
	k.keyY("R8", 12)
}

// unmask128 prints n from 65 to 128 for AVX2. Y6 is the key at the start, Y12 that at the
// end.
func (k *utf8Kernel) unmask128() {
	k.Ins("CMPQ", "SI", 96)
	k.Ins("JHI", "over96")
	k.Note("65..96: the first two vectors and the last")
	k.unmaskFew("check96", "32(DI)", "-32(R12)")
	k.Label("over96", "97..128: the first two vectors and the last two")
	k.unmaskFew("check128", "32(DI)", "-64(R12)", "-32(R12)")
}

// unmaskFew prints a length that the first vector and those at mem cover, up to three.
// R12 is the end.
func (k *utf8Kernel) unmaskFew(check string, mem ...string) {
	mem = append([]string{"(DI)"}, mem...)
	key := func(i int) string {
		if strings.HasSuffix(mem[i], "(R12)") {
			return "Y12"
		}
		return "Y6"
	}
	for i, m := range mem {
		k.Ins("VPXOR", m, key(i), Y(i))
	}
	store := func() {
		for i, m := range mem {
			k.Ins("VMOVDQU", Y(i), m)
		}
	}
	last := len(mem) - 1
	k.Ins("VPOR", "Y1", "Y0", "Y7")
	back := "Y2"
	if last == 3 {
		back = "Y5"
		k.Ins("VPOR", "Y2", "Y3", back)
	}
	k.Sign("Y4", "Y7", back)
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", check)
	store()
	k.Ins("VZEROUPPER")
	k.True()
	k.Mark(check)
	k.ConstantsShort()
	k.Ins("CMPL", "AX", -1) // as in dense
	k.Ins("JNE", check+"Part")
	k.Mark(check + "All")
	front := func() {
		k.FirstShort("Y0", "Y7", "Y4", "Y5", "Y13")
		k.keysShort("Y6")
		k.MaskedShort("Y1", near(mem[1]))
	}
	front()
	k.keysShort("Y12")
	for i := 2; i <= last; i++ {
		if i == last {
			k.Mark(check + "Last")
		}
		k.MaskedShort(Y(i), near(mem[i]))
	}
	k.Ins("VPSUBUSB", row(rowOpen), Y(last), "Y4")
	k.Mark(check + "Open")
	k.Ins("VPOR", "Y4", "Y7", "Y7")
	store()
	k.VerdictY()
	k.Label(check+"Part", "is the front ASCII, or the rest")
	k.Ins("VPMOVMSKB", "Y7", "AX")
	k.Ins("VPMOVMSKB", back, "CX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JEQ", check+"Back")
	k.Ins("TESTL", "CX", "CX")
	k.Ins("JNE", check+"All")
	front()
	k.Ins("VPSUBUSB", row(rowOpen), "Y1", "Y4")
	k.Ins("JMP", check+"Open")
	k.Mark(check + "Back")
	k.Ins("VPXOR", "Y7", "Y7", "Y7")
	k.keysShort("Y12")
	if last == 3 {
		k.Ins("VPMOVMSKB", "Y2", "AX")
		k.Ins("TESTL", "AX", "AX")
		k.Ins("JEQ", check+"Last")
		k.MaskedShort("Y2", near(mem[2]))
	}
	k.Ins("JMP", check+"Last")
}

// near returns the addresses around an address of the form disp(base).
func near(mem string) func(int) string {
	disp, base, _ := strings.Cut(strings.TrimSuffix(mem, ")"), "(")
	n, err := strconv.Atoi(disp)
	if err != nil {
		panic(err)
	}
	return at(base, n)
}

// unmaskWhole prints 16 and 32 for AVX2.
func (k *utf8Kernel) unmaskWhole() {
	for _, v := range []struct {
		name, number, text, key string
		check                   func()
	}{
		{"sixteen", "16", "X0", "X6", func() { k.CheckSmall(true) }},
		{"thirtytwo", "32", "Y0", "Y6", func() {
			k.ConstantsShort()
			k.FirstShort("Y0", "Y7", "Y1", "Y2", "Y4")
			k.OpenY("Y0")
			k.VerdictY()
		}},
	} {
		k.Ins("PCALIGN", 32)
		k.Label(v.name, v.number+": one vector")
		k.Ins("VBROADCASTSS", "key+16(FP)", v.key)
		k.Ins("VPXOR", "(DI)", v.key, v.text)
		k.Ins("VMOVDQU", v.text, "(DI)")
		k.Ins("VPMOVMSKB", v.text, "AX")
		k.Ins("TESTL", "AX", "AX")
		k.Ins("JEQ", v.name+"ASCII")
		v.check()
		k.Mark(v.name + "ASCII")
		k.Ins("VZEROUPPER")
		k.True()
	}
}

// unmaskShortX prints n from 16 to 64 for SSSE3.
func (k *utf8Kernel) unmaskShortX() {
	k.Ins("MOVL", "key+16(FP)", "R8")
	k.keyX("R8", "X4")
	k.keyAfter("R8")
	k.keyX("R8", "X5")
	k.Ins("CMPQ", "SI", 32)
	k.Ins("JHI", "over32X")
	k.Note("16..32: the first vector and the last")
	k.Ins("MOVOU", "(DI)", "X0")
	k.Ins("MOVOU", "-16(DI)(SI*1)", "X3")
	k.Ins("PXOR", "X4", "X0")
	k.Ins("PXOR", "X5", "X3")
	k.Ins("MOVOA", "X0", "X2")
	k.Ins("POR", "X3", "X2")
	k.Ins("PMOVMSKB", "X2", "AX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", "check32X")
	store32 := func() {
		k.Ins("MOVOU", "X0", "(DI)")
		k.Ins("MOVOU", "X3", "-16(DI)(SI*1)")
	}
	store32()
	k.True()
	k.Mark("check32X")
	k.ConstantsX()
	k.FirstX("X0")
	k.AddX()
	k.Ins("CMPQ", "SI", 19)
	k.Ins("JCS", "nearX")
	k.MaskedX("X3", "X5", atIndex("DI", -16, "SI"))
	k.AddX()
	k.OpenX("X3")
	store32()
	k.VerdictX()
	k.Label("nearX", "16..18: the last vector cannot see 3 bytes before it, but the first has checked what needs them")
	k.FirstX("X3")
	k.Ins("MOVOU", row(rowSkip3), "X14")
	k.Ins("PAND", "X14", "X15")
	k.AddX()
	k.OpenX("X3")
	store32()
	k.VerdictX()

	k.Label("over32X", "33..64: the first two vectors, the last, and one between")
	k.Middle(16)
	k.Ins("MOVOU", "(DI)", "X0")
	k.Ins("MOVOU", "16(DI)", "X1")
	k.Ins("MOVOU", "(DI)(CX*1)", "X2")
	k.Ins("MOVOU", "-16(DI)(SI*1)", "X3")
	k.Ins("PXOR", "X4", "X0")
	k.Ins("PXOR", "X4", "X1")
	k.Ins("PXOR", "X4", "X2")
	k.Ins("PXOR", "X5", "X3")
	k.Ins("MOVOA", "X0", "X6")
	k.Ins("MOVOA", "X2", "X7")
	k.Ins("POR", "X1", "X6")
	k.Ins("POR", "X3", "X7")
	k.Ins("POR", "X7", "X6")
	k.Ins("PMOVMSKB", "X6", "AX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", "check64X")
	store64 := func() {
		k.Ins("MOVOU", "X0", "(DI)")
		k.Ins("MOVOU", "X1", "16(DI)")
		k.Ins("MOVOU", "X2", "(DI)(CX*1)")
		k.Ins("MOVOU", "X3", "-16(DI)(SI*1)")
	}
	store64()
	k.True()
	k.Mark("check64X")
	k.ConstantsX()
	k.FirstX("X0")
	k.AddX()
	k.MaskedX("X1", "X4", at("DI", 16))
	k.AddX()
	k.MaskedX("X2", "X4", atIndex("DI", 0, "CX"))
	k.AddX()
	k.MaskedX("X3", "X5", atIndex("DI", -16, "SI"))
	k.AddX()
	k.OpenX("X3")
	store64()
	k.VerdictX()
}

// under16 prints n up to 15, in general registers: for AVX2, and for SSSE3 with labels
// that end in X. check16 takes 9 to 15 bytes that are not all ASCII in X0. check8 takes
// up to 8 in AX. In both zeros follow the text.
func (k *utf8Kernel) under16(x string, check16, check8 func()) {
	mov, join := "VMOVQ", []any{"X1", "X0", "X0"}
	if x != "" {
		mov, join = "MOVQ", join[:2]
	}
	double := func() { // key twice in AX
		k.Ins("MOVL", "key+16(FP)", "AX")
		k.Ins("MOVQ", "AX", "R8")
		k.Ins("SHLQ", 32, "R8")
		k.Ins("ORQ", "R8", "AX")
	}
	k.Ins("PCALIGN", 64)
	k.Label("under16"+x, "8: one word")
	k.Ins("CMPQ", "SI", 8)
	k.Ins("JCS", "under8"+x)
	k.Ins("JHI", "over8"+x)
	double()
	k.Ins("XORQ", "(DI)", "AX")
	k.Ins("MOVQ", "AX", "(DI)")
	k.Ins("TESTQ", "AX", row(rowTop))
	k.Ins("JEQ", "eight"+x)
	k.Mark("check8" + x)
	check8()
	k.Mark("eight" + x)
	k.True()

	k.Label("over8"+x, "9..15: the first word and the last")
	double()
	k.Ins("LEAL", "(SI*8)", "CX")
	k.Ins("MOVQ", "AX", "BX")
	k.Ins("RORQ", "CX", "BX")
	k.Ins("XORQ", "(DI)", "AX")
	k.Ins("XORQ", "-8(DI)(SI*1)", "BX")
	k.Ins("MOVQ", "AX", "(DI)")
	k.Ins("MOVQ", "BX", "-8(DI)(SI*1)")
	k.Ins("MOVQ", "AX", "R10")
	k.Ins("ORQ", "BX", "R10")
	k.Ins("TESTQ", "R10", row(rowTop))
	k.Ins("JNE", "check16"+x)
	k.True()
	k.Mark("check16" + x)
	k.Note("what the words share is shifted out of the last one")
	k.Ins("NEGL", "CX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins(mov, "AX", "X0")
	k.Ins(mov, "BX", "X1")
	k.Ins(strings.TrimSuffix(mov, "MOVQ")+"PUNPCKLQDQ", join...)
	check16()

	k.Label("under8"+x, "4: half a word, which comes first because it has the least to do beside")
	k.Ins("CMPQ", "SI", 4)
	k.Ins("JHI", "over4"+x)
	k.Ins("JCS", "under4"+x)
	k.Ins("MOVL", "key+16(FP)", "AX")
	k.Ins("XORL", "(DI)", "AX")
	k.Ins("MOVL", "AX", "(DI)")
	k.Ins("TESTL", "$0x80808080", "AX")
	if x == "" {
		k.Ins("JNE", "check4")
		k.True()
		k.Mark("check4")
		k.CheckStates()
	} else {
		k.Ins("JNE", "check8X")
		k.True()
	}

	k.Label("over4"+x, "5..7: the first half word and the last")
	k.keyAfter("R9")
	k.Ins("MOVL", "key+16(FP)", "AX")
	k.Ins("XORL", "(DI)", "AX")
	k.Ins("XORL", "-4(DI)(SI*1)", "R9")
	k.Ins("MOVL", "AX", "(DI)")
	k.Ins("MOVL", "R9", "-4(DI)(SI*1)")
	k.Ins("MOVL", "AX", "BX")
	k.Ins("ORL", "R9", "BX")
	k.Ins("TESTL", "$0x80808080", "BX")
	k.Ins("JNE", "check7"+x)
	k.True()
	k.Mark("check7" + x)
	k.Note("the last goes over what it shares with the first")
	k.Ins("SUBL", 32, "CX")
	k.Ins("SHLQ", "CX", "R9")
	k.Ins("ORQ", "R9", "AX")
	k.Ins("JMP", "check8"+x)

	k.Label("under4"+x, "1..3: the bytes 0, n/2 and n-1")
	k.Ins("TESTQ", "SI", "SI")
	k.Ins("JEQ", "none"+x)
	k.keyAfter("R9")
	k.Ins("MOVL", "key+16(FP)", "R8")
	k.Ins("MOVQ", "SI", "R10")
	k.Ins("SHRQ", 1, "R10")
	k.Ins("MOVBLZX", "(DI)", "AX")
	k.Ins("MOVBLZX", "(DI)(R10*1)", "BX")
	k.Ins("MOVBLZX", "-1(DI)(SI*1)", "DX")
	k.Ins("XORB", "R8", "AX")
	k.Note("the key byte of the last octet is the highest of the key behind it")
	k.Ins("SHRL", 24, "R9")
	k.Ins("XORL", "R9", "DX")
	k.Ins("LEAL", "(R10*8)", "CX")
	k.Ins("SHRL", "CX", "R8")
	k.Ins("XORB", "R8", "BX")
	k.Ins("MOVB", "AX", "(DI)")
	k.Ins("MOVB", "BX", "(DI)(R10*1)")
	k.Ins("MOVB", "DX", "-1(DI)(SI*1)")
	k.Ins("MOVL", "AX", "CX")
	k.Ins("ORL", "BX", "CX")
	k.Ins("ORL", "DX", "CX")
	k.Ins("TESTL", "$0x80", "CX")
	k.Ins("JNE", "check3"+x)
	k.Mark("none" + x)
	k.True()
	k.Mark("check3" + x)
	k.CheckFew()
}

// keyY spreads the key in reg over the vector number y.
func (k *utf8Kernel) keyY(reg string, y int) {
	k.Ins("VMOVD", reg, X(y))
	k.Ins("VPBROADCASTD", X(y), Y(y))
}

// unmaskLong prints n from 129 for AVX2.
//
// Up to 256 bytes everything stays in registers until it is checked.
//
// A short rest of a longer text is stored only after it was found to be ASCII. If it is
// not, it is first checked while it is masked, which unmasks three more vectors a block
// in registers. Then it takes the same way again with BX, the mask of the test, 0.
//
// A long text is unmasked lagAhead bytes ahead of a check that loads it again. While it
// is ASCII, one test of each chunk of that size is the check. (A test takes the place of
// a store in its unit, which does one a cycle.)
func (k *utf8Kernel) unmaskLong() {
	k.Note("Y6 is the key, R8 and Y12 the key after n, R12 the end")
	k.Ins("MOVL", "R8", "R9")
	k.Ins("MOVL", "key+16(FP)", "R13")
	k.Ins("XORL", "R10", "R10")
	k.Ins("MOVL", -1, "BX")
	k.Ins("VPXOR", "Y7", "Y7", "Y7")
	k.Ins("VMOVDQA", "Y12", "Y5")
	k.unmaskWindows()
	k.unmaskASCII()
	k.unmaskMasked()
	k.unmaskLag()
	k.Rest("")
}

// unmaskWindows prints n up to 256.
func (k *utf8Kernel) unmaskWindows() {
	k.Note("129 and more: four vectors from the start; nothing is stored yet")
	for i := range 4 {
		k.Ins("VPXOR", Mem("DI", 32*i), "Y6", Y(i))
	}
	k.Ins("CMPQ", "SI", 256)
	k.Ins("JHI", "over256")
	k.Note("129..256: and four to the end")
	for i := range 4 {
		k.Ins("VPXOR", Mem("R12", 32*i-128), "Y5", Y(8+i))
	}
	k.Ins("VPOR", "Y0", "Y1", "Y12")
	k.Ins("VPOR", "Y2", "Y3", "Y13")
	k.Ins("VPOR", "Y8", "Y9", "Y14")
	k.Ins("VPOR", "Y10", "Y11", "Y15")
	k.Ins("VPOR", "Y12", "Y13", "Y4")
	k.Sign("Y4", "Y4", "Y14", "Y15")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JNE", "blocks256")
	k.Mark("store256")
	for i := range 4 {
		k.Ins("VMOVDQU", Y(i), Mem("DI", 32*i))
	}
	for i := range 4 {
		k.Ins("VMOVDQU", Y(8+i), Mem("R12", 32*i-128))
	}
	k.VerdictY()
	k.Mark("blocks256")
	k.unmaskBlocks()
}

// unmaskBlocks prints the check of 129 to 256 bytes that are not all ASCII, as blocks
// does. The text is in Y0..Y3 and Y8..Y11. The bytes before a vector are unmasked again.
// Y12 to Y15 have the top bits of the blocks. No registers are left for the tables.
func (k *utf8Kernel) unmaskBlocks() {
	masks := []string{"AX", "BX", "CX", "DX"}
	for i, m := range masks {
		k.Ins("VPMOVMSKB", Y(12+i), m)
	}
	k.Ins("VPXOR", "Y12", "Y12", "Y12")
	disp := []int{0, 64, -128, -64}
	for i, m := range masks {
		first, base, key := 2*i, "DI", "Y6"
		if i >= 2 {
			first, base, key = 2*i+4, "R12", "Y5"
		}
		k.Mark(fmt.Sprint("block", i))
		if i == 2 {
			k.Ins("CMPQ", "SI", 192)
			k.Ins("JLS", "block3")
		}
		k.Ins("TESTL", m, m)
		k.Ins("JEQ", fmt.Sprint("skip", i))
		if i >= 2 {
			k.keyY("R9", 5)
		} else if i == 1 {
			k.Ins("VBROADCASTSS", "key+16(FP)", "Y6")
		}
		if i == 0 {
			k.Ins("VPERM2I128", 0x08, "Y0", "Y0", "Y5")
			k.Ins("VPALIGNR", 15, "Y5", "Y0", "Y4")
			k.tight("Y0", func() {
				k.Ins("VPERM2I128", 0x08, "Y0", "Y0", "Y6")
				k.Ins("VPALIGNR", 14, "Y6", "Y0", "Y5")
				k.Ins("VPALIGNR", 13, "Y6", "Y0", "Y6")
			})
			k.Ins("VBROADCASTSS", "key+16(FP)", "Y6")
			k.keysShort(key)
		} else {
			k.keysShort(key)
			if i == 3 {
				k.Ins("VPMOVMSKB", Y(first), "AX")
				k.Ins("TESTL", "AX", "AX")
				k.Ins("JEQ", "half3")
			}
			k.tightAt(Y(first), at(base, disp[i]))
		}
		if i == 3 {
			k.Mark("last3")
		}
		k.tightAt(Y(first+1), at(base, disp[i]+32))
		k.Ins("VPSUBUSB", row(rowOpen), Y(first+1), "Y12")
	}
	k.Mark("skip3")
	k.Ins("VPOR", "Y12", "Y7", "Y7")
	k.Ins("JMP", "store256")
	k.Label("half3", "the first half is ASCII; what stands open before it is another block's, unless that meets it")
	k.Ins("CMPQ", "SI", 192)
	k.Ins("JLS", "last3")
	k.Ins("VPOR", "Y12", "Y7", "Y7")
	k.Ins("JMP", "last3")
	for i := range 3 {
		k.Mark(fmt.Sprint("skip", i))
		k.Ins("VPOR", "Y12", "Y7", "Y7")
		k.Ins("JMP", fmt.Sprint("block", i+1))
	}
}

// tightAt adds the errors of cur, which is masked at mem(0), with the keys of keysShort.
// Scratch: Y4, Y5, Y6.
func (k *utf8Kernel) tightAt(cur string, mem func(int) string) {
	k.Ins("VPXOR", mem(-1), "Y13", "Y4")
	k.tight(cur, func() {
		k.Ins("VPXOR", mem(-2), "Y14", "Y5")
		k.Ins("VPXOR", mem(-3), "Y15", "Y6")
	})
}

// tight adds the errors of cur. Y4 is the vector 1 byte earlier. earlier computes those 2
// and 3 bytes earlier in Y5 and Y6.
func (k *utf8Kernel) tight(cur string, earlier func()) {
	half := row(rowHalf)
	k.Ins("VPSRLW", 4, "Y4", "Y5")
	k.Ins("VPAND", half, "Y5", "Y5")
	k.Ins("VPAND", half, "Y4", "Y4")
	k.Ins("VBROADCASTI128", row(rowHigh1), "Y6")
	k.Ins("VPSHUFB", "Y5", "Y6", "Y5")
	k.Ins("VBROADCASTI128", row(rowLow1), "Y6")
	k.Ins("VPSHUFB", "Y4", "Y6", "Y4")
	k.Ins("VPAND", "Y5", "Y4", "Y4")
	k.Ins("VPSRLW", 4, cur, "Y5")
	k.Ins("VPAND", half, "Y5", "Y5")
	k.Ins("VBROADCASTI128", row(rowHigh2), "Y6")
	k.Ins("VPSHUFB", "Y5", "Y6", "Y5")
	k.Ins("VPAND", "Y5", "Y4", "Y4")
	earlier()
	k.errorsShort("Y4", "Y5", "Y6")
	k.Ins("VPOR", "Y4", "Y7", "Y7")
}

// align stores the first vector, in Y0. It unmasks the one at the next vector boundary,
// and leaves its address in R10 and its key in R13 and Y6. The masked bytes that the two
// share are loaded before.
func (k *utf8Kernel) align() {
	k.Ins("LEAQ", "32(DI)", "R10")
	k.Ins("ANDQ", -32, "R10")
	k.Ins("MOVL", "R10", "CX")
	k.Ins("SUBL", "DI", "CX")
	k.Ins("SHLL", 3, "CX")
	k.Ins("RORL", "CX", "R13")
	k.keyY("R13", 6)
	k.Ins("VPXOR", "(R10)", "Y6", "Y1")
	k.Ins("VMOVDQU", "Y0", "(DI)")
	k.Ins("VMOVDQA", "Y1", "(R10)")
	k.Ins("ADDQ", 32, "R10")
}

// unmaskASCII prints n from 257 while there is only ASCII, or nothing left to check.
func (k *utf8Kernel) unmaskASCII() {
	k.Label("over256", "more than 256: the first 128 tell how to begin; stores go to vector boundaries")
	k.Ins("VPOR", "Y0", "Y1", "Y4")
	k.Ins("VPOR", "Y2", "Y3", "Y5")
	k.Sign("Y4", "Y4", "Y5")
	k.Ins("TESTL", "AX", "BX")
	k.Ins("JNE", "first")
	k.align()
	k.Label("ascii", "all before R10 is stored and ASCII: chunks of 512, with one look each")
	k.Ins("LEAQ", Mem("R12", -lagAhead-64), "DX")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "blocks")
	k.Ins("PCALIGN", 32)
	k.Mark("chunkLoop")
	for i := range lagAhead / 32 {
		k.Ins("VPXOR", Mem("R10", 32*i), "Y6", Y(i%4))
		switch {
		case i == 1:
			k.Ins("VPOR", "Y0", "Y1", "Y4")
		case i == 3:
			k.Ins("VPOR", "Y2", "Y3", "Y5")
		case i > 3:
			k.Ins("VPOR", Y(i%4), Y(4+i%2), Y(4+i%2))
		}
		k.Ins("VMOVDQA", Y(i%4), Mem("R10", 32*i))
	}
	k.Ins("ADDQ", lagAhead, "R10")
	k.Sign("Y4", "Y4", "Y5")
	k.Ins("TESTL", "AX", "BX")
	k.Ins("JNE", "chunk")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "chunkLoop")

	k.Label("blocks", "blocks of 128, stored once they are known to be ASCII")
	k.Ins("LEAQ", "-192(R12)", "DX")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "asciiTail")
	k.Mark("blockLoop")
	for i := range 4 {
		k.Ins("VPXOR", Mem("R10", 32*i), "Y6", Y(i))
	}
	k.Ins("VPOR", "Y0", "Y1", "Y4")
	k.Ins("VPOR", "Y2", "Y3", "Y5")
	k.Sign("Y4", "Y4", "Y5")
	k.Ins("TESTL", "AX", "BX")
	k.Ins("JNE", "block")
	for i := range 4 {
		k.Ins("VMOVDQA", Y(i), Mem("R10", 32*i))
	}
	k.Ins("ADDQ", 128, "R10")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "blockLoop")

	k.Label("asciiTail", "64 to 191 left: two vectors here, two further on by what there is above 128, two at the end")
	k.keyY("R9", 5)
	k.Ins("MOVQ", "R12", "CX")
	k.Ins("SUBQ", "R10", "CX")
	k.Ins("SUBQ", 64, "CX")
	k.Ins("ANDQ", -4, "CX")
	k.Ins("MOVL", 64, "AX")
	k.Ins("CMPQ", "CX", "AX")
	k.Ins("CMOVQHI", "AX", "CX")
	k.Ins("VPXOR", "(R10)", "Y6", "Y0")
	k.Ins("VPXOR", "32(R10)", "Y6", "Y1")
	k.Ins("VPXOR", "(R10)(CX*1)", "Y6", "Y2")
	k.Ins("VPXOR", "32(R10)(CX*1)", "Y6", "Y3")
	k.Ins("VPXOR", "-64(R12)", "Y5", "Y4")
	k.Ins("VPXOR", "-32(R12)", "Y5", "Y5")
	k.Ins("VPOR", "Y0", "Y1", "Y8")
	k.Ins("VPOR", "Y2", "Y3", "Y9")
	k.Ins("VPOR", "Y4", "Y5", "Y10")
	k.Sign("Y8", "Y8", "Y9", "Y10")
	k.Ins("TESTL", "AX", "BX")
	k.Ins("JNE", "masked")
	k.Ins("VMOVDQA", "Y0", "(R10)")
	k.Ins("VMOVDQA", "Y1", "32(R10)")
	k.Ins("VMOVDQU", "Y2", "(R10)(CX*1)")
	k.Ins("VMOVDQU", "Y3", "32(R10)(CX*1)")
	k.Ins("VMOVDQU", "Y4", "-64(R12)")
	k.Ins("VMOVDQU", "Y5", "-32(R12)")
	k.VerdictY()
}

// unmaskMasked prints the check of a short rest, which is unmasked afterwards.
func (k *utf8Kernel) unmaskMasked() {
	k.Label("masked", "check all from R10; what is before is ASCII")
	k.Ins("MOVQ", "R10", "R11")
	k.ConstantsY()
	k.Ins("VPXOR", "(R11)", "Y6", "Y1")
	k.FirstY("Y1", "Y0", "Y2", "Y3", "Y4")
	k.RotateY()
	k.Ins("ADDQ", 32, "R11")
	k.Ins("LEAQ", "-32(R12)", "DX")
	k.Ins("PCALIGN", 32)
	k.Mark("checkLoop")
	k.MaskedY(at("R11", 0))
	k.Ins("ADDQ", 32, "R11")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JCS", "checkLoop")
	k.Note("the last vector, under its own key")
	k.keyY("R9", 6)
	k.RotateY()
	k.MaskedY(at("DX", 0))
	k.Ins("VPXOR", "(DX)", "Y6", "Y0")
	k.OpenY("Y0")
	k.Note("all is checked: unmask it")
	k.keyY("R13", 6)
	k.keyY("R9", 5)
	k.Ins("XORL", "BX", "BX")
	k.Ins("JMP", "ascii")
}

// unmaskLag prints the mode for long texts that are not ASCII.
func (k *utf8Kernel) unmaskLag() {
	k.Label("first", "not ASCII from the start: the first vector has nothing before it")
	k.ConstantsY()
	k.FirstY("Y0", "Y1", "Y2", "Y3", "Y4")
	k.align()
	k.Second()
	k.Ins("JMP", "fill")
	k.Label("block", "not all of the block at R10 is ASCII, and it is not stored")
	k.Ins("LEAQ", Mem("R10", lagMin), "CX")
	k.Ins("CMPQ", "CX", "R12")
	k.Ins("JHI", "masked")
	k.ConstantsY()
	k.Ins("MOVQ", "R10", "R11")
	k.Ins("JMP", "fill")
	k.Label("chunk", "not all of the chunk before R10 is ASCII")
	k.ConstantsY()
	k.Ins("LEAQ", Mem("R10", -lagAhead), "R11")

	k.Label("fill", "unmask until R10 is far enough before R11")
	k.Ins("MOVQ", "$0x8080808080808080", "R8")
	k.Ins("LEAQ", "-128(R12)", "DX")
	k.Ins("LEAQ", Mem("R11", lagAhead), "CX")
	k.Mark("fillLoop")
	k.Ins("CMPQ", "R10", "CX")
	k.Ins("JCC", "lag")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "lagTail")
	k.unmask64()
	k.Ins("JMP", "fillLoop")
	k.Mark("lag")
	k.Ins("MOVL", lagCalm, "CX")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "lagTail")
	k.Ins("PCALIGN", 32)
	k.Label("lagLoop", "unmask 64 at R10, check 64 at R11")
	k.unmask64()
	k.Look64("lag")
	k.Check64()
	k.Ins("MOVL", lagCalm, "CX")
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "lagLoop")

	k.Label("lagTail", "64 to 127 to unmask; then check what is left")
	k.keyY("R9", 5)
	k.Ins("VPXOR", "(R10)", "Y6", "Y0")
	k.Ins("VPXOR", "32(R10)", "Y6", "Y1")
	k.Ins("VPXOR", "-64(R12)", "Y5", "Y2")
	k.Ins("VPXOR", "-32(R12)", "Y5", "Y3")
	k.Ins("VMOVDQA", "Y0", "(R10)")
	k.Ins("VMOVDQA", "Y1", "32(R10)")
	k.Ins("VMOVDQU", "Y2", "-64(R12)")
	k.Ins("VMOVDQU", "Y3", "-32(R12)")
	k.Ins("JMP", "rest")

	k.Label("lagMaybe", "in ASCII nothing is to be checked but that the character before it is finished")
	k.Maybe64("lag")
	k.OpenAtR11()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("DECL", "CX")
	k.Ins("JEQ", "drain")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "lagLoop")
	k.Ins("JMP", "lagTail")
	k.Label("drain", "a long run of ASCII: if all up to R10 is, back to ASCII mode")
	k.Ins("LEAQ", "64(R11)", "AX")
	k.Ins("CMPQ", "AX", "R10")
	k.Ins("JHI", "drained")
	k.Sign64()
	k.Ins("JNE", "fill")
	k.Ins("ADDQ", 64, "R11")
	k.Ins("JMP", "drain")
	k.Mark("drained")
	k.Ins("VMOVDQU", "-64(R10)", "Y2")
	k.Ins("VPOR", "-32(R10)", "Y2", "Y3")
	k.Ins("VPMOVMSKB", "Y3", "AX")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JEQ", "ascii")
	k.Ins("JMP", "fill")
}

// unmask64 unmasks the 64 bytes at R10 and steps over them.
func (k *utf8Kernel) unmask64() {
	k.Ins("VPXOR", "(R10)", "Y6", "Y0")
	k.Ins("VPXOR", "32(R10)", "Y6", "Y1")
	k.Ins("VMOVDQA", "Y0", "(R10)")
	k.Ins("VMOVDQA", "Y1", "32(R10)")
	k.Ins("ADDQ", 64, "R10")
}
