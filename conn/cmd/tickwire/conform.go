package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/conformance"
)

// conformCommands are the subcommands of tickwire conform.
func conformCommands() []command {
	return []command{
		{"conform server", "[flags] [NAME=]URL...", "test servers that echo every message", runConformServer},
		{"conform listen", "[flags] ADDRESS", "test clients that echo every message, as the public suite's fuzzingserver does", runConformListen},
		{"conform client", "[flags] URL", "be the client that a suite tries: this one's listen, or the public suite's fuzzingserver", runConformClient},
		{"conform page", "[flags] FILE...", "make one page of what -json has printed", runConformPage},
	}
}

// runConform runs one of conformCommands.
func runConform(ctx context.Context, std *streams, args []string) error {
	if len(args) > 0 {
		for _, c := range conformCommands() {
			if c.name == "conform "+args[0] {
				return c.run(ctx, std, args[1:])
			}
		}
		if h := strings.TrimLeft(args[0], "-"); h == "h" || h == "help" {
			fmt.Fprintln(std.out, "usage: tickwire conform server|listen|client|page [flags] …")
			for _, c := range conformCommands() {
				listed(std.out, 15, c)
			}
			return flag.ErrHelp
		}
	}
	return cli.BadUsage("want server, listen, client or page; tickwire conform -h tells what each does")
}

// conformFlags are those of server and listen.
type conformFlags struct {
	include, exclude list
	patience         time.Duration
	volume           string
	json, verbose    bool
	strict           bool
	html             string
}

func (c *conformFlags) register(flags *flag.FlagSet) {
	flags.Var(&c.include, "case", "only the cases of this `number` and those below it, as 7, 12.3, R8 or 6.[1-4].*; may be given several times")
	flags.Var(&c.exclude, "skip", "not the cases of this `number`; may be given several times")
	flags.DurationVar(&c.patience, "patience", 3*time.Second, "how long to wait for something that an agent must do")
	flags.StringVar(&c.volume, "volume", "normal", "how much the cases about performance and compression send: small, normal, or full as in the public suite")
	flags.BoolVar(&c.json, "json", false, "print the results as JSON")
	flags.BoolVar(&c.verbose, "v", false, "print every case, not only those that are not OK")
	flags.BoolVar(&c.strict, "strict", false, "exit with 1 also for a non-strict case")
	flags.StringVar(&c.html, "html", "", "write a page with every case to this `file`")
}

// options returns the options from the flags.
func (c *conformFlags) options() (o conformance.Options, err error) {
	if c.patience <= 0 {
		return o, cli.BadUsage("-patience must be positive, not %v", c.patience)
	}
	switch c.volume {
	case "small":
		o.Volume = conformance.Small
	case "normal":
		o.Volume = conformance.Normal
	case "full":
		o.Volume, o.Timeout = conformance.Full, 10*time.Minute
	default:
		return o, cli.BadUsage("-volume must be small, normal or full, not %q", c.volume)
	}
	o.Patience, o.Include, o.Exclude = c.patience, c.include, c.exclude
	return o, nil
}

// errNoCases reports that the flags select no case.
var errNoCases = cli.BadUsage("-case and -skip leave no case")

// show prints reports. It returns an error if one has a failure.
func (c *conformFlags) show(std *streams, reports []*conformance.Report) error {
	if c.html != "" {
		if err := writePage(c.html, reports); err != nil {
			return err
		}
	}
	write := func(w io.Writer) error { return conformance.WriteTable(w, reports, c.verbose, coloured(std.out)) }
	if c.json {
		write = func(w io.Writer) error { return conformance.WriteJSON(w, reports) }
	}
	if err := write(std.out); err != nil {
		return err
	}
	cases, failed, lax := 0, 0, 0
	for _, r := range reports {
		n := r.Counts()
		cases += len(r.Results)
		failed += n[conformance.Failed]
		lax += n[conformance.NonStrict]
	}
	switch {
	case cases == 0:
		return errors.New("no case was run")
	case failed > 0:
		return fmt.Errorf("%d cases failed", failed)
	case lax > 0 && c.strict:
		return fmt.Errorf("%d cases are non-strict", lax)
	}
	return nil
}

