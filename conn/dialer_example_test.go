package conn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A server whose certificate comes from a root of one's own: the root is trusted, and names and dates are checked as ever.
func ExampleDialer_privateRoot() {
	pem, err := os.ReadFile("root.pem")
	if err != nil {
		log.Print(err)
		return
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Print("no certificate in root.pem")
		return
	}
	d := &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}
	c, err := d.Dial(context.Background(), "wss://feed.internal/v1")
	if err != nil {
		log.Print(err)
		return
	}
	defer c.Close()
}

// Without any check, for an experiment on one's own machine: whoever is in between can be the server.
func ExampleDialer_insecure() {
	d := &conn.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	c, err := d.Dial(context.Background(), "wss://localhost:8443/")
	if err != nil {
		log.Print(err)
		return
	}
	defer c.Close()
}

// What a refused handshake tells: the status, the header, how long to wait, and what the server said.
func ExampleDialer_refused() {
	d := &conn.Dialer{HandshakeTimeout: 3 * time.Second, Proxy: http.ProxyFromEnvironment}
	_, err := d.Dial(context.Background(), "wss://feed.example/v1")
	var refused *handshake.Error
	switch {
	case errors.Is(err, conn.ErrProxy):
		log.Print("the proxy: ", err)
	case errors.As(err, &refused) && refused.Status != 0:
		wait, _ := refused.RetryAfter(time.Now())
		log.Printf("status %d, again in %v: %s", refused.Status, wait, refused.Body)
	case err != nil:
		log.Print(err)
	}
}

// A server without net/http that takes pages of one more origin, wants a token, and says goodbye to everybody at the end.
func ExampleServer() {
	s := &conn.Server{
		Upgrader: conn.Upgrader{
			Origins: []string{"https://app.example"},
			Check: func(r *handshake.RequestView) (http.Header, error) {
				if string(r.Header("Authorization")) != "Bearer secret" {
					return nil, &handshake.Error{Status: http.StatusUnauthorized, Rule: "a token is wanted",
						Header: http.Header{"Www-Authenticate": {"Bearer"}}}
				}
				return nil, nil
			},
		},
		Handler: func(c *conn.Conn) {
			for m, err := range c.Messages() {
				if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
					return
				}
			}
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go s.Serve(l)

	_, err = conn.Dial(context.Background(), "ws://"+l.Addr().String())
	fmt.Println(errors.Is(err, &handshake.Error{Rule: handshake.ErrStatus.Rule}))
	d := &conn.Dialer{Header: http.Header{"Authorization": {"Bearer secret"}}}
	c, err := d.Dial(context.Background(), "ws://"+l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	c.WriteMessage(conn.Text, []byte("hello"))
	m, _ := c.ReadMessage()
	fmt.Println(string(m.Data))

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := c.ReadMessage()
		ended <- err
	}()
	fmt.Println(s.Shutdown(ctx))
	fmt.Println(conn.CloseCode(<-ended))
	// Output:
	// true
	// hello
	// <nil>
	// 1001 (going away)
}
