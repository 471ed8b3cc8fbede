package main

import (
	"encoding/base64"
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// public returns a URL without its userinfo, for printing. It also removes it from text
// that is not a valid URL.
func public(raw string) string {
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return raw
	}
	if u, err := handshake.ParseURL(raw); err == nil {
		if u.User == nil {
			return raw // in a valid URL an @ elsewhere does not begin a host
		}
		return u.String()
	}
	scheme := ""
	if i := strings.Index(raw, "://"); i >= 0 && i < at {
		scheme = raw[:i+len("://")]
	}
	return scheme + cli.Hidden + raw[at:]
}

// checkURL refuses a URL that cannot be dialed, before any other work.
func checkURL(raw string) error {
	_, err := handshake.ParseURL(raw)
	if err == nil {
		return nil
	}
	if strings.Contains(raw, "@") { // the reason may quote a password
		err = handshake.ErrURL
	}
	return cli.BadUsage("%q: %w", public(raw), err)
}

// addSecret adds each form in which a text may contain a secret.
func addSecret(secrets []string, s string) []string {
	quoted := strings.Trim(strconv.Quote(s), `"`)
	for _, form := range []string{s, quoted, cli.Printable(s), cli.OneLine(errors.New(s))} {
		if len(form) >= cli.ShortestSecret {
			secrets = append(secrets, form)
		}
	}
	return secrets
}

// secretsOf returns the secrets of a command line: passwords of URLs, user names without
// a password, and the values of -header.
func secretsOf(args []string) (secrets []string) {
	add := func(s string) { secrets = addSecret(secrets, s) }
	for i, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(arg, "-") && name == "header" {
			_, value, _ = strings.Cut(value, ":")
			value = strings.TrimSpace(value)
			add(value)
			add(value[strings.LastIndexByte(value, ' ')+1:]) // after a scheme, as in Authorization
		}
		for _, s := range credentials(arg) {
			add(s)
		}
	}
	return secrets
}

// proxySecrets returns the credentials of the environment's proxies.
func proxySecrets() (secrets []string) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		for _, s := range credentials(os.Getenv(name)) {
			secrets = addSecret(secrets, s)
		}
	}
	return secrets
}

// credentials returns the password of a URL, valid or not, in each form in which it may
// occur. Without a password it returns the user name, which may be a token.
func credentials(raw string) []string {
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return nil
	}
	if u, err := handshake.ParseURL(raw); err == nil {
		if u.User == nil {
			return nil
		}
		at = strings.IndexByte(raw, '@')
	}
	user := raw[:at]
	if i := strings.Index(user, "://"); i >= 0 {
		user = user[i+len("://"):]
	}
	name, password, ok := strings.Cut(user, ":")
	secret := password
	if password == "" {
		if secret = name; !ok && strings.ContainsAny(name, " \t\n") {
			return nil // a text that contains @
		}
	}
	forms := []string{secret}
	if plain, err := url.PathUnescape(secret); err == nil {
		forms = append(forms, plain)
	}
	plainName, nameErr := url.PathUnescape(name)
	plain, err := url.PathUnescape(password)
	if nameErr == nil && err == nil {
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte(plainName+":"+plain)))
	}
	return forms
}
