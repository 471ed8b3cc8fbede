package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// burst adds messages of the feed all at once: what they fill goes out in one go.
func burst(s *spool, from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := from; n <= to; n++ {
		now := time.Now()
		s.put(&Record{Kind: Text, Data: appendFeedMessage(nil, n, 60), Epoch: 1, From: n, To: n, Received: now.UnixNano()}, now)
	}
}

// appendForeign appends a batch of another ingester after a sequence.
func appendForeign(t *testing.T, nc *nats.Conn, after, from, to uint64) {
	t.Helper()
	var records []Record
	for n := from; n <= to; n++ {
		records = append(records, Record{Kind: Text, Data: appendFeedMessage(nil, n, 60), From: n, To: n, Received: 1})
	}
	data, err := AppendBatch(nil, BatchHeader{Writer: 1, First: from, Last: to}, records...)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "relay.S", data, jetstream.WithExpectLastSequence(after)); err != nil {
		t.Fatal(err)
	}
}

// A twin appends as many batches as the first ones of a chain that are refused: those
// after them have the sequence that they say, and are refused too.
func TestIngestChainAfterForeignBatches(t *testing.T) {
	t.Parallel()
	for _, batches := range []uint64{1, 2, 5} {
		t.Run(fmt.Sprint(batches), func(t *testing.T) {
			t.Parallel()
			nc := oneStream(t)
			feed := newIngestFeed(t)
			in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, BatchCount: 5,
				Clients: []*redial.Client{feed.client("")}})
			feed.await(t, 1)
			feed.to(5)
			eventually(t, "it is active", func() bool { return in.Counts().Number == 5 })
			sequence := in.Counts().Sequence
			for i := range batches {
				appendForeign(t, nc, sequence+i, 6+2*i, 7+2*i)
			}
			burst(in.spool, 6, 105)
			eventually(t, "everything is there", func() bool { c := in.Counts(); return c.Number == 105 && c.SpoolRecords == 0 })
			expectRecords(t, nc, "1-105")
			if c := in.Counts(); c.Refused == 0 || c.Breaks == 0 || c.Appended+2*batches != 105 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// chainAppender is an appender of a stream that is about to begin a chain.
func chainAppender(t *testing.T, nc *nats.Conn, number func([]byte) (from, to uint64, ok bool)) *appender {
	t.Helper()
	s := newTestSpool(1 << 20)
	s.numbered = number != nil
	a, err := newAppender(&Ingester{Conn: nc, Stream: "S", Number: number}, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	tail, err := a.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.setTail(tail)
	a.window = DefaultInFlight
	return a
}

func (a *appender) sendAllOf(t *testing.T) {
	t.Helper()
	if _, _, err := a.sendAll(); err != nil {
		t.Fatal(err)
	}
}

// awaitAnswers takes n answers, and returns the first error.
func (a *appender) awaitAnswers(t *testing.T, n int) (first error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range n {
		select {
		case m := <-a.acks:
			if err := a.acked(m); first == nil {
				first = err
			}
		case <-ctx.Done():
			t.Fatal("no answer")
		}
	}
	return first
}

// Without ids, if several batches were out to a stream of replicas, a later one would be
// taken. Its answer does not make those before it count.
func TestIngestUnboundChain(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	a := chainAppender(t, nc, feedNumber)
	a.info.Replicas = 3
	appendForeign(t, nc, 0, 1, 1)
	burst(a.s, 1, 30)
	a.sendAllOf(t)
	if n := len(a.flight); n != 3 {
		t.Fatal(n, "batches")
	}
	if err := a.awaitAnswers(t, 3); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if len(a.flight) != 3 || a.in.totals.appended.Load() > 0 {
		t.Errorf("out %d, appended %d", len(a.flight), a.in.totals.appended.Load())
	}
	ours, err := a.resume(t.Context())
	if ours || err != nil || a.in.totals.appended.Load() > 0 {
		t.Errorf("ours %t, %v, appended %d", ours, err, a.in.totals.appended.Load())
	}
}

// A leader can store a chain and die before it answers. Then the next batch counts on from
// the last record that is stored.
func TestIngestResumeOrdinal(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	a := chainAppender(t, nc, feedNumber)
	burst(a.s, 1, 30)
	a.sendAllOf(t)
	sent := a.ordinal
	eventually(t, "all is stored", func() bool {
		info, err := LookupStream(t.Context(), nc, "S")
		return err == nil && info.Last == uint64(len(a.flight))
	})
	ours, err := a.resume(t.Context())
	if !ours || err != nil || a.ordinal != sent || len(a.flight) > 0 {
		t.Errorf("ours %t, %v, ordinal %d of %d, out %d", ours, err, a.ordinal, sent, len(a.flight))
	}
}

// A chain that had no answer can be stored after resume has looked. The chain after it is
// refused, and what was stored is not sent again.
func TestIngestResumeLateChain(t *testing.T) {
	t.Parallel()
	for name, number := range map[string]func([]byte) (from, to uint64, ok bool){"numbers": feedNumber, "no numbers": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := oneStream(t)
			a := chainAppender(t, nc, number)
			burst(a.s, 1, 37)
			a.sendAllOf(t)
			late, sent := uint64(len(a.flight)), a.ordinal
			// As resume leaves it when it finds nothing.
			a.ordinal, a.flight, a.window, a.previous = 0, a.flight[:0], 1, ""
			a.s.unsend()
			eventually(t, "the late chain is stored", func() bool {
				info, err := LookupStream(t.Context(), nc, "S")
				return err == nil && info.Last == late
			})
			a.sendAllOf(t)
			if err := a.awaitAnswers(t, int(late)+1); !errors.Is(err, errRefused) {
				t.Fatal(err)
			}
			ours, err := a.resume(t.Context())
			if left := a.s.state().records; !ours || err != nil || a.ordinal != sent || uint64(left) != 37-sent {
				t.Fatalf("ours %t, %v, ordinal %d of %d, %d records left", ours, err, a.ordinal, sent, left)
			}
			a.s.end()
			a.window, a.previous = DefaultInFlight, ""
			for a.s.state().records > 0 {
				a.sendAllOf(t)
				if err := a.awaitAnswers(t, len(a.flight)); err != nil {
					t.Fatal(err)
				}
			}
			expectRecords(t, nc, "1-37")
			if n := a.in.totals.appended.Load() + a.s.covered; n != 37 {
				t.Errorf("%d records are counted", n)
			}
		})
	}
}
