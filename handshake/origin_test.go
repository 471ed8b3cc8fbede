package handshake

import (
	"errors"
	"testing"
)

func TestR60V24SameOrigin(t *testing.T) {
	const plain, secure = false, true
	for _, c := range []struct {
		origin, host string
		tls          bool
		want         bool
	}{
		{"http://example.com", "example.com", plain, true},
		{"https://example.com", "example.com", plain, true}, // TLS ended at a proxy
		{"https://example.com", "example.com", secure, true},
		{"HTTPS://EXAMPLE.com", "Example.COM", secure, true},
		{"http://example.com:8080", "example.com:8080", plain, true},
		{"http://example.com", "example.com:80", plain, true},
		{"http://example.com:80", "example.com", plain, true},
		{"https://example.com:443", "example.com", secure, true},
		{"https://example.com", "example.com:443", secure, true},
		{"https://example.com", "example.com:", secure, true},
		{"https://[::1]:8443", "[::1]:8443", secure, true},
		{"https://example.com.", "example.com.", secure, true},
		{"https://xn--bcher-kva.example", "xn--bcher-kva.example", secure, true},

		{"http://example.com", "example.com", secure, false}, // scheme
		{"null", "example.com", plain, false},
		{"null", "null", plain, false},
		{"", "example.com", plain, false},
		{"http://example.com:8081", "example.com:8080", plain, false}, // port
		{"http://example.com:443", "example.com", plain, false},
		{"http://example.com", "example.com:443", plain, false},
		{"https://example.com", "example.com:80", plain, false},
		{"https://example.com.", "example.com", secure, false}, // trailing dot
		{"https://example.com", "example.com.", secure, false},
		{"https://bücher.example", "xn--bcher-kva.example", secure, false}, // IDN
		{"https://bücher.example", "bücher.example", secure, false},
		{"https://exam\u212ale.com", "examkle.com", secure, false},
		{"https://example.com@evil.com", "example.com", secure, false}, // userinfo
		{"https://example.com@evil.com", "evil.com", secure, false},
		{"https://evil.com@example.com", "example.com", secure, false},
		{"https://user:pw@example.com", "example.com", secure, false},
		{"https://example.com:443@evil.com", "example.com", secure, false},
		{"https://evil.example.com", "example.com", secure, false},
		{"https://example.com.evil.com", "example.com", secure, false},
		{"https://notexample.com", "example.com", secure, false},
		{"https://example.co", "example.com", secure, false},
		{"https://example.com/", "example.com", secure, false},
		{"https://example.com/x", "example.com", secure, false},
		{"https://example.com?x", "example.com", secure, false},
		{"https://example.com#x", "example.com", secure, false},
		{"https://evil.com#example.com", "example.com", secure, false},
		{"https://evil.com\\@example.com", "example.com", secure, false},
		{"https://example.com https://evil.com", "example.com", secure, false},
		{"https://example.com, https://evil.com", "example.com", secure, false},
		{"https://example.com:", "example.com", secure, false},
		{"https://example.com:0443", "example.com", secure, true}, // a number, however it is written
		{"https://example.com:x", "example.com", secure, false},
		{"https://example.com:99999", "example.com", secure, false},
		{"https://example.com:443:443", "example.com", secure, false},
		{"https://example.com:*", "example.com", secure, false},
		{"https://*", "example.com", secure, false},
		{"https://[::1", "[::1", secure, false},
		{"https://[::2]", "[::1]", secure, false},
		{"https:/example.com", "example.com", secure, false},
		{"https:example.com", "example.com", secure, false},
		{"//example.com", "example.com", secure, false},
		{"example.com", "example.com", secure, false},
		{"://example.com", "example.com", secure, false},
		{"https://", "", secure, false},
		{"file://example.com", "example.com", plain, false},
		{"ws://example.com", "example.com", plain, false},
		{"wss://example.com", "example.com", secure, false},
		{"chrome-extension://abcdef", "abcdef", plain, false},
		{"1http://example.com", "example.com", plain, false},
	} {
		if got := SameOrigin(c.origin, []byte(c.host), c.tls); got != c.want {
			t.Errorf("%q on %q, TLS %v: %v", c.origin, c.host, c.tls, got)
		}
	}
}

func TestR60MatchOrigin(t *testing.T) {
	for _, c := range []struct {
		pattern, origin string
		want            bool
	}{
		{"*", "https://a.example", true},
		{"*", "null", true},
		{"null", "null", true},
		{"null", "NULL", false},
		{"null", "https://null", false},
		{"https://a.example", "null", false},
		{"https://a.example", "https://a.example", true},
		{"https://A.example:443", "HTTPS://a.EXAMPLE", true},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://b.a.example", false},
		{"https://a.example", "https://a.example.evil", false},
		{"https://a.example", "https://a.example/", false},
		{"http://localhost:*", "http://localhost:3000", true},
		{"http://localhost:*", "http://localhost", true},
		{"http://localhost:*", "http://localhost.evil:80", false},
		{"http://localhost:*", "https://localhost", false},
		{"https://*.a.example", "https://b.a.example", true},
		{"https://*.a.example", "https://c.B.a.example", true},
		{"https://*.a.example", "https://a.example", false},
		{"https://*.a.example", "https://.a.example", false},
		{"https://*.a.example", "https://evila.example", false},
		{"https://*.a.example", "https://evil.com?.a.example", false},
		{"https://*.a.example", "https://x@b.a.example", false},
		{"https://*.a.example:8443", "https://b.a.example:8443", true},
		{"https://*.a.example:8443", "https://b.a.example", false},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"capacitor://localhost", "ionic://localhost", false},
		{"a.example", "https://a.example", false},
		{"", "", false},
		{"https://a.example", "https://*", false},
		{"https://*.example", "https://*.example", true}, // names cannot have it, and it gives nothing away
	} {
		if got := MatchOrigin(c.pattern, c.origin); got != c.want {
			t.Errorf("%q by %q: %v", c.origin, c.pattern, got)
		}
	}
}

func TestR60CheckOrigin(t *testing.T) {
	for _, c := range []struct {
		edits   []string
		allowed []string
		ok      bool
	}{
		{nil, nil, true},
		{edit("+Origin: https://server.example.com"), nil, true},
		{edit("+Origin: https://evil.example"), nil, false},
		{edit("+Origin:"), nil, false},
		{edit("+Origin: null"), nil, false},
		{edit("+Origin: null"), []string{"null"}, true},
		{edit("+Origin: https://app.example"), []string{"https://other.example", "https://app.example"}, true},
		{edit("+Origin: https://other.example", ">GET http://other.example/ HTTP/1.1"), nil, true},
		{edit("+Origin: https://server.example.com", ">GET http://other.example/ HTTP/1.1"), nil, false},
	} {
		v, got := parseRequest(t, head(asked, c.edits...), Limits{})
		if got.err != nil {
			t.Fatal(got.err)
		}
		if err := CheckOrigin(v, true, c.allowed); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOrigin) {
			t.Errorf("%q, %q: %v", c.edits, c.allowed, err)
		}
	}
}
