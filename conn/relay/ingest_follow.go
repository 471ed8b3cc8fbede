package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// standbyPatience is how many times Patience a standby waits that has seen another
// ingester.
const standbyPatience = 10

// ingestTail is the last batch of a stream.
type ingestTail struct {
	sequence uint64 // 0 if the stream is empty
	known    bool   // the batch is still there, and the header is its own
	BatchHeader
}

// follower keeps the newest batch that the engine has republished.
type follower struct {
	mu    sync.Mutex
	tail  ingestTail
	moved chan struct{}
}

// take takes a republished message.
func (f *follower) take(m *nats.Msg) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return
	}
	f.mu.Lock()
	if sequence > f.tail.sequence {
		f.tail.sequence = sequence
		if b, err := ParseBatch(m.Data); err == nil { // otherwise look will find it
			f.tail.known, f.tail.BatchHeader = true, b.BatchHeader
		}
	}
	f.mu.Unlock()
	select {
	case f.moved <- struct{}{}:
	default:
	}
}

func (f *follower) newest() ingestTail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tail
}

// set makes t the newest batch.
func (f *follower) set(t ingestTail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tail = t
}

// passive follows the stream. It returns nil when it is time to append.
func (a *appender) passive(ctx context.Context) error {
	a.in.tell(func(s *IngestState) { s.Active = false })
	if a.info.Incarnation == 0 {
		t, err := a.look(ctx)
		if err != nil {
			return err
		}
		a.setTail(t)
	}
	a.follower.set(a.tail)
	sub, err := a.nc.Subscribe(a.info.Live, a.follower.take)
	if err != nil {
		return engineError(err)
	}
	defer sub.Unsubscribe()
	a.eras.apart = time.Time{}
	w := watch{moved: time.Now(), other: a.lost, wait: a.in.patience()}
	if _, err := a.move(ctx, &w); err != nil {
		return err
	}
	if a.lost && a.in.Number == nil {
		a.s.discard(w.moved.Add(-orDefault(a.in.Patience, DefaultPatience)))
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	over := a.over
	for {
		a.cover() // the lines may be older than the tail
		at, some := a.due(&w)
		switch {
		case a.ended() && (a.in.Number == nil && w.other || a.s.state().records == 0):
			return errAppended // a standby's messages are the other's to append
		case !some:
			timer.Reset(orDefault(a.in.Patience, DefaultPatience))
		case time.Until(at) > 0:
			timer.Reset(time.Until(at))
		default:
			moved, err := a.move(ctx, &w)
			if err != nil {
				return err
			}
			if !moved && a.takeOver() {
				return nil
			}
			continue
		}
		select {
		case <-a.follower.moved:
			if t := a.follower.newest(); t.sequence > a.tail.sequence {
				a.movedTo(t, &w)
			}
		case <-a.s.wake:
		case <-timer.C:
		case <-over:
			over = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch is what a passive ingester knows of the stream's movement.
type watch struct {
	moved time.Time     // when the tail was last seen to move
	other bool          // by another ingester
	wait  time.Duration // the patience, with jitter
}

// move reads the tail from the leader, and reports whether it has moved. If the engine
// was away it counts as moved: others get their time to go on.
func (a *appender) move(ctx context.Context, w *watch) (moved bool, err error) {
	began := time.Now()
	t, err := a.look(ctx)
	switch {
	case err != nil:
		return false, err
	case t.sequence != a.tail.sequence:
		if t.sequence < a.tail.sequence { // the engine has lost batches
			a.follower.set(t)
		}
		a.movedTo(t, w)
		return true, nil
	case time.Since(began) > ingestAskWait/2:
		w.moved, w.wait = time.Now(), a.in.patience()
		return true, nil
	}
	return false, nil
}

// movedTo takes a new tail that another ingester has made.
func (a *appender) movedTo(t ingestTail, w *watch) {
	w.moved, w.wait = time.Now(), a.in.patience()
	w.other = w.other || t.Writer != a.writer
	a.setTail(t)
	a.adopt()
	a.outdate()
	a.cover()
	if a.in.Number == nil {
		a.s.discard(w.moved.Add(-orDefault(a.in.Patience, DefaultPatience)))
	}
}

// due returns when to take over if the tail does not move until then. It reports false if
// there is nothing to append.
func (a *appender) due(w *watch) (time.Time, bool) {
	if a.in.Number == nil {
		if !w.other {
			since, some := a.s.since(time.Time{})
			return later(since, w.moved).Add(w.wait), some
		}
		// What came before may be in the stream already.
		since, some := a.s.since(w.moved.Add(orDefault(a.in.Patience, DefaultPatience)))
		return since.Add(standbyPatience * w.wait), some
	}
	f, some := a.s.look()
	wait := w.wait
	if a.leavesToTwin(&f) {
		wait *= 2
	}
	return later(w.moved, f.began).Add(wait), some
}

// leavesToTwin reports whether taking over from there means to give up numbers that a
// twin may have.
func (a *appender) leavesToTwin(f *spoolFront) bool {
	switch {
	case f.hole, !a.eras.linked:
		return true
	case !a.tail.known || a.eras.of(f.era) != a.tail.Era:
		return false
	}
	return f.From > a.tail.Last && f.From-1 > a.tail.Last
}

// takeOver makes the front of the spool what follows the tail. It reports false if it
// turned out that the stream has that already.
func (a *appender) takeOver() bool {
	if a.in.Number == nil {
		if a.tail.sequence > 0 && a.tail.Writer != a.writer {
			a.s.prepend(Record{Reason: TakenOver})
		}
		return true
	}
	a.cover()
	f, some := a.s.look()
	switch era := a.eras.of(f.era); {
	case !some:
		return false
	case !a.tail.known:
		a.eras.linked = true
	case a.eras.linked && era < a.tail.Era && !farBelow(f.From, a.tail.Last):
		// The others saw a restart that this one did not.
		a.eras.begin(f.era, a.tail.Era)
		a.cover()
		return false
	case !a.eras.linked, era < a.tail.Era:
		// The source has restarted its numbers while nobody saw it.
		a.eras.begin(f.era, a.tail.Era+1)
		a.s.prepend(Record{Reason: Restarted, From: a.tail.Last + 1, To: f.From})
	case era == a.tail.Era && f.From > a.tail.Last && f.From-1 > a.tail.Last:
		a.s.prepend(Record{Reason: Missing, From: a.tail.Last + 1, To: f.From - 1})
	}
	a.s.allow()
	return true
}

// cover removes from the spool what the stream has: messages up to the tail, of lines
// that are older than it too.
func (a *appender) cover() {
	if a.in.Number == nil || !a.tail.known {
		return
	}
	if !a.eras.link(a.s.state(), a.tail) {
		a.s.discard(time.Now().Add(-standbyPatience * orDefault(a.in.Patience, DefaultPatience)))
		return
	}
	a.s.trim(coverage{int64(a.tail.Era) - a.eras.offset, a.tail.Last})
}

// outdate removes from the spool what is of eras before the tail's.
func (a *appender) outdate() {
	if a.in.Number != nil && a.tail.known && a.eras.linked {
		a.s.outdate(int64(a.tail.Era) - a.eras.offset)
	}
}

// adopt corrects the era of the spool after the tail has moved.
func (a *appender) adopt() {
	if a.in.Number != nil && a.tail.known {
		a.eras.adopt(a.s.state(), a.tail, 2*orDefault(a.in.Patience, DefaultPatience))
	}
}

// ingestEras relates the eras of the spool, which begin with 0, to those of the stream.
type ingestEras struct {
	met    bool
	offset int64 // the stream's era of the spool's era 0
	// linked says that the ingester's numbers are those of the stream. They are not if
	// the first ones are far below the tail: the source may have restarted its numbers,
	// or the lines are far too late.
	linked bool
	// apart is when the two began to be in different eras.
	apart time.Time
}

func (e *ingestEras) of(era uint32) uint32 { return uint32(int64(era) + e.offset) }

// begin makes era of the spool that of the stream.
func (e *ingestEras) begin(era, stream uint32) {
	e.offset = int64(stream) - int64(era)
	e.linked = true
}

// meet takes the first tail of a stream.
func (e *ingestEras) meet(t ingestTail) {
	if !e.met {
		e.met, e.offset, e.linked = true, int64(t.Era), !t.known
	}
}

// link reports whether the spool's numbers are those of the stream.
func (e *ingestEras) link(end spoolState, t ingestTail) bool {
	if end.latest.IsZero() { // nothing has come yet
		e.offset = int64(t.Era)
		return e.linked
	}
	e.linked = e.linked || end.era > 0 || !farBelow(end.newest, t.Last)
	return e.linked
}

// farBelow reports whether a number is so far below the last one that it cannot be late.
func farBelow(number, last uint64) bool {
	return number < last && last-number > redial.DefaultRestart
}

// adopt corrects the era of the spool. A restart that only one of two ingesters has seen
// puts them in different eras. If that lasts while the stream moves, with numbers close
// to those of the spool, then the spool is in the stream's era. An ingester that has only
// just begun to receive does not wait: what it has is of the new era.
func (e *ingestEras) adopt(end spoolState, t ingestTail, patience time.Duration) {
	now, era := time.Now(), e.of(end.era)
	if era == t.Era || end.latest.IsZero() {
		e.apart = time.Time{}
		return
	}
	if e.apart.IsZero() {
		e.apart = now
	}
	wait := patience
	switch {
	case era < t.Era && now.Sub(end.began) < patience:
		wait = 0
	case era > t.Era && end.newest < end.due:
		wait = 10 * patience // more likely the other one is late
	}
	if now.Sub(e.apart) >= wait && now.Sub(end.latest) < patience &&
		!farBelow(end.newest, t.Last) && !farBelow(t.Last, end.newest) {
		e.begin(end.era, t.Era)
		e.apart = time.Time{}
	}
}

// errDisagree says that two answers do not fit together. A node that was the leader
// before may have given one of them, or one that becomes the leader.
var errDisagree = fmt.Errorf("%w: its nodes do not agree yet", ErrNoLeader)

// look asks the leader for the tail until it answers. The error is one that ends Run. The
// sequence and the header are of the same batch, even if a node that is no longer the
// leader answers: a chain that begins there is refused, or right.
func (a *appender) look(ctx context.Context) (t ingestTail, err error) {
	tries := 0
	err = a.ask(ctx, func(ctx context.Context) error {
		info, err := LookupStream(ctx, a.nc, a.in.Stream)
		switch {
		case err != nil:
			return err
		case a.info.Incarnation == 0:
			a.begin(info)
		case info.Incarnation != a.info.Incarnation:
			return fmt.Errorf("%w: %s", ErrIncarnation, a.in.Stream)
		}
		a.info.Replicas = info.Replicas // an operator may have changed it
		if t, err = a.readBatch(ctx, info.Last); err != nil {
			return err
		}
		tries++
		switch {
		case t.sequence < a.tail.sequence && tries < ingestTries:
			return errDisagree
		case !t.known && t.sequence == a.tail.sequence:
			t = a.tail // its batch is gone, and was known
		case !t.known && info.First <= info.Last && tries < ingestTries:
			return errDisagree
		case !t.known && info.First <= info.Last:
			return fmt.Errorf("%w: the last message of %s was deleted", ErrStreamConfig, a.in.Stream)
		}
		return nil
	})
	if err == nil {
		a.eras.meet(t)
	}
	return t, err
}

// begin takes what the first answer says about the stream.
func (a *appender) begin(info StreamInfo) {
	a.info = info
	if a.batchTime = a.in.BatchTime; a.batchTime <= 0 {
		a.batchTime = time.Millisecond
		if info.Replicas > 1 {
			a.batchTime = 3 * time.Millisecond
		}
	}
}

// batchAt asks the leader for a batch that is before the tail.
func (a *appender) batchAt(ctx context.Context, sequence uint64) (t ingestTail, err error) {
	tries := 0
	err = a.ask(ctx, func(ctx context.Context) (err error) {
		tries++
		if t, err = a.readBatch(ctx, sequence); err == nil && !t.known && tries < ingestTries/2 {
			return errDisagree
		}
		return err
	})
	return t, err
}

// readBatch reads the header of a batch. One that is gone is not known.
func (a *appender) readBatch(ctx context.Context, sequence uint64) (ingestTail, error) {
	t := ingestTail{sequence: sequence}
	if sequence == 0 {
		return t, nil
	}
	m, err := leaderGet(ctx, a.nc, a.in.Stream, sequence)
	switch {
	case errors.Is(err, errNoMessage):
		return t, nil
	case err != nil:
		return t, err
	}
	b, err := ParseBatch(m.data)
	if err != nil {
		return t, fmt.Errorf("%w: message %d of %s: %w", ErrStreamConfig, sequence, a.in.Stream, err)
	}
	t.known, t.BatchHeader = true, b.BatchHeader
	return t, nil
}

// ask calls f until it succeeds, or fails with an error that ends Run.
func (a *appender) ask(ctx context.Context, f func(context.Context) error) error {
	missing := 0
	for delay := ingestFirst; ; delay = min(2*delay, ingestLongest) {
		try, cancel := context.WithTimeout(ctx, ingestAskWait)
		err := f(try)
		cancel()
		switch {
		case err == nil:
			a.in.tell(func(s *IngestState) {
				if errors.Is(s.Engine, ErrNoLeader) {
					s.Engine = nil
				}
			})
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrStreamNotFound):
			// A node that was just started may not know its streams yet.
			if missing++; missing >= ingestNotFound {
				return err
			}
		case endsIngest(err):
			return err
		case errors.Is(err, ErrNoLeader):
			if denied := a.denied(); denied != nil {
				return denied
			}
		}
		a.away(err)
		if err := sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// denied returns ErrPermission if the engine does not answer for that reason.
func (a *appender) denied() error {
	name := a.in.Stream
	return permissionError(a.nc,
		"$JS.API.STREAM.INFO."+name, "$JS.API.STREAM.MSG.GET."+name, a.info.Live, a.info.Subject)
}
