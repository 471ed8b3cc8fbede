package fuzz_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of faults and keepalive rules into README.md")

// A demand is a fault that must be survived (F), or a failure of keepalive or
// reconnecting that must not happen (K). Its tests have the number in their name or in
// the comment above them. also names further tests, or what ensures it without a test.
type demand struct{ id, text, also string }

var demands = []demand{
	{"F1", "a read returns one byte", ""},
	{"F2", "a read returns any number of bytes", "conn.TestF1FailEachCall"},
	{"F3", "a read returns no bytes and no error", "conn.TestF1FailEachCall"},
	{"F4", "a read returns bytes and the end together", "conn.TestF1FailEachCall"},
	{"F5", "a read or write returns bytes and an error together", "conn.TestF1FailEachCall"},
	{"F6", "the stream ends at any byte of a frame", "conn.TestF1FailEachCall"},
	{"F7", "a reset at any byte of a frame", "conn.TestF1FailEachCall"},
	{"F8", "a read fails with a timeout that may pass", "conn.TestF1FailEachCall"},
	{"F9", "a system call is interrupted", ""},
	{"F10", "a write fails after any number of bytes", "conn.TestF1FailEachCall"},
	{"F11", "a write returns too few bytes without an error", "conn.TestF1FailEachCall"},
	{"F12", "a write fails with EPIPE", "conn.TestF1FailEachCall"},
	{"F13", "a write blocks for ever", ""},
	{"F14", "a write blocks until after its deadline", ""},
	{"F15", "a deadline passes within a header, a payload or the masking", ""},
	{"F16", "a deadline passes during a TLS write: the connection is dead", ""},
	{"F17", "tls.Conn.Close blocks: Close does not", ""},
	{"F18", "TLS ends without close_notify: 1006, not a normal end", ""},
	{"F19", "a TLS handshake that stalls", "conn.TestF40SlowLoris"},
	{"F20", "a TLS key update or renegotiation within a frame", "conn.TestPeerRenegotiation"},
	{"F21", "the peer closes its sending half after the request", "conn.TestF22HalfClose"},
	{"F22", "the peer closes its sending half while we send", ""},
	{"F23", "FIN or RST at the same time as Close", ""},
	{"F24", "the peer answers the Close frame and goes on sending", ""},
	{"F25", "the peer never answers the Close frame", ""},
	{"F26", "both sides close at the same time", ""},
	{"F27", "Close while a read is within a frame", ""},
	{"F28", "Close while a write is blocked", ""},
	{"F29", "Close within the message handler", ""},
	{"F30", "a context ends before, during or after a call", ""},
	{"F31", "a context ends at the moment of success", ""},
	{"F32", "a ping is unanswered when the connection ends", ""},
	{"F33", "a pong comes after its timeout", "conn.TestR21PongClock"},
	{"F34", "a ping while a write is blocked", ""},
	{"F35", "the peer sends pings and does not read", ""},
	{"F36", "a handler panics", ""},
	{"F37", "a handler is slower than the feed: memory does not grow", ""},
	{"F38", "a handler keeps a view: step debug poisons it", "`.ci/run debug`"},
	{"F39", "the reader is never called again", ""},
	{"F40", "a request, header or payload comes byte by byte", ""},
	{"F41", "silence, then data", ""},
	{"F42", "packets are dropped without a FIN", ""},
	{"F43", "the same after 64 KiB", ""},
	{"F44", "a reset after 64 KiB", "conn.TestF1FailEachCall"},
	{"F45", "packet loss", ""},
	{"F46", "packets reordered or duplicated", "the kernel's TCP"},
	{"F47", "packets above the MTU are dropped", "conn.TestF43BlackHole"},
	{"F48", "a network interface goes down", "conn.TestPeerF48InterfaceDown"},
	{"F49", "DNS fails, or the first address is dead", ""},
	{"F50", "a proxy refuses, or closes after its answer", ""},
	{"F51", "no file descriptors are left", ""},
	{"F52", "little memory, and a compressed bomb", "conn/deflate.TestR87V8Bombs"},
	{"F53", "the clock jumps, or the process is suspended", "conn.TestF71StoppedProcessIsNotADeadPeer"},
	{"F54", "the garbage collector runs all the time", ""},
	{"F55", "freed memory is overwritten", "`.ci/run debug` (pooled memory only)"},
	{"F56", "a stack grows during a call of assembly", "the kernels have no frame and call nothing"},
	{"F57", "goroutines are preempted all the time", ""},
	{"F58", "one processor, or 64", ""},
	{"F59", "a signal: all connections are closed properly", "conn.TestServerShutdown, `tickwire soak -idle`"},
	{"F60", "a server restarts with many clients", "conn/redial.TestR54K5Outages"},
	{"F61", "a server accepts and drops at once", "conn/redial.TestK4AcceptThenDropFor24Hours"},
	{"F62", "a server closes with 1001, 1008, 1012 or 1013", "conn/redial.TestPolicies"},
	{"F63", "a server ends each connection after 24 hours", "conn/redial.TestScenarios"},
	{"F64", "two dials at the same time as a close", "conn/redial.TestR54K5Outages"},
	{"F65", "accept fails several times in a row", ""},
	{"F66", "a processor without AVX2", "`.ci/run tiers`"},
	{"F67", "buffers at any alignment", ""},
	{"F68", "read-only memory is written: it is copied, never masked", ""},
	{"F69", "a write fails while received messages wait", ""},
	{"F70", "Close after our own Close frame, with bytes unread", ""},
	{"F71", "the consumer is busy longer than KeepAlive while bytes wait", ""},
	{"F72", "a blocked write makes no progress while pongs come", ""},
	{"F73", "a subscription is never confirmed, or OnConnect never returns", ""},
	{"F74", "only text heartbeats come", ""},
	{"F75", "a proxy answers CONNECT with anything but 2xx", ""},
	{"F76", "Retry-After is a year", ""},
	{"F77", "one very long message, then silence: memory goes back", ""},
	{"F78", "a header and then silence: little memory is held", ""},
	{"F79", "a Close frame breaks a rule and still has a code", ""},
	{"F80", "what a redirect to another host may carry", ""},
	{"F81", "a full disk, or a closed output", ""},
	{"F82", "a hook leaves a read deadline, a panic or a Close", "conn/redial.TestHookPanics, conn/redial.TestScenarios"},
	{"F83", "lists in headers that are empty or name a thing twice", ""},
	{"K1", "silence is noticed without configuration", ""},
	{"K2", "a slow feed is not taken for a dead one: two clocks", ""},
	{"K3", "pings without data end the connection by the data clock", ""},
	{"K4", "the delay is not reset by a connection that is dropped at once", ""},
	{"K5", "one dial at a time, and at most one live connection", ""},
	{"K6", "a reconnect leaves no file, goroutine or memory", ""},
	{"K7", "the delay is defined for every number of attempts", ""},
	{"K8", "the delay is reset after a stable session", ""},
	{"K9", "subscriptions are made once for each connection, before its messages", "conn/redial.TestScenarios"},
	{"K10", "pongs never block the reader", ""},
	{"K11", "a deadline of one call does not stay for the next", "conn/redial.TestScenarios"},
	{"K12", "the reason of every end is reported", "conn/redial.TestScenarios"},
	{"K13", "the rules of exchanges for pings, pongs and rates", ""},
	{"K14", "a write into a dead connection is noticed", ""},
	{"K15", "a cancel ends back-off, dial and handshake at once", ""},
}

