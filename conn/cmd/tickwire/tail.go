package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// runTail prints what a server sends, until a Close frame or Ctrl-C.
func runTail(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("tail")
	client := addClientFlags(flags)
	timings := flags.Bool("timings", false, "print how long dialing took, and when each message arrived")
	machine := flags.Bool("json", false, "print each message as a JSON object on a line: time, epoch, type, data")
	binary := flags.String("binary", "hex", "how binary messages are printed: hex, base64, or raw, which goes to a file or a pipe only, without line ends")
	pings := flags.Bool("pings", false, "print the control frames of both sides, on standard error")
	verbose := flags.Bool("v", false, "print the requests and answers of the handshake, on standard error")
	reconnect := flags.Bool("reconnect", false, "dial again when the connection ends, also after a Close frame, and print each session and its end")
	var policy policyFlag
	policy.register(flags)
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	if policy.given && !*reconnect {
		return cli.BadUsage("-policy goes with -reconnect")
	}
	d, err := client.dialer(arguments[0])
	if err != nil {
		return err
	}
	t := &tail{out: bufio.NewWriterSize(std.out, 64<<10), plain: cli.IsTerminal(std.out), limit: *client.limit, json: *machine, binary: *binary}
	if err := t.check(); err != nil {
		return err
	}
	if *pings {
		d.Config.Observer = &controls{std.err}
	}
	if *verbose {
		showHandshakes(d, std.err)
	}
	t.listen(std)
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
	t.talking.Wait() // the last connection has ended
	t.mu.Lock()      // no more prompts
	if t.late != nil {
		t.late.Stop()
	}
	t.unsettled = false
	if t.asked && t.prompt != "" {
		t.out.WriteByte('\n')
	}
	t.prompt = ""
	if failed := t.out.Flush(); err == nil {
		err = failed
	}
	t.mu.Unlock()
	var unusable *cli.UsageError
	if errors.As(err, &unusable) || t.messages == 0 && errors.Is(err, context.Canceled) {
		return err
	}
	end := "done"
	if err != nil {
		end = cli.OneLine(err)
	}
	fmt.Fprintf(std.err, "%d messages, %d bytes in %v; %s\n", t.messages, t.bytes, time.Since(start).Round(time.Millisecond), end)
	if !*reconnect { // with -reconnect it should have gone on
		err = goodEnd(err)
	}
	unsent := t.in.unsent()
	if unsent == nil {
		return err
	}
	stopped := ctx.Err() != nil || t.limit > 0 && t.messages >= t.limit // by the user
	if err == nil && !stopped && !isTerminalInput(std.in) {
		return unsent
	}
	t.complain("%v", unsent)
	return err
}

// check returns an error for a wrong -binary.
func (t *tail) check() error {
	switch {
	case t.binary != "hex" && t.binary != "base64" && t.binary != "raw":
		return cli.BadUsage("-binary must be hex, base64 or raw, not %q", t.binary)
	case t.binary == "raw" && t.json:
		return cli.BadUsage("-binary raw does not go with -json")
	case t.binary == "raw" && t.plain:
		return cli.BadUsage("-binary raw goes to a file or a pipe, not to a terminal")
	}
	return nil
}

// listen starts to read standard input.
func (t *tail) listen(std *streams) {
	if std.in == nil {
		return
	}
	t.complain = func(format string, args ...any) { fmt.Fprintf(std.err, "tickwire tail: "+format+"\n", args...) }
	ignoreTerminalInput()
	if t.plain && !t.json && isTerminalInput(std.in) {
		t.prompt = "> "
	}
	t.in = readInput(std.in, t.complain, t.askNext, t.stopAsking)
}

// talk sends the lines of standard input on c until the connection ends.
func (t *tail) talk(c *conn.Conn) {
	if t.in == nil {
		return
	}
	t.askNext()
	t.talking.Wait() // wait for the talk of the connection before
	t.talking.Go(func() { t.in.send(c, t.complain, t.askNext) })
}

