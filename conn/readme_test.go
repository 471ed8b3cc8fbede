package conn_test

import (
	"bufio"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The files whose examples the README shows.
var readmeExamples = []string{"example_test.go", "redial/example_readme_test.go"}

// readmeLines has the examples that the README must show, and how long they may be.
var readmeLines = map[string]int{
	"ExampleClient_feed":           20,
	"ExampleDial":                  15,
	"ExampleServer_untilInterrupt": 15,
	"ExampleUpgrade":               15,
}

// readmeBodies returns the bodies of the examples by their names, one tab less, and the
// imports that they need.
func readmeBodies(t *testing.T) (bodies map[string]string, imports map[string][]string) {
	t.Helper()
	bodies, imports = map[string]string{}, map[string][]string{}
	for _, name := range readmeExamples {
		source := readPage(t, name)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Example") {
				continue
			}
			body := source[fset.Position(f.Body.Lbrace).Offset+1 : fset.Position(f.Body.Rbrace).Offset]
			bodies[f.Name.Name] = strings.TrimSpace(strings.ReplaceAll(body, "\n\t", "\n"))
			for _, spec := range file.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				if regexp.MustCompile(`\b` + path[strings.LastIndexByte(path, '/')+1:] + `\.`).MatchString(body) {
					imports[f.Name.Name] = append(imports[f.Name.Name], spec.Path.Value)
				}
			}
		}
	}
	return bodies, imports
}

// The programs in the README are the compiled examples, letter for letter.
func TestReadmeShowsTheExamples(t *testing.T) {
	bodies, _ := readmeBodies(t)
	text := readPage(t, "../README.md")
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)\n```").FindAllStringSubmatch(text, -1) {
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
		most, ok := readmeLines[name]
		if !ok {
			most = 18
		}
		if lines := strings.Count(block[1], "\n") + 1; lines > most {
			t.Errorf("%s has %d lines: too long for a README", name, lines)
		}
	}
	for name := range readmeLines {
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

// A program is an example of the README, built and begun.
type program struct {
	*exec.Cmd
	lines chan string // of both outputs
}

func startExample(t *testing.T, name, from, to string) *program {
	t.Helper()
	bodies, imports := readmeBodies(t)
	if !strings.Contains(bodies[name], from) {
		t.Fatalf("%s does not have %s", name, from)
	}
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "example")
	source := fmt.Sprintf("package main\n\nimport (\n%s\n)\n\nfunc main() {\n%s\n}\n",
		strings.Join(imports[name], "\n"), strings.ReplaceAll(bodies[name], from, to))
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, source)
	}
	p := &program{exec.Command(binary), make(chan string, 1000)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = w, w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { p.Process.Kill() })
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// until returns the first line that has the text.
func (p *program) until(t *testing.T, text string) string {
	t.Helper()
	var before []string
	for line := range p.lines {
		if strings.Contains(line, text) {
			return line
		}
		before = append(before, line)
	}
	t.Fatalf("the program ended without %q:\n%s", text, strings.Join(before, "\n"))
	return ""
}

// interrupt does what Ctrl-C does, and waits for the end.
func (p *program) interrupt(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// The programs of the README do what it says, and end properly on Ctrl-C: each says goodbye.
func TestReadmeProgramsRun(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("builds three programs, and interrupts them")
	}
	t.Run("server", func(t *testing.T) {
		server, c := startServer(t)
		defer c.Close()
		if err := c.WriteMessage(conn.Text, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if m, err := c.ReadMessage(); err != nil || string(m.Data) != "hello" {
			t.Fatalf("%q, %v", m.Data, err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := c.ReadMessage()
			ended <- err
		}()
		server.interrupt(t)
		if err := <-ended; conn.CloseCode(err) != frame.CodeGoingAway {
			t.Errorf("the server's client: %v", err)
		}
	})
	t.Run("client", func(t *testing.T) {
		accept := acceptor(t)
		client := startExample(t, "ExampleDial", "127.0.0.1:8080", accept.address)
		c := accept.next(t)
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.WriteMessage(conn.Text, append([]byte("answer to "), m.Data...)); err != nil {
			t.Fatal(err)
		}
		client.until(t, "answer to "+`{"op":"subscribe"}`)
		ended := make(chan error, 1)
		go func() {
			_, err := c.ReadMessage()
			ended <- err
		}()
		client.interrupt(t)
		if err := <-ended; conn.CloseCode(err) != frame.CodeGoingAway {
			t.Errorf("the client's server: %v", err)
		}
	})
	t.Run("feed", func(t *testing.T) {
		accept := acceptor(t)
		client := startExample(t, "ExampleClient_feed", "wss://feed.example/stream", "ws://"+accept.address)
		for epoch := 1; ; epoch++ {
			c := accept.next(t)
			if m, err := c.ReadMessage(); err != nil || string(m.Data) != `{"op":"subscribe","id":1}` {
				t.Fatalf("%q, %v", m.Data, err)
			}
			for _, text := range []string{"early", `{"id":1,"result":null}`, "late"} {
				if err := c.WriteMessage(conn.Text, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			client.until(t, strconv.Itoa(epoch)+" early")
			client.until(t, strconv.Itoa(epoch)+" late")
			if epoch == 1 {
				c.Close() // the client comes again
				continue
			}
			ended := make(chan error, 1)
			go func() {
				_, err := c.ReadMessage()
				ended <- err
			}()
			client.interrupt(t)
			if err := <-ended; conn.CloseCode(err) != frame.CodeGoingAway {
				t.Errorf("the client's server: %v", err)
			}
			return
		}
	})
}

// startServer begins the README's server at an address of its own, and dials it. Another
// program can take the address before it does: then there is another one.
func startServer(t *testing.T) (server *program, c *conn.Conn) {
	t.Helper()
	for {
		address := freeAddress(t)
		server = startExample(t, "ExampleServer_untilInterrupt", "127.0.0.1:8080", address)
		for said := ""; said == ""; {
			c, err := conn.Dial(t.Context(), "ws://"+address+"/")
			if err == nil {
				return server, c
			}
			select {
			case said = <-server.lines: // it says nothing before it ends
				if !strings.Contains(said, "address already in use") {
					t.Fatal(said)
				}
			default:
				runtime.Gosched()
			}
		}
	}
}

// freeAddress returns an address that nobody listened on just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// An upgradeState is a server that hands over its connections.
type upgradeState struct {
	address     string
	connections chan *conn.Conn
}

func acceptor(t *testing.T) *upgradeState {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &upgradeState{l.Addr().String(), make(chan *conn.Conn)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c, err := new(conn.Upgrader).Accept(nc)
			if err != nil {
				continue
			}
			select {
			case a.connections <- c:
			case <-ctx.Done():
				c.Close()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
	})
	return a
}

func (a *upgradeState) next(t *testing.T) *conn.Conn {
	t.Helper()
	c := <-a.connections
	t.Cleanup(func() { c.Close() })
	return c
}
