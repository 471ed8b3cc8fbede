package main

import "fmt"

// The AVX-512 kernels have tables of 64 entries (VPERMB), by the top six bits of a byte
// or by its low six. The index is only a shift: VPERMB ignores the bits that a shift of
// words brings in above. So a block of 64 bytes takes 10 operations, besides those for
// the bytes before it.
//
// They use only registers 16 to 31, which no legacy encoding can reach. So the upper
// halves of the others are unchanged, and there is no VZEROUPPER.
//
// Their test is bash .ci/run avx512. Measure their speed on a processor with the tier:
// GOWORK=off go -C bench run ./cmd/kernels.
const (
	wideHigh1 = 0   // 64: classes by the top six bits of the first byte
	wideLow1  = 64  // 64: by its low six bits
	wideHigh2 = 128 // 64: by the top six bits of the second byte
	wideOpen  = 192 // 64: for each place, the largest byte that needs nothing after the vector's end
	wideEnd   = 256
)

const utf8Wide = "utf8wide"

func wideRow(offset int) string { return fmt.Sprintf("%s<>+%d(SB)", utf8Wide, offset) }

func wideConstants() []byte {
	rows, narrow := make([]byte, wideEnd), utf8Constants()
	for i := range 64 {
		rows[wideHigh1+i] = narrow[rowHigh1+i>>2]
		rows[wideLow1+i] = narrow[rowLow1+i&15]
		rows[wideHigh2+i] = narrow[rowHigh2+i>>2]
		rows[wideOpen+i] = 0xFF
	}
	copy(rows[wideEnd-3:], []byte{0xF0 - 1, 0xE0 - 1, 0xC0 - 1})
	return rows
}

// Z returns the name of the 64-byte register n.
func Z(n int) string { return fmt.Sprintf("Z%d", n) }

// ConstantsZ loads the constants for the checks. It clears the errors, Z26 and K6, and
// K5: whether the last block ends in an unfinished character.
func (k *utf8Kernel) ConstantsZ() {
	for i, offset := range []int{wideHigh1, wideLow1, wideHigh2} {
		k.Ins("VMOVDQU64", wideRow(offset), Z(20+i))
	}
	for i, offset := range []int{rowLead3, rowLead4, rowTop} {
		k.Ins("VPBROADCASTD", row(offset), Z(23+i))
	}
	k.Ins("VPXORQ", "Z26", "Z26", "Z26")
	k.Ins("KXORQ", "K5", "K5", "K5")
	k.Ins("KXORQ", "K6", "K6", "K6")
}

// addErrorsZ adds the errors of the block cur. Z27, Z28 and Z29 begin 1, 2 and 3 bytes
// before it. Z30 and Z31 are scratch.
func (k *utf8Kernel) addErrorsZ(cur string) {
	k.Ins("VPSRLW", 2, "Z27", "Z30")
	k.Ins("VPSRLW", 2, cur, "Z31")
	k.Ins("VPERMB", "Z20", "Z30", "Z30")
	k.Ins("VPERMB", "Z21", "Z27", "Z27")
	k.Ins("VPERMB", "Z22", "Z31", "Z31")
	k.Ins("VPSUBUSB", "Z23", "Z28", "Z28")
	k.Ins("VPSUBUSB", "Z24", "Z29", "Z29")
	k.Ins("VPTERNLOGD", "$0x80", "Z27", "Z31", "Z30") // all three
	k.Ins("VPTERNLOGD", "$0xA8", "Z25", "Z29", "Z28") // one of two, and the third
	k.Ins("VPTERNLOGD", "$0xF6", "Z28", "Z30", "Z26") // one, or the others differ
}

