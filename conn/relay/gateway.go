package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The defaults of Gateway.
const (
	DefaultRingBytes  = 16 << 20
	DefaultCacheBytes = 64 << 20
	DefaultFetches    = 4
	DefaultMaxClients = 10_000
	DefaultMaxReplays = 1000
)

const (
	defaultHelloTimeout = 5 * time.Second
	// defaultPatience is how long a client waits for the engine, or for this gateway to
	// come up to its position. A leader that was killed has a successor after up to 9 s.
	defaultPatience = 15 * time.Second
	// defaultTurnTime is how long a client that catches up may take to read a turn.
	defaultTurnTime = 30 * time.Second
)

var (
	// ErrGatewayRan is returned by Gateway.Run when it is called again.
	ErrGatewayRan = errors.New("relay: Gateway.Run was called before")
	// ErrGatewayDown says that a Gateway does not run: Run was not called, or has ended.
	ErrGatewayDown = errors.New("relay: the gateway does not run")
	// ErrBehind says that a Gateway, or a replica of the engine, has not yet come up to
	// the head of a stream.
	ErrBehind = errors.New("relay: behind the head of the stream")
)

// Grant is what a client may receive. The zero value grants nothing.
type Grant struct {
	// User is for the application's own use.
	User string
	// Streams are the names of the streams; "*" means every stream of the Gateway.
	Streams []string
	// MaxAge is how far back the client may go: the oldest batch that it gets was stored
	// no longer ago, by the engine's time stamp. 0 means no limit.
	MaxAge time.Duration
	// Rate limits the bytes per second that a client gets while it catches up. 0 means no
	// limit. Live messages are not limited. A client whose Rate is less than that of the
	// stream never catches up.
	Rate int
}

// permits reports whether a stream is granted.
func (g Grant) permits(stream string) bool {
	return slices.Contains(g.Streams, stream) || slices.Contains(g.Streams, "*")
}

// Gateway serves streams to WebSocket clients. They begin now, at the oldest record or
// after a position, and get each record once and in order: PROTOCOL.md specifies how.
//
// It is an http.Handler. Upgrade requests become clients. GET answers /metrics (for
// Prometheus), /healthz (200 or 503, see Ready), /relay.js (a client for browsers) and /
// (a status page). /metrics and /healthz are open to everybody that reaches the handler.
//
// A Gateway must not be copied. Its fields must not be changed after the first call of a
// method.
type Gateway struct {
	// Conn is the connection to the engine: see Connect.
	Conn *nats.Conn
	// Streams are the names of the streams to serve. They need not exist yet.
	Streams []string
	// Authorize is asked at every connection before the upgrade, except those of the
	// status page. Its error refuses. A *handshake.Error answers with its status, header
	// and body; without a body the client reads its Rule. Any other error answers with
	// 403, and its text is not told to the client. OnError is told the text of both. nil
	// grants everything to everybody.
	//
	// Under Handle it is asked after the upgrade, when the whole request is known. Every
	// error then becomes 4403, and nothing of it is told to the client.
	Authorize func(*http.Request) (Grant, error)
	// Upgrader opens the connections of ServeHTTP: see ServerUpgrader.
	Upgrader conn.Upgrader

	// RingBytes is the memory for the newest batches, for each stream. 0 means
	// DefaultRingBytes.
	RingBytes int64
	// CacheBytes is the memory for older batches, for all streams together. 0 means
	// DefaultCacheBytes.
	CacheBytes int64
	// Fetches is how many reads of older batches run at once. 0 means DefaultFetches.
	Fetches int
	// MaxClients limits the connections. More are refused with 503, or with 1013 under
	// Handle. 0 means DefaultMaxClients.
	MaxClients int
	// MaxReplays is how many clients that catch up are written to at once; others wait
	// for their turn. A turn is up to 256 KiB of batches, or one batch if that is longer.
	// The connection of a client that does not read them in 30 s is closed. 0 means
	// DefaultMaxReplays.
	MaxReplays int
	// GroupLag limits the bytes that wait for one slow client: see conn.Group. 0 means
	// conn.DefaultGroupLag.
	GroupLag int
	// ShutdownTimeout limits the farewell when the context of Run ends. 0 means
	// DefaultShutdownTimeout.
	ShutdownTimeout time.Duration

	// NoStatus turns the status page off.
	NoStatus bool
	// StatusAuthorize is asked about each request for the status page and its data; an
	// error refuses like one of Authorize. nil allows only requests from this machine:
	// their address and Host are loopback, and they have neither X-Forwarded-For nor
	// Forwarded.
	//
	// A reverse proxy on this machine makes every request local. One that adds no such
	// header and sends a loopback Host shows the page to everybody: set StatusAuthorize
	// or NoStatus there.
	StatusAuthorize func(*http.Request) error

	// OnError, if not nil, is told of what goes wrong: the engine is away, a batch cannot
	// be parsed, a client was refused by Authorize. It must not block, and may be called
	// by several goroutines at once.
	OnError func(error)

	once         sync.Once
	streams      []*stream
	byName       map[string]*stream
	cache        *cache
	server       *conn.Server
	pages        map[string]http.Handler
	turns        chan struct{} // a place for each replay that writes
	turnTime     time.Duration
	viewers      atomic.Int64 // of the status page
	helloTimeout time.Duration
	patience     time.Duration
	originLife   time.Duration
	slip         uint64 // batches that a join leaves out: for the test that its checker notices

	mu      sync.Mutex
	state   state
	clients map[*client]struct{}
	empty   chan struct{} // closed when there is no client while the gateway ends
	refused map[int]uint64
	dropped uint64 // with ErrTooSlow
}

