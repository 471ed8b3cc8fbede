package relay

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// twins starts n ingesters of a feed, the first of which is active and has appended up to
// number last.
func twins(t *testing.T, feed *ingestFeed, nc *nats.Conn, n int, last uint64) []*runningIngester {
	t.Helper()
	var all []*runningIngester
	for i := range n {
		in := &Ingester{Conn: nc, Stream: "S", Number: feedNumber, Clients: []*redial.Client{feed.client(fmt.Sprint(i))}}
		all = append(all, startIngester(t, in))
		feed.await(t, i+1)
		if i == 0 {
			feed.to(last)
			eventually(t, "the first one is active", func() bool { return all[0].Counts().Number == last })
		}
	}
	return all
}

func oneStream(t *testing.T) *nats.Conn {
	t.Helper()
	nc := oneNode(t, nil)
	makeStream(t, nc, StreamConfig{Name: "S"})
	return nc
}

func expectRecords(t *testing.T, nc *nats.Conn, want string) {
	t.Helper()
	records, headers := readStream(t, nc, "S")
	if got := describeRecords(records); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	last := BatchHeader{}
	for i, h := range headers {
		if h.Era < last.Era || h.Era == last.Era && h.Last < last.Last {
			t.Errorf("batch %d: era %d, last %d after era %d, last %d", i+1, h.Era, h.Last, last.Era, last.Last)
		}
		last = h
	}
}

// A number that only a twin has comes from the twin. One that nobody has is a gap, once.
func TestIngestMissingNumbers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		skip func(line string, n uint64) bool
		want string
	}{
		{"the twin has it", func(line string, n uint64) bool { return line == "0" && n == 100 }, "1-1000"},
		{"nobody has it", func(line string, n uint64) bool { return n == 100 }, "1-99 missing(100-100) 101-1000"},
		{"each lacks one", func(line string, n uint64) bool { return line == "0" && n == 100 || line == "1" && n == 200 }, "1-1000"},
		{"the twin lacks one too, and others later", func(line string, n uint64) bool {
			return n == 100 || n >= 200 && n < 210 && line == "1" || n >= 300 && n < 310
		}, "1-99 missing(100-100) 101-299 missing(300-309) 310-1000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nc := oneStream(t)
			feed := newIngestFeed(t)
			feed.skip = test.skip
			all := twins(t, feed, nc, 2, 10)
			feed.run(t.Context(), 1000, 1000)
			eventually(t, "everything is there", func() bool {
				return all[0].Counts().Number == 1000 && all[1].Counts().Number == 1000
			})
			expectRecords(t, nc, test.want)
			for _, in := range all {
				if c := in.Counts(); c.SpoolRecords != 0 {
					t.Errorf("left: %+v", c)
				}
			}
		})
	}
}

// A twin whose line is behind takes over: what comes late is in the stream already.
func TestIngestLateTwin(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	feed := newIngestFeed(t)
	var lag atomic.Uint64
	lag.Store(500)
	feed.lag = func(line string) uint64 {
		if line == "1" {
			return lag.Load()
		}
		return 0
	}
	all := twins(t, feed, nc, 2, 10)
	feed.run(t.Context(), 1000, 2000)
	eventually(t, "it appends", func() bool { return all[0].Counts().Number == 1000 })
	all[0].stop()
	eventually(t, "the twin follows", func() bool { c := all[1].Counts(); return c.Number == 1000 && c.Received == 490 })
	for range 3 { // it never has anything new, for long
		time.Sleep(DefaultPatience)
		lag.Add(^uint64(99))
		feed.to(1000)
	}
	lag.Store(0)
	feed.to(1100)
	eventually(t, "the twin appends", func() bool { return all[1].Counts().Number == 1100 })
	expectRecords(t, nc, "1-1100")
}

// The source restarts its numbers: the stream has one gap for that, whoever is active.
func TestIngestRestart(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprint(n, " ingesters"), func(t *testing.T) {
			t.Parallel()
			nc := oneStream(t)
			feed := newIngestFeed(t)
			all := twins(t, feed, nc, n, 500)
			for range 2 {
				feed.restart(0)
				feed.await(t, n)
				feed.run(t.Context(), 300, 1000)
				time.Sleep(100 * time.Millisecond)
			}
			eventually(t, "everything is there", func() bool {
				_, headers := readStream(t, nc, "S")
				h := headers[len(headers)-1]
				return h.Era == 2 && h.Last == 300
			})
			time.Sleep(2 * DefaultPatience) // nobody else appends
			expectRecords(t, nc, "1-500 restarted(501-1) 1-300 restarted(301-1) 1-300")
			for _, in := range all {
				in.stop()
				if c := in.Counts(); c.SpoolRecords != 0 {
					t.Errorf("left: %+v", c)
				}
			}
		})
	}
}

