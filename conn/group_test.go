package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// held keeps a Group from sweeping until it is called: what is sent in between goes out in one batch.
func held(g *Group) (sweep func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.init()
	g.running = true
	return func() { g.run() }
}

// sockets returns n connections of a server over TCP and the clients' ends, which are not read.
func sockets(t testing.TB, n int, cfg Config) (servers []*Conn, clients []*net.TCPConn) {
	t.Helper()
	for range n {
		a, b := loopback(t)
		c := New(a, frame.Server, &cfg)
		t.Cleanup(func() { c.Close(); b.Close() })
		servers, clients = append(servers, c), append(clients, b)
	}
	return servers, clients
}

func addAll(t testing.TB, g *Group, conns ...*Conn) {
	t.Helper()
	for _, c := range conns {
		if err := g.Add(c); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t testing.TB, g *Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := g.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// wantStream reads from a client's end the messages as a server sends them, and nothing else.
func wantStream(t testing.TB, nc net.Conn, messages ...string) {
	t.Helper()
	var want []byte
	for _, m := range messages {
		want = frame.AppendFrame(want, frame.Header{Fin: true, Opcode: Text}, []byte(m))
	}
	got := make([]byte, len(want))
	nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(nc, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %.80q, want %.80q", got, want)
	}
}

// What is sent while the connections are written to goes to each in one system call.
func TestGroupBatches(t *testing.T) {
	servers, clients := sockets(t, 3, Config{})
	g := new(Group)
	addAll(t, g, servers...)
	for round := range 3 {
		sweep := held(g)
		var want []string
		for i := range 80 {
			text := fmt.Sprintf("%d %d %s", round, i, strings.Repeat("x", i))
			want = append(want, text)
			if i%2 == 0 {
				if err := g.WriteMessage(Text, []byte(text)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			p, err := Prepare(Text, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := g.WritePrepared(p); err != nil {
				t.Fatal(err)
			}
		}
		sweep()
		flush(t, g)
		for i, c := range servers {
			wantStream(t, clients[i], want...)
			s := c.Stats()
			if s.Writes != uint64(round+1) || s.MessagesWritten != uint64(80*(round+1)) {
				t.Errorf("%d writes of %d messages", s.Writes, s.MessagesWritten)
			}
		}
	}
}

// Connections of all kinds get all messages, each in order, beside what is written to them otherwise.
func TestGroupOrder(t *testing.T) {
	g := &Group{Lag: 64 << 20}
	var clients []*Conn
	add := func(client, server *Conn) {
		t.Cleanup(func() { client.Close(); server.Close() })
		addAll(t, g, server)
		clients = append(clients, client)
	}
	for _, cfg := range []Config{{}, {FailFast: true}, {WriteTimeout: time.Minute}, {Syscalls: SyscallsPlain}, {KeepAlive: -1}} {
		a, b := loopback(t)
		add(New(a, frame.Client, nil), New(b, frame.Server, &cfg))
	}
	a, b := net.Pipe()
	add(New(a, frame.Client, nil), New(b, frame.Server, nil))
	ta, tb := loopback(t)
	client, server := secureOver(t, ta, tb, Config{})
	add(client, New(server, frame.Server, nil))
	for _, mode := range deflateModes {
		add(compressing(t, &mode.client, &mode.server, Config{}))
	}
	if g.Len() != len(clients) {
		t.Fatalf("%d connections, not %d", g.Len(), len(clients))
	}
	const senders = 2
	messages := ticks(45)
	var readers, writers sync.WaitGroup
	for _, c := range clients {
		readers.Go(func() {
			if err := readNumbered(c, senders, messages); err != nil {
				t.Errorf("%s: %v", c.NetConn().RemoteAddr().Network(), err)
				c.Close()
			}
		})
	}
	for w := range senders {
		writers.Go(func() {
			for i, m := range messages {
				text := fmt.Appendf(nil, "%d %d %s", w, i, m)
				var err error
				if i%2 == 0 {
					err = g.WriteMessage(Text, text)
				} else if p, e := Prepare(Text, text); e == nil {
					err = g.WritePrepared(p)
				}
				if err != nil {
					t.Error(err)
				}
				if s := g.Stats(); s.Connections != len(clients) || s.MostWaiting > s.Waiting || s.Removed != 0 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
	members := slices.Collect(func(yield func(*Conn) bool) {
		for _, m := range g.members {
			if !yield(m.c) {
				return
			}
		}
	})
	for i, c := range members { // a writer of its own for each
		writers.Go(func() {
			for k, m := range messages {
				text := fmt.Appendf(nil, "%d %d %s", senders, k, m)
				err := ErrWouldBlock
				for err == ErrWouldBlock {
					if (i+k)%3 == 0 {
						err = writeParts(c, text)
					} else {
						err = c.WriteMessage(Text, text)
					}
					runtime.Gosched()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	flush(t, g)
	readers.Wait()
}

func writeParts(c *Conn, text []byte) error {
	w, err := c.NextWriter(Text)
	if err != nil {
		return err
	}
	for err = ErrWouldBlock; err == ErrWouldBlock; runtime.Gosched() {
		_, err = w.Write(text)
	}
	for e := ErrWouldBlock; err == nil && e != nil; runtime.Gosched() {
		if e = w.Close(); e != nil && e != ErrWouldBlock {
			return e
		}
	}
	return err
}

// readNumbered reads messages "WRITER NUMBER TEXT" of so many senders, and of one more: from each all, and in order.
func readNumbered(c *Conn, senders int, messages [][]byte) error {
	next := make([]int, senders+1)
	for range len(next) * len(messages) {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		var w, i int
		fmt.Sscan(string(m.Data[:min(len(m.Data), 10)]), &w, &i)
		if want := fmt.Appendf(nil, "%d %d %s", w, next[w], messages[next[w]]); !bytes.Equal(m.Data, want) {
			return fmt.Errorf("got %.40q, want %.40q", m.Data, want)
		}
		next[w]++
	}
	return nil
}

// A connection gets what is sent after its Add and before its Remove.
func TestGroupMembers(t *testing.T) {
	servers, clients := sockets(t, 2, Config{})
	g := new(Group)
	say := func(text string) {
		t.Helper()
		if err := g.WriteMessage(Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	g.Remove(servers[0]) // is not there
	say("to nobody")
	sweep := held(g)
	addAll(t, g, servers[0], servers[0])
	say("to one")
	addAll(t, g, servers[1])
	say("to both")
	sweep()
	say("again to both")
	flush(t, g)
	g.Remove(servers[0])
	say("to the other")
	if g.Len() != 1 {
		t.Errorf("%d connections", g.Len())
	}
	addAll(t, g, servers[0])
	say("the end")
	flush(t, g)
	wantStream(t, clients[0], "to one", "to both", "again to both", "the end")
	wantStream(t, clients[1], "to both", "again to both", "to the other", "the end")
}

func TestGroupRefuses(t *testing.T) {
	servers, _ := sockets(t, 2, Config{})
	asked, _ := sockets(t, 1, Config{Outbound: func(*Conn, Opcode, int) error { return nil }})
	a, _ := loopback(t)
	client := New(a, frame.Client, nil)
	defer client.Close()
	servers[1].Close()
	g := new(Group)
	for _, tt := range []struct {
		c    *Conn
		want error
	}{{servers[0], nil}, {servers[1], ErrClosed}, {asked[0], ErrGroup}, {client, ErrGroup}} {
		if err := g.Add(tt.c); err != tt.want {
			t.Errorf("%v, want %v", err, tt.want)
		}
	}
	if err := g.WriteMessage(Text, []byte{0xFF}); err != ErrNotUTF8 {
		t.Error(err)
	}
	if err := g.WriteMessage(frame.Ping, nil); err != frame.ErrOpcode {
		t.Error(err)
	}
	if g.Len() != 1 || servers[0].Err() != nil {
		t.Error("a refused message has changed something")
	}
}

// Who sends more than Buffer while the connections are written to waits.
func TestGroupBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Server, Config{}, 1<<20)
		defer c.Close()
		g := &Group{Buffer: 100}
		addAll(t, g, c)
		sweep := held(g)
		text, long := strings.Repeat("a", 38), strings.Repeat("b", 1000)
		done := make(chan int, 10)
		go func() {
			for i, s := range []string{text, text, text, long, text} {
				if err := g.WriteMessage(Text, []byte(s)); err != nil {
					t.Error(err)
				}
				done <- i
			}
		}()
		synctest.Wait()
		if len(done) != 2 {
			t.Errorf("%d messages of 40 B with room for 100", len(done))
		}
		sweep()
		flush(t, g)
		synctest.Wait()
		if len(done) != 5 {
			t.Errorf("%d messages", len(done))
		}
		flush(t, g)
		for _, s := range []string{text, text, text, long, text} {
			p.expect(Text, s)
		}
	})
}

// A slow connection does not hold up others, gets all if it is not too slow, and is ended if it is.
func TestGroupSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, _, reader := simulate(t, frame.Server, Config{}, 1<<20)
		slow, _, late := simulate(t, frame.Server, Config{}, 64)
		defer quick.Close()
		defer slow.Close()
		g := &Group{Lag: 500}
		addAll(t, g, quick, slow)
		var sent []string
		say := func() {
			sent = append(sent, fmt.Sprintf("%098d", len(sent))) // 100 B on the wire
			if err := g.WriteMessage(Text, []byte(sent[len(sent)-1])); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		for range 5 {
			say()
		}
		for _, s := range sent {
			reader.expect(Text, s)
		}
		gone := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if err := g.Flush(ctx); err != gone {
			t.Errorf("%v while a connection is slow", err)
		}
		for _, s := range sent {
			late.expect(Text, s)
		}
		flush(t, g)
		if g.Len() != 2 || slow.Err() != nil || slow.Stats().MessagesWritten != 5 {
			t.Errorf("%d connections, %v, %d messages", g.Len(), slow.Err(), slow.Stats().MessagesWritten)
		}
		for range 5 {
			say()
		}
		if slow.Err() != nil {
			t.Errorf("%v with 500 bytes behind", slow.Err())
		}
		say()
		say()
		wantTooSlow(t, slow, "600 bytes")
		if err := g.Flush(t.Context()); err != nil || g.Len() != 1 {
			t.Errorf("%v, %d connections", err, g.Len())
		}
		for _, s := range sent[5:] {
			reader.expect(Text, s)
		}
	})
}

// What has been written of that which waited counts for Lag no more, though there is more of it, and a ping is answered in between.
func TestGroupSlowInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Server, Config{}, 64)
		defer c.Close()
		go func() {
			for range c.Messages() {
			}
		}()
		g := &Group{Lag: 10 * pieceSize}
		addAll(t, g, c)
		var sent []string
		say := func(n int) {
			for range n {
				text := fmt.Sprintf("%0*d", pieceSize-10, len(sent)) // of pieceSize bytes on the wire
				sent = append(sent, text)
				if err := g.WriteMessage(Text, []byte(text)); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}
		}
		got := 0
		take := func(n int) {
			for range n {
				if m, err := p.r.Next(); err != nil || string(m.Data) != sent[got] {
					t.Fatalf("got %v %.20q, %v; want %.20q", m.Opcode, m.Data, err, sent[got])
				}
				got++
			}
		}
		say(10)
		take(1)
		synctest.Wait()
		p.send(p.frame(frame.Header{Fin: true, Opcode: frame.Ping}, []byte("there?")))
		synctest.Wait() // its pong waits
		take(1)
		p.expect(frame.Pong, "there?")
		take(6)
		synctest.Wait()
		say(8)
		if err := c.Err(); err != nil {
			t.Errorf("%v with Lag behind", err)
		}
		if n := c.Stats().MessagesWritten; n != 8 {
			t.Errorf("%d messages counted", n)
		}
		say(1)
		wantTooSlow(t, c, "more than Lag")
	})
}

// wantTooSlow checks that a connection so far behind cannot write, and has ended when
// nothing more came for as long as it waits.
func wantTooSlow(t *testing.T, c *Conn, behind string) {
	t.Helper()
	if err := c.WriteMessage(Text, nil); !errors.Is(err, ErrTooSlow) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v with %s behind", err, behind)
	}
	time.Sleep(2 * DefaultCloseTimeout)
	if err := c.Err(); !errors.Is(err, ErrTooSlow) {
		t.Errorf("ended with %v with %s behind", err, behind)
	}
}

// A slow connection that is removed and added again gets what waits for it first, and stays as slow as it was.
func TestGroupSlowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Server, Config{}, 64)
		defer c.Close()
		g := &Group{Lag: 500}
		say := func(i int) {
			g.Remove(c)
			addAll(t, g, c)
			if err := g.WriteMessage(Text, fmt.Appendf(nil, "%098d", i)); err != nil { // 100 B on the wire
				t.Error(err)
			}
			synctest.Wait()
		}
		for round := range 3 {
			for i := range 5 {
				say(5*round + i)
			}
			for i := range 5 {
				p.expect(Text, fmt.Sprintf("%098d", 5*round+i))
			}
			flush(t, g)
		}
		for i := range 5 {
			say(i)
		}
		if c.Err() != nil {
			t.Errorf("%v with 500 bytes behind", c.Err())
		}
		say(5)
		wantTooSlow(t, c, "600 bytes")
		if err := g.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Stats tells what waits for slow connections, to the byte, and who was ended for it.
func TestGroupStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group{Lag: 500}
		want := func(when string, s GroupStats) {
			t.Helper()
			synctest.Wait()
			if got := g.Stats(); got != s {
				t.Errorf("%s: %+v, not %+v", when, got, s)
			}
		}
		want("the zero value", GroupStats{})
		quick, _, reader := simulate(t, frame.Server, Config{}, 1<<20)
		one, _, late := simulate(t, frame.Server, Config{}, 64)
		two, _, _ := simulate(t, frame.Server, Config{}, 64)
		for _, c := range []*Conn{quick, one, two} {
			defer c.Close()
		}
		var sent []string
		say := func() {
			sent = append(sent, fmt.Sprintf("%098d", len(sent))) // 100 B on the wire
			if err := g.WriteMessage(Text, []byte(sent[len(sent)-1])); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			reader.expect(Text, sent[len(sent)-1])
		}
		addAll(t, g, quick, one)
		want("nothing sent", GroupStats{Connections: 2})
		say()
		say()
		want("one is slow", GroupStats{Connections: 2, Slow: 1, Waiting: 200, MostWaiting: 200})
		addAll(t, g, two)
		for range 3 {
			say()
		}
		want("two are", GroupStats{Connections: 3, Slow: 2, Waiting: 800, MostWaiting: 500})
		late.expect(Text, sent[0])
		want("one has taken a message", GroupStats{Connections: 3, Slow: 2, Waiting: 700, MostWaiting: 400})
		g.Remove(one)
		want("one was removed", GroupStats{Connections: 2, Slow: 2, Waiting: 700, MostWaiting: 400})
		for _, s := range sent[1:] {
			late.expect(Text, s)
		}
		want("and has taken all", GroupStats{Connections: 2, Slow: 1, Waiting: 300, MostWaiting: 300})
		for range 3 {
			say()
		}
		want("two is too slow", GroupStats{Connections: 1, Removed: 1})
		if err := two.WriteMessage(Text, nil); !errors.Is(err, ErrTooSlow) {
			t.Error(err)
		}
		say()
		flush(t, g)
		want("and one more", GroupStats{Connections: 1, Removed: 1})
	})
}

// A socket that is full within a frame gets the rest of it, and what is sent meanwhile, once its peer reads again.
func TestGroupFullSocket(t *testing.T) {
	servers, clients := sockets(t, 2, Config{})
	g := &Group{Lag: 64 << 20}
	addAll(t, g, servers...)
	var want []string
	var read sync.WaitGroup
	read.Go(func() { io.Copy(io.Discard, clients[1]) })
	defer read.Wait()
	defer servers[1].Close()
	m := g.byConn[servers[0]]
	slow := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.draining
	}
	for i := 0; !slow() || i%10 != 0; i++ {
		text := strings.Repeat(string(rune('a'+i%26)), 40_000+i)
		want = append(want, text)
		if err := g.WriteMessage(Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	wantStream(t, clients[0], want...)
	flush(t, g)
	if err := g.WriteMessage(Text, []byte("the end")); err != nil {
		t.Fatal(err)
	}
	wantStream(t, clients[0], "the end")
}

// Connections that end in any way, while messages are sent, drop out; the others get everything.
func TestGroupEnds(t *testing.T) {
	servers, clients := sockets(t, 6, Config{CloseTimeout: time.Second})
	g := new(Group)
	addAll(t, g, servers...)
	const n = 400
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("message %d", i))
	}
	var wg sync.WaitGroup
	wg.Go(func() { wantStream(t, clients[0], want...) })
	for i, end := range []func(c *Conn, nc *net.TCPConn){
		func(c *Conn, _ *net.TCPConn) { c.Close() },
		func(c *Conn, nc *net.TCPConn) {
			wg.Go(func() { io.Copy(io.Discard, nc); nc.Close() })
			c.Shutdown(t.Context(), frame.CodeNormal, "")
		},
		func(_ *Conn, nc *net.TCPConn) { nc.Close() },
		func(_ *Conn, nc *net.TCPConn) { nc.SetLinger(0); nc.Close() },
		func(c *Conn, _ *net.TCPConn) { c.SetWriteDeadline(time.Unix(1, 0)) },
	} {
		wg.Go(func() {
			for g.sentCount() < uint64(n/10*(i+1)) {
				runtime.Gosched()
			}
			end(servers[i+1], clients[i+1])
		})
	}
	for _, text := range want {
		if err := g.WriteMessage(Text, []byte(text)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for until := time.Now().Add(20 * time.Second); g.Len() > 1; { // the kernel tells of an end in its time
		if time.Now().After(until) {
			t.Fatalf("%d connections are left", g.Len())
		}
		g.WriteMessage(Text, []byte("anybody?"))
		flush(t, g)
	}
	if err := servers[0].Err(); err != nil {
		t.Error(err)
	}
	select { // it drops out before it ends, which is left to a goroutine
	case <-servers[5].Done():
	case <-time.After(20 * time.Second):
	}
	if err := servers[5].Err(); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want a passed deadline", err)
	}
}

func (g *Group) sentCount() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sent
}

