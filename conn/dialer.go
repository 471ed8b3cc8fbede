package conn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// DefaultHandshakeTimeout bounds an opening handshake for which no other limit is set.
const DefaultHandshakeTimeout = 10 * time.Second

// Dialer opens connections as a client. The zero value is ready; a Dialer may be used by many goroutines.
type Dialer struct {
	// TLSConfig is used for wss; nil means the zero Config. ServerName is filled in from the URL if it is empty.
	TLSConfig *tls.Config
	// Subprotocols are offered, the preferred one first.
	Subprotocols []string
	// Header is sent with the request.
	Header http.Header
	// HandshakeTimeout bounds all of Dial, beside its context; 0 means DefaultHandshakeTimeout, negative none.
	HandshakeTimeout time.Duration
	// Config is the connection's.
	Config Config
}

// Dial opens a connection with the zero Dialer.
func Dial(ctx context.Context, url string) (*Conn, error) { return new(Dialer).Dial(ctx, url) }

// Dial opens a connection to a ws or wss URL. ctx bounds the opening only.
func (d *Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	timeout := d.HandshakeTimeout
	if timeout == 0 {
		timeout = DefaultHandshakeTimeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Fragment != "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return nil, fmt.Errorf("conn: dial %q: %w", rawURL, handshake.ErrURL)
	}
	port, plainPort := u.Port(), "80"
	if u.Scheme == "wss" {
		plainPort = "443"
	}
	if port == "" {
		port = plainPort
	}
	var nd net.Dialer
	nc, err := nd.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("conn: dial: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	c, err := d.open(ctx, nc, u, port == plainPort)
	if !stop() && err == nil {
		err = fmt.Errorf("conn: dial: %w", context.Cause(ctx))
		c.Close()
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// open does TLS and the opening handshake on nc.
func (d *Dialer) open(ctx context.Context, nc net.Conn, u *url.URL, defaultPort bool) (*Conn, error) {
	if u.Scheme == "wss" {
		cfg := d.TLSConfig.Clone()
		if cfg == nil {
			cfg = new(tls.Config)
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		cfg.NextProtos = []string{"http/1.1"}
		t := tls.Client(underTLS(nc, &d.Config), cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("conn: TLS: %w", err)
		}
		nc = t
	}
	host := u.Host
	if defaultPort && u.Port() != "" {
		host = host[:len(host)-len(u.Port())-1]
	}
	req := &handshake.Request{Host: host, Target: u.RequestURI(), Key: handshake.NewKey(), Subprotocols: d.Subprotocols, Header: d.Header}
	b, err := handshake.AppendRequest(nil, req)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(b); err != nil {
		return nil, fmt.Errorf("conn: handshake: %w", err)
	}
	var answer handshake.Response
	b = b[:0]
	for {
		if cap(b)-len(b) < 512 {
			b = append(make([]byte, 0, 2*cap(b)+1024), b...)
		}
		n, readErr := nc.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		head, err := handshake.ParseResponse(&answer, req, b)
		switch {
		case err != nil:
			return nil, err
		case head > 0:
			return newConn(nc, frame.Client, &d.Config, b[head:], answer.Subprotocol), nil
		case readErr != nil:
			return nil, fmt.Errorf("conn: handshake: %w", readErr)
		}
	}
}
