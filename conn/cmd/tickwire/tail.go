package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http/httptrace"
	"os"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// runTail prints what a server sends, until it says goodbye or Ctrl-C.
func runTail(ctx context.Context, std *streams, args []string) error {
	flags := newFlags("tail")
	client := addClientFlags(flags)
	timings := flags.Bool("timings", false, "print how long dialing took, and when each message came")
	reconnect := flags.Bool("reconnect", false, "dial again when the connection ends, with a goodbye too, and print each session and its end")
	var policy policyFlag
	policy.register(flags)
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	if policy.given && !*reconnect {
		return badUsage("-policy goes with -reconnect")
	}
	d, err := client.dialer(arguments[0])
	if err != nil {
		return err
	}
	t := &tail{out: bufio.NewWriterSize(std.out, 64<<10), plain: isTerminal(std.out), limit: *client.limit}
	start := time.Now()
	if *timings {
		ctx = traceDial(ctx, std.err, start)
		t.start, t.last = start, start
	}
	if *reconnect {
		err = t.follow(ctx, std, d, arguments[0], client.texts, policy.policy)
	} else {
		err = t.once(ctx, std, d, arguments[0], client.texts)
	}
	if failed := t.out.Flush(); err == nil {
		err = failed
	}
	var unusable *usageError
	if errors.As(err, &unusable) || t.messages == 0 && errors.Is(err, context.Canceled) {
		return err
	}
	end := "done"
	if err != nil {
		end = oneLine(err)
	}
	fmt.Fprintf(std.err, "%d messages, %d bytes in %v; %s\n", t.messages, t.bytes, time.Since(start).Round(time.Millisecond), end)
	if *reconnect {
		return err // it was to go on
	}
	return goodEnd(err)
}

// traceDial has the steps of a dial printed as they are done.
func traceDial(ctx context.Context, w io.Writer, start time.Time) context.Context {
	step := func(format string, args ...any) {
		fmt.Fprintf(w, "%8.3f ms  %s\n", float64(time.Since(start))/1e6, fmt.Sprintf(format, args...))
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) { step("name resolved, %d addresses", len(i.Addrs)) },
		ConnectDone: func(_, address string, err error) {
			if err == nil {
				step("connected to %s", address)
			}
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			if err == nil {
				step("%s, %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
			}
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { step("request written") },
		GotFirstResponseByte: func() { step("answer begins") },
	})
}

// goodEnd returns nil if a connection that ended with err ended as it should.
func goodEnd(err error) error {
	var closed *conn.CloseError
	if errors.As(err, &closed) && closed.Err == nil {
		switch closed.Code {
		case frame.CodeNormal, frame.CodeGoingAway, frame.CodeNoStatus:
			return nil
		}
		if closed.Local {
			return nil
		}
	}
	return err
}

// A tail prints messages.
type tail struct {
	out         *bufio.Writer
	plain       bool // a terminal: what could control it is escaped
	limit       int
	start, last time.Time // zero without -timings
	messages    int
	bytes       int64
}

// once prints the messages of one connection, and returns the error it ended with.
func (t *tail) once(ctx context.Context, std *streams, d *conn.Dialer, url string, texts []string) error {
	c, err := dialURL(ctx, d, url)
	if err != nil {
		return err
	}
	defer c.Close()
	if !t.start.IsZero() {
		t.last = time.Now()
		fmt.Fprintf(std.err, "%8.3f ms  open\n", float64(t.last.Sub(t.start))/1e6)
		t.start = t.last
	}
	if c.Subprotocol() != "" {
		fmt.Fprintf(std.err, "subprotocol %s\n", c.Subprotocol())
	}
	if err := sendTexts(c, texts); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.Shutdown(context.Background(), frame.CodeNormal, "") })
	defer stop()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		switch err := t.take(m, c.More()); err {
		case nil:
		case errLimit:
			c.Shutdown(context.Background(), frame.CodeNormal, "")
			return c.Err()
		default:
			return err
		}
	}
}

// follow prints the messages of as many connections as it takes.
func (t *tail) follow(ctx context.Context, std *streams, d *conn.Dialer, url string, texts []string, policy redial.Policy) error {
	judge := &judge{policy: policy}
	client := &redial.Client{
		Classify: judge.classify, URL: url, Dialer: d,
		OnChange:  judge.hear(tellChange(std.err)),
		OnConnect: func(_ context.Context, s *redial.Session) error { return sendTexts(s.Conn, texts) },
	}
	err := client.Run(ctx, func(_ context.Context, m redial.Message) error { return t.take(m.Message, m.Session.More()) })
	return redialEnd(ctx, url, err, client.Counts().Connections)
}

// take prints a message; more says that another one has come together with it: they are printed together. It returns errLimit
// behind the last one that is wanted.
func (t *tail) take(m conn.Message, more bool) error {
	t.messages++
	t.bytes += int64(len(m.Data))
	t.print(m)
	if !more {
		if err := t.out.Flush(); err != nil {
			return err
		}
	}
	if t.messages == t.limit {
		return errLimit
	}
	return nil
}

func (t *tail) print(m conn.Message) {
	if !t.start.IsZero() {
		now := time.Now()
		fmt.Fprintf(t.out, "%.6f +%.6f ", now.Sub(t.start).Seconds(), now.Sub(t.last).Seconds())
		t.last = now
	}
	switch {
	case m.Opcode != frame.Text:
		fmt.Fprintf(t.out, "binary, %d bytes: ", len(m.Data))
		hex.NewEncoder(t.out).Write(m.Data)
	case t.plain:
		t.out.WriteString(printable(string(m.Data)))
	default:
		t.out.Write(m.Data)
	}
	t.out.WriteByte('\n')
}

// printable returns s with the control characters, which could command a
// terminal, made visible. Line ends and tabs stay.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isTerminal tells whether w is a character device.
func isTerminal(w io.Writer) bool {
	f, ok := under(w).(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
