package handshake_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// The key of RFC 6455 §1.3 and its Sec-WebSocket-Accept value.
func ExampleAppendAccept() {
	fmt.Printf("%s\n", handshake.AppendAccept(nil, "dGhlIHNhbXBsZSBub25jZQ=="))
	// Output: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
}

// Both sides of an opening handshake.
func Example() {
	u, err := handshake.ParseURL("wss://feed.example/v1?depth=5")
	if err != nil {
		fmt.Println(err)
		return
	}
	asked := &handshake.Request{
		Host: u.Host(), Target: u.Target, Key: handshake.NewKey(),
		Subprotocols: []string{"v2", "v1"},
		Header:       http.Header{"Authorization": {"Bearer token"}},
	}
	request, err := handshake.AppendRequest(nil, asked)
	if err != nil {
		fmt.Println(err)
		return
	}

	// The server.
	var r handshake.RequestView
	n, err := handshake.ParseRequest(&r, request)
	if err != nil {
		request = handshake.AppendError(nil, err.(*handshake.Error))
	}
	fmt.Printf("%s %s %s %v\n", r.Host(), r.Target(), r.Header("authorization"), n == len(request))
	answer, err := handshake.AppendResponse(nil, r.Key(), &handshake.Response{Subprotocol: r.Subprotocol([]string{"v1"})})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The client gets the answer in two pieces.
	var p handshake.Response
	for _, so := range [][]byte{answer[:20], answer} {
		n, err = handshake.ParseResponse(&p, asked, so)
		fmt.Println(n == len(so), err)
	}
	fmt.Println(p.Status, p.Subprotocol)
	// Output:
	// feed.example /v1?depth=5 Bearer token true
	// false <nil>
	// true <nil>
	// 101 v1
}

// A request that breaks a rule is refused with the status for that rule.
func ExampleParseRequest() {
	var r handshake.RequestView
	_, err := handshake.ParseRequest(&r, []byte("GET / HTTP/1.1\r\nHost: feed.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	var refused *handshake.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Status, refused.Rule, "|", refused.Section)
	}
	fmt.Println(errors.Is(err, handshake.ErrVersion))
	// Output:
	// 426 the WebSocket version is not 13 | RFC 6455 §4.4
	// true
}

// A busy server tells the client when to try again.
func ExampleError_RetryAfter() {
	asked := &handshake.Request{Host: "feed.example", Target: "/", Key: handshake.NewKey()}
	var p handshake.Response
	_, err := handshake.ParseResponse(&p, asked, []byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n\r\n"))
	var refused *handshake.Error
	if errors.As(err, &refused) {
		wait, ok := refused.RetryAfter(time.Now())
		fmt.Println(refused.Status, wait, ok)
	}
	// Output: 503 30s true
}

func ExampleParseURL() {
	u, err := handshake.ParseURL("wss://user:secret@feed.example:8443/v1?x=é")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u.Address(), u.Host(), u.Target)
	fmt.Println(u) // without the userinfo, for logs
	_, err = handshake.ParseURL("https://feed.example/")
	fmt.Println(errors.Is(err, handshake.ErrURL))
	// Output:
	// feed.example:8443 feed.example:8443 /v1?x=%C3%A9
	// wss://feed.example:8443/v1?x=%C3%A9
	// true
}

func ExampleMatchOrigin() {
	for _, origin := range []string{"https://app.example.com", "https://example.com", "http://app.example.com", "https://example.com.evil.test"} {
		fmt.Println(origin, handshake.MatchOrigin("https://*.example.com", origin))
	}
	// Output:
	// https://app.example.com true
	// https://example.com false
	// http://app.example.com false
	// https://example.com.evil.test false
}

func ExampleSameOrigin() {
	fmt.Println(handshake.SameOrigin("https://example.com", "example.com:443", true))
	fmt.Println(handshake.SameOrigin("http://example.com", "example.com", true))
	fmt.Println(handshake.SameOrigin("https://example.com.evil.test", "example.com", true))
	// Output:
	// true
	// false
	// false
}

func ExampleParseExtensions() {
	list, err := handshake.ParseExtensions(nil, `permessage-deflate; client_max_window_bits="10", x-other`)
	fmt.Println(list, err)
	_, err = handshake.ParseExtensions(nil, "permessage-deflate; ;")
	fmt.Println(errors.Is(err, handshake.ErrExtensions))
	// Output:
	// [{permessage-deflate [{client_max_window_bits 10}]} {x-other []}] <nil>
	// true
}

func ExampleAppendConnect() {
	request, err := handshake.AppendConnect(nil, "feed.example:443", http.Header{"Proxy-Authorization": {"Bearer token"}})
	fmt.Printf("%q %v\n", request, err)
	// A proxy's answer needs only the status line and the blank line.
	var p handshake.ConnectResponse
	n, err := handshake.ParseConnect(&p, []byte("HTTP/1.1 200 OK\r\n\r\nof the tunnel"))
	fmt.Println(n, p.Status, err)
	// Output:
	// "CONNECT feed.example:443 HTTP/1.1\r\nHost: feed.example:443\r\nProxy-Authorization: Bearer token\r\n\r\n" <nil>
	// 19 200 <nil>
}
