package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// A header is a flag "Name: value" that may be given several times. parse reports a
// malformed one: package flag would quote it, and it may contain a password.
type header struct {
	fields http.Header
	bad    bool
}

func (h *header) String() string { return "" }

func (h *header) Set(s string) error {
	name, value, _ := strings.Cut(s, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if name == "" || value == "" {
		h.bad = true
		return nil
	}
	h.fields.Add(name, value)
	return nil
}

// wayFlags say how to reach a server.
type wayFlags struct {
	insecure            *bool
	ca, cert, key       *string
	serverName, version *string
	proxy               *string
	timeout             *time.Duration
}

// addWayFlags registers the flags. about begins each usage text.
func addWayFlags(flags *flag.FlagSet, about string) *wayFlags {
	return &wayFlags{
		insecure:   flags.Bool("insecure", false, about+"do not verify the server's certificate"),
		ca:         flags.String("ca", "", about+"a PEM `file` with the roots to trust, instead of the system's"),
		cert:       flags.String("cert", "", about+"a PEM `file` with the certificate to show to a server that asks for one, and its chain"),
		key:        flags.String("key", "", about+"the PEM `file` with the key of -cert; without it the key is in that file"),
		serverName: flags.String("sni", "", about+"the `name` that TLS asks for, and that the certificate must be for, instead of the URL's"),
		version:    flags.String("tls-min", "", about+"the oldest `version` of TLS to take: 1.0, 1.1, 1.2 or 1.3 (default 1.2)"),
		proxy: flags.String("proxy", "", about+"the `URL` of a proxy, http, https, socks5 or socks5h; none means none; without it HTTP_PROXY, HTTPS_PROXY and "+
			"NO_PROXY of the environment hold"),
		timeout: flags.Duration("timeout", conn.DefaultHandshakeTimeout, about+"how long opening a connection may take"),
	}
}

// given reports whether one of the flags is set.
func (w *wayFlags) given() bool {
	return *w.insecure || *w.ca+*w.cert+*w.key+*w.serverName+*w.version+*w.proxy != "" || *w.timeout != conn.DefaultHandshakeTimeout
}

var tlsVersions = map[string]uint16{"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// config returns the TLS configuration from the flags.
func (w *wayFlags) config() (*tls.Config, error) {
	config, err := clientTLS(*w.ca, *w.insecure)
	if err != nil {
		return nil, err
	}
	version, ok := tlsVersions[*w.version]
	if !ok {
		return nil, cli.BadUsage("-tls-min must be 1.0, 1.1, 1.2 or 1.3, not %q", *w.version)
	}
	config.MinVersion, config.ServerName = version, *w.serverName
	switch {
	case *w.cert == "" && *w.key != "":
		return nil, cli.BadUsage("-key goes with -cert")
	case *w.cert != "":
		key := *w.key
		if key == "" {
			key = *w.cert
		}
		c, err := tls.LoadX509KeyPair(*w.cert, key)
		if err != nil {
			return nil, cli.BadUsage("-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{c}
	}
	return config, nil
}

// apply configures d as the flags say.
func (w *wayFlags) apply(d *conn.Dialer) (err error) {
	if d.TLSConfig, err = w.config(); err != nil {
		return err
	}
	if *w.timeout <= 0 {
		return cli.BadUsage("-timeout must be positive, not %v", *w.timeout)
	}
	d.HandshakeTimeout = *w.timeout
	d.Proxy, err = proxyOf(*w.proxy)
	return err
}

var errProxy = errors.New("want the URL of a proxy, as http://host:port, or none")

// proxyOf returns the proxy function for -proxy.
func proxyOf(flag string) (func(*http.Request) (*url.URL, error), error) {
	switch flag {
	case "":
		return http.ProxyFromEnvironment, nil
	case "none":
		return nil, nil
	}
	u, err := url.Parse(flag)
	if err == nil && u.Host != "" {
		switch u.Scheme {
		case "http", "https", "socks5", "socks5h":
			return http.ProxyURL(u), nil
		}
	}
	return nil, cli.BadUsage("-proxy: %w", errProxy) // err may contain a password
}

// clientTLS returns the configuration for -ca and -insecure. If SSLKEYLOGFILE names a
// file, secrets are logged to it for debuggers of TLS.
func clientTLS(ca string, insecure bool) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: insecure}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, cli.BadUsage("-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, cli.BadUsage("-ca: there is no certificate in %s", ca)
		}
	}
	if name := os.Getenv("SSLKEYLOGFILE"); name != "" {
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, cli.BadUsage("SSLKEYLOGFILE: %w", err)
		}
		config.KeyLogWriter = file // open until the process ends
	}
	return config, nil
}

// clientFlags are the flags of commands that connect to a server.
type clientFlags struct {
	texts, subprotocols list
	headers             header
	compress            *bool
	origin, host        *string
	limit               *int
	way                 *wayFlags
}

func addClientFlags(flags *flag.FlagSet) *clientFlags {
	c := &clientFlags{headers: header{fields: http.Header{}}, way: addWayFlags(flags, "")}
	flags.Var(&c.texts, "text", "a text message to send first, on each connection; may be given several times")
	flags.Var(&c.subprotocols, "subprotocol", "a subprotocol to offer; may be given several times")
	flags.Var(&c.headers, "header", "a `Name: value` for the request; may be given several times")
	c.origin = flags.String("origin", "", "the `origin` to name, as a browser would")
	c.host = flags.String("host", "", "the `Host` to name, instead of the URL's")
	c.compress = flags.Bool("deflate", false, "offer permessage-deflate")
	c.limit = flags.Int("n", 0, "stop after this many messages; 0 means never")
	return c
}

// dialer returns a Dialer for url, configured by the flags.
func (c *clientFlags) dialer(url string) (*conn.Dialer, error) {
	if *c.limit < 0 {
		return nil, cli.BadUsage("-n must not be negative, not %d", *c.limit)
	}
	if err := checkURL(url); err != nil {
		return nil, err
	}
	d := &conn.Dialer{Subprotocols: c.subprotocols, Header: c.headers.fields, Origin: *c.origin, Host: *c.host}
	if err := c.way.apply(d); err != nil {
		return nil, err
	}
	if *c.compress {
		d.Config.Deflate = new(deflate.Config)
	}
	return d, nil
}

// sendTexts sends each text as a message.
func sendTexts(c *conn.Conn, texts []string) error {
	for _, text := range texts {
		if err := c.WriteMessage(frame.Text, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}
