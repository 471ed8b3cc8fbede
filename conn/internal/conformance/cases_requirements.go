package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
)

// frameRequirements are R1 to R36 where the public suite has no case or too few.
func frameRequirements(v Volume) []*Case {
	return slices.Concat(maskCases(), reservedGrid(v), opcodeGrid(), lengthCases(), interleavingCases(), closeRequirements(), textRequirements(), garbageCases(v))
}

func (c *Case) of(r Role) *Case {
	c.Role = r
	return c
}

// maskCases are R1 to R5.
func maskCases() []*Case {
	with := func(p piece, mask int) piece {
		p.mask = mask
		return p
	}
	var all []*Case
	wrong := []struct {
		title  string
		pieces []piece
		want   []event
	}{
		{"text", []piece{with(text("x"), maskWrong)}, nil},
		{"text of no bytes", []piece{with(text(""), maskWrong)}, nil},
		{"a ping", []piece{with(ping("x"), maskWrong)}, nil},
		{"a Close", []piece{with(closing(1000, ""), maskWrong)}, nil},
		{"a continuation", []piece{begin(opText, "x"), with(last("y"), maskWrong)}, nil},
		{"text after a message", []piece{text("x"), with(text("y"), maskWrong)}, []event{echoed(opText, "x")}},
	}
	for i, w := range wrong {
		all = append(all, broken(fmt.Sprintf("R1.%d", i+1), w.title+" without a mask", "R1", protocolError, w.want, together(w.pieces...)).of(Server),
			broken(fmt.Sprintf("R2.%d", i+1), w.title+" with a mask", "R2", protocolError, w.want, together(w.pieces...)).of(Client))
	}
	all = append(all,
		broken("R2.7", "text with the mask 0", "R2", protocolError, none(), together(with(text("x"), maskZero))).of(Client),
		broken("R2.8", "a ping with the mask 0", "R2", protocolError, none(), together(with(ping("x"), maskZero))).of(Client),
		show("R1.7", "a client may have the mask 0", "R1", []event{echoed(opText, "x"), echoed(opPong, "y")}, together(with(text("x"), maskZero), with(ping("y"), maskZero))).of(Server),
		show("R3.1", "no frame of a server has a mask", "R3 R9", mixedEcho, together(mixed...)).of(Server),
		show("R4.1", "every frame of a client has a mask", "R4 R9", mixedEcho, together(mixed...)).of(Client))
	var many []piece
	var manyEcho []event
	for i := range 64 {
		s := fmt.Sprint(i)
		many, manyEcho = append(many, text(s)), append(manyEcho, echoed(opText, s))
	}
	keys := show("R5.1", "every frame of a client has a new key", "R5", manyEcho, together(many...)).of(Client)
	keys.check = func(s *session) {
		seen := map[[4]byte]int{}
		for _, f := range s.frames {
			if seen[f.key]++; seen[f.key] > 2 || f.key == [4]byte{} { // twice in 2^32 can be chance
				s.deferred, s.why = Failed, fmt.Sprintf("the key % x stands before %d frames of %d", f.key, seen[f.key], len(s.frames))
			}
		}
		if len(seen) < len(s.frames)-1 {
			s.deferred, s.why = Failed, fmt.Sprintf("%d keys in %d frames", len(seen), len(s.frames))
		}
	}
	return append(all, keys)
}

var (
	mixed     = []piece{text(""), text("x"), ping(""), binaryOf([]byte{0, 1}), ping("y"), text(payload(126)), binaryOf([]byte(payload(65536)))}
	mixedEcho = []event{echoed(opText, ""), echoed(opText, "x"), echoed(opPong, ""), echoed(opBinary, "\x00\x01"), echoed(opPong, "y"),
		echoed(opText, payload(126)), echoed(opBinary, payload(65536))}
)

// reservedGrid is R6: seven combinations of bits on six opcodes, with and without
// permessage-deflate.
func reservedGrid(Volume) []*Case {
	var all []*Case
	n := 0
	for _, offer := range []string{"", extensionName} {
		for rsv := byte(1); rsv < 8; rsv++ {
			for _, op := range []byte{opContinuation, opText, opBinary, opClose, opPing, opPong} {
				if offer != "" && rsv == 4 && (op == opText || op == opBinary) {
					continue // a compressed message
				}
				n++
				p := piece{op: op, rsv: rsv}
				pieces, title := []piece{p}, fmt.Sprintf("opcode %d with RSV %03b", op, rsv)
				if op == opContinuation {
					pieces = []piece{begin(opText, "x"), p}
				}
				if offer != "" {
					title += ", and permessage-deflate"
				}
				c := broken(fmt.Sprintf("R6.%d", n), title, "R6", protocolError, none(), together(pieces...))
				if c.offer, c.grant = offer, offer; offer != "" && rsv&4 != 0 {
					c.Covers = append(c.Covers, "R77")
				}
				all = append(all, c)
			}
		}
	}
	return all
}

