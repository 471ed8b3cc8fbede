package main

import (
	"context"
	"sync"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A following is a consumer's side of a feed that is read over successive connections.
type following struct {
	client *redial.Client
	url    string

	mu   sync.Mutex
	live *conn.Conn // nil without a connection
	past conn.Stats // of the connections that have ended, as far as they were published
}

func (f *feed) newFollowing() *following {
	w, judge := &following{url: f.url}, &judge{policy: f.options.policy.policy}
	tell := printChange(&cli.Redactor{W: f.display, Secrets: f.secrets})
	w.client = &redial.Client{
		Classify: judge.classify,
		URL:      f.url,
		Dialer:   f.dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			w.mu.Lock()
			w.live = s.Conn
			w.mu.Unlock()
			f.connected(s.Conn)
			if f.options.send == "" {
				return nil
			}
			return sendTexts(s.Conn, []string{f.options.send})
		},
		OnChange: judge.onChange(func(ch redial.Change) {
			if ch.State == redial.Down {
				w.ended(ch.Stats)
			}
			tell(ch)
		}),
	}
	return w
}

// ended adds the counters of a connection that has ended.
func (w *following) ended(s conn.Stats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = nil
	w.past.BytesRead += s.BytesRead
	w.past.Reads += s.Reads
	w.past.Waits += s.Waits
}

func (w *following) stats() conn.Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := w.past
	if w.live != nil {
		s := w.live.Stats()
		sum.BytesRead += s.BytesRead
		sum.Reads += s.Reads
		sum.Waits += s.Waits
	}
	return sum
}

// run counts messages until ctx ends.
func (w *following) run(ctx context.Context, c *consumer) error {
	err := w.client.Run(ctx, func(_ context.Context, m redial.Message) error {
		c.messages.Add(1)
		c.bytes.Add(int64(len(m.Data)))
		return nil
	})
	return redialEnd(ctx, w.url, err, w.client.Counts().Connections)
}
