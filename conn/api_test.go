package conn_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExportedAPI compares what the module exports with the list in
// testdata/api.txt, so that an addition is seen in review. After a change that
// is meant, write the list anew:
//
//	TICKWIRE_UPDATE_API=1 go test -run TestExportedAPI ./conn
func TestExportedAPI(t *testing.T) {
	const golden = "testdata/api.txt"
	var lines []string
	for _, p := range listPackages(t) {
		name := p.name()
		private := p.Name == "main" || strings.Contains("/"+name+"/", "/internal/") ||
			name == "asm/asmtest" || name == "frame/buffer/buffertest" || strings.HasPrefix(name+"/", "fuzz/")
		if !private {
			lines = append(lines, exported(t, name, p.Dir)...)
		}
	}
	slices.Sort(lines)
	if os.Getenv("TICKWIRE_UPDATE_API") != "" {
		if err := os.WriteFile(golden, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	// The checkout may have turned LF into CRLF.
	want := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")), "\n")
	for _, line := range lines {
		if !slices.Contains(want, line) {
			t.Errorf("exported, not listed: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(lines, line) {
			t.Errorf("listed, not exported: %s", line)
		}
	}
	t.Logf("%d exported names", len(lines))
}

// exported returns a line for each exported name of the package in dir, as it
// is built for linux/amd64: constants, variables, functions, methods, types,
// and the exported fields and methods of these.
func exported(t *testing.T, name, dir string) []string {
	t.Helper()
	target := build.Default
	target.GOOS, target.GOARCH, target.BuildTags = "linux", "amd64", nil
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	a := api{fset: token.NewFileSet(), prefix: name + ": "}
	for _, path := range files {
		match, err := target.MatchFile(dir, filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		if !match || strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(a.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			a.declaration(decl)
		}
	}
	return a.lines
}

// An api collects the exported names of one package.
type api struct {
	fset   *token.FileSet
	prefix string
	lines  []string
}

func (a *api) add(format string, args ...any) {
	a.lines = append(a.lines, a.prefix+fmt.Sprintf(format, args...))
}

// text prints a node on one line, without comments.
func (a *api) text(n any) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, a.fset, n); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (a *api) declaration(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() {
			return
		}
		if d.Recv != nil {
			receiver := a.text(d.Recv.List[0].Type)
			if ast.IsExported(strings.TrimLeft(receiver, "*")) {
				a.add("func (%s) %s%s", receiver, d.Name, a.signature(d.Type))
			}
			return
		}
		a.add("func %s%s", d.Name, a.signature(d.Type))
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() {
						a.add("%s %s", d.Tok, name)
					}
				}
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					a.typ(s)
				}
			}
		}
	}
}

// signature is a function's type without the word func.
func (a *api) signature(f *ast.FuncType) string {
	return strings.TrimPrefix(a.text(&ast.FuncType{Params: f.Params, Results: f.Results, TypeParams: f.TypeParams}), "func")
}

func (a *api) typ(s *ast.TypeSpec) {
	switch u := s.Type.(type) {
	case *ast.StructType:
		a.add("type %s struct", s.Name)
		for _, field := range u.Fields.List {
			if len(field.Names) == 0 {
				a.add("type %s struct: %s", s.Name, a.text(field.Type))
			}
			for _, name := range field.Names {
				if name.IsExported() {
					a.add("type %s struct: %s %s", s.Name, name, a.text(field.Type))
				}
			}
		}
	case *ast.InterfaceType:
		a.add("type %s interface", s.Name)
		for _, method := range u.Methods.List {
			for _, name := range method.Names {
				a.add("type %s interface: %s", s.Name, name)
			}
		}
	default:
		a.add("type %s %s", s.Name, a.text(s.Type))
	}
}
