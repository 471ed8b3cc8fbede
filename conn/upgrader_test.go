package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

const (
	exampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	exampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// asking is a request that every server accepts, with more lines.
func asking(lines ...string) string {
	return "GET /feed?x HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + exampleKey +
		"\r\nSec-WebSocket-Version: 13\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// without takes a line out of a request.
func without(request, name string) string {
	i := strings.Index(request, "\r\n"+name+":")
	return request[:i] + request[i+2+strings.Index(request[i+2:], "\r\n"):]
}

// bytesOf is a header line that fills a request of asking up to n bytes, with no white space that net/http takes away.
func bytesOf(n int) string { return "X:" + strings.Repeat("x", n-len(asking("X:"))) }

// linesOf are different header lines, as short as can be, each with its end.
func linesOf(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "h%d:\r\n", i)
	}
	return b.String()
}

// A served is how a server took a request.
type served struct {
	status  int
	head    http.Header
	body    string
	sub     string
	err     error
	accepts bool
	closes  bool // Connection: close
}

// byAccept has Upgrader.Accept answer, over a connection in memory.
func byAccept(t *testing.T, u *Upgrader, request string) (s served) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netsim.Pipe(0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := u.Accept(b)
			if s.err = err; err == nil {
				s.accepts, s.sub = true, c.Subprotocol()
				c.Close()
			}
			if !b.Closed() {
				t.Errorf("the connection is open: %v", err)
			}
		}()
		go io.WriteString(a, request)
		s.answer(t, a)
		a.Close()
		<-done
	})
	return s
}

// byUpgrade has Upgrader.Upgrade answer, behind net/http.
func byUpgrade(t *testing.T, u *Upgrader, request string) (s served) {
	done := make(chan struct{})
	l := newListener(t)
	srv := &http.Server{ErrorLog: quiet(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		w.Header().Set("X-Handler", "yes")
		c, err := u.Upgrade(w, r)
		if s.err = err; err == nil {
			s.accepts, s.sub = true, c.Subprotocol()
			c.Close()
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, request)
	s.answer(t, nc)
	<-done
	return s
}

// answer reads what came back.
func (s *served) answer(t *testing.T, nc net.Conn) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return
	}
	body, _ := io.ReadAll(r.Body)
	s.status, s.head, s.body, s.closes = r.StatusCode, r.Header, string(body), r.Close
}

