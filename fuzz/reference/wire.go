package reference

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// Form is a form of the payload length, RFC 6455 §5.2.
type Form uint8

// The forms. FormShortest is the shortest one for the length.
const (
	FormShortest Form = 0
	Form7        Form = 7
	Form16       Form = 16
	Form64       Form = 64
)

// Piece is one frame as an author of streams writes it, right or wrong. A zero field
// means the correct value.
type Piece struct {
	First     byte // FIN, RSV, opcode
	Payload   []byte
	Form      Form
	Declared  *uint64 // another length than the payload's
	WrongMask bool    // masked if it must not be, and the reverse
	Key       *[4]byte
	Raw       []byte // literal bytes instead of all the fields above
}

// Append appends the frame for a receiver with the given role. Without a Key, a masked
// frame takes one that depends on its position in dst.
func (p Piece) Append(dst []byte, to Role) []byte {
	if p.Raw != nil {
		return append(dst, p.Raw...)
	}
	masked := (to == Server) != p.WrongMask
	at := len(dst)
	n := uint64(len(p.Payload))
	if p.Declared != nil {
		n = *p.Declared
	}
	form := p.Form
	if form == FormShortest {
		switch {
		case n < 126:
			form = Form7
		case n < 65536:
			form = Form16
		default:
			form = Form64
		}
	}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	dst = append(dst, p.First)
	switch form {
	case Form7:
		dst = append(dst, bit|byte(n))
	case Form16:
		dst = binary.BigEndian.AppendUint16(append(dst, bit|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, bit|127), n)
	}
	if !masked {
		return append(dst, p.Payload...)
	}
	key := [4]byte{0x37 + byte(at), 0xFA - byte(at), 0x21 ^ byte(at), 0x3D + byte(3*at)}
	if p.Key != nil {
		key = *p.Key
	}
	dst = append(dst, key[:]...)
	for i, b := range p.Payload {
		dst = append(dst, b^key[i%4])
	}
	return dst
}

// Write returns pieces one after the other.
func Write(to Role, pieces ...Piece) []byte {
	var dst []byte
	for _, p := range pieces {
		dst = p.Append(dst, to)
	}
	return dst
}

func fromHex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}
