package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// What is recorded from the exchange is what a replay sends, to the byte, whatever the speed.
func TestRecordAndReplay(t *testing.T) {
	const subscribe = `{"op":"subscribe","limit":500}`
	for _, flags := range [][]string{nil, {"-deflate"}} {
		s := start(t, append([]string{"exchange"}, flags...)...)
		file := filepath.Join(t.TempDir(), "feed.rec")
		record := append(append([]string{"record"}, flags...), "-text", subscribe, "-n", "501", s.url, file)
		if _, stderr, code := run(t, record...); code != exitOK || !strings.Contains(stderr, "501 messages") || !strings.Contains(stderr, "over 1 connections") {
			t.Fatalf("record %v: exit code %d, %q", flags, code, stderr)
		}
		r := start(t, "replay", "-addr", "127.0.0.1:0", "-speed", "0", "-loop", file)
		var outputs [2]string
		for i := range outputs {
			stdout, stderr, code := run(t, append(append([]string{"tail"}, flags...), "-text", "is dropped", r.url)...)
			if code != exitOK || strings.Count(stdout, "\n") != 501 {
				t.Fatalf("tail of a replay: exit code %d, %d lines, %q", code, strings.Count(stdout, "\n"), stderr)
			}
			outputs[i] = stdout
		}
		if outputs[0] != outputs[1] || !strings.Contains(outputs[0], `"n":1000000000000499,`) {
			t.Error("two replays differ, or the last message is missing")
		}
		if len(flags) > 0 {
			if _, stderr, code := run(t, "tail", r.url); code != exitUsage || !strings.Contains(stderr, "permessage-deflate") {
				t.Errorf("a client that does not offer compression: exit code %d, %q", code, stderr)
			}
		}
	}
}

// What cannot be recorded does not cost the recording that is there.
func TestRecordKeepsTheFileOfABadURL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	os.WriteFile(file, []byte("kept"), 0o600)
	if _, stderr, code := run(t, "record", "http://127.0.0.1:1/", file); code != exitUsage || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if b, err := os.ReadFile(file); string(b) != "kept" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

// A server for connections that each do the next of steps; the last one is done again and again.
func steps(t *testing.T, dials *atomic.Int64, steps ...func(nc net.Conn)) (url string) {
	return accept(t, func(nc net.Conn) {
		defer nc.Close()
		n := int(dials.Add(1))
		steps[min(n, len(steps))-1](nc)
	})
}

// says sends one message and says goodbye.
func says(text string, code frame.CloseCode) func(net.Conn) {
	return func(nc net.Conn) {
		if c, err := new(conn.Upgrader).Accept(nc); err == nil {
			c.WriteMessage(conn.Text, []byte(text))
			c.Shutdown(context.Background(), code, "")
		}
	}
}

// breaks sends one message and then a frame that is none.
func breaks(nc net.Conn) {
	if c, err := new(conn.Upgrader).Accept(nc); err == nil {
		c.WriteMessage(conn.Text, []byte("tick"))
		nc.Write([]byte{0xf1, 0}) // reserved bits
		io.Copy(io.Discard, nc)
	}
}

// refuses answers with 403.
func refuses(nc net.Conn) {
	u := conn.Upgrader{Check: func(*handshake.RequestView) (http.Header, error) { return nil, errors.New("no") }}
	u.Accept(nc)
}

