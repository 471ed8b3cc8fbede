package main

// decodeKernel prints the decoding loop of package deflate. The head of the file names
// its registers.
type decodeKernel struct{ *Source }

func deflateKernels(s *Source) {
	s.Begin(
		"The symbols of a deflate block, RFC 1951 §3.2.5: literals, and matches copied from before.",
		"",
		"Entries of the tables are as huffman.go tells. All shifts and cuts take their count from an entry's lowest bits, or",
		"from those above after a shift: BMI2's instructions look at no more than six and eight bits of it.",
		"",
		"  SI  next input byte       BX  bits of the input, the next one lowest    AX  entry",
		"  R9  last that may be it   CX  how many, in the lowest six bits          DX  scratch",
		"  DI  next output byte      R8  codes                                     R13 length",
		"  R10 end of the output     R11 mask of literals, R12 of distances        R14 distance",
		"  R15 the decoder           opEnd+8(FP) the farthest distance at the start",
	)
	s.Func("func decode(s *decoder, opEnd int) verdict", 17, "decode works like decodeGeneric, which it calls below tier AVX2.")
	k := decodeKernel{s}
	k.enter()
	k.literals()
	k.match()
	k.copies()
	k.special()
	k.leave()
}

func (k decodeKernel) enter() {
	k.Ins("CMPL", "·tier(SB)", "$const_avx2")
	k.Ins("JCS", "generic")
	k.Ins("MOVQ", "s+0(FP)", "R15")
	k.Ins("MOVQ", "decoder_in(R15)", "SI")
	k.Ins("MOVQ", "decoder_in+8(R15)", "R9")
	k.Ins("LEAQ", "-const_inputPad(SI)(R9*1)", "R9")
	k.Ins("ADDQ", "decoder_ip(R15)", "SI")
	k.Ins("MOVQ", "decoder_out(R15)", "R10")
	k.Ins("MOVQ", "decoder_op(R15)", "DI")
	k.Note("the farthest distance: the window, or less if there is less history")
	k.Ins("MOVQ", "DI", "DX")
	k.Ins("SUBQ", "decoder_base(R15)", "DX")
	k.Ins("MOVQ", "decoder_window(R15)", "AX")
	k.Ins("CMPQ", "DX", "AX")
	k.Ins("CMOVQHI", "AX", "DX")
	k.Ins("ADDQ", "R10", "DI")
	k.Ins("ADDQ", "opEnd+8(FP)", "R10")
	k.Ins("MOVQ", "DX", "opEnd+8(FP)")
	k.Ins("MOVQ", "decoder_bits(R15)", "BX")
	k.Ins("MOVQ", "decoder_nb(R15)", "CX")
	k.Ins("MOVQ", "decoder_codes(R15)", "R8")
	k.Ins("MOVQ", "codes_litMask(R8)", "R11")
	k.Ins("MOVQ", "codes_distMask(R8)", "R12")
}

// refill loads bits until there are at least 56.
func (k decodeKernel) refill() {
	k.Ins("MOVQ", "(SI)", "DX")
	k.Ins("SHLXQ", "CX", "DX", "DX")
	k.Ins("ORQ", "DX", "BX")
	k.Ins("MOVL", "CX", "DX")
	k.Ins("SHRL", 3, "DX")
	k.Ins("ANDL", 7, "DX")
	k.Ins("ADDQ", 7, "SI")
	k.Ins("SUBQ", "DX", "SI")
	k.Ins("ORL", 56, "CX")
}

func (k decodeKernel) drop(entry string) {
	k.Ins("SHRXQ", entry, "BX", "BX")
	k.Ins("SUBL", entry, "CX")
}

// lookUp loads the entry for the next bits into entry.
func (k decodeKernel) lookUp(table, mask, entry string) {
	k.Ins("MOVQ", "BX", entry)
	k.Ins("ANDQ", mask, entry)
	k.Ins("MOVL", table+"(R8)("+entry+"*4)", entry)
}

// secondLevel loads the entry of a second-level table, which AX points to.
func (k decodeKernel) secondLevel(table, size string) {
	k.drop("AX")
	k.Ins("MOVL", "AX", "DX")
	k.Ins("SHRL", "$const_entryShift", "DX")
	k.Ins("SHRL", 8, "AX")
	k.Ins("ANDL", 15, "AX")
	k.Ins("BZHIQ", "AX", "BX", "AX")
	k.Ins("ADDL", "AX", "DX")
	k.Ins("ANDL", "$(const_"+size+"-1)", "DX")
	k.Ins("MOVL", table+"(R8)(DX*4)", "AX")
}

