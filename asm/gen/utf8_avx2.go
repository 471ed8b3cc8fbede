package main

// ConstantsY loads the constants for the checks.
func (k *utf8Kernel) ConstantsY() {
	for i, offset := range []int{rowHigh1, rowLow1, rowHigh2, rowHalf, rowShift, rowLead3, rowLead4, rowTop} {
		k.Ins("VBROADCASTI128", row(offset), Y(8+i))
	}
}

// classes computes in to the classes of pairs. The first bytes are in prev, the second
// bytes in cur, a register or an address. prev and t are scratch; to may be prev.
func (k *utf8Kernel) classes(prev, cur, t string) {
	k.Ins("VPMULHUW", prev, "Y12", t)
	k.Ins("VPAND", prev, "Y11", prev)
	k.Ins("VPAND", t, "Y11", t)
	k.Ins("VPSHUFB", prev, "Y9", prev)
	k.Ins("VPSHUFB", t, "Y8", t)
	k.Ins("VPAND", t, prev, prev)
	k.Ins("VPMULHUW", cur, "Y12", t)
	k.Ins("VPAND", t, "Y11", t)
	k.Ins("VPSHUFB", t, "Y10", t)
	k.Ins("VPAND", t, prev, prev)
}

// addErrors adds the errors. classes must be twoConts where a byte of prev2 or prev3
// requires it, and empty elsewhere.
func (k *utf8Kernel) addErrors(classes, prev2, prev3 string) {
	k.Ins("VPSUBUSB", "Y13", prev2, prev2)
	k.Ins("VPSUBUSB", "Y14", prev3, prev3)
	k.Ins("VPOR", prev3, prev2, prev2)
	k.Ins("VPAND", "Y15", prev2, prev2)
	k.Ins("VPXOR", prev2, classes, classes)
	k.Ins("VPOR", classes, "Y7", "Y7")
}

// AtY checks the vector at mem(0). cur is a register with a copy of it, or "". Scratch:
// t0, t1, t2.
func (k *utf8Kernel) AtY(mem func(int) string, cur, t0, t1, t2 string) {
	if cur == "" {
		cur = mem(0)
	}
	k.Ins("VMOVDQU", mem(-1), t0)
	k.classes(t0, cur, t1)
	k.Ins("VMOVDQU", mem(-2), t1)
	k.Ins("VMOVDQU", mem(-3), t2)
	k.addErrors(t0, t1, t2)
}

// MaskedY is AtY for masked memory. Y6 is the key of the vector at mem(0); Y5, Y4 and Y3
// are the keys 1, 2 and 3 bytes earlier. Scratch: Y0, Y1, Y2.
func (k *utf8Kernel) MaskedY(mem func(int) string) {
	k.Ins("VPXOR", mem(-1), "Y5", "Y0")
	k.Ins("VPXOR", mem(0), "Y6", "Y2")
	k.classes("Y0", "Y2", "Y1")
	k.Ins("VPXOR", mem(-2), "Y4", "Y1")
	k.Ins("VPXOR", mem(-3), "Y3", "Y2")
	k.addErrors("Y0", "Y1", "Y2")
}

// RotateY computes Y5, Y4 and Y3 for MaskedY from Y6.
func (k *utf8Kernel) RotateY() {
	k.Ins("VPALIGNR", 15, "Y6", "Y6", "Y5")
	k.Ins("VPALIGNR", 14, "Y6", "Y6", "Y4")
	k.Ins("VPALIGNR", 13, "Y6", "Y6", "Y3")
}

// FirstY checks the register cur with zeros before it. Scratch: the four t, none of them
// cur.
func (k *utf8Kernel) FirstY(cur, t0, t1, t2, t3 string) {
	k.Ins("VPERM2I128", 0x08, cur, cur, t3)
	k.Ins("VPALIGNR", 15, t3, cur, t0)
	k.Ins("VPALIGNR", 14, t3, cur, t1)
	k.Ins("VPALIGNR", 13, t3, cur, t2)
	k.classes(t0, cur, t3)
	k.addErrors(t0, t1, t2)
}

// ConstantsShort loads the constants for the short checks. They are fewer than those of
// ConstantsY, because the text needs registers.
func (k *utf8Kernel) ConstantsShort() {
	for i, offset := range []int{rowHigh1, rowLow1, rowHigh2, rowHalf} {
		k.Ins("VBROADCASTI128", row(offset), Y(8+i))
	}
}

