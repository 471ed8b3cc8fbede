package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// The options of FuzzDial.
const (
	playHTTPProxy   = 1 << iota
	playSOCKSProxy  // with playHTTPProxy: an https proxy
	playSecure      // a wss URL; this and an https proxy in one of secureEvery lengths of what is said
	playTLS         // hosts that are spoken TLS to speak it
	playRedirects   // up to three are followed
	playJar         // and a subprotocol and compression
	playSilence     // hosts that have said all stay
	playByteForByte // what they say comes in pieces
)

// secureEvery makes TLS seldom: its handshakes take ten times as long as the rest.
const secureEvery = 8

// FuzzDial is a whole conversation of dialing with hosts that say anything: proxies, TLS, redirects and answers. said is cut at each
// "\xff\xff" into what is said next to whoever has asked for something; in it $K is the Accept of the last request's key, and $R the
// request itself. Dial neither panics nor hangs; it returns a connection or an error; the error has no password and no control character;
// a request behind one to another host has no secret; nothing is left open.
func FuzzDial(f *testing.F) {
	const (
		cut      = "\xff\xff"
		switched = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $K\r\n\r\n"
		opened   = "HTTP/1.1 200 OK\r\n\r\n"
		refused  = "HTTP/1.1 403 no\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nno"
	)
	zeroes := "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		string(handshake.AppendAccept(nil, strings.Repeat("\x00", 24))) + "\r\n\r\n"
	to := func(location string) string {
		return "HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: " + location + "\r\n\r\n"
	}
	socks := "\x05\x02" + cut + "\x01\x00" + cut + "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00" + cut
	for options, said := range map[byte][]string{
		0:                    {"", switched, switched + "\x81\x02hi", refused, "SSH-2.0-x\r\n", "$R", "HTTP/1.1 101 x\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		playSecure:           {"", "HTTP/1.1 400 x\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46", "\x16\x03\x03\x00\x02\x02\x00"},
		playTLS | playSecure: {switched, "\x88\x00", refused},
		playHTTPProxy: {zeroes, opened + cut + switched, "HTTP/1.1 407 x\r\n\r\n$R", "HTTP/1.1 100 x\r\n\r\n" + opened + switched, opened + zeroes,
			"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\n" + refused, to("ws://b/") + cut + opened},
		playHTTPProxy | playSecure | playTLS:                   {opened + cut + switched, zeroes},
		playHTTPProxy | playSOCKSProxy:                         {zeroes, opened},
		playHTTPProxy | playSOCKSProxy | playTLS:               {zeroes, opened + cut + switched},
		playSOCKSProxy:                                         {socks + switched, "\x05\xff", "\x05\x02" + cut + "\x01\x01", "HTTP/1.1 400 x\r\n", "\x05\x02\x01\x00\x05\x00\x00\x03\xff"},
		playRedirects | playJar:                                {to("/x") + cut + to("ws://b:81/") + cut + to("ws://a/") + cut + switched, to("ws://c") + cut + refused, to("ftp://x")},
		playRedirects | playSecure | playTLS:                   {to("wss://b/") + cut + switched, to("ws://a/")},
		playRedirects | playHTTPProxy:                          {opened + cut + to("//b") + cut + opened + cut + switched},
		playRedirects | playSilence:                            {to("/"), opened, "HTTP/1.1 "},
		playByteForByte | playJar:                              {switched, "HTTP/1.1 101 x\r\nSec-WebSocket-Protocol: v1-hunter2\r\n\r\n"},
		playByteForByte | playHTTPProxy | playSecure | playTLS: {opened + cut + switched},
	} {
		for _, s := range said {
			for (options&playSecure != 0 || options&3 == 3) && len(s)%secureEvery != 0 {
				s += cut[:1]
			}
			f.Add(options, []byte(s))
		}
	}
	certificate, _ := certify(f, nil, "a")
	server := &tls.Config{Certificates: []tls.Certificate{certificate}, CurvePreferences: []tls.CurveID{tls.CurveP256}, SessionTicketsDisabled: true}
	f.Fuzz(func(t *testing.T, options byte, said []byte) {
		if len(said) > 1<<14 {
			return
		}
		if len(said)%secureEvery != 0 {
			options &^= playSecure
			if options&(playHTTPProxy|playSOCKSProxy) == playHTTPProxy|playSOCKSProxy {
				options &^= playSOCKSProxy
			}
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		synctest.Test(t, func(t *testing.T) {
			s := &script{options: options, said: bytes.Split(said, []byte("\xff\xff")), server: server}
			s.play(t)
		})
	})
}

// A script is what hosts say, and what they were asked.
type script struct {
	options byte
	server  *tls.Config

	mu    sync.Mutex
	said  [][]byte
	asked []string // requests, in order
	ends  []*netsim.Conn
}

func (s *script) has(option byte) bool { return s.options&option != 0 }

const secret = "hunter2"

func (s *script) play(t *testing.T) {
	d := &Dialer{
		NetDial: s.dial, Header: http.Header{"X-Own": {"own-" + secret}, "Cookie": {"c=" + secret}},
		TLSConfig:      &tls.Config{InsecureSkipVerify: true, CurvePreferences: s.server.CurvePreferences},
		ProxyTLSConfig: &tls.Config{InsecureSkipVerify: true, CurvePreferences: s.server.CurvePreferences},
	}
	target := "ws://u:" + secret + "@a/"
	if s.has(playSecure) {
		target = "wss://u:" + secret + "@a/"
	}
	if s.has(playRedirects) {
		d.MaxRedirects = 3
	}
	if s.has(playJar) {
		d.Jar, d.Subprotocols, d.Config.Deflate = newJar(), []string{"v1-" + secret, "v2"}, &deflate.Config{}
	}
	scheme := [4]string{"", "http", "socks5", "https"}[s.options&3]
	if scheme != "" {
		d.Proxy = func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: scheme, Host: "p:80", User: url.UserPassword("u", secret)}, nil
		}
	}
	start := time.Now()
	c, err := d.Dial(t.Context(), target)
	if took := time.Since(start); took > DefaultHandshakeTimeout {
		t.Errorf("took %v", took)
	}
	switch {
	case c == nil && err == nil, c != nil && err != nil:
		t.Fatalf("a connection %v and an error %v", c, err)
	case err != nil:
		s.checkError(t, err)
	default:
		if p := c.Subprotocol(); p != "" && (!s.has(playJar) || p != d.Subprotocols[0] && p != d.Subprotocols[1]) {
			t.Errorf("subprotocol %q", p)
		}
		c.Close()
	}
	synctest.Wait()
	for _, end := range s.ends {
		if !end.Closed() {
			t.Errorf("a connection is open after %v", err)
		}
	}
	s.checkRequests(t)
}

