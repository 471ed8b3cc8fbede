package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// What came in the place of an answer is in the error, and what it looks like if that can be told.
func TestErrorsShowWhatCame(t *testing.T) {
	long := strings.Repeat("long", 100)
	for name, c := range map[string]struct {
		came string
		seen string
		like string // "" if it cannot be told
	}{
		"TLS alert":            {"\x15\x03\x01\x00\x02\x02\x46", "\x15\x03\x01\x00\x02\x02\x46", "TLS"},
		"TLS handshake":        {"\x16\x03\x03\x00\x40\x02\x00\x00", "\x16\x03\x03\x00\x40\x02\x00\x00", "TLS"},
		"HTTP/2 preface":       {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the preface of HTTP/2"},
		"HTTP/2 SETTINGS":      {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "a frame of HTTP/2"},
		"HTTP/2 GOAWAY":        {"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "a frame of HTTP/2"},
		"SSH":                  {"SSH-2.0-OpenSSH_9.9\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "SSH"},
		"SOCKS 5":              {"\x05\xff", "\x05\xff", "an answer of SOCKS 5"},
		"SOCKS 4":              {"\x00\x5b\x00\x00\x00\x00\x00\x00", "\x00\x5b\x00\x00\x00\x00\x00\x00", "an answer of SOCKS 4"},
		"Redis":                {"-ERR unknown command\r\n", "-ERR unknown command\r\n", "Redis"},
		"SMTP":                 {"220 mail ESMTP\r\n", "220 mail ESMTP\r\n", "a greeting of SMTP or FTP"},
		"SMTP, refusing":       {"554-no\r\n", "554-no\r\n", "a greeting of SMTP or FTP"},
		"POP3":                 {"+OK ready\r\n", "+OK ready\r\n", "POP3, or Redis"},
		"IMAP":                 {"* OK ready\r\n", "* OK ready\r\n", "IMAP"},
		"MySQL":                {"\x4a\x00\x00\x00\x0a8.0.33\x00", "\x4a\x00\x00\x00\x0a8.0.33\x00", "MySQL"},
		"HTML":                 {"\r\n <!DOCTYPE html><p>\r\n", "\r\n <!DOCTYPE html><p>\r\n", "HTML without an HTTP head"},
		"XML":                  {"<?xml version='1.0'?>", "<?xml version='1.0'?>", "XML without an HTTP head"},
		"JSON":                 {`{"error":1}`, `{"error":1}`, "JSON without an HTTP head"},
		"frame":                {"\x81\x02hi", "\x81\x02hi", "a WebSocket frame without a handshake"},
		"request":              {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "an HTTP request, or an echo of ours"},
		"ICY":                  {"ICY 200 OK\r\n", "ICY 200 OK\r\n", "ICY (SHOUTcast)"},
		"broken HTTP":          {"HTTP/1.1 OK\r\nSet-Cookie: session=1\r\n\r\n", "HTTP/1.1 OK\r\n", "HTTP"},
		"bare line feeds":      {"HTTP/1.1 101 x\nSet-Cookie: session=1\n\n", "HTTP/1.1 101 x\n", "HTTP"},
		"broken header":        {"HTTP/1.1 101 x\r\nSet-Cookie: session=1\r\nX : y\r\n", "HTTP/1.1 101 x\r\n", "HTTP"},
		"too long":             {"HTTP/1.1 101 " + strings.Repeat("x", 1<<16), "HTTP/1.1 101 " + strings.Repeat("x", 51), "HTTP"},
		"flood of 100":         {strings.Repeat(status(100), 100), "HTTP/1.1 100 Continue\r\n", "HTTP"},
		"HTTP/1.0":             {"HTTP/1.0 101 x\r\n\r\n", "HTTP/1.0 101 x\r\n", "HTTP"},
		"half a head":          {"HTTP/1.1 101 x\r\nUpgr", "HTTP/1.1 101 x\r\n", "HTTP"},
		"text":                 {"hello\x00\x1b[31m\xffw\u00f6rld", "hello\x00\x1b[31m\xffw\u00f6rld", ""},
		"long text":            {long, long[:64], ""},
		"one byte":             {"?", "?", ""},
		"nothing":              {"", "", ""},
		"bytes that fold":      {"\x83\x84", "\x83\x84", ""},
		"an end of a request?": {"virtual", "virtual", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proxy := range []string{"", "http://p:80"} {
				if proxy != "" && name == "bare line feeds" {
					continue // a proxy may send them: its answer is no tunnel then, but nothing unknown
				}
				for _, ends := range []bool{true, false} {
					if !ends && strings.HasPrefix(name, "half") {
						continue
					}
					synctest.Test(t, func(t *testing.T) {
						host := func(nc net.Conn) {
							request(nc)
							io.WriteString(nc, c.came)
							if !ends { // the time limit comes
								io.Copy(io.Discard, nc)
							}
						}
						w := &world{hosts: map[string]func(net.Conn){"h:80": host, "p:80": host}}
						d := &Dialer{NetDial: w.dial}
						if proxy != "" {
							d.Proxy = through(proxy)
						}
						_, err := d.Dial(t.Context(), "ws://h/")
						wantSeen(t, err, c.seen, c.like)
						synctest.Wait()
						w.wantClosed(t)
					})
				}
			}
		})
	}
}

// wantSeen fails unless the error shows just this.
func wantSeen(t *testing.T, err error, seen, like string) {
	t.Helper()
	var e *DialError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *DialError", err)
	}
	if e.Seen == nil || string(e.Seen) != seen {
		t.Errorf("seen %q, want %q: %v", e.Seen, seen, err)
	}
	text := err.Error()
	for _, r := range text {
		if r < ' ' || r > '~' && r != '§' && r != '…' {
			t.Errorf("%q in %q", r, text)
		}
	}
	switch {
	case seen == "" && !strings.HasSuffix(text, ": no byte came"),
		like != "" && !strings.HasSuffix(text, ", which looks like "+like),
		seen != "" && !strings.Contains(text, ": got \""),
		like == "" && strings.Contains(text, "looks like"):
		t.Errorf("%s\nwant it to look like %q", text, like)
	}
}

// The same for TLS with the host, with a proxy, and by a hook; and for SOCKS.
func TestErrorsShowWhatCameInPlaceOfTLS(t *testing.T) {
	saying := func(s string, ends bool) func(net.Conn) {
		return func(nc net.Conn) {
			io.WriteString(nc, s)
			if ends {
				nc.(interface{ CloseWrite() error }).CloseWrite()
			}
			io.Copy(io.Discard, nc)
		}
	}
	html := "HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>"
	for name, c := range map[string]struct {
		came, seen, like string
	}{
		"HTTP":    {html, "HTTP/1.1 400 Bad Request\r\n", "HTTP"},
		"HTTP/2":  {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", "a frame of HTTP/2"},
		"SSH":     {"SSH-2.0-x\r\n", "SSH-2.0-x\r\n", "SSH"},
		"SMTP":    {"220 mail ESMTP\r\n", "220 mail ESMTP\r\n", "a greeting of SMTP or FTP"},
		"short":   {"+OK", "+OK", "POP3, or Redis"},
		"HTML":    {"<html>", "<html>", "HTML without an HTTP head"},
		"nothing": {"", "", ""},
	} {
		for _, ends := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				for _, d := range []*Dialer{{}, {Proxy: through("https://h:443")}, {Proxy: through("socks5://h:443")}} {
					synctest.Test(t, func(t *testing.T) {
						d := *d
						w := &world{hosts: map[string]func(net.Conn){"h:443": saying(c.came, ends)}}
						d.NetDial = w.dial
						_, err := d.Dial(t.Context(), "wss://h/")
						wantSeen(t, err, c.seen, c.like)
						synctest.Wait()
						w.wantClosed(t)
					})
				}
			})
		}
	}
	// A hook's error has the five bytes that crypto/tls looked at.
	w := &world{hosts: map[string]func(net.Conn){"h:443": saying(html, true)}}
	d := &Dialer{NetDial: w.dial, WrapTLS: func(ctx context.Context, nc net.Conn, host TLSHost) (net.Conn, error) {
		c := tls.Client(nc, &tls.Config{ServerName: host.ServerName})
		return c, c.HandshakeContext(ctx)
	}}
	_, err := d.Dial(t.Context(), "wss://h/")
	wantSeen(t, err, "HTTP/", "HTTP")
}

