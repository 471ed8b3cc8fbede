package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// demoOptions are the flags of relay demo.
type demoOptions struct {
	duration  time.Duration
	messages  uint64
	rate      float64
	clients   int
	cluster   bool
	kills     bool
	keep      bool
	json      bool
	verbose   bool
	engine    *engineFlags
	batchTime time.Duration
}

// The parts of a demo that there are two of.
const twins = 2

// runDemo runs all parts, kills some, and reports.
func runDemo(ctx context.Context, std *streams, args []string) error {
	var o demoOptions
	flags := cli.NewFlags("demo")
	o.engine = addEngineFlags(flags, "", "; without it the demo runs its own, in a temporary folder")
	flags.DurationVar(&o.duration, "duration", 0, "how long the feed lasts (default 20s; 40s with -cluster)")
	flags.Uint64Var(&o.messages, "messages", 0, "how many messages the feed has, instead of -duration")
	flags.Float64Var(&o.rate, "rate", 2000, "messages per second")
	flags.IntVar(&o.clients, "clients", 50, "clients, over two gateways")
	flags.BoolVar(&o.cluster, "cluster", false, "three engine nodes and three replicas, and kill the leader too; with -nats only the replicas")
	flags.BoolVar(&o.kills, "kills", true, "kill a gateway and the active ingester half-way")
	flags.DurationVar(&o.batchTime, "batch-time", 0, "the longest that a message waits for others (default 1ms; 3ms with -cluster)")
	flags.BoolVar(&o.keep, "keep", false, "keep the stream, and print where it is")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	flags.BoolVar(&o.verbose, "v", false, "print what the parts print, on standard error")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	d := &demo{options: o, display: cli.NewDisplay(std.err), events: &recent{}}
	r, err := d.run(ctx)
	d.display.End()
	if err != nil {
		if !o.verbose && ctx.Err() == nil {
			d.events.writeTo(std.err)
		}
		return err
	}
	if err := r.print(std.out, o.json); err != nil {
		return err
	}
	return r.failed()
}

func (o *demoOptions) check() error {
	if o.messages > 0 && o.duration > 0 {
		return cli.BadUsage("-messages and -duration exclude each other")
	}
	if o.duration == 0 {
		o.duration = 20 * time.Second
		if o.cluster {
			o.duration = 40 * time.Second
		}
	}
	switch {
	case o.duration < 0:
		return cli.BadUsage("-duration must be positive, not %v", o.duration)
	case !(o.rate > 0 && o.rate <= maxRate):
		return cli.BadUsage("-rate must be above 0 and at most %.0f, not %v", float64(maxRate), o.rate)
	case o.clients < 1 || o.clients > 10_000:
		return cli.BadUsage("-clients must be between 1 and 10000, not %d", o.clients)
	}
	if o.messages == 0 {
		o.messages = max(1, uint64(o.duration.Seconds()*o.rate))
	}
	o.duration = time.Duration(float64(o.messages) / o.rate * 1e9)
	return nil
}

// A demo is one run.
type demo struct {
	options demoOptions
	display *cli.Display
	events  *recent // what the parts have printed last

	stream     string
	dir        string
	nodes      *engine.Cluster // nil with -nats
	nc         *nats.Conn
	exchange   *child
	ingesters  [twins]*ingesterChild
	gateways   [twins]*child
	gatewayURL [twins]*told[string]
	consumers  []*consumer
	phase      atomic.Int32 // how many kills there were
	warm       atomic.Int64 // when latency is measured from, in nanoseconds since 1970
	kills      []kill
	sent       *told[uint64]

	noting sync.Mutex
}

// A kill is one part that is ended with kill -9.
type kill struct {
	name string // of the part
	at   time.Duration
	do   func() (name string, again func() error, err error)
}

// An ingesterChild is an ingester, and what it says of itself.
type ingesterChild struct {
	child
	active    atomic.Bool
	connected *told[struct{}]
}

