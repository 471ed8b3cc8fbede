//go:build unix

package relay

import (
	"context"
	"flag"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

var campaign = flag.Uint64("ingest.messages", 200_000,
	"messages of TestIngestTwinsInCluster, 10,000 a second; the faults come again every 25 s")

// Two ingesters in processes of their own bring one feed to a cluster of three nodes. The
// active ingester is killed, another time stopped for a while; so is the leader: every
// message is in the stream once and in order.
func TestIngestTwinsInCluster(t *testing.T) {
	cluster, err := engine.Start(3, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S", Replicas: 3})
	feed := newIngestFeed(t)
	process := childIngester{Servers: cluster.Servers(), Stream: "S", URL: feed.url, Verbose: testing.Verbose()}
	twins := []*ingesterProcess{startChild(t, process)}
	feed.await(t, 1)
	feed.to(1)
	eventually(t, "the first one is active", twins[0].active.Load)
	twins = append(twins, startChild(t, process))
	feed.await(t, 2)

	total, pause := *campaign, 6*time.Second
	if total > 200_000 {
		pause = 10 * time.Second // another leader is elected
	}
	fed := make(chan struct{})
	go func() { feed.run(t.Context(), total, 10_000); close(fed) }()
	for head := uint64(0); head == 0 || head+300_000 < total; head, _, _ = feed.state() { // not after the end
		killIngester(t, twins, func() *ingesterProcess { return startChild(t, process) })
		feed.await(t, 2)
		killLeader(t, nc, cluster, feed)
		stopIngester(t, twins)
		stopLeader(t, nc, cluster, feed, pause)
	}
	<-fed
	eventually(t, "everything is in the stream", func() bool { return lastNumber(t, nc) == total })
	for _, p := range twins {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
}

// theActive returns the place of the active ingester, once there is only one.
func theActive(t *testing.T, twins []*ingesterProcess) int {
	t.Helper()
	i := 0
	eventually(t, "one is active", func() bool {
		a, b := twins[0].active.Load(), twins[1].active.Load()
		if b {
			i = 1
		}
		return a != b
	})
	return i
}

func killIngester(t *testing.T, twins []*ingesterProcess, start func() *ingesterProcess) {
	time.Sleep(time.Second)
	i := theActive(t, twins)
	began := time.Now()
	twins[i].kill()
	eventually(t, "the twin is active", twins[1-i].active.Load)
	t.Logf("active ingester killed: the twin took over after %s", time.Since(began))
	twins[i] = start()
}

func stopIngester(t *testing.T, twins []*ingesterProcess) {
	time.Sleep(time.Second)
	i := theActive(t, twins)
	began := time.Now()
	if err := twins[i].command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the twin is active", twins[1-i].active.Load)
	t.Logf("active ingester stopped: the twin took over after %s", time.Since(began))
	time.Sleep(500 * time.Millisecond)
	if err := twins[i].command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func killLeader(t *testing.T, nc *nats.Conn, cluster *engine.Cluster, feed *ingestFeed) {
	time.Sleep(time.Second)
	leader := cluster.Node(leaderOf(t, nc))
	began := time.Now()
	leader.Kill()
	awaitMovement(t, nc, feed)
	t.Logf("leader killed: the stream moves after %s", time.Since(began))
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
}

func stopLeader(t *testing.T, nc *nats.Conn, cluster *engine.Cluster, feed *ingestFeed, pause time.Duration) {
	time.Sleep(time.Second)
	leader := cluster.Node(leaderOf(t, nc))
	began := time.Now()
	if err := leader.Pause(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(pause)
	if err := leader.Resume(); err != nil {
		t.Fatal(err)
	}
	awaitMovement(t, nc, feed)
	t.Logf("leader stopped for %s: the stream moves after %s", pause, time.Since(began))
}

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

// awaitMovement waits until the stream moves, or has everything.
func awaitMovement(t *testing.T, nc *nats.Conn, feed *ingestFeed) {
	t.Helper()
	last := lastSequence(t, nc)
	eventually(t, "the stream moves", func() bool {
		head, _, _ := feed.state()
		return lastSequence(t, nc) > last || lastNumber(t, nc) == head
	})
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
