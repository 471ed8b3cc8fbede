package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn"
)

const (
	silence     = 200 * time.Millisecond // after which the leader is asked for its last sequence
	askMost     = time.Second            // between two questions while nothing happens
	askAlways   = 5 * time.Second        // between two questions while messages come
	askTimeout  = 2 * time.Second
	readTimeout = 5 * time.Second
	// farewellTimeout limits an error message and its Close frame.
	farewellTimeout = 5 * time.Second
	beginAgain      = 250 * time.Millisecond // after a stream could not be found

	// liveQueue is how many batches wait for the fan-out. More are dropped, and read from
	// the stream.
	liveQueue = 512
	// readBatches and readBytes limit a direct get.
	readBatches = chunkBatches
	readBytes   = 8 << 20
	// groupBuffer has room for several batches of the default size, so that the fan-out
	// seldom waits for the Group while it has the mutex.
	groupBuffer = 256 << 10
	// paceAgain is how long pace does not wait after a wait that ran out.
	paceAgain = time.Second
	// staleAfter is how long a leader may know less than this gateway: one that was
	// elected just now has not applied everything. After it the stream has lost batches.
	staleAfter = 10 * time.Second
)

var (
	errGoingAway = errors.New("relay: the gateway is going away")
	errWentBack  = fmt.Errorf("%w: it lost its newest batches", ErrIncarnation)
	errReplica   = fmt.Errorf("%w: a replica", ErrBehind)
	errHole      = fmt.Errorf("%w, or an answer that was lost in part", errReplica)
)

// feed is an incarnation of a stream. One goroutine, that of follow, moves its head.
type feed struct {
	*stream
	incarnation uint64
	sub         *nats.Subscription
	messages    chan *nats.Msg
	answers     chan answer
	over        chan struct{} // closed by end

	// By the goroutine of follow.
	reconnects uint64    // of Conn, when the incarnation was last checked
	heard      time.Time // when the last message came
	asked      time.Time // when the leader was last asked
	asking     bool
	patience   time.Duration // until the next question
	wanted     bool          // a duplicate wants a question
	back       time.Time     // since when the leader knows less than this gateway
	burst      int           // bytes since pace looked
	paced      time.Time
	vain       time.Time // when a wait of pace ran out

	mu       sync.Mutex
	head     uint64        // the last sequence that was fanned out
	headTime int64         // the latest stamp up to it
	stamp    int64         // its own stamp, 0 if it is gone
	ring     []*packet     // the newest, up to head, without a hole
	ringSize int64         // bytes
	moved    chan struct{} // closed when head moves
	live     map[*client]struct{}
	origins  map[time.Duration]*origin // by Grant.MaxAge
	ended    error                     // why the feed is over
	group    conn.Group
	plain    conn.Group // of clients without the subprotocol
}

// answer is that of the leader.
type answer struct {
	info       StreamInfo
	err        error
	at         time.Time // when it was asked
	head       uint64    // of the feed, then
	reconnects uint64    // of Conn, then
}

// start settles where the feed begins: after the last batch that the leader has.
func (f *feed) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := f.g.Conn.FlushWithContext(ctx); err != nil {
		return engineError(err)
	}
	info, err := f.lookup(ctx)
	if err != nil {
		return err
	}
	if info.Incarnation != f.incarnation {
		return ErrIncarnation
	}
	f.head, f.heard, f.asked, f.patience = info.Last, time.Now(), time.Now(), silence
	if info.First > info.Last {
		return nil // empty
	}
	newest, err := leaderGet(ctx, f.g.Conn, f.name, info.Last)
	if err != nil && !errors.Is(err, errNoMessage) {
		return err
	}
	f.headTime, f.stamp = newest.time, newest.time
	return nil
}

// follow fans out what comes until ctx or the incarnation ends.
func (f *feed) follow(ctx context.Context) error {
	tick := time.NewTicker(silence / 4)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return errGoingAway
		case m := <-f.messages:
			err = f.receive(ctx, m)
		case a := <-f.answers:
			f.asking = false
			err = f.learn(ctx, a)
		case now := <-tick.C:
			f.question(ctx, now)
		}
		if err != nil {
			return err
		}
	}
}

// question asks the leader for its last sequence, if it is time to. After a republished
// message got lost no other one may come: a leader can die between commit and republish.
func (f *feed) question(ctx context.Context, now time.Time) {
	since := now.Sub(f.asked)
	silent := now.Sub(f.heard) >= silence && since >= f.patience
	again := f.wanted && since >= silence
	if f.asking || !silent && !again && since < askAlways && !f.reconnected() {
		return
	}
	f.asking, f.wanted, f.asked = true, false, now
	f.patience = min(2*f.patience, askMost)
	a := answer{at: now, head: f.head, reconnects: f.g.Conn.Stats().Reconnects}
	go func() {
		a.info, a.err = f.lookup(ctx)
		f.answers <- a
	}()
}

