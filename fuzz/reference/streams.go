package reference

import (
	"bytes"
	"fmt"
	"strings"
)

// Stream is a named stream of frames, right or wrong, with the verdict that its author
// has written down.
type Stream struct {
	Name    string // family/what
	Role    Role
	Options Options
	Bytes   []byte
	Want    string // name of the rule that it breaks, or ""
}

// Streams returns every named stream for a receiver with the role. They are the case
// families of the public Autobahn suite, the bug classes V1–V17, and wrong frames. Each
// wrong frame is in four places: alone, after a message, inside a message and after a
// Close frame (B9). LargeStreams has those of more than a few kilobytes.
func Streams(role Role) []Stream { return render(role, false) }

// LargeStreams returns the streams of more than a few kilobytes.
func LargeStreams(role Role) []Stream { return render(role, true) }

func render(role Role, large bool) []Stream {
	var all []Stream
	a := adder(func(name, want string, o Options, pieces ...Piece) {
		if want == wrongMask {
			want = map[Role]string{Server: "unmasked client frame", Client: "masked server frame"}[role]
		}
		b := Write(role, pieces...)
		if (len(b) > 4096) == large {
			all = append(all, Stream{Name: name, Role: role, Options: o, Bytes: b, Want: want})
		}
	})
	for _, family := range []func(adder){
		payloads, pings, fragments, texts, closes, closeCodes, brokenCloses, lengths, compressed, limits, counts, wrongFrames,
	} {
		family(a)
	}
	return all
}

// adder adds a stream. As verdict wrongMask means the rule of the role.
type adder func(name, want string, o Options, pieces ...Piece)

const wrongMask = "wrong mask"

func textFrame(s string) Piece { return Piece{First: 0x81, Payload: []byte(s)} }
func textPart(s string) Piece  { return Piece{First: 0x01, Payload: []byte(s)} }
func binFrame(s string) Piece  { return Piece{First: 0x82, Payload: []byte(s)} }
func binPart(s string) Piece   { return Piece{First: 0x02, Payload: []byte(s)} }
func middle(s string) Piece    { return Piece{First: 0x00, Payload: []byte(s)} }
func last(s string) Piece      { return Piece{First: 0x80, Payload: []byte(s)} }
func ping(s string) Piece      { return Piece{First: 0x89, Payload: []byte(s)} }
func pong(s string) Piece      { return Piece{First: 0x8A, Payload: []byte(s)} }
func closing(s string) Piece   { return Piece{First: 0x88, Payload: []byte(s)} }

func closeWith(code int, reason string) Piece {
	return closing(string([]byte{byte(code >> 8), byte(code)}) + reason)
}

func declared(first byte, n uint64, payload string) Piece {
	return Piece{First: first, Declared: &n, Form: Form64, Payload: []byte(payload)}
}

// payloads: data messages of critical sizes (Autobahn 1.*, 9.*; R8).
func payloads(add adder) {
	for _, n := range []int{0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 124, 125, 126, 127, 128, 255, 256, 257, 1000, 65534, 65535, 65536, 65537, 200000} {
		s := strings.Repeat("price=π ", n/9+1)
		text := s[:n-n%9] + strings.Repeat(".", n%9)
		add(fmt.Sprintf("payload/text of %d", n), "", Options{}, textFrame(text))
		add(fmt.Sprintf("payload/binary of %d", n), "", Options{}, binFrame(strings.Repeat("\xFF\x00\x80", n/3+1)[:n]))
	}
	add("payload/three messages in a row", "", Options{}, textFrame("one"), binFrame("\x02"), textFrame(""), textFrame("three"))
	n := uint64(81)
	add("payload/header only", "", Options{}, Piece{First: 0x81, Declared: &n})
	zero, ones := [4]byte{}, [4]byte{255, 255, 255, 255}
	add("payload/zero key", "", Options{}, Piece{First: 0x81, Payload: []byte("as it is"), Key: &zero})
	add("payload/key of ones", "", Options{}, Piece{First: 0x81, Payload: []byte("turned round"), Key: &ones})
}

