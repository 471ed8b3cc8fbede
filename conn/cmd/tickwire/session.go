package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// errLimit ends a run that has seen enough messages.
var errLimit = errors.New("the limit of messages is reached")

// tellChange prints what becomes of a connection: a line for each session, and why it ended.
func tellChange(w io.Writer) func(redial.Change) {
	return func(ch redial.Change) {
		switch ch.State {
		case redial.Up:
			fmt.Fprintf(w, "session %d: connected to %s, attempt %d\n", ch.Epoch, public(ch.URL), ch.Attempt)
		case redial.Failed:
			fmt.Fprintf(w, "attempt %d: %s\n", ch.Attempt, oneLine(ch.Err))
		case redial.Down:
			by := "the " + ch.By.String()
			if ch.By == redial.ByUs {
				by = "this side"
			}
			fmt.Fprintf(w, "session %d: ended by %s after %v and %d messages: %s\n",
				ch.Epoch, by, ch.Age.Round(time.Millisecond), ch.Messages, oneLine(ch.Err))
		case redial.Waiting:
			fmt.Fprintf(w, "next attempt in %v\n", ch.Delay.Round(time.Millisecond))
		}
	}
}

// classify is redial.Strict for commands that are to go on until they are told to stop: a server that says it is done (1000) is
// dialed again.
func classify(err error) redial.Decision {
	d := redial.Strict.Classify(err)
	if conn.CloseCode(err) == frame.CodeNormal {
		d.Retry = true
	}
	return d
}

// redialEnd turns the end of a run over connections into that of a command: to give up is an error, whatever the reason.
func redialEnd(ctx context.Context, url string, err error, connections uint64) error {
	switch {
	case errors.Is(err, errLimit), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	case connections == 0:
		return &usageError{explained(url, err)}
	}
	return err
}