// Once there was a connection the command goes on, whatever ends it or an attempt. Until
// then what may be the fault of the command line ends it at once; with -policy strict
// later too. To give up is exit code 1, or 2 if there was no connection.
func TestF81GoodbyeIsNotTheEnd(t *testing.T) {
	t.Parallel()
	done, final := says("tick", frame.CodeNormal), says("tick", frame.CodePolicyViolation)
	const strict = "-policy strict "
	for _, command := range []string{"tail", "record", "feed"} {
		for _, test := range []struct {
			name  string
			steps []func(net.Conn)
			args  string
			code  int
			dials int64
			want  string // on standard error
		}{
			{"enough after three goodbyes", []func(net.Conn){done}, "-n 3", exitOK, 3, "ended by the peer after"},
			{"enough after three goodbyes, strict", []func(net.Conn){done}, strict + "-n 3", exitOK, 3, "ended by the peer after"},
			{"a refusal behind a goodbye goes on", []func(net.Conn){done, refuses, done}, "-n 3", exitOK, 4, "403"},
			{"a refusal behind a goodbye, strict", []func(net.Conn){done, refuses, done}, strict + "-n 3", exitFailed, 2, "403"},
			{"a goodbye for a fault goes on", []func(net.Conn){done, final, done}, "-policy persistent -n 3", exitOK, 3, "1008"},
			{"a goodbye that is final, strict", []func(net.Conn){done, final, done}, strict + "-n 3", exitFailed, 2, "1008"},
			{"a peer that breaks the protocol goes on", []func(net.Conn){breaks, done}, "-n 2", exitOK, 2, "reserved bits"},
			{"a peer that breaks the protocol, strict", []func(net.Conn){breaks, done}, strict + "-n 2", exitFailed, 1, "reserved bits"},
			{"a refusal at once", []func(net.Conn){refuses, done}, "-n 3", exitUsage, 1, "403"},
			{"a refusal at once, persistent", []func(net.Conn){refuses, done}, "-policy persistent -n 3", exitUsage, 1, "403"},
		} {
			if command == "feed" && test.code == exitOK {
				continue // it has no -n: see TestFeedGoesOn
			}
			var dials atomic.Int64
			url := steps(t, &dials, test.steps...)
			flags := strings.Fields(test.args)
			args := map[string][]string{
				"tail":   append(append([]string{"tail", "-reconnect"}, flags...), url),
				"record": append(append([]string{"record"}, flags...), url, filepath.Join(t.TempDir(), "x")),
				"feed":   append([]string{"feed", "-reconnect", "-duration", "1m", "-url", url}, flags[:len(flags)-2]...),
			}[command]
			stdout, stderr, code := run(t, args...)
			if code != test.code || dials.Load() != test.dials || !strings.Contains(stderr, test.want) {
				t.Errorf("%s, %s: exit code %d after %d dials, %q", command, test.name, code, dials.Load(), stderr)
			}
			if n, _ := strconv.Atoi(flags[len(flags)-1]); command == "tail" && test.code == exitOK && stdout != strings.Repeat("tick\n", n) {
				t.Errorf("%s, %s: %q", command, test.name, stdout)
			}
		}
	}
}

// A feed over connections goes on like tail -reconnect, until it is told to stop.
func TestFeedGoesOn(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no interrupt to send")
	}
	var dials atomic.Int64
	enough := make(chan struct{})
	stays := func(nc net.Conn) {
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		close(enough)
		for err == nil {
			_, err = c.ReadMessage()
		}
	}
	url := steps(t, &dials, says("tick", frame.CodeNormal), refuses, says("tick", frame.CodePolicyViolation), stays)
	cmd := tickwire(t, "feed", "-reconnect", "-duration", "10m", "-url", url)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-enough:
	case err := <-ended:
		t.Fatalf("%v after %d dials: %s", err, dials.Load(), out.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || dials.Load() != 4 || !strings.Contains(out.String(), "403") || !strings.Contains(out.String(), "1008") {
		t.Errorf("%v after %d dials: %s", err, dials.Load(), out.String())
	}
}

// A policy that is none, or that nothing would ask, is not passed over.
func TestPolicyFlag(t *testing.T) {
	for _, args := range [][]string{
		{"tail", "-reconnect", "-policy", "Strict", "ws://127.0.0.1:1/"},
		{"tail", "-policy", "strict", "ws://127.0.0.1:1/"},
		{"record", "-policy", "", "ws://127.0.0.1:1/", filepath.Join(t.TempDir(), "x")},
		{"feed", "-policy", "strict", "-url", "ws://127.0.0.1:1/"},
		{"feed", "-policy", "strict"},
	} {
		if _, stderr, code := run(t, args...); code != exitUsage || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "-policy") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

// A file is there: without -force nothing is dialed, and with it nothing is lost before there is a connection.
func TestF81RecordOverwrites(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	url := steps(t, &dials, says("tick", frame.CodeNormal))
	file := filepath.Join(t.TempDir(), "x")
	holds := func(when, want string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: the file holds %q, %v", when, b, err)
		}
	}
	const old = "what was there, longer than the beginning of a recording"
	os.WriteFile(file, []byte(old), 0o600)
	if _, stderr, code := run(t, "record", "-n", "1", url, file); code != exitUsage || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "-force") || dials.Load() != 0 {
		t.Errorf("exit code %d after %d dials, %q", code, dials.Load(), stderr)
	}
	holds("without -force", old)
	refused := steps(t, new(atomic.Int64), refuses)
	if _, stderr, code := run(t, "record", "-force", refused, file); code != exitUsage {
		t.Errorf("refused: exit code %d, %q", code, stderr)
	}
	holds("without a connection", old)
	if _, stderr, code := run(t, "record", "-force", "-duration", "300ms", "ws://127.0.0.1:1/", file); code != exitFailed {
		t.Errorf("nobody there: exit code %d, %q", code, stderr)
	}
	holds("with nobody there", old)
	if _, stderr, code := run(t, "record", "-force", "-n", "1", url, file); code != exitOK {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	holds("recorded", "tickwire recording 1\n\x01")
	if b, _ := os.ReadFile(file); strings.Contains(string(b), "longer") {
		t.Errorf("the recording holds %q", b)
	}
	if _, stderr, code := run(t, "replay", "-addr", "nonsense", file); code != exitUsage || !strings.Contains(stderr, "-addr") {
		t.Errorf("the recording cannot be read: exit code %d, %q", code, stderr)
	}
	fresh := file + "-new"
	run(t, "record", refused, fresh)
	if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a new file without a connection is left: %v", err)
	}
	for _, where := range []string{filepath.Join(file+"-no-folder", "x"), t.TempDir()} {
		if _, stderr, code := run(t, "record", "-force", url, where); code != exitUsage || dials.Load() != 1 {
			t.Errorf("%s: exit code %d, %q", where, code, stderr)
		}
	}
}

