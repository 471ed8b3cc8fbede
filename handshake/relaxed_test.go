package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Each field of Relaxed turns off its own rules only. The meaning of an answer is checked
// as always. Any split gives the same result.
func TestRelaxedAnswers(t *testing.T) {
	const first = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	const accept = "Sec-WebSocket-Accept: " + rfcAccept + "\r\n"
	strict, lf, odd, both := Relaxed{}, Relaxed{BareLF: true}, Relaxed{OddLines: true}, Relaxed{true, true}
	lines := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
	for _, c := range []struct {
		answer  string
		relaxed Relaxed
		want    *Error
	}{
		{first + accept + "\r\n", both, nil},
		{lines(first + accept + "\r\n"), lf, nil},
		{lines(first+accept) + "\r\n", lf, nil},
		{first + accept + "\n", lf, nil},
		{lines(first + accept + "\r\n"), odd, ErrBareLF},
		{lines(first + accept + "\r\n"), strict, ErrBareLF},
		{first + "odd\n" + accept + "\r\n", odd, ErrBareLF},
		{first + "X: y\n" + accept + "\r\n", odd, ErrBareLF},
		{first + "odd\n" + accept + "\r\n", both, nil},
		{first + "no colon\r\n" + accept + "\r\n", odd, nil},
		{first + "no colon\r\n" + accept + "\r\n", lf, ErrSpaceBeforeColon},
		{first + ": no name\r\n" + accept + "\r\n", odd, nil},
		{first + "A B: c\r\n" + accept + "\r\n", odd, nil},
		{first + "A/B: c\r\n" + accept + "\r\n", odd, nil},
		{first + "A\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\x01c\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\x00\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\rc\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\r\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\r\n c: d\r\n\te\r\n" + accept + "\r\n", odd, nil},
		{first + "A: b\r\n c: d\r\n" + accept + "\r\n", lf, ErrFolded},
		{first + "Sec-WebSocket-Accept \t: " + rfcAccept + "\r\n\r\n", odd, nil},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade : websocket\r\nConnection\t: Upgrade\r\n" + accept + "\r\n", odd, nil},
		{"HTTP/1.1 101 Switching\x01Protocols\r\n" + first[len("HTTP/1.1 101 Switching Protocols\r\n"):] + accept + "\r\n", odd, nil},
		{"HTTP/1.1 101 S\r\r\n" + first[len("HTTP/1.1 101 Switching Protocols\r\n"):] + accept + "\r\n", odd, nil},
		{"HTTP/1.1 103 Early\nodd\n\n" + first + accept + "\r\n", both, nil},
		// Lines of the handshake itself are not repaired.
		{first + "\r\n", both, ErrAccept},
		{first + accept + accept + "\r\n", both, ErrAccept},
		{first + "Sec-WebSocket-Accept: x\r\n\r\n", both, ErrAccept},
		{first + "Sec-WebSocket-Accept:\r\n " + rfcAccept + "\r\n\r\n", both, ErrFolded},
		{first + accept + "Sec-WebSocket-Protocol: chat\r\n , x\r\n\r\n", both, ErrFolded},
		{first + accept + "sec-websocket-extensions: x-y\r\n ; a=b\r\n\r\n", both, ErrFolded},
		{first + accept + "Sec-WebSocket-Protocol: ch\x01at\r\n\r\n", both, ErrControl},
		{first + accept + "Sec-WebSocket-Protocol: ch\rat\r\n\r\n", both, ErrBareCR},
		{first + accept + "Sec-WebSocket-Protocol x: chat\r\n\r\n", both, ErrFieldName},
		{first + accept + "Sec-WebSocket-Extensions\r\n\r\n", both, ErrFieldName},
		{first + accept + "Sec-WebSocket-Protocol: never\r\n\r\n", both, ErrProtocol},
		{first + accept + "Sec-WebSocket-Extensions: never\r\n\r\n", both, ErrExtension},
		{"HTTP/1.1 101 S\nUpgrade: \n websocket\nConnection: Upgrade\n" + accept + "\n", both, ErrUpgrade},
		{"HTTP/1.1 101 S\n" + accept + "\n", both, ErrUpgrade},
		{"HTTP/1.1 200 OK\nodd\n\n", both, ErrStatus},
		{"HTTP/1.1\n101\n\n", both, ErrStatusLine},
		{first + strings.Repeat("odd\n", 126) + accept + "\r\n", both, ErrTooManyLines},
		{first + strings.Repeat(" folded\n", 126) + accept + "\r\n", both, ErrTooManyLines},
		{first + strings.Repeat("\r", 17_000), both, ErrHeadTooLarge},
		{first + strings.Repeat("\x00", 17_000), both, ErrHeadTooLarge},
		{"HTTP/1.1 101 " + strings.Repeat("\r", 17_000), both, ErrHeadTooLarge},
	} {
		stream := []byte(c.answer + "\x81\x00")
		results := map[string]int{}
		for _, step := range []int{len(stream), 1, 2, 7} {
			p := Response{Relaxed: c.relaxed}
			var n int
			var err error
			for end := step; ; end += step {
				n, err = ParseResponse(&p, offering(), stream[:min(end, len(stream))])
				if n != 0 || err != nil || end >= len(stream) {
					break
				}
			}
			if c.want == nil && (err != nil || n != len(c.answer)) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%q, %+v: %d, %v; want %v", c.answer[:min(len(c.answer), 200)], c.relaxed, n, err, c.want)
			}
			offset := 0
			if e := (*Error)(nil); errors.As(err, &e) {
				offset = e.Offset
			}
			results[fmt.Sprint(n, err, offset, p.Header, p.Status)]++
		}
		if len(results) != 1 {
			t.Errorf("%q: a split makes a difference: %v", c.answer[:min(len(c.answer), 200)], results)
		}
	}
}

