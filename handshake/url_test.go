package handshake

import (
	"errors"
	"strings"
	"testing"
)

func TestR37URLs(t *testing.T) {
	for _, c := range []struct{ in, address, host, target string }{
		{"ws://example.com", "example.com:80", "example.com", "/"},
		{"wss://example.com", "example.com:443", "example.com", "/"},
		{"ws://example.com/", "example.com:80", "example.com", "/"},
		{"WS://EXAMPLE.com/A", "example.com:80", "example.com", "/A"},
		{"Wss://Example.Com/A", "example.com:443", "example.com", "/A"},
		{"ws://example.com:80/", "example.com:80", "example.com", "/"},
		{"wss://example.com:443/", "example.com:443", "example.com", "/"},
		{"ws://example.com:443/", "example.com:443", "example.com:443", "/"},
		{"wss://example.com:80/", "example.com:80", "example.com:80", "/"},
		{"ws://example.com:8080", "example.com:8080", "example.com:8080", "/"},
		{"ws://example.com:/x", "example.com:80", "example.com", "/x"},
		{"ws://example.com:00080/", "example.com:80", "example.com", "/"},
		{"ws://example.com:65535/", "example.com:65535", "example.com:65535", "/"},
		{"ws://example.com:1/", "example.com:1", "example.com:1", "/"},
		{"ws://example.com?x", "example.com:80", "example.com", "/?x"},
		{"ws://example.com?", "example.com:80", "example.com", "/?"},
		{"ws://example.com/a?", "example.com:80", "example.com", "/a?"},
		{"ws://example.com/a?b=c&d=e", "example.com:80", "example.com", "/a?b=c&d=e"},
		{"ws://example.com/a?b?c/d", "example.com:80", "example.com", "/a?b?c/d"},
		{"ws://example.com//a//b", "example.com:80", "example.com", "//a//b"},
		{"ws://example.com/a/../b/./c", "example.com:80", "example.com", "/a/../b/./c"},
		{"ws://example.com/a%20b%2Fc", "example.com:80", "example.com", "/a%20b%2Fc"},
		{"ws://example.com/%23?%23", "example.com:80", "example.com", "/%23?%23"},
		{"ws://example.com/a;b=c,d:e@f!$&'()*+~", "example.com:80", "example.com", "/a;b=c,d:e@f!$&'()*+~"},
		{"ws://example.com/ä?ö", "example.com:80", "example.com", "/%C3%A4?%C3%B6"},
		{"ws://example.com/?\xff", "example.com:80", "example.com", "/?%FF"},
		{"ws://example.com/?a%00b", "example.com:80", "example.com", "/?a%00b"},
		{"ws://example.com/%zz?x=1&%zz", "", "", ""},
		{"ws://example.com/?%zz", "example.com:80", "example.com", "/?%zz"},
		{"ws://example.com./", "example.com.:80", "example.com.", "/"},
		{"ws://a_b.example/", "a_b.example:80", "a_b.example", "/"},
		{"ws://localhost:9001/x", "localhost:9001", "localhost:9001", "/x"},
		{"ws://127.0.0.1:9001/", "127.0.0.1:9001", "127.0.0.1:9001", "/"},
		{"ws://[::1]/", "[::1]:80", "[::1]", "/"},
		{"ws://[::1]:9001/", "[::1]:9001", "[::1]:9001", "/"},
		{"wss://[2001:DB8::1]", "[2001:DB8::1]:443", "[2001:DB8::1]", "/"},
		{"ws://[::ffff:1.2.3.4]:81", "[::ffff:1.2.3.4]:81", "[::ffff:1.2.3.4]:81", "/"},
		{"ws://[fe80::1%25eth0]/", "[fe80::1%eth0]:80", "[fe80::1]", "/"},
		{"ws://[fe80::1%25Eth0]:81/x", "[fe80::1%Eth0]:81", "[fe80::1]:81", "/x"},
		{"ws://[fe80::1%25a%25et]/", "[fe80::1%a%et]:80", "[fe80::1]", "/"},
		{"ws://[fe80::1%25%21$%25&'*+-._~%25]/", "[fe80::1%!$%&'*+-._~%]:80", "[fe80::1]", "/"},
		{"ws://user:pw@example.com/x", "example.com:80", "example.com", "/x"},
		{"ws://user@example.com:81/x", "example.com:81", "example.com:81", "/x"},
		{"ws://a@b@example.com/", "", "", ""},
		{"ws://user:p%40w@[::1]:81/x?y", "[::1]:81", "[::1]:81", "/x?y"},
		{"ws://bücher.example/", "bücher.example:80", "bücher.example", "/"},

		{"", "", "", ""},
		{"example.com", "", "", ""},
		{"/path", "", "", ""},
		{"//example.com/", "", "", ""},
		{"http://example.com/", "", "", ""},
		{"https://example.com/", "", "", ""},
		{"wsx://example.com/", "", "", ""},
		{"ws+unix://x", "", "", ""},
		{"ws:example.com", "", "", ""},
		{"ws:/example.com", "", "", ""},
		{"ws:///path", "", "", ""},
		{"ws://", "", "", ""},
		{"ws://:80/", "", "", ""},
		{"ws://?x", "", "", ""},
		{"ws://user@/", "", "", ""},
		{"ws://example.com/#", "", "", ""},
		{"ws://example.com/#a", "", "", ""},
		{"ws://example.com#a", "", "", ""},
		{"ws://example.com:0/", "", "", ""},
		{"ws://example.com:65536/", "", "", ""},
		{"ws://example.com:99999999999999999999/", "", "", ""},
		{"ws://example.com:-1/", "", "", ""},
		{"ws://example.com:+1/", "", "", ""},
		{"ws://example.com:8x/", "", "", ""},
		{"ws://example.com:80:80/", "", "", ""},
		{"ws://exa mple.com/", "", "", ""},
		{" ws://example.com/", "", "", ""},
		{"ws://example.com/ ", "", "", ""},
		{"ws://example.com/a b", "", "", ""},
		{"ws://example.com/?a b", "", "", ""},
		{"ws://example.com/\r\nX: y", "", "", ""},
		{"ws://example.com/\x00", "", "", ""},
		{"ws://example.com/\x7f", "", "", ""},
		{"ws://example.com\t/", "", "", ""},
		{"ws://good.example\\@evil.example/", "", "", ""},
		{"ws://exa%6Dple.com/", "", "", ""},
		{"ws://example.com%0d%0a/", "", "", ""},
		{"ws://%/", "", "", ""},
		{"ws://.example.com/", "", "", ""},
		{"ws://a..b/", "", "", ""},
		{"ws://a,b/", "", "", ""},
		{"ws://a*b/", "", "", ""},
		{"ws://a;b/", "", "", ""},
		{"ws://::1/", "", "", ""},
		{"ws://[::1/", "", "", ""},
		{"ws://[]/", "", "", ""},
		{"ws://[1.2.3.4]/", "", "", ""},
		{"ws://[example.com]/", "", "", ""},
		{"ws://[::1]x/", "", "", ""},
		{"ws://[::1%25]/", "", "", ""},
		{"ws://[fe80::1%25a%20b]/", "", "", ""},
		{"ws://[v1.x]/", "", "", ""},
		{"ws://" + strings.Repeat("a", 256) + "/", "", "", ""},
		{"ws://us%3Aer:pw@example.com/", "", "", ""},
		{"ws://user:p%0aw@example.com/", "", "", ""},
		{"ws://user:p%00w@example.com/", "", "", ""},
	} {
		u, err := ParseURL(c.in)
		if c.address == "" {
			var e *Error
			if !errors.Is(err, ErrURL) || u != nil || !errors.As(err, &e) || e.Name == "" {
				t.Errorf("%q: %+v, %v, want it refused", c.in, u, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if u.Address() != c.address || u.Host() != c.host || u.Target != c.target {
			t.Errorf("%q: %q %q %q", c.in, u.Address(), u.Host(), u.Target)
		}
		if strings.Contains(c.in, "bücher") {
			continue
		}
		r := wish()
		r.Host, r.Target = u.Host(), u.Target
		if _, err := AppendRequest(nil, r); err != nil {
			t.Errorf("%q: no request can be made of it: %v", c.in, err)
		}
		v, err := ParseURL(u.String())
		if err != nil || v.Address() != u.Address() || v.Target != u.Target || v.Secure != u.Secure || v.User != nil {
			t.Errorf("%q: %q is another: %+v, %v", c.in, u.String(), v, err)
		}
	}
}

func TestR37UserinfoIsOnlyAHeader(t *testing.T) {
	for in, want := range map[string]string{
		"ws://Aladdin:open%20sesame@h/":  "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
		"ws://u@h/":                      "Basic dTo=",
		"ws://:p@h/":                     "Basic OnA=",
		"ws://u:a:b@h/":                  "Basic dTphOmI=",
		"ws://h/":                        "",
		"wss://%C3%A4:%E2%82%AC@h:1/x?y": "Basic w6Q64oKs",
	} {
		u, err := ParseURL(in)
		if err != nil || u.Authorization() != want {
			t.Errorf("%q: %q, %v, want %q", in, u.Authorization(), err, want)
			continue
		}
		if strings.Contains(u.String()+u.Host()+u.Target+u.Address(), "@") {
			t.Errorf("%q shows its userinfo: %s", in, u)
		}
	}
	// The text of an error does not show a password.
	_, err := ParseURL("ws://user:hunter2@h:x/")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestV22RedirectTargets(t *testing.T) {
	for _, c := range []struct{ from, location, want string }{
		{"ws://a/x/y?q", "/z", "ws://a/z"},
		{"ws://a/x/y?q", "z?r", "ws://a/x/z?r"},
		{"ws://a/x/y?q", "../z", "ws://a/z"},
		{"ws://a/x/y?q", "?r", "ws://a/x/y?r"},
		{"ws://a/x", "//b:81/z", "ws://b:81/z"},
		{"wss://a/x", "//b/z", "wss://b/z"},
		{"ws://a/x", "ws://b/z", "ws://b/z"},
		{"ws://a/x", "wss://b/z", "wss://b/z"},
		{"ws://a/x", "http://b/z", "ws://b/z"},
		{"ws://a/x", "https://b/z", "wss://b/z"},
		{"wss://a/x", "https://b:8443", "wss://b:8443/"},
		{"ws://a/x", "/z#fragment", "ws://a/z"},
		{"ws://a/x", "ws://u:p@b/z", "ws://b/z"},
		{"ws://[fe80::1%25eth0]:81/x", "/z", "ws://[fe80::1%25eth0]:81/z"},
		{"wss://a/x", "ws://a/x", ""},
		{"wss://a/x", "http://a/x", ""},
		{"ws://a/x", "", ""},
		{"ws://a/x", "#f", ""},
		{"ws://a/x", "ftp://a/x", ""},
		{"ws://a/x", "javascript:x", ""},
		{"ws://a/x", "/a b\x00", ""},
		{"ws://a/x", "ws:///z", ""},
		{"ws://a/x", "ws://b:0/", ""},
		{"ws://a/x", "%zz", ""},
		{"ws://a/x", "//b\\@c/", ""},
	} {
		u, err := ParseURL(c.from)
		if err != nil {
			t.Fatal(err)
		}
		v, err := u.Resolve(c.location)
		if c.want == "" {
			if !errors.Is(err, ErrRedirect) || v != nil {
				t.Errorf("%q to %q: %v, %v", c.from, c.location, v, err)
			}
			continue
		}
		if err != nil || v.String() != c.want || v.User != nil {
			t.Errorf("%q to %q: %v, %v, want %s", c.from, c.location, v, err, c.want)
		}
	}
	a, _ := ParseURL("ws://a/x")
	for in, want := range map[string]bool{"ws://A:80/y": true, "wss://a/x": false, "wss://a:80/": false, "ws://a:81/": false, "ws://b/": false, "ws://a./": false} {
		b, _ := ParseURL(in)
		if a.SameOrigin(b) != want || b.SameOrigin(a) != want {
			t.Errorf("%q: %v", in, !want)
		}
	}
}