// A connection that was shut down drops out with the next message, though it has not ended.
func TestGroupShutdown(t *testing.T) {
	servers, clients := sockets(t, 2, Config{})
	g := new(Group)
	addAll(t, g, servers...)
	if err := servers[1].StartClose(frame.CodeNormal, ""); err != nil {
		t.Fatal(err)
	}
	if err := g.WriteMessage(Text, []byte("message")); err != nil {
		t.Error(err)
	}
	flush(t, g)
	if g.Len() != 1 || servers[1].Err() != nil {
		t.Errorf("%d connections, %v", g.Len(), servers[1].Err())
	}
	wantStream(t, clients[0], "message")
	if err := g.Add(servers[1]); err != ErrShutdown {
		t.Error(err)
	}
}

// Pings are answered while messages are sent.
func TestGroupPongs(t *testing.T) {
	a, b := loopback(t)
	c, s := New(a, frame.Client, nil), New(b, frame.Server, nil)
	g := &Group{Lag: 64 << 20}
	addAll(t, g, s)
	var wg sync.WaitGroup
	for _, end := range []*Conn{c, s} {
		wg.Go(func() {
			for range end.Messages() {
			}
		})
	}
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				g.WriteMessage(Text, []byte("message"))
			}
		}
	})
	for range 100 {
		if _, err := c.Ping(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	c.Close()
	s.Close()
	wg.Wait()
}

// Compressed messages of a Group are the same for all, and do not disturb the context of what is written beside them.
func TestGroupDeflate(t *testing.T) {
	g := new(Group)
	var clients, servers []*Conn
	for _, mode := range append(deflateModes, deflateModes...) {
		c, s := compressing(t, &mode.client, &mode.server, Config{})
		addAll(t, g, s)
		clients, servers = append(clients, c), append(servers, s)
	}
	plain, plainServer := compressing(t, nil, nil, Config{})
	addAll(t, g, plainServer)
	clients, servers = append(clients, plain), append(servers, plainServer)
	messages := ticks(60)
	before := make([]uint64, len(servers))
	for round, m := range messages {
		m = m[:min(len(m), 4000)] // three of them fit any socket
		sweep := held(g)
		for range 3 {
			if err := g.WriteMessage(Text, m); err != nil {
				t.Fatal(err)
			}
		}
		sweep()
		flush(t, g)
		for i, s := range servers {
			if err := s.WriteMessage(Text, m); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				wantMessage(t, clients[i], Text, string(m))
			}
			before[i] = s.Stats().BytesWritten
		}
		if round > 0 && len(g.encodings) > 4 { // two modes have the same window, level and threshold
			t.Fatalf("%d encodings", len(g.encodings))
		}
	}
	for i := range deflateModes {
		if 2*before[i] > before[len(before)-1] {
			t.Errorf("%d bytes compressed, %d plain", before[i], before[len(before)-1])
		}
	}
}