// classesShort is classes without Y12.
func (k *utf8Kernel) classesShort(prev, cur, t string) {
	k.Ins("VPSRLW", 4, prev, t)
	k.Ins("VPAND", prev, "Y11", prev)
	k.Ins("VPAND", t, "Y11", t)
	k.Ins("VPSHUFB", prev, "Y9", prev)
	k.Ins("VPSHUFB", t, "Y8", t)
	k.Ins("VPAND", t, prev, prev)
	k.Ins("VPSRLW", 4, cur, t)
	k.Ins("VPAND", t, "Y11", t)
	k.Ins("VPSHUFB", t, "Y10", t)
	k.Ins("VPAND", t, prev, prev)
}

// errorsShort is addErrors with constants in memory. The errors stay in classes.
func (k *utf8Kernel) errorsShort(classes, prev2, prev3 string) {
	k.Ins("VPSUBUSB", row(rowLead3), prev2, prev2)
	k.Ins("VPSUBUSB", row(rowLead4), prev3, prev3)
	k.Ins("VPOR", prev3, prev2, prev2)
	k.Ins("VPAND", row(rowTop), prev2, prev2)
	k.Ins("VPXOR", prev2, classes, classes)
}

// AtShort computes in to the errors of cur, which is also at mem(0). If cur is "" it is
// loaded to t1. Scratch: t0, t1.
func (k *utf8Kernel) AtShort(cur string, mem func(int) string, to, t0, t1 string) {
	if cur == "" {
		cur = t1
		k.Ins("VMOVDQU", mem(0), cur)
	}
	k.Ins("VMOVDQU", mem(-1), to)
	k.classesShort(to, cur, t0)
	k.Ins("VMOVDQU", mem(-2), t0)
	k.Ins("VMOVDQU", mem(-3), t1)
	k.errorsShort(to, t0, t1)
}

// FirstShort computes in to the errors of cur with zeros before it. Scratch: t0, t1, t2.
func (k *utf8Kernel) FirstShort(cur, to, t0, t1, t2 string) {
	k.Ins("VPERM2I128", 0x08, cur, cur, t2)
	k.Ins("VPALIGNR", 15, t2, cur, to)
	k.classesShort(to, cur, t0)
	k.Ins("VPALIGNR", 14, t2, cur, t0)
	k.Ins("VPALIGNR", 13, t2, cur, t1)
	k.errorsShort(to, t0, t1)
}

// CheckSmall checks the text in X0, at most 16 bytes followed by zeros, and returns. It
// finds the classes of the first bytes in place, and then moves them to the second bytes.
// With full set there are no zeros that show an unfinished character.
func (k *utf8Kernel) CheckSmall(full bool) {
	k.Ins("VMOVDQU", row(rowHigh1), "X3")
	k.Ins("VMOVDQU", row(rowLow1), "X4")
	k.Ins("VMOVDQU", row(rowHigh2), "X5")
	k.Ins("VPSRLW", 4, "X0", "X1")
	k.Ins("VPAND", row(rowHalf), "X0", "X2")
	k.Ins("VPAND", row(rowHalf), "X1", "X1")
	k.Ins("VPSHUFB", "X2", "X4", "X4")
	k.Ins("VPSHUFB", "X1", "X3", "X3")
	k.Ins("VPSHUFB", "X1", "X5", "X5")
	k.Ins("VPSUBUSB", row(rowLead3), "X0", "X1")
	k.Ins("VPSUBUSB", row(rowLead4), "X0", "X2")
	k.Ins("VPAND", "X3", "X4", "X3")
	k.Ins("VPSLLDQ", 2, "X1", "X1")
	k.Ins("VPSLLDQ", 3, "X2", "X2")
	k.Ins("VPALIGNR", 15, row(rowNone), "X3", "X3")
	k.Ins("VPOR", "X2", "X1", "X1")
	k.Ins("VPAND", "X5", "X3", "X3")
	k.Ins("VPAND", row(rowTop), "X1", "X1")
	k.Ins("VPXOR", "X1", "X3", "X3")
	if full {
		k.Ins("VPSUBUSB", row(rowOpenX), "X0", "X0")
		k.Ins("VPOR", "X0", "X3", "X3")
	}
	k.Ins("VPTEST", "X3", "X3")
	k.Ins("SETEQ", k.ret)
	k.Ins("VZEROUPPER")
	k.Ins("RET")
}