// AfterZ checks the block cur, which follows the block in prev. It sets K5 to whether cur
// ends in an unfinished character. Up to 256 bytes everything comes from registers: a
// load 1, 2 or 3 bytes before a block touches two lines.
func (k *utf8Kernel) AfterZ(prev, cur string) {
	k.Ins("VALIGND", 12, prev, cur, "Z31")
	k.Ins("VPALIGNR", 15, "Z31", cur, "Z27")
	k.Ins("VPALIGNR", 14, "Z31", cur, "Z28")
	k.Ins("VPALIGNR", 13, "Z31", cur, "Z29")
	k.addErrorsZ(cur)
	k.openZ(cur)
}

// AtZ checks the block at mem(0); cur has a copy of it.
func (k *utf8Kernel) AtZ(mem func(int) string, cur string) {
	for i := 1; i <= 3; i++ {
		k.Ins("VMOVDQU64", mem(-i), Z(26+i))
	}
	k.addErrorsZ(cur)
}

// openZ sets K5 to whether the block cur ends in an unfinished character.
func (k *utf8Kernel) openZ(cur string) { k.Ins("VPCMPUB", 6, wideRow(wideOpen), cur, "K5") }

// AddOpenZ adds an error if the last block checked ends in an unfinished character.
func (k *utf8Kernel) AddOpenZ() { k.Ins("KORQ", "K5", "K6", "K6") }

// VerdictZ sets the equal flag if there were no errors.
func (k *utf8Kernel) VerdictZ() {
	k.Ins("VPTESTMB", "Z26", "Z26", "K7")
	k.Ins("KORTESTQ", "K6", "K7")
}

// blocksZ checks the first blocks of Z16 to Z19, where zeros follow the text, and adds
// their errors. In a block of ASCII, as in one of zeros, it only checks that the
// character before it is finished. It does not branch on the length. Labels begin with
// name.
func (k *utf8Kernel) blocksZ(name string, blocks int) {
	for i := range blocks {
		k.Ins("VPMOVB2M", Z(16+i), fmt.Sprint("K", 1+i))
	}
	k.ConstantsZ()
	for i := range blocks {
		m := fmt.Sprint("K", 1+i)
		k.Mark(fmt.Sprint(name, "Block", i))
		k.Ins("KORTESTQ", m, m)
		k.Ins("JEQ", fmt.Sprint(name, "Skip", i))
		prev := Z(15 + i)
		if i == 0 {
			prev = "Z26" // no errors yet: zeros
		}
		k.AfterZ(prev, Z(16+i))
	}
	k.Mark(fmt.Sprint(name, "Skip", blocks-1))
	k.AddOpenZ()
	k.VerdictZ()
}

// skipsZ prints the targets of blocksZ for blocks of ASCII.
func (k *utf8Kernel) skipsZ(name string, blocks int) {
	for i := range blocks - 1 {
		k.Mark(fmt.Sprint(name, "Skip", i))
		k.AddOpenZ()
		k.Ins("JMP", fmt.Sprint(name, "Block", i+1))
	}
}

// maskedZ sets the mask register m to the bytes of block i that are text. R10 becomes the
// block's address, or the start of the text if there are none. So nothing beyond the text
// is touched. R8 is -1 and DX is 0. AX and R9 are scratch.
func (k *utf8Kernel) maskedZ(i int, m string) {
	k.Ins("MOVQ", "SI", "AX")
	k.Ins("LEAQ", Mem("DI", 64*i), "R10")
	k.Ins("SUBQ", 64*i, "AX")
	k.Ins("CMOVQCS", "DX", "AX")
	k.Ins("CMOVQCS", "DI", "R10")
	k.Ins("BZHIQ", "AX", "R8", "R9")
	k.Ins("KMOVQ", "R9", m)
}

