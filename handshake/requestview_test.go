package handshake

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// asked is a request that every server accepts.
var asked = []string{
	"GET /chat?room=1 HTTP/1.1",
	"Host: server.example.com",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: " + rfcKey,
	"Sec-WebSocket-Version: 13",
}

type requestCase struct {
	name  string
	edits []string
	want  *Error // nil: accepted
}

func edit(e ...string) []string { return e }

func testRequests(t *testing.T, cases []requestCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := head(asked, c.edits...)
			_, got := parseRequest(t, b, Limits{})
			if c.want == nil {
				if got.err != nil || got.n != len(b) {
					t.Fatalf("%v, want it accepted\n%q", got, b)
				}
				return
			}
			if !errors.Is(got.err, c.want) {
				t.Fatalf("%v, want %v\n%q", got.err, c.want, b)
			}
			if e := got.err.(*Error); e.Status != c.want.Status || e.Section == "" {
				t.Errorf("status %d, section %q", e.Status, e.Section)
			}
		})
	}
}

func TestR56RequestLineAndHost(t *testing.T) {
	testRequests(t, []requestCase{
		{"plain", nil, nil},
		{"HTTP 1.2", edit(">GET / HTTP/1.2"), nil},
		{"absolute form", edit(">GET http://other.example/x HTTP/1.1"), nil},
		{"absolute form without a path", edit(">GET ws://other.example HTTP/1.1"), nil},
		{"absolute form with a port", edit(">GET wss://[::1]:8443/?a HTTP/1.1"), nil},
		{"Host with a port", edit("=Host: h:8080"), nil},
		{"Host with an empty port", edit("=Host: h:"), nil},
		{"Host IPv6", edit("=Host: [::1]:80"), nil},
		{"Host in lower case", edit("-Host", "+host: h"), nil},
		{"POST", edit(">POST / HTTP/1.1"), ErrMethod},
		{"get", edit(">get / HTTP/1.1"), ErrMethod},
		{"HEAD", edit(">HEAD / HTTP/1.1"), ErrMethod},
		{"CONNECT", edit(">CONNECT h:80 HTTP/1.1"), ErrMethod},
		{"HTTP 1.0", edit(">GET / HTTP/1.0"), ErrRequestVersion},
		{"HTTP 0.9", edit(">GET / HTTP/0.9"), ErrRequestVersion},
		{"HTTP 2.0", edit(">GET / HTTP/2.0"), ErrRequestVersion},
		{"HTTP 11", edit(">GET / HTTP/11"), ErrRequestLine},
		{"HTTP 1.10", edit(">GET / HTTP/1.10"), ErrRequestLine},
		{"HTTP 1.x", edit(">GET / HTTP/1.x"), ErrRequestLine},
		{"http in lower case", edit(">GET / http/1.1"), ErrRequestLine},
		{"HTTPS", edit(">GET / HTTPS/1.1"), ErrRequestLine},
		{"no version", edit(">GET /"), ErrRequestLine},
		{"no target", edit(">GET  HTTP/1.1"), ErrTarget},
		{"only a method", edit(">GET"), ErrRequestLine},
		{"a line that is empty", edit(">"), ErrRequestLine},
		{"two spaces", edit(">GET  / HTTP/1.1"), ErrRequestLine},
		{"space at the end", edit(">GET / HTTP/1.1 "), ErrRequestLine},
		{"space at the start", edit("> GET / HTTP/1.1"), ErrRequestLine},
		{"tab", edit(">GET\t/\tHTTP/1.1"), ErrRequestLine},
		{"space in the target", edit(">GET /a b HTTP/1.1"), ErrRequestLine},
		{"method not a token", edit(">G(T / HTTP/1.1"), ErrRequestLine},
		{"target *", edit(">GET * HTTP/1.1"), ErrTarget},
		{"target without slash", edit(">GET chat HTTP/1.1"), ErrTarget},
		{"target authority", edit(">GET h:80 HTTP/1.1"), ErrTarget},
		{"target with fragment", edit(">GET /a#b HTTP/1.1"), ErrTarget},
		{"target outside ASCII", edit(">GET /\xc3\xa4 HTTP/1.1"), ErrTarget},
		{"target tab", edit(">GET /a\tb HTTP/1.1"), ErrTarget},
		{"absolute ftp", edit(">GET ftp://h/ HTTP/1.1"), ErrTarget},
		{"absolute userinfo", edit(">GET http://u:p@h/ HTTP/1.1"), ErrTarget},
		{"absolute without host", edit(">GET http:///x HTTP/1.1"), ErrTarget},
		{"absolute one slash", edit(">GET http:/h HTTP/1.1"), ErrTarget},
		{"no Host", edit("-Host"), ErrHost},
		{"two Hosts", edit("+Host: server.example.com"), ErrHost},
		{"no Host in absolute form", edit(">GET http://h/ HTTP/1.1", "-Host"), ErrHost},
		{"bad Host in absolute form", edit(">GET http://h/ HTTP/1.1", "=Host: a b"), ErrHost},
		{"empty Host", edit("=Host:"), ErrHost},
		{"Host with a path", edit("=Host: h/x"), ErrHost},
		{"Host with userinfo", edit("=Host: u@h"), ErrHost},
		{"Host list", edit("=Host: a, b"), ErrHost},
		{"Host list without a space", edit("=Host: a,b"), ErrHost},
		{"Host port 0", edit("=Host: h:0"), ErrHost},
		{"Host port 65536", edit("=Host: h:65536"), ErrHost},
		{"Host port x", edit("=Host: h:8x"), ErrHost},
		{"Host two ports", edit("=Host: h:80:80"), ErrHost},
		{"Host outside ASCII", edit("=Host: h\xc3\xa4"), ErrHost},
		{"Host bracket open", edit("=Host: [::1"), ErrHost},
		{"Host bracket text", edit("=Host: [h]"), ErrHost},
		{"Host zone", edit("=Host: [fe80::1%25eth0]"), ErrHost},
		{"Host behind bracket", edit("=Host: [::1]x"), ErrHost},
		{"Host one colon in brackets", edit("=Host: [a:b]"), ErrHost},
	})
}

