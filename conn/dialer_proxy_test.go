package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// join copies both ways until both are done.
func join(a net.Conn, fromA io.Reader, b net.Conn) {
	done := make(chan struct{})
	go func() {
		io.Copy(b, fromA)
		b.Close()
		close(done)
	}()
	io.Copy(a, b)
	a.Close()
	<-done
}

// connectProxy is a proxy for CONNECT; auth is the userinfo that it wants, "" for none. It dials in the world without its script.
func connectProxy(w *world, auth string) func(net.Conn) {
	return func(nc net.Conn) {
		br := bufio.NewReader(nc)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.Method != "CONNECT" || r.Host != r.RequestURI {
			io.WriteString(nc, status(400, "Content-Length: 0"))
			return
		}
		if auth != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(auth)) {
			io.WriteString(nc, status(407, "Proxy-Authenticate: Basic realm=x", "Content-Length: 4")+"who?")
			return
		}
		out, err := w.behind(r.RequestURI)
		if err != nil {
			io.WriteString(nc, status(502, "Content-Length: 0"))
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
		join(nc, br, out)
	}
}

// behind is dial for a proxy.
func (w *world) behind(address string) (net.Conn, error) {
	w.mu.Lock()
	script := w.script
	w.script = nil
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.script = script
		w.mu.Unlock()
	}()
	return w.dial(context.Background(), "tcp", address)
}

// socksProxy is RFC 1928 with RFC 1929's authentication.
func socksProxy(w *world, user, password string) func(net.Conn) {
	return func(nc net.Conn) {
		br := bufio.NewReader(nc)
		take := func(n int) []byte {
			b := make([]byte, n)
			if _, err := io.ReadFull(br, b); err != nil {
				return make([]byte, n)
			}
			return b
		}
		take(int(take(2)[1]))
		nc.Write([]byte{5, 2})
		u := string(take(int(take(2)[1])))
		p := string(take(int(take(1)[0])))
		if u != user || p != password {
			nc.Write([]byte{1, 1})
			return
		}
		nc.Write([]byte{1, 0})
		var host string
		switch head := take(4); head[3] {
		case 1:
			host = net.IP(take(4)).String()
		case 3:
			host = string(take(int(take(1)[0])))
		case 4:
			host = net.IP(take(16)).String()
		}
		port := take(2)
		out, err := w.behind(net.JoinHostPort(host, fmt.Sprint(int(port[0])<<8|int(port[1]))))
		if err != nil {
			nc.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		nc.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(nc, br, out)
	}
}

func through(s string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(s) }
}

// Each kind of proxy, to a plain and to a TLS host: the name that TLS checks is the target's, credentials stay with the proxy.
func TestR53ProxiesReachTheTarget(t *testing.T) {
	proxyCertificate, proxyRoots := certify(t, nil, "p")
	certificate, roots := certify(t, nil, "h")
	for _, kind := range []string{"http://p", "http://us%40er:p%3Aw@p:80", "https://p:80", "https://us%40er:p%3Aw@p:80", "socks5://u:p@p:80", "socks5h://u:p@p:80"} {
		for _, target := range []string{"ws://h/x?y", "wss://h/x?y", "ws://h:8080", "ws://[::1]:8080", "ws://10.0.0.1"} {
			t.Run(kind+" "+target, func(t *testing.T) {
				server := func(nc net.Conn) {
					(&Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
						for name := range r.Fields() {
							if strings.HasPrefix(strings.ToLower(string(name)), "proxy") || strings.EqualFold(string(name), "Authorization") {
								t.Errorf("the target got %s", name)
							}
						}
						return nil, nil
					}}).serve(nc)
				}
				w := &world{}
				auth := ""
				if strings.Contains(kind, "us%40er") {
					auth = "us@er:p:w"
				}
				proxy := connectProxy(w, auth)
				switch {
				case strings.HasPrefix(kind, "socks"):
					proxy = socksProxy(w, "u", "p")
				case strings.HasPrefix(kind, "https"):
					proxy = overTLS(&tls.Config{Certificates: []tls.Certificate{proxyCertificate}}, proxy)
				}
				w.hosts = map[string]func(net.Conn){"p:80": proxy, "h:80": server, "h:8080": server, "[::1]:8080": server, "10.0.0.1:80": server,
					"h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, server)}
				d := &Dialer{NetDial: w.dial, Proxy: through(kind), TLSConfig: &tls.Config{RootCAs: roots}, ProxyTLSConfig: &tls.Config{RootCAs: proxyRoots}}
				c, err := d.Dial(t.Context(), target)
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, c)
				u, _ := parseURL(target)
				if len(w.dialed) != 2 || w.dialed[0] != "p:80" || w.dialed[1] != u.Address() {
					t.Errorf("dialed %q", w.dialed)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if !w.ends[0].Closed() {
					t.Error("the connection to the proxy is open")
				}
			})
		}
	}
}

