package conformance

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// invalidPayload is the code for text that is not UTF-8.
var invalidPayload = []int{1007}

// kosme is the public suite's word; the other is the same with a surrogate.
const (
	kosme    = "\xCE\xBA\xCF\x8C\xCF\x83\xCE\xBC\xCE\xB5"
	badKosme = "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"
)

// textCases are family 6: UTF-8.
func textCases(Volume) []*Case {
	greeting := "Hello-\xC2\xB5@\xC3\x9F\xC3\xB6\xC3\xA4\xC3\xBC\xC3\xA0\xC3\xA1-UTF-8!!"
	echo := func(s string) []event { return []event{echoed(opText, s)} }
	every := func(s string) []piece { return fragments(opText, []byte(s), 1) }
	good, evil := "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5", "\xF4\x90\x80\x80"
	at := []piece{begin(opText, good), middle(evil), last("edited")}
	all := []*Case{
		show("6.1.1", "text of no bytes", "R16 R35", echo(""), together(text(""))),
		show("6.1.2", "three frames of no bytes", "R16 R35", echo(""), together(begin(opText, ""), middle(""), last(""))),
		show("6.1.3", "three frames, the first and last of no bytes", "R16 R35", echo("middle frame payload"),
			together(begin(opText, ""), middle("middle frame payload"), last(""))),
		show("6.2.1", "right text in one frame", "R31", echo(greeting), together(text(greeting))),
		show("6.2.2", "right text in two frames, cut between characters", "R31", echo(greeting), together(begin(opText, greeting[:11]), last(greeting[11:]))),
		show("6.2.3", "right text in frames of one byte", "R31", echo(greeting), together(every(greeting)...)),
		show("6.2.4", "a Greek word in frames of one byte", "R31", echo(kosme), together(every(kosme)...)),
		broken("6.3.1", "a surrogate in one frame", "R33", invalidPayload, none(), together(text(badKosme))),
		broken("6.3.2", "a surrogate in frames of one byte", "R33", invalidPayload, none(), together(every(badKosme)...)),
		broken("6.4.1", "an impossible second frame, with the third held back", "R32", invalidPayload, none(), apart(at[:2]...), hold, together(at[2])),
		broken("6.4.2", "the impossible byte alone, with the rest held back", "R32", invalidPayload, none(),
			apart(begin(opText, good+"\xF4"), middle("\x90")), hold, apart(middle("\x80\x80"), last("edited"))),
		broken("6.4.3", "an impossible byte in a frame whose end is held back", "R32", invalidPayload, none(), heldText(good+evil+"edited", len(good)+4)),
		broken("6.4.4", "the same, held back from the byte after it", "R32", invalidPayload, none(), heldText(good+evil+"edited", len(good)+2)),
	}
	for i, s := range []string{"\xCE\xBA\xCF\x8C\xCF\x83\xCE\xBC\xCE\xB5", "Hello-\xC2\xB5@\xC3\x9F", "\xE6\x97\xA5\xE7\xB5\x8C", "\xF0\x9F\x93\x88\xF0\x9F\x93\x89", "\xE2\x82\xAC 1,234.56"} {
		all = append(all, show(fmt.Sprintf("6.5.%d", i+1), "right text", "R31 R33", echo(s), together(text(s))))
	}
	for i := range []byte(kosme + "x")[:len(kosme)+1] {
		s := kosme[:i]
		all = append(all, textCase(fmt.Sprintf("6.6.%d", i+1), fmt.Sprintf("the first %d bytes of a Greek word", i), s))
	}
	for _, row := range textTable {
		for i, s := range row.texts {
			all = append(all, textCase(fmt.Sprintf("6.%d.%d", row.family, i+1), row.title, s))
		}
	}
	return all
}

