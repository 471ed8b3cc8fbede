package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// runServe echoes every message, until Ctrl-C.
func runServe(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("serve")
	addr := flags.String("addr", "127.0.0.1:8080", "host:port to listen on; port 0 means any")
	secure := flags.Bool("tls", false, "over TLS, with a self-made certificate; its root is printed after the URL")
	var subprotocols list
	flags.Var(&subprotocols, "subprotocol", "a subprotocol to agree to; may be given several times, the first one that is offered wins")
	compress := flags.Bool("deflate", false, "accept permessage-deflate, RFC 7692")
	conform := flags.Bool("conform", false, "as a suite that tests servers expects it: with permessage-deflate for every message, without net/http, and silent about connections that fail")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	l, err := listen(std, *addr, *secure, "/", false)
	if err != nil {
		return err
	}
	e := &echo{ctx: ctx, std: std}
	e.upgrader.Subprotocols = subprotocols
	if *compress {
		e.upgrader.Config.Deflate = new(deflate.Config)
	}
	start := time.Now()
	if *conform {
		err = e.conform(l)
	} else {
		err = e.listen(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	e.clients.Wait()
	fmt.Fprintf(std.err, "%d connections, %d messages, %d bytes echoed in %v\n",
		e.connections.Load(), e.messages.Load(), e.bytes.Load(), time.Since(start).Round(time.Millisecond))
	return nil
}

// An echo is the handler of the echo server.
type echo struct {
	ctx      context.Context // ends with the server
	std      *streams
	upgrader conn.Upgrader

	clients                      sync.WaitGroup
	connections, messages, bytes atomic.Int64
}

// listen serves with net/http.
func (e *echo) listen(l net.Listener) error {
	s := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(e.ctx, func() { s.Close() }) // Close does not close the upgraded connections
	defer stop()
	return s.Serve(l)
}

// conform serves a suite. The engine parses requests, so that the suite tests it.
func (e *echo) conform(l net.Listener) error {
	e.upgrader.Config = conformConfig()
	s := &conn.Server{Upgrader: e.upgrader, Handler: func(c *conn.Conn) {
		e.clients.Add(1)
		defer e.clients.Done()
		e.connections.Add(1)
		_ = e.serve(c) // the suite judges it
	}, OnError: func(error) {}}
	stop := context.AfterFunc(e.ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), conn.DefaultCloseTimeout)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	defer stop()
	return s.Serve(l)
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.clients.Add(1)
	defer e.clients.Done()
	c, err := e.upgrader.Upgrade(w, r)
	if err != nil {
		fmt.Fprintf(e.std.err, "%s: %s\n", r.RemoteAddr, cli.OneLine(err)) // the client has been answered
		return
	}
	defer c.Close()
	e.connections.Add(1)
	stop := context.AfterFunc(e.ctx, func() { c.Shutdown(context.Background(), frame.CodeGoingAway, "the server stops") })
	defer stop()
	err = e.serve(c)
	var closed *conn.CloseError
	if !errors.As(err, &closed) || closed.Err != nil {
		fmt.Fprintf(e.std.err, "%s: %s\n", r.RemoteAddr, cli.OneLine(err))
	}
}

// serve echoes messages until the connection ends. The answers to messages that came
// together leave in one write.
func (e *echo) serve(c *conn.Conn) error {
	var m conn.Message
	var here bool // m has been read
	for {
		var err error
		if !here {
			m, err = c.ReadMessage()
		}
		if err != nil {
			return err
		}
		e.messages.Add(1)
		e.bytes.Add(int64(len(m.Data)))
		if err := c.AppendMessage(m.Opcode, m.Data); err != nil {
			return err
		}
		more := c.More()
		if here = false; more { // over TLS it may be less than a message
			if m, here, err = c.TryRead(); err != nil {
				return err
			}
		}
		if here {
			continue
		}
		if err := c.Flush(); err != nil && !more {
			return err // ReadMessage returns the reason: TryRead may have read a Close frame
		}
	}
}