// serve is Accept and echo.
func (u *Upgrader) serve(nc net.Conn) {
	if c, err := u.Accept(nc); err == nil {
		echo(c)
	}
}

// V23: behind a proxy the certificate must be the target's; the proxy's own is refused, and so is a proxy with the target's.
func TestR53V23NamesBehindAProxy(t *testing.T) {
	proxyCertificate, roots := certify(t, nil, "p")
	w := &world{}
	w.hosts = map[string]func(net.Conn){"p:80": connectProxy(w, ""), "h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{proxyCertificate}}, echoing(Upgrader{}))}
	_, err := (&Dialer{NetDial: w.dial, Proxy: through("http://p"), TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "wss://h")
	wantDialError(t, err, "TLS")
	hostCertificate, roots := certify(t, nil, "h")
	w.hosts["p:443"] = overTLS(&tls.Config{Certificates: []tls.Certificate{hostCertificate}}, connectProxy(w, ""))
	_, err = (&Dialer{NetDial: w.dial, Proxy: through("https://p"), ProxyTLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "wss://h")
	wantDialError(t, err, "proxy")
	for i, address := range w.dialed {
		if strings.HasPrefix(address, "p:") && !w.ends[i].Closed() {
			t.Errorf("the connection to %s is open", address)
		}
	}
}

func TestR53F50ProxyRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		proxy  string
		answer string
		want   error
		status int
		body   string
	}{
		"407":               {"http://u:wrong@p", "", ErrProxy, 407, "who?"},
		"407 without auth":  {"http://p", "", ErrProxy, 407, "who?"},
		"403":               {"http://p", status(403, "Content-Length: 2") + "no", ErrProxy, 403, "no"},
		"502":               {"http://p", status(502), ErrProxy, 502, ""},
		"302":               {"http://p", status(302, "Location: http://evil/"), ErrProxy, 302, ""},
		"101":               {"http://p", status(101), ErrProxy, 101, ""},
		"closes":            {"http://p", "", io.ErrUnexpectedEOF, 0, ""},
		"half a head":       {"http://p", "HTTP/1.1 200 OK\r\nX: ", io.ErrUnexpectedEOF, 0, ""},
		"not HTTP":          {"http://p", "SSH-2.0-x\r\n", handshake.ErrStatusLine, 0, ""},
		"endless line":      {"http://p", "HTTP/1.1 200 " + strings.Repeat("x", 20_000), handshake.ErrHeadTooLarge, 0, ""},
		"endless header":    {"http://p", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 200), handshake.ErrTooManyLines, 200, ""},
		"407, oddly":        {"http://p", "HTTP/1.1 407 x\nodd\nProxy-Authenticate : Basic\nContent-Length: 4\n\nwho?", ErrProxy, 407, "who?"},
		"SOCKS: wrong user": {"socks5://u:wrong@p:80", "socks", nil, 0, ""},
		"SOCKS: nobody":     {"socks5://u:p@p:80", "socks", nil, 0, ""},
		"SOCKS: not SOCKS":  {"socks5://u:p@p:80", status(400), nil, 0, ""},
		"SOCKS: long name":  {"socks5://u:" + strings.Repeat("p", 256) + "@p:80", "socks", nil, 0, ""},
		"unknown scheme":    {"ftp://p", "", ErrProxyURL, 0, ""},
		"no host":           {"http://", "", ErrProxyURL, 0, ""},
		"colon in the user": {"http://a%3Ab:c@p", "", ErrProxyURL, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				host := func(nc net.Conn) {
					request(nc)
					io.WriteString(nc, c.answer)
				}
				switch {
				case strings.HasPrefix(name, "407"):
					host = connectProxy(w, "u:p")
				case c.answer == "socks":
					host = socksProxy(w, "u", "p")
				case strings.HasPrefix(name, "SOCKS"):
					host = func(nc net.Conn) { io.WriteString(nc, c.answer) }
				}
				w.hosts = map[string]func(net.Conn){"p:80": host}
				d := &Dialer{NetDial: w.dial, Proxy: through(c.proxy), MaxRedirects: 3}
				_, err := d.Dial(t.Context(), "ws://h")
				wantDialError(t, err, "proxy")
				if c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if c.status != 0 {
					if e := refusal(t, err); e.Status != c.status || string(e.Body) != c.body {
						t.Errorf("%d %q", e.Status, e.Body)
					}
				}
				if strings.HasPrefix(name, "407") && refusal(t, err).Header.Get("Proxy-Authenticate") == "" {
					t.Error("no challenge")
				}
				if strings.Contains(err.Error(), "wrong") {
					t.Errorf("a password in %q", err)
				}
				synctest.Wait()
				w.wantClosed(t)
			})
		})
	}
}

