package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// The tests run the command as a process: this one, told to be relay.
const beRelay = "TICKWIRE_TEST_BE_RELAY"

func TestMain(m *testing.M) {
	engine.Main()
	if os.Getenv(beRelay) != "" {
		main()
	}
	os.Exit(m.Run())
}

// relayCommand returns a process of the command. A test that hangs kills it.
func relayCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), beRelay+"=1")
	return cmd
}

// run returns what a process of the command prints, and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := relayCommand(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// A process is a command that runs until it is interrupted.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *bufio.Scanner
	errs  bytes.Buffer
	ended bool
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: relayCommand(t, args...)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	t.Cleanup(func() { p.interrupt() })
	return p
}

// await returns the first line of standard output with a prefix, without that.
func (p *process) await(prefix string) string {
	p.t.Helper()
	for p.out.Scan() {
		if text, ok := strings.CutPrefix(p.out.Text(), prefix); ok {
			return text
		}
	}
	p.cmd.Wait()
	p.ended = true
	p.t.Fatalf("%v ended before it printed %q: %s", p.cmd.Args[1:], prefix, p.errs.String())
	return ""
}

// interrupt sends Ctrl-C, and returns the rest of standard output and the exit code.
func (p *process) interrupt() (rest string, code int) {
	if p.ended {
		return "", p.cmd.ProcessState.ExitCode()
	}
	p.ended = true
	p.cmd.Process.Signal(os.Interrupt)
	for p.out.Scan() {
		rest += p.out.Text() + "\n"
	}
	p.cmd.Wait()
	return rest, p.cmd.ProcessState.ExitCode()
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{nil, exitUsage, "", "usage: relay COMMAND"},
		{[]string{"help"}, exitOK, "usage: relay COMMAND", ""},
		{[]string{"dance"}, exitUsage, "", `there is no command "dance"`},
		{[]string{"demo", "-h"}, exitOK, "-cluster", ""},
		{[]string{"demo", "-duration", "-1s"}, exitUsage, "", "-duration must be positive"},
		{[]string{"demo", "-duration", "1s", "-messages", "5"}, exitUsage, "", "exclude each other"},
		{[]string{"demo", "-rate", "NaN"}, exitUsage, "", "-rate must be"},
		{[]string{"demo", "-clients", "0"}, exitUsage, "", "-clients must be"},
		{[]string{"demo", "x"}, exitUsage, "", `unexpected argument "x"`},
		{[]string{"demo", "-nats", "nats://127.0.0.1:1"}, exitUsage, "", "-nats: "},
		{[]string{"exchange", "-rate", "0"}, exitUsage, "", "-rate must be"},
		{[]string{"exchange", "-listen", "nowhere"}, exitUsage, "", "-listen: "},
		{[]string{"ingest", "-h"}, exitOK, "-number", ""},
		{[]string{"ingest"}, exitUsage, "", "-url is missing"},
		{[]string{"ingest", "-url", "http://x"}, exitUsage, "", "-url: "},
		{[]string{"ingest", "-url", "ws://x"}, exitUsage, "", "-stream is missing"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-url", "ws://y"}, exitUsage, "", "several -url need -number"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-number", "a:"}, exitUsage, "", "-number: want"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-header", "secret"}, exitUsage, "", "-header: want"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-ca", "/nowhere"}, exitUsage, "", "/nowhere"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-cert", "a"}, exitUsage, "", "go together"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-creds", "a", "-user", "b"}, exitUsage, "", "exclude each other"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-password", "a"}, exitUsage, "", "-password goes with -user"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-creds", "/nowhere"}, exitUsage, "", "/nowhere"},
		{[]string{"ingest", "-url", "ws://x", "-stream", "s", "-nats", "nats://127.0.0.1:1"}, exitUsage, "", "-nats: "},
		{[]string{"gateway", "-h"}, exitOK, "-token", ""},
		{[]string{"gateway"}, exitUsage, "", "-stream is missing"},
		{[]string{"gateway", "-stream", "s", "-tls-cert", "x"}, exitUsage, "", "go together"},
		{[]string{"gateway", "-stream", "s", "-tls-cert", "/nowhere", "-tls-key", "/nowhere"}, exitUsage, "", "-tls-cert: "},
		{[]string{"tail", "-h"}, exitOK, "-after", ""},
		{[]string{"tail", "-url", "ws://x"}, exitUsage, "", "-stream is missing"},
		{[]string{"tail", "-url", "ws://x", "-stream", "s", "-start", "x"}, exitUsage, "", "-start must be"},
		{[]string{"tail", "-url", "ws://x", "-stream", "s", "-after", "1.2"}, exitUsage, "", "-after: "},
		{[]string{"tail", "-url", "ws://x", "-stream", "s", "-file", "."}, exitUsage, "", "-file: "},
	} {
		stdout, stderr, code := run(t, test.args...)
		if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
			t.Errorf("relay %q: code %d, %q, %q", test.args, code, stdout, stderr)
		}
		if test.stderr == "" && stderr != "" || test.stdout == "" && stdout != "" || strings.Contains(stdout+stderr, "leash") {
			t.Errorf("relay %q prints too much: %q, %q", test.args, stdout, stderr)
		}
		if code == exitUsage && len(test.args) > 1 && strings.Count(strings.TrimPrefix(stderr, "starting\n"), "\n") != 1 {
			t.Errorf("relay %q: not one line: %q", test.args, stderr)
		}
	}
}

