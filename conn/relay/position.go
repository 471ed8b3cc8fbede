package relay

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrPosition says that a text is not a Position.
var ErrPosition = errors.New("relay: not a position: want INCARNATION.SEQUENCE.INDEX")

// EndOfBatch is the Index that means the last record of a batch, whatever its index
// is. No record has it.
const EndOfBatch = MaxRecords

// Position is the place of a record in a stream. A client that has the record at a
// Position continues with the one after it.
//
// Positions of one incarnation are ordered: see Compare. A stream that was deleted and
// made anew has another incarnation, and its sequences begin at 1 again.
type Position struct {
	// Incarnation tells apart streams of the same name: see StreamInfo.
	Incarnation uint64
	// Sequence is that of the batch in the stream, from 1. 0 is before the first batch.
	Sequence uint64
	// Index is that of the record in the batch, from 0, or EndOfBatch.
	Index uint16
}

// Compare returns -1 if p is before q, 1 if it is after q, and 0 if they are the same
// place. The incarnations must be equal: see Position.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Sequence, q.Sequence), cmp.Compare(p.Index, q.Index))
}

// IsZero reports whether p is the zero value, which is no position of any stream.
func (p Position) IsZero() bool { return p == Position{} }

// String returns, for example, "18a1b2c3d4e5f607.1042.17": the incarnation in
// hexadecimal, the sequence and the index in decimal.
func (p Position) String() string {
	return fmt.Sprintf("%x.%d.%d", p.Incarnation, p.Sequence, p.Index)
}

// ParsePosition is the inverse of Position.String. It accepts only what String returns;
// the error matches ErrPosition.
func ParsePosition(s string) (Position, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return Position{}, ErrPosition
	}
	incarnation, err1 := strconv.ParseUint(parts[0], 16, 64)
	sequence, err2 := strconv.ParseUint(parts[1], 10, 64)
	index, err3 := strconv.ParseUint(parts[2], 10, 16)
	p := Position{Incarnation: incarnation, Sequence: sequence, Index: uint16(index)}
	if err1 != nil || err2 != nil || err3 != nil || p.String() != s {
		return Position{}, ErrPosition
	}
	return p, nil
}

// MarshalText returns String.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText sets p by ParsePosition.
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}
