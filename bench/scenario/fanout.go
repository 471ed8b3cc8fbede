package scenario

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

func fanout(p *Plan) error {
	clients := p.Clients
	if len(clients) == 0 {
		clients = []int{1000, 10_000}
		if p.Quick {
			clients = clients[:1]
		}
	}
	sends := 80_000 // of one server, over all clients
	if p.Quick {
		sends = 20_000
	}
	entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
		_, can := e.(entrant.Broadcaster)
		return !can
	})
	type fan struct {
		n     int
		every time.Duration
	}
	var cases []fan
	for _, n := range clients {
		cases = append(cases, fan{n: n})
		if n <= 1000 {
			cases = append(cases, fan{n, 30 * time.Millisecond})
		}
	}
	for _, c := range cases {
		n, name := c.n, fmt.Sprintf("200 B to %d clients", c.n)
		if c.every > 0 {
			name += fmt.Sprintf(", one every %v", c.every)
		}
		if !p.wants(name) {
			continue
		}
		if got := raiseDescriptors(n + spare); got < n+spare {
			p.say("fanout/%s: not run: a process may open %d files only", name, got)
			continue
		}
		err := p.each(name, entrants, p.rounds(3, 1), 45*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
			s := Spec{Entrant: e.Info().Name, Size: 200, Clients: n, Messages: max(sends/n, 2) * longer(), Warmup: 2, Every: c.every}
			return pair(s, "broadcast server", "drain")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// spare is the number of files that a process has open besides its connections.
const spare = 200

// raiseDescriptors allows this process and its children to open n files. It returns how
// many they may open.
func raiseDescriptors(n int) int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	if want := uint64(n); r.Cur < want {
		r.Cur = want
		r.Max = max(r.Max, want) // needs a privilege if it is a higher limit
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
			syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
			r.Cur = min(want, r.Max)
			_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
		}
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	}
	return int(min(r.Cur, 1<<30))
}

// pair runs a server and its clients. The clients report that all are connected, and the
// server starts. The clients report that they are done, and the server reports its
// figures.
func pair(s Spec, serverRole, clientRole string) (map[string]float64, error) {
	s.Role = serverRole
	server, err := start(s)
	if err != nil {
		return nil, err
	}
	defer server.end()
	if s.Addr, err = server.receive(); err != nil {
		return nil, err
	}
	s.Role = clientRole
	clients, err := start(s)
	if err != nil {
		return nil, err
	}
	defer clients.end()
	for _, word := range []string{"go", "done"} {
		if _, err := clients.receive(); err != nil {
			return nil, err
		}
		server.send(word)
		if _, err := server.receive(); err != nil {
			return nil, err
		}
		clients.send(word)
	}
	return server.metrics()
}

// broadcastServer sends messages to all connections.
func broadcastServer(s *Spec, ch *channel) error {
	var mu sync.Mutex
	var conns []entrant.Conn
	all := make(chan struct{})
	err := listen(s, ch, func(c entrant.Conn) {
		mu.Lock()
		conns = append(conns, c)
		if len(conns) == s.Clients {
			close(all)
		}
		mu.Unlock()
		select {} // the connection lives until this process ends
	})
	if err != nil {
		return err
	}
	if _, err := ch.receive(); err != nil { // start
		return err
	}
	<-all
	b := entrant.ByName(s.Entrant).(entrant.Broadcaster)
	send := func(p []byte) error { return b.Broadcast(conns, p) }
	if g, ok := b.(entrant.Gatherer); ok {
		if send, err = g.Gather(conns); err != nil {
			return err
		}
	}
	messages := corpus.Messages(corpus.ASCII, s.Size, 64)
	for i := range s.Warmup {
		if err := send(messages[i]); err != nil {
			return err
		}
	}
	u := used()
	ch.send("going")
	start := time.Now()
	for i := range s.Messages {
		time.Sleep(time.Until(start.Add(time.Duration(i) * s.Every)))
		if err := send(messages[(s.Warmup+i)%len(messages)]); err != nil {
			return err
		}
	}
	if _, err := ch.receive(); err != nil { // done: every client has all messages
		return err
	}
	m := u.since(s.Messages * s.Clients)
	ch.send("reporting")
	return ch.report(m)
}

// drain connects all clients, and reads until each has all messages.
func drain(s *Spec, ch *channel) error {
	conns, err := open(s)
	if err != nil {
		return err
	}
	stream := corpus.NewStream(corpus.Messages(corpus.ASCII, s.Size, 64), false)
	want := int64(stream.WireLen(s.Warmup + s.Messages))
	ch.send("connected")
	if _, err := ch.receive(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, len(conns))
	for _, c := range conns {
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, c, want); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	ch.send("drained")
	ch.receive()
	return nil
}

// open opens the connections of all clients, without a library.
func open(s *Spec) ([]net.Conn, error) {
	conns := make([]net.Conn, s.Clients)
	var wg sync.WaitGroup
	failed := make(chan error, s.Clients)
	gate := make(chan struct{}, 64)
	request := wire.AppendRequest(nil, s.Addr, "/", "")
	for i := range conns {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			c, err := net.DialTimeout("tcp", s.Addr, 20*time.Second)
			if err == nil {
				err = openOnce(c, request)
			}
			if err != nil {
				failed <- err
				return
			}
			conns[i] = c
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return conns, nil
	}
}
