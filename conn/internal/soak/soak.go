// Package soak runs many connections for a long time on loopback: command tickwire soak.
// It looks for messages that are lost, and for memory or goroutines that grow.
//
// Both ends are in this process. Feeds of numbered messages go to clients of package
// redial. The bytes of a message follow from its number. Some connections are plain and
// some use TLS, some are compressed, and of some the engine decrypts the records.
//
// The server ends connections at random, in every possible way. The clients replace them
// when they have a certain age. Each client asks for the messages after its last one. So
// a message that is missing, repeated or different is a fault of the engine. So is a
// protocol error, or a timeout that the server did not cause: the next dial would hide
// it.
//
// A third of the feeds share a Poller. A Group also sends to members, some of which do
// not read for a while.
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

// Options configure a run. The zero value of a field means its default.
type Options struct {
	Duration  time.Duration // default 60 s
	Conns     int           // feeds, each with a connection; default 200
	Rate      float64       // messages/s over all feeds; default 5,000
	DropEvery time.Duration // mean time until the server ends a connection; default 15 s
	Every     time.Duration // time between samples; default 1 s
	Seed      uint64        // of all random choices; default 1
	// Sampled, if not nil, is called with each sample.
	Sampled func(Sample)

	// For the tests of this package.
	fault    fault
	patience time.Duration // wait for a feed without progress, and for what is left over; default 10 s
}

// fault is a fault of the server that a run must find.
type fault uint8

const (
	faultless fault = iota
	skips           // a number of a feed is missing
	repeats         // a message is sent twice
	corrupts        // a byte of a message is changed
	leaks           // a goroutine is left over

	// These are made by server.feed and broadcast.
	malforms   // a frame breaks the protocol
	stallsFeed // a feed sends nothing more
	early      // a connection begins with an earlier number than asked for
	loses      // the last message before a Close frame is missing
	spoils     // a byte of a broadcast is changed
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

// Result is the result of Run.
type Result struct {
	Options  Options
	Samples  []Sample
	Total    Counts
	Failures []string // empty if all is well
}

// run is a Run in progress.
type run struct {
	o      Options
	server *server
	roots  *x509.CertPool
	began  time.Time
	over   <-chan struct{} // closed at the end, when dials are cancelled

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
	Messages, Bytes uint64 // of the feeds, each message once
	Repeated        uint64 // received twice in a rotation with overlap
	Sessions        uint64 // of the feeds' clients
	Rotations       uint64
	Ended           uint64 // connections that the server has ended
	Broadcast       uint64 // messages that members of the Group received
	TooSlow         uint64 // members that the Group has ended
	Excused         uint64 // timeouts and the like while this process was late: not judged
}

// counters are the Counts of a run in progress.
type counters struct {
	messages, bytes, repeated, sessions, rotations, ended, broadcast atomic.Uint64

	slowEnded, excused atomic.Uint64
}

func (r *run) counts() Counts {
	c := &r.counters
	return Counts{c.messages.Load(), c.bytes.Load(), c.repeated.Load(), c.sessions.Load(), c.rotations.Load(),
		c.ended.Load(), c.broadcast.Load(), r.server.group.Stats().Removed, c.excused.Load()}
}

// Run runs until Duration is over or ctx ends. An error means that it could not start.
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

// startHelpers starts what the clients need until their end: the Poller, and watch. stop
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

// startServer serves on loopback, with and without TLS.
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

// abruptListener makes close reset a part of its connections.
type abruptListener struct {
	net.Listener
	random *rand.Rand // used by Accept, which one goroutine calls
}

func (l *abruptListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if tcp, ok := nc.(*net.TCPConn); ok && l.random.IntN(4) == 0 {
		_ = tcp.SetLinger(0)
	}
	return nc, err
}

// judgeStock fails if this process has more open than before.
func (r *run) judgeStock(before stock) {
	for _, left := range before.leftOver(r.o.patience) {
		r.fail("%s", left)
	}
}

// stock is what a process has open.
type stock struct{ goroutines, descriptors int }

func takeStock() stock { return stock{runtime.NumGoroutine(), descriptors()} }

// leftOver returns what there is more than before, after waiting for it to end.
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