// run runs the demo. Ctrl-C ends the feed early, and the report is on what came.
func (d *demo) run(ctx context.Context) (*report, error) {
	defer d.cleanUp()
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	receive, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var receiving sync.WaitGroup
	failed := make(chan error, len(d.consumers))
	cpu := processCPU()
	for _, c := range d.consumers {
		receiving.Go(func() {
			if err := c.run(receive); err != nil {
				failed <- err
			}
		})
	}
	r, err := d.feed(ctx, failed)
	stop()
	receiving.Wait()
	if err != nil {
		return nil, err
	}
	r.CPU.Clients = perMessage(processCPU()-cpu, r.Delivered)
	d.stopParts()
	d.measure(r)
	return r, nil
}

// start starts the engine and all parts.
func (d *demo) start(ctx context.Context) error {
	d.note("starting")
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	if err := d.startEngine(ctx); err != nil {
		return err
	}
	d.sent = newTold[uint64]()
	url := newTold[string]()
	d.exchange = d.newChild("exchange", []string{"-rate", fmt.Sprint(d.options.rate), "-messages", fmt.Sprint(d.options.messages)}, func(line string) {
		if text, ok := strings.CutPrefix(line, urlLine); ok {
			url.tell(text)
		} else if text, ok := strings.CutPrefix(line, "sent "); ok {
			n, _ := strconv.ParseUint(text, 10, 64)
			d.sent.tell(n)
		}
	})
	if err := d.exchange.start("exchange"); err != nil {
		return err
	}
	feed, err := url.await(ctx, "the exchange does not listen")
	if err != nil {
		return err
	}
	for i := range twins {
		if err := d.startIngester(i, feed); err != nil {
			return err
		}
		if err := d.startGateway(i, "127.0.0.1:0"); err != nil {
			return err
		}
	}
	for i, in := range d.ingesters {
		if _, err := in.connected.await(ctx, fmt.Sprintf("ingester %d is not connected to the exchange", i+1)); err != nil {
			return err
		}
	}
	var urls []string
	for i, told := range d.gatewayURL {
		url, err := told.await(ctx, fmt.Sprintf("gateway %d does not listen", i+1))
		if err != nil {
			return err
		}
		urls = append(urls, url)
	}
	d.planKills()
	for i := range d.options.clients {
		mine := []string{urls[i%twins], urls[(i+1)%twins]}
		d.consumers = append(d.consumers, newConsumer(d.stream, mine, d))
	}
	return nil
}

func (d *demo) startEngine(ctx context.Context) error {
	o := d.options
	replicas, nodes := 1, 1
	if o.cluster {
		replicas, nodes = 3, 3
	}
	d.stream = "demo"
	if *o.engine.servers == "" {
		var err error
		if d.dir, err = os.MkdirTemp("", "relay-demo-"); err != nil {
			return err
		}
		if d.nodes, err = engine.Start(nodes, d.dir, nil); err != nil {
			return err
		}
		*d.options.engine.servers = d.nodes.Servers()
	} else {
		id := make([]byte, 4)
		rand.Read(id)
		d.stream = "demo-" + hex.EncodeToString(id)
	}
	var err error
	if d.nc, err = o.engine.connect(); err != nil {
		return err
	}
	_, err = relay.CreateStream(ctx, d.nc, relay.StreamConfig{Name: d.stream, Replicas: replicas})
	return err
}

func (d *demo) newChild(name string, args []string, hear func(string)) *child {
	c := &child{name: name, args: args, hear: hear, stderr: d.events}
	if d.options.verbose {
		c.stderr = d.display
	}
	return c
}

func (d *demo) startIngester(i int, feed string) error {
	args, environment := d.options.engine.args()
	args = append(args, "-json", "-stream", d.stream, "-url", feed, "-number", "n", "-batch-time", d.options.batchTime.String())
	in := &ingesterChild{connected: newTold[struct{}]()}
	in.child = *d.newChild(fmt.Sprintf("ingester %d", i+1), args, func(line string) {
		var e ingestEvent
		if json.Unmarshal([]byte(line), &e) != nil {
			return
		}
		if e.State != nil {
			in.active.Store(e.State.Active)
		}
		if e.Connected != "" {
			in.connected.tell(struct{}{})
		}
	})
	in.environment = environment
	d.ingesters[i] = in
	return in.start("ingest")
}