// disk is a file on a disk with so much room.
type disk struct {
	room              int
	truncates, closes error
}

var errFull = errors.New("no room")

func (d *disk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return max(d.room+len(p), 0), errFull
	}
	return len(p), nil
}
func (d *disk) Truncate(int64) error { return d.truncates }
func (d *disk) Close() error         { return d.closes }

// A recording that cannot be written ends at once, not with the feed, and is exit code 1.
func TestF81RecordOnAFullDisk(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) { // a feed without an end
		defer nc.Close()
		c, err := new(conn.Upgrader).Accept(nc)
		for tick := []byte("tick"); err == nil; {
			err = c.WriteMessage(conn.Text, tick)
		}
	})
	for name, target := range map[string]*target{
		"no room at all":            {file: &disk{}},
		"no room after a while":     {file: &disk{room: 100_000}},
		"it cannot be emptied":      {file: &disk{truncates: errFull, room: 1 << 30}, old: true},
		"it was empty, and is full": {file: &disk{}, old: true},
	} {
		limit := 0
		var stderr strings.Builder
		err := record(t.Context(), &streams{err: &stderr}, new(conn.Dialer), url, &clientFlags{limit: &limit}, redial.Persistent, target)
		var bad *cli.UsageError
		if !errors.Is(err, errFull) || errors.As(err, &bad) {
			t.Errorf("%s: %v, %s", name, err, stderr.String())
		}
	}
	limit := 5
	err := record(t.Context(), &streams{err: io.Discard}, new(conn.Dialer), url, &clientFlags{limit: &limit}, redial.Persistent, &target{file: &disk{room: 1 << 30, closes: errFull}})
	if !errors.Is(err, errFull) {
		t.Errorf("it cannot be closed: %v", err)
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	if _, stderr, code := run(t, "record", url, "/dev/full"); code != exitFailed || !strings.Contains(stderr, "no space left") {
		t.Errorf("/dev/full: exit code %d, %q", code, stderr)
	}
}

// A recording that is cut within a record is served up to there.
func TestReplayOfACutRecording(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) {
		defer nc.Close() // without a goodbye
		if c, err := new(conn.Upgrader).Accept(nc); err == nil {
			c.WriteMessage(conn.Text, []byte("tick"))
		}
	})
	file := filepath.Join(t.TempDir(), "x")
	if _, stderr, code := run(t, "record", "-n", "2", url, file); code != exitOK {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(file, b[:len(b)-1], 0o600) // the end of the second connection
	r := start(t, "replay", "-addr", "127.0.0.1:0", "-speed", "0", file)
	if stdout, stderr, code := run(t, "tail", r.url); code != exitOK || stdout != "tick\n" {
		t.Errorf("the whole connection: exit code %d, %q, %q", code, stdout, stderr)
	}
	if stdout, stderr, code := run(t, "tail", r.url); code != exitFailed || stdout != "tick\n" {
		t.Errorf("the cut connection: exit code %d, %q, %q", code, stdout, stderr)
	}
	os.WriteFile(file, append([]byte("tickwire recording 1\n"), b[30:]...), 0o600)
	if _, stderr, code := run(t, "replay", file); code != exitUsage || strings.Count(stderr, "\n") != 1 {
		t.Errorf("a damaged recording: exit code %d, %q", code, stderr)
	}
}

func TestTellChange(t *testing.T) {
	for by, want := range map[redial.Side]string{redial.ByUs: "ended by this side after", redial.ByPeer: "ended by the peer after"} {
		var b strings.Builder
		printChange(&b)(redial.Change{State: redial.Down, By: by, Err: conn.ErrClosed})
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q, want %q", b.String(), want)
		}
	}
}

func TestReplayRefusesWhatIsNoRecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	os.WriteFile(file, []byte("something else entirely"), 0o600)
	for _, args := range [][]string{{"replay", file}, {"replay", file + "-none"}, {"replay", "-speed", "-1", file}} {
		if _, stderr, code := run(t, args...); code != exitUsage || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}
