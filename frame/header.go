package frame

import (
	"encoding/binary"
	"math/bits"

	"github.com/seed-7f57ff33/tickwire/mask"
)

const (
	// MaxHeaderSize is the length in bytes of the longest frame header.
	MaxHeaderSize = 14
	// MaxControlPayload is the length in bytes of the longest control frame payload (RFC
	// 6455 §5.5).
	MaxControlPayload = 125
)

// The bits of the header's first two octets (RFC 6455 §5.2).
const (
	bitFin  = 0x80
	bitRSV1 = 0x40
	bitRSV2 = 0x20
	bitRSV3 = 0x10
	bitMask = 0x80

	length16 = 126 // the 7-bit length that announces 16 bits
	length64 = 127 // the 7-bit length that announces 64 bits
)

// Header is a frame header (RFC 6455 §5.2).
type Header struct {
	Fin    bool     // the last frame of its message
	RSV1   bool     // with compression agreed: the first frame of a compressed message
	RSV2   bool     // no extension here uses it
	RSV3   bool     // no extension here uses it
	Opcode Opcode   // Continuation for every frame of a message after its first
	Masked bool     // true from a client, false from a server
	Key    mask.Key // meaningful if Masked
	Length uint64   // of the payload, in bytes
}

// Size returns the length in bytes of the encoded header.
func (h Header) Size() int {
	n := 2
	switch {
	case h.Length > 0xFFFF:
		n += 8
	case h.Length >= length16:
		n += 2
	}
	if h.Masked {
		n += 4
	}
	return n
}

// AppendHeader appends h to dst, with the shortest form of the length (RFC 6455 §5.2). It
// checks nothing: a header that breaks the protocol is encoded as it is.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := byte(h.Opcode) & 0xF
	if h.Fin {
		b0 |= bitFin
	}
	if h.RSV1 {
		b0 |= bitRSV1
	}
	if h.RSV2 {
		b0 |= bitRSV2
	}
	if h.RSV3 {
		b0 |= bitRSV3
	}
	return appendHeader(dst, b0, h.Masked, h.Key, h.Length)
}

func appendHeader(dst []byte, b0 byte, masked bool, key mask.Key, length uint64) []byte {
	var b1 byte
	if masked {
		b1 = bitMask
	}
	switch {
	case length < length16:
		dst = append(dst, b0, b1|byte(length))
	case length <= 0xFFFF:
		dst = append(dst, b0, b1|length16, byte(length>>8), byte(length))
	default:
		dst = append(dst, b0, b1|length64)
		dst = binary.BigEndian.AppendUint64(dst, length)
	}
	if masked {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(key))
	}
	return dst
}

// ParseHeader reads the header at the front of p. n is its length in bytes, or 0 if p
// holds only a part of it. ParseHeader checks no rules; the [Decoder] does. The top bit
// of h.Length may be set. The length was in its shortest form if n == h.Size().
func ParseHeader(p []byte) (h Header, n int) {
	if len(p) < 2 {
		return Header{}, 0
	}
	h = Header{
		Fin:    p[0]&bitFin != 0,
		RSV1:   p[0]&bitRSV1 != 0,
		RSV2:   p[0]&bitRSV2 != 0,
		RSV3:   p[0]&bitRSV3 != 0,
		Opcode: Opcode(p[0] & 0xF),
		Masked: p[1]&bitMask != 0,
	}
	n = headerSize(p[1])
	if len(p) < n {
		return Header{}, 0
	}
	switch l := p[1] &^ bitMask; l {
	case length16:
		h.Length = uint64(binary.BigEndian.Uint16(p[2:]))
	case length64:
		h.Length = binary.BigEndian.Uint64(p[2:])
	default:
		h.Length = uint64(l)
	}
	if h.Masked {
		h.Key = mask.Key(binary.LittleEndian.Uint32(p[n-4:]))
	}
	return h, n
}

// headerSize returns the length of a header whose second octet is b1.
func headerSize(b1 byte) int {
	n := 2
	switch b1 &^ bitMask {
	case length16:
		n = 4
	case length64:
		n = 10
	}
	return n + int(b1>>7)*4
}

// AppendFrame appends a whole frame to dst: the header h, then payload. It replaces
// h.Length by the length of payload, and masks payload with h.Key if h.Masked is set.
// payload does not change. It must not overlap the free capacity of dst.
func AppendFrame(dst []byte, h Header, payload []byte) []byte {
	h.Length = uint64(len(payload))
	dst = AppendHeader(dst, h)
	if !h.Masked {
		return append(dst, payload...)
	}
	return appendMasked(dst, payload, h.Key)
}

// appendMasked appends payload to dst, masked with key.
func appendMasked(dst, payload []byte, key mask.Key) []byte {
	n := len(dst)
	dst = grow(dst, len(payload))[:n+len(payload)]
	mask.Copy(dst[n:], payload, key)
	return dst
}

// grow returns dst with room for n more bytes.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	size := max(len(dst)+n, 64)
	bigger := make([]byte, len(dst), 1<<bits.Len(uint(size-1)))
	copy(bigger, dst)
	return bigger
}
