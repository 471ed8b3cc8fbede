package main

import (
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// The environment variables with secrets.
const (
	passwordVariable = "TICKWIRE_RELAY_PASSWORD"
	tokenVariable    = "TICKWIRE_RELAY_TOKEN"
)

// secretFlags are flags whose values are secrets.
var secretFlags = []string{"password", "token", "header"}

// secretsOf returns what must not be shown: of a command line the passwords of URLs and
// the values of flags that are secrets, and those of the environment.
func secretsOf(args []string) (secrets []string) {
	add := func(s string) {
		if len(s) >= cli.ShortestSecret {
			secrets = append(secrets, s)
		}
	}
	for i, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(arg, "-") && slices.Contains(secretFlags, name) {
			if name == "header" {
				_, value, _ = strings.Cut(value, ":")
				value = strings.TrimSpace(value)
				add(value[strings.LastIndexByte(value, ' ')+1:]) // after a scheme, as of Authorization
			}
			add(value)
		}
		for _, each := range strings.Split(arg, ",") { // addresses of the engine
			for _, s := range credentials(each) {
				add(s)
			}
		}
	}
	add(os.Getenv(passwordVariable))
	add(os.Getenv(tokenVariable))
	return secrets
}

// credentials returns the password of a URL, or its user name if there is none, as
// written and decoded.
func credentials(raw string) []string {
	_, rest, ok := strings.Cut(raw, "://")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return nil
	}
	name, secret, ok := strings.Cut(rest[:at], ":")
	if !ok {
		secret = name
	}
	if plain, err := url.PathUnescape(secret); err == nil {
		return []string{secret, plain}
	}
	return []string{secret}
}
