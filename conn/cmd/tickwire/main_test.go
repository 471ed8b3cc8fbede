package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// The tests run the command as a process: this one, told to be tickwire.
const beTickwire = "TICKWIRE_TEST_BE_TICKWIRE"

func TestMain(m *testing.M) {
	if os.Getenv(beTickwire) != "" {
		main()
	}
	os.Exit(m.Run())
}

// tickwire returns a process of the command. A test that hangs kills it.
func tickwire(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), beTickwire+"=1")
	return cmd
}

// run returns what a process of the command prints, and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := tickwire(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestFeed(t *testing.T) {
	for _, test := range []struct {
		name   string
		flags  []string
		phases []string
	}{
		{"plain", nil, []string{"full speed", "fixed rate"}},
		{"tls", []string{"-tls"}, []string{"full speed", "fixed rate"}},
		{"a record for each message", []string{"-tls", "-records", "per-message"}, []string{"full speed", "fixed rate"}},
		{"records opened by the engine", []string{"-tls", "-records", "per-message", "-open-records"}, []string{"full speed", "fixed rate"}},
		{"deflate", []string{"-deflate"}, []string{"full speed", "fixed rate"}},
		{"three connections at a rate", []string{"-conns", "3", "-rate", "30000"}, []string{"fixed rate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := run(t, append([]string{"feed", "-json", "-duration", "1200ms"}, test.flags...)...)
			if code != exitOK {
				t.Fatalf("exit code %d: %s%s", code, stderr, stdout)
			}
			var s summary
			if err := json.Unmarshal([]byte(stdout), &s); err != nil {
				t.Fatalf("%v in %s", err, stdout)
			}
			if !s.Verified || s.Tier != asm.Active().String() || len(s.Phases) != len(test.phases) {
				t.Fatalf("%+v", s)
			}
			if opens := slices.Contains(test.flags, "-open-records"); s.TLS != slices.Contains(test.flags, "-tls") ||
				strings.HasPrefix(s.Opened, "by the engine") != opens || strings.HasPrefix(s.Opened, "by crypto/tls: ") != (s.TLS && !opens) ||
				(s.Records == "per-message") != slices.Contains(test.flags, "-records") {
				t.Errorf("records %q, opened %q", s.Records, s.Opened)
			}
			for i, r := range s.Phases {
				if s.Deflate == (r.WireBytes > r.Bytes*3/4) {
					t.Errorf("deflate %v: %d bytes, %d on the wire", s.Deflate, r.Bytes, r.WireBytes)
				}
				if r.Phase != test.phases[i] || r.Messages == 0 || r.Bytes < r.Messages*60 || r.ReadsPerMessage == 0 {
					t.Errorf("%+v", r)
				}
				if (r.Latency != nil) != (r.Rate > 0) {
					t.Errorf("%s: latency %+v", r.Phase, r.Latency)
				}
				// A connection's own buffers and the second's line are a few dozen objects. crypto/tls
				// makes one for each record, or for each of the two reads that a record may take.
				allowance := 200 + float64(r.Messages)/100
				if s.TLS {
					allowance += 2 * (r.ReadsPerMessage*float64(r.Messages) + float64(r.Bytes)/16e3)
				}
				if s.Records == "per-message" && !slices.Contains(test.flags, "-open-records") {
					allowance += float64(r.Messages) / 20 // one read takes some seven of them
				}
				if !raceEnabled && float64(r.Allocations) > allowance {
					t.Errorf("%s: %d allocations for %d messages", r.Phase, r.Allocations, r.Messages)
				}
				if l := r.Latency; l != nil && (l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max) {
					t.Errorf("latency %+v", l)
				}
			}
		})
	}
}

func TestFeedLines(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, "feed", "-rate", "5000", "-duration", "1500ms")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		"\nfixed rate ", " msg/s ", " MB/s ", "p50 ", "p99.9 ", "max ", " allocs/msg ", " GC ", " reads/msg ", asm.Active().String(),
		"every number and checksum verified", "CPU per message",
	} {
		if !strings.Contains("\n"+stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\r") {
		t.Error("the line is rewritten where there is no terminal")
	}
}

func TestUsageErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want string // in the one line
	}{
		{"feed -duration 0s", "-duration"},
		{"feed -duration x", "-duration"},
		{"feed -duration -1s", "-duration"},
		{"feed -rate -1", "-rate"},
		{"feed -rate 1e12", "-rate"},
		{"feed -rate NaN", "-rate"},
		{"feed -conns 0", "-conns"},
		{"feed -conns 1000000", "-conns"},
		{"feed -nonsense", "-nonsense"},
		{"feed extra", `"extra"`},
		{"feed -text x", "-url"},
		{"feed -url ws://127.0.0.1:1/ -rate 5", "-rate"},
		{"feed -url ws://127.0.0.1:1/ -tls", "-tls"},
		{"feed -records large", "-records"},
		{"feed -tls -records small", "small"},
		{"feed -url wss://127.0.0.1:1/ -records large", "-records"},
		{"feed -open-records", "-open-records"},
		{"feed -url ws://127.0.0.1:1/ -open-records", "-open-records"},
		{"exchange -records per-message", "-records"},
		{"feed -url ws://127.0.0.1:1/", "127.0.0.1:1"},
		{"feed -url http://127.0.0.1:1/", "http"},
		{"feed -url wss://127.0.0.1:1/ -ca " + file, "-ca"},
		{"feed -url wss://127.0.0.1:1/ -ca " + file + ".missing", "-ca"},
		{"tail", "argument"},
		{"tail ws://127.0.0.1:1/", "127.0.0.1:1"},
		{"tail ws://127.0.0.1:1/ extra", `"extra"`},
		{"tail -header novalue ws://127.0.0.1:1/", "-header"},
		{"tail nonsense", "nonsense"},
		{"tail -insecure -ca " + file + " wss://127.0.0.1:1/", "-ca"},
		{"tail -n -1 ws://127.0.0.1:1/", "-n"},
		{"record -n -1 ws://127.0.0.1:1/ " + file, "-n"},
		{"record -duration -1s ws://127.0.0.1:1/ " + file, "-duration"},
		{"serve -addr nonsense", "-addr"},
		{"serve -addr 127.0.0.1:99999", "99999"},
		{"serve extra", `"extra"`},
		{"exchange -addr nonsense", "-addr"},
		{"tier extra", `"extra"`},
		{"doctor extra", `"extra"`},
		{"doctor -root", "-root"},
		{"nonsense", `"nonsense"`},
	} {
		stdout, stderr, code := run(t, strings.Fields(test.args)...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
			t.Errorf("tickwire %s: exit code %d, stdout %q, stderr %q; want one line with %s", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"feed", "-h"}, {"tail", "-h"}, {"serve", "-h"}, {"exchange", "-h"}, {"record", "-h"}, {"replay", "-h"}, {"tier", "-h"}, {"doctor", "-h"}} {
		stdout, stderr, code := run(t, args...)
		if code != exitOK || !strings.HasPrefix(stdout, "usage: tickwire") || stderr != "" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	stdout, _, _ := run(t, "help")
	words := strings.Join(strings.Fields(stdout), " ") + " "
	for _, c := range commands() {
		if !strings.Contains(stdout, "\n  "+c.name+" ") || !strings.Contains(words, " "+c.name+" "+c.about+" ") {
			t.Errorf("help does not list %s: %s", c.name, stdout)
		}
	}
	if _, stderr, code := run(t); code != exitUsage || !strings.Contains(stderr, "feed") {
		t.Errorf("no arguments: exit code %d, %q", code, stderr)
	}
}

func TestTier(t *testing.T) {
	stdout, _, code := run(t, "tier")
	if code != exitOK || !strings.Contains(stdout, "active     "+asm.Active().String()+"\n") || !strings.Contains(stdout, runtime.GOARCH) {
		t.Errorf("exit code %d, %s", code, stdout)
	}
	for wish, want := range map[string]string{
		"generic": "active     generic\nwish       generic: granted\n",
		"nothing": `wish       "nothing" is no tier: ignored` + "\n",
	} {
		cmd := tickwire(t, "tier")
		cmd.Env = append(cmd.Env, "TICKWIRE_TIER="+wish)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("wish %s: %v, %s", wish, err, out)
		}
	}
}

// served is a process of the command that prints its URL and goes on.
type served struct {
	cmd    *exec.Cmd
	url    string
	out    *bufio.Reader // what comes after the URL
	stderr bytes.Buffer
}

