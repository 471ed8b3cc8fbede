// Mutualtls is a server and a client that both have a certificate.
//
// The server accepts only clients with a certificate from its own root, and knows them by
// the name in it. With UnderTLS its connections read their sockets in large pieces.
//
//	mutualtls -serve -addr 127.0.0.1:8443 -cert server.pem -key server.key -ca root.pem
//	mutualtls -url wss://127.0.0.1:8443/ -cert client.pem -key client.key -ca root.pem
//
// The client prints the server's message and closes the connection.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func main() {
	serving := flag.Bool("serve", false, "be the server")
	addr := flag.String("addr", "127.0.0.1:8443", "`address` to listen on, of the server")
	url := flag.String("url", "", "`URL` of the server, of the client")
	cert := flag.String("cert", "", "`file` of one's own certificate in PEM; a client may have none")
	key := flag.String("key", "", "`file` of its key")
	ca := flag.String("ca", "", "`file` of the root certificate that the other side's comes from")
	flag.Parse()
	roots, err := readRoots(*ca)
	if err == nil && *serving {
		err = serve(*addr, *cert, *key, roots)
	} else if err == nil {
		err = dial(*url, *cert, *key, roots)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(addr, cert, key string, roots *x509.CertPool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &conn.Server{RequestHandler: greet, OnError: func(err error) { slog.Warn("refused", "error", err) }}
	secure := tls.NewListener(conn.UnderTLS(listener, &server.Upgrader.Config), &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
	})
	context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	slog.Info("listening", "url", "wss://"+listener.Addr().String()+"/")
	if err := server.Serve(secure); !errors.Is(err, conn.ErrServerClosed) {
		return err
	}
	return server.Shutdown(context.Background()) // waits for the Shutdown in progress
}

// greet tells a client its name, and echoes its messages.
func greet(c *conn.Conn, r *http.Request) {
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	if c.WriteMessage(conn.Text, fmt.Appendf(nil, "hello %s", name)) != nil {
		return
	}
	for m, err := range c.Messages() {
		if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
			return
		}
	}
}

func dial(url, cert, key string, roots *x509.CertPool) error {
	config := &tls.Config{RootCAs: roots}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{own}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d := &conn.Dialer{TLSConfig: config}
	c, err := d.Dial(ctx, url)
	if err != nil {
		return err // the server's refusal of a certificate is reported here
	}
	defer c.Close()
	m, err := c.ReadMessage()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", m.Data)
	return c.Shutdown(ctx, frame.CodeNormal, "")
}

func readRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return roots, nil
}
