package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/soak"
)

// errFound ends a soak that has found something.
var errFound = errors.New("something was found: see above")

// runSoak runs many connections on loopback and checks whether anything is lost or left
// over.
func runSoak(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("soak")
	var o soak.Options
	flags.DurationVar(&o.Duration, "duration", time.Minute, "how long to run")
	flags.IntVar(&o.Conns, "conns", 200, "feeds, each with a connection: a half over TLS, a half compressed")
	flags.Float64Var(&o.Rate, "rate", 5000, "messages/s over all feeds; their sizes are 60 B to 256 KiB")
	flags.DurationVar(&o.DropEvery, "drop", 15*time.Second, "the mean time after which the server ends a connection, in one of five ways")
	flags.Uint64Var(&o.Seed, "seed", 1, "of all random choices")
	churn := flags.Int("churn", 0, "instead: open and end this many connections, as fast as possible")
	idle := flags.Int("idle", 0, "instead: hold this many idle connections, and then close them all")
	path := flags.String("report", "", "write what is printed at the end to this file too, as Markdown")
	if _, err := parse(flags, std, args, 0); err != nil {
		return err
	}
	switch {
	case o.Duration <= 0 || o.DropEvery <= 0:
		return cli.BadUsage("-duration and -drop must be positive")
	case o.Conns < 1 || o.Conns > 10_000:
		return cli.BadUsage("-conns must be between 1 and 10000, not %d", o.Conns)
	case !(o.Rate > 0 && o.Rate <= 1e6): // also if it is NaN
		return cli.BadUsage("-rate must be between 0 and 1000000, not %v", o.Rate)
	case *churn < 0 || *idle < 0 || *churn > 0 && *idle > 0:
		return cli.BadUsage("-churn and -idle are numbers of connections, and do not go together")
	}
	began := time.Now()
	d := cli.NewDisplay(std.out)
	result, failures, err := soaked(ctx, o, *churn, *idle, d)
	d.End()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	result.Print(&text)
	if _, err := std.out.Write(text.Bytes()); err != nil {
		return err
	}
	if *path != "" {
		if err := os.WriteFile(*path, soakReport(args, began, text.String()), 0o644); err != nil {
			return err
		}
	}
	if failures > 0 {
		return errFound
	}
	return nil
}

// soaked runs the soak that the flags select.
func soaked(ctx context.Context, o soak.Options, churn, idle int, d *cli.Display) (result interface{ Print(io.Writer) }, failures int, err error) {
	switch {
	case churn > 0:
		r, err := soak.Churn(ctx, churn, func(opened, ended uint64) {
			d.Show(fmt.Sprintf("%d opened, %d ended", opened, ended))
		})
		if err != nil {
			return nil, 0, err
		}
		return r, len(r.Failures), nil
	case idle > 0:
		r, err := soak.Idle(ctx, idle)
		if err != nil {
			return nil, 0, err
		}
		return r, len(r.Failures), nil
	}
	o.Sampled = func(s soak.Sample) { d.Show(soakLine(s)) }
	r, err := soak.Run(ctx, o)
	if err != nil {
		return nil, 0, err
	}
	return r, len(r.Failures), nil
}

// soakLine returns the live line.
func soakLine(s soak.Sample) string {
	return fmt.Sprintf("%5.0fs %d up  %s/s  p99.9 %s  %d MiB  %d goroutines  %d fds  %d ended",
		s.At.Seconds(), s.Connections, cli.Quantity(s.PerSecond), cli.Duration(int64(s.P999)), s.Resident>>20, s.Goroutines, s.Descriptors,
		s.Counts.Ended)
}

// soakReport returns the page for -report.
func soakReport(args []string, began time.Time, text string) []byte {
	var b bytes.Buffer
	b.WriteString("# Soak\n\nWritten by `tickwire soak")
	for i := 0; i < len(args); i++ {
		if args[i] == "-report" { // and its value
			i++
			continue
		}
		fmt.Fprintf(&b, " %s", args[i])
	}
	fmt.Fprintf(&b, "` on %s, %s.\n\n```\n%s```\n", began.UTC().Format("2006-01-02"), runtime.Version(), text)
	return b.Bytes()
}
