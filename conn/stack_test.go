//go:build linux

package conn

import (
	"net"
	"runtime"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// callers is how many functions call the one that reads, each with 32 bytes of stack: what is left for a handler.
const callers = 2

//go:noinline
func calledFrom(n int, f func()) int {
	if n == 0 {
		f()
		return 0
	}
	return calledFrom(n-1, f) + 1
}

// A goroutine begins with 2 KiB of stack, of which 1,120 bytes are used before it is doubled; once doubled it is not halved again while
// more than 224 bytes are in use, which are fewer than package net alone takes in a read that waits. So the connections of a quiet
// server keep the first 2 KiB only if nothing on these paths ever needs more.
func TestIdleStack(t *testing.T) {
	if raceEnabled || testing.CoverMode() != "" || testing.Short() {
		t.Skip("instrumented code needs more stack")
	}
	message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: true, Key: 1}, make([]byte, 300))
	ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: true, Key: 1}, make([]byte, frame.MaxControlPayload))
	for _, tt := range []struct {
		name string
		send [][]byte // each is answered
	}{
		{"messages", [][]byte{message, message}},
		{"pings", [][]byte{ping, ping}},
		{"both", [][]byte{message, ping, message}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const n = 500
			each := idleStack(t, n, func(peer net.Conn) {
				buf := make([]byte, 1024)
				for _, b := range tt.send {
					peer.Write(b)
					if _, err := peer.Read(buf); err != nil {
						t.Error(err)
					}
				}
			})
			t.Logf("%d bytes of stack for each of %d goroutines", each, n)
			// Pools that the collector has emptied have some goroutines allocate, which takes more.
			if each > 3<<10 {
				t.Errorf("%d bytes of stack for each of %d goroutines", each, n)
			}
		})
	}
}

// idleStack returns how much stack each of n goroutines has that echo messages, after peer was called with the other ends.
func idleStack(t *testing.T, n int, peer func(net.Conn)) int64 {
	conns, peers := make([]*Conn, n), make([]net.Conn, n)
	for i := range n {
		a, b := loopback(t)
		conns[i], peers[i] = New(a, frame.Server, nil), b
	}
	smallStacks(t)
	before := stackInUse()
	ended := make(chan struct{}, n)
	for _, c := range conns {
		go func() {
			calledFrom(callers, func() {
				for {
					m, err := c.ReadMessage()
					if err == nil {
						err = c.WriteMessage(m.Opcode, m.Data)
					}
					if err != nil {
						return
					}
				}
			})
			ended <- struct{}{}
		}()
	}
	for _, p := range peers {
		peer(p)
	}
	each := (stackInUse() - before) / int64(n)
	for i, c := range conns {
		c.Close()
		peers[i].Close()
		<-ended
	}
	return each
}

func stackInUse() int64 {
	for range 3 { // the stacks of goroutines that have ended go back with the first, their spans with the next
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}
