package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// The live line fits 80 columns, also where every number is as long as it gets.
func TestLiveLineFits(t *testing.T) {
	for _, r := range []report{
		{Phase: "full speed", MessagesPerSecond: 99.99e6, MBPerSecond: 123456, AllocsPerMessage: 10},
		{Phase: "fixed rate", MessagesPerSecond: 199_900, MBPerSecond: 999, AllocsPerMessage: 0.0001, Latency: &latency{P50: 999_400, P99: 1e9, P999: 99e9, Max: 1e11}},
		{Phase: "stream", MessagesPerSecond: 1},
	} {
		line := r.short()
		if n := utf8.RuneCountInString(line); n >= 80 || !strings.Contains(line, r.Phase) || !strings.Contains(line, "msg/s") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// What is shown next covers what stood there, in columns.
func TestDisplayCoversTheLineBefore(t *testing.T) {
	var out bytes.Buffer
	d := cli.NewTerminalDisplay(&out)
	d.Show("µµµ")
	d.Show("x")
	fmt.Fprintln(d, "a line")
	d.Show("y")
	d.End()
	if got, want := out.String(), "\rµµµ\rx  \na line\n\ry\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Record and replay show how far they have come on a terminal, and nothing elsewhere.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out locked
	n := 0
	shown := make(chan struct{}, 1)
	p := startProgress(cli.NewTerminalDisplay(&out), func() string {
		n++
		select {
		case shown <- struct{}{}:
		default:
		}
		return fmt.Sprintf("line %d", n)
	})
	select {
	case <-shown:
	case <-time.After(time.Minute):
		t.Fatal("nothing is shown")
	}
	p.end()
	if got := out.String(); !strings.HasPrefix(got, "\rline 1") || !strings.HasSuffix(got, "\n") {
		t.Errorf("%q", got)
	}
	var none bytes.Buffer
	p = startProgress(cli.NewDisplay(&none), func() string { t.Error("asked"); return "" })
	p.end()
	if none.Len() > 0 {
		t.Errorf("%q where there is no terminal", none.String())
	}
}

func TestColours(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if cli.IsTerminal(null) || isTerminalInput(null) {
		t.Error("what drops all is taken for a terminal")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here")
	}
	defer terminal.Close()
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if !cli.IsTerminal(terminal) || !coloured(&cli.Redactor{W: terminal}) {
		t.Error("no colours on a terminal")
	}
	if coloured(io.Discard) {
		t.Error("colours where there is no terminal")
	}
	for name, value := range map[string]string{"NO_COLOR": "1", "TERM": "dumb"} {
		t.Setenv("NO_COLOR", "")
		t.Setenv("TERM", "xterm")
		t.Setenv(name, value)
		if coloured(terminal) {
			t.Errorf("colours with %s=%s", name, value)
		}
	}
}

func TestTierJSON(t *testing.T) {
	t.Parallel()
	stdout, _, code := within(t, "", "tier", "-json")
	var got tiers
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitOK {
		t.Fatalf("%v, exit code %d, %s", err, code, stdout)
	}
	if got.Active != asm.Active().String() || got.CPU != asm.CPU() || got.Arch != runtime.GOARCH || len(got.Available) != len(asm.Available()) || got.Granted != wish() {
		t.Errorf("%+v", got)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	stdout, _, code := within(t, "", "version")
	if code != exitOK || !strings.HasPrefix(stdout, "tickwire ") || !strings.Contains(stdout, runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	stdout, _, code = within(t, "", "version", "-json")
	var v version
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != exitOK || v != readVersion() || v.Go != runtime.Version() {
		t.Errorf("%v, exit code %d, %q", err, code, stdout)
	}
}

// Exchange says how to subscribe, and the command that it names works. Its leash is for
// feed alone.
func TestExchangeSaysHowToSubscribe(t *testing.T) {
	for _, flags := range [][]string{nil, {"-tls"}} {
		s := start(t, append([]string{"exchange"}, flags...)...)
		how := ""
		for !strings.HasPrefix(how, "to subscribe") {
			line, err := s.out.ReadString('\n')
			if err != nil {
				t.Fatalf("%v, %s", err, s.stderr.String())
			}
			how = line
		}
		_, command, _ := strings.Cut(strings.TrimSpace(how), "tickwire ")
		args := strings.Fields(strings.ReplaceAll(command, "'", ""))
		args = append(args[:1:1], append([]string{"-n", "3"}, args[1:]...)...)
		stdout, stderr, code := run(t, args...)
		if code != exitOK || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, `"op":"subscribed"`) {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if help, _, _ := within(t, "", "exchange", "-h"); strings.Contains(help, "leash") || !strings.Contains(help, "  -deflate\n") || !strings.Contains(help, `(default "127.0.0.1:0")`) {
		t.Errorf("%s", help)
	}
}

// The scripts know every command; the one of each shell that is here completes.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "tickwire")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", beTickwire, self), 0o755); err != nil {
		t.Fatal(err)
	}
	for shell := range shells() {
		script, _, code := within(t, "", "completion", shell)
		for _, c := range append(commands(), conformCommands()...) {
			if word := strings.TrimPrefix(c.name, "conform "); code != exitOK || !strings.Contains(script, word) {
				t.Errorf("%s: exit code %d, no %s", shell, code, word)
			}
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here", shell)
			continue
		}
		file := filepath.Join(dir, "script."+shell)
		if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v, %s", shell, err, out)
		}
		if shell != "bash" {
			continue
		}
		for words, want := range map[string]string{
			"tickwire ta": "tail", "tickwire conform s": "server", "tickwire completion f": "fish", "tickwire tail -sn": "-sni",
			"tickwire conform server -htm": "-html", "tickwire exchange -le": "", "tickwire feed -open": "-open-records",
		} {
			cmd := exec.Command(path, "-c", `source "$1"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tickwire; echo "${COMPREPLY[@]}"`, "-", file, words)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", words, got, err, want)
			}
		}
	}
	if _, stderr, code := within(t, "", "completion", "csh"); code != exitUsage || !strings.Contains(stderr, "csh") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
