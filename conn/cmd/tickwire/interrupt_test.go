//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C, which reaches the exchange as well, ends a feed with the close
// handshake and the summary of what was consumed so far.
func TestFeedInterrupted(t *testing.T) {
	t.Parallel()
	cmd := tickwire(t, "feed", "-json", "-duration", "10m", "-rate", "1000")
	var out bytes.Buffer
	cmd.Stdout = &out
	live, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	newGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(live)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "msg/s") {
		t.Fatalf("%v: %q", err, line)
	}
	if err := interruptGroup(cmd); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	cmd.Wait()
	var s summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%v: %s%s", err, out.Bytes(), rest)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitOK || !s.Interrupted || !s.Verified || len(s.Phases) != 1 || s.Phases[0].Messages == 0 {
		t.Errorf("exit code %d, %+v, %s", code, s, rest)
	}
}

// The exchange does not outlive a feed that is killed: it holds the other end of
// the pipe that this test reads to its end.
func TestExchangeDiesWithFeed(t *testing.T) {
	t.Parallel()
	cmd := tickwire(t, "feed", "-json", "-duration", "10m", "-rate", "1000")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	lines := bufio.NewReader(read)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "msg/s") {
		t.Fatalf("%v: %q", err, line)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := io.ReadAll(lines); err != nil {
		t.Error(err)
	}
}

// newGroup makes cmd the head of a process group, as a shell does.
func newGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// interruptGroup sends what Ctrl-C sends to every process of the group.
func interruptGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
