//go:build linux

package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// usage is the processor time of this process, and how often its threads lost their processor or gave it up.
type usage struct {
	cpu               time.Duration
	preempted, gaveUp int64
}

func measured() usage {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return usage{time.Duration(u.Utime.Nano() + u.Stime.Nano()), int64(u.Nivcsw), int64(u.Nvcsw)}
}

// report reports what was used since then.
func (u usage) report(b *testing.B) {
	now, n := measured(), float64(b.N)
	b.ReportMetric(float64(now.cpu-u.cpu)/n, "cpu-ns/msg")
	b.ReportMetric(float64(now.preempted-u.preempted)/n*1000, "preempted/1000")
	b.ReportMetric(float64(now.gaveUp-u.gaveUp)/n*1000, "switched/1000")
}

var modes = []struct {
	name string
	mode Syscalls
}{{"auto", SyscallsAuto}, {"plain", SyscallsPlain}, {"raw", SyscallsRaw}}

// BenchmarkFeed reads a busy feed of about 200 B messages from another process. cpu-ns/msg is what this process spends.
//
//	go test -run='^$' -bench=Feed -count=5 ./conn
func BenchmarkFeed(b *testing.B) {
	for _, kind := range []string{"text", "binary", "tls"} {
		for _, m := range modes {
			for _, size := range []int{0, 16 << 10, 256 << 10} {
				if size != 0 && (m.mode != SyscallsAuto || kind != "binary") {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/%d", kind, m.name, size), func(b *testing.B) {
					c := fed(b, frame.Client, kind, Config{Syscalls: m.mode, ReadBuffer: size})
					read := func(n int) {
						for range n {
							if _, err := c.ReadMessage(); err != nil {
								b.Fatal(err)
							}
						}
					}
					read(100000)
					reads, start := c.Stats().Reads, measured()
					b.ResetTimer()
					read(b.N)
					b.StopTimer()
					start.report(b)
					b.ReportMetric(float64(c.Stats().Reads-reads)/float64(b.N), "reads/msg")
				})
			}
		}
	}
}

// BenchmarkFeedLarge reads messages of 1 MiB from another process, whole, in 16 fragments and under TLS.
//
//	go test -run='^$' -bench=FeedLarge -benchtime=5000x -count=5 ./conn
func BenchmarkFeedLarge(b *testing.B) {
	for _, kind := range []string{"mib", "mib-fragments", "tls-mib"} {
		for _, size := range []int{0, 4 << 20} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				c := fed(b, frame.Client, kind, Config{ReadBuffer: size})
				read := func(n int) {
					for range n {
						if m, err := c.ReadMessage(); err != nil || len(m.Data) != 1<<20 {
							b.Fatal(len(m.Data), err)
						}
					}
				}
				read(100)
				reads, start := c.Stats().Reads, measured()
				b.SetBytes(1 << 20)
				b.ResetTimer()
				read(b.N)
				b.StopTimer()
				start.report(b)
				b.ReportMetric(float64(c.Stats().Reads-reads)/float64(b.N), "reads/msg")
			})
		}
	}
}

// deafConn takes all that is written to it.
type deafConn struct{ net.Conn }

func (deafConn) Write(p []byte) (int, error) { return len(p), nil }
func (deafConn) Close() error                { return nil }

