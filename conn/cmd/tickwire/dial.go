package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// dialURL connects to a server. That it cannot be reached is a usageError: the
// URL is the caller's to mend.
func dialURL(ctx context.Context, d *conn.Dialer, url string) (*conn.Conn, error) {
	c, err := d.Dial(ctx, url)
	if err != nil {
		if ctx.Err() == context.Canceled {
			return nil, context.Canceled
		}
		return nil, &usageError{err}
	}
	return c, nil
}

// clientTLS returns what -ca and -insecure ask for.
func clientTLS(ca string, insecure bool) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: insecure}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, badUsage("-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, badUsage("-ca: there is no certificate in %s", ca)
		}
	}
	return config, nil
}
