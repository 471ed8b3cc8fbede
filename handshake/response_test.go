package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// answered is the head of an answer that every client accepts.
var answered = []string{
	"HTTP/1.1 101 Switching Protocols",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Accept: " + rfcAccept,
}

// offering is the request of the client in these tests.
func offering() *Request {
	r := wish()
	r.Subprotocols = []string{"chat", "superchat"}
	r.Extensions = []Extension{{"permessage-deflate", []Param{{"client_max_window_bits", ""}}}, {"x-y", nil}}
	return r
}

type responseCase struct {
	name  string
	edits []string
	want  *Error
}

func testResponses(t *testing.T, cases []responseCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := head(answered, c.edits...)
			res, got := parseResponse(t, offering(), b, Limits{})
			if c.want == nil {
				if got.err != nil || got.n != len(b) || res.Status != 101 {
					t.Fatalf("%v, want it accepted\n%q", got, b)
				}
				return
			}
			if !errors.Is(got.err, c.want) || got.err.(*Error).Section == "" {
				t.Fatalf("%v, want %v\n%q", got.err, c.want, b)
			}
		})
	}
}

func TestR40StatusIsReported(t *testing.T) {
	for _, status := range []int{200, 201, 204, 301, 302, 303, 307, 308, 400, 401, 403, 404, 407, 426, 429, 500, 502, 503, 599, 700, 999} {
		b := fmt.Appendf(nil, "HTTP/1.1 %d Text here\r\nRetry-After: 7\r\nx-lower: a\r\nX-Lower: b\r\nContent-Length: 4\r\n\r\n", status)
		n := len(b)
		_, got := parseResponse(t, offering(), append(b, "body"...), Limits{})
		var e *Error
		if !errors.As(got.err, &e) || !errors.Is(e, ErrStatus) || e.Status != status || got.n != n {
			t.Fatalf("%d: %v", status, got)
		}
		if d, ok := e.RetryAfter(time.Time{}); !ok || d != 7*time.Second || fmt.Sprint(e.Header["X-Lower"]) != "[a b]" {
			t.Errorf("%d: wait %v, header %v", status, d, e.Header)
		}
	}
	// An HTTP/1.0 answer may refuse, though it cannot switch protocols.
	if _, got := parseResponse(t, offering(), []byte("HTTP/1.0 403 No\r\n\r\n"), Limits{}); !errors.Is(got.err, ErrStatus) {
		t.Error(got.err)
	}
}

func TestR40RetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"0", 0, true},
		{"120", 2 * time.Minute, true},
		{" 5\t", 5 * time.Second, true},
		{"007", 7 * time.Second, true},
		{"99999999999", year, true},
		{"99999999999999999999999999", year, true},
		{"Mon, 23 Nov 2026 12:01:00 GMT", time.Minute, true},
		{"Monday, 23-Nov-26 12:01:00 GMT", time.Minute, true},
		{"Mon Nov 23 12:01:00 2026", time.Minute, true},
		{"Mon, 23 Nov 2026 11:59:00 GMT", 0, true},
		{"Mon, 23 Nov 2099 11:59:00 GMT", year, true},
		{"", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1.5", 0, false},
		{"soon", 0, false},
		{"0x10", 0, false},
		{"1, 2", 0, false},
		{"Mon, 23 Nov 2026 12:01:00 PST", 0, false},
	} {
		if d, ok := ParseRetryAfter(c.value, now); d != c.want || ok != c.ok {
			t.Errorf("%q: %v, %v, want %v, %v", c.value, d, ok, c.want, c.ok)
		}
	}
	if _, ok := ErrStatus.RetryAfter(now); ok {
		t.Error("a wait out of nothing")
	}
}

