package relay

import (
	"encoding/binary"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// FuzzClient passes messages of a gateway to a Client. Whatever they are, no record is
// skipped, and none comes twice. A message of the input is its kind, its length and its
// data.
func FuzzClient(f *testing.F) {
	join := func(messages ...[]byte) (input []byte) {
		for _, m := range messages {
			input = append(input, byte(frame.Binary))
			if len(m) > 0 && m[0] == '{' {
				input[len(input)-1] = byte(frame.Text)
			}
			input = binary.BigEndian.AppendUint16(input, uint16(len(m)))
			input = append(input, m...)
		}
		return input
	}
	text := &Record{Kind: Text, Data: []byte("x")}
	f.Add(uint64(5), uint16(1), true, join(
		appendFrame(nil, text, 5, 2, true), appendFrame(nil, text, 6, 0, false), appendExpired(nil, 6, 9), appendFrame(nil, text, 10, 0, true)))
	f.Add(uint64(5), uint16(EndOfBatch), true, join(appendFrame(nil, text, 6, 0, true), appendFrame(nil, text, 6, 0, true), appendFrame(nil, text, 8, 0, true)))
	f.Add(uint64(0), uint16(0), false, join([]byte(`{"type":"bye"}`), appendFrame(nil, &Record{Kind: Gap, Reason: Missing, From: 1, To: 2}, 1, 0, true)))
	f.Add(uint64(3), uint16(0), false, join([]byte(`{"type":"error","code":4409}`), []byte(`{"type":"welcome"}`), []byte(`{`)))
	f.Fuzz(func(t *testing.T, sequence uint64, index uint16, recovered bool, input []byte) {
		c := &Client{Redial: &redial.Client{}, Stream: "s", welcomes: map[uint64]place{}}
		after := Position{1, sequence, index}
		c.at = placeAfter(after)
		s := &redial.Session{Epoch: 1}
		if err := c.welcomed(s, c.at, control{Stream: "s", After: &after, Recovered: &recovered}); err != nil {
			t.Fatal(err)
		}
		at := c.at
		for len(input) >= 3 {
			opcode, n := frame.Opcode(input[0]), int(binary.BigEndian.Uint16(input[1:]))
			data := input[3:min(3+n, len(input))]
			input = input[3+len(data):]
			if opcode != frame.Text {
				opcode = frame.Binary
			}
			before := c.Counts()
			err := c.take(redial.Message{Message: conn.Message{Opcode: opcode, Data: data}, Epoch: 1, Session: s}, func(m Message) error {
				checkFollows(t, at, m)
				return nil
			})
			if after := c.Counts(); err != nil || after.Jumps+after.Malformed+after.Refused > before.Jumps+before.Malformed+before.Refused {
				return // the session has ended
			}
			at = c.at
		}
	})
}

// checkFollows fails if something between a place and a message is neither in the message
// nor told by it.
func checkFollows(t *testing.T, at place, m Message) {
	t.Helper()
	p := m.Position
	ok := p.Sequence == at.Sequence && p.Index == at.Index+1 && at.rest != restNone ||
		p.Sequence == at.Sequence+1 && p.Index == 0 && at.rest != restMore
	if m.Reason == Expired {
		first := m.First == at.Sequence && at.rest != restNone || m.First == at.Sequence+1 && at.rest != restMore
		ok = first && m.Last == p.Sequence && m.First <= m.Last
	}
	if !ok || p.Compare(at.Position) <= 0 {
		t.Fatalf("%+v came after %+v", m, at)
	}
}
