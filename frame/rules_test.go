package frame_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
)

// The numbers in this file are counted by hand in the bytes of the test. The reference
// parser only encodes frames.

const (
	server = reference.Server
	client = reference.Client
)

// mustFail checks that a stream breaks a rule at an offset, and that the reader delivers
// only the items before it.
func mustFail(t *testing.T, role reference.Role, o frame.Options, stream []byte, rule *frame.ProtocolError, offset int, items ...string) {
	t.Helper()
	if got := decode(roleOf(role), o, stream); !errors.Is(got, rule) || got.Offset != uint64(offset) || got.Code != rule.Code {
		t.Errorf("% x for a %v: %v, want %v at byte %d", stream[:min(len(stream), 24)], role, got, rule.Rule, offset)
	}
	got, err := readAll(role, o, stream)
	if !errors.Is(err, rule) || fmt.Sprint(got) != fmt.Sprint(items) {
		t.Errorf("% x for a %v: the reader gives %q and %v", stream[:min(len(stream), 24)], role, got, err)
	}
}

// mustPass checks that a stream delivers the items.
func mustPass(t *testing.T, role reference.Role, o frame.Options, stream []byte, items ...string) {
	t.Helper()
	if got := decode(roleOf(role), o, stream); got != nil {
		t.Errorf("% x for a %v: %v", stream[:min(len(stream), 24)], role, got)
	}
	if got, _ := readAll(role, o, stream); fmt.Sprint(got) != fmt.Sprint(items) {
		t.Errorf("% x for a %v: %q, want %q", stream[:min(len(stream), 24)], role, got, items)
	}
}

// readAll returns what a reader delivers, as "opcode data".
func readAll(role reference.Role, o frame.Options, stream []byte) (items []string, err error) {
	rd := frame.NewReader(bytes.NewReader(stream), roleOf(role), o)
	for {
		m, err := rd.Next()
		if err != nil {
			return items, err
		}
		items = append(items, fmt.Sprintf("%v %s", m.Opcode, m.Data))
	}
}

func bytesOf(role reference.Role, pieces ...reference.Piece) []byte {
	return reference.Write(role, pieces...)
}

func piece(first byte, payload string) reference.Piece {
	return reference.Piece{First: first, Payload: []byte(payload)}
}

func TestR1UnmaskedFrameForAServer(t *testing.T) {
	ok := bytesOf(server, piece(0x81, "ok"))
	for _, first := range []byte{0x81, 0x82, 0x01, 0x89, 0x8A, 0x88} {
		for _, payload := range []string{"", "\x03\xE8"} {
			p := piece(first, payload)
			p.WrongMask = true
			mustFail(t, server, frame.Options{}, bytesOf(server, p), frame.ErrUnmaskedClientFrame, 1)
			mustFail(t, server, frame.Options{}, p.Append(bytes.Clone(ok), server), frame.ErrUnmaskedClientFrame, len(ok)+1, "text ok")
		}
	}
	open := bytesOf(server, piece(0x01, "a"))
	mustFail(t, server, frame.Options{}, append(open, 0x80, 0x01, 'b'), frame.ErrUnmaskedClientFrame, len(open)+1)
}

func TestR2MaskedFrameForAClient(t *testing.T) {
	for _, key := range [][4]byte{{}, {1, 2, 3, 4}} {
		for _, first := range []byte{0x81, 0x82, 0x01, 0x89, 0x8A, 0x88} {
			p := piece(first, "\x03\xE8")
			p.WrongMask, p.Key = true, &key
			mustFail(t, client, frame.Options{}, bytesOf(client, p), frame.ErrMaskedServerFrame, 1)
			mustFail(t, client, frame.Options{}, bytesOf(client, piece(0x81, "ok"), p), frame.ErrMaskedServerFrame, 5, "text ok")
		}
		p := piece(0x80, "b")
		p.WrongMask, p.Key = true, &key
		mustFail(t, client, frame.Options{}, bytesOf(client, piece(0x01, "a"), p), frame.ErrMaskedServerFrame, 4)
	}
}

