// Command mutation tests the tests. It puts small faults into the code, one at a time,
// and runs the tests with each. Every fault must be found.
//
//	go run ./fuzz/mutation                   all of them: an hour or more
//	go run ./fuzz/mutation -run 'decoder'    those whose file or name matches
//	go run ./fuzz/mutation -own              with the tests of the fault's own package only
//	go run ./fuzz/mutation -report FILE      writes the table too
//
// faults.txt lists the faults. Its test says which of them do not fit the code any more.
//
// The tests of the fault's own package run first, thinned out (-short). If they find
// nothing, all tests of the module run. Before a package's first fault its own tests must
// pass. No file of the tree changes: the compiler gets the changed text as an overlay.
//
// The exit status is 1 if a fault was not found, and 2 if one could not be tried.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// testTimeout ends a test binary in which a fault makes something wait for ever.
const testTimeout = 5 * time.Minute

func main() {
	run := flag.String("run", "", "try only the faults whose file or name matches the regular `expression`")
	own := flag.Bool("own", false, "run the tests of the fault's own package, and no others")
	report := flag.String("report", "", "write the table to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	missed, err := runFaults(ctx, *run, *own, *report)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(2)
	case missed > 0:
		os.Exit(1)
	}
}

// result is the result of one fault.
type result struct {
	fault
	test string // the first test that failed; "" if none did
	pkg  string // its package
}

// runFaults tries the faults that match. It returns how many were not found.
func runFaults(ctx context.Context, pattern string, own bool, report string) (missed int, err error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return 0, err
	}
	faults, err := parse(list)
	if err != nil {
		return 0, fmt.Errorf("faults.txt: %w", err)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	var results []result
	sound := map[string]bool{} // packages whose tests pass without a fault
	for _, f := range faults {
		if !match.MatchString(f.file + ": " + f.name) {
			continue
		}
		if dir := path.Dir(f.file); !sound[dir] {
			if out, err := test(ctx, root, "", ownTests(f)); err != nil {
				return missed, fmt.Errorf("%s, without a fault: %w\n%s", dir, err, out)
			}
			sound[dir] = true
		}
		start := time.Now()
		r, err := tryFault(ctx, root, f, own)
		if err != nil {
			return missed, err
		}
		results = append(results, r)
		verdict := r.test
		if verdict == "" {
			verdict = "NOT FOUND"
			missed++
		}
		fmt.Printf("%s: %s: %s (%.0f s)\n", f.file, f.name, verdict, time.Since(start).Seconds())
	}
	fmt.Printf("%d faults, %d found\n", len(results), len(results)-missed)
	if report == "" {
		return missed, nil
	}
	return missed, os.WriteFile(report, table(results, missed, pattern, own), 0o644)
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// tryFault runs the tests with one fault in the code.
func tryFault(ctx context.Context, root string, f fault, own bool) (result, error) {
	text, err := f.mutated(root)
	if err != nil {
		return result{}, err
	}
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	overlay, err := writeOverlay(dir, filepath.Join(root, f.file), text)
	if err != nil {
		return result{}, err
	}
	runs := [][]string{ownTests(f), {"./..."}}
	if own {
		runs = runs[:1]
	}
	for _, args := range runs {
		out, err := test(ctx, root, overlay, args)
		if err == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return result{}, err
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || bytes.Contains(out, []byte("[build failed]")) {
			return result{}, fmt.Errorf("%s: %s: %w\n%s", f.file, f.name, err, out)
		}
		found, where := firstFailure(string(out))
		return result{f, found, where}, nil
	}
	return result{fault: f}, nil
}

// ownTests returns the arguments of go test for the fault's own package.
func ownTests(f fault) []string { return []string{"-short", "./" + path.Dir(f.file)} }

// writeOverlay writes a file that makes the go command compile text instead of file.
func writeOverlay(dir, file, text string) (overlay string, err error) {
	changed := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o644)
}

// test runs go test. overlay may be "". vet is off: a fault that only vet finds is not
// found by a test.
func test(ctx context.Context, root, overlay string, args []string) ([]byte, error) {
	args = append([]string{"test", "-overlay", overlay, "-failfast", "-vet=off",
		"-timeout", testTimeout.String()}, args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	return cmd.CombinedOutput()
}

var (
	failedTest    = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	failedSubtest = regexp.MustCompile(`(?m)^ +--- FAIL: (\S+)`)
	runningTest   = regexp.MustCompile(`(?m)^\t((?:Test|Fuzz|Example)\S*) \(`)
	failedPackage = regexp.MustCompile(`(?m)^FAIL\t(\S+)`)
)

// firstFailure returns the first test that failed and its package, from the output of go
// test.
func firstFailure(out string) (test, where string) {
	if m := failedPackage.FindStringSubmatch(out); m != nil {
		where = m[1]
	}
	switch m := failedTest.FindStringSubmatch(out); {
	case m != nil:
		return m[1], where
	case strings.Contains(out, "panic: test timed out"):
		if m := runningTest.FindStringSubmatch(out); m != nil {
			return m[1] + ", which never ended", where
		}
	}
	if m := failedSubtest.FindStringSubmatch(out); m != nil {
		return m[1], where
	}
	return "the test binary, which broke off", where
}

// table returns the report.
func table(results []result, missed int, pattern string, own bool) []byte {
	var b bytes.Buffer
	command := "go run ./fuzz/mutation"
	if own {
		command += " -own"
	}
	if pattern != "" {
		command += " -run '" + pattern + "'"
	}
	fmt.Fprintf(&b, "# Faults that the tests find\n\n"+
		"Written by `%s -report FILE`: %d faults, each in the code by itself, %d found.\n\n"+
		"| file | what is wrong then | the first test that fails |\n|---|---|---|\n", command, len(results), len(results)-missed)
	for _, r := range results {
		found := "**none**"
		if r.test != "" {
			found = r.test
		}
		if own := path.Dir(r.file); r.test != "" && !strings.HasSuffix(r.pkg, "/"+own) {
			found += " of " + path.Base(r.pkg)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.file, r.name, found)
	}
	return b.Bytes()
}
