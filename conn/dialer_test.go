package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

func TestR37InternationalNames(t *testing.T) {
	for in, want := range map[string]string{
		"ws://bücher.example/":        "xn--bcher-kva.example:80",
		"wss://BÜCHER.example:8443/":  "xn--bcher-kva.example:8443",
		"ws://xn--bcher-kva.example/": "xn--bcher-kva.example:80",
		"ws://例え.テスト/x":               "xn--r8jz45g.xn--zckzah:80",
		"ws://faß.example/":           "xn--fa-hia.example:80",
		"ws://bu\u0308cher.example/":  "xn--bcher-kva.example:80", // decomposed
		"ws://\uff45xample.com/":      "example.com:80",           // full width
		"ws://exam\u00adple.com/":     "example.com:80",           // soft hyphen
		"ws://b\u00fccher。example/":   "xn--bcher-kva.example:80", // ideographic full stop
		"ws://\ufffd.example/":        "",
		"ws://a\xff.example/":         "",
		"ws://ex\u2025mple/":          "",
		"ws://\u2024/":                "",
		"ws://x\uff0fy.example/":      "", // a slash, once mapped
		"ws://x\uff20y.example/":      "", // an at sign
	} {
		u, err := parseURL(in)
		if want == "" {
			if !errors.Is(err, handshake.ErrURL) {
				t.Errorf("%q: %+v, %v, want it refused", in, u, err)
			}
			continue
		}
		if err != nil || u.Address() != want {
			t.Errorf("%q: %+v, %v, want %s", in, u, err, want)
		}
	}
}

// R38 and what a caller adds, as it goes over the wire.
func TestR38RequestOfADialer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []*http.Request
		w := &world{hosts: map[string]func(net.Conn){"example.com:8080": func(nc net.Conn) {
			r, _ := request(nc)
			got = append(got, r)
			io.WriteString(nc, switching(r, "Set-Cookie: s=1; Path=/", "Sec-WebSocket-Protocol: b"))
		}}}
		n := 0
		d := &Dialer{NetDial: w.dial, Subprotocols: []string{"a", "b"}, Origin: "https://o", Header: http.Header{"X-Static": {"1"}, "Cookie": {"mine=2"}},
			HeaderFunc: func(_ context.Context, u *handshake.URL) (http.Header, error) {
				n++
				return http.Header{"X-Token": {fmt.Sprint(u.Target, n)}}, nil
			}, Jar: newJar()}
		for range 2 {
			c, err := d.Dial(t.Context(), "ws://us%40er:p%3Aw@Example.com:8080/a%20b?c=d")
			if err != nil {
				t.Fatal(err)
			}
			if c.Subprotocol() != "b" {
				t.Errorf("%q", c.Subprotocol())
			}
			c.Close()
		}
		for i, r := range got {
			cookie := "mine=2"
			if i == 1 {
				cookie = "mine=2; s=1"
			}
			user, password, _ := r.BasicAuth()
			if r.RequestURI != "/a%20b?c=d" || r.Host != "example.com:8080" || user != "us@er" || password != "p:w" ||
				r.Header.Get("Origin") != "https://o" || r.Header.Get("X-Static") != "1" || r.Header.Get("Sec-WebSocket-Protocol") != "a, b" ||
				r.Header.Get("X-Token") != fmt.Sprint("/a%20b?c=d", i+1) || strings.Join(r.Header["Cookie"], "|") != cookie {
				t.Errorf("%d: %s %s %q", i, r.RequestURI, r.Host, r.Header)
			}
		}
		if got[0].Header.Get("Sec-WebSocket-Key") == got[1].Header.Get("Sec-WebSocket-Key") {
			t.Error("the key was used twice")
		}
		if len(d.Header) != 2 || len(d.Header["Cookie"]) != 1 {
			t.Errorf("the Dialer's header was changed: %q", d.Header)
		}
		w.wantClosed(t)
	})
}

