package handshake_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// F75: only a 2xx opens a tunnel. The bytes after its head belong to the tunnel.
func TestF75ParseConnect(t *testing.T) {
	// This would be a valid answer to a request whose key is 24 NUL bytes.
	zeroes := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		string(handshake.AppendAccept(nil, strings.Repeat("\x00", 24))) + "\r\n\r\n"
	for _, c := range []struct {
		answer string
		status int
		want   error
		whole  bool // the head is complete: n is its length
	}{
		{"HTTP/1.1 200 OK\r\n\r\n", 200, nil, true},
		{"HTTP/1.1 200\r\nVia: x\r\n\r\n", 200, nil, true},
		{"HTTP/1.0 200 Connection established\r\n\r\n", 200, nil, true},
		{"HTTP/1.1 204 x\r\n\r\n", 204, nil, true},
		{"HTTP/1.1 299 x\r\n\r\n", 299, nil, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, nil, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n", 200, nil, true},
		{"HTTP/1.1 100 Wait\r\nX: y\r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, nil, true},
		{zeroes, 101, handshake.ErrTunnel, true},
		{"HTTP/1.1 101 x\r\n\r\n", 101, handshake.ErrTunnel, true},
		{"HTTP/1.1 103 x\r\n\r\n" + zeroes, 101, handshake.ErrTunnel, true},
		{"HTTP/1.1 300 x\r\n\r\n", 300, handshake.ErrTunnel, true},
		{"HTTP/1.1 302 x\r\nLocation: http://evil/\r\n\r\n", 302, handshake.ErrTunnel, true},
		{"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n", 407, handshake.ErrTunnel, true},
		{"HTTP/1.1 599 x\r\n\r\n", 599, handshake.ErrTunnel, true},
		{"HTTP/1.1 999 x\r\n\r\n", 999, handshake.ErrTunnel, true},
		{strings.Repeat("HTTP/1.1 100 Wait\r\n\r\n", 16) + "HTTP/1.1 200 OK\r\n\r\n", 200, nil, true},
		{strings.Repeat("HTTP/1.1 100 Wait\r\n\r\n", 17) + "HTTP/1.1 200 OK\r\n\r\n", 100, handshake.ErrInterim, false},
		{"HTTP/1.0 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 100, handshake.ErrResponseVersion, false},
		{"HTTP/2.0 200 OK\r\n\r\n", 200, handshake.ErrResponseVersion, false},
		{"HTTP/1.1 000 OK\r\n\r\n", 0, handshake.ErrStatusLine, false},
		{"HTTP/1.1 20 OK\r\n\r\n", 0, handshake.ErrStatusLine, false},
		{"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", 200, nil, true},
		{"HTTP/1.1 200 OK\n\n", 200, nil, true},
		{"HTTP/1.0 200\n\r\n", 200, nil, true},
		{"HTTP/1.1 200 O\x00K\r\r\nno colon\r\n: no name\r\n\tfolded\n folded\r\nA\x00: b\r\nA:\x01b\rc\r\n\rX: y\r\nSec-WebSocket-Accept: a\r\n b\r\nVia: x\n\n", 200, nil, true},
		{"HTTP/1.1 407 x\nodd\nProxy-Authenticate : Basic\n\n", 407, handshake.ErrTunnel, true},
		{"HTTP/1.1 100 x\nodd\n\nHTTP/1.1 200 x\n\n", 200, nil, true},
		{"HTTP/1.1 200 OK\n" + strings.Repeat("odd\n", 128) + "\n", 200, nil, true},
		{"HTTP/1.1 200 OK\n" + strings.Repeat(" odd\n", 129) + "\n", 200, handshake.ErrTooManyLines, false},
		{"HTTP/1.1 200 OK\n" + strings.Repeat("\r", 20_000), 200, handshake.ErrHeadTooLarge, false},
		{"HTTP/1.1 200 OK\n" + strings.Repeat("\x00", 20_000), 200, handshake.ErrHeadTooLarge, false},
		{"HTTP/1.1 200 " + strings.Repeat("x", 20_000), 0, handshake.ErrHeadTooLarge, false},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 129) + "\r\n", 200, handshake.ErrTooManyLines, false},
		{"SSH-2.0-x\r\n", 0, handshake.ErrStatusLine, false},
	} {
		var p handshake.ConnectResponse
		stream := c.answer + "the tunnel's"
		n, err := handshake.ParseConnect(&p, []byte(stream))
		if !errors.Is(err, c.want) || c.whole && n != len(c.answer) || !c.whole && n != 0 || p.Status != c.status {
			t.Errorf("%.60q: %d, status %d, %v; want %d, %v", c.answer, n, p.Status, err, c.status, c.want)
		}
		var e *handshake.Error
		if errors.As(err, &e) && (e.Status != c.status || c.whole && e.Header == nil) {
			t.Errorf("%.60q: the error has status %d, header %v", c.answer, e.Status, e.Header)
		}
		// Any split gives the same result.
		want := fmt.Sprint(n, err, p.Header)
		for _, step := range []int{1, 2, 7} {
			var q handshake.ConnectResponse
			var n int
			var err error
			for end := 1; n == 0 && err == nil; end += step {
				n, err = handshake.ParseConnect(&q, []byte(stream[:min(end, len(stream))]))
				if end >= len(stream) {
					break
				}
			}
			if got := fmt.Sprint(n, err, q.Header); got != want {
				t.Errorf("%.60q in pieces of %d: %s, whole: %s", c.answer, step, got, want)
			}
		}
	}
}

// F78: the parser takes no memory for an answer that has not come whole, whatever its
// lines are.
func TestF78AnswersThatHaveNotComeWhole(t *testing.T) {
	for _, lines := range []string{strings.Repeat("7:\r\n", 127), strings.Repeat("7: 8\r\n", 127), "A:\r\nB:\r\nC: " + strings.Repeat("c", 5000) + "\r\n"} {
		for _, before := range []string{"", "HTTP/1.1 103 Early Hints\r\n" + lines + "\r\n"} {
			ok, switched := []byte(before+"HTTP/1.1 200 OK\r\n"+lines), []byte(before+"HTTP/1.1 101 Switching\r\n"+lines)
			var p handshake.ConnectResponse
			var q handshake.Response
			req := new(handshake.Request)
			for name, parse := range map[string]func() (int, error){
				"ParseConnect": func() (int, error) {
					p = handshake.ConnectResponse{}
					handshake.ParseConnect(&p, ok[:len(ok)/2])
					return handshake.ParseConnect(&p, ok)
				},
				"ParseResponse": func() (int, error) {
					q.Reset()
					handshake.ParseResponse(&q, req, switched[:len(switched)/2])
					return handshake.ParseResponse(&q, req, switched)
				},
			} {
				if n, err := parse(); n != 0 || err != nil || p.Header != nil || q.Header != nil {
					t.Fatalf("%s of %.20q…: %d, %v, %v, %v", name, lines, n, err, p.Header, q.Header)
				}
				if n := testing.AllocsPerRun(10, func() { parse() }); n != 0 {
					t.Errorf("%s of %.20q…: %v allocations", name, lines, n)
				}
			}
		}
	}
}

// The error for an invalid URL quotes no part of the URL. In a password with a slash, a
// question mark or a percent sign, a part looks like a port or an escape.
func TestURLErrorsAreWithoutThePassword(t *testing.T) {
	for _, s := range []string{
		"ws://u:hunter2/x@h/", "ws://u:hunter2?x@h/", "ws://u:hunter2#x@h/", "ws://u:%zzhunter2@h/", "ws://u:h%unter2@h/", "ws://u:hunter2 @h/", "ws://u:hunter2@h@i/",
		"ws://u:hunter2\\@h/", "ws://u:hunter2@h:port/", "ws://u:hunter2@[::1/", "ws://u:hunter2@[zz]/", "ws://u:hunter2[@h/", "http://u:hunter2@h/", "ws://a%3Ab:hunter2@h/",
		"ws://u:hunter2%0a@h/", "u:hunter2@h", "ws:u:hunter2@h", "ws://u:\"hunter2\"@h:x/", "://u:hunter2@h", "ws://u:[hunter2/@h", "ws://u:[hunter2]x/@h", "ws://[hunter2]/@h",
	} {
		_, err := handshake.ParseURL(s)
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v %q", e, e, e); strings.Contains(text, "hunter2") || strings.Contains(text, "unter2") || strings.Contains(text, "%zz") {
				t.Errorf("%s: %s", s, text)
			}
		}
		if !errors.Is(err, handshake.ErrURL) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// URLFault tells the kind of the fault, also for an error that wraps one of net/url.
func TestURLFault(t *testing.T) {
	for s, want := range map[string]string{
		"http://u:hunter2/x@h/":    "invalid port after host",
		"http://u:%zzhunter2@h/":   "invalid URL escape",
		"http://u:hunter2@[::1/":   "missing ']' in host",
		"http://u:hunt\"er2/\"x@h": "invalid port after host",
	} {
		_, err := url.Parse(s)
		if got := handshake.URLFault(err); got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
		if got := handshake.URLFault(fmt.Errorf("the proxy: %w", err)); got != want {
			t.Errorf("%s, wrapped: %q, want %q", s, got, want)
		}
	}
}
