package websocket

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

func request(h http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
	r.Header = http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, httpVersion: {"13"}, httpKey: {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for name, values := range h {
		if values == nil {
			delete(r.Header, name)
		} else {
			r.Header[name] = values
		}
	}
	return r
}

// A request that is no handshake, or not welcome, is answered with its status, and the
// error is a HandshakeError with the reason.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name     string
		header   http.Header
		method   string
		response http.Header
		status   int
		says     string
	}{
		{"no upgrade", http.Header{"Upgrade": nil}, "", nil, 400, "'websocket' token not found in 'Upgrade' header"},
		{"no connection", http.Header{"Connection": {"close"}}, "", nil, 400, "'upgrade' token not found in 'Connection' header"},
		{"a POST", nil, http.MethodPost, nil, 405, "request method is not GET"},
		{"another version", http.Header{httpVersion: {"8"}}, "", nil, 400, "13 not found"},
		{"an extension of the program's", nil, "", http.Header{httpExtensions: {"x"}}, 500, "extensions"},
		{"another origin", http.Header{"Origin": {"http://other.com"}}, "", nil, 403, "request origin not allowed by Upgrader.CheckOrigin"},
		{"no key", http.Header{httpKey: nil}, "", nil, 400, "Sec-WebSocket-Key"},
		{"a short key", http.Header{httpKey: {"YWJj"}}, "", nil, 400, "Sec-WebSocket-Key"},
		{"no hijacker", nil, "", nil, 500, "websocket: response does not implement http.Hijacker"},
	} {
		r := request(tt.header)
		if tt.method != "" {
			r.Method = tt.method
		}
		w := httptest.NewRecorder()
		c, err := new(Upgrader).Upgrade(w, r, tt.response)
		e, ok := err.(HandshakeError)
		if c != nil || !ok || !strings.Contains(strings.ToLower(e.Error()), strings.ToLower(tt.says)) || w.Code != tt.status || w.Header().Get("Sec-Websocket-Version") != "13" {
			t.Errorf("%s: %v, %d %v", tt.name, err, w.Code, w.Header())
		}
		var told string
		u := Upgrader{Error: func(_ http.ResponseWriter, _ *http.Request, status int, reason error) {
			told = fmt.Sprint(status, reason)
		}}
		w = httptest.NewRecorder()
		if _, err := u.Upgrade(w, r, tt.response); told != fmt.Sprint(tt.status, err) || w.Body.Len() > 0 {
			t.Errorf("%s: %q, %v", tt.name, told, err)
		}
	}
	w := httptest.NewRecorder()
	if _, err := Upgrade(w, request(http.Header{"Origin": {"http://other.com"}, httpKey: nil}), nil, 0, 0); err == nil || w.Body.Len() > 0 || strings.Contains(err.Error(), "origin") {
		t.Errorf("Upgrade: %v, %q", err, w.Body)
	}
}

