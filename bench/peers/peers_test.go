package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test program run as a peer.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "test-") {
		program(os.Args[1], os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// program is a peer that reads no feed. It spends CPU time, and prints its arguments.
func program(library string, args []string) {
	before := used()
	for used()-before < 30*time.Millisecond {
	}
	line := Line{Version: strings.Join(args, " "), Messages: 1, CPU: int64(used() - before)}
	switch library {
	case "test-liar":
		line.CPU += int64(time.Second)
	case "test-silent":
		fmt.Println("no JSON in", os.Args[0])
		return
	case "test-empty":
		line.Messages = 0
	case "test-broken":
		fmt.Fprintln(os.Stderr, "what is wrong")
		os.Exit(3)
	case "test-cpus":
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			panic(err)
		}
		line.Messages = set.Count()
	}
	json.NewEncoder(os.Stdout).Encode(line)
}

func used() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func own(library string) *Peer {
	return &Peer{Language: "go", Library: library, Program: []string{os.Args[0]}}
}

func TestRun(t *testing.T) {
	feed := Request{Role: "feed", URL: "ws://h/", Messages: 7, Warm: 3, CPU: time.Microsecond, Chunk: 2}
	trips := Request{Role: "trips", URL: "wss://h/", Messages: 7, Warm: 3, Size: 128}
	for library, c := range map[string]struct {
		request Request
		version string
		bad     string
		brief   string
	}{
		"test-feed":   {feed, "feed ws://h/ messages=7 warm=3 cpu=1000 chunk=2", "", ""},
		"test-trips":  {trips, "trips wss://h/ messages=7 warm=3 size=128", "", ""},
		"test-liar":   {feed, "", "of CPU", "1 messages"},
		"test-empty":  {feed, "", "0 messages", "0 messages"},
		"test-broken": {feed, "", "what is wrong", "exit status 3"},
		"test-silent": {feed, "", "no JSON", "printed no figures"},
	} {
		line, err := own(library).Run(context.Background(), c.request)
		if c.bad == "" && (err != nil || line.Version != c.version) {
			t.Errorf("%s: %+v, %v", library, line, err)
		}
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: error %v", library, err)
		}
		if c.bad != "" && !strings.HasPrefix(Short(err), c.brief) {
			t.Errorf("%s: in brief %q", library, Short(err))
		}
	}
	gone := &Peer{Library: "x", Program: []string{filepath.Join(t.TempDir(), "gone")}}
	if _, err := gone.Run(context.Background(), feed); Short(err) != "could not be started" {
		t.Errorf("a program that is not there: %q", Short(err))
	}
	if _, err := (&Peer{Missing: "no cargo here"}).Run(context.Background(), feed); err == nil || err.Error() != "no cargo here" {
		t.Errorf("a peer that is missing: %v", err)
	}
}

// TestRunOnOneCPU: the program starts on the given CPU, and this process keeps its CPUs.
func TestRunOnOneCPU(t *testing.T) {
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	on := 0
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			on = cpu + 1
			break
		}
	}
	line, err := own("test-cpus").Run(context.Background(), Request{Role: "trips", On: on})
	if err != nil || line.Messages != 1 {
		t.Errorf("%d CPUs, %v", line.Messages, err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil || after != before {
		t.Errorf("then %v instead of %v, %v", after, before, err)
	}
}

// TestMissingCommandIsNamed: a peer that cannot be built tells the reason.
func TestMissingCommandIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var said []string
	all, err := Build(".", func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	if err != nil {
		t.Fatal(err)
	}
	for language, command := range map[string]string{"rust": "cargo", "cpp": "g++", "python": "python3", "node": "npm"} {
		n := 0
		for _, p := range all {
			if p.Language != language {
				continue
			}
			n++
			if p.Missing != "no "+command+" here" {
				t.Errorf("%s: %q", p.Name(), p.Missing)
			}
			if !strings.Contains(strings.Join(said, "\n"), p.Name()+" is missing") {
				t.Errorf("nothing said of %s", p.Name())
			}
		}
		if n == 0 {
			t.Errorf("no peer in %s", language)
		}
	}
}

// TestMissingNamesNothingOfTheMachine: the result of a failed build names only the tool.
// Its arguments and its output are only in the progress messages.
func TestMissingNamesNothingOfTheMachine(t *testing.T) {
	bin, cache := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin)
	t.Setenv("XDG_CACHE_HOME", cache)
	const said = "cannot reach https://registry.example:8443/simple from /home/someone"
	for _, tool := range []string{"cargo", "rustc", "g++", "python3", "npm"} {
		script(t, filepath.Join(bin, tool), "echo '"+said+"'; exit 1")
	}
	var progress strings.Builder
	all, err := Build(".", func(format string, args ...any) { fmt.Fprintf(&progress, format+"\n", args...) })
	if err != nil {
		t.Fatal(err)
	}
	brief := map[string]string{
		"rust": "cargo build failed", "cpp": "g++ failed", "python": "venv failed", "node": "npm ci failed",
	}
	for _, p := range all {
		if p.Missing != brief[p.Language] {
			t.Errorf("%s: %q, want %q", p.Name(), p.Missing, brief[p.Language])
		}
		if _, err := p.Run(context.Background(), Request{}); Short(err) != p.Missing {
			t.Errorf("%s, run: %v", p.Name(), err)
		}
	}
	for _, want := range []string{said, cache, "--target-dir"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("no %q in what was said: %s", want, progress.String())
		}
	}
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o777); err != nil {
		t.Fatal(err)
	}
}

// TestBuiltAgain: a build is kept until the source or a tool changes.
func TestBuiltAgain(t *testing.T) {
	source, into := t.TempDir(), t.TempDir()
	tools, built := "g++ 1", 0
	b := builder{
		language: "x",
		build: func(string, string) (map[string][]string, error) {
			built++
			return map[string][]string{"l": {"p"}}, nil
		},
		tools: func(string) string { return tools },
	}
	for i, c := range []struct {
		change func()
		want   int
	}{
		{func() {}, 1},
		{func() {}, 1},
		{func() { tools = "g++ 2" }, 2},
		{func() {}, 2},
		{func() { script(t, filepath.Join(source, "a"), "") }, 3},
	} {
		c.change()
		programs, err := b.fresh(source, into, func(string, ...any) {})
		if err != nil || built != c.want || len(programs["l"]) != 1 {
			t.Errorf("%d: built %d times, want %d: %v, %v", i, built, c.want, programs, err)
		}
	}
}

// TestToolsOfC: an upgrade of the compiler, or of a header of a library, is noticed.
func TestToolsOfC(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	header := filepath.Join(bin, "version.hpp")
	version := func(v string) {
		text := "if [ \"$1\" = --version ]; then echo " + v + "; else echo 'beast.o: beast.cpp " + header + "'; fi"
		script(t, filepath.Join(bin, "g++"), text)
	}
	seen := map[string]bool{}
	for i, change := range []func(){
		func() { version("1") },
		func() { script(t, header, "one") },
		func() { script(t, header, "another") },
		func() { version("2") },
	} {
		change()
		if seen[cppTools(bin)] {
			t.Errorf("change %d is not seen", i)
		}
		seen[cppTools(bin)] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d states", len(seen))
	}
}
