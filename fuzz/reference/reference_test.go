package reference

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func rule(r Result) string {
	if r.Err == nil {
		return ""
	}
	return r.Err.Rule.Name
}

func TestStreamsHaveTheirVerdicts(t *testing.T) {
	for _, role := range []Role{Server, Client} {
		names := map[string]bool{}
		all := append(Streams(role), LargeStreams(role)...)
		for _, s := range all {
			if names[s.Name] {
				t.Errorf("two streams are named %q", s.Name)
			}
			names[s.Name] = true
			if got := rule(Parse(role, s.Options, s.Bytes)); got != s.Want {
				t.Errorf("%s, %s: got %q, want %q", role, s.Name, got, s.Want)
			}
		}
		if len(Streams(role)) < 300 {
			t.Errorf("%s: %d streams, want 300", role, len(Streams(role)))
		}
	}
}

// TestStreamsBreakAtTheSamePlace: the mask moves offsets only by the four bytes of each
// key.
func TestStreamsBreakAtTheSamePlace(t *testing.T) {
	server := append(Streams(Server), LargeStreams(Server)...)
	client := append(Streams(Client), LargeStreams(Client)...)
	byName := map[string]Stream{}
	for _, s := range client {
		byName[s.Name] = s
	}
	for _, s := range server {
		c, ok := byName[s.Name]
		if !ok {
			t.Errorf("%s: not for clients", s.Name)
			continue
		}
		a, b := Parse(Server, s.Options, s.Bytes), Parse(Client, c.Options, c.Bytes)
		if (a.Err == nil) != (b.Err == nil) {
			t.Errorf("%s: %v for a server, %v for a client", s.Name, a.Err, b.Err)
		}
		if len(a.Events) != len(b.Events) {
			t.Errorf("%s: %d events for a server, %d for a client", s.Name, len(a.Events), len(b.Events))
			continue
		}
		for i := range a.Events {
			if a.Events[i].Data != b.Events[i].Data {
				t.Errorf("%s: event %d differs", s.Name, i)
			}
		}
	}
}

func TestGridAgainstParser(t *testing.T) {
	g := Grid()
	if len(g) != 12288 {
		t.Fatalf("%d headers", len(g))
	}
	seen := map[Header]bool{}
	for _, h := range g {
		if seen[h] {
			t.Fatalf("%v: twice", h)
		}
		seen[h] = true
		stream, at := h.Stream()
		want, index := h.Verdict()
		got := Parse(h.Role, Options{Compression: h.Compression}, stream)
		if rule(got) != want {
			t.Fatalf("%v: got %q, want %q", h, rule(got), want)
		}
		if want != "" && (got.Err.Offset != uint64(at+index) || got.Err.Rule.Code != 1002) {
			t.Fatalf("%v: %+v, want offset %d", h, got.Err, at+index)
		}
	}
}

func TestGolden(t *testing.T) {
	for _, v := range Golden() {
		r := Parse(v.To, v.Options, v.Wire)
		if r.Err != nil {
			t.Errorf("%s: %s", v.Meaning, r.Err.Rule.Name)
			continue
		}
		frames := slices.DeleteFunc(slices.Clone(r.Events), func(e Event) bool { return e.Kind == MessageEvent })
		if !slices.Equal(frames, v.Frames) {
			t.Errorf("%s: %+v", v.Meaning, frames)
		}
		for _, e := range r.Events {
			if e.Kind == MessageEvent && e.Data != v.Message {
				t.Errorf("%s: message %q, want %q", v.Meaning, e.Data, v.Message)
			}
		}
	}
}

