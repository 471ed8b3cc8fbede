package main

import (
	"encoding/binary"
	"fmt"
)

// The error classes of a pair of adjacent bytes (Keiser and Lemire, "Validating UTF-8 in
// less than one instruction per byte"). There are three tables of 16: by the high and the
// low half of the first byte, and by the high half of the second. A class remains if all
// three allow it (AND).
const (
	tooShort  = 1 << 0 // a lead or ASCII where a continuation is required
	tooLong   = 1 << 1 // a continuation after ASCII
	overlong3 = 1 << 2 // E0 80..9F
	tooLarge  = 1 << 3 // F4 90.., F5 and above
	surrogate = 1 << 4 // ED A0..
	overlong2 = 1 << 5 // C0, C1
	tooLarge2 = 1 << 6 // F5 and above before 80..8F; shares its bit with F0 80..8F, overlong in 4 bytes
	overlong4 = 1 << 6
	twoConts  = 1 << 7 // two continuations: right exactly if a lead of 3 or 4 bytes precedes them
	anyLow    = tooShort | tooLong | twoConts
)

// All constants are one symbol; these are the offsets of its rows. Rows of 32 bytes are
// operands in memory, at multiples of 32. Across cache lines each check would take a
// cycle or two more.
const (
	rowNone  = 0             // 16: at its end, the classes of a missing first byte
	rowHigh1 = rowNone + 16  // 16: classes by the high half of the first byte
	rowLow1  = rowHigh1 + 16 // 16: by its low half
	rowHigh2 = rowLow1 + 16  // 16: by the high half of the second byte
	rowHalf  = rowHigh2 + 16 // 32: 0x0F in every byte
	rowShift = rowHalf + 32  // 16: 0x1000 in every word: the high half of a product with it is a shift right by 4
	rowLead3 = rowShift + 32 // 32: 0x60: subtracted with saturation it leaves the top bit of E0 and above
	rowLead4 = rowLead3 + 32 // 32: 0x70: the same for F0 and above
	rowTop   = rowLead4 + 32 // 32: 0x80
	rowSkip3 = rowTop + 32   // 32: ones except in the first 3 bytes
	rowSlide = rowSkip3 + 32 // 32: from d on, the indices that move a vector's bytes down by d, then zeros
	rowOpen  = rowSlide + 32 // 32: for each place, the largest byte that needs nothing after the vector's end
	rowOpenX = rowOpen + 16  // 16: the same for 16 bytes
	rowOpen3 = rowOpenX + 13 // 16: the same for 3, and ones
	rowsEnd  = rowOpenX + 32
)

// The names of the symbols: the constants, and the states of a byte-by-byte check.
const (
	utf8Rows   = "utf8rows"
	utf8States = "utf8states"
)

// row returns the address of a row.
func row(offset int) string { return fmt.Sprintf("%s<>+%d(SB)", utf8Rows, offset) }

