package fuzz_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

const (
	exampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	exampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// fieldLines are header lines, well formed and not, that mean something to a client or a
// server.
var fieldLines = []string{
	"X: y", "Origin: https://h", "Host: h", "host: [::1]:80", "Upgrade: h2c, websocket", "Connection: keep-alive , Upgrade",
	"Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: b", "Sec-WebSocket-Protocol: a, a", "Sec-WebSocket-Protocol: a,,b",
	"Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b, a", "Sec-WebSocket-Protocol:\r\nSec-WebSocket-Protocol: a",
	"Sec-WebSocket-Extensions:", "Sec-WebSocket-Extensions: ,x,,", "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions:",
	"Sec-WebSocket-Extensions: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "Sec-WebSocket-Protocol: " + strings.Repeat("p,", 33), "Host: a,b",
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\"",
	"Sec-WebSocket-Extensions: x; y=\",permessage-deflate,\"", "Sec-WebSocket-Extensions: ;;", "Sec-WebSocket-Version: 13, 8",
	"Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked", "Retry-After: 7", "X : y", " folded", "X: \x00", "X: a\nb", "X: a\rb",
}

func heads(start []string, base string) (all [][]byte) {
	for _, s := range start {
		all = append(all, []byte(s+"\r\n"+base+"\r\n"))
	}
	for _, l := range fieldLines {
		all = append(all, []byte(start[0]+"\r\n"+base+l+"\r\n\r\n"), []byte(start[0]+"\r\n"+l+"\r\n"+base+"\r\n\x81\x00"))
	}
	return all
}

// outcome returns the result of a parse in a form that can be compared.
func outcome(n int, err error) string {
	var e *handshake.Error
	if err == nil {
		return fmt.Sprint(n)
	}
	if !errors.As(err, &e) {
		return "not an *Error: " + err.Error()
	}
	return fmt.Sprint(n, e.Rule, e.Name, e.Offset, e.Status)
}

// inPieces calls parse with growing parts of p, every step bytes, each time at a new
// address.
func inPieces(p []byte, step int, parse func([]byte) (int, error)) string {
	for end := step; end < len(p); end += step {
		if n, err := parse(bytes.Clone(p[:end])); n != 0 || err != nil {
			return outcome(n, err)
		}
	}
	return outcome(parse(p))
}

// FuzzRequest parses a request whole and in pieces. A request that is accepted must read
// the same in net/http.
func FuzzRequest(f *testing.F) {
	base := "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + exampleKey + "\r\nSec-WebSocket-Version: 13\r\n"
	for _, h := range heads([]string{"GET / HTTP/1.1", "GET http://h:80/a?b HTTP/1.1", "POST / HTTP/1.1", "GET * HTTP/1.1", "GET / HTTP/1.0", "GET /#"}, base) {
		f.Add(h, uint8(1))
	}
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		defer replay.Watchdog(t.Name(), time.Second)()
		var v handshake.RequestView
		n, err := handshake.ParseRequest(&v, p)
		whole := outcome(n, err)
		for _, s := range []int{1, int(step) + 1} {
			if s == 1 && len(p) > 2048 {
				continue
			}
			var again handshake.RequestView
			if got := inPieces(p, s, func(b []byte) (int, error) { return handshake.ParseRequest(&again, b) }); got != whole {
				t.Fatalf("in pieces of %d: %s; whole: %s\n%q", s, got, whole, p)
			}
		}
		if err != nil || n == 0 {
			return
		}
		if n > len(p) || !bytes.HasSuffix(p[:n], []byte("\r\n\r\n")) || bytes.Contains(p[:n-1], []byte("\r\n\r\n")) {
			t.Fatalf("the head of %q ends at %d", p, n)
		}
		agreeRequest(t, &v, p[:n])
		answerRequest(t, &v)
	})
}

