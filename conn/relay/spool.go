package relay

import (
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/utf8"
)

// spool keeps the batches of an Ingester from the first record until the stream has them:
// in memory, and after that in files. It is a queue. The goroutine that receives adds at
// its end, and never waits for the engine. The appender sends from its front.
type spool struct {
	batchBytes, batchCount int
	longest                int   // bytes of a message that fits a batch of its own
	memory, disk           int64 // limits; disk is 0 without files
	numbered               bool
	onFull                 func(full bool, files error) // without mu
	wake                   chan struct{}                // a batch began or was closed

	mu    sync.Mutex
	queue []*spoolBatch // closed batches in memory, from head on
	head  int
	sent  int           // of these, how many are out
	open  *spoolBatch   // nil if there is none
	files spoolFiles    // what comes after queue
	after []*spoolBatch // what comes after files, which did not take it
	free  []*spoolBatch
	bytes int64 // memory of queue and open
	held  int64 // records, also in files
	err   error // of reading a file: the spool has lost records that no gap can report
	// refused is why the files do not take what is in after, and retry when they are
	// asked again.
	refused error
	retry   time.Time

	era    uint32    // counts restarts, from 0 at the beginning of Run
	newest uint64    // the highest number of the era
	due    uint64    // the number at which the era began anew; 0 in the first
	began  time.Time // when the first record came
	latest time.Time // when the last one did
	full   bool
	lost   bool // messages were dropped that no record tells yet
	from   uint64
	to     uint64

	received, dropped, covered, discarded, tooLong uint64
}

// spoolBatch is a batch of the spool. The fields of its header that depend on the stream
// are set when it is sent.
type spoolBatch struct {
	buf         []byte // the records are those from start on, after room for the header
	start       int
	count, gaps int // records, and Gaps among them
	first, last uint64
	era         uint32 // of the spool
	// restart says that the batch begins with a Restarted record.
	restart bool
	// hole says that it begins with a gap that a twin may be able to fill, and waited
	// that there was time for that.
	hole, waited  bool
	began, newest time.Time // of the first and the newest record
}

const (
	spoolFree  = 64          // batches kept for reuse
	spoolRetry = time.Second // after a file could not be written
)

// message adds a message.
func (s *spool) message(kind Kind, data []byte, epoch, from, to uint64) {
	now := time.Now()
	r := Record{Kind: kind, Data: data, Epoch: epoch, From: from, To: to, Received: now.UnixNano()}
	if kind == Text && !utf8.Valid(data) {
		r.Kind = Binary // a Decode made it so
	}
	s.mu.Lock()
	s.received++
	changed := s.checkFull(now)
	switch {
	case s.full:
		s.drop(&r)
	case len(data) > s.longest:
		s.tooLong++
		r.Kind, r.Reason, r.Data = Gap, TooLong, nil
		fallthrough
	default:
		s.tellLost(now)
		s.put(&r, now)
	}
	full, refused := s.full, s.refused
	s.mu.Unlock()
	if changed && s.onFull != nil {
		s.onFull(full, refused)
	}
}

// gap adds a gap. Gaps are small and rare: they go in even if the spool is full.
func (s *spool) gap(r Record) {
	now := time.Now()
	r.Kind, r.Received = Gap, now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost && s.numbered && r.Reason == Missing {
		s.to = r.To // within what is lost
		return
	}
	s.tellLost(now)
	if r.Reason == Restarted {
		s.closeOpen()
		s.era++
		s.newest, s.due = 0, r.From
	}
	s.put(&r, now)
}

// drop counts a message for which there is no room.
func (s *spool) drop(r *Record) {
	if !s.lost {
		s.lost, s.from = true, r.From
	}
	s.to = r.To
	s.dropped++
}

// tellLost adds the gap of the messages that were dropped, if there are any.
func (s *spool) tellLost(now time.Time) {
	if !s.lost {
		return
	}
	s.lost = false
	s.put(&Record{Kind: Gap, Reason: Overflowed, From: s.from, To: s.to, Received: now.UnixNano()}, now)
}