func TestDialerHostAndOwnAuthorization(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hosts: map[string]func(net.Conn){"10.0.0.1:80": func(nc net.Conn) {
			r, _ := request(nc)
			if r.Host != "virtual.example" || r.Header.Get("Authorization") != "Bearer t" {
				t.Errorf("%q %q", r.Host, r.Header)
			}
			io.WriteString(nc, switching(r))
		}}}
		d := &Dialer{NetDial: w.dial, Host: "virtual.example", Header: http.Header{"authorization": {"Bearer t"}}}
		c, err := d.Dial(t.Context(), "ws://u:p@10.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// V21: what cannot be sent is found before anything is dialed.
func TestV21NothingIsDialedForABadRequest(t *testing.T) {
	boom := errors.New("no token")
	for name, c := range map[string]struct {
		url  string
		d    Dialer
		want error
	}{
		"scheme":         {"http://h/", Dialer{}, handshake.ErrURL},
		"fragment":       {"ws://h/#x", Dialer{}, handshake.ErrURL},
		"line end":       {"ws://h/\r\nX: y", Dialer{}, handshake.ErrURL},
		"header value":   {"ws://h/", Dialer{Header: http.Header{"X": {"a\r\nY: b"}}}, handshake.ErrValue},
		"header name":    {"ws://h/", Dialer{Header: http.Header{"X\r\nY": {"b"}}}, handshake.ErrValue},
		"by function":    {"ws://h/", Dialer{HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) { return http.Header{"X": {"\x00"}}, nil }}, handshake.ErrValue},
		"function fails": {"ws://h/", Dialer{HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) { return nil, boom }}, boom},
		"subprotocol":    {"ws://h/", Dialer{Subprotocols: []string{"a\r\nb"}}, handshake.ErrValue},
		"host":           {"ws://h/", Dialer{Host: "h\r\nX: y"}, handshake.ErrValue},
		"origin":         {"ws://h/", Dialer{Origin: "o\n"}, handshake.ErrValue},
		"extensions":     {"ws://h/", Dialer{Header: http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate"}}}, handshake.ErrReserved},
		"key":            {"ws://h/", Dialer{Header: http.Header{"Sec-WebSocket-Key": {"x"}}}, handshake.ErrReserved},
		"compression":    {"ws://h/", Dialer{Config: Config{Deflate: &deflate.Config{Level: 77}}}, (&deflate.Config{Level: 77}).Check()},
	} {
		w := &world{}
		c.d.NetDial = w.dial
		if _, err := c.d.Dial(t.Context(), c.url); !errors.Is(err, c.want) || len(w.dialed) != 0 {
			t.Errorf("%s: %v, dialed %q", name, err, w.dialed)
		}
	}
}

func TestR40RefusalCarriesTheBody(t *testing.T) {
	long := strings.Repeat("b", 10_000)
	for _, c := range []struct {
		name, answer string
		most         int
		status       int
		body         string
		waits        bool
	}{
		{"length", status(403, "Content-Length: 4") + "bodyXX", 0, 403, "body", false},
		{"length 0", status(403, "Content-Length: 0"), 0, 403, "", false},
		{"length, cut at the limit", status(500, "Content-Length: 10000") + long, 0, 500, long[:DefaultMaxBody], false},
		{"own limit", status(500, "Content-Length: 10000") + long, 100, 500, long[:100], false},
		{"none wanted", status(500, "Content-Length: 4") + "body", -1, 500, "", false},
		{"chunked", status(401, "Transfer-Encoding: chunked") + "4\r\nbody\r\n5;x\r\n more\r\n0\r\n\r\n", 0, 401, "body more", false},
		{"chunked, broken", status(401, "Transfer-Encoding: chunked") + "4\r\nbodyzz", 0, 401, "body", false},
		{"204", status(204) + "x", 0, 204, "", false},
		{"length that is none", status(403, "Content-Length: -1") + "body", 0, 403, "", false},
		{"until the end, which does not come", status(200) + "body", 0, 200, "body", true},
		{"length that does not come", status(502, "Content-Length: 100") + "body", 0, 502, "body", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{hosts: map[string]func(net.Conn){"h:80": answering(c.answer)}}
				start := time.Now()
				_, err := (&Dialer{NetDial: w.dial, MaxBody: c.most}).Dial(t.Context(), "ws://h")
				wantDialError(t, err, "handshake")
				e := refusal(t, err)
				if !errors.Is(err, handshake.ErrStatus) || e.Status != c.status || string(e.Body) != c.body {
					t.Errorf("%d %q, want %q: %v", e.Status, e.Body, c.body, err)
				}
				if took := time.Since(start); took != 0 && !c.waits || took > bodyWait {
					t.Errorf("took %v", took)
				}
				synctest.Wait()
				w.wantClosed(t)
			})
		})
	}
}

