package conn_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The programs in the README are the compiled examples, letter for letter.
func TestReadmeShowsTheExamples(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "example_test.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{} // by the example's name, one tab less
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(f.Name.Name, "Example") {
			continue
		}
		body := string(source[fset.Position(f.Body.Lbrace).Offset+1 : fset.Position(f.Body.Rbrace).Offset])
		bodies[f.Name.Name] = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n\t", "\n"))
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(readme), "\r\n", "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)\n```").FindAllStringSubmatch(text, -1)
	shown := map[string]bool{}
	for _, block := range blocks {
		name := ""
		for n, body := range bodies {
			if block[1] == body {
				name = n
			}
		}
		if name == "" {
			t.Errorf("no example has this body:\n%s", block[1])
		}
		shown[name] = true
		if lines := strings.Count(block[1], "\n") + 1; lines > 18 {
			t.Errorf("%s has %d lines: too long for a README", name, lines)
		}
	}
	for _, name := range []string{"ExampleDial", "ExampleUpgrade"} {
		if !shown[name] {
			t.Errorf("the README does not show %s", name)
		}
	}
	for _, command := range []string{"go run ./conn/cmd/tickwire feed", "go test ./..."} {
		if !strings.Contains(text, "\n"+command+"\n") {
			t.Errorf("the README does not name %s", command)
		}
	}
}
