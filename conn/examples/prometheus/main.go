// Prometheus passes a feed on to its own clients, and measures both sides.
//
// A redial.Client reads the feed, and a conn.Group sends it to the clients. /metrics has
// connections, messages and bytes, round trips, who ended what, and how much waits for
// slow clients. A message costs nothing more for it. The folder of package prom has a
// dashboard for Grafana.
//
//	prometheus -url wss://feed.example/stream -addr 127.0.0.1:9100
//
// Then the feed is at ws://127.0.0.1:9100/feed, and the metrics at /metrics.
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/prom"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of its root certificate in PEM, if the system does not know it")
	request := flag.String("text", `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}`, "what to send first")
	addr := flag.String("addr", "127.0.0.1:9100", "`address` to listen on")
	flag.Parse()
	if err := run(*url, *ca, *request, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(url, ca, request, addr string) error {
	dialer, err := newDialer(ca)
	if err != nil {
		return err
	}
	dialer.Config.Timestamps = true // measures how late messages are read, if the system supports it
	client := &redial.Client{
		URL:    url,
		Dialer: dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			return s.Conn.WriteMessage(conn.Text, []byte(request))
		},
		OnChange: redial.LogChanges(slog.Default()),
	}
	viewers := &conn.Group{}
	server := &conn.Server{}
	mux, err := measured(client, viewers, server)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() {
		served <- web.Serve(listener)
		stop() // without it nobody sees the feed
	}()
	slog.Info("listening", "url", "ws://"+listener.Addr().String()+"/feed")
	slog.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")

	err = client.Run(ctx, func(_ context.Context, m redial.Message) error {
		return viewers.WriteMessage(m.Opcode, m.Data)
	})
	if ctx.Err() != nil {
		err = nil
	}
	web.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, server.Shutdown(context.Background()))
}

// measured returns the handlers: the feed for viewers, and the metrics of everything.
// Call it before the client runs.
func measured(client *redial.Client, viewers *conn.Group, server *conn.Server) (http.Handler, error) {
	var set metrics.Set
	conns, err := set.Conns("viewers")
	if err = errors.Join(err, set.Client("feed", client), set.Group("viewers", viewers)); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(prom.New(&set)); err != nil {
		return nil, err
	}
	server.Upgrader.Config.Observer = conns.Observer(nil)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/feed", server.HTTPHandler(func(c *conn.Conn, _ *http.Request) {
		defer conns.Add(c)()
		if viewers.Add(c) != nil {
			return
		}
		defer viewers.Remove(c)
		for range c.Messages() { // answers pings, and notices the end
		}
	}))
	return mux, nil
}

// newDialer returns a Dialer that trusts the root certificates in a file, or the system's
// if there is no file.
func newDialer(ca string) (*conn.Dialer, error) {
	if ca == "" {
		return &conn.Dialer{}, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}, nil
}
