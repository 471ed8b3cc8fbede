package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// noRoom is a writer that fails after so many bytes.
type noRoom struct{ room int }

func (w *noRoom) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Output that cannot be written ends every command, with exit code 1 and a line that says so.
func TestF81OutputThatCannotBeWritten(t *testing.T) {
	t.Setenv(beTickwire, "1") // for the exchange that feed starts
	url := accept(t, func(nc net.Conn) {
		defer nc.Close()
		c, err := new(conn.Upgrader).Accept(nc)
		for err == nil { // without an end: the command must not wait for it
			err = c.WriteMessage(conn.Text, []byte("tick"))
			time.Sleep(time.Millisecond)
		}
	})
	recording := filepath.Join(t.TempDir(), "x")
	if code := execute(t.Context(), &streams{out: io.Discard, err: io.Discard}, []string{"record", "-n", "1", url, recording}); code != exitOK {
		t.Fatal(code)
	}
	for _, test := range []struct {
		args string
		room int // of what is written, enough for the beginning
	}{
		{"help", 0},
		{"-h", 100},
		{"feed -h", 0},
		{"exchange -h", 0},
		{"tail -h", 60},
		{"serve -h", 0},
		{"record -h", 0},
		{"replay -h", 0},
		{"tier -h", 0},
		{"tier", 0},
		{"tier", 20},
		{"doctor -h", 0},
		{"doctor", 0},
		{"doctor", 100},
		{"doctor -json", 0},
		{"tail " + url, 0},
		{"tail " + url, 100},
		{"tail -n 1 " + url, 0},
		{"tail -timings " + url, 100},
		{"tail -reconnect " + url, 0},
		{"tail -reconnect " + url, 100},
		{"serve -addr 127.0.0.1:0", 0},
		{"serve -tls -addr 127.0.0.1:0", 0},
		{"exchange", 0},
		{"exchange -tls", 0},
		{"exchange -leash", 0},
		{"replay -addr 127.0.0.1:0 " + recording, 0},
		{"replay -tls -addr 127.0.0.1:0 " + recording, 0},
		{"feed -duration 10m -rate 1000", 0},
		{"feed -duration 10m -rate 1000", 150},
		{"feed -duration 200ms -rate 1000", 0},
		{"feed -duration 200ms -rate 1000 -json", 0},
		{"feed -duration 200ms -url " + url, 0},
		{"feed -duration 10m -reconnect -url " + url, 0},
	} {
		in, leash := io.Pipe() // nobody ends it
		var stderr strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		code := execute(ctx, &streams{in: in, out: &noRoom{test.room}, err: &stderr}, strings.Fields(test.args))
		if code != exitFailed || ctx.Err() != nil || !strings.Contains(stderr.String(), "the output cannot be written: "+errFull.Error()) {
			t.Errorf("tickwire %s: exit code %d, %q", test.args, code, stderr.String())
		}
		cancel()
		leash.Close()
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"tier"}, {"tail", url}, {"serve", "-addr", "127.0.0.1:0"}, {"feed", "-cpuprofile", "/dev/full", "-duration", "200ms", "-rate", "1000"}} {
		cmd := tickwire(t, args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if args[0] != "feed" {
			cmd.Stdout = full
		}
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("tickwire %v: exit code %d, %q", args, code, stderr.String())
		}
	}
}

// A reader that has gone does not kill a command: a standard output that breaks is one
// that cannot be written, and a standard error that breaks is of no account.
func TestF81BrokenPipes(t *testing.T) {
	t.Parallel()
	broken := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { w.Close() })
		return w
	}
	var dials atomic.Int64
	url := steps(t, &dials, says("tick", frame.CodeNormal))
	recording := filepath.Join(t.TempDir(), "whole")
	if _, stderr, code := run(t, "record", "-n", "1", url, recording); code != exitOK {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	for _, args := range [][]string{
		{"help"}, {"tier"}, {"feed", "-h"}, {"tail", url}, {"tail", "-reconnect", url}, {"serve", "-addr", "127.0.0.1:0"}, {"exchange"},
		{"replay", "-addr", "127.0.0.1:0", recording}, {"feed", "-duration", "200ms", "-rate", "1000"},
	} {
		cmd := tickwire(t, args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = broken(), &stderr
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "the output cannot be written") {
			t.Errorf("tickwire %v, its output broken: %v, %q", args, cmd.ProcessState, stderr.String())
		}
	}
	file := filepath.Join(t.TempDir(), "x")
	for _, test := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{[]string{"record", "-n", "2", url, file}, exitOK, ""},
		{[]string{"record", "-n", "2", url, file}, exitUsage, ""}, // it is there already
		{[]string{"tail", "-reconnect", "-timings", "-n", "2", url}, exitOK, "tick"},
		{[]string{"feed", "-json", "-duration", "1200ms", "-rate", "1000"}, exitOK, `"verified": true`},
		{[]string{"feed", "-reconnect", "-duration", "200ms", "-url", url}, exitOK, ""},
		{[]string{"feed", "-duration", "0s"}, exitUsage, ""},
		{nil, exitUsage, ""},
	} {
		cmd := tickwire(t, test.args...)
		var stdout strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, broken()
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(stdout.String(), test.stdout) {
			t.Errorf("tickwire %v, its standard error broken: %v, %q", test.args, cmd.ProcessState, stdout.String())
		}
	}
	if b, err := os.ReadFile(file); bytes.Count(b, []byte("\x04tick")) != 2 {
		t.Errorf("%q was recorded, %v", b, err)
	}
	both := tickwire(t, "help")
	both.Stdout, both.Stderr = broken(), broken()
	both.Run()
	if both.ProcessState.ExitCode() != exitFailed {
		t.Errorf("tickwire help, both broken: %v", both.ProcessState)
	}
}

