package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

type userKey struct{}

// A RequestHandler sees the same request whichever way it came, over TLS too, and can go
// on reading it when ServeHTTP has returned and its own context has ended.
func TestServerRequestHandler(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		for _, way := range []string{"Serve", "ServeHTTP", "HTTPHandler"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				type seen struct {
					r     *http.Request
					value any
				}
				got, ended := make(chan seen, 1), make(chan context.Context, 1)
				handler := func(c *Conn, r *http.Request) {
					err := echo(c)
					if r.Context().Err() != nil {
						t.Error("the context has ended while the handler runs:", r.Context().Err())
					}
					if CloseCode(err) != frame.CodeGoingAway {
						t.Error(err)
					}
					got <- seen{r, c.Value()}
					ended <- r.Context()
				}
				s := &Server{Handler: func(*Conn) { t.Error("Handler was called") }, RequestHandler: handler}
				s.Upgrader.Check = func(v *handshake.RequestView) (http.Header, error) {
					v.SetValue("user " + string(v.Header("X-User")))
					return nil, nil
				}
				returned := make(chan struct{})
				var address string
				if way == "Serve" {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					address = l.Addr().String()
					if secure {
						l = tls.NewListener(l, serverTLS)
					}
					go s.Serve(l)
					close(returned)
				} else {
					h := http.Handler(s)
					if way == "HTTPHandler" {
						h = s.HTTPHandler(handler)
						s.RequestHandler = nil
					}
					srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "from a middleware")))
						close(returned)
					}))
					srv.TLS = serverTLS.Clone()
					if secure {
						srv.StartTLS()
					} else {
						srv.Start()
					}
					defer srv.Close()
					address = srv.Listener.Addr().String()
				}
				scheme := map[bool]string{false: "ws", true: "wss"}[secure]
				d := &Dialer{TLSConfig: clientTLS, Header: http.Header{"X-User": {"ann"}, "X-Two": {"a", "b"}}}
				c, err := d.Dial(t.Context(), scheme+"://"+address+"/feed%2Fx/y?a=1&b=%20")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				local := c.LocalAddr().String()
				<-returned
				roundTrip(t, c)
				go c.ReadMessage()
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				g := <-got
				r := g.r
				if r.Method != "GET" || r.Host != address || r.URL.Path != "/feed/x/y" || r.URL.EscapedPath() != "/feed%2Fx/y" || r.FormValue("b") != " " ||
					r.RequestURI != "/feed%2Fx/y?a=1&b=%20" || r.Header.Get("X-User") != "ann" || strings.Join(r.Header["X-Two"], "|") != "a|b" ||
					r.Header.Get("Host") != "" || r.Header.Get("Sec-Websocket-Version") != "13" || r.RemoteAddr != local || (r.TLS != nil) != secure ||
					r.ProtoMajor != 1 || r.ProtoMinor != 1 {
					t.Errorf("%+v", r)
				}
				if secure && !r.TLS.HandshakeComplete {
					t.Error("of a handshake that is not done")
				}
				if a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); a == nil || a.String() != address {
					t.Errorf("the local address is %v", a)
				}
				if v := r.Context().Value(userKey{}); (v == "from a middleware") != (way != "Serve") {
					t.Errorf("the context has %v", v)
				}
				if g.value != "user ann" {
					t.Errorf("the value is %v", g.value)
				}
				if ctx := <-ended; ctx.Err() != context.Canceled {
					t.Error("the handler has returned, and its context has not ended")
				}
				if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
					t.Errorf("a body: %d, %v", n, err)
				}
			})
		}
	}
}

// A target that net/url cannot parse is refused where a request is made of it, and
// nowhere else; nothing is left counted.
func TestServerRequestHandlerRefuses(t *testing.T) {
	for _, c := range []struct {
		target string
		uri    string // what the handler sees, "" if it sees none
	}{
		{"/%zz", ""}, {"/a%", ""}, {"/a", "/a"}, {"http://server.example", "/"}, {"ws://server.example?x=y", "/?x=y"}, {"//host/a", "//host/a"}, {"/a?%zz", "/a?%zz"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLobby()
			got := make(chan string, 1)
			failed := make(chan error, 1)
			s := &Server{RequestHandler: func(c *Conn, r *http.Request) { got <- r.RequestURI }, OnError: func(err error) { failed <- err }}
			go s.Serve(l)
			a, b := netsim.Pipe(0)
			l.conns <- net.Conn(b)
			io.WriteString(a, strings.Replace(asking(), "/feed?x", c.target, 1))
			head := make([]byte, 12)
			if _, err := io.ReadFull(a, head); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, a)
			time.Sleep(DefaultCloseTimeout + refusalLinger)
			if want := map[bool]string{true: "HTTP/1.1 400", false: "HTTP/1.1 101"}[c.uri == ""]; string(head) != want {
				t.Errorf("%s: %s, want %s", c.target, head, want)
			}
			if c.uri == "" {
				if err := <-failed; !errors.Is(err, handshake.ErrTarget) {
					t.Error(err)
				}
			} else if uri := <-got; uri != c.uri {
				t.Errorf("%s: %s, want %s", c.target, uri, c.uri)
			}
			a.Close()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	l := newLobby()
	s := &Server{Handler: func(c *Conn) { echo(c) }}
	go s.Serve(l)
	defer s.Close()
	a, b := netsim.Pipe(0)
	l.conns <- net.Conn(b)
	defer a.Close()
	io.WriteString(a, strings.Replace(asking(), "/feed?x", "/%zz", 1))
	head := make([]byte, 12)
	if _, err := io.ReadFull(a, head); err != nil || string(head) != "HTTP/1.1 101" {
		t.Errorf("%s, %v", head, err)
	}
}

// A panic of a RequestHandler ends its connection, is reported, and leaves nothing for
// Shutdown to wait for.
func TestServerRequestHandlerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		reports := make(chan error, 1)
		var ctx context.Context
		s := &Server{OnError: func(err error) { reports <- err }, RequestHandler: func(_ *Conn, r *http.Request) { ctx = r.Context(); panic("boom") }}
		go s.Serve(l)
		c, err := (&Dialer{NetDial: l.dial}).Dial(t.Context(), "ws://h")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadMessage(); err == nil {
			t.Error("the connection lives")
		}
		if err := <-reports; !strings.Contains(err.Error(), "boom") {
			t.Error(err)
		}
		if err := s.Shutdown(t.Context()); err != nil || s.Len() != 0 || ctx.Err() == nil {
			t.Error(err, s.Len(), ctx.Err())
		}
	})
}

// What Check attaches to one request is not seen by the next, which is parsed in the same
// memory; nor does a refused one leave it.
func TestValueIsOfOneRequest(t *testing.T) {
	u := &Upgrader{Config: Config{KeepAlive: -1}}
	for i, want := range []any{"first", nil, 7, nil} {
		u.Check = func(v *handshake.RequestView) (http.Header, error) {
			if v.Value() != nil {
				t.Errorf("request %d begins with %v", i, v.Value())
			}
			if want != nil {
				v.SetValue(want)
			}
			if i == 2 {
				return nil, errors.New("refused")
			}
			return nil, nil
		}
		c, err := u.Accept(&scripted{request: []byte(asking())})
		if (err != nil) != (i == 2) {
			t.Fatal(err)
		}
		if err == nil {
			if c.Value() != want {
				t.Errorf("connection %d has %v", i, c.Value())
			}
			c.Close()
		}
	}
	if c := New(&scripted{}, frame.Client, nil); c.Value() != nil {
		t.Error(c.Value())
	}
}
