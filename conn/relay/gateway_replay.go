package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// client is a connection to a Gateway.
type client struct {
	g       *Gateway
	conn    *conn.Conn
	plain   bool // without the subprotocol
	grant   Grant
	feed    *feed // nil until the hello was accepted; under g.mu
	parting sync.Once

	// By the goroutine of serve.
	next  uint64 // the sequence of the first batch that it has not got as a whole
	skip  int    // how many records of that batch it has
	begun time.Time
	total int64 // bytes replayed
}

// refusal ends a connection with a Close code.
type refusal struct {
	code frame.CloseCode
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("relay: refused: %v: %s", r.code, r.text) }

// Handle serves a connection until it ends. It is the RequestHandler of a conn.Server
// whose Upgrader is ServerUpgrader. Connections belong to the Gateway too: the end of Run
// closes them.
func (g *Gateway) Handle(c *conn.Conn, r *http.Request) {
	g.init()
	if viewer(r) && c.Subprotocol() == StatusSubprotocol {
		g.view(c)
		return
	}
	one := &client{g: g, conn: c, plain: c.Subprotocol() != Subprotocol}
	c.SetReadLimit(MaxHello)
	if err := g.enter(one); err != nil {
		one.fail(refusalOf(err))
		_ = one.drain()
		return
	}
	defer g.exit(one)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var serving sync.WaitGroup
	if hello, err := one.hello(r); err == nil {
		serving.Go(func() { one.serve(ctx, hello) })
	} else if refused := new(refusal); errors.As(err, &refused) {
		one.fail(refused)
	}
	if err := one.drain(); errors.Is(err, conn.ErrTooSlow) {
		g.mu.Lock()
		g.dropped++
		g.mu.Unlock()
	}
	cancel()
	c.Close()
	serving.Wait()
	one.depart()
}

// refusalOf returns the refusal for an error of enter.
func refusalOf(err error) *refusal {
	if errors.Is(err, ErrGatewayDown) {
		return &refusal{frame.CodeServiceRestart, err.Error()}
	}
	return &refusal{frame.CodeTryAgainLater, err.Error()}
}

// drain reads until the connection ends: pings and the peer's Close are answered, and
// messages dropped.
func (c *client) drain() error {
	for {
		if _, err := c.conn.ReadMessage(); err != nil {
			return err
		}
	}
}

// hello returns what the client wants: a *refusal, or an error of the connection.
func (c *client) hello(r *http.Request) (control, error) {
	grant, err := c.g.grant(r)
	if err != nil {
		c.g.report(fmt.Errorf("relay: gateway: refused: %w", err))
		return control{}, &refusal{CloseNotGranted, "not granted"}
	}
	c.grant = grant
	if c.plain {
		k := control{Type: "hello", Start: startNow, Stream: r.URL.Query().Get("stream")}
		if k.Stream == "" {
			return k, &refusal{CloseBadHello, "the query names no stream, and the subprotocol is not " + Subprotocol}
		}
		return k, nil
	}
	c.conn.SetReadDeadline(time.Now().Add(c.g.helloTimeout))
	m, err := c.conn.ReadMessage()
	c.conn.SetReadDeadline(time.Time{})
	switch {
	case err != nil && c.conn.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded):
		return control{}, &refusal{CloseHelloLate, "no hello in time"}
	case err != nil:
		return control{}, err
	case m.Opcode != conn.Text:
		return control{}, &refusal{CloseBadHello, "hello: not a text message"}
	}
	k, err := parseHello(m.Data)
	if err != nil {
		return k, &refusal{CloseBadHello, err.Error()}
	}
	return k, nil
}

// serve brings a client to the live messages of its stream, and tells it if that fails.
func (c *client) serve(ctx context.Context, k control) {
	f, err := c.join(ctx, k)
	if err == nil && c.plain {
		err = c.addPlain(f)
	} else if err == nil {
		err = c.replay(ctx, f)
	}
	refused := new(refusal)
	switch {
	case err == nil, ctx.Err() != nil: // live, or gone
	case errors.As(err, &refused):
		c.fail(refused)
	case errors.Is(err, errGoingAway), errors.Is(err, ErrIncarnation):
		c.leave(err, c.last(f), time.Now().Add(farewellTimeout))
	default:
		if errors.Is(err, conn.ErrGroup) {
			c.g.report(fmt.Errorf("relay: gateway: the connection is not of ServerUpgrader: %w", err))
		}
		c.conn.Close()
	}
}