// askNext shows the prompt.
func (t *tail) askNext() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.prompt == "" {
		return
	}
	t.out.WriteString(t.prompt)
	t.out.Flush()
	t.asked, t.unsettled = true, false
}

// stopAsking ends the prompts, and the line that has one. What the terminal shows of
// Ctrl-C or Ctrl-D is on that line too.
func (t *tail) stopAsking() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked && t.prompt != "" {
		t.out.WriteByte('\n')
		t.out.Flush()
	}
	t.prompt, t.asked = "", false
}

// traceDial prints the steps of a dial when they are done.
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

// goodEnd returns nil if err is a regular end of a connection.
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

// ownEnd is for a connection that this side ended. The server may not have answered.
// ownEnd returns err if it is a regular end, which has a text, and otherwise nil.
func ownEnd(err error) error {
	if goodEnd(err) == nil {
		return err
	}
	return nil
}

// A tail prints messages.
type tail struct {
	out         *bufio.Writer
	plain       bool // a terminal: control characters are escaped
	limit       int
	start, last time.Time // zero without -timings
	messages    int
	bytes       int64
	json        bool
	binary      string

	in       *input // nil without standard input
	complain func(format string, args ...any)
	talking  sync.WaitGroup
	prompt   string     // "" unless on a terminal
	mu       sync.Mutex // guards out, which several goroutines write to
	asked    bool       // the prompt is at the end of the output

	unsettled bool        // a message in out waits for another one
	late      *time.Timer // calls settle: see settleSoon
	armed     bool        // late is running
}

// once prints the messages of one connection. It returns the error that ended it.
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
	stop := context.AfterFunc(ctx, func() {
		t.stopAsking()
		c.Shutdown(context.Background(), frame.CodeNormal, "")
	})
	defer stop()
	t.talk(c)
	var m conn.Message
	var here bool // m has been read
	for {
		if !here {
			m, err = c.ReadMessage()
		}
		if err != nil {
			if ctx.Err() != nil {
				return ownEnd(err)
			}
			return err
		}
		more := c.More()
		switch err := t.take(m, 1, more); err {
		case nil:
		case errLimit:
			c.Shutdown(context.Background(), frame.CodeNormal, "")
			return ownEnd(c.Err())
		default:
			return err
		}
		if here = false; more { // over TLS it may be less than a message
			m, here, err = c.TryRead()
			if !here {
				t.settle()
			}
		}
	}
}

// follow prints the messages of successive connections.
func (t *tail) follow(ctx context.Context, std *streams, d *conn.Dialer, url string, texts []string, policy redial.Policy) error {
	judge := &judge{policy: policy}
	client := &redial.Client{
		Classify: judge.classify, URL: url, Dialer: d,
		OnChange: judge.onChange(printChange(std.err)),
		OnConnect: func(_ context.Context, s *redial.Session) error {
			if err := sendTexts(s.Conn, texts); err != nil {
				return err
			}
			t.talk(s.Conn)
			return nil
		},
	}
	defer context.AfterFunc(ctx, t.stopAsking)()
	err := client.Run(ctx, func(_ context.Context, m redial.Message) error {
		more := m.Session.More()
		err := t.take(m.Message, m.Epoch, more)
		if more {
			t.settleSoon()
		}
		return err
	})
	return redialEnd(ctx, url, err, client.Counts().Connections)
}

// take prints a message. With more set, another message may have arrived: then both are
// written together, or settle writes this one. take returns errLimit after the last
// message wanted.
func (t *tail) take(m conn.Message, epoch uint64, more bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages++
	t.bytes += int64(len(m.Data))
	if t.asked {
		t.out.WriteString("\r\x1b[K") // the prompt goes below the message
		t.asked = false
	}
	t.print(m, epoch)
	t.unsettled = true
	if !more || t.messages == t.limit {
		if err := t.settleLocked(); err != nil {
			return err
		}
	}
	if t.messages == t.limit {
		return errLimit
	}
	return nil
}

// settle writes what take has left, and the prompt.
func (t *tail) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	_ = t.settleLocked() // the next Flush returns the error again
}