func TestR40StatusesReachTheCaller(t *testing.T) {
	for _, code := range []int{200, 204, 301, 302, 303, 307, 308, 400, 401, 403, 407, 426, 429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": answering(status(code, "Retry-After: 9", "Location: /else", "Content-Length: 0"))}}
			_, err := (&Dialer{NetDial: w.dial}).Dial(t.Context(), "ws://h")
			e := refusal(t, err)
			wait, _ := e.RetryAfter(time.Now())
			if e.Status != code || wait != 9*time.Second || len(w.dialed) != 1 {
				t.Errorf("%d: %v, wait %v, dialed %q", code, err, wait, w.dialed)
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}

func TestR41R42R45R46R47AnswersThroughADialer(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*http.Request) string
		want   error
	}{
		"interim answers":       {func(r *http.Request) string { return strings.Repeat(status(103, "Link: </x>"), 10) + switching(r) }, nil},
		"endless interim":       {func(r *http.Request) string { return strings.Repeat(status(100), 100) + switching(r) }, handshake.ErrInterim},
		"HTTP/1.0":              {func(r *http.Request) string { return "HTTP/1.0" + switching(r)[8:] }, handshake.ErrResponseVersion},
		"wrong accept":          {func(r *http.Request) string { r.Header.Set("Sec-WebSocket-Key", "x"); return switching(r) }, handshake.ErrAccept},
		"unoffered extension":   {func(r *http.Request) string { return switching(r, "Sec-WebSocket-Extensions: permessage-deflate") }, handshake.ErrExtension},
		"unoffered protocol":    {func(r *http.Request) string { return switching(r, "Sec-WebSocket-Protocol: c") }, handshake.ErrProtocol},
		"two protocols":         {func(r *http.Request) string { return switching(r, "Sec-WebSocket-Protocol: a, b") }, handshake.ErrProtocol},
		"endless header":        {func(r *http.Request) string { return status(101, strings.Repeat("X: y\r\n", 200)) }, handshake.ErrTooManyLines},
		"endless line":          {func(r *http.Request) string { return "HTTP/1.1 101 " + strings.Repeat("x", 20_000) }, handshake.ErrHeadTooLarge},
		"folded":                {func(r *http.Request) string { return switching(r, "X: a", " b") }, handshake.ErrFolded},
		"TLS alert":             {func(r *http.Request) string { return "\x15\x03\x01\x00\x02\x02\x46" }, handshake.ErrControl},
		"end without answer":    {func(r *http.Request) string { return "" }, io.ErrUnexpectedEOF},
		"end within the head":   {func(r *http.Request) string { return switching(r)[:40] }, io.ErrUnexpectedEOF},
		"length of a 101 (R51)": {func(r *http.Request) string { return switching(r, "Content-Length: 5") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
					r, _ := request(nc)
					io.WriteString(nc, c.answer(r))
				}}}
				conn, err := (&Dialer{NetDial: w.dial, Subprotocols: []string{"a", "b"}}).Dial(t.Context(), "ws://h")
				if conn != nil {
					conn.Close()
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				synctest.Wait()
				w.wantClosed(t)
			})
		})
	}
}

