package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

var (
	// ErrIngester says that an Ingester cannot run: it needs a Conn, a Stream, Clients,
	// and without Number exactly one of these.
	ErrIngester = errors.New("relay: an ingester needs a connection, a stream and clients, without Number exactly one")
	// ErrIngesterRunning is a second Run of an Ingester.
	ErrIngesterRunning = errors.New("relay: the ingester is running already")
	// ErrSpool says that a file of the spool cannot be made, written or read.
	ErrSpool = errors.New("relay: spool")
)

// The defaults of Ingester.
const (
	DefaultBatchBytes      = 64 << 10
	DefaultBatchCount      = 256
	DefaultInFlight        = 256
	DefaultSpoolBytes      = 256 << 20
	DefaultSpoolDiskBytes  = 4 << 30
	DefaultPatience        = 300 * time.Millisecond
	DefaultShutdownTimeout = 5 * time.Second
)

// Ingester appends a feed to a stream. Set the fields before Run, and do not change them
// afterwards. It runs once at a time, and can run again after it ended.
//
// A feed with numbers may have any number of Ingesters, on different machines. One of
// them is active and appends. The others are passive: they follow the stream, and drop
// what it has. If nothing is appended for Patience while a passive one has a message
// that is not in it, that one takes over. Every message is in the stream once, and in the
// order of the numbers. There is no election: each batch says which sequence it follows,
// and the engine refuses all but the first that follows it.
//
// Numbers that the active one lacks are left to the others: it stops for twice Patience
// before it appends a Gap. So a missing number delays the feed by that. If all lack some
// of the same run of numbers, the first one's Gap remains, whatever others have of it.
//
// A source that restarts its numbers begins a new era of the stream: see BatchHeader.
// Numbers more than redial.DefaultRestart below those of the stream are a restart too, if
// the stream does not move.
//
// Without numbers nobody can tell which messages two Ingesters have in common. Then one
// appends, and others are standbys: see Number.
//
// Messages that the engine does not take wait in the spool, first in memory and then in
// files. The goroutine that receives never waits for the engine. A crash of the process
// loses the spool, also its files. If the spool is full, messages are dropped and
// counted, OnState is told, and a Gap with the reason Overflowed comes before the next
// message.
type Ingester struct {
	// Conn is the connection to the engine: see Connect. It stays open after Run.
	Conn *nats.Conn
	// Stream is the name of the stream. It must exist: see CreateStream.
	Stream string
	// Clients are the lines of the feed. Several bring the same messages: see
	// redial.Lines. Without Number there is one.
	Clients []*redial.Client
	// Number returns the number of a message (from = to), or its range. It reports false
	// for a message that has none. Several lines call it at once. It must not keep data.
	//
	// nil means a feed without numbers. An Ingester of one begins as a standby. It takes
	// over if a message of its own is not followed by one in the stream, for Patience
	// after Run began, and for ten times that once it has seen the stream move. A Gap
	// with the reason TakenOver comes first, unless the stream is empty. Messages since
	// the last sign of the other Ingester may be there twice. An Ingester that finds
	// batches of another one after its own becomes a standby, and drops what it has.
	Number func(data []byte) (from, to uint64, ok bool)
	// Other gets the messages of a numbered feed that have no number: see
	// redial.Lines.Other. Its error ends Run. Without it they are dropped and counted.
	Other func(ctx context.Context, line int, m redial.Message) error

	// BatchBytes limits a batch. 0 means DefaultBatchBytes. A message that is longer gets
	// a batch of its own; one that is longer than the engine's largest payload becomes a
	// Gap with the reason TooLong. A text that is not UTF-8, which only a Client's Decode
	// can make, is appended as a binary message.
	BatchBytes int
	// BatchCount limits the records of a batch. 0 means DefaultBatchCount.
	BatchCount int
	// BatchTime is the longest that a message waits for its batch to fill. 0 means 1 ms
	// for a stream of one replica, otherwise 3 ms.
	BatchTime time.Duration
	// InFlight is how many batches may be out without an answer, with one replica. 0
	// means DefaultInFlight. With more replicas it is always one: BatchBytes and
	// BatchCount then limit what goes out in a round trip to the engine.
	InFlight int

	// SpoolBytes limits the memory of the spool. 0 means DefaultSpoolBytes.
	SpoolBytes int64
	// SpoolDir, if not empty, is a folder for files of the spool. No other Ingester may
	// use it: Run removes what an earlier one of the same stream left there.
	SpoolDir string
	// SpoolDiskBytes limits the files. 0 means DefaultSpoolDiskBytes.
	SpoolDiskBytes int64

	// Patience is how long nothing may be appended before another Ingester takes
	// over. Up to a tenth is added, at random. 0 means DefaultPatience. All Ingesters of
	// a stream should have the same.
	Patience time.Duration
	// ShutdownTimeout limits how long Run goes on after its context has ended, to append
	// what the spool has. 0 means DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
	// OnState, if not nil, is told of every change, one call at a time. It must not
	// block.
	OnState func(IngestState)

	running  atomic.Bool
	mu       sync.Mutex
	spool    *spool // of this Run or the last one
	telling  sync.Mutex
	state    IngestState
	totals   ingestTotals
	sequence atomic.Uint64
	number   atomic.Uint64
}