// settleLocked is settle; the caller has mu.
func (t *tail) settleLocked() error {
	if !t.unsettled {
		return nil
	}
	t.unsettled = false
	if t.prompt != "" {
		t.out.WriteString(t.prompt)
		t.asked = true
	}
	return t.out.Flush()
}

// settleDelay is how long a message waits for the next one, if another may come.
const settleDelay = 20 * time.Millisecond

// settleSoon calls settle after settleDelay. A handler needs it, because it cannot look
// for another message.
func (t *tail) settleSoon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.armed:
		return
	case t.late == nil:
		t.late = time.AfterFunc(settleDelay, t.settle)
	default:
		t.late.Reset(settleDelay)
	}
	t.armed = true
}

func (t *tail) print(m conn.Message, epoch uint64) {
	if t.json {
		t.printJSON(m, epoch)
		return
	}
	raw := m.Opcode != frame.Text && t.binary == "raw"
	if !t.start.IsZero() && !raw {
		now := time.Now()
		fmt.Fprintf(t.out, "%.6f +%.6f ", now.Sub(t.start).Seconds(), now.Sub(t.last).Seconds())
		t.last = now
	}
	switch {
	case raw:
		t.out.Write(m.Data)
		return
	case m.Opcode != frame.Text:
		fmt.Fprintf(t.out, "binary, %d bytes: ", len(m.Data))
		t.out.WriteString(t.encoded(m.Data))
	case t.plain:
		t.out.WriteString(cli.Printable(string(m.Data)))
	default:
		t.out.Write(m.Data)
	}
	t.out.WriteByte('\n')
}

func (t *tail) encoded(data []byte) string {
	if t.binary == "base64" {
		return base64.StdEncoding.EncodeToString(data)
	}
	return hex.EncodeToString(data)
}

// A printed is a message in the form of -json.
type printed struct {
	Time     time.Time `json:"time"`  // when it was read
	Epoch    uint64    `json:"epoch"` // of the connection, from 1
	Type     string    `json:"type"`
	Encoding string    `json:"encoding,omitempty"` // of the data of a binary message
	Data     string    `json:"data"`
}

func (t *tail) printJSON(m conn.Message, epoch uint64) {
	p := printed{Time: time.Now(), Epoch: epoch, Type: "text", Data: string(m.Data)}
	if m.Opcode != frame.Text {
		p.Type, p.Encoding, p.Data = "binary", t.binary, t.encoded(m.Data)
	}
	if !t.plain {
		encodeJSON(t.out, p)
		return
	}
	var b strings.Builder
	encodeJSON(&b, p)
	for _, r := range b.String() { // a control character within a string
		if cli.CommandsTerminal(r) {
			fmt.Fprintf(t.out, `\u%04x`, r)
		} else {
			t.out.WriteRune(r)
		}
	}
}

func encodeJSON(w io.Writer, p printed) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // strings and numbers only; Flush returns write errors
}

// controls prints control frames.
type controls struct{ w io.Writer }

func (o *controls) Control(_ *conn.Conn, op frame.Opcode, payload []byte, sent bool) {
	by := "received"
	if sent {
		by = "sent"
	}
	what := ""
	if code, reason, err := frame.ParseClose(payload); op == frame.Close && err == nil {
		what = fmt.Sprintf(", %v %q", code, reason)
	} else if len(payload) > 0 {
		what = fmt.Sprintf(": %x", payload)
	}
	fmt.Fprintf(o.w, "%v %s, %d bytes%s\n", op, by, len(payload), what)
}

func (o *controls) RoundTrip(_ *conn.Conn, rtt time.Duration) {
	fmt.Fprintf(o.w, "round trip %v\n", rtt)
}
func (o *controls) Slow(*conn.Conn, conn.ReadInfo) {}
func (o *controls) Ended(*conn.Conn, error)        {}

// coloured reports whether w is a terminal that shows colours, unless the user has turned
// them off (https://no-color.org).
func coloured(w io.Writer) bool {
	return cli.IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// isTerminalInput is isTerminal for a reader.
func isTerminalInput(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && cli.IsDevice(f)
}
