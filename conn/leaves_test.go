package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// leaving is hosts that note, of each connection, what of the caller's reaches them.
type leaving struct {
	mu     sync.Mutex
	server *tls.Config
	hops   []string // where each answer leads; what comes after them is accepted
	got    []string // "address: what, what", sorted
	asked  int
}

// host answers plain and over TLS at one address.
func (l *leaving) host(address string) func(net.Conn) {
	return func(nc net.Conn) {
		br := bufio.NewReader(nc)
		var got []string
		if first, _ := br.Peek(1); len(first) > 0 && first[0] == 22 {
			s := tls.Server(&peeked{nc, br}, l.server)
			if s.Handshake() != nil {
				return
			}
			state := s.ConnectionState()
			if len(state.PeerCertificates) > 0 {
				got = append(got, "certificate")
			}
			if state.DidResume {
				got = append(got, "ticket")
			}
			if state.ServerName == "inner" {
				got = append(got, "server name")
			}
			nc, br = s, bufio.NewReader(s)
		}
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		var head strings.Builder
		fmt.Fprintf(&head, "Host: %s\r\n", r.Host)
		r.Header.Write(&head)
		for what, secret := range map[string]string{
			"userinfo": "Basic dTpw", "Header": "own-value", "own cookie": "own-cookie", "HeaderFunc": "fresh-value", "fresh cookie": "fresh-cookie",
			"subprotocol": "bearer-token", "Origin": "https://app.own", "Host": "virtual.own", "offer": "permessage-deflate", "proxy": "Proxy-",
			"cookie of a": "jar-a", "cookie of b": "jar-b",
		} {
			if strings.Contains(head.String(), secret) {
				got = append(got, what)
			}
		}
		slices.Sort(got)
		l.mu.Lock()
		l.got = append(l.got, address+": "+strings.Join(got, ", "))
		answer := switching(r)
		if l.asked < len(l.hops) {
			name, _, _ := net.SplitHostPort(address)
			answer = status(307, "Location: "+l.hops[l.asked], "Content-Length: 0", "Set-Cookie: jar-"+name+"=1; Path=/")
		}
		l.asked++
		l.mu.Unlock()
		io.WriteString(nc, answer)
		io.Copy(io.Discard, br)
	}
}

type peeked struct {
	net.Conn
	br *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.br.Read(b) }