// After a restart the twin takes over in the new era.
func TestIngestRestartThenTakeOver(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	feed := newIngestFeed(t)
	all := twins(t, feed, nc, 2, 500)
	feed.restart(0)
	feed.await(t, 2)
	feed.run(t.Context(), 300, 1000)
	all[0].stop()
	feed.run(t.Context(), 600, 1000)
	eventually(t, "the twin has appended", func() bool { return all[1].Counts().Number == 600 })
	expectRecords(t, nc, "1-500 restarted(501-1) 1-600")
}

// An ingester that begins later finds what it needs to know in the stream.
func TestIngestAfterPause(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		last  uint64
		pause func(f *ingestFeed)
		want  string
	}{
		{"nothing missed", 100, func(f *ingestFeed) {}, "1-200"},
		{"numbers missed", 100, func(f *ingestFeed) { f.to(150) }, "1-100 missing(101-150) 151-200"},
		{"restart unseen", 20_000, func(f *ingestFeed) { f.restart(0) }, "1-20000 restarted(20001-1) 1-200"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nc := oneStream(t)
			feed := newIngestFeed(t)
			twins(t, feed, nc, 1, test.last)[0].stop()
			feed.await(t, 0)
			test.pause(feed)
			in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, Clients: []*redial.Client{feed.client("")}})
			feed.await(t, 1)
			feed.to(200)
			eventually(t, "it appends", func() bool { return in.Counts().Number == 200 })
			expectRecords(t, nc, test.want)
		})
	}
}

// Without numbers one ingester appends. A standby takes over when that ends, with a gap.
func TestIngestWithoutNumbers(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	feed := newIngestFeed(t)
	start := func(line string) *runningIngester {
		in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Patience: 100 * time.Millisecond,
			Clients: []*redial.Client{feed.client(line)}})
		return in
	}
	first := start("first")
	feed.await(t, 1)
	feed.to(10)
	eventually(t, "it appends", func() bool { return first.Counts().Appended == 10 })
	standby := start("standby")
	feed.await(t, 2)
	feed.run(t.Context(), 1000, 2000)
	eventually(t, "it appends", func() bool { return first.Counts().Appended == 1000 })
	if c := standby.Counts(); c.Appended > 0 || c.Discarded == 0 {
		t.Errorf("the standby: %+v", c)
	}

	// A new connection shows as a gap.
	feed.restart(1000)
	feed.await(t, 2)
	feed.run(t.Context(), 2000, 2000)
	eventually(t, "it appends", func() bool { return first.Counts().Appended == 2001 })
	first.stop()
	ctx, cancel := context.WithCancel(t.Context())
	go feed.run(ctx, 100_000, 1000)
	eventually(t, "the standby takes over", func() bool { return standby.Counts().Appended > 1000 })
	cancel()
	standby.stop()

	records, headers := readStream(t, nc, "S")
	var gaps []Reason
	seen := map[uint64]int{}
	highest := uint64(0)
	afterTakeOver := false
	for _, r := range records {
		if r.Kind == Gap {
			gaps = append(gaps, r.Reason)
			afterTakeOver = afterTakeOver || r.Reason == TakenOver
			continue
		}
		n, err := checkFeedMessage(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		if seen[n]++; seen[n] > 1 && !afterTakeOver {
			t.Errorf("message %d comes twice", n)
		}
		highest = max(highest, n)
	}
	for n := uint64(1); n <= highest; n++ {
		if seen[n] == 0 {
			t.Fatalf("message %d is lost", n)
		}
	}
	if fmt.Sprint(gaps) != "[disconnected taken over]" {
		t.Errorf("gaps: %v", gaps)
	}
	next := map[uint64]uint64{}
	for _, h := range headers {
		if h.Ordinal != next[h.Writer] || h.First != 0 || h.Last != 0 {
			t.Fatalf("%+v, want ordinal %d", h, next[h.Writer])
		}
		next[h.Writer] += uint64(h.Count)
	}
	t.Logf("%d messages, %d twice", highest, len(records)-len(gaps)-len(seen))
}

// Two ingesters of a feed without numbers that both append: the one that loses stands by.
func TestIngestWithoutNumbersContest(t *testing.T) {
	t.Parallel()
	nc := oneStream(t)
	feed := newIngestFeed(t)
	var all []*runningIngester
	for i := range 3 {
		all = append(all, startIngester(t, &Ingester{Conn: nc, Stream: "S", Patience: 100 * time.Millisecond,
			Clients: []*redial.Client{feed.client(fmt.Sprint(i))}}))
	}
	feed.await(t, 3)
	feed.run(t.Context(), 3000, 1000)
	var appended uint64
	eventually(t, "everything is appended", func() bool {
		appended = 0
		for _, in := range all {
			appended += in.Counts().Appended
		}
		return appended >= 3000
	})
	records, _ := readStream(t, nc, "S")
	if got := describeRecords(numbered(t, records)); got != "1-3000" {
		t.Errorf("got %s", got)
	}
}
