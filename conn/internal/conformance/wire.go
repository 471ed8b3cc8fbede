package conformance

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// The opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// How a piece is masked.
const (
	maskRight = iota // as RFC 6455 §5.1 requires of the sender
	maskWrong        // the opposite; a masked frame has a random key
	maskZero         // masked with the key 0, from either side
)

// A piece is a frame to send. It can be wrong in every way that a frame can, because no
// code of the engine builds it. The zero value of each field is the correct one.
type piece struct {
	op     byte
	more   bool // FIN is 0
	rsv    byte // RSV1 is 4, RSV2 is 2, RSV3 is 1
	data   []byte
	form   int    // bytes of the extended length: 2 or 8, also where fewer would do
	length uint64 // declared length; 0 means that of data
	mask   int
}

// append appends the bytes of the piece, as sent by a client or a server.
func (p *piece) append(b []byte, client bool) []byte {
	first := p.op | p.rsv<<4
	if !p.more {
		first |= 0x80
	}
	n := p.length
	if n == 0 {
		n = uint64(len(p.data))
	}
	masked := client != (p.mask == maskWrong) || p.mask == maskZero
	var second byte
	if masked {
		second = 0x80
	}
	switch {
	case p.form == 8 || p.form == 0 && n > 0xFFFF:
		b = append(b, first, second|127)
		b = binary.BigEndian.AppendUint64(b, n)
	case p.form == 2 || n > 125:
		b = append(b, first, second|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, first, second|byte(n))
	}
	if !masked {
		return append(b, p.data...)
	}
	var key [4]byte
	if p.mask != maskZero {
		binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	}
	b = append(b, key[:]...)
	from := len(b)
	b = append(b, p.data...)
	for i := range p.data {
		b[from+i] ^= key[i&3]
	}
	return b
}

func text(s string) piece     { return piece{op: opText, data: []byte(s)} }
func binaryOf(b []byte) piece { return piece{op: opBinary, data: b} }
func ping(s string) piece     { return piece{op: opPing, data: []byte(s)} }
func pong(s string) piece     { return piece{op: opPong, data: []byte(s)} }

// begin returns the first fragment of a message; middle and last return later ones.
func begin(op byte, s string) piece { return piece{op: op, more: true, data: []byte(s)} }
func middle(s string) piece         { return piece{more: true, data: []byte(s)} }
func last(s string) piece           { return piece{data: []byte(s)} }

// closing returns a Close frame with a code; closeBody returns one with any body.
func closing(code int, reason string) piece {
	return closeBody(string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason)
}
func closeBody(body string) piece { return piece{op: opClose, data: []byte(body)} }

// declared returns a frame that ends after its header and these bytes.
func declared(p piece, length uint64) piece {
	p.length = length
	if p.form == 0 && length > 0xFFFF {
		p.form = 8
	}
	return p
}

// fragments cuts a message into frames of at most size bytes.
func fragments(op byte, data []byte, size int) []piece {
	var all []piece
	for i := 0; i < len(data) || i == 0; i += size {
		all = append(all, piece{more: true, data: data[i:min(i+size, len(data))]})
	}
	all[0].op = op
	all[len(all)-1].more = false
	return all
}

// A received is a frame from the agent.
type received struct {
	fin    bool
	rsv    byte
	op     byte
	masked bool
	key    [4]byte
	data   []byte // unmasked
	head   []byte // the bytes of the header
}

// maxReceived bounds a frame from an agent, a message, an inflated message, and all
// messages kept. No case needs half of it.
const maxReceived = 64 << 20

// parse reads the frame at the beginning of b. n is 0 if the frame is not whole. wrong
// names the rule of RFC 6455 §5.2 that the frame breaks.
func parse(b []byte) (f received, n int, wrong string) {
	if len(b) < 2 {
		return f, 0, ""
	}
	f.fin, f.rsv, f.op, f.masked = b[0]&0x80 != 0, b[0]>>4&7, b[0]&15, b[1]&0x80 != 0
	length, at := uint64(b[1]&127), 2
	switch length {
	case 126:
		if at = 4; len(b) < at {
			return f, 0, ""
		}
		if length = uint64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			wrong = "a length that is not in its shortest form"
		}
	case 127:
		if at = 10; len(b) < at {
			return f, 0, ""
		}
		if length = binary.BigEndian.Uint64(b[2:]); length < 1<<16 {
			wrong = "a length that is not in its shortest form"
		}
	}
	if length > maxReceived {
		return f, 0, "a length that nothing asked for"
	}
	if f.masked {
		if len(b) < at+4 {
			return f, 0, wrong
		}
		copy(f.key[:], b[at:])
		at += 4
	}
	f.head = b[:at:at]
	if uint64(len(b)-at) < length {
		return f, 0, wrong
	}
	n = at + int(length)
	f.data = b[at:n:n]
	if f.masked {
		f.data = bytes.Clone(f.data)
		for i := range f.data {
			f.data[i] ^= f.key[i&3]
		}
	}
	return f, n, wrong
}
