//go:build unix

// Consume reads trades with an exchange's SDK, go-binance, from a URL, and measures the
// cost. For each line on its standard input it reads for a while and writes a line of
// figures. The scenario sdk of bench runs it, built with each module.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/adshao/go-binance/v2"
)

const (
	warmup = 60_000 // messages; some may have waited in sockets since the last turn
	chunk  = 2_000  // messages between two looks at the clock
	enough = 200 * time.Millisecond
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func run(url string) error {
	binance.BaseWsMainURL = url
	t := turns{begin: make(chan struct{}), done: make(chan map[string]float64)}
	failed := make(chan error, 1)
	_, _, err := binance.WsAggTradeServe("BTCUSDT", t.took, func(err error) { failed <- err })
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		t.begin <- struct{}{}
		select {
		case m := <-t.done:
			line, err := json.Marshal(m)
			if err != nil {
				return err
			}
			fmt.Println(string(line))
		case err := <-failed:
			return err
		}
	}
	return nil
}

// turns measures within the SDK's handler.
type turns struct {
	begin  chan struct{}
	done   chan map[string]float64
	n      int // messages of this turn
	last   int64
	before usage
}

// took is the SDK's handler. Between turns it blocks the reader.
func (t *turns) took(e *binance.WsAggTradeEvent) {
	if t.n == 0 {
		<-t.begin
	}
	if e.Symbol != "BTCUSDT" || t.last != 0 && e.AggTradeID != t.last+1 && e.AggTradeID > t.last {
		panic(fmt.Sprintf("after trade %d comes %+v", t.last, e))
	}
	t.last = e.AggTradeID
	switch t.n++; {
	case t.n == warmup:
		t.before = used()
	case t.n > warmup && t.n%chunk == 0 && cpuTime()-t.before.cpu > enough:
		t.done <- t.before.since(t.n - warmup)
		t.n = 0
	}
}

// usage is what the process has used so far.
type usage struct {
	wall     time.Time
	cpu      time.Duration
	mallocs  uint64
	reads    uint64
	switches int64
}

func used() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{mallocs: m.Mallocs, reads: readCalls(), switches: switches()}
	u.wall, u.cpu = time.Now(), cpuTime()
	return u
}

func (u usage) since(n int) map[string]float64 {
	cpu, wall := cpuTime()-u.cpu, time.Since(u.wall)
	now := used()
	per := func(x float64) float64 { return x / float64(n) }
	return map[string]float64{
		"cpu ns/message":   per(float64(cpu)),
		"messages/s":       float64(n) / wall.Seconds(),
		"allocs/message":   per(float64(now.mallocs - u.mallocs)),
		"reads/message":    per(float64(now.reads - u.reads)),
		"switches/million": per(float64(now.switches-u.switches)) * 1e6,
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func switches() int64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Nvcsw + r.Nivcsw
}

// readCalls returns how often this process has made read calls of any kind, as counted by
// Linux.
func readCalls() (n uint64) {
	b, _ := os.ReadFile("/proc/self/io")
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "syscr: %d", &n)
	}
	return n
}
