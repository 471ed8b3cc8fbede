package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSoak(t *testing.T) {
	report := filepath.Join(t.TempDir(), "SOAK.md")
	stdout, stderr, code := run(t, "soak", "-duration", "3s", "-conns", "20", "-rate", "1000", "-drop", "1s", "-report", report)
	if code != exitOK || !strings.Contains(stdout, "nothing lost") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	for line := range strings.Lines(stdout) {
		if strings.Contains(line, " fds ") && len(line) > 80 {
			t.Errorf("a live line of %d bytes: %s", len(line), line)
		}
	}
	b, err := os.ReadFile(report)
	if err != nil || !strings.Contains(string(b), "`tickwire soak -duration 3s -conns 20 -rate 1000 -drop 1s`") || !strings.Contains(string(b), "nothing lost") {
		t.Errorf("%v: %s", err, b)
	}
}

func TestSoakOtherWays(t *testing.T) {
	for flag, want := range map[string]string{"-churn": "100 connections opened and ended", "-idle": "100 got a Close frame"} {
		stdout, stderr, code := run(t, "soak", flag, "100")
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d: %s%s", flag, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"-churn", "1", "-idle", "1"}, {"-conns", "0"}, {"-rate", "NaN"}, {"-duration", "0s"}, {"-churn", "-1"}} {
		if _, stderr, code := run(t, append([]string{"soak"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}
