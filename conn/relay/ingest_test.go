package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
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
	feed.await(t, 2)
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

// away starts an engine of one node in a child process, a stream and an ingester, and
// kills the engine after some messages.
func away(t *testing.T, in *Ingester) (*ingestFeed, *runningIngester, *engine.Node, *nats.Conn) {
	cluster, err := engine.Start(1, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S"})
	feed := newIngestFeed(t)
	in.Conn, in.Stream, in.Number, in.Clients = nc, "S", feedNumber, []*redial.Client{feed.client("")}
	r := startIngester(t, in)
	feed.await(t, 1)
	feed.to(1000)
	eventually(t, "it is appended", func() bool { return in.Counts().Appended == 1000 })
	cluster.Nodes[0].Kill()
	return feed, r, cluster.Nodes[0], nc
}

// The engine is away for 10 s. What comes meanwhile waits in memory and in files.
func TestIngestEngineAway(t *testing.T) {
	t.Parallel()
	const total = 100_000
	dir := t.TempDir()
	leftOver := filepath.Join(dir, "relay-S-000007.spool")
	if err := os.WriteFile(leftOver, []byte("of another Run"), 0o600); err != nil {
		t.Fatal(err)
	}
	feed, in, node, nc := away(t, &Ingester{SpoolBytes: 1 << 20, SpoolDir: dir})
	if _, err := os.Stat(leftOver); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was left over: %v", err)
	}
	feed.run(context.Background(), total, 10_000) // takes 10 s
	eventually(t, "everything is received", func() bool { return in.Counts().Received == total })
	c := in.Counts()
	t.Logf("away: %+v", c)
	if c.SpoolRecords < total-2000 || c.SpoolDiskBytes == 0 || c.SpoolBytes > 2<<20 {
		t.Errorf("counts: %+v", c)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everything is appended", func() bool { return in.Counts().SpoolRecords == 0 })
	in.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, total)
	if !in.saw(func(s IngestState) bool { return errors.Is(s.Engine, ErrNoLeader) }) {
		t.Error("OnState was not told that the engine is away")
	}
	entries, err := os.ReadDir(dir)
	if len(entries) > 0 || err != nil {
		t.Errorf("files: %v, %v", entries, err)
	}
}

// Run says how many records it leaves.
func TestIngestLeaves(t *testing.T) {
	t.Parallel()
	feed, in, _, _ := away(t, &Ingester{ShutdownTimeout: 100 * time.Millisecond})
	feed.to(1234)
	eventually(t, "everything is received", func() bool { return in.Counts().Received == 1234 })
	err := in.stop()
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "234 records are not in the stream") {
		t.Error(err)
	}
}

// The engine is away when Run begins, and messages without a number go to Other.
func TestIngestBegins(t *testing.T) {
	t.Parallel()
	cluster, err := engine.Start(1, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	nc := connectTo(t, cluster.Servers())
	makeStream(t, nc, StreamConfig{Name: "S"})
	cluster.Nodes[0].Kill()
	feed := newIngestFeed(t)
	var others atomic.Int64
	in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Clients: []*redial.Client{feed.client("")},
		Number: func(data []byte) (from, to uint64, ok bool) {
			from, to, ok = feedNumber(data)
			return from, to, ok && from%10 != 0
		},
		Other: func(_ context.Context, line int, m redial.Message) error {
			others.Add(1)
			return nil
		}})
	feed.await(t, 1)
	feed.to(9)
	eventually(t, "it is received", func() bool { return in.Counts().Received == 9 })
	feed.to(10)
	eventually(t, "Other is called", func() bool { return others.Load() == 1 })
	if err := cluster.Nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is appended", func() bool { return in.Counts().Number == 9 })
	in.stop()
	records, _ := readStream(t, nc, "S")
	checkFeed(t, records, 1, 9)
}

// A spool that is full drops messages, and a gap tells which.
func TestIngestSpoolOverflows(t *testing.T) {
	t.Parallel()
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk=%t", disk), func(t *testing.T) {
			const total = 20_000
			in := &Ingester{SpoolBytes: 300 << 10, BatchBytes: 8 << 10}
			if disk {
				in.SpoolBytes, in.SpoolDir, in.SpoolDiskBytes = 100<<10, t.TempDir(), 200<<10
			}
			feed, r, node, nc := away(t, in)
			feed.to(total)
			eventually(t, "everything is received", func() bool { return in.Counts().Received == total })
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the spool is appended", func() bool { return in.Counts().SpoolRecords < 50 })
			feed.to(total + 100)
			eventually(t, "it goes on", func() bool { return in.Counts().Number == total+100 })
			r.stop()
			records, _ := readStream(t, nc, "S")
			c := in.Counts()
			kept := total - c.Dropped
			want := fmt.Sprintf("1-%d overflowed(%d-%d) %d-%d", kept, kept+1, total, total+1, total+100)
			if got := describeRecords(records); got != want || c.Dropped < total/10 {
				t.Errorf("got %s\nwant %s\n%+v", got, want, c)
			}
			if !r.saw(func(s IngestState) bool { return s.SpoolFull }) {
				t.Error("OnState was not told that the spool is full")
			}
		})
	}
}

