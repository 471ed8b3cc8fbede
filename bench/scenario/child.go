package scenario

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childTime is the time after which a child that does not answer is killed.
const childTime = 90 * time.Second

// Spec tells a child process what to do.
type Spec struct {
	Role    string // a key of roles
	Entrant string
	Addr    string
	CPU     int // pins the child to CPU-1 if > 0, with GOMAXPROCS=1

	Kind     string // of the messages
	Size     int
	Messages int           // of one turn: for a feed at most, for an echo at least; 0 means no bound
	CPUTime  time.Duration // after which a turn of a feed ends
	AtSpeed  bool          // use the median of what ran while the processor was at full speed
	Warmup   int
	Check    bool
	Deflate  bool
	TLS      string // "", "large" or "record"
	Clients  int
	Lean     bool
	Every    time.Duration // between the starts of two messages; 0 means one after the other
	Lines    int           // number of connections for paced messages; 0 means one

	Profile string // file for a profile of this child: of its CPU, or for idle of its heap
}

// roles are the functions of the children, by name.
var roles = map[string]func(*Spec, *channel) error{
	"blaster":          blaster,
	"consumer":         consumer,
	"pacer":            pacer,
	"paced reader":     pacedReader,
	"echo server":      echoServer,
	"echo client":      echoClient,
	"broadcast server": broadcastServer,
	"drain":            drain,
	"handshake server": handshakeServer,
	"handshake client": handshakeClient,
	"idle server":      idleServer,
	"idle clients":     idleClients,
	"sdk exchange":     sdkExchange,
}

// Child runs this process as a child, if its arguments say so. It then does not return.
// Every command that runs scenarios calls it first.
func Child() {
	if len(os.Args) != 3 || os.Args[1] != "child" {
		return
	}
	ch := &channel{in: bufio.NewReader(os.Stdin), out: os.Stdout}
	var s Spec
	err := json.Unmarshal([]byte(os.Args[2]), &s)
	if err == nil && s.CPU > 0 {
		err = pin(s.CPU - 1)
		// Programs in other languages start on one CPU, and so must this one. The runtime
		// by itself would notice only after a second.
		runtime.GOMAXPROCS(1)
	}
	if err == nil {
		if run := roles[s.Role]; run != nil {
			err = profiled(&s, func() error { return run(&s, ch) })
		} else {
			err = fmt.Errorf("unknown role %q", s.Role)
		}
	}
	if err != nil {
		ch.send("error " + err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// measured are the roles whose process is measured.
var measured = []string{"consumer", "paced reader", "echo client", "broadcast server", "handshake server", "idle server"}

// pin keeps all threads of this process on one CPU. Later threads inherit it from the
// existing ones.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		var tid int
		if _, err := fmt.Sscan(t.Name(), &tid); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return err
		}
	}
	return nil
}

// channel exchanges lines between a child and its parent.
type channel struct {
	in  *bufio.Reader
	out io.Writer
}

func (c *channel) send(line string) { fmt.Fprintln(c.out, line) }

func (c *channel) receive() (string, error) {
	line, err := c.in.ReadString('\n')
	line = strings.TrimSpace(line)
	if rest, bad := strings.CutPrefix(line, "error "); bad {
		if rest == errOther.Full {
			return "", errOther
		}
		return "", fmt.Errorf("child: %s", rest)
	}
	return line, err
}

// report sends the metrics in a line.
func (c *channel) report(m map[string]float64) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.send(string(b))
	return nil
}

// process is a child, as its parent sees it.
type process struct {
	channel
	cmd   *exec.Cmd
	stdin io.Closer
	timer *time.Timer
}

// start starts a child.
func start(s Spec) (*process, error) {
	if ProfileDir != "" {
		s.Profile = profileFile(s.Entrant, s.Role)
	}
	arg, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "child", string(arg))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, stdin, stdout)
}

// startProcess starts a child that has its pipes.
func startProcess(cmd *exec.Cmd, stdin io.WriteCloser, stdout io.Reader) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{channel: channel{in: bufio.NewReader(stdout), out: stdin}, cmd: cmd, stdin: stdin}
	p.timer = time.AfterFunc(childTime, func() { cmd.Process.Kill() })
	return p, nil
}

// turn makes the child measure once more.
func (p *process) turn() (map[string]float64, error) {
	p.timer.Reset(childTime)
	p.send("turn")
	return p.metrics()
}

// turns calls measure each time that the parent asks, and reports what it returns, until
// the parent ends the child.
func (c *channel) turns(measure func() (map[string]float64, error)) error {
	for {
		if _, err := c.receive(); err != nil {
			return nil // the parent has closed its end
		}
		m, err := measure()
		if err != nil {
			return err
		}
		if err := c.report(m); err != nil {
			return err
		}
	}
}

// metrics returns the child's next report.
func (p *process) metrics() (map[string]float64, error) {
	line, err := p.receive()
	if err != nil {
		return nil, err
	}
	var m map[string]float64
	return m, json.Unmarshal([]byte(line), &m)
}

// end closes the child's input, which ends it. If it does not end it is killed.
func (p *process) end() {
	p.stdin.Close()
	p.timer.Reset(time.Duration(longer()) * time.Second)
	if ProfileDir == "" {
		p.cmd.Process.Kill()
	}
	p.cmd.Wait()
	p.timer.Stop()
}

// usage is what a process has used so far.
type usage struct {
	wall     time.Time
	cpu      time.Duration
	mallocs  uint64
	gcs      uint32
	reads    uint64 // system calls
	writes   uint64
	switches int64
}

// cpuTime returns the CPU time of this process.
func cpuTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// used returns what has been used so far. It reads the CPU time last, so that its own
// cost is not in the measurement.
func used() usage {
	var u usage
	u.reads, u.writes = systemCalls() // it allocates
	u.look()
	u.wall, u.cpu = time.Now(), cpuTime()
	return u
}

func (u *usage) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.mallocs, u.gcs = m.Mallocs, m.NumGC
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	u.switches = r.Nvcsw + r.Nivcsw
}

// systemCalls returns how often this process has made read and write calls of any kind,
// as counted by the kernel.
func systemCalls() (reads, writes uint64) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "syscr: %d", &reads)
		fmt.Sscanf(line, "syscw: %d", &writes)
	}
	return reads, writes
}

// since returns what n messages have used since u.
func (u usage) since(n int) map[string]float64 {
	cpu, wall := cpuTime()-u.cpu, time.Since(u.wall)
	var now usage
	now.look()
	now.reads, now.writes = systemCalls()
	per := func(x float64) float64 { return x / float64(n) }
	return map[string]float64{
		"cpu ns/message":   per(float64(cpu)),
		"messages/s":       float64(n) / wall.Seconds(),
		"allocs/message":   per(float64(now.mallocs - u.mallocs)),
		"reads/message":    per(float64(now.reads - u.reads)),
		"writes/message":   per(float64(now.writes - u.writes)),
		"GCs/million":      per(float64(now.gcs-u.gcs)) * 1e6,
		"switches/million": per(float64(now.switches-u.switches)) * 1e6,
	}
}
