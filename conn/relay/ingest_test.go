package relay

import (
	"context"
	"errors"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A numbered feed over loopback is in the stream once and in order.
func TestIngestNumbered(t *testing.T) {
	const total = 200_000
	nc := oneNode(t, nil)
	makeStream(t, nc, StreamConfig{Name: "S"})
	feed := newIngestFeed(t)
	in := startIngester(t, &Ingester{
		Conn: nc, Stream: "S", Number: feedNumber,
		Clients: []*redial.Client{feed.client("a"), feed.client("b")},
	})
	eventually(t, "two lines", func() bool { return feed.conns.Load() == 2 })
	feed.run(context.Background(), total, 200_000)
	eventually(t, "everything is received", func() bool { return in.Counts().Received == total })
	if err := in.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
	c := in.Counts()
	t.Logf("%+v", c)
	if c.Appended != total || c.Number != total || c.Batches != c.Sequence || c.TakeOvers != 1 || c.SpoolRecords != 0 {
		t.Errorf("counts: %+v", c)
	}
}
