// Package soak runs many connections for a long time on loopback, and looks whether
// anything is lost, grows or stays behind: command tickwire soak.
//
// Both ends are in this process. Feeds of numbered messages, whose every byte follows from
// their number, go to clients of package redial, plain and over TLS, compressed and not,
// with records opened by the engine. The server ends connections at random, in all ways
// that a connection can end, and the clients replace them at an age of their own. Each
// client asks for what comes after its last message, so that a message which is missing,
// comes twice or differs is a fault of the engine. So is a broken protocol, or a timeout
// that the server did not cause: a new dial would hide them. A third of the feeds share
// a Poller. Beside the feeds a Group sends to members of which some do not read for a
// while.
package soak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
)

// Options are what a run does. The zero value of a field stands for its default.
type Options struct {
	Duration  time.Duration // 60 s
	Conns     int           // feeds, each with a connection; 200
	Rate      float64       // messages/s over all feeds; 5,000
	DropEvery time.Duration // the mean time after which the server ends a connection; 15 s
	Every     time.Duration // between samples; 1 s
	Seed      uint64        // of all that is random; 1
	// Sampled, if not nil, is called with each sample.
	Sampled func(Sample)

	// For the tests of the run itself.
	fault    fault
	patience time.Duration // with a feed that stands still, and with what is left; 10 s
}

// fault is a defect of the server's that a run has to find.
type fault uint8

const (
	faultless fault = iota
	skips           // a number of a feed is left out
	repeats         // a message comes twice
	corrupts        // a byte of a message is another one
	leaks           // a goroutine stays behind

	// Those that server.feed and broadcast cause by themselves.
	malforms // a frame breaks the protocol
	stands   // a feed brings nothing more
	early    // a connection begins with a number before the one asked for
	loses    // the last message before a Close is left out
	spoils   // a byte of a broadcast is another one
)

const patience = 10 * time.Second

func (o Options) withDefaults() Options {
	set(&o.Duration, time.Minute)
	set(&o.Conns, 200)
	set(&o.Rate, 5000)
	set(&o.DropEvery, 15*time.Second)
	set(&o.Every, time.Second)
	set(&o.Seed, 1)
	set(&o.patience, patience)
	return o
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Result is what came of a run.
type Result struct {
	Options  Options
	Samples  []Sample
	Total    Counts
	Failures []string // what was found; empty if all is well
}

// run is a run under way.
type run struct {
	o      Options
	server *server
	roots  *x509.CertPool
	began  time.Time
	over   <-chan struct{} // closed at the end, when dials are broken off

	followers []*follower // by feed
	poller    conn.Poller

	counters counters
	latency  latency
	hiccups  lateness
	stalls   lateness
	clients  sync.WaitGroup
	serving  sync.WaitGroup
	helpers  sync.WaitGroup // the Poller and watch
	failing
}

// Counts are totals.
type Counts struct {
	Messages, Bytes uint64 // of the feeds, each once
	Repeated        uint64 // came again in a rotation with overlap
	Sessions        uint64 // of the feeds' clients
	Rotations       uint64
	Ended           uint64 // connections that the server has ended
	Broadcast       uint64 // messages that members of the Group have got
	TooSlow         uint64 // members that the Group has ended
	Excused         uint64 // timeouts and the like while this process was late: not judged
}

// counters are Counts that grow.
type counters struct {
	messages, bytes, repeated, sessions, rotations, ended, broadcast atomic.Uint64

	slowEnded, excused atomic.Uint64
}

func (r *run) counts() Counts {
	c := &r.counters
	return Counts{c.messages.Load(), c.bytes.Load(), c.repeated.Load(), c.sessions.Load(), c.rotations.Load(),
		c.ended.Load(), c.broadcast.Load(), r.server.group.Stats().Removed, c.excused.Load()}
}

// Run runs until Duration or ctx is over. The error says that it could not begin.
func Run(ctx context.Context, o Options) (*Result, error) {
	before := takeStock()
	r := &run{o: o.withDefaults(), began: time.Now()}
	r.hiccups.limit, r.hiccups.began = hiccup, r.began
	r.stalls.limit, r.stalls.began = stall, r.began
	for i := range r.o.Conns {
		r.followers = append(r.followers, &follower{run: r, feed: uint64(i)})
	}
	ctx, cancel := untimed(ctx)
	defer cancel()
	defer time.AfterFunc(r.o.Duration, cancel).Stop()
	r.over = ctx.Done()
	if err := r.startServer(); err != nil {
		return nil, err
	}
	stopHelpers := r.startHelpers()
	for _, f := range r.followers {
		r.clients.Go(func() { r.follow(ctx, f) })
	}
	for i := range max(4, r.o.Conns/10) {
		r.clients.Go(func() { r.listen(ctx, i) })
	}
	samples := r.sample(ctx)
	ended := time.Since(r.began)
	r.clients.Wait()
	r.judgeProgress(ended)
	stopHelpers()
	r.stopServer()
	total := r.counts()
	r.judgeGroup(ended, total.TooSlow)
	r.judgeMemory(samples)
	r.judgeStock(before)
	if total.Messages == 0 {
		r.fail("no message was received")
	}
	return &Result{r.o, samples, total, r.failures}, nil
}

// startHelpers begins what the clients need until their end: the Poller, and watch. stop
// waits for both.
func (r *run) startHelpers() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.helpers.Go(func() { r.watch(ctx) })
	r.helpers.Go(func() {
		if err := r.poller.Run(ctx); !errors.Is(err, context.Canceled) {
			r.fail("the Poller ended: %v", err)
		}
	})
	return func() {
		cancel()
		r.helpers.Wait()
	}
}

