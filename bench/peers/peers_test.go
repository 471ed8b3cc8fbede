package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the tests' own program be a peer.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "test-") {
		program(os.Args[1], os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// program is a peer that reads no feed: it spends time, and tells what it was asked for.
func program(library string, args []string) {
	before := used()
	for used()-before < 30*time.Millisecond {
	}
	line := Line{Version: strings.Join(args, " "), Messages: 1, CPU: int64(used() - before)}
	switch library {
	case "test-liar":
		line.CPU += int64(time.Second)
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
	}{
		"test-feed":   {feed, "feed ws://h/ messages=7 warm=3 cpu=1000 chunk=2", ""},
		"test-trips":  {trips, "trips wss://h/ messages=7 warm=3 size=128", ""},
		"test-liar":   {feed, "", "of CPU"},
		"test-empty":  {feed, "", "0 messages"},
		"test-broken": {feed, "", "what is wrong"},
	} {
		line, err := own(library).Run(context.Background(), c.request)
		if c.bad == "" && (err != nil || line.Version != c.version) {
			t.Errorf("%s: %+v, %v", library, line, err)
		}
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: error %v", library, err)
		}
	}
	if _, err := (&Peer{Missing: "no cargo here"}).Run(context.Background(), feed); err == nil || err.Error() != "no cargo here" {
		t.Errorf("a peer that is missing: %v", err)
	}
}

// TestRunOnOneCPU: the program begins on the CPU that is asked for, and this process stays where it was.
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

// TestMissingCommandIsNamed: what cannot be built says why.
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
			if !strings.Contains(p.Missing, "no "+command+" here") {
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
