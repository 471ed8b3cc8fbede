package peers

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	host   = "feed.example"
	target = "ws://feed.example/"
	key    = "dGhlIHNhbXBsZSBub25jZQ==" // the nonce of RFC 6455 §1.3
)

// connection is the far end of a stream. It returns the bytes and discards what is
// written. With answer set it first waits for a handshake request and answers it.
type connection struct {
	in     bytes.Reader
	out    bytes.Buffer // the request received so far
	answer bool
}

func newConn(stream []byte) *connection {
	c := new(connection)
	c.in.Reset(stream)
	return c
}

func (c *connection) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *connection) Write(p []byte) (int, error) {
	if c.answer {
		c.out.Write(p)
		if req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.out.Bytes()))); err == nil {
			c.answer = false
			rest, _ := io.ReadAll(&c.in)
			c.in.Reset(append([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Accept: "+accept(req.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"), rest...))
		}
	}
	return len(p), nil
}

func (c *connection) Close() error                     { return nil }
func (c *connection) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *connection) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *connection) SetDeadline(time.Time) error      { return nil }
func (c *connection) SetReadDeadline(time.Time) error  { return nil }
func (c *connection) SetWriteDeadline(time.Time) error { return nil }

var targetURL, _ = url.Parse(target)

// accept returns the answer to a key (RFC 6455 §4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// request returns a client's opening handshake.
func request() *http.Request {
	return &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: host, URL: &url.URL{Path: "/"},
		Header: http.Header{
			"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key},
		},
	}
}

// response is a ResponseWriter whose connection can be hijacked.
type response struct {
	conn   *connection
	header http.Header
}

func newResponse(c *connection) *response { return &response{c, http.Header{}} }

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(p []byte) (int, error) { return len(p), nil }
func (r *response) WriteHeader(int)             {}

func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.conn, bufio.NewReadWriter(bufio.NewReader(r.conn), bufio.NewWriter(r.conn)), nil
}

// transport answers a handshake with the stream as the body.
type transport struct{ conn *connection }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Request: req, Body: t.conn,
		Header: http.Header{
			"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {accept(req.Header.Get("Sec-WebSocket-Key"))},
		},
	}, nil
}