// validWide prints the AVX-512 kernel.
func (k *utf8Kernel) validWide() {
	k.Label("wide", "AVX-512; to 256 bytes four masked loads and no branch on the length")
	k.Ins("CMPQ", "SI", 256)
	k.Ins("JHI", "wideLong")
	k.Ins("MOVQ", -1, "R8")
	k.Ins("XORL", "DX", "DX")
	k.Note("BZHI takes 256 for 0")
	k.Ins("MOVL", 64, "AX")
	k.Ins("CMPQ", "SI", "AX")
	k.Ins("CMOVQCS", "SI", "AX")
	k.Ins("BZHIQ", "AX", "R8", "R9")
	k.Ins("KMOVQ", "R9", "K1")
	k.Ins("VMOVDQU8.Z", "(DI)", "K1", "Z16")
	for i := 1; i < 4; i++ {
		m := fmt.Sprint("K", 1+i)
		k.maskedZ(i, m)
		k.Ins("VMOVDQU8.Z", "(R10)", m, Z(16+i))
	}
	k.Ins("VPORQ", "Z16", "Z17", "Z20")
	k.Ins("VPTERNLOGD", "$0xFE", "Z18", "Z19", "Z20")
	k.signsZ("Z20", "K5")
	k.Ins("JNE", "wideCheck")
	k.True()
	k.Mark("wideCheck")
	k.blocksZ("wide", 4)
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")
	k.skipsZ("wide", 4)
	k.validWideLong()
}

// signZ256 tests whether the 256 bytes at base are ASCII.
func (k *utf8Kernel) signZ256(base string) {
	k.Ins("VMOVDQU64", Mem(base, 0), "Z16")
	k.Ins("VMOVDQU64", Mem(base, 64), "Z17")
	k.Ins("VPORQ", Mem(base, 128), "Z16", "Z18")
	k.Ins("VPTERNLOGQ", "$0xFE", Mem(base, 192), "Z17", "Z18")
	k.signsZ("Z18", "K1")
}

// validWideLong prints n from 257. R10 is the next block of ASCII mode, R11 the next to
// check, and R12 the end. DX is the last place where either goes on in full blocks.
func (k *utf8Kernel) validWideLong() {
	k.Label("wideLong", "more than 256: is there anything but ASCII at the start")
	k.Ins("CMPQ", "SI", "$const_pieceMax")
	k.Ins("JHI", "long")
	k.Ins("LEAQ", "(DI)(SI*1)", "R12")
	k.ConstantsZ()
	k.signZ256("DI")
	k.Ins("JNE", "wideFirst")
	k.Ins("LEAQ", "256(DI)", "R10")
	k.Ins("ANDQ", -64, "R10")
	k.Label("wideASCII", "aligned blocks of 256, all before R10 being ASCII, or checked")
	k.Ins("LEAQ", "-256(R12)", "DX")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JCC", "wideASCIITail")
	k.Ins("PCALIGN", 32)
	k.Mark("wideASCIILoop")
	k.signZ256("R10")
	k.Ins("JNE", "wideOther")
	k.Ins("ADDQ", 256, "R10")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JCS", "wideASCIILoop")
	k.Label("wideASCIITail", "the last 256 bytes")
	k.signZ256("DX")
	k.Ins("JNE", "wideOther")
	k.VerdictZ()
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")

	k.Label("wideFirst", "the first block has nothing before it")
	k.AfterZ("Z26", "Z16")
	k.Ins("LEAQ", "64(DI)", "R11")
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.Ins("JMP", "wideLoop")
	k.Label("wideOther", "something else than ASCII, from R10 on")
	k.Ins("MOVQ", "R10", "R11")
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.restZ("wideASCII")
}

