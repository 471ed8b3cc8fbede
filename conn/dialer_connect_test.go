package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// An answer is how an address behaves in a test of stagger.
type answer struct {
	after time.Duration
	err   error // nil: it connects
	never bool  // not before the context ends
	deaf  bool  // not even then: the answer comes all the same
}

// An arena is addresses that are dialed on synthetic time.
type arena struct {
	mu     sync.Mutex
	start  time.Time
	begun  []string // "address at time"
	ends   map[string]*netsim.Conn
	scenes map[string]answer
}

func (a *arena) dial(ctx context.Context, address string) (net.Conn, error) {
	a.mu.Lock()
	a.begun = append(a.begun, fmt.Sprint(address, " at ", time.Since(a.start)))
	a.mu.Unlock()
	s := a.scenes[address]
	done := ctx.Done()
	if s.deaf {
		done = nil
	}
	var due <-chan time.Time
	if !s.never {
		due = time.After(s.after)
	}
	select {
	case <-done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("operation was canceled")}
	case <-due:
	}
	if s.err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, s.err)
	}
	nc, _ := netsim.Pipe(0)
	a.mu.Lock()
	a.ends[address] = nc
	a.mu.Unlock()
	return nc, nil
}

// RFC 8305 §5, on synthetic time: which attempt begins when, which one wins, and what becomes of the others.
func TestAttemptsAreStaggered(t *testing.T) {
	const ms = time.Millisecond
	refused := syscall.ECONNREFUSED
	for name, c := range map[string]struct {
		scenes []answer // of the addresses 1, 2, …
		begun  string
		won    string
		took   time.Duration
		err    string
	}{
		"one":                       {[]answer{{after: 10 * ms}}, "1 at 0s", "1", 10 * ms, ""},
		"one, refused":              {[]answer{{err: refused}}, "1 at 0s", "", 0, "dial 1: connection refused"},
		"the first is fast":         {[]answer{{after: 249 * ms}, {}}, "1 at 0s", "1", 249 * ms, ""},
		"the first is a black hole": {[]answer{{never: true}, {after: 10 * ms}}, "1 at 0s, 2 at 250ms", "2", 260 * ms, ""},
		"two black holes":           {[]answer{{never: true}, {never: true}, {}}, "1 at 0s, 2 at 250ms, 3 at 500ms", "3", 500 * ms, ""},
		"the first refuses":         {[]answer{{err: refused}, {after: 10 * ms}}, "1 at 0s, 2 at 0s", "2", 10 * ms, ""},
		"the first refuses late":    {[]answer{{err: refused, after: 100 * ms}, {never: true}, {}}, "1 at 0s, 2 at 100ms, 3 at 350ms", "3", 350 * ms, ""},
		"the first comes late":      {[]answer{{after: 300 * ms}, {never: true}, {}}, "1 at 0s, 2 at 250ms", "1", 300 * ms, ""},
		"the first refuses while the second goes on": {[]answer{{err: refused, after: 260 * ms}, {after: 900 * ms}, {never: true}},
			"1 at 0s, 2 at 250ms, 3 at 260ms", "2", 1150 * ms, ""},
		"the last is slow":   {[]answer{{err: refused}, {err: refused}, {after: time.Minute}}, "1 at 0s, 2 at 0s, 3 at 0s", "3", time.Minute, ""},
		"both at once":       {[]answer{{after: 300 * ms, deaf: true}, {after: 50 * ms, deaf: true}}, "1 at 0s, 2 at 250ms", "", 300 * ms, ""},
		"the slower is deaf": {[]answer{{after: 400 * ms, deaf: true}, {}}, "1 at 0s, 2 at 250ms", "2", 400 * ms, ""},
		"all refuse": {[]answer{{err: refused}, {err: refused, after: 10 * ms}, {err: syscall.EHOSTUNREACH}}, "1 at 0s, 2 at 0s, 3 at 10ms", "", 10 * ms,
			"dial 1: connection refused; dial 2: connection refused; dial 3: no route to host"},
		"nine refuse": {slices.Repeat([]answer{{err: refused}}, 9), "", "", 0, "dial 8: connection refused; and 1 more"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &arena{start: time.Now(), ends: map[string]*netsim.Conn{}, scenes: map[string]answer{}}
				var addresses []string
				for i, s := range c.scenes {
					address := fmt.Sprint(i + 1)
					addresses = append(addresses, address)
					a.scenes[address] = s
				}
				nc, err := stagger(t.Context(), addresses, a.dial)
				if took := time.Since(a.start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if got := strings.Join(a.begun, ", "); c.begun != "" && got != c.begun {
					t.Errorf("begun: %s; want %s", got, c.begun)
				}
				if (nc == nil) == (err == nil) {
					t.Fatal(nc, err)
				}
				if err != nil && (!strings.HasSuffix(err.Error(), c.err) || c.err == "" || !errors.Is(err, refused)) {
					t.Errorf("%v, want %s", err, c.err)
				}
				open := 0
				for address, end := range a.ends {
					if !end.Closed() {
						open++
						if end != nc || c.won != "" && address != c.won {
							t.Errorf("the connection to %s is open, %s should have won", address, c.won)
						}
					}
				}
				if err == nil && open != 1 {
					t.Errorf("%d connections are open", open)
				}
			})
		})
	}
}

