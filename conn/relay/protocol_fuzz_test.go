package relay

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// A hello that is accepted says what PROTOCOL.md asks for, and means the same again.
func FuzzParseHello(f *testing.F) {
	for _, seed := range []string{
		`{"type":"hello","stream":"s","start":"now"}`,
		`{"type":"hello","stream":"s","start":"after","after":"1.2.3","strict":true}`,
		`{"type":"hello","stream":"s","start":"oldest","after":null}`,
		`{"type":"hello","stream":"s","start":"after","after":"18a1b2c3d4e5f607.18446744073709551615.65535"}`,
		`{"type":"hello","stream":"","start":"now"}`, `{}`, `[`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseHello(data)
		if err != nil {
			return
		}
		if len(data) > MaxHello || k.Type != "hello" || k.Stream == "" || (k.Start == startAfter) != (k.After != nil) {
			t.Fatalf("%+v", k)
		}
		again, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > MaxHello {
			return // escapes made it longer
		}
		b, err := parseHello(again)
		if err != nil || b.Stream != k.Stream || b.Start != k.Start || b.Strict != k.Strict || k.After != nil && *b.After != *k.After {
			t.Fatalf("%+v, %v from %+v", b, err, k)
		}
	})
}

// A message from a gateway that is accepted is what appendFrame makes of it, so each
// record has one encoding.
func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, &Record{Kind: Text, Data: []byte("text"), Received: -1}, 1, 0, true))
	f.Add(appendFrame(nil, &Record{Kind: Binary, Data: []byte{0, 255}, Received: 1 << 60}, 1<<63, 65534, false))
	f.Add(appendFrame(nil, &Record{Kind: Gap, Reason: Restarted, From: 9, To: 1}, 7, 3, false))
	f.Add(appendExpired(nil, 1, 1<<64-1))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseFrame(data)
		if err != nil {
			return
		}
		var again []byte
		if got.expired {
			if again = appendExpired(nil, got.first, got.sequence); got.first == 0 || got.first > got.sequence {
				t.Fatalf("%+v", got)
			}
			copy(again[11:19], data[11:19]) // the stamp has no meaning
		} else {
			again = appendFrame(nil, &got.Record, got.sequence, int(got.index), got.last)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("%x from %x", again, data)
		}
	})
}

// What a gateway makes of a batch, a client understands; both of the same records.
func FuzzPacket(f *testing.F) {
	f.Add(uint64(1), []byte("text"), []byte{1, 2}, uint8(1), int64(5))
	f.Add(uint64(1<<64-1), []byte(""), []byte(nil), uint8(6), int64(-5))
	f.Fuzz(func(t *testing.T, sequence uint64, text, binary []byte, reason uint8, received int64) {
		if !utf8.Valid(text) || sequence == 0 || reason < uint8(Missing) || reason > uint8(TooLong) || Reason(reason) == Restarted {
			return
		}
		records := []Record{{Kind: Text, Data: text, Received: received}, {Kind: Binary, Data: binary}, {Kind: Gap, Reason: Reason(reason), From: 3, To: 8}}
		data, err := AppendBatch(nil, BatchHeader{}, records...)
		if err != nil {
			t.Fatal(err)
		}
		p, err := packetOf(stored{sequence, 7, data})
		if err != nil || len(p.ends) != len(records) {
			t.Fatalf("%+v, %v", p, err)
		}
		for i, want := range records {
			got, err := parseFrame(p.message(i))
			if err != nil || got.sequence != sequence || int(got.index) != i || got.last != (i == 2) || got.Kind != want.Kind || got.Reason != want.Reason {
				t.Fatalf("%d: %+v, %v", i, got, err)
			}
			if got.From != want.From || got.To != want.To || got.Received != want.Received || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("%d: %+v", i, got)
			}
			if _, data, ok := plain(p.message(i)); ok != (want.Kind != Gap) || ok && (!bytes.Equal(data, want.Data)) {
				t.Fatalf("%d: plain", i)
			}
		}
	})
}
