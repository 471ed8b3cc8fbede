package relay

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// chunkBatches is how many batches a chunk has. Chunks are aligned: the first begins with
// sequence 1.
const chunkBatches = 64

// cache keeps batches that are older than the ring. All replays share it: a chunk is read
// once for all clients that wait for it, and stays until others need its memory.
type cache struct {
	limit int64
	slots chan struct{} // a place for each read

	mu      sync.Mutex
	size    int64
	chunks  map[chunkKey]*list.Element // of *chunk
	recent  list.List                  // the one used last is in front
	loading map[chunkKey]*load
}

type chunkKey struct {
	feed  *feed
	index uint64
}

// chunk is the batches of a chunk, from its first one to upto. Batches that did not exist
// when it was read are missing at its end. What is gone may reach beyond it.
type chunk struct {
	key     chunkKey
	packets []*packet
	upto    uint64
	size    int64
}

// load is a read of a chunk that others can wait for.
type load struct {
	done  chan struct{}
	chunk *chunk
	err   error
}

func newCache(limit int64, reads int) *cache {
	return &cache{limit: limit, slots: make(chan struct{}, reads),
		chunks: map[chunkKey]*list.Element{}, loading: map[chunkKey]*load{}}
}

// get returns packets from a sequence on, at least one. The head of the feed must have
// come to the sequence.
func (c *cache) get(ctx context.Context, f *feed, sequence uint64) ([]*packet, error) {
	key := chunkKey{f, (sequence - 1) / chunkBatches}
	for {
		packets, l := c.lookup(key, sequence)
		if packets != nil {
			f.hits.Add(1)
			return packets, nil
		}
		select {
		case <-l.done:
		case <-f.over:
			return nil, f.why()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if l.err != nil {
			return nil, l.err
		}
		if packets := take(l.chunk.packets, sequence); packets != nil {
			return packets, nil
		}
	}
}

// lookup returns packets, or a load to wait for.
func (c *cache) lookup(key chunkKey, sequence uint64) ([]*packet, *load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var known *chunk
	if e := c.chunks[key]; e != nil {
		known = e.Value.(*chunk)
		if packets := take(known.packets, sequence); packets != nil {
			c.recent.MoveToFront(e)
			return packets, nil
		}
	}
	l := c.loading[key]
	if l == nil {
		l = &load{done: make(chan struct{})}
		c.loading[key] = l
		go c.load(key, known, l)
	}
	return nil, l
}

// load reads a chunk, or what is missing of it. It does not end with the client that
// wanted it: others may wait.
func (c *cache) load(key chunkKey, known *chunk, l *load) {
	f := key.feed
	ctx, cancel := context.WithTimeout(context.Background(), f.g.patience)
	defer cancel()
	go func() {
		select {
		case <-f.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	next := &chunk{key: key, upto: key.index * chunkBatches}
	if known != nil {
		next.packets = append(next.packets, known.packets...)
		next.upto, next.size = known.upto, known.size
	}
	select {
	case c.slots <- struct{}{}:
		l.err = c.read(ctx, f, next)
		<-c.slots
	case <-ctx.Done():
		l.err = ctx.Err()
	}
	c.mu.Lock()
	l.chunk = next
	delete(c.loading, key)
	if l.err == nil && f.why() == nil {
		c.put(next)
	}
	c.mu.Unlock()
	close(l.done)
}

// read reads the rest of a chunk, as far as the stream goes. An engine that does not
// answer is asked again until ctx ends.
func (c *cache) read(ctx context.Context, f *feed, next *chunk) error {
	head := f.position()
	end := min((next.key.index+1)*chunkBatches, head)
	for next.upto < end {
		packets, err := f.read(ctx, next.upto+1, end, head)
		switch {
		case err == nil:
			f.fetches.Add(1)
		case errors.Is(err, ErrIncarnation), ctx.Err() != nil:
			return err
		default:
			sleep(ctx, 100*time.Millisecond)
		}
		for _, p := range packets {
			next.packets, next.upto = append(next.packets, p), p.last
			next.size += p.size()
			f.fetched.Add(1)
		}
	}
	return nil
}

// put keeps a chunk, and drops those that were not used for the longest time.
func (c *cache) put(next *chunk) {
	if e := c.chunks[next.key]; e != nil {
		c.drop(e)
	}
	c.chunks[next.key] = c.recent.PushFront(next)
	c.size += next.size
	for c.size > c.limit && c.recent.Len() > 1 {
		c.drop(c.recent.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	old := c.recent.Remove(e).(*chunk)
	delete(c.chunks, old.key)
	c.size -= old.size
}

// forget drops the chunks of a feed that is over.
func (c *cache) forget(f *feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.chunks {
		if key.feed == f {
			c.drop(e)
		}
	}
}

// bytes returns the memory in use.
func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
