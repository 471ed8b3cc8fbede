package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// server sends the feeds. A client's first message asks for one: "feed ID NUMBER EPOCH",
// or "group".
type server struct {
	conn.Server
	run            *run
	url, secureURL string

	group   conn.Group
	faulty  sync.Once
	stop    context.CancelFunc
	senders sync.WaitGroup
}

// broadcastEvery and broadcastSize are what the Group sends. In slowness that is more
// than the sockets and the Group.Lag of a member hold. In half a second it is less.
const (
	broadcastEvery = 10 * time.Millisecond
	broadcastSize  = 4 << 10
	groupLag       = 256 << 10
	socketBuffer   = 16 << 10 // of a member
)

func newServer(r *run) *server {
	s := &server{run: r}
	s.group.Lag = groupLag
	s.Upgrader.Config.Deflate = compression()
	s.Upgrader.SocketOptions.SendBuffer = 256 << 10
	s.Handler = s.handle
	s.OnError = func(err error) {
		select {
		case <-r.over:
		default:
			r.fail("the server's handshake: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.senders.Go(func() { s.broadcast(ctx) })
	return s
}

// Shutdown ends the Group's sender and then the connections.
func (s *server) Shutdown(ctx context.Context) error {
	s.stop()
	s.senders.Wait()
	return s.Server.Shutdown(ctx)
}

func (s *server) handle(c *conn.Conn) {
	m, err := c.ReadMessage()
	if err != nil {
		return // the client has got a Close frame meanwhile
	}
	var feed, number, epoch uint64
	followers := s.run.followers
	switch _, err := fmt.Sscanf(string(m.Data), "feed %d %d %d", &feed, &number, &epoch); {
	case err == nil && feed < uint64(len(followers)):
		var reader sync.WaitGroup
		reader.Go(func() { s.read(c) })
		s.feed(c, followers[feed].sessions.get(epoch), feed, number)
		_ = c.Close()
		reader.Wait()
	case string(m.Data) == "group":
		if s.group.Add(c) == nil {
			s.read(c)
		}
	default:
		s.run.fail("a client asked for %q", m.Data)
	}
}

// read reads until the connection ends, so that control frames are answered.
func (s *server) read(c *conn.Conn) {
	for {
		if _, err := c.ReadMessage(); err != nil {
			var broken *frame.ProtocolError
			if errors.As(err, &broken) {
				s.run.fail("the server found a protocol error: %v", err)
			}
			return
		}
	}
}

// feed sends messages from a number on until the connection must end.
func (s *server) feed(c *conn.Conn, session *session, feed, number uint64) {
	r := s.run
	random := rand.New(rand.NewPCG(r.o.Seed, mix(feed)^number))
	end := time.Now().Add(time.Duration(random.ExpFloat64() * float64(r.o.DropEvery)))
	pause := r.o.pause()
	if r.o.fault == early && number >= 10 {
		number--
	}
	session.due.Store(int64(time.Since(r.began)))
	timer := time.NewTimer(0)
	defer timer.Stop()
	var b []byte
	for {
		select {
		case <-timer.C:
		case <-c.Done():
			return
		}
		session.due.Store(0)
		if r.o.fault == stallsFeed && feed == 0 && number >= 10 {
			<-c.Done()
			return
		}
		burst := 1
		if random.IntN(50) == 0 {
			burst = longestBurst
		}
		for range burst {
			b = appendMessage(b[:0], feed, number, time.Since(r.began))
			if err := c.AppendMessage(opcode(feed, number), s.spoiled(b, &number)); err != nil {
				return
			}
			number++
		}
		if c.Flush() != nil {
			return
		}
		if r.o.fault == malforms && feed&2 == 0 && number >= 10 {
			s.faulty.Do(func() { _, _ = c.NetConn().Write([]byte{0x83, 0}) }) // a reserved opcode
		}
		if time.Now().After(end) {
			if r.o.fault == loses {
				number++
			}
			r.counters.ended.Add(1)
			endConn(c, session, number, random)
			return
		}
		wait := time.Duration(float64(burst) * float64(pause) * (0.5 + random.Float64()))
		session.due.Store(int64(time.Since(r.began) + wait))
		timer.Reset(wait)
	}
}

// spoiled applies the fault of a test, once.
func (s *server) spoiled(b []byte, number *uint64) []byte {
	if f := s.run.o.fault; f == faultless || f > leaks || *number < 10 {
		return b
	}
	s.faulty.Do(func() {
		switch s.run.o.fault {
		case skips:
			*number++
		case repeats:
			*number--
		case corrupts:
			b[len(b)-1] ^= 1
		case leaks:
			go time.Sleep(time.Minute)
		}
	})
	return b
}

// silence is how long a client waits for data before it gives up the connection.
const silence = 2 * time.Second

// endConn ends a connection in a random way, and notes what the client must find. number
// is the one after the last number sent.
func endConn(c *conn.Conn, session *session, number uint64, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*silence)
	defer cancel()
	switch random.IntN(5) {
	case 0: // without a Close frame; a part of the connections are reset
		_ = c.NetConn().Close()
	case 1:
		_ = c.Close()
	case 2:
		session.closes(frame.CodeServiceRestart, number)
		_ = c.Shutdown(ctx, frame.CodeServiceRestart, "")
	case 3:
		session.closes(frame.CodeGoingAway, number)
		_ = c.StartClose(frame.CodeGoingAway, "") // closes before the answer has come
	case 4: // the client must find out
		session.silent.Store(true)
		select {
		case <-c.Done():
		case <-ctx.Done():
		}
	}
}

// closes notes a Close frame before it is sent.
func (s *session) closes(code frame.CloseCode, sent uint64) {
	s.sent.Store(sent)
	s.code.Store(uint32(code))
}

// broadcast sends numbered messages to the Group until ctx ends.
func (s *server) broadcast(ctx context.Context) {
	tick := time.NewTicker(broadcastEvery)
	defer tick.Stop()
	var b []byte
	for number := uint64(0); ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b = appendBroadcast(b[:0], number)
		if s.run.o.fault == spoils && number == 30 {
			b[broadcastHead] ^= 1
		}
		if err := s.group.WriteMessage(conn.Text, b); err != nil {
			s.run.fail("Group.WriteMessage: %v", err)
			return
		}
	}
}
