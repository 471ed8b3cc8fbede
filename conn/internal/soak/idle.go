package soak

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// IdleResult is the result of Idle.
type IdleResult struct {
	Conns    int
	Resident uint64        // bytes of memory for both ends of all connections
	Closed   uint64        // connections whose client got a Close frame
	Took     time.Duration // time until the last one
	Failures []string
}

// Print writes the result for people.
func (r *IdleResult) Print(w io.Writer) {
	fmt.Fprintf(w, "%d idle connections, both ends: %d MiB, %d bytes each; %d got a Close frame within %v\n",
		r.Conns, r.Resident>>20, r.Resident/uint64(max(1, r.Conns)), r.Closed, round(r.Took))
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED: %s\n", f)
	}
}

// Idle opens n connections at once and has a message echoed on each. Then the server
// shuts down: each client must get a Close frame.
func Idle(ctx context.Context, n int) (*IdleResult, error) {
	before := takeStock()
	ctx, cancel := untimed(ctx)
	defer cancel()
	c := &churn{}
	c.server.Handler = c.serve
	c.server.OnError = func(err error) { c.failIn(ctx, "the server's handshake: %v", err) }
	var listeners sync.WaitGroup
	if err := c.listen(&listeners); err != nil {
		return nil, err
	}
	settle()
	empty := resident()
	r := &IdleResult{}
	var clients sync.WaitGroup
	var told atomic.Uint64
	gate := make(chan struct{}, 64) // bounds concurrent dials
	for i := 0; i < n && ctx.Err() == nil; i++ {
		gate <- struct{}{}
		cc, err := c.idle(ctx, i)
		<-gate
		if err != nil {
			c.failIn(ctx, "connection %d: %v", i, err)
			break
		}
		r.Conns++
		clients.Go(func() {
			defer cc.Close()
			if _, err := cc.ReadMessage(); conn.CloseCode(err) == frame.CodeGoingAway {
				told.Add(1)
			} else {
				c.failIn(ctx, "connection %d ended with %v", i, err)
			}
		})
	}
	settle()
	r.Resident = max(resident(), empty) - empty
	began := time.Now()
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := c.server.Shutdown(stop); err != nil {
		c.fail("the server did not come to an end within %v: %v", stopTimeout, err)
	}
	clients.Wait()
	r.Closed, r.Took = told.Load(), time.Since(began)
	listeners.Wait()
	for _, left := range before.leftOver(patience) {
		c.fail("%s", left)
	}
	r.Failures = c.failures
	return r, nil
}

// idle opens a connection and exchanges one message.
func (c *churn) idle(ctx context.Context, i int) (*conn.Conn, error) {
	cc, err := new(conn.Dialer).Dial(ctx, c.addresses[i%len(c.addresses)])
	if err != nil {
		return nil, err
	}
	if err = cc.WriteMessage(conn.Text, []byte("echo")); err == nil {
		_, err = cc.ReadMessage()
	}
	if err != nil {
		cc.Close()
		return nil, err
	}
	return cc, nil
}

// settle returns free memory to the system.
func settle() {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
}