func TestR41InterimAnswers(t *testing.T) {
	final := string(head(answered))
	interim := []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSec-WebSocket-Accept: wrong\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 199\r\n\r\n"}
	for n := range 21 {
		var b strings.Builder
		for i := range n {
			b.WriteString(interim[i%len(interim)])
		}
		in := b.String() + final
		res, got := parseResponse(t, offering(), []byte(in+"\x81\x00"), Limits{})
		if n > DefaultInterim {
			if !errors.Is(got.err, ErrInterim) {
				t.Errorf("%d interim answers: %v", n, got)
			}
			continue
		}
		if got.err != nil || got.n != len(in) || res.Header.Get("Link") != "" {
			t.Errorf("%d interim answers: %v, %v", n, got, res.Header)
		}
	}
	for _, c := range []struct {
		in     string
		limits Limits
		want   *Error
	}{
		{interim[0] + final, Limits{Interim: 1}, nil},
		{interim[0] + interim[0] + final, Limits{Interim: 1}, ErrInterim},
		{interim[1] + final, Limits{Bytes: len(interim[1]) + len(final)}, nil},
		{interim[1] + final, Limits{Bytes: len(interim[1]) + len(final) - 1}, ErrHeadTooLarge},
		{interim[0] + "HTTP/1.1 404 No\r\n\r\n", Limits{}, ErrStatus},
		{interim[0] + "HTTP/1.1 101 Switching\r\n\r\n", Limits{}, ErrUpgrade},
		{interim[0] + "\r\n" + final, Limits{}, ErrStatusLine},
		{interim[0] + "x" + final, Limits{}, ErrStatusLine},
	} {
		if _, got := parseResponse(t, offering(), []byte(c.in), c.limits); (c.want == nil) != (got.err == nil) || c.want != nil && !errors.Is(got.err, c.want) {
			t.Errorf("%q: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestR42StatusLine(t *testing.T) {
	testResponses(t, []responseCase{
		{"plain", nil, nil},
		{"no reason, no space", edit(">HTTP/1.1 101"), nil},
		{"no reason, a space", edit(">HTTP/1.1 101 "), nil},
		{"another reason", edit(">HTTP/1.1 101 Web Socket\tProtocol \xe9"), nil},
		{"HTTP 1.2", edit(">HTTP/1.2 101 x"), nil},
		{"HTTP 1.0", edit(">HTTP/1.0 101 x"), ErrResponseVersion},
		{"HTTP 0.9", edit(">HTTP/0.9 101 x"), ErrResponseVersion},
		{"HTTP 2.0", edit(">HTTP/2.0 101 x"), ErrResponseVersion},
		{"HTTP 2", edit(">HTTP/2 101 x"), ErrStatusLine},
		{"HTTP 11", edit(">HTTP/11 101 x"), ErrStatusLine},
		{"HTTP 1.10", edit(">HTTP/1.10 101 x"), ErrStatusLine},
		{"ICY", edit(">ICY 101 x"), ErrStatusLine},
		{"ICY long", edit(">ICYP/1.1 101 x"), ErrStatusLine},
		{"lower case", edit(">http/1.1 101 x"), ErrStatusLine},
		{"HTTPS", edit(">HTTPS/1.1 101 x"), ErrStatusLine},
		{"space in front", edit("> HTTP/1.1 101 x"), ErrStatusLine},
		{"two spaces", edit(">HTTP/1.1  101 x"), ErrStatusLine},
		{"tab", edit(">HTTP/1.1\t101 x"), ErrStatusLine},
		{"four digits", edit(">HTTP/1.1 1010 x"), ErrStatusLine},
		{"two digits", edit(">HTTP/1.1 10 x"), ErrStatusLine},
		{"signed", edit(">HTTP/1.1 +11 x"), ErrStatusLine},
		{"hex", edit(">HTTP/1.1 1a1 x"), ErrStatusLine},
		{"below 100", edit(">HTTP/1.1 001 x"), ErrStatusLine},
		{"no status", edit(">HTTP/1.1"), ErrStatusLine},
		{"dash", edit(">HTTP/1.1 101-x"), ErrStatusLine},
		{"empty", edit(">"), ErrStatusLine},
		{"a frame", edit(">\x81\x05hello"), ErrControl},
		{"SSH", edit(">SSH-2.0-OpenSSH_9.6"), ErrStatusLine},
		{"the request back", edit(">GET /chat HTTP/1.1"), ErrStatusLine},
	})
}

func TestR43R44UpgradeAndConnection(t *testing.T) {
	testResponses(t, []responseCase{
		{"any case", edit("=Upgrade: WebSocket", "=Connection: UPGRADE"), nil},
		{"names in any case", edit("-Upgrade", "+UPGRADE: websocket"), nil},
		{"lists", edit("=Upgrade: h2c, websocket", "=Connection: keep-alive, Upgrade"), nil},
		{"two lines", edit("=Upgrade: h2c", "+Upgrade: websocket", "=Connection: keep-alive", "+Connection: upgrade"), nil},
		{"no Upgrade", edit("-Upgrade"), ErrUpgrade},
		{"empty Upgrade", edit("=Upgrade:"), ErrUpgrade},
		{"xwebsocketx", edit("=Upgrade: xwebsocketx"), ErrUpgrade},
		{"websockets", edit("=Upgrade: websockets"), ErrUpgrade},
		{"websocket over lines", edit("=Upgrade: web", "+Upgrade: socket"), ErrUpgrade},
		{"Kelvin sign", edit("=Upgrade: websoc\xe2\x84\xaaet"), ErrUpgrade},
		{"h2c", edit("=Upgrade: h2c"), ErrUpgrade},
		{"no Connection", edit("-Connection"), ErrConnection},
		{"keep-alive", edit("=Connection: keep-alive"), ErrConnection},
		{"close", edit("=Connection: close"), ErrConnection},
		{"notupgrade", edit("=Connection: notupgrade"), ErrConnection},
		{"upgraded", edit("=Connection: upgraded"), ErrConnection},
		{"quoted", edit(`=Connection: "Upgrade"`), ErrConnection},
	})
}

func TestR45Accept(t *testing.T) {
	testResponses(t, []responseCase{
		{"spaces around", edit("=Sec-WebSocket-Accept: \t" + rfcAccept + " \t "), nil},
		{"none", edit("-Sec-WebSocket-Accept"), ErrAccept},
		{"empty", edit("=Sec-WebSocket-Accept:"), ErrAccept},
		{"wrong", edit("=Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="), ErrAccept},
		{"the key", edit("=Sec-WebSocket-Accept: " + rfcKey), ErrAccept},
		{"lower case", edit("=Sec-WebSocket-Accept: " + strings.ToLower(rfcAccept)), ErrAccept},
		{"upper case", edit("=Sec-WebSocket-Accept: " + strings.ToUpper(rfcAccept)), ErrAccept},
		{"cut", edit("=Sec-WebSocket-Accept: " + rfcAccept[:27]), ErrAccept},
		{"longer", edit("=Sec-WebSocket-Accept: " + rfcAccept + "="), ErrAccept},
		{"quoted", edit(`=Sec-WebSocket-Accept: "` + rfcAccept + `"`), ErrAccept},
		{"double", edit("+Sec-WebSocket-Accept: " + rfcAccept), ErrAccept},
		{"right, then wrong", edit("+Sec-WebSocket-Accept: x"), ErrAccept},
		{"wrong, then right", edit("=Sec-WebSocket-Accept: x", "+Sec-WebSocket-Accept: "+rfcAccept), ErrAccept},
		{"list", edit("=Sec-WebSocket-Accept: " + rfcAccept + ", " + rfcAccept), ErrAccept},
		{"space inside", edit("=Sec-WebSocket-Accept: " + rfcAccept[:10] + " " + rfcAccept[11:]), ErrAccept},
	})
}

func TestR46Extensions(t *testing.T) {
	testResponses(t, []responseCase{
		{"offered", edit("+Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"), nil},
		{"both", edit("+Sec-WebSocket-Extensions: x-y, permessage-deflate"), nil},
		{"two lines", edit("+Sec-WebSocket-Extensions: permessage-deflate", "+Sec-WebSocket-Extensions: x-y"), nil},
		{"not offered", edit("+Sec-WebSocket-Extensions: x-z"), ErrExtension},
		{"one not offered", edit("+Sec-WebSocket-Extensions: permessage-deflate, x-z"), ErrExtension},
		{"second line not offered", edit("+Sec-WebSocket-Extensions: permessage-deflate", "+Sec-WebSocket-Extensions: x-z"), ErrExtension},
		{"another case", edit("+Sec-WebSocket-Extensions: Permessage-Deflate"), ErrExtension},
		{"a parameter's name", edit("+Sec-WebSocket-Extensions: client_max_window_bits"), ErrExtension},
		{"empty", edit("+Sec-WebSocket-Extensions:"), nil},
		{"comma", edit("+Sec-WebSocket-Extensions: ,"), nil},
		{"malformed", edit("+Sec-WebSocket-Extensions: permessage-deflate;"), ErrExtensions},
		{"malformed second line", edit("+Sec-WebSocket-Extensions: permessage-deflate", "+Sec-WebSocket-Extensions: ;;"), ErrExtensions},
		{"unclosed quote", edit(`+Sec-WebSocket-Extensions: permessage-deflate; a="b`), ErrExtensions},
		{"hidden", edit(`+Sec-WebSocket-Extensions: x-y; z=",permessage-deflate,"`), ErrExtensions},
	})
	res, _ := parseResponse(t, offering(), head(answered, "+Sec-WebSocket-Extensions: x-y", `+Sec-WebSocket-Extensions: permessage-deflate; a="1"; b`), Limits{})
	if s := fmt.Sprint(res.Extensions); s != "[{x-y []} {permessage-deflate [{a 1} {b }]}]" {
		t.Error(s)
	}
	if _, got := parseResponse(t, wish(), head(answered, "+Sec-WebSocket-Extensions: permessage-deflate"), Limits{}); !errors.Is(got.err, ErrExtension) {
		t.Error(got.err)
	}
}

func TestR47Subprotocol(t *testing.T) {
	testResponses(t, []responseCase{
		{"none", nil, nil},
		{"first", edit("+Sec-WebSocket-Protocol: chat"), nil},
		{"second", edit("+Sec-WebSocket-Protocol: superchat"), nil},
		{"unknown", edit("+Sec-WebSocket-Protocol: other"), ErrProtocol},
		{"two values", edit("+Sec-WebSocket-Protocol: chat, superchat"), ErrProtocol},
		{"two lines", edit("+Sec-WebSocket-Protocol: chat", "+Sec-WebSocket-Protocol: chat"), ErrProtocol},
		{"unknown, then known", edit("+Sec-WebSocket-Protocol: other", "+Sec-WebSocket-Protocol: chat"), ErrProtocol},
		{"another case", edit("+Sec-WebSocket-Protocol: Chat"), ErrProtocol},
		{"empty", edit("+Sec-WebSocket-Protocol:"), nil},
		{"comma", edit("+Sec-WebSocket-Protocol: ,"), ErrProtocol},
		{"quoted", edit(`+Sec-WebSocket-Protocol: "chat"`), ErrProtocol},
	})
	for _, p := range []string{"chat", "superchat"} {
		if res, _ := parseResponse(t, offering(), head(answered, "+Sec-WebSocket-Protocol:\t"+p+" "), Limits{}); res.Subprotocol != p {
			t.Errorf("%q, want %q", res.Subprotocol, p)
		}
	}
	if _, got := parseResponse(t, wish(), head(answered, "+Sec-WebSocket-Protocol: chat"), Limits{}); !errors.Is(got.err, ErrProtocol) {
		t.Error(got.err)
	}
}

func TestR48BytesBehindTheAnswer(t *testing.T) {
	frame := "\x82\x04HTTP"
	h := head(answered)
	for frames := range 4 {
		tail := strings.Repeat(frame, frames) + frame[:frames]
		if _, got := parseResponse(t, offering(), append(head(answered), tail...), Limits{}); got.err != nil || got.n != len(h) {
			t.Errorf("%d frames and a part: %v", frames, got)
		}
	}
	// The limit holds for the head, not for bytes that came with it.
	b := append(head(answered), strings.Repeat(frame, 10_000)...)
	var res Response
	if n, err := ParseResponse(&res, offering(), b); err != nil || n != len(h) {
		t.Error(n, err)
	}
}

func TestR49LimitsOfAnAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		edits []string
		want  *Error
	}{
		{"endless line", edit("+X: " + strings.Repeat("a", DefaultBytes)), ErrHeadTooLarge},
		{"endless status line", edit(">HTTP/1.1 101 " + strings.Repeat("a", DefaultBytes)), ErrHeadTooLarge},
		{"endless name", edit("+" + strings.Repeat("a", DefaultBytes)), ErrHeadTooLarge},
		{"129 lines", slices.Repeat(edit("+A: b"), 126), ErrTooManyLines},
		{"128 lines", slices.Repeat(edit("+A: b"), 125), nil},
		{"endless headers", slices.Repeat(edit("+A: b"), 10_000), ErrTooManyLines},
	} {
		_, got := parseResponse(t, offering(), head(answered, c.edits...), Limits{})
		if c.want == nil && got.err != nil || c.want != nil && !errors.Is(got.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got.err, c.want)
		}
	}
	if _, got := parseResponse(t, offering(), head(answered, edit("+X: "+strings.Repeat("a", DefaultBytes))...), longest); got.err != nil {
		t.Errorf("limits as long as can be: %v", got.err)
	}
}

