package conn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

type order struct {
	ID     int      `json:"id"`
	Symbol string   `json:"symbol"`
	Levels [][2]int `json:"levels,omitempty"`
	Note   json.RawMessage
}

// Values go both ways as encoding/json has them, of all sizes, and are the caller's own:
// later messages do not change them.
func TestJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		secure bool
		z      *deflate.Config
	}{"plain": {false, nil}, "TLS": {true, nil}, "compressed": {false, &deflate.Config{}}} {
		t.Run(name, func(t *testing.T) {
			as, bs := streamPair(t, Text, tt.secure, tt.z)
			for _, ends := range [][2]*Conn{{as.Conn(), bs.Conn()}, {bs.Conn(), as.Conn()}} {
				a, b := ends[0], ends[1]
				var want, got []order
				for i, n := range []int{0, 1, 100, 10_000, 3} {
					o := order{ID: i, Symbol: "é<&>\u2028" + strings.Repeat("x", n), Note: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
					for j := range n {
						o.Levels = append(o.Levels, [2]int{j, -j})
					}
					want = append(want, o)
					done := make(chan error, 1)
					go func() { done <- a.WriteJSON(&o) }()
					var back order
					if err := b.ReadJSON(&back); err != nil {
						t.Fatal(err)
					}
					if err := <-done; err != nil {
						t.Fatal(err)
					}
					got = append(got, back)
				}
				if !reflect.DeepEqual(got, want) {
					t.Error("other values came")
				}
				// On the wire it is what json.Marshal makes.
				text, err := json.Marshal(want[1])
				if err != nil {
					t.Fatal(err)
				}
				if err := a.WriteJSON(want[1]); err != nil {
					t.Fatal(err)
				}
				if m, err := b.ReadMessage(); err != nil || m.Opcode != Text || string(m.Data) != string(text) {
					t.Errorf("%v %q, %v; want %q", m.Opcode, m.Data, err, text)
				}
			}
		})
	}
}

// An error of the codec costs one message and nothing else; nothing of it is sent.
func TestJSONErrors(t *testing.T) {
	as, bs := streamPair(t, Text, false, nil)
	a, b := as.Conn(), bs.Conn()
	for _, bad := range []string{"", "{", "[1] 2", "nil", "{\"id\":\"x\"}", "\"\xc3\xa9", strings.Repeat("[", 20_000)} {
		if err := a.WriteMessage(Text, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		var o order
		if err := b.ReadJSON(&o); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || b.Err() != nil {
			t.Errorf("%.20q: %v, %v", bad, err, b.Err())
		}
	}
	if err := a.WriteJSON(func() {}); err == nil {
		t.Error("a function was written")
	}
	boom := errors.New("boom")
	if err := WriteValue(a, Text, 1, func(w io.Writer, _ int) error { io.WriteString(w, "half"); return boom }); err != boom {
		t.Error(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = WriteValue(a, Text, 1, func(w io.Writer, _ int) error { io.WriteString(w, "half"); panic(boom) })
	}()
	if err := WriteValue(a, Text, "\xff", func(w io.Writer, s string) error { _, err := io.WriteString(w, s); return err }); err != ErrNotUTF8 {
		t.Error(err)
	}
	if err := WriteValue(a, frame.Close, 1, func(w io.Writer, _ int) error { return nil }); err == nil {
		t.Error("a Close was written")
	}
	write := func(op Opcode, text string) {
		t.Helper()
		err := WriteValue(a, op, text, func(w io.Writer, s string) error {
			for _, r := range []byte(s) { // the smallest pieces
				if err := w.(io.ByteWriter).WriteByte(r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		op       Opcode
		text, is string
	}{{Text, "1\n\n", "1\n"}, {Binary, "1\n", "1\n"}, {Text, "", ""}, {Text, "\n", ""}, {Text, strings.Repeat("9", 5000), strings.Repeat("9", 5000)}} {
		write(tt.op, tt.text)
		if m, err := b.ReadMessage(); err != nil || m.Opcode != tt.op || string(m.Data) != tt.is {
			t.Errorf("%.20q came as %v %.20q, %v", tt.text, m.Opcode, m.Data, err)
		}
	}
	write(Text, `{"id":7}`)
	var o order
	if err := b.ReadJSON(&o); err != nil || o.ID != 7 {
		t.Error(o, err)
	}
	if err := a.StartClose(frame.CodeNormal, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.ReadJSON(&o); CloseCode(err) != frame.CodeNormal {
		t.Error(err)
	}
	if err := a.WriteJSON(1); err == nil {
		t.Error("written after the end")
	}
}

// The library's part of reading and writing a value costs no allocation, whatever the size.
func TestValuesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	as, bs := streamPair(t, Text, false, nil)
	a, b := as.Conn(), bs.Conn()
	type value struct {
		text []byte
		sum  int
	}
	for _, size := range []int{10, 1000, 30_000} {
		v := &value{text: []byte(strings.Repeat("7", size))}
		encode := func(w io.Writer, v *value) error {
			for rest := v.text; len(rest) > 0; {
				n, err := w.Write(rest[:min(len(rest), 4000)])
				if err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		}
		decode := func(data []byte, v *value) error { v.sum += len(data); return nil }
		round := func() {
			for range 1000 {
				if err := WriteValue(a, Text, v, encode); err != nil {
					t.Fatal(err)
				}
				if err := ReadValue(b, v, decode); err != nil {
					t.Fatal(err)
				}
			}
		}
		round()
		if n := buffertest.Mallocs(round); n != 0 {
			t.Errorf("%d bytes: %d allocations in 1000 messages each way", size, n)
		}
		if v.sum == 0 || v.sum%size != 0 {
			t.Error("other bytes came")
		}
	}
}
