package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// defaultServers is where NATS listens by default.
const defaultServers = "nats://127.0.0.1:4222"

// runIngest appends a feed to a stream until Ctrl-C.
func runIngest(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("ingest")
	e := addEngineFlags(flags, defaultServers, "")
	lines := addLineFlags(flags, "a `URL` of the feed; several are redundant lines of the same numbered feed", "ca")
	texts := listFlag(flags, "text", "a text message to send first on each connection, to subscribe")
	stream := flags.String("stream", "", "the `name` of the stream")
	number := flags.String("number", "", "the `field` of a JSON message with its number, or FIRST:LAST; without it the feed has no numbers")
	create := flags.Bool("create", false, "create the stream if it is not there")
	replicas := flags.Int("replicas", 1, "with -create: 1, 3 or 5")
	maxAge := flags.Duration("max-age", relay.DefaultMaxAge, "with -create: how long the stream keeps messages; negative is no limit")
	maxBytes := flags.Int64("max-bytes", relay.DefaultMaxBytes, "with -create: how many bytes the stream keeps; negative is no limit")
	memory := flags.Bool("memory", false, "with -create: keep the stream in memory")
	batchTime := flags.Duration("batch-time", 0, "the longest that a message waits for others (default 1ms; 3ms if the stream has replicas)")
	spool := flags.Int64("spool", relay.DefaultSpoolBytes, "how many `bytes` wait in memory while the engine is away")
	spoolDir := flags.String("spool-dir", "", "a `folder` for what does not fit in memory; no other ingester may use it")
	spoolDisk := flags.Int64("spool-disk", relay.DefaultSpoolDiskBytes, "with -spool-dir: how many `bytes` wait there")
	machine := flags.Bool("json", false, "print states as JSON objects on lines, and counts at the end")
	leash := flags.Bool("leash", false, "end when standard input ends, not on Ctrl-C")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	numberOf, err := numberOf(*number)
	if err != nil {
		return err
	}
	dialer, err := lines.dialer()
	switch {
	case err != nil:
		return err
	case *stream == "":
		return cli.BadUsage("-stream is missing")
	case numberOf == nil && len(*lines.urls) > 1:
		return cli.BadUsage("several -url need -number: without numbers nobody can tell which messages are the same")
	}
	if *leash {
		ctx, _, _ = onLeash(ctx, std.in)
	}
	nc, err := e.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	if *create {
		_, err = relay.CreateStream(ctx, nc, relay.StreamConfig{
			Name: *stream, Replicas: *replicas, MaxAge: *maxAge, MaxBytes: *maxBytes, Memory: *memory,
		})
	} else {
		_, err = relay.LookupStream(ctx, nc, *stream)
	}
	if err != nil {
		return streamError(err)
	}
	log := &ingestLog{w: std.out, machine: *machine}
	in := &relay.Ingester{
		Conn: nc, Stream: *stream, Number: numberOf, BatchTime: *batchTime,
		SpoolBytes: *spool, SpoolDir: *spoolDir, SpoolDiskBytes: *spoolDisk, OnState: log.state,
	}
	for i, url := range *lines.urls {
		name := ""
		if len(*lines.urls) > 1 {
			name = fmt.Sprintf("line %d: ", i+1)
		}
		j := &judge{alwaysRetries: len(*lines.urls) > 1}
		in.Clients = append(in.Clients, &redial.Client{
			URL: url, Dialer: dialer, OnConnect: sendTexts(*texts), Classify: j.classify, OnChange: j.hear(func(ch redial.Change) {
				log.line(ch)
				printChange(std.err, name)(ch)
			}),
			Backoff: redial.Backoff{Cap: 5 * time.Second},
		})
	}
	err = in.Run(ctx)
	log.counts(in.Counts())
	var connections uint64
	for _, c := range in.Clients {
		connections += c.Counts().Connections
	}
	return lineEnd(ctx, err, connections)
}

// An ingestLog prints what an ingester does.
type ingestLog struct {
	w       io.Writer
	machine bool
}

// An ingestEvent is a line of -json: one of its members is there.
type ingestEvent struct {
	Time      time.Time           `json:"time"`
	State     *ingestState        `json:"state,omitempty"`
	Connected string              `json:"connected,omitempty"`
	Counts    *relay.IngestCounts `json:"counts,omitempty"`
}

type ingestState struct {
	Active    bool   `json:"active"`
	Engine    string `json:"engine,omitempty"`
	SpoolFull bool   `json:"spool_full,omitempty"`
	Spool     string `json:"spool,omitempty"`
}

func (l *ingestLog) print(e ingestEvent) {
	e.Time = time.Now()
	line, err := json.Marshal(e)
	if err == nil {
		fmt.Fprintf(l.w, "%s\n", line)
	}
}

func (l *ingestLog) state(s relay.IngestState) {
	if !l.machine {
		fmt.Fprintf(l.w, "%s %s\n", time.Now().Format("15:04:05.000"), cli.OneLine(errors.New(s.String())))
		return
	}
	state := &ingestState{Active: s.Active, SpoolFull: s.SpoolFull}
	if s.Engine != nil {
		state.Engine = cli.OneLine(s.Engine)
	}
	if s.Spool != nil {
		state.Spool = cli.OneLine(s.Spool)
	}
	l.print(ingestEvent{State: state})
}

func (l *ingestLog) line(ch redial.Change) {
	if l.machine && ch.State == redial.Up {
		l.print(ingestEvent{Connected: public(ch.URL)})
	}
}

func (l *ingestLog) counts(n relay.IngestCounts) {
	if l.machine {
		l.print(ingestEvent{Counts: &n})
		return
	}
	fmt.Fprintf(l.w, "%d messages received, %d records appended in %d batches, %d covered by another ingester, %d gaps, %d dropped, %d take-overs\n",
		n.Received, n.Appended, n.Batches, n.Covered, n.Gaps, n.Dropped+n.TooLong, n.TakeOvers)
}
