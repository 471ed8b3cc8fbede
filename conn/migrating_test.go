package conn_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A migration is a table of MIGRATING.md: their calls and ours.
type migration struct {
	title, version string
	rows           []migrationRow
}

type migrationRow struct {
	line         int
	theirs, ours []string // the spans of code in each cell
}

// readMigrations returns the tables of MIGRATING.md. What stands before the first one is
// not in a table.
func readMigrations(t *testing.T) []migration {
	t.Helper()
	text := readPage(t, "MIGRATING.md")
	if strings.Contains(text, "```") {
		t.Error("MIGRATING.md has a block of code, which nothing compiles")
	}
	var all []migration
	version := regexp.MustCompile(`^For v?([0-9.]+[0-9])\.`)
	for i, line := range strings.Split(text, "\n") {
		switch title, isTitle := strings.CutPrefix(line, "## "); {
		case isTitle:
			all = append(all, migration{title: title})
		case len(all) == 0:
		case version.MatchString(line):
			all[len(all)-1].version = version.FindStringSubmatch(line)[1]
		case strings.HasPrefix(line, "| `"):
			cells := splitCells(line)
			if len(cells) != 2 {
				t.Fatalf("MIGRATING.md:%d has %d cells", i+1, len(cells))
			}
			row := migrationRow{i + 1, codeSpans(cells[0]), codeSpans(cells[1])}
			if len(row.theirs) == 0 || len(row.ours) == 0 {
				t.Errorf("MIGRATING.md:%d: a cell has no code", row.line)
			}
			all[len(all)-1].rows = append(all[len(all)-1].rows, row)
		case strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "| ---") && !strings.HasSuffix(line, "| tickwire |"):
			t.Errorf("MIGRATING.md:%d is a row that begins with no code", i+1)
		}
	}
	if len(all) > 0 && len(all[0].rows) == 0 {
		all = all[1:]
	}
	return all
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// splitCells splits a row of a table: a bar with a backslash before it is a part of its
// cell.
func splitCells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(strings.Trim(row, "| "), `\|`, bar)
	cells := strings.Split(row, "|")
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), bar, "|")
	}
	return cells
}

func codeSpans(cell string) (spans []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		spans = append(spans, m[1])
	}
	return spans
}

const oursPrelude = `package page

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// What the tables take as given.
var (
	ctx       context.Context
	target    string
	header    http.Header
	data      []byte
	body      []byte
	v         any
	w         http.ResponseWriter
	r         *http.Request
	nc        net.Conn
	l         net.Listener
	deadline  time.Time
	c         *conn.Conn
	m         conn.Message
	err       error
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	jar       http.CookieJar
	tlsConfig *tls.Config
	roots     *x509.CertPool
	proxy     *url.URL
	protocols []string
	upgrader  conn.Upgrader
	group     conn.Group
	poller    conn.Poller
	prepared  *conn.Prepared
	client    *redial.Client
	subscribe func(context.Context, *redial.Session) error
	handler   func(context.Context, redial.Message) error
	h         frame.Header
	key       [4]byte
)

// All imports are used, whatever the tables hold.
var (
	_ = bytes.Clone
	_ = binary.LittleEndian
	_ = errors.Is
	_ = slog.Default
	_ = os.ErrDeadlineExceeded
	_ = strings.EqualFold
	_ deflate.Config
	_ handshake.Error
	_ mask.Key
	_ utf8.Validator
)
`

// What the page calls url is the name of a package here.
func oursSource(all []migration) string {
	var b strings.Builder
	b.WriteString(oursPrelude)
	for _, m := range all {
		for _, row := range m.rows {
			for i, code := range row.ours {
				fmt.Fprintf(&b, "\nfunc row%d_%d() {\n\turl := target\n\t_ = url\n//line MIGRATING.md:%d\n%s\n}\n", row.line, i, row.line, asStatements(code))
			}
		}
	}
	return b.String()
}

// asStatements makes statements of a span: a value is assigned to nothing, and what is
// declared counts as used.
func asStatements(code string) string {
	if expression, err := parser.ParseExpr(code); err == nil {
		if _, call := expression.(*ast.CallExpr); call {
			return code
		}
		return "_ = " + code
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {"+code+"\n}", 0)
	if err != nil {
		return code // the compiler says what is wrong
	}
	used := map[string]bool{}
	use := func(name string) {
		if !used[name] && name != "_" {
			used[name] = true
			code += "; _ = " + name
		}
	}
	for _, s := range file.Decls[0].(*ast.FuncDecl).Body.List {
		switch s := s.(type) {
		case *ast.AssignStmt:
			for _, lhs := range s.Lhs {
				if name, ok := lhs.(*ast.Ident); ok && s.Tok == token.DEFINE {
					use(name.Name)
				}
			}
		case *ast.DeclStmt:
			for _, spec := range s.Decl.(*ast.GenDecl).Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					use(name.Name)
				}
			}
		}
	}
	return code
}

// compile builds a source file as a package of the module in dir, and returns what the
// compiler says.
func compile(t *testing.T, dir, source string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-gcflags=-e", file)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	if err == nil {
		return ""
	}
	return string(out)
}

func TestMigratingCompiles(t *testing.T) {
	all := readMigrations(t)
	if len(all) != 5 {
		t.Errorf("%d tables, not 5", len(all))
	}
	for _, m := range all {
		if len(m.rows) < 20 {
			t.Errorf("%s: %d rows, fewer than 20", m.title, len(m.rows))
		}
	}
	if said := compile(t, ".", oursSource(all)); said != "" {
		t.Errorf("what stands on the right does not compile:\n%s", said)
	}
}