func newListener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Both ways to open a connection judge a request alike (R49, R56–R63, R65, F83). What net/http refuses or changes by itself
// is left to Accept.
func TestR56ToR65BothWaysJudgeAlike(t *testing.T) {
	plain := asking()
	for _, c := range []struct {
		name    string
		request string
		status  int
		raw     bool // only Accept: net/http answers this itself
		want    error
	}{
		{"plain", plain, 101, false, nil},
		{"R57 lists", strings.Replace(plain, "Connection: Upgrade", "Connection: keep-alive, upgrade", 1), 101, false, nil},
		{"R62 extensions", asking("Sec-WebSocket-Extensions: a; b=\"c\""), 101, false, nil},
		{"R65 length 0", asking("Content-Length: 0"), 101, false, nil},
		{"R60 same origin", asking("Origin: http://server.example"), 101, false, nil},
		{"R56 POST", "POST" + plain[3:], 405, false, handshake.ErrMethod},
		{"R56 HTTP/1.0", strings.Replace(plain, "HTTP/1.1", "HTTP/1.0", 1), 505, false, handshake.ErrRequestVersion},
		{"R56 HTTP/2.0", strings.Replace(plain, "HTTP/1.1", "HTTP/2.0", 1), 505, true, handshake.ErrRequestVersion},
		{"R56 no Host", without(plain, "Host"), 400, true, handshake.ErrHost},
		{"R56 two Hosts", asking("Host: other"), 400, true, handshake.ErrHost},
		{"R50 folded", asking("X: a", " b"), 400, true, handshake.ErrFolded},
		{"R50 NUL", asking("X: \x00"), 400, true, handshake.ErrNUL},
		{"R49 long line", asking("X: " + strings.Repeat("a", handshake.DefaultBytes)), 431, false, handshake.ErrHeadTooLarge},
		{"R49 many lines", asking(strings.Repeat("X: y\r\n", 200) + "Z: z"), 431, false, handshake.ErrTooManyLines},
		{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, true, handshake.ErrControl},
		{"R57 no Upgrade", without(plain, "Upgrade"), 426, false, handshake.ErrNoUpgrade},
		{"R57 no Connection", without(plain, "Connection"), 426, false, handshake.ErrNoConnection},
		{"R57 xwebsocketx", strings.Replace(plain, "websocket", "xwebsocketx", 1), 426, false, handshake.ErrNoUpgrade},
		{"R58 no key", without(plain, "Sec-WebSocket-Key"), 400, false, handshake.ErrKey},
		{"R58 two keys", asking("Sec-WebSocket-Key: " + exampleKey), 400, false, handshake.ErrKey},
		{"R58 short key", strings.Replace(plain, exampleKey, "AQIDBAUGBwgJCgsMDQ4P", 1), 400, false, handshake.ErrKey},
		{"R59 no version", without(plain, "Sec-WebSocket-Version"), 426, false, handshake.ErrVersion},
		{"R59 version 8", strings.Replace(plain, "Version: 13", "Version: 8", 1), 426, false, handshake.ErrVersion},
		{"R59 versions 13, 8", strings.Replace(plain, "Version: 13", "Version: 13, 8", 1), 426, false, handshake.ErrVersion},
		{"R59 two versions", asking("Sec-WebSocket-Version: 13"), 426, false, handshake.ErrVersion},
		{"R60 other origin", asking("Origin: http://evil.example"), 403, false, handshake.ErrOrigin},
		{"R60 null", asking("Origin: null"), 403, false, handshake.ErrOrigin},
		{"R60 two origins", asking("Origin: http://server.example", "Origin: http://evil.example"), 403, false, handshake.ErrOrigin},
		{"R61 bad subprotocol", asking("Sec-WebSocket-Protocol: a b"), 400, false, handshake.ErrProtocols},
		{"R62 bad extensions", asking("Sec-WebSocket-Extensions: ;;"), 400, false, handshake.ErrExtensions},
		{"R63 hidden offer", asking(`Sec-WebSocket-Extensions: x; y=",permessage-deflate,"`), 400, false, handshake.ErrExtensions},
		{"F83 subprotocol twice", asking("Sec-WebSocket-Protocol: a, a"), 400, false, handshake.ErrProtocolTwice},
		{"F83 subprotocol twice on two lines", asking("Sec-WebSocket-Protocol: a", "X: y", "Sec-WebSocket-Protocol: b, a"), 400, false, handshake.ErrProtocolTwice},
		{"F83 empty subprotocol", asking("Sec-WebSocket-Protocol: a,,b"), 400, false, handshake.ErrProtocols},
		{"F83 no subprotocol", asking("Sec-WebSocket-Protocol:"), 400, false, handshake.ErrProtocols},
		{"F83 no subprotocol beside another", asking("Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: a"), 400, false, handshake.ErrProtocols},
		{"F83 no extension", asking("Sec-WebSocket-Extensions:"), 400, false, handshake.ErrExtensions},
		{"F83 no extension beside another", asking("Sec-WebSocket-Extensions:", "Sec-WebSocket-Extensions: x,,y"), 101, false, nil},
		{"F83 an extension twice", asking("Sec-WebSocket-Extensions: x; y, x"), 101, false, nil},
		{"F83 empty words", asking("Connection: ,,", "Upgrade:"), 101, false, nil},
		{"F83 empty version", strings.Replace(plain, "Version: 13", "Version:", 1), 426, false, handshake.ErrVersion},
		{"F83 empty key", strings.Replace(plain, exampleKey, "", 1), 400, false, handshake.ErrKey},
		{"F83 empty origin", asking("Origin:"), 403, false, handshake.ErrOrigin},
		{"F83 hosts in one line", strings.Replace(plain, "server.example", "server.example,server.example", 1), 400, false, handshake.ErrHost},
		{"R49 as many bytes", asking(bytesOf(handshake.DefaultBytes)), 101, false, nil},
		{"R49 a byte more", asking(bytesOf(handshake.DefaultBytes + 1)), 431, true, handshake.ErrHeadTooLarge},
		{"R49 a byte more, and one for each space that net/http drops", asking(bytesOf(handshake.DefaultBytes + 6)), 431, false, handshake.ErrHeadTooLarge},
		{"R49 as many bytes on many lines", asking(linesOf(1, 100) + bytesOf(handshake.DefaultBytes-len(linesOf(1, 100)))), 101, false, nil},
		{"R49 as many lines", asking(linesOf(1, handshake.DefaultLines-5) + "Z:"), 101, false, nil},
		{"R49 a line more", asking(linesOf(1, handshake.DefaultLines-4) + "Z:"), 431, false, handshake.ErrTooManyLines},
		{"R49 as many lines, one of which net/http adds to", asking(linesOf(1, handshake.DefaultLines-5) + "Pragma: no-cache"), 101, false, nil},
		{"R49 a megabyte of a target", strings.Replace(plain, "feed", strings.Repeat("x", 900_000), 1), 431, false, handshake.ErrHeadTooLarge},
		{"R49 a line of 900 kB", asking("X: " + strings.Repeat("x", 900_000)), 431, false, handshake.ErrHeadTooLarge},
		{"R49 900 kB of lines", asking(strings.Repeat("Cookie: aaaaaaaaaaaaaaaaaaaaa=b\r\n", 27_000)), 431, false, handshake.ErrTooManyLines},
		{"R49 900 kB of offers", asking("Sec-WebSocket-Extensions: x" + strings.Repeat(",x", 450_000)), 431, false, handshake.ErrHeadTooLarge},
		{"R49 17 offers", asking("Sec-WebSocket-Extensions: x" + strings.Repeat(",x", 16)), 431, false, handshake.ErrTooManyExtensions},
		{"R49 33 parameters", asking("Sec-WebSocket-Extensions: x" + strings.Repeat(";x", 33)), 431, false, handshake.ErrTooManyParams},
		{"R49 33 subprotocols", asking("Sec-WebSocket-Protocol: x" + strings.Repeat(",x", 32)), 431, false, handshake.ErrTooManyProtocols},
		{"R65 body", asking("Content-Length: 5") + "hello", 400, false, handshake.ErrBody},
		{"R65 chunked", asking("Transfer-Encoding: chunked") + "0\r\n\r\n", 400, false, handshake.ErrBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			for way, serve := range map[string]func(*testing.T, *Upgrader, string) served{"Accept": byAccept, "Upgrade": byUpgrade} {
				if way == "Upgrade" && c.raw {
					continue
				}
				s := serve(t, new(Upgrader), c.request)
				if s.status != c.status || !errors.Is(s.err, c.want) || s.accepts != (c.want == nil) {
					t.Errorf("%s: %d %q, %v", way, s.status, s.body, s.err)
				}
				switch {
				case s.status == 101:
					if s.head.Get("Sec-WebSocket-Accept") != exampleAccept || (s.head.Get("X-Handler") != "") != (way == "Upgrade") {
						t.Errorf("%s: %q", way, s.head)
					}
				case s.status == 426:
					if s.head.Get("Sec-WebSocket-Version") != "13" || s.head.Get("Upgrade") != "websocket" || !s.closes {
						t.Errorf("%s: %q", way, s.head)
					}
				case s.status == 405 && s.head.Get("Allow") != "GET", !s.closes, s.body == "":
					t.Errorf("%s: %q %q", way, s.head, s.body)
				}
			}
		})
	}
}

