package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// benchMessages is how many messages each way of publishing gets, for some seconds on a
// machine with two processors, by replicas.
var benchMessages = map[int]map[string]uint64{
	1: {"sync": 300_000, "async": 1_000_000, "ingest": 3_000_000},
	3: {"sync": 15_000, "async": 400_000, "ingest": 2_000_000},
}

// The gateway's comparison.
const (
	benchClients = 1000
	benchRate    = 1000.0
	benchSeconds = 6.0
)

// runBench compares, within one run. Every part is a process of its own, and CPU time is
// that of the whole process, its start included.
func runBench(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("bench")
	scale := flags.Float64("scale", 1, "how many messages, as a part of the default")
	clients := flags.Int("clients", benchClients, "clients of the gateway")
	rounds := flags.Int("rounds", 3, "rounds; the median counts")
	replicas := flags.String("replicas", "1,3", "which replicas: 1, 3 or both; empty leaves the ingester out")
	gateway := flags.Bool("gateway", true, "compare the gateway too")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	switch {
	case !(*scale > 0 && *scale <= 100):
		return cli.BadUsage("-scale must be above 0 and at most 100, not %v", *scale)
	case *clients < 1 || *rounds < 1:
		return cli.BadUsage("-clients and -rounds must be positive")
	}
	b := &bench{std: std, scale: *scale, clients: *clients, events: &recent{}}
	err := b.run(ctx, *replicas, *rounds, *gateway)
	if err != nil && ctx.Err() == nil {
		b.events.writeTo(std.err)
	}
	return err
}

// A bench is one run.
type bench struct {
	std     *streams
	scale   float64
	clients int
	events  *recent
}