// F80: everything that leaves the process, at the first origin and after a redirect within it, to another port, scheme and host, and back;
// directly and through a proxy.
func TestF80WhatLeavesAtARedirect(t *testing.T) {
	certificate, roots := certify(t, nil, "a", "b", "inner")
	client, _ := certify(t, nil, "client")
	own := []string{"userinfo", "Header", "own cookie", "HeaderFunc", "fresh cookie", "subprotocol", "Origin", "Host", "offer"}
	secure := append([]string{"certificate", "server name"}, own...)
	hop := func(address string, all ...string) string {
		all = slices.Clone(all)
		slices.Sort(all)
		return address + ": " + strings.Join(all, ", ")
	}
	for _, c := range []struct {
		name, first string
		hops        []string
		want        []string
	}{
		{"same origin", "wss://u:p@a/1", []string{"/2", "wss://A:443/3"}, []string{
			hop("a:443", secure...), hop("a:443", append(secure, "cookie of a", "ticket")...), hop("a:443", append(secure, "cookie of a", "ticket")...)}},
		{"same origin, plain", "ws://u:p@a/1", []string{"http://evil:pw@a/2"}, []string{hop("a:80", own...), hop("a:80", append(own, "cookie of a")...)}},
		{"another host", "wss://u:p@a/1", []string{"wss://b/2", "/3"}, []string{
			hop("a:443", secure...), hop("b:443", "offer"), hop("b:443", "offer", "cookie of b")}},
		{"another port", "wss://u:p@a/1", []string{"wss://a:444/2"}, []string{hop("a:443", secure...), hop("a:444", "offer", "cookie of a")}},
		{"another scheme", "ws://u:p@a/1", []string{"wss://a/2"}, []string{hop("a:80", own...), hop("a:443", "offer", "cookie of a")}},
		{"another scheme alone", "ws://u:p@a/1", []string{"wss://a:80/2"}, []string{hop("a:80", own...), hop("a:80", "offer", "cookie of a")}},
		{"another host, plain", "ws://u:p@a/1", []string{"//b/2"}, []string{hop("a:80", own...), hop("b:80", "offer")}},
		{"and back", "wss://u:p@a/1", []string{"wss://b/2", "wss://a/3"}, []string{
			hop("a:443", secure...), hop("b:443", "offer"), hop("a:443", "offer", "cookie of a")}},
		{"and back with credentials", "ws://u:p@a/1", []string{"ws://b/2", "ws://u:p@a/3"}, []string{
			hop("a:80", own...), hop("b:80", "offer"), hop("a:80", "offer", "cookie of a")}},
	} {
		for _, proxy := range []string{"", "http://pu:pp@p"} {
			t.Run(c.name+" "+proxy, func(t *testing.T) {
				l := &leaving{server: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}, hops: c.hops}
				w := &world{hosts: map[string]func(net.Conn){}}
				for _, address := range []string{"a:80", "a:443", "a:444", "b:80", "b:443"} {
					w.hosts[address] = l.host(address)
				}
				w.hosts["p:80"] = connectProxy(w, "pu:pp")
				asked := 0 // for a certificate
				d := &Dialer{
					NetDial: w.dial, MaxRedirects: 5, Jar: newJar(), Host: "virtual.own", Origin: "https://app.own", Subprotocols: []string{"bearer-token"},
					Header: http.Header{"X-Own": {"own-value"}, "Cookie": {"own-cookie=1"}}, Config: Config{Deflate: &deflate.Config{}},
					HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) {
						return http.Header{"X-Fresh": {"fresh-value"}, "cookie": {"fresh-cookie=1"}}, nil
					},
					TLSConfig: &tls.Config{RootCAs: roots, ServerName: "inner", ClientSessionCache: tls.NewLRUClientSessionCache(9),
						GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
							asked++
							return &client, nil
						}},
				}
				if proxy != "" {
					d.Proxy = through(proxy)
				}
				conn, err := d.Dial(t.Context(), c.first)
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				for i, got := range l.got {
					if i >= len(c.want) || got != c.want[i] {
						t.Errorf("request %d, at %s\nwant %s", i, got, c.want[min(i, len(c.want)-1)])
					}
				}
				if len(l.got) != len(c.want) {
					t.Errorf("%d requests, want %d", len(l.got), len(c.want))
				}
				if want := strings.Count(strings.Join(c.want, "\n"), "certificate"); asked > want {
					t.Errorf("the client's certificate was asked for %d times, want %d", asked, want)
				}
			})
		}
	}
}

// F80: the hook that does TLS by itself is told where, and whether that is still the origin it was dialed with.
func TestF80WrapTLSIsToldTheHost(t *testing.T) {
	certificate, roots := certify(t, nil, "a", "b")
	client, _ := certify(t, nil, "client")
	l := &leaving{server: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}, hops: []string{"/2", "wss://b:444/3?x", "wss://a/4"}}
	w := &world{hosts: map[string]func(net.Conn){"a:443": l.host("a:443"), "b:444": l.host("b:444")}}
	var told []string
	d := &Dialer{NetDial: w.dial, MaxRedirects: 5, WrapTLS: func(ctx context.Context, nc net.Conn, host TLSHost) (net.Conn, error) {
		told = append(told, fmt.Sprint(host.ServerName, " ", host.URL, " ", host.Foreign))
		cfg := &tls.Config{RootCAs: roots, ServerName: host.ServerName}
		if !host.Foreign {
			cfg.Certificates = []tls.Certificate{client}
		}
		host.URL.Name = "the hook's own copy"
		c := tls.Client(nc, cfg)
		return c, c.HandshakeContext(ctx)
	}}
	c, err := d.Dial(t.Context(), "wss://u:p@a/1")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if want := []string{"a wss://a/1 false", "a wss://a/2 false", "b wss://b:444/3?x true", "a wss://a/4 true"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if want := []string{"a:443: certificate, userinfo", "a:443: certificate, userinfo", "b:444: ", "a:443: "}; !slices.Equal(l.got, want) {
		t.Errorf("sent %q, want %q", l.got, want)
	}
}