// agreeRequest compares with net/http, which is less strict: a request that passes here
// must pass there. There are two exceptions, which net/http checks more: escapes in the
// target, and hosts in an absolute URI.
func agreeRequest(t *testing.T, v *handshake.RequestView, head []byte) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		if !bytes.HasPrefix(head, []byte("GET /")) || bytes.Contains(v.Target(), []byte("%")) {
			return
		}
		t.Fatalf("net/http: %v\n%q", err, head)
	}
	if r.Host != string(v.Host()) || r.Header.Get("Sec-WebSocket-Key") != string(v.Key()) || r.Header.Get("Origin") != string(first(v.Origin())) {
		t.Fatalf("host %q, net/http %q; key %q; header %q", v.Host(), r.Host, v.Key(), r.Header)
	}
	if bytes.HasPrefix(head, []byte("GET /")) && r.RequestURI != string(v.Target()) {
		t.Fatalf("target %q, net/http %q", v.Target(), r.RequestURI)
	}
	want, err := slowProtocols(r.Header["Sec-Websocket-Protocol"])
	if err != nil {
		t.Fatalf("%v was taken: %q", err, head)
	}
	var got []string
	for p := range v.Subprotocols() {
		got = append(got, string(p))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("subprotocols %q, net/http %q", got, want)
	}
	var names []string
	for _, list := range r.Header["Sec-Websocket-Extensions"] {
		all, ok := slowExtensions(list)
		if !ok && strings.Trim(list, " \t,") != "" {
			t.Fatalf("%q was taken", list)
		}
		for _, e := range all {
			names = append(names, e.Name)
		}
	}
	ext := v.Extensions(nil)
	if len(names) == 0 && r.Header["Sec-Websocket-Extensions"] != nil || len(names) > handshake.DefaultExtensions {
		t.Fatalf("%q were taken", r.Header["Sec-Websocket-Extensions"])
	}
	if len(ext) != len(names) {
		t.Fatalf("extensions %v, want %q", ext, names)
	}
	for i := range ext {
		if ext[i].Name != names[i] {
			t.Fatalf("extensions %v, want %q", ext, names)
		}
	}
}

func first(b []byte, _ bool) []byte { return b }

// slowProtocols is a second parser for the subprotocols of a request: tokens, none empty,
// none twice (RFC 6455 §4.1).
func slowProtocols(lines []string) (all []string, err error) {
	if len(lines) == 0 {
		return nil, nil
	}
	for p := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		p = strings.Trim(p, " \t")
		if !token.MatchString(p) || slices.Contains(all, p) {
			return nil, fmt.Errorf("%q after %q", p, all)
		}
		all = append(all, p)
	}
	if len(all) > handshake.DefaultSubprotocols {
		return nil, fmt.Errorf("%d names", len(all))
	}
	return all, nil
}

// mustAnswer returns what a client must make of the two lists in an answer that is
// otherwise right. A subprotocol is at most one of req's. In both lists empty lines count
// as absent.
func mustAnswer(req *handshake.Request, h http.Header) (protocol string, ok bool) {
	for _, p := range h["Sec-Websocket-Protocol"] {
		if p != "" && (protocol != "" || !slices.Contains(req.Subprotocols, p)) {
			return "", false
		}
		protocol += p
	}
	all, params := []handshake.Extension(nil), 0
	for _, list := range h["Sec-Websocket-Extensions"] {
		some, ok := slowExtensions(list)
		if !ok && strings.Trim(list, " \t,") != "" {
			return "", false
		}
		all = append(all, some...)
	}
	for _, e := range all {
		if params += len(e.Params); !slices.ContainsFunc(req.Extensions, func(o handshake.Extension) bool { return o.Name == e.Name }) {
			return "", false
		}
	}
	return protocol, len(all) <= handshake.DefaultExtensions && params <= handshake.DefaultParams
}

// answerRequest answers with the first subprotocol and extension offered. A client that
// has offered them accepts that.
func answerRequest(t *testing.T, v *handshake.RequestView) {
	req, res := &handshake.Request{Extensions: v.Extensions(nil)}, &handshake.Response{}
	copy(req.Key[:], v.Key())
	for p := range v.Subprotocols() {
		req.Subprotocols = append(req.Subprotocols, string(p))
	}
	res.Subprotocol = v.Subprotocol(req.Subprotocols)
	res.Extensions = req.Extensions[:min(1, len(req.Extensions))]
	b, err := handshake.AppendResponse(nil, v.Key(), res)
	if err != nil {
		t.Fatal(err)
	}
	var back handshake.Response
	if n, err := handshake.ParseResponse(&back, req, b); err != nil || n != len(b) || back.Subprotocol != res.Subprotocol {
		t.Fatalf("%d, %v, %+v of %q", n, err, back, b)
	}
}

