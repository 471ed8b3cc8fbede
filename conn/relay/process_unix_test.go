//go:build unix

package relay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Processes of gateways and of clients are stopped, continued and killed in the middle of
// a feed: each client has every message once and in order.
// TICKWIRE_RELAY_MESSAGES=1000000 makes the feed longer.
func TestProcesses(t *testing.T) {
	const clients, rounds = 4, 400
	messages := uint64(20_000)
	if text := os.Getenv("TICKWIRE_RELAY_MESSAGES"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		messages = n
	}
	batches := max(int(messages)/perBatch/rounds, 1)
	messages = uint64(batches * rounds * perBatch)
	servers := soloEngine(t)
	s := newSource(t, connectTo(t, servers), StreamConfig{Name: "processes", MaxBytes: 1 << 30})
	child := childGateway{servers, []string{"processes"}}
	first, second := startGateway(t, child), startGateway(t, child)
	urls := []string{"ws://" + first.address, "ws://" + second.address}
	var describe [clients]childClient
	var running [clients]*exec.Cmd
	for i := range clients {
		file := filepath.Join(t.TempDir(), "lines")
		describe[i] = childClient{[]string{urls[i%2], urls[1-i%2]}, "processes", file, messages}
		running[i] = startClient(t, describe[i])
	}
	signal := func(p *os.Process, what syscall.Signal) {
		t.Helper()
		if err := p.Signal(what); err != nil {
			t.Errorf("%v: %v", what, err)
		}
	}
	restarts := 0
	for round := range rounds {
		s.publish(batches)
		time.Sleep(5 * time.Millisecond)
		switch i := round / 40 % clients; {
		case round == 65:
			signal(first.Process, syscall.SIGSTOP)
		case round == 115:
			signal(first.Process, syscall.SIGCONT)
		case round == 215:
			signal(second.Process, syscall.SIGKILL)
		case round%40 == 10:
			signal(running[i].Process, syscall.SIGSTOP)
		case round%40 == 20:
			signal(running[i].Process, syscall.SIGCONT)
		case round%40 == 30:
			signal(running[i].Process, syscall.SIGKILL)
			running[i].Wait()
			if running[i].ProcessState.Success() {
				t.Errorf("client %d had ended before", i)
			}
			running[i] = startClient(t, describe[i])
			restarts++
		}
	}
	for i, command := range running {
		if err := command.Wait(); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		numbers, _, err := readLines(describe[i].File)
		if err != nil {
			t.Fatal(err)
		}
		if text := faults(numbers, messages); text != "lost 0, doubled 0, out of order 0" {
			t.Errorf("client %d: %s", i, text)
		}
	}
	if restarts != rounds/40 {
		t.Errorf("%d clients were killed", restarts)
	}
	t.Logf("%d messages to %d clients, %d kills", messages, clients, restarts)
}

// faults says what is wrong with numbers that should go from 1 to the last one.
func faults(numbers []uint64, last uint64) string {
	seen := make(map[uint64]bool, len(numbers))
	doubled, disorder, before := 0, 0, uint64(0)
	for _, n := range numbers {
		if seen[n] {
			doubled++
		} else if n < before {
			disorder++
		}
		seen[n], before = true, n
	}
	lost := 0
	for n := uint64(1); n <= last; n++ {
		if !seen[n] {
			lost++
		}
	}
	return fmt.Sprintf("lost %d, doubled %d, out of order %d", lost, doubled, disorder)
}

// What the test above counts is found.
func TestFaults(t *testing.T) {
	if text := faults([]uint64{1, 2, 2, 5, 4}, 6); text != "lost 2, doubled 1, out of order 1" {
		t.Error(text)
	}
}