// R70: what is wrong about compression is a refused handshake like any other.
func TestR70AnswersAboutCompressionThroughADialer(t *testing.T) {
	for params, want := range map[string]error{
		"; chocolate":                 deflate.ErrUnknownParam,
		"; server_max_window_bits=08": deflate.ErrParamValue,
		"; server_max_window_bits=15": deflate.ErrWindowTooLarge,
		"; server_max_window_bits=9, permessage-deflate; server_max_window_bits=9": deflate.ErrTwoAnswers,
		"; client_no_context_takeover":                                             deflate.ErrNotHonoured, // the server's own window was to be bounded
		"; client_max_window_bits=9; a=b; a=b":                                     deflate.ErrUnknownParam,
		"; server_max_window_bits=9; client_max_window_bits":                       deflate.ErrParamValue,
		"; server_max_window_bits=9; x=\"a, b\"":                                   nil, // no list of extensions
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
				r, _ := request(nc)
				io.WriteString(nc, switching(r, "X-Session: 7", "Sec-WebSocket-Extensions: permessage-deflate"+params))
			}}}
			d := &Dialer{NetDial: w.dial, Config: Config{Deflate: &deflate.Config{ServerMaxWindowBits: 10}}}
			_, err := d.Dial(t.Context(), "ws://h")
			var refused *handshake.Error
			wantDialError(t, err, "handshake")
			if !errors.As(err, &refused) || refused.Status != 101 || refused.Header.Get("X-Session") != "7" || refused.Section == "" {
				t.Errorf("%s: %v is no *handshake.Error with the answer", params, err)
			}
			if want != nil && !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", params, err, want)
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
	d := &Dialer{Config: Config{Deflate: &deflate.Config{ServerMaxWindowBits: 99}}, NetDial: new(world).dial}
	if _, err := d.Dial(t.Context(), "ws://h"); !errors.Is(err, handshake.ErrValue) {
		t.Errorf("%v for a Config that cannot be offered", err)
	}
}

// Frames that come with the answer, however it is cut, are messages.
func TestR48FramesWithTheAnswer(t *testing.T) {
	messages := []string{"one", "two", strings.Repeat("three", 300)}
	var frames []byte
	for _, m := range messages {
		frames = frame.AppendFrame(frames, frame.Header{Fin: true, Opcode: Text, Length: uint64(len(m))}, []byte(m))
	}
	run := func(name string, write func(nc net.Conn, answer string)) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
				r, _ := request(nc)
				write(nc, switching(r)+string(frames))
				io.Copy(io.Discard, nc)
			}}}
			c, err := (&Dialer{NetDial: w.dial}).Dial(t.Context(), "ws://h")
			if err != nil {
				t.Fatal(name, err)
			}
			defer c.Close()
			for _, want := range messages {
				if m, err := c.ReadMessage(); err != nil || string(m.Data) != want {
					t.Fatalf("%s: %q, %v", name, m.Data, err)
				}
			}
		})
	}
	run("in one write", func(nc net.Conn, answer string) { io.WriteString(nc, answer) })
	for cut := 1; cut < 300; cut++ {
		run(fmt.Sprint("cut at ", cut), func(nc net.Conn, answer string) {
			io.WriteString(nc, answer[:cut])
			synctest.Wait()
			io.WriteString(nc, answer[cut:])
		})
	}
	run("byte by byte", func(nc net.Conn, answer string) {
		for i := range len(answer) {
			io.WriteString(nc, answer[i:i+1])
			synctest.Wait()
		}
	})
}