// What was understood is not shown again.
func TestErrorsShowOnlyWhatWasNotUnderstood(t *testing.T) {
	other, _ := certify(t, nil, "other")
	plain := func(answer string) func(net.Conn) { return answering(answer) }
	for name, c := range map[string]struct {
		host func(net.Conn)
		url  string
		d    Dialer
	}{
		"status":            {plain(status(503, "Content-Length: 0")), "ws://h:80", Dialer{}},
		"wrong accept":      {plain(status(101, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: x")), "ws://h:80", Dialer{}},
		"proxy's status":    {plain(status(407, "Content-Length: 0")), "ws://h:80", Dialer{Proxy: through("http://h:80")}},
		"SOCKS reply":       {func(nc net.Conn) { socksProxy(&world{}, "u", "p")(nc) }, "ws://h:80", Dialer{Proxy: through("socks5://u:p@h:80")}},
		"SOCKS, wrong user": {func(nc net.Conn) { socksProxy(&world{}, "u", "q")(nc) }, "ws://h:80", Dialer{Proxy: through("socks5://u:p@h:80")}},
		"certificate":       {overTLS(&tls.Config{Certificates: []tls.Certificate{other}}, echoing(Upgrader{})), "wss://h:80", Dialer{}},
		"nobody":            {nil, "ws://nobody", Dialer{}},
		"OnResponse":        {echoing(Upgrader{}), "ws://h:80", Dialer{OnResponse: func(*handshake.Response) error { return io.ErrNoProgress }}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": c.host}}
			c.d.NetDial = w.dial
			_, err := c.d.Dial(t.Context(), c.url)
			var e *DialError
			if !errors.As(err, &e) || e.Seen != nil || strings.Contains(err.Error(), "got ") || strings.Contains(err.Error(), "no byte") {
				t.Errorf("%v, seen %q", err, e.Seen)
			}
		})
	}
}

// What is shown has no secret of ours in it, however much of it comes back.
func TestErrorsShowNoSecrets(t *testing.T) {
	d := Dialer{
		Header: http.Header{"X-Key": {"key-0123456789abcdef"}, "Authorization": {"Bearer token-0123456789"}, "Cookie": {"id=cookie-0123456789"}},
		Origin: "https://origin.example", Subprotocols: []string{"v1", "bearer-0123456789"},
	}
	for _, secret := range []string{"key-0123456789abcdef", "token-0123456789", "cookie-0123456789", "bearer-0123456789", "Bearer token-0123456789"} {
		for pad := range 70 {
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
				request(nc)
				io.WriteString(nc, strings.Repeat(".", pad)+secret+strings.Repeat(".", 70))
			}}}
			d.NetDial = w.dial
			_, err := d.Dial(t.Context(), "ws://h/")
			var e *DialError
			errors.As(err, &e)
			if want := (strings.Repeat(".", pad) + strings.Repeat("*", len(secret)) + strings.Repeat(".", 70))[:64]; string(e.Seen) != want {
				t.Errorf("seen %q, want %q", e.Seen, want)
			}
		}
	}
	// An echo of the whole request.
	w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) { io.Copy(nc, nc) }}}
	d = Dialer{NetDial: w.dial, Proxy: through("http://user:password@h:80")}
	_, err := d.Dial(t.Context(), "ws://g/")
	wantSeen(t, err, "CONNECT g:80 HTTP/1.1\r\nHost: g:80\r\nProxy-Authorization: ********", "an HTTP request, or an echo of ours")
}