// checkFull sets full, and reports whether it changed, or why. A spool that was full
// takes messages again when an eighth is free: each time costs a gap. It is also full
// while its files cannot be written.
func (s *spool) checkFull(now time.Time) (changed bool) {
	was, before := s.full, s.refused
	if s.refused != nil && !now.Before(s.retry) {
		s.flush(now)
	}
	used, limit := s.bytes, s.memory
	if s.disk > 0 {
		used, limit = s.files.bytes, s.disk
	}
	if s.full {
		limit -= limit / 8
	}
	s.full = used >= limit || s.refused != nil
	return s.full != was || (s.refused == nil) != (before == nil)
}

// put appends a record to the open batch, or to a new one.
func (s *spool) put(r *Record, now time.Time) {
	b := s.open
	hole := s.numbered && r.Kind == Gap && (r.Reason == Missing || r.Reason == Overflowed)
	if b != nil && !b.incomplete() {
		// Not from start on: a batch whose front is trimmed again and again ends too.
		if hole || len(b.buf)+recordOverhead+len(r.Data) > s.batchBytes {
			s.closeOpen()
			b = nil
		}
	}
	if b == nil {
		b = s.begin(now)
	}
	size := cap(b.buf)
	b.buf = appendRecord(b.buf, r)
	s.bytes += int64(cap(b.buf) - size)
	b.hole = b.hole || hole
	b.add(r)
	b.newest, s.latest = now, now
	if s.began.IsZero() {
		s.began = now
	}
	s.held++
	s.newest = max(s.newest, b.last)
	if b.count >= s.batchCount && !b.incomplete() {
		s.closeOpen()
	}
}

// add counts a record that is in the buffer.
func (b *spoolBatch) add(r *Record) {
	b.count++
	if r.Kind == Gap {
		b.gaps++
	}
	switch {
	case r.Reason == Restarted:
		b.restart = true
		b.first, b.last = r.To, max(r.To, 1)-1
	case b.count == 1:
		b.first, b.last = r.From, r.To
	default:
		b.last = max(b.last, r.To)
	}
}

// incomplete says that the first message of a restart is still to come.
func (b *spoolBatch) incomplete() bool { return b.restart && b.count == 1 }

// begin makes a batch the open one.
func (s *spool) begin(now time.Time) *spoolBatch {
	b := s.take()
	b.era, b.began = s.era, now
	s.open = b
	s.signal()
	return b
}

// take returns an empty batch.
func (s *spool) take() *spoolBatch {
	var b *spoolBatch
	if n := len(s.free); n > 0 {
		b, s.free = s.free[n-1], s.free[:n-1]
		*b = spoolBatch{buf: b.buf[:batchHeader], start: batchHeader}
	} else {
		b = &spoolBatch{buf: make([]byte, batchHeader, 4096), start: batchHeader}
	}
	s.bytes += int64(cap(b.buf))
	return b
}

// give takes a batch back.
func (s *spool) give(b *spoolBatch) {
	s.bytes -= int64(cap(b.buf))
	if len(s.free) < spoolFree && cap(b.buf) <= 4*s.batchBytes {
		s.free = append(s.free, b)
	}
}

// closeOpen puts the open batch into the queue.
func (s *spool) closeOpen() {
	b := s.open
	if b == nil || b.count == 0 {
		return
	}
	s.open = nil
	s.signal()
	if s.disk > 0 && (s.files.batches > 0 || len(s.after) > 0 || s.bytes >= s.memory) {
		s.after = append(s.after, b)
		if s.refused == nil {
			s.flush(time.Now())
		}
		return
	}
	if len(s.queue)-s.head-s.sent > 1 && cap(b.buf) > 2*len(b.buf) { // it will stay for a while
		small := append(make([]byte, 0, len(b.buf)), b.buf...)
		old := b.buf
		b.buf = small
		s.bytes -= int64(cap(old) - cap(small))
		if len(s.free) < spoolFree {
			s.free = append(s.free, &spoolBatch{buf: old})
		}
	}
	s.queue = append(s.queue, b)
}