func TestR56AbsoluteFormNamesTheHost(t *testing.T) {
	v, got := parseRequest(t, head(asked, ">GET HTTP://Other.example:81/a?b HTTP/1.1"), Limits{})
	if got.err != nil || string(v.Host()) != "Other.example:81" || string(v.Target()) != "/a?b" {
		t.Errorf("%v %q %q", got, v.Host(), v.Target())
	}
	v, _ = parseRequest(t, head(asked, ">GET http://h?b HTTP/1.1"), Limits{})
	if string(v.Host()) != "h" || string(v.Target()) != "?b" || string(v.Path()) != "" || string(v.Query()) != "b" {
		t.Errorf("%q %q", v.Host(), v.Target())
	}
}

func TestR57UpgradeAndConnection(t *testing.T) {
	testRequests(t, []requestCase{
		{"any case", edit("=Upgrade: WebSocket", "=Connection: upgrade"), nil},
		{"list", edit("=Connection: keep-alive, Upgrade"), nil},
		{"list with tabs and empty elements", edit("=Connection: ,\tkeep-alive ,, \tUPGRADE\t,"), nil},
		{"two lines", edit("=Connection: keep-alive", "+Connection: Upgrade"), nil},
		{"two lines of Upgrade", edit("=Upgrade: h2c", "+Upgrade: websocket"), nil},
		{"list of protocols", edit("=Upgrade: h2c, websocket"), nil},
		{"no Upgrade", edit("-Upgrade"), ErrNoUpgrade},
		{"no Connection", edit("-Connection"), ErrNoConnection},
		{"empty Upgrade", edit("=Upgrade:"), ErrNoUpgrade},
		{"empty Connection", edit("=Connection:"), ErrNoConnection},
		{"xwebsocketx", edit("=Upgrade: xwebsocketx"), ErrNoUpgrade},
		{"web socket", edit("=Upgrade: web socket"), ErrNoUpgrade},
		{"websocket with a version", edit("=Upgrade: websocket/13"), ErrNoUpgrade},
		{"quoted", edit(`=Upgrade: "websocket"`), ErrNoUpgrade},
		{"semicolon", edit("=Upgrade: websocket;q=1"), ErrNoUpgrade},
		{"h2c", edit("=Upgrade: h2c"), ErrNoUpgrade},
		{"Kelvin sign", edit("=Upgrade: websoc\xe2\x84\xaaet"), ErrNoUpgrade},
		{"notupgrade", edit("=Connection: notupgrade"), ErrNoConnection},
		{"upgrades", edit("=Connection: keep-alive, upgrades"), ErrNoConnection},
		{"keep-alive", edit("=Connection: keep-alive"), ErrNoConnection},
		{"close", edit("=Connection: close"), ErrNoConnection},
		{"space inside", edit("=Connection: keep-alive Upgrade"), ErrNoConnection},
	})
}

