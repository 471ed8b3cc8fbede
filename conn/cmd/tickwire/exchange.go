package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
)

// urlLine begins the line that a server prints when it listens.
const urlLine = "url "

// runExchange serves the feed until Ctrl-C. With -leash it serves until its standard
// input ends.
func runExchange(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("exchange")
	addr := flags.String("addr", "127.0.0.1:0", "host:port to listen on; port 0 means any")
	secure := flags.Bool("tls", false, "over TLS, with a self-made certificate; its root is printed after the URL")
	records := flags.String("records", "", recordsUsage)
	compress := flags.Bool("deflate", false, "accept permessage-deflate, RFC 7692")
	leash := flags.Bool("leash", false, "end when standard input ends, not on Ctrl-C")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	if *leash {
		// Ctrl-C reaches every process of the terminal. The consumer must first do its
		// close handshakes with this process. Then it closes the leash.
		signal.Ignore(os.Interrupt)
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		go func() {
			io.Copy(io.Discard, std.in)
			cancel()
		}()
	}
	if err := checkRecords(*records, *secure); err != nil {
		return err
	}
	l, err := listen(std, *addr, *secure, "/feed", *records == recordPerMessage)
	if err != nil {
		return err
	}
	if !*leash {
		how, url := "", "ws://"
		if *secure {
			how, url = "-insecure ", "wss://"
		}
		if _, err := fmt.Fprintf(std.out, "to subscribe, send {\"op\":\"subscribe\",\"rate\":5}: tickwire tail %s-text '{\"op\":\"subscribe\",\"rate\":5}' %s%s/feed\n", how, url, l.Addr()); err != nil {
			l.Close()
			return err
		}
	}
	s := exchange.Server{Log: func(format string, args ...any) {
		fmt.Fprintf(std.err, "tickwire exchange: "+format+"\n", args...)
	}}
	if *compress {
		s.Upgrader.Config.Deflate = &deflate.Config{Level: 1} // only the consumer is measured
	}
	return s.Serve(ctx, l)
}

// The values of -records.
const (
	recordPerMessage = "per-message"
	largeRecords     = "large"
	recordsUsage     = "with -tls: what a TLS record holds, per-message (as most exchanges send) or large (default: large)"
)

// checkRecords returns an error for a wrong value of -records.
func checkRecords(records string, secure bool) error {
	switch {
	case records == "":
	case records != recordPerMessage && records != largeRecords:
		return cli.BadUsage("-records must be %s or %s, not %q", recordPerMessage, largeRecords, records)
	case !secure:
		return cli.BadUsage("-records goes with -tls")
	}
	return nil
}

// listen opens a listener and prints the URL that it serves. With TLS it also prints the
// PEM text of the root of its certificate.
func listen(std *streams, addr string, secure bool, path string, eachARecord bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, cli.BadUsage("-addr: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	if !secure {
		if _, err := fmt.Fprintf(std.out, "%sws://%s%s\n", urlLine, l.Addr(), path); err != nil {
			l.Close()
			return nil, err // nobody would know the address
		}
		return l, nil
	}
	if host == "" {
		host = "localhost"
	}
	config, root, err := exchange.SelfMade(host, "localhost", "127.0.0.1", "::1")
	if err != nil {
		l.Close()
		return nil, err
	}
	if _, err := fmt.Fprintf(std.out, "%swss://%s%s\n%s", urlLine, l.Addr(), path, root); err != nil {
		l.Close()
		return nil, err
	}
	if eachARecord {
		return exchange.RecordPerMessage(l, config), nil
	}
	return tls.NewListener(conn.UnderTLS(l, nil), config), nil
}