// numbersOf returns the numbers in a test's name and in its comment.
func numbersOf(fn *ast.FuncDecl) []string {
	name := regexp.MustCompile(`^Test(Peer)?((?:[RVFK][0-9]+)+)`).FindStringSubmatch(fn.Name.Name)
	var text string
	if name != nil {
		text = regexp.MustCompile(`[FK][0-9]+`).ReplaceAllString(name[2], " $0 ")
	}
	return regexp.MustCompile(`\b[FK][0-9]{1,2}\b`).FindAllString(text+" "+fn.Doc.Text(), -1)
}

// repositoryTests returns the tests of the repository as package.Name, and those with a
// number, by number. It leaves out packages without numbers, because their comments have
// hexadecimal digits that look like numbers.
func repositoryTests(t *testing.T) (all map[string]bool, named map[string][]string) {
	all, named = map[string]bool{}, map[string][]string{}
	for _, root := range []string{"conn", "frame", "handshake", "fuzz/replay"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, err := filepath.Rel("..", filepath.Dir(path))
			if err != nil {
				return err
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") {
					continue
				}
				name := filepath.ToSlash(dir) + "." + fn.Name.Name
				all[name] = true
				for _, n := range numbersOf(fn) {
					if !slices.Contains(named[n], name) {
						named[n] = append(named[n], name)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all, named
}

// README.md has a line for each fault and each rule of keepalive, with the tests that
// check it.
func TestReadmeHasFaultsAndKeepalive(t *testing.T) {
	all, named := repositoryTests(t)
	var table strings.Builder
	table.WriteString("| | What must be survived | Held by |\n|---|---|---|\n")
	for _, d := range demands {
		tests := named[d.id]
		slices.Sort(tests)
		for _, also := range strings.Split(d.also, ", ") {
			if also == "" || slices.Contains(tests, also) {
				continue
			}
			if strings.Contains(also, ".Test") && !all[also] {
				t.Errorf("%s: there is no %s", d.id, also)
			}
			tests = append(tests, also)
		}
		if len(tests) == 0 {
			t.Errorf("%s (%s) is held by nothing", d.id, d.text)
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", d.id, d.text, strings.Join(tests, ", "))
		delete(named, d.id)
	}
	for n, tests := range named {
		t.Errorf("%s of %v is no known number", n, tests)
	}
	const begin, end = "<!-- faults: go test ./fuzz -run FaultsAndKeepalive -update -->\n", "<!-- end of faults -->"
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := strings.ReplaceAll(string(text), "\r\n", "\n")
	before, rest, ok := strings.Cut(readme, begin)
	old, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatal("README.md has no place for the table")
	case *update:
		if err := os.WriteFile("README.md", []byte(before+begin+table.String()+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	case old != table.String():
		t.Error("the table of faults in README.md is old: go test ./fuzz -run FaultsAndKeepalive -update")
	}
}
