package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// echo returns every message until the connection ends.
func echo(c *Conn) error {
	defer c.Close()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if err := c.WriteMessage(m.Opcode, m.Data); err != nil {
			return err
		}
	}
}

func TestEcho(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	for _, tt := range []struct {
		name   string
		secure bool
		accept bool // by Upgrader.Accept; otherwise by net/http
	}{{"http", false, false}, {"https", true, false}, {"accept", false, true}, {"accept TLS", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			ended := make(chan error, 1)
			var url string
			if tt.accept {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				url = "ws://" + l.Addr().String()
				go func() {
					nc, err := l.Accept()
					if err == nil && tt.secure {
						nc = tls.Server(nc, serverTLS)
					}
					u := Upgrader{Subprotocols: []string{"v2", "v1"}}
					c, err := u.Accept(nc)
					if err == nil {
						err = echo(c)
					}
					ended <- err
				}()
			} else {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					u := Upgrader{Subprotocols: []string{"v2", "v1"}}
					c, err := u.Upgrade(w, r)
					if err == nil {
						err = echo(c)
					}
					ended <- err
				}))
				s.TLS = serverTLS.Clone()
				if tt.secure {
					s.StartTLS()
				} else {
					s.Start()
				}
				defer s.Close()
				url = "ws://" + s.Listener.Addr().String()
			}
			if tt.secure {
				url = strings.Replace(url, "ws:", "wss:", 1)
			}
			d := Dialer{TLSConfig: clientTLS, Subprotocols: []string{"v1"}}
			c, err := d.Dial(t.Context(), url+"/feed?x=1")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Subprotocol() != "v1" {
				t.Errorf("subprotocol %q", c.Subprotocol())
			}
			testEcho(t, c)
			if err := c.Shutdown(t.Context(), frame.CodeNormal, "done"); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			var closed *CloseError
			if err := <-ended; !errors.As(err, &closed) || closed.Code != frame.CodeNormal || closed.Reason != "done" || closed.SentCode != frame.CodeNormal || closed.Local {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

func testEcho(t *testing.T, c *Conn) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 126, 200, 4096, 65535, 65536, 1 << 20} {
		for _, op := range []Opcode{Text, Binary} {
			want := bytes.Repeat([]byte("x"), size)
			if err := c.WriteMessage(op, want); err != nil {
				t.Fatal(err)
			}
			m, err := c.ReadMessage()
			if err != nil || m.Opcode != op || !bytes.Equal(m.Data, want) {
				t.Fatalf("%v of %d bytes came back as %v of %d, %v", op, size, m.Opcode, len(m.Data), err)
			}
		}
	}
	for i := range 3 {
		if err := c.AppendMessage(Text, []byte{'a' + byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if m, err := c.ReadMessage(); err != nil || string(m.Data) != string(rune('a'+i)) {
			t.Fatalf("message %d: %q, %v", i, m.Data, err)
		}
	}
	pinged := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Ping(ctx)
		_ = c.WriteMessage(Text, []byte("after"))
		pinged <- err
	}()
	if m, err := c.ReadMessage(); err != nil || string(m.Data) != "after" {
		t.Fatalf("%q, %v", m.Data, err)
	}
	if err := <-pinged; err != nil {
		t.Errorf("Ping: %v", err)
	}
}