// opcodeGrid is R7: ten opcodes, with and without FIN, and every length form. The header
// alone decides.
func opcodeGrid() []*Case {
	var all []*Case
	n := 0
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, more := range []bool{false, true} {
			for _, length := range []uint64{0, 1, 125, 126, 65536, 1 << 40} {
				n++
				p := declared(piece{op: op, more: more}, length)
				title := fmt.Sprintf("opcode %d, FIN %t, the header of %d bytes", op, !more, length)
				steps := []step{together(p)}
				if length > 0 {
					steps = append(steps, hold)
				}
				if length > 0 && length <= 1<<16 {
					steps = append(steps, rawBytes(make([]byte, length)))
				}
				c := broken(fmt.Sprintf("R7.%d", n), title, "R7", protocolError, none(), steps...)
				if length > 1<<16 {
					c.fails = NonStrict // an agent that checks whole frames waits for a payload that never comes
				}
				all = append(all, c)
			}
		}
	}
	return all
}

// lengthCases are R8 to R12.
func lengthCases() []*Case {
	var all []*Case
	for i, size := range []int{0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 1000, 65534, 65535, 65536, 65537, 1 << 20} {
		data := []byte(payload(size))
		all = append(all, show(fmt.Sprintf("R8.%d", i+1), fmt.Sprintf("binary of %d bytes", size), "R8 R9", []event{{opBinary, data}}, together(binaryOf(data))))
	}
	long := func(id int, p piece, form int) *Case {
		p.form = form
		c := broken(fmt.Sprintf("R10.%d", id), fmt.Sprintf("opcode %d of %d bytes, its length in %d bits", p.op, len(p.data), 8*form), "R10", protocolError, none(), together(p))
		c.lax = NonStrict
		c.others = []outcome{{NonStrict, "a length that is not in its shortest form is accepted", []event{{p.op, p.data}}}}
		return c
	}
	for i, size := range []int{0, 1, 125} {
		all = append(all, long(i+1, binaryOf([]byte(payload(size))), 2))
	}
	for i, size := range []int{0, 1, 125, 126, 65535} {
		all = append(all, long(i+4, binaryOf([]byte(payload(size))), 8))
	}
	all = append(all,
		controlForm("R10.9", 2), controlForm("R10.10", 8),
		broken("R19.1", "a ping of 126 bytes: the header", "R19", protocolError, none(), together(declared(ping(""), 126)), hold, rawBytes(make([]byte, 126))),
		broken("R19.2", "a ping of 65536 bytes: the header", "R19", protocolError, none(), together(declared(ping(""), 65536)), hold, rawBytes(make([]byte, 65536))),
		broken("R19.3", "a pong of 126 bytes: the header", "R19", protocolError, none(), together(declared(pong(""), 126)), hold, rawBytes(make([]byte, 126))),
		broken("R19.4", "a Close without FIN", "R19", protocolError, none(), together(piece{op: opClose, more: true, data: []byte("\x03\xE8")})),
		broken("R19.5", "a Close of 126 bytes: the header", "R19", protocolError, none(), func(s *session) {
			together(declared(closeBody(""), 126))(s)
			hold(s)
			rawBytes(make([]byte, 126))(s) // an agent that reads the reason of a broken Close frame waits for it
		}))
	for i, length := range []uint64{1 << 63, 1<<63 + 5, 1<<64 - 1} {
		all = append(all,
			broken(fmt.Sprintf("R11.%d", 2*i+1), fmt.Sprintf("a length of %d", length), "R11", []int{1002, 1009}, none(), together(declared(binaryOf(nil), length)), hold),
			broken(fmt.Sprintf("R11.%d", 2*i+2), fmt.Sprintf("a continuation with a length of %d", length), "R11", []int{1002, 1009}, none(),
				together(begin(opBinary, "x"), declared(middle(""), length)), hold))
	}
	for i, length := range []uint64{1 << 40, 1 << 62, 1<<63 - 1} {
		c := broken(fmt.Sprintf("R12.%d", i+1), fmt.Sprintf("a length of %d, over every limit", length), "R12", []int{1009}, none(), together(declared(binaryOf(nil), length)), limited)
		c.fails = NonStrict
		all = append(all, c)
	}
	return all
}