func (d *demo) startGateway(i int, listen string) error {
	args, environment := d.options.engine.args()
	d.gatewayURL[i] = newTold[string]()
	d.gateways[i] = d.newChild(fmt.Sprintf("gateway %d", i+1), append(args, "-stream", d.stream, "-listen", listen), func(line string) {
		if text, ok := strings.CutPrefix(line, urlLine); ok {
			d.gatewayURL[i].tell(text)
		}
	})
	d.gateways[i].environment = environment
	return d.gateways[i].start("gateway")
}

// planKills says what is killed when.
func (d *demo) planKills() {
	if !d.options.kills {
		return
	}
	d.kills = append(d.kills, kill{name: "gateway", do: d.killGateway}, kill{name: "ingester", do: d.killIngester})
	if d.nodes != nil && d.options.cluster {
		d.kills = append(d.kills, kill{name: "leader", do: d.killLeader})
	}
	for i := range d.kills {
		d.kills[i].at = d.options.duration * time.Duration(i+1) / time.Duration(len(d.kills)+1)
	}
}

func (d *demo) killGateway() (string, func() error, error) {
	g := d.gateways[0]
	g.kill()
	return g.name, func() error {
		g.args[len(g.args)-1] = strings.TrimSuffix(strings.TrimPrefix(d.gatewayURL[0].value, "ws://"), "/")
		return g.start("gateway")
	}, nil
}

func (d *demo) killIngester() (string, func() error, error) {
	in := d.ingesters[0]
	if d.ingesters[1].active.Load() {
		in = d.ingesters[1]
	}
	name := in.name
	if in.active.Load() {
		name += ", active"
	}
	in.kill()
	in.active.Store(false)
	return name, func() error { return in.start("ingest") }, nil
}

func (d *demo) killLeader() (string, func() error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	info, err := relay.LookupStream(ctx, d.nc, d.stream)
	if err != nil {
		return "", nil, err
	}
	node := d.nodes.Node(info.Leader)
	if node == nil {
		return "", nil, fmt.Errorf("the stream's leader %q is no node of the demo", info.Leader)
	}
	node.Kill()
	return "leader " + node.Name, node.Start, nil
}

// feed has the exchange send the feed, kills parts meanwhile, and waits until all clients
// have everything.
func (d *demo) feed(ctx context.Context, failed <-chan error) (*report, error) {
	up, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	for i, c := range d.consumers {
		if _, err := c.up.await(up, fmt.Sprintf("client %d has no session", i+1)); err != nil {
			select {
			case err = <-failed:
			default:
			}
			return nil, err
		}
	}
	begin := time.Now()
	d.warm.Store(begin.Add(warmUp).UnixNano())
	if err := d.exchange.say("begin"); err != nil {
		return nil, err
	}
	r := &report{Clients: d.options.clients, Rate: d.options.rate, Replicas: 1}
	if d.options.cluster {
		r.Replicas = 3
	}
	errs := make(chan error, 1+len(d.kills))
	var killing sync.WaitGroup
	killCtx, stopKills := context.WithCancel(ctx)
	defer stopKills()
	killing.Go(func() { errs <- d.killAll(killCtx, begin) })
	err := d.watch(ctx, begin, r, failed)
	stopKills()
	killing.Wait()
	if killErr := <-errs; err == nil && ctx.Err() == nil {
		err = killErr
	}
	return r, err
}

