//go:build unix

package relay

import (
	"fmt"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// A leader whose followers are stopped stores a batch when they go on: after the ingester
// has given up waiting, and has asked the leader what the stream has.
func TestIngestLateQuorum(t *testing.T) {
	t.Parallel()
	for feed, number := range lateFeeds {
		for _, sent := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sent again %t", feed, sent), func(t *testing.T) {
				cluster, err := engine.Start(3, t.TempDir(), nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cluster.Stop)
				makeStream(t, connectTo(t, cluster.Servers()), StreamConfig{Name: "S", Replicas: 3})
				admin := connectTo(t, cluster.Servers())
				leader := cluster.Node(leaderOf(t, admin))
				nc := connectTo(t, leader.URL())
				a := chainAppender(t, nc, number)
				a.window = 1
				burst(a.s, 1, 30)
				for _, n := range cluster.Nodes {
					if n != leader {
						if err := n.Pause(); err != nil {
							t.Fatal(err)
						}
					}
				}
				a.sendAllOf(t)
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				a.resumeOf(t)
				if a.tail.sequence != 0 {
					t.Fatal("the batch is stored without followers")
				}
				if sent {
					a.sendAllOf(t)
				}
				for _, n := range cluster.Nodes {
					if n != leader {
						if err := n.Resume(); err != nil {
							t.Fatal(err)
						}
					}
				}
				eventually(t, "the batch is stored", func() bool { return lastSequence(t, nc) == 1 })
				a.resumeOf(t)
				a.finish(t, nc, 45)
			})
		}
	}
}
