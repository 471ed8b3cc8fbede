package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// runGateway serves streams until Ctrl-C.
func runGateway(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("gateway")
	e := addEngineFlags(flags, defaultServers, "")
	listen := flags.String("listen", "127.0.0.1:8080", "`host:port` to listen on; port 0 is any")
	names := listFlag(flags, "stream", "the `name` of a stream to serve")
	cert := flags.String("tls-cert", "", "serve wss and https with the certificate of this PEM `file`")
	key := flags.String("tls-key", "", "the PEM `file` with the key of -tls-cert")
	token := flags.String("token", "", "let only clients in that send this `token` as Authorization: Bearer; better in the environment, as "+tokenVariable)
	noStatus := flags.Bool("no-status", false, "no status page at /")
	clients := flags.Int("max-clients", relay.DefaultMaxClients, "how many clients may be connected")
	leash := flags.Bool("leash", false, "end when standard input ends, not on Ctrl-C")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	switch {
	case len(*names) == 0:
		return cli.BadUsage("-stream is missing")
	case (*cert == "") != (*key == ""):
		return cli.BadUsage("-tls-cert and -tls-key go together")
	}
	var config *tls.Config
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return cli.BadUsage("-tls-cert: %w", err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	if *leash {
		ctx, _, _ = onLeash(ctx, std.in)
	}
	nc, err := e.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	g := &relay.Gateway{
		Conn: nc, Streams: *names, NoStatus: *noStatus, MaxClients: *clients,
		OnError: func(err error) {
			fmt.Fprintf(std.err, "%s %s\n", time.Now().Format("15:04:05.000"), cli.OneLine(err))
		},
	}
	if *token == "" {
		*token = os.Getenv(tokenVariable)
	}
	if *token != "" {
		g.Authorize = bearer(*token)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return cli.BadUsage("-listen: %w", err)
	}
	return serveGateway(ctx, std, g, l, config)
}

// serveGateway serves until ctx ends and every client was told.
func serveGateway(ctx context.Context, std *streams, g *relay.Gateway, l net.Listener, config *tls.Config) error {
	scheme := "ws"
	if config != nil {
		scheme, l = "wss", tls.NewListener(conn.UnderTLS(l, nil), config)
	}
	server := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	go func() { cancel(server.Serve(l)) }()
	defer server.Close()
	if _, err := fmt.Fprintf(std.out, "%s%s://%s/\n", urlLine, scheme, l.Addr()); err != nil {
		cancel(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// bearer returns an Authorize that grants every stream to a client with the token.
func bearer(token string) func(*http.Request) (relay.Grant, error) {
	return func(r *http.Request) (relay.Grant, error) {
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
			header := http.Header{"Www-Authenticate": {"Bearer"}}
			return relay.Grant{}, &handshake.Error{Status: http.StatusUnauthorized, Header: header}
		}
		return relay.Grant{Streams: []string{"*"}}, nil
	}
}
