// Command tickwire runs a market-data feed end to end and helps to look at
// WebSocket servers by hand.
//
//	tickwire feed        consume a feed, verify it, print what it costs
//	tickwire exchange    the market-data server that feed starts by itself
//	tickwire tail URL    print the messages of a server, and send lines to it
//	tickwire serve       an echo server
//	tickwire conform     try servers and clients against the RFCs, or be tried
//	tickwire record URL FILE  keep what a server sends, byte for byte, over as many connections as it takes
//	tickwire replay FILE      a server that sends a recording
//	tickwire tier        the processor and the kernels that run on it
//	tickwire soak        many connections on loopback, for long: is anything lost, or left
//	tickwire doctor      what of this host slows a feed down, and what mends it
//	tickwire completion  a script with which a shell completes commands and flags
//	tickwire version     what this program was built from
//
// Exit codes: 0 all is well, 1 the run failed (a gap, a wrong checksum, a lost
// connection, output that could not be written), 2 the command line, the URL or
// the file cannot be used. A reader of the output that has gone, as head, is output
// that could not be written; messages on standard error that nobody reads are lost,
// and the command goes on.
//
// Conform exits with 1 if a case failed; with -strict if one is non-strict, too.
//
// Record, tail -reconnect and feed -reconnect go on until Ctrl-C, -n or -duration.
// Until they are connected they give up at once where the URL, the key or the
// certificate may be wrong: that is exit code 2. From then on they dial again
// whatever happens, and print each end. With -policy strict a refusal that is not
// said to pass, or a final Close code, still ends them. To give up is exit code 1.
//
// Record refuses a FILE that is there without -force, with which it is emptied when
// there is a connection.
//
// Doctor changes nothing, and says what it could not read. What it finds is no failure:
// its exit code is 0 when it ran. It looks at its own control group, GOMAXPROCS and
// GOMEMLIMIT: run it as the same user, and in the same container, as the program.
//
// Proxies are those of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) unless -proxy
// says something else. Where SSLKEYLOGFILE names a file, the secrets of TLS connections
// are added to it, for whoever looks at packets.
//
// Tail counts the lines of standard input that were not sent. They are exit code 1,
// unless standard input is a terminal, or -n or Ctrl-C has ended the run.
//
// Passwords of URLs, user names without a password, and values of -header are shown
// nowhere. Only -v, by the names of headers, hides those of less than four characters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// A command is one subcommand. Its run function gets the arguments after the
// name and a context that ends with Ctrl-C.
type command struct {
	name, synopsis, about string
	run                   func(ctx context.Context, std *streams, args []string) error
}

func commands() []command {
	return []command{
		{"feed", "[flags]", "consume a feed, verify it, print what it costs", runFeed},
		{"exchange", "[flags]", "run the market-data server that feed starts by itself", runExchange},
		{"tail", "[flags] URL", "print the messages of a server as they come, and send the lines of standard input; connect is another name", runTail},
		{"serve", "[flags]", "run an echo server", runServe},
		{"conform", "server|listen|client|page [flags] …", "try servers and clients against RFC 6455 and RFC 7692, or be tried", runConform},
		{"record", "[flags] URL FILE", "keep what a server sends, byte for byte, over as many connections as it takes, in a new FILE", runRecord},
		{"replay", "[flags] FILE", "run a server that sends a recording", runReplay},
		{"tier", "[flags]", "print the processor and the kernels that run on it", runTier},
		{"soak", "[flags]", "run many connections on loopback for long, and look whether anything is lost, grows or is left", runSoak},
		{"doctor", "[flags]", doctorAbout, runDoctor},
		{"completion", "bash|zsh|fish", "print a script with which a shell completes commands and flags", runCompletion},
		{"version", "[flags]", "print what this program was built from", runVersion},
	}
}

// Streams are the standard streams of the process, or a test's.
type streams struct {
	in       io.Reader
	out, err io.Writer
	secrets  []string // of the command line: err shows none of them
}

func main() {
	ignoreBrokenPipes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second Ctrl-C kills: whatever the first one waits for may never come.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}