func TestUpgraderChoices(t *testing.T) {
	boom := errors.New("database is down: password=hunter2")
	for _, c := range []struct {
		name    string
		u       Upgrader
		request string
		status  int
		sub     string
		want    error
		head    string // name: value of the answer
	}{
		{"R61 server's order", Upgrader{Subprotocols: []string{"b", "a"}}, asking("Sec-WebSocket-Protocol: a, b"), 101, "b", nil, "Sec-Websocket-Protocol: b"},
		{"R61 none in common", Upgrader{Subprotocols: []string{"c"}}, asking("Sec-WebSocket-Protocol: a, b"), 101, "", nil, "Sec-Websocket-Protocol: "},
		{"R61 by function", Upgrader{SelectSubprotocol: func(r *handshake.RequestView) string { return "b" }}, asking("Sec-WebSocket-Protocol: a, b"), 101, "b", nil, "Sec-Websocket-Protocol: b"},
		{"R61 function says none", Upgrader{SelectSubprotocol: func(r *handshake.RequestView) string { return "" }}, asking("Sec-WebSocket-Protocol: a, b"), 101, "", nil, "Sec-Websocket-Protocol: "},
		{"R61 function says what was not offered", Upgrader{SelectSubprotocol: func(r *handshake.RequestView) string { return "c" }}, asking("Sec-WebSocket-Protocol: a, b"), 500, "", &handshake.Error{Rule: errNotOffered.Error()}, ""},
		{"R60 list", Upgrader{Origins: []string{"https://*.good.example"}}, asking("Origin: https://app.good.example"), 101, "", nil, ""},
		{"R60 not in the list", Upgrader{Origins: []string{"https://*.good.example"}}, asking("Origin: https://good.example.evil"), 403, "", handshake.ErrOrigin, ""},
		{"R60 by function", Upgrader{CheckOrigin: func(r *handshake.RequestView) bool { return true }}, asking("Origin: null"), 101, "", nil, ""},
		{"R60 function refuses", Upgrader{CheckOrigin: func(r *handshake.RequestView) bool { return false }}, asking("Origin: http://server.example"), 403, "", handshake.ErrOrigin, ""},
		{"R60 function is not asked", Upgrader{CheckOrigin: func(r *handshake.RequestView) bool { return false }}, asking(), 101, "", nil, ""},
		{"check adds a header", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return http.Header{"X-Path": {string(r.Path())}}, nil
		}}, asking(), 101, "", nil, "X-Path: /feed"},
		{"check refuses", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return nil, &handshake.Error{Status: 401, Rule: "no token", Header: http.Header{"WWW-Authenticate": {"Bearer"}}}
		}}, asking(), 401, "", &handshake.Error{Rule: "no token"}, "WWW-Authenticate: Bearer"},
		{"check refuses with a body", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return nil, &handshake.Error{Status: 429, Rule: "too many", Header: http.Header{"Retry-After": {"7"}}, Body: []byte("slowly")}
		}}, asking(), 429, "", &handshake.Error{Rule: "too many"}, "Retry-After: 7"},
		{"check fails", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) { return nil, boom }}, asking(), 403, "", boom, ""},
		{"R68 injection of a value", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return http.Header{"X": {"a\r\nSet-Cookie: evil=1"}}, nil
		}}, asking(), 500, "", handshake.ErrValue, "Set-Cookie: "},
		{"R68 injection of a name", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return http.Header{"X\r\nSet-Cookie": {"evil=1"}}, nil
		}}, asking(), 500, "", handshake.ErrValue, "Set-Cookie: "},
		{"R68 a reserved header", Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
			return http.Header{"Sec-WebSocket-Extensions": {"x"}}, nil
		}}, asking(), 500, "", handshake.ErrReserved, "Sec-Websocket-Extensions: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			for way, serve := range map[string]func(*testing.T, *Upgrader, string) served{"Accept": byAccept, "Upgrade": byUpgrade} {
				s := serve(t, &c.u, c.request)
				name, value, _ := strings.Cut(c.head, ": ")
				if s.status != c.status || s.sub != c.sub || !errors.Is(s.err, c.want) || c.head != "" && s.head.Get(name) != value {
					t.Errorf("%s: %d %q %q, %q, %v", way, s.status, s.head, s.body, s.sub, s.err)
				}
				if strings.Contains(s.body, "hunter2") {
					t.Errorf("%s: an error of the application's reached the client: %q", way, s.body)
				}
			}
		})
	}
}

