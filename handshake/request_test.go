package handshake

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func wish() *Request {
	return &Request{Host: "server.example.com", Target: "/chat", Key: keyOf(rfcKey)}
}

func TestR38GoldenRequest(t *testing.T) {
	const plain = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
	full := wish()
	full.Host, full.Target = "[::1]:8080", "/?q=1"
	full.Origin = "http://example.com"
	full.Subprotocols = []string{"chat", "superchat"}
	full.Extensions = []Extension{{"permessage-deflate", []Param{{"client_max_window_bits", ""}}}, {"x-y", []Param{{"z", "1"}}}}
	full.Header = http.Header{"X-B": {"2", "1"}, "Authorization": {"Basic dTpw"}, "x-a": {"", "caf\xe9"}}
	for _, c := range []struct {
		r    *Request
		want string
	}{
		{wish(), plain + "\r\n"},
		{full, "GET /?q=1 HTTP/1.1\r\nHost: [::1]:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://example.com\r\n" +
			"Sec-WebSocket-Protocol: chat, superchat\r\n" +
			"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-y; z=1\r\n" +
			"Authorization: Basic dTpw\r\nX-B: 2\r\nX-B: 1\r\nx-a: \r\nx-a: caf\xe9\r\n\r\n"},
	} {
		for range 20 { // a map has no order, but the request has one
			got, err := AppendRequest([]byte("before"), c.r)
			if err != nil || string(got) != "before"+c.want {
				t.Fatalf("%v\n%q\nwant\n%q", err, got, c.want)
			}
		}
	}
}

// V21: no value from the caller can end its line.
func TestV21InjectionIsRefused(t *testing.T) {
	places := map[string]func(*Request, string){
		"host":             func(r *Request, s string) { r.Host = "h" + s + "x" },
		"target path":      func(r *Request, s string) { r.Target = "/a" + s + "x" },
		"target query":     func(r *Request, s string) { r.Target = "/a?" + s + "x" },
		"origin":           func(r *Request, s string) { r.Origin = "http://h" + s + "x" },
		"subprotocol":      func(r *Request, s string) { r.Subprotocols = []string{"ok", "a" + s + "x"} },
		"extension":        func(r *Request, s string) { r.Extensions = []Extension{{Name: "a" + s + "x"}} },
		"parameter":        func(r *Request, s string) { r.Extensions = []Extension{{"a", []Param{{"b" + s, ""}}}} },
		"parameter value":  func(r *Request, s string) { r.Extensions = []Extension{{"a", []Param{{"b", "c" + s}}}} },
		"header name":      func(r *Request, s string) { r.Header = http.Header{"X" + s + "Y": {"v"}} },
		"header value":     func(r *Request, s string) { r.Header = http.Header{"X": {"ok", "v" + s + "w"}} },
		"header value end": func(r *Request, s string) { r.Header = http.Header{"X": {"v" + s}} },
	}
	for place, set := range places {
		for _, s := range []string{"\r", "\n", "\r\n", "\x00", "\r\nX-Evil: 1", "\r\n\r\nGET / HTTP/1.1", "\n ", "\x01", "\x7f", " "} {
			if s == " " && (place == "origin" || place == "header value") {
				continue // a value may have spaces inside
			}
			r := wish()
			set(r, s)
			got, err := AppendRequest([]byte("x"), r)
			var e *Error
			if !errors.Is(err, ErrValue) || string(got) != "x" || !errors.As(err, &e) || e.Name == "" {
				t.Errorf("%q in the %s: %q, %v", s, place, got, err)
			} else if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the error's text carries it on: %q", err)
			}
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	for name, set := range map[string]func(*Request){
		"no host":               func(r *Request) { r.Host = "" },
		"host with port 0":      func(r *Request) { r.Host = "h:0" },
		"host with empty port":  func(r *Request) { r.Host = "h:" },
		"host outside ASCII":    func(r *Request) { r.Host = "bücher.example" },
		"host with userinfo":    func(r *Request) { r.Host = "u@h" },
		"no target":             func(r *Request) { r.Target = "" },
		"target not a path":     func(r *Request) { r.Target = "chat" },
		"target fragment":       func(r *Request) { r.Target = "/a#b" },
		"target outside ASCII":  func(r *Request) { r.Target = "/ä" },
		"no key":                func(r *Request) { r.Key = Key{} },
		"a key of text":         func(r *Request) { copy(r.Key[:], "not base64!") },
		"empty subprotocol":     func(r *Request) { r.Subprotocols = []string{""} },
		"subprotocol twice":     func(r *Request) { r.Subprotocols = []string{"a", "b", "a"} },
		"two subprotocols":      func(r *Request) { r.Subprotocols = []string{"a, b"} },
		"origin twice":          func(r *Request) { r.Origin, r.Header = "http://h", http.Header{"origin": {"http://i"}} },
		"empty header name":     func(r *Request) { r.Header = http.Header{"": {"v"}} },
		"space in front":        func(r *Request) { r.Header = http.Header{"X": {" v"}} },
		"header name with text": func(r *Request) { r.Header = http.Header{strings.Repeat("ä", 100): {"v"}} },
	} {
		r := wish()
		set(r)
		if got, err := AppendRequest(nil, r); !errors.Is(err, ErrValue) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestReservedHeadersNameTheirOption(t *testing.T) {
	for _, c := range []struct{ name, says string }{
		{"Sec-WebSocket-Extensions", "Extensions"}, {"sec-websocket-protocol", "Subprotocols"}, {"Sec-Websocket-Key", "fresh"},
		{"SEC-WEBSOCKET-VERSION", "13"}, {"Sec-WebSocket-Accept", "answer"}, {"Upgrade", "websocket"}, {"connection", "handshake"},
		{"Host", "Host"}, {"Content-Length", "body"}, {"Transfer-Encoding", "body"}, {"TE", "body"}, {"Trailer", "body"}, {"Expect", "body"},
		{"Proxy-Authorization", "proxy"}, {"Proxy-Connection", "handshake"},
	} {
		r := wish()
		r.Header = http.Header{c.name: {"x"}}
		got, err := AppendRequest(nil, r)
		if !errors.Is(err, ErrReserved) || got != nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	r := wish()
	r.Header = http.Header{"Origin": {"http://h"}, "Cookie": {"a=b"}, "Authorization": {"x"}, "User-Agent": {"y"}}
	if _, err := AppendRequest(nil, r); err != nil {
		t.Error(err)
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	r := wish()
	r.Origin = "https://example.com"
	r.Header = http.Header{"Authorization": {"Bearer x"}, "User-Agent": {"tickwire"}}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendRequest(dst, r)
	}
}

// A subprotocol is offered once, wherever in the list it is repeated (RFC 6455 §4.1).
func TestR40SubprotocolsAreUnique(t *testing.T) {
	for _, list := range [][]string{{"a", "a"}, {"a", "b", "b"}, {"a", "b", "a"}, {"a", "b", "c", "b"}} {
		r := &Request{Host: "h", Target: "/", Key: NewKey(), Subprotocols: list}
		if b, err := AppendRequest(nil, r); !errors.Is(err, ErrValue) || len(b) != 0 {
			t.Errorf("%q: %q, %v", list, b, err)
		}
	}
}
