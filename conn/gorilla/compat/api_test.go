package compat

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	genuinePath = "github.com/gorilla/websocket"
	dropInPath  = "github.com/seed-7f57ff33/tickwire/conn/gorilla"
)

// exportedNames is how many exported names v1.5.3 has, methods and fields among them.
const exportedNames = 95

// load returns a package as the compiler has it, for a module in dir.
func load(t *testing.T, dir, path string) *types.Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", path)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off") // not the -modfile of this test
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		files[p.ImportPath] = p.Export
	}
	p, err := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(files[path])
	}).Import(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// surface returns the exported names of a package with what they are: "Conn.Close" and the
// text of its type, in which both packages have the same name.
func surface(p *types.Package) map[string]string {
	text := func(t types.Type) string {
		s := types.TypeString(t, func(q *types.Package) string {
			if q.Path() == genuinePath || q.Path() == dropInPath {
				return "websocket"
			}
			return q.Path()
		})
		return strings.ReplaceAll(s, "interface{}", "any")
	}
	all := map[string]string{}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Const:
			all[name] = fmt.Sprintf("const %s = %s", text(o.Type()), constant.Val(o.Val()))
		case *types.TypeName:
			named := types.Unalias(o.Type()).(*types.Named)
			all[name] = fmt.Sprintf("type %T", named.Underlying())
			members(all, name, named, text)
		default:
			all[name] = fmt.Sprintf("%T %s", o, text(o.Type()))
		}
	}
	return all
}

// members adds the exported fields and methods of a type.
func members(all map[string]string, name string, t *types.Named, text func(types.Type) string) {
	if s, ok := t.Underlying().(*types.Struct); ok {
		for f := range s.Fields() {
			if f.Exported() {
				all[name+"."+f.Name()] = fmt.Sprintf("field %s embedded %v", text(f.Type()), f.Embedded())
			}
		}
	}
	for _, receiver := range []types.Type{t, types.NewPointer(t)} {
		set := types.NewMethodSet(receiver)
		for m := range set.Methods() {
			if !m.Obj().Exported() {
				continue
			}
			key := name + "." + m.Obj().Name()
			if all[key] == "" { // first those of the value
				all[key] = fmt.Sprintf("method of %s: %s", text(receiver), text(m.Type()))
			}
		}
	}
}

// Every exported name of the genuine module is there with its type, in the package and in
// the module that takes its path.
func TestSurface(t *testing.T) {
	genuine := surface(load(t, ".", genuinePath))
	if len(genuine) != exportedNames {
		t.Errorf("the genuine module has %d exported names, not %d", len(genuine), exportedNames)
	}
	for where, ours := range map[string]map[string]string{
		"conn/gorilla":       surface(load(t, "../../..", dropInPath)),
		"conn/gorilla/alias": surface(load(t, "../alias", genuinePath)),
	} {
		for _, name := range slices.Sorted(maps.Keys(genuine)) {
			if ours[name] != genuine[name] {
				t.Errorf("%s: %s is %q, and %q in the genuine module", where, name, ours[name], genuine[name])
			}
			delete(ours, name)
		}
		var more []string
		for name := range ours {
			if name != "Options" && name != "Options.Strict" && name != "WithOptions" {
				more = append(more, name)
			}
		}
		if len(more) > 0 || len(ours) != 3 {
			t.Errorf("%s has other names too: %v", where, ours)
		}
	}
}

// The comparison itself must be able to say no.
func TestSurfaceSeesDifferences(t *testing.T) {
	p := types.NewPackage(dropInPath, "websocket")
	q := types.NewPackage(genuinePath, "websocket")
	for i, pkg := range []*types.Package{p, q} {
		underlying := types.NewStruct([]*types.Var{types.NewField(0, pkg, "F", types.Typ[types.Int+types.BasicKind(i)], false)}, nil)
		name := types.NewTypeName(0, pkg, "T", nil)
		types.NewNamed(name, underlying, nil)
		pkg.Scope().Insert(name)
		pkg.Scope().Insert(types.NewConst(0, pkg, "C", types.Typ[types.UntypedInt], constant.MakeInt64(int64(i))))
	}
	a, b := surface(p), surface(q)
	if a["T.F"] == b["T.F"] || a["C"] == b["C"] || a["T"] != b["T"] || len(a) != 3 {
		t.Errorf("%v\n%v", a, b)
	}
}