// The time limit is on the whole, wherever the time goes.
func TestR49HandshakeTimeout(t *testing.T) {
	silent := func(nc net.Conn) { io.Copy(io.Discard, nc) }
	proxy := func(s string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) { return url.Parse(s) }
	}
	for name, c := range map[string]struct {
		d    Dialer
		url  string
		host func(net.Conn)
		step string
	}{
		"connect": {Dialer{NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, "ws://h", nil, "connect"},
		"proxy":     {Dialer{Proxy: proxy("http://p:80")}, "ws://h", silent, "proxy"},
		"TLS proxy": {Dialer{Proxy: proxy("https://p:80")}, "ws://h", silent, "proxy"},
		"SOCKS":     {Dialer{Proxy: proxy("socks5://p:80")}, "ws://h", silent, "proxy"},
		"TLS":       {Dialer{}, "wss://h:80", silent, "TLS"},
		"own TLS": {Dialer{WrapTLS: func(_ context.Context, nc net.Conn, _ TLSHost) (net.Conn, error) {
			return nc, tls.Client(nc, &tls.Config{ServerName: "h"}).Handshake()
		}}, "wss://h:80", silent, "TLS"},
		"no answer": {Dialer{}, "ws://h", silent, "handshake"},
		"a byte a second": {Dialer{}, "ws://h", func(nc net.Conn) {
			r, _ := request(nc)
			for _, b := range []byte(switching(r)) {
				if _, err := nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, "handshake"},
		"a redirect every second": {Dialer{MaxRedirects: 1000}, "ws://h", func(nc net.Conn) {
			time.Sleep(time.Second)
			answering(status(302, "Location: /", "Content-Length: 0"))(nc)
		}, "handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{hosts: map[string]func(net.Conn){"h:80": c.host, "p:80": c.host}}
				if c.d.NetDial == nil {
					c.d.NetDial = w.dial
				}
				start := time.Now()
				_, err := c.d.Dial(t.Context(), c.url)
				e := wantDialError(t, err, c.step)
				if took := time.Since(start); took != DefaultHandshakeTimeout || !e.Timeout() || e.Temporary() ||
					!errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10s") {
					t.Errorf("%v after %v", err, took)
				}
				// A shorter one, and a context's, count in the same way.
				short := c.d
				short.HandshakeTimeout = 3 * time.Second
				start = time.Now()
				if _, err := short.Dial(t.Context(), c.url); time.Since(start) != short.HandshakeTimeout {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				none := c.d
				none.HandshakeTimeout = -1
				ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("enough"))
				defer cancel()
				start = time.Now()
				if _, err := none.Dial(ctx, c.url); time.Since(start) != 20*time.Second || !strings.Contains(err.Error(), "enough") {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				time.Sleep(time.Minute) // hosts notice
				w.wantClosed(t)
			})
		})
	}
}

// A context that ends at the k-th read or write of a dial, for each k: Dial returns at once with its cause, the connection is
// closed, and no goroutine is left (synctest would tell).
func TestR55CancelAtEachStep(t *testing.T) {
	for name, s := range dialScenes(t) {
		t.Run(name, func(t *testing.T) {
			for k := 1; ; k++ {
				reached := false
				synctest.Test(t, func(t *testing.T) {
					w, d, target := s(t)
					ctx, cancel := context.WithCancel(t.Context())
					w.script = func(_ netsim.Op, call, _ int) netsim.Step {
						if call == k {
							reached = true
							cancel()
							return netsim.Step{Block: true}
						}
						return netsim.Step{}
					}
					start := time.Now()
					c, err := d.Dial(ctx, target)
					if !reached {
						cancel()
						if err != nil {
							t.Errorf("not canceled: %v", err)
							return
						}
						c.Close()
					} else if !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
						t.Errorf("canceled at %d: %v after %v", k, err, time.Since(start))
					}
					synctest.Wait()
					w.wantClosed(t)
				})
				if !reached {
					if k < 3 {
						t.Errorf("only %d steps", k)
					}
					return
				}
			}
		})
	}
}