// What net/http makes of a head is what Upgrade judges: some of what Accept refuses never reaches it. The rows with 101 are
// the ones that the comment of Upgrade and SECURITY.md name.
func TestUpgradeJudgesWhatNetHTTPHandsIt(t *testing.T) {
	plain := asking()
	for _, c := range []struct {
		name, request string
		accept        *handshake.Error
		upgrade       int
	}{
		{"bare LF behind a line", strings.Replace(plain, "13\r\n", "13\n", 1), handshake.ErrBareLF, 101},
		{"bare LF behind every line", strings.ReplaceAll(plain, "\r\n", "\n"), handshake.ErrBareLF, 101},
		{"folded", asking("X: a", " b"), handshake.ErrFolded, 101},
		{"folded key", strings.Replace(plain, "Key: ", "Key:\r\n ", 1), handshake.ErrFolded, 101},
		{"line within a folded one", asking("X: a", " Sec-WebSocket-Protocol: b"), handshake.ErrFolded, 101},
		{"length 00", asking("Content-Length: 00"), handshake.ErrBody, 101},
		{"space before the colon", asking("X : a"), handshake.ErrSpaceBeforeColon, 400},
		{"tab before the colon", asking("X\t: a"), handshake.ErrSpaceBeforeColon, 400},
		{"first line folded", strings.Replace(plain, "Host", " Host", 1), handshake.ErrFolded, 400},
		{"bare CR", asking("X: a\rb"), handshake.ErrBareCR, 400},
		{"NUL", asking("X: \x00"), handshake.ErrNUL, 400},
		{"control", asking("X: \x1b"), handshake.ErrControl, 400},
		{"no colon", asking("X"), handshake.ErrFieldName, 400},
		{"two Hosts", asking("Host: server.example"), handshake.ErrHost, 400},
		{"two lengths", asking("Content-Length: 0", "Content-Length: 5") + "hello", handshake.ErrBody, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s := byAccept(t, new(Upgrader), c.request); !errors.Is(s.err, c.accept) || s.status != 400 {
				t.Errorf("Accept: %d, %v, want %v", s.status, s.err, c.accept)
			}
			if s := byHTTP(t, c.request); s.status != c.upgrade || s.sub != "" {
				t.Errorf("Upgrade: %d %q, want %d", s.status, s.body, c.upgrade)
			}
		})
	}
}