func TestR58Key(t *testing.T) {
	testRequests(t, []requestCase{
		{"spaces around", edit("=Sec-WebSocket-Key: \t " + rfcKey + " \t"), nil},
		{"plus and slash", edit("=Sec-WebSocket-Key: ++++++++++//////////+w=="), nil},
		{"none", edit("-Sec-WebSocket-Key"), ErrKey},
		{"empty", edit("=Sec-WebSocket-Key:"), ErrKey},
		{"double", edit("+Sec-WebSocket-Key: " + rfcKey), ErrKey},
		{"double in another case", edit("+sec-websocket-KEY: " + rfcKey), ErrKey},
		{"list", edit("=Sec-WebSocket-Key: " + rfcKey + ", " + rfcKey), ErrKey},
		{"15 bytes", edit("=Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P"), ErrKey},
		{"17 bytes", edit("=Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEBE="), ErrKey},
		{"18 bytes", edit("=Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEBES"), ErrKey},
		{"no padding", edit("=Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), ErrKey},
		{"one pad", edit("=Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="), ErrKey},
		{"three pads", edit("=Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ==="), ErrKey},
		{"URL alphabet", edit("=Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_=="), ErrKey},
		{"pad inside", edit("=Sec-WebSocket-Key: dGhl=HNhbXBsZSBub25jZQ=="), ErrKey},
		{"space inside", edit("=Sec-WebSocket-Key: dGhl HNhbXBsZSBub25jZQ=="), ErrKey},
		{"quoted", edit(`=Sec-WebSocket-Key: "dGhlIHNhbXBsZSBub25jZQ=="`), ErrKey},
		{"outside ASCII", edit("=Sec-WebSocket-Key: dGhl\xffHNhbXBsZSBub25jZQ=="), ErrKey},
	})
}

func TestR59Version(t *testing.T) {
	testRequests(t, []requestCase{
		{"none", edit("-Sec-WebSocket-Version"), ErrVersion},
		{"empty", edit("=Sec-WebSocket-Version:"), ErrVersion},
		{"8", edit("=Sec-WebSocket-Version: 8"), ErrVersion},
		{"14", edit("=Sec-WebSocket-Version: 14"), ErrVersion},
		{"013", edit("=Sec-WebSocket-Version: 013"), ErrVersion},
		{"+13", edit("=Sec-WebSocket-Version: +13"), ErrVersion},
		{"13.0", edit("=Sec-WebSocket-Version: 13.0"), ErrVersion},
		{"list 13, 8", edit("=Sec-WebSocket-Version: 13, 8"), ErrVersion},
		{"list 8, 13", edit("=Sec-WebSocket-Version: 8, 13"), ErrVersion},
		{"two lines, one wrong", edit("+Sec-WebSocket-Version: 8"), ErrVersion},
		{"two lines, wrong first", edit("=Sec-WebSocket-Version: 8", "+Sec-WebSocket-Version: 13"), ErrVersion},
		{"two lines, both 13", edit("+Sec-WebSocket-Version: 13"), ErrVersion},
		{"quoted", edit(`=Sec-WebSocket-Version: "13"`), ErrVersion},
	})
	answer := string(AppendError(nil, ErrVersion))
	if !strings.HasPrefix(answer, "HTTP/1.1 426 Upgrade Required\r\n") || !strings.Contains(answer, "\r\nSec-WebSocket-Version: 13\r\n") {
		t.Errorf("%q", answer)
	}
}

func TestR60OriginOnce(t *testing.T) {
	testRequests(t, []requestCase{
		{"one", edit("+Origin: http://a"), nil},
		{"two", edit("+Origin: http://server.example.com", "+Origin: http://evil.example"), ErrOrigin},
	})
}

func TestR61Subprotocols(t *testing.T) {
	testRequests(t, []requestCase{
		{"one", edit("+Sec-WebSocket-Protocol: chat"), nil},
		{"list over lines", edit("+Sec-WebSocket-Protocol: a, b", "+Sec-WebSocket-Protocol: c"), nil},
		{"the same in another case", edit("+Sec-WebSocket-Protocol: a, A"), nil},
		{"empty elements", edit("+Sec-WebSocket-Protocol: ,a,,b,"), ErrProtocols},
		{"duplicates", edit("+Sec-WebSocket-Protocol: a, a"), ErrProtocolTwice},
		{"empty line beside another", edit("+Sec-WebSocket-Protocol:", "+Sec-WebSocket-Protocol: a"), ErrProtocols},
		{"empty", edit("+Sec-WebSocket-Protocol:"), ErrProtocols},
		{"only commas", edit("+Sec-WebSocket-Protocol: , ,"), ErrProtocols},
		{"space inside", edit("+Sec-WebSocket-Protocol: a b"), ErrProtocols},
		{"parentheses", edit("+Sec-WebSocket-Protocol: a(b)"), ErrProtocols},
		{"quoted", edit(`+Sec-WebSocket-Protocol: "a"`), ErrProtocols},
		{"slash", edit("+Sec-WebSocket-Protocol: ok, http://x"), ErrProtocols},
		{"outside ASCII", edit("+Sec-WebSocket-Protocol: caf\xc3\xa9"), ErrProtocols},
		{"second line bad", edit("+Sec-WebSocket-Protocol: a", "+Sec-WebSocket-Protocol: b c"), ErrProtocols},
	})
	for _, c := range []struct {
		offer []string
		own   []string
		want  string
	}{
		{nil, []string{"a"}, ""},
		{edit("+Sec-WebSocket-Protocol: a, b"), nil, ""},
		{edit("+Sec-WebSocket-Protocol: a, b"), []string{"b", "a"}, "b"},
		{edit("+Sec-WebSocket-Protocol: a, b"), []string{"a", "b"}, "a"},
		{edit("+Sec-WebSocket-Protocol: a, b"), []string{"x", "b"}, "b"},
		{edit("+Sec-WebSocket-Protocol: a, b"), []string{"A", "B"}, ""},
		{edit("+Sec-WebSocket-Protocol: c,b,bb"), []string{"a", "b"}, "b"},
		{edit("+Sec-WebSocket-Protocol: z", "+X: y", "+sec-websocket-protocol: y , a"), []string{"a", "z"}, "a"},
		{edit("+Sec-WebSocket-Protocol: abc"), []string{"ab", "bc"}, ""},
	} {
		v, got := parseRequest(t, head(asked, c.offer...), Limits{})
		if got.err != nil {
			t.Fatal(got.err)
		}
		if p := v.Subprotocol(c.own); p != c.want {
			t.Errorf("%q of %q: %q, want %q", c.own, c.offer, p, c.want)
		}
		for _, p := range append(c.own, "none", "a", "b") {
			offered := slices.ContainsFunc(slices.Collect(v.Subprotocols()), func(b []byte) bool { return string(b) == p })
			if v.Offered(p) != offered {
				t.Errorf("Offered(%q) = %v", p, v.Offered(p))
			}
		}
	}
}

func TestR62R63ExtensionsOfARequest(t *testing.T) {
	testRequests(t, []requestCase{
		{"deflate", edit("+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), nil},
		{"two lines", edit("+Sec-WebSocket-Extensions: a", "+Sec-WebSocket-Extensions: b;c"), nil},
		{"empty line beside another", edit("+Sec-WebSocket-Extensions:", "+Sec-WebSocket-Extensions: b"), nil},
		{"empty", edit("+Sec-WebSocket-Extensions:"), ErrExtensions},
		{"semicolons", edit("+Sec-WebSocket-Extensions: ;;"), ErrExtensions},
		{"good line, bad line", edit("+Sec-WebSocket-Extensions: permessage-deflate", "+Sec-WebSocket-Extensions: a;;b"), ErrExtensions},
		{"bad line, good line", edit("+Sec-WebSocket-Extensions: a=b", "+Sec-WebSocket-Extensions: permessage-deflate"), ErrExtensions},
		{"unclosed quote", edit(`+Sec-WebSocket-Extensions: a; b="c`), ErrExtensions},
		{"quote over two lines", edit(`+Sec-WebSocket-Extensions: a; b="c`, `+Sec-WebSocket-Extensions: d"`), ErrExtensions},
		{"hidden offer", edit(`+Sec-WebSocket-Extensions: x; y=",permessage-deflate; client_max_window_bits,"`), ErrExtensions},
	})
	v, got := parseRequest(t, head(asked, "+Sec-WebSocket-Extensions: a; b=1", "+X: y", "+sec-websocket-extensions: c, d; e"), Limits{})
	if got.err != nil {
		t.Fatal(got.err)
	}
	if s := fmt.Sprint(v.Extensions(nil)); s != "[{a [{b 1}]} {c []} {d [{e }]}]" {
		t.Error(s)
	}
	if v, _ := parseRequest(t, head(asked), Limits{}); v.Extensions(nil) != nil {
		t.Error("extensions out of nothing")
	}
}

func TestR64BytesBehindTheRequest(t *testing.T) {
	frames := "\x81\x85abcd\x00\x01\x02\x03\x04GET / HTTP/1.1\r\n\r\n"
	h := head(asked)
	for tail := range len(frames) {
		b := append(head(asked), frames[:tail]...)
		if _, got := parseRequest(t, b, Limits{}); got.err != nil || got.n != len(h) {
			t.Fatalf("%d bytes after the head: %v", tail, got)
		}
	}
}

func TestR65Body(t *testing.T) {
	testRequests(t, []requestCase{
		{"length 0", edit("+Content-Length: 0"), nil},
		{"length 0 twice", edit("+Content-Length: 0", "+Content-Length: 0"), nil},
		{"length 5", edit("+Content-Length: 5"), ErrBody},
		{"length 0 and 5", edit("+Content-Length: 0", "+Content-Length: 5"), ErrBody},
		{"length 5 and 0", edit("+Content-Length: 5", "+Content-Length: 0"), ErrBody},
		{"length -0", edit("+Content-Length: -0"), ErrBody},
		{"length 00", edit("+Content-Length: 00"), ErrBody},
		{"length list", edit("+Content-Length: 0, 0"), ErrBody},
		{"length empty", edit("+Content-Length:"), ErrBody},
		{"chunked", edit("+Transfer-Encoding: chunked"), ErrBody},
		{"identity", edit("+Transfer-Encoding: identity"), ErrBody},
		{"empty coding", edit("+transfer-encoding:"), ErrBody},
	})
}

// R50: the form of lines (RFC 9112), for requests. The same scanner reads answers;
// response_test.go tests them.
func TestR50FormOfARequest(t *testing.T) {
	testRequests(t, []requestCase{
		{"obs-text", edit("+X: caf\xe9"), nil},
		{"no space behind the colon", edit("+X:y"), nil},
		{"empty value", edit("+X:"), nil},
		{"colons in the value", edit("+X: a:b: c"), nil},
		{"folded", edit("+X: a", "+ b"), ErrFolded},
		{"folded by a tab", edit("+X: a", "+\tb"), ErrFolded},
		{"folded first line", edit(">GET / HTTP/1.1\r\n b"), ErrFolded},
		{"space before the colon", edit("+X : a"), ErrSpaceBeforeColon},
		{"tab before the colon", edit("+X\t: a"), ErrSpaceBeforeColon},
		{"space before the colon of Host", edit("=Host: a", "+Host : b"), ErrSpaceBeforeColon},
		{"no colon", edit("+X"), ErrFieldName},
		{"no name", edit("+: a"), ErrFieldName},
		{"name with a slash", edit("+X/Y: a"), ErrFieldName},
		{"name outside ASCII", edit("+X\xc3\xa4: a"), ErrFieldName},
		{"name with a control", edit("+X\x01: a"), ErrFieldName},
		{"NUL in a name", edit("+X\x00: a"), ErrNUL},
		{"NUL in a value", edit("+X: a\x00b"), ErrNUL},
		{"NUL in the request line", edit(">GET /\x00 HTTP/1.1"), ErrNUL},
		{"bare LF in a value", edit("+X: a\nY: b"), ErrBareLF},
		{"bare LF in a name", edit("+X\n: a"), ErrBareLF},
		{"bare LF in the request line", edit(">GET / HTTP/1.1\n"), ErrBareLF},
		{"bare LF for the blank line", edit("+X: y\r\n\nZ: y"), ErrBareLF},
		{"bare CR in a value", edit("+X: a\rb"), ErrBareCR},
		{"bare CR at a line's start", edit("+\rX: a"), ErrBareCR},
		{"CR CR LF", edit("+X: a\r"), ErrBareCR},
		{"bare CR in a name", edit("+X\rY: a"), ErrFieldName},
		{"escape", edit("+X: a\x1bb"), ErrControl},
		{"DEL", edit("+X: a\x7fb"), ErrControl},
		{"TLS on a plain port", edit(">\x16\x03\x01\x02\x00\x01"), ErrControl},
	})
}

// A request is refused at the byte that decides, not when the head is complete.
func TestRefusedAtTheFirstBadByte(t *testing.T) {
	for _, c := range []struct {
		in     string
		offset int
		want   *Error
	}{
		{"\x16", 0, ErrControl},
		{"GET / HTTP/1.1\n", 14, ErrBareLF},
		{"GET / HTTP/1.1\r\nA: b\x00", 20, ErrNUL},
		{"GET / HTTP/1.1\r\nA ", 17, ErrSpaceBeforeColon},
		{"GET / HTTP/1.1\r\nA: b\r\n ", 22, ErrFolded},
		{"GET / HTTP/1.1\r\nA: b\rc", 21, ErrBareCR},
		{"POST / HTTP/1.1\r\n", 0, ErrMethod},
	} {
		_, got := parseRequest(t, []byte(c.in), Limits{})
		if !errors.Is(got.err, c.want) || got.err.(*Error).Offset != c.offset {
			t.Errorf("%q: %v at %d, want %v at %d", c.in, got.err, got.err.(*Error).Offset, c.want, c.offset)
		}
		if _, before := parseRequest(t, []byte(c.in[:len(c.in)-1]), Limits{}); before.err != nil || before.n != 0 {
			t.Errorf("%q without its last byte: %v", c.in, before)
		}
	}
}

// Only the whole head is a request. For each shorter part ParseRequest asks for more.
func TestRequestIncomplete(t *testing.T) {
	b := head(asked, "+Sec-WebSocket-Extensions: a; b=\"c\"")
	for n := range b {
		var v RequestView
		if got, err := ParseRequest(&v, b[:n]); got != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v", n, got, err)
		}
	}
}

// longest are limits that no head can reach.
var longest = Limits{Bytes: math.MaxInt, Line: math.MaxInt, Lines: math.MaxInt, Interim: math.MaxInt,
	Extensions: math.MaxInt, Params: math.MaxInt, Subprotocols: math.MaxInt}

func TestR49LimitsOfARequest(t *testing.T) {
	line := func(n int) string { return "X: " + strings.Repeat("a", n-5) } // n with CRLF
	lines := func(n int) []string {
		return slices.Repeat([]string{"+X: a"}, n)
	}
	plain := len(head(asked))
	for _, c := range []struct {
		name   string
		limits Limits
		edits  []string
		want   *Error
	}{
		{"default: 16 KiB", Limits{}, edit("+" + line(DefaultBytes-plain)), nil},
		{"default: 16 KiB and 1", Limits{}, edit("+" + line(DefaultBytes-plain+1)), ErrHeadTooLarge},
		{"default: 128 lines", Limits{}, lines(DefaultLines - len(asked) + 1), nil},
		{"default: 129 lines", Limits{}, lines(DefaultLines - len(asked) + 2), ErrTooManyLines},
		{"exactly", Limits{Bytes: plain}, nil, nil},
		{"one less", Limits{Bytes: plain - 1}, nil, ErrHeadTooLarge},
		{"line exactly", Limits{Line: 100}, edit("+" + line(100)), nil},
		{"line one more", Limits{Line: 100}, edit("+" + line(101)), ErrLineTooLong},
		{"request line", Limits{Line: 100}, edit(">GET /" + strings.Repeat("a", 200) + " HTTP/1.1"), ErrLineTooLong},
		{"line and head alike", Limits{Bytes: 64, Line: 64}, edit(">GET /" + strings.Repeat("a", 200) + " HTTP/1.1"), ErrHeadTooLarge},
		{"as long as can be", longest, edit("+" + line(DefaultBytes)), nil},
		{"the longest line", Limits{Bytes: math.MaxInt, Line: 100}, edit("+" + line(101)), ErrLineTooLong},
		{"lines exactly", Limits{Lines: 5}, nil, nil},
		{"lines one more", Limits{Lines: 4}, nil, ErrTooManyLines},
		{"a bad byte before the limit", Limits{Line: 100}, edit("+X: \x00" + line(200)), ErrNUL},
		{"a bad byte behind the limit", Limits{Line: 100}, edit("+" + line(200) + "\x00"), ErrLineTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := parseRequest(t, head(asked, c.edits...), c.limits)
			if c.want == nil && got.err != nil || c.want != nil && !errors.Is(got.err, c.want) {
				t.Errorf("%v, want %v", got.err, c.want)
			}
		})
	}
}

// V19: the limits bound the cost of an endless request, counted in bytes looked at, in
// pieces or at once.
func TestV19RequestsAreReadOnce(t *testing.T) {
	long := []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 20<<20))
	var v RequestView
	var err error
	for n := 0; n < len(long) && err == nil; n += 4096 {
		_, err = ParseRequest(&v, long[:n])
	}
	if !errors.Is(err, ErrLineTooLong) && !errors.Is(err, ErrHeadTooLarge) || v.scan.looked > 2*DefaultBytes {
		t.Errorf("%v after %d bytes looked at", err, v.scan.looked)
	}
	fills := []string{" ", "\\", "\"", ",", ";", "a", "=", "a,", "a;", "a=\"", "\"\\", ", ", "\t"}
	names := []string{"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Connection",
		"Upgrade", "Host", "Origin", "X"}
	for _, name := range names {
		for _, fill := range fills {
			for _, size := range []int{40_000, 80_000} {
				b := head(asked, "+"+name+": x"+strings.Repeat(fill, size/len(fill))+"x")
				v := RequestView{Limits: Limits{Bytes: 1 << 20}}
				ParseRequest(&v, b)
				if v.scan.looked > 5*len(b) {
					t.Errorf("%s of %q: %d bytes looked at for %d", name, fill, v.scan.looked, len(b))
				}
			}
		}
	}
	// Each method reads lists over as many lines as the limit allows.
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("+Sec-WebSocket-Protocol: a%d, b%d", i, i), "+Sec-WebSocket-Extensions: a; b")
	}
	v = RequestView{Limits: longest}
	b := head(asked, many...)
	if _, err := ParseRequest(&v, b); err != nil {
		t.Fatal(err)
	}
	v.Subprotocol([]string{"z"})
	v.Extensions(nil)
	if v.scan.looked > 8*len(b) {
		t.Errorf("%d bytes looked at for %d", v.scan.looked, len(b))
	}
}

