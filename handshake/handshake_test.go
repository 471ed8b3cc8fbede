package handshake

import (
	"bytes"
	"net/http"
	"testing"
)

// rfcKey and rfcAccept are the example of RFC 6455 §1.3.
const (
	rfcKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	rfcAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func key(s string) (k Key) {
	copy(k[:], s)
	return k
}

// Both sides of one handshake, through each other's parser.
func TestRoundTrip(t *testing.T) {
	req := &Request{
		Host: "example.com:8080", Target: "/feed?x=1", Key: NewKey(), Origin: "https://example.com",
		Subprotocols: []string{"v2.feed", "v1.feed"},
		Extensions:   []Extension{{"permessage-deflate", []Param{{"client_max_window_bits", ""}, {"server_max_window_bits", "12"}}}},
		Header:       http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=b", "c=d"}},
	}
	b, err := AppendRequest(nil, req)
	if err != nil {
		t.Fatal(err)
	}
	var v RequestView
	n, err := ParseRequest(&v, append(b, "frames"...))
	if err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	if string(v.Target()) != req.Target || string(v.Host()) != req.Host || string(v.Header("cookie")) != "a=b" {
		t.Errorf("%q %q %q", v.Target(), v.Host(), v.Header("cookie"))
	}
	res := &Response{Subprotocol: v.Subprotocol([]string{"v1.feed"}), Extensions: v.Extensions(nil)}
	a, err := AppendResponse(nil, v.Key(), res)
	if err != nil {
		t.Fatal(err)
	}
	var got Response
	n, err = ParseResponse(&got, req, append(bytes.Clone(a), 0x81, 0))
	if err != nil || n != len(a) || got.Subprotocol != "v1.feed" || len(got.Extensions) != 1 {
		t.Fatal(n, err, got)
	}
}