// learn deals with an answer of the leader's.
func (f *feed) learn(ctx context.Context, a answer) error {
	if err := f.check(a.info, a.err, a.head); err != nil {
		return err
	}
	if a.err != nil {
		return nil
	}
	if a.reconnects != f.reconnects {
		if err := f.confirm(ctx); err != nil {
			return over(err)
		}
	}
	f.reconnects = a.reconnects
	if a.info.Last > f.head && f.heard.Before(a.at) {
		return f.fill(ctx, a.info.Last)
	}
	return nil
}

// check keeps what the leader told when this gateway was at head. It returns an error if
// the incarnation is over.
func (f *feed) check(info StreamInfo, err error, head uint64) error {
	f.note(info.Last, err)
	switch {
	case err != nil: // also ErrStreamNotFound: a cluster that starts may not know yet
		return nil
	case info.Incarnation != f.incarnation:
		return ErrIncarnation
	case info.Last >= head:
		f.back = time.Time{}
	case f.back.IsZero():
		f.back = time.Now()
	case time.Since(f.back) > staleAfter:
		return errWentBack
	}
	return nil
}

// reconnected reports whether Conn was connected anew after the last verify.
func (f *feed) reconnected() bool { return f.g.Conn.Stats().Reconnects != f.reconnects }

// confirm asks the leader for the batch at the head. An engine that has lost its newest
// batches, and got others meanwhile, has another one there: errWentBack.
func (f *feed) confirm(ctx context.Context) error {
	if f.head == 0 || f.stamp == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	switch one, err := leaderGet(ctx, f.g.Conn, f.name, f.head); {
	case errors.Is(err, errNoMessage): // it has expired; or check finds that it is not there yet
		return nil
	case err != nil:
		f.note(0, err)
		return err
	case one.time != f.stamp:
		return errWentBack
	}
	return nil
}

// over returns an error that ends the incarnation, and nil for others.
func over(err error) error {
	if errors.Is(err, ErrIncarnation) {
		return err
	}
	return nil
}

