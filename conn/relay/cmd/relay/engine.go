package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// engineFlags say which NATS servers are used, and how they are reached.
type engineFlags struct {
	servers, creds, user, password, ca, cert, key *string
}

// addEngineFlags registers them. without says what holds without -nats.
func addEngineFlags(f *flag.FlagSet, servers, without string) *engineFlags {
	return &engineFlags{
		servers:  f.String("nats", servers, "the `URLs` of NATS servers with JetStream, comma-separated"+without),
		creds:    f.String("creds", "", "a `file` with the credentials of a NATS user"),
		user:     f.String("user", "", "the `name` of the NATS user"),
		password: f.String("password", "", "the password of -user; better in the environment, as "+passwordVariable),
		ca:       f.String("tls-ca", "", "a PEM `file` with the roots to trust for the NATS servers, instead of the system's"),
		cert:     f.String("cert", "", "a PEM `file` with the certificate to show to NATS servers"),
		key:      f.String("key", "", "the PEM `file` with the key of -cert"),
	}
}

// options returns what the flags ask for.
func (e *engineFlags) options() ([]nats.Option, error) {
	var options []nats.Option
	password := *e.password
	if password == "" {
		password = os.Getenv(passwordVariable)
	}
	switch {
	case *e.creds != "" && *e.user != "":
		return nil, cli.BadUsage("-creds and -user exclude each other")
	case *e.user == "" && *e.password != "":
		return nil, cli.BadUsage("-password goes with -user")
	case (*e.cert == "") != (*e.key == ""):
		return nil, cli.BadUsage("-cert and -key go together")
	}
	for _, name := range []string{*e.creds, *e.ca, *e.cert, *e.key} {
		if name == "" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return nil, &cli.UsageError{Err: err}
		}
	}
	if *e.creds != "" {
		options = append(options, nats.UserCredentials(*e.creds))
	}
	if *e.user != "" {
		options = append(options, nats.UserInfo(*e.user, password))
	}
	if *e.ca != "" {
		options = append(options, nats.RootCAs(*e.ca))
	}
	if *e.cert != "" {
		options = append(options, nats.ClientCert(*e.cert, *e.key))
	}
	return options, nil
}

// connect connects to the servers. That they cannot be reached is a usageError.
func (e *engineFlags) connect() (*nats.Conn, error) {
	options, err := e.options()
	if err != nil {
		return nil, err
	}
	nc, err := relay.Connect(*e.servers, options...)
	if err != nil {
		return nil, cli.BadUsage("-nats: %w", err)
	}
	return nc, nil
}

// args returns the flags for another command of this program. The password goes by the
// environment.
func (e *engineFlags) args() (args, environment []string) {
	for name, value := range map[string]string{
		"nats": *e.servers, "creds": *e.creds, "user": *e.user, "tls-ca": *e.ca, "cert": *e.cert, "key": *e.key,
	} {
		if value != "" {
			args = append(args, "-"+name+"="+value)
		}
	}
	if *e.password != "" {
		environment = append(environment, passwordVariable+"="+*e.password)
	}
	return args, environment
}

// streamError makes a stream that is not there the caller's to mend.
func streamError(err error) error {
	if errors.Is(err, relay.ErrStreamNotFound) || errors.Is(err, relay.ErrStreamConfig) {
		return &cli.UsageError{Err: fmt.Errorf("-stream: %w", err)}
	}
	return err
}
