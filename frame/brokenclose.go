package frame

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// BrokenClose describes a Close frame that breaks a rule, or that came only in part.
type BrokenClose struct {
	// Code is the code as it was sent, even one that no peer may send. It is CodeNoStatus
	// if the frame has no code or the code has not come.
	Code CloseCode
	// Reason is the reason as it was sent. It need not be UTF-8. It has at most
	// MaxCloseReason bytes, whatever length the frame declares.
	Reason string
	// Whole says that more bytes would not change the result. If it is false, put more
	// bytes into Space, call Filled, and call BrokenClose again.
	Whole bool
}

// certainClose is the first octet of every valid Close frame.
const certainClose = bitFin | byte(Close)

// BrokenClose returns what is known of a Close frame that broke a rule or came only in
// part. ok is false if there is no such frame, or if too little of it came. The result
// does not depend on how the stream was split.
//
// A first octet with RSV bits, or without FIN, may also come from a stream out of step.
// It counts as a Close only with a code from 1000 to 4999, or without a body.
func (r *Reader) BrokenClose() (b BrokenClose, ok bool) {
	d := &r.dec
	if d.header.Opcode != Close || d.closed || d.err == nil && !d.inFrame {
		return BrokenClose{Whole: true}, false
	}
	var memory [MaxHeaderSize + MaxControlPayload]byte
	body, length, certain := r.closeBody(&memory)
	switch {
	case length < 2:
		return BrokenClose{Code: CodeNoStatus, Whole: true}, true
	case len(body) < 2:
		return BrokenClose{Code: CodeNoStatus}, certain && d.err != nil
	}
	b.Code = CloseCode(binary.BigEndian.Uint16(body))
	if !certain && (b.Code < 1000 || b.Code > 4999) {
		return BrokenClose{Whole: true}, false
	}
	b.Whole = len(body) == MaxControlPayload || uint64(len(body)) == length
	reason := body[2:]
	if uint64(len(body)) < length {
		reason = reason[:len(reason)-cutRune(reason)]
	}
	b.Reason = string(reason)
	return b, true
}

// closeBody returns the received part of the body of the Close frame in progress,
// unmasked and at most MaxControlPayload bytes. length is the declared length, or 2
// before the header is complete. certain says that the first octet is certainClose. The
// Reader's own bytes do not change.
func (r *Reader) closeBody(memory *[MaxHeaderSize + MaxControlPayload]byte) (body []byte, length uint64, certain bool) {
	d := &r.dec
	if d.inFrame {
		// The header was right. The payload is in the buffer, unmasked except for the
		// last d.left bytes of the frame.
		from := r.pos
		if r.start >= 0 {
			from = r.start
		}
		body = memory[:copy(memory[:d.header.Length], r.buf[from:r.end])]
		if clear := int(d.header.Length - d.left); d.header.Masked && clear < len(body) {
			mask.XOR(body[clear:], d.key)
		}
		return body, d.header.Length, true
	}
	// The header byte that decided is at r.pos. The bytes before it are in d.head.
	n := copy(memory[:], d.head[:d.headLen])
	n += copy(memory[n:], r.buf[r.pos+1:r.end])
	certain = memory[0] == certainClose
	h, size := ParseHeader(memory[:n])
	if size == 0 {
		return nil, 2, certain
	}
	body = memory[size:n]
	body = body[:min(uint64(len(body)), h.Length, MaxControlPayload)]
	if h.Masked {
		mask.XOR(body, h.Key)
	}
	return body, h.Length, certain
}

// cutRune returns the number of bytes of an unfinished character at the end of p.
func cutRune(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if rest := p[len(p)-n:]; utf8.RuneStart(rest[0]) {
			if utf8.FullRune(rest) {
				return 0
			}
			return n
		}
	}
	return 0
}
