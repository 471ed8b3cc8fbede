package websocket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Echoes of all sizes: plain and over TLS, compressed and not.
func TestDialAndUpgrade(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		s := newServer(t, nil)
		s.upgrader.EnableCompression = compressed
		for _, secure := range []bool{false, true} {
			c := s.dial(t, secure, &Dialer{EnableCompression: true}, nil)
			if c.compressionAgreed != compressed {
				t.Errorf("compressed %v, agreed %v", compressed, c.compressionAgreed)
			}
			for _, size := range []int{0, 1, 125, 126, 4096, 4097, 65535, 65536, 1 << 20} {
				for _, op := range []int{TextMessage, BinaryMessage} {
					data := strings.Repeat("é", size/2) + strings.Repeat("x", size%2)
					if err := c.WriteMessage(op, []byte(data)); err != nil {
						t.Fatal(err)
					}
					wantMessage(t, c, op, data)
				}
			}
		}
	}
}

// answering is a server that answers a request by hand.
func answering(t *testing.T, answer func(nc net.Conn, r *http.Request)) (wsURL string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if err != nil {
					return
				}
				answer(nc, r)
			}()
		}
	}()
	return "ws://" + l.Addr().String() + "/path?query"
}

// switching is the head of an answer that opens a connection.
func switching(r *http.Request, lines ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		string(handshake.AppendAccept(nil, r.Header.Get(httpKey))) + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// The request is what it has to be, with the names written as RFC 6455 does.
func TestRequest(t *testing.T) {
	heads := make(chan string, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		var head strings.Builder
		for in := bufio.NewReader(nc); ; {
			line, err := in.ReadString('\n')
			head.WriteString(line)
			if err != nil || line == "\r\n" {
				break
			}
		}
		heads <- head.String()
	}()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(&url.URL{Scheme: "http", Host: l.Addr().String()}, []*http.Cookie{{Name: "a", Value: "b"}})
	d := &Dialer{Subprotocols: []string{"v1", "v2"}, EnableCompression: true, Jar: jar}
	_, _, err = d.Dial("ws://"+l.Addr().String()+"/path?query", http.Header{"Host": {"example.com"}, "X-lower": {"1", "2"}, "Origin": {"http://o"}})
	if err == nil {
		t.Error("no answer is an answer")
	}
	head := <-heads
	for _, line := range []string{
		"GET /path?query HTTP/1.1\r\nHost: example.com\r\n", "\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nSec-WebSocket-Version: 13\r\n",
		"\r\nSec-WebSocket-Protocol: v1, v2\r\n", "\r\nX-lower: 1\r\nX-lower: 2\r\n", "\r\nOrigin: http://o\r\n", "\r\nCookie: a=b\r\n",
		"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n", "\r\nSec-WebSocket-Key: ",
	} {
		if !strings.Contains("\r\n"+head, line) && !strings.HasPrefix(head, line) {
			t.Errorf("no %q in\n%s", line, head)
		}
	}
}

// What cannot be a request is refused before anything is dialed.
func TestBadRequests(t *testing.T) {
	d := &Dialer{NetDial: func(string, string) (net.Conn, error) { t.Error("dialed"); return nil, io.EOF }}
	for _, u := range []string{"http://a", "a", "ws://user:pw@a", "ws://a:b:c/%zz", ""} {
		if _, _, err := d.Dial(u, nil); err == nil {
			t.Errorf("%q is dialed", u)
		}
	}
	for _, name := range []string{"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions"} {
		if _, _, err := d.Dial("ws://a", http.Header{name: {"x"}}); err == nil || err.Error() != "websocket: duplicate header not allowed: "+name {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Subprotocols = []string{"x"}
	if _, _, err := d.Dial("ws://a", http.Header{"Sec-Websocket-Protocol": {"x"}}); err == nil {
		t.Error("two lists of subprotocols")
	}
}

// An answer that opens nothing is ErrBadHandshake, with the answer and the beginning of its
// body.
func TestBadAnswers(t *testing.T) {
	for name, answer := range map[string]func(r *http.Request) string{
		"404":  func(*http.Request) string { return "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhere" },
		"long": func(*http.Request) string { return "HTTP/1.1 500 No\r\n\r\n" + strings.Repeat("w", 5000) },
		"upgrade": func(r *http.Request) string {
			return strings.Replace(switching(r), "Upgrade: websocket", "Upgrade: x", 1)
		},
		"connection": func(r *http.Request) string {
			return strings.Replace(switching(r), "Connection: Upgrade", "Connection: x", 1)
		},
		"accept": func(r *http.Request) string { return strings.Replace(switching(r), "Accept: ", "Accept: x", 1) },
	} {
		u := answering(t, func(nc net.Conn, r *http.Request) { io.WriteString(nc, answer(r)) })
		_, resp, err := new(Dialer).Dial(u, nil)
		if err != ErrBadHandshake || resp == nil {
			t.Errorf("%s: %v, %v", name, resp, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		want := map[string]string{"404": "where", "long": strings.Repeat("w", 1024)}[name]
		if string(body) != want || err != nil {
			t.Errorf("%s: body %q, %v", name, body, err)
		}
	}
}

// Frames that come in one piece with the answer are read, and the answer's header is
// returned.
func TestFramesBehindTheAnswer(t *testing.T) {
	u := answering(t, func(nc net.Conn, r *http.Request) {
		io.WriteString(nc, switching(r, "Sec-WebSocket-Protocol: whatever", "Set-Cookie: a=b")+"\x81\x05first\x81\x06second")
		io.Copy(io.Discard, nc)
	})
	jar, _ := cookiejar.New(nil)
	c, resp, err := (&Dialer{Jar: jar}).Dial(u, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantMessage(t, c, TextMessage, "first")
	wantMessage(t, c, TextMessage, "second")
	at, _ := url.Parse("http" + strings.TrimPrefix(u, "ws"))
	if c.Subprotocol() != "whatever" || len(resp.Cookies()) != 1 || len(jar.Cookies(at)) != 1 {
		t.Errorf("%q, %v, %v", c.Subprotocol(), resp.Cookies(), jar.Cookies(at))
	}
	if b, err := io.ReadAll(resp.Body); len(b) != 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// An answer about compression must promise that no context is taken over. A window that it
// asks for is kept to.
func TestAnswersAboutCompression(t *testing.T) {
	for extension, want := range map[string]error{
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover":                           nil,
		"permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=9": nil,
		"permessage-deflate":                             errInvalidCompression,
		"permessage-deflate; server_no_context_takeover": errInvalidCompression,
		"permessage-deflate; client_no_context_takeover": errInvalidCompression,
		"x-other": nil,
	} {
		u := answering(t, func(nc net.Conn, r *http.Request) {
			io.WriteString(nc, switching(r, "Sec-WebSocket-Extensions: "+extension))
			io.Copy(io.Discard, nc)
		})
		c, resp, err := (&Dialer{EnableCompression: true}).Dial(u, nil)
		if err != want || resp == nil {
			t.Errorf("%s: %v", extension, err)
		}
		if err != nil {
			continue
		}
		if c.compressionAgreed == (extension == "x-other") {
			t.Errorf("%s: %v", extension, c.compressionAgreed)
		}
		if p, ok := c.ws.Compression(); ok && strings.HasSuffix(extension, "=9") && p.ClientMaxWindowBits != 9 {
			t.Errorf("%s: %+v", extension, p)
		}
		c.Close()
	}
}

// A handshake ends after 45 s where nothing else bounds it, and otherwise with what does.
func TestHandshakeIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		ctx     time.Duration
		want    time.Duration
	}{
		{"by default", 0, 0, 45 * time.Second},
		{"by HandshakeTimeout", time.Second, 0, time.Second},
		{"by the context", 0, time.Minute, time.Minute},
		{"by both", time.Hour, 2 * time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := netsim.Pipe(0)
			defer far.Close()
			ctx := t.Context()
			if tt.ctx > 0 {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, tt.ctx)
				defer cancel()
			}
			start := time.Now()
			d := &Dialer{HandshakeTimeout: tt.timeout, NetDial: func(string, string) (net.Conn, error) { return near, nil }}
			_, _, err := d.DialContext(ctx, "ws://a", nil)
			var e net.Error
			if took := time.Since(start); took != tt.want || !errors.As(err, &e) || !e.Timeout() {
				t.Errorf("%s: %v after %v", tt.name, err, took)
			}
		})
	}
}

// The end of the context ends a handshake at once.
func TestContextEndsHandshake(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	u := answering(t, func(nc net.Conn, r *http.Request) {
		cancel(cause)
		io.Copy(io.Discard, nc)
	})
	if _, _, err := new(Dialer).DialContext(ctx, u, nil); err != cause {
		t.Error(err)
	}
}

// The head of an answer is bounded, the proxy's too.
func TestAnswerIsBounded(t *testing.T) {
	endless := func(nc net.Conn, r *http.Request) {
		var err error
		for _, err = io.WriteString(nc, "HTTP/1.1 200 OK\r\n"); err == nil; {
			_, err = io.WriteString(nc, "X-Line: "+strings.Repeat("x", 1000)+"\r\n")
		}
	}
	if _, _, err := new(Dialer).Dial(answering(t, endless), nil); !errors.Is(err, errAnswerTooLong) {
		t.Error(err)
	}
	p, _ := url.Parse("http" + strings.TrimPrefix(answering(t, endless), "ws"))
	if _, _, err := (&Dialer{Proxy: http.ProxyURL(p)}).Dial("ws://example.invalid", nil); !errors.Is(err, errAnswerTooLong) {
		t.Error(err)
	}
}

// Options come with the context, and with the request.
func TestWithOptions(t *testing.T) {
	for _, strict := range []bool{false, true} {
		strictly := func(ctx context.Context) context.Context {
			return WithOptions(ctx, Options{Strict: strict})
		}
		got := make(chan error, 1)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := new(Upgrader).Upgrade(w, r.WithContext(strictly(r.Context())), nil)
			if err != nil {
				got <- err
				return
			}
			defer c.Close()
			_, _, err = c.ReadMessage()
			got <- err
			c.WriteMessage(TextMessage, []byte("\xff"))
			c.ReadMessage()
		}))
		c, _, err := new(Dialer).DialContext(strictly(t.Context()), "ws"+strings.TrimPrefix(s.URL, "http"), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.WriteMessage(TextMessage, []byte("\xff"))
		if err := <-got; (err != nil) != strict {
			t.Errorf("strict %v: the server got %v", strict, err)
		}
		if !strict {
			wantMessage(t, c, TextMessage, "\xff")
		}
		c.Close()
		s.Close()

		u := answering(t, func(nc net.Conn, r *http.Request) { io.WriteString(nc, switching(r)+"\x81\x01\xff") })
		if c, _, err = new(Dialer).DialContext(strictly(t.Context()), u, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadMessage(); (err != nil) != strict {
			t.Errorf("strict %v: the client got %v", strict, err)
		}
		c.Close()
	}
}

// Connections go through the proxy: http with and without credentials, one that refuses,
// and SOCKS.
func TestProxies(t *testing.T) {
	s := newServer(t, nil)
	var asked atomic.Value
	proxy := func(refuse string) string {
		u := answering(t, func(nc net.Conn, r *http.Request) {
			asked.Store(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
			if refuse != "" {
				io.WriteString(nc, "HTTP/1.1 "+refuse+"\r\n\r\n")
				return
			}
			server, err := net.Dial("tcp", r.Host)
			if err != nil {
				return
			}
			defer server.Close()
			io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
			go io.Copy(server, nc)
			io.Copy(nc, server)
		})
		p, _ := url.Parse(u)
		return p.Host
	}
	target := strings.TrimPrefix(s.plain.URL, "http://")
	for _, tt := range []struct {
		proxy, asked string
		err          string
	}{
		{"http://" + proxy(""), "CONNECT " + target + " ", ""},
		{"http://user:pw@" + proxy(""), "CONNECT " + target + " Basic dXNlcjpwdw==", ""},
		{"http://" + proxy("407 Proxy Authentication Required"), "CONNECT " + target + " ", "Proxy Authentication Required"},
		{"ftp://a", "", "proxy: unknown scheme: ftp"},
		{"socks5://" + socks(t), "", ""},
	} {
		asked.Store("")
		p, err := url.Parse(tt.proxy)
		if err != nil {
			t.Fatal(err)
		}
		d := &Dialer{Proxy: http.ProxyURL(p)}
		c, _, err := d.Dial("ws://"+target, nil)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v", tt.proxy, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.proxy, err)
			continue
		}
		if got := asked.Load(); got != tt.asked {
			t.Errorf("%s was asked for %q, want %q", tt.proxy, got, tt.asked)
		}
		if _, ok := c.NetConn().(*net.TCPConn); !ok {
			t.Errorf("%s: NetConn is a %T", tt.proxy, c.NetConn())
		}
		c.WriteMessage(TextMessage, []byte("through"))
		wantMessage(t, c, TextMessage, "through")
		c.Close()
	}
	boom := errors.New("no proxy")
	d := &Dialer{Proxy: func(*http.Request) (*url.URL, error) { return nil, boom }}
	if _, _, err := d.Dial("ws://a", nil); err != boom {
		t.Error(err)
	}
}

// socks is a proxy of RFC 1928 for addresses of IPv4.
func socks(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		b := make([]byte, 10)
		io.ReadFull(nc, b[:3])
		nc.Write([]byte{5, 0})
		io.ReadFull(nc, b)
		server, err := net.Dial("tcp", net.JoinHostPort(net.IP(b[4:8]).String(), strconv.Itoa(int(b[8])<<8|int(b[9]))))
		if err != nil {
			return
		}
		defer server.Close()
		b[1] = 0
		nc.Write(b)
		go io.Copy(server, nc)
		io.Copy(nc, server)
	}()
	return l.Addr().String()
}

// A Dialer that is nil, and NewClient, open connections too.
func TestOtherWaysToDial(t *testing.T) {
	s := newServer(t, nil)
	address := strings.TrimPrefix(s.plain.URL, "http://")
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := NewClient(nc, &url.URL{Scheme: "ws", Host: address}, nil, 1024, 1024)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.NetConn() != nc {
		t.Errorf("NetConn is another one")
	}
	d, _, err := (*Dialer)(nil).Dial("ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, c := range []*Conn{c, d} {
		c.WriteMessage(TextMessage, []byte("x"))
		wantMessage(t, c, TextMessage, "x")
	}
}
