package conformance

import (
	"bytes"
	"compress/flate"
	"fmt"
	"slices"
	"strings"
)

// deflateRequirements are R69 to R88.
func deflateRequirements(v Volume) []*Case {
	return slices.Concat(offerCases(), grantCases(), windowCases(), plainCases(), blockCases(), cutCases(), malformedCases(), inflatedCases(v))
}

// badParameters are not allowed in an offer or an answer (RFC 7692 §7.1).
var badParameters = []string{
	"x_unknown", "server_no_context_takeover; server_no_context_takeover", "client_no_context_takeover; client_no_context_takeover",
	"server_no_context_takeover=1", "client_no_context_takeover=true", "server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16",
	"server_max_window_bits=08", "server_max_window_bits=+9", "server_max_window_bits=9a", `server_max_window_bits=""`, "server_max_window_bits=-9",
	"client_max_window_bits=0", "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=010", "client_max_window_bits=15; client_max_window_bits=15",
}

// offerCases are R69, R71 and R73: how a server treats offers.
func offerCases() []*Case {
	var all []*Case
	offering := func(id, covers, offer string) *Case {
		return opens(id, offer, covers, setting("Sec-WebSocket-Extensions", offer))
	}
	for i, p := range badParameters {
		alone := offering(fmt.Sprintf("R69.%d", i+1), "R69 R73", extensionName+"; "+p)
		alone.request.check, alone.fails = nothingAgreed, NonStrict
		second := offering(fmt.Sprintf("R69.%d", i+101), "R69 R73", extensionName+"; "+p+", "+extensionName)
		second.offer, second.request.agrees, second.fails = extensionName, true, NonStrict
		second.request.edit = setting("Sec-WebSocket-Extensions", extensionName+"; "+p+", "+extensionName)
		alone.request.may, second.request.may = strings.Contains(p, `""`), strings.Contains(p, `""`) // not a token: the header is malformed
		all = append(all, alone, second)
	}
	ask := func(id, covers, offer string) *Case {
		c := &Case{ID: id, Title: offer, Covers: strings.Fields(covers), Role: Server, offer: offer, bulk: exchange(sources[0], 500, 0, 10)}
		return c
	}
	quoted := ask("R73.1", "R73", `permessage-deflate; server_max_window_bits="10"`)
	return append(all, quoted,
		ask("R71.1", "R71", "permessage-deflate; server_no_context_takeover"),
		ask("R71.2", "R71", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
		ask("R72.1", "R72", "permessage-deflate; client_no_context_takeover"),
		ask("R75.1", "R75", "permessage-deflate; server_max_window_bits=12"),
		ask("R75.2", "R75", "permessage-deflate; client_max_window_bits=10"),
	)
}

// grantCases are R70, R72 and R75: how a client treats answers.
func grantCases() []*Case {
	var all []*Case
	reject := func(id, covers, grant string) *Case {
		c := rejects(id, grant, covers, nil)
		c.grant = grant
		return c
	}
	for i, p := range badParameters {
		all = append(all, reject(fmt.Sprintf("R70.%d", i+1), "R70 R73", extensionName+"; "+p))
	}
	all = append(all,
		reject("R70.101", "R70", "permessage-deflate, permessage-deflate"),
		reject("R70.102", "R70", "permessage-deflate; server_no_context_takeover, permessage-deflate"),
		reject("R75.3", "R75", "permessage-deflate; client_max_window_bits"))
	for i, grant := range []string{"client_no_context_takeover", "server_no_context_takeover", "client_no_context_takeover; server_no_context_takeover", `server_max_window_bits="12"`} {
		c := &Case{ID: fmt.Sprintf("R72.%d", i+2), Title: grant, Covers: []string{"R72", "R73"}, Role: Client, grant: extensionName + "; " + grant, bulk: exchange(sources[0], 500, 0, 10)}
		all = append(all, c)
	}
	return all
}

// windowCases are R74 and R76: each window size, with data that repeat further back.
func windowCases() []*Case {
	var all []*Case
	for n := 8; n <= 15; n++ {
		c := show(fmt.Sprintf("R76.%d", n), fmt.Sprintf("a window of %d bits", n), "R74 R76", nil)
		c.offer, c.grant = fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", n), fmt.Sprintf("permessage-deflate; client_max_window_bits=%d", n)
		// Each piece is repeated after three quarters of a window, two windows, and 40
		// KB.
		unit := func(seed int) []byte { return sources[4].message(seed, 64) }
		var data []byte
		for _, gap := range []int{3 << n / 4, 2 << n, 40 << 10} {
			for range 2 {
				data = append(append(data, unit(gap)...), sources[4].message(gap+1, min(gap, 40<<10))...)
			}
		}
		c.want = []event{{opBinary, data}, {opBinary, data[:500]}}
		c.steps = []step{packed(opBinary, data, 0), packed(opBinary, data[:500], 0)}
		all = append(all, c)
	}
	return all
}

// withDeflate makes a case agree on permessage-deflate.
func (c *Case) withDeflate(parameters string) *Case {
	c.offer = extensionName + parameters
	c.grant = c.offer
	return c
}

func compressed(id, title, covers string, want []event, steps ...step) *Case {
	return show(id, title, covers, want, steps...).withDeflate("")
}

// plainCases are R78, R79 and R82.
func plainCases() []*Case {
	s := strings.Repeat("compressed as it is, compressed as it was. ", 20)
	data := []byte(s)
	one := compressed("R78.1", "messages that are compressed, and others that are not", "R78",
		[]event{{opText, data}, echoed(opText, "plain"), {opBinary, data}, echoed(opText, ""), {opText, data}},
		packed(opText, data, 0), together(text("plain")), packed(opBinary, data, 0), together(text("")), packed(opText, data, 0))
	tails := compressed("R79.1", "a compressed message does not end with the tail", "R79", []event{{opText, data}, {opText, nil}, {opText, data}},
		packed(opText, data, 0), packed(opText, nil, 0), packed(opText, data, 0))
	tails.check = func(s *session) {
		for _, f := range s.frames {
			if f.rsv != 0 && f.fin && len(f.data) < 130 && bytes.HasSuffix(f.data, tail) {
				s.deferred, s.why = Failed, "a compressed message ends with 00 00 FF FF (RFC 7692 §7.2.1)"
			}
		}
	}
	var all []*Case
	for i, size := range []int{1, 2, 7, 20} {
		all = append(all, compressed(fmt.Sprintf("R82.%d", i+1), fmt.Sprintf("compressed, in frames of %d bytes", size), "R82 R77", []event{{opText, data}, {opText, data}},
			packed(opText, data, size), packed(opText, data, size)))
	}
	final := compressed("R82.5", "compressed, the last frame without bytes, a ping between", "R82 R15", []event{echoed(opPong, "p"), {opText, data}},
		func(s *session) {
			b := s.out.message(data)
			together(piece{op: opText, rsv: 4, more: true, data: b}, ping("p"), piece{})(s)
		})
	early := compressed("R80.1", "messages that follow a compressed one at once", "R78 R80", []event{{opText, data}, echoed(opText, "next"), {opText, data}},
		func(s *session) {
			first := piece{op: opText, rsv: 4, data: s.out.message(data)}
			second := piece{op: opText, rsv: 4, data: s.out.message(data)}
			together(first, text("next"), second)(s)
		})
	return append(all, one, tails, final, early)
}

// blockCases are R81: each kind of block, and each place where a stream may end.
func blockCases() []*Case {
	level := func(level int) []byte {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, level) // the package's own levels
		_, _ = w.Write([]byte(strings.Repeat("block of its kind. ", 30)))
		_ = w.Flush()
		return bytes.TrimSuffix(b.Bytes(), tail)
	}
	long := strings.Repeat("block of its kind. ", 30)
	fixed := func(final bool) *bits { return new(bits).block(fixedBlock, final).text("fixed").end() }
	rows := []struct {
		title, want string
		payload     []byte
	}{
		{"stored", "stored", new(bits).stored("stored", false).flush()},
		{"a stored block of no bytes, then one", "stored", new(bits).sync().stored("stored", false).flush()},
		{"fixed codes", "fixed", fixed(false).flush()},
		{"dynamic codes", long, level(9)},
		{"Huffman codes only", long, level(flate.HuffmanOnly)},
		{"stored, by level", long, level(0)},
		{"two blocks", "fixedagain", fixed(false).block(fixedBlock, false).text("again").end().flush()},
		{"three sync flushes", "fixed", fixed(false).sync().sync().sync().flush()},
		{"fixed, stored, fixed", "fixedstoredagain", fixed(false).stored("stored", false).block(fixedBlock, false).text("again").end().flush()},
		{"BFINAL at the end, and a byte of 0", "fixed", append(fixed(true).b, 0)},
		{"a stored block with BFINAL, and a byte of 0", "stored", append(new(bits).stored("stored", true).b, 0)},
		{"BFINAL in the middle", "fixedagain", fixed(true).align().block(fixedBlock, false).text("again").end().flush()},
		{"a copy that overlaps itself", "xxxx", new(bits).block(fixedBlock, false).text("x").copy(0).end().flush()},
		{"a block without a symbol", "", new(bits).block(fixedBlock, false).end().flush()},
	}
	var all []*Case
	for i, row := range rows {
		after := []byte("a message after it")
		for j, parameters := range []string{"", "; server_no_context_takeover; client_no_context_takeover"} {
			title := row.title
			if j == 1 {
				title += ", no context takeover"
			}
			c := show(fmt.Sprintf("R81.%d", i+1+100*j), title, "R81", []event{echoed(opText, row.want), {opText, after}, echoed(opText, row.want)},
				stream(opText, row.payload), together(text(string(after))), stream(opText, row.payload))
			all = append(all, c.withDeflate(parameters))
		}
	}
	return all
}

