package redial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A trouble is what an exchange does to its clients for a while.
type trouble uint8

const (
	flapping    trouble = iota // connections last seconds, and end in any way
	maintenance                // pages instead of handshakes
	banned                     // 418 with Retry-After, and dialing before that has passed is told
	unconfirmed                // no answer to a subscription
	deaf                       // no answer to the handshake
	silent                     // one of the subscriptions brings nothing
	beating                    // heartbeats only
	unanswered                 // signs of life have no answer
	broken                     // frames that no one may send
	unreachable                // dials fail
	parted                     // the network carries nothing, and says nothing
	severed                    // so it is for the old connection only when it is to be replaced, and the new one takes a while
)

// A window is a trouble and its time, from the beginning of the day.
type window struct {
	trouble  trouble
	from, to time.Duration
	breaks   bool // the connections at its beginning
}

// day is an exchange with two numbered feeds, a and b, each with a burst of messages every tick. Several lines can lead to it, each with
// its own troubles.
type day struct {
	t     *testing.T
	start time.Time
	burst int64 // messages of a feed in a tick
}

const (
	dayTick  = 5 * time.Second
	dayPause = 5 * time.Millisecond // between two messages of a burst
)

func (d *day) now() time.Duration { return time.Since(d.start) }

// A line is one way to the exchange, with the client at its end.
type line struct {
	*sim
	day     *day
	client  *Client
	windows []window

	skew   time.Duration // how late it brings what the exchange sends
	jitter bool          // and how even
	loss   bool          // of 1 % of the messages
	seed   uint64

	mu      sync.Mutex
	rand    *rand.Rand
	until   time.Time // of the ban
	changes []Change
}

// newLine returns a line whose client does all that a consumer would have it do.
func (d *day) newLine(seed uint64, windows []window) *line {
	l := &line{day: d, windows: windows, seed: seed, rand: rand.New(rand.NewPCG(seed, 1))}
	l.sim = &sim{t: d.t, cfg: conn.Config{KeepAlive: 20 * time.Second, DataTimeout: time.Minute}, raw: l.refuse, session: l.serve, dial: l.reach}
	l.client = &Client{
		URL: "ws://sim/", Dialer: l.dialer(), MaxAge: 4 * time.Hour, Rotation: Overlap,
		LifeSign: &LifeSign{Send: Fixed("ping"), Every: 15 * time.Second, IsAnswer: Prefix("pong"), Timeout: 10 * time.Second},
		OnConnect: func(ctx context.Context, s *Session) error {
			s.Watch("a", 30*time.Second)
			s.Watch("b", 30*time.Second)
			return subscribe(ctx, s)
		},
		OnChange: func(ch Change) {
			l.changes = append(l.changes, ch)
			if _, in := l.in(severed); in && ch.State == Rotating {
				for _, nc := range l.connections() {
					nc.Script(blocked)
				}
			}
		},
	}
	for _, w := range l.windows {
		if w.breaks {
			time.AfterFunc(w.from, func() {
				for _, nc := range l.connections() {
					nc.Reset()
				}
			})
		}
	}
	return l
}

// sends returns when the line brings a number, and whether it loses it: the same on each of its connections.
func (l *line) sends(key string, number int64) (at time.Duration, lost bool) {
	tick, i := number/l.day.burst, number%l.day.burst
	at = time.Duration(tick)*dayTick + time.Duration(i)*dayPause + l.skew
	if l.jitter {
		late := rand.New(rand.NewPCG(l.seed, uint64(tick)))
		at += time.Duration(late.Int64N(int64(25 * time.Millisecond)))
		if late.IntN(50) == 0 {
			at += 100 * time.Millisecond
		}
	}
	return at, l.loss && rand.New(rand.NewPCG(l.seed+uint64(key[0])<<32, uint64(number))).IntN(100) == 0
}

// in reports whether the line is in trouble.
func (l *line) in(what trouble) (left time.Duration, in bool) {
	at := l.day.now()
	for _, w := range l.windows {
		if w.trouble == what && at >= w.from && at < w.to {
			return w.to - at, true
		}
	}
	return 0, false
}

func (l *line) intN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(n)
}

func (l *line) reach(ctx context.Context, _ int) error {
	if _, in := l.in(parted); in {
		<-ctx.Done()
		return ctx.Err()
	}
	if _, in := l.in(unreachable); in {
		return errDown
	}
	return nil
}