func utf8Constants() []byte {
	rows := make([]byte, rowsEnd)
	fill := func(at, n int, b byte) {
		for i := range n {
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
	fill(rowHalf, 32, 0x0F)
	for i := 1; i < 16; i += 2 {
		rows[rowShift+i] = 0x10
	}
	fill(rowLead3, 32, 0xE0-0x80)
	fill(rowLead4, 32, 0xF0-0x80)
	fill(rowTop, 32, 0x80)
	fill(rowSkip3, 32, 0xFF)
	fill(rowSkip3, 3, 0)
	fill(rowSlide, 32, 0xFF)
	for i := range 16 {
		rows[rowSlide+i] = byte(i)
	}
	fill(rowOpen, rowsEnd-rowOpen, 0xFF)
	copy(rows[rowOpen3:], []byte{0xF0 - 1, 0xE0 - 1, 0xC0 - 1})
	rows[rowNone+15] = rows[rowHigh1] & rows[rowLow1]
	return rows
}

// states returns 256 words, one for each byte. Shifted right by the state before the
// byte, the lowest 6 bits are the state after it. A text begins in the state 0, and may
// end in it.
func states() []byte {
	const (
		whole  = 6 * iota // between characters
		broken            // no text begins like this
		more1             // 1 continuation is missing
		more2
		more3
		afterE0 // 2, the next of which is A0 or above
		afterED // 2, the next of which is 9F or below
		afterF0 // 3, the next of which is 90 or above
		afterF4 // 3, the next of which is 8F or below
	)
	conts := map[int]struct{ least, most, next int }{
		more1: {0x80, 0xBF, whole}, more2: {0x80, 0xBF, more1}, more3: {0x80, 0xBF, more2},
		afterE0: {0xA0, 0xBF, more1}, afterED: {0x80, 0x9F, more1},
		afterF0: {0x90, 0xBF, more2}, afterF4: {0x80, 0x8F, more2},
	}
	var table []byte
	for c := range 0x100 {
		first := broken
		switch {
		case c < 0x80:
			first = whole
		case c >= 0xC2 && c < 0xE0:
			first = more1
		case c == 0xE0:
			first = afterE0
		case c == 0xED:
			first = afterED
		case c >= 0xE1 && c < 0xF0:
			first = more2
		case c == 0xF0:
			first = afterF0
		case c == 0xF4:
			first = afterF4
		case c >= 0xF1 && c < 0xF4:
			first = more3
		}
		word := uint64(first)<<whole | broken<<broken
		for state, want := range conts {
			next := broken
			if c >= want.least && c <= want.most {
				next = want.next
			}
			word |= uint64(next) << state
		}
		table = binary.LittleEndian.AppendUint64(table, word)
	}
	return table
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
		"Legacy SSE encodings meet a transition penalty when the upper halves of the YMM registers are in use, as somebody may",
		"have left them. So no path has both kinds of encodings, and every path with VEX ones ends with VZEROUPPER.",
		"",
		"The AVX2 kernels, from 129 bytes on:",
		"  DI  start of the text       Y0-Y5  scratch             Y11  0x0F in every byte",
		"  SI  n                       Y6     key                 Y12  0x1000 in every word",
		"  R8  0x80 in every byte      Y7     errors so far       Y13  0x60, Y14  0x70, Y15  0x80",
		"  R9  key at the end          Y8     classes by the high half of the first byte",
		"  R10 next to unmask or skip  Y9     classes by its low half",
		"  R11 next to check           Y10    classes by the high half of the second byte",
		"  R12 end of the text         R13    key at R10",
		"  DX  limit of the loop       BX     0 once all is checked, else -1",
		"  AX, CX  scratch",
		"",
		"Below, the tables are in Y8-Y11, R8 is the key at the end, and Y6 and Y12 are the keys at both ends. From 129 to 256",
		"unmask has the text in Y0-Y3 and Y8-Y11, its errors in Y7, and the tables in memory.",
		"",
		"The AVX-512 kernels, of registers 16 to 31 only:",
		"  Z16-Z19  text, or blocks of it   Z23  0x60 in every byte   Z26, K6  errors so far",
		"  Z20      classes by high bits    Z24  0x70                 K5       the last block ends in an unfinished character",
		"  Z21      by low bits             Z25  0x80                 Z27-Z31  scratch",
		"  Z22      by the second byte      K1-K4  the blocks' top bits, or which of their bytes are text",
		"",
		"The SSE kernels:",
		"  X0-X3    vectors of text    X6  errors so far  X7  0x0F       X9   0x70",
		"  X4, X5   keys               X11-X15  scratch   X8  0x60       X10  0x80",
	)
	s.Data(utf8Rows, utf8Constants(), "the tables and constants")
	s.Data(utf8Wide, wideConstants(), "the tables of the AVX-512 kernels")
	s.Data(utf8States, states(), "for each byte, what state follows on which: a shift right by the state before leaves that behind")
	printValid(s)
	printUnmask(s)
}

// utf8Kernel prints the blocks that the kernels share. If a block is used more than once
// its labels take a prefix.
type utf8Kernel struct {
	*Source
	ret string // address of the result
}

// True returns true.
func (k *utf8Kernel) True() {
	k.Ins("MOVB", 1, k.ret)
	k.Ins("RET")
}

// at returns the addresses around disp(base).
func at(base string, disp int) func(int) string {
	return func(d int) string { return Mem(base, disp+d) }
}

// atIndex returns the addresses around disp(base)(index*1).
func atIndex(base string, disp int, index string) func(int) string {
	return func(d int) string { return MemIdx(base, disp+d, index, 1) }
}