func TestR50FormOfAnAnswer(t *testing.T) {
	testResponses(t, []responseCase{
		{"obs-text", edit("+X: \xe9"), nil},
		{"folded", edit("+X: a", "+ b"), ErrFolded},
		{"folded Accept", edit("=Sec-WebSocket-Accept:", "+\t"+rfcAccept), ErrFolded},
		{"space before colon", edit("+X : a"), ErrSpaceBeforeColon},
		{"no colon", edit("+X"), ErrFieldName},
		{"no name", edit("+: a"), ErrFieldName},
		{"bare LF", edit("+X: a\nY: b"), ErrBareLF},
		{"bare LF at the end", edit("+X: a\n"), ErrBareLF},
		{"bare LF in the status line", edit(">HTTP/1.1 101 x\n"), ErrBareLF},
		{"bare CR", edit("+X: a\rb"), ErrBareCR},
		{"CR CR LF", edit("+X: a\r"), ErrBareCR},
		{"NUL", edit("+X: \x00"), ErrNUL},
		{"NUL in the status line", edit(">HTTP/1.1 101 \x00"), ErrNUL},
		{"backspace", edit("+X: \x08"), ErrControl},
	})
}

func TestR51LengthsOf101AreIgnored(t *testing.T) {
	testResponses(t, []responseCase{
		{"length 0", edit("+Content-Length: 0"), nil},
		{"length 5", edit("+Content-Length: 5"), nil},
		{"length text", edit("+Content-Length: x"), nil},
		{"two lengths", edit("+Content-Length: 1", "+Content-Length: 2"), nil},
		{"chunked", edit("+Transfer-Encoding: chunked"), nil},
	})
	h := head(answered, "+Content-Length: 5", "+Transfer-Encoding: chunked")
	if _, got := parseResponse(t, offering(), append(h[:len(h):len(h)], "5\r\nhello\r\n"...), Limits{}); got.err != nil || got.n != len(h) {
		t.Error(got)
	}
}