// refuse is what stands before the handshake.
func (l *line) refuse(_ int, nc *netsim.Conn) bool {
	if _, in := l.in(maintenance); in {
		page := "<html>We are back soon</html>"
		status := []string{"200 OK", "302 Found", "403 Forbidden", "404 Not Found", "502 Bad Gateway", "503 Service Unavailable"}[l.intN(6)]
		return answer(nc, fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", status, len(page), page))
	}
	if left, in := l.in(banned); in {
		l.mu.Lock()
		if time.Now().Before(l.until) {
			l.t.Errorf("dialed %v before the ban was over", time.Until(l.until))
		}
		wait := min(left, 2*time.Minute).Truncate(time.Second) + time.Second
		l.until = time.Now().Add(wait)
		l.mu.Unlock()
		return answer(nc, fmt.Sprintf("HTTP/1.1 418 I'm a teapot\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n", wait/time.Second))
	}
	if left, in := l.in(deaf); in {
		nc.SetReadDeadline(time.Now().Add(left))
		for b := make([]byte, 4096); ; {
			if _, err := nc.Read(b); err != nil {
				return true
			}
		}
	}
	return false
}

// serve is a session on the exchange.
func (l *line) serve(_ int, c *conn.Conn) {
	limit := time.AfterFunc(4*time.Hour+10*time.Minute, func() { l.t.Error("a connection reached the server's limit") })
	defer limit.Stop()
	if m, err := c.ReadMessage(); err != nil || string(m.Data) != "subscribe" {
		return
	}
	if _, in := l.in(unconfirmed); in {
		drain(c)
		return
	}
	if _, in := l.in(severed); in {
		time.Sleep(2*dayTick + time.Second) // what is being waited for still comes
	}
	text(c, "subscribed")
	c.NetConn().(*netsim.Conn).Script(func(netsim.Op, int, int) netsim.Step {
		_, in := l.in(parted)
		return netsim.Step{Block: in}
	})
	for _, w := range l.windows { // in the end a server notices as well
		if left := w.to - l.day.now(); w.trouble == parted && left > 0 {
			t := time.AfterFunc(left, func() { c.Close() })
			defer t.Stop()
		}
	}
	go func() {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			if _, in := l.in(unanswered); !in && string(m.Data) == "ping" {
				text(c, "pong")
			}
		}
	}()
	end := time.Duration(1 << 62)
	if _, in := l.in(flapping); in {
		end = l.day.now() + time.Duration(l.intN(20))*time.Second
	}
	number := max(int64(l.day.now()/dayTick)-1, 1) * l.day.burst
	for ; ; number++ {
		at, lostA := l.sends("a", number)
		_, lostB := l.sends("b", number)
		if at <= l.day.now() {
			continue
		}
		select {
		case <-time.After(at - l.day.now()):
		case <-c.Done():
			return
		}
		_, beats := l.in(beating)
		_, mute := l.in(silent)
		if beats {
			text(c, "pong")
			continue
		}
		if !lostA {
			text(c, "a %d", number)
		}
		if !mute && !lostB {
			text(c, "b %d", number)
		}
		if _, in := l.in(broken); in {
			c.NetConn().Write([]byte{0x83, 0})
		}
		if l.day.now() >= end {
			l.part(c)
			return
		}
	}
}

// part ends a session in any way.
func (l *line) part(c *conn.Conn) {
	switch code := []frame.CloseCode{0, 0, 1000, 1001, 1008, 1011, 1012, 4000}[l.intN(8)]; {
	case code != 0:
		c.Shutdown(context.Background(), code, "")
	case l.intN(2) == 0:
		c.NetConn().(*netsim.Conn).Reset()
	}
}

// run reads the line for 24 hours.
func (l *line) run(handler func(Message)) {
	ctx, cancel := context.WithDeadline(context.Background(), l.day.start.Add(24*time.Hour))
	defer cancel()
	err := runs(l.t, ctx, l.client, func(_ context.Context, m Message) error { handler(m); return nil })
	if err != context.DeadlineExceeded {
		l.t.Errorf("the line ended with %v after %v", err, l.day.now())
	}
	l.wg.Wait()
}

// A book is what a consumer knows of the feeds.
type book struct {
	t    *testing.T
	last map[string]int64  // number
	from map[string]uint64 // epoch
	gaps int
}

