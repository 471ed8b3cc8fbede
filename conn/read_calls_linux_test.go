//go:build !asan && !msan

package conn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A callMode is a way to read, and which system calls that takes.
type callMode struct {
	name string
	cfg  Config
	p    *Poller // nil: ReadMessage
	// free says that the reading goroutine has no thread of its own: then what counts is the
	// socket's, and how it waits is the runtime's.
	free bool
	// burst is how many messages the peer sends after each other: the first alone, the rest
	// while the Poller leaves alone what comes.
	burst int
	// Bounds on the calls of each kind for n messages, each in a segment or record of its
	// own.
	least, most func(n int) callCount
}

// callCount is the system calls of a reader: those that read, those that wait, and those that
// look without waiting.
type callCount struct{ reads, waits, looks int }

// anyCalls is no bound.
const anyCalls = 1 << 30

var callModes = []callMode{
	{name: "goroutine", free: true,
		least: func(n int) callCount { return callCount{reads: n} },
		most:  func(n int) callCount { return callCount{2*n + 1, 0, 0} }},
	{name: "BlockingReads", cfg: Config{BlockingReads: true},
		least: func(n int) callCount { return callCount{n, n - 1, 0} },
		most:  func(n int) callCount { return callCount{n, n + 1, 0} }},
	{name: "Poller", p: &Poller{},
		least: func(n int) callCount { return callCount{n, n - 1, 0} },
		most:  func(n int) callCount { return callCount{n, n + 1, 0} }},
	{name: "Poller, spinning", p: &Poller{Spin: -1},
		least: func(n int) callCount { return callCount{n, 0, n - 1} },
		most:  func(n int) callCount { return callCount{n, 0, anyCalls} }},
	{name: "Poller, moderated", p: &Poller{Moderate: 50 * time.Millisecond}, burst: 10,
		least: func(n int) callCount { return callCount{n / 10, n / 10, 0} },
		most:  func(n int) callCount { return callCount{n / 2, n, 0} }},
}

// The system calls of a message in each mode, as strace sees them: the test runs itself
// under it. Each message is echoed by who reads it, so that the writes count as well.
func TestPeerReadCalls(t *testing.T) {
	if name := inFault(); name != "" {
		for _, mode := range callModes {
			for _, by := range callCarriers {
				if name == mode.name+" "+by.name {
					countedReads(t, mode, by)
					return
				}
			}
		}
		t.Fatal("no mode ", name)
	}
	if testing.Short() {
		t.Skip("runs itself ten times")
	}
	strace := straceHere(t)
	for _, mode := range callModes {
		for _, by := range callCarriers {
			t.Run(by.name+"/"+mode.name, func(t *testing.T) {
				log := filepath.Join(t.TempDir(), "strace")
				rerun(t, "TestPeerReadCalls", mode.name+" "+by.name, func(cmd *exec.Cmd) {
					cmd.Args = append([]string{strace, "-f", "-qq", "-s", "100", "-o", log, "-e", "trace=" + tracedCalls}, cmd.Args...)
					cmd.Path = strace
				})
				trace, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				checkCalls(t, mode, string(trace))
			})
		}
	}
}

// callCarriers are ws and wss.
var callCarriers = []carrier{{name: "ws"}, {name: "wss", secure: true, opens: true}}

const (
	countedMessages = 200
	tracedCalls     = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,?poll,ppoll,?epoll_wait,epoll_pwait,?epoll_pwait2"
)

// mark has a line in the trace. Between the first and the last all is counted.
func mark(what string, c *Conn, tid int) {
	raw, _ := c.base.(syscall.Conn).SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		_, _ = unix.Write(-1, fmt.Appendf(nil, "tickwire %s fd=%d tid=%d", what, fd, tid))
	})
}

