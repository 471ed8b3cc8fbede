package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

func TestV22RedirectsAreFollowedIfAskedFor(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"a:80": answering(status(code, "Location: //b:81/x?y", "Content-Length: 0")), "b:81": echoing(Upgrader{})}}
			_, err := (&Dialer{NetDial: w.dial}).Dial(t.Context(), "ws://a")
			if e := refusal(t, err); e.Status != code || e.Header.Get("Location") != "//b:81/x?y" || len(w.dialed) != 1 {
				t.Errorf("%v, dialed %q", err, w.dialed)
			}
			c, err := (&Dialer{NetDial: w.dial, MaxRedirects: 1}).Dial(t.Context(), "ws://a")
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, c)
			c.Close()
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}

func TestV22RedirectsThatAreNotFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		code     int
		location string
		want     error
		says     string
	}{
		"loop":            {302, "/", handshake.ErrRedirect, "(conn.Dialer.MaxRedirects = 5)"},
		"no Location":     {302, "", handshake.ErrRedirect, "Location"},
		"not a URL":       {302, "%zz", handshake.ErrRedirect, "Location"},
		"another scheme":  {302, "ftp://b/", handshake.ErrRedirect, "Location"},
		"a bad name":      {302, "ws://\ufffd/", handshake.ErrRedirect, "Location"},
		"300":             {300, "/", handshake.ErrStatus, "300"},
		"304":             {304, "/", handshake.ErrStatus, "304"},
		"a status of 4xx": {404, "/", handshake.ErrStatus, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lines := []string{"Content-Length: 0"}
				if c.location != "" {
					lines = append(lines, "Location: "+c.location)
				}
				w := &world{hosts: map[string]func(net.Conn){"a:80": answering(status(c.code, lines...))}}
				_, err := (&Dialer{NetDial: w.dial, MaxRedirects: 5}).Dial(t.Context(), "ws://a")
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || refusal(t, err).Status != c.code {
					t.Errorf("%v", err)
				}
				if name == "loop" && len(w.dialed) != 6 {
					t.Errorf("dialed %q", w.dialed)
				}
				synctest.Wait()
				w.wantClosed(t)
			})
		})
	}
}

func TestV22NeverFromTLSToPlain(t *testing.T) {
	certificate, roots := certify(t, nil, "a", "b")
	secure := func(host func(net.Conn)) func(net.Conn) {
		return overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, host)
	}
	for _, location := range []string{"ws://a/", "http://a/", "ws://b/", "http://b:443/"} {
		w := &world{hosts: map[string]func(net.Conn){"a:443": secure(answering(status(302, "Location: "+location, "Content-Length: 0"))), "a:80": echoing(Upgrader{}), "b:80": echoing(Upgrader{})}}
		_, err := (&Dialer{NetDial: w.dial, MaxRedirects: 5, TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "wss://a")
		if !errors.Is(err, handshake.ErrRedirect) || len(w.dialed) != 1 {
			t.Errorf("%s: %v, dialed %q", location, err, w.dialed)
		}
	}
	// The other way is one up.
	w := &world{hosts: map[string]func(net.Conn){"a:80": answering(status(301, "Location: https://a/", "Content-Length: 0")), "a:443": secure(echoing(Upgrader{}))}}
	c, err := (&Dialer{NetDial: w.dial, MaxRedirects: 5, TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "ws://a")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Credentials and the caller's own lines stay with the origin they were meant for, and do not come back with a redirect back.
func TestV22CredentialsStayAtTheirOrigin(t *testing.T) {
	type asked struct {
		host, target, authorization, own, fresh, cookie, host2 string
	}
	for _, c := range []struct {
		name  string
		hops  []string // where each answer leads; the last one is accepted
		keeps []bool   // which requests have the credentials
	}{
		{"same origin", []string{"/2", "ws://A:80/3"}, []bool{true, true, true}},
		{"another host", []string{"ws://b/2", "/3"}, []bool{true, false, false}},
		{"another port", []string{"ws://a:81/2"}, []bool{true, false}},
		{"and back", []string{"ws://b/2", "ws://a/3"}, []bool{true, false, false}},
		{"with other credentials", []string{"ws://evil:pw@a/2"}, []bool{true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []asked
				host := func(nc net.Conn) {
					r, _ := request(nc)
					got = append(got, asked{r.Host, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("X-Own"), r.Header.Get("X-Fresh"), r.Header.Get("Cookie"), ""})
					if len(got) > len(c.hops) {
						io.WriteString(nc, switching(r))
						return
					}
					io.WriteString(nc, status(307, "Location: "+c.hops[len(got)-1], "Content-Length: 0", fmt.Sprintf("Set-Cookie: jar%s=1", strings.Split(r.Host, ":")[0])))
				}
				w := &world{hosts: map[string]func(net.Conn){"a:80": host, "b:80": host, "a:81": host}}
				d := &Dialer{NetDial: w.dial, MaxRedirects: 5, Header: http.Header{"X-Own": {"1"}, "Cookie": {"own=1"}},
					HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) { return http.Header{"X-Fresh": {"1"}}, nil }, Jar: newJar()}
				conn, err := d.Dial(t.Context(), "ws://u:p@a/1")
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				if len(got) != len(c.keeps) {
					t.Fatalf("%+v", got)
				}
				for i, keeps := range c.keeps {
					g := got[i]
					if (g.authorization == "Basic dTpw") != keeps || !keeps && g.authorization != "" || (g.own == "1") != keeps || (g.fresh == "1") != keeps ||
						strings.Contains(g.cookie, "own=1") != keeps {
						t.Errorf("request %d: %+v", i, g)
					}
					// The jar knows by itself what belongs where.
					if strings.HasPrefix(g.host, "b") && strings.Contains(g.cookie, "jara") {
						t.Errorf("request %d has a cookie of another host: %+v", i, g)
					}
				}
			})
		})
	}
}

func TestV22ClientCertificateStaysAtItsOrigin(t *testing.T) {
	certificate, roots := certify(t, nil, "a", "b")
	client, _ := certify(t, nil, "client")
	shown := map[string]int{}
	secure := func(name string, host func(net.Conn)) func(net.Conn) {
		return overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}, func(nc net.Conn) {
			shown[name] = len(nc.(*tls.Conn).ConnectionState().PeerCertificates)
			host(nc)
		})
	}
	w := &world{hosts: map[string]func(net.Conn){"a:443": secure("a", answering(status(302, "Location: wss://b/", "Content-Length: 0"))), "b:443": secure("b", echoing(Upgrader{}))}}
	d := &Dialer{NetDial: w.dial, MaxRedirects: 1, TLSConfig: &tls.Config{RootCAs: roots, ServerName: "a", Certificates: []tls.Certificate{client}}}
	c, err := d.Dial(t.Context(), "wss://a")
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	c.Close()
	if shown["a"] != 1 || shown["b"] != 0 {
		t.Errorf("certificates shown: %v", shown)
	}
}