func (b *bench) run(ctx context.Context, replicas string, rounds int, gateway bool) error {
	for each := range strings.SplitSeq(replicas, ",") {
		if each == "" {
			continue
		}
		n, err := strconv.Atoi(each)
		if err != nil || benchMessages[n] == nil {
			return cli.BadUsage("-replicas must be 1 or 3, not %q", each)
		}
		results, err := b.rounds(ctx, rounds, []string{"sync", "async", "ingest"}, func(way string) (float64, error) {
			return b.publish(ctx, way, n)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(b.std.out, "ingest, %d replica(s), flat out: CPU of publisher and engine a message\n", n)
		for _, way := range []string{"sync", "async", "ingest"} {
			fmt.Fprintf(b.std.out, "  %-34s %9s  %6.1f×\n", benchNames[way], costs(results[way]), results[way]/results["ingest"])
		}
	}
	if !gateway {
		return nil
	}
	results, err := b.rounds(ctx, rounds, []string{"group", "gateway"}, func(way string) (float64, error) { return b.fanOut(ctx, way) })
	if err != nil {
		return err
	}
	fmt.Fprintf(b.std.out, "gateway, %d clients, %.0f messages/s, one at a time: CPU a delivered message\n", b.clients, benchRate)
	for _, way := range []string{"group", "gateway"} {
		fmt.Fprintf(b.std.out, "  %-34s %9s  %6.2f×\n", benchNames[way], costs(results[way]), results[way]/results["group"])
	}
	return nil
}

var benchNames = map[string]string{
	"sync":    "Publish, one message each",
	"async":   "PublishMsgAsync, one message each",
	"ingest":  "relay ingest",
	"group":   "conn.Group alone",
	"gateway": "relay gateway",
}

// rounds measures each way in turn, several times, and returns the medians in
// nanoseconds.
func (b *bench) rounds(ctx context.Context, n int, ways []string, measure func(way string) (float64, error)) (map[string]float64, error) {
	all := map[string][]float64{}
	for round := range n {
		for _, way := range ways {
			used, err := measure(way)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", benchNames[way], err)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			all[way] = append(all[way], used)
			fmt.Fprintf(b.std.err, "round %d, %s: %s\n", round+1, benchNames[way], costs(used))
		}
	}
	medians := map[string]float64{}
	for way, used := range all {
		medians[way] = median(used)
	}
	return medians, nil
}

// A benchWorld is the processes of one measurement.
type benchWorld struct {
	b        *bench
	dir      string
	nodes    *engine.Cluster
	children []*child
}

func (b *bench) world(replicas int) (*benchWorld, error) {
	w := &benchWorld{b: b}
	var err error
	if w.dir, err = os.MkdirTemp("", "relay-bench-"); err != nil {
		return nil, err
	}
	if w.nodes, err = engine.Start(replicas, w.dir, nil); err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// stream makes the stream.
func (w *benchWorld) stream(ctx context.Context, replicas int) error {
	nc, err := relay.Connect(w.nodes.Servers())
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = relay.CreateStream(ctx, nc, relay.StreamConfig{Name: "bench", Replicas: replicas})
	return err
}

// start starts a command that prints a line with a prefix, and returns the rest of it.
func (w *benchWorld) start(command string, args ...string) (*child, *told[string], map[string]*told[string]) {
	lines := map[string]*told[string]{urlLine: newTold[string](), "published": newTold[string](), "sent ": newTold[string]()}
	ended := newTold[string]()
	c := &child{name: command, args: args, stderr: w.b.events, hear: func(line string) {
		for prefix, told := range lines {
			if text, ok := strings.CutPrefix(line, prefix); ok {
				told.tell(text)
			}
		}
		if strings.Contains(line, `"counts":`) {
			ended.tell(line)
		}
	}}
	w.children = append(w.children, c)
	return c, ended, lines
}

func (w *benchWorld) end() {
	for _, c := range w.children {
		c.kill()
	}
	if w.nodes != nil {
		w.nodes.Stop()
	}
	os.RemoveAll(w.dir)
}

// engineCPU is that of the nodes, which have ended.
func (w *benchWorld) engineCPU() (used time.Duration) {
	for _, n := range w.nodes.Nodes {
		used += n.CPU()
	}
	return used
}

// publish measures one way to bring a feed into a stream: in nanoseconds a message.
func (b *bench) publish(ctx context.Context, way string, replicas int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	messages := max(1, uint64(float64(benchMessages[replicas][way])*b.scale))
	w, err := b.world(replicas)
	if err != nil {
		return 0, err
	}
	defer w.end()
	if err := w.stream(ctx, replicas); err != nil {
		return 0, err
	}
	feed, _, lines := w.start("exchange", "-flat", "-messages", fmt.Sprint(messages))
	if err := feed.start("exchange"); err != nil {
		return 0, err
	}
	url, err := lines[urlLine].await(ctx, "the exchange does not listen")
	if err != nil {
		return 0, err
	}
	if err := feed.say("begin"); err != nil {
		return 0, err
	}
	args := []string{"-nats", w.nodes.Servers(), "-stream", "bench", "-url", url}
	var publisher *child
	if way == "ingest" {
		publisher, err = b.ingest(ctx, w, messages, args)
	} else {
		publisher, _, lines = w.start("publish", append(args, "-messages", fmt.Sprint(messages), fmt.Sprintf("-sync=%v", way == "sync"))...)
		if err = publisher.start("publish"); err == nil {
			select {
			case <-lines["published"].ready:
			case <-publisher.heard:
				err = errors.New("it ended early")
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if err != nil {
		return 0, err
	}
	publisher.stop()
	w.nodes.Stop()
	return float64(publisher.used+w.engineCPU()) / float64(messages), nil
}

// ingest has an ingester append all messages.
func (b *bench) ingest(ctx context.Context, w *benchWorld, messages uint64, args []string) (*child, error) {
	nc, err := relay.Connect(w.nodes.Servers())
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	// The last batch tells when the stream has everything.
	info, err := relay.LookupStream(ctx, nc, "bench")
	if err != nil {
		return nil, err
	}
	live, err := nc.SubscribeSync(info.Live)
	if err != nil {
		return nil, err
	}
	live.SetPendingLimits(-1, -1)
	in, counts, _ := w.start("ingest", append(args, "-number", "n", "-json", "-spool", fmt.Sprint(2<<30))...)
	if err := in.start("ingest"); err != nil {
		return nil, err
	}
	for last := uint64(0); last < messages; {
		m, err := live.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d messages are in the stream: %w", last, messages, err)
		}
		batch, err := relay.ParseBatch(m.Data)
		if err != nil {
			return nil, err
		}
		last = batch.Last
	}
	in.stop()
	line, err := counts.await(ctx, "the ingester does not tell its counts")
	if err != nil {
		return nil, err
	}
	var e ingestEvent
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return nil, err
	}
	if e.Counts.Appended != messages || e.Counts.Gaps > 0 {
		return nil, fmt.Errorf("%d of %d messages appended, %d gaps", e.Counts.Appended, messages, e.Counts.Gaps)
	}
	return in, nil
}

// fanOut measures one way to bring a feed to many clients: in nanoseconds of the server a
// delivered message.
func (b *bench) fanOut(ctx context.Context, way string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	messages := max(1, uint64(benchRate*benchSeconds*b.scale))
	w, err := b.world(1)
	if err != nil {
		return 0, err
	}
	defer w.end()
	feed, _, lines := w.start("exchange", "-rate", fmt.Sprint(benchRate), "-messages", fmt.Sprint(messages))
	if err := feed.start("exchange"); err != nil {
		return 0, err
	}
	url, err := lines[urlLine].await(ctx, "the exchange does not listen")
	if err != nil {
		return 0, err
	}
	server, receive := feed, receivePlain
	if way == "gateway" {
		if err := w.stream(ctx, 1); err != nil {
			return 0, err
		}
		in, _, _ := w.start("ingest", "-nats", w.nodes.Servers(), "-stream", "bench", "-url", url, "-number", "n", "-json")
		if err := in.start("ingest"); err != nil {
			return 0, err
		}
		server, _, lines = w.start("gateway", "-nats", w.nodes.Servers(), "-stream", "bench", "-listen", "127.0.0.1:0")
		if err := server.start("gateway"); err != nil {
			return 0, err
		}
		if url, err = lines[urlLine].await(ctx, "the gateway does not listen"); err != nil {
			return 0, err
		}
		receive = receiveStream
	}
	var clients sync.WaitGroup
	var ready, delivered atomic.Int64
	failed := make(chan error, b.clients)
	for range b.clients {
		clients.Go(func() {
			n, err := receive(ctx, url, messages, func() { ready.Add(1) })
			delivered.Add(int64(n))
			if err != nil {
				failed <- err
				cancel()
			}
		})
	}
	for ready.Load() < int64(b.clients) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if err := feed.say("begin"); err != nil {
		return 0, err
	}
	clients.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	if want := int64(messages) * int64(b.clients); delivered.Load() != want {
		return 0, fmt.Errorf("%d of %d messages were delivered", delivered.Load(), want)
	}
	server.stop()
	return float64(server.used) / float64(delivered.Load()), nil
}

// errAll ends a client that has everything.
var errAll = errors.New("everything has come")

// receivePlain reads messages of a feed.
func receivePlain(ctx context.Context, url string, messages uint64, ready func()) (n uint64, err error) {
	c, err := conn.Dial(ctx, url)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	ready()
	for ; n < messages; n++ {
		if _, err := c.ReadMessage(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// receiveStream reads messages of a stream.
func receiveStream(ctx context.Context, url string, messages uint64, ready func()) (n uint64, err error) {
	var once sync.Once
	c := &relay.Client{
		Redial: &redial.Client{URL: url, OnChange: func(ch redial.Change) {
			if ch.State == redial.Up {
				once.Do(ready)
			}
		}},
		Stream: "bench", Start: relay.FromOldest,
	}
	err = c.Run(ctx, func(context.Context, relay.Message) error {
		if n++; n == messages {
			return errAll
		}
		return nil
	})
	if errors.Is(err, errAll) {
		err = nil
	}
	return n, err
}
