package deflate

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryRequirementHasATest fails for a requirement of permessage-deflate, R69 to R89, that no test here or in package
// conn names. The numbers stand together behind Test: in TestR71R72R74Pairs R71, R72 and R74.
func TestEveryRequirementHasATest(t *testing.T) {
	named := map[string]bool{}
	numbers := regexp.MustCompile(`^Test((?:[RV][0-9]+)+)`)
	for _, pattern := range []string{"*_test.go", "../*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
					if m := numbers.FindStringSubmatch(fn.Name.Name); m != nil {
						for _, n := range strings.Split(m[1], "R")[1:] {
							n, _, _ = strings.Cut(n, "V")
							named[n] = true
						}
					}
				}
			}
		}
	}
	for n := 69; n <= 89; n++ {
		if !named[fmt.Sprint(n)] {
			t.Errorf("R%d has no test", n)
		}
	}
}