// killAll kills what is planned, and starts it again.
func (d *demo) killAll(ctx context.Context, begin time.Time) error {
	pause := min(2*time.Second, d.options.duration/8)
	for i := range d.kills {
		k := &d.kills[i]
		if !sleep(ctx, time.Until(begin.Add(k.at))) {
			return nil
		}
		d.phase.Store(int32(i + 1))
		k.at = time.Since(begin)
		name, again, err := k.do()
		if err != nil {
			return fmt.Errorf("kill the %s: %w", k.name, err)
		}
		k.name = name
		d.note("killed " + name)
		sleep(ctx, pause)
		if err := again(); err != nil {
			return fmt.Errorf("start the %s again: %w", name, err)
		}
	}
	return nil
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// warmUp is how long latency is not measured: an ingester takes over at the begin, and
// waits for Patience before.
const warmUp = 500 * time.Millisecond

// drainTime is how long nothing may come, after the feed, before the demo gives up. An
// engine without a leader is silent for up to 9 s.
const drainTime = 30 * time.Second

// watch shows the progress until all clients have the whole feed.
func (d *demo) watch(ctx context.Context, begin time.Time, r *report, failed <-chan error) error {
	every := 5 * time.Second
	if d.display.Terminal() {
		every = time.Second
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	interrupted, sent := ctx.Done(), d.sent.ready
	shown, moved := begin, begin
	var before uint64
	for {
		select {
		case err := <-failed:
			return err
		case <-interrupted:
			interrupted, r.Interrupted = nil, true
			if err := d.exchange.say("stop"); err != nil {
				return err
			}
		case <-sent:
			sent, r.Messages, r.Seconds, moved = nil, d.sent.value, time.Since(begin).Seconds(), time.Now()
		case <-d.exchange.heard:
			if sent != nil {
				return errors.New("the exchange has ended")
			}
		case <-tick.C:
		}
		r.count(d.consumers)
		now := time.Now()
		if r.Delivered != before {
			before, moved = r.Delivered, now
		}
		if sent == nil && (d.complete(r.Messages) || now.Sub(moved) > drainTime) {
			r.end(d.consumers, now.Sub(begin))
			return nil
		}
		if now.Sub(shown) >= every {
			shown = now
			d.note(r.line(now.Sub(begin)))
		}
	}
}

// complete reports whether all clients have the last message.
func (d *demo) complete(messages uint64) bool {
	for _, c := range d.consumers {
		if c.last.Load() < messages {
			return false
		}
	}
	return true
}

func (d *demo) note(line string) {
	d.noting.Lock()
	defer d.noting.Unlock()
	if d.display.Terminal() && strings.HasPrefix(line, "killed") {
		fmt.Fprintln(d.display, line)
		return
	}
	d.display.Show(line)
}

// measure adds to a report what is known when all parts have ended.
func (d *demo) measure(r *report) {
	r.CPU.Exchange = perMessage(d.exchange.used, r.Messages)
	r.CPU.Ingesters = perMessage(d.ingesters[0].used+d.ingesters[1].used, r.Messages)
	r.CPU.Gateways = perMessage(d.gateways[0].used+d.gateways[1].used, r.Delivered)
	if d.nodes != nil {
		var used time.Duration
		for _, n := range d.nodes.Nodes {
			used += n.CPU()
		}
		r.CPU.Engine = perMessage(used, r.Messages)
	}
	for i, k := range d.kills {
		if int(d.phase.Load()) <= i {
			break
		}
		killed := killReport{Name: k.name, At: k.at.Seconds()}
		for _, c := range d.consumers {
			killed.Silence = max(killed.Silence, c.silence[i+1].Seconds())
		}
		r.Kills = append(r.Kills, killed)
	}
	if d.options.keep {
		r.Kept = "stream " + d.stream
		if d.dir != "" {
			r.Kept += " in " + filepath.Clean(d.dir)
		}
	}
}

// stopParts ends all parts in order, gateways first: they say goodbye.
func (d *demo) stopParts() {
	for _, g := range d.gateways {
		if g != nil {
			g.stop()
		}
	}
	for _, in := range d.ingesters {
		if in != nil {
			in.stop()
		}
	}
	if d.exchange != nil {
		d.exchange.stop()
	}
	if d.nodes != nil {
		d.nodes.Stop()
	}
}

// cleanUp ends what still runs, and removes what the demo made.
func (d *demo) cleanUp() {
	if d.nc != nil && d.nodes == nil && !d.options.keep {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if js, err := jetstream.New(d.nc); err == nil {
			if err := js.DeleteStream(ctx, d.stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				fmt.Fprintf(d.display, "the stream %s is left: %s\n", d.stream, cli.OneLine(err))
			}
		}
	}
	d.stopParts()
	if d.nc != nil {
		d.nc.Close()
	}
	if d.dir != "" && !d.options.keep {
		os.RemoveAll(d.dir)
	}
}