// A stream that is full is told, and waited for.
func TestIngestStreamFull(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{ErrStreamFull, ErrNoSpace} {
		t.Run(kind.Error(), func(t *testing.T) {
			config := jetstream.StreamConfig{
				Name: "S", Subjects: []string{"relay.S"}, Discard: jetstream.DiscardNew, AllowDirect: true, MaxBytes: 200 << 10,
				RePublish: &jetstream.RePublish{Source: "relay.S", Destination: "relay-live.S"},
			}
			nc := oneNode(t, func(o *engine.Options) {
				if kind == ErrNoSpace {
					o.MaxStore, config.MaxBytes = 200<<10, -1
				}
			})
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.CreateStream(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			feed := newIngestFeed(t)
			in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, BatchCount: 100,
				Clients: []*redial.Client{feed.client("")}})
			feed.await(t, 1)
			const total = 4000
			feed.run(t.Context(), total, 10_000)
			full := func(s IngestState) bool { return errors.Is(s.Engine, kind) }
			eventually(t, "OnState is told", func() bool { return in.saw(full) })
			kept, _ := readStream(t, nc, "S")
			if err := stream.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "there is room", func() bool { return in.Counts().Number == total })
			in.stop()
			rest, _ := readStream(t, nc, "S")
			checkFeed(t, append(kept, rest...), 1, total)
		})
	}
}

// A message that the engine does not take becomes a gap.
func TestIngestTooLong(t *testing.T) {
	t.Parallel()
	nc := oneNode(t, nil)
	makeStream(t, nc, StreamConfig{Name: "S"})
	feed := newIngestFeed(t)
	feed.size = func(n uint64) int {
		switch n {
		case 5:
			return 2 << 20
		case 7:
			return 1 << 19 // a batch of its own
		}
		return 100
	}
	in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, Clients: []*redial.Client{feed.client("")}})
	feed.await(t, 1)
	feed.to(10)
	eventually(t, "everything is there", func() bool { return in.Counts().Number == 10 })
	in.stop()
	records, _ := readStream(t, nc, "S")
	if got, want := describeRecords(records), "1-4 too long(5-5) 6-10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c := in.Counts(); c.TooLong != 1 || c.Gaps != 1 || c.Appended != 10 {
		t.Errorf("counts: %+v", c)
	}
}

// Errors of the engine that end Run.
func TestIngestEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		want error
		user engine.User
		then func(t *testing.T, nc *nats.Conn, js jetstream.JetStream)
	}{
		{name: "deleted", want: ErrStreamNotFound, then: func(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), "S"); err != nil {
				t.Error(err)
			}
		}},
		{name: "made anew", want: ErrIncarnation, then: func(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), "S"); err != nil {
				t.Error(err)
			}
			makeStream(t, nc, StreamConfig{Name: "S"})
		}},
		{name: "foreign message", want: ErrStreamConfig, then: func(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
			if _, err := js.Publish(t.Context(), "relay.S", []byte("no batch")); err != nil {
				t.Error(err)
			}
		}},
		{name: "only shorter messages", want: ErrStreamConfig, then: func(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
			stream, err := js.Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			config.MaxMsgSize = 64
			if _, err := js.UpdateStream(t.Context(), config); err != nil {
				t.Error(err)
			}
		}},
		{name: "closed", want: nats.ErrConnectionClosed, then: func(t *testing.T, nc *nats.Conn, js jetstream.JetStream) {}},
		{name: "no permission", want: ErrPermission, user: engine.User{Publish: []string{"$JS.API.>", "_INBOX.>"}}},
		{name: "no permission to ask", want: ErrPermission, user: engine.User{Publish: []string{"relay.S", "_INBOX.>"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.user.Name, test.user.Password = "ingester", "secret"
			var server string
			admin := oneNode(t, func(o *engine.Options) {
				o.Users = []engine.User{{Name: "admin", Password: "secret"}, test.user}
			})
			server = admin.ConnectedUrl()
			js, err := jetstream.New(admin)
			if err != nil {
				t.Fatal(err)
			}
			makeStream(t, admin, StreamConfig{Name: "S"})
			nc := connectTo(t, server, nats.UserInfo("ingester", "secret"))
			feed := newIngestFeed(t)
			in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Number: feedNumber, Clients: []*redial.Client{feed.client("")}})
			feed.await(t, 1)
			feed.to(10)
			if test.then != nil {
				eventually(t, "it appends", func() bool { return in.Counts().Number == 10 })
				if test.want == nats.ErrConnectionClosed {
					nc.Close()
				}
				test.then(t, admin, js)
				feed.to(20)
			}
			if err := in.wait(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			} else {
				t.Log(err)
			}
		})
	}
}

// An Ingester that cannot run.
func TestIngesterMisuse(t *testing.T) {
	nc := oneNode(t, nil)
	client := &redial.Client{URL: "ws://127.0.0.1:1/"}
	buffered, err := nats.Connect(nc.ConnectedUrl())
	if err != nil {
		t.Fatal(err)
	}
	defer buffered.Close()
	tests := []struct {
		name string
		in   *Ingester
		want error
	}{
		{"nothing", &Ingester{}, ErrIngester},
		{"no clients", &Ingester{Conn: nc, Stream: "S"}, ErrIngester},
		{"two clients without numbers", &Ingester{Conn: nc, Stream: "S", Clients: []*redial.Client{client, client}}, ErrIngester},
		{"reconnect buffer", &Ingester{Conn: buffered, Stream: "S", Clients: []*redial.Client{client}}, ErrReconnectBuffer},
		{"no stream", &Ingester{Conn: nc, Stream: "S", Clients: []*redial.Client{client}}, ErrStreamNotFound},
	}
	for _, test := range tests {
		if err := test.in.Run(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	makeStream(t, nc, StreamConfig{Name: "S"})
	in := startIngester(t, &Ingester{Conn: nc, Stream: "S", Clients: []*redial.Client{client}})
	eventually(t, "it runs", in.running.Load)
	if err := in.Run(t.Context()); !errors.Is(err, ErrIngesterRunning) {
		t.Errorf("a second Run: %v", err)
	}
}
