package main

import "fmt"

// The error classes of a pair of neighbouring bytes (Keiser and Lemire, "Validating UTF-8 in less than one instruction
// per byte"). Three tables of 16, over the high and low half of the first byte and the high half of the second, are
// ANDed: a class is left if all three allow it.
const (
	tooShort  = 1 << 0 // a lead or ASCII where a continuation must be
	tooLong   = 1 << 1 // a continuation behind ASCII
	overlong3 = 1 << 2 // E0 80..9F
	tooLarge  = 1 << 3 // F4 90.., F5 and above
	surrogate = 1 << 4 // ED A0..
	overlong2 = 1 << 5 // C0, C1
	tooLarge2 = 1 << 6 // F5 and above before 80..8F; shares its bit with F0 80..8F, overlong in 4 bytes
	overlong4 = 1 << 6
	twoConts  = 1 << 7 // two continuations: right if and only if a lead of 3 or 4 bytes stands before them
	anyLow    = tooShort | tooLong | twoConts
)

// The constants are one symbol; these are the offsets of its 16-byte rows.
const (
	rowHigh1 = 16 * iota // classes by the high half of the first byte
	rowLow1              // by its low half
	rowHigh2             // by the high half of the second byte
	rowHalf              // 0x0F in every byte
	rowLead3             // 0x60: subtracted with saturation it leaves the top bit of E0 and above
	rowLead4             // 0x70: the same for F0 and above
	rowTop               // 0x80
	rowShift             // 0x1000 in every word: the high half of a product with it is a shift right by 4
	rowSkip3             // ones but for the first 3 bytes
	rowOpen              // 32 bytes: the largest byte at each place that needs nothing behind the vector's end
	rowOpenX = rowOpen + 16
	rowsEnd  = rowOpen + 32
)

const utf8Rows = "utf8rows"

// row returns the address of a row.
func row(offset int) string { return fmt.Sprintf("%s<>+%d(SB)", utf8Rows, offset) }

func utf8Constants() []byte {
	rows := make([]byte, rowsEnd)
	fill := func(at int, b byte) {
		for i := range 16 {
			rows[at+i] = b
		}
	}
	for i := range 16 {
		high1, low1, high2 := byte(tooLong), byte(anyLow), byte(tooShort)
		switch {
		case i >= 8 && i < 0xC:
			high1 = twoConts
			high2 = tooLong | overlong2 | twoConts
			switch i {
			case 8:
				high2 |= overlong3 | tooLarge2 | overlong4
			case 9:
				high2 |= overlong3 | tooLarge
			default:
				high2 |= surrogate | tooLarge
			}
		case i == 0xC:
			high1 = tooShort | overlong2
		case i == 0xD:
			high1 = tooShort
		case i == 0xE:
			high1 = tooShort | overlong3 | surrogate
		case i == 0xF:
			high1 = tooShort | tooLarge | tooLarge2 | overlong4
		}
		switch {
		case i == 0:
			low1 |= overlong2 | overlong3 | overlong4
		case i == 1:
			low1 |= overlong2
		case i == 4:
			low1 |= tooLarge
		case i > 4:
			low1 |= tooLarge | tooLarge2
		}
		if i == 0xD {
			low1 |= surrogate
		}
		rows[rowHigh1+i], rows[rowLow1+i], rows[rowHigh2+i] = high1, low1, high2
	}
	fill(rowHalf, 0x0F)
	fill(rowLead3, 0xE0-0x80)
	fill(rowLead4, 0xF0-0x80)
	fill(rowTop, 0x80)
	for i := 1; i < 16; i += 2 {
		rows[rowShift+i] = 0x10
	}
	fill(rowSkip3, 0xFF)
	copy(rows[rowSkip3:], []byte{0, 0, 0})
	fill(rowOpen, 0xFF)
	fill(rowOpenX, 0xFF)
	copy(rows[rowsEnd-3:], []byte{0xF0 - 1, 0xE0 - 1, 0xC0 - 1})
	return rows
}

