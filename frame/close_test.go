package frame_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// receivable lists the codes of R23.
func receivable(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// TestR23EveryCloseCode sends all 65,536 codes to a decoder of each role, in one piece
// and in two, and to ParseClose.
func TestR23EveryCloseCode(t *testing.T) {
	for code := range 1 << 16 {
		body := []byte{byte(code >> 8), byte(code)}
		for _, role := range roles {
			wire := reference.Piece{First: 0x88, Payload: body}.Append(nil, role)
			want := uint64(len(wire) - 1) // the code's second byte
			d := frame.NewDecoder(roleOf(role), frame.Options{})
			ev, n, err := d.Next(bytes.Clone(wire[:len(wire)-1]))
			if err != nil || n != len(wire)-1 || ev.End {
				t.Fatalf("%d: judged before its second byte: %v", code, err)
			}
			ev, _, err = d.Next(bytes.Clone(wire[len(wire)-1:]))
			whole := decode(roleOf(role), frame.Options{}, wire)
			if receivable(code) {
				if err != nil || whole != nil || !ev.End || !d.Closed() {
					t.Fatalf("%d: %v, %v", code, err, whole)
				}
				continue
			}
			if !errors.Is(err, frame.ErrCloseCode) || err.(*frame.ProtocolError).Offset != want || whole == nil || *whole != *err.(*frame.ProtocolError) {
				t.Fatalf("%d: %v and %v, want %v at byte %d", code, err, whole, frame.ErrCloseCode, want)
			}
		}
		got, reason, err := frame.ParseClose(append(body, "why"...))
		if receivable(code) != (err == nil) || err == nil && (int(got) != code || string(reason) != "why") || err != nil && !errors.Is(err, frame.ErrCloseCode) {
			t.Fatalf("ParseClose(%d): %v %q %v", code, got, reason, err)
		}
		if got := frame.CloseCode(code).Receivable(); got != receivable(code) {
			t.Fatalf("%d: Receivable is %t", code, got)
		}
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			want := receivable(code) && (code != 1010 || role == frame.Client)
			if frame.CloseCode(code).Sendable(role) != want {
				t.Fatalf("%d: Sendable(%v) is %t", code, role, !want)
			}
		}
	}
}