func TestR6R77ReservedBits(t *testing.T) {
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{0x0, 0x1, 0x2, 0x8, 0x9, 0xA} {
			for _, compression := range []bool{false, true} {
				for _, role := range roles {
					o := frame.Options{Compression: compression}
					bad := bytesOf(role, piece(0x80|rsv<<4|op, ""))
					if compression && rsv == 4 && (op == 1 || op == 2) {
						mustPass(t, role, o, bad, frame.Opcode(op).String()+" ")
						continue
					}
					mustFail(t, role, o, bad, frame.ErrReservedBits, 0)
					open := bytesOf(role, piece(0x01|0x40*b2i(compression), "a"))
					mustFail(t, role, o, append(open, bad...), frame.ErrReservedBits, len(open))
				}
			}
		}
	}
}

func b2i(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func TestR10R11LengthForms(t *testing.T) {
	lax := frame.Options{AllowNonMinimal: true}
	for _, c := range []struct {
		header string
		n      int
		rule   *frame.ProtocolError
		offset int
	}{
		{"\x82\x7D", 125, nil, 0},
		{"\x82\x7E\x00\x00", 0, frame.ErrLengthNotMinimal, 3},
		{"\x82\x7E\x00\x7D", 125, frame.ErrLengthNotMinimal, 3},
		{"\x82\x7E\x00\x7E", 126, nil, 0},
		{"\x82\x7E\xFF\xFF", 65535, nil, 0},
		{"\x82\x7F\x00\x00\x00\x00\x00\x00\x00\x00", 0, frame.ErrLengthNotMinimal, 9},
		{"\x82\x7F\x00\x00\x00\x00\x00\x00\x00\x7E", 126, frame.ErrLengthNotMinimal, 9},
		{"\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", 65535, frame.ErrLengthNotMinimal, 9},
		{"\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 65536, nil, 0},
	} {
		payload := strings.Repeat("x", c.n)
		stream := []byte(c.header + payload)
		if c.rule == nil {
			mustPass(t, client, frame.Options{}, stream, "binary "+payload)
		} else {
			mustFail(t, client, frame.Options{}, stream, c.rule, c.offset)
		}
		mustPass(t, client, lax, stream, "binary "+payload)
		d := frame.NewDecoder(frame.Client, lax)
		if _, _, err := d.Next(stream); err != nil || (d.NonMinimal() == 1) != (c.rule != nil) {
			t.Errorf("%x: %d lengths counted, %v", c.header, d.NonMinimal(), err)
		}
	}
	for _, top := range []byte{0x80, 0xFF} {
		for _, o := range []frame.Options{{}, lax, {MaxFrame: -1, MaxMessage: -1}} {
			mustFail(t, client, o, []byte{0x82, 0x7F, top}, frame.ErrLengthTopBit, 2)
		}
	}
	mustFail(t, server, frame.Options{}, []byte{0x82, 0xFF, 0x80}, frame.ErrLengthTopBit, 2)
}

func TestR12Limits(t *testing.T) {
	o := frame.Options{MaxFrame: 300, MaxMessage: 500}
	mustPass(t, client, o, bytesOf(client, piece(0x82, strings.Repeat("a", 300))), "binary "+strings.Repeat("a", 300))
	mustFail(t, client, o, []byte("\x82\x7E\x01\x2D"), frame.ErrFrameTooLarge, 3)
	mustFail(t, server, o, []byte("\x82\xFE\x01\x2D"), frame.ErrFrameTooLarge, 3) // the mask key need not come
	open := bytesOf(client, piece(0x02, strings.Repeat("a", 300)))
	mustFail(t, client, o, append(bytes.Clone(open), "\x80\x7E\x00\xC9"...), frame.ErrMessageTooLarge, 307)
	mustPass(t, client, o, append(bytes.Clone(open), bytesOf(client, piece(0x80, strings.Repeat("b", 200)))...),
		"binary "+strings.Repeat("a", 300)+strings.Repeat("b", 200))
	mustFail(t, client, frame.Options{MaxFrame: 5}, []byte("\x81\x06"), frame.ErrFrameTooLarge, 1)
	mustFail(t, client, frame.Options{MaxMessage: 5}, []byte("\x81\x06"), frame.ErrMessageTooLarge, 1)
	for _, c := range []struct {
		o      frame.Options
		length uint64
		rule   *frame.ProtocolError
	}{
		{frame.Options{}, frame.DefaultMaxFrame, nil},
		{frame.Options{}, frame.DefaultMaxFrame + 1, frame.ErrFrameTooLarge},
		{frame.Options{MaxFrame: -1}, frame.DefaultMaxMessage + 1, frame.ErrMessageTooLarge},
		{frame.Options{MaxFrame: -1, MaxMessage: -1}, frame.HardMaxMessage, nil},
		{frame.Options{MaxFrame: -1, MaxMessage: -1}, frame.HardMaxMessage + 1, frame.ErrFrameTooLarge},
		{frame.Options{MaxFrame: 1 << 30, MaxMessage: 1 << 30}, 1<<30 + 1, frame.ErrFrameTooLarge},
		{frame.Options{MaxMessage: 64 << 20}, 64 << 20, nil},
		{frame.Options{MaxMessage: 64 << 20}, 64<<20 + 1, frame.ErrMessageTooLarge},
		{frame.Options{MaxMessage: 1 << 20}, 1<<20 + 1, frame.ErrMessageTooLarge},
		{frame.Options{MaxMessage: 1 << 20}, 1 << 40, frame.ErrMessageTooLarge},
		{frame.Options{MaxMessage: -1}, frame.HardMaxMessage, nil},
		{frame.Options{MaxMessage: -1}, frame.HardMaxMessage + 1, frame.ErrMessageTooLarge},
		{frame.Options{MaxFrame: 64 << 20}, 17 << 20, frame.ErrMessageTooLarge},
		{frame.Options{MaxFrame: 1 << 20, MaxMessage: 64 << 20}, 1<<20 + 1, frame.ErrFrameTooLarge},
		{frame.Options{}, 1<<31 - 1, frame.ErrFrameTooLarge},
		{frame.Options{}, 1 << 31, frame.ErrFrameTooLarge},
		{frame.Options{}, 1<<32 + 5, frame.ErrFrameTooLarge},
		{frame.Options{}, 1 << 62, frame.ErrFrameTooLarge},
		{frame.Options{}, 1<<63 - 1, frame.ErrFrameTooLarge},
	} {
		stream := reference.Piece{First: 0x82, Declared: &c.length}.Append(nil, client)
		if c.rule == nil {
			mustPass(t, client, c.o, stream)
		} else {
			mustFail(t, client, c.o, stream, c.rule, 9)
		}
	}
}

func TestR13ContinuationOutsideAMessage(t *testing.T) {
	for _, first := range []byte{0x80, 0x00} {
		for _, role := range roles {
			p := piece(first, "x")
			mustFail(t, role, frame.Options{}, bytesOf(role, p), frame.ErrUnexpectedContinuation, 0)
			before := bytesOf(role, piece(0x81, "a"), piece(0x01, "b"), piece(0x80, "c"), piece(0x89, ""))
			mustFail(t, role, frame.Options{}, p.Append(bytes.Clone(before), role), frame.ErrUnexpectedContinuation, len(before), "text a", "text bc", "ping ")
		}
	}
}

func TestR14DataFrameInsideAMessage(t *testing.T) {
	for _, outer := range []byte{0x01, 0x02} {
		for _, inner := range []byte{0x81, 0x82, 0x01, 0x02} {
			for _, role := range roles {
				before := bytesOf(role, piece(outer, "a"), piece(0x00, ""), piece(0x8A, "p"))
				mustFail(t, role, frame.Options{}, append(bytes.Clone(before), inner), frame.ErrUnfinishedMessage, len(before), "pong p")
			}
		}
	}
}

// TestR15ControlFramesBetweenFragments: control frames are delivered in their place,
// before the message that they interrupt.
func TestR15ControlFramesBetweenFragments(t *testing.T) {
	for _, role := range roles {
		stream := bytesOf(role, piece(0x01, "a"), piece(0x89, "1"), piece(0x00, "b"), piece(0x8A, "2"), piece(0x00, ""), piece(0x89, ""), piece(0x80, "c"))
		mustPass(t, role, frame.Options{}, stream, "ping 1", "pong 2", "ping ", "text abc")
		mustPass(t, role, frame.Options{}, bytesOf(role, piece(0x01, "a"), piece(0x88, ""), piece(0x80, "b")), "close ")

		o := frame.Options{MaxControlPerMessage: 2}
		open := bytesOf(role, piece(0x01, ""), piece(0x89, ""), piece(0x8A, ""))
		whole := append(bytes.Clone(open), bytesOf(role, piece(0x80, ""))...)
		mustPass(t, role, o, append(bytes.Clone(whole), whole...), "ping ", "pong ", "text ", "ping ", "pong ", "text ") // the count starts again for each message
		mustFail(t, role, o, append(bytes.Clone(open), 0x89), frame.ErrTooManyControls, len(open), "ping ", "pong ")
		o.MaxControlPerMessage = -1
		mustPass(t, role, o, append(bytes.Clone(open), bytesOf(role, piece(0x89, ""))...), "ping ", "pong ", "ping ")
	}
}

// TestR16EmptyFragments puts an empty frame at each place of a message (V16). Each counts
// as a fragment (V7).
func TestR16EmptyFragments(t *testing.T) {
	for _, role := range roles {
		for i := range 16 {
			parts := [4]string{"a", "b", "c", "d"}
			for k := range parts {
				if i>>k&1 == 1 {
					parts[k] = ""
				}
			}
			want := strings.Join(parts[:], "")
			for first, name := range map[byte]string{1: "text", 2: "binary"} {
				stream := bytesOf(role, piece(first, parts[0]), piece(0, parts[1]), piece(0, parts[2]), piece(0x80, parts[3]), piece(0x81, "next"))
				mustPass(t, role, frame.Options{MaxFragments: 4}, stream, name+" "+want, "text next")
			}
		}
		open := bytesOf(role, piece(0x01, ""), piece(0x00, ""), piece(0x00, ""))
		mustFail(t, role, frame.Options{MaxFragments: 3}, append(bytes.Clone(open), 0x80), frame.ErrTooManyFragments, len(open))
		mustPass(t, role, frame.Options{MaxFragments: -1}, append(bytes.Clone(open), bytesOf(role, piece(0x80, "x"))...), "text x")
	}
}

// TestR18FragmentsHaveTheTypeOfTheFirst: invalid UTF-8 is accepted only in the fragments
// of a binary message.
func TestR18FragmentsHaveTheTypeOfTheFirst(t *testing.T) {
	for _, role := range roles {
		mustPass(t, role, frame.Options{}, bytesOf(role, piece(0x02, "\xFF"), piece(0x00, "\xC3"), piece(0x80, "\xC3"), piece(0x81, "é")), "binary \xFF\xC3\xC3", "text é")
		open := bytesOf(role, piece(0x02, "\xE2"), piece(0x80, ""), piece(0x01, "ok"))
		bad := bytesOf(role, piece(0x80, "\xFF"))
		mustFail(t, role, frame.Options{}, append(bytes.Clone(open), bad...), frame.ErrInvalidUTF8, len(open)+len(bad)-1, "binary \xE2")
	}
}

func TestR19ControlFrames(t *testing.T) {
	for _, first := range []byte{0x88, 0x89, 0x8A} {
		body := "\x03\xE8" + strings.Repeat("p", 123)
		name := frame.Opcode(first & 0xF).String()
		mustPass(t, client, frame.Options{}, bytesOf(client, piece(first, body)), name+" "+body)
		mustFail(t, client, frame.Options{}, []byte{first, 126}, frame.ErrControlTooLong, 1)
		mustFail(t, client, frame.Options{AllowNonMinimal: true}, []byte{first, 127}, frame.ErrControlTooLong, 1)
		mustFail(t, server, frame.Options{}, []byte{first, 0xFE}, frame.ErrControlTooLong, 1)
		mustFail(t, client, frame.Options{}, []byte{first &^ 0x80}, frame.ErrFragmentedControl, 0)
	}
}

func TestR22CloseBodyOfOneByte(t *testing.T) {
	mustFail(t, client, frame.Options{}, []byte{0x88, 1}, frame.ErrCloseBodyLength, 1)
	mustFail(t, server, frame.Options{}, []byte{0x88, 0x81}, frame.ErrCloseBodyLength, 1)
	mustPass(t, client, frame.Options{}, []byte{0x88, 0}, "close ")
	mustPass(t, client, frame.Options{}, []byte{0x89, 1, 'x'}, "ping x")
}

// TestR31R32TextTable sends each text of the table after 0 to 70 other bytes, so that it
// meets every place of a kernel's block. It is sent in one frame, in two frames cut at
// every byte, and in a frame whose end has not come.
func TestR31R32TextTable(t *testing.T) {
	for _, x := range reference.Texts {
		for before := range 71 {
			text := strings.Repeat("=", before) + x.Text
			for _, role := range roles {
				whole := reference.Piece{First: 0x81, Payload: []byte(text)}.Append(nil, role)
				head := len(whole) - len(text)
				check(t, x, role, whole, head+before+x.Bad, len(whole))
				more := uint64(len(text) + 9)
				open := reference.Piece{First: 0x81, Payload: []byte(text), Declared: &more}.Append(nil, role)
				check(t, reference.Text{Name: x.Name, Bad: x.Bad}, role, open, len(open)-len(text)+before+x.Bad, 0)
				if before%8 != 0 {
					continue
				}
				for cut := before; cut <= len(text); cut++ {
					two := reference.Write(role, piece(0x01, text[:cut]), piece(0x80, text[cut:]))
					bad := len(two) - len(text) + before + x.Bad
					if before+x.Bad < cut {
						bad = len(bytesOf(role, piece(0x01, text[:cut]))) - cut + before + x.Bad
					}
					check(t, x, role, two, bad, len(two))
				}
			}
		}
	}
}

// check checks the verdict on a text that begins a stream.
func check(t *testing.T, x reference.Text, role reference.Role, stream []byte, bad, end int) {
	t.Helper()
	got := decode(roleOf(role), frame.Options{}, stream)
	switch {
	case x.Bad >= 0:
		if !errors.Is(got, frame.ErrInvalidUTF8) || got.Offset != uint64(bad) || got.Code != frame.CodeInvalidPayload {
			t.Fatalf("%s for a %v: %v, want invalid UTF-8 at byte %d", x.Name, role, got, bad)
		}
	case x.Open:
		if !errors.Is(got, frame.ErrTruncatedUTF8) || got.Offset != uint64(end) {
			t.Fatalf("%s for a %v: %v, want truncated UTF-8 at byte %d", x.Name, role, got, end)
		}
	case got != nil:
		t.Fatalf("%s for a %v: %v", x.Name, role, got)
	}
}

// TestR32FailsWithTheByte feeds an invalid text byte by byte. The error comes with the
// invalid byte, neither before nor after it.
func TestR32FailsWithTheByte(t *testing.T) {
	for _, x := range reference.Texts {
		if x.Bad < 0 {
			continue
		}
		for _, role := range roles {
			more := uint64(len(x.Text) + 1000)
			stream := reference.Piece{First: 0x01, Payload: []byte(x.Text), Declared: &more}.Append(nil, role)
			bad := len(stream) - len(x.Text) + x.Bad
			d := frame.NewDecoder(roleOf(role), frame.Options{})
			for i := range bad {
				if _, _, err := d.Next(bytes.Clone(stream[i : i+1])); err != nil {
					t.Fatalf("%s: %v with byte %d", x.Name, err, i)
				}
			}
			if _, _, err := d.Next(bytes.Clone(stream[bad : bad+1])); !errors.Is(err, frame.ErrInvalidUTF8) {
				t.Fatalf("%s: %v with byte %d", x.Name, err, bad)
			}
		}
	}
}

// TestR33EveryShortText sends every text of one and two bytes, and of three with a lead
// byte, as frames.
func TestR33EveryShortText(t *testing.T) {
	d := frame.NewDecoder(frame.Client, frame.Options{})
	one := func(text ...byte) {
		d.Reset(frame.Client, frame.Options{})
		bad, complete := reference.CheckText(text)
		ev, n, err := d.Next(append([]byte{0x81, byte(len(text))}, text...))
		if complete {
			if err != nil || n != 2+len(text) || !ev.End {
				t.Fatalf("%x: %v", text, err)
			}
			return
		}
		offset := 2 + bad
		if bad < 0 {
			offset = 2 + len(text)
		}
		if e, ok := err.(*frame.ProtocolError); !ok || e.Offset != uint64(offset) || errors.Is(err, frame.ErrTruncatedUTF8) != (bad < 0) {
			t.Fatalf("%x: %v, want byte %d", text, err, offset)
		}
	}
	for a := range 256 {
		one(byte(a))
		for b := range 256 {
			one(byte(a), byte(b))
			if a < 0xE0 || a > 0xF4 || b < 0x7E || b > 0xC1 {
				continue
			}
			for c := range 256 {
				one(byte(a), byte(b), byte(c))
				if a >= 0xF0 && c >= 0x7F && c < 0xC1 {
					for _, e := range []byte{0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF} {
						one(byte(a), byte(b), byte(c), e)
					}
				}
			}
		}
	}
}

// TestSkipUTF8: the option skips the check of messages, and no other check.
func TestSkipUTF8(t *testing.T) {
	o := frame.Options{SkipUTF8: true}
	for _, role := range roles {
		mustPass(t, role, o, bytesOf(role, piece(0x81, "\xFF\xFE\xFD\xFC\xFB"), piece(0x01, "\xE2"), piece(0x80, "")), "text \xFF\xFE\xFD\xFC\xFB", "text \xE2")
	}
	mustFail(t, client, o, []byte("\x88\x03\x03\xE8\xFF"), frame.ErrInvalidUTF8, 4)
}

// TestProtocolError checks the fields and the text of an error.
func TestProtocolError(t *testing.T) {
	err := decode(frame.Client, frame.Options{}, []byte("\x81\x01a\x82\x7F\x00\x00\x01\x00\x00\x00\x00\x00"))
	want := "frame: frame too large (RFC 6455 §10.4) at byte 12 in a binary frame of 1099511627776 bytes: over the limit of 16777216 (frame.Options.MaxMessage)"
	if err == nil || err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if errors.Is(err, frame.ErrMessageTooLarge) || errors.Is(err, errors.New(err.Rule)) || !errors.Is(err, frame.ErrFrameTooLarge) {
		t.Error("errors.Is matches by something else than the rule")
	}
	if err.Requirement != "R12" {
		t.Errorf("requirement %s", err.Requirement)
	}
}

// TestLimitsAreNamed: the error of each limit tells its value and the field to raise.
func TestLimitsAreNamed(t *testing.T) {
	over := func(n uint64) reference.Piece { return reference.Piece{First: 0x82, Declared: &n} }
	for _, x := range []struct {
		o      frame.Options
		stream []reference.Piece
		rule   *frame.ProtocolError
		limit  uint64
		field  string
	}{
		{frame.Options{}, []reference.Piece{over(16<<20 + 1)}, frame.ErrFrameTooLarge, 16 << 20, "frame.Options.MaxMessage"},
		{frame.Options{MaxMessage: 20 << 20}, []reference.Piece{over(20<<20 + 1)}, frame.ErrMessageTooLarge, 20 << 20, "frame.Options.MaxMessage"},
		{frame.Options{MaxMessage: -1}, []reference.Piece{over(1<<30 + 1)}, frame.ErrMessageTooLarge, 1 << 30, "frame.Options.MaxMessage"},
		{frame.Options{MaxFrame: 5}, []reference.Piece{piece(0x81, "123456")}, frame.ErrFrameTooLarge, 5, "frame.Options.MaxFrame"},
		{frame.Options{MaxFrame: -1, MaxMessage: -1}, []reference.Piece{over(1<<30 + 1)}, frame.ErrFrameTooLarge, 1 << 30, "frame.Options.MaxFrame"},
		{frame.Options{MaxFrame: -1}, []reference.Piece{over(16<<20 + 1)}, frame.ErrMessageTooLarge, 16 << 20, "frame.Options.MaxMessage"},
		{frame.Options{MaxMessage: 5}, []reference.Piece{piece(0x01, "123"), piece(0x80, "456")}, frame.ErrMessageTooLarge, 5, "frame.Options.MaxMessage"},
		{frame.Options{MaxFragments: 2}, []reference.Piece{piece(0x01, ""), piece(0x00, ""), piece(0x80, "")}, frame.ErrTooManyFragments, 2, "frame.Options.MaxFragments"},
		{frame.Options{MaxControlPerMessage: 1}, []reference.Piece{piece(0x01, ""), piece(0x89, ""), piece(0x8A, "")}, frame.ErrTooManyControls, 1, "frame.Options.MaxControlPerMessage"},
	} {
		for _, role := range roles {
			err := decode(roleOf(role), x.o, bytesOf(role, x.stream...))
			if !errors.Is(err, x.rule) || err.Limit != x.limit || err.Field != x.field {
				t.Errorf("%+v: %v, want the limit of %d of %s", x.o, err, x.limit, x.field)
				continue
			}
			if want := fmt.Sprintf(": over the limit of %d (%s)", x.limit, x.field); !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%q does not end in %q", err, want)
			}
		}
	}
	if err := decode(frame.Client, frame.Options{}, []byte{0xFF}); err.Limit != 0 || err.Field != "" || strings.Contains(err.Error(), "limit") {
		t.Errorf("%v: no limit was passed", err)
	}
}
