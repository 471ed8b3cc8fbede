// Package peers builds and runs programs that use WebSocket libraries of other languages.
// Each program is a client of the scenarios' servers.
//
// All parameters are arguments:
//
//	LIBRARY feed  URL messages=N warm=N cpu=N chunk=N
//	LIBRARY trips URL messages=N warm=N size=N
//
// For feed a program reads warm messages. Then it reads chunk after chunk until it has
// used cpu nanoseconds, or until the next chunk would exceed messages. For trips it sends
// a text of size bytes and waits for the echo: warm times, and then messages times. It
// verifies no certificate. It prints Line as one line of JSON and ends with status 0.
package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is a library of another language, with the program that uses it.
type Peer struct {
	Language string // a folder of bench/peers
	Library  string // the first argument of the program
	Calls    string // the calls of the library that are used
	Check    string // who checks UTF-8
	Program  []string
	// Missing says why the peer cannot be run here, in the form of Short. It is empty if
	// it can.
	Missing string
}

// Name returns the name of the peer in tables.
func (p *Peer) Name() string { return p.Language + ": " + p.Library }

// Reason is an error with two texts. Full is for progress output: it may have arguments,
// folders of this machine and the output of a tool. Brief has none of these, because it
// goes into results and from there into committed pages.
type Reason struct{ Brief, Full string }

func (r *Reason) Error() string { return r.Full }

// Short returns what a result may say about an error: the Brief of a Reason, or that it
// failed.
func Short(err error) string {
	var r *Reason
	if errors.As(err, &r) {
		return r.Brief
	}
	return "failed"
}

// Line is the output of a program.
type Line struct {
	Version  string  `json:"version"`  // of the library, as it reports it
	Messages int     `json:"messages"` // measured, without warm-up
	Bytes    int     `json:"bytes"`    // of all messages, with warm-up
	Sum      uint64  `json:"sum"`      // of the first and last byte of all messages
	CPU      int64   `json:"cpu_ns"`   // getrusage: CPU time of the process
	Wall     int64   `json:"wall_ns"`
	Times    []int64 `json:"times_ns,omitempty"` // of single trips
}

// Request says what a program must do.
type Request struct {
	Role     string // feed or trips
	URL      string
	Messages int
	Warm     int
	CPU      time.Duration // of a feed
	Chunk    int           // of a feed
	Size     int           // of the message of a trip
	On       int           // pins the program to CPU On-1 if > 0
}

func (r Request) arguments(p *Peer) []string {
	args := append(p.Program[1:len(p.Program):len(p.Program)], p.Library, r.Role, r.URL, fmt.Sprintf("messages=%d", r.Messages), fmt.Sprintf("warm=%d", r.Warm))
	if r.Role == "feed" {
		return append(args, fmt.Sprintf("cpu=%d", r.CPU.Nanoseconds()), fmt.Sprintf("chunk=%d", r.Chunk))
	}
	return append(args, fmt.Sprintf("size=%d", r.Size))
}

