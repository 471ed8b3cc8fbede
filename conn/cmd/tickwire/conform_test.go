package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/conformance"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// few are cases of each kind: frames, text, Close, handshake, compression.
var few = []string{"-volume", "small", "-patience", "20s", "-case", "1", "-case", "2", "-case", "6.4", "-case", "7.1", "-case", "12.1.[1-3]", "-case", "R48", "-case", "R64", "-case", "R62"}

// The command's own server passes, over TLS too, and all ways to show it agree.
func TestConformServer(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		flags := []string{"serve", "-conform", "-addr", "127.0.0.1:0"}
		if secure {
			flags = append(flags, "-tls")
		}
		s := start(t, flags...)
		page := filepath.Join(t.TempDir(), "page.html")
		args := append([]string{"conform", "server", "-insecure", "-strict", "-json", "-html", page}, few...)
		stdout, stderr, code := run(t, append(args, "mine="+s.url)...)
		var reports []*conformance.Report
		if err := json.Unmarshal([]byte(stdout), &reports); err != nil || code != exitOK || len(reports) != 1 {
			t.Fatalf("%v, exit code %d, %.500s, %s", err, code, stdout, stderr)
		}
		n := reports[0].Counts()
		if reports[0].Agent != "mine" || n[conformance.OK] != len(reports[0].Results) || n[conformance.OK] < 40 {
			t.Errorf("%s: %s", reports[0].Agent, reports[0].Summary())
		}
		if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "<th>mine</th>") {
			t.Errorf("the page: %v", err)
		}
		file := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(file, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := run(t, "conform", "page", file, file); code != exitOK || strings.Count(stdout, "<th>mine</th>") != 2 {
			t.Errorf("conform page: exit code %d, %s", code, stderr)
		}
		stdout, stderr, code = run(t, append(append([]string{"conform", "server", "-insecure"}, few...), s.url)...)
		if code != exitOK || !strings.Contains(stdout, reports[0].Summary()) || strings.Contains(stdout, "\x1b") {
			t.Errorf("exit code %d, %s%s", code, stdout, stderr)
		}
		if runtime.GOOS != "windows" {
			if code, stderr := s.interrupt(t); code != exitOK || !strings.Contains(stderr, "connections") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("serve -conform ends with exit code %d, %q", code, stderr)
			}
		}
	}
}

// The command's own client passes what the command's own suite has for clients; so does
// one that knows no paths.
func TestConformListenAndClient(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		flags := append([]string{"conform", "listen", "-strict"}, few...)
		if secure {
			flags = append(flags, "-tls")
		}
		s := start(t, append(flags, "127.0.0.1:0")...)
		stdout, stderr, code := run(t, "conform", "client", "-insecure", "-agent", "a client", s.url)
		if code != exitOK || !strings.Contains(stdout, "cases run") {
			t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
		}
		var out strings.Builder
		for line, err := s.out.ReadString('\n'); err == nil; line, err = s.out.ReadString('\n') {
			out.WriteString(line)
		}
		s.cmd.Wait()
		if code := s.cmd.ProcessState.ExitCode(); code != exitOK || !strings.Contains(out.String(), "a client, a client\n") || strings.Contains(out.String(), "failed") {
			t.Errorf("exit code %d, %s%s", code, out.String(), s.stderr.String())
		}
	}
	s := start(t, "conform", "listen", "-strict", "-case", "1.1.[1-3]", "127.0.0.1:0")
	for range 3 { // no paths; the text comes back by hand
		if _, stderr, code := run(t, "tail", "-n", "1", s.url); code != exitOK {
			t.Errorf("exit code %d, %q", code, stderr)
		}
	}
	var out strings.Builder
	for line, err := s.out.ReadString('\n'); err == nil; line, err = s.out.ReadString('\n') {
		out.WriteString(line)
	}
	s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(out.String(), "3 cases, 0 OK, 3 failed") {
		t.Errorf("a client that sends nothing back: exit code %d, %s", code, out.String())
	}
}

// A server that does not send back what came is found, with exit code 1.
func TestConformFindsFaults(t *testing.T) {
	t.Parallel()
	s := start(t, "exchange")
	stdout, stderr, code := run(t, "conform", "server", "-case", "1.1.2", "-patience", "100ms", s.url)
	if code != exitFailed || !strings.Contains(stdout, "1 cases, 0 OK, 1 failed") || !strings.Contains(stderr, "1 cases failed") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// Serve agrees to permessage-deflate with -deflate, and not without.
func TestServeDeflate(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"-deflate"}} {
		s := start(t, append([]string{"serve", "-addr", "127.0.0.1:0"}, flags...)...)
		long := strings.Repeat("compress me ", 100)
		stdout, stderr, code := run(t, "tail", "-deflate", "-v", "-text", long, "-n", "1", s.url)
		if agreed := strings.Contains(stderr, "< Sec-WebSocket-Extensions: permessage-deflate"); code != exitOK || stdout != long+"\n" || agreed != (flags != nil) {
			t.Errorf("%v: exit code %d, %q", flags, code, stderr)
		}
	}
}

func TestConformUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"conform":                                  "server, listen, client or page",
		"conform nonsense":                         "server, listen, client or page",
		"conform server":                           "argument",
		"conform server -volume huge ws://x":       "-volume",
		"conform server -patience 0s ws://x":       "-patience",
		"conform server -parallel 0 ws://x":        "-parallel",
		"conform server -case 99 ws://x":           "no case",
		"conform server http://x":                  "http",
		"conform server ws://127.0.0.1:1/":         "127.0.0.1:1",
		"conform server x=ws://a:hunter2secret@:0": "xxxxx",
		"conform listen":                           "argument",
		"conform listen -agents -1 :0":             "-agents",
		"conform listen nonsense":                  "HOST:PORT",
		"conform listen 9001":                      "HOST:PORT",
		"conform client":                           "argument",
		"conform client -from 0 ws://x":            "-from",
		"conform client ws://127.0.0.1:1/":         "127.0.0.1:1",
		"conform page /nonexistent/file":           "/nonexistent/file",
	} {
		stdout, stderr, code := within(t, "", strings.Fields(args)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) || strings.Contains(stderr, "hunter2secret") ||
			strings.HasPrefix(args, "conform listen") && strings.Contains(stderr, "-addr") {
			t.Errorf("tickwire %s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"conform", "-h"}, {"conform", "server", "-h"}, {"conform", "listen", "-h"}, {"conform", "client", "-h"}, {"conform", "page", "-h"}, {"completion", "-h"}, {"version", "-h"}} {
		if stdout, stderr, code := within(t, "", args...); code != exitOK || !strings.HasPrefix(stdout, "usage: tickwire "+args[0]) || stderr != "" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// The connections that ask for the number of cases and for the report end with ctx.
func TestConformClientEnds(t *testing.T) {
	t.Parallel()
	for _, silent := range []int32{1, 2} { // the connection that nothing comes on
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var n atomic.Int32
		s := &conn.Server{Handler: func(c *conn.Conn) {
			if n.Add(1) == silent {
				time.AfterFunc(100*time.Millisecond, cancel)
			} else {
				c.WriteMessage(frame.Text, []byte("0")) // cases
			}
			c.ReadMessage()
		}}
		go s.Serve(l)
		defer s.Close()
		tried := &suite{base: "ws://" + l.Addr().String(), dialer: new(conn.Dialer)}
		if err := tried.run(ctx, &streams{out: io.Discard, err: io.Discard}, "x", 1, 0); err != context.Canceled || n.Load() != silent {
			t.Errorf("connection %d of %d: %v", n.Load(), silent, err)
		}
	}
}