// execute runs the subcommand that args name and returns the exit code.
func execute(ctx context.Context, std *streams, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &output{w: std.out, failed: cancel}
	secrets := append(secretsOf(args), proxySecrets()...)
	std = &streams{std.in, out, &redactor{std.err, secrets}, secrets}
	code := dispatch(ctx, std, args)
	if err := out.Err(); err != nil {
		fmt.Fprintf(std.err, "tickwire: the output cannot be written: %s\n", oneLine(err))
		return exitFailed
	}
	return code
}

// dispatch is execute but for what becomes of the output.
func dispatch(ctx context.Context, std *streams, args []string) int {
	if len(args) == 0 {
		usage(std.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(std.out)
		return exitOK
	}
	name := args[0]
	if name == "connect" {
		name = "tail"
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(ctx, std, args[1:])
		var bad *usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil && errors.Is(err, context.Canceled):
			return exitOK
		case errors.As(err, &bad):
			fmt.Fprintf(std.err, "tickwire %s: %s\n", c.name, oneLine(err))
			return exitUsage
		default:
			fmt.Fprintf(std.err, "tickwire %s: %s\n", c.name, oneLine(err))
			return exitFailed
		}
	}
	fmt.Fprintf(std.err, "tickwire: there is no command %q; tickwire help lists them\n", public(args[0]))
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: tickwire COMMAND [flags]")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.about)
	}
	fmt.Fprintln(w, "tickwire COMMAND -h prints the flags of a command. NO_COLOR is honoured; TLS logs its secrets to SSLKEYLOGFILE.")
	fmt.Fprintln(w, "Exit status: 0 all is well, 1 the run failed or its output could not be written, 2 the command line, the URL or the file cannot be used.")
}

// A usageError is a command line that cannot be run, or a URL that cannot be
// reached: the caller's to mend, exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// badUsage returns a usageError with a formatted text.
func badUsage(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// oneLine returns the text of err on one line, whatever a server put into it.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
}

// newFlags returns the flag set of a subcommand. The flag package's own error
// output, which runs over pages, is replaced by the one line of execute.
func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// badHeader reports that the flag -header got something else.
func badHeader(f *flag.FlagSet) bool {
	h := f.Lookup("header")
	return h != nil && h.Value.(*header).bad
}

// hiddenFlags are for this program itself.
var hiddenFlags = []string{"leash"}

// printFlags prints the flags of a subcommand, but hidden ones.
func printFlags(w io.Writer, f *flag.FlagSet) {
	shown := flag.NewFlagSet(f.Name(), flag.ContinueOnError)
	shown.SetOutput(w)
	f.VisitAll(func(each *flag.Flag) {
		if !slices.Contains(hiddenFlags, each.Name) {
			shown.Var(each.Value, each.Name, each.Usage)
			shown.Lookup(each.Name).DefValue = each.DefValue
		}
	})
	shown.PrintDefaults()
}

// parse reads the flags of a subcommand and returns the arguments behind them,
// of which there must be exactly want.
func parse(f *flag.FlagSet, std *streams, args []string, want int) ([]string, error) {
	return parseBetween(f, std, args, want, want)
}

// parseSome is parse for one argument or more.
func parseSome(f *flag.FlagSet, std *streams, args []string) ([]string, error) {
	return parseBetween(f, std, args, 1, math.MaxInt)
}

func parseBetween(f *flag.FlagSet, std *streams, args []string, least, most int) ([]string, error) {
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		for _, c := range slices.Concat(commands(), conformCommands()) {
			if c.name == f.Name() {
				fmt.Fprintf(std.out, "usage: tickwire %s\n%s.\n", strings.TrimSpace(c.name+" "+c.synopsis), c.about)
			}
		}
		printFlags(std.out, f)
		return nil, err
	case err != nil:
		return nil, badUsage("%w; tickwire %s -h lists the flags", err, f.Name())
	case badHeader(f):
		return nil, badUsage("-header: want Name: value, in one argument")
	case f.NArg() < least:
		return nil, badUsage("an argument is missing; tickwire %s -h tells which", f.Name())
	case f.NArg() > most:
		return nil, badUsage("unexpected argument %q; flags stand before arguments", public(f.Arg(most)))
	}
	return f.Args(), nil
}