// byHTTP is byUpgrade for what may never reach the handler.
func byHTTP(t *testing.T, request string) (s served) {
	l, sub := newListener(t), make(chan string, 1)
	srv := &http.Server{ErrorLog: quiet(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := (&Upgrader{Subprotocols: []string{"b"}}).Upgrade(w, r); err == nil {
			sub <- c.Subprotocol()
			c.Close()
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, request)
	if s.answer(t, nc); s.status == 101 {
		s.sub = <-sub
	}
	return s
}

// F78, R49: what Upgrade allocates for a request is in proportion to what was received and bounded by its limits, also where
// net/http let a megabyte through. net/http's own memory is not counted.
func TestUpgradeMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops what it holds under the race detector")
	}
	packed := Upgrader{Config: Config{Deflate: new(deflate.Config)}, Subprotocols: []string{"a"}}
	wide := packed
	wide.Limits.Bytes = 2 << 20
	for name, lines := range map[string]string{
		"900 kB of offers":        "Sec-WebSocket-Extensions: x" + strings.Repeat(",x", 450_000),
		"900 kB of bad offers":    "Sec-WebSocket-Extensions: x" + strings.Repeat(",permessage-deflate;x", 45_000),
		"900 kB of parameters":    "Sec-WebSocket-Extensions: x" + strings.Repeat(";x", 450_000),
		"900 kB of subprotocols":  "Sec-WebSocket-Protocol: x" + strings.Repeat(",x", 450_000),
		"900 kB of lines":         strings.TrimSuffix(strings.Repeat("Sec-WebSocket-Extensions: x,x,x,x,x\r\n", 24_000), "\r\n"),
		"900 kB of other names":   strings.TrimSuffix(linesOf(1, 4000), "\r\n") + "\r\nX: " + strings.Repeat("x", 880_000),
		"16 KiB of offers":        "Sec-WebSocket-Extensions: x" + strings.Repeat(",x", 8000),
		"16 bad offers":           "Sec-WebSocket-Extensions: x" + strings.Repeat(",permessage-deflate;x", 15),
		"as much as can be taken": bytesOf(handshake.DefaultBytes),
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(asking(lines))))
		if err != nil {
			t.Fatal(name, err)
		}
		for _, u := range []*Upgrader{&packed, &wide} {
			most := 8<<10 + 2*min(len(asking(lines)), handshake.DefaultBytes)
			if u == &wide { // the copy that was asked for, and nothing else
				most = 8<<10 + 5*len(asking(lines))/4
			}
			// A recorder cannot be hijacked, so the last thing of all that the request is judged by is done, and no Conn is made.
			w := httptest.NewRecorder()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = u.Upgrade(w, r)
			runtime.ReadMemStats(&after)
			got := after.TotalAlloc - before.TotalAlloc
			t.Logf("%s, Limits.Bytes %d: %d bytes allocated, at most %d wanted", name, u.Limits.Bytes, got, most)
			if err == nil || got > uint64(most) {
				t.Errorf("%s: %d bytes allocated, at most %d wanted: %v", name, got, most, err)
			}
			var refused *handshake.Error
			if errors.As(err, &refused) == (name == "16 bad offers" || name == "as much as can be taken") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The same over a socket, net/http's memory included: 0.9 MiB of offers took 115 MiB.
func TestUpgradeMemoryOverASocket(t *testing.T) {
	request := asking("Sec-WebSocket-Extensions: x" + strings.Repeat(",x", 470_000))
	u := &Upgrader{Config: Config{Deflate: new(deflate.Config)}}
	byUpgrade(t, u, asking())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := byUpgrade(t, u, request)
	runtime.ReadMemStats(&after)
	if s.status != 431 || !errors.Is(s.err, handshake.ErrHeadTooLarge) {
		t.Errorf("%d, %v", s.status, s.err)
	}
	got := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes allocated for %d received", got, len(request))
	if got > uint64(12*len(request)) {
		t.Errorf("%d bytes allocated for %d received", got, len(request))
	}
}

// F83: an answer of a device that names both lists and chooses nothing is an ordinary connection; one that is wrong is none.
func TestF83AnswersThatChooseNothing(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  error
		sub   string
	}{
		{"Sec-WebSocket-Protocol:\r\nSec-WebSocket-Extensions:\r\n", nil, ""},
		{"Sec-WebSocket-Protocol: \t\r\nSec-WebSocket-Extensions: , ,\r\n", nil, ""},
		{"Sec-WebSocket-Protocol:\r\nSec-WebSocket-Protocol: a\r\n", nil, "a"},
		{"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n", handshake.ErrProtocol, ""},
		{"Sec-WebSocket-Protocol: ,\r\n", handshake.ErrProtocol, ""},
		{"Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n", deflate.ErrTwoAnswers, ""},
		{"Sec-WebSocket-Extensions: permessage-deflate" + strings.Repeat(";a", 33) + "\r\n", handshake.ErrTooManyParams, ""},
	} {
		for _, packed := range []*deflate.Config{nil, {}} {
			if packed == nil && strings.Contains(c.lines, "deflate") {
				continue
			}
			l := newListener(t)
			go func() {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if err != nil {
					return
				}
				io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
					string(handshake.AppendAccept(nil, r.Header.Get("Sec-WebSocket-Key")))+"\r\n"+c.lines+"\r\n\x81\x02hi")
				io.Copy(io.Discard, nc)
			}()
			c1, err := (&Dialer{Subprotocols: []string{"a"}, Config: Config{Deflate: packed}}).Dial(t.Context(), "ws://"+l.Addr().String())
			if (err == nil) != (c.want == nil) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%q: %v, want %v", c.lines, err, c.want)
			}
			if err != nil {
				continue
			}
			m, err := c1.ReadMessage()
			if _, agreed := c1.Compression(); err != nil || string(m.Data) != "hi" || c1.Subprotocol() != c.sub || agreed {
				t.Errorf("%q: %q, %v, subprotocol %q, compression %v", c.lines, m.Data, err, c1.Subprotocol(), agreed)
			}
			c1.Close()
		}
	}
}