// pings: control frames between messages (Autobahn 2.*; R20, R21).
func pings(add adder) {
	add("ping/empty", "", Options{}, ping(""))
	add("ping/text", "", Options{}, ping("Hello"), textFrame("x"))
	add("ping/not UTF-8", "", Options{}, ping("\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF"))
	add("ping/125 bytes", "", Options{}, ping(strings.Repeat("\xFE", 125)))
	add("ping/126 bytes", "control frame too long", Options{}, ping(strings.Repeat("\xFE", 126)), textFrame("x"))
	add("pong/unasked, empty", "", Options{}, pong(""))
	add("pong/unasked, with payload", "", Options{}, pong("unasked"), ping("p"))
	add("pong/125 bytes", "", Options{}, pong(strings.Repeat("\x80", 125)))
	add("pong/126 bytes", "control frame too long", Options{}, pong(strings.Repeat("\x80", 126)))
	var ten []Piece
	for i := range 10 {
		ten = append(ten, ping(fmt.Sprint("ping ", i)))
	}
	add("ping/ten in a row", "", Options{}, ten...)
	add("ping/pong, ping, message, pong", "", Options{}, pong("a"), ping("b"), binFrame("c"), pong("d"))
}

// fragments: messages in pieces (Autobahn 5.*, 6.1.*; R13–R18; V7, V16).
func fragments(add adder) {
	four := uint64(4)
	none := Options{}
	add("fragment/two", "", none, textPart("frag"), last("ment"))
	add("fragment/binary, two", "", none, binPart("\xFF"), last("\xFE"))
	add("fragment/two messages of two", "", none, textPart("a"), last("b"), binPart("c"), last("d"))
	add("fragment/ping between", "", none, textPart("frag"), ping("now"), last("ment"))
	add("fragment/pong between", "", none, textPart("frag"), pong("now"), last("ment"))
	add("fragment/pings and pongs between five", "", none, textPart("1"), ping("a"), middle("2"), pong("b"), middle("3"), ping(""), middle("4"), pong(""), last("5"))
	add("fragment/close between", "", none, textPart("frag"), closeWith(1000, ""), last("ment"))
	for i, parts := range [][]string{{"", "", ""}, {"", "a", "b"}, {"a", "", "b"}, {"a", "b", ""}, {"", "", "a"}, {"a", "", ""}, {"", "a", ""}} {
		for _, open := range []func(string) Piece{textPart, binPart} {
			first := open(parts[0])
			add(fmt.Sprintf("fragment/V16 empty pieces %d, opcode %d", i, first.First), "", none, first, middle(parts[1]), last(parts[2]), textFrame("x"))
		}
	}
	add("fragment/empty pieces inside a character", "", none, textPart("\xE2"), middle(""), middle("\x82"), middle(""), last("\xAC"))
	add("fragment/ends inside a close", "", none, textPart("frag"), ping("now"), Piece{First: 0x88, Declared: &four})
	add("fragment/first only", "", none, textPart("no end"))
	add("fragment/continuation first, FIN", "unexpected continuation", none, last("alone"), textFrame("x"))
	add("fragment/continuation first, no FIN", "unexpected continuation", none, middle("alone"), last("x"))
	add("fragment/empty continuation first", "unexpected continuation", none, last(""))
	add("fragment/continuation behind a message", "unexpected continuation", none, textFrame("a"), last("b"))
	add("fragment/continuation behind a fragmented message", "unexpected continuation", none, textPart("a"), last("b"), last("c"))
	add("fragment/continuation behind a ping", "unexpected continuation", none, ping("a"), last("b"))
	add("fragment/text inside text", "unfinished message", none, textPart("a"), textFrame("b"))
	add("fragment/text inside binary", "unfinished message", none, binPart("a"), textFrame("b"))
	add("fragment/binary inside text", "unfinished message", none, textPart("a"), binFrame("b"))
	add("fragment/text part inside text", "unfinished message", none, textPart("a"), textPart("b"), last("c"))
	add("fragment/text inside text, behind a ping", "unfinished message", none, textPart("a"), ping(""), textFrame("b"))
	var bytewise []Piece
	for i, c := range []byte("one byte at a time: 日本") {
		first := textPart(string([]byte{c}))
		if i > 0 {
			first = middle(string([]byte{c}))
		}
		bytewise = append(bytewise, first)
	}
	add("fragment/one byte each", "", none, append(bytewise, last(""))...)
	bytewise[0].First = 0x02
	add("fragment/one byte each, binary", "", none, append(bytewise, last("\xFF"))...)
}