// Run runs the program once. It checks that the reported CPU time is not more than the
// kernel's account of the whole process.
func (p *Peer) Run(ctx context.Context, r Request) (Line, error) {
	var line Line
	if p.Missing != "" {
		return line, &Reason{p.Missing, p.Missing}
	}
	cmd := exec.CommandContext(ctx, p.Program[0], r.arguments(p)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := startOn(cmd, r.On); err != nil {
		return line, &Reason{"could not be started", err.Error()}
	}
	if err := cmd.Wait(); err != nil {
		brief := "failed"
		if cmd.ProcessState != nil && !cmd.ProcessState.Success() {
			brief = cmd.ProcessState.String() // such as "exit status 1"
		}
		if ctx.Err() != nil {
			brief = "took too long"
		}
		return line, &Reason{brief, fmt.Sprintf("%v: %s", err, last(said.String()))}
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		return line, &Reason{"printed no figures", fmt.Sprintf("%v in %q", err, out.String())}
	}
	// Two readings of the same account may differ by a tick of the kernel.
	whole := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + 10*time.Millisecond
	if line.Messages <= 0 || line.CPU <= 0 || time.Duration(line.CPU) > whole {
		text := fmt.Sprintf("%d messages in %v of CPU, of %v in all", line.Messages, time.Duration(line.CPU), whole)
		return line, &Reason{text, text}
	}
	return line, nil
}

// startOn starts cmd on one CPU. The process inherits that from the thread that starts
// it.
func startOn(cmd *exec.Cmd, on int) error {
	if on <= 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(on - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}

// last returns the end of a program's output.
func last(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(strings.Join(lines[max(0, len(lines)-3):], " / "))
}

// builder makes the programs of one language in a folder. It returns their command lines
// by library.
type builder struct {
	language string
	build    func(source, into string) (map[string][]string, error)
	// tools names the build tools with their versions, and whatever else is used besides
	// the source. A change causes a new build. It is nil if the source names everything.
	tools func(source string) string
	peers []Peer
}

// fresh builds, unless the folder has a build of the same source with the same tools.
func (b builder) fresh(source, into string, say func(format string, args ...any)) (map[string][]string, error) {
	tools := ""
	if b.tools != nil {
		tools = b.tools(source)
	}
	sum, err := sumOf(source, tools)
	if err != nil {
		return nil, err
	}
	stamp := filepath.Join(into, "built.json")
	var before struct {
		Source   string
		Programs map[string][]string
	}
	if text, err := os.ReadFile(stamp); err == nil && json.Unmarshal(text, &before) == nil && before.Source == sum {
		return before.Programs, nil
	}
	say("building the peers in %s", b.language)
	programs, err := b.build(source, into)
	if err != nil {
		return programs, err
	}
	before.Source, before.Programs = sum, programs
	text, err := json.Marshal(before)
	if err != nil {
		return programs, err
	}
	return programs, os.WriteFile(stamp, text, 0o666)
}

// sumOf returns a checksum of a folder, of its path, where Python programs run, and of
// the build tools.
func sumOf(source, tools string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", source, tools)
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

var builders = []builder{
	{"rust", rust, rustTools, []Peer{
		{Library: "tokio-tungstenite", Calls: "WebSocketStream::next, send; one thread", Check: "library"},
		{Library: "fastwebsockets", Calls: "WebSocket::read_frame, write_frame over a 64 KiB BufReader; one thread", Check: "library"},
		{Library: "tokio-websockets", Calls: "WebSocketStream::next, send over a 64 KiB BufReader; one thread", Check: "library"},
		{Library: "sockudo-ws", Calls: "WebSocketStream::next, send; one thread", Check: "library"},
	}},
	{"cpp", cpp, cppTools, []Peer{
		{Library: "beast", Calls: "websocket::stream::read, write, blocking; OpenSSL", Check: "library"},
		{Library: "websocketpp", Calls: "client, message handler; OpenSSL", Check: "library"},
	}},
	{"python", python, nil, []Peer{
		{Library: "picows", Calls: "ws_connect, on_ws_frame, send; uvloop", Check: "caller, bytes.decode"},
		{Library: "websockets", Calls: "asyncio recv, send; uvloop", Check: "library"},
		{Library: "websocket-client", Calls: "create_connection, recv, send; wsaccel", Check: "library"},
	}},
	{"node", node, nil, []Peer{
		{Library: "ws", Calls: "WebSocket, message event, send; bufferutil, utf-8-validate", Check: "library"},
	}},
}

// All returns the peers without building them.
func All() []*Peer {
	var all []*Peer
	for _, b := range builders {
		for i := range b.peers {
			p := b.peers[i]
			p.Language, p.Missing = b.language, "not built"
			all = append(all, &p)
		}
	}
	return all
}

// Build builds the programs from source, which is bench/peers, in the cache folder. It
// returns all peers, those that cannot be built with the reason in brief. say gets
// progress messages and the output of the tools.
func Build(source string, say func(format string, args ...any)) ([]*Peer, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	all := All()
	for _, b := range builders {
		into := filepath.Join(cache, "tickwire-bench-peers", b.language)
		if err := os.MkdirAll(into, 0o777); err != nil {
			return nil, err
		}
		programs, err := b.fresh(filepath.Join(source, b.language), into, say)
		for _, p := range all {
			if p.Language != b.language {
				continue
			}
			p.Program = programs[p.Library]
			if p.Program != nil {
				p.Missing = ""
				continue
			}
			full := p.Missing
			if err != nil {
				p.Missing, full = Short(err), err.Error()
			}
			say("%s is missing: %s", p.Name(), full)
		}
	}
	return all, nil
}

var (
	once     sync.Once
	built    []*Peer
	builtErr error
)

// Built is Build, once per process.
func Built(source string, say func(format string, args ...any)) ([]*Peer, error) {
	once.Do(func() { built, builtErr = Build(source, say) })
	return built, builtErr
}

// command runs a command in a folder. If there is no such command, the error says what
// package has it.
func command(dir string, env []string, has, name string, args ...string) error {
	if _, err := exec.LookPath(name); err != nil {
		base := filepath.Base(name)
		return &Reason{"no " + base + " here", fmt.Sprintf("no %s here; %s", name, has)}
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		what := filepath.Base(name)
		line := strings.Join(append([]string{what}, args...), " ")
		switch first := args[0]; {
		case first == "-m":
			what = args[1] // a module of Python
		case !strings.HasPrefix(first, "-"):
			what += " " + first
		}
		return &Reason{what + " failed", fmt.Sprintf("%s: %v: %s", line, err, last(string(out)))}
	}
	return nil
}

// rust builds one program for all libraries, with the versions in Cargo.lock.
func rust(source, into string) (map[string][]string, error) {
	err := command(source, []string{"RUSTFLAGS=-C target-cpu=native"}, "install it with rustup, or Debian's cargo", "cargo",
		"build", "--release", "--locked", "--target-dir", into)
	if err != nil {
		return nil, err
	}
	program := []string{filepath.Join(into, "release", "peer")}
	return map[string][]string{"tokio-tungstenite": program, "fastwebsockets": program, "tokio-websockets": program, "sockudo-ws": program}, nil
}

// printed returns the output of a command, or that it fails.
func printed(dir, name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return name + " failed\n"
	}
	return string(out)
}

func rustTools(source string) string { return printed(source, "rustc", "--version") }

// cppTools returns the compiler, and size and time of every header that the programs
// include. The libraries are the system's, and an upgrade changes their headers.
func cppTools(source string) string {
	var b strings.Builder
	b.WriteString(printed(source, "g++", "--version"))
	rules := printed(source, "g++", "-std=c++17", "-M", "-MG", "beast.cpp", "websocketpp.cpp")
	for _, word := range strings.Fields(rules) {
		fmt.Fprintln(&b, word)
		if !filepath.IsAbs(word) {
			continue // a file of the source, or a missing header
		}
		if info, err := os.Stat(word); err == nil {
			fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// cpp builds a program for each installed library.
func cpp(source, into string) (map[string][]string, error) {
	programs := make(map[string][]string)
	var failed error
	for _, library := range []string{"beast", "websocketpp"} {
		program := filepath.Join(into, library)
		err := command(source, nil, "install Debian's g++", "g++", "-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-o", program, library+".cpp", "-lssl", "-lcrypto", "-lpthread")
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w (Debian: libboost-dev, libwebsocketpp-dev, libssl-dev)", err))
			continue
		}
		programs[library] = []string{program}
	}
	return programs, failed
}

// python makes a virtual environment with the packages of requirements.txt.
func python(source, into string) (map[string][]string, error) {
	const has = "install Debian's python3 and python3-venv"
	interpreter := filepath.Join(into, "bin", "python")
	if _, err := os.Stat(interpreter); err != nil {
		if err := command(into, nil, has, "python3", "-m", "venv", into); err != nil {
			return nil, err
		}
	}
	if err := command(into, nil, has, interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join(source, "requirements.txt")); err != nil {
		return nil, err
	}
	program := []string{interpreter, filepath.Join(source, "peer.py")}
	return map[string][]string{"picows": program, "websockets": program, "websocket-client": program}, nil
}

// node installs the packages of package-lock.json.
func node(source, into string) (map[string][]string, error) {
	for _, name := range []string{"package.json", "package-lock.json", "peer.js"} {
		b, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(into, name), b, 0o666); err != nil {
			return nil, err
		}
	}
	if err := command(into, nil, "install Debian's nodejs and npm", "npm", "ci", "--no-audit", "--no-fund"); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("node"); err != nil {
		return nil, &Reason{"no node here", "no node here; install Debian's nodejs"}
	}
	return map[string][]string{"ws": {"node", filepath.Join(into, "peer.js")}}, nil
}
