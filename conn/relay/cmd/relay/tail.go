package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// runTail prints a stream until Ctrl-C.
func runTail(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("tail")
	lines := addLineFlags(flags, "a `URL` of a gateway; with several they are tried in turn", "ca")
	stream := flags.String("stream", "", "the `name` of the stream")
	start := flags.String("start", relay.FromNow, "`where` to begin without a position: now or oldest")
	after := flags.String("after", "", "begin after this `position`, as -json prints it")
	strict := flags.Bool("strict", false, "end if the stream no longer has what follows the position")
	file := flags.String("file", "", "keep the position in this `file`, and begin after the one that is in it")
	limit := flags.Uint64("n", 0, "stop after this `number` of messages; 0 is never")
	machine := flags.Bool("json", false, "print each message as a JSON object on a line: position, received, type, data")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	dialer, err := lines.dialer()
	switch {
	case err != nil:
		return err
	case *stream == "":
		return cli.BadUsage("-stream is missing")
	case *start != relay.FromNow && *start != relay.FromOldest:
		return cli.BadUsage("-start must be now or oldest, not %q", *start)
	}
	j := &judge{alwaysRetries: len(*lines.urls) > 1}
	c := &relay.Client{
		Redial: &redial.Client{
			URLs: *lines.urls, Dialer: dialer, Classify: j.classify, OnChange: j.hear(printChange(std.err, "")),
			Backoff: redial.Backoff{Cap: 5 * time.Second},
		},
		Stream: *stream, Start: *start, Strict: *strict,
	}
	if *after != "" {
		if c.After, err = relay.ParsePosition(*after); err != nil {
			return cli.BadUsage("-after: %w", err)
		}
	}
	if *file != "" {
		f := relay.FilePosition(*file)
		if _, err := f.Load(); err != nil {
			return cli.BadUsage("-file: %w", err)
		}
		c.Load, c.Save = f.Load, f.Save
	}
	t := &tail{out: bufio.NewWriterSize(std.out, 64<<10), err: std.err, plain: cli.IsTerminal(std.out), json: *machine}
	began := time.Now()
	err = t.follow(ctx, c, *limit)
	var refused *relay.RefusedError
	if errors.As(err, &refused) && c.Counts().Messages == 0 {
		return &cli.UsageError{Err: err}
	}
	err = lineEnd(ctx, err, c.Redial.Counts().Connections)
	n := c.Counts()
	fmt.Fprintf(std.err, "%d messages, %d gaps in %v; position %v\n",
		n.Messages-n.Gaps, n.Gaps, time.Since(began).Round(time.Millisecond), c.Position())
	return err
}

// A tail prints messages.
type tail struct {
	err   io.Writer
	plain bool // a terminal: what could control it is escaped
	json  bool

	mu    sync.Mutex
	out   *bufio.Writer
	timer *time.Timer
}

// settleDelay is how long a message waits for others, if more have come.
const settleDelay = 20 * time.Millisecond

// follow prints what c receives, at most limit messages.
func (t *tail) follow(ctx context.Context, c *relay.Client, limit uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := false
	if save := c.Save; save != nil {
		c.Save = func(p relay.Position) error { // never a position whose message is not written
			if err := t.flush(); err != nil {
				return err
			}
			return save(p)
		}
	}
	var n uint64
	err := c.Run(ctx, func(_ context.Context, m relay.Message) error {
		if err := t.take(m); err != nil {
			return err
		}
		if n++; n == limit {
			done = true
			cancel()
		}
		return nil
	})
	if failed := t.flush(); failed != nil {
		return failed
	}
	if done && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// take prints a message. It is written soon.
func (t *tail) take(m relay.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.json {
		t.printJSON(m)
	} else {
		t.print(m)
	}
	if !m.Session.More() {
		return t.out.Flush()
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(settleDelay, func() { t.flush() })
	} else {
		t.timer.Reset(settleDelay)
	}
	return nil
}

func (t *tail) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Flush()
}

func (t *tail) print(m relay.Message) {
	switch {
	case m.Kind == relay.Gap:
		t.out.Flush() // the gap is shown in its place
		fmt.Fprintln(t.err, describeGap(m))
	case m.Kind == relay.Binary:
		fmt.Fprintf(t.out, "binary, %d bytes: %s\n", len(m.Data), hex.EncodeToString(m.Data))
	case t.plain:
		fmt.Fprintln(t.out, cli.Printable(string(m.Data)))
	default:
		t.out.Write(m.Data)
		t.out.WriteByte('\n')
	}
}

// describeGap says what is missing.
func describeGap(m relay.Message) string {
	switch {
	case m.Reason == relay.Expired:
		return fmt.Sprintf("gap: the batches %d to %d have expired", m.First, m.Last)
	case m.Reason == relay.Restarted:
		return fmt.Sprintf("gap: the source restarted its numbers: %d was due, %d came", m.From, m.To)
	case m.From == 0 && m.To == 0:
		return fmt.Sprintf("gap: %v; how many messages are missing is not known", m.Reason)
	}
	return fmt.Sprintf("gap: %v, %d to %d", m.Reason, m.From, m.To)
}

// A printed is a message as -json prints it.
type printed struct {
	Position relay.Position `json:"position"`
	Received *time.Time     `json:"received,omitempty"` // by the ingester
	Type     string         `json:"type"`
	Encoding string         `json:"encoding,omitempty"` // of the data of a binary message
	Data     *string        `json:"data,omitempty"`
	Reason   *relay.Reason  `json:"reason,omitempty"` // of a gap
	From     uint64         `json:"from,omitempty"`   // numbers, or batches that expired
	To       uint64         `json:"to,omitempty"`
}

func (t *tail) printJSON(m relay.Message) {
	p := printed{Position: m.Position, Type: m.Kind.String(), From: m.From, To: m.To}
	if m.Received != 0 {
		received := m.Time()
		p.Received = &received
	}
	data := string(m.Data)
	switch {
	case m.Reason == relay.Expired:
		p.From, p.To = m.First, m.Last
		fallthrough
	case m.Kind == relay.Gap:
		p.Reason = &m.Reason
	case m.Kind == relay.Binary:
		data, p.Encoding = hex.EncodeToString(m.Data), "hex"
		fallthrough
	default:
		p.Data = &data
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // of strings and numbers
	if !t.plain {
		t.out.WriteString(b.String())
		return
	}
	for _, r := range b.String() { // one that commands is in a string
		if cli.CommandsTerminal(r) {
			fmt.Fprintf(t.out, `\u%04x`, r)
		} else {
			t.out.WriteRune(r)
		}
	}
}
