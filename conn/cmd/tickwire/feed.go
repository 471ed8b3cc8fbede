package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
)

// The rate of the fixed-rate phase is that of a busy consumer. It is far from the limit
// of a processor that also runs the exchange with compression. So latency is not
// queueing.
const (
	defaultRate = 200_000
	deflateRate = 10_000
)

// feedOptions are the flags of tickwire feed.
type feedOptions struct {
	duration  time.Duration
	rate      float64
	conns     int
	secure    bool
	records   string
	open      bool
	deflate   bool
	url       string
	send      string
	way       *wayFlags
	reconnect bool
	policy    policyFlag
	json      bool
	profile   string
}

func (o *feedOptions) register(f *flag.FlagSet) {
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long, both phases together")
	f.Float64Var(&o.rate, "rate", 0, "only the fixed-rate phase, at this many messages/s over all connections (default: both phases, "+
		cli.Quantity(defaultRate)+" in the second, "+cli.Quantity(deflateRate)+" with -deflate)")
	f.IntVar(&o.conns, "conns", 1, "connections, each with a feed of its own")
	f.BoolVar(&o.secure, "tls", false, "over TLS, with a self-made certificate that is verified against its own root")
	f.StringVar(&o.records, "records", "", recordsUsage)
	f.BoolVar(&o.open, "open-records", false, "with -tls or a wss:// -url: open the records of TLS 1.3 in the engine (conn.Dialer.OpenRecords)")
	f.BoolVar(&o.deflate, "deflate", false, "with permessage-deflate, RFC 7692; what is measured is then mostly inflating")
	f.StringVar(&o.url, "url", "", "consume this ws:// or wss:// server instead, without the checks")
	f.StringVar(&o.send, "text", "", "with -url: a text message to send first, to subscribe")
	o.way = addWayFlags(f, "with -url: ")
	f.BoolVar(&o.reconnect, "reconnect", false, "with -url: dial again when a connection ends, and print each session and its end")
	o.policy.register(f)
	f.BoolVar(&o.json, "json", false, "print the summary as JSON; the live line goes to standard error")
	f.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the consumer to this file")
}

// check returns an error if the flags do not go together.
func (o *feedOptions) check() error {
	switch {
	case o.duration <= 0:
		return cli.BadUsage("-duration must be positive, not %v", o.duration)
	case !(o.rate >= 0 && o.rate <= exchange.MaxRate): // also if it is NaN
		return cli.BadUsage("-rate must be between 0 and %.0f, not %v", float64(exchange.MaxRate), o.rate)
	case o.conns < 1 || o.conns > 10_000:
		return cli.BadUsage("-conns must be between 1 and 10000, not %d", o.conns)
	case o.url != "" && o.rate > 0:
		return cli.BadUsage("-rate is for the embedded exchange; a server at -url has its own")
	case o.url != "" && o.secure:
		return cli.BadUsage("-tls is for the embedded exchange; give -url a wss:// URL")
	case o.url == "" && (o.send != "" || o.way.given() || o.reconnect):
		return cli.BadUsage("-text, -reconnect and the flags that say how a server is reached go with -url")
	case o.policy.given && !o.reconnect:
		return cli.BadUsage("-policy goes with -reconnect")
	}
	if o.open && !o.secure && !isSecure(o.url) {
		return cli.BadUsage("-open-records goes with -tls or a wss:// -url")
	}
	return checkRecords(o.records, o.secure)
}

func isSecure(url string) bool { return strings.HasPrefix(strings.ToLower(url), "wss:") }

// A phase is a part of a run.
type phase struct {
	name     string
	rate     float64 // over all connections; 0 means full speed
	duration time.Duration
	latency  bool // measure it: not at full speed, where it only shows the length of the queue
}

func (o *feedOptions) phases() []phase {
	switch {
	case o.url != "":
		return []phase{{"stream", 0, o.duration, false}}
	case o.rate > 0:
		return []phase{{"fixed rate", o.rate, o.duration, true}}
	}
	half, rate := o.duration/2, float64(defaultRate)
	if o.deflate {
		rate = deflateRate
	}
	return []phase{{"full speed", 0, half, false}, {"fixed rate", rate, o.duration - half, true}}
}

// runFeed consumes a feed in phases and prints what it cost.
func runFeed(ctx context.Context, std *streams, args []string) error {
	var o feedOptions
	flags := cli.NewFlags("feed")
	o.register(flags)
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if o.secure && o.records == "" {
		o.records = largeRecords
	}
	f := &feed{options: o, dialer: &conn.Dialer{OpenRecords: o.open}, url: o.url, meter: newMeter(), secrets: std.secrets}
	if o.deflate {
		f.dialer.Config.Deflate = new(deflate.Config)
	}
	f.display = cli.NewDisplay(std.out)
	if o.json {
		f.display = cli.NewDisplay(std.err)
	}
	if o.url == "" {
		exchange, err := startExchange(ctx, &o, std.err)
		if err != nil {
			return err
		}
		defer exchange.stop()
		f.url = exchange.url
		if o.secure {
			if f.dialer.TLSConfig, err = clientTLS("", false); err != nil {
				return err
			}
			f.dialer.TLSConfig.RootCAs = exchange.roots
		}
	} else if err := checkURL(o.url); err != nil {
		return err
	} else if err := o.way.apply(f.dialer); err != nil {
		return err
	}
	if o.profile == "" {
		return f.run(ctx, std)
	}
	stop, err := startProfile(o.profile)
	if err != nil {
		return err
	}
	err = f.run(ctx, std)
	if failed := stop(); err == nil {
		err = failed
	}
	return err
}

// run runs the phases and prints the summary, also after a failure.
func (f *feed) run(ctx context.Context, std *streams) error {
	s := &summary{
		URL:         public(f.url),
		Connections: f.options.conns,
		TLS:         isSecure(f.url),
		Records:     f.options.records,
		Deflate:     f.options.deflate,
		Tier:        asm.Active().String(),
		Verified:    f.options.url == "",
	}
	var failure error
	for _, p := range f.options.phases() {
		r, err := f.phase(ctx, p)
		f.display.End()
		if r != nil {
			s.Phases = append(s.Phases, *r)
		}
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			s.Interrupted = true
			break
		}
		if err != nil {
			failure = err
			break
		}
	}
	if failure != nil {
		s.Error, s.Verified = cli.Hide(cli.OneLine(failure), f.secrets), false
		var bad *cli.UsageError
		if errors.As(failure, &bad) && len(s.Phases) == 0 && !f.options.json {
			return failure // nothing was consumed: the error is the only output
		}
	}
	if s.TLS {
		if opened := f.opened.Load(); opened != nil {
			s.Opened = *opened
		}
	}
	if err := s.print(std.out, f.options.json); err != nil {
		return err
	}
	return failure
}

// startProfile writes a CPU profile to path until stop is called. stop returns the first
// write error.
func startProfile(path string) (stop func() error, err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, cli.BadUsage("-cpuprofile: %w", err)
	}
	o := &cli.Output{W: file, Failed: func() {}}
	if err := pprof.StartCPUProfile(o); err != nil {
		file.Close()
		return nil, fmt.Errorf("cpu profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		err := file.Close()
		if o.Err() != nil {
			err = o.Err()
		}
		if err != nil {
			return fmt.Errorf("cpu profile: %w", err)
		}
		return nil
	}, nil
}
