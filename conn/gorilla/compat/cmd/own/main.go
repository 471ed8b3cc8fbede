// Own runs the original module's tests against conn/gorilla. It takes them from the
// module cache, and overlays them for this run. It fails if a test fails, or if fewer run
// than before.
//
//	go -C conn/gorilla/compat run ./cmd/own
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/gorilla/compat/internal/gotest"
)

const (
	genuinePath = "github.com/gorilla/websocket"
	dropInPath  = "github.com/seed-7f57ff33/tickwire/conn/gorilla"

	// wanted is how many of the tests run.
	wanted = 53
)

// skipped are the tests of internals of the original module.
var skipped = map[string]string{
	"TestTruncWriter":     "a writer inside its compression; package deflate cuts the tail off by itself",
	"TestMaskBytes":       "its masking; that of package mask has tests of its own",
	"BenchmarkMaskBytes":  "as TestMaskBytes",
	"TestPreparedMessage": "compares masked bytes under a seed of math/rand; keys here come from crypto/rand (TestPreparedMessage of conn/gorilla unmasks)",
	"TestBufioReuse":      "looks for net/http's buffers inside the connection, which keeps none",
	"TestParseExtensions": "its parser; that of package handshake has tests of its own, and refuses a malformed line as a whole",
}

// Expressions that use internals of a connection are replaced: see shim.go.txt.
var (
	compressing = regexp.MustCompile(`(?m)^(\t+)(\w+)\.new(?:Com|Decom)pression(?:Writer|Reader) = (?:de)?compressNoContextTakeover$`)
	enabling    = regexp.MustCompile(`(?m)^(\t+)(\w+)\.enableWriteCompression = true$`)
)

//go:embed shim.go.txt
var shim []byte

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "own:", err)
		os.Exit(1)
	}
}

func run() error {
	genuine, err := dirOf("list", "-m", "-f", "{{.Dir}}", genuinePath)
	if err != nil {
		return err
	}
	ours, err := dirOf("list", "-f", "{{.Dir}}", dropInPath)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "own")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	overlay, err := lay(genuine, ours, temp)
	if err != nil {
		return err
	}
	results, err := gotest.Run(ours, os.Stdout, "-overlay="+overlay, "-count=1", ".")
	if err != nil {
		return err
	}
	passed := results.Top()
	fmt.Printf("%d of the genuine module's tests pass\n", len(passed))
	if len(passed) < wanted {
		return fmt.Errorf("that are fewer than %d: %v", wanted, passed)
	}
	return nil
}

// dirOf returns a folder from the output of go list.
func dirOf(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// lay writes an overlay for go test: without our tests, with the original ones.
func lay(genuine, ours, temp string) (string, error) {
	replace := map[string]string{}
	own, err := filepath.Glob(filepath.Join(ours, "*_test.go"))
	if err != nil {
		return "", err
	}
	for _, file := range own {
		replace[file] = ""
	}
	files, err := filepath.Glob(filepath.Join(genuine, "*_test.go"))
	if err != nil {
		return "", err
	}
	unused := map[string]string{}
	for name, why := range skipped {
		unused[name] = why
	}
	put := func(name string, text []byte) error {
		to := filepath.Join(temp, name)
		replace[filepath.Join(ours, "genuine_"+name)] = to
		return os.WriteFile(to, text, 0o644)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if text, err = adapt(file, text, unused); err != nil {
			return "", err
		}
		if err := put(filepath.Base(file), text); err != nil {
			return "", err
		}
	}
	for name := range unused {
		return "", fmt.Errorf("there is no %s to be skipped", name)
	}
	if err := put("shim_test.go", shim); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(temp, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o644)
}

// adapt removes the skipped tests from a file, and from unused. It also replaces what
// uses internals of a connection.
func adapt(name string, text []byte, unused map[string]string) ([]byte, error) {
	text = compressing.ReplaceAll(text, []byte("${1}compressTest($2)"))
	text = enabling.ReplaceAll(text, []byte("${1}$2.EnableWriteCompression(true)"))
	text = bytes.ReplaceAll(text, []byte(strconv.Quote(genuinePath)), []byte(strconv.Quote(dropInPath)))
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f.Decls = slices.DeleteFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || skipped[fn.Name.Name] == "" {
			return false
		}
		fmt.Printf("skipped: %s: %s\n", fn.Name.Name, skipped[fn.Name.Name])
		delete(unused, fn.Name.Name)
		return true
	})
	dropImports(f)
	var b bytes.Buffer
	err = format.Node(&b, fset, f)
	return b.Bytes(), err
}

// dropImports removes the imports that the remaining functions do not use.
func dropImports(f *ast.File) {
	used := map[string]bool{}
	for _, d := range f.Decls {
		ast.Inspect(d, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok {
					used[x.Name] = true
				}
			}
			return true
		})
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.IMPORT {
			continue
		}
		g.Specs = slices.DeleteFunc(g.Specs, func(s ast.Spec) bool {
			p, _ := strconv.Unquote(s.(*ast.ImportSpec).Path.Value)
			return !used[path.Base(p)] && p != dropInPath
		})
	}
	f.Decls = slices.DeleteFunc(f.Decls, func(d ast.Decl) bool {
		g, ok := d.(*ast.GenDecl)
		return ok && g.Tok == token.IMPORT && len(g.Specs) == 0
	})
}