// The k-th read or write fails, for each k and several ways to fail: one error, nothing left open.
func TestFailTheNthIOOfADial(t *testing.T) {
	boom := errors.New("boom")
	for name, s := range dialScenes(t) {
		for how, fault := range map[string]netsim.Step{
			"error":                    {Err: boom},
			"some bytes and the error": {Max: 1, Err: boom},
			"end":                      {Err: io.EOF},
			"bytes and the end":        {Max: 1 << 20, Err: io.EOF},
			"a short write":            {Max: 1, Short: true},
			"one byte":                 {Max: 1},
			"nothing":                  {Max: -1},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				for k := 1; ; k++ {
					reached := false
					synctest.Test(t, func(t *testing.T) {
						w, d, target := s(t)
						d.Config.KeepAlive = -1
						w.script = func(_ netsim.Op, call, _ int) netsim.Step {
							if call == k {
								reached = true
								return fault
							}
							return netsim.Step{}
						}
						c, err := d.Dial(t.Context(), target)
						if err == nil {
							c.Close()
						} else if !reached {
							t.Errorf("nothing failed, and yet %v", err)
						} else if e := (*DialError)(nil); !errors.As(err, &e) {
							t.Errorf("call %d: %T %v", k, err, err)
						} else if how == "one byte" && !(fault.Max == 1 && strings.Contains(err.Error(), "short write")) {
							t.Errorf("call %d: %v", k, err)
						}
						synctest.Wait()
						w.wantClosed(t)
					})
					if !reached {
						return
					}
				}
			})
		}
	}
}

// dialScenes are whole dials through hosts in memory, each with every step that there is.
func dialScenes(t *testing.T) map[string]func(*testing.T) (*world, *Dialer, string) {
	proxied := func(s string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) { return url.Parse(s) }
	}
	return map[string]func(*testing.T) (*world, *Dialer, string){
		"plain": func(*testing.T) (*world, *Dialer, string) {
			w := &world{hosts: map[string]func(net.Conn){"h:80": echoing(Upgrader{})}}
			return w, &Dialer{NetDial: w.dial}, "ws://h/"
		},
		"TLS": func(t *testing.T) (*world, *Dialer, string) {
			certificate, roots := certify(t, nil, "h")
			w := &world{hosts: map[string]func(net.Conn){"h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, echoing(Upgrader{}))}}
			return w, &Dialer{NetDial: w.dial, TLSConfig: &tls.Config{RootCAs: roots}}, "wss://h/"
		},
		"redirect": func(*testing.T) (*world, *Dialer, string) {
			w := &world{hosts: map[string]func(net.Conn){"g:80": answering(status(307, "Location: ws://h/", "Content-Length: 0")), "h:80": echoing(Upgrader{})}}
			return w, &Dialer{NetDial: w.dial, MaxRedirects: 1}, "ws://g/"
		},
		"CONNECT": func(*testing.T) (*world, *Dialer, string) {
			w := &world{}
			w.hosts = map[string]func(net.Conn){"p:8080": connectProxy(w, ""), "h:80": echoing(Upgrader{})}
			return w, &Dialer{NetDial: w.dial, Proxy: proxied("http://p:8080")}, "ws://h/"
		},
		"SOCKS5": func(*testing.T) (*world, *Dialer, string) {
			w := &world{}
			w.hosts = map[string]func(net.Conn){"p:1080": socksProxy(w, "u", "p"), "h:80": echoing(Upgrader{})}
			return w, &Dialer{NetDial: w.dial, Proxy: proxied("socks5://u:p@p")}, "ws://h/"
		},
	}
}

// A context that ends with the success (F31): a connection or an error, never both, and nothing left open.
func TestR55CancelWithTheSuccess(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
				r, _ := request(nc)
				go cancel()
				io.WriteString(nc, switching(r))
			}}}
			c, err := (&Dialer{NetDial: w.dial}).Dial(ctx, "ws://h")
			if (c == nil) == (err == nil) {
				t.Fatal(c, err)
			}
			if c != nil {
				synctest.Wait()
				if c.Err() != nil {
					t.Errorf("the context ended the connection: %v", c.Err())
				}
				c.Close()
			}
			synctest.Wait()
			w.wantClosed(t)
		})
	}
}

