package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A message of the feed is one JSON object. Its last members have a fixed width, so that
// it can be stamped and checked in place, without a JSON parser:
//
//	{ … ,"n":1000000000000000,"t":1732363200000000000,"c":"89abcdef"}
//
// n is the sequence number, t the time of making in nanoseconds of Unix time. c is the
// CRC-32C of everything before its comma, in hexadecimal. These members are last, so the
// exchange can keep the checksum of the rest.
const (
	tail = `,"n":1000000000000000,"t":1000000000000000000,"c":"00000000"}`

	// The position of each member, counted from the end of the message.
	sequenceAt = len(tail) - 5
	sequenceTo = sequenceAt - 16
	timeAt     = sequenceTo - 5
	timeTo     = timeAt - 19
	summedTo   = timeTo
	checksumAt = timeTo - 6
	checksumTo = checksumAt - 8
)

// FirstSequence is the lowest sequence number. All numbers have 16 digits and are below
// 2^53, as every JSON parser needs.
const FirstSequence = 1_000_000_000_000_000

// lastSequence is the highest number of 16 digits.
const lastSequence = 9_999_999_999_999_999

// The errors of a wrong feed.
var (
	ErrMessage  = errors.New("exchange: not a message of the feed")
	ErrChecksum = errors.New("exchange: checksum mismatch")
	ErrGap      = errors.New("exchange: gap in the sequence")
)

// castagnoli has hardware support on amd64, arm64, ppc64 and s390x.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A digits16 is a number of 16 decimal digits in ASCII.
type digits16 [16]byte

func newDigits16(n uint64) (d digits16) {
	for i := len(d) - 1; i >= 0; i-- {
		d[i] = '0' + byte(n%10)
		n /= 10
	}
	return d
}

// increment adds 1.
func (d *digits16) increment() {
	for i := len(d) - 1; i >= 0; i-- {
		if d[i] != '9' {
			d[i]++
			return
		}
		d[i] = '0'
	}
}

// number returns the value of decimal digits, or 0 if p holds anything else.
func number(p []byte) (n uint64) {
	for _, c := range p {
		if c -= '0'; c > 9 {
			return 0
		}
		n = n*10 + uint64(c)
	}
	return n
}

// hexadecimal returns the 8 digits of v, the first one in the lowest byte.
func hexadecimal(v uint32) uint64 {
	// Three halvings spread the nibbles to one a byte, highest first.
	x := uint64(v)
	x = x&0xffff<<32 | x>>16
	x = x&0x000000ff_000000ff<<16 | x&0x0000ff00_0000ff00>>8
	x = x&0x000f000f_000f000f<<8 | x&0x00f000f0_00f000f0>>4
	letters := (x + 0x06060606_06060606) >> 4 & 0x01010101_01010101
	return x + 0x30303030_30303030 + letters*('a'-'0'-10)
}

// A stamp fills in the tail of messages that are made at the same time. It is a tail
// itself.
type stamp struct {
	tail [len(tail)]byte
}

// newStamp returns a stamp with the given first number.
func newStamp(first uint64) (s stamp) {
	copy(s.tail[:], tail)
	d := newDigits16(first)
	copy(s.tail[len(tail)-sequenceAt:], d[:])
	return s
}

// setTime sets the time of later messages, in nanoseconds of Unix time.
func (s *stamp) setTime(ns int64) {
	for i := len(tail) - timeTo - 1; i >= len(tail)-timeAt; i-- {
		s.tail[i] = '0' + byte(ns%10)
		ns /= 10
	}
}

// appendTo appends the tail to a message with the checksum sum, and increments the
// number.
func (s *stamp) appendTo(dst []byte, sum uint32) []byte {
	sum = crc32.Update(sum, castagnoli, s.tail[:len(tail)-summedTo])
	dst = append(dst, s.tail[:]...)
	binary.LittleEndian.PutUint64(dst[len(dst)-checksumAt:], hexadecimal(sum))
	(*digits16)(s.tail[len(tail)-sequenceAt:]).increment()
	return dst
}

// A Checker verifies that messages are whole, in order and without a gap.
type Checker struct {
	next digits16
}

// NewChecker returns a Checker for a feed that starts at the given number.
func NewChecker(first uint64) *Checker {
	return &Checker{next: newDigits16(first)}
}

// Check verifies the checksum and the number of message p. It does not keep p. The error
// matches ErrMessage, ErrChecksum or ErrGap. After an error the Checker must not be used.
func (c *Checker) Check(p []byte) error {
	if len(p) < len(tail) {
		return fmt.Errorf("%w: %d bytes", ErrMessage, len(p))
	}
	want := hexadecimal(crc32.Checksum(p[:len(p)-summedTo], castagnoli))
	if binary.LittleEndian.Uint64(p[len(p)-checksumAt:]) != want {
		return checksumError(p, want)
	}
	if digits16(p[len(p)-sequenceAt:len(p)-sequenceTo]) != c.next {
		return c.gapError(p)
	}
	c.next.increment()
	return nil
}

func checksumError(p []byte, want uint64) error {
	var digits [8]byte
	binary.LittleEndian.PutUint64(digits[:], want)
	return fmt.Errorf("%w: message %q says %q, its bytes say %q", ErrChecksum,
		p[len(p)-sequenceAt:len(p)-sequenceTo], p[len(p)-checksumAt:len(p)-checksumTo], digits[:])
}

func (c *Checker) gapError(p []byte) error {
	return fmt.Errorf("%w: message %s came where %s was due", ErrGap, p[len(p)-sequenceAt:len(p)-sequenceTo], c.next[:])
}

// Made returns when message p was made, in nanoseconds of Unix time, or 0 if p is not a
// message of the feed.
func Made(p []byte) int64 {
	if len(p) < len(tail) {
		return 0
	}
	return int64(number(p[len(p)-timeAt : len(p)-timeTo]))
}

// Sequence returns the number of message p, or 0 if p is not a message of the feed.
func Sequence(p []byte) uint64 {
	if len(p) < len(tail) {
		return 0
	}
	return number(p[len(p)-sequenceAt : len(p)-sequenceTo])
}

// cycleLength is the number of messages after which the bodies repeat. The bodies take
// about half a megabyte, which fits the second-level cache.
const cycleLength = 2048

// A body is a message without its tail.
type body struct {
	text []byte
	sum  uint32 // CRC-32C of text
}

// newCycle makes the bodies that an exchange repeats, each time with a new tail. Encoding
// while sending would make the exchange the limit of a measurement.
func newCycle(seed uint64) []body {
	m := newMarket(seed)
	cycle := make([]body, cycleLength)
	var all []byte
	ends := make([]int, cycleLength)
	for i := range cycle {
		all = append(all, '{')
		if i == cycleLength/2 {
			all = m.appendSnapshot(all) // at least one in each cycle
		} else {
			all = m.appendBody(all)
		}
		ends[i] = len(all)
	}
	from := 0
	for i, end := range ends {
		text := all[from:end:end]
		cycle[i], from = body{text, crc32.Checksum(text, castagnoli)}, end
	}
	return cycle
}