// take checks a message that is not one that came before.
func (b *book) take(m Message) (key string, fresh bool) {
	var number int64
	key, rest, _ := strings.Cut(string(m.Data), " ")
	if _, err := fmt.Sscan(rest, &number); err != nil {
		b.t.Fatalf("delivered %q", m.Data)
	}
	if number <= b.last[key] {
		if m.Epoch == b.from[key] || b.last[key]-number > 1 {
			b.t.Fatalf("%s %d after %d, in epoch %d", key, number, b.last[key], m.Epoch)
		}
		return key, false
	}
	if b.last[key] != 0 && number != b.last[key]+1 {
		b.gaps++
		if m.Epoch == b.from[key] || m.Session.GapBegan.IsZero() {
			b.t.Errorf("a gap in %s from %d to %d is not told: epoch %d after %d, gap from %v", key, b.last[key], number, m.Epoch, b.from[key], m.Session.GapBegan)
		}
	}
	b.last[key], b.from[key] = number, m.Epoch
	return key, true
}

// A pace is how long a feed stood still, and why.
type pace struct {
	day     *day
	windows []window
	at      time.Time // of the last message
	longest map[trouble]time.Duration
	outside time.Duration
}

func (d *day) pace(windows []window) *pace {
	return &pace{day: d, windows: windows, at: d.start, longest: map[trouble]time.Duration{}}
}

// step is told of a message.
func (p *pace) step() {
	gap := time.Since(p.at)
	p.at = time.Now()
	// Troubles that end within the gap explain it up to there; the rest is ours.
	for _, w := range p.windows {
		if to := p.day.start.Add(w.to); to.After(p.at.Add(-gap)) && p.day.start.Add(w.from).Before(p.at) {
			gap = min(gap, max(time.Since(to), 0))
			p.longest[w.trouble] = max(p.longest[w.trouble], gap)
		}
	}
	p.outside = max(p.outside, gap)
}

// mostStill is how long a feed may stand still with no trouble: a retry may have begun just before the end of one, and then takes
// ConnectTimeout and a wait.
const mostStill = DefaultConnectTimeout + DefaultCap + 2*dayTick

// check looks at the whole.
func (p *pace) check(what string) {
	p.step() // that nothing came to the end is no way out
	for trouble, still := range p.longest {
		if still > mostStill {
			p.day.t.Errorf("after trouble %v %s stood still for %v", trouble, what, still)
		}
	}
	if p.outside > mostStill {
		p.day.t.Errorf("%s stood still for %v with no reason, at most %v", what, p.outside, mostStill)
	}
}

// TestADay reads a feed for 24 hours, in which all goes wrong that can: no message comes twice or out of order, every gap is told, the
// feed goes on as soon as the exchange does, and the exchange is not asked too often.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &day{t: t, start: time.Now(), burst: 1}
		at := func(hour, minute int) time.Duration {
			return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
		}
		l := d.newLine(1, []window{
			{flapping, at(0, 30), at(1, 30), true},
			{maintenance, at(2, 0), at(2, 45), true},
			{banned, at(3, 0), at(3, 10), true},
			{silent, at(4, 0), at(4, 20), false},
			{unconfirmed, at(5, 0), at(5, 30), true},
			{deaf, at(6, 0), at(6, 10), true},
			{beating, at(6, 30), at(6, 40), false},
			{unanswered, at(7, 0), at(7, 10), false},
			{broken, at(8, 0), at(8, 10), false},
			{unreachable, at(8, 30), at(9, 0), true},
			{parted, at(9, 30), at(9, 40), false},
			{unconfirmed, at(13, 0), at(13, 39), false}, // at the time of a rotation, which takes longer then
			{severed, at(17, 0), at(18, 0), false},      // at the time of the next one
		})
		b := &book{t: t, last: map[string]int64{}, from: map[string]uint64{}}
		p := d.pace(l.windows)
		quiet := 0 // gaps before the last hours, in which there are rotations only
		time.AfterFunc(at(9, 45), func() { quiet = b.gaps })
		l.run(func(m Message) {
			key, fresh := b.take(m)
			m.Session.Alive(key)
			if fresh {
				p.step()
			}
		})
		n := l.client.Counts()
		t.Logf("%d dials, %d sessions, %d rotations, %d messages, %d gaps; after the troubles %v, outside of them %v", n.Dials, n.Connections, n.Rotations, n.Messages, b.gaps, p.longest, p.outside)
		// 4.4 hours of troubles at half of the back-off's cap would be some 1,000 dials.
		if n.Dials > 1000 || l.most > 2 {
			t.Errorf("%d dials, %d connections at once", n.Dials, l.most)
		}
		if n.Rotations < 2 || n.Messages < 29000 || b.gaps < 8 {
			t.Errorf("%+v, %d gaps: the day was too quiet", n, b.gaps)
		}
		p.check("the feed")
		if b.gaps-quiet != 2 { // of a and b, when the old connection was severed
			t.Errorf("%d gaps by rotations", b.gaps-quiet)
		}
		l.checkChanges()
	})
}

