package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

func TestSeedsOfARecording(t *testing.T) {
	dir := t.TempDir()
	n, err := seedFile("../testdata/feed.rec", false, false, 20, dir)
	if err != nil || n < 5 {
		t.Fatal(n, err)
	}
	again, err := seedFile("../testdata/feed.rec", false, false, 20, dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || again != n || len(files) != n {
		t.Errorf("%d seeds, then %d, %d files, %v", n, again, len(files), err)
	}
}

func TestSeedsOfARawStream(t *testing.T) {
	part := frame.AppendFrame(nil, frame.Header{Opcode: frame.Text, Masked: true, Key: 1}, []byte("日"))
	rest := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Continuation, Masked: true, Key: 2}, []byte("経"))
	message := append(part, rest...)
	path := filepath.Join(t.TempDir(), "raw")
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(append(bytes.Repeat(message, 3), part...))
	dir := filepath.Join(t.TempDir(), "seeds")
	// The last fragment is a whole frame, though not a whole message.
	if n, err := seedFile(path, true, true, 1, dir); err != nil || n != 4 {
		t.Fatal(n, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 2 { // three are the same
		t.Fatal(files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\nbyte('\\x01')\n[]byte(") {
			t.Errorf("%q, %v", b, err)
		}
	}
	write([]byte{0x81})
	if n, err := seedFile(path, true, false, 1, dir); err == nil {
		t.Error("seeds of a cut header:", n)
	}
	write([]byte("no recording"))
	if _, err := seedFile(path, false, false, 1, dir); err == nil {
		t.Error("no error for what is no recording")
	}
}