// F75: only 2xx opens a tunnel. Whatever else a proxy says to CONNECT is one error, a valid 101 for a key of 24 NUL bytes too.
func TestF75ProxiesThatDoNotOpenATunnel(t *testing.T) {
	certificate, roots := certify(t, nil, "p")
	issued := time.Now() // the clock of a bubble is another
	zeroes := status(101, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: "+string(handshake.AppendAccept(nil, strings.Repeat("\x00", 24))))
	for name, c := range map[string]struct {
		answer string
		want   error
		status int
		body   string
	}{
		"valid 101":            {zeroes, ErrProxy, 101, ""},
		"valid 101 and frames": {zeroes + "\x81\x02hi", ErrProxy, 101, ""},
		"interim, valid 101":   {status(100) + status(103) + zeroes, ErrProxy, 101, ""},
		"bare 101":             {status(101), ErrProxy, 101, ""},
		"flood of 100":         {strings.Repeat(status(100), 1000), handshake.ErrInterim, 100, ""},
		"flood of 199":         {strings.Repeat(status(199, "X: y"), 1000), handshake.ErrInterim, 199, ""},
		"300":                  {status(300, "Content-Length: 1") + "x", ErrProxy, 300, "x"},
		"301":                  {status(301, "Location: ws://h/", "Content-Length: 0"), ErrProxy, 301, ""},
		"307":                  {status(307, "Location: /", "Content-Length: 0"), ErrProxy, 307, ""},
		"400":                  {status(400, "Transfer-Encoding: chunked") + "2\r\nno\r\n0\r\n\r\n", ErrProxy, 400, "no"},
		"407":                  {status(407, "Content-Length: 3") + "who", ErrProxy, 407, "who"},
		"600":                  {status(600, "Content-Length: 0"), ErrProxy, 600, ""},
		"101 of HTTP/1.0":      {"HTTP/1.0" + zeroes[8:], handshake.ErrResponseVersion, 101, ""},
		"200 of HTTP/2":        {"HTTP/2.0 200 OK\r\n\r\n", handshake.ErrResponseVersion, 200, ""},
	} {
		for _, target := range []string{"ws://h", "wss://h"} {
			for _, scheme := range []string{"http", "https"} {
				t.Run(name+" "+target+" "+scheme, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						proxy := answering(c.answer)
						if scheme == "https" {
							proxy = overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, proxy)
						}
						w := &world{hosts: map[string]func(net.Conn){"p:80": proxy, "h:80": echoing(Upgrader{})}}
						d := &Dialer{NetDial: w.dial, Proxy: through(scheme + "://p:80"), MaxRedirects: 5, ProxyTLSConfig: &tls.Config{RootCAs: roots, Time: func() time.Time { return issued }}}
						conn, err := d.Dial(t.Context(), target)
						if conn != nil {
							t.Fatal("a connection")
						}
						wantDialError(t, err, "proxy")
						if e := refusal(t, err); !errors.Is(err, c.want) || e.Status != c.status || string(e.Body) != c.body || len(w.dialed) != 1 {
							t.Errorf("%v, status %d, body %q, dialed %q", err, e.Status, e.Body, w.dialed)
						}
						synctest.Wait()
						w.wantClosed(t)
					})
				})
			}
		}
	}
}

