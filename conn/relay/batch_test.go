package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
)

// someRecords has every kind and reason.
func someRecords() []Record {
	records := []Record{
		{Kind: Gap, Reason: Restarted, From: 900, To: 3, Received: -1},
		{Kind: Text, Data: []byte("héllo"), Epoch: 1, From: 3, To: 3, Received: time.Now().UnixNano()},
		{Kind: Binary, Data: []byte{0xff, 0}, Epoch: math.MaxUint64, From: 4, To: 9},
		{Kind: Text, Data: []byte{}, From: math.MaxUint64, To: math.MaxUint64, Received: math.MaxInt64},
	}
	for _, reason := range []Reason{Missing, Disconnected, Overflowed, TakenOver, TooLong} {
		records = append(records, Record{Kind: Gap, Reason: reason, From: 10, To: 300})
	}
	return records
}

func TestBatchRoundTrip(t *testing.T) {
	h := BatchHeader{Count: 9, Writer: 1 << 63, Ordinal: 7, First: 3, Last: math.MaxUint64, Era: 5}
	records := someRecords()
	data, err := AppendBatch([]byte("before"), h, records...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseBatch(data[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	if b.BatchHeader != h {
		t.Errorf("header %+v, want %+v", b.BatchHeader, h)
	}
	n := 0
	for i, r := range b.Records() {
		if i != n || !reflect.DeepEqual(r, records[i]) {
			t.Errorf("record %d: %+v, want %+v", i, r, records[n])
		}
		if r.Data != nil && cap(r.Data) != len(r.Data) {
			t.Errorf("record %d: its data can grow into the next one", i)
		}
		n++
	}
	if n != len(records) {
		t.Errorf("%d records", n)
	}
	for range b.Records() {
		break // the loop may be left
	}
}

// A batch of more records than fit, or that ParseBatch refuses, is not appended.
func TestAppendBatchRefuses(t *testing.T) {
	gap := Record{Kind: Gap, Reason: Missing}
	tests := []struct {
		name    string
		records []Record
		rule    string
	}{
		{"none", nil, "number of records out of range"},
		{"too many", make([]Record, MaxRecords+1), "number of records out of range"},
		{"no kind", []Record{{}}, "unknown kind of record"},
		{"expired", []Record{{Kind: Gap, Reason: Expired}}, "unknown reason of a gap"},
		{"restart not first", []Record{gap, {Kind: Gap, Reason: Restarted}}, "a restart that is not the first record"},
		{"text", []Record{{Kind: Text, Data: []byte{0xc0}}}, "text that is not UTF-8"},
		{"backwards", []Record{{Kind: Text, From: 2, To: 1}}, "numbers beyond 64 bits"},
	}
	for _, test := range tests {
		got, err := AppendBatch([]byte("x"), BatchHeader{}, test.records...)
		var e *BatchError
		if string(got) != "x" || !errors.As(err, &e) || !errors.Is(err, ErrBatch) || e.Rule != test.rule {
			t.Errorf("%s: %d bytes, %v; want %q", test.name, len(got), err, test.rule)
		}
	}
}

// Each rule by its bytes.
func TestParseBatchRules(t *testing.T) {
	const received = "\x00\x00\x00\x00\x00\x00\x00\x01"
	text := "\x01\x00\x00\x00" + received + "\x02ab"
	long := "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" // 1<<63
	// batch makes one of so many records, with the right checksum.
	batch := func(count uint32, records string) []byte {
		data := append(make([]byte, batchHeader), records...)
		putHeader(data, BatchHeader{})
		binary.BigEndian.PutUint32(data[4:], count)
		binary.BigEndian.PutUint32(data[44:], batchSum(data))
		return data
	}
	edit := func(i int, value byte) []byte {
		data := batch(1, text)
		data[i] = value
		binary.BigEndian.PutUint32(data[44:], batchSum(data))
		return data
	}
	tests := []struct {
		name   string
		data   []byte
		offset int
		rule   string // "" is a batch
	}{
		{"one text", batch(1, text), 0, ""},
		{"two texts", batch(2, text+text), 0, ""},
		{"restart that goes back", batch(1, "\x03\x00\x05\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01"+received+"\x02"), 0, ""},
		{"nothing", nil, 0, "shorter than its header"},
		{"half a header", batch(1, text)[:47], 47, "shorter than its header"},
		{"first letter", edit(0, 't'), 0, "not a batch"},
		{"second letter", edit(1, 'w'), 0, "not a batch"},
		{"version", edit(2, 2), 2, "unknown version"},
		{"flags", edit(3, 1), 3, "unknown flags"},
		{"no records", batch(0, ""), 4, "number of records out of range"},
		{"too many records", batch(MaxRecords+1, text), 4, "number of records out of range"},
		{"checksum", batch(1, text)[:batchHeader+15-1], 44, "checksum"},
		{"fewer records", batch(2, text), batchHeader + 15, "shorter than its records"},
		{"more records", batch(1, text+text), batchHeader + 15, "bytes after the last record"},
		{"kind 0", batch(1, "\x00"+text[1:]), batchHeader, "unknown kind of record"},
		{"kind 4", batch(1, "\x04"+text[1:]), batchHeader, "unknown kind of record"},
		{"no epoch", batch(1, "\x01"), batchHeader, "shorter than its records"},
		{"half an epoch", batch(1, "\x01\x80"), batchHeader, "shorter than its records"},
		{"epoch of 11 bytes", batch(1, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), batchHeader, "an integer that is too long"},
		{"epoch longer than needed", batch(1, "\x01\x80\x00"+text[2:]), batchHeader, "an integer that is too long"},
		{"no number", batch(1, "\x01\x00"), batchHeader, "shorter than its records"},
		{"no extent", batch(1, "\x01\x00\x00"), batchHeader, "shorter than its records"},
		{"half a stamp", batch(1, "\x01\x00\x00\x00"+received[:7]), batchHeader, "shorter than its records"},
		{"no length", batch(1, "\x01\x00\x00\x00"+received), batchHeader, "shorter than its records"},
		{"length longer than needed", batch(1, "\x01\x00\x00\x00"+received+"\x82\x00ab"), batchHeader, "an integer that is too long"},
		{"half the data", batch(1, text[:len(text)-1]), batchHeader, "shorter than its records"},
		{"length of 63 bits", batch(1, "\x01\x00\x00\x00"+received+long), batchHeader, "shorter than its records"},
		{"numbers of a message wrap around", batch(1, "\x01\x00"+long+long+received+"\x00"), batchHeader, "numbers beyond 64 bits"},
		{"numbers of a gap wrap around", batch(1, "\x03\x00"+long+long+received+"\x01"), batchHeader, "numbers beyond 64 bits"},
		{"no reason", batch(1, "\x03\x00\x00\x00"+received), batchHeader, "shorter than its records"},
		{"reason 0", batch(1, "\x03\x00\x00\x00"+received+"\x00"), batchHeader, "unknown reason of a gap"},
		{"reason 7", batch(1, "\x03\x00\x00\x00"+received+"\x07"), batchHeader, "unknown reason of a gap"},
		{"restart in the middle", batch(2, text+"\x03\x00\x00\x00"+received+"\x02"), batchHeader + 15, "a restart that is not the first record"},
		{"text that is not UTF-8", batch(1, text[:len(text)-1]+"\xff"), batchHeader, "text that is not UTF-8"},
		{"binary that is not UTF-8", batch(1, "\x02"+text[1:len(text)-1]+"\xff"), 0, ""},
		{"the second record", batch(2, text+"\x05"), batchHeader + 15, "unknown kind of record"},
	}
	for _, test := range tests {
		_, err := ParseBatch(test.data)
		if test.rule == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		var e *BatchError
		if !errors.As(err, &e) || e.Offset != test.offset || e.Rule != test.rule {
			t.Errorf("%s: %v, want %q at byte %d", test.name, err, test.rule, test.offset)
		}
	}
}

// Every change of a bit is found.
func TestBatchChecksum(t *testing.T) {
	data, err := AppendBatch(nil, BatchHeader{Writer: 1}, someRecords()...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(data) {
		data[i/8] ^= 1 << (i % 8)
		if _, err := ParseBatch(data); err == nil {
			t.Fatalf("bit %d of byte %d changed, and it is a batch", i%8, i/8)
		}
		data[i/8] ^= 1 << (i % 8)
	}
}

func TestNamesOfKindsAndReasons(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"text": Text, "binary": Binary, "gap": Gap, "Kind(9)": Kind(9),
		"missing": Missing, "restarted": Restarted, "disconnected": Disconnected, "overflowed": Overflowed,
		"taken over": TakenOver, "too long": TooLong, "expired": Expired, "Reason(0)": Reason(0), "Reason(99)": Reason(99),
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What parses is encoded to the same bytes again.
func FuzzParseBatch(f *testing.F) {
	data, err := AppendBatch(nil, BatchHeader{Writer: 1, Ordinal: 2, First: 3, Last: 4, Era: 5}, someRecords()...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:batchHeader])
	f.Add([]byte("TW"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= batchHeader { // otherwise nothing would pass
			data = bytes.Clone(data)
			binary.BigEndian.PutUint32(data[44:], batchSum(data))
		}
		b, err := ParseBatch(data)
		if err != nil {
			var e *BatchError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(data) || e.Rule == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		var records []Record
		for _, r := range b.Records() {
			records = append(records, r)
		}
		again, err := AppendBatch(nil, b.BatchHeader, records...)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%v: encoded again it is %x, was %x", err, again, data)
		}
	})
}