// The error for an invalid 101 also has its status and headers.
func TestErrorOf101CarriesTheHeader(t *testing.T) {
	b := head(answered, "-Upgrade", "+X: y")
	var res Response
	n, err := ParseResponse(&res, offering(), b)
	var e *Error
	if !errors.As(err, &e) || e.Status != 101 || e.Header.Get("X") != "y" || n != len(b) {
		t.Errorf("%d, %v, %+v", n, err, e)
	}
	if n2, err2 := ParseResponse(&res, offering(), b); n2 != 0 || err2 != err {
		t.Errorf("again: %d, %v", n2, err2)
	}
	res.Reset()
	if n, err := ParseResponse(&res, offering(), head(answered)); err != nil || n == 0 {
		t.Errorf("after Reset: %d, %v", n, err)
	}
}

// V19, V20 for answers.
func TestV19AnswersAreReadOnce(t *testing.T) {
	for _, name := range []string{"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Connection", "Upgrade", "X"} {
		for _, fill := range []string{" ", "\\", "\"", ",", ";", "a", "=", "a,", "a;", "a=\""} {
			b := head(answered, "+"+name+": x"+strings.Repeat(fill, 40_000)+"x")
			res := Response{Limits: Limits{Bytes: 1 << 20}}
			for n := 0; n < len(b); n += 4096 {
				ParseResponse(&res, offering(), b[:n])
			}
			ParseResponse(&res, offering(), b)
			if res.scan.looked > 4*len(b) {
				t.Errorf("%s of %q: %d bytes looked at for %d", name, fill, res.scan.looked, len(b))
			}
		}
	}
}