// A name that does not exist has to be found, in a statement and in a value.
func TestMigratingFindsWhatIsWrong(t *testing.T) {
	wrong := []migration{{rows: []migrationRow{
		{line: 7, ours: []string{"c.ReadMassage()"}},
		{line: 8, ours: []string{"conn.Config{ReadBufer: 1}"}},
		{line: 9, ours: []string{"m, err := c.Flush()"}},
	}}}
	said := compile(t, ".", oursSource(wrong))
	for _, want := range []string{"MIGRATING.md:7", "ReadMassage", "MIGRATING.md:8", "ReadBufer", "MIGRATING.md:9"} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing is said of %s:\n%s", want, said)
		}
	}
}

const theirsPrelude = `package page

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	%s
)

var (
	ctx       context.Context
	url       string
	header    http.Header
	data      []byte
	v         any
	w         http.ResponseWriter
	r         *http.Request
	nc        net.Conn
	l         net.Listener
	deadline  time.Time
	err       error
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	jar       http.CookieJar
	tlsConfig *tls.Config
	protocols []string
	%s
)
`

// The other libraries, by the titles of their tables: what is imported, what is given,
// and where its version stands.
var others = map[string]struct{ module, imports, names string }{
	"gorilla/websocket": {"github.com/gorilla/websocket", `"github.com/gorilla/websocket"`,
		"c *websocket.Conn; upgrader websocket.Upgrader; prepared *websocket.PreparedMessage"},
	"coder/websocket": {"github.com/coder/websocket", `"github.com/coder/websocket"; "github.com/coder/websocket/wsjson"`,
		"c *websocket.Conn; _ = wsjson.Read"},
	"lxzan/gws": {"github.com/lxzan/gws", `"github.com/lxzan/gws"`,
		"socket *gws.Conn; handler gws.BuiltinEventHandler; message *gws.Message"},
	"gobwas/ws": {"github.com/gobwas/ws", `"github.com/gobwas/ws"; "github.com/gobwas/ws/wsutil"; "github.com/gobwas/ws/wsflate"`,
		"h ws.Header; key [4]byte; _ = wsutil.ReadData; _ wsflate.Extension"},
}

// What stands on the left is compiled against the other libraries, in the module that has
// them among its requirements.
func TestMigratingOthersCompile(t *testing.T) {
	if os.Getenv("TICKWIRE_TEST_OTHERS") == "" {
		t.Skip("TICKWIRE_TEST_OTHERS is not set: bash .ci/run pages sets it")
	}
	mod := readPage(t, "../bench/go.mod")
	for _, m := range readMigrations(t) {
		o, ok := others[m.title]
		if !ok {
			continue
		}
		if want := o.module + " v" + m.version; !regexp.MustCompile(`(?m)\s` + regexp.QuoteMeta(want) + `$`).MatchString(mod) {
			t.Errorf("%s: bench/go.mod does not have %q", m.title, want)
		}
		var b strings.Builder
		fmt.Fprintf(&b, theirsPrelude, o.imports, o.names)
		for _, row := range m.rows {
			for i, code := range row.theirs {
				fmt.Fprintf(&b, "\nfunc row%d_%d() {\n//line MIGRATING.md:%d\n%s\n}\n", row.line, i, row.line, asStatements(code))
			}
		}
		if said := compile(t, "../bench", b.String()); said != "" {
			t.Errorf("%s: what stands on the left does not compile:\n%s", m.title, said)
		}
	}
}

// The calls of the Python library are looked up in it: each name, and each argument by
// its keyword.
const pythonCheck = `
import ast, inspect, json, sys, socket, ssl, websocket

ws, app, e = websocket.WebSocket(), websocket.WebSocketApp("ws://localhost"), Exception()
OPTIONS = {**dict(inspect.signature(websocket.WebSocket.connect).parameters), **dict(inspect.signature(websocket.WebSocket).parameters)}
DOCUMENTED = inspect.getdoc(websocket.create_connection) + inspect.getdoc(websocket.WebSocket.connect)
for line, code in json.load(sys.stdin):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            eval(ast.unparse(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in ("websocket", "ws", "app"):
            parameters = inspect.signature(eval(ast.unparse(node.func))).parameters
            for keyword in node.keywords:
                known = keyword.arg in parameters or ("options" in parameters and (keyword.arg in OPTIONS or keyword.arg + ":" in DOCUMENTED))
                assert known, f"MIGRATING.md:{line}: {keyword.arg} is no argument of {ast.unparse(node.func)}"
print(websocket.__version__)
`

func TestMigratingPython(t *testing.T) {
	if os.Getenv("TICKWIRE_TEST_OTHERS") == "" {
		t.Skip("TICKWIRE_TEST_OTHERS is not set: bash .ci/run pages sets it")
	}
	for _, m := range readMigrations(t) {
		if m.title != "websocket-client (Python)" {
			continue
		}
		var calls [][2]any
		for _, row := range m.rows {
			for _, code := range row.theirs {
				calls = append(calls, [2]any{row.line, code})
			}
		}
		stdin, err := json.Marshal(calls)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/python3", "-c", pythonCheck)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != m.version {
			t.Errorf("%v\n%s\nthe table is of %s", err, got, m.version)
		}
		return
	}
	t.Error("there is no table of websocket-client")
}