// utf8Kernels prints utf8/kernel_amd64.s.
func utf8Kernels(s *Source) {
	s.Begin(
		"UTF-8, RFC 3629: is it text, and the same for masked text that is unmasked on the way.",
		"",
		"A vector is checked against three others that begin 1, 2 and 3 bytes earlier in the text. They are loaded, not shifted",
		"together: loads have ports of their own, and a block needs nothing but its address. The first vector of a text has",
		"zeros before it. Tails are covered by a vector that ends with the text; checking a byte twice does no harm.",
		"",
		"To 64 bytes, and in the SSSE3 kernels, all encodings are legacy SSE: they do not meet the transition penalty when",
		"somebody has left the upper halves of the YMM registers in use.",
		"",
		"The AVX2 kernels:",
		"  DI  start of the text       Y0-Y5  scratch             Y11  0x0F in every byte",
		"  SI  n                       Y6     key                 Y12  0x1000 in every word",
		"  R8  key at the start        Y7     errors so far       Y13  0x60, Y14  0x70, Y15  0x80",
		"  R9  key at the end          Y8     classes by the high half of the first byte",
		"  R10 next to unmask or skip  Y9     classes by its low half",
		"  R11 next to check           Y10    classes by the high half of the second byte",
		"  R12 end of the text         R13    key at R10",
		"  DX  limit of the loop       BX     0 once all is checked, else -1",
		"  AX, CX  scratch",
		"",
		"The SSE kernels:",
		"  X0-X3    vectors of text    X6  errors so far  X7  0x0F       X9   0x70",
		"  X4, X5   keys               X11-X15  scratch   X8  0x60       X10  0x80",
	)
	s.Data(utf8Rows, utf8Constants(), "the tables and constants, 16 bytes each")
	printValid(s)
	printUnmask(s)
}

// utf8Kernel prints the blocks that the kernels have in common. Labels of a block used more than once take a prefix.
type utf8Kernel struct {
	*Source
	ret string // address of the result
}

// True returns true.
func (k *utf8Kernel) True() {
	k.Ins("MOVB", 1, k.ret)
	k.Ins("RET")
}

// --- legacy SSE ---

// ConstantsX loads what CheckX needs and clears the errors.
func (k *utf8Kernel) ConstantsX() {
	k.Ins("PXOR", "X6", "X6")
	k.Ins("MOVOU", row(rowHalf), "X7")
	k.Ins("MOVOU", row(rowLead3), "X8")
	k.Ins("MOVOU", row(rowLead4), "X9")
	k.Ins("MOVOU", row(rowTop), "X10")
}

// CheckX checks the vector cur, with X11, X12 and X13 beginning 1, 2 and 3 bytes before it, and leaves its errors in
// X15. All but cur is scratch.
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

// AtX checks cur, which was loaded from the address that mem(0) gives, with the bytes before it from memory.
func (k *utf8Kernel) AtX(cur string, mem func(int) string) {
	k.Ins("MOVOU", mem(-1), "X11")
	k.Ins("MOVOU", mem(-2), "X12")
	k.Ins("MOVOU", mem(-3), "X13")
	k.CheckX(cur)
}

// MaskedX is AtX where memory is masked; key is the key of a vector at mem(0).
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