// R60: over TLS that ends here, a page loaded without TLS is another origin.
func TestR60OriginOverTLS(t *testing.T) {
	certificate, roots := certify(t, nil, "server.example")
	for origin, ok := range map[string]bool{"https://server.example": true, "http://server.example": false} {
		w := &world{hosts: map[string]func(net.Conn){"server.example:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, echoing(Upgrader{}))}}
		c, err := (&Dialer{NetDial: w.dial, Origin: origin, TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "wss://server.example")
		if (err == nil) != ok {
			t.Errorf("%s: %v", origin, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

// R64: frames that come with the request are the first messages, however the bytes are cut, by both ways.
func TestR64FramesWithTheRequest(t *testing.T) {
	var frames []byte
	for _, m := range []string{"one", "two"} {
		frames = frame.AppendFrame(frames, frame.Header{Fin: true, Opcode: Text, Masked: true, Key: 0x01020304, Length: uint64(len(m))}, []byte(m))
	}
	all := asking() + string(frames)
	for cut := 0; cut <= len(all); cut++ {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			go func() {
				io.WriteString(a, all[:cut])
				synctest.Wait()
				io.WriteString(a, all[cut:])
				io.Copy(io.Discard, a)
			}()
			c, err := new(Upgrader).Accept(b)
			if err != nil {
				t.Fatal(cut, err)
			}
			for _, want := range []string{"one", "two"} {
				if m, err := c.ReadMessage(); err != nil || string(m.Data) != want {
					t.Fatalf("cut at %d: %q, %v", cut, m.Data, err)
				}
			}
			c.Close()
			a.Close()
		})
	}
	got := make(chan string, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for range 2 {
			m, err := c.ReadMessage()
			got <- fmt.Sprint(string(m.Data), err)
		}
	}))
	defer srv.Close()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, all)
	if one, two := <-got, <-got; one != "one<nil>" || two != "two<nil>" {
		t.Error(one, two)
	}
}

// Slow and silent clients are cut at the deadline (F40), also where the connection has no deadlines.
func TestR49SlowRequests(t *testing.T) {
	for name, c := range map[string]struct {
		timeout, want time.Duration
		hide          bool
	}{"default": {0, DefaultHandshakeTimeout, false}, "own": {3 * time.Second, 3 * time.Second, false}, "no deadlines": {3 * time.Second, 3 * time.Second, true}} {
		t.Run(name, func(t *testing.T) {
			for _, drip := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					a, b := netsim.Pipe(0)
					go func() {
						for i := 0; drip; i++ {
							if _, err := io.WriteString(a, asking()[i:i+1]); err != nil {
								return
							}
							time.Sleep(time.Second)
						}
					}()
					var nc net.Conn = b
					if c.hide {
						nc = withoutDeadlines{b}
					}
					start := time.Now()
					_, err := (&Upgrader{HandshakeTimeout: c.timeout}).Accept(nc)
					var e *UpgradeError
					if took := time.Since(start); took != c.want || !errors.As(err, &e) || e.Step != "read" || !c.hide && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%v after %v", err, took)
					}
					if !b.Closed() {
						t.Error("the connection is open")
					}
					a.Close()
					time.Sleep(2 * time.Second) // the client notices
				})
			}
		})
	}
}

type withoutDeadlines struct{ net.Conn }

