package reference

import "fmt"

// Header is a point of the header grid: every first and second byte in every situation
// (B1).
type Header struct {
	Role        Role
	Compression bool // negotiated
	InMessage   bool // an uncompressed text message is open
	Opcode      byte
	Fin         bool
	RSV         byte // RSV1 is 4, RSV2 is 2, RSV3 is 1
	Masked      bool
	Form        Form
}

func (h Header) String() string {
	return fmt.Sprintf("%s compression=%t inMessage=%t opcode=%X fin=%t rsv=%03b masked=%t form=%d",
		h.Role, h.Compression, h.InMessage, h.Opcode, h.Fin, h.RSV, h.Masked, h.Form)
}

// Grid returns all 12,288 headers.
func Grid() []Header {
	var g []Header
	for i := range 16 * 2 * 8 * 2 * 2 * 2 * 2 {
		for _, f := range []Form{Form7, Form16, Form64} {
			g = append(g, Header{
				Opcode: byte(i & 15), RSV: byte(i >> 4 & 7), Fin: i>>7&1 == 1, Masked: i>>8&1 == 1,
				InMessage: i>>9&1 == 1, Compression: i>>10&1 == 1, Role: Role(i >> 11 & 1), Form: f,
			})
		}
	}
	return g
}

// gridRSV has the RSV bits that are allowed for an opcode, without and with compression.
// For a reserved opcode they matter little: it is refused next.
var gridRSV = [16][2]byte{
	0x1: {0, 4}, 0x2: {0, 4},
	0x3: {0, 4}, 0x4: {0, 4}, 0x5: {0, 4}, 0x6: {0, 4}, 0x7: {0, 4},
	0xB: {0, 4}, 0xC: {0, 4}, 0xD: {0, 4}, 0xE: {0, 4}, 0xF: {0, 4},
}

// gridShape has the verdict for an opcode with FIN=0 outside a message, FIN=0 inside,
// FIN=1 outside, FIN=1 inside.
var gridShape = [16][4]string{
	0x0: {"unexpected continuation", "", "unexpected continuation", ""},
	0x1: {"", "unfinished message", "", "unfinished message"},
	0x2: {"", "unfinished message", "", "unfinished message"},
	0x3: {"reserved opcode", "reserved opcode", "reserved opcode", "reserved opcode"},
	0x8: {"fragmented control frame", "fragmented control frame", "", ""},
	0x9: {"fragmented control frame", "fragmented control frame", "", ""},
	0xA: {"fragmented control frame", "fragmented control frame", "", ""},
}

// Verdict returns the name of the rule that refuses the header, or "", and which of its
// bytes decides. Every verdict of the grid has code 1002. The table is separate: it uses
// nothing of the parser.
func (h Header) Verdict() (rule string, index int) {
	i := 0
	if h.Compression {
		i = 1
	}
	if h.RSV&^gridRSV[h.Opcode][i] != 0 {
		return "reserved bits", 0
	}
	op, i := h.Opcode, 0
	if op >= 3 && op <= 7 || op >= 0xB {
		op = 3
	}
	if h.Fin {
		i += 2
	}
	if h.InMessage {
		i++
	}
	if v := gridShape[op][i]; v != "" {
		return v, 0
	}
	switch {
	case h.Role == Server && !h.Masked:
		return "unmasked client frame", 1
	case h.Role == Client && h.Masked:
		return "masked server frame", 1
	case op >= 8 && h.Form != Form7:
		return "control frame too long", 1
	}
	return "", 0
}

// Stream returns bytes that end in the header's frame, with its payload if it is legal,
// and the offset of the frame. Lengths are the second shortest of their form, so that
// only the header decides.
func (h Header) Stream() (stream []byte, offset int) {
	if h.InMessage {
		stream = Piece{First: 0x01, Payload: []byte("open ")}.Append(nil, h.Role)
		offset = len(stream)
	}
	n := map[Form]int{Form7: 7, Form16: 127, Form64: 65537}[h.Form]
	body := make([]byte, n)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	if h.Opcode == opClose {
		body[0], body[1] = 1000>>8, 1000&0xFF
	}
	first := h.Opcode | h.RSV<<4
	if h.Fin {
		first |= 0x80
	}
	p := Piece{First: first, Payload: body, Form: h.Form, WrongMask: h.Masked != (h.Role == Server)}
	return p.Append(stream, h.Role), offset
}
