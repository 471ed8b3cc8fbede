package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// dialURL connects to a server. A failure is a usageError: the caller must correct the
// URL.
func dialURL(ctx context.Context, d *conn.Dialer, url string) (*conn.Conn, error) {
	c, err := d.Dial(ctx, url)
	if err != nil {
		if ctx.Err() == context.Canceled {
			return nil, context.Canceled
		}
		return nil, &cli.UsageError{Err: explained(url, err)}
	}
	return c, nil
}

// explained adds to a dial error what helps at a command line: a URL that could not be
// parsed, and what the server said besides its status.
func explained(url string, err error) error {
	var step *conn.DialError
	var refused *handshake.Error
	switch {
	case errors.As(err, &step) && step.URL == "":
		return fmt.Errorf("%q: %w", public(url), err)
	case errors.As(err, &refused) && len(bytes.TrimSpace(refused.Body)) > 0:
		return fmt.Errorf("%w: %.200q", err, bytes.TrimSpace(refused.Body))
	}
	return err
}
