// Sdks runs the websocket tests of SDKs, unchanged from the module cache, with the
// original module and with conn/gorilla instead. What passes with the first must pass
// with the second, and no fewer tests than before.
//
//	go -C conn/gorilla/compat run ./cmd/sdks
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// sdks are the packages, the tests to run, and how many of them pass.
var sdks = []struct {
	pkg    string
	run    string
	wanted int
}{
	{"github.com/adshao/go-binance/v2", "(?i)(ws|websocket)", 4},
	{"github.com/adshao/go-binance/v2/common/websocket", ".", 0},
	{"github.com/adshao/go-binance/v2/futures", "(?i)(ws|websocket)", 3},
	{"github.com/hirokisan/bybit/v2", "(?i)(ws|websocket)", 11},
	{"github.com/olahol/melody", ".", 18},
}

// timed are tests whose result depends on timing, with either module, and so on the load
// of the machine. They are run and reported, but they do not decide.
var timed = map[string]string{
	"TestClient":    "needs its server to be up in time",
	"TestBroadcast": "needs all sessions to be registered in time",
	"TestClose":     "needs all sessions to be registered in time",
	"TestLen":       "needs all sessions to be counted in time",
}

const (
	tries     = 3 // of a test
	shortTime = "3s"
	testTime  = "60s"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sdks:", err)
		os.Exit(1)
	}
}

func run() error {
	temp, err := os.MkdirTemp("", "sdks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, s := range sdks {
		var passed [2][]string
		for i, modfile := range []string{"go.mod", "dropin.mod"} {
			t, err := build(temp, modfile, s.pkg)
			if err != nil {
				return err
			}
			if passed[i], err = t.passing(s.run); err != nil {
				return err
			}
		}
		fmt.Printf("%s: %d tests pass with the genuine module, %d with conn/gorilla\n", s.pkg, len(passed[0]), len(passed[1]))
		if !slices.Equal(passed[0], passed[1]) || len(passed[1]) < s.wanted {
			return fmt.Errorf("want the same ones, and %d at least:\n%v\n%v", s.wanted, passed[0], passed[1])
		}
	}
	return nil
}

// tests are the tests of a package, built with a modfile.
type tests struct{ modfile, file, dir string }

func build(temp, modfile, pkg string) (tests, error) {
	t := tests{modfile: modfile, file: filepath.Join(temp, "tests")}
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-modfile="+modfile, "-o", t.file, pkg).CombinedOutput(); err != nil {
		return t, fmt.Errorf("%s with %s: %w\n%s", pkg, modfile, err, out)
	}
	dir, err := exec.Command("go", "list", "-modfile="+modfile, "-f", "{{.Dir}}", pkg).Output()
	t.dir = strings.TrimSpace(string(dir))
	return t, err
}

// passing returns the tests that pass, without those that are timed.
func (t tests) passing(pattern string) ([]string, error) {
	list, err := t.command("-test.list", pattern).Output()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range strings.Fields(string(list)) {
		if why, ok := timed[name]; ok {
			t.tryTimed(name, why)
		} else if strings.HasPrefix(name, "Test") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	for i := range tries {
		passed, out := t.run(names, testTime)
		if len(passed) == len(names) {
			return passed, nil
		}
		if i == tries-1 {
			return nil, fmt.Errorf("with %s %v pass of %v:\n%s", t.modfile, passed, names, out)
		}
	}
	return nil, nil
}

func (t tests) tryTimed(name, why string) {
	for i := range tries {
		if passed, _ := t.run([]string{name}, shortTime); len(passed) > 0 {
			fmt.Printf("%s passes with %s, at the %d. try; it %s\n", name, t.modfile, i+1, why)
			return
		}
	}
	fmt.Printf("%s passes with %s in none of %d tries; it %s\n", name, t.modfile, tries, why)
}

// run runs tests, and returns those that pass.
func (t tests) run(names []string, limit string) (passed []string, out []byte) {
	out, _ = t.command("-test.v", "-test.run", "^("+strings.Join(names, "|")+")$", "-test.timeout", limit).CombinedOutput()
	for line := range bytes.Lines(out) {
		if name, ok := bytes.CutPrefix(line, []byte("--- PASS: ")); ok {
			name, _, _ = bytes.Cut(name, []byte(" "))
			passed = append(passed, string(name))
		}
	}
	slices.Sort(passed)
	return passed, out
}

func (t tests) command(args ...string) *exec.Cmd {
	cmd := exec.Command(t.file, args...)
	cmd.Dir = t.dir
	return cmd
}