// IngestState is what an Ingester does.
type IngestState struct {
	// Active says that it appends.
	Active bool
	// Engine is why the engine does not take batches, nil if it does. It matches
	// ErrNoLeader, ErrStreamFull or ErrNoSpace, or is another error of the engine.
	Engine error
	// SpoolFull says that messages are dropped.
	SpoolFull bool
	// Spool is why the files of the spool cannot be written, for example a full disk. It
	// matches ErrSpool. It is nil if SpoolFull comes from the limits.
	Spool error
}

// String returns, for example, "active, spool full".
func (s IngestState) String() string {
	text := "passive"
	if s.Active {
		text = "active"
	}
	if s.Engine != nil {
		text += ", engine: " + s.Engine.Error()
	}
	if s.SpoolFull {
		text += ", spool full"
	}
	if s.Spool != nil {
		text += ", " + strings.TrimPrefix(s.Spool.Error(), "relay: ")
	}
	return text
}

// IngestCounts are totals over all runs of an Ingester, and what is true now.
type IngestCounts struct {
	Received  uint64 // messages from the lines, each once
	Other     uint64 // messages without a number that were dropped, for want of Ingester.Other
	Appended  uint64 // records that this Ingester has appended
	Batches   uint64 // batches they were in
	Covered   uint64 // records that another Ingester had appended
	Discarded uint64 // records of a standby that it dropped, without numbers
	Dropped   uint64 // messages for which the spool had no room
	TooLong   uint64 // messages longer than the engine takes
	Gaps      uint64 // Gap records appended
	TakeOvers uint64 // how often it became active
	Refused   uint64 // batches that the engine refused, or answered in another way than expected
	Breaks    uint64 // chains of batches that ended by that, or for want of answers

	SpoolRecords   int64  // in the spool now, also those that are out
	SpoolBytes     int64  // memory of the spool now
	SpoolDiskBytes int64  // bytes of its files now
	Sequence       uint64 // the last batch of the stream, as far as this Ingester knows
	Number         uint64 // its last number
}

type ingestTotals struct {
	received, covered, discarded, dropped, tooLong uint64 // of runs that have ended
	other, appended, batches, gaps                 atomic.Uint64
	takeOvers, refused, breaks                     atomic.Uint64
}

// Counts may be called at any time.
func (in *Ingester) Counts() IngestCounts {
	t := &in.totals
	in.mu.Lock()
	defer in.mu.Unlock()
	n := IngestCounts{
		Received: t.received, Covered: t.covered, Discarded: t.discarded, Dropped: t.dropped, TooLong: t.tooLong,
		Other: t.other.Load(), Appended: t.appended.Load(), Batches: t.batches.Load(), Gaps: t.gaps.Load(),
		TakeOvers: t.takeOvers.Load(), Refused: t.refused.Load(), Breaks: t.breaks.Load(),
		Sequence: in.sequence.Load(), Number: in.number.Load(),
	}
	if s := in.spool; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.Received += s.received
		n.Covered += s.covered
		n.Discarded += s.discarded
		n.Dropped += s.dropped
		n.TooLong += s.tooLong
		n.SpoolRecords, n.SpoolBytes, n.SpoolDiskBytes = s.held, s.bytes, s.files.bytes
	}
	return n
}