// Text is a row of the table of texts.
type Text struct {
	Name string
	Text string
	Bad  int  // index of the first impossible byte; -1: none
	Open bool // ends within a sequence
}

// Texts is the table of texts, right and wrong (Autobahn 6.*, the rows of RFC 3629 §4;
// R31–R33, B4).
var Texts = []Text{
	{"ASCII", "Hello-", -1, false},
	{"greek", "κόσμε", -1, false},
	{"U+0000", "\x00", -1, false},
	{"U+007F", "\x7F", -1, false},
	{"U+0080", "\xC2\x80", -1, false},
	{"U+07FF", "\xDF\xBF", -1, false},
	{"U+0800", "\xE0\xA0\x80", -1, false},
	{"U+D7FF", "\xED\x9F\xBF", -1, false},
	{"U+E000", "\xEE\x80\x80", -1, false},
	{"U+FFFD", "\xEF\xBF\xBD", -1, false},
	{"U+FFFE", "\xEF\xBF\xBE", -1, false},
	{"U+FFFF", "\xEF\xBF\xBF", -1, false},
	{"U+10000", "\xF0\x90\x80\x80", -1, false},
	{"U+1FFFE", "\xF0\x9F\xBF\xBE", -1, false},
	{"U+10FFFF", "\xF4\x8F\xBF\xBF", -1, false},
	{"U+110000", "\xF4\x90\x80\x80", 1, false},
	{"lead F5", "\xF5\x80\x80\x80", 0, false},
	{"five bytes", "\xF8\x88\x80\x80\x80", 0, false},
	{"six bytes", "\xFC\x84\x80\x80\x80\x80", 0, false},
	{"FE", "\xFE", 0, false},
	{"FF", "a\xFF", 1, false},
	{"over-long / of 2", "\xC0\xAF", 0, false},
	{"over-long / of 3", "\xE0\x80\xAF", 1, false},
	{"over-long / of 4", "\xF0\x80\x80\xAF", 1, false},
	{"over-long C1", "\xC1\xBF", 0, false},
	{"over-long U+07FF", "\xE0\x9F\xBF", 1, false},
	{"over-long U+FFFF", "\xF0\x8F\xBF\xBF", 1, false},
	{"over-long NUL", "\xC0\x80", 0, false},
	{"U+D800", "\xED\xA0\x80", 1, false},
	{"U+DBFF", "\xED\xAF\xBF", 1, false},
	{"U+DC00", "\xED\xB0\x80", 1, false},
	{"U+DFFF", "\xED\xBF\xBF", 1, false},
	{"surrogate pair", "\xED\xA0\x80\xED\xB0\x80", 1, false},
	{"lone continuation 80", "\x80", 0, false},
	{"lone continuation BF", "ab\xBF", 2, false},
	{"lead, space", "\xC3 ", 1, false},
	{"lead of 3, lead of 2", "\xE2\xC3\xA9", 1, false},
	{"third byte wrong", "\xE2\x82 ", 2, false},
	{"fourth byte wrong", "\xF0\x9F\x98\x41", 3, false},
	{"cut after lead of 2", "a\xC3", -1, true},
	{"cut after lead of 3", "\xE2", -1, true},
	{"cut after 2 of 3", "\xE2\x82", -1, true},
	{"cut after lead of 4", "\xF0", -1, true},
	{"cut after 2 of 4", "\xF0\x9F", -1, true},
	{"cut after 3 of 4", "\xF0\x9F\x98", -1, true},
	{"bad behind good", "κόσμε\xF4\x90\x80\x80edited", 11, false},
	{"bad in byte 64", strings.Repeat("v", 63) + "\x80" + strings.Repeat("w", 9), 63, false},
	{"character over byte 32", strings.Repeat("v", 30) + "\xE2\x82\xAC", -1, false},
}

