package relay

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

var campaign = flag.Uint64("ingest.messages", 200_000, "messages of TestIngestTwinsInCluster; with 1000000 the faults come twice")

// Two ingesters bring one feed to a cluster of three nodes. The leader is killed, another
// one is stopped for some seconds, and so is the active ingester killed: every message is
// in the stream once and in order.
func TestIngestTwinsInCluster(t *testing.T) {
	cluster, err := engine.Start(3, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S", Replicas: 3})
	feed := newIngestFeed(t)

	process := childIngester{Servers: cluster.Servers(), Stream: "S", URL: feed.url}
	child := startChild(t, process)
	feed.await(t, 1)
	feed.to(1)
	eventually(t, "the child is active", child.active.Load)
	twin := startIngester(t, &Ingester{Conn: connectTo(t, cluster.Servers()), Stream: "S", Number: feedNumber,
		Clients: []*redial.Client{feed.client("")}})
	feed.await(t, 2)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	total, rate := *campaign, 10_000.
	fed := make(chan struct{})
	go func() { feed.run(ctx, total, rate); close(fed) }()
	rounds := 1
	if total >= 1_000_000 {
		rounds = 2
	}
	for range rounds {
		time.Sleep(time.Second)
		t.Log("kill -9 of the active ingester")
		last := lastSequence(t, nc)
		child.kill()
		began := time.Now()
		eventually(t, "the twin is active", func() bool { return lastSequence(t, nc) > last && twin.saw(IngestState{Active: true}.is) })
		t.Logf("the twin took over: %s", time.Since(began))
		child = startChild(t, process)
		feed.await(t, 2)

		time.Sleep(time.Second)
		leader := cluster.Node(leaderOf(t, nc))
		t.Log("kill -9 of the leader", leader.Name)
		leader.Kill()
		awaitMovement(t, nc)
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		leader = cluster.Node(leaderOf(t, nc))
		t.Log("SIGSTOP of the leader", leader.Name)
		if err := leader.Pause(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if err := leader.Resume(); err != nil {
			t.Fatal(err)
		}
		awaitMovement(t, nc)
	}
	<-fed
	eventually(t, "everything is in the stream", func() bool { return lastNumber(t, nc) == total })
	if err := child.end(); err != nil {
		t.Error(err)
	}
	twin.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
	t.Logf("%+v", twin.Counts())
}

func (s IngestState) is(o IngestState) bool { return s.Active == o.Active }

// leaderOf returns the stream's leader, once there is one.
func leaderOf(t *testing.T, nc *nats.Conn) string { return lookupStream(t, nc).Leader }

func lastSequence(t *testing.T, nc *nats.Conn) uint64 { return lookupStream(t, nc).Last }

func lookupStream(t *testing.T, nc *nats.Conn) (info StreamInfo) {
	t.Helper()
	eventually(t, "the stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		info, err = LookupStream(ctx, nc, "S")
		return err == nil && (info.Leader != "" || info.Replicas == 1)
	})
	return info
}

// awaitMovement waits until the stream moves.
func awaitMovement(t *testing.T, nc *nats.Conn) {
	t.Helper()
	began := time.Now()
	last := lastSequence(t, nc)
	eventually(t, "the stream moves", func() bool { return lastSequence(t, nc) > last })
	t.Logf("the stream moves: %s", time.Since(began))
}

// lastNumber returns the last number of the stream.
func lastNumber(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	var b Batch
	last := lastSequence(t, nc)
	if last == 0 {
		return 0
	}
	eventually(t, "the last batch", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		m, err := leaderGet(ctx, nc, "S", last)
		if err == nil {
			b, err = ParseBatch(m.data)
		}
		return err == nil
	})
	return b.Last
}
