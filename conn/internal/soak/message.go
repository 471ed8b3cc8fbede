package soak

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// corpus is the text that messages are cut from. It has characters of one to four bytes.
var corpus = func() []byte {
	var b []byte
	for i := uint64(0); len(b) < 512<<10; i++ {
		b = fmt.Appendf(b, `{"price":%d,"size":%d,"name":"日経 Über 😀"},`, mix(i)%1_000_000, mix(i+1<<40)%10_000)
	}
	return b
}()

const (
	headSize = 32 // number and time, in hexadecimal
	maxBody  = 256 << 10
)

// mix makes unrelated numbers of neighbouring ones.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// body returns the body of a message of a feed. Most are short; a few have up to maxBody
// bytes.
func body(feed, number uint64) []byte {
	h := mix(feed<<32 ^ number)
	size := 60 + h>>10%400
	switch k := h % 1000; {
	case k >= 990:
		size = 64<<10 + h>>10%(maxBody-64<<10)
	case k >= 900:
		size = 1<<10 + h>>10%(7<<10)
	}
	from := int(mix(h) % uint64(len(corpus)-maxBody))
	return corpus[characterAt(from):characterAt(from+int(size))]
}

// characterAt returns the start of the character at index i.
func characterAt(i int) int {
	for !utf8.RuneStart(corpus[i]) {
		i--
	}
	return i
}

// opcode returns the opcode of a message of a feed.
func opcode(feed, number uint64) conn.Opcode {
	if mix(feed<<32^number)>>60 == 0 {
		return conn.Binary
	}
	return conn.Text
}

// appendMessage appends the payload of a message of a feed.
func appendMessage(dst []byte, feed, number uint64, at time.Duration) []byte {
	var head [headSize / 2]byte
	binary.BigEndian.PutUint64(head[:], number)
	binary.BigEndian.PutUint64(head[8:], uint64(at))
	return append(hex.AppendEncode(dst, head[:]), body(feed, number)...)
}

// broadcastHead is the size of a broadcast's number in hexadecimal. The rest of a
// broadcast is always the same.
const broadcastHead = 16

var broadcastBody = corpus[:characterAt(broadcastSize)]

// appendBroadcast appends the payload of a message of the Group.
func appendBroadcast(dst []byte, number uint64) []byte {
	return append(fmt.Appendf(dst, "%0*x", broadcastHead, number), broadcastBody...)
}

// parseBroadcast returns the number of a message of the Group. It compares the rest.
func parseBroadcast(m conn.Message) (number uint64, err error) {
	if m.Opcode != conn.Text || len(m.Data) != broadcastHead+len(broadcastBody) {
		return 0, fmt.Errorf("a broadcast is %v of %d bytes", m.Opcode, len(m.Data))
	}
	if number, err = strconv.ParseUint(string(m.Data[:broadcastHead]), 16, 64); err != nil {
		return 0, err
	}
	if string(m.Data[broadcastHead:]) != string(broadcastBody) {
		return 0, fmt.Errorf("broadcast %d is not as it was sent", number)
	}
	return number, nil
}

// parseMessage returns the number of a message of a feed and when it was made. It
// compares the rest.
func parseMessage(feed uint64, m conn.Message) (number uint64, at time.Duration, err error) {
	var head [headSize / 2]byte
	if len(m.Data) < headSize {
		return 0, 0, fmt.Errorf("a message of %d bytes", len(m.Data))
	}
	if _, err := hex.Decode(head[:], m.Data[:headSize]); err != nil {
		return 0, 0, err
	}
	number = binary.BigEndian.Uint64(head[:])
	if m.Opcode != opcode(feed, number) {
		return 0, 0, fmt.Errorf("message %d is %v", number, m.Opcode)
	}
	if string(m.Data[headSize:]) != string(body(feed, number)) {
		return 0, 0, fmt.Errorf("message %d of %d bytes is not as it was sent", number, len(m.Data))
	}
	return number, time.Duration(binary.BigEndian.Uint64(head[8:])), nil
}