type state uint8

const (
	idle state = iota
	running
	ended
)

// init makes the zero value usable.
func (g *Gateway) init() {
	g.once.Do(func() {
		g.byName, g.clients, g.refused = map[string]*stream{}, map[*client]struct{}{}, map[int]uint64{}
		for _, name := range g.Streams {
			if g.byName[name] == nil {
				s := newStream(g, name)
				g.streams, g.byName[name] = append(g.streams, s), s
			}
		}
		g.cache = newCache(orDefault(g.CacheBytes, DefaultCacheBytes), orDefault(g.Fetches, DefaultFetches))
		g.turns = make(chan struct{}, orDefault(g.MaxReplays, DefaultMaxReplays))
		g.helloTimeout = orDefault(g.helloTimeout, defaultHelloTimeout)
		g.patience = orDefault(g.patience, defaultPatience)
		g.originLife = orDefault(g.originLife, originLife)
		g.turnTime = orDefault(g.turnTime, defaultTurnTime)
		g.server = &conn.Server{Upgrader: g.ServerUpgrader(), RequestHandler: g.Handle, OnError: g.OnError}
		g.server.Upgrader.Subprotocols = append(g.server.Upgrader.Subprotocols, StatusSubprotocol)
		registry := prometheus.NewRegistry()
		registry.MustRegister(g.Collector())
		g.pages = g.newPages(registry)
	})
}

// orDefault returns v, or its default if it is not positive.
func orDefault[T ~int | ~int64](v, byDefault T) T {
	if v <= 0 {
		return byDefault
	}
	return v
}

// ServerUpgrader returns the Upgrader for a conn.Server that calls Handle: Upgrader with
// the subprotocol, and without what a gateway cannot use: FailFast and Outbound.
func (g *Gateway) ServerUpgrader() conn.Upgrader {
	u := g.Upgrader
	u.Subprotocols, u.SelectSubprotocol = []string{Subprotocol}, nil
	u.Config.FailFast, u.Config.Outbound = false, nil
	return u
}

// Run follows the streams until ctx ends. Then each client gets a bye with its position,
// and a Close frame with 1012; Run returns the context's cause when all have left, at the
// latest after ShutdownTimeout. If Conn is closed for good, Run says bye too and returns
// nats.ErrConnectionClosed. Run waits for a stream or an engine that is away.
//
// Run can be called once. Before it, and after it, connections are refused with 503.
func (g *Gateway) Run(ctx context.Context) error {
	if g.Conn == nil {
		return errors.New("relay: Gateway without a NATS connection")
	}
	g.init()
	if !g.begin() {
		return ErrGatewayRan
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go g.watchConn(ctx, cancel)
	until := g.onEnd(ctx)
	var wg sync.WaitGroup
	for _, s := range g.streams {
		wg.Go(func() { s.run(ctx, until) })
	}
	<-ctx.Done()
	deadline, end := context.WithDeadline(context.Background(), until())
	defer end()
	wg.Wait() // each has said bye
	g.sayClose(until())
	g.awaitEmpty(deadline)
	g.closeAll()
	_ = g.server.Shutdown(deadline) // viewers of the status page
	return context.Cause(ctx)
}

func (g *Gateway) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != idle {
		return false
	}
	g.state, g.empty = running, make(chan struct{})
	return true
}

