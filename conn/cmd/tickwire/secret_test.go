package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A user name without a password is a token: no form of it is shown.
func TestTokensOfURLsAreHidden(t *testing.T) {
	basic := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	forms := []string{"API%54OKEN", "APITOKEN", basic("APITOKEN:")}
	for _, url := range []string{
		"wss://API%54OKEN@host/", "wss://API%54OKEN:@host/", "API%54OKEN:@host", "API%54OKEN@host",
		"-proxy=http://API%54OKEN@host:1", "http://API%54OKEN:@host:1",
	} {
		secrets := secretsOf([]string{"tail", "-v", url})
		for _, form := range forms {
			if shown := cli.Hide("<"+form+">", secrets); shown != "<xxxxx>" {
				t.Errorf("%s: %s", url, shown)
			}
		}
		if strings.HasPrefix(url, "http") {
			t.Setenv("HTTPS_PROXY", url)
			if shown := cli.Hide(forms[2], proxySecrets()); shown != cli.Hidden {
				t.Errorf("HTTPS_PROXY=%s: %s", url, shown)
			}
		}
	}
	if secrets := secretsOf([]string{"tail", "-text", "mail to me@host", "wss://host/btcusdt@trade"}); len(secrets) > 0 {
		t.Errorf("%q", secrets)
	}
	if shown := cli.Hide("<abcdefgh>", []string{"abcd", "abcdefgh"}); shown != "<xxxxx>" {
		t.Errorf("a secret in another: %s", shown)
	}
	url := strings.Replace(speaks(t), "ws://", "ws://APITOKEN@", 1)
	if _, stderr, code := within(t, "", "tail", "-v", url); code != exitOK || strings.Contains(stderr, "APITOKEN") ||
		strings.Contains(stderr, basic("APITOKEN:")) || !strings.Contains(stderr, "> Authorization: xxxxx\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// -v hides values of headers by their names: short ones, and those that printable changes.
func TestVerboseHidesValues(t *testing.T) {
	t.Parallel()
	url := strings.Replace(speaks(t), "ws://", "ws://me:pw1@", 1)
	_, stderr, code := within(t, "", "tail", "-v", "-header", "x-key: k3y", "-header", "Cookie: a=b",
		"-header", "X-Token: h\u00fcnter\u0085\u202esecret", url)
	for _, want := range []string{"X-Key: ", "Cookie: ", "X-Token: ", "Authorization: "} {
		if !strings.Contains(stderr, "> "+want+"xxxxx\n") {
			t.Errorf("no %sxxxxx", want)
		}
	}
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, secret := range []string{"k3y", "a=b", "nter", "secret", base64.StdEncoding.EncodeToString([]byte("me:pw1"))} {
		if strings.Contains(stderr, secret) {
			t.Errorf("%q is shown: %q", secret, stderr)
		}
	}
	for _, text := range []string{"h\u00fcnter\u0085\u202esecret", cli.Printable("h\u00fcnter\u0085\u202esecret")} {
		if shown := cli.Hide(text, secretsOf([]string{"-header=X: h\u00fcnter\u0085\u202esecret"})); shown != cli.Hidden {
			t.Errorf("%q", shown)
		}
	}
	var out bytes.Buffer
	h := showingHead{w: &out, mark: "< ", secret: map[string]bool{"x-key": true}}
	h.take([]byte("HTTP/1.1 403 No\r\nX-Key : k3y\r\n k3y\r\nDate: now\r\n then\r\n"))
	if got, want := out.String(), "< HTTP/1.1 403 No\n< X-Key : xxxxx\n<  xxxxx\n< Date: now\n<  then\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
