package conn_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every exported field that a user of the packages sees has a comment of its own. So go
// doc and an editor's hint say something for each.
func TestEveryFieldIsExplained(t *testing.T) {
	fields := 0
	for _, root := range []string{"../asm", "../mask", "../utf8", "../frame", "../handshake", "."} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				if slices.Contains([]string{"internal", "testdata", "cmd", "examples", "compat", "gen", "node_modules"}, entry.Name()) {
					return filepath.SkipDir
				}
			case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
				n, missing, err := unexplained(path, nil)
				if err != nil {
					return err
				}
				fields += n
				for _, field := range missing {
					t.Errorf("%s has no comment of its own", field)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if fields < 400 {
		t.Errorf("only %d fields were found", fields)
	}
}

// TestUnexplained holds the check itself: it finds what has no comment or a shared one.
func TestUnexplained(t *testing.T) {
	const source = `package p
type T struct {
	A int // has one
	// B has one, too.
	B int
	C, D int // is shared
	E int
	f int
	io.Reader
}
type u struct { A int }`
	n, missing, err := unexplained("p.go", source)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range missing {
		names = append(names, m[strings.LastIndex(m, " ")+1:])
	}
	if n != 5 || !slices.Equal(names, []string{"T.C", "T.D", "T.E"}) {
		t.Errorf("%d fields, %q", n, names)
	}
}

// unexplained counts the exported fields of the exported structs of a file, and returns
// those without a comment of their own. Embedded fields have their type's.
func unexplained(path string, source any) (fields int, missing []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments)
	if err != nil {
		return 0, nil, err
	}
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range group.Specs {
			spec, ok := s.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				continue
			}
			body, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range body.Fields.List {
				for _, name := range f.Names {
					if !name.IsExported() {
						continue
					}
					fields++
					if f.Doc == nil && f.Comment == nil || len(f.Names) > 1 {
						missing = append(missing, files.Position(name.Pos()).String()+" "+spec.Name.Name+"."+name.Name)
					}
				}
			}
		}
	}
	return fields, missing, nil
}