// connections returns the client's ends that are open.
func (s *sim) connections() []*netsim.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*netsim.Conn(nil), s.open...)
}

// checkChanges looks whether each trouble has shown as what it is.
func (l *line) checkChanges() {
	var timeout, dead, refused, closed, noData, noAnswer int
	for _, ch := range l.changes {
		var e *conn.TimeoutError
		switch err := ch.Err; {
		case ch.State != Down && ch.State != Failed:
		case errors.Is(err, ErrConnectTimeout):
			timeout++
		case errors.Is(err, ErrNoData):
			noData++
		case errors.Is(err, ErrSilent):
			noAnswer++
		case errors.As(err, &e):
			dead++
		case ch.State == Failed:
			refused++
		default:
			closed++
		}
	}
	l.t.Logf("%d connect timeouts, %d silent subscriptions, %d lost answers, %d by the clocks of conn, %d refused, %d closed", timeout, noData, noAnswer, dead, refused, closed)
	if timeout == 0 || noData == 0 || noAnswer == 0 || refused == 0 || closed == 0 {
		l.t.Error("a trouble did not show as what it is")
	}
}

// brought is what a line has brought, whether it was delivered or not.
type brought struct {
	line *line
	pace *pace
	when map[string]map[int64]time.Duration // first, by key and number
}

func (b *brought) take(key string, number int64) {
	at := b.line.day.now()
	if first, there := b.when[key][number]; !there {
		b.when[key][number] = at
		b.pace.step()
	} else if at-first > time.Second {
		b.line.t.Errorf("%s %d came again after %v", key, number, at-first)
	}
}

// checkCalm looks whether the line brought all that it did not lose while nothing went wrong: through rotations, that is.
func (b *brought) checkCalm(from time.Duration) {
	for key, when := range b.when {
		for number := int64(from/dayTick) * b.line.day.burst; ; number++ {
			at, lost := b.line.sends(key, number)
			if at >= 24*time.Hour {
				break
			}
			if _, there := when[number]; !there && !lost {
				b.line.t.Errorf("%s %d, sent after %v, did not arrive", key, number, at)
			}
		}
	}
}

// A wholeBook is what the consumer of two lines knows: each number came once, in order, or was told to be missing.
type wholeBook struct {
	t     *testing.T
	lines []*brought
	due   map[string]int64
	gaps  int        // without those at which both lines were in trouble
	lost  int        // numbers in all gaps
	mu    sync.Mutex // of what the lines brought
}

func (b *wholeBook) take(d Delivery[string]) {
	number := int64(d.From)
	if due := b.due[d.Key]; due != 0 && number != due {
		b.t.Errorf("%s %d where %d is due", d.Key, number, due)
	}
	if want := fmt.Sprintf("%s %d", d.Key, number); string(d.Data) != want {
		b.t.Errorf("%q where %s is meant", d.Data, want)
	}
	b.due[d.Key] = number + 1
}

// gap checks that no line brought what is told to be missing, and that the wait was as long as the window.
func (b *wholeBook) gap(g Gap[string]) {
	from, to := int64(g.From), int64(g.To)
	if g.Restarted || from != b.due[g.Key] || to < from {
		b.t.Errorf("%+v where %d is due", g, b.due[g.Key])
	}
	b.due[g.Key] = to + 1
	now := b.lines[0].line.day.now()
	next := now
	lost := 0
	for _, l := range b.lines {
		for number := from; number <= to; number++ {
			if at, there := l.when[g.Key][number]; there {
				b.t.Errorf("%+v, of which a line brought %d %v before", g, number, now-at)
			}
			if _, is := l.line.sends(g.Key, number); is {
				lost++
			}
		}
		// What follows at once: the next may be lost, or be late on one line.
		for number := to + 1; number < to+100; number++ {
			if at, there := l.when[g.Key][number]; there {
				next = min(next, at)
			}
		}
	}
	if g.Waited != DefaultWindow || now-next != g.Waited {
		b.t.Errorf("%+v after %v", g, now-next)
	}
	b.lost += int(to - from + 1)
	if lost == len(b.lines)*int(to-from+1) {
		b.gaps++
	}
}

// bothIn returns when two lines are in trouble, whatever the troubles are.
func bothIn(a, b []window) (both []window) {
	for _, x := range a {
		for _, y := range b {
			if from, to := max(x.from, y.from), min(x.to, y.to); from < to {
				both = append(both, window{x.trouble, from, to, false})
			}
		}
	}
	return both
}