func writePage(name string, reports []*conformance.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return cli.BadUsage("-html: %w", err)
	}
	err = conformance.WritePage(file, reports)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// counting shows the progress of the suite on a terminal.
func counting(std *streams, total int) (done func(string, conformance.Result), end func()) {
	d := cli.NewDisplay(std.err)
	if !d.Terminal() {
		return nil, func() {}
	}
	var mu sync.Mutex
	n, failed := 0, 0
	return func(agent string, r conformance.Result) {
		mu.Lock()
		defer mu.Unlock()
		if n++; r.Verdict == conformance.Failed {
			failed++
		}
		d.Show(fmt.Sprintf("%.30s: %d of %d cases, %d failed, at %s", cli.Printable(agent), n, total, failed, r.ID))
	}, d.End
}

func runConformServer(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("conform server")
	var c conformFlags
	c.register(flags)
	headers := header{fields: map[string][]string{}}
	flags.Var(&headers, "header", "a `Name: value` for the requests; may be given several times")
	insecure := flags.Bool("insecure", false, "do not verify the server's certificate")
	ca := flags.String("ca", "", "a PEM file with the roots to trust, instead of the system's")
	parallel := flags.Int("parallel", 8, "how many cases run at once")
	urls, err := parseSome(flags, std, args)
	if err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	if *parallel < 1 {
		return cli.BadUsage("-parallel must be positive, not %d", *parallel)
	}
	if o.TLS, err = clientTLS(*ca, *insecure); err != nil {
		return err
	}
	o.Parallel = *parallel
	for name, values := range headers.fields {
		for _, v := range values {
			o.Header = append(o.Header, name+": "+v)
		}
	}
	total := len(conformance.Select(conformance.Cases(conformance.Server, o.Volume), o.Include, o.Exclude))
	if total == 0 {
		return errNoCases
	}
	var reports []*conformance.Report
	for _, arg := range urls {
		name, address := named(arg)
		if err := checkURL(address); err != nil {
			return err
		}
		var end func()
		o.Done, end = counting(std, total)
		report, err := conformance.TestServer(ctx, name, address, o)
		end()
		if err != nil {
			if ctx.Err() != nil {
				return context.Canceled
			}
			return cli.BadUsage("%s: %w", public(address), err)
		}
		reports = append(reports, report)
	}
	return c.show(std, reports)
}

// named splits NAME=URL. A URL without a name gets its host as name.
func named(arg string) (name, address string) {
	if name, address, ok := strings.Cut(arg, "="); ok && !strings.ContainsAny(name, ":/?") {
		return name, address
	}
	if u, err := url.Parse(arg); err == nil && u.Host != "" {
		return u.Host, arg
	}
	return public(arg), arg
}

