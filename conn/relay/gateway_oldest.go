package relay

import (
	"context"
	"time"
)

// originLife is how long an answer to "where is the oldest batch" is good for others.
const originLife = silence

// origin is the sequence of the oldest batch of some age, which all clients share that
// ask at about the same time.
type origin struct {
	done chan struct{}

	// Set before done is closed.
	next  uint64
	err   error
	until time.Time // the end of its life
}

// origin returns where batches begin that are not older than age; 0 means no limit. It
// asks the engine once for all that want the same.
func (f *feed) origin(age time.Duration) *origin {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for key, o := range f.origins {
		select {
		case <-o.done:
			if o.err != nil || now.After(o.until) {
				delete(f.origins, key)
			}
		default:
		}
	}
	o := f.origins[age]
	if o == nil {
		o = &origin{done: make(chan struct{})}
		f.origins[age] = o
		go f.find(o, age)
	}
	return o
}

// find asks for an origin. It does not end with the client that wanted it: others wait.
func (f *feed) find(o *origin, age time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), f.g.patience)
	defer cancel()
	go func() {
		select {
		case <-f.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	o.next, o.err = f.oldest(ctx, age)
	o.until = time.Now().Add(f.g.originLife)
	close(o.done)
}

// oldest asks the engine where batches begin that are not older than age.
func (f *feed) oldest(ctx context.Context, age time.Duration) (uint64, error) {
	since := time.Now().Add(-age)
	for pause := time.Duration(0); sleep(ctx, pause) == nil; {
		var next uint64
		pause = 100 * time.Millisecond
		if age != 0 {
			got, err := directGetSince(ctx, f.g.Conn, f.name, since)
			if err != nil {
				continue
			}
			if len(got) > 0 {
				next = got[0].sequence
			}
		}
		info, err := f.lookup(ctx)
		switch {
		case err != nil:
			continue
		case info.Incarnation != f.incarnation:
			return 0, ErrIncarnation
		case age == 0:
			return info.First, nil
		case next > 0:
			return next, nil
		}
		pause = 10 * time.Millisecond
		// Nothing is that young, or the replica is not up to date.
		f.mu.Lock()
		head, old := f.head, f.headTime < since.UnixNano()
		f.mu.Unlock()
		if old && head >= info.Last {
			return head + 1, nil
		}
	}
	return 0, ctx.Err()
}