// verify waits for the leader to say that the incarnation is still the same.
func (f *feed) verify(ctx context.Context) error {
	for ctx.Err() == nil {
		reconnects := f.g.Conn.Stats().Reconnects
		info, err := f.lookup(ctx)
		if end := f.check(info, err, f.head); end != nil {
			return end
		}
		if err == nil {
			err = f.confirm(ctx)
		}
		if err == nil {
			f.reconnects, f.asked = reconnects, time.Now()
			return nil
		}
		if err := over(err); err != nil {
			return err
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return errGoingAway
}

// receive deals with a message that the engine republished.
func (f *feed) receive(ctx context.Context, m *nats.Msg) error {
	one, err := storedOf(m)
	if err != nil {
		f.g.report(fmt.Errorf("relay: gateway: stream %s: a message on %s: %w", f.name, m.Subject, err))
		return nil
	}
	f.heard, f.patience = time.Now(), silence
	// A stream that was made anew begins at 1, and its stamps are later. Nothing of it
	// may pass for a batch of this one.
	late := one.sequence <= f.head && one.time > f.headTime
	if late || f.head == 0 || f.reconnected() {
		if err := f.verify(ctx); err != nil {
			return err
		}
	}
	switch {
	case one.sequence <= f.head:
		return f.duplicate(one)
	case one.sequence > f.head+1:
		if err := f.fill(ctx, one.sequence-1); err != nil {
			return err
		}
	}
	f.fan(f.parse(one))
	f.note(one.sequence, nil)
	f.pace(ctx)
	return nil
}

// duplicate drops a message that was fanned out, or was there before the feed.
func (f *feed) duplicate(one stored) error {
	f.duplicates.Add(1)
	f.wanted = true
	f.mu.Lock()
	known := take(f.ring, one.sequence)
	f.mu.Unlock()
	if len(known) == 0 || known[0].gone {
		return nil
	}
	if p, _ := packetOf(one); !p.gone && !bytes.Equal(p.body, known[0].body) {
		return errWentBack
	}
	return nil
}

// parse returns a batch as a packet. One that is malformed is told of.
func (f *feed) parse(one stored) *packet {
	p, err := packetOf(one)
	if err != nil {
		f.bad.Add(1)
		f.g.report(fmt.Errorf("relay: gateway: stream %s: batch %d: %w", f.name, one.sequence, err))
	}
	return p
}

// fill reads up to a sequence what the engine did not republish, and fans it out.
func (f *feed) fill(ctx context.Context, to uint64) error {
	for f.head < to {
		packets, err := f.read(ctx, f.head+1, to, to)
		switch {
		case errors.Is(err, ErrIncarnation):
			return err
		case ctx.Err() != nil:
			return errGoingAway
		case err != nil:
			f.note(0, err)
			sleep(ctx, 50*time.Millisecond)
		}
		for _, p := range packets {
			f.filled.Add(p.last - p.first + 1)
			f.fan(p)
			f.pace(ctx)
		}
	}
	return nil
}

// fan sends a packet to the live clients, and makes it the head.
//
// All of it is under the mutex, so that a join sees the batch as a whole sent or as a
// whole not sent. Nothing here writes to a client: Group.WriteMessage only copies, and
// its own goroutine writes without waiting for anybody. It waits if more than
// groupBuffer, which is several batches, has not been swept over the clients: for the
// processor, never for a client. Joins wait with it. Copying 256 records of 200 B takes
// about 20 µs.
func (f *feed) fan(p *packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.send(p)
	switch {
	case !p.gone:
		f.records.Add(uint64(len(p.ends)))
	case !p.bad:
		f.gone.Add(p.last - p.first + 1)
	}
	f.headTime, f.stamp = max(f.headTime, p.time), p.time
	f.batches.Add(1)
	f.burst += len(p.body)
	f.head = p.last
	f.keep(p)
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *feed) send(p *packet) {
	members, others := uint64(f.group.Len()), uint64(f.plain.Len())
	for i := range p.ends {
		message := p.message(i)
		if members > 0 {
			_ = f.group.WriteMessage(conn.Binary, message)
		}
		if op, data, ok := plain(message); ok && others > 0 {
			_ = f.plain.WriteMessage(op, data)
		}
	}
	f.counters.messages.Add((members + others) * uint64(len(p.ends)))
	f.bytes.Add((members + others) * uint64(len(p.body)))
}

// keep adds a packet to the ring, and drops the oldest.
func (f *feed) keep(p *packet) {
	f.ring = append(f.ring, p)
	f.ringSize += p.size()
	limit := orDefault(f.g.RingBytes, DefaultRingBytes)
	for f.ringSize > limit && len(f.ring) > 1 {
		f.ringSize -= f.ring[0].size()
		f.ring[0] = nil
		f.ring = f.ring[1:]
	}
}

// pace has a burst, such as a fill after an outage, wait for the clients: otherwise it
// would exceed the lag that the Group allows, and drop them all. A wait ends with the
// slowest client, or runs out: then the burst goes on for a while without waits, and a
// client that does not read is dropped by its lag.
func (f *feed) pace(ctx context.Context) {
	lag := orDefault(f.g.GroupLag, conn.DefaultGroupLag)
	if f.burst < lag/4 {
		return
	}
	f.burst = 0
	now := time.Now()
	if now.Sub(f.paced) < 250*time.Millisecond && now.Sub(f.vain) >= paceAgain {
		limit, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if errors.Join(f.group.Flush(limit), f.plain.Flush(limit)) != nil {
			f.vain = time.Now()
		}
	}
	f.paced = now
}

// position returns the head.
func (f *feed) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// await waits until the head has come to a sequence.
func (f *feed) await(ctx context.Context, sequence uint64) error {
	for {
		f.mu.Lock()
		head, moved, ended := f.head, f.moved, f.ended
		f.mu.Unlock()
		switch {
		case ended != nil:
			return ended
		case head >= sequence:
			return nil
		}
		select {
		case <-moved:
		case <-f.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end says farewell to all clients of the feed: why is errGoingAway, or matches
// ErrIncarnation. Those that catch up see it in their next step.
func (f *feed) end(why error, until time.Time) {
	f.stream.mu.Lock()
	f.stream.feed, f.stream.last = nil, 0
	f.stream.mu.Unlock()
	f.mu.Lock()
	f.ended = why
	close(f.over)
	clients := make([]*client, 0, len(f.live))
	for c := range f.live {
		clients = append(clients, c)
	}
	head := f.head
	f.mu.Unlock()
	for _, c := range f.g.of(f) {
		c.conn.SetWriteDeadline(until)
	}
	f.flush(clients, until)
	for _, c := range clients {
		go c.leave(why, Position{f.incarnation, head, EndOfBatch}, until)
	}
	f.g.cache.forget(f)
}

// flush has the live clients get all that was fanned out, for half of the time until a
// moment. What a client has not taken by then is lost to it, and the connection too: it
// must not get a bye that is ahead of its messages.
func (f *feed) flush(clients []*client, until time.Time) {
	limit, cancel := context.WithTimeout(context.Background(), time.Until(until)/2)
	defer cancel()
	if f.group.Flush(limit) == nil && f.plain.Flush(limit) == nil {
		return
	}
	for _, c := range clients {
		c.conn.SetWriteDeadline(time.Unix(1, 0)) // ends those that have something to write
	}
	short, cancel := context.WithTimeout(context.Background(), time.Until(until)/4)
	defer cancel()
	_ = f.group.Flush(short)
	_ = f.plain.Flush(short)
	for _, c := range clients {
		c.conn.SetWriteDeadline(until)
	}
}
