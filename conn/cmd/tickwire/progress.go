package main

import (
	"sync"
	"time"
)

// A progress shows a line a second on a terminal while a command runs that prints nothing
// else. What else goes to standard error stands above it.
type progress struct {
	*display
	stop chan struct{}
	done sync.WaitGroup
}

// startProgress shows line() from now on, if d is a terminal's.
func startProgress(d *display, line func() string) *progress {
	p := &progress{display: d, stop: make(chan struct{})}
	if !d.terminal {
		return p
	}
	p.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.show(line())
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// end leaves the last line standing.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.display.end()
}