// V20: any byte at any place of a Sec-WebSocket-* value. There is no panic, and pieces
// give the same result (parseRequest checks that). The meaning of the bytes around it
// never changes.
func TestV20EveryByteEverywhere(t *testing.T) {
	for _, field := range []string{"Sec-WebSocket-Key: " + rfcKey, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: a, bc",
		`Sec-WebSocket-Extensions: p-d; a="1", x; y=z`} {
		name, value, _ := strings.Cut(field, ": ")
		for at := range value {
			for c := range 256 {
				changed := []byte(value)
				changed[at] = byte(c)
				lines := append(slices.Clone(asked[:4]), "Sec-WebSocket-Key: "+rfcKey, "Sec-WebSocket-Version: 13")
				b := head(lines, "+"+name+": "+string(changed))
				if strings.HasSuffix(name, "Key") || strings.HasSuffix(name, "Version") {
					b = head(lines, "="+name+": "+string(changed))
				}
				var whole, drip RequestView
				n, err := ParseRequest(&whole, b)
				middle := len(b) - 4 - len(changed) + at
				got := deliver(b, []int{middle, middle + 1}, func(p []byte) (int, error) { return ParseRequest(&drip, p) })
				if !got.same(parse{n, err}) {
					t.Fatalf("%q: %v in pieces, %v whole", changed, got, err)
				}
				if err == nil {
					whole.Subprotocol([]string{"bc"})
					whole.Extensions(nil)
				}
			}
		}
	}
}