// Secrets of the command line and of the environment are never shown.
func TestSecretsAreHidden(t *testing.T) {
	for _, args := range [][]string{
		{"ingest", "-url", "ws://x", "-stream", "s", "-nats", "nats://me:hunter22@127.0.0.1:1,nats://me:hunter22@127.0.0.1:2"},
		{"ingest", "-url", "ws://me:hunter22@[", "-stream", "s"},
		{"ingest", "-url", "ws://x", "-stream", "s", "-header", "Authorization: Bearer hunter22", "-number", "hunter22:"},
		{"tail", "-url", "ws://me:hunter22@127.0.0.1:1/", "-stream", "s", "hunter22"},
		{"gateway", "-token", "hunter22", "hunter22"},
		{"ingest", "-password=hunter22", "hunter22"},
	} {
		if stdout, stderr, code := run(t, args...); code != exitUsage || strings.Contains(stdout+stderr, "hunter22") {
			t.Errorf("relay %q: code %d, %s%s", args, code, stdout, stderr)
		}
	}
	t.Setenv(tokenVariable, "hunter22")
	t.Setenv(passwordVariable, "hunter23")
	if stdout, stderr, _ := run(t, "gateway", "hunter22", "hunter23"); strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// Output that cannot be written is exit code 1.
func TestOutputFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		t.Log("no /dev/full here")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := relayCommand(t, "exchange")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &errs
	cmd.Run()
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(errs.String(), "the output cannot be written") {
		t.Errorf("code %d, %s", cmd.ProcessState.ExitCode(), errs.String())
	}
}

