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

// receivable is R23 as a list.
func receivable(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// TestR23EveryCloseCode sends all 65,536 codes to a decoder of each role, in one piece and in two, and to ParseClose.
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

// TestR22R25R29CloseBodies gives bodies of every length to the decoder and to ParseClose, and takes them back from
// AppendClose.
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

// TestR25ReasonTable holds that a reason is refused at its first impossible byte, or at its end.
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

// TestR29EndOfStreamAtEveryByte ends every short stream at each of its bytes: io.EOF between messages and behind a Close
// frame, io.ErrUnexpectedEOF inside a frame or a message.
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

// TestR29CloseIsTheEnd holds that a reader reports the end behind a Close frame without a further read, whatever follows.
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

// TestR25ReasonIsNotCut holds that a reason that is too long is an error, not cut.
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
