package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// urlLine begins the line that a server prints when it listens.
const urlLine = "url "

// runExchange serves the numbered feed to any number of lines. All get the same messages,
// from the moment at which they connect.
func runExchange(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("exchange")
	listen := flags.String("listen", "127.0.0.1:0", "host:port to listen on; port 0 is any")
	rate := flags.Float64("rate", 1000, "messages per second")
	messages := flags.Uint64("messages", 0, "how many messages there are; 0 is no end")
	flat := flags.Bool("flat", false, "send each line all messages, as fast as it takes them; -rate does not count")
	leash := flags.Bool("leash", false, "begin at a line of standard input, stop at the next one, end when it ends; not on Ctrl-C")
	if err := parse(flags, std, args); err != nil {
		return err
	}
	if !(*rate > 0 && *rate <= maxRate) {
		return cli.BadUsage("-rate must be above 0 and at most %.0f, not %v", float64(maxRate), *rate)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return cli.BadUsage("-listen: %w", err)
	}
	x := &exchange{rate: *rate, messages: *messages}
	if x.messages == 0 {
		x.messages = math.MaxUint64
	}
	s := &conn.Server{Handler: x.serve}
	if *flat {
		s.Handler = x.serveFlat
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer s.Close()
	if _, err := fmt.Fprintf(std.out, "%sws://%s/\n", urlLine, l.Addr()); err != nil {
		return err
	}
	begin, stop := ctx, ctx
	if *leash {
		ctx, begin, stop = onLeash(ctx, std.in)
		<-begin.Done()
	}
	if !*flat {
		sent := x.publish(stop)
		fmt.Fprintf(std.out, "sent %d\n", sent)
	}
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return s.Shutdown(closing)
}

// maxRate is the highest rate of an exchange.
const maxRate = 1e6

// onLeash returns contexts that end at the end of standard input, at its first line and
// at its second one. Ctrl-C reaches every process of a terminal; the one that holds the
// leash ends first, and then lets go.
func onLeash(ctx context.Context, in io.Reader) (end, first, second context.Context) {
	signal.Ignore(os.Interrupt)
	end, cancel := context.WithCancel(context.WithoutCancel(ctx))
	second, cancelSecond := context.WithCancel(end)
	first, cancelFirst := context.WithCancel(second)
	go func() {
		defer cancel()
		lines := bufio.NewScanner(in)
		lines.Scan()
		cancelFirst()
		lines.Scan()
		cancelSecond()
		for lines.Scan() {
		}
	}()
	return end, first, second
}

// An exchange publishes the feed.
type exchange struct {
	rate     float64
	messages uint64
	group    conn.Group
}

// serve is one line.
func (x *exchange) serve(c *conn.Conn) {
	if x.group.Add(c) != nil {
		return
	}
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// serveFlat is one line of -flat.
func (x *exchange) serveFlat(c *conn.Conn) {
	go func() {
		var data []byte
		made := time.Now().UnixNano()
		for n := uint64(1); n <= x.messages; n++ {
			data = appendFeed(data[:0], n, made)
			if c.AppendMessage(frame.Text, data) != nil || n%64 == 0 && c.Flush() != nil {
				return
			}
		}
		c.Flush()
	}()
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// publish sends all messages, or until ctx ends: message n at n/rate seconds. It returns
// how many.
func (x *exchange) publish(ctx context.Context) uint64 {
	const tick = time.Millisecond
	begin := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	var sent uint64
	var data []byte
	for sent < x.messages && ctx.Err() == nil {
		now := time.Now()
		due := min(uint64(now.Sub(begin).Seconds()*x.rate), x.messages)
		for made := now.UnixNano(); sent < due; {
			sent++
			data = appendFeed(data[:0], sent, made)
			x.group.WriteMessage(frame.Text, data) // there may be no line
		}
		wait.Reset(max(tick, time.Duration(float64(sent+1)/x.rate*1e9)-time.Since(begin)))
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	x.group.Flush(flush)
	return sent
}