// Pad makes X0 of the n text bytes, at most 15, in AX (the first 8) and BX (the last 8), with zeros behind them.
func (k *utf8Kernel) Pad() {
	k.Note("two shifts, for one by 64 would be none")
	k.Ins("MOVL", 16, "CX")
	k.Ins("SUBL", "SI", "CX")
	k.Ins("SHLL", 2, "CX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("MOVQ", "AX", "X0")
	k.Ins("MOVQ", "BX", "X1")
	k.Ins("PUNPCKLQDQ", "X1", "X0")
}

// Padded checks X0, whose zeros show an unfinished character, and returns.
func (k *utf8Kernel) Padded() {
	k.ConstantsX()
	k.FirstX("X0")
	k.AddX()
	k.VerdictX()
}

// Join4 makes AX of n text bytes, 4 to 7: the first 4 in AX and the last 4 in BX.
func (k *utf8Kernel) Join4() {
	k.Ins("MOVL", 8, "CX")
	k.Ins("SUBL", "SI", "CX")
	k.Ins("SHLL", 3, "CX")
	k.Ins("SHRQ", "CX", "BX")
	k.Ins("SHLQ", 32, "BX")
	k.Ins("ORQ", "BX", "AX")
	k.Ins("MOVQ", "AX", "X0")
}

// Join1 makes AX of n text bytes, 1 to 3: the first in AX, that at n/2 in BX and the last in DX.
func (k *utf8Kernel) Join1() {
	k.Ins("LEAL", "-8(SI*8)", "CX")
	k.Ins("SHLL", "CX", "DX")
	k.Ins("MOVL", "SI", "CX")
	k.Ins("SHRL", 1, "CX")
	k.Ins("SHLL", 3, "CX")
	k.Ins("SHLL", "CX", "BX")
	k.Ins("ORL", "BX", "AX")
	k.Ins("ORL", "DX", "AX")
	k.Ins("MOVQ", "AX", "X0")
}

// Middle puts into CX where the third of four vectors of size bytes begins, for n from 2 to 4 sizes: at the second or
// behind it, so that the fourth, at the end, meets it.
func (k *utf8Kernel) Middle(size int) {
	k.Ins("MOVL", size, "CX")
	k.Ins("MOVL", 2*size, "AX")
	k.Ins("CMPQ", "SI", 3*size)
	k.Ins("CMOVQCC", "AX", "CX")
}

// --- AVX2 ---

// ConstantsY loads what the checks need.
func (k *utf8Kernel) ConstantsY() {
	for i, offset := range []int{rowHigh1, rowLow1, rowHigh2, rowHalf, rowShift, rowLead3, rowLead4, rowTop} {
		k.Ins("VBROADCASTI128", row(offset), Y(8+i))
	}
}

// classes leaves in to the classes of the pairs whose first bytes are in prev and second bytes in cur, a register or
// an address. prev and t are scratch, to may be prev.
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

// judge adds the errors: classes must be twoConts where a byte of prev2 or prev3 asks for it, and empty elsewhere.
func (k *utf8Kernel) judge(classes, prev2, prev3 string) {
	k.Ins("VPSUBUSB", "Y13", prev2, prev2)
	k.Ins("VPSUBUSB", "Y14", prev3, prev3)
	k.Ins("VPOR", prev3, prev2, prev2)
	k.Ins("VPAND", "Y15", prev2, prev2)
	k.Ins("VPXOR", prev2, classes, classes)
	k.Ins("VPOR", classes, "Y7", "Y7")
}

// AtY checks the vector at mem(0), with a copy in the register cur or "". Scratch: t0, t1, t2.
func (k *utf8Kernel) AtY(mem func(int) string, cur, t0, t1, t2 string) {
	if cur == "" {
		cur = mem(0)
	}
	k.Ins("VMOVDQU", mem(-1), t0)
	k.classes(t0, cur, t1)
	k.Ins("VMOVDQU", mem(-2), t1)
	k.Ins("VMOVDQU", mem(-3), t2)
	k.judge(t0, t1, t2)
}

// MaskedY is AtY where memory is masked: Y6 is the key of a vector at mem(0), and Y5, Y4 and Y3 those of vectors 1, 2
// and 3 bytes earlier. Scratch: Y0, Y1, Y2.
func (k *utf8Kernel) MaskedY(mem func(int) string) {
	k.Ins("VPXOR", mem(-1), "Y5", "Y0")
	k.Ins("VPXOR", mem(0), "Y6", "Y2")
	k.classes("Y0", "Y2", "Y1")
	k.Ins("VPXOR", mem(-2), "Y4", "Y1")
	k.Ins("VPXOR", mem(-3), "Y3", "Y2")
	k.judge("Y0", "Y1", "Y2")
}

// RotateY makes Y5, Y4 and Y3 for MaskedY of Y6.
func (k *utf8Kernel) RotateY() {
	k.Ins("VPALIGNR", 15, "Y6", "Y6", "Y5")
	k.Ins("VPALIGNR", 14, "Y6", "Y6", "Y4")
	k.Ins("VPALIGNR", 13, "Y6", "Y6", "Y3")
}

// FirstY checks the register cur with zeros before it. Scratch: the four t, none of them cur.
func (k *utf8Kernel) FirstY(cur, t0, t1, t2, t3 string) {
	k.Ins("VPERM2I128", 0x08, cur, cur, t3)
	k.Ins("VPALIGNR", 15, t3, cur, t0)
	k.Ins("VPALIGNR", 14, t3, cur, t1)
	k.Ins("VPALIGNR", 13, t3, cur, t2)
	k.classes(t0, cur, t3)
	k.judge(t0, t1, t2)
}

// OpenY adds an error if the vector in t ends in an unfinished character. t is scratch.
func (k *utf8Kernel) OpenY(t string) {
	k.Ins("VPSUBUSB", row(rowOpen), t, t)
	k.Ins("VPOR", t, "Y7", "Y7")
}

// VerdictY returns whether there were no errors.
func (k *utf8Kernel) VerdictY() {
	k.Ins("VPTEST", "Y7", "Y7")
	k.Ins("SETEQ", k.ret)
	k.Ins("VZEROUPPER")
	k.Ins("RET")
}

// Sign puts the top bits of the bytes of t, which is the OR of all vectors, into AX; t and others are scratch.
func (k *utf8Kernel) Sign(t string, vectors ...string) {
	k.Ins("VPOR", vectors[0], vectors[1], t)
	for _, v := range vectors[2:] {
		k.Ins("VPOR", v, t, t)
	}
	k.Ins("VPMOVMSKB", t, "AX")
}

// Check64 checks the 64 bytes at R11, the first 32 of which are in Y2 too.
func (k *utf8Kernel) Check64() {
	k.AtY(at("R11", 0), "Y2", "Y0", "Y1", "Y3")
	k.AtY(at("R11", 32), "", "Y4", "Y5", "Y2")
}

// Sign64 tests whether the 64 bytes at R11 are ASCII; the first 32 stay in Y2.
func (k *utf8Kernel) Sign64() {
	k.Ins("VMOVDQU", "(R11)", "Y2")
	k.Ins("VPOR", "32(R11)", "Y2", "Y3")
	k.Ins("VPMOVMSKB", "Y3", "AX")
	k.Ins("TESTL", "AX", "AX")
}

// Rest checks the text from R11, at least 32 bytes behind its start, to its end, and returns. A run of ASCII goes to
// the label ascii with R10 at the next vector boundary, if there is such a label.
func (k *utf8Kernel) Rest(ascii string) {
	k.Label("rest", "64 bytes a round while they last, each with a look whether they are ASCII")
	k.Ins("LEAQ", "-64(R12)", "DX")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JHI", "restTail")
	k.Ins("PCALIGN", 32)
	k.Label("restLoop", "")
	k.Sign64()
	k.Ins("JEQ", "restASCII")
	k.Label("restCheck", "")
	k.Check64()
	k.Ins("ADDQ", 64, "R11")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JLS", "restLoop")

	k.Label("restTail", "up to 63 bytes: one vector here if more than one is needed, one at the end")
	k.Ins("LEAQ", "-32(R12)", "DX")
	k.Ins("CMPQ", "R11", "DX")
	k.Ins("JCC", "restLast")
	k.AtY(at("R11", 0), "", "Y0", "Y1", "Y2")
	k.Label("restLast", "")
	k.Ins("VMOVDQU", "(DX)", "Y3")
	k.AtY(at("DX", 0), "Y3", "Y0", "Y1", "Y2")
	k.OpenY("Y3")
	k.VerdictY()

	k.Label("restASCII", "nothing to check in ASCII but that the character before it is finished")
	k.Ins("VMOVDQU", "-32(R11)", "Y0")
	k.OpenY("Y0")
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

// at returns the addresses around disp(base).
func at(base string, disp int) func(int) string {
	return func(d int) string { return Mem(base, disp+d) }
}

// atIndex returns the addresses around disp(base)(index*1).
func atIndex(base string, disp int, index string) func(int) string {
	return func(d int) string { return MemIdx(base, disp+d, index, 1) }
}
