package conn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/seed-7f57ff33/tickwire"

// A listed is what go list says of a package.
type listed struct {
	ImportPath, Name, Dir              string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

// name is the import path below the module's.
func (p *listed) name() string { return strings.TrimPrefix(p.ImportPath, modulePath+"/") }

// listPackages returns the packages of the module, nested modules apart.
func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,GoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 8 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	return packages
}

// layers says what each package may import beside the standard library: our own
// packages by their name, others by module path. What tests may import in
// addition stands apart.
var layers = map[string]struct{ imports, tests []string }{
	"asm":                     {[]string{"github.com/klauspost/cpuid/v2"}, []string{"asm"}},
	"asm/asmtest":             {[]string{"asm", "golang.org/x/sys"}, nil},
	"mask":                    {[]string{"asm"}, []string{"mask", "asm", "asm/asmtest"}},
	"utf8":                    {[]string{"asm", "mask"}, []string{"utf8", "mask", "asm", "asm/asmtest"}},
	"frame/buffer":            {[]string{"github.com/valyala/bytebufferpool"}, []string{"frame/buffer"}},
	"frame/buffer/buffertest": {[]string{"frame/buffer"}, nil},
	"frame":                   {[]string{"mask", "utf8", "frame/buffer"}, []string{"frame", "frame/buffer/buffertest", "asm", "asm/asmtest", "fuzz/reference", "fuzz/replay"}},
	"handshake":               {nil, []string{"handshake"}},
	"conn/deflate": {
		[]string{"asm", "utf8", "frame", "frame/buffer", "handshake", "github.com/klauspost/compress"},
		[]string{"conn/deflate", "frame/buffer/buffertest", "asm", "asm/asmtest"},
	},
	"conn": {
		[]string{"mask", "utf8", "frame", "frame/buffer", "handshake", "conn/deflate", "conn/internal/transport", "golang.org/x/sys", "golang.org/x/net"},
		[]string{"conn", "frame/buffer/buffertest", "asm", "conn/internal/conntest", "conn/internal/netsim", "conn/internal/exchange", "fuzz/reference", "fuzz/replay"},
	},
	"conn/redial": {
		[]string{"conn", "frame", "frame/buffer", "handshake", "github.com/klauspost/compress"},
		[]string{"conn/redial", "conn/internal/netsim", "conn/internal/exchange"},
	},
	"conn/gorilla": {
		[]string{"frame", "frame/buffer", "handshake", "conn", "conn/deflate", "golang.org/x/net"},
		[]string{"mask", "conn/internal/netsim"},
	},
	"conn/internal/tls13": {nil, []string{"conn/internal/tls13"}},
	"conn/internal/transport": {
		[]string{"frame/buffer", "conn/internal/tls13", "golang.org/x/sys"},
		[]string{"conn/internal/conntest", "conn/internal/netsim"},
	},
	"conn/internal/conntest": {[]string{"frame", "conn/internal/netsim"}, nil},
	"conn/internal/netsim":   {[]string{"frame", "handshake"}, []string{"conn/internal/netsim"}},
	// The suite is independent of the engine too: it must not import what it tries.
	"conn/internal/conformance": {nil, []string{"conn", "conn/deflate", "conn/internal/conformance"}},
	"conn/internal/exchange":    {[]string{"frame", "conn", "conn/deflate"}, []string{"conn/internal/exchange"}},
	"conn/internal/soak": {
		[]string{"frame", "conn", "conn/deflate", "conn/redial", "conn/internal/exchange", "github.com/HdrHistogram/hdrhistogram-go"}, nil,
	},
	"conn/internal/cli": {nil, nil},
	"conn/cmd/tickwire": {
		[]string{
			"conn/internal/cli", "asm", "frame", "handshake", "conn", "conn/deflate", "conn/redial", "conn/internal/conformance", "conn/internal/exchange",
			"conn/internal/soak",
			"github.com/HdrHistogram/hdrhistogram-go",
		},
		nil,
	},
	// The reference is independent of the engine: it must not import what it judges.
	"fuzz/reference":         {nil, []string{"fuzz/reference"}},
	"fuzz/mutation":          {nil, nil},
	"fuzz/seed":              {[]string{"frame", "conn"}, nil},
	"fuzz/libfuzzer/testing": {nil, []string{"fuzz/libfuzzer/testing"}},
	"fuzz/replay":            {[]string{"mask", "frame", "fuzz/reference"}, []string{"fuzz/replay"}},
	"fuzz": {
		nil,
		[]string{
			"asm", "asm/asmtest", "mask", "utf8", "frame", "frame/buffer", "handshake", "conn", "conn/deflate", "conn/redial",
			"conn/internal/netsim", "fuzz/reference", "fuzz/replay", "github.com/klauspost/compress",
		},
	},
}

// allowed tells whether an import is of the standard library or in a list.
func allowed(path string, list []string) bool {
	if own, ok := strings.CutPrefix(path, modulePath+"/"); ok {
		return slices.Contains(list, own)
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(list, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
}

func TestLayers(t *testing.T) {
	for _, p := range listPackages(t) {
		layer, ok := layers[p.name()]
		if !ok {
			t.Errorf("%s has no place among the layers: give it one in this file", p.name())
			continue
		}
		for _, path := range p.Imports {
			if !allowed(path, layer.imports) {
				t.Errorf("%s must not import %s", p.name(), path)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if !allowed(path, slices.Concat(layer.imports, layer.tests, []string{p.name()})) { // a package _test has the package itself
				t.Errorf("the tests of %s must not import %s", p.name(), path)
			}
		}
	}
}

// impure matches what reads a clock, waits, or talks to the network.
var impure = regexp.MustCompile(`^time\.(Now|Since|Until|Sleep|After|AfterFunc|NewTimer|NewTicker|Tick)$|^net\.(Dial|Listen|Lookup|Resolve|Interface)`)

// Below conn nothing opens a socket, starts a goroutine or reads a clock: what
// those packages do is a function of the bytes they are given.
func TestLayersBelowConnArePure(t *testing.T) {
	pure := []string{"mask", "utf8", "frame", "frame/buffer", "handshake"}
	for _, p := range listPackages(t) {
		if !slices.Contains(pure, p.name()) {
			continue
		}
		for _, path := range []string{"os", "syscall", "context"} {
			if slices.Contains(p.Imports, path) {
				t.Errorf("%s imports %s", p.name(), path)
			}
		}
		for _, file := range p.GoFiles {
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine", fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					of, ok := n.X.(*ast.Ident)
					if ok && impure.MatchString(of.Name+"."+n.Sel.Name) {
						t.Errorf("%s uses %s.%s", fset.Position(n.Pos()), of.Name, n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// Allowed itself must be able to say no.
func TestAllowed(t *testing.T) {
	for _, test := range []struct {
		path string
		want bool
	}{
		{"net/http", true},
		{modulePath + "/frame", true},
		{modulePath + "/frame/buffer", false},
		{"golang.org/x/sys/unix", true},
		{"golang.org/x/system", false},
		{"github.com/valyala/bytebufferpool", false},
	} {
		if got := allowed(test.path, []string{"frame", "golang.org/x/sys"}); got != test.want {
			t.Errorf("%s: %v", test.path, got)
		}
	}
}