func (t Text) want() string {
	switch {
	case t.Bad >= 0:
		return "invalid UTF-8"
	case t.Open:
		return "truncated UTF-8"
	}
	return ""
}

// texts: every row in one frame, and in frames of one byte with a ping in the middle.
func texts(add adder) {
	for _, t := range Texts {
		add("text/"+t.Name, t.want(), Options{}, textFrame(t.Text), textFrame("x"))
		pieces := []Piece{textPart("")}
		for i := range len(t.Text) {
			if i == len(t.Text)/2 {
				pieces = append(pieces, ping("\xFF"))
			}
			pieces = append(pieces, middle(t.Text[i:i+1]))
		}
		if len(t.Text) < 20 {
			add("text/in pieces, "+t.Name, t.want(), Options{}, append(pieces, last(""))...)
		}
		if t.want() != "" {
			add("text/binary with "+t.Name, "", Options{}, binFrame(t.Text))
			add("text/unchecked "+t.Name, "", Options{SkipUTF8: true}, textFrame(t.Text))
		}
	}
	add("text/bad in an open frame", "invalid UTF-8", Options{}, declared(0x81, 100000, "ok\xFF and much more"))
	add("text/cut sequence, no FIN", "", Options{}, textPart("\xE2\x82"))
	add("text/cut sequence and a new message", "unfinished message", Options{}, textPart("\xE2\x82"), textFrame("\xAC"))
	add("text/checked again behind an unfinished check", "", Options{}, textPart("\xE2"), last("\x82\xAC"), textFrame("\xE2\x82\xAC"))
	add("text/binary pieces are not text", "", Options{}, binPart("\xE2"), middle("\xE2"), last("\xFF"), textFrame("x"))
	add("text/reason checked though text is not", "invalid UTF-8", Options{SkipUTF8: true}, textFrame("\xFF"), closeWith(1000, "\xFF"))
}

// closes: the bytes of the close handshake (Autobahn 7.*; R22, R25, R27, R29).
func closes(add adder) {
	none := Options{}
	add("close/empty", "", none, closing(""))
	add("close/one byte", "close body of one byte", none, closing("\x03"), textFrame("x"))
	add("close/code only", "", none, closeWith(1000, ""))
	add("close/reason", "", none, closeWith(1001, "going away"))
	add("close/reason of 123", "", none, closeWith(1000, strings.Repeat("*", 123)))
	add("close/reason of 124", "control frame too long", none, closeWith(1000, strings.Repeat("*", 124)))
	add("close/twice", "", none, closeWith(1000, ""), closeWith(1000, ""))
	add("close/ping behind", "", none, closeWith(1000, ""), ping("late"))
	add("close/text behind", "", none, closeWith(1000, ""), textFrame("late"))
	add("close/garbage behind", "", none, closing(""), Piece{Raw: []byte{0xFF, 0xFF, 0xFF, 0x00, 0x70}})
	add("close/half a frame behind", "", none, closing(""), Piece{Raw: []byte{0x81}})
	add("close/message before", "", none, textFrame("bye"), closeWith(1000, "bye"))
	for _, t := range Texts {
		if len(t.Text) < 20 {
			add("close/reason, "+t.Name, t.want(), none, closeWith(3000, t.Text), textFrame("x"))
		}
	}
}

// closeCodes: codes at the borders of the ranges (Autobahn 7.7.*, 7.9.*; R23).
func closeCodes(add adder) {
	for _, c := range []struct {
		want  string
		codes []int
	}{
		{"", []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}},
		{"invalid close code", []int{0, 1, 256, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535}},
	} {
		for _, code := range c.codes {
			add(fmt.Sprintf("close code/%d", code), c.want, Options{}, closeWith(code, ""), textFrame("x"))
			add(fmt.Sprintf("close code/%d with reason", code), c.want, Options{}, closeWith(code, "r"))
		}
	}
}

