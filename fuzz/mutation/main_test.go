package main

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// least is the smallest number of faults in the list.
const least = 100

// TestFaults fails if a fault no longer fits the code. Then update its lines in
// faults.txt.
func TestFaults(t *testing.T) {
	faults, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) < least {
		t.Errorf("%d faults, want %d", len(faults), least)
	}
	names := map[string]bool{}
	for _, f := range faults {
		if names[f.name] {
			t.Errorf("two faults of the name %q", f.name)
		}
		names[f.name] = true
		text, err := f.mutated("../..")
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), f.file, text, parser.SkipObjectResolution); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// The committed table has a row for each fault, and no other.
func TestResultHasEachFault(t *testing.T) {
	b, err := os.ReadFile("RESULT.md")
	if err != nil {
		t.Fatal(err)
	}
	faults, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if !strings.Contains(string(b), "\n| "+f.file+" | "+f.name+" | ") {
			t.Errorf("no row for %s: %s", f.file, f.name)
		}
	}
	if rows := strings.Count(string(b), "\n| ") - 1; rows != len(faults) {
		t.Errorf("%d rows for %d faults", rows, len(faults))
	}
}

func TestParseRefuses(t *testing.T) {
	for _, list := range []string{
		"-a line before the first fault\n",
		"== no name\n",
		"== f.go: name\n+new\n-old\n",
		"== f.go: name\nneither\n",
	} {
		if faults, err := parse(list); err == nil {
			t.Errorf("%q: %v", list, faults)
		}
	}
}

func TestFirstFailure(t *testing.T) {
	for _, c := range []struct{ out, test, where string }{
		{"--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\nFAIL\nFAIL\tm/frame\t0.1s\n", "TestA", "m/frame"},
		{"panic: test timed out after 1s\n\trunning tests:\n\t\tTestB (1s)\n", "the test binary, which broke off", ""},
		{"panic: test timed out after 1s\nrunning tests:\n\tTestB (1s)\nFAIL\tm/conn\t1s\n", "TestB, which never ended", "m/conn"},
		{"fatal error: all goroutines are asleep\nFAIL\tm/conn\t1s\n", "the test binary, which broke off", "m/conn"},
	} {
		if test, where := firstFailure(c.out); test != c.test || where != c.where {
			t.Errorf("%s, %s; want %s, %s", test, where, c.test, c.where)
		}
	}
}

func TestTable(t *testing.T) {
	got := string(table([]result{
		{fault{file: "frame/a.go", name: "one"}, "TestA", "m/frame"},
		{fault{file: "frame/a.go", name: "two"}, "TestB", "m/conn"},
		{fault: fault{file: "frame/a.go", name: "three"}},
	}, 1, "frame", true))
	for _, want := range []string{
		"`go run ./fuzz/mutation -own -run 'frame' -report FILE`",
		"3 faults, each in the code by itself, 2 found",
		"| frame/a.go | one | TestA |\n",
		"| frame/a.go | two | TestB of conn |\n",
		"| frame/a.go | three | **none** |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
