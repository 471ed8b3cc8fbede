package redial

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// clocks are those that only messages for the handler wind. Like those of package conn
// they look at counters, eight times within a limit, so that a message costs no reading
// of the time.
type clocks struct {
	on    atomic.Bool   // phase is kept
	phase atomic.Uint64 // twice the messages delivered, and one more while the handler has one
	poke  chan struct{} // has a place: watches have changed

	mu      sync.RWMutex
	watches map[string]*watch
}

type watch struct {
	limit time.Duration
	alive atomic.Uint64 // calls of Alive

	// By keep.
	seen uint64
	at   time.Time // of the last call, as far as looks tell
}

// Watch starts a clock for key, such as a subscription. If Alive is not called with key
// for timeout, or up to an eighth longer, the session ends with a *TimeoutError that
// matches ErrNoData. It finds subscriptions that are confirmed but bring nothing, while
// others do.
//
// The clock runs after OnConnect has returned. It stops while a call of the handler
// lasts, except in the call that set the first clock of the session. A timeout of 0 or
// less stops it. Watch may be called from any goroutine.
func (s *Session) Watch(key string, timeout time.Duration) {
	k := &s.clocks
	k.mu.Lock()
	if timeout <= 0 {
		delete(k.watches, key)
	} else {
		if k.watches == nil {
			k.watches = map[string]*watch{}
		}
		k.watches[key] = &watch{limit: timeout, at: time.Now()}
		k.on.Store(true)
	}
	k.mu.Unlock()
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// Alive resets the clock of Watch for key: a message of it has come. It does not
// allocate, and may be called from any goroutine.
func (s *Session) Alive(key string) {
	k := &s.clocks
	k.mu.RLock()
	w := k.watches[key]
	k.mu.RUnlock()
	if w != nil {
		w.alive.Add(1)
	}
}

// given and handled tell the clocks that the handler gets a message, and that it has
// returned; by the reading goroutine.
func (s *Session) given() {
	if s.clocks.on.Load() {
		s.clocks.phase.Store(2*s.messages + 1)
	}
}

func (s *Session) handled() {
	if s.clocks.on.Load() {
		s.clocks.phase.Store(2 * s.messages)
	}
}

// A keeper looks after a session until it ends: its clocks, signs of life, and its age.
type keeper struct {
	r *runner
	s *Session

	look   *time.Ticker // nil if no clock is on
	every  time.Duration
	data   time.Duration
	dataAt time.Time
	phase  uint64 // at the last look
	turn   uint64 // likewise, of runner.turns
	lookAt time.Time

	signing bool // a sign is being written
	fresh   bool // silence counts from that one
	sent    chan error
	silence *time.Timer // nil unless an answer is awaited
	// When the timer fired, the handler had a message in the phase busy, and another
	// handler of the Poller had one in the turn busyTurn. 0: it had none.
	busy, busyTurn uint64
	graced         bool // the reader got some more time after that
}

func (r *runner) keep(s *Session) {
	stop := s.partAtEnd(r.ctx) // also while the reader waits, or a sign is being written
	defer stop()
	k := &keeper{r: r, s: s, data: r.c.dataTimeout(), sent: make(chan error, 1)}
	k.start()
	defer k.stop()
	var age, sign <-chan time.Time
	if limit := r.c.MaxAge; limit > 0 {
		t := time.NewTimer(limit - rand.N(limit/10+1) - time.Since(s.Began))
		defer t.Stop()
		age = t.C
	}
	if l := r.c.LifeSign; l != nil && l.Send != nil && l.Every > 0 {
		t := time.NewTicker(l.Every)
		defer t.Stop()
		sign = t.C
	}
	for {
		var looks, silent <-chan time.Time
		if k.look != nil {
			looks = k.look.C
		}
		if k.silence != nil {
			silent = k.silence.C
		}
		select {
		case <-r.ctx.Done():
			s.part(frame.CodeGoingAway) // stop may come before the other
			return
		case <-s.Conn.Done():
			return
		case <-age:
			r.helpers.Go(func() { r.rotate(s) })
		case <-s.clocks.poke:
			k.setLook()
		case now := <-looks:
			if err := k.judge(now); err != nil {
				s.judgedDead(err)
			}
		case <-sign:
			k.sign()
		case err := <-k.sent:
			k.signed(err)
		case <-silent:
			k.judgeSilence()
		}
	}
}

// start has the clocks begin now.
func (k *keeper) start() {
	now := time.Now()
	c := &k.s.clocks
	k.dataAt, k.lookAt = now, now
	k.phase = c.phase.Load()
	c.mu.Lock()
	for _, w := range c.watches {
		w.at = now
	}
	c.mu.Unlock()
	k.setLook()
}

// stop waits for a sign that is being written: the connection has ended, so that takes no
// time. One that is never made is left.
func (k *keeper) stop() {
	k.stopLook()
	k.stopSilence()
	if k.signing {
		t := time.NewTimer(DefaultCloseWait)
		defer t.Stop()
		select {
		case <-k.sent:
		case <-t.C:
		}
	}
}

// setLook sets how often to look.
func (k *keeper) setLook() {
	shortest := k.data
	c := &k.s.clocks
	c.mu.RLock()
	for _, w := range c.watches {
		if shortest <= 0 || w.limit < shortest {
			shortest = w.limit
		}
	}
	c.mu.RUnlock()
	every := time.Duration(0)
	if shortest > 0 {
		every = max(shortest/8, 1)
	}
	if every == k.every {
		return // one that begins anew with each Watch would never come to its end
	}
	k.stopLook()
	if k.every = every; every > 0 {
		k.r.turns.watch()
		k.look = time.NewTicker(every)
	}
}

func (k *keeper) stopLook() {
	if k.look != nil {
		k.look.Stop()
		k.look = nil
	}
}

// judge looks at the clocks, and returns the error of the one that has run out.
func (k *keeper) judge(now time.Time) error {
	c := &k.s.clocks
	phase, passed := c.phase.Load(), now.Sub(k.lookAt)
	turn := k.r.turns.now()
	// The handler has had one message all the time, or another one of the Poller's has.
	busy := phase == k.phase && phase&1 == 1 || turn == k.turn && turn&1 == 1
	k.turn = turn
	if phase != k.phase || busy {
		k.dataAt = now
	}
	k.phase, k.lookAt = phase, now
	if k.data > 0 && now.Sub(k.dataAt) >= k.data {
		return &conn.TimeoutError{Clock: conn.ClockData, Limit: k.data}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, w := range c.watches {
		switch n := w.alive.Load(); {
		case n != w.seen:
			w.seen, w.at = n, now
		case busy:
			w.at = w.at.Add(passed)
		case now.Sub(w.at) >= w.limit:
			return &TimeoutError{Clock: ClockWatch, Limit: w.limit, Key: key}
		}
	}
	return nil
}

// sign has a sign of life sent, unless the one before is still on its way. Without an
// answer yet the time runs on from that one.
func (k *keeper) sign() {
	if k.signing {
		return
	}
	l, s := k.r.c.LifeSign, k.s
	if k.silence == nil || s.answered.Load() {
		s.answered.Store(false)
		k.stopSilence()
	}
	k.signing, k.fresh = true, k.silence == nil
	if k.fresh && l.Timeout > 0 {
		k.r.turns.watch()
		k.silence, k.graced = time.NewTimer(l.Timeout), false
		k.busy, k.busyTurn = 0, 0
	}
	go func() { k.sent <- s.sendSign() }() // stop waits for it
}

// signed is told what became of a sign: no answer comes to one that was not sent.
func (k *keeper) signed(err error) {
	k.signing = false
	if err == nil {
		return
	}
	if k.fresh {
		k.stopSilence()
	}
	k.s.unsent("LifeSign.Send", err)
}

// judgeSilence is called when no answer has come in time. While the handler has a message
// nobody reads: the answer may be waiting.
func (k *keeper) judgeSilence() {
	limit := k.r.c.LifeSign.Timeout
	phase, turn := k.s.clocks.phase.Load(), k.r.turns.now()
	first := k.busy == 0 && k.busyTurn == 0
	own := phase&1 == 1 && (first || phase == k.busy)
	another := turn&1 == 1 && (first || turn == k.busyTurn)
	switch {
	case k.s.answered.Load():
		k.stopSilence()
		return
	case own || another:
		k.busy, k.busyTurn = 0, 0
		if own {
			k.busy = phase
		}
		if another {
			k.busyTurn = turn
		}
	case !first && !k.graced:
		k.graced = true
	default:
		k.silence = nil
		k.s.judgedDead(&TimeoutError{Clock: ClockAnswer, Limit: limit})
		return
	}
	k.silence.Reset(max(limit/8, 1))
}

func (k *keeper) stopSilence() {
	if k.silence != nil {
		k.silence.Stop()
		k.silence = nil
	}
}