// damaged are the codes for a compressed message that cannot be inflated.
var damaged = []int{1002, 1007}

// wrongStream fails. Delivering the beginning of a stream that is cut is non-strict,
// because the restored tail can hide the cut.
func wrongStream(id, title, covers string, payload []byte) *Case {
	c := broken(id, title, covers, damaged, none(), stream(opBinary, payload)).withDeflate("")
	if _, err := (&inflater{bits: 15}).message(payload); err == errStreamEnd || covers != "R85" {
		c.lax = NonStrict
	}
	return c
}

// readable reports whether a payload inflates to a whole message.
func readable(payload []byte) bool {
	_, err := (&inflater{bits: 15}).message(payload)
	return err == nil
}

// cutCases are R83 and R84: a stream that ends too early or too late.
func cutCases() []*Case {
	z := &deflater{bits: 15}
	whole := z.message([]byte(strings.Repeat("the stream ends before the block does. ", 4)))
	var all []*Case
	for cut := range whole {
		if cut > 0 && !readable(whole[:cut]) {
			all = append(all, wrongStream(fmt.Sprintf("R83.%d", cut), fmt.Sprintf("a stream of %d bytes, cut after %d", len(whole), cut), "R83", whole[:cut]))
		}
	}
	for n := 1; n <= 8; n++ {
		for i, junk := range [][]byte{bytes.Repeat([]byte{0xFF}, n), bytes.Repeat([]byte{0x55}, n), bytes.Repeat([]byte{0}, n)} {
			if payload := append(bytes.Clone(whole), junk...); !readable(payload) {
				all = append(all, wrongStream(fmt.Sprintf("R84.%d", 10*n+i), fmt.Sprintf("a stream, and %d bytes % x", n, junk[:1]), "R84", payload))
			}
		}
	}
	return all
}

