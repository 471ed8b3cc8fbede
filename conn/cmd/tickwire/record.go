package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// runRecord records what a server sends, byte for byte, over successive connections,
// until Ctrl-C.
func runRecord(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("record")
	client := addClientFlags(flags)
	duration := flags.Duration("duration", 0, "stop after this long; 0 means never")
	force := flags.Bool("force", false, "overwrite FILE, when there is a connection")
	var policy policyFlag
	policy.register(flags)
	arguments, err := parse(flags, std, args, 2)
	if err != nil {
		return err
	}
	d, err := client.dialer(arguments[0])
	if err != nil {
		return err
	}
	if *duration < 0 {
		return cli.BadUsage("-duration must not be negative, not %v", *duration)
	}
	t, err := openTarget(arguments[1], *force)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	return record(ctx, std, d, arguments[0], client, policy.policy, t)
}

// record writes to t until ctx ends, the limit of messages is reached, the client gives
// up, or t fails.
func record(ctx context.Context, std *streams, d *conn.Dialer, url string, client *clientFlags, policy redial.Policy, t *target) error {
	recorder := conn.NewRecorder(t, 0)
	d.Config.Timestamps, d.Config.Recorder = true, recorder
	run, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-recorder.Failed():
			stop()
		case <-run.Done():
		}
	}()
	start, display := time.Now(), cli.NewDisplay(std.err)
	judge := &judge{policy: policy}
	c := &redial.Client{
		Classify: judge.classify, URL: url, Dialer: d,
		OnChange: judge.onChange(printChange(display)),
		OnConnect: func(_ context.Context, s *redial.Session) error {
			if err := t.begin(); err != nil {
				return redial.Fatal(err)
			}
			return sendTexts(s.Conn, client.texts)
		},
	}
	var bytes atomic.Int64
	shown := startProgress(display, func() string {
		n := c.Counts()
		return fmt.Sprintf("%d messages, %d bytes of them, over %d connections in %v",
			n.Messages, bytes.Load(), n.Connections, time.Since(start).Round(time.Second))
	})
	err := c.Run(run, func(_ context.Context, m redial.Message) error {
		if bytes.Add(int64(len(m.Data))); *client.limit > 0 && c.Counts().Messages >= uint64(*client.limit) {
			return errLimit
		}
		return nil
	})
	shown.end()
	failed := recorder.Close()
	if closed := t.close(); failed == nil {
		failed = closed
	}
	n := c.Counts()
	fmt.Fprintf(std.err, "%d messages, %d bytes of them, over %d connections in %v; %d bytes not recorded\n",
		n.Messages, bytes.Load(), n.Connections, time.Since(start).Round(time.Millisecond), recorder.Dropped())
	if failed != nil {
		return failed
	}
	if n.Connections == 0 && errors.Is(err, context.DeadlineExceeded) {
		return errors.New("there was no connection")
	}
	return redialEnd(ctx, url, err, n.Connections)
}

// A target is the file to record to. It keeps its content until there is a connection.
type target struct {
	file  writeCloser
	made  string // the file's name, if it is new
	old   bool   // it has content that -force gives up
	mu    sync.Mutex
	begun bool
	early []byte // written before begin
	err   error  // the first write error
}

// writeCloser is the part of *os.File that a target needs.
type writeCloser interface {
	Write(p []byte) (int, error)
	Truncate(size int64) error
	Close() error
}

// openTarget opens a file for writing without changing it. Without force an existing
// regular file is an error.
func openTarget(name string, force bool) (*target, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		return &target{file: f, made: name}, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	regular := info.Mode().IsRegular()
	if regular && !force {
		return nil, fmt.Errorf("%s is there already; -force overwrites it", name)
	}
	if f, err = os.OpenFile(name, os.O_WRONLY, 0); err != nil {
		return nil, err
	}
	return &target{file: f, old: regular}, nil
}

// Write keeps bytes until begin.
func (t *target) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun {
		if t.err != nil {
			return 0, t.err
		}
		return t.file.Write(p)
	}
	t.early = append(t.early, p...)
	return len(p), nil
}

// begin empties the file and writes the bytes kept so far.
func (t *target) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun {
		return t.err
	}
	t.begun = true
	if t.old {
		t.err = t.file.Truncate(0)
	}
	if t.err == nil {
		_, t.err = t.file.Write(t.early)
	}
	t.early = nil
	return t.err
}

// close closes the file. It removes a new file that is empty.
func (t *target) close() error {
	err := t.file.Close()
	if !t.begun && t.made != "" {
		return errors.Join(err, os.Remove(t.made))
	}
	if t.err != nil {
		return t.err
	}
	return err
}