// join finds the stream of a hello, and welcomes the client.
//
// A stream that is not granted is refused before anything is looked up: whether it exists
// is not told.
func (c *client) join(ctx context.Context, k control) (*feed, error) {
	if !c.grant.permits(k.Stream) {
		return nil, &refusal{CloseNotGranted, "the stream is not granted"}
	}
	s := c.g.byName[k.Stream]
	if s == nil {
		return nil, &refusal{CloseUnknown, "no such stream"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.g.patience)
	defer cancel()
	f, err := s.current(ctx)
	switch {
	case errors.Is(err, ErrStreamNotFound): // perhaps not yet: an engine that starts says so too
		return nil, &refusal{frame.CodeTryAgainLater, "the stream is not there"}
	case err != nil:
		return nil, &refusal{frame.CodeTryAgainLater, "the stream cannot be reached"}
	}
	c.g.mu.Lock()
	c.feed = f
	c.g.mu.Unlock()
	if c.plain {
		return f, nil
	}
	recovered, err := c.resolve(ctx, f, k)
	if err != nil {
		return f, c.later(err, "this gateway, or the engine, has not come up to the position")
	}
	after := c.last(f)
	if k.Start == startAfter && recovered {
		after = *k.After // in its own words
	}
	welcome := control{Type: "welcome", Stream: k.Stream, After: &after, Recovered: &recovered}
	f.joins.Add(1)
	if k.Start == startAfter && recovered {
		f.recovered.Add(1)
	}
	return f, c.tell(welcome)
}

// tell writes a control message.
func (c *client) tell(k control) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return c.conn.WriteMessage(conn.Text, data)
}

// resolve sets where the client begins.
func (c *client) resolve(ctx context.Context, f *feed, k control) (recovered bool, err error) {
	switch k.Start {
	case startAfter:
		return c.resume(ctx, f, *k.After, k.Strict)
	case startOldest:
		c.next, err = c.oldest(ctx, f)
	default:
		c.next = f.position() + 1
	}
	return true, err
}

// before returns the place before a batch.
func before(f *feed, sequence uint64) Position {
	return Position{f.incarnation, sequence - 1, EndOfBatch}
}

// last returns the position of the last record that the client has.
func (c *client) last(f *feed) Position {
	if c.skip > 0 {
		return Position{f.incarnation, c.next, uint16(c.skip - 1)}
	}
	return before(f, max(c.next, 1))
}

// oldest returns the sequence of the oldest batch that is granted. The answer of the
// engine may be that of another client, and a little old. What has become too old since
// is left out here, and what has expired is told in the stream.
func (c *client) oldest(ctx context.Context, f *feed) (uint64, error) {
	o := f.origin(c.grant.MaxAge)
	select {
	case <-o.done:
	case <-f.over:
		return 0, f.why()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if o.err != nil {
		return 0, o.err
	}
	next := o.next
	if err := f.await(ctx, next-1); err != nil {
		return 0, err
	}
	for since, limited := c.since(); limited && next <= f.position(); next++ {
		packets, err := f.from(ctx, next)
		if err != nil {
			return 0, err
		}
		if packets[0].gone || packets[0].time >= since.UnixNano() {
			break
		}
	}
	return next, nil
}

// since returns the oldest time that is granted, if it is limited.
func (c *client) since() (time.Time, bool) {
	return time.Now().Add(-c.grant.MaxAge), c.grant.MaxAge != 0
}

// resume sets where the client begins after a position that it names.
func (c *client) resume(ctx context.Context, f *feed, p Position, strict bool) (recovered bool, err error) {
	if p.Incarnation != f.incarnation {
		return false, &refusal{CloseIncarnation, "the position is of another incarnation: the stream was made anew"}
	}
	if err := f.await(ctx, p.Sequence); err != nil {
		return false, err
	}
	c.next, c.skip, recovered = p.Sequence, int(p.Index)+1, true
	if p.Sequence == 0 || p.Index == EndOfBatch {
		c.next, c.skip = p.Sequence+1, 0
	}
	for c.next <= f.position() {
		packets, err := f.from(ctx, c.next)
		if err != nil {
			return false, err
		}
		since, limited := c.since()
		switch first := packets[0]; {
		case first.gone && strict:
			return false, &refusal{CloseExpired, "the position has expired"}
		case first.gone:
			c.next, c.skip, recovered = first.last+1, 0, false
		case c.skip > len(first.ends):
			return false, &refusal{CloseBadHello, "hello: the stream has no such position"}
		case c.skip == len(first.ends):
			c.next, c.skip = c.next+1, 0
		case limited && first.time < since.UnixNano():
			return false, &refusal{CloseNotGranted, "so old a position is not granted"}
		default:
			return recovered, nil
		}
	}
	return recovered, nil
}

// from returns packets from a sequence on, from the ring or the cache.
func (f *feed) from(ctx context.Context, sequence uint64) ([]*packet, error) {
	f.mu.Lock()
	packets, ended := take(f.ring, sequence), f.ended
	f.mu.Unlock()
	switch {
	case ended != nil:
		return nil, ended
	case len(packets) > 0:
		return packets, nil
	}
	return f.g.cache.get(ctx, f, sequence)
}

// replay brings a client from its position to the live messages.
func (c *client) replay(ctx context.Context, f *feed) error {
	if live, err := c.seam(f); live || err != nil {
		return err
	}
	f.replaying.Add(1)
	defer f.replaying.Add(-1)
	c.begun = time.Now()
	for {
		if live, err := c.turn(ctx, f); live || err != nil {
			return err
		}
		if c.grant.Rate > 0 {
			c.throttle(ctx, f)
		}
	}
}

// turn waits for the client's turn, and writes some packets. Turns go round: nobody waits
// for a client that has much to catch up, or that is throttled. A client that does not
// read in a turn's time is cut: it can come back with its position.
func (c *client) turn(ctx context.Context, f *feed) (live bool, err error) {
	select {
	case c.g.turns <- struct{}{}:
	case <-f.over:
		return false, f.why()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-c.g.turns }()
	if live, err := c.seam(f); live || err != nil {
		return live, err
	}
	packets, err := c.ahead(ctx, f)
	if err != nil {
		return false, err
	}
	if c.grant.Rate > 0 {
		packets = packets[:1]
	}
	defer time.AfterFunc(c.g.turnTime, c.cut).Stop()
	return false, c.write(f, packets)
}

// cut ends a connection whose client does not read.
func (c *client) cut() {
	c.g.mu.Lock()
	c.g.dropped++
	c.g.mu.Unlock()
	c.conn.Close()
}

// seam joins the live clients if the client has all that was fanned out. Under the mutex
// nothing can be fanned out, so nothing comes twice and nothing is left out.
func (c *client) seam(f *feed) (live bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended != nil:
		return false, f.ended
	case c.skip > 0 || c.next+c.g.slip < f.head+1:
		return false, nil
	}
	if err := f.group.Add(c.conn); err != nil {
		return false, err
	}
	f.live[c] = struct{}{}
	return true, nil
}

