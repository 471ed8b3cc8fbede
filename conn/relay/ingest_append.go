package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	ingestAckWait  = 2 * time.Second        // without an answer for so long a chain is broken
	ingestSettle   = 400 * time.Millisecond // for the answers of a broken chain
	ingestAskWait  = 2 * time.Second        // for an answer about the stream
	ingestFirst    = 50 * time.Millisecond  // before the second question, doubled up to
	ingestLongest  = time.Second
	ingestNotFound = 3  // answers that there is no such stream, until it is believed
	ingestTries    = 20 // answers that do not fit what is known, until they are believed
)

var (
	errAppended = errors.New("relay: everything is appended")
	errNoAnswer = fmt.Errorf("%w: no answer to a batch in %s", ErrNoLeader, ingestAckWait)
	errRefused  = errors.New("relay: the stream has another last sequence")
)

// appender appends what the spool has to the stream. Everything is done by the goroutine
// of run, except for following.
//
// Active, it sends a chain of batches: each says which sequence it follows, so that the
// engine takes all of them in order. A batch after one that was refused would fit again
// if another ingester had appended just as many. So with one replica each also says the
// message id of the one before it, and with more one batch is out at a time: see bound. A
// chain is broken by a refusal, an unexpected answer or none.
// Then the appender waits for what is out, asks the leader for the stream's last batch,
// and goes on from there. If that is another ingester's, it is passive.
type appender struct {
	in     *Ingester
	s      *spool
	nc     *nats.Conn
	writer uint64
	over   chan struct{} // closed after the last message

	info      StreamInfo // zero before the first answer
	batchTime time.Duration
	tail      ingestTail // the last batch of the stream, as far as is known
	eras      ingestEras

	inbox    string // of the acks, without the token
	replies  *nats.Subscription
	acks     chan *nats.Msg
	msg      nats.Msg
	token    uint64 // of the next batch
	previous string // message id of the chain's last batch, empty before its first
	flight   []outBatch
	ordinal  uint64 // of the next batch
	window   int    // batches that may be out: one until a chain's first answer, and with replicas
	failures int    // chains broken since the last right answer
	lost     bool   // another ingester has appended after this one

	follower follower
}

// outBatch is a batch that was sent. Its sequence is that of the tail, and its place in
// flight, and one.
type outBatch struct {
	BatchHeader
	gaps     int
	sent     time.Time
	answered bool // wrongly, or rightly after one that was not
}

func newAppender(in *Ingester, s *spool) (*appender, error) {
	a := &appender{
		in: in, s: s, nc: in.Conn, writer: rand.Uint64(), over: make(chan struct{}),
		inbox: in.Conn.NewInbox() + ".",
		acks:  make(chan *nats.Msg, 4*orDefault(in.InFlight, DefaultInFlight)),
	}
	a.follower.moved = make(chan struct{}, 1)
	a.msg.Header = nats.Header{
		jetstream.ExpectedLastSeqHeader: {""},
		jetstream.ExpectedStreamHeader:  {in.Stream},
	}
	sub, err := in.Conn.ChanSubscribe(a.inbox+"*", a.acks)
	if err != nil {
		return nil, engineError(err)
	}
	a.replies = sub
	return a, nil
}

func (a *appender) close() { _ = a.replies.Unsubscribe() }

// run appends until everything is appended after the last message, until ctx ends, or
// until an error of the engine's ends it.
func (a *appender) run(ctx context.Context) error {
	for {
		err := a.passive(ctx)
		if err == nil {
			err = a.active(ctx)
		}
		switch {
		case errors.Is(err, errAppended):
			return nil
		case err != nil:
			return err
		}
	}
}

// ended says that no message comes any more.
func (a *appender) ended() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// active appends. It returns nil when the ingester is to be passive.
func (a *appender) active(ctx context.Context) error {
	a.in.totals.takeOvers.Add(1)
	a.lost = false
	a.in.tell(func(s *IngestState) { s.Active = true })
	for {
		a.window, a.previous = 1, ""
		cause := a.chain(ctx)
		switch {
		case cause == nil, errors.Is(cause, errAppended), ctx.Err() != nil, endsIngest(cause):
			return cause
		}
		a.in.totals.breaks.Add(1)
		if err := a.settle(ctx); err != nil {
			return err
		}
		if errors.Is(cause, ErrNoLeader) {
			if err := permissionError(a.nc, a.info.Subject, a.inbox+"*"); err != nil {
				return err
			}
		}
		if !errors.Is(cause, errRefused) {
			a.away(cause)
		}
		if a.failures++; a.failures > 1 || !errors.Is(cause, errRefused) {
			if err := sleep(ctx, min(ingestFirst<<min(a.failures-1, 10), ingestLongest)); err != nil {
				return err
			}
		}
		ours, err := a.resume(ctx)
		if err != nil || !ours {
			a.lost = true
			return err
		}
	}
}

