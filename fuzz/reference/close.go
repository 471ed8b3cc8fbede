package reference

import "encoding/binary"

// brokenClose parses the frame at the beginning of wire by the layout of RFC 6455 §5.2
// only, without any other rule. It returns nil if that is not a Close frame, or if there
// are too few bytes.
func brokenClose(wire []byte, failed bool) *Close {
	first := wire[0]
	if first&0x0F != opClose {
		return nil
	}
	sure := first == 0x88 // otherwise the stream may be out of step, and only a valid code is believed
	unknown := (*Close)(nil)
	if sure && failed {
		unknown = &Close{Code: 1005}
	}
	if len(wire) < 2 {
		return unknown
	}
	masked := wire[1]&0x80 != 0
	length := uint64(wire[1] & 0x7F)
	rest := wire[2:]
	for form, size := range map[uint64]int{126: 2, 127: 8} {
		if uint64(wire[1]&0x7F) != form {
			continue
		}
		if len(rest) < size {
			return unknown
		}
		length = 0
		for _, b := range rest[:size] {
			length = length<<8 + uint64(b)
		}
		rest = rest[size:]
	}
	var key [4]byte
	if masked {
		if len(rest) < 4 {
			return unknown
		}
		rest = rest[copy(key[:], rest):]
	}
	var body []byte
	for i, b := range rest {
		if uint64(i) < length && i < 125 {
			body = append(body, b^key[i%4])
		}
	}
	if length < 2 {
		return &Close{Code: 1005, Whole: true}
	}
	if len(body) < 2 {
		return unknown
	}
	code := binary.BigEndian.Uint16(body)
	if !sure && (code < 1000 || code >= 5000) {
		return nil
	}
	cut := uint64(len(body)) < length
	return &Close{Code: code, Reason: wholeText(string(body[2:]), cut), Whole: !cut || len(body) == 125}
}

// wholeText removes a partial character from the end of a text that was cut.
func wholeText(text string, cut bool) string {
	if !cut {
		return text
	}
	for n := 1; n <= 3 && n <= len(text); n++ {
		tail := text[len(text)-n:]
		state := textStart
		for _, b := range []byte(tail) {
			state = state.next(b)
		}
		if state != textStart && state != textBroken {
			return text[:len(text)-n]
		}
	}
	return text
}
