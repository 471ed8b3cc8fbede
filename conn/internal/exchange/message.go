package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A message of the feed is one JSON object whose envelope has a fixed width, so
// that it can be stamped and checked in place, without a JSON parser:
//
//	{"n":1000000000000000,"t":1732363200000000000, … ,"c":"89abcdef"}
//	     5               21   26                 45        len-10
//
// n is the sequence number, t the time it was made in nanoseconds of Unix time,
// c the CRC-32C, in hexadecimal, of everything before its comma.
const (
	head       = `{"n":1000000000000000,"t":1000000000000000000,`
	tail       = `,"c":"00000000"}`
	sequenceAt = 5
	sequenceTo = 21
	timeAt     = 26
	timeTo     = 45
)

// FirstSequence is the lowest sequence number: the numbers have 16 digits from
// the first on, and stay below 2^53 for every JSON parser's sake.
const FirstSequence = 1_000_000_000_000_000

// lastSequence is the highest number of 16 digits.
const lastSequence = 9_999_999_999_999_999

// The errors of a feed that is not what the exchange published.
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

// increment adds one.
func (d *digits16) increment() {
	for i := len(d) - 1; i >= 0; i-- {
		if d[i] != '9' {
			d[i]++
			return
		}
		d[i] = '0'
	}
}

// number returns the value of decimal digits; ok is false if p holds anything else.
func number(p []byte) (n uint64, ok bool) {
	for _, c := range p {
		if c -= '0'; c > 9 {
			return 0, false
		} else {
			n = n*10 + uint64(c)
		}
	}
	return n, true
}

// hexadecimal returns the 8 digits of v, the first one in the lowest byte.
func hexadecimal(v uint32) uint64 {
	// The nibbles are spread to one a byte, highest first, in three halvings.
	x := uint64(v)
	x = x&0xffff<<32 | x>>16
	x = x&0x000000ff_000000ff<<16 | x&0x0000ff00_0000ff00>>8
	x = x&0x000f000f_000f000f<<8 | x&0x00f000f0_00f000f0>>4
	letters := (x + 0x06060606_06060606) >> 4 & 0x01010101_01010101
	return x + 0x30303030_30303030 + letters*('a'-'0'-10)
}

// checksum returns the digits that belong into the tail of message p.
func checksum(p []byte) uint64 {
	return hexadecimal(crc32.Checksum(p[:len(p)-len(tail)], castagnoli))
}

// A stamp fills in the envelope of messages that are made at one time.
type stamp struct {
	sequence digits16
	time     [timeTo - timeAt]byte
}

// setTime sets the time of the messages that follow, in nanoseconds of Unix time.
func (s *stamp) setTime(ns int64) {
	for i := len(s.time) - 1; i >= 0; i-- {
		s.time[i] = '0' + byte(ns%10)
		ns /= 10
	}
}

// apply writes the stamp into message p and moves on to the next number.
func (s *stamp) apply(p []byte) {
	*(*digits16)(p[sequenceAt:]) = s.sequence
	*(*[timeTo - timeAt]byte)(p[timeAt:]) = s.time
	binary.LittleEndian.PutUint64(p[len(p)-10:], checksum(p))
	s.sequence.increment()
}

// A Checker verifies that messages come whole, in order and without a gap.
type Checker struct {
	next digits16
}

// NewChecker returns a Checker whose first message carries the given number.
func NewChecker(first uint64) *Checker {
	return &Checker{next: newDigits16(first)}
}

// Check verifies the checksum and the number of message p, which it does not
// keep. The error matches ErrMessage, ErrChecksum or ErrGap; after one, the
// Checker is of no more use.
func (c *Checker) Check(p []byte) error {
	if len(p) < len(head)+len(tail) {
		return fmt.Errorf("%w: %d bytes", ErrMessage, len(p))
	}
	if got, want := binary.LittleEndian.Uint64(p[len(p)-10:]), checksum(p); got != want {
		return checksumError(p, want)
	}
	if *(*digits16)(p[sequenceAt:]) != c.next {
		return c.gapError(p)
	}
	c.next.increment()
	return nil
}

func checksumError(p []byte, want uint64) error {
	var digits [8]byte
	binary.LittleEndian.PutUint64(digits[:], want)
	return fmt.Errorf("%w: message %q says %q, its bytes say %q",
		ErrChecksum, p[sequenceAt:sequenceTo], p[len(p)-10:len(p)-2], digits[:])
}

func (c *Checker) gapError(p []byte) error {
	return fmt.Errorf("%w: message %s came where %s was due", ErrGap, p[sequenceAt:sequenceTo], c.next[:])
}

// Made returns the time message p was made, in nanoseconds of Unix time, and 0
// if p is no message of the feed.
func Made(p []byte) int64 {
	if len(p) < timeTo {
		return 0
	}
	n, ok := number(p[timeAt:timeTo])
	if !ok {
		return 0
	}
	return int64(n)
}

// Sequence returns the number of message p, and 0 if p is no message of the feed.
func Sequence(p []byte) uint64 {
	if len(p) < sequenceTo {
		return 0
	}
	n, _ := number(p[sequenceAt:sequenceTo])
	return n
}

// cycleLength is the number of messages after which the bodies come again. The
// bodies take about half a megabyte, which stays in the second-level cache.
const cycleLength = 2048

// newCycle makes the messages that an exchange publishes over and over, each
// with a fresh envelope: encoding them while they are sent would make the
// exchange, not the consumer, the limit of what is measured.
func newCycle(seed uint64) [][]byte {
	m := newMarket(seed)
	var all []byte
	ends := make([]int, cycleLength)
	for i := range ends {
		all = append(all, head...)
		if i == cycleLength/2 {
			all = m.appendSnapshot(all) // one at least, whatever chance says
		} else {
			all = m.appendBody(all)
		}
		all = append(all, tail...)
		ends[i] = len(all)
	}
	cycle, from := make([][]byte, cycleLength), 0
	for i, end := range ends {
		cycle[i], from = all[from:end:end], end
	}
	return cycle
}