// CheckStates checks the 4 bytes of AX one by one, and returns. A shift per byte takes
// less time than a vector, but not for 8 bytes. SHRX (BMI2) takes its count from any
// register, so the state stays in place.
func (k *utf8Kernel) CheckStates() {
	k.Ins("LEAQ", utf8States+"<>(SB)", "R10")
	k.Ins("MOVBLZX", "AL", "BX")
	k.Ins("MOVBLZX", "AH", "DX")
	k.Ins("SHRL", 16, "AX")
	k.Ins("MOVQ", "(R10)(BX*8)", "CX")
	k.Ins("MOVBLZX", "AL", "BX")
	k.Ins("SHRXQ", "CX", "(R10)(DX*8)", "CX")
	k.Ins("SHRL", 8, "AX")
	k.Ins("SHRXQ", "CX", "(R10)(BX*8)", "CX")
	k.Ins("SHRXQ", "CX", "(R10)(AX*8)", "CX")
	k.Ins("ANDL", 63, "CX")
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")
}

// CheckFew checks the bytes 0, n/2 and n-1 of a text of 1 to 3, in AX, BX and DX, and
// returns.
func (k *utf8Kernel) CheckFew() {
	k.Note("the state behind 2 bytes and that behind 3; 1 has its byte twice, and that is an error")
	k.Ins("LEAQ", utf8States+"<>(SB)", "R10")
	k.Ins("MOVQ", "(R10)(AX*8)", "CX")
	k.Ins("MOVQ", "(R10)(BX*8)", "BX")
	k.Ins("MOVQ", "(R10)(DX*8)", "DX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("MOVQ", "BX", "CX")
	k.Ins("SHRQ", "CX", "DX")
	k.Ins("CMPQ", "SI", 3)
	k.Ins("CMOVQNE", "BX", "DX")
	k.Ins("ANDL", 63, "DX")
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")
}

// keysShort computes in Y13, Y14 and Y15 the keys of vectors that begin 1, 2 and 3 bytes
// before one with the given key.
func (k *utf8Kernel) keysShort(key string) {
	k.Ins("VPALIGNR", 15, key, key, "Y13")
	k.Ins("VPALIGNR", 14, key, key, "Y14")
	k.Ins("VPALIGNR", 13, key, key, "Y15")
}

// MaskedShort adds the errors of cur, which is masked at mem(0), with the keys of
// keysShort. Scratch: Y4, Y5, Y6.
func (k *utf8Kernel) MaskedShort(cur string, mem func(int) string) {
	k.Ins("VPXOR", mem(-1), "Y13", "Y4")
	k.classesShort("Y4", cur, "Y5")
	k.Ins("VPXOR", mem(-2), "Y14", "Y5")
	k.Ins("VPXOR", mem(-3), "Y15", "Y6")
	k.errorsShort("Y4", "Y5", "Y6")
	k.Ins("VPOR", "Y4", "Y7", "Y7")
}

// Short32 checks a text of 16 to 32 bytes as one vector, in Y0, with zeros after the
// text. X0 has its first 16 bytes and X3 its last 16.
func (k *utf8Kernel) Short32() {
	k.Ins("LEAQ", row(rowSlide), "AX")
	k.Ins("SUBQ", "SI", "AX")
	k.Ins("VPSHUFB", "32(AX)", "X3", "X1")
	k.Ins("VINSERTI128", 1, "X1", "Y0", "Y0")
	k.ConstantsShort()
	k.FirstShort("Y0", "Y7", "Y1", "Y2", "Y4")
	k.OpenY("Y0")
	k.VerdictY()
}

// OpenY adds an error if the vector in t ends in an unfinished character. t is scratch.
func (k *utf8Kernel) OpenY(t string) {
	k.Ins("VPSUBUSB", row(rowOpen), t, t)
	k.Ins("VPOR", t, "Y7", "Y7")
}

// OpenAtR11 adds an error if the 3 bytes before R11 end in an unfinished character.
func (k *utf8Kernel) OpenAtR11() {
	k.Ins("VMOVD", "-3(R11)", "X0")
	k.Ins("VPSUBUSB", row(rowOpen3), "X0", "X0")
	k.Ins("VPOR", "Y0", "Y7", "Y7")
}

// VerdictY returns whether there were no errors.
func (k *utf8Kernel) VerdictY() {
	k.Ins("VPTEST", "Y7", "Y7")
	k.Ins("SETEQ", k.ret)
	k.Ins("VZEROUPPER")
	k.Ins("RET")
}

// Sign puts the top bits of the bytes of t, the OR of all vectors, into AX. t and the
// others are scratch.
func (k *utf8Kernel) Sign(t string, vectors ...string) {
	k.Ins("VPOR", vectors[0], vectors[1], t)
	for _, v := range vectors[2:] {
		k.Ins("VPOR", v, t, t)
	}
	k.Ins("VPMOVMSKB", t, "AX")
}

// Check64 checks the 64 bytes at R11.
func (k *utf8Kernel) Check64() {
	k.AtY(at("R11", 0), "", "Y0", "Y1", "Y2")
	k.AtY(at("R11", 32), "", "Y3", "Y4", "Y5")
}

// Look64 jumps to the Maybe64 with that name if half of the 64 bytes at R11 are ASCII. It
// loads them to general registers, because the vector units are busy. R8 is 0x80 in every
// byte.
func (k *utf8Kernel) Look64(name string) {
	k.Ins("MOVQ", "(R11)", "AX")
	k.Ins("ORQ", "16(R11)", "AX")
	k.Ins("ORQ", "32(R11)", "AX")
	k.Ins("ORQ", "48(R11)", "AX")
	k.Ins("TESTQ", "R8", "AX")
	k.Ins("JEQ", name+"Maybe")
	k.Mark(name + "Check")
}

// Maybe64 goes back, or goes on after itself if all 64 bytes at R11 are ASCII.
func (k *utf8Kernel) Maybe64(name string) {
	k.Sign64()
	k.Ins("JNE", name+"Check")
}

// Sign64 tests whether the 64 bytes at R11 are ASCII.
func (k *utf8Kernel) Sign64() {
	k.Ins("VMOVDQU", "(R11)", "Y0")
	k.Ins("VPOR", "32(R11)", "Y0", "Y0")
	k.Ins("VPMOVMSKB", "Y0", "AX")
	k.Ins("TESTL", "AX", "AX")
}

// Second sets R11 to where checking goes on after the first vector. That is the vector
// boundary within it, because aligned loads are faster. It is a later place if the 3
// bytes before the boundary would not all be text.
func (k *utf8Kernel) Second() {
	k.Ins("LEAQ", "32(DI)", "CX")
	k.Ins("MOVQ", "CX", "R11")
	k.Ins("ANDQ", -32, "R11")
	k.Ins("LEAQ", "3(DI)", "AX")
	k.Ins("CMPQ", "R11", "AX")
	k.Ins("CMOVQCS", "CX", "R11")
}

// Rest checks the text from R11, at least 3 bytes after its start, to its end, and
// returns. A run of ASCII jumps to the label ascii with R10 at the next vector boundary,
// if there is such a label.
func (k *utf8Kernel) Rest(ascii string) {
	k.Label("rest", "64 bytes a round while they last, each with a look whether they are ASCII")
	k.Ins("MOVQ", "$0x8080808080808080", "R8")
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JHI", "restTail")
	k.Ins("PCALIGN", 32)
	k.Mark("restLoop")
	k.Look64("rest")
	k.Check64()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JLS", "restLoop")

	k.Label("restTail", "up to 63 bytes: one vector here if more than one is needed, one at the end")
	k.Ins("LEAQ", "-32(R12)", "DX")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JCC", "restLast")
	k.AtY(at("R11", 0), "", "Y0", "Y1", "Y2")
	k.Mark("restLast")
	k.Ins("VMOVDQU", "(DX)", "Y3")
	k.AtY(at("DX", 0), "Y3", "Y0", "Y1", "Y2")
	k.OpenY("Y3")
	k.VerdictY()

	k.Label("restMaybe", "in ASCII nothing is to be checked but that the character before it is finished")
	k.Maybe64("rest")
	k.OpenAtR11()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R11", "DX")
	if ascii == "" {
		k.Ins("JLS", "restLoop")
		k.Ins("JMP", "restTail")
		return
	}
	k.Ins("JHI", "restTail")
	k.Sign64()
	k.Ins("JNE", "restCheck")
	k.Ins("LEAQ", "64(R11)", "R10")
	k.Ins("ANDQ", -32, "R10")
	k.Ins("JMP", ascii)
}