// textCase returns a case with a text that is echoed if it is UTF-8, and otherwise fails
// the connection.
func textCase(id, title, s string) *Case {
	title = fmt.Sprintf("%s: % x", title, s)
	if utf8.ValidString(s) {
		return show(id, title, "R33", []event{echoed(opText, s)}, together(text(s)))
	}
	return broken(id, title, "R33", invalidPayload, none(), together(text(s)))
}

// heldText sends a frame of text up to a byte, waits for the end, and then sends the
// rest.
func heldText(s string, held int) step {
	return func(s2 *session) {
		p := text(s)
		b := p.append(nil, s2.client)
		cut := len(b) - len(s) + held
		s2.write(b[:cut], fmt.Sprintf("text, %d of %d bytes", held, len(s)))
		if hold(s2); !s2.gone() {
			s2.write(b[cut:], "the rest")
		}
	}
}

// textTable are the families 6.7 to 6.23: the rows of the table in RFC 3629, and the
// values between them.
var textTable = []struct {
	family int
	title  string
	texts  []string
}{
	{7, "the first of each length", []string{"\x00", "\xC2\x80", "\xE0\xA0\x80", "\xF0\x90\x80\x80"}},
	{8, "the first of five and six bytes", []string{"\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80"}},
	{9, "the last of each length", []string{"\x7F", "\xDF\xBF", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"}},
	{10, "the last of what has four, five and six bytes", []string{"\xF7\xBF\xBF\xBF", "\xFB\xBF\xBF\xBF\xBF", "\xFD\xBF\xBF\xBF\xBF\xBF"}},
	{11, "around the surrogates, and the last characters", []string{"\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBD", "\xF4\x8F\xBF\xBF", "\xF4\x90\x80\x80"}},
	{12, "continuation bytes alone", []string{"\x80", "\xBF", "\x80\xBF", "\x80\xBF\x80", "\x80\xBF\x80\xBF", "\x80\xBF\x80\xBF\x80", "\x80\xBF\x80\xBF\x80\xBF", between(0x80, 0xC0, "")}},
	{13, "first bytes, each before a space", []string{between(0xC0, 0xE0, " "), between(0xE0, 0xF0, " "), between(0xF0, 0xF8, " "), between(0xF8, 0xFC, " "), between(0xFC, 0xFE, " ")}},
	{14, "sequences that lack their last byte", []string{"\xC0", "\xE0\x80", "\xF0\x80\x80", "\xF8\x80\x80\x80", "\xFC\x80\x80\x80\x80", "\xDF", "\xEF\xBF", "\xF7\xBF\xBF", "\xFB\xBF\xBF\xBF", "\xFD\xBF\xBF\xBF\xBF"}},
	{15, "those one after the other", []string{"\xC0\xE0\x80\xF0\x80\x80\xF8\x80\x80\x80\xFC\x80\x80\x80\x80\xDF\xEF\xBF\xF7\xBF\xBF\xFB\xBF\xBF\xBF\xFD\xBF\xBF\xBF\xBF"}},
	{16, "bytes that never occur", []string{"\xFE", "\xFF", "\xFE\xFE\xFF\xFF"}},
	{17, "over-long forms of /", []string{"\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF", "\xF8\x80\x80\x80\xAF", "\xFC\x80\x80\x80\x80\xAF"}},
	{18, "the largest over-long forms", []string{"\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xF8\x87\xBF\xBF\xBF", "\xFC\x83\xBF\xBF\xBF\xBF"}},
	{19, "over-long forms of U+0000", []string{"\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF8\x80\x80\x80\x80", "\xFC\x80\x80\x80\x80\x80"}},
	{20, "surrogates", []string{"\xED\xA0\x80", "\xED\xAD\xBF", "\xED\xAE\x80", "\xED\xAF\xBF", "\xED\xB0\x80", "\xED\xBE\x80", "\xED\xBF\xBF"}},
	{21, "pairs of surrogates", []string{"\xED\xA0\x80\xED\xB0\x80", "\xED\xA0\x80\xED\xBF\xBF", "\xED\xAD\xBF\xED\xB0\x80", "\xED\xAD\xBF\xED\xBF\xBF", "\xED\xAE\x80\xED\xB0\x80", "\xED\xAE\x80\xED\xBF\xBF", "\xED\xAF\xBF\xED\xB0\x80", "\xED\xAF\xBF\xED\xBF\xBF"}},
	{22, "what is no character, and is right", noncharacters()},
	{23, "the replacement character and its neighbours", []string{"\xEF\xBF\xB9", "\xEF\xBF\xBA", "\xEF\xBF\xBB", "\xEF\xBF\xBC", "\xEF\xBF\xBD", "\xEF\xBF\xBE", "\xEF\xBF\xBF"}},
}

func between(from, to int, after string) string {
	var b strings.Builder
	for c := from; c < to; c++ {
		b.WriteByte(byte(c))
		b.WriteString(after)
	}
	return b.String()
}

// noncharacters returns the last two code points of each plane.
func noncharacters() (all []string) {
	for plane := rune(0); plane <= 16; plane++ {
		all = append(all, string(plane<<16|0xFFFE), string(plane<<16|0xFFFF))
	}
	return all
}

// textRequirements are R31 to R35 where the public suite has no case.
func textRequirements() []*Case {
	var all []*Case
	// Each position around the blocks of 16, 32 and 64 bytes that kernels read.
	for i, at := range []int{0, 1, 14, 15, 16, 30, 31, 32, 62, 63, 64, 65, 127, 128, 255} {
		s := strings.Repeat("v", at) + "\xE2\x82\xAC" + strings.Repeat("w", 70)
		all = append(all,
			show(fmt.Sprintf("R31.%d", i+1), fmt.Sprintf("a character from byte %d on", at), "R31", []event{echoed(opText, s)}, together(text(s))),
			broken(fmt.Sprintf("R32.%d", i+1), fmt.Sprintf("a character that is not finished at byte %d, with the rest held back", at+2), "R32", invalidPayload, none(),
				heldText(strings.Repeat("v", at)+"\xE2\x82w"+strings.Repeat("w", 70), at+3)))
	}
	for cut := range len(kosme) - 1 {
		all = append(all, show(fmt.Sprintf("R31.%d", cut+21), fmt.Sprintf("text in two frames, cut after byte %d, a ping between", cut+1), "R31 R15",
			[]event{echoed(opPong, "\xFF"), echoed(opText, kosme)},
			together(begin(opText, kosme[:cut+1]), ping("\xFF"), last(kosme[cut+1:]))))
	}
	all = append(all,
		broken("R31.41", "text that ends within a character", "R31", invalidPayload, none(), together(begin(opText, "\xE2\x82"), last(""))),
		broken("R31.42", "text that ends within a character, and a new message", "R31", invalidPayload, none(), together(text("\xE2\x82"), text("\xAC"))),
		show("R18.1", "binary in frames, with bytes that are no text", "R18", []event{echoed(opBinary, "\xE2\xE2\xFF\x80")},
			together(begin(opBinary, "\xE2"), middle("\xE2\xFF"), last("\x80"))),
		show("R18.2", "binary that ends within a character, and text", "R18", []event{echoed(opBinary, "\xE2\x82"), echoed(opText, "\xE2\x82\xAC")},
			together(binaryOf([]byte("\xE2\x82")), text("\xE2\x82\xAC"))))
	for i, size := range []int{1, 3, 7, 64, 1000, 4096, 65535} {
		data := []byte(strings.Repeat(kosme+" abc", 12000)[:131068])
		if !utf8.Valid(data) {
			data = slices.Concat(data[:len(data)-1], []byte("x"))
		}
		if size < 64 {
			data = data[:14*size*20]
		}
		all = append(all, show(fmt.Sprintf("R35.%d", i+1), fmt.Sprintf("%d bytes of text in frames of %d", len(data), size), "R35 R31", []event{{opText, data}},
			together(fragments(opText, data, size)...)))
	}
	return all
}
