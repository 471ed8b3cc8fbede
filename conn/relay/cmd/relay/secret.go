package main

import (
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
)

// hidden replaces secrets.
const hidden = "xxxxx"

// The environment variables with secrets.
const (
	passwordVariable = "TICKWIRE_RELAY_PASSWORD"
	tokenVariable    = "TICKWIRE_RELAY_TOKEN"
)

// secretFlags are flags whose values are secrets.
var secretFlags = []string{"password", "token", "header"}

// shortestSecret is the length from which a secret is looked for in every text. A shorter
// one is part of too many.
const shortestSecret = 4

// secretsOf returns what must not be shown: of a command line the passwords of URLs and
// the values of flags that are secrets, and those of the environment.
func secretsOf(args []string) (secrets []string) {
	add := func(s string) {
		if len(s) >= shortestSecret {
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

// A redactor is standard error: whatever a server or a library says there, it says
// without the secrets.
type redactor struct {
	w       io.Writer
	secrets []string
}

func (r *redactor) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.w, hide(string(p), r.secrets)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hide returns a text without the secrets. The longest goes first: it may hold another.
func hide(text string, secrets []string) string {
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

func (r *redactor) under() io.Writer { return r.w }