// troubles returns every trouble once, in any order, from an hour on, with time to recover in between.
func troubles(random *rand.Rand, begin time.Duration) (windows []window, calm time.Duration) {
	for _, i := range random.Perm(int(parted) + 1) {
		what := trouble(i)
		begin += time.Duration(5+random.IntN(20)) * time.Minute
		to := begin + time.Duration(10+random.IntN(25))*time.Minute
		breaks := what == flapping || what == maintenance || what == banned || what == unconfirmed || what == deaf || what == unreachable
		windows = append(windows, window{what, begin, to, breaks})
		begin = to
	}
	return windows, begin + mostStill
}

// TestADayOnTwoLines is the day on two lines, each with its own troubles, losses and delay: no message comes twice or out of order, every
// number that is not delivered is told to be missing, and only where no line brought it within the window. With TICKWIRE_FULL it is
// many days.
func TestADayOnTwoLines(t *testing.T) {
	days := 1
	if os.Getenv("TICKWIRE_FULL") != "" {
		days = 50
	}
	for seed := range days {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { twoLinesFor24Hours(t, uint64(seed)) })
		})
	}
}

func twoLinesFor24Hours(t *testing.T, seed uint64) {
	d := &day{t: t, start: time.Now(), burst: 3}
	random := rand.New(rand.NewPCG(seed, 2))
	b := &wholeBook{t: t, due: map[string]int64{}}
	lines := &Lines[string]{
		Number: func(data []byte) (key string, from, to uint64, ok bool) {
			key, rest, _ := strings.Cut(string(data), " ")
			from, err := strconv.ParseUint(rest, 10, 64)
			return key, from, from, err == nil
		},
		Each: func(line int, key string, m Message) {
			m.Session.Alive(key)
			_, rest, _ := strings.Cut(string(m.Data), " ")
			number, _ := strconv.ParseInt(rest, 10, 64)
			b.mu.Lock()
			defer b.mu.Unlock()
			b.lines[line].take(key, number)
		},
		Other: func(_ context.Context, line int, m Message) error {
			return fmt.Errorf("line %d brought %q", line, m.Data)
		},
	}
	var calm [2]time.Duration
	for i, begin := range []time.Duration{time.Hour, 7 * time.Hour} { // some hours alone, some together
		var windows []window
		windows, calm[i] = troubles(random, begin)
		l := d.newLine(2*seed+uint64(i), windows)
		l.skew, l.jitter, l.loss = time.Duration(1+14*i)*time.Millisecond, true, true
		b.lines = append(b.lines, &brought{line: l, pace: d.pace(windows), when: map[string]map[int64]time.Duration{"a": {}, "b": {}}})
		lines.Clients = append(lines.Clients, l.client)
	}
	whole := d.pace(bothIn(b.lines[0].line.windows, b.lines[1].line.windows))
	lines.OnGap = func(g Gap[string]) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.gap(g)
	}
	ctx, cancel := context.WithDeadline(t.Context(), d.start.Add(24*time.Hour))
	defer cancel()
	err := runLines(t, ctx, lines, func(_ context.Context, m Delivery[string]) error {
		b.take(m)
		whole.step()
		return nil
	})
	if err != context.DeadlineExceeded {
		t.Errorf("the lines ended with %v after %v", err, d.now())
	}
	whole.check("the feed")
	n := lines.Counts()
	t.Logf("%d delivered, %d gaps of %d numbers, %d of them lost on both lines; outside of troubles %v still; %+v", n.Delivered, n.Gaps, b.lost, b.gaps, whole.outside, n.Lines)
	if n.Forced != 0 || n.Restarts != 0 || n.Missing != uint64(b.lost) || n.Lines[0].Filled == 0 || n.Lines[1].Filled < 100 || b.gaps == 0 {
		t.Errorf("%+v, %d gaps where both lines lost something", n, b.gaps)
	}
	for i, l := range b.lines {
		l.line.wg.Wait()
		l.pace.check(fmt.Sprintf("line %d", i))
		l.checkCalm(calm[i])
		n := l.line.client.Counts()
		t.Logf("line %d: %d dials, %d sessions, %d rotations, still %v", i, n.Dials, n.Connections, n.Rotations, l.pace.longest)
		if n.Dials > 1000 || l.line.most > 2 || n.Rotations < 2 {
			t.Errorf("line %d: %+v, %d connections at once", i, n, l.line.most)
		}
		l.line.checkChanges()
	}
}