// A server of TLS that answers plain HTTP in plain HTTP is told from one that does not know the request.
func TestErrorsTellThatTLSIsWanted(t *testing.T) {
	for _, body := range []string{"Client sent an HTTP request to an HTTPS server.\n", "<center>The plain HTTP request was sent to HTTPS port</center>",
		"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": answering("HTTP/1.0 400 Bad Request\r\n\r\n" + body)}}
			_, err := (&Dialer{NetDial: w.dial}).Dial(t.Context(), "ws://h/")
			if e := refusal(t, err); e.Status != 400 || !strings.HasSuffix(err.Error(), "the server wants TLS on this port") {
				t.Errorf("%q: %v", body, err)
			}
		})
	}
}

// A server that refuses and closes before it has read the request is heard.
func TestRefusalBeforeTheRequestIsRead(t *testing.T) {
	broken := errors.New("broken pipe")
	for answer, want := range map[string]string{
		status(503, "Content-Length: 2") + "no": "status 503",
		"SSH-2.0-x\r\n":                         `broken pipe: got "SSH-2.0-x\r\n", which looks like SSH`,
		"":                                      "broken pipe: no byte came",
		status(101):                             "Upgrade",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) { io.WriteString(nc, answer) }}}
			w.script = func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write {
					return netsim.Step{Err: broken}
				}
				return netsim.Step{}
			}
			_, err := (&Dialer{NetDial: w.dial}).Dial(t.Context(), "ws://h/")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}
