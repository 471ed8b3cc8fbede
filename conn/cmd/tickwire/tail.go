package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// A header is a flag "Name: value" that may be given several times.
type header http.Header

func (h header) String() string { return "" }

func (h header) Set(s string) error {
	name, value, ok := strings.Cut(s, ":")
	if !ok || strings.TrimSpace(name) == "" {
		return fmt.Errorf("want Name: value")
	}
	http.Header(h).Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// runTail prints what a server sends, until it says goodbye or Ctrl-C.
func runTail(ctx context.Context, std *streams, args []string) error {
	flags := newFlags("tail")
	var texts, subprotocols list
	headers := header{}
	flags.Var(&texts, "text", "a text message to send first; may be given several times")
	flags.Var(&subprotocols, "subprotocol", "a subprotocol to offer; may be given several times")
	flags.Var(headers, "header", "a `Name: value` for the request; may be given several times")
	insecure := flags.Bool("insecure", false, "do not verify the server's certificate")
	ca := flags.String("ca", "", "a PEM file with the roots to trust, instead of the system's")
	timings := flags.Bool("timings", false, "print how long dialing took, and when each message came")
	limit := flags.Int("n", 0, "stop after so many messages; 0 is never")
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	d := &conn.Dialer{Subprotocols: subprotocols, Header: http.Header(headers)}
	if d.TLSConfig, err = clientTLS(*ca, *insecure); err != nil {
		return err
	}
	start := time.Now()
	if *timings {
		ctx = traceDial(ctx, std.err, start)
	}
	c, err := dialURL(ctx, d, arguments[0])
	if err != nil {
		return err
	}
	defer c.Close()
	t := &tail{conn: c, out: bufio.NewWriterSize(std.out, 64<<10), plain: isTerminal(std.out), limit: *limit}
	if *timings {
		t.last = time.Now()
		t.start = t.last
		fmt.Fprintf(std.err, "%8.3f ms  open\n", float64(t.start.Sub(start))/1e6)
	}
	if c.Subprotocol() != "" {
		fmt.Fprintf(std.err, "subprotocol %s\n", c.Subprotocol())
	}
	for _, text := range texts {
		if err := c.WriteMessage(frame.Text, []byte(text)); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { c.Shutdown(context.Background(), frame.CodeNormal, "") })
	defer stop()
	err = t.run()
	fmt.Fprintf(std.err, "%d messages, %d bytes in %v; %s\n", t.messages, t.bytes, time.Since(start).Round(time.Millisecond), oneLine(err))
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
	if errors.As(err, &closed) {
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

// A tail prints the messages of one connection.
type tail struct {
	conn        *conn.Conn
	out         *bufio.Writer
	plain       bool // a terminal: what could control it is escaped
	limit       int
	start, last time.Time // zero without -timings
	messages    int
	bytes       int64
}

// run prints until the connection ends and returns the error it ended with.
func (t *tail) run() error {
	defer t.out.Flush()
	for {
		m, err := t.conn.ReadMessage()
		if err != nil {
			return err
		}
		t.messages++
		t.bytes += int64(len(m.Data))
		t.print(m)
		// Messages that came together are printed together.
		if !t.conn.More() {
			if err := t.out.Flush(); err != nil {
				return err
			}
		}
		if t.messages == t.limit {
			t.conn.Shutdown(context.Background(), frame.CodeNormal, "")
			return t.conn.Err()
		}
	}
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
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