// store writes the literal of an entry, which is not needed afterwards.
func (k decodeKernel) store(entry string) {
	k.Ins("SHRL", "$const_entryShift", entry)
	k.Ins("MOVB", entry, "(DI)")
	k.Ins("INCQ", "DI")
}

// value adds the base and the extra bits of the entry in AX to sum, which starts as that
// entry, and drops these bits.
func (k decodeKernel) value(sum string) {
	k.Ins("BZHIQ", "AX", "BX", "DX")
	k.drop("AX")
	k.Ins("MOVL", "AX", sum)
	k.Ins("SHRL", "$const_entryShift", sum)
	k.Ins("SHRL", 8, "AX")
	k.Ins("SHRXQ", "AX", "DX", "DX")
	k.Ins("ADDQ", "DX", sum)
}

func (k decodeKernel) literals() {
	k.Label("loop", "a round: up to four literals, of ten bits each, or up to three and a match")
	k.Ins("CMPQ", "SI", "R9")
	k.Ins("JHI", "stop")
	k.Ins("CMPQ", "DI", "R10")
	k.Ins("JCC", "stop")
	k.refill()
	k.lookUp("codes_lit", "R11", "AX")
	entry, next := "AX", "DX"
	for range 3 {
		k.Ins("TESTL", entry, entry)
		if entry == "AX" {
			k.Ins("JPL", "other")
		} else {
			k.Ins("JPL", "otherDX")
		}
		k.drop(entry)
		k.lookUp("codes_lit", "R11", next)
		k.store(entry)
		entry, next = next, entry
	}
	k.Ins("TESTL", "DX", "DX")
	k.Ins("JPL", "otherDX")
	k.drop("DX")
	k.store("DX")
	k.Ins("JMP", "loop")
}

func (k decodeKernel) match() {
	k.Mark("otherDX")
	k.Ins("MOVL", "DX", "AX")
	k.Label("other", "a match, most likely: its length, of at most 20 bits")
	k.Ins("TESTL", "$const_entryOther", "AX")
	k.Ins("JNE", "special")
	k.Mark("length")
	k.value("R13")
	k.Ins("MOVL", "CX", "DX")
	k.Ins("ANDL", 63, "DX")
	k.Ins("CMPL", "DX", "$const_distanceBits")
	k.Ins("JCS", "refill")
	k.Label("refilled", "its distance")
	k.lookUp("codes_dist", "R12", "AX")
	k.Ins("TESTL", "$const_entryOther", "AX")
	k.Ins("JNE", "specialDistance")
	k.Mark("distance")
	k.value("R14")
	k.Ins("CMPQ", "R14", "opEnd+8(FP)")
	k.Ins("JHI", "far")
}

func (k decodeKernel) copies() {
	k.Label("copy", "32 bytes at once, most matches are no longer: what is too much is written over by what follows")
	k.Ins("MOVQ", "DI", "DX")
	k.Ins("SUBQ", "R14", "DX")
	k.Ins("CMPQ", "R14", 16)
	k.Ins("JCS", "short")
	k.vectors()
	k.Ins("CMPQ", "R13", 32)
	k.Ins("JHI", "long")
	k.Ins("ADDQ", "R13", "DI")
	k.Ins("JMP", "loop")

	k.Label("long", "the rest, 32 bytes a time; AX is what was left before the last time")
	k.Ins("MOVQ", "R13", "AX")
	k.Ins("ADDQ", "DI", "R13")
	k.Mark("longer")
	k.Ins("ADDQ", 32, "DX")
	k.Ins("ADDQ", 32, "DI")
	k.vectors()
	k.Ins("SUBQ", 32, "AX")
	k.Ins("CMPQ", "AX", 32)
	k.Ins("JHI", "longer")
	k.Ins("MOVQ", "R13", "DI")
	k.Ins("JMP", "loop")

	k.Label("short", "what is copied is partly written by the copying itself")
	k.Ins("ADDQ", "DI", "R13")
	k.Ins("CMPQ", "R14", 8)
	k.Ins("JCC", "words")
	k.Label("double", "of eight bytes the first R14 are right: twice as many repeat after them")
	k.Ins("MOVQ", "(DX)", "AX")
	k.Ins("MOVQ", "AX", "(DI)")
	k.Ins("ADDQ", "R14", "DI")
	k.Ins("ADDQ", "R14", "R14")
	k.Ins("CMPQ", "R14", 8)
	k.Ins("JCS", "double")
	k.Label("words", "from eight bytes back or more")
	k.Ins("MOVQ", "(DX)", "AX")
	k.Ins("MOVQ", "AX", "(DI)")
	k.Ins("ADDQ", 8, "DX")
	k.Ins("ADDQ", 8, "DI")
	k.Ins("CMPQ", "DI", "R13")
	k.Ins("JCS", "words")
	k.Ins("MOVQ", "R13", "DI")
	k.Ins("JMP", "loop")

	k.Label("refill", "a distance of 28 bits may not be there")
	k.refill()
	k.Ins("JMP", "refilled")
}