// flush writes what comes after the files to them. What they do not take stays in memory:
// a batch, and gaps.
func (s *spool) flush(now time.Time) {
	for len(s.after) > 0 {
		if s.refused = s.files.push(s.after[0]); s.refused != nil {
			s.retry = now.Add(spoolRetry)
			return
		}
		s.give(s.after[0])
		s.after[0] = nil
		s.after = s.after[1:]
	}
	s.refused, s.after = nil, nil
}

// fetch moves batches from the files into memory, when half of that is free, or when
// there is none.
func (s *spool) fetch() {
	for s.err == nil && (s.head == len(s.queue) || s.bytes < s.memory/2) {
		if s.files.batches == 0 {
			s.queue = append(s.queue, s.after...)
			s.refused, s.after = nil, nil
			return
		}
		b := s.take()
		size := cap(b.buf)
		err := s.files.pop(b)
		s.bytes += int64(cap(b.buf) - size)
		if err != nil {
			s.err = err
			s.give(b)
			return
		}
		s.queue = append(s.queue, b)
	}
}

func (s *spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next returns the first batch that is not out, and counts it as out. The open batch is
// taken when it is older than age. Otherwise b is nil, and wait says when it will be; it
// is 0 if there is no open batch. A batch that begins with a hole is returned only after
// the wait for a twin: hole is true instead.
func (s *spool) next(age time.Duration) (b *spoolBatch, wait time.Duration, hole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetch()
	if s.err != nil {
		return nil, 0, false, s.err
	}
	i := s.head + s.sent
	if i == len(s.queue) {
		if s.open == nil || s.open.count == 0 || s.open.incomplete() {
			return nil, 0, false, nil
		}
		if wait = age - time.Since(s.open.began); wait > 0 && !s.open.hole {
			return nil, wait, false, nil
		}
		s.closeOpen()
		if s.fetch(); i == len(s.queue) {
			return nil, 0, false, s.err
		}
	}
	if b = s.queue[i]; b.hole && !b.waited {
		return nil, 0, true, nil
	}
	s.sent++
	return b, 0, false, nil
}

// done removes the first n batches: the stream has them.
func (s *spool) done(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.held -= int64(s.queue[s.head].count)
		s.sent--
		s.pop()
	}
}

// unsend says that nothing is out any more.
func (s *spool) unsend() {
	s.mu.Lock()
	s.sent = 0
	s.mu.Unlock()
}

