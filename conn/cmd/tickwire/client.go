package main

import (
	"flag"
	"net/http"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// A header is a flag "Name: value" that may be given several times. What is none is told by parse: package flag would quote it,
// and it may be a password.
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

// clientFlags are the flags of the commands that consume a server.
type clientFlags struct {
	texts, subprotocols list
	headers             header
	insecure, compress  *bool
	ca                  *string
	limit               *int
}

func addClientFlags(flags *flag.FlagSet) *clientFlags {
	c := &clientFlags{headers: header{fields: http.Header{}}}
	flags.Var(&c.texts, "text", "a text message to send first, on each connection; may be given several times")
	flags.Var(&c.subprotocols, "subprotocol", "a subprotocol to offer; may be given several times")
	flags.Var(&c.headers, "header", "a `Name: value` for the request; may be given several times")
	c.insecure = flags.Bool("insecure", false, "do not verify the server's certificate")
	c.ca = flags.String("ca", "", "a PEM file with the roots to trust, instead of the system's")
	c.compress = flags.Bool("deflate", false, "offer permessage-deflate")
	c.limit = flags.Int("n", 0, "stop after so many messages; 0 is never")
	return c
}

// dialer returns what the flags ask for, to dial url.
func (c *clientFlags) dialer(url string) (*conn.Dialer, error) {
	if *c.limit < 0 {
		return nil, badUsage("-n must not be negative, not %d", *c.limit)
	}
	if err := checkURL(url); err != nil {
		return nil, err
	}
	config, err := clientTLS(*c.ca, *c.insecure)
	if err != nil {
		return nil, err
	}
	d := &conn.Dialer{Subprotocols: c.subprotocols, Header: c.headers.fields, TLSConfig: config}
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