// TestR22R25R29CloseBodies gives bodies of every length to the decoder and to ParseClose.
// AppendClose must encode what they return to the same bytes.
func TestR22R25R29CloseBodies(t *testing.T) {
	if code, reason, err := frame.ParseClose(nil); code != frame.CodeNoStatus || len(reason) != 0 || err != nil {
		t.Errorf("no body: %v %q %v, want 1005", code, reason, err)
	}
	if _, _, err := frame.ParseClose([]byte{3}); !errors.Is(err, frame.ErrCloseBodyLength) {
		t.Errorf("one byte: %v", err)
	}
	if _, _, err := frame.ParseClose(append([]byte{3, 232}, make([]byte, 124)...)); !errors.Is(err, frame.ErrControlTooLong) {
		t.Errorf("126 bytes: %v", err)
	}
	for n := range 126 {
		body := append([]byte{15, 160}, strings.Repeat("é", 62)...)[:n] // 4000; odd lengths cut the last é
		for _, role := range roles {
			stream := reference.Piece{First: 0x88, Payload: body}.Append(nil, role)
			r := replay.New(role, reference.Options{}, stream)
			if err := errors.Join(r.All(), r.All(replay.Drip(len(stream))...)); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		code, reason, err := frame.ParseClose(body)
		switch {
		case n < 2:
		case n%2 == 1:
			if !errors.Is(err, frame.ErrInvalidUTF8) || reason != nil || code != 0 {
				t.Errorf("%d bytes: %v %q %v", n, code, reason, err)
			}
		default:
			if code != 4000 || !bytes.Equal(reason, body[2:]) || cap(reason) != len(reason) || err != nil {
				t.Errorf("%d bytes: %v %q %v", n, code, reason, err)
			}
			again, err := frame.AppendClose([]byte("before"), frame.Server, code, string(reason))
			if err != nil || string(again) != "before"+string(body) {
				t.Errorf("%d bytes: appended %q, %v", n, again, err)
			}
		}
	}
}

// TestR25ReasonTable: a reason is refused at its first invalid byte, or at its end.
func TestR25ReasonTable(t *testing.T) {
	for _, x := range reference.Texts {
		if len(x.Text) > frame.MaxCloseReason {
			t.Fatalf("%s is no reason", x.Name)
		}
		body := append([]byte{3, 232}, x.Text...)
		for _, skip := range []bool{false, true} { // reasons are checked whatever SkipUTF8 says
			got := decode(frame.Client, frame.Options{SkipUTF8: skip}, reference.Piece{First: 0x88, Payload: body}.Append(nil, reference.Client))
			var want error
			offset := uint64(4 + x.Bad)
			switch {
			case x.Bad >= 0:
				want = frame.ErrInvalidUTF8
			case x.Open:
				want, offset = frame.ErrTruncatedUTF8, uint64(2+len(body))
			}
			if (want == nil) != (got == nil) || want != nil && (!errors.Is(got, want) || got.Offset != offset || got.Code != frame.CodeInvalidPayload) {
				t.Errorf("%s: %v, want %v at byte %d", x.Name, got, want, offset)
			}
		}
		_, _, err := frame.ParseClose(body)
		_, err2 := frame.AppendClose(nil, frame.Client, frame.CodeNormal, x.Text)
		if bad := x.Bad >= 0 || x.Open; bad != (err != nil) || bad != (err2 != nil) {
			t.Errorf("%s: ParseClose %v, AppendClose %v", x.Name, err, err2)
		}
	}
}

// TestR29EndOfStreamAtEveryByte ends every short stream at each of its bytes. The error
// is io.EOF between messages and after a Close frame, and io.ErrUnexpectedEOF inside a
// frame or a message.
func TestR29EndOfStreamAtEveryByte(t *testing.T) {
	for _, role := range roles {
		for i, s := range reference.Streams(role) {
			if i%thin() != 0 {
				continue
			}
			for n := range min(len(s.Bytes), 60) {
				r := replay.New(role, s.Options, s.Bytes[:n])
				if err := r.All(); err != nil {
					t.Fatalf("%s, %s, %d bytes: %v", role, s.Name, n, err)
				}
			}
		}
	}
}

// TestR29CloseIsTheEnd: after a Close frame a reader reports the end without a further
// read, whatever follows.
func TestR29CloseIsTheEnd(t *testing.T) {
	src := io.MultiReader(bytes.NewReader([]byte("\x81\x01a\x88\x02\x03\xE8\xFF\xFF\x81")), failing{})
	rd := frame.NewReader(src, frame.Client, frame.Options{})
	for i, want := range []frame.Opcode{frame.Text, frame.Close} {
		if m, err := rd.Next(); err != nil || m.Opcode != want {
			t.Fatalf("item %d: %v, %v", i, m.Opcode, err)
		}
	}
	for range 3 {
		if _, err := rd.Next(); err != io.EOF {
			t.Fatalf("%v, want io.EOF", err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { panic("read behind the Close frame") }

// TestR25ReasonIsNotCut: a reason that is too long is an error. It is not cut.
func TestR25ReasonIsNotCut(t *testing.T) {
	fits := strings.Repeat("a", 121) + "é"
	if b, err := frame.AppendClose(nil, frame.Client, frame.CodeNormal, fits); err != nil || len(b) != 125 {
		t.Errorf("123 bytes: %d, %v", len(b), err)
	}
	if b, err := frame.AppendClose(nil, frame.Client, frame.CodeNormal, fits+"é"); err != frame.ErrCloseReasonTooLong || len(b) != 0 {
		t.Errorf("125 bytes: %q, %v", b, err)
	}
}

func TestCloseCodeNames(t *testing.T) {
	for code, want := range map[frame.CloseCode]string{
		1000: "1000 (normal closure)", 1006: "1006 (abnormal closure)", 1014: "1014 (bad gateway)", 1016: "1016", 4321: "4321",
	} {
		if got := code.String(); got != want {
			t.Errorf("%d: %q, want %q", uint16(code), got, want)
		}
	}
}

// TestF79BrokenCloseTells gives Close frames that break a rule to a reader of each role.
// It checks the rule, the byte that decides, and the code and reason. Pieces of one byte
// give the same.
func TestF79BrokenCloseTells(t *testing.T) {
	const reason = "idle for too long"
	fill := strings.Repeat("0123456789", 13)
	huge := uint64(1<<63 + 7)
	at := func(header, payload uint64) [2]uint64 { return [2]uint64{header, payload} } // for a client and for a server
	for _, x := range []struct {
		name   string
		piece  reference.Piece
		rule   *frame.ProtocolError // nil means the error of a wrong mask bit
		offset [2]uint64
		want   frame.BrokenClose // not Whole if more bytes are to come
		ok     bool
	}{
		{"code out of range", piece(0x88, "\xEA\x6F"+reason), frame.ErrCloseCode, at(3, 7), frame.BrokenClose{60015, reason, true}, true},
		{"code 0", piece(0x88, "\x00\x00"), frame.ErrCloseCode, at(3, 7), frame.BrokenClose{0, "", true}, true},
		{"code 1005", piece(0x88, "\x03\xEDnone"), frame.ErrCloseCode, at(3, 7), frame.BrokenClose{1005, "none", true}, true},
		{"code 1006", piece(0x88, "\x03\xEE"), frame.ErrCloseCode, at(3, 7), frame.BrokenClose{1006, "", true}, true},
		{"code 1015", piece(0x88, "\x03\xF7"+reason), frame.ErrCloseCode, at(3, 7), frame.BrokenClose{1015, reason, true}, true},
		{"one byte", piece(0x88, "\x03"), frame.ErrCloseBodyLength, at(1, 1), frame.BrokenClose{1005, "", true}, true},
		{"reason not UTF-8", piece(0x88, "\x03\xE8\xFCber"), frame.ErrInvalidUTF8, at(4, 8), frame.BrokenClose{1000, "\xFCber", true}, true},
		{"reason not UTF-8 at its end", piece(0x88, "\x03\xE8abc\xFF"), frame.ErrInvalidUTF8, at(7, 11), frame.BrokenClose{1000, "abc\xFF", true}, true},
		{"reason cut in a character", piece(0x88, "\x0F\xA0abc\xE2\x82"), frame.ErrTruncatedUTF8, at(9, 13), frame.BrokenClose{4000, "abc\xE2\x82", true}, true},
		{"RSV1", piece(0xC8, "\x03\xE9"+reason), frame.ErrReservedBits, at(0, 0), frame.BrokenClose{1001, reason, true}, true},
		{"RSV3 and no FIN", piece(0x18, "\x03\xE9"+reason), frame.ErrReservedBits, at(0, 0), frame.BrokenClose{1001, reason, true}, true},
		{"no FIN", piece(0x08, "\x03\xE9"+reason), frame.ErrFragmentedControl, at(0, 0), frame.BrokenClose{1001, reason, true}, true},
		{"no FIN, no body", piece(0x08, ""), frame.ErrFragmentedControl, at(0, 0), frame.BrokenClose{1005, "", true}, true},
		{"no FIN, code out of range", piece(0x08, "\xEA\x6F"+reason), frame.ErrFragmentedControl, at(0, 0), frame.BrokenClose{0, "", true}, false},
		{"wrong mask", wrongly(piece(0x88, "\x03\xE9"+reason)), nil, at(1, 1), frame.BrokenClose{1001, reason, true}, true},
		{"wrong mask, code out of range", wrongly(piece(0x88, "\xEA\x6F"+reason)), nil, at(1, 1), frame.BrokenClose{60015, reason, true}, true},
		{"wrong mask, no body", wrongly(piece(0x88, "")), nil, at(1, 1), frame.BrokenClose{1005, "", true}, true},
		{"16 bits of length", reference.Piece{First: 0x88, Form: reference.Form16, Payload: []byte("\x03\xE9" + reason)}, frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, reason, true}, true},
		{"64 bits of length", reference.Piece{First: 0x88, Form: reference.Form64, Payload: []byte("\x03\xE9" + reason)}, frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, reason, true}, true},
		{"126 bytes", piece(0x88, "\x03\xE9"+fill[:124]), frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, fill[:123], true}, true},
		{"126 bytes with a character at the end", piece(0x88, "\x03\xE9"+fill[:122]+"\xC3\xA9"), frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, fill[:122], true}, true},
		{"top bit of length", reference.Piece{First: 0x88, Form: reference.Form64, Declared: &huge, Payload: []byte("\x03\xE9" + fill)}, frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, fill[:123], true}, true},
		{"length that does not come", reference.Piece{First: 0x88, Form: reference.Form64, Declared: &huge, Payload: []byte("\x03\xE9abc\xE2\x82")}, frame.ErrControlTooLong, at(1, 1), frame.BrokenClose{1001, "abc", false}, true},
		{"text out of step", reference.Piece{Raw: []byte("HTTP/1.1 502 Bad Gateway")}, frame.ErrReservedBits, at(0, 0), frame.BrokenClose{0, "", true}, false},
		{"a ping", piece(0xC9, "\x03\xE9"+reason), frame.ErrReservedBits, at(0, 0), frame.BrokenClose{0, "", true}, false},
	} {
		for i, role := range []reference.Role{client, server} {
			rule := x.rule
			if rule == nil {
				rule = []*frame.ProtocolError{frame.ErrMaskedServerFrame, frame.ErrUnmaskedClientFrame}[i]
			}
			stream := bytesOf(role, x.piece)
			for _, size := range []int{len(stream), 1, 3} {
				r := frame.NewReader(nil, roleOf(role), frame.Options{})
				var err error
				var got frame.BrokenClose
				var ok bool
				for rest := stream; len(rest) > 0 && !(err != nil && got.Whole); {
					n := copy(r.Space(), rest[:min(size, len(rest))])
					r.Filled(n)
					rest = rest[n:]
					if err == nil {
						_, _, err = r.Buffered()
					}
					if err != nil {
						got, ok = r.BrokenClose()
					}
				}
				e, _ := err.(*frame.ProtocolError)
				if !errors.Is(err, rule) || e.Offset != x.offset[i] {
					t.Errorf("%s for a %v by %d: %v, want %s at byte %d", x.name, role, size, err, rule.Rule, x.offset[i])
				}
				if ok != x.ok || got != x.want {
					t.Errorf("%s for a %v by %d: told %+v, %t, want %+v, %t", x.name, role, size, got, ok, x.want, x.ok)
				}
			}
		}
	}
}

func wrongly(p reference.Piece) reference.Piece {
	p.WrongMask = true
	return p
}

// TestF79NothingBroken: BrokenClose returns false if no Close frame is broken or cut.
func TestF79NothingBroken(t *testing.T) {
	for _, stream := range []string{"", "\x88", "\x88\x02", "\x88\x02\x03", "\x88\x02\x03\xE8", "\x88\x00", "\x81\x05ab", "\x81\x02a\xFF", "\x89\x02a", "\x01\x02ab\x88\x03"} {
		r := frame.NewReader(strings.NewReader(stream), frame.Client, frame.Options{})
		for err := error(nil); err == nil; {
			_, err = r.Next()
		}
		if b, ok := r.BrokenClose(); ok {
			t.Errorf("% x: told %+v", stream, b)
		}
	}
	r := frame.NewReader(strings.NewReader("\x88\x09\x0F\xA0bye, \xC3"), frame.Client, frame.Options{})
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if b, ok := r.BrokenClose(); !ok || b != (frame.BrokenClose{4000, "bye, ", false}) {
		t.Errorf("cut: %+v, %t", b, ok)
	}
}