// startServer serves on loopback, plain and over TLS.
func (r *run) startServer() error {
	config, root, err := exchange.SelfMade("localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(root)
	r.server = newServer(r)
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.server.Close()
			return err
		}
		address := l.Addr().String()
		l = &abruptListener{l, rand.New(rand.NewPCG(r.o.Seed, 1))}
		if secure {
			r.server.secureURL = "wss://" + address + "/"
			l = tls.NewListener(conn.UnderTLS(l, nil), config)
		} else {
			r.server.url = "ws://" + address + "/"
		}
		r.serving.Go(func() {
			if err := r.server.Serve(l); !errors.Is(err, conn.ErrServerClosed) {
				r.fail("the server ended: %v", err)
			}
		})
	}
	return nil
}

// stopTimeout is how long all connections together may take to end.
const stopTimeout = 30 * time.Second

func (r *run) stopServer() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		r.fail("the server did not come to an end within %v: %v", stopTimeout, err)
	}
	r.serving.Wait()
}

// abruptListener has a part of the connections reset when they are closed.
type abruptListener struct {
	net.Listener
	random *rand.Rand // by Accept, which one goroutine calls
}

func (l *abruptListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if tcp, ok := nc.(*net.TCPConn); ok && l.random.IntN(4) == 0 {
		_ = tcp.SetLinger(0)
	}
	return nc, err
}

// judgeStock fails if something of this process is left over.
func (r *run) judgeStock(before stock) {
	for _, left := range before.leftOver(r.o.patience) {
		r.fail("%s", left)
	}
}

// stock is what a process has open.
type stock struct{ goroutines, descriptors int }

func takeStock() stock { return stock{runtime.NumGoroutine(), descriptors()} }

// leftOver returns what there is more than before, after what ends has had time to.
func (before stock) leftOver(patience time.Duration) (left []string) {
	var now stock
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if now = takeStock(); now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return nil
		}
		if time.Now().After(end) {
			break
		}
	}
	if n := now.goroutines - before.goroutines; n > 0 {
		left = append(left, fmt.Sprintf("%d goroutines are left", n))
	}
	if n := now.descriptors - before.descriptors; n > 0 {
		left = append(left, fmt.Sprintf("%d file descriptors are left open", n))
	}
	return left
}

// compression is what both ends offer.
func compression() *deflate.Config { return &deflate.Config{Level: 1} }
