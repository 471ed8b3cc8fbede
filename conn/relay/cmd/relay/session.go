package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// lineFlags say how WebSocket servers are reached: those of a feed, or gateways.
type lineFlags struct {
	urls, headers *list
	ca            *string
	insecure      *bool
}

func addLineFlags(f *flag.FlagSet, urls, ca string) *lineFlags {
	return &lineFlags{
		urls:     listFlag(f, "url", urls),
		headers:  listFlag(f, "header", "a `Name: value` for the request"),
		ca:       f.String(ca, "", "a PEM `file` with the roots to trust for wss URLs, instead of the system's"),
		insecure: f.Bool("insecure", false, "do not verify the certificates of wss URLs"),
	}
}

// dialer returns what the flags ask for. Proxies are those of the environment.
func (l *lineFlags) dialer() (*conn.Dialer, error) {
	if len(*l.urls) == 0 {
		return nil, cli.BadUsage("-url is missing")
	}
	for _, raw := range *l.urls {
		if _, err := handshake.ParseURL(raw); err != nil {
			return nil, cli.BadUsage("-url: %w", err)
		}
	}
	d := &conn.Dialer{Header: http.Header{}, Proxy: http.ProxyFromEnvironment, TLSConfig: &tls.Config{InsecureSkipVerify: *l.insecure}}
	for _, h := range *l.headers {
		name, value, _ := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if name == "" || value == "" {
			return nil, cli.BadUsage("-header: want Name: value, in one argument")
		}
		d.Header.Add(name, value)
	}
	if *l.ca != "" {
		text, err := os.ReadFile(*l.ca)
		if err != nil {
			return nil, &cli.UsageError{Err: err}
		}
		d.TLSConfig.RootCAs = x509.NewCertPool()
		if !d.TLSConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, cli.BadUsage("there is no certificate in %s", *l.ca)
		}
	}
	return d, nil
}

// sendTexts returns an OnConnect that sends each text as a message.
func sendTexts(texts []string) func(context.Context, *redial.Session) error {
	return func(_ context.Context, s *redial.Session) error {
		for _, text := range texts {
			if err := s.Conn.WriteMessage(frame.Text, []byte(text)); err != nil {
				return err
			}
		}
		return nil
	}
}

// printChange prints what becomes of a connection: a line for each session, and why it
// ended. name comes before each line.
func printChange(w io.Writer, name string) func(redial.Change) {
	return func(ch redial.Change) {
		switch ch.State {
		case redial.Up:
			fmt.Fprintf(w, "%ssession %d: connected to %s, attempt %d\n", name, ch.Epoch, public(ch.URL), ch.Attempt)
		case redial.Failed:
			fmt.Fprintf(w, "%sattempt %d: %s\n", name, ch.Attempt, cli.OneLine(ch.Err))
		case redial.Down:
			by := "the " + ch.By.String()
			if ch.By == redial.ByUs {
				by = "this side"
			}
			fmt.Fprintf(w, "%ssession %d: ended by %s after %v and %d messages: %s\n",
				name, ch.Epoch, by, ch.Age.Round(time.Millisecond), ch.Messages, cli.OneLine(ch.Err))
		case redial.Waiting:
			fmt.Fprintf(w, "%snext attempt in %v\n", name, ch.Delay.Round(time.Millisecond))
		}
	}
}

// public returns a URL without its userinfo.
func public(raw string) string {
	u, err := handshake.ParseURL(raw)
	if err != nil || u.User == nil {
		return raw
	}
	return u.String()
}

// A judge decides what is dialed again. With one URL it is strict until there is a
// session: the URL may be mistyped, or the token wrong, and a command that tries for ever
// hides that.
type judge struct {
	alwaysRetries bool
	connected     atomic.Bool
}

func (j *judge) classify(err error) redial.Decision {
	if j.alwaysRetries || j.connected.Load() {
		return redial.Persistent.Classify(err)
	}
	if errors.Is(err, relay.ErrSubprotocol) {
		return redial.Decision{}
	}
	return redial.Strict.Classify(err)
}

// hear is a redial.Client's OnChange: it tells next.
func (j *judge) hear(next func(redial.Change)) func(redial.Change) {
	return func(ch redial.Change) {
		if ch.State == redial.Up {
			j.connected.Store(true)
		}
		next(ch)
	}
}

// lineEnd turns the end of a run over connections into that of a command.
func lineEnd(ctx context.Context, err error, connections uint64) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	case connections == 0:
		return &cli.UsageError{Err: err}
	}
	return err
}
