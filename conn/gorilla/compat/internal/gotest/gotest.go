// Package gotest runs go test and reads its results.
package gotest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Results are the tests that passed, as package/name.
type Results map[string]bool

// Top returns the tests that are not subtests.
func (r Results) Top() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if test := name[strings.LastIndex(name, " ")+1:]; !strings.Contains(test, "/") {
			all = append(all, name)
		}
	}
	return all
}

// event is a line of go test -json.
type event struct{ Action, Package, Test, Output string }

// Run runs go test with args in dir. It writes what failing tests have printed to out.
func Run(dir string, out io.Writer, args ...string) (Results, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	lines, failed := cmd.Output()
	passed := Results{}
	said := map[string]*strings.Builder{}
	in := bufio.NewScanner(bytes.NewReader(lines))
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			continue
		}
		name := e.Package + " " + e.Test
		if said[name] == nil {
			said[name] = new(strings.Builder)
		}
		switch e.Action {
		case "output", "build-output":
			said[name].WriteString(e.Output)
		case "pass":
			if e.Test != "" {
				passed[name] = true
			}
		case "fail", "build-fail":
			fmt.Fprint(out, said[name])
		}
	}
	if failed != nil {
		_, _ = out.Write(stderr.Bytes())
		return passed, fmt.Errorf("go test %s: %w", strings.Join(args, " "), failed)
	}
	return passed, in.Err()
}
