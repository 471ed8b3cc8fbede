// Command relay runs the parts of a relay: a feed over NATS JetStream, with clients that
// continue where they stopped.
//
//	relay demo        all parts on this machine, with kills: is anything lost or doubled
//	relay ingest      append a feed to a stream
//	relay gateway     serve streams over WebSocket
//	relay tail        print a stream, from a gateway
//	relay bench       what the ingester and the gateway cost, beside plain loops
//	relay exchange    the numbered feed that demo starts by itself
//
// Exit codes: 0 all is well, 1 the run failed (something was lost or doubled, the engine
// or a gateway refused, output could not be written), 2 the command line, or an address,
// a file or a stream that it names, cannot be used.
//
// Ctrl-C ends a command in order: ingest appends what it has, gateway tells its clients
// where to continue, tail keeps its position, demo prints its report. The second Ctrl-C
// kills.
//
// Ingest and tail with one URL give up at once if they cannot connect at first, because
// the URL may be wrong. From then on they dial again whatever happens, and print each
// end.
//
// The password of the engine and the token of a gateway may be in the environment:
// TICKWIRE_RELAY_PASSWORD and TICKWIRE_RELAY_TOKEN. Neither is ever shown, nor are
// passwords of URLs and values of -header.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// A command is one subcommand. Its run function gets the arguments after the name and a
// context that ends with Ctrl-C.
type command struct {
	name, synopsis, about string
	run                   func(ctx context.Context, std *streams, args []string) error
}

func commands() []command {
	return []command{
		{"demo", "[flags]", "run all parts on this machine, kill some, and count what is lost or doubled", runDemo},
		{"ingest", "-url URL -stream NAME [flags]", "append a feed, from one line or redundant ones, to a stream", runIngest},
		{"gateway", "-stream NAME [flags]", "serve streams over WebSocket", runGateway},
		{"tail", "-url URL -stream NAME [flags]", "print a stream, from a gateway, and continue after a lost connection", runTail},
		{"bench", "[flags]", "compare the ingester and the gateway with plain loops, in CPU time", runBench},
		{"exchange", "[flags]", "run the numbered feed that demo starts by itself", runExchange},
	}
}

// Streams are the standard streams of the process, or a test's.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	engine.Main()
	ignoreBrokenPipes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C kills
	os.Exit(execute(ctx, &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}

// execute runs the subcommand that args name and returns the exit code.
func execute(ctx context.Context, std *streams, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &cli.Output{W: std.out, Failed: cancel}
	std = &streams{std.in, out, &cli.Redactor{W: std.err, Secrets: secretsOf(args)}}
	code := dispatch(ctx, std, args)
	if err := out.Err(); err != nil {
		fmt.Fprintf(std.err, "relay: the output cannot be written: %s\n", cli.OneLine(err))
		return exitFailed
	}
	return code
}

// dispatch is execute except for what becomes of the output.
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
	for _, c := range append(commands(), command{name: "publish", run: runPublish}) { // of bench
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, std, args[1:])
		var bad *cli.UsageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil && errors.Is(err, context.Canceled):
			return exitOK
		case errors.As(err, &bad):
			fmt.Fprintf(std.err, "relay %s: %s\n", c.name, cli.OneLine(err))
			return exitUsage
		default:
			fmt.Fprintf(std.err, "relay %s: %s\n", c.name, cli.OneLine(err))
			return exitFailed
		}
	}
	fmt.Fprintf(std.err, "relay: there is no command %q; relay help lists them\n", args[0])
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: relay COMMAND [flags]")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.about)
	}
	fmt.Fprintln(w, "relay COMMAND -h prints the flags of a command.")
	fmt.Fprintln(w, "Exit status: 0 all is well, 1 the run failed or its output could not be written, 2 the command line, or what it names, cannot be used.")
}

// parse reads the flags of a subcommand, which has no other arguments.
func parse(f *flag.FlagSet, std *streams, args []string) error {
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		for _, c := range commands() {
			if c.name == f.Name() {
				fmt.Fprintf(std.out, "usage: relay %s %s\n%s.\n", c.name, c.synopsis, c.about)
			}
		}
		cli.PrintFlags(std.out, f)
		return err
	case err != nil:
		return cli.BadUsage("%w; relay %s -h lists the flags", err, f.Name())
	case f.NArg() > 0:
		return cli.BadUsage("unexpected argument %q; relay %s -h lists the flags", f.Arg(0), f.Name())
	}
	return nil
}

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// listFlag registers a list.
func listFlag(f *flag.FlagSet, name, usage string) *list {
	l := new(list)
	f.Var(l, name, usage+"; may be given several times")
	return l
}
