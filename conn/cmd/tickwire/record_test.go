package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// What is recorded from the exchange is what a replay sends, to the byte, whatever the speed.
func TestRecordAndReplay(t *testing.T) {
	const subscribe = `{"op":"subscribe","limit":500}`
	for _, flags := range [][]string{nil, {"-deflate"}} {
		s := start(t, append([]string{"exchange"}, flags...)...)
		file := filepath.Join(t.TempDir(), "feed.rec")
		record := append(append([]string{"record"}, flags...), "-text", subscribe, s.url, file)
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

func TestTellChange(t *testing.T) {
	for by, want := range map[redial.Side]string{redial.ByUs: "ended by this side after", redial.ByPeer: "ended by the peer after"} {
		var b strings.Builder
		tellChange(&b)(redial.Change{State: redial.Down, By: by, Err: conn.ErrClosed})
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