// brokenCloses: Close frames that break a rule and still have a code (F79).
func brokenCloses(add adder) {
	body := "\x03\xE9moving to another host" // 1001
	long := body + strings.Repeat(", über kurz oder länger", 8)
	long = long[:len(long)/3*3]
	add("broken close/code 60015", "invalid close code", Options{}, closeWith(60015, "idle for too long"), textFrame("x"))
	add("broken close/code 0 behind a message", "invalid close code", Options{}, textFrame("x"), closeWith(0, "gone"))
	add("broken close/reason in Latin-1", "invalid UTF-8", Options{}, closeWith(1000, "\xFCberlastet, bitte sp\xE4ter"), textFrame("x"))
	add("broken close/reason cut in a character", "truncated UTF-8", Options{}, closeWith(4000, "f\xC3\xBCr \xE2\x82"), textFrame("x"))
	add("broken close/code and reason", "invalid close code", Options{}, closeWith(1006, "\xFF\xFE"), textFrame("x"))
	for rsv := byte(1); rsv < 8; rsv++ {
		add(fmt.Sprintf("broken close/RSV %03b", rsv), "reserved bits", Options{}, Piece{First: 0x88 | rsv<<4, Payload: []byte(body)}, textFrame("x"))
	}
	add("broken close/RSV1 with compression", "reserved bits", Options{Compression: true}, Piece{First: 0xC8, Payload: []byte(body)})
	add("broken close/no FIN", "fragmented control frame", Options{}, Piece{First: 0x08, Payload: []byte(body)}, last("more"))
	add("broken close/no FIN and code 60015", "fragmented control frame", Options{}, Piece{First: 0x08, Payload: []byte("\xEA\x6Fidle")})
	add("broken close/wrong mask", wrongMask, Options{}, Piece{First: 0x88, Payload: []byte(body), WrongMask: true}, textFrame("x"))
	add("broken close/wrong mask, code 60015", wrongMask, Options{}, Piece{First: 0x88, Payload: []byte("\xEA\x6Fidle"), WrongMask: true})
	add("broken close/length in 16 bits", "control frame too long", Options{AllowNonMinimal: true}, Piece{First: 0x88, Payload: []byte(body), Form: Form16}, textFrame("x"))
	add("broken close/length in 64 bits", "control frame too long", Options{AllowNonMinimal: true}, Piece{First: 0x88, Payload: []byte(body), Form: Form64}, textFrame("x"))
	add("broken close/too long", "control frame too long", Options{}, Piece{First: 0x88, Payload: []byte(long)}, textFrame("x"))
	add("broken close/far too long", "control frame too long", Options{}, declared(0x88, 1<<40, long))
	add("broken close/wrong mask and too long", wrongMask, Options{}, Piece{First: 0x88, Payload: []byte(long), WrongMask: true})
	add("broken close/one control frame too many", "too many control frames", Options{MaxControlPerMessage: 1}, textPart("a"), ping(""), closing(body), last("b"))
	add("broken close/text out of step", "reserved bits", Options{}, Piece{Raw: []byte("HTTP/1.1 502 Bad Gateway\r\n\r\n")})
}