// malformedCases are R85.
func malformedCases() []*Case {
	fixed := func() *bits { return new(bits).block(fixedBlock, false).text("x") }
	lengths := func(n, length uint) []uint { return slices.Repeat([]uint{length}, int(n)) }
	storedWrong := new(bits).block(storedBlock, false).align().put(5, 16).put(5, 16)
	storedWrong.b = append(storedWrong.b, "hello"...)
	rows := []struct {
		title   string
		payload []byte
	}{
		{"a block of the reserved type", new(bits).block(reservedBlock, false).align().b},
		{"a block of the reserved type, with BFINAL", new(bits).block(reservedBlock, true).align().b},
		{"a block of the reserved type after a good one", fixed().end().block(reservedBlock, false).flush()},
		{"a stored block whose lengths differ", storedWrong.b},
		{"a stored block with both lengths 0", []byte{0, 0, 0, 0, 0}},
		{"a stored block longer than the message", append(new(bits).block(storedBlock, false).align().put(500, 16).put(^uint(500)&0xFFFF, 16).b, "short"...)},
		{"a copy of what is before the stream", new(bits).block(fixedBlock, false).copy(0).end().flush()},
		{"a copy from two bytes back, of one", fixed().copy(1).end().flush()},
		{"a copy from far back", fixed().literal(257).code(29, 5).put(8191, 13).end().flush()},
		{"a distance of symbol 30", fixed().copy(30).end().flush()},
		{"a distance of symbol 31", fixed().copy(31).end().flush()},
		{"a length of symbol 286", fixed().literal(286).code(0, 5).end().flush()},
		{"a length of symbol 287", fixed().literal(287).code(0, 5).end().flush()},
		{"287 codes for literals", new(bits).dynamic(287, 1, lengths(19, 4)...).flush()},
		{"288 codes for literals", new(bits).dynamic(288, 1, lengths(19, 4)...).flush()},
		{"31 codes for distances", new(bits).dynamic(257, 31, lengths(19, 4)...).flush()},
		{"32 codes for distances", new(bits).dynamic(257, 32, lengths(19, 4)...).flush()},
		{"more codes for code lengths than there are", new(bits).dynamic(257, 1, lengths(19, 1)...).flush()},
		{"no code for code lengths", new(bits).dynamic(257, 1, lengths(19, 0)...).put(0, 32).put(0, 32).flush()},
		// The code length code: 16 and 18 have one bit each, 16 is code 0.
		{"a repetition of the code length before the first", new(bits).dynamic(257, 1, 1, 0, 1, 0).put(0, 1).put(0, 2).put(0, 32).flush()},
		// 18 is the only code but one. 257 zeros and one more are not a code for
		// literals.
		{"no code that ends a block", new(bits).dynamic(257, 1, 1, 0, 1, 0).put(1, 1).put(127, 7).put(1, 1).put(109, 7).put(0, 32).flush()},
		{"a repetition of zeros that goes too far", new(bits).dynamic(257, 1, 1, 0, 1, 0).put(1, 1).put(127, 7).put(1, 1).put(127, 7).put(0, 32).flush()},
		// 0 and 1 have codes of one bit: all lengths are 1.
		{"257 codes of one bit", new(bits).dynamic(257, 1, append(lengths(17, 0), 1, 1)...).zeros(258).flush()},
		{"a dynamic block of which only the type is there", new(bits).block(dynamicBlock, false).align().b},
		{"counts, and nothing after them", new(bits).block(dynamicBlock, false).put(0, 14).align().b},
		{"a fixed block of 1 bits", bytes.Repeat([]byte{0xFF}, 40)},
		{"a fixed block that never ends", new(bits).block(fixedBlock, false).text("the block goes on").align().b},
	}
	var all []*Case
	for i, row := range rows {
		if readable(row.payload) {
			panic("conformance: a malformed stream that can be read: " + row.title)
		}
		all = append(all, wrongStream(fmt.Sprintf("R85.%d", i+1), row.title, "R85", row.payload))
		// A server need not agree to drop the window. Then some of these are right.
		if _, err := (&inflater{bits: 15, past: []byte("good")}).message(row.payload); err != nil {
			c := damagedAfter(fmt.Sprintf("R85.%d", i+101), row.title+", after a good message", row.payload)
			c.lax = all[len(all)-1].lax
			all = append(all, c)
		}
	}
	return all
}

