package soak

import (
	"context"
	"fmt"
	"sync"
)

// failing collects failures.
type failing struct {
	mu       sync.Mutex
	failures []string
}

func (f *failing) fail(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const most = 20
	if len(f.failures) < most {
		f.failures = append(f.failures, fmt.Sprintf(format, args...))
	}
}

// untimed returns a context that ends with ctx but has no deadline. A dial would take
// over the deadline. It could then fail a moment before ctx.Err is set.
func untimed(ctx context.Context) (own context.Context, cancel context.CancelFunc) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	return own, func() {
		stop()
		end()
	}
}

// failIn is fail, unless ctx has ended: its end interrupts everything.
func (f *failing) failIn(ctx context.Context, format string, args ...any) {
	if ctx.Err() == nil {
		f.fail(format, args...)
	}
}

func (f *failing) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.failures) > 0
}