// lengths: the three forms and their invalid values (R10–R12; V1–V5).
func lengths(add adder) {
	lax := Options{AllowNonMinimal: true}
	open := Options{MaxFrame: 1<<63 - 100, MaxMessage: 1<<63 - 100}
	for _, c := range []struct {
		form Form
		n    int
	}{{Form16, 0}, {Form16, 1}, {Form16, 125}, {Form64, 0}, {Form64, 1}, {Form64, 125}, {Form64, 126}, {Form64, 127}, {Form64, 65535}} {
		p := Piece{First: 0x82, Form: c.form, Payload: make([]byte, c.n)}
		name := fmt.Sprintf("%d in %d bits", c.n, c.form)
		add("length/"+name, "length not minimal", Options{}, p, textFrame("x"))
		add("length/allowed "+name, "", lax, p, textFrame("x"))
	}
	add("length/125 in 16 bits, ping", "control frame too long", lax, Piece{First: 0x89, Form: Form16, Payload: make([]byte, 125)})
	add("length/0 in 64 bits, close", "control frame too long", lax, Piece{First: 0x88, Form: Form64})
	for _, n := range []uint64{1 << 63, 1<<63 + 5, 1<<64 - 1} {
		add(fmt.Sprintf("length/V1 %#x", n), "length top bit", Options{}, declared(0x82, n, "abc"))
		add(fmt.Sprintf("length/V1 %#x, continuation", n), "length top bit", Options{}, textPart("a"), declared(0x80, n, "abc"))
		add(fmt.Sprintf("length/V5 %#x without limits", n), "length top bit", open, declared(0x82, n, "abc"))
		add(fmt.Sprintf("length/V4 %#x, lax", n), "length top bit", lax, declared(0x82, n, "abc"))
	}
	for _, n := range []uint64{DefaultMaxFrame + 1, 1<<31 - 1, 1 << 31, 1 << 32, 1<<32 + 5, 1 << 62, 1<<63 - 1} {
		add(fmt.Sprintf("length/V2 %#x", n), "frame too large", Options{}, declared(0x82, n, "abc"))
		add(fmt.Sprintf("length/V2 %#x, continuation", n), "frame too large", Options{}, textPart("a"), declared(0x80, n, "abc"))
	}
	for _, n := range []uint64{DefaultMaxFrame, 1 << 20, 65536} {
		add(fmt.Sprintf("length/%#x not all there", n), "", Options{}, declared(0x82, n, "abc"))
	}
	for bit := range 64 {
		want := ""
		switch {
		case bit == 63:
			want = "length top bit"
		case bit < 16:
			want = "length not minimal"
		case bit > 24:
			want = "frame too large"
		}
		add(fmt.Sprintf("length/V3 bit %d", bit), want, Options{}, declared(0x82, 1<<bit, "abc"))
	}
}

// compressed: RSV1 with permessage-deflate; the payload is opaque here (Autobahn 12.*,
// 13.*; R6, R77, R78; V12).
func compressed(add adder) {
	on := Options{Compression: true}
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	add("deflate/text", "", on, Piece{First: 0xC1, Payload: []byte(hello)})
	add("deflate/binary", "", on, Piece{First: 0xC2, Payload: []byte(hello)})
	add("deflate/text in pieces", "", on, Piece{First: 0x41, Payload: []byte(hello[:3])}, middle(hello[3:4]), last(hello[4:]))
	add("deflate/final piece empty", "", on, Piece{First: 0x41, Payload: []byte(hello)}, last(""))
	add("deflate/not negotiated", "reserved bits", Options{}, Piece{First: 0xC1, Payload: []byte(hello)})
	add("deflate/plain text is checked", "invalid UTF-8", on, Piece{First: 0xC1, Payload: []byte("\xFF")}, textFrame("\xFF"))
	add("deflate/V12 compressed and plain in turn", "", on, textFrame("a"), Piece{First: 0xC1, Payload: []byte(hello)}, ping("p"), textFrame("b"), Piece{First: 0xC2, Payload: []byte(hello)}, binFrame("c"))
	add("deflate/ping between pieces", "", on, Piece{First: 0x41, Payload: []byte(hello[:2])}, ping(""), last(hello[2:]))
	for _, first := range []byte{0xC9, 0xCA, 0xC8, 0xC0} {
		add(fmt.Sprintf("deflate/RSV1 on %02X", first), "reserved bits", on, Piece{First: 0x41, Payload: []byte("\xf2")}, Piece{First: first, Payload: []byte{3, 232}})
	}
	add("deflate/RSV2 too", "reserved bits", on, Piece{First: 0xE1, Payload: []byte(hello)})
	add("deflate/RSV3 too", "reserved bits", on, Piece{First: 0xD1, Payload: []byte(hello)})
	add("deflate/RSV1 on opcode 3", "reserved opcode", on, Piece{First: 0xC3, Payload: []byte(hello)})
	add("deflate/RSV1 on opcode B", "reserved opcode", on, Piece{First: 0xCB})
	add("deflate/RSV1 inside a message", "unfinished message", on, textPart("a"), Piece{First: 0xC1, Payload: []byte(hello)})
	add("deflate/wire size is limited too", "message too large", Options{Compression: true, MaxMessage: 6}, Piece{First: 0xC1, Payload: []byte(hello)})
}