// limited waits for the end: a length above every limit is refused at the header.
func limited(s *session) {
	if !s.wait(s.o.Patience, func() bool { return s.agentClose != nil }) && !s.gone() {
		s.settle(NonStrict, "it waits for a payload that no limit can allow", "")
	}
}

func controlForm(id string, form int) *Case {
	p := ping("x")
	p.form = form
	c := broken(id, fmt.Sprintf("a ping of one byte, its length in %d bits", 8*form), "R10 R19", protocolError, none(), together(p))
	c.lax = NonStrict
	c.others = []outcome{{NonStrict, "a length that is not in its shortest form is accepted", []event{echoed(opPong, "x")}}}
	return c
}

// interleavingCases are R13 to R17, R20 and R21.
func interleavingCases() []*Case {
	stray := func(id string, want []event, pieces ...piece) *Case {
		return broken(id, "a continuation of nothing", "R13", protocolError, want, together(pieces...))
	}
	x := []event{echoed(opText, "x")}
	all := []*Case{
		stray("R13.1", none(), last("")), stray("R13.2", none(), middle("")), stray("R13.3", x, text("x"), last("y")), stray("R13.4", x, text("x"), middle("y")),
		stray("R13.5", []event{echoed(opText, "x"), echoed(opPong, "p")}, text("x"), ping("p"), last("y")),
	}
	for i, op := range []byte{opText, opBinary} {
		for j, within := range []byte{opText, opBinary} {
			all = append(all, broken(fmt.Sprintf("R14.%d", 2*i+j+1), fmt.Sprintf("opcode %d within opcode %d", within, op), "R14", protocolError, none(),
				together(begin(op, "x"), piece{op: within, data: []byte("y")})))
		}
	}
	var pieces []piece
	var want []event
	for i := range 50 {
		pieces = append(pieces, piece{more: i < 49, data: []byte("ab")}, ping(fmt.Sprint(i)), piece{op: opPong, data: []byte("no")})
		want = append(want, echoed(opPong, fmt.Sprint(i)))
	}
	pieces[0].op = opText
	want = want[:49]
	pieces = slices.Delete(pieces, len(pieces)-2, len(pieces))
	between := show("R15.1", "a ping and a pong between all of 50 frames", "R15 R21", nil, pingPong(pieces))
	between.want = append(want, echoed(opText, string(bytes.Repeat([]byte("ab"), 50))))
	empty := append([]piece{begin(opBinary, "")}, slices.Repeat([]piece{middle("")}, 1000)...)
	all = append(all, between,
		show("R16.1", "1000 frames of no bytes, and one", "R16", []event{echoed(opBinary, "x")}, together(append(empty, last("x"))...)),
		show("R17.1", "two messages do not mix", "R17", []event{{opBinary, []byte(payload(200000))}, {opText, []byte(payload(70000))}},
			together(binaryOf([]byte(payload(200000))), text(payload(70000)))))
	for i, size := range []int{0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 124, 125} {
		s := payload(size)
		if size > 0 {
			s = "\xFF" + s[1:]
		}
		all = append(all, show(fmt.Sprintf("R20.%d", i+1), fmt.Sprintf("a ping of %d bytes", size), "R20", []event{echoed(opPong, s)}, together(ping(s))))
	}
	return all
}

// pingPong sends pieces and waits for the pong after each ping.
func pingPong(pieces []piece) step {
	return func(s *session) {
		pings := 0
		for i, p := range pieces {
			together(p)(s)
			if p.op == opPing && i+2 < len(pieces) {
				pings++
				answered(pings, "the pong comes only after the message")(s)
			}
		}
	}
}

// garbageCases are R36: bytes that are not frames. Each seed is a case that can be
// repeated.
func garbageCases(v Volume) []*Case {
	n := map[Volume]int{Small: 16, Normal: 32, Full: 256}[v]
	var all []*Case
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 36))
		b := make([]byte, 64)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		b[0] |= 0x70      // reserved bits: wrong in any case
		b[1] &= 0x80 | 31 // and all of the payload is there
		c := broken(fmt.Sprintf("R36.%d", i+1), "random bytes that begin with reserved bits", "R36", protocolError, none(), rawBytes(b))
		all = append(all, c)
	}
	return all
}
