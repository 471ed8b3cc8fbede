// Fanout is a server that sends one feed to all its clients.
//
// conn.Group encodes a message once. It brings it to every client by few system calls,
// and waits for none: a client that is more than -lag bytes behind is ended with
// ErrTooSlow, and has to come again. Serve reads the requests by itself, without
// net/http.
//
//	fanout -addr 127.0.0.1:8080 -every 10ms
//
// Any WebSocket client sees the feed. Ctrl-C says goodbye to every client.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	every := flag.Duration("every", 100*time.Millisecond, "time between messages")
	size := flag.Int("size", 100, "bytes of a message, about")
	lag := flag.Int("lag", conn.DefaultGroupLag, "`bytes` that may wait for one client, beyond those in its socket")
	flag.Parse()
	if err := run(*addr, *every, *size, *lag); err != nil {
		log.Fatal(err)
	}
}

func run(addr string, every time.Duration, size, lag int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	clients := &conn.Group{Lag: lag}
	server := &conn.Server{
		Handler: func(c *conn.Conn) { serve(clients, c) },
		OnError: func(err error) { slog.Warn("a client", "error", err) },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	slog.Info("listening", "url", "ws://"+listener.Addr().String()+"/")

	sent := send(ctx, clients, every, size)
	stats := clients.Stats()
	// What was sent is brought to all before the goodbye.
	flushing, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	clients.Flush(flushing)
	err = server.Shutdown(context.Background()) // within CloseTimeout
	if e := <-served; !errors.Is(e, conn.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	fmt.Printf("sent %d to %d clients at the end, %d were too slow\n", sent, stats.Connections, stats.Removed)
	return err
}

// serve has a client in the group until it goes. Somebody has to read: pings are answered
// there, and the end is seen.
func serve(clients *conn.Group, c *conn.Conn) {
	if clients.Add(c) != nil {
		return
	}
	defer clients.Remove(c)
	for _, err := range c.Messages() {
		switch {
		case errors.Is(err, conn.ErrTooSlow):
			slog.Warn("left behind", "client", c.RemoteAddr(), "error", err)
		case err != nil:
			slog.Info("ended", "client", c.RemoteAddr(), "error", err)
		}
	}
}

// send sends numbered messages until ctx ends, and returns how many.
func send(ctx context.Context, clients *conn.Group, every time.Duration, size int) (n uint64) {
	padding := bytes.Repeat([]byte("x"), max(size-60, 0))
	tick := time.NewTicker(every)
	defer tick.Stop()
	var message []byte
	for {
		select {
		case now := <-tick.C:
			n++
			message = fmt.Appendf(message[:0], `{"n":%d,"time":%d,"padding":"%s"}`, n, now.UnixMicro(), padding)
			clients.WriteMessage(conn.Text, message)
		case <-ctx.Done():
			return n
		}
	}
}