func TestV20EveryByteOfAnAnswer(t *testing.T) {
	b := head(answered, `+Sec-WebSocket-Extensions: x-y; a="1"`, "+Sec-WebSocket-Protocol: chat")
	for at := range b {
		for c := range 256 {
			changed := slices.Clone(b)
			changed[at] = byte(c)
			var whole, drip Response
			n, err := ParseResponse(&whole, offering(), changed)
			got := deliver(changed, []int{at, at + 1}, func(p []byte) (int, error) { return ParseResponse(&drip, offering(), p) })
			if !got.same(parse{n, err}) {
				t.Fatalf("%q: %v in pieces, %v whole", changed, got, err)
			}
		}
	}
}

func TestR68InjectionIntoAnAnswer(t *testing.T) {
	for _, s := range []string{"\r", "\n", "\r\n", "\x00", "\r\nSet-Cookie: a=b", "\r\n\r\nbody", "\n ", "\x7f"} {
		for place, res := range map[string]*Response{
			"name":        {Header: http.Header{"X" + s: {"v"}}},
			"value":       {Header: http.Header{"X": {"v" + s + "w"}}},
			"value's end": {Header: http.Header{"X": {"ok", "v" + s}}},
			"subprotocol": {Subprotocol: "a" + s},
			"extension":   {Extensions: []Extension{{Name: "a" + s}}},
			"parameter":   {Extensions: []Extension{{"a", []Param{{"b", "c" + s}}}}},
		} {
			if got, err := AppendResponse([]byte("x"), rfcKey, res); !errors.Is(err, ErrValue) || string(got) != "x" {
				t.Errorf("%q in the %s: %q, %v", s, place, got, err)
			}
		}
		// A refusal is always sent, without the application's lines that are invalid.
		got := string(AppendError(nil, &Error{Status: 401, Header: http.Header{"X-Bad": {"v" + s}, "X" + s: {"v"}, "X-Good": {"v"}}}))
		if strings.Contains(got, "X-Bad") || strings.Contains(got, "X"+s) || !strings.Contains(got, "\r\nX-Good: v\r\n") || strings.Contains(got, "Set-Cookie") {
			t.Errorf("%q: %q", s, got)
		}
	}
	for _, name := range []string{"Upgrade", "Connection", "Sec-WebSocket-Accept", "sec-websocket-protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding"} {
		if got, err := AppendResponse(nil, rfcKey, &Response{Header: http.Header{name: {"x"}}}); !errors.Is(err, ErrReserved) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := AppendResponse(nil, "short", &Response{}); !errors.Is(err, ErrValue) {
		t.Error(err)
	}
}

func TestGoldenResponse(t *testing.T) {
	got, err := AppendResponse([]byte("x"), []byte(rfcKey), &Response{Subprotocol: "chat",
		Extensions: []Extension{{"permessage-deflate", []Param{{"server_max_window_bits", "10"}, {"a", ""}}}},
		Header:     http.Header{"Set-Cookie": {"a=b", "c=d"}, "A": {"1"}}})
	want := "xHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept +
		"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; a\r\n" +
		"A: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%q\nwant\n%q", err, got, want)
	}
}