func TestRequestViewFields(t *testing.T) {
	v, got := parseRequest(t, head(asked, "+x-a: 1 ", "+X-A:\t2", "+Cookie: c"), Limits{})
	if got.err != nil {
		t.Fatal(got.err)
	}
	if string(v.Header("X-a")) != "1" || v.Header("X-None") != nil || string(v.Key()) != rfcKey {
		t.Errorf("%q %q", v.Header("X-a"), v.Header("X-None"))
	}
	if string(v.Path()) != "/chat" || string(v.Query()) != "room=1" {
		t.Errorf("%q %q", v.Path(), v.Query())
	}
	var all []string
	for n, val := range v.Fields() {
		all = append(all, string(n)+"="+string(val))
		if cap(val) != len(val) || cap(n) != len(n) {
			t.Error("a view whose capacity reaches past it")
		}
	}
	if len(all) != 8 || all[5] != "x-a=1" || all[6] != "X-A=2" {
		t.Errorf("%q", all)
	}
	for range v.Fields() {
		break
	}
	for range v.Subprotocols() {
		t.Error("a subprotocol out of nothing")
	}
	v.Reset()
	if n, err := ParseRequest(v, head(asked, ">GET /q HTTP/1.1")); err != nil || n == 0 || string(v.Path()) != "/q" || v.Query() != nil {
		t.Errorf("after Reset: %d %v %q", n, err, v.Path())
	}
}

