package handshake

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// rfcKey and rfcAccept are the example of RFC 6455 §1.3.
const (
	rfcKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	rfcAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func keyOf(s string) (k Key) {
	copy(k[:], s)
	return k
}

// head builds a head from a start line and header lines, and applies edits. "-Name"
// removes a line, and "=Name: value" replaces it. "+line" adds a line at the end, and
// ">line" replaces the start line.
func head(lines []string, edits ...string) []byte {
	lines = append([]string(nil), lines...)
	for _, e := range edits {
		op, e := e[0], e[1:]
		name, _, _ := strings.Cut(e, ":")
		switch op {
		case '>':
			lines[0] = e
		case '+':
			lines = append(lines, e)
		case '-', '=':
			found := false
			for i := 1; i < len(lines); i++ {
				if strings.HasPrefix(lines[i], name+":") {
					found = true
					if op == '=' {
						lines[i] = e
					} else {
						lines = append(lines[:i], lines[i+1:]...)
					}
					break
				}
			}
			if !found {
				panic("no line " + name)
			}
		default:
			panic("edit " + e)
		}
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// A parse is the result of a parser for some bytes.
type parse struct {
	n   int
	err error
}

// same reports whether two runs of a parser over the same bytes had the same result.
func (p parse) same(q parse) bool {
	if p.n != q.n || (p.err == nil) != (q.err == nil) {
		return false
	}
	if p.err == nil {
		return true
	}
	a, b := p.err.(*Error), q.err.(*Error)
	return a.Rule == b.Rule && a.Offset == b.Offset && a.Name == b.Name && a.Status == b.Status
}

// deliver gives b to a parser in pieces that end at the cuts. Each call has all the bytes
// so far, in new memory.
func deliver(b []byte, cuts []int, next func([]byte) (int, error)) parse {
	for _, end := range append(cuts, len(b)) {
		if n, err := next(bytes.Clone(b[:end])); n != 0 || err != nil {
			return parse{n, err}
		}
	}
	return parse{}
}

// everyByte returns a cut before each of n bytes.
func everyByte(n int) (cuts []int) {
	for i := range n {
		cuts = append(cuts, i)
	}
	return cuts
}

// parseRequest parses in one piece, byte by byte, and cut in two at each place. All must
// have the same result.
func parseRequest(t *testing.T, b []byte, limits Limits) (*RequestView, parse) {
	t.Helper()
	view := &RequestView{Limits: limits}
	n, err := ParseRequest(view, b)
	whole := parse{n, err}
	again := func(cuts ...int) {
		v := &RequestView{Limits: limits}
		got := deliver(b, cuts, func(p []byte) (int, error) { return ParseRequest(v, p) })
		if !got.same(whole) {
			t.Fatalf("in pieces %d: %v; whole: %v", cuts, got, whole)
		}
	}
	again(everyByte(len(b))...)
	if len(b) < 1024 {
		for i := range b {
			again(i)
		}
	}
	return view, whole
}

// parseResponse does for ParseResponse what parseRequest does for ParseRequest.
func parseResponse(t *testing.T, req *Request, b []byte, limits Limits) (*Response, parse) {
	t.Helper()
	res := &Response{Limits: limits}
	n, err := ParseResponse(res, req, b)
	whole := parse{n, err}
	again := func(cuts ...int) {
		r := &Response{Limits: limits}
		got := deliver(b, cuts, func(p []byte) (int, error) { return ParseResponse(r, req, p) })
		if !got.same(whole) {
			t.Fatalf("in pieces %d: %v; whole: %v", cuts, got, whole)
		}
		if r.Status != res.Status || r.Subprotocol != res.Subprotocol || len(r.Extensions) != len(res.Extensions) {
			t.Fatalf("in pieces %d: %+v; whole: %+v", cuts, r, res)
		}
	}
	again(everyByte(len(b))...)
	if len(b) < 1024 {
		for i := range b {
			again(i)
		}
	}
	return res, whole
}

// Each side of a handshake parses what the other side appends.
func TestRoundTrip(t *testing.T) {
	req := &Request{
		Host: "example.com:8080", Target: "/feed?x=1", Key: NewKey(), Origin: "https://example.com",
		Subprotocols: []string{"v2.feed", "v1.feed"},
		Extensions: []Extension{{"permessage-deflate", []Param{{"client_max_window_bits", ""}, {"server_max_window_bits", "12"}}},
			{"permessage-deflate", nil}},
		Header: http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=b", "c=d"}},
	}
	b, err := AppendRequest(nil, req)
	if err != nil {
		t.Fatal(err)
	}
	v, got := parseRequest(t, append(b, "frames"...), Limits{})
	if got.err != nil || got.n != len(b) {
		t.Fatal(got)
	}
	if string(v.Target()) != req.Target || string(v.Host()) != req.Host || string(v.Header("cookie")) != "a=b" {
		t.Errorf("%q %q %q", v.Target(), v.Host(), v.Header("cookie"))
	}
	res := &Response{Subprotocol: v.Subprotocol([]string{"v1.feed"}), Extensions: v.Extensions(nil)[:1],
		Header: http.Header{"X-Session": {"7"}}}
	a, err := AppendResponse(nil, v.Key(), res)
	if err != nil {
		t.Fatal(err)
	}
	back, got := parseResponse(t, req, append(bytes.Clone(a), 0x81, 0), Limits{})
	if got.err != nil || got.n != len(a) {
		t.Fatal(got)
	}
	if back.Subprotocol != "v1.feed" || len(back.Extensions) != 1 || len(back.Extensions[0].Params) != 2 ||
		back.Header.Get("X-Session") != "7" || back.Status != 101 {
		t.Errorf("%+v", back)
	}
}

func TestErrorIs(t *testing.T) {
	e := error(ErrStatus.answered(503, nil))
	if !errors.Is(e, ErrStatus) || errors.Is(e, ErrAccept) || errors.Is(e, http.ErrAbortHandler) {
		t.Error("rules are not told apart")
	}
	if errors.Is(&Error{Status: 401}, &Error{Status: 401}) {
		t.Error("errors without a rule match")
	}
	for e, want := range map[*Error]string{
		ErrStatus.answered(503, nil): "handshake: the server did not switch protocols, RFC 6455 §4.1: status 503 Service Unavailable",
		ErrKey:                       "handshake: there is not exactly one key of 16 bytes in base64 (Sec-WebSocket-Key), RFC 6455 §4.2.1: status 400 Bad Request",
		{Status: 599}:                "handshake: refused: status 599",
		ErrAccept.answered(101, nil): "handshake: the answer does not match the key of this request (Sec-WebSocket-Accept), RFC 6455 §4.1",
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}