// endsIngest reports whether an error ends Run.
func endsIngest(err error) bool {
	for _, end := range []error{
		ErrStreamNotFound, ErrIncarnation, ErrPermission, ErrStreamConfig, ErrSpool, nats.ErrConnectionClosed,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// away tells that the engine does not take batches.
func (a *appender) away(err error) { a.in.tell(func(s *IngestState) { s.Engine = err }) }

// chain sends batches after the tail until the chain breaks. It returns nil if the next
// batch begins with a hole that a twin may fill.
func (a *appender) chain(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	over := a.over
	for {
		wait, hole, err := a.sendAll()
		if err != nil {
			return err
		}
		if len(a.flight) == 0 {
			if hole {
				return nil
			}
			if a.ended() && a.s.state().records == 0 {
				return errAppended
			}
			if wait <= 0 {
				wait = time.Hour
			}
		} else if left := ingestAckWait - time.Since(a.flight[0].sent); wait <= 0 || left < wait {
			wait = max(left, 0)
		}
		timer.Reset(wait)
		select {
		case m := <-a.acks:
			err = a.acked(m)
		case <-a.s.wake:
		case <-timer.C:
			if err = a.moreAcks(); err == nil && len(a.flight) > 0 && time.Since(a.flight[0].sent) >= ingestAckWait {
				err = errNoAnswer
			}
		case <-over:
			over = nil
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil {
			err = a.moreAcks()
		}
		if err != nil {
			return err
		}
	}
}

// moreAcks takes the answers that are here.
func (a *appender) moreAcks() error {
	for {
		select {
		case m := <-a.acks:
			if err := a.acked(m); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// sendAll sends the batches that are due. wait says when the next one will be, and hole
// that it must wait for a twin.
func (a *appender) sendAll() (wait time.Duration, hole bool, err error) {
	age := a.batchTime
	if a.ended() {
		age = 0
	}
	for len(a.flight) < a.window {
		b, wait, hole, err := a.s.next(age)
		if b == nil || err != nil {
			return wait, hole, err
		}
		if err := a.send(b); err != nil {
			return 0, false, err
		}
	}
	return 0, false, nil
}

func (a *appender) send(b *spoolBatch) error {
	h := BatchHeader{
		Count: b.count, Writer: a.writer, Ordinal: a.ordinal, First: b.first, Last: b.last, Era: a.eras.of(b.era),
	}
	data := b.buf[b.start-batchHeader:]
	putHeader(data, h)
	m := &a.msg
	m.Subject, m.Data = a.info.Subject, data
	m.Reply = a.inbox + strconv.FormatUint(a.token, 36)
	m.Header[jetstream.ExpectedLastSeqHeader][0] = strconv.FormatUint(a.tail.sequence+uint64(len(a.flight)), 10)
	id := a.bind(m.Header)
	err := a.nc.PublishMsg(m) // copies data
	m.Data = nil
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: the engine takes only shorter batches than before: %w", ErrStreamConfig, err)
	case err != nil:
		return engineError(err)
	}
	a.token++
	a.previous = id
	a.ordinal += uint64(b.count)
	a.flight = append(a.flight, outBatch{BatchHeader: h, gaps: b.gaps, sent: time.Now()})
	return nil
}

// bound says that the engine takes a batch only right after the one that was sent before
// it. A stream of several replicas is not asked for that: each replica compares the id
// for itself, and one that has caught up from another does not know the last one
// (nats-server 2.15.3, processCatchupMsg). It would leave out what the others store.
// There one batch is out at a time: of several, one could be taken after another was
// refused, if a twin has appended exactly as many.
func (a *appender) bound() bool { return a.info.Replicas == 1 }

// bind sets the headers that bind a batch to the one before it. It returns the id of this
// one: no other batch ever has it, so that none is a duplicate.
func (a *appender) bind(h nats.Header) (id string) {
	delete(h, jetstream.MsgIDHeader)
	delete(h, jetstream.ExpectedLastMsgIDHeader)
	if !a.bound() {
		return ""
	}
	id = strconv.FormatUint(a.writer, 16) + "." + strconv.FormatUint(a.token, 36)
	h[jetstream.MsgIDHeader] = []string{id}
	if a.previous != "" {
		h[jetstream.ExpectedLastMsgIDHeader] = []string{a.previous}
	}
	return id
}

// acked takes an answer. The error says why the chain is broken.
func (a *appender) acked(m *nats.Msg) error {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, a.inbox), 36, 64)
	i := len(a.flight) - int(a.token-token)
	if err != nil || token >= a.token || i < 0 {
		return nil // of an earlier chain
	}
	out := &a.flight[i]
	sequence, err := parseAck(m)
	switch {
	case err != nil:
		a.in.totals.refused.Add(1)
		out.answered = true
		return err
	case sequence != a.tail.sequence+uint64(i)+1:
		a.in.totals.refused.Add(1)
		out.answered = true
		return errRefused
	case !a.follows(i):
		out.answered = true
		return errRefused // resume finds out which of them are there
	}
	a.stored(i + 1) // those before it too: it follows them
	return nil
}

// follows reports whether a batch that was taken proves that those sent before it were.
func (a *appender) follows(i int) bool {
	for _, out := range a.flight[:i] {
		if out.answered || !a.bound() {
			return false
		}
	}
	return true
}

// parseAck returns the sequence of a batch that the engine has taken.
func parseAck(m *nats.Msg) (uint64, error) {
	if m.Header.Get("Status") == "503" {
		return 0, engineError(nats.ErrNoResponders)
	}
	var ack struct {
		Error     *jetstream.APIError `json:"error"`
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("relay: answer to a batch: %w", err)
	}
	switch {
	case ack.Duplicate:
		return 0, errRefused
	case ack.Error == nil:
		return ack.Sequence, nil
	}
	switch ack.Error.ErrorCode {
	case codeWrongLastSequence, codeWrongLastConstant, codeWrongLastID, codeDuplicate:
		return 0, errRefused
	case codeMessageTooLong:
		return 0, fmt.Errorf("%w: its longest message is too short for a batch: %w", ErrStreamConfig, ack.Error)
	}
	return 0, codeError(int(ack.Error.ErrorCode), ack.Error)
}

// Codes of JetStream's errors, from its server/errors.json.
const (
	codeMessageTooLong    = 10054
	codeWrongLastID       = 10070
	codeDuplicate         = 10158 // of a message that is still on its way
	codeWrongLastConstant = 10164
)

// stored says that the first n batches that are out are in the stream.
func (a *appender) stored(n int) {
	if n == 0 {
		return
	}
	t := &a.in.totals
	for _, out := range a.flight[:n] {
		t.appended.Add(uint64(out.Count))
		t.gaps.Add(uint64(out.gaps))
	}
	t.batches.Add(uint64(n))
	last := a.flight[n-1].BatchHeader
	a.setTail(ingestTail{sequence: a.tail.sequence + uint64(n), known: true, BatchHeader: last})
	a.flight = a.flight[:copy(a.flight, a.flight[n:])]
	a.s.done(n)
	a.failures = 0
	if a.bound() {
		a.window = orDefault(a.in.InFlight, DefaultInFlight)
	}
	a.in.tell(func(s *IngestState) { s.Engine = nil })
}

func (a *appender) setTail(t ingestTail) {
	a.tail = t
	a.in.sequence.Store(t.sequence)
	a.in.number.Store(t.Last)
}

// settle waits for the answers to what is out. Batches that are answered rightly
// meanwhile are in the stream.
func (a *appender) settle(ctx context.Context) error {
	timer := time.NewTimer(ingestSettle)
	defer timer.Stop()
	for {
		waiting := false
		for i := range a.flight {
			waiting = waiting || !a.flight[i].answered
		}
		if !waiting {
			return nil
		}
		select {
		case m := <-a.acks:
			if err := a.acked(m); endsIngest(err) {
				return err
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resume finds out what the stream has after a broken chain. It reports whether the next
// chain may begin: whether no other ingester has appended.
func (a *appender) resume(ctx context.Context) (ours bool, err error) {
	t, err := a.look(ctx)
	if err != nil {
		return false, err
	}
	if len(a.flight) > 0 {
		a.ordinal = a.flight[0].Ordinal
	}
	upTo, ours, err := a.found(ctx, t)
	if err != nil {
		return false, err
	}
	if n := a.within(upTo); n > 0 {
		a.ordinal = a.flight[n-1].Ordinal + uint64(a.flight[n-1].Count)
		a.stored(n)
	}
	a.flight = a.flight[:0]
	a.s.unsend()
	a.storedLate(upTo - a.ordinal)
	a.ordinal = upTo
	a.setTail(t)
	a.outdate()
	a.cover()
	return ours, nil
}

// storedLate says that the stream has n records that an earlier chain sent, and that were
// stored after resume had looked. With numbers, cover finds them.
func (a *appender) storedLate(n uint64) {
	if n == 0 || a.in.Number != nil {
		return
	}
	t := &a.in.totals
	t.appended.Add(n)
	t.gaps.Add(uint64(a.s.skip(n)))
}

// found reads what the stream has after the tail, up to t. It returns the ordinal after
// the ingester's records that come first there, without a gap, and whether nothing else
// comes. Nothing that comes after another ingester's batch counts, nor what answers say.
func (a *appender) found(ctx context.Context, t ingestTail) (upTo uint64, ours bool, err error) {
	upTo = a.ordinal
	for sequence := a.tail.sequence + 1; sequence <= t.sequence; sequence++ {
		h := t
		if sequence < t.sequence {
			if h, err = a.batchAt(ctx, sequence); err != nil {
				return 0, false, err
			}
		}
		switch {
		case !h.known && t.known && t.Writer == a.writer && t.Ordinal >= upTo:
			return t.Ordinal + uint64(t.Count), true, nil // it is gone: as far as is known
		case !h.known || h.Writer != a.writer || h.Ordinal != upTo:
			return upTo, false, nil
		}
		upTo += uint64(h.Count)
	}
	return upTo, t.sequence >= a.tail.sequence, nil
}

// within returns how many of the batches that are out end at an ordinal or before.
func (a *appender) within(ordinal uint64) (n int) {
	for n < len(a.flight) && a.flight[n].Ordinal+uint64(a.flight[n].Count) <= ordinal {
		n++
	}
	return n
}