// pop removes the first batch in memory.
func (s *spool) pop() {
	b := s.queue[s.head]
	s.queue[s.head] = nil
	s.head++
	switch {
	case s.head == len(s.queue):
		s.queue, s.head = s.queue[:0], 0
	case s.head >= 1024 && s.head*2 >= len(s.queue):
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	s.give(b)
}

// front returns the first batch, which may be the open one, and nil if there is none.
func (s *spool) front() *spoolBatch {
	s.fetch()
	if s.head < len(s.queue) {
		return s.queue[s.head]
	}
	if s.open != nil && s.open.count > 0 && !s.open.incomplete() {
		return s.open
	}
	return nil
}

// removeFront removes the first batch.
func (s *spool) removeFront() {
	if s.head < len(s.queue) {
		s.held -= int64(s.queue[s.head].count)
		s.pop()
		return
	}
	s.held -= int64(s.open.count)
	s.give(s.open)
	s.open = nil
}

// spoolFront describes the first record of the spool.
type spoolFront struct {
	Record
	era   uint32
	hole  bool
	began time.Time
}

// look describes the front of the spool. It reports false if the spool is empty.
func (s *spool) look() (spoolFront, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.front()
	if b == nil {
		return spoolFront{}, false
	}
	r, _, _ := parseRecord(b.buf[b.start:])
	r.Data = nil
	return spoolFront{r, b.era, b.hole && !b.waited, b.began}, true
}

// coverage says which records of an era the stream has: those up to last. The era is that
// of the spool; it is below 0 if the stream has not come to it.
type coverage struct {
	era  int64
	last uint64
}

// outdate removes the records of earlier eras. Nothing may be out.
func (s *spool) outdate(era int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.held
	for b := s.front(); b != nil && int64(b.era) < era; b = s.front() {
		s.removeFront()
	}
	s.covered += uint64(before - s.held)
}

// trim removes the records that the stream has, if they are at the front. Nothing may be
// out.
func (s *spool) trim(c coverage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.held
	for {
		b := s.front()
		if b == nil || int64(b.era) != c.era {
			break
		}
		if b.last > c.last {
			s.cut(b, c.last)
			break
		}
		s.removeFront()
	}
	s.covered += uint64(before - s.held)
}

// skip removes the first n records, and returns how many gaps were among them. Nothing
// may be out.
func (s *spool) skip(n uint64) (gaps int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := s.front(); b != nil && n > 0; b = s.front() {
		if uint64(b.count) <= n {
			n -= uint64(b.count)
			gaps += b.gaps
			s.removeFront()
			continue
		}
		before := b.gaps
		for ; n > 0; n-- {
			_, size, _ := parseRecord(b.buf[b.start:])
			s.dropFirst(b, size)
		}
		r, _, _ := parseRecord(b.buf[b.start:])
		b.first = r.From
		gaps += before - b.gaps
	}
	return gaps
}

// dropFirst removes the first record of a batch, which has n bytes. The batch has others.
func (s *spool) dropFirst(b *spoolBatch, n int) {
	if r, _, _ := parseRecord(b.buf[b.start:]); r.Kind == Gap {
		b.gaps--
	}
	b.start += n
	b.count--
	s.held--
	b.restart, b.hole = false, false
}

// cut removes the records at the beginning of a batch that end at last or before. The
// batch has others.
func (s *spool) cut(b *spoolBatch, last uint64) {
	for b.count > 0 {
		r, n, _ := parseRecord(b.buf[b.start:])
		if r.Reason != Restarted && r.To > last {
			if r.Kind == Gap && r.From <= last {
				r.From = last + 1
				s.replaceFirst(b, &r, n)
			}
			b.first = r.From
			return
		}
		s.dropFirst(b, n)
	}
}

// replaceFirst replaces the first record of a batch, which has n bytes.
func (s *spool) replaceFirst(b *spoolBatch, r *Record, n int) {
	rest := b.buf[b.start+n:]
	size := cap(b.buf)
	buf := make([]byte, batchHeader, batchHeader+recordOverhead+len(r.Data)+len(rest))
	b.buf = append(appendRecord(buf, r), rest...)
	b.start = batchHeader
	s.bytes += int64(cap(b.buf) - size)
}

// prepend puts a gap before everything else.
func (s *spool) prepend(r Record) {
	r.Kind, r.Received = Gap, time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.front()
	if b != nil && b == s.open {
		s.closeOpen()
		b = s.front()
	}
	if b == nil { // a file cannot be written: next tells
		return
	}
	s.replaceFirst(b, &r, 0)
	b.count++
	b.gaps++
	b.restart = r.Reason == Restarted
	if b.first = r.From; b.restart {
		b.first = r.To
	}
	s.held++
}

// allow says that a twin had its time to fill the hole at the front.
func (s *spool) allow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.front(); b != nil {
		b.waited = true
	}
}

// discard removes the batches that have nothing newer than t. Nothing may be out.
func (s *spool) discard(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.held
	for b := s.front(); b != nil && b.newest.Before(t); b = s.front() {
		s.removeFront()
	}
	s.discarded += uint64(before - s.held)
}

// since returns when the first record after t came, as far as batches show that.
func (s *spool) since(t time.Time) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.queue[s.head:] {
		if b.newest.After(t) {
			return later(b.began, t), true
		}
	}
	if b := s.open; b != nil && b.newest.After(t) {
		return later(b.began, t), true
	}
	return time.Time{}, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// spoolState describes the end of the spool.
type spoolState struct {
	era     uint32
	newest  uint64    // the highest number of the era
	due     uint64    // the number that was due before it
	began   time.Time // when the first record came
	latest  time.Time // when the last one did
	records int64     // in the spool
}

func (s *spool) state() spoolState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return spoolState{s.era, s.newest, s.due, s.began, s.latest, s.held}
}

// end closes what is open, after the last message: also a batch that waits for one, and
// the gap of what was dropped.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLost(time.Now())
	s.closeOpen()
}
