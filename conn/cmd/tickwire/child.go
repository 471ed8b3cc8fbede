package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A child is an exchange in its own process. The feed command then measures only the
// consumer.
type child struct {
	process *exec.Cmd
	stdin   io.Closer // the child's standard input: the child ends when it is closed, or when this process dies
	url     string
	roots   *x509.CertPool // with TLS: the roots that the child's certificate is verified with
}

// startExchange runs `tickwire exchange` from the same binary and waits until it listens.
func startExchange(ctx context.Context, o *feedOptions, stderr io.Writer) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program's own file: %w", err)
	}
	args := []string{"exchange", "-leash"}
	if o.secure {
		args = append(args, "-tls", "-records", o.records)
	}
	if o.deflate {
		args = append(args, "-deflate")
	}
	c := &child{process: exec.Command(self, args...)}
	c.process.Stderr = cli.Unwrap(stderr) // a file is passed on as a file
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the exchange: %w", err)
	}
	ready := make(chan error, 1)
	go func() { ready <- c.readURL(stdout) }()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("the exchange did not start: %w", err)
	}
	return c, nil
}

// readURL reads what the exchange prints when it listens: a line with its URL and, for a
// wss URL, the root of its certificate as PEM text.
func (c *child) readURL(stdout io.Reader) error {
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		return errors.Join(errors.New("it printed nothing"), lines.Err())
	}
	url, ok := strings.CutPrefix(lines.Text(), urlLine)
	if !ok {
		return fmt.Errorf("it printed %q", lines.Text())
	}
	c.url = url
	if !strings.HasPrefix(url, "wss:") {
		return nil
	}
	var root strings.Builder
	for lines.Scan() {
		root.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "-----END") {
			c.roots = x509.NewCertPool()
			if c.roots.AppendCertsFromPEM([]byte(root.String())) {
				return nil
			}
			break
		}
	}
	return errors.Join(errors.New("it printed no root certificate"), lines.Err())
}

// stop ends the child and waits for it. After 5 s it kills the child.
func (c *child) stop() error {
	c.stdin.Close()
	force := time.AfterFunc(5*time.Second, func() { c.process.Process.Kill() })
	defer force.Stop()
	return c.process.Wait()
}