// A message to a Group takes no memory.
func TestGroupAllocatesNothing(t *testing.T) {
	text := []byte(strings.Repeat("t", 200))
	prepared, err := Prepare(Text, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		every int // messages between two calls of Flush
		count int
		write func(g *Group) error
	}{
		{"messages", 100, allocMessages, func(g *Group) error { return g.WriteMessage(Text, text) }},
		{"prepared", 100, allocMessages, func(g *Group) error { return g.WritePrepared(prepared) }},
		{"single", 1, allocMessages / 4, func(g *Group) error { return g.WritePrepared(prepared) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := new(Group)
			for range 3 {
				addAll(t, g, fed(t, frame.Server, "nothing", Config{}))
			}
			loop := func() {
				for i := range tt.count {
					if err := tt.write(g); err != nil {
						t.Fatal(err)
					}
					if i%tt.every == 0 {
						if err := g.Flush(context.Background()); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := g.Flush(context.Background()); err != nil || g.Stats() != (GroupStats{Connections: 3}) {
					t.Fatal(err, g.Stats())
				}
			}
			loop()
			if n := buffertest.Mallocs(loop); n != 0 {
				t.Errorf("%d allocations", n)
			}
		})
	}
}

// Helpers take part in the sweep of a large Group.
func TestGroupLarge(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	g := new(Group)
	const n = 4*groupShare + 7
	ends := make([]*counting, n)
	for i := range ends {
		ends[i] = new(counting)
		c := New(ends[i], frame.Server, &Config{KeepAlive: -1})
		defer c.Close()
		addAll(t, g, c)
	}
	for range 20 {
		if err := g.WriteMessage(Text, []byte("to all")); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, g)
	for i, e := range ends {
		if e.n != 20*8 {
			t.Fatalf("connection %d got %d bytes", i, e.n)
		}
	}
	if g.Len() != n {
		t.Errorf("%d connections", g.Len())
	}
}

// counting is a transport that counts what is written to it.
type counting struct {
	net.Conn
	n int
}

func (c *counting) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }
func (c *counting) Close() error                { return nil }
