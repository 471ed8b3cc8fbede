package main

// ConstantsX loads the constants for CheckX and clears the errors.
func (k *utf8Kernel) ConstantsX() {
	k.Ins("PXOR", "X6", "X6")
	k.Ins("MOVOU", row(rowHalf), "X7")
	k.Ins("MOVOU", row(rowLead3), "X8")
	k.Ins("MOVOU", row(rowLead4), "X9")
	k.Ins("MOVOU", row(rowTop), "X10")
}

// CheckX checks the vector cur. X11, X12 and X13 begin 1, 2 and 3 bytes before it. The
// errors go to X15. All but cur is scratch.
func (k *utf8Kernel) CheckX(cur string) {
	k.Ins("MOVOA", "X11", "X14")
	k.Ins("PSRLW", 4, "X14")
	k.Ins("PAND", "X7", "X14")
	k.Ins("PAND", "X7", "X11")
	k.Ins("MOVOU", row(rowHigh1), "X15")
	k.Ins("PSHUFB", "X14", "X15")
	k.Ins("MOVOU", row(rowLow1), "X14")
	k.Ins("PSHUFB", "X11", "X14")
	k.Ins("PAND", "X14", "X15")
	k.Ins("MOVOA", cur, "X14")
	k.Ins("PSRLW", 4, "X14")
	k.Ins("PAND", "X7", "X14")
	k.Ins("MOVOU", row(rowHigh2), "X11")
	k.Ins("PSHUFB", "X14", "X11")
	k.Ins("PAND", "X11", "X15")
	k.Ins("PSUBUSB", "X8", "X12")
	k.Ins("PSUBUSB", "X9", "X13")
	k.Ins("POR", "X13", "X12")
	k.Ins("PAND", "X10", "X12")
	k.Ins("PXOR", "X12", "X15")
}

// FirstX checks cur with zeros before it.
func (k *utf8Kernel) FirstX(cur string) {
	for i, x := range []string{"X11", "X12", "X13"} {
		k.Ins("MOVOA", cur, x)
		k.Ins("PSLLO", i+1, x)
	}
	k.CheckX(cur)
}

// AtX checks cur, which was loaded from mem(0). It loads the bytes before it from memory.
func (k *utf8Kernel) AtX(cur string, mem func(int) string) {
	k.Ins("MOVOU", mem(-1), "X11")
	k.Ins("MOVOU", mem(-2), "X12")
	k.Ins("MOVOU", mem(-3), "X13")
	k.CheckX(cur)
}

// MaskedX is AtX for masked memory. key is the key of a vector at mem(0).
func (k *utf8Kernel) MaskedX(cur, key string, mem func(int) string) {
	for i, x := range []string{"X11", "X12", "X13"} {
		k.Ins("MOVOU", mem(-1-i), x)
		k.Ins("MOVOA", key, "X14")
		k.Ins("PALIGNR", 3-i, key, "X14")
		k.Ins("PXOR", "X14", x)
	}
	k.CheckX(cur)
}

// AddX adds the errors of the last check.
func (k *utf8Kernel) AddX() { k.Ins("POR", "X15", "X6") }

// OpenX adds an error if the text's last vector ends in an unfinished character.
func (k *utf8Kernel) OpenX(last string) {
	k.Ins("MOVOU", row(rowOpenX), "X14")
	k.Ins("MOVOA", last, "X15")
	k.Ins("PSUBUSB", "X14", "X15")
	k.AddX()
}

// VerdictX returns whether there were no errors.
func (k *utf8Kernel) VerdictX() {
	k.Ins("PXOR", "X14", "X14")
	k.Ins("PCMPEQB", "X14", "X6")
	k.Ins("PMOVMSKB", "X6", "AX")
	k.Ins("CMPL", "AX", 0xFFFF)
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")
}

// shift16 computes in BX those of the last 8 bytes that are not among the first 8. The
// text has n bytes, at most 15.
func (k *utf8Kernel) shift16() {
	k.Note("two shifts, for one by 64 would be none")
	k.Ins("MOVL", 16, "CX")
	k.Ins("SUBL", "SI", "CX")
	k.Ins("SHLL", 2, "CX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("SHRQ", "CX", "BX")
}

// Padded checks X0, whose zeros show an unfinished character, and returns.
func (k *utf8Kernel) Padded() {
	k.ConstantsX()
	k.FirstX("X0")
	k.AddX()
	k.VerdictX()
}

// Join4 combines n text bytes, 4 to 7, in AX. The first 4 are in AX and the last 4 in BX.
func (k *utf8Kernel) Join4() {
	k.Ins("MOVL", 8, "CX")
	k.Ins("SUBL", "SI", "CX")
	k.Ins("SHLL", 3, "CX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("SHLQ", 32, "BX")
	k.Ins("ORQ", "BX", "AX")
}

// Middle sets CX to the start of the third of four vectors of size bytes, for n from 2 to
// 4 sizes. That is the second vector or later, so that the fourth, at the end, is
// adjacent or overlaps.
func (k *utf8Kernel) Middle(size int) {
	k.Ins("MOVL", size, "CX")
	k.Ins("MOVL", 2*size, "AX")
	k.Ins("CMPQ", "SI", 3*size)
	k.Ins("CMOVQCC", "AX", "CX")
}