// The host of Origin, where there is one, must be that of Host.
func TestOrigin(t *testing.T) {
	for origin, want := range map[string]bool{
		"":                         true,
		"http://example.com":       true,
		"https://example.com":      true,
		"https://EXAMPLE.com":      true,
		"https://example.com/path": true,
		"https://example.com:443":  false,
		"https://www.example.com":  false,
		"https://example.com.evil": false,
		"null":                     false,
		"https://exa\u212aple.com": false,
		"%zz":                      false,
	} {
		r := request(nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if got := sameOrigin(r); got != want {
			t.Errorf("%q: %v", origin, got)
		}
	}
}

// The answer has the subprotocol, the extension and the program's lines, none of which can
// begin another one.
func TestAnswer(t *testing.T) {
	heads := make(chan string, 1)
	for _, tt := range []struct {
		upgrader Upgrader
		request  []string
		response http.Header
		want     []string
		not      []string
	}{
		{Upgrader{}, nil, nil, nil, []string{"Sec-WebSocket-Protocol", "Extensions"}},
		{Upgrader{Subprotocols: []string{"v2", "v1"}}, []string{"Sec-WebSocket-Protocol: v0, v1,v2"}, http.Header{httpProtocol: {"ignored"}}, []string{"Sec-WebSocket-Protocol: v2"}, []string{"ignored"}},
		{Upgrader{Subprotocols: []string{"v3"}}, []string{"Sec-WebSocket-Protocol: v1"}, nil, nil, []string{"Sec-WebSocket-Protocol"}},
		{Upgrader{}, []string{"Sec-WebSocket-Protocol: v1"}, http.Header{httpProtocol: {"chosen"}}, []string{"Sec-WebSocket-Protocol: chosen"}, nil},
		{Upgrader{}, nil, http.Header{"Set-Cookie": {"a=1", "b=2\r\nX-Evil: 1"}}, []string{"Set-Cookie: a=1", "Set-Cookie: b=2  X-Evil: 1"}, []string{"\nX-Evil"}},
		{Upgrader{EnableCompression: true}, []string{"Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits"}, nil, []string{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, nil},
		{Upgrader{EnableCompression: true}, nil, nil, nil, []string{"Extensions"}},
		{Upgrader{}, []string{"Sec-WebSocket-Extensions: permessage-deflate"}, nil, nil, []string{"Extensions"}},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := tt.upgrader.Upgrade(w, r, tt.response); err == nil {
				c.Close()
			}
		}))
		nc, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", strings.Join(append(tt.request, ""), "\r\n"))
		b, _ := io.ReadAll(nc)
		nc.Close()
		s.Close()
		head := string(b)
		for _, line := range append(tt.want, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
			if !strings.Contains(head, "\r\n"+line+"\r\n") {
				t.Errorf("no %q in\n%s", line, head)
			}
		}
		for _, line := range tt.not {
			if strings.Contains(head, line) {
				t.Errorf("%q in\n%s", line, head)
			}
		}
		if !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") || strings.Count(head, "\r\n\r\n") != 1 {
			t.Errorf("%q", head)
		}
	}
	close(heads)
}

// A client that sends frames before it has the answer is closed.
func TestEarlyFrames(t *testing.T) {
	errs := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := new(Upgrader).Upgrade(w, r, nil)
		errs <- err
	}))
	defer s.Close()
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x80\x00\x00\x00\x00")
	if err := <-errs; err == nil || err.Error() != "websocket: client sent data before handshake is complete" {
		t.Error(err)
	}
	if _, err := bufio.NewReader(nc).ReadString('\n'); err == nil {
		t.Error("it is answered")
	}
}

func TestHeaderLists(t *testing.T) {
	for line, want := range map[string]bool{
		"upgrade": true, "UPGRADE": true, "keep-alive, Upgrade": true, ",upgrade,": true, " upgrade\t": true, "x upgrade": false, "upgrades": false, "": false, "keep-alive": false,
	} {
		r := &http.Request{Header: http.Header{"Connection": {"x", line}, "Upgrade": {"websocket"}}}
		if got := IsWebSocketUpgrade(r); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	for line, want := range map[string][]string{"": nil, "a": {"a"}, " a , b,c": {"a", "b", "c"}, "a,,b": {"a", "", "b"}} {
		r := &http.Request{Header: http.Header{httpProtocol: {line}}}
		if got := Subprotocols(r); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestCloseErrors(t *testing.T) {
	err := error(&CloseError{CloseGoingAway, "bye"})
	if !IsCloseError(err, CloseNormalClosure, CloseGoingAway) || IsCloseError(err, CloseNormalClosure) || IsCloseError(io.EOF, CloseGoingAway) || IsCloseError(nil) {
		t.Error("IsCloseError")
	}
	if !IsUnexpectedCloseError(err, CloseNormalClosure) || IsUnexpectedCloseError(err, CloseGoingAway) || IsUnexpectedCloseError(io.EOF) || !IsUnexpectedCloseError(err) {
		t.Error("IsUnexpectedCloseError")
	}
	for e, want := range map[CloseError]string{
		{1001, "bye"}: "websocket: close 1001 (going away): bye", {4000, ""}: "websocket: close 4000", {1006, "unexpected EOF"}: "websocket: close 1006 (abnormal closure): unexpected EOF",
		{1012, ""}: "websocket: close 1012", {1015, "x"}: "websocket: close 1015 (TLS handshake error): x",
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
	if b := FormatCloseMessage(CloseNoStatusReceived, "x"); b == nil || len(b) != 0 {
		t.Errorf("%q", b)
	}
	if b := FormatCloseMessage(4000, "x"); string(b) != "\x0f\xa0x" {
		t.Errorf("%q", b)
	}
}