// F75, RFC 9110 §9.3.6: a 2xx has no body, whatever its head says. What follows the head is the target's.
func TestF75TunnelsHaveNoBody(t *testing.T) {
	for _, head := range []string{
		status(200), status(200, "Content-Length: 0"), status(200, "Content-Length: 5"), status(200, "Content-Length: x"), status(200, "Transfer-Encoding: chunked"),
		status(201), status(204), status(299), status(100) + status(200), "HTTP/1.0 200 Connection established\r\n\r\n", "HTTP/1.1 200\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			w.hosts = map[string]func(net.Conn){"p:80": func(nc net.Conn) {
				request(nc)
				io.WriteString(nc, head+status(103)) // an interim answer of the target's, in one write with the proxy's own
				out, _ := w.behind("h:80")
				join(nc, nc, out)
			}, "h:80": echoing(Upgrader{})}
			c, err := (&Dialer{NetDial: w.dial, Proxy: through("http://p")}).Dial(t.Context(), "ws://h")
			if err != nil {
				t.Fatalf("%q: %v", head, err)
			}
			roundTrip(t, c)
			c.Close()
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}

// No password of a URL is in an error, whatever the URL is used for and whatever is wrong with it.
func TestErrorsAreWithoutPasswords(t *testing.T) {
	failing := func(text string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) { return nil, fmt.Errorf("%s: %w", text, io.ErrNoProgress) }
	}
	for name, c := range map[string]struct {
		proxy func(*http.Request) (*url.URL, error)
		url   string
		host  string // what the proxy, or the host, answers
		is    error
	}{
		"proxy with a bad port":        {through("http://u:hunter2@p:bad"), "ws://h", "", nil},
		"slash in a proxy's password":  {through("http://u:hunter2/x@p"), "ws://h", "", nil},
		"escape in a proxy's password": {through("http://u:%zzhunter2@p"), "ws://h", "", nil},
		"proxy without a scheme":       {through("hunter2:x@p:80"), "ws://h", "", ErrProxyURL},
		"proxy with another scheme":    {through("ftp://u:hunter2@p"), "ws://h", "", ErrProxyURL},
		"proxy without a host":         {through("http://u:hunter2@"), "ws://h", "", ErrProxyURL},
		"colon in the user":            {through("http://a%3Ab:hunter2@p"), "ws://h", "", ErrProxyURL},
		"own error":                    {failing("the proxy http://u:hunter2@p cannot be used"), "ws://h", "", io.ErrNoProgress},
		"own error, quoted":            {failing(`bad "http://u:hun@hunter2@p:x"`), "ws://h", "", io.ErrNoProgress},
		"nobody there":                 {through("http://u:hunter2@q"), "ws://h", "", nil},
		"407":                          {through("http://u:hunter2@p"), "ws://h", status(407, "Content-Length: 0"), ErrProxy},
		"no HTTP":                      {through("http://u:hunter2@p"), "ws://h", "-ERR hunter2\r\n", handshake.ErrStatusLine},
		"an echo of the credentials":   {through("http://u:hunter2@p"), "ws://h", "unknown: Basic dTpodW50ZXIy\r\n", handshake.ErrStatusLine},
		"SOCKS":                        {through("socks5://u:hunter2@p:80"), "ws://h", "\x05\x02\x01\x01", nil},
		"SOCKS, no SOCKS":              {through("socks5://u:hunter2@p:80"), "ws://h", "hunter2", nil},
		"target, refused":              {nil, "ws://u:hunter2@p/x", status(401, "Content-Length: 0"), handshake.ErrStatus},
		"target, no HTTP":              {nil, "ws://u:hunter2@p/x", "? hunter2 dTpodW50ZXIy", nil},
		"target, nobody there":         {nil, "ws://u:hunter2@q/x", "", nil},
		"target, bad port":             {nil, "ws://u:hunter2@p:bad/x", "", handshake.ErrURL},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"p:80": func(nc net.Conn) {
				io.WriteString(nc, c.host)
				nc.(interface{ CloseWrite() error }).CloseWrite()
				io.Copy(io.Discard, nc)
			}}}
			_, err := (&Dialer{NetDial: w.dial, Proxy: c.proxy}).Dial(t.Context(), c.url)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v, want %v", err, c.is)
			}
			texts := []string{err.Error()}
			if e := (*DialError)(nil); errors.As(err, &e) {
				texts = append(texts, string(e.Seen), e.URL)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				texts = append(texts, e.Error())
			}
			if e := (*url.Error)(nil); errors.As(err, &e) {
				t.Errorf("the *url.Error is to be had: %v", e)
			}
			for _, text := range texts {
				if strings.Contains(text, "hunter2") || strings.Contains(text, "dTpodW50ZXIy") {
					t.Errorf("a password in %q", text)
				}
			}
		})
	}
}