// vectors copies 32 bytes, and loads the second half after it has written the first.
func (k decodeKernel) vectors() {
	k.Ins("MOVOU", "(DX)", "X0")
	k.Ins("MOVOU", "X0", "(DI)")
	k.Ins("MOVOU", "16(DX)", "X1")
	k.Ins("MOVOU", "X1", "16(DI)")
}

func (k decodeKernel) special() {
	k.Label("special", "a code longer than the first table's index, the end of the block, or no code")
	k.Ins("TESTL", "$const_entryPointer", "AX")
	k.Ins("JEQ", "ended")
	k.secondLevel("codes_lit", "litTable")
	k.Ins("TESTL", "AX", "AX")
	k.Ins("JPL", "specialOther")
	k.drop("AX")
	k.store("AX")
	k.Ins("JMP", "loop")
	k.Mark("specialOther")
	k.Ins("TESTL", "$const_entryOther", "AX")
	k.Ins("JEQ", "length")
	k.Mark("ended")
	k.drop("AX")
	k.Ins("TESTL", "$const_entryEnd", "AX")
	k.Ins("JEQ", "wrong")
	k.verdict("End")

	k.Label("specialDistance", "the same for a distance")
	k.Ins("TESTL", "$const_entryPointer", "AX")
	k.Ins("JEQ", "wrongDistance")
	k.secondLevel("codes_dist", "distTable")
	k.Ins("TESTL", "$const_entryOther", "AX")
	k.Ins("JEQ", "distance")
	k.Mark("wrongDistance")
	k.drop("AX")
	k.Mark("wrong")
	k.verdict("Symbol")

	k.Label("far", "farther than at the start: this block's own output may make it right")
	k.Ins("MOVQ", "DI", "DX")
	k.Ins("SUBQ", "decoder_out(R15)", "DX")
	k.Ins("SUBQ", "decoder_base(R15)", "DX")
	k.Ins("CMPQ", "R14", "DX")
	k.Ins("JHI", "tooFar")
	k.Ins("CMPQ", "R14", "decoder_window(R15)")
	k.Ins("JLS", "copy")
	k.Mark("tooFar")
	k.verdict("Distance")
}

// verdict ends the loop and returns v.
func (k decodeKernel) verdict(v string) {
	k.Ins("MOVL", "$const_verdict"+v, "AX")
	k.Ins("JMP", "leave")
}

func (k decodeKernel) leave() {
	k.Mark("stop")
	k.Ins("MOVL", "$const_verdictStop", "AX")
	k.Label("leave", "bits from behind the input are given back; if one was used, nothing of this call counts")
	k.Ins("ANDL", 63, "CX")
	k.Ins("SUBQ", "decoder_in(R15)", "SI")
	k.Ins("MOVQ", "SI", "DX")
	k.Ins("SUBQ", "decoder_end(R15)", "DX")
	k.Ins("JLE", "keep")
	k.Ins("SUBQ", "DX", "SI")
	k.Ins("SHLQ", 3, "DX")
	k.Ins("SUBQ", "DX", "CX")
	k.Ins("JCS", "nothing")
	k.Mark("keep")
	k.Ins("SUBQ", "decoder_out(R15)", "DI")
	k.Ins("BZHIQ", "CX", "BX", "BX")
	k.Ins("MOVQ", "SI", "decoder_ip(R15)")
	k.Ins("MOVQ", "DI", "decoder_op(R15)")
	k.Ins("MOVQ", "BX", "decoder_bits(R15)")
	k.Ins("MOVQ", "CX", "decoder_nb(R15)")
	k.Ins("MOVB", "AX", "ret+16(FP)")
	k.Ins("RET")
	k.Mark("nothing")
	k.Ins("MOVB", "$const_verdictStop", "ret+16(FP)")
	k.Ins("RET")

	k.Label("generic", "pure Go: the arguments are where it expects them")
	k.Ins("JMP", "·decodeGeneric(SB)")
}
