package frame_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of requirements and tests into fuzz/README.md")

// requirements are those that the bytes alone decide. This package must keep them.
var requirements = []struct{ id, text string }{
	{"R1", "a server fails on an unmasked frame"},
	{"R2", "a client fails on a masked frame"},
	{"R3", "a server never masks"},
	{"R4", "a client masks every frame"},
	{"R5", "each frame has a new, unpredictable key"},
	{"R6", "RSV bits that nothing negotiated are refused"},
	{"R7", "reserved opcodes are refused at the header"},
	{"R8", "lengths of 7, 16 and 64 bits, in network order"},
	{"R9", "lengths are sent in their shortest form"},
	{"R10", "lengths are received in their shortest form only"},
	{"R11", "the top bit of a 64-bit length is 0"},
	{"R12", "a length above a limit is refused at the header"},
	{"R13", "a continuation is inside a message"},
	{"R14", "no new data frame inside a message"},
	{"R15", "control frames may come between fragments"},
	{"R16", "fragment borders mean nothing; empty fragments are legal"},
	{"R18", "all fragments have the type of the first"},
	{"R19", "control frames are short and whole"},
	{"R22", "a Close body is empty or at least two bytes"},
	{"R23", "the close codes that may be received"},
	{"R24", "the close codes that may be sent"},
	{"R25", "a close reason is UTF-8 and at most 123 bytes"},
	{"R29", "1005 and 1006 report what did not come"},
	{"R31", "text is UTF-8 as a whole message"},
	{"R32", "the first impossible byte fails at once"},
	{"R33", "what UTF-8 is, exactly"},
	{"R35", "a message is its application data, however it is cut"},
	{"R36", "any input outside the protocol fails"},
}

var requirementInName = regexp.MustCompile(`[RV][0-9]+`)

// tests returns, for each requirement or bug class, the names of the tests in a directory
// that name it.
func tests(t *testing.T, dir string) map[string][]string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d test files, %v", dir, len(files), err)
	}
	named := map[string][]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") {
				continue
			}
			// The numbers come together after Test: TestR7R12VerdictAtTheHeader names R7
			// and R12.
			rest := strings.TrimPrefix(fn.Name.Name, "Test")
			for {
				at := requirementInName.FindStringIndex(rest)
				if at == nil || at[0] != 0 {
					break
				}
				named[rest[:at[1]]] = append(named[rest[:at[1]]], fn.Name.Name)
				rest = rest[at[1]:]
			}
		}
	}
	for _, names := range named {
		slices.Sort(names)
	}
	return named
}

// TestEveryRequirementHasATest fails for a requirement that no test of this package
// names. It also fails if a table in fuzz/README.md names a test that does not exist.
func TestEveryRequirementHasATest(t *testing.T) {
	named := tests(t, ".")
	var table strings.Builder
	table.WriteString("| | Requirement | Tests in `frame` |\n|---|---|---|\n")
	for _, r := range requirements {
		if len(named[r.id]) == 0 {
			t.Errorf("%s (%s) has no test", r.id, r.text)
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", r.id, r.text, strings.Join(named[r.id], ", "))
	}
	const readme, begin, end = "../fuzz/README.md", "<!-- requirements: go test ./frame -run EveryRequirement -update -->", "<!-- end -->"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	old, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", readme)
	}
	if *update {
		text = slices.Concat(before, []byte(begin+"\n"+table.String()+end), after)
		if err := os.WriteFile(readme, text, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, r := range requirements {
		if !bytes.Contains(old, []byte("| "+r.id+" |")) {
			t.Errorf("the table in %s lacks %s", readme, r.id)
		}
	}
	for _, name := range regexp.MustCompile(`Test[RV]\w+`).FindAllString(string(old), -1) {
		id := requirementInName.FindString(name)
		if !slices.Contains(named[id], name) {
			t.Errorf("the table in %s names %s, which does not exist: run with -update", readme, name)
		}
	}
}