func TestGoldenRefusals(t *testing.T) {
	const text = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
	for _, c := range []struct {
		e    *Error
		want string
	}{
		{ErrKey, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + text +
			"Content-Length: 55\r\n\r\nthere is not exactly one key of 16 bytes in base64\n"},
		{ErrMethod, "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n" + text +
			"Content-Length: 22\r\n\r\nthe method is not GET\n"},
		{ErrNoUpgrade, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n" + text +
			"Content-Length: 36\r\n\r\nUpgrade does not name websocket\n"},
		{ErrHeadTooLarge, "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n" + text +
			"Content-Length: 34\r\n\r\nthe head is longer than the limit\n"},
		{ErrRequestVersion, "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n" + text +
			"Content-Length: 29\r\n\r\nthe HTTP version is not 1.1\n"},
		{ErrOrigin, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n" + text +
			"Content-Length: 26\r\n\r\nthe origin is not allowed\n"},
		{&Error{Status: 401, Header: http.Header{"WWW-Authenticate": {"Basic"}, "Content-Type": {"text/html"}, "Content-Length": {"9"}}, Body: []byte("<p>")},
			"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Type: text/html\r\nWWW-Authenticate: Basic\r\nContent-Length: 3\r\n\r\n<p>"},
		{&Error{Status: 405, Header: http.Header{"allow": {"POST"}}, Body: []byte("x")},
			"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n" + text + "Content-Length: 1\r\n\r\nx"},
		{&Error{}, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + text + "Content-Length: 8\r\n\r\nrefused\n"},
		{&Error{Status: 101}, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + text + "Content-Length: 8\r\n\r\nrefused\n"},
	} {
		got := string(AppendError(nil, c.e))
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		want, wantBody, _ := strings.Cut(c.want, "\r\n\r\n")
		want = want[:strings.LastIndex(want, ": ")+2] + fmt.Sprint(len(wantBody))
		if head != want || body != wantBody {
			t.Errorf("%q\nwant\n%q", got, c.want)
		}
		// The client understands the refusal of the server.
		_, parsed := parseResponse(t, offering(), []byte(got), Limits{})
		if !errors.Is(parsed.err, ErrStatus) || string(got[parsed.n:]) != wantBody {
			t.Errorf("%v of %q", parsed, got)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	in, req := head(answered, "+Date: Mon, 23 Nov 2026 12:00:00 GMT", "+Server: nginx"), offering()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	var res Response
	for b.Loop() {
		res.Reset()
		ParseResponse(&res, req, in)
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	dst, res := make([]byte, 0, 1024), Response{Subprotocol: "chat"}
	b.ReportAllocs()
	for b.Loop() {
		AppendResponse(dst, rfcKey, &res)
	}
}