// FuzzResponse parses an answer whole and in pieces. An answer that is accepted, or has
// another status, must read the same in net/http.
func FuzzResponse(f *testing.F) {
	base := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + exampleAccept + "\r\n"
	for _, h := range heads([]string{"HTTP/1.1 101 Switching Protocols", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101", "HTTP/1.1 429 Slow", "HTTP/1.0 101 x", "ICY 200 OK"}, base) {
		f.Add(h, uint8(1))
	}
	req := &handshake.Request{Subprotocols: []string{"a", "b"}, Extensions: []handshake.Extension{{Name: "permessage-deflate"}, {Name: "x"}}}
	copy(req.Key[:], exampleKey)
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		defer replay.Watchdog(t.Name(), time.Second)()
		var res handshake.Response
		n, err := handshake.ParseResponse(&res, req, p)
		whole := outcome(n, err)
		for _, s := range []int{1, int(step) + 1} {
			if s == 1 && len(p) > 2048 {
				continue
			}
			var again handshake.Response
			if got := inPieces(p, s, func(b []byte) (int, error) { return handshake.ParseResponse(&again, req, b) }); got != whole {
				t.Fatalf("in pieces of %d: %s; whole: %s\n%q", s, got, whole, p)
			}
		}
		if n == 0 {
			return
		}
		br := bufio.NewReader(io.MultiReader(bytes.NewReader(p[:n]), strings.NewReader("")))
		for {
			want, readErr := http.ReadResponse(br, nil)
			if readErr != nil {
				if strings.Contains(readErr.Error(), "transfer encoding") || strings.Contains(readErr.Error(), "Content-Length") {
					return
				}
				t.Fatalf("net/http: %v\n%q", readErr, p[:n])
			}
			if want.StatusCode/100 == 1 && want.StatusCode != 101 {
				continue
			}
			if want.StatusCode != res.Status {
				t.Fatalf("status %d, net/http %d", res.Status, want.StatusCode)
			}
			for name, values := range want.Header {
				if name != "Cache-Control" && !slices.Equal(values, res.Header[name]) {
					t.Fatalf("%s: %q, net/http %q", name, res.Header[name], values)
				}
			}
			break
		}
		if res.Status != 101 || errors.Is(err, handshake.ErrUpgrade) || errors.Is(err, handshake.ErrConnection) || errors.Is(err, handshake.ErrAccept) {
			return
		}
		if protocol, ok := mustAnswer(req, res.Header); ok != (err == nil) || protocol != res.Subprotocol && ok {
			t.Fatalf("%q, %v, want %q, %v of %q", res.Subprotocol, err, protocol, ok, p[:n])
		}
	})
}

// The grammar of RFC 6455 §9.1 as regular expressions, with white space between any two
// parts.
var (
	space     = `[ \t]*`
	tchar     = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]"
	parameter = "(" + tchar + "+)(?:" + space + "=" + space + "(?:(" + tchar + `+)|"((?:\\?` + tchar + `)+)"))?`
	element   = regexp.MustCompile("^" + space + "(" + tchar + "+)((?:" + space + ";" + space + parameter + ")*)" + space + "(?:,|$)")
	token     = regexp.MustCompile("^" + tchar + "+$")
	tail      = regexp.MustCompile("^" + space + ";" + space + parameter)
	empty     = regexp.MustCompile("^" + space + "(?:,|$)")
)

