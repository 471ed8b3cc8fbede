package conformance

import (
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// everything is all that reports show of themselves.
func everything(t *testing.T, reports ...*Report) string {
	t.Helper()
	var b strings.Builder
	for _, err := range []error{WriteJSON(&b, reports), WritePage(&b, reports), WriteTable(&b, reports, true, false)} {
		if err != nil {
			t.Error(err)
		}
	}
	return b.String()
}

// No report has the values of headers that can be secret, nor a query.
func TestReportsHideSecrets(t *testing.T) {
	o := testOptions()
	o.Include, o.Exclude = []string{"1.1.1", "R56", "R64"}, nil
	o.Header = []string{"X-Key: hunter2secret", "Cookie: hunter2secret"}
	report, err := TestServer(t.Context(), "x", listenAs(t, "")+"?token=hunter2secret", o)
	if err != nil {
		t.Fatal(err)
	}
	shown := everything(t, report)
	for _, secret := range []string{"hunter2secret", hex.EncodeToString([]byte("hunter2secret")), "token", hex.EncodeToString([]byte("GET "))} {
		if strings.Contains(shown, secret) {
			t.Errorf("a report of a server has %q", secret)
		}
	}
	if !strings.Contains(shown, "X-Key: xxxxx") || !strings.Contains(shown, "request: GET / HTTP/1.1 | Host: 127.0.0.1") {
		t.Errorf("no request in %.2000s", shown)
	}

	for _, method := range []string{"GET", "POST"} {
		l := NewListener(Options{Patience: time.Second, Include: []string{"1.1.1"}})
		ours, agent := net.Pipe()
		go func() {
			defer agent.Close()
			io.WriteString(agent, method+request("/?token=hunter2secret", "User-Agent: me", "Authorization: hunter2secret", "\tfolded hunter2secret", "proxy-authorization: hunter2secret", "Cookie: hunter2secret", "X: seen")[len("GET"):])
			io.CopyN(io.Discard, agent, 10)
		}()
		l.serve(ours)
		shown = everything(t, l.Reports()...)
		if strings.Contains(shown, "hunter2secret") || strings.Contains(shown, hex.EncodeToString([]byte("hunter2secret"))) ||
			!strings.Contains(shown, "Cookie: xxxxx | X: seen") {
			t.Errorf("%s: %.3000s", method, shown)
		}
	}
}

// A name with what moves a terminal's cursor is shown without it.
func TestTableHasNoEscapes(t *testing.T) {
	var b strings.Builder
	r := &Report{Agent: "x\x1b[2J\r\n\x9b1m", Role: "client"}
	if err := WriteTable(&b, []*Report{r}, true, false); err != nil || strings.ContainsAny(b.String(), "\x1b\r\u009b") || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// A file with null where a report has to be is refused.
func TestReadJSONRefusesNull(t *testing.T) {
	for _, s := range []string{"[null]", `[{"agent":"x"},null]`, "[7]", "x"} {
		if reports, err := ReadJSON(strings.NewReader(s)); err == nil {
			t.Errorf("%s: %v", s, reports)
		}
	}
}

// Two reports with one name can both be opened.
func TestAnchorsAreUnique(t *testing.T) {
	r := &Report{Agent: "one name", Results: []Result{{ID: "1.1.1"}, {ID: "1.1.2"}}}
	var b strings.Builder
	if err := WritePage(&b, []*Report{r, r}); err != nil {
		t.Fatal(err)
	}
	for _, anchor := range []string{"1-1.1.1", "1-1.1.2", "2-1.1.1", "2-1.1.2"} {
		if strings.Count(b.String(), `id="`+anchor+`"`) != 1 || strings.Count(b.String(), `href="#`+anchor+`"`) != 1 {
			t.Errorf("%s: %s", anchor, b.String())
		}
	}
}