// limits: sizes at and over the limits (R12; V1, V6, V8).
func limits(add adder) {
	small := Options{MaxFrame: 10, MaxMessage: 20}
	ten := "0123456789"
	add("limit/frame at it", "", small, textFrame(ten), textFrame(ten))
	add("limit/frame over it", "frame too large", small, textFrame("a"), textFrame(ten+"a"))
	add("limit/frame over it, 16 bits", "frame too large", small, binFrame(strings.Repeat("a", 200)))
	add("limit/message at it", "", small, textPart(ten), last(ten))
	add("limit/message over it", "message too large", small, textPart(ten), middle(ten), last("a"))
	add("limit/message at it and empty pieces", "", small, textPart(ten), middle(ten), middle(""), last(""))
	add("limit/frame before message", "frame too large", Options{MaxFrame: 10, MaxMessage: 10}, textFrame(ten+"a"))
	add("limit/message below frame", "message too large", Options{MaxFrame: 20, MaxMessage: 10}, textFrame(ten+"a"))
	add("limit/control frames are not counted", "", Options{MaxFrame: 1, MaxMessage: 1}, ping(ten), textPart("a"), pong(ten), last(""), closeWith(1000, ten))
	add("limit/begins anew with each message", "", small, textPart(ten), last(ten), textPart(ten), last(ten))
	add("limit/of one", "", Options{MaxFrame: 1, MaxMessage: 1}, textFrame("a"), textFrame(""), textFrame("b"))
	add("limit/not minimal comes first", "length not minimal", small, Piece{First: 0x82, Form: Form16, Payload: make([]byte, 100)})
	add("limit/not minimal and lax", "frame too large", Options{MaxFrame: 10, AllowNonMinimal: true}, Piece{First: 0x82, Form: Form16, Payload: make([]byte, 100)})
	huge := Options{MaxFrame: 1<<63 - 100, MaxMessage: 1<<63 - 100}
	add("limit/V1 sum over a signed number", "message too large", huge, textPart(strings.Repeat("a", 120)), declared(0x80, 1<<63-100, "abc"))
	add("limit/V1 a huge length is legal", "", huge, declared(0x82, 1<<63-100, "abc"))
	add("limit/V5 largest length, no limit", "frame too large", Options{MaxFrame: 1<<63 - 100}, declared(0x82, 1<<63-1, "abc"))
	add("limit/V6 many pieces stop at the limit", "message too large", small, textPart("1234567"), middle("1234567"), middle("1234567"), middle("1234567"), last(""))
	add("limit/V8 sum of 16-bit pieces", "message too large", Options{MaxMessage: 300}, binPart(strings.Repeat("a", 200)), last(strings.Repeat("b", 101)))
}

// counts: limits on the number of frames (V7, V15).
func counts(add adder) {
	three := Options{MaxFragments: 3, MaxControlPerMessage: 3}
	add("count/fragments at the limit", "", three, textPart("a"), middle("b"), last("c"), textPart("a"), middle("b"), last("c"))
	add("count/fragments over the limit", "too many fragments", three, textPart("a"), middle("b"), middle("c"), last("d"))
	add("count/V7 empty fragments are counted", "too many fragments", three, textPart(""), middle(""), middle(""), last(""))
	add("count/one fragment", "", Options{MaxFragments: 1}, textFrame("a"), textFrame("b"))
	add("count/one fragment, two come", "too many fragments", Options{MaxFragments: 1}, textPart("a"), last("b"))
	add("count/control frames at the limit", "", three, textPart(""), ping(""), pong(""), ping(""), last(""))
	add("count/control frames over the limit", "too many control frames", three, textPart(""), ping(""), pong(""), ping(""), pong(""), last(""))
	add("count/close over the limit", "too many control frames", three, textPart(""), ping(""), pong(""), ping(""), closing(""))
	add("count/V15 control frames outside a message", "", three, ping(""), pong(""), ping(""), pong(""), pong(""), textPart(""), ping(""), ping(""), ping(""), last(""), ping(""))
	add("count/control frames counted per message", "", three, textPart(""), ping(""), ping(""), ping(""), last(""), textPart(""), ping(""), ping(""), ping(""), last(""))
	flood := []Piece{textPart("a")}
	for range 200 {
		flood = append(flood, middle(""), pong(""))
	}
	add("count/V7 flood below the defaults", "", Options{}, append(flood, last("b"))...)
}