func start(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{cmd: tickwire(t, args...)}
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, s.stderr.String())
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), urlLine)
	if !ok {
		t.Fatalf("the first line is %q", line)
	}
	s.url = url
	return s
}

// interrupt sends Ctrl-C and returns the exit code and what went to standard error.
func (s *served) interrupt(t *testing.T) (code int, stderr string) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, s.out)
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode(), s.stderr.String()
}

func TestTailAgainstServe(t *testing.T) {
	for _, secure := range []bool{false, true} {
		flags, tail := []string{"serve", "-addr", "127.0.0.1:0", "-subprotocol", "v2"}, []string{"tail"}
		if secure {
			flags = append(flags, "-tls")
		}
		s := start(t, flags...)
		if secure {
			root := filepath.Join(t.TempDir(), "root.pem")
			text := ""
			for !strings.Contains(text, "-----END") {
				line, err := s.out.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				text += line
			}
			if err := os.WriteFile(root, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, stderr, code := run(t, "tail", s.url); code != exitUsage || !strings.Contains(stderr, "certificate") {
				t.Errorf("a certificate nobody vouches for: exit code %d, %q", code, stderr)
			}
			if stdout, stderr, code := run(t, "tail", "-insecure", "-n", "1", "-text", "unseen", s.url); code != exitOK || stdout != "unseen\n" {
				t.Errorf("-insecure: exit code %d, %q, %q", code, stdout, stderr)
			}
			tail = append(tail, "-ca", root)
		}
		tail = append(tail, "-subprotocol", "v1", "-subprotocol", "v2", "-header", "X-Token: a:b", "-timings",
			"-text", "Grüße", "-text", "two", "-n", "2", s.url)
		stdout, stderr, code := run(t, tail...)
		lines := strings.Split(stdout, "\n")
		if code != exitOK || len(lines) != 3 || !strings.HasSuffix(lines[0], " Grüße") || !strings.HasSuffix(lines[1], " two") {
			t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
		}
		for _, want := range []string{" ms  open\n", "subprotocol v2", "2 messages", "closed by this side with"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("no %q in %q", want, stderr)
			}
		}
		if runtime.GOOS == "windows" {
			continue // no interrupt to send
		}
		if code, stderr := s.interrupt(t); code != exitOK || !strings.Contains(stderr, "messages") {
			t.Errorf("serve ends with exit code %d, %q", code, stderr)
		}
	}
}

// Tail prints a feed, and the exchange's goodbye ends it well.
func TestTailAgainstExchange(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no interrupt to send")
	}
	s := start(t, "exchange")
	stdout, stderr, code := run(t, "tail", "-text", `{"op":"subscribe","limit":500}`, s.url)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != exitOK || len(lines) != 501 || !strings.Contains(stderr, "501 messages") {
		t.Fatalf("exit code %d, %d lines, %q", code, len(lines), stderr)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if code, stderr := s.interrupt(t); code != exitOK || stderr != "" {
		t.Errorf("exchange ends with exit code %d, %q", code, stderr)
	}
}

// Help fits into 80 columns, except for words that are longer.
func TestHelpFits(t *testing.T) {
	pages := 0
	for _, c := range slices.Concat([]command{{}}, commands(), conformCommands()) {
		var out bytes.Buffer
		args := append(strings.Fields(c.name), "-h")
		execute(t.Context(), &streams{out: &out, err: &out}, args)
		if out.Len() > 0 {
			pages++
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if before, text, ok := strings.Cut(line, "\t"); ok {
				line = fmt.Sprintf("%-8s%s", before, text)
			}
			if utf8.RuneCountInString(line) > cli.Columns && !strings.HasPrefix(line, "usage: ") {
				t.Errorf("%s: %d columns: %q", c.name, utf8.RuneCountInString(line), line)
			}
		}
	}
	if pages < 12 {
		t.Errorf("%d pages of help", pages)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\tand\nlines": "plain\tand\nlines",
		"\x1b[2Jgone":       `\x1b[2Jgone`,
		"bell\a\u0085":      `bell\x07\x85`,
		"日経 Ø":              "日経 Ø",
	} {
		if got := cli.Printable(in); got != want {
			t.Errorf("cli.Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