// slowExtensions is a second parser for lists of extensions.
func slowExtensions(s string) (all []handshake.Extension, ok bool) {
	for s != "" {
		if m := empty.FindString(s); m != "" {
			s = s[len(m):]
			continue
		}
		m := element.FindStringSubmatch(s)
		if m == nil {
			return nil, false
		}
		s = s[len(m[0]):]
		e := handshake.Extension{Name: m[1]}
		for rest := m[2]; rest != ""; {
			p := tail.FindStringSubmatch(rest)
			e.Params = append(e.Params, handshake.Param{Name: p[1], Value: p[2] + strings.ReplaceAll(p[3], `\`, "")})
			rest = rest[len(p[0]):]
		}
		all = append(all, e)
	}
	return all, len(all) > 0
}

// FuzzExtensions compares the parser with regular expressions, and reads what it has
// written.
func FuzzExtensions(f *testing.F) {
	for _, s := range []string{"", "a", "a, b;c", `a; b="c"`, `a; b="\c" , d`, ",,a,", ";;", "a;;b", `a; b="c`, "a b", "a=b", `x; y=",z,"`, `a; b=""`,
		"permessage-deflate; client_max_window_bits; server_max_window_bits=10", "a\x00", "a; b=\xff", "a;b = c", `a; b="\\"`, `a; b="c"d`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		defer replay.Watchdog(t.Name(), time.Second)()
		got, err := handshake.ParseExtensions(nil, p)
		if len(p) > 2048 { // the reference is slow
			return
		}
		want, ok := slowExtensions(string(p))
		if (err == nil) != ok {
			t.Fatalf("%q: %v, reference: %v", p, err, ok)
		}
		if err != nil {
			if got != nil || !errors.Is(err, handshake.ErrExtensions) {
				t.Fatalf("%q: %v, %v", p, got, err)
			}
			return
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q: %v, reference: %v", p, got, want)
		}
		b, err := handshake.AppendExtensions(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := handshake.ParseExtensions(nil, string(b)); err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatalf("%q was written as %q, which is %v, %v", p, b, again, err)
		}
	})
}

// FuzzURL makes a request from every URL that is accepted. net/http and net/url must read
// it.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"ws://h", "wss://u:p@h:8443/a?b", "ws://[::1]:80/", "ws://[fe80::1%25eth0]/", "ws://[fe80::1%25a%25et]/", "ws://h/ä?ö", "ws://h/#", "http://h/", "ws://h:0/",
		"ws://h\r\nX: y/", "ws://good\\@evil/", "ws://a@b@c/", "ws://h/%zz", "ws://h?", "WS://H.", "ws://bücher.example/", "ws://h:99999", "ws:///x", "/../b?c", "//h:1/x", "?q"} {
		f.Add(s, "/next?x")
		f.Add("ws://h/a/b", s)
	}
	f.Fuzz(func(t *testing.T, s, location string) {
		defer replay.Watchdog(t.Name(), time.Second)()
		u, err := handshake.ParseURL(s)
		if err != nil {
			if u != nil || !errors.Is(err, handshake.ErrURL) {
				t.Fatalf("%q: %v, %v", s, u, err)
			}
			return
		}
		checkURL(t, u)
		p, err := url.Parse(s)
		if err != nil || !strings.EqualFold(p.Hostname(), u.Name) || p.Fragment != "" || (p.Scheme == "wss") != u.Secure {
			t.Fatalf("%q: %+v, net/url: %+v, %v", s, u, p, err)
		}
		v, err := u.Resolve(location)
		if err != nil {
			if v != nil || !errors.Is(err, handshake.ErrRedirect) {
				t.Fatalf("%q to %q: %v, %v", s, location, v, err)
			}
			return
		}
		if v.User != nil || u.Secure && !v.Secure {
			t.Fatalf("%q to %q: %+v", s, location, v)
		}
		checkURL(t, v)
	})
}

func checkURL(t *testing.T, u *handshake.URL) {
	again, err := handshake.ParseURL(u.String())
	if err != nil || again.Name != u.Name || again.Port != u.Port || again.Target != u.Target || again.Secure != u.Secure || again.User != nil {
		t.Fatalf("%+v is written as %q, which is %+v, %v", u, u, again, err)
	}
	for i := 0; i < len(u.Name); i++ {
		if u.Name[i] >= 0x80 { // the caller must encode it
			return
		}
	}
	req := &handshake.Request{Host: u.Host(), Target: u.Target, Key: handshake.NewKey()}
	if a := u.Authorization(); a != "" {
		req.Header = http.Header{"Authorization": {a}}
	}
	b, err := handshake.AppendRequest(nil, req)
	if err != nil {
		t.Fatalf("%+v: %v", u, err)
	}
	var view handshake.RequestView
	if n, err := handshake.ParseRequest(&view, b); err != nil || n != len(b) || string(view.Target()) != u.Target || string(view.Host()) != u.Host() {
		t.Fatalf("%+v: %q: %d, %v", u, b, n, err)
	}
	if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil && (r.RequestURI != u.Target || r.Host != u.Host()) {
		t.Fatalf("%+v: net/http reads %q of %q", u, r.RequestURI, r.Host)
	}
}