// TestOffsets checks the offset of each verdict. The numbers are counted by hand on
// unmasked bytes.
func TestOffsets(t *testing.T) {
	for _, c := range []struct {
		bytes  string
		o      Options
		rule   *Rule
		offset uint64
		length uint64
	}{
		{"\x81\x01a\x91", Options{}, ReservedBits, 3, 0},
		{"\x81\x01a\x83", Options{}, ReservedOpcode, 3, 0},
		{"\x09", Options{}, FragmentedControl, 0, 0},
		{"\x81\x01a\x80", Options{}, UnexpectedContinuation, 3, 0},
		{"\x01\x01a\x81", Options{}, UnfinishedMessage, 3, 0},
		{"\x01\x00\x00\x00\x80", Options{MaxFragments: 2}, TooManyFragments, 4, 0},
		{"\x01\x00\x89\x00\x89", Options{MaxControlPerMessage: 1}, TooManyControls, 4, 0},
		{"\x89\x80", Options{}, MaskedServerFrame, 1, 0},
		{"\x89\x7E", Options{}, ControlTooLong, 1, 0},
		{"\x88\x01", Options{}, CloseBodyOneByte, 1, 1},
		{"\x82\x05", Options{MaxFrame: 4}, FrameTooLarge, 1, 5},
		{"\x02\x03abc\x80\x03", Options{MaxMessage: 5}, MessageTooLarge, 6, 3},
		{"\x82\x7F\x80", Options{}, LengthTopBit, 2, 0},
		{"\x82\x7E\x00\x7D", Options{}, LengthNotMinimal, 3, 125},
		{"\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", Options{}, LengthNotMinimal, 9, 65535},
		{"\x82\x7F\x00\x00\x01\x00\x00\x00\x00\x00", Options{}, FrameTooLarge, 9, 1 << 40},
		{"\x88\x02\x03\xED", Options{}, InvalidCloseCode, 3, 2},
		{"\x88\x05\x03\xE8ab\xFF", Options{}, InvalidUTF8, 6, 5},
		{"\x88\x04\x03\xE8a\xC3", Options{}, TruncatedUTF8, 6, 4},
		{"\x81\x09ab\xED\xA0", Options{}, InvalidUTF8, 5, 9},
		{"\x01\x01\xE2\x80\x01\x82", Options{}, TruncatedUTF8, 6, 1},
		{"\x01\x01\xE2\x80\x00", Options{}, TruncatedUTF8, 5, 0},
	} {
		for n := range len(c.bytes) {
			// No verdict comes before the byte that decides.
			if r := Parse(Client, c.o, []byte(c.bytes[:n])); r.Err != nil {
				t.Errorf("%q: judged after %d bytes: %s", c.bytes, n, r.Err.Rule.Name)
			}
		}
		r := Parse(Client, c.o, []byte(c.bytes))
		if r.Err == nil || r.Err.Rule != c.rule || r.Err.Offset != c.offset || r.Err.Length != c.length {
			t.Errorf("%q: got %+v, want %s at %d", c.bytes, r.Err, c.rule.Name, c.offset)
		}
	}
}

func TestTextTable(t *testing.T) {
	for _, x := range Texts {
		bad, complete := CheckText([]byte(x.Text))
		if bad != x.Bad || complete != (x.Bad < 0 && !x.Open) {
			t.Errorf("%s: %d, %t", x.Name, bad, complete)
		}
		if utf8.ValidString(x.Text) != (x.want() == "") {
			t.Errorf("%s: the table is wrong", x.Name)
		}
	}
}

// TestR33EveryShortText compares the grammar with unicode/utf8 over every string of up to
// three bytes, and of four with the leads F0–F7.
func TestR33EveryShortText(t *testing.T) {
	same := func(p ...byte) {
		if _, ok := CheckText(p); ok != utf8.Valid(p) {
			t.Fatalf("%x: %t", p, ok)
		}
	}
	for a := range 256 {
		same(byte(a))
		for b := range 256 {
			same(byte(a), byte(b))
			if a < 0xC0 && a >= 0x7F && a != 0x80 { // one of these is enough for all
				continue
			}
			for c := range 256 {
				same(byte(a), byte(b), byte(c))
			}
		}
	}
	for a := 0xF0; a < 0xF8; a++ {
		for b := 0x7F; b < 0xC1; b++ {
			for c := 0x7F; c < 0xC1; c++ {
				for d := 0x7F; d < 0xC1; d++ {
					same(byte(a), byte(b), byte(c), byte(d))
				}
			}
		}
	}
}

func TestEndOfStream(t *testing.T) {
	for _, c := range []struct {
		bytes   string
		end     State
		partial string
	}{
		{"", BetweenMessages, ""},
		{"\x81", InsideHeader, ""},
		{"\x81\x7E\x01", InsideHeader, ""},
		{"\x81\x02", InsidePayload, ""},
		{"\x81\x02a", InsidePayload, "a"},
		{"\x81\x02ab", BetweenMessages, ""},
		{"\x01\x00", InsideMessage, ""},
		{"\x01\x00\x89\x00", InsideMessage, ""},
		{"\x88\x00", Closed, ""},
		{"\x88\x00\xFF", Closed, ""},
		{"\xFF", Failed, ""},
	} {
		if r := Parse(Client, Options{}, []byte(c.bytes)); r.End != c.end || r.Partial != c.partial {
			t.Errorf("%q: %v %q", c.bytes, r.End, r.Partial)
		}
	}
}

func TestR23CloseCodes(t *testing.T) {
	for code := range 65536 {
		b := Write(Client, closeWith(code, ""))
		want := !(code < 1000 || code >= 1004 && code <= 1006 || code >= 1015 && code < 3000 || code >= 5000)
		if got := Parse(Client, Options{}, b).Err == nil; got != want {
			t.Fatalf("%d: %t", code, got)
		}
	}
}

func TestNonMinimalIsCounted(t *testing.T) {
	b := Write(Client, Piece{First: 0x82, Form: Form16}, Piece{First: 0x82, Form: Form64, Payload: []byte(strings.Repeat("a", 300))}, textFrame("a"))
	if r := Parse(Client, Options{AllowNonMinimal: true}, b); r.Err != nil || r.NonMinimal != 2 || len(r.Events) != 6 {
		t.Errorf("%+v", r)
	}
}