func (withoutDeadlines) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// R66: the WebSocket outlives the time limits of the http.Server that it came through, which are gone from the socket.
func TestR66DeadlinesOfTheServerAreGone(t *testing.T) {
	const limit = 50 * time.Millisecond
	conns := make(chan *Conn, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		conns <- c
		echo(c)
	}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout, srv.Config.IdleTimeout = limit, limit, limit
	srv.Start()
	defer srv.Close()
	c, err := Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-conns
	time.Sleep(3 * limit) // real time: a socket's deadline knows no other
	roundTrip(t, c)
}

// What a handler or a middleware had buffered goes out before the answer is written; R66's write buffer.
func TestR66HijackKeepsWhatWasBuffered(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	w := &hijacker{ResponseRecorder: httptest.NewRecorder(), nc: b, rw: bufio.NewReadWriter(bufio.NewReader(b), bufio.NewWriter(b))}
	io.WriteString(w.rw, "HTTP/1.1 103 Early Hints\r\n\r\n")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {exampleKey}, "Sec-Websocket-Version": {"13"}}
	go func() {
		if c, err := Upgrade(w, r); err != nil {
			t.Error(err)
		} else {
			defer c.Close()
		}
	}()
	got, _ := io.ReadAll(a)
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 ")) {
		t.Errorf("%q", got)
	}
}

type hijacker struct {
	*httptest.ResponseRecorder
	nc  net.Conn
	rw  *bufio.ReadWriter
	err error
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.nc, h.rw, h.err }

// R67: no connection to take over: an answer, an error, no panic.
func TestR67WithoutHijacker(t *testing.T) {
	request := func() *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {exampleKey}, "Sec-Websocket-Version": {"13"}}
		return r
	}
	w := httptest.NewRecorder()
	_, err := Upgrade(w, request())
	var e *UpgradeError
	if !errors.As(err, &e) || e.Step != "hijack" || !errors.Is(err, http.ErrNotSupported) || w.Code != 500 || w.Body.Len() == 0 {
		t.Errorf("%v, %d %q", err, w.Code, w.Body)
	}
	boom := errors.New("boom")
	h := &hijacker{ResponseRecorder: httptest.NewRecorder(), err: boom}
	if _, err := Upgrade(h, request()); !errors.Is(err, boom) || h.Code != 500 {
		t.Errorf("%v, %d", err, h.Code)
	}
	if strings.Contains(h.Body.String(), "boom") {
		t.Error("the cause reached the client")
	}
}

func TestR67HTTP2(t *testing.T) {
	errs := make(chan error, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := Upgrade(w, r)
		errs <- err
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for _, header := range []http.Header{{}, {"Sec-Websocket-Key": {exampleKey}, "Sec-Websocket-Version": {"13"}}} {
		r, _ := http.NewRequest("GET", srv.URL, nil)
		r.Header = header
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if err := <-errs; res.ProtoMajor != 2 || res.StatusCode != 505 || !errors.Is(err, handshake.ErrRequestVersion) || len(body) == 0 {
			t.Errorf("%s %d %q, %v", res.Proto, res.StatusCode, body, err)
		}
	}
}

// R68 through net/http: what a middleware put into w.Header is checked like everything else, and told of a body only where there is one.
func TestR68HeaderOfTheHandler(t *testing.T) {
	for name, c := range map[string]struct {
		set    http.Header
		status int
	}{
		"cookies":       {http.Header{"Set-Cookie": {"a=b", "c=d"}, "X": {"y"}}, 101},
		"about a body":  {http.Header{"Content-Type": {"text/html"}, "Content-Length": {"5"}, "Content-Encoding": {"gzip"}}, 101},
		"connection":    {http.Header{"Connection": {"close"}}, 101},
		"bad value":     {http.Header{"X": {"a\r\nb: c"}}, 500},
		"the handshake": {http.Header{"Sec-WebSocket-Accept": {"x"}}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for n, v := range c.set {
					w.Header()[n] = v
				}
				if conn, err := Upgrade(w, r); err == nil {
					conn.Close()
				}
			}))
			srv.Config.ErrorLog = quiet(t)
			srv.Start()
			defer srv.Close()
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, asking())
			var s served
			s.answer(t, nc)
			if s.status != c.status {
				t.Fatalf("%d %q", s.status, s.head)
			}
			if s.status == 101 {
				if s.head.Get("Content-Type")+s.head.Get("Content-Length")+s.head.Get("Content-Encoding") != "" || s.head.Get("Connection") != "Upgrade" {
					t.Errorf("%q", s.head)
				}
				if name == "cookies" && len(s.head["Set-Cookie"]) != 2 {
					t.Errorf("%q", s.head)
				}
			}
		})
	}
}

