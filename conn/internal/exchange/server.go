// Package exchange is the market-data server that tickwire feed consumes. It sends a
// realistic feed over real connections, cheaply, so that the consumer is the limit of a
// measurement.
//
// A client subscribes with a text message, a [Subscribe] in JSON. It gets a [Subscribed]
// and then the feed: trades, best bids and offers, books of 20 levels, and sometimes all
// books at once. Every message has a number, the time of its making and a checksum. A
// [Checker] verifies them.
package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A Subscribe asks for the feed.
type Subscribe struct {
	Op string `json:"op"` // "subscribe"
	// Rate is in messages per second. 0 means as fast as the connection takes them. All
	// clients with the same rate get the same feed: at any moment each is at the same
	// number.
	Rate float64 `json:"rate,omitempty"`
	// Limit is how many messages to send before the Close frame with code 1000. 0 means
	// no limit.
	Limit int64 `json:"limit,omitempty"`
}

// A Subscribed is the exchange's answer. It precedes the first message of the feed.
type Subscribed struct {
	Op    string `json:"op"` // "subscribed", or "error" with no other valid field
	First uint64 `json:"first,omitempty"`
	Error string `json:"error,omitempty"`
}

// MaxRate is the highest Rate.
const MaxRate = 100e6

// A Server publishes the feed to its clients, each with its own goroutines. The zero
// value is ready to use.
type Server struct {
	// Upgrader accepts connections from the listener. It need not check text that is
	// written: the messages are valid UTF-8.
	Upgrader conn.Upgrader
	// Log gets a line when a client could not be served. It may be nil.
	Log func(format string, args ...any)

	once  sync.Once
	epoch time.Time // the start of every feed with a rate
	cycle []body
}

// Serve accepts clients until ctx ends or the listener fails. Then it closes all
// connections with code 1001 and waits for them. It closes the listener. The error is nil
// if ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.once.Do(func() {
		s.epoch = time.Now()
		s.cycle = newCycle(uint64(s.epoch.UnixNano()))
		s.Upgrader.Config.UncheckedText = true
	})
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("exchange: %w", err)
		}
		clients.Go(func() {
			if err := s.serve(ctx, nc); err != nil && s.Log != nil {
				s.Log("%s: %v", nc.RemoteAddr(), err)
			}
		})
	}
}

// serve reads a client's requests until the connection ends.
func (s *Server) serve(ctx context.Context, nc net.Conn) error {
	c, err := s.Upgrader.Accept(nc)
	if err != nil {
		return err
	}
	defer c.Close()
	// The feed ends with the client's Close frame or with the server.
	ctx, cancel := context.WithCancel(ctx)
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer cancel()
	farewell := context.AfterFunc(ctx, func() { c.Shutdown(context.Background(), frame.CodeGoingAway, "") })
	defer farewell()

	subscribed := false
	for {
		m, err := c.ReadMessage()
		if err != nil {
			if errors.As(err, new(*conn.CloseError)) {
				return nil
			}
			return err
		}
		var request Subscribe
		if bad := request.parse(m.Data); bad != nil {
			err = reply(c, Subscribed{Op: "error", Error: bad.Error()})
		} else if subscribed {
			err = reply(c, Subscribed{Op: "error", Error: "subscribed already"})
		} else {
			subscribed = true
			f := s.newFeed(c, request)
			if err = reply(c, Subscribed{Op: "subscribed", First: f.first}); err == nil {
				publishing.Go(func() { f.publish(ctx) })
			}
		}
		if err != nil {
			return err
		}
	}
}

func (r *Subscribe) parse(p []byte) error {
	switch err := json.Unmarshal(p, r); {
	case err != nil:
		return errors.New("not a JSON object with op, rate and limit")
	case r.Op != "subscribe":
		return errors.New("the only op is subscribe")
	case r.Rate != 0 && (r.Rate < 1e-3 || r.Rate > MaxRate):
		return errors.New("the rate is out of range")
	case r.Limit < 0:
		return errors.New("the limit is negative")
	}
	return nil
}

func reply(c *conn.Conn, answer Subscribed) error {
	p, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return c.WriteMessage(frame.Text, p)
}

// A feed is what one client gets.
type feed struct {
	conn  *conn.Conn
	epoch time.Time
	rate  float64 // 0: as fast as possible
	first uint64
	left  int64 // messages still to send; negative: no limit

	cycle   []body
	at      int // index in cycle
	stamp   stamp
	scratch []byte
}

// batch is how many bytes of messages one write has.
const batch = 64 << 10

func (s *Server) newFeed(c *conn.Conn, request Subscribe) *feed {
	f := &feed{conn: c, epoch: s.epoch, rate: request.Rate, left: request.Limit, cycle: s.cycle}
	if f.left == 0 {
		f.left = -1
	}
	number := f.due(time.Now())
	f.first = FirstSequence + number
	f.at = int(number % cycleLength)
	f.stamp = newStamp(f.first)
	return f
}

// due returns how many messages of a feed with a rate are due by now. It returns 0 for
// one without.
func (f *feed) due(now time.Time) uint64 {
	return uint64(now.Sub(f.epoch).Seconds() * f.rate)
}

// publish writes messages until the limit, or until ctx or the connection ends.
func (f *feed) publish(ctx context.Context) {
	var err error
	if f.rate == 0 {
		for err == nil && f.left != 0 && ctx.Err() == nil {
			_, err = f.send(math.MaxInt64)
		}
	} else {
		err = f.paced(ctx)
	}
	if err == nil && f.left == 0 {
		f.conn.Shutdown(context.WithoutCancel(ctx), frame.CodeNormal, "") // bounded by the close timeout
	}
}

// tick is the interval between writes of a feed with a rate. All messages that are due
// leave in one write, as from an exchange's gateway.
const tick = time.Millisecond

// paced writes messages when they are due: number n, counted from 0, at epoch +
// (n+1)/rate. After a late wake-up or a blocked write it sends all that is due, so the
// rate holds.
func (f *feed) paced(ctx context.Context) error {
	next := f.first - FirstSequence
	wait := time.NewTimer(0)
	defer wait.Stop()
	for f.left != 0 {
		for due := f.due(time.Now()); next < due && f.left != 0; {
			sent, err := f.send(int64(due - next))
			if err != nil {
				return err
			}
			next += uint64(sent)
		}
		at := time.Duration(math.Ceil(float64(next+1) / f.rate * 1e9))
		at = (at + tick - 1).Truncate(tick)
		wait.Reset(time.Until(f.epoch.Add(at)))
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
	}
	return nil
}

// send writes at most n messages, and about batch bytes, all with the same time. It
// returns how many.
func (f *feed) send(n int64) (sent int64, err error) {
	if f.left >= 0 {
		n = min(n, f.left)
	}
	f.stamp.setTime(time.Now().UnixNano())
	for bytes := 0; sent < n && bytes < batch; sent++ {
		body := &f.cycle[f.at]
		f.scratch = f.stamp.appendTo(append(f.scratch[:0], body.text...), body.sum)
		if err := f.conn.AppendMessage(frame.Text, f.scratch); err != nil {
			return sent, err
		}
		bytes += len(f.scratch)
		if f.at++; f.at == len(f.cycle) {
			f.at = 0
		}
	}
	if f.left >= 0 {
		f.left -= sent
	}
	return sent, f.conn.Flush()
}
