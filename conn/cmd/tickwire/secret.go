package main

import (
	"encoding/base64"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// hidden stands where a secret stood.
const hidden = "xxxxx"

// public returns a URL as it may be shown: without its userinfo, where it is no URL too.
func public(raw string) string {
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return raw
	}
	if u, err := handshake.ParseURL(raw); err == nil {
		if u.User == nil {
			return raw // of what is a URL, an @ elsewhere begins no host
		}
		return u.String()
	}
	scheme := ""
	if i := strings.Index(raw, "://"); i >= 0 && i < at {
		scheme = raw[:i+len("://")]
	}
	return scheme + hidden + raw[at:]
}

// checkURL refuses what cannot be dialed, before anything is done for it.
func checkURL(raw string) error {
	_, err := handshake.ParseURL(raw)
	if err == nil {
		return nil
	}
	if strings.Contains(raw, "@") { // the reason may quote what could be a password
		err = handshake.ErrURL
	}
	return badUsage("%q: %w", public(raw), err)
}

// shortestSecret is how long a secret must be to be looked for: what is shorter stands in every text.
const shortestSecret = 4

// secretsOf returns what in a command line must not be shown: passwords of URLs, and the values of -header.
func secretsOf(args []string) (secrets []string) {
	add := func(s string) {
		for _, form := range []string{s, strings.Trim(strconv.Quote(s), `"`)} {
			if len(form) >= shortestSecret {
				secrets = append(secrets, form)
			}
		}
	}
	for i, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(arg, "-") && name == "header" {
			_, value, _ = strings.Cut(value, ":")
			value = strings.TrimSpace(value)
			add(value)
			add(value[strings.LastIndexByte(value, ' ')+1:]) // behind a scheme, as of Authorization
		}
		for _, s := range passwords(arg) {
			add(s)
		}
	}
	return secrets
}

// proxySecrets returns the passwords of the environment's proxies.
func proxySecrets() (secrets []string) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		for _, s := range passwords(os.Getenv(name)) {
			if len(s) >= shortestSecret {
				secrets = append(secrets, s)
			}
		}
	}
	return secrets
}

// passwords returns the password of a URL, or of what was meant to be one, in each form in which it can be met.
func passwords(raw string) []string {
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
	if !ok {
		return nil
	}
	forms := []string{password}
	if plain, err := url.PathUnescape(password); err == nil {
		name, _ = url.PathUnescape(name)
		forms = append(forms, plain, base64.StdEncoding.EncodeToString([]byte(name+":"+plain)))
	}
	return forms
}

// A redactor is standard error: whatever a server, or a library, says there, it says without the secrets.
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

// hide returns a text without the secrets.
func hide(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

func (r *redactor) under() io.Writer { return r.w }
