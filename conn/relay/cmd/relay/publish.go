package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// asyncPending is how many messages are out at once without -sync.
const asyncPending = 4096

// runPublish is what bench compares with: a loop that reads a feed and publishes each
// message by itself. It prints a line when all are acknowledged.
func runPublish(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("publish")
	e := addEngineFlags(flags, defaultServers, "")
	url := flags.String("url", "", "the `URL` of the feed")
	stream := flags.String("stream", "", "the `name` of the stream")
	messages := flags.Uint64("messages", 0, "how many")
	sync := flags.Bool("sync", false, "wait for each")
	leash := flags.Bool("leash", false, "end when standard input ends, not on Ctrl-C")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	if *leash {
		ctx, _, _ = onLeash(ctx, std.in)
	}
	nc, err := e.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	info, err := relay.LookupStream(ctx, nc, *stream)
	if err != nil {
		return streamError(err)
	}
	c, err := conn.Dial(ctx, *url)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	defer c.Close()
	publish := publishAsync
	if *sync {
		publish = publishSync
	}
	if err := publish(ctx, nc, info.Subject, c, *messages); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "published")
	<-ctx.Done()
	return nil
}

func publishSync(ctx context.Context, nc *nats.Conn, subject string, c *conn.Conn, messages uint64) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for range messages {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if _, err := js.Publish(ctx, subject, m.Data); err != nil {
			return err
		}
	}
	return nil
}

func publishAsync(ctx context.Context, nc *nats.Conn, subject string, c *conn.Conn, messages uint64) error {
	failed := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(asyncPending),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return err
	}
	for range messages {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		data := append([]byte(nil), m.Data...) // it is sent again if need be
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		return errors.New("no acknowledgement within a minute")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