func TestR52V23Certificates(t *testing.T) {
	good, goodRoots := certify(t, nil, "h", "127.0.0.1")
	other, otherRoots := certify(t, nil, "other")
	expired, expiredRoots := certify(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "h")
	early, earlyRoots := certify(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "h")
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	for _, c := range []struct {
		what        string
		certificate tls.Certificate
		client      *tls.Config
		url         string
		as          any
	}{
		{"good", good, &tls.Config{RootCAs: goodRoots}, "wss://h", nil},
		{"another case", good, &tls.Config{RootCAs: goodRoots}, "wss://H", nil},
		{"trailing dot", good, &tls.Config{RootCAs: goodRoots}, "wss://h.", nil},
		{"address", good, &tls.Config{RootCAs: goodRoots}, "wss://127.0.0.1", nil},
		{"name overridden", other, &tls.Config{RootCAs: otherRoots, ServerName: "other"}, "wss://h", nil},
		{"not checked", other, &tls.Config{InsecureSkipVerify: true}, "wss://h", nil},
		{"own protocols", good, &tls.Config{RootCAs: goodRoots, NextProtos: []string{"h2", "http/1.1"}}, "wss://h", nil},
		{"wrong name", other, &tls.Config{RootCAs: otherRoots}, "wss://h", &name},
		{"wrong address", good, &tls.Config{RootCAs: goodRoots}, "wss://127.0.0.2", &name},
		{"overridden, wrong", good, &tls.Config{RootCAs: goodRoots, ServerName: "other"}, "wss://h", &name},
		{"self-signed", good, nil, "wss://h", &unknown},
		{"another root", good, &tls.Config{RootCAs: otherRoots}, "wss://h", &unknown},
		{"expired", expired, &tls.Config{RootCAs: expiredRoots}, "wss://h", &invalid},
		{"not yet valid", early, &tls.Config{RootCAs: earlyRoots}, "wss://h", &invalid},
	} {
		t.Run(c.what, func(t *testing.T) {
			host := overTLS(&tls.Config{Certificates: []tls.Certificate{c.certificate}, NextProtos: []string{"h2", "http/1.1"}}, func(nc net.Conn) {
				s := nc.(*tls.Conn).ConnectionState()
				if s.NegotiatedProtocol != "http/1.1" {
					t.Errorf("ALPN chose %q", s.NegotiatedProtocol)
				}
				if want := strings.Trim(strings.TrimPrefix(c.url, "wss://"), "."); c.client.ServerName == "" && s.ServerName != strings.ToLower(want) && net.ParseIP(want) == nil {
					t.Errorf("SNI %q", s.ServerName)
				}
				echoing(Upgrader{})(nc)
			})
			w := &world{hosts: map[string]func(net.Conn){"h:443": host, "h.:443": host, "127.0.0.1:443": host, "127.0.0.2:443": host}}
			conn, err := (&Dialer{NetDial: w.dial, TLSConfig: c.client}).Dial(t.Context(), c.url)
			if c.as == nil {
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, conn)
				conn.Close()
			} else if wantDialError(t, err, "TLS"); !errors.As(err, c.as) {
				t.Errorf("%v is no %T", err, c.as)
			}
			w.wantClosed(t)
		})
	}
}

// A server that does not speak http/1.1 is an error of TLS: nothing else is offered, so nothing else can be chosen.
func TestR52ServerWithoutHTTP11(t *testing.T) {
	certificate, roots := certify(t, nil, "h")
	for protocol, works := range map[string]bool{"x": false, "h2": true} { // crypto/tls goes on without a protocol if it has only h2
		server := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{protocol}}
		w := &world{hosts: map[string]func(net.Conn){"h:443": overTLS(server, echoing(Upgrader{}))}}
		c, err := (&Dialer{NetDial: w.dial, TLSConfig: &tls.Config{RootCAs: roots, NextProtos: []string{protocol}}}).Dial(t.Context(), "wss://h")
		if !works {
			wantDialError(t, err, "TLS")
		} else if err != nil {
			t.Error(err)
		} else {
			if p := c.NetConn().(*tls.Conn).ConnectionState().NegotiatedProtocol; p != "" {
				t.Errorf("a WebSocket over %s", p)
			}
			c.Close()
		}
		w.wantClosed(t)
	}
}