// F80: the jar gets the cookies of answers that are followed or accepted and of the statuses 4xx and 5xx, and of no other.
func TestF80CookiesOfAnswers(t *testing.T) {
	const cookie = "Set-Cookie: s=1; Path=/"
	accept := func(r *http.Request) string { return switching(r, cookie) }
	for name, c := range map[string]struct {
		d      Dialer
		answer func(*http.Request) string
		stored bool
	}{
		"accepted":                  {Dialer{}, accept, true},
		"redirect that is followed": {Dialer{MaxRedirects: 1}, func(*http.Request) string { return status(302, cookie, "Location: ws://b/", "Content-Length: 0") }, true},
		"401":                       {Dialer{}, func(*http.Request) string { return status(401, cookie, "Content-Length: 0") }, true},
		"503":                       {Dialer{}, func(*http.Request) string { return status(503, cookie, "Content-Length: 0") }, true},
		"redirects are off":         {Dialer{}, func(*http.Request) string { return status(302, cookie, "Location: ws://b/", "Content-Length: 0") }, false},
		"redirect to nowhere":       {Dialer{MaxRedirects: 1}, func(*http.Request) string { return status(302, cookie, "Location: ftp://b/", "Content-Length: 0") }, false},
		"one redirect too many":     {Dialer{MaxRedirects: 1}, func(*http.Request) string { return status(302, cookie, "Location: ws://c/", "Content-Length: 0") }, false},
		"200":                       {Dialer{}, func(*http.Request) string { return status(200, cookie, "Content-Length: 0") }, false},
		"wrong accept":              {Dialer{}, func(r *http.Request) string { r.Header.Set("Sec-WebSocket-Key", "x"); return accept(r) }, false},
		"subprotocol not offered":   {Dialer{}, func(r *http.Request) string { return switching(r, cookie, "Sec-WebSocket-Protocol: x") }, false},
		"extension not offered":     {Dialer{}, func(r *http.Request) string { return switching(r, cookie, "Sec-WebSocket-Extensions: x") }, false},
		"compression refused": {Dialer{Config: Config{Deflate: &deflate.Config{}}}, func(r *http.Request) string {
			return switching(r, cookie, "Sec-WebSocket-Extensions: permessage-deflate; chocolate")
		}, false},
		"OnResponse refuses":  {Dialer{OnResponse: func(*handshake.Response) error { return io.ErrNoProgress }}, accept, false},
		"interim":             {Dialer{}, func(r *http.Request) string { return status(103, cookie) + switching(r) }, false},
		"broken head":         {Dialer{}, func(r *http.Request) string { return switching(r, cookie, "X : y") }, false},
		"403 of a proxy":      {Dialer{Proxy: through("http://a:80")}, func(*http.Request) string { return status(403, cookie, "Content-Length: 0") }, false},
		"broken head of 4xx":  {Dialer{}, func(*http.Request) string { return status(403, cookie, "X : y") }, false},
		"end within the head": {Dialer{}, func(*http.Request) string { return strings.TrimSuffix(status(403, cookie), "\r\n") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			host := func(nc net.Conn) {
				if r, _ := request(nc); r != nil {
					io.WriteString(nc, c.answer(r))
				}
			}
			w := &world{hosts: map[string]func(net.Conn){"a:80": host, "b:80": echoing(Upgrader{}), "c:80": answering(status(302, "Location: /", "Content-Length: 0"))}}
			first := "ws://a/"
			if name == "one redirect too many" {
				w.hosts["c:80"], w.hosts["a:80"] = host, answering(status(302, "Location: ws://c/", "Content-Length: 0"))
			}
			c.d.NetDial, c.d.Jar = w.dial, newJar()
			if conn, err := c.d.Dial(t.Context(), first); err == nil {
				conn.Close()
			}
			u, _ := parseURL(first)
			v, _ := parseURL("ws://c/")
			if got := len(c.d.Jar.Cookies(httpURL(u))) + len(c.d.Jar.Cookies(httpURL(v))); (got > 0) != c.stored {
				t.Errorf("%d cookies stored", got)
			}
		})
	}
}

