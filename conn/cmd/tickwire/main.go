// Command tickwire runs a market-data feed end to end, and tests WebSocket servers by
// hand.
//
//	tickwire feed        consume a feed, verify it, print what it costs
//	tickwire exchange    the market-data server that feed starts by itself
//	tickwire tail URL    print the messages of a server, and send lines to it
//	tickwire serve       an echo server
//	tickwire conform     test servers and clients against the RFCs, or be tested
//	tickwire record URL FILE  record what a server sends, byte for byte
//	tickwire replay FILE      a server that sends a recording
//	tickwire tier        the processor and the kernels that run on it
//	tickwire soak        many connections for long: is anything lost or left over
//	tickwire doctor      what slows a feed down on this host, and how to change it
//	tickwire completion  a script that makes a shell complete commands and flags
//	tickwire version     what this program was built from
//
// Exit code 0: all is well. 1: the run failed, for example with a gap, a wrong checksum,
// a lost connection, or output that could not be written. 2: the command line, the URL or
// the file cannot be used. If the reader of the output has gone, such as head, the output
// could not be written. If the reader of standard error has gone, messages are lost and
// the command goes on.
//
// Conform exits with 1 if a case failed, and with -strict also if one is non-strict.
//
// Record, tail -reconnect and feed -reconnect run until Ctrl-C, -n or -duration. Before
// the first connection they give up at once if the URL, the key or the certificate may be
// wrong, with exit code 2. After it they always dial again, and print how each connection
// ended. With -policy strict they give up after a final Close code, and after a refusal
// that does not say it is temporary. The exit code is then 1.
//
// Record refuses an existing FILE without -force. With -force it empties the file when
// there is a connection.
//
// Doctor changes nothing. It says what it could not read. Its exit code is 0 whatever it
// finds. It inspects its own control group, GOMAXPROCS and GOMEMLIMIT, so run it as the
// same user and in the same container as the program.
//
// Without -proxy the environment names the proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
// If SSLKEYLOGFILE names a file, TLS secrets are appended to it, for programs that
// decrypt captured packets.
//
// Tail counts the lines of standard input that were not sent. If there are any the exit
// code is 1, unless standard input is a terminal, or -n or Ctrl-C has ended the run.
//
// Passwords of URLs, user names without a password, and values of -header are never
// printed. If such a value has less than four characters, only -v hides it, by the name
// of its header.
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

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// A command is one subcommand. Its run function gets the arguments after the name, and a
// context that ends with Ctrl-C.
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
		{"conform", "server|listen|client|page [flags] …", "test servers and clients against RFC 6455 and RFC 7692, or be tested", runConform},
		{"record", "[flags] URL FILE", "record what a server sends, byte for byte, over successive connections, in a new FILE", runRecord},
		{"replay", "[flags] FILE", "run a server that sends a recording", runReplay},
		{"tier", "[flags]", "print the processor and the kernels that run on it", runTier},
		{"soak", "[flags]", "run many connections on loopback for long, and check whether anything is lost, grows or is left over", runSoak},
		{"doctor", "[flags]", doctorAbout, runDoctor},
		{"completion", "bash|zsh|fish", "print a script that makes a shell complete commands and flags", runCompletion},
		{"version", "[flags]", "print what this program was built from", runVersion},
	}
}

// Streams are the standard streams of the process, or a test's.
type streams struct {
	in       io.Reader
	out, err io.Writer
	secrets  []string // of the command line: err hides them
}

func main() {
	ignoreBrokenPipes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second Ctrl-C kills the process, even if what the first one waits for never
	// comes.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}

// execute runs the subcommand named in args and returns the exit code.
func execute(ctx context.Context, std *streams, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &cli.Output{W: std.out, Failed: cancel}
	secrets := append(secretsOf(args), proxySecrets()...)
	std = &streams{std.in, out, &cli.Redactor{W: std.err, Secrets: secrets}, secrets}
	code := dispatch(ctx, std, args)
	if err := out.Err(); err != nil {
		fmt.Fprintf(std.err, "tickwire: the output cannot be written: %s\n", cli.OneLine(err))
		return exitFailed
	}
	return code
}

// dispatch is execute without the check of the output.
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
		var bad *cli.UsageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil && errors.Is(err, context.Canceled):
			return exitOK
		case errors.As(err, &bad):
			fmt.Fprintf(std.err, "tickwire %s: %s\n", c.name, cli.OneLine(err))
			return exitUsage
		default:
			fmt.Fprintf(std.err, "tickwire %s: %s\n", c.name, cli.OneLine(err))
			return exitFailed
		}
	}
	fmt.Fprintf(std.err, "tickwire: there is no command %q; tickwire help lists them\n", public(args[0]))
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: tickwire COMMAND [flags]")
	for _, c := range commands() {
		listed(w, 10, c)
	}
	for _, text := range []string{
		"tickwire COMMAND -h prints the flags of a command. NO_COLOR is honoured; TLS logs its secrets to SSLKEYLOGFILE.",
		"Exit status: 0 all is well, 1 the run failed or its output could not be written, 2 the command line, the URL or the file cannot be used.",
	} {
		fmt.Fprintln(w, strings.Join(cli.Wrap(text, cli.Columns), "\n"))
	}
}

// listed prints a command's name, in a column of a width, and what it does.
func listed(w io.Writer, width int, c command) {
	name := c.name
	for _, line := range cli.Wrap(c.about, cli.Columns-width-3) {
		fmt.Fprintf(w, "  %-*s %s\n", width, name, line)
		name = ""
	}
}

// badHeader reports whether the flag -header got something else.
func badHeader(f *flag.FlagSet) bool {
	h := f.Lookup("header")
	return h != nil && h.Value.(*header).bad
}

// parse reads the flags of a subcommand and returns the arguments after them. There must
// be exactly want.
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
				about := strings.Join(cli.Wrap(c.about+".", cli.Columns), "\n")
				fmt.Fprintf(std.out, "usage: tickwire %s\n%s\n", strings.TrimSpace(c.name+" "+c.synopsis), about)
			}
		}
		cli.PrintFlags(std.out, f)
		return nil, err
	case err != nil:
		return nil, cli.BadUsage("%w; tickwire %s -h lists the flags", err, f.Name())
	case badHeader(f):
		return nil, cli.BadUsage("-header: want Name: value, in one argument")
	case f.NArg() < least:
		return nil, cli.BadUsage("an argument is missing; tickwire %s -h tells which", f.Name())
	case f.NArg() > most:
		return nil, cli.BadUsage("unexpected argument %q; flags go before arguments", public(f.Arg(most)))
	}
	return f.Args(), nil
}