// watchConn ends Run when the NATS connection is closed for good.
func (g *Gateway) watchConn(ctx context.Context, cancel context.CancelCauseFunc) {
	closed := g.Conn.StatusChanged(nats.CLOSED)
	defer g.Conn.RemoveStatusListener(closed)
	if g.Conn.IsClosed() {
		cancel(nats.ErrConnectionClosed)
		return
	}
	select {
	case <-closed:
		cancel(nats.ErrConnectionClosed)
	case <-ctx.Done():
	}
}

// onEnd refuses new clients from the end of ctx on. The function that it returns waits
// for that, and tells until when the farewell may last.
func (g *Gateway) onEnd(ctx context.Context) func() time.Time {
	return sync.OnceValue(func() time.Time {
		<-ctx.Done()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.state = ended
		if len(g.clients) == 0 {
			close(g.empty)
		}
		return time.Now().Add(orDefault(g.ShutdownTimeout, DefaultShutdownTimeout))
	})
}

// sayClose closes the connections of clients that have no stream yet. The others get a
// bye by their feed, or when their replay sees that it is over.
func (g *Gateway) sayClose(until time.Time) {
	for _, c := range g.of(nil) {
		go c.farewell(control{}, frame.CodeServiceRestart, errGoingAway, until)
	}
}

func (g *Gateway) awaitEmpty(ctx context.Context) {
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}

// closeAll closes the connections that are left.
func (g *Gateway) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.clients {
		go c.conn.Close()
	}
}

// of returns the clients of a feed, or those without one.
func (g *Gateway) of(f *feed) []*client {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*client
	for c := range g.clients {
		if c.feed == f {
			all = append(all, c)
		}
	}
	return all
}

// room returns nil if another client may come, and otherwise what is in the way.
func (g *Gateway) room() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.roomLocked()
}

func (g *Gateway) roomLocked() error {
	switch {
	case g.state != running:
		return ErrGatewayDown
	case len(g.clients) >= orDefault(g.MaxClients, DefaultMaxClients):
		return errFull
	}
	return nil
}

var errFull = errors.New("relay: the gateway has no room for another client")

// enter counts a client, if there is room.
func (g *Gateway) enter(c *client) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.roomLocked(); err != nil {
		return err
	}
	g.clients[c] = struct{}{}
	return nil
}

func (g *Gateway) exit(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.clients, c)
	if g.state == ended && len(g.clients) == 0 {
		close(g.empty)
	}
}

// refuse counts a refusal: by its status, or by its Close code.
func (g *Gateway) refuse(code int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[code]++
}

func (g *Gateway) report(err error) {
	if g.OnError != nil {
		g.OnError(err)
	}
}

// Ready returns nil if the engine answers for each stream and the Gateway has come up to
// its head. Otherwise the error says what is missing; it matches ErrGatewayDown,
// ErrBehind, ErrNoLeader, ErrStreamNotFound or another error of the engine.
func (g *Gateway) Ready() error {
	g.init()
	g.mu.Lock()
	state := g.state
	g.mu.Unlock()
	if state != running {
		return ErrGatewayDown
	}
	if !g.Conn.IsConnected() {
		return fmt.Errorf("%w: %w", ErrNoLeader, nats.ErrDisconnected)
	}
	var all []error
	for _, s := range g.streams {
		if err := s.ready(); err != nil {
			all = append(all, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(all...)
}

// isUpgrade reports whether a request asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Upgrade", func(token string) bool { return strings.EqualFold(token, "websocket") })
}

// hasToken reports whether a header has a token in one of its lists.
func hasToken(h http.Header, name string, is func(token string) bool) bool {
	for _, line := range h.Values(name) {
		for token := range strings.SplitSeq(line, ",") {
			if is(strings.Trim(token, " \t")) {
				return true
			}
		}
	}
	return false
}
