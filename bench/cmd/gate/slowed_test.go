package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A library that allocates and wastes time in each frame.Reader.Next fails the gate, with
// exit code 1 and for both reasons. The unchanged library passes the exact part.
func TestSlowedLibraryFails(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the library at two states")
	}
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "-C", root, "rev-parse", "HEAD").CombinedOutput(); err != nil {
		t.Skipf("no base: %s", out)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "gate")
	if err := command(".", "go", "build", "-o", program, "."); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "frame", "reader.go")
	changed := filepath.Join(dir, "reader.go")
	if err := os.WriteFile(changed, slowed(t, file), 0o666); err != nil {
		t.Fatal(err)
	}
	overlay, _ := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o666); err != nil {
		t.Fatal(err)
	}
	// The overlay replaces the file of this checkout. The base is built elsewhere, as it
	// was committed.
	cmd := exec.Command(program, "-base", "HEAD", "-quick", "-layouts", "1", "-rounds", "5", "-run", "^decode 200 B, client")
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+filepath.Join(dir, "overlay.json"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	for _, want := range []string{"once more, by other programs: decode 200 B, client", "RISEN"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in what it printed", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// slowed returns the file with an allocation and some microseconds of work at the
// beginning of Reader.Next.
func slowed(t *testing.T, file string) []byte {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != "Next" {
			continue
		}
		at := set.Position(f.Body.Lbrace).Offset + 1
		const waste = "\n\twasted = make([]byte, 64)\n\tfor i := range 10_000 {\n\t\twasted[i%64]++\n\t}\n"
		return []byte(string(src[:at]) + waste + string(src[at:]) + "\nvar wasted []byte\n")
	}
	t.Fatalf("%s has no Next", file)
	return nil
}