// BenchmarkAppend writes 200 B messages, 100 at a time, to a transport that takes all. An
// operation is a message.
//
//	go test -run='^$' -bench=Append -count=7 ./conn
func BenchmarkAppend(b *testing.B) {
	const some = 100
	p := bytes.Repeat([]byte("a"), 200)
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		c := New(deafConn{}, role, &Config{UncheckedText: true, KeepAlive: -1})
		w := frame.NewWriter(io.Discard, role)
		appends := map[string]func(frame.Opcode, []byte) error{"Conn": c.AppendMessage, "frame.Writer": w.Append}
		flushes := map[string]func() error{"Conn": c.Flush, "frame.Writer": w.Flush}
		for _, name := range []string{"frame.Writer", "Conn"} {
			add, flush := appends[name], flushes[name]
			b.Run(fmt.Sprintf("%v/%s", role, name), func(b *testing.B) {
				for n := 0; n < b.N; n += some {
					for range some {
						if err := add(Text, p); err != nil {
							b.Fatal(err)
						}
					}
					if err := flush(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		c.Close()
	}
}

// BenchmarkOpenRecords reads a feed of TLS 1.3 from memory, a record for each message and
// in large records, with crypto/tls and with Dialer.OpenRecords. An operation is a
// message.
//
//	go test -run='^$' -bench=OpenRecords -cpu=1 -count=7 ./conn
func BenchmarkOpenRecords(b *testing.B) {
	defer func() { secureOpens = false }()
	for _, tt := range []struct {
		name       string
		text, size int
	}{{"60 B", 60, 1}, {"200 B", 200, 1}, {"1000 B", 1000, 1}, {"200 B in large records", 200, 16000}} {
		for _, opens := range []bool{false, true} {
			name := "crypto-tls"
			if opens {
				name = "opened"
			}
			b.Run(tt.name+"/"+name, func(b *testing.B) {
				secureOpens = opens
				b.ReportAllocs()
				var cpu time.Duration // of reading alone, other processes' share left out
				for done := 0; done < b.N; {
					b.StopTimer()
					count := 40_000
					if tt.size > 1 {
						count = 500
					}
					c, _, messages := recordedMessages(b, tls.VersionTLS13, tt.text, tt.size, count)
					if c.TransportInfo().OpensRecords != opens {
						b.Fatal(c.TransportInfo())
					}
					runtime.GC()
					start := measured()
					b.StartTimer()
					for range min(messages, b.N-done) {
						if _, err := c.ReadMessage(); err != nil {
							b.Fatal(err)
						}
					}
					b.StopTimer()
					cpu += measured().cpu - start.cpu
					done += messages
					c.Close()
				}
				b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/msg")
			})
		}
	}
}

const echoEnv = "TICKWIRE_TEST_ECHO"

// TestEchoProcess is the server of BenchmarkEcho.
func TestEchoProcess(t *testing.T) {
	spec := os.Getenv(echoEnv)
	if spec == "" {
		t.Skip("run by BenchmarkEcho")
	}
	var address string
	var mode, lines int
	fmt.Sscan(spec, &address, &mode, &lines)
	var all sync.WaitGroup
	for range max(lines, 1) {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { _ = echo(New(nc, frame.Server, &Config{Syscalls: Syscalls(mode)})) })
	}
	all.Wait()
}

// BenchmarkReadModes sends a message of 200 B on each of some lines to another process,
// and waits until all have come back, in each way to read. The times are of single
// messages, from their write to their delivery.
//
//	go test -run='^$' -bench=ReadModes -benchtime=2s -count=5 ./conn
func BenchmarkReadModes(b *testing.B) {
	for _, lines := range []int{1, 16, 128} {
		for _, mode := range []struct {
			name string
			cfg  Config
			p    *Poller
		}{
			{"goroutines", Config{}, nil},
			{"blocking", Config{BlockingReads: true}, nil},
			{"poller", Config{}, &Poller{}},
			{"poller until nothing", Config{}, &Poller{exact: true}},
			{"poller spins", Config{}, &Poller{Spin: -1}},
			{"poller moderated", Config{}, &Poller{Moderate: time.Millisecond}},
		} {
			b.Run(fmt.Sprintf("%d/%s", lines, mode.name), func(b *testing.B) { benchmarkLines(b, lines, mode.cfg, mode.p) })
		}
	}
}

func benchmarkLines(b *testing.B, lines int, cfg Config, p *Poller) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestEchoProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", echoEnv, l.Addr(), SyscallsPlain, lines))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	text := []byte(strings.Repeat("e", 200))
	var conns []*Conn
	number := make(map[*Conn]int)
	sent := make([]atomic.Int64, lines)
	for i := range lines {
		nc, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c := New(nc, frame.Client, &cfg)
		defer c.Close()
		conns, number[c] = append(conns, c), i
	}
	times := make([]int64, 0, b.N+lines)
	begun := time.Now()
	var mu sync.Mutex
	missing, all := 0, make(chan struct{}, 1)
	write := func() { // to all
		mu.Lock()
		missing = lines
		mu.Unlock()
		for i, c := range conns {
			sent[i].Store(int64(time.Since(begun)))
			if err := c.WriteMessage(Text, text); err != nil {
				b.Error(err)
			}
		}
	}
	come := func(i int) (last bool) {
		took := int64(time.Since(begun)) - sent[i].Load()
		mu.Lock()
		defer mu.Unlock()
		times = append(times, took)
		missing--
		return missing == 0
	}
	start := measured()
	b.ResetTimer()
	switch {
	case p != nil:
		ctx, cancel := context.WithCancel(context.Background())
		p.Handler = func(c *Conn, m Message) {
			if come(number[c]) {
				if len(times) >= b.N {
					cancel()
					return
				}
				write()
			}
		}
		p.Failed = func(_ *Conn, err error) { b.Error(err) }
		for _, c := range conns {
			p.Add(c)
		}
		write()
		p.Run(ctx)
	case lines == 1:
		runtime.LockOSThread()
		if !cfg.BlockingReads {
			runtime.UnlockOSThread()
		}
		for write(); ; write() {
			if _, err := conns[0].ReadMessage(); err != nil {
				b.Fatal(err)
			}
			if come(0); len(times) >= b.N {
				break
			}
		}
	default:
		for i, c := range conns {
			go func() {
				if cfg.BlockingReads {
					runtime.LockOSThread()
				}
				for range c.Messages() {
					if come(i) {
						all <- struct{}{}
					}
				}
			}()
		}
		for write(); ; write() {
			if <-all; len(times) >= b.N {
				break
			}
		}
	}
	b.StopTimer()
	slices.Sort(times)
	start.report(b)
	for name, at := range map[string]float64{"p50-µs": 0.5, "p99-µs": 0.99, "p99.9-µs": 0.999} {
		b.ReportMetric(float64(times[int(at*float64(len(times)-1))])/1000, name)
	}
}

// BenchmarkEcho sends a message of 200 B to another process and waits for it, the same way of system calls at both ends.
//
//	go test -run='^$' -bench=Echo -benchtime=100000x -count=5 ./conn
func BenchmarkEcho(b *testing.B) {
	for _, m := range modes {
		b.Run(m.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			cmd := exec.Command(os.Args[0], "-test.run=^TestEchoProcess$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", echoEnv, l.Addr(), m.mode))
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			defer cmd.Wait()
			nc, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			c := New(nc, frame.Client, &Config{Syscalls: m.mode})
			defer c.Close()
			text := []byte(strings.Repeat("e", 200))
			times := make([]time.Duration, b.N)
			start := measured()
			b.ResetTimer()
			for i := range b.N {
				sent := time.Now()
				if err := c.WriteMessage(Text, text); err != nil {
					b.Fatal(err)
				}
				if _, err := c.ReadMessage(); err != nil {
					b.Fatal(err)
				}
				times[i] = time.Since(sent)
			}
			b.StopTimer()
			slices.Sort(times)
			at := func(p float64) float64 { return float64(times[int(p*float64(b.N-1))].Nanoseconds()) / 1000 }
			start.report(b)
			b.ReportMetric(at(0.5), "p50-µs")
			b.ReportMetric(at(0.99), "p99-µs")
			b.ReportMetric(at(0.999), "p99.9-µs")
			b.ReportMetric(at(1), "max-µs")
		})
	}
}