// Run receives the feed and appends it until ctx ends. Then it appends what the spool
// has, within ShutdownTimeout, and returns the error of ctx. If records are left, the
// error says how many.
//
// These errors of the engine are waited out, and the feed goes into the spool meanwhile:
// ErrNoLeader, also when the engine is away at the beginning; ErrStreamFull; ErrNoSpace;
// and others that do not end Run. It asks again after 50 ms, and then ever more rarely,
// down to once a second. OnState is told when it begins and ends.
//
// These end Run at once, and the feed is no longer received: ErrStreamNotFound, if the
// stream is deleted; ErrIncarnation, if it was made anew; ErrPermission; ErrStreamConfig,
// also if its last message is not a batch or it takes only shorter messages; and the end
// of Conn. So does a file of the spool that cannot be read, since no gap can tell what is
// lost, and the end of all Clients. A file that cannot be written does not end Run: the
// spool is full until it can, or until what is in the files is appended. It is tried
// again every second.
func (in *Ingester) Run(ctx context.Context) error {
	if in.Conn == nil || in.Stream == "" || len(in.Clients) == 0 || in.Number == nil && len(in.Clients) != 1 {
		return ErrIngester
	}
	if in.Conn.Opts.ReconnectBufSize >= 0 {
		return ErrReconnectBuffer
	}
	if !in.running.CompareAndSwap(false, true) {
		return ErrIngesterRunning
	}
	defer in.running.Store(false)
	s, err := in.newSpool()
	if err != nil {
		return err
	}
	defer in.endSpool(s)
	a, err := newAppender(in, s)
	if err != nil {
		return err
	}
	defer a.close()
	in.tell(func(state *IngestState) { *state = IngestState{} })

	feedCtx, stopFeed := context.WithCancel(ctx)
	defer stopFeed()
	appendCtx, stopAppend := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAppend()
	appended := make(chan error, 1)
	go func() {
		err := a.run(appendCtx)
		stopFeed()
		appended <- err
	}()
	feedErr := in.feed(feedCtx, s)
	s.end()
	close(a.over)
	timer := time.AfterFunc(orDefault(in.ShutdownTimeout, DefaultShutdownTimeout), stopAppend)
	defer timer.Stop()
	err = <-appended
	return in.ended(ctx, s, feedErr, err)
}

// ended returns the error of Run.
func (in *Ingester) ended(ctx context.Context, s *spool, feedErr, appendErr error) error {
	err := feedErr
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	switch {
	case appendErr == nil:
		return err
	case !errors.Is(appendErr, context.Canceled): // the engine's
		err = appendErr
	}
	if n := s.state().records; n > 0 {
		return fmt.Errorf("relay: %d records are not in the stream: %w", n, err)
	}
	return err
}

func (in *Ingester) newSpool() (*spool, error) {
	payload := in.Conn.MaxPayload()
	if payload <= 0 {
		payload = 1 << 20
	}
	// The room for the header of NATS, and for gaps before a message.
	longest := int(payload) - batchHeader - 1024 - len(in.Stream)
	if longest <= 0 {
		return nil, fmt.Errorf("%w: the engine's largest payload is %d bytes", ErrIngester, payload)
	}
	s := &spool{
		batchBytes: min(orDefault(in.BatchBytes, DefaultBatchBytes), longest),
		batchCount: min(orDefault(in.BatchCount, DefaultBatchCount), MaxRecords-16),
		longest:    longest,
		memory:     orDefault(in.SpoolBytes, DefaultSpoolBytes),
		numbered:   in.Number != nil,
		wake:       make(chan struct{}, 1),
	}
	if in.SpoolDir != "" {
		files, err := openSpoolFiles(in.SpoolDir, in.Stream)
		if err != nil {
			return nil, err
		}
		s.files, s.disk = files, orDefault(in.SpoolDiskBytes, DefaultSpoolDiskBytes)
	}
	s.onFull = func(full bool, files error) {
		in.tell(func(state *IngestState) { state.SpoolFull, state.Spool = full, files })
	}
	in.mu.Lock()
	in.spool = s
	in.mu.Unlock()
	return s, nil
}