// After an error every call returns the same error.
func TestRequestErrorIsSticky(t *testing.T) {
	for _, b := range [][]byte{[]byte("GET / HTTP/1.1\r\n x"), head(asked, "-Upgrade"), []byte("POST / HTTP/1.1\r\n")} {
		var v RequestView
		_, first := ParseRequest(&v, b)
		n, second := ParseRequest(&v, append(b, head(asked)...))
		if first == nil || n != 0 || second != first {
			t.Errorf("%q: %v, then %d, %v", b, first, n, second)
		}
	}
}

func TestParseRequestAllocates(t *testing.T) {
	b := head(asked, "+Origin: https://server.example.com", "+Sec-WebSocket-Protocol: a, b", "+Cookie: x",
		"+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	own, dst, ext := []string{"b"}, make([]byte, 0, 1024), []Extension{{Params: make([]Param, 4)}}
	v := new(RequestView)
	if n := testing.AllocsPerRun(1000, func() {
		v.Reset()
		if _, err := ParseRequest(v, b); err != nil {
			t.Fatal(err)
		}
		res := Response{Subprotocol: v.Subprotocol(own), Extensions: v.Extensions(ext[:0])}
		if CheckOrigin(v, true, nil) != nil || res.Subprotocol != "b" || len(res.Extensions) != 1 {
			t.Fatal("wrong answer")
		}
		if _, err := AppendResponse(dst, v.Key(), &res); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a request and its answer", n)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	in := head(asked, "+Origin: https://server.example.com", "+Sec-WebSocket-Protocol: a, b",
		"+User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "+Accept-Encoding: gzip, deflate, br",
		"+Accept-Language: en-US,en;q=0.5", "+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	v := new(RequestView)
	for b.Loop() {
		v.Reset()
		ParseRequest(v, in)
	}
}
