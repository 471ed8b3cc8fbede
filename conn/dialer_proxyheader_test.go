package conn

import (
	"context"
	"crypto/tls"
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

// A proxy gets ProxyHeader and what ProxyHeaderFunc makes for the attempt, the server
// none of it. Credentials that are set so go before those of the URL.
func TestProxyHeader(t *testing.T) {
	for name, c := range map[string]struct {
		proxy  string
		header http.Header
		more   http.Header // of the function; nil for none
		want   http.Header
	}{
		"nothing":     {"http://p:80", nil, nil, http.Header{}},
		"static":      {"http://p:80", http.Header{"X-Line": {"a", "b"}, "User-Agent": {"us"}}, nil, http.Header{"X-Line": {"a", "b"}, "User-Agent": {"us"}}},
		"Bearer":      {"http://p:80", nil, http.Header{"Proxy-Authorization": {"Bearer token-1"}}, http.Header{"Proxy-Authorization": {"Bearer token-1"}}},
		"both":        {"http://p:80", http.Header{"proxy-authorization": {"Basic old"}, "X-A": {"1"}}, http.Header{"Proxy-Authorization": {"Negotiate abc="}}, http.Header{"Proxy-Authorization": {"Negotiate abc="}, "X-A": {"1"}}},
		"before URL":  {"http://u:w@p:80", http.Header{"Proxy-authorization": {"Bearer x"}}, nil, http.Header{"Proxy-Authorization": {"Bearer x"}}},
		"beside URL":  {"http://u:w@p:80", http.Header{"X-A": {"1"}}, http.Header{}, http.Header{"Proxy-Authorization": {"Basic dTp3"}, "X-A": {"1"}}},
		"https proxy": {"https://p:80", nil, http.Header{"Proxy-Authorization": {"Bearer y"}, "Proxy-Connection": {"Keep-Alive"}}, http.Header{"Proxy-Authorization": {"Bearer y"}, "Proxy-Connection": {"Keep-Alive"}}},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, roots := certify(t, nil, "p")
			w := &world{}
			var asked http.Header
			server := func(nc net.Conn) {
				r, _ := request(nc)
				for name := range r.Header {
					if strings.HasPrefix(name, "Proxy") || strings.HasPrefix(name, "X-") {
						t.Errorf("the server got %s", name)
					}
				}
				io.WriteString(nc, switching(r))
			}
			proxy := func(nc net.Conn) {
				r, br := request(nc)
				if r == nil || r.Method != "CONNECT" || r.RequestURI != "h:80" || r.Host != "h:80" {
					t.Errorf("the proxy got %+v", r)
					return
				}
				asked = r.Header
				out, err := w.behind("h:80")
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(nc, "HTTP/1.0 200\nodd line\n\n")
				join(nc, br, out)
			}
			if strings.HasPrefix(c.proxy, "https") {
				plain := proxy
				proxy = func(nc net.Conn) { plain(tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{certificate}})) }
			}
			w.hosts = map[string]func(net.Conn){"p:80": proxy, "h:80": server}
			d := &Dialer{NetDial: w.dial, Proxy: through(c.proxy), ProxyHeader: c.header, ProxyTLSConfig: &tls.Config{RootCAs: roots}}
			var before string
			if c.more != nil {
				d.ProxyHeaderFunc = func(_ context.Context, p *url.URL, target string) (http.Header, error) {
					if p.String() != c.proxy || target != "h:80" {
						t.Errorf("it is asked for %s and %s", p, target)
					}
					before = fmt.Sprint(w.dialed)
					return c.more, nil
				}
			}
			conn, err := d.Dial(t.Context(), "ws://h")
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if fmt.Sprint(asked) != fmt.Sprint(c.want) {
				t.Errorf("the proxy got %v, want %v", asked, c.want)
			}
			if c.more != nil && before != "[]" {
				t.Errorf("%s was dialed before", before)
			}
		})
	}
}

// What cannot stand in the request is refused before anything is dialed, and so is an
// error of the function. Neither tells credentials.
func TestProxyHeaderRefused(t *testing.T) {
	boom := errors.New("no token from https://user:hunter2@idp/")
	for name, c := range map[string]struct {
		header http.Header
		err    error
		want   error
	}{
		"a line more":       {http.Header{"X": {"a\r\nHost: evil"}}, nil, handshake.ErrValue},
		"a line more, LF":   {http.Header{"Proxy-Authorization": {"hunter2\nX: y"}}, nil, handshake.ErrValue},
		"a name that is no": {http.Header{"X Y": {"a"}}, nil, handshake.ErrValue},
		"Host":              {http.Header{"host": {"evil"}}, nil, handshake.ErrReserved},
		"a body":            {http.Header{"Content-Length": {"5"}}, nil, handshake.ErrReserved},
		"chunked":           {http.Header{"transfer-encoding": {"chunked"}}, nil, handshake.ErrReserved},
		"the function":      {nil, boom, boom},
	} {
		for _, byFunc := range []bool{false, true} {
			w := &world{}
			d := &Dialer{NetDial: w.dial, Proxy: through("http://p"), ProxyHeader: c.header}
			if byFunc || c.err != nil {
				d.ProxyHeader = nil
				d.ProxyHeaderFunc = func(context.Context, *url.URL, string) (http.Header, error) { return c.header, c.err }
			}
			_, err := d.Dial(t.Context(), "ws://h")
			wantDialError(t, err, "proxy")
			if !errors.Is(err, c.want) || len(w.dialed) != 0 || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, dialed %v", name, err, w.dialed)
			}
		}
	}
	// A proxy that repeats the request instead of an answer: the error does not show what
	// was secret.
	w := &world{}
	w.hosts = map[string]func(net.Conn){"p:80": func(nc net.Conn) { request(nc); io.WriteString(nc, "Bearer hunter2hunter2 is what you said\r\n") }}
	d := &Dialer{NetDial: w.dial, Proxy: through("http://p"), ProxyHeader: http.Header{"Proxy-Authorization": {"Bearer hunter2hunter2"}}}
	if _, err := d.Dial(t.Context(), "ws://h"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// A proxy that goes on with odd lines for ever is bounded by the limits, one that is slow
// by the time.
func TestProxyAnswerIsBounded(t *testing.T) {
	for name, piece := range map[string]string{"lines": "odd\n", "one line": "odd", "folded": " odd\r\n", "returns": "\r", "nothing": ""} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			w.hosts = map[string]func(net.Conn){"p:80": func(nc net.Conn) {
				request(nc)
				_, err := io.WriteString(nc, "HTTP/1.1 200 OK\n")
				for err == nil && piece != "" {
					_, err = io.WriteString(nc, piece)
				}
				io.Copy(io.Discard, nc)
			}}
			start := time.Now()
			_, err := (&Dialer{NetDial: w.dial, Proxy: through("http://p")}).Dial(t.Context(), "ws://h")
			wantDialError(t, err, "proxy")
			if late := piece == ""; late != (time.Since(start) == DefaultHandshakeTimeout) || !late && !errors.Is(err, handshake.ErrHeadTooLarge) && !errors.Is(err, handshake.ErrTooManyLines) {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}