// The header has the valid lines, trimmed, and no others.
func TestRelaxedHeader(t *testing.T) {
	answer := "HTTP/1.1 101 S\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " + rfcAccept + "\n" +
		"x-a :  1 \nodd\nX-A: 2\r\nX-B: 3\n folded: 4\nX-C: 5\x01\nX-D:\n\n"
	p := Response{Relaxed: Relaxed{BareLF: true, OddLines: true}}
	if n, err := ParseResponse(&p, offering(), []byte(answer)); n != len(answer) || err != nil {
		t.Fatal(n, err)
	}
	want := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {rfcAccept}, "X-A": {"1", "2"}, "X-B": {"3"}, "X-D": {""}}
	if fmt.Sprint(p.Header) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", p.Header, want)
	}
	if p.Reset(); !p.Relaxed.BareLF {
		t.Error("Reset forgets the rules")
	}
}

// The caller's lines in a CONNECT are checked as in a request.
func TestAppendConnect(t *testing.T) {
	b, err := AppendConnect([]byte("x"), "[::1]:443", http.Header{"Proxy-Authorization": {"Bearer a"}, "A": {"1", "2"}})
	if want := "xCONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nA: 1\r\nA: 2\r\nProxy-Authorization: Bearer a\r\n\r\n"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
	for _, c := range []struct {
		authority string
		header    http.Header
		want      error
	}{
		{"h", nil, ErrValue}, {"h:", nil, ErrValue}, {":80", nil, ErrValue}, {"h:80\r\nX", nil, ErrValue}, {"u@h:80", nil, ErrValue}, {"[::1]", nil, ErrValue}, {"h:0", nil, ErrValue},
		{"h:80", http.Header{"A": {"b\n"}}, ErrValue}, {"h:80", http.Header{"A:": {"b"}}, ErrValue}, {"h:80", http.Header{"connection": {"b"}}, ErrReserved},
		{"h:80", http.Header{"Proxy-Authorization": {"a\r\nb"}}, ErrValue},
	} {
		if b, err := AppendConnect([]byte("x"), c.authority, c.header); !errors.Is(err, c.want) || string(b) != "x" {
			t.Errorf("%q %v: %q, %v", c.authority, c.header, b, err)
		}
	}
}

// The limit of a line holds for each line, also after a skipped one, however the head is
// cut.
func TestLimitOfALineBehindAnOddOne(t *testing.T) {
	head := "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept + "\r\n" +
		strings.Repeat("o", 60) + "\r\nServer: " + strings.Repeat("s", 50) + "\r\nX-Last: 1\r\n\r\n"
	long := strings.Replace(head, "X-Last: 1", "X-Last: "+strings.Repeat("x", 100), 1)
	for _, whole := range []bool{true, false} {
		for text, want := range map[string]error{head: nil, long: ErrLineTooLong} {
			p := Response{Relaxed: Relaxed{OddLines: true}, Limits: Limits{Line: 100}}
			n, err := 0, error(nil)
			for i := 1; i <= len(text) && n == 0 && err == nil; i++ {
				if !whole || i == len(text) {
					n, err = ParseResponse(&p, offering(), []byte(text[:i]))
				}
			}
			if !errors.Is(err, want) || want == nil && (n != len(text) || p.Header.Get("X-Last") != "1" || p.Header.Get("Server") == "") {
				t.Errorf("whole %v: %d of %d, %v, %v; want %v", whole, n, len(text), err, p.Header, want)
			}
		}
	}
}