func TestR52WrapTLS(t *testing.T) {
	certificate, roots := certify(t, nil, "h")
	w := &world{hosts: map[string]func(net.Conn){"h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, echoing(Upgrader{}))}}
	d := &Dialer{NetDial: w.dial, WrapTLS: func(ctx context.Context, nc net.Conn, host TLSHost) (net.Conn, error) {
		c := tls.Client(nc, &tls.Config{RootCAs: roots, ServerName: host.ServerName})
		return c, c.HandshakeContext(ctx)
	}}
	c, err := d.Dial(t.Context(), "wss://h")
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	c.Close()
	boom := errors.New("boom")
	d.WrapTLS = func(context.Context, net.Conn, TLSHost) (net.Conn, error) { return nil, boom }
	_, err = d.Dial(t.Context(), "wss://h")
	if wantDialError(t, err, "TLS"); !errors.Is(err, boom) {
		t.Error(err)
	}
	w.wantClosed(t)
}

func TestDialerOnResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
			r, _ := request(nc)
			io.WriteString(nc, switching(r, "X-Session: 7"))
		}}}
		boom := errors.New("not this one")
		d := &Dialer{NetDial: w.dial, OnResponse: func(r *handshake.Response) error {
			if r.Status == 101 && r.Header.Get("X-Session") == "7" {
				return boom
			}
			return nil
		}}
		if _, err := d.Dial(t.Context(), "ws://h"); !errors.Is(err, boom) {
			t.Error(err)
		}
		synctest.Wait()
		w.wantClosed(t)
	})
}

// A hook that returns nothing at all is an error, and one that panics leaves no connection behind.
func TestDialerHooksThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hosts: map[string]func(net.Conn){"h:80": echoing(Upgrader{}), "h:443": echoing(Upgrader{})}}
		nothing := &Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}
		_, err := nothing.Dial(t.Context(), "ws://h")
		wantDialError(t, err, "connect")
		nothing.NetDial = w.dial
		nothing.WrapTLS = func(context.Context, net.Conn, TLSHost) (net.Conn, error) { return nil, nil }
		_, err = nothing.Dial(t.Context(), "wss://h")
		wantDialError(t, err, "TLS")

		func() {
			defer func() {
				if recover() != "kaboom" {
					t.Error("the panic was lost")
				}
			}()
			panicking := &Dialer{NetDial: w.dial, OnResponse: func(*handshake.Response) error { panic("kaboom") }}
			panicking.Dial(t.Context(), "ws://h")
		}()
		w.wantClosed(t)
	})
}

func TestDialerTellsATrace(t *testing.T) {
	certificate, roots := certify(t, nil, "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if nc, err := l.Accept(); err == nil {
			overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, echoing(Upgrader{}))(nc)
		}
	}()
	var heard []string
	hear := func(s string) { heard = append(heard, s) }
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		ConnectDone:          func(_, _ string, err error) { hear("connected") },
		TLSHandshakeStart:    func() { hear("TLS") },
		TLSHandshakeDone:     func(s tls.ConnectionState, err error) { hear(fmt.Sprint("secure ", s.HandshakeComplete, err)) },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { hear(fmt.Sprint("asked ", i.Err)) },
		GotFirstResponseByte: func() { hear("answer") },
	})
	c, err := (&Dialer{TLSConfig: &tls.Config{RootCAs: roots}}).Dial(ctx, "wss://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := strings.Join(heard, ", "); got != "connected, TLS, secure true <nil>, asked <nil>, answer" {
		t.Error(got)
	}
}

// F49: the first of a name's addresses is dead. net.Dialer tries the next; here it is enough that one error tells the step.
func TestDialNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, err = Dial(t.Context(), "ws://user:secret@"+address+"/x")
	e := wantDialError(t, err, "connect")
	if e.URL != "ws://"+address+"/x" || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func BenchmarkDial(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		var u Upgrader
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
	target := "ws://" + l.Addr().String()
	b.ReportAllocs()
	for b.Loop() {
		c, err := Dial(context.Background(), target)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