// Bytes that come with the proxy's answer are the target's.
func TestR53BytesBehindTheProxysAnswer(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 Connection established\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 204 x\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			// A target that speaks before it was asked cannot know the key; so the refusal comes with the proxy's answer.
			w := &world{hosts: map[string]func(net.Conn){"p:80": func(nc net.Conn) {
				r, _ := request(nc)
				if r.RequestURI != "h:80" {
					t.Errorf("%q", r.RequestURI)
				}
				io.WriteString(nc, answer+status(503, "Content-Length: 2")+"no")
				io.Copy(io.Discard, nc)
			}}}
			_, err := (&Dialer{NetDial: w.dial, Proxy: through("http://p")}).Dial(t.Context(), "ws://h")
			wantDialError(t, err, "handshake")
			if e := refusal(t, err); e.Status != 503 || string(e.Body) != "no" {
				t.Errorf("%d %q", e.Status, e.Body)
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}

// A tunnel with early bytes carries a connection like any other.
func TestR53TunnelWithEarlyBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.hosts = map[string]func(net.Conn){"p:80": func(nc net.Conn) {
			request(nc)
			// An interim answer of the target's, sent with the proxy's own; then the target.
			io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n"+status(103))
			out, _ := w.behind("h:80")
			join(nc, nc, out)
		}, "h:80": echoing(Upgrader{})}
		c, err := (&Dialer{NetDial: w.dial, Proxy: through("http://p")}).Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if err := c.Shutdown(t.Context(), 1000, ""); err != nil {
			t.Error(err)
		}
	})
}

// V26: names go to SOCKS as they are, and one that does not fit is an error, not a look-up here; zones mean nothing to a proxy.
func TestV26NamesAndProxies(t *testing.T) {
	w := &world{}
	w.hosts = map[string]func(net.Conn){"p:1080": socksProxy(w, "u", "p"), "p:80": connectProxy(w, ""), "not-in-any-dns.example:80": echoing(Upgrader{})}
	c, err := (&Dialer{NetDial: w.dial, Proxy: through("socks5://u:p@p")}).Dial(t.Context(), "ws://not-in-any-dns.example")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, proxy := range []string{"socks5://u:p@p", "http://p"} {
		for _, target := range []string{"ws://[fe80::1%25eth0]/", "ws://" + strings.Repeat("a.", 128) + "com/"} {
			w.dialed = nil
			if _, err := (&Dialer{NetDial: w.dial, Proxy: through(proxy)}).Dial(t.Context(), target); err == nil || len(w.dialed) > 1 {
				t.Errorf("%s through %s: %v, dialed %q", target, proxy, err, w.dialed)
			}
		}
	}
	// What the rules of the environment see.
	for in, want := range map[string]string{"ws://h/a%20b?c": "http://h/a%20b?c", "wss://h:8443": "https://h:8443/", "ws://[fe80::1%25eth0]:81/": "http://[fe80::1%25eth0]:81/", "ws://u:p@h": "http://h/"} {
		var got string
		d := &Dialer{NetDial: w.dial, Proxy: func(r *http.Request) (*url.URL, error) {
			got = r.URL.String()
			return nil, errors.New("asked")
		}}
		if _, err := d.Dial(t.Context(), in); err == nil || got != want {
			t.Errorf("%q: %q, want %q, %v", in, got, want, err)
		}
	}
}
