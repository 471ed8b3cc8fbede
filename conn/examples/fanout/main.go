// Fanout is a server that sends one feed to all its clients.
//
// conn.Group encodes a message once. It sends it to all clients with few system calls and
// without waiting. A client with more than -lag unsent bytes is ended with ErrTooSlow,
// and must connect again. Serve reads the requests itself, without net/http.
//
//	fanout -addr 127.0.0.1:8080 -every 10ms
//
// Any WebSocket client can read the feed. Ctrl-C closes all connections properly.
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
	// Deliver what was sent before the Close frames.
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

// serve keeps a client in the group until it goes. It must read, to answer pings and to
// notice the end.
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

// send sends numbered messages until ctx ends. It returns how many.
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