// wrongFrames: each wrong frame in each place (B9; Autobahn 3.*, 4.*; V14).
func wrongFrames(add adder) {
	none := Options{}
	for _, w := range wrongTable() {
		after := textFrame("never")
		add("wrong/"+w.name, w.alone, none, w.frame, after)
		add("wrong/behind a message, "+w.name, w.alone, none, textFrame("ok"), w.frame, after)
		add("wrong/behind a fragmented message and a ping, "+w.name, w.alone, none, binPart("\xFF"), last(""), ping("p"), w.frame, after)
		add("wrong/inside a message, "+w.name, w.inside, none, textPart("ok"), w.frame, after)
		add("wrong/behind a close, "+w.name, "", none, closeWith(1000, ""), w.frame, after)
	}
}

type wrong struct {
	name          string
	alone, inside string // the rule outside and inside a message
	frame         Piece
}

func wrongTable() []wrong {
	var t []wrong
	add := func(name, alone, inside string, p Piece) { t = append(t, wrong{name, alone, inside, p}) }
	for rsv := byte(1); rsv < 8; rsv++ {
		add(fmt.Sprintf("RSV %03b on text", rsv), "reserved bits", "reserved bits", Piece{First: 0x81 | rsv<<4, Payload: []byte("r")})
	}
	for _, first := range []byte{0x40, 0x20, 0x10, 0xC2, 0x90, 0xC9, 0xAA, 0x98, 0xF0} {
		add(fmt.Sprintf("first byte %02X", first), "reserved bits", "reserved bits", Piece{First: first, Payload: []byte{3, 232}})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		add(fmt.Sprintf("opcode %X", op), "reserved opcode", "reserved opcode", Piece{First: 0x80 | op, Payload: []byte("o")})
		add(fmt.Sprintf("V14 opcode %X, no FIN, 2^40", op), "reserved opcode", "reserved opcode", declared(op, 1<<40, "o"))
	}
	for _, first := range []byte{0x08, 0x09, 0x0A} {
		add(fmt.Sprintf("control %02X in pieces", first), "fragmented control frame", "fragmented control frame", Piece{First: first, Payload: []byte{3, 232}})
	}
	for _, first := range []byte{0x88, 0x89, 0x8A} {
		add(fmt.Sprintf("control %02X, wrong mask", first), wrongMask, wrongMask, Piece{First: first, WrongMask: true})
		add(fmt.Sprintf("control %02X of 126", first), "control frame too long", "control frame too long", Piece{First: first, Payload: bytes.Repeat([]byte{3, 232}, 63)})
		add(fmt.Sprintf("V14 control %02X of 2^40", first), "control frame too long", "control frame too long", declared(first, 1<<40, "c"))
	}
	zero := [4]byte{}
	add("text, wrong mask", wrongMask, "unfinished message", Piece{First: 0x81, WrongMask: true, Payload: []byte("m")})
	add("text, wrong mask of zero", wrongMask, "unfinished message", Piece{First: 0x81, WrongMask: true, Key: &zero, Payload: []byte("m")})
	add("continuation, wrong mask", "unexpected continuation", wrongMask, Piece{First: 0x80, WrongMask: true, Payload: []byte("m")})
	add("empty binary, wrong mask", wrongMask, "unfinished message", Piece{First: 0x82, WrongMask: true})
	add("continuation, no FIN", "unexpected continuation", "unfinished message", middle("c"))
	add("text with FF", "invalid UTF-8", "unfinished message", textFrame("a\xFF"))
	add("continuation with FF", "unexpected continuation", "invalid UTF-8", middle("a\xFF"))
	add("continuation cut in a character", "unexpected continuation", "truncated UTF-8", last("a\xE2\x82"))
	add("close of one byte", "close body of one byte", "close body of one byte", closing("\x03"))
	add("close 1005", "invalid close code", "invalid close code", closeWith(1005, "no"))
	add("close reason FF", "invalid UTF-8", "invalid UTF-8", closeWith(1000, "\xFF"))
	add("close reason cut", "truncated UTF-8", "truncated UTF-8", closeWith(1000, "\xF0\x9F"))
	return t
}