func (s *script) checkError(t *testing.T, err error) {
	var e *DialError
	if !errors.As(err, &e) || len(e.Seen) > seenMost || e.Err == nil {
		t.Errorf("%#v is no *DialError, or shows too much", err)
		return
	}
	text := err.Error()
	if strings.Contains(text, secret) || bytes.Contains(e.Seen, []byte(secret)) {
		t.Errorf("a secret in %q, seen %q", text, e.Seen)
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f {
			t.Errorf("a control character in %q", text)
		}
	}
}

// checkRequests looks for secrets in requests to another host than the first, and in all that follow.
func (s *script) checkRequests(t *testing.T) {
	foreign := false
	for _, request := range s.asked {
		if !strings.HasPrefix(request, "GET ") {
			continue
		}
		foreign = foreign || !strings.Contains(request, "\r\nHost: a\r\n")
		if foreign && (strings.Contains(request, secret) || strings.Contains(request, "Authorization")) {
			t.Errorf("a secret in %q", request)
		}
		if strings.Contains(request, "Proxy-") {
			t.Errorf("the proxy's credentials in %q", request)
		}
	}
}

// dial is the Dialer's.
func (s *script) dial(context.Context, string, string) (net.Conn, error) {
	a, b := netsim.Pipe(1 << 16)
	if s.has(playByteForByte) {
		a.Script(func(op netsim.Op, call, n int) netsim.Step {
			if op == netsim.Read {
				return netsim.Step{Max: 1 + call%7}
			}
			return netsim.Step{}
		})
	}
	s.ends = append(s.ends, a)
	go s.host(b)
	return a, nil
}

// host answers what it is asked.
func (s *script) host(nc net.Conn) {
	defer nc.Close()
	var rw net.Conn = nc
	br := bufio.NewReaderSize(nc, 1<<12)
	for {
		b, err := br.Peek(1)
		if err != nil {
			return
		}
		if b[0] == 22 && s.has(playTLS) && rw == nc {
			t := tls.Server(&peeked{nc, br}, s.server)
			if t.Handshake() != nil {
				return
			}
			rw, br = t, bufio.NewReaderSize(t, 1<<12)
			continue
		}
		said := s.next(readRequest(br))
		if said == nil {
			if s.has(playSilence) {
				io.Copy(io.Discard, br)
			}
			return
		}
		if _, err := rw.Write(said); err != nil {
			return
		}
	}
}

// readRequest reads a head of HTTP, or what else is there.
func readRequest(br *bufio.Reader) (request []byte) {
	b, _ := br.Peek(1)
	if len(b) == 1 && b[0] != 'G' && b[0] != 'C' {
		b, _ = br.Peek(br.Buffered())
		br.Discard(len(b))
		return bytes.Clone(b)
	}
	for {
		line, err := br.ReadSlice('\n')
		request = append(request, line...)
		if err != nil || len(line) <= 2 {
			return request
		}
	}
}

// next is what is said to a request, nil if all has been said.
func (s *script) next(request []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, string(request))
	if len(s.said) == 0 {
		return nil
	}
	said := s.said[0]
	s.said = s.said[1:]
	if bytes.IndexByte(said, '$') >= 0 {
		_, key, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
		key, _, _ = strings.Cut(key, "\r\n")
		said = bytes.ReplaceAll(said, []byte("$K"), handshake.AppendAccept(nil, key))
		said = bytes.ReplaceAll(said, []byte("$R"), request)
	}
	return append([]byte{}, said...)
}