// addPlain joins a client without the subprotocol.
func (c *client) addPlain(f *feed) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		return f.ended
	}
	if err := f.plain.Add(c.conn); err != nil {
		return err
	}
	f.live[c] = struct{}{}
	return nil
}

// why returns why the feed is over.
func (f *feed) why() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// ahead returns the packets that a replay writes next.
func (c *client) ahead(ctx context.Context, f *feed) ([]*packet, error) {
	wait, cancel := context.WithTimeout(ctx, c.g.patience)
	defer cancel()
	packets, err := f.from(wait, c.next)
	return packets, c.later(err, "the stream cannot be read")
}

// later returns err, or that the client should come later if err is of the engine's.
func (c *client) later(err error, text string) error {
	refused := new(refusal)
	if err == nil || errors.As(err, &refused) || errors.Is(err, errGoingAway) || errors.Is(err, ErrIncarnation) {
		return err
	}
	return &refusal{frame.CodeTryAgainLater, text}
}

// write writes packets, without a mutex: a client that is slow, or does not read at all,
// waits for itself.
func (c *client) write(f *feed, packets []*packet) error {
	for _, p := range packets {
		if p.first < c.next {
			p = gonePacket(c.next, p.last)
		}
		from := c.skip
		if p.gone {
			from = 0
		}
		size := int64(0)
		for i := from; i < len(p.ends); i++ {
			message := p.message(i)
			if err := c.conn.AppendMessage(conn.Binary, message); err != nil {
				return err
			}
			size += int64(len(message))
		}
		c.next, c.skip = p.last+1, 0
		c.count(f, len(p.ends)-from, size)
	}
	return c.conn.Flush()
}

func (c *client) count(f *feed, messages int, size int64) {
	c.total += size
	f.counters.messages.Add(uint64(messages))
	f.replayed.Add(uint64(messages))
	f.bytes.Add(uint64(size))
}

// throttle waits until the client may have the bytes that it has got.
func (c *client) throttle(ctx context.Context, f *feed) {
	due := c.begun.Add(time.Duration(float64(c.total) / float64(c.grant.Rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.over:
	case <-ctx.Done():
	}
}

// depart removes the client from its feed.
func (c *client) depart() {
	c.g.mu.Lock()
	f := c.feed
	c.g.mu.Unlock()
	if f == nil {
		return
	}
	f.mu.Lock()
	delete(f.live, c)
	f.mu.Unlock()
	f.group.Remove(c.conn)
	f.plain.Remove(c.conn)
}

// fail ends the connection with an error message and a Close frame.
func (c *client) fail(r *refusal) {
	c.g.refuse(int(r.code))
	c.farewell(control{Type: "error", Code: r.code, Text: r.text}, r.code, r, time.Now().Add(farewellTimeout))
}

// leave tells the client that its feed is over, and the position it has.
func (c *client) leave(why error, last Position, until time.Time) {
	if errors.Is(why, ErrIncarnation) {
		k := control{Type: "error", Code: CloseIncarnation, Text: why.Error()}
		c.farewell(k, CloseIncarnation, why, until)
		return
	}
	c.farewell(control{Type: "bye", After: &last, Text: why.Error()}, frame.CodeServiceRestart, why, until)
}

// farewell writes a last message, if it has a type, and a Close frame. The reading
// goroutine sees the end.
func (c *client) farewell(k control, code frame.CloseCode, why error, until time.Time) {
	c.parting.Do(func() {
		c.conn.SetWriteDeadline(until)
		if k.Type != "" && !c.plain {
			if err := c.tell(k); err != nil {
				c.conn.Close()
				return
			}
		}
		text := strings.TrimPrefix(why.Error(), "relay: ")
		if refused := new(refusal); errors.As(why, &refused) {
			text = refused.text
		}
		if err := c.conn.StartClose(code, text[:min(len(text), 120)]); err != nil {
			c.conn.Close()
		}
	})
}
