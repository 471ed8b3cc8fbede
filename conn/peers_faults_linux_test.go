package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// The tests of this file run themselves a second time: under strace, which has the kernel's answers to system calls replaced, and in a
// network namespace of their own, whose one interface they take down. They need Debian's strace and iproute2, and to be
// allowed to trace a child and to make a namespace; without that they skip.

const faultEnv = "TICKWIRE_TEST_FAULT"

// inFault is the name of the fault that this process, a child of a test, runs under.
func inFault() string { return os.Getenv(faultEnv) }

// rerun runs a test of this binary alone as a child, under a fault, and fails if it does.
func rerun(t *testing.T, test, fault string, change func(*exec.Cmd)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.v", "-test.count=1", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), faultEnv+"="+fault)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // strace would leave its child running
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	change(cmd)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); errors.Is(err, os.ErrPermission) {
		t.Skip("not permitted here: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

// injections are what strace answers instead of the kernel. A call that is injected is not made at all. Each thread counts its own.
var injections = []struct {
	fault, calls string
	syscalls     Syscalls
	stamps       bool
	secure       bool
}{
	{"EINTR", "read,write,writev", SyscallsAuto, false, false},
	{"EINTR", "read,write,writev", SyscallsPlain, false, false},
	{"EINTR", "read,write,writev", SyscallsRaw, false, false},
	{"EINTR", "recvmsg,write,writev", SyscallsAuto, true, false},
	{"EINTR", "read,write,writev", SyscallsAuto, false, true},
	// Nothing wakes a reader whose EAGAIN was a lie, since what it waits for has come: a ReadTimeout does. Package net, which has none when it
	// reads its files, does not call recvmsg. A writer would lose a message that was begun, so writes are spared.
	{"EAGAIN", "recvmsg", SyscallsAuto, true, false},
	{"EAGAIN", "recvmsg", SyscallsPlain, true, false},
	{"EAGAIN", "recvmsg", SyscallsRaw, true, false},
}

// straceHere returns where strace is. The test skips where that is not, or may not trace.
func straceHere(t *testing.T) string {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace is not allowed to trace: %v, %s", err, out)
	}
	return strace
}

// TestPeerF9InterruptedCalls: system calls on real sockets that are interrupted, or would block for no reason, lose nothing and
// deliver nothing twice.
func TestPeerF9InterruptedCalls(t *testing.T) {
	if name := inFault(); name != "" {
		for _, x := range injections {
			if name == fmt.Sprint(x) {
				cfg := Config{KeepAlive: -1, Syscalls: x.syscalls, Timestamps: x.stamps, ReadTimeout: 20 * time.Millisecond}
				if x.fault == "EINTR" {
					client, server := connectedWith(t, Dialer{Config: cfg}, Upgrader{Config: cfg}, x.secure)
					talk(t, client, server, 600)
					return
				}
				a, b := loopback(t) // the handshake would not come through
				client, server := New(a, frame.Client, &cfg), New(b, frame.Server, &cfg)
				talk(t, client, server, 600)
				client.Close()
				server.Close()
				return
			}
		}
		t.Fatal("no injection", name)
	}
	if testing.Short() {
		t.Skip("runs itself eight times")
	}
	strace := straceHere(t)
	for _, x := range injections {
		t.Run(fmt.Sprintf("%s in %s, system calls %d, TLS %v", x.fault, x.calls, x.syscalls, x.secure), func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "strace")
			rerun(t, "TestPeerF9InterruptedCalls", fmt.Sprint(x), func(cmd *exec.Cmd) {
				cmd.Args = append([]string{strace, "-f", "-qq", "-o", log, "-e", "trace=" + x.calls, "-e", "inject=" + x.calls + ":error=" + x.fault + ":when=2+2"}, cmd.Args...)
				cmd.Path = strace
			})
			trace, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			for call := range strings.SplitSeq(x.calls, ",") {
				n := len(regexp.MustCompile(`(?m)\b`+call+`\(.*\(INJECTED\)$`).FindAll(trace, -1))
				t.Logf("%d of %d calls of %s injected", n, bytes.Count(trace, []byte(" "+call+"(")), call)
				if n == 0 && call != "writev" { // only two pieces need that
					t.Errorf("no call of %s was injected", call)
				}
			}
		})
	}
}

// downs are what becomes of connections when the loopback interface of a namespace goes down.
var downs = []struct {
	name string
	run  func(t *testing.T)
}{
	{"for good", func(t *testing.T) {
		client, server := connected(t, Dialer{Config: Config{KeepAlive: time.Second}}, false)
		roundTripWith(t, client, server)
		ip(t, "link", "set", "lo", "down")
		_ = server.WriteMessage(Text, []byte("lost"))
		wantClock(t, readOut(client), ClockTransport)
	}},
	{"and up again", func(t *testing.T) {
		client, server := connected(t, Dialer{Config: Config{ReadTimeout: 300 * time.Millisecond}}, false)
		roundTripWith(t, client, server)
		ip(t, "link", "set", "lo", "down")
		if err := server.WriteMessage(Text, []byte("late")); err != nil {
			t.Fatal(err)
		}
		_, err := client.ReadMessage()
		wantTimeout(t, err)
		ip(t, "link", "set", "lo", "up")
		for errors.Is(err, os.ErrDeadlineExceeded) && client.Err() == nil {
			var m Message
			if m, err = client.ReadMessage(); err == nil && string(m.Data) != "late" {
				t.Errorf("got %q", m.Data)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		roundTripWith(t, client, server)
	}},
}

// TestPeerF48InterfaceDown runs connections over an interface that is taken down.
func TestPeerF48InterfaceDown(t *testing.T) {
	for _, x := range downs {
		t.Run(x.name, func(t *testing.T) {
			switch inFault() {
			case "":
				t.Parallel()
				if _, err := exec.LookPath("ip"); err != nil {
					t.Skip("iproute2 is not installed")
				}
				rerun(t, "TestPeerF48InterfaceDown", x.name, inNamespace)
			case x.name:
				ip(t, "link", "set", "lo", "up")
				x.run(t)
			}
		})
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}