func damagedAfter(id, title string, payload []byte) *Case {
	good := []byte("good")
	return broken(id, title, "R85", damaged, []event{{opBinary, good}}, stream(opBinary, new(bits).block(fixedBlock, false).text("good").end().flush()),
		answered(1, "a message is not answered"), stream(opBinary, payload)).withDeflate("; server_no_context_takeover; client_no_context_takeover")
}

// inflatedCases are R86 to R88: rules about inflated bytes.
func inflatedCases(v Volume) []*Case {
	bad := strings.Repeat("v", 3000) + "\xFF" + strings.Repeat("w", 3000)
	held := broken("R86.3", "compressed text with an impossible byte, whose end is held back", "R86", invalidPayload, none(), func(s *session) {
		b := s.out.message([]byte(bad))
		together(piece{op: opText, rsv: 4, more: true, data: append(bytes.Clone(b), tail...)})(s)
		if hold(s); !s.gone() {
			together(last("\x00"))(s)
		}
	}).withDeflate("")
	size := 20 << 20
	bomb := broken("R87.1", "a message that inflates to 20 MiB", "R87", []int{1009}, none(), packed(opBinary, make([]byte, size), 0)).withDeflate("")
	bomb.fails, bomb.lax = Informational, Informational
	drips := broken("R87.2", "the same in frames of 1 KiB", "R87", []int{1009}, none(), packed(opBinary, make([]byte, size), 1<<10)).withDeflate("")
	drips.fails, drips.lax = Informational, Informational
	n := map[Volume]int{Small: 100, Normal: 2000, Full: 100000}[v]
	takeover := &Case{ID: "R88.1", Title: fmt.Sprintf("%d messages with context takeover", n), Covers: []string{"R88"}, bulk: exchange(sources[0], 120, 0, n)}
	return []*Case{
		broken("R86.1", "compressed text that is not UTF-8", "R86", invalidPayload, none(), packed(opText, []byte(badKosme), 0)).withDeflate(""),
		broken("R86.2", "compressed text that ends within a character", "R86", invalidPayload, none(), packed(opText, []byte("ok \xE2\x82"), 0)).withDeflate(""),
		held, bomb, drips,
		compressed("R86.4", "compressed binary that is no text", "R86", []event{echoed(opBinary, badKosme)}, packed(opBinary, []byte(badKosme), 0)),
		takeover.withDeflate(""),
	}
}
