// Package frame reads and writes the frames of RFC 6455 §5. It has a header codec, a
// resumable [Decoder], a buffering [Reader] and a [Writer]. It opens no sockets, starts
// no goroutines and reads no clocks.
//
// The strictest reading of the RFC is the default. Each violation is a *[ProtocolError].
// It names the rule, the section, the offset of the byte that decided, and the close code
// to send. errors.Is compares it with the Err… values of this package. After such an
// error nothing more is delivered.
package frame

import "strconv"

// Opcode is the 4-bit frame type (RFC 6455 §5.2).
type Opcode uint8

// The opcodes that RFC 6455 defines.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// IsControl reports whether o is a control frame (RFC 6455 §5.5), including reserved
// ones.
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

// IsReserved reports whether RFC 6455 leaves o undefined.
func (o Opcode) IsReserved() bool { return o&0x7 > 2 || o > 0xF }

// String returns the RFC's name, or the number of a reserved opcode.
func (o Opcode) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return "opcode 0x" + strconv.FormatUint(uint64(o), 16)
}

// Role is the side of the connection that this endpoint plays. A client masks what it
// sends and refuses masked frames; a server does the opposite (RFC 6455 §5.1).
type Role uint8

// The two roles.
const (
	Client Role = iota
	Server
)

// String returns "client" or "server".
func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}