// A password is shown nowhere, whatever becomes of a command.
func TestF81NoPasswordIsShown(t *testing.T) {
	t.Parallel()
	const secret = "hunter2secret"
	mirror := accept(t, func(nc net.Conn) { // refuses with all that it was told
		defer nc.Close()
		b := make([]byte, 4096)
		n, _ := nc.Read(b)
		var told string
		for _, line := range strings.Split(string(b[:n]), "\r\n") {
			if name, value, _ := strings.Cut(line, ": "); name == "Authorization" || name == "X-Token" {
				told += value + " "
				if basic, ok := strings.CutPrefix(value, "Basic "); ok {
					plain, _ := base64.StdEncoding.DecodeString(basic)
					told += string(plain) + " "
				}
			}
		}
		io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"+told)
	})
	well := accept(t, func(nc net.Conn) {
		defer nc.Close()
		if c, err := new(conn.Upgrader).Accept(nc); err == nil {
			c.WriteMessage(conn.Text, []byte("tick"))
			c.Shutdown(context.Background(), 1008, "")
		}
	})
	with := func(url, userinfo string) string { return strings.Replace(url, "ws://", "ws://"+userinfo+"@", 1) }
	file := filepath.Join(t.TempDir(), "x")
	var commands [][]string
	for _, url := range []string{
		with(mirror, "user:"+secret),
		with(mirror, "user:"+secret+"%21"),
		with(well, "user:"+secret),
		with("ws://127.0.0.1:1/", "user:"+secret),
		"http://user:" + secret + "@127.0.0.1:1/",
		"user:" + secret + "@127.0.0.1:1",
		"ws//user:" + secret + "@127.0.0.1:1",
		"ws:/user:" + secret + "@127.0.0.1:1",
		"ws://user:" + secret + "/x@127.0.0.1:1",
		"ws://user:" + secret + "%zz@127.0.0.1:1",
		"ws://user:" + secret + "#x@127.0.0.1:1",
		"ws://user:" + secret + " x@127.0.0.1:1",
		"ws://user:" + secret + "@x@127.0.0.1:1",
		"ws://user:" + secret + "@127.0.0.1:99999999/",
		"ws://user:" + secret + "@127.0.0.1:1/#",
		"ws://us:er:" + secret + "@[::1/",
		"ws://user%00:" + secret + "@127.0.0.1:1/",
	} {
		commands = append(commands,
			[]string{"tail", url}, []string{"tail", "-timings", "-n", "1", url}, []string{"tail", url, "extra"}, []string{"tail", "ws://127.0.0.1:1/", url},
			[]string{"tail", "-" + url}, []string{"tail", "-=" + url}, []string{"tier", url}, []string{url},
			[]string{"feed", "-duration", "200ms", "-url", url}, []string{"feed", "-duration", "200ms", "-json", "-url", url},
			[]string{"feed", "-duration", "300ms", "-reconnect", "-url", url}, []string{"feed", url},
			[]string{"record", "-force", "-duration", "300ms", url, file}, []string{"record", url}, []string{"record", file, url},
		)
	}
	for _, header := range []string{"X-Token: " + secret, "Authorization: Bearer " + secret, "Authorization: " + secret + "\n", "X-Token " + secret, secret, ": " + secret, "X Y: " + secret, "Host: " + secret} {
		commands = append(commands, []string{"tail", "-header", header, mirror}, []string{"tail", "-header=" + header, mirror},
			[]string{"tail", "-reconnect", "-header", header, mirror}, []string{"record", "-header", header, mirror, file + "-none"})
	}
	commands = append(commands, []string{"tail", "-header", "Authorization:", "Bearer", secret, mirror}) // quotes forgotten
	for _, args := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var stdout, stderr strings.Builder
		code := execute(ctx, &streams{out: &stdout, err: &stderr}, args)
		if ctx.Err() != nil {
			t.Errorf("%q does not end", args)
		}
		cancel()
		for _, shown := range []string{stdout.String(), stderr.String()} {
			if strings.Contains(shown, secret) || strings.Contains(shown, base64.StdEncoding.EncodeToString([]byte("user:"+secret))) {
				t.Errorf("%q: exit code %d, shown: %s", args, code, shown)
			}
		}
		if stdout.Len()+stderr.Len() == 0 {
			t.Errorf("%q: exit code %d and no word", args, code)
		}
	}
}

// What is no secret is shown.
func TestPublic(t *testing.T) {
	for raw, want := range map[string]string{
		"wss://example.com:9443/ws/btcusdt@trade": "wss://example.com:9443/ws/btcusdt@trade",
		"ws://example.com/":                       "ws://example.com/",
		"ws://u:p@example.com/a?b=c@d":            "ws://example.com/a?b=c@d",
		"ws://u@example.com/":                     "ws://example.com/",
		"nonsense":                                "nonsense",
		"http://u:p@example.com/":                 "http://xxxxx@example.com/",
		"u:p@example.com":                         "xxxxx@example.com",
	} {
		if got := public(raw); got != want {
			t.Errorf("public(%q) = %q, want %q", raw, got, want)
		}
	}
}
