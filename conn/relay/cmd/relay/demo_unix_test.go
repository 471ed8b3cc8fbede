//go:build unix

package main

import (
	"bufio"
	"bytes"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C, which reaches every process of a terminal, ends the feed. The report is on what
// came, and nothing of that is lost.
func TestDemoInterrupted(t *testing.T) {
	cmd := relayCommand(t, "demo", "-duration", "10m", "-rate", "500", "-clients", "2", "-json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout = &out
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(progress)
	errs, interrupted := "", false
	for lines.Scan() {
		errs += lines.Text() + "\n"
		if strings.Contains(lines.Text(), " delivered, ") && !interrupted {
			interrupted = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Wait()
	if r := parseReport(t, out.String(), errs, cmd.ProcessState.ExitCode()); !r.Interrupted || r.Messages == 0 {
		t.Errorf("%+v", r)
	}
}