// RFC 6265 §5.4: one Cookie line, whatever the caller's own are called and wherever they come from.
func TestOneCookieLine(t *testing.T) {
	for name, c := range map[string]struct {
		static, fresh http.Header
		jar           string
		want          string
	}{
		"jar":                  {nil, nil, "j=1", "j=1"},
		"own":                  {http.Header{"Cookie": {"a=1"}}, nil, "", "a=1"},
		"own and jar":          {http.Header{"Cookie": {"a=1"}}, nil, "j=1", "a=1; j=1"},
		"lower case":           {http.Header{"cookie": {"a=1"}}, nil, "j=1", "a=1; j=1"},
		"every case":           {http.Header{"COOKIE": {"a=1"}, "Cookie": {"b=1"}, "cookie": {"c=1"}}, nil, "j=1", "a=1; b=1; c=1; j=1"},
		"several values":       {http.Header{"Cookie": {"a=1", "b=1; c=1;", " d=1 ", ""}}, nil, "j=1", "a=1; b=1; c=1; d=1; j=1"},
		"by function":          {nil, http.Header{"cookie": {"a=1", "b=1"}}, "j=1", "a=1; b=1; j=1"},
		"both":                 {http.Header{"Cookie": {"a=1"}}, http.Header{"cookie": {"b=1"}}, "j=1", "a=1; b=1; j=1"},
		"both, one name twice": {http.Header{"cookie": {"a=1; b=1"}}, http.Header{"Cookie": {"a=2"}}, "j=1", "b=1; a=2; j=1"},
		"none":                 {http.Header{"Cookie": {""}}, http.Header{"cookie": {" ; "}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
				br := bufio.NewReader(nc)
				for {
					line, err := br.ReadString('\n')
					if err != nil || line == "\r\n" {
						return
					}
					if n, v, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": "); strings.EqualFold(n, "Cookie") {
						lines = append(lines, n+": "+v)
					}
				}
			}}}
			d := &Dialer{NetDial: w.dial, Jar: newJar(), Header: c.static}
			if c.fresh != nil {
				d.HeaderFunc = func(context.Context, *handshake.URL) (http.Header, error) { return c.fresh, nil }
			}
			u, _ := parseURL("ws://h/")
			if c.jar != "" {
				n, v, _ := strings.Cut(c.jar, "=")
				d.Jar.SetCookies(httpURL(u), []*http.Cookie{{Name: n, Value: v}})
			}
			static, fresh := maps.Clone(c.static), maps.Clone(c.fresh)
			d.Dial(t.Context(), "ws://h/")
			var want []string
			if c.want != "" {
				want = []string{"Cookie: " + c.want}
			}
			if !slices.Equal(lines, want) {
				t.Errorf("sent %q, want %q", lines, want)
			}
			if len(static) != len(c.static) || len(fresh) != len(c.fresh) {
				t.Error("the caller's header was changed")
			}
		})
	}
	// A control character is still an error.
	for _, d := range []*Dialer{{Header: http.Header{"cookie": {"a=1\r\nX: y"}}}, {Header: http.Header{"Cookie": {"a=1\n"}}}} {
		if _, err := d.Dial(t.Context(), "ws://h/"); err == nil || !strings.Contains(err.Error(), "Cookie") {
			t.Error(err)
		}
	}
}

// A header of HeaderFunc replaces that of Header in any case.
func TestHeaderFuncReplacesInAnyCase(t *testing.T) {
	var got http.Header
	w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
		if r, _ := request(nc); r != nil {
			got = r.Header
		}
	}}}
	d := &Dialer{NetDial: w.dial, Header: http.Header{"authorization": {"Bearer old"}, "X-Own": {"1"}},
		HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) {
			return http.Header{"Authorization": {"Bearer new"}}, nil
		}}
	d.Dial(t.Context(), "ws://h/")
	if a := got["Authorization"]; len(a) != 1 || a[0] != "Bearer new" || got.Get("X-Own") != "1" {
		t.Errorf("%q", got)
	}
}