// restZ checks the text from R11, at least 3 bytes after its start, to its end R12, and
// returns. DX is R12-64. A run of ASCII jumps to the label ascii with R10 at the next
// boundary, if there is one.
func (k *utf8Kernel) restZ(ascii string) {
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JHI", "wideTail")
	k.Ins("PCALIGN", 32)
	k.Label("wideLoop", "64 bytes a round")
	k.lookZ("wideCalm")
	k.Mark("wideGo")
	k.AtZ(at("R11", 0), "Z16")
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JLS", "wideLoop")
	k.Label("wideTail", "the last block, of which some is checked already")
	k.Ins("VMOVDQU64", "(DX)", "Z16")
	k.AtZ(at("DX", 0), "Z16")
	k.openZ("Z16")
	k.AddOpenZ()
	k.VerdictZ()
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")

	k.Label("wideCalm", "in ASCII nothing is to be checked but that the character before it is finished")
	k.openBeforeR11()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R11", "DX")
	if ascii == "" {
		k.Ins("JLS", "wideLoop")
		k.Ins("JMP", "wideTail")
		return
	}
	k.Ins("JHI", "wideTail")
	k.Ins("VMOVDQU64", "(R11)", "Z16")
	k.signsZ("Z16", "K1")
	k.Ins("JNE", "wideGo")
	k.Ins("LEAQ", "64(R11)", "R10")
	k.Ins("ANDQ", -64, "R10")
	k.Ins("JMP", ascii)
}

// lookZ loads the block at R11 to Z16, and jumps to calm if it is ASCII.
func (k *utf8Kernel) lookZ(calm string) {
	k.Ins("VMOVDQU64", "(R11)", "Z16")
	k.signsZ("Z16", "K1")
	k.Ins("JEQ", calm)
}

// openBeforeR11 adds an error if the 3 bytes before R11 end in an unfinished character.
// ASCII begins at R11.
func (k *utf8Kernel) openBeforeR11() {
	k.Ins("VMOVD", "-3(R11)", "X27")
	k.Ins("VPCMPUB", 6, row(rowOpen3), "X27", "K5")
	k.AddOpenZ()
}

// unmaskWide prints 65 bytes and more at AVX-512. Up to 256 the checked bytes are loaded
// in blocks, the last of them masked. Whole vectors are stored, from the start and up to
// the end. A masked store would cover the start of the next frame, whose load might wait
// for it; that is not measured. Everything is loaded before the first store.
func (k *utf8Kernel) unmaskWide() {
	k.Label("wide", "AVX-512: blocks from the start, the last of them masked, and vectors to the end")
	k.Ins("MOVQ", -1, "R8")
	k.Ins("XORL", "DX", "DX")
	k.Ins("LEAQ", "(DI)(SI*1)", "R12")
	k.Ins("VBROADCASTSS", "key+16(FP)", "Z25")
	k.keyAfter("R11")
	k.Ins("VPBROADCASTD", "R11", "Z24")
	k.Ins("CMPQ", "SI", 256)
	k.Ins("JHI", "wideLong")
	k.Ins("CMPQ", "SI", 128)
	k.Ins("JHI", "wide128")
	block := func(i int) { // Z21..Z23: the key where there is text
		m := fmt.Sprint("K", 1+i)
		k.maskedZ(i, m)
		k.Ins("VMOVDQU8.Z", "Z25", m, Z(20+i))
		k.Ins("VMOVDQU8.Z", "(R10)", m, Z(16+i))
		k.Ins("VPXORQ", Z(16+i), Z(20+i), Z(16+i))
	}
	k.Ins("VPXORQ", "(DI)", "Z25", "Z16")
	block(1)
	k.Ins("VPXORQ", "-64(R12)", "Z24", "Z18")
	k.Ins("VPORQ", "Z16", "Z17", "Z20")
	k.signsZ("Z20", "K5")
	k.Ins("JNE", "wideCheck2")
	k.Ins("VMOVDQU64", "Z16", "(DI)")
	k.Ins("VMOVDQU64", "Z18", "-64(R12)")
	k.True()
	k.Mark("wideCheck2")
	k.blocksZ("wideTwo", 2)
	k.Ins("VMOVDQU64", "Z16", "(DI)")
	k.Ins("VMOVDQU64", "Z18", "-64(R12)")
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")
	k.skipsZ("wideTwo", 2)

	store4 := func() {
		for i, m := range []string{"(DI)", "64(DI)", "-128(R12)", "-64(R12)"} {
			k.Ins("VMOVDQU64", Z(16+i), m)
		}
	}
	k.Label("wide128", "129..256")
	k.Ins("VPXORQ", "(DI)", "Z25", "Z16")
	k.Ins("VPXORQ", "64(DI)", "Z25", "Z17")
	block(2)
	block(3)
	k.Ins("VPORQ", "Z16", "Z17", "Z20")
	k.Ins("VPTERNLOGD", "$0xFE", "Z18", "Z19", "Z20")
	k.signsZ("Z20", "K5")
	k.Ins("JNE", "wideCheck4")
	k.Ins("VPXORQ", "-128(R12)", "Z24", "Z18")
	k.Ins("VPXORQ", "-64(R12)", "Z24", "Z19")
	store4()
	k.True()
	k.Mark("wideCheck4")
	k.blocksZ("wideFour", 4)
	k.Ins("SETEQ", k.ret)
	k.Ins("VPBROADCASTD", "R11", "Z24")
	k.Ins("VPXORQ", "-128(R12)", "Z24", "Z18")
	k.Ins("VPXORQ", "-64(R12)", "Z24", "Z19")
	store4()
	k.Ins("RET")
	k.skipsZ("wideFour", 4)
	k.unmaskWideLong()
}

