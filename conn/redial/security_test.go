package redial_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

var update = flag.Bool("update", false, "write the table of limits into SECURITY.md")

const securityPage = "../../.github/SECURITY.md"

// limit is a row of the table.
type limit struct {
	of    any // a value of the struct that has the field
	field string
	byDef any    // its default: a number of bytes or of things, or a time
	unit  string // "B" for bytes
	bound string // what it bounds
}

var limits = []limit{
	{frame.Options{}, "MaxMessage", frame.DefaultMaxMessage, "B", "a received message, inflated"},
	{frame.Options{}, "MaxFrame", frame.DefaultMaxFrame, "B", "the payload of a received frame"},
	{frame.Options{}, "MaxFragments", frame.DefaultMaxFragments, "", "frames of one message"},
	{frame.Options{}, "MaxControlPerMessage", frame.DefaultMaxControlPerMessage, "", "control frames within one message"},
	{handshake.Limits{}, "Bytes", handshake.DefaultBytes, "B", "a head"},
	{handshake.Limits{}, "Line", handshake.DefaultBytes, "B", "a line of a head"},
	{handshake.Limits{}, "Lines", handshake.DefaultLines, "", "header lines of a head"},
	{handshake.Limits{}, "Interim", handshake.DefaultInterim, "", "1xx answers before the final one"},
	{handshake.Limits{}, "Extensions", handshake.DefaultExtensions, "", "extensions of a head"},
	{handshake.Limits{}, "Params", handshake.DefaultParams, "", "parameters of these extensions"},
	{handshake.Limits{}, "Subprotocols", handshake.DefaultSubprotocols, "", "subprotocols of a request"},
	{conn.Dialer{}, "HandshakeTimeout", conn.DefaultHandshakeTimeout, "", "all of Dial"},
	{conn.Dialer{}, "MaxRedirects", 0, "", "redirects that are followed"},
	{conn.Dialer{}, "MaxBody", conn.DefaultMaxBody, "B", "what is kept of a refusal's body"},
	{conn.Upgrader{}, "HandshakeTimeout", conn.DefaultHandshakeTimeout, "", "a request, until it is answered"},
	{conn.Config{}, "KeepAlive", conn.DefaultKeepAlive, "", "silence of the peer"},
	{conn.Config{}, "StallTimeout", conn.DefaultStallTimeout, "", "a write that makes no progress"},
	{conn.Config{}, "CloseTimeout", conn.DefaultCloseTimeout, "", "a close handshake"},
	{conn.Config{}, "ReadBuffer", frame.DefaultMaxBuffer, "B", "the read buffer"},
	{conn.Config{}, "WriteBuffer", conn.DefaultWriteBuffer, "B", "what AppendMessage lets wait"},
	{conn.Group{}, "Lag", conn.DefaultGroupLag, "B", "what waits for a slow member"},
	{redial.Client{}, "ConnectTimeout", redial.DefaultConnectTimeout, "", "an attempt, until it is confirmed"},
	{redial.Client{}, "MaxRetryAfter", redial.DefaultMaxRetryAfter, "", "a wait that a server asks for"},
	{redial.Client{}, "MaxUnread", redial.DefaultMaxUnread, "B", "what an old connection may still bring"},
	{redial.Arbiter[string]{}, "Window", redial.DefaultWindow, "", "the wait for a message that is missing"},
	{redial.Arbiter[string]{}, "Count", redial.DefaultWindowCount, "", "messages that wait for one"},
	{redial.Arbiter[string]{}, "Bytes", redial.DefaultWindowBytes, "B", "their bytes"},
	{redial.Arbiter[string]{}, "Keys", redial.DefaultKeys, "", "keys of a feed"},
}

func (l *limit) row() string {
	value := fmt.Sprint(l.byDef)
	if n, ok := l.byDef.(int); ok && l.unit == "B" {
		switch {
		case n >= 1<<20 && n%(1<<20) == 0:
			value = fmt.Sprint(n>>20, " MiB")
		case n%(1<<10) == 0:
			value = fmt.Sprint(n>>10, " KiB")
		default:
			value = fmt.Sprint(n, " B")
		}
	} else if d, ok := l.byDef.(time.Duration); ok {
		value = strings.Replace(d.String(), "m0s", "m", 1)
	}
	of, _, _ := strings.Cut(fmt.Sprintf("%T", l.of), "[") // without the types of its parameters
	return fmt.Sprintf("| `%s.%s` | %s | %s |\n", of, l.field, value, l.bound)
}

// The table of limits has the defaults of the code, and every test that the page names
// exists.
func TestSecurityPage(t *testing.T) {
	const begin, end = "<!-- limits: go test ./conn/redial -run SecurityPage -update -->\n", "<!-- end -->"
	b, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	table := "| field | default | bounds |\n|---|---|---|\n"
	for _, l := range limits {
		if _, ok := reflect.TypeOf(l.of).FieldByName(l.field); !ok {
			t.Errorf("%T has no field %s", l.of, l.field)
		}
		table += l.row()
	}
	before, rest, ok := strings.Cut(string(b), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of limits", securityPage)
	}
	if *update {
		if err := os.WriteFile(securityPage, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != table {
		t.Errorf("the table of limits in %s is\n%s\nnot\n%s\nrun with -update", securityPage, got, table)
	}
	steps, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("step `([a-z0-9]+)`").FindAllStringSubmatch(string(b), -1) {
		step := regexp.MustCompile(`(?ms)^` + m[1] + `\(\) \{(.*?)^\}`).FindString(string(steps))
		if step == "" {
			t.Errorf("%s names step %s, which does not exist", securityPage, m[1])
		}
		if m[1] == "debug" && !strings.Contains(step, "-tags tickwiredebug ./...") {
			t.Error("step debug does not poison the memory of all packages")
		}
	}
	tests := testsOf(t, "../..")
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(b), -1) {
		if !tests[m[1]] {
			t.Errorf("%s names %s, which does not exist", securityPage, m[1])
		}
	}
}

// testsOf returns the names of all tests and fuzz targets under root.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(b, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