func runConformListen(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("conform listen")
	var c conformFlags
	c.register(flags)
	secure := flags.Bool("tls", false, "over TLS, with a self-made certificate; its root is printed after the URL")
	agents := flags.Int("agents", 1, "end when this many clients have gone through all cases; 0 means never")
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	if *agents < 0 {
		return cli.BadUsage("-agents must not be negative, not %d", *agents)
	}
	if _, _, err := net.SplitHostPort(arguments[0]); err != nil {
		return cli.BadUsage("want HOST:PORT, as 127.0.0.1:9001: %w", err)
	}
	var end func()
	total := conformance.NewListener(o).Cases()
	if total == 0 {
		return errNoCases
	}
	o.Done, end = counting(std, total)
	l := conformance.NewListener(o)
	notice := *std
	if c.json {
		notice.out = std.err // standard output is one JSON array
	}
	nl, err := listen(&notice, arguments[0], *secure, "/", false)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "%d cases: /getCaseCount, /runCase?case=1&agent=NAME, /updateReports?agent=NAME; every other path gets the next case\n", l.Cases())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		done := map[string]bool{}
		for {
			select {
			case name := <-l.Ended():
				if done[name] = true; len(done) == *agents {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := l.Serve(ctx, nl); err != nil {
		return err
	}
	end()
	return c.show(std, l.Reports())
}

// conformConfig is the configuration of an endpoint under test: it compresses every
// message.
func conformConfig() conn.Config {
	return conn.Config{Deflate: &deflate.Config{Threshold: -1}}
}

func runConformClient(ctx context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("conform client")
	agent := flags.String("agent", "tickwire", "the name under which the suite reports")
	compress := flags.Bool("deflate", true, "offer permessage-deflate")
	first := flags.Int("from", 1, "the first case")
	final := flags.Int("to", 0, "the last case; 0 means the suite's last one")
	insecure := flags.Bool("insecure", false, "do not verify the server's certificate")
	ca := flags.String("ca", "", "a PEM file with the roots to trust, instead of the system's")
	arguments, err := parse(flags, std, args, 1)
	if err != nil {
		return err
	}
	if *first < 1 || *final < 0 {
		return cli.BadUsage("-from and -to must be positive")
	}
	if err := checkURL(arguments[0]); err != nil {
		return err
	}
	config, err := clientTLS(*ca, *insecure)
	if err != nil {
		return err
	}
	s := &suite{base: strings.TrimRight(arguments[0], "/"), dialer: &conn.Dialer{TLSConfig: config, Config: conformConfig()}}
	if !*compress {
		s.dialer.Config.Deflate = nil
	}
	return s.run(ctx, std, *agent, *first, *final)
}

// A suite is a suite that tests this program as a client.
type suite struct {
	base   string
	dialer *conn.Dialer

	messages int
	refused  int // connections that did not open
}

func (s *suite) run(ctx context.Context, std *streams, agent string, first, final int) error {
	count, err := s.count(ctx)
	if err != nil {
		return err
	}
	if final == 0 || final > count {
		final = count
	}
	d, start := cli.NewDisplay(std.err), time.Now()
	for i := first; i <= final; i++ {
		if d.Terminal() {
			d.Show(fmt.Sprintf("case %d of %d", i, count))
		}
		if err := s.runCase(ctx, i, agent); err != nil {
			return err
		}
	}
	d.End()
	c, err := dialURL(ctx, s.dialer, s.base+"/updateReports?agent="+url.QueryEscape(agent))
	if err != nil {
		return err
	}
	defer c.Close()
	defer c.Bind(ctx)()
	if _, err := c.ReadMessage(); goodEnd(err) != nil {
		if ctx.Err() != nil {
			return context.Canceled
		}
		return err
	}
	_, err = fmt.Fprintf(std.out, "%d of %d cases run, %d messages sent back, %d connections not opened, in %v\n",
		max(0, final-first+1), count, s.messages, s.refused, time.Since(start).Round(time.Millisecond))
	return err
}

func (s *suite) count(ctx context.Context) (int, error) {
	c, err := dialURL(ctx, s.dialer, s.base+"/getCaseCount")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer c.Bind(ctx)()
	m, err := c.ReadMessage()
	if ctx.Err() != nil {
		return 0, context.Canceled
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(m.Data))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the suite says that it has %.40q cases", m.Data)
	}
	return n, nil
}

// runCase echoes messages on one connection. The suite judges how that ends.
func (s *suite) runCase(ctx context.Context, i int, agent string) error {
	c, err := s.dialer.Dial(ctx, fmt.Sprintf("%s/runCase?case=%d&agent=%s", s.base, i, url.QueryEscape(agent)))
	if err != nil {
		if ctx.Err() != nil {
			return context.Canceled
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			return err // the suite has ended
		}
		s.refused++
		return nil
	}
	defer c.Close()
	defer c.Bind(ctx)()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return ctx.Err()
		}
		s.messages++
		if c.WriteMessage(m.Opcode, m.Data) != nil {
			// Read on: there may be a Close frame in what has arrived.
			continue
		}
	}
}

func runConformPage(_ context.Context, std *streams, args []string) error {
	flags := cli.NewFlags("conform page")
	html := flags.String("html", "", "the `file` to write; without it the page is printed")
	files, err := parseSome(flags, std, args)
	if err != nil {
		return err
	}
	var all []*conformance.Report
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return &cli.UsageError{Err: err}
		}
		reports, err := conformance.ReadJSON(file)
		file.Close()
		if err != nil {
			return cli.BadUsage("%s: %w", name, err)
		}
		all = append(all, reports...)
	}
	if *html != "" {
		return writePage(*html, all)
	}
	return conformance.WritePage(std.out, all)
}