// unmaskWideLong prints n from 257, in the modes of unmaskLong. ASCII mode takes chunks
// of 256 with one test each. Otherwise unmasking runs lagAhead bytes ahead of a check
// that loads them again. Z18 is the key at R10 and Z19 the key at the end. The other
// registers are those of validWideLong.
func (k *utf8Kernel) unmaskWideLong() {
	unmask := func(i int, z, or string) {
		k.Ins("VPXORQ", Mem("R10", 64*i), "Z18", z)
		if or != "" {
			k.Ins("VPORQ", z, or, or)
		}
		k.Ins("VMOVDQA64", z, Mem("R10", 64*i))
	}
	// 64 to 127 bytes are left.
	last := func() {
		k.Ins("VPXORQ", "(R10)", "Z18", "Z16")
		k.Ins("VPXORQ", "-64(R12)", "Z19", "Z17")
		k.Ins("VMOVDQA64", "Z16", "(R10)")
		k.Ins("VMOVDQU64", "Z17", "-64(R12)")
	}
	k.Label("wideLong", "more than 256: the first block, and that at the boundary in it; what they share is loaded before")
	k.Ins("CMPQ", "SI", "$const_pieceMax")
	k.Ins("JHI", "cut")
	k.Ins("VPXORQ", "(DI)", "Z25", "Z16")
	k.Ins("VMOVDQA64", "Z24", "Z19")
	k.Ins("LEAQ", "64(DI)", "R10")
	k.Ins("ANDQ", -64, "R10")
	k.Ins("MOVL", "R10", "CX")
	k.Ins("SUBL", "DI", "CX")
	k.Ins("SHLL", 3, "CX")
	k.Ins("MOVL", "key+16(FP)", "R13")
	k.Ins("RORL", "CX", "R13")
	k.Ins("VPBROADCASTD", "R13", "Z18")
	k.Ins("VPXORQ", "(R10)", "Z18", "Z17")
	k.Ins("VMOVDQU64", "Z16", "(DI)")
	k.Ins("VMOVDQA64", "Z17", "(R10)")
	k.Ins("ADDQ", 64, "R10")
	k.ConstantsZ()
	k.Ins("VPORQ", "Z16", "Z17", "Z17")
	k.signsZ("Z17", "K1")
	k.Ins("JNE", "wideFirst")
	k.Label("wideASCII", "all before R10 is unmasked, and ASCII or checked")
	k.Ins("LEAQ", "-320(R12)", "DX")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "wideASCIIRest")
	k.Ins("PCALIGN", 32)
	k.Mark("wideASCIILoop")
	unmask(0, "Z17", "")
	for i := 1; i < 4; i++ {
		unmask(i, "Z16", "Z17")
	}
	k.Ins("ADDQ", 256, "R10")
	k.signsZ("Z17", "K1")
	k.Ins("JNE", "wideChunk")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "wideASCIILoop")
	k.Label("wideASCIIRest", "64 to 319 left: blocks, and the last two vectors")
	k.Ins("MOVQ", "R10", "R11")
	k.Ins("LEAQ", "-128(R12)", "DX")
	k.Ins("VPXORQ", "Z27", "Z27", "Z27")
	k.Ins("JMP", "wideASCIIMore")
	k.Mark("wideASCIIBlock")
	unmask(0, "Z16", "Z27")
	k.Ins("ADDQ", 64, "R10")
	k.Mark("wideASCIIMore")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "wideASCIIBlock")
	last()
	k.Ins("VPTERNLOGD", "$0xFE", "Z16", "Z17", "Z27")
	k.signsZ("Z27", "K1")
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.Ins("JNE", "wideRest")
	k.VerdictZ()
	k.Ins("SETEQ", k.ret)
	k.Ins("RET")

	k.Label("wideFirst", "not ASCII from the start: the first block has nothing before it")
	k.AfterZ("Z26", "Z16")
	k.Ins("LEAQ", "64(DI)", "R11")
	k.Ins("JMP", "wideFill")
	k.Label("wideChunk", "not all of the chunk before R10 is ASCII")
	k.Ins("LEAQ", "-256(R10)", "R11")
	k.Label("wideFill", "unmask until R10 is far enough before R11")
	k.Ins("LEAQ", "-128(R12)", "DX")
	k.Ins("LEAQ", Mem("R11", lagAhead), "CX")
	k.Mark("wideFillLoop")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JHI", "wideLagTail")
	k.Ins("CMPQ", "R10", "CX")
	k.Ins("JCC", "wideLag")
	unmask(0, "Z16", "")
	k.Ins("ADDQ", 64, "R10")
	k.Ins("JMP", "wideFillLoop")
	k.Mark("wideLag")
	k.Ins("MOVL", lagCalm, "CX")
	k.Ins("PCALIGN", 32)
	k.Label("wideLagLoop", "unmask 64 at R10, check 64 at R11")
	unmask(0, "Z16", "")
	k.Ins("ADDQ", 64, "R10")
	k.lookZ("wideLagCalm")
	k.AtZ(at("R11", 0), "Z16")
	k.Ins("MOVL", lagCalm, "CX")
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "wideLagLoop")
	k.Label("wideLagTail", "64 to 127 to unmask; then check what is left")
	last()
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.Ins("JMP", "wideRest")
	k.Label("wideLagCalm", "in ASCII nothing is to be checked but that the character before it is finished")
	k.openBeforeR11()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("DECL", "CX")
	k.Ins("JEQ", "wideDrain")
	k.Ins("CMPQ", "R10", "DX")
	k.Ins("JLS", "wideLagLoop")
	k.Ins("JMP", "wideLagTail")
	k.Label("wideDrain", "a long run of ASCII: if all up to R10 is, back to ASCII mode")
	k.Ins("LEAQ", "64(R11)", "AX")
	k.Ins("CMPQ", "AX", "R10")
	k.Ins("JHI", "wideDrained")
	k.Ins("VMOVDQU64", "(R11)", "Z16")
	k.signsZ("Z16", "K1")
	k.Ins("JNE", "wideFill")
	k.Ins("ADDQ", 64, "R11")
	k.Ins("JMP", "wideDrain")
	k.Mark("wideDrained")
	k.Ins("VMOVDQU64", "-64(R10)", "Z16")
	k.signsZ("Z16", "K1")
	k.Ins("JEQ", "wideASCII")
	k.Ins("JMP", "wideFill")
	k.Mark("wideRest")
	k.restZ("")
}

// signsZ puts the top bits of the bytes in z into mask. The equal flag then means ASCII.
func (k *utf8Kernel) signsZ(z, mask string) {
	k.Ins("VPMOVB2M", z, mask)
	k.Ins("KORTESTQ", mask, mask)
}