// countedReads is the child: it reads between the marks.
func countedReads(t *testing.T, mode callMode, by carrier) {
	c, far := carried(t, by, mode.cfg)
	tids := make(chan int, 1)
	heard := 0
	handle := func(c *Conn, m Message) {
		if heard++; heard == 1 {
			tids <- unix.Gettid()
		}
		if err := c.WriteMessage(m.Opcode, m.Data); err != nil {
			t.Error(err)
		}
	}
	if mode.p != nil {
		p := mode.p
		p.Handler = handle
		run(t, p)
		if err := p.Add(c); err != nil {
			t.Fatal(err)
		}
	} else {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if !mode.free {
				runtime.LockOSThread()
			}
			for {
				m, err := c.ReadMessage()
				if err != nil {
					return
				}
				handle(c, m)
			}
		}()
		defer func() { c.Close(); <-ended }()
	}
	burst := max(mode.burst, 1)
	exchange := func(i int) {
		s := fmt.Sprint("message ", i)
		far.send(message(Text, s))
		far.expect(Text, s)
		for range burst - 1 {
			far.send(message(Text, s))
		}
		for range burst - 1 {
			far.expect(Text, s)
		}
	}
	for i := range 3 {
		exchange(i)
	}
	tid := <-tids
	mark("begin", c, tid)
	for i := range countedMessages / burst {
		exchange(i)
	}
	mark("end", c, tid)
}

var (
	tracedMark = regexp.MustCompile(`write\(-1, "tickwire (begin|end) fd=(\d+) tid=(\d+)"`)
	tracedCall = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?:\((\d+)?| resumed>)`)
	// strace prints epoll_wait and ppoll that a signal ended in different ways.
	tracedInterrupt = regexp.MustCompile(`= (-1 EINTR|\? ERESTART)`)
)

// checkCalls counts what a trace has between its marks.
func checkCalls(t *testing.T, mode callMode, trace string) {
	marks := tracedMark.FindAllStringSubmatchIndex(trace, -1)
	if len(marks) != 2 {
		t.Fatalf("%d marks in the trace", len(marks))
	}
	fd, tid := trace[marks[0][4]:marks[0][5]], trace[marks[0][6]:marks[0][7]]
	var got callCount
	writes, others := 0, map[string]int{}
	for line := range strings.Lines(trace[marks[0][1]:marks[1][0]]) {
		call := tracedCall.FindStringSubmatch(line)
		if call == nil || !mode.free && call[1] != tid {
			continue
		}
		name, begins, ends := call[2], !strings.Contains(line, " resumed>"), !strings.Contains(line, "<unfinished")
		switch {
		case strings.Contains(name, "poll"): // counted when it ends: then its timeout is shown
			switch {
			case mode.free || !ends:
			case tracedInterrupt.MatchString(line): // a signal of the Go runtime: the wait is made again
			case strings.Contains(line, ", 0, NULL"):
				got.looks++
			default:
				got.waits++
			}
		case !begins:
		case call[3] == fd && (strings.HasPrefix(name, "read") || strings.HasPrefix(name, "recv")):
			got.reads++
		case call[3] == fd && (strings.HasPrefix(name, "write") || strings.HasPrefix(name, "send")):
			writes++
		case !mode.free:
			others[name]++
		}
	}
	n := countedMessages
	t.Logf("a message takes %.2f reads, %.2f waits, %.2f looks and %.2f writes", float64(got.reads)/float64(n), float64(got.waits)/float64(n),
		float64(got.looks)/float64(n), float64(writes)/float64(n))
	least, most := mode.least(n), mode.most(n)
	if got.reads < least.reads || got.waits < least.waits || got.looks < least.looks ||
		got.reads > most.reads || got.waits > most.waits || got.looks > most.looks {
		t.Errorf("%d messages: %+v, want %+v to %+v", n, got, least, most)
	}
	if writes != n {
		t.Errorf("%d messages were echoed in %d writes", n, writes)
	}
	if len(others) > 0 {
		t.Errorf("other calls on descriptors: %v", others)
	}
}