// endSpool adds the spool's counts to the totals.
func (in *Ingester) endSpool(s *spool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files.close()
	t := &in.totals
	t.received += s.received
	t.covered += s.covered
	t.discarded += s.discarded
	t.dropped += s.dropped
	t.tooLong += s.tooLong
	in.spool = nil
}

// feed receives until ctx ends, or the Clients have.
func (in *Ingester) feed(ctx context.Context, s *spool) error {
	if in.Number == nil {
		return in.feedPlain(ctx, s)
	}
	lines := redial.Lines[struct{}]{
		Clients: in.Clients,
		Number: func(data []byte) (key struct{}, from, to uint64, ok bool) {
			from, to, ok = in.Number(data)
			return key, from, to, ok
		},
		Other: in.Other,
		OnGap: func(g redial.Gap[struct{}]) {
			reason := Missing
			if g.Restarted {
				reason = Restarted
			}
			s.gap(Record{Reason: reason, From: g.From, To: g.To})
		},
	}
	if in.Other == nil {
		lines.Other = func(context.Context, int, redial.Message) error {
			in.totals.other.Add(1)
			return nil
		}
	}
	return lines.Run(ctx, func(_ context.Context, d redial.Delivery[struct{}]) error {
		s.message(recordKind(d.Message), d.Data, d.Epoch, d.From, d.To)
		return nil
	})
}

// feedPlain is feed without numbers.
func (in *Ingester) feedPlain(ctx context.Context, s *spool) error {
	epoch := uint64(0)
	return in.Clients[0].Run(ctx, func(_ context.Context, m redial.Message) error {
		if m.Epoch != epoch {
			epoch = m.Epoch
			if !m.Session.GapBegan.IsZero() {
				s.gap(Record{Reason: Disconnected, Epoch: epoch})
			}
		}
		s.message(recordKind(m), m.Data, m.Epoch, 0, 0)
		return nil
	})
}

func recordKind(m redial.Message) Kind {
	if m.Opcode == conn.Text {
		return Text
	}
	return Binary
}

// tell changes the state, and tells OnState if it is another one.
func (in *Ingester) tell(change func(*IngestState)) {
	in.telling.Lock()
	defer in.telling.Unlock()
	was := in.state
	change(&in.state)
	if in.OnState != nil && !sameState(was, in.state) {
		in.OnState(in.state)
	}
}

func sameState(a, b IngestState) bool {
	if a.Active != b.Active || a.SpoolFull != b.SpoolFull ||
		(a.Engine == nil) != (b.Engine == nil) || (a.Spool == nil) != (b.Spool == nil) {
		return false
	}
	return a.Engine == nil || ingestErrorName(a.Engine) == ingestErrorName(b.Engine)
}

// ingestErrorName returns what an error of the engine matches, and its text if that is
// nothing of ours.
func ingestErrorName(err error) string {
	for _, known := range []error{ErrNoLeader, ErrStreamFull, ErrNoSpace} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

// patience returns Patience and up to a tenth more.
func (in *Ingester) patience() time.Duration {
	p := orDefault(in.Patience, DefaultPatience)
	return p + rand.N(p/10+1)
}

// permissionError returns ErrPermission if the connection's last error was that one of
// these subjects is not permitted. The engine does not answer then.
func permissionError(nc *nats.Conn, subjects ...string) error {
	err := nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	for _, subject := range subjects {
		if strings.Contains(err.Error(), `"`+subject+`"`) {
			return fmt.Errorf("%w: %w", ErrPermission, err)
		}
	}
	return nil
}