// A client that gives up, at each byte of its request.
func TestF6EndAtEachByteOfARequest(t *testing.T) {
	all := asking()
	for n := range all {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			io.WriteString(a, all[:n])
			a.Close()
			_, err := new(Upgrader).Accept(b)
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF // a look whether somebody listens
			}
			if !errors.Is(err, want) || !b.Closed() {
				t.Errorf("%d bytes: %v", n, err)
			}
		})
	}
}

// The k-th read or write of an accept fails, for each k and several ways to fail.
func TestFailTheNthIOOfAnAccept(t *testing.T) {
	boom := errors.New("boom")
	for _, request := range []string{asking(), without(asking(), "Upgrade")} {
		for how, fault := range map[string]netsim.Step{
			"error":                    {Err: boom},
			"some bytes and the error": {Max: 1, Err: boom},
			"end":                      {Err: io.EOF},
			"a short write":            {Max: 1, Short: true},
			"one byte":                 {Max: 1},
			"nothing":                  {Max: -1},
		} {
			for k := 1; ; k++ {
				reached := false
				synctest.Test(t, func(t *testing.T) {
					a, b := netsim.Pipe(0)
					b.Script(func(_ netsim.Op, call, _ int) netsim.Step {
						if call == k {
							reached = true
							return fault
						}
						return netsim.Step{Max: 40}
					})
					io.WriteString(a, request)
					a.CloseWrite()
					c, err := (&Upgrader{Config: Config{KeepAlive: -1}}).Accept(b)
					if (c == nil) == (err == nil) {
						t.Errorf("call %d, %s: %v, %v", k, how, c, err)
					}
					if c != nil {
						c.Close()
					}
					if !b.Closed() {
						t.Errorf("call %d, %s: open after %v", k, how, err)
					}
					a.Close()
				})
				if !reached {
					break
				}
			}
		}
	}
}

// A refusal reaches the client though bytes of its request were never read.
func TestRefusalIsNotLostToAReset(t *testing.T) {
	l := newListener(t)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go new(Upgrader).Accept(nc)
		}
	}()
	for range 20 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, asking("X: "+strings.Repeat("a", 100_000)))
		var s served
		s.answer(t, nc)
		if s.status != 431 {
			t.Errorf("%d", s.status)
		}
		nc.Close()
	}
}

// scripted is a connection whose reads give a request and whose writes go nowhere.
type scripted struct {
	net.Conn
	request []byte
	at      int
}

func (s *scripted) Read(p []byte) (int, error) {
	n := copy(p, s.request[s.at:])
	if s.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// Accept allocates nothing but the Conn, which is one object: what New allocates, and no more. Its clocks have a timer, and a socket has a few more.
func TestAcceptAllocatesNothingBesideTheConn(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops what it holds under the race detector")
	}
	cfg := Config{KeepAlive: -1}
	u := &Upgrader{Subprotocols: []string{"v2", "v1"}, Origins: []string{"https://app.example"}, Config: cfg}
	nc := &scripted{request: []byte(asking("Origin: https://app.example", "Sec-WebSocket-Protocol: v1, v2", "Cookie: a=b; c=d",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))}
	made := testing.AllocsPerRun(2000, func() { New(nc, frame.Server, &cfg).Close() })
	accepted := testing.AllocsPerRun(2000, func() {
		nc.at = 0
		c, err := u.Accept(nc)
		if err != nil || c.Subprotocol() != "v2" {
			t.Fatal(err)
		}
		c.Close()
	})
	t.Logf("New and Close: %v allocations; Accept and Close: %v", made, accepted)
	if accepted > made || accepted > 1 {
		t.Errorf("Accept makes %v allocations, New %v", accepted, made)
	}
}

func BenchmarkAccept(b *testing.B) {
	nc := &scripted{request: []byte(asking("Origin: http://server.example", "Sec-WebSocket-Protocol: v1, v2",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"))}
	u := &Upgrader{Subprotocols: []string{"v2"}, Config: Config{KeepAlive: -1}}
	b.ReportAllocs()
	for b.Loop() {
		nc.at = 0
		c, err := u.Accept(nc)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkAcceptLoopback is whole handshakes over sockets, client and server in this process.
func BenchmarkAcceptLoopback(b *testing.B) {
	l := newListener(b)
	var u Upgrader
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if c, err := u.Accept(nc); err == nil {
					c.ReadMessage()
					c.Close()
				}
			}()
		}
	}()
	ask, answer := []byte(asking()), make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		nc, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		nc.Write(ask)
		if _, err := io.ReadAtLeast(nc, answer, 129); err != nil {
			b.Fatal(err)
		}
		nc.Close()
	}
}
