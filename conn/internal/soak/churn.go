package soak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// ends are the ways to end a connection of Churn. Each is used for a quarter of them.
const (
	shutdownByClient = iota
	shutdownByServer
	closedByClient
	resetByClient
	ways
)

// ChurnResult is the result of Churn.
type ChurnResult struct {
	Opened, Ended uint64
	Took          time.Duration
	Failures      []string
}

// Print writes the result for people.
func (r *ChurnResult) Print(w io.Writer) {
	fmt.Fprintf(w, "%d connections opened and ended in %v, %.0f/s: by Shutdown of either side, by Close, by a reset\n",
		r.Ended, round(r.Took), float64(r.Ended)/r.Took.Seconds())
	if len(r.Failures) == 0 {
		fmt.Fprintln(w, "each ended as it should; no goroutine and no file descriptor left")
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED: %s\n", f)
	}
}

// churn is a Churn in progress.
type churn struct {
	failing
	server    conn.Server
	addresses []string
	secure    string
	roots     *x509.CertPool
	opened    atomic.Uint64
	ended     atomic.Uint64
}

// Churn opens n connections, one in eight over TLS. It has a message echoed on each, and
// ends it in one of several ways. progress, if not nil, is called each second.
func Churn(ctx context.Context, n int, progress func(opened, ended uint64)) (*ChurnResult, error) {
	before := takeStock()
	ctx, cancel := untimed(ctx)
	defer cancel()
	began := time.Now()
	c := &churn{}
	c.server.Handler = c.serve
	c.server.OnError = func(err error) { c.failIn(ctx, "the server's handshake: %v", err) }
	var helpers sync.WaitGroup
	if err := c.listen(&helpers); err != nil {
		return nil, err
	}
	var next atomic.Int64
	for range 32 * runtime.GOMAXPROCS(0) {
		helpers.Go(func() {
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				c.one(ctx, int(i))
			}
		})
	}
	helpers.Go(func() { c.finish(ctx, n, progress) })
	helpers.Wait()
	for _, left := range before.leftOver(patience) {
		c.fail("%s", left)
	}
	if ended := c.ended.Load(); ended < uint64(n) && ctx.Err() == nil {
		c.fail("%d of %d connections ended as they should", ended, n)
	}
	return &ChurnResult{c.opened.Load(), c.ended.Load(), time.Since(began), c.failures}, nil
}

// finish ends the server after all clients have ended.
func (c *churn) finish(ctx context.Context, n int, progress func(opened, ended uint64)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for c.ended.Load() < uint64(n) && ctx.Err() == nil && !c.failed() {
		select {
		case <-tick.C:
			if progress != nil {
				progress(c.opened.Load(), c.ended.Load())
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := c.server.Shutdown(stop); err != nil {
		c.fail("the server did not come to an end within %v: %v", stopTimeout, err)
	}
}

// loopbacks is the number of loopback addresses to listen on, if possible. One
// address has ports for some 28,000 connections in TIME_WAIT.
const loopbacks = 16

func (c *churn) listen(helpers *sync.WaitGroup) error {
	config, root, err := exchange.SelfMade("localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	c.roots = x509.NewCertPool()
	c.roots.AppendCertsFromPEM(root)
	serve := func(l net.Listener) {
		helpers.Go(func() {
			if err := c.server.Serve(l); !errors.Is(err, conn.ErrServerClosed) {
				c.fail("the server ended: %v", err)
			}
		})
	}
	for i := range loopbacks {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", i+1))
		if err != nil {
			if i == 0 {
				return err
			}
			break // this system has only one address
		}
		c.addresses = append(c.addresses, "ws://"+l.Addr().String())
		serve(l)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = c.server.Close()
		return err
	}
	c.secure = "wss://" + l.Addr().String()
	serve(tls.NewListener(conn.UnderTLS(l, nil), config))
	return nil
}

// serve echoes messages. It closes the connection when the client asks for that.
func (c *churn) serve(sc *conn.Conn) {
	for m, err := range sc.Messages() {
		if err != nil || sc.WriteMessage(m.Opcode, m.Data) != nil {
			return
		}
		if string(m.Data) == "goodbye" {
			_ = sc.StartClose(frame.CodeGoingAway, "")
		}
	}
}

// one runs a connection from beginning to end.
func (c *churn) one(ctx context.Context, i int) {
	d := &conn.Dialer{}
	url := c.addresses[i%len(c.addresses)]
	if i/ways%8 == 7 {
		url, d.TLSConfig = c.secure, &tls.Config{RootCAs: c.roots}
	}
	cc, err := d.Dial(ctx, url)
	if err != nil {
		c.failIn(ctx, "connection %d: %v", i, err)
		return
	}
	c.opened.Add(1)
	defer cc.Close()
	way := i % ways
	text := "echo"
	if way == shutdownByServer {
		text = "goodbye"
	}
	if err := cc.WriteMessage(conn.Text, []byte(text)); err != nil {
		c.failIn(ctx, "connection %d: %v", i, err)
		return
	}
	if m, err := cc.ReadMessage(); err != nil || string(m.Data) != text {
		c.failIn(ctx, "connection %d: %q, %v", i, m.Data, err)
		return
	}
	if err := end(ctx, cc, way); err != nil {
		c.failIn(ctx, "connection %d: %v", i, err)
		return
	}
	c.ended.Add(1)
}

// end ends a connection in the given way. It returns an error if anything is wrong.
func end(ctx context.Context, cc *conn.Conn, way int) error {
	switch way {
	case shutdownByClient:
		return cc.Shutdown(ctx, frame.CodeNormal, "")
	case shutdownByServer:
		_, err := cc.ReadMessage()
		if conn.CloseCode(err) != frame.CodeGoingAway {
			return fmt.Errorf("not told of the end: %w", err)
		}
	case closedByClient:
		return cc.Close()
	case resetByClient:
		nc := cc.NetConn()
		if t, ok := nc.(*tls.Conn); ok {
			nc = t.NetConn()
		}
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return cc.Close()
	}
	return nil
}
