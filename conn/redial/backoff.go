package redial

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// The defaults of Backoff.
const (
	DefaultBase        = 250 * time.Millisecond
	DefaultCap         = 30 * time.Second
	DefaultStableAfter = 30 * time.Second
)

// Backoff is the wait before the next attempt: a random time between Floor and min(Cap,
// Base·2ⁿ). n counts the attempts since the last stable session. The random part keeps
// clients that lost the same server from returning together ("full jitter").
//
// Only a stable session resets the count; opening a connection does not. So a server that
// accepts and drops at once is not dialed more and more often. The first attempt after a
// stable session waits only for Floor.
type Backoff struct {
	// Base is doubled with each attempt; 0 means DefaultBase.
	Base time.Duration
	// Cap bounds the wait; 0 means DefaultCap.
	Cap time.Duration
	// Floor is the shortest wait.
	Floor time.Duration
	// StableAfter is how long a session must have lasted to be stable; 0 means
	// DefaultStableAfter.
	StableAfter time.Duration
	// StableMessages is how many messages make a session stable before StableAfter has
	// passed. 0 means that messages do not count.
	StableMessages uint64
	// MaxAttempts is how many attempts may fail in a row before Run gives up; 0 means no
	// limit. The connections of sessions that were not stable count.
	MaxAttempts int
}

// Delay returns a wait before attempt n, where the first has n = 0. It is defined for
// every n.
func (b Backoff) Delay(n int) time.Duration {
	most := b.ceiling(n)
	if most <= b.Floor {
		return b.Floor
	}
	span := min(most-max(b.Floor, 0), math.MaxInt64-1) // of the longest Cap it cannot be one more
	return max(b.Floor, 0) + rand.N(span+1)
}

// ceiling returns min(Cap, Base·2ⁿ), and Floor if that is more.
func (b Backoff) ceiling(n int) time.Duration {
	base, limit := orDefault(b.Base, DefaultBase), orDefault(b.Cap, DefaultCap)
	most := limit
	if n < 0 {
		n = 0
	}
	if n < 62 && base <= math.MaxInt64>>n {
		most = min(limit, base<<n)
	}
	return max(most, b.Floor)
}

func (b Backoff) stable(age time.Duration, messages uint64) bool {
	return age >= orDefault(b.StableAfter, DefaultStableAfter) || b.StableMessages > 0 && messages >= b.StableMessages
}

func orDefault(d, byDefault time.Duration) time.Duration {
	if d <= 0 {
		return byDefault
	}
	return d
}

// Limiter limits how many dials begin within a span of time, over all Clients that share
// it. It is for servers that count connections per address. The zero value does not
// limit. It is safe for concurrent use.
type Limiter struct {
	// Dials may begin within any span of Per.
	Dials int
	// Per is that span.
	Per time.Duration

	mu     sync.Mutex
	begins []time.Time // of the last Dials dials, some of them yet to come; a ring
	next   int
}

// Wait returns when a dial may begin, or with the error of ctx when that ends. A place
// given up that way still counts.
func (l *Limiter) Wait(ctx context.Context) error {
	if l == nil || l.Dials <= 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	at := time.Now()
	if len(l.begins) < l.Dials {
		l.begins = append(l.begins, at)
	} else {
		if oldest := l.begins[l.next]; oldest.Add(l.Per).After(at) {
			at = oldest.Add(l.Per)
		}
		l.begins[l.next] = at
		l.next = (l.next + 1) % len(l.begins)
	}
	l.mu.Unlock()
	return sleep(ctx, time.Until(at))
}

// sleep waits for d, or returns the error of ctx when that ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
