// Package corpus makes the messages that every entrant reads and writes, and streams of
// frames with them. It is deterministic: the same arguments give the same bytes on every
// machine.
package corpus

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Kind is the kind of text in messages.
type Kind string

const (
	// ASCII is like the messages of exchanges: JSON of numbers and short keys.
	ASCII Kind = "ascii"
	// CJK is ASCII with about 13 % of its bytes in three-byte characters.
	CJK Kind = "cjk"
)

// Sizes are the mean message lengths, in bytes, of the scenarios in memory.
var Sizes = []int{60, 200, 1000, 8000}

const words = "深度行情快照成交价格数量买卖盘口更新时间序号合约标记指数资金费率"

// Messages returns n JSON texts of size bytes on average. Their lengths differ from that
// by up to a quarter.
func Messages(kind Kind, size, n int) [][]byte {
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(len(kind))))
	runes := []rune(words)
	messages := make([][]byte, n)
	for i := range messages {
		want := size - size/4 + rnd.IntN(size/2+1)
		messages[i] = message(rnd, runes, kind, i, want)
	}
	return messages
}

// message returns one JSON text of exactly want bytes.
func message(rnd *rand.Rand, runes []rune, kind Kind, i, want int) []byte {
	b := make([]byte, 0, want+32)
	b = append(b, `{"s":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `,"b":[`...)
	for wide := 0; len(b) < want-24; {
		b = fmt.Appendf(b, `["%d.%02d",%d],`, 100+rnd.IntN(900), rnd.IntN(100), rnd.IntN(1000))
		for kind == CJK && wide*100 < len(b)*13 && len(b) < want-24 {
			b = append(b, string(runes[rnd.IntN(len(runes))])...)
			wide += 3
		}
	}
	b = append(b, `0],"x":"`...)
	for len(b) < want-2 {
		b = append(b, byte('a'+rnd.IntN(26)))
	}
	return append(b, `"}`...)
}

// Stream is messages as a stream, each in one text frame. It can be sent again and again
// from its start.
type Stream struct {
	Bytes    []byte
	Ends     []int    // Ends[i] is the end of the frame of message i
	Messages [][]byte // uncompressed and unmasked
}

// NewStream frames messages. Each masked frame has its own key.
func NewStream(messages [][]byte, masked bool) *Stream {
	s := &Stream{Messages: messages, Ends: make([]int, len(messages))}
	rnd := rand.New(rand.NewPCG(1, uint64(len(messages))))
	for i, m := range messages {
		s.Bytes = AppendFrame(s.Bytes, 0x81, m, masked, rnd.Uint32())
		s.Ends[i] = len(s.Bytes)
	}
	return s
}

// AppendFrame appends a frame with the given first byte. It is an encoder of its own, so
// that no entrant reads what it has written itself.
func AppendFrame(dst []byte, b0 byte, payload []byte, masked bool, key uint32) []byte {
	var bit byte
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, b0, bit|byte(n))
	case n < 1<<16:
		dst = append(dst, b0, bit|126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, b0, bit|127), uint64(n))
	}
	if !masked {
		return append(dst, payload...)
	}
	var k [4]byte
	binary.LittleEndian.PutUint32(k[:], key)
	dst = append(dst, k[:]...)
	for i, c := range payload {
		dst = append(dst, c^k[i&3])
	}
	return dst
}

// WireLen returns the length of the frames of the first n messages.
func (s *Stream) WireLen(n int) int {
	rounds, rest := n/len(s.Ends), n%len(s.Ends)
	total := rounds * len(s.Bytes)
	if rest > 0 {
		total += s.Ends[rest-1]
	}
	return total
}

// Sum returns what n messages, after the first from ones, add to a tally. That is their
// bytes, and the sum of the first and last byte of each.
func (s *Stream) Sum(from, n int) (bytes int, sum uint64) {
	for i := range n {
		m := s.Messages[(from+i)%len(s.Messages)]
		bytes += len(m)
		sum += uint64(m[0]) + uint64(m[len(m)-1])
	}
	return bytes, sum
}
