package main

import (
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// A progress shows a line a second on a terminal, for a command that prints nothing else.
// Other output to standard error appears above it.
type progress struct {
	*cli.Display
	stop chan struct{}
	done sync.WaitGroup
}

// startProgress starts to show line(), if d is a terminal.
func startProgress(d *cli.Display, line func() string) *progress {
	p := &progress{Display: d, stop: make(chan struct{})}
	if !d.Terminal() {
		return p
	}
	p.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.Show(line())
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// end keeps the last line on the terminal.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.Display.End()
}
