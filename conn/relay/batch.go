package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
	"time"

	"github.com/seed-7f57ff33/tickwire/utf8"
)

const (
	// BatchVersion is the version of the batch format.
	BatchVersion = 1
	// MaxRecords is the most records in a batch.
	MaxRecords = math.MaxUint16

	batchHeader = 48
	// recordOverhead is the most bytes of a record besides its data.
	recordOverhead = 1 + 3*binary.MaxVarintLen64 + 8 + binary.MaxVarintLen64
)

// ErrBatch matches what is wrong with a batch: see BatchError.
var ErrBatch = errors.New("relay: malformed batch")

// BatchError says which rule of the batch format is broken, and where. It matches
// ErrBatch.
type BatchError struct {
	Offset int    // in the batch, in bytes
	Rule   string // what is broken, one clause
}

// Error tells the rule and the offset.
func (e *BatchError) Error() string {
	return fmt.Sprintf("relay: malformed batch: %s at byte %d", e.Rule, e.Offset)
}

// Is reports whether target is ErrBatch.
func (e *BatchError) Is(target error) bool { return target == ErrBatch }

// Kind is what a record is.
type Kind uint8

// The kinds of records. The values are those of the batch format and of the subprotocol.
const (
	Text   Kind = 1 // a text message, valid UTF-8
	Binary Kind = 2 // a binary message
	Gap    Kind = 3 // messages are missing here: see Reason
)

