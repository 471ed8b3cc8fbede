package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// runRecord keeps what a server sends, byte for byte, over as many connections as it takes, until Ctrl-C.
func runRecord(ctx context.Context, std *streams, args []string) error {
	flags := newFlags("record")
	client := addClientFlags(flags)
	duration := flags.Duration("duration", 0, "stop after so long; 0 is never")
	arguments, err := parse(flags, std, args, 2)
	if err != nil {
		return err
	}
	d, err := client.dialer()
	if err != nil {
		return err
	}
	if *duration < 0 {
		return badUsage("-duration must not be negative, not %v", *duration)
	}
	if _, err := handshake.ParseURL(arguments[0]); err != nil {
		return badUsage("%q: %w", arguments[0], err) // before the file is emptied
	}
	d.Config.Timestamps = true
	f, err := os.Create(arguments[1])
	if err != nil {
		return &usageError{err}
	}
	defer f.Close()
	recorder := conn.NewRecorder(f, 0)
	d.Config.Recorder = recorder
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	start := time.Now()
	c := &redial.Client{URL: arguments[0], Dialer: d, FinalCodes: done, OnChange: tellChange(std.err), OnConnect: func(_ context.Context, s *redial.Session) error {
		return sendTexts(s.Conn, client.texts)
	}}
	bytes := 0
	err = c.Run(ctx, func(_ context.Context, m redial.Message) error {
		if bytes += len(m.Data); *client.limit > 0 && c.Counts().Messages >= uint64(*client.limit) {
			return errLimit
		}
		return nil
	})
	if failed := recorder.Close(); failed != nil {
		return failed
	}
	if err := f.Close(); err != nil {
		return err
	}
	n := c.Counts()
	fmt.Fprintf(std.err, "%d messages, %d bytes of them, over %d connections in %v; %d bytes not recorded\n",
		n.Messages, bytes, n.Connections, time.Since(start).Round(time.Millisecond), recorder.Dropped())
	return redialEnd(ctx, arguments[0], err, n.Connections)
}
