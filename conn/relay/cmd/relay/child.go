package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A child is a command of this program in a process of its own, so that it can be killed,
// and what it costs be measured. It may run several times, one after the other.
type child struct {
	name        string
	args        []string // after the command's name and -leash
	environment []string
	hear        func(line string) // gets the lines of its standard output
	stderr      io.Writer

	process *exec.Cmd
	leash   io.WriteCloser // its standard input: it ends when this closes, so also when we die
	heard   chan struct{}  // closed at the end of its standard output
	used    time.Duration  // CPU time of processes that have ended
}

func (c *child) start(command string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program's own file: %w", err)
	}
	c.process = exec.Command(self, append([]string{command, "-leash"}, c.args...)...)
	c.process.Env = append(os.Environ(), c.environment...)
	c.process.Stderr = &prefixed{w: c.stderr, prefix: c.name + ": "}
	if c.leash, err = c.process.StdinPipe(); err != nil {
		return err
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("cannot start the %s: %w", c.name, err)
	}
	c.heard = make(chan struct{})
	go func() {
		defer close(c.heard)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			c.hear(lines.Text())
		}
	}()
	return nil
}

// say sends a line to its standard input.
func (c *child) say(line string) error {
	_, err := io.WriteString(c.leash, line+"\n")
	return err
}

// kill ends the process as kill -9 does.
func (c *child) kill() {
	if c.process != nil {
		c.process.Process.Kill()
		c.wait()
	}
}

// stop ends the process: by its leash, or by force after 10 s.
func (c *child) stop() {
	if c.process == nil {
		return
	}
	c.leash.Close()
	force := time.AfterFunc(10*time.Second, func() { c.process.Process.Kill() })
	defer force.Stop()
	c.wait()
}

func (c *child) wait() {
	<-c.heard
	c.process.Wait()
	c.used += c.process.ProcessState.UserTime() + c.process.ProcessState.SystemTime()
	c.leash.Close()
	c.process = nil
}

// A prefixed writes whole lines, each after a prefix.
type prefixed struct {
	w      io.Writer
	prefix string
	rest   []byte
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for i := 0; i < len(p.rest); i++ {
		if p.rest[i] == '\n' {
			if _, err := fmt.Fprintf(p.w, "%s%s", p.prefix, p.rest[:i+1]); err != nil {
				return 0, err
			}
			p.rest, i = p.rest[i+1:], -1
		}
	}
	return len(data), nil
}

// A recent keeps the last lines that were written.
type recent struct {
	mu    sync.Mutex
	lines []string
}

func (r *recent) Write(data []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines = append(r.lines, string(data)); len(r.lines) > 40 {
		r.lines = r.lines[1:]
	}
	return len(data), nil
}

func (r *recent) writeTo(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		io.WriteString(w, line)
	}
}

// A told is a value that somebody waits for.
type told[T any] struct {
	once  sync.Once
	ready chan struct{}
	value T
}

func newTold[T any]() *told[T] { return &told[T]{ready: make(chan struct{})} }

// tell sets the value; only the first one counts.
func (t *told[T]) tell(value T) {
	t.once.Do(func() {
		t.value = value
		close(t.ready)
	})
}

// await returns the value, or an error that says what is missing.
func (t *told[T]) await(ctx context.Context, what string) (T, error) {
	select {
	case <-t.ready:
		return t.value, nil
	case <-ctx.Done():
		return t.value, fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
}
