package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// errLimit ends a run after enough messages.
var errLimit = errors.New("the limit of messages is reached")

// printChange prints the sessions of a connection, and why each ended.
func printChange(w io.Writer) func(redial.Change) {
	return func(ch redial.Change) {
		switch ch.State {
		case redial.Up:
			fmt.Fprintf(w, "session %d: connected to %s, attempt %d\n", ch.Epoch, public(ch.URL), ch.Attempt)
		case redial.Failed:
			fmt.Fprintf(w, "attempt %d: %s\n", ch.Attempt, cli.OneLine(ch.Err))
		case redial.Down:
			by := "the " + ch.By.String()
			if ch.By == redial.ByUs {
				by = "this side"
			}
			fmt.Fprintf(w, "session %d: ended by %s after %v and %d messages: %s\n",
				ch.Epoch, by, ch.Age.Round(time.Millisecond), ch.Messages, cli.OneLine(ch.Err))
		case redial.Waiting:
			fmt.Fprintf(w, "next attempt in %v\n", ch.Delay.Round(time.Millisecond))
		}
	}
}

// A policyFlag is the flag -policy. It says after which errors to dial again, once there
// was a session.
type policyFlag struct {
	policy redial.Policy
	given  bool
}

func (p *policyFlag) String() string { return p.policy.String() }

func (p *policyFlag) Set(s string) error {
	for _, policy := range []redial.Policy{redial.Persistent, redial.Strict} {
		if s == policy.String() {
			p.policy, p.given = policy, true
			return nil
		}
	}
	return errors.New("want persistent or strict")
}

func (p *policyFlag) register(flags *flag.FlagSet) {
	flags.Var(p, "policy", "`which` ends are dialed again once there was a connection: persistent, the default, gives up only what no attempt can "+
		"mend; strict gives up at a refusal that may last, a bad certificate, or a Close with 1002, 1003 or 1007 to 1010")
}

// A judge decides whether to dial again. Before the first session it is strict, because
// the URL or the key may be wrong, and endless attempts would hide that. A session proves
// them right.
type judge struct {
	policy    redial.Policy
	connected atomic.Bool
}

// classify is the Classify of a redial.Client. Both policies dial again after a Close
// frame with code 1000: these commands run until they are told to stop.
func (j *judge) classify(err error) redial.Decision {
	if j.policy == redial.Persistent && j.connected.Load() {
		return redial.Persistent.Classify(err)
	}
	d := redial.Strict.Classify(err)
	if conn.CloseCode(err) == frame.CodeNormal {
		d.Retry = true
	}
	return d
}

// onChange is the OnChange of a redial.Client. It also calls next.
func (j *judge) onChange(next func(redial.Change)) func(redial.Change) {
	return func(ch redial.Change) {
		if ch.State == redial.Up {
			j.connected.Store(true)
		}
		next(ch)
	}
}

// redialEnd turns the end of a redial.Client into that of a command. Giving up is an
// error, whatever the reason.
func redialEnd(ctx context.Context, url string, err error, connections uint64) error {
	switch {
	case errors.Is(err, errLimit), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	case connections == 0:
		return &cli.UsageError{Err: explained(url, err)}
	}
	return err
}