// The parts by hand: a feed, an ingester, a gateway with a token, and tails that
// continue.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	node, err := engine.New(engine.Options{Name: "node", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Shutdown()
	nats := node.ClientURL()

	if _, stderr, code := run(t, "ingest", "-nats", nats, "-stream", "btc", "-url", "ws://127.0.0.1:1"); code != exitUsage || !strings.Contains(stderr, "no such stream") {
		t.Errorf("without the stream: code %d, %s", code, stderr)
	}
	feed := start(t, "exchange", "-rate", "2000").await(urlLine)
	ingest := start(t, "ingest", "-nats", nats, "-stream", "btc", "-create", "-url", feed, "-number", "n", "-json")
	ingest.await(`{"time":`)
	t.Setenv(tokenVariable, "hunter22")
	gateway := start(t, "gateway", "-nats", nats, "-stream", "btc", "-listen", "127.0.0.1:0")
	url := gateway.await(urlLine)

	if _, stderr, code := run(t, "tail", "-url", url, "-stream", "btc"); code != exitUsage || !strings.Contains(stderr, "401") {
		t.Errorf("without a token: code %d, %s", code, stderr)
	}
	tail := func(args ...string) (stdout, stderr string, code int) {
		return run(t, append([]string{"tail", "-url", url, "-header", "Authorization: Bearer hunter22"}, args...)...)
	}
	if _, stderr, code := tail("-stream", "eth"); code != exitUsage || !strings.Contains(stderr, "no such stream") && !strings.Contains(stderr, "not granted") {
		t.Errorf("another stream: code %d, %s", code, stderr)
	}
	file := filepath.Join(dir, "position")
	var all string
	for range 3 {
		stdout, stderr, code := tail("-stream", "btc", "-start", "oldest", "-file", file, "-n", "500")
		if code != exitOK || !strings.Contains(stderr, "500 messages, 0 gaps") {
			t.Fatalf("tail: code %d, %s", code, stderr)
		}
		all += stdout
	}
	c := &consumer{}
	for line := range strings.Lines(all) {
		n, err := checkFeed([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if c.last.Load() == 0 {
			c.last.Store(n - 1)
		}
		c.number(n)
	}
	if c.lost.Load()+c.doubled.Load()+c.disorder.Load() > 0 || strings.Count(all, "\n") != 1500 {
		t.Errorf("%d lines, %d lost, %d doubled", strings.Count(all, "\n"), c.lost.Load(), c.doubled.Load())
	}

	stdout, stderr, code := tail("-stream", "btc", "-n", "1", "-json")
	var p printed
	if err := json.Unmarshal([]byte(stdout), &p); code != exitOK || err != nil || p.Type != "text" || p.Data == nil || p.Received == nil {
		t.Errorf("tail -json: code %d, %s%s%v", code, stdout, stderr, err)
	}
	after, _, code := tail("-stream", "btc", "-n", "1", "-after", p.Position.String())
	first, _ := checkFeed([]byte(*p.Data))
	second, _ := checkFeed([]byte(strings.TrimSuffix(after, "\n")))
	if code != exitOK || second != first+1 {
		t.Errorf("after %d came %d", first, second)
	}
	other := p.Position
	other.Incarnation++
	if _, stderr, code := tail("-stream", "btc", "-after", other.String()); code != exitUsage || !strings.Contains(stderr, "made anew") {
		t.Errorf("another incarnation: code %d, %s", code, stderr)
	}

	// Ctrl-C ends each in order.
	follow := start(t, "tail", "-url", url, "-header", "Authorization: Bearer hunter22", "-stream", "btc")
	follow.await(`{"n":`)
	if _, code := follow.interrupt(); code != exitOK {
		t.Errorf("tail: code %d, %s", code, follow.errs.String())
	}
	if _, code := gateway.interrupt(); code != exitOK {
		t.Errorf("gateway: code %d, %s", code, gateway.errs.String())
	}
	rest, code := ingest.interrupt()
	if code != exitOK || !strings.Contains(rest, `"counts":{`) {
		t.Errorf("ingest: code %d, %s%s", code, rest, ingest.errs.String())
	}
	if strings.Contains(gateway.errs.String()+follow.errs.String()+ingest.errs.String(), "hunter22") {
		t.Error("the token was shown")
	}
}

// Tail gives up at once if the URL is no gateway's.
func TestTailOfAnotherServer(t *testing.T) {
	feed := start(t, "exchange").await(urlLine)
	if _, stderr, code := run(t, "tail", "-url", feed, "-stream", "btc"); code != exitUsage || !strings.Contains(stderr, "does not speak") {
		t.Errorf("code %d, %s", code, stderr)
	}
}

func TestDisplay(t *testing.T) {
	var b bytes.Buffer
	d := cli.NewTerminalDisplay(&b)
	d.Show(strings.Repeat("é", 100))
	d.Show("short")
	io.WriteString(d, "a line\n")
	d.Show("more")
	d.End()
	want := "\r" + strings.Repeat("é", cli.Columns) + "\rshort" + strings.Repeat(" ", cli.Columns-5) + "\na line\n\rmore\n"
	if b.String() != want {
		t.Errorf("%q\nwant %q", b.String(), want)
	}
}

func TestPrintable(t *testing.T) {
	if got := cli.Printable("a\x1b[2J\tb\u202ec\u0085\n"); got != `a\x1b[2J`+"\tb"+`\u202ec\x85`+"\n" {
		t.Errorf("%q", got)
	}
}

// Users with only the rights that the README names are enough.
func TestPermissions(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	users := []engine.User{{Name: "admin", Password: "hunter22"}}
	for _, name := range []string{"ingester", "gateway"} {
		row := regexp.MustCompile("(?m)^\\| " + name + " \\| ([^|]*) \\|").FindSubmatch(readme)
		if row == nil {
			t.Fatalf("the README does not say what the user %s needs", name)
		}
		user := engine.User{Name: name, Password: "hunter22"}
		for _, subject := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(row[1], -1) {
			user.Publish = append(user.Publish, string(subject[1]))
		}
		users = append(users, user)
	}
	node, err := engine.New(engine.Options{Name: "node", Dir: t.TempDir(), Users: users})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Shutdown) // after the processes
	as := func(command, user string, args ...string) []string {
		return append([]string{command, "-nats", node.ClientURL(), "-user", user, "-password", "hunter22", "-stream", "btc"}, args...)
	}
	feed := start(t, "exchange").await(urlLine)
	line := []string{"-url", feed, "-number", "n", "-json"}
	maker := start(t, as("ingest", "admin", append(line, "-create")...)...)
	maker.await(`{"time":`)
	maker.interrupt()
	start(t, as("ingest", "ingester", line...)...).await(`{"time":`)
	url := start(t, as("gateway", "gateway", "-listen", "127.0.0.1:0")...).await(urlLine)
	for _, from := range []string{"oldest", "now"} {
		if _, stderr, code := run(t, "tail", "-url", url, "-stream", "btc", "-start", from, "-n", "500"); code != exitOK {
			t.Errorf("tail from %s: code %d, %s", from, code, stderr)
		}
	}
}