// String returns "text", "binary" or "gap".
func (k Kind) String() string {
	switch k {
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Gap:
		return "gap"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Reason says why messages are missing.
type Reason uint8

// The reasons. The values are those of the batch format and of the subprotocol.
const (
	// Missing: no line brought the numbers From..To.
	Missing Reason = 1
	// Restarted: the source restarted its numbers. From was due in the old sequence, and
	// To is the first of the new one. How many are missing is not known.
	Restarted Reason = 2
	// Disconnected: the only line was down. How many messages are missing is not known.
	Disconnected Reason = 3
	// Overflowed: the ingester's spool was full. From..To are the numbers, if there are
	// any.
	Overflowed Reason = 4
	// TakenOver: another ingester took over a feed without numbers. Messages may be
	// missing, and messages around the gap may be there twice.
	TakenOver Reason = 5
	// TooLong: a message is longer than the engine takes. From..To are its numbers, if it
	// has any.
	TooLong Reason = 6
	// Expired: the stream no longer has these batches. It is never in a batch: a gateway
	// or a Client reports it.
	Expired Reason = 7
)

var reasons = [...]string{
	Missing: "missing", Restarted: "restarted", Disconnected: "disconnected", Overflowed: "overflowed",
	TakenOver: "taken over", TooLong: "too long", Expired: "expired",
}

// String returns, for example, "missing".
func (r Reason) String() string {
	if int(r) < len(reasons) && r > 0 {
		return reasons[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// MarshalText returns String.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Record is a message of a feed, or a gap in it.
type Record struct {
	// Kind tells a message from a gap.
	Kind Kind
	// Reason is that of a Gap, and 0 otherwise.
	Reason Reason
	// Data is the payload of a message. In a parsed batch it is a view of it.
	Data []byte
	// Epoch numbers the ingester's connections to the source. Messages of the same line
	// and epoch came over one connection.
	Epoch uint64
	// From is the first number of the message, or of the gap; 0 if there is none.
	From uint64
	// To is the last number; 0 if there is none.
	To uint64
	// Received is when the ingester received the message, in nanoseconds since 1970.
	Received int64
}

// Time returns Received as a time.
func (r Record) Time() time.Time { return time.Unix(0, r.Received) }

// BatchHeader describes a batch.
type BatchHeader struct {
	// Count is the number of records.
	Count int
	// Writer identifies the ingester, at random anew for each Run.
	Writer uint64
	// Ordinal counts the writer's records before this batch.
	Ordinal uint64
	// First is the first number in the batch; 0 in a feed without numbers.
	First uint64
	// Last is the highest number that is delivered or given up after the batch, within
	// the Era; 0 in a feed without numbers.
	Last uint64
	// Era counts how often the source restarted its numbers. A Restarted record can only
	// be the first of its batch, and begins the era.
	Era uint32
}

// Batch is a parsed batch.
type Batch struct {
	BatchHeader
	body []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBatch appends a batch of records to dst. Count is taken from the records. The
// error is a *BatchError for records that ParseBatch would refuse.
func AppendBatch(dst []byte, h BatchHeader, records ...Record) ([]byte, error) {
	h.Count = len(records)
	start := len(dst)
	dst = append(dst, make([]byte, batchHeader)...)
	for i := range records {
		dst = appendRecord(dst, &records[i])
	}
	putHeader(dst[start:], h)
	if _, err := ParseBatch(dst[start:]); err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// putHeader writes the header of a batch whose records are there, after room for it.
func putHeader(batch []byte, h BatchHeader) {
	copy(batch, "TW")
	batch[2], batch[3] = BatchVersion, 0
	binary.BigEndian.PutUint32(batch[4:], uint32(h.Count))
	binary.BigEndian.PutUint64(batch[8:], h.Writer)
	binary.BigEndian.PutUint64(batch[16:], h.Ordinal)
	binary.BigEndian.PutUint64(batch[24:], h.First)
	binary.BigEndian.PutUint64(batch[32:], h.Last)
	binary.BigEndian.PutUint32(batch[40:], h.Era)
	binary.BigEndian.PutUint32(batch[44:], batchSum(batch))
}

// batchSum returns the checksum of a batch: of everything except itself.
func batchSum(batch []byte) uint32 {
	sum := crc32.Update(0, castagnoli, batch[:batchHeader-4])
	return crc32.Update(sum, castagnoli, batch[batchHeader:])
}

func appendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, byte(r.Kind))
	dst = binary.AppendUvarint(dst, r.Epoch)
	dst = binary.AppendUvarint(dst, r.From)
	dst = binary.AppendUvarint(dst, r.To-r.From)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Received))
	if r.Kind == Gap {
		return append(dst, byte(r.Reason))
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
	return append(dst, r.Data...)
}

// ParseBatch parses a batch and checks all of it, so that Records cannot fail. data must
// not change while the Batch is in use. The error is a *BatchError.
func ParseBatch(data []byte) (Batch, error) {
	fail := func(offset int, rule string) (Batch, error) {
		return Batch{}, &BatchError{Offset: offset, Rule: rule}
	}
	switch {
	case len(data) < batchHeader:
		return fail(len(data), "shorter than its header")
	case string(data[:2]) != "TW":
		return fail(0, "not a batch")
	case data[2] != BatchVersion:
		return fail(2, "unknown version")
	case data[3] != 0:
		return fail(3, "unknown flags")
	}
	count := binary.BigEndian.Uint32(data[4:])
	b := Batch{BatchHeader: BatchHeader{
		Count:   int(min(count, MaxRecords+1)),
		Writer:  binary.BigEndian.Uint64(data[8:]),
		Ordinal: binary.BigEndian.Uint64(data[16:]),
		First:   binary.BigEndian.Uint64(data[24:]),
		Last:    binary.BigEndian.Uint64(data[32:]),
		Era:     binary.BigEndian.Uint32(data[40:]),
	}, body: data[batchHeader:]}
	switch {
	case count == 0 || count > MaxRecords:
		return fail(4, "number of records out of range")
	case binary.BigEndian.Uint32(data[44:]) != batchSum(data):
		return fail(44, "checksum")
	}
	rest := b.body
	for i := range b.Count {
		offset := len(data) - len(rest)
		r, n, rule := parseRecord(rest)
		switch {
		case rule != "":
			return fail(offset, rule)
		case r.Reason == Restarted && i > 0:
			return fail(offset, "a restart that is not the first record")
		case r.Kind == Text && !utf8.Valid(r.Data):
			return fail(offset, "text that is not UTF-8")
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return fail(len(data)-len(rest), "bytes after the last record")
	}
	return b, nil
}

// Records yields the records and their indexes. Data is a view of the batch.
func (b Batch) Records() iter.Seq2[int, Record] {
	return func(yield func(int, Record) bool) {
		rest := b.body
		for i := range b.Count {
			r, n, _ := parseRecord(rest)
			if !yield(i, r) {
				return
			}
			rest = rest[n:]
		}
	}
}

// parseRecord returns the first record and its size, or the rule that it breaks.
func parseRecord(data []byte) (r Record, size int, rule string) {
	const short = "shorter than its records"
	if len(data) == 0 {
		return r, 0, short
	}
	r.Kind = Kind(data[0])
	if r.Kind < Text || r.Kind > Gap {
		return r, 0, "unknown kind of record"
	}
	rest := data[1:]
	var extent uint64
	for _, v := range []*uint64{&r.Epoch, &r.From, &extent} {
		n := 0
		if *v, n = uvarint(rest); n <= 0 {
			return r, 0, uvarintRule(n, short)
		}
		rest = rest[n:]
	}
	r.To = r.From + extent // wraps around in a Restarted record
	if len(rest) < 8 {
		return r, 0, short
	}
	r.Received = int64(binary.BigEndian.Uint64(rest))
	rest = rest[8:]
	if r.Kind == Gap {
		if len(rest) == 0 {
			return r, 0, short
		}
		r.Reason = Reason(rest[0])
		if r.Reason < Missing || r.Reason > TooLong {
			return r, 0, "unknown reason of a gap"
		}
		if r.To < r.From && r.Reason != Restarted {
			return r, 0, "numbers beyond 64 bits"
		}
		return r, len(data) - len(rest) + 1, ""
	}
	length, n := uvarint(rest)
	switch {
	case n <= 0:
		return r, 0, uvarintRule(n, short)
	case r.To < r.From:
		return r, 0, "numbers beyond 64 bits"
	}
	if rest = rest[n:]; length > uint64(len(rest)) {
		return r, 0, short
	}
	r.Data = rest[:length:length]
	return r, len(data) - len(rest) + int(length), ""
}

// uvarint is binary.Uvarint, and refuses what is longer than needed with n = -1: a batch
// has only one encoding.
func uvarint(data []byte) (v uint64, n int) {
	v, n = binary.Uvarint(data)
	if n > 1 && data[n-1] == 0 {
		return 0, -1
	}
	return v, n
}

func uvarintRule(n int, short string) string {
	if n < 0 {
		return "an integer that is too long"
	}
	return short
}