// The context's end ends all attempts at once, and its error tells how far each came.
func TestAttemptsEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &arena{start: time.Now(), ends: map[string]*netsim.Conn{}, scenes: map[string]answer{
			"1": {never: true}, "2": {err: syscall.ECONNREFUSED, after: time.Millisecond}, "3": {never: true}, "4": {never: true},
		}}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, os.ErrDeadlineExceeded)
		defer cancel()
		_, err := stagger(ctx, []string{"1", "2", "3", "4", "5"}, a.dial)
		o := &dialAttempt{d: &Dialer{}, ctx: ctx}
		o.url, _ = parseURL("ws://h/")
		err = o.failed("connect", err)
		const want = "conn: dial ws://h/: connect: i/o timeout (no answer from 1; dial 2: connection refused; no answer from 3; not tried: 2 more)"
		if err.Error() != want || time.Since(a.start) != 300*time.Millisecond {
			t.Errorf("%v after %v, want %s", err, time.Since(a.start), want)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) || !wantDialError(t, err, "connect").Timeout() {
			t.Errorf("%v matches the wrong errors", err)
		}
	})
}

// A panic of a hook that runs within an attempt is the caller's.
func TestAttemptThatPanics(t *testing.T) {
	for _, second := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			other, _ := netsim.Pipe(0)
			defer func() {
				if v := recover(); v != "kaboom" {
					t.Errorf("recovered %v", v)
				}
				if second && !other.Closed() {
					t.Error("the other attempt's connection is open")
				}
			}()
			nc, err := stagger(t.Context(), []string{"1", "2"}, func(ctx context.Context, address string) (net.Conn, error) {
				if second && address == "1" {
					<-ctx.Done()
					return other, nil
				}
				panic("kaboom")
			})
			t.Error(nc, err)
		})
	}
	// One that ends its goroutine instead is an error.
	synctest.Test(t, func(t *testing.T) {
		if nc, err := stagger(t.Context(), []string{"1", "2"}, func(context.Context, string) (net.Conn, error) { return nil, errNothing }); nc != nil || !errors.Is(err, errNothing) {
			t.Error(nc, err)
		}
	})
}

// RFC 8305 §4: the families in turn, in the resolver's order, beginning with its first; nothing twice.
func TestAddressesAreInterleaved(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1":                         "10.0.0.1:80",
		"10.0.0.1 10.0.0.2 10.0.0.1":       "10.0.0.1:80 10.0.0.2:80",
		"10.0.0.1 10.0.0.2 ::1 ::2 ::3":    "10.0.0.1:80 [::1]:80 10.0.0.2:80 [::2]:80 [::3]:80",
		"::1 ::2 ::3 10.0.0.1":             "[::1]:80 10.0.0.1:80 [::2]:80 [::3]:80",
		"::1 10.0.0.1 ::ffff:10.0.0.1 ::1": "[::1]:80 10.0.0.1:80",
	} {
		var found []net.IPAddr
		for _, s := range strings.Fields(in) {
			found = append(found, net.IPAddr{IP: net.ParseIP(s)})
		}
		if got := strings.Join(interleaved(found, "80"), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := interleaved([]net.IPAddr{{IP: net.ParseIP("fe80::1"), Zone: "eth0"}}, "80"); got[0] != "[fe80::1%eth0]:80" {
		t.Error(got)
	}
}
