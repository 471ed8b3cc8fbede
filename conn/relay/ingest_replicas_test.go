//go:build unix

package relay

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// A leader is killed in the middle of a feed and comes back, once with its disk and once
// with an empty one. After that every replica has the same messages.
func TestIngestReplicasAgree(t *testing.T) {
	t.Parallel()
	cluster, err := engine.Start(3, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S", Replicas: 3})
	feed := newIngestFeed(t)
	in := startIngester(t, &Ingester{Conn: connectTo(t, cluster.Servers()), Stream: "S", Number: feedNumber,
		Clients: []*redial.Client{feed.client("")}})
	feed.await(t, 1)
	total := uint64(0)
	for _, empty := range []bool{false, true} {
		ctx, stop := context.WithCancel(t.Context())
		fed := make(chan struct{})
		go func() { feed.run(ctx, 1_000_000, 5000); close(fed) }()
		eventually(t, "it appends", func() bool { return in.Counts().Number > total+2000 })
		leader := cluster.Node(leaderOf(t, nc))
		leader.Kill()
		eventually(t, "another one leads", func() bool { l := leaderOf(t, nc); return l != "" && l != leader.Name })
		awaitMovement(t, nc, feed)
		if empty {
			if err := os.RemoveAll(leader.Dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has caught up", func() bool { return caughtUp(t, nc, leader.Name) })
		stop()
		<-fed
		total, _, _ = feed.state()
		eventually(t, "everything is appended", func() bool { return in.Counts().Number == total })
		sameReplicas(t, nc, cluster)
	}
	in.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
}

// caughtUp reports whether a follower of the stream has what the leader has.
func caughtUp(t *testing.T, nc *nats.Conn, name string) bool {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, "S")
	if err != nil || stream.CachedInfo().Cluster == nil {
		return false
	}
	return slices.ContainsFunc(stream.CachedInfo().Cluster.Replicas, func(p *jetstream.PeerInfo) bool {
		return p.Name == name && p.Current && !p.Offline
	})
}

// sameReplicas fails unless every node has the same messages.
func sameReplicas(t *testing.T, nc *nats.Conn, cluster *engine.Cluster) {
	t.Helper()
	last := lastSequence(t, nc)
	var want []stored
	for _, node := range cluster.Nodes {
		var have []stored
		eventually(t, node.Name+" has everything", func() bool {
			have = readReplica(t, cluster, node, last)
			return len(have) > 0 && have[len(have)-1].sequence >= last
		})
		if want == nil {
			want = have
		}
		if uint64(len(have)) != last || !slices.EqualFunc(have, want, sameStored) {
			t.Errorf("%s has %d messages, %s %d, of %d; they are not the same",
				node.Name, len(have), cluster.Nodes[0].Name, len(want), last)
		}
	}
	t.Logf("%d messages on each of %d nodes", last, len(cluster.Nodes))
}

func sameStored(a, b stored) bool {
	return a.sequence == b.sequence && a.time == b.time && slices.Equal(a.data, b.data)
}

// readReplica reads what a node has. The others are stopped meanwhile, so that only that
// one can answer.
func readReplica(t *testing.T, cluster *engine.Cluster, node *engine.Node, last uint64) (have []stored) {
	t.Helper()
	nc := connectTo(t, node.URL(), nats.NoReconnect())
	defer nc.Close()
	for _, other := range cluster.Nodes {
		if other != node {
			if err := other.Pause(); err != nil {
				t.Fatal(err)
			}
			defer other.Resume()
		}
	}
	for next, tries := uint64(1), 0; next <= last && tries < 50; tries++ {
		// A request that goes to a node that is stopped has no answer.
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		messages, err := directGet(ctx, nc, "S", next, 1000, 8<<20)
		cancel()
		if err == nil && len(messages) > 0 {
			have = append(have, messages...)
			next = messages[len(messages)-1].sequence + 1
		}
	}
	return have
}
