package conn

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// The defaults of Group.
const (
	DefaultGroupBuffer = 64 << 10
	DefaultGroupLag    = 1 << 20
)

// ErrGroup is returned by Group.Add for a connection that cannot be in a Group: a
// client's, because each of its frames has its own mask, or one with Config.Outbound,
// which is asked about each message.
var ErrGroup = errors.New("conn: a Group is for connections of a server without Config.Outbound")

// Group sends the same messages to many connections of a server, in the fastest way: a
// message is encoded once, and the call does not wait for the writes. Messages sent while
// the connections are being written to go to each of them in one system call. Connections
// that compress get the messages compressed, each independent of earlier ones, as by
// WritePrepared.
//
// A connection gets the messages sent after its Add, whole and in order. Messages of its
// own write calls go somewhere between them.
//
// A slow connection does not delay the others. What it does not take is queued for it. If
// the queue would exceed Lag, its writing side ends with ErrTooSlow. If a message cannot
// be written, or the write deadline or Config.WriteTimeout passes, its writing side ends
// with the *TransportError of a write call. What the peer has sent can still be read;
// then the connection ends. A connection that has ended, or was shut down, leaves the
// Group with the next message. Call Flush before Shutdown, or messages may be lost.
//
// The zero value is ready. Set Buffer and Lag before the first Add. All methods may be
// called at any time from any goroutine. A Group need not be closed: without messages it
// has no goroutine and no buffer.
type Group struct {
	// Buffer is how many bytes of messages may wait while the connections are being
	// written to. Calls that send more wait. 0 means DefaultGroupBuffer. A longer message
	// waits alone.
	Buffer int
	// Lag limits the bytes queued for one slow connection, in addition to those in its
	// socket. 0 means DefaultGroupLag. The first queued item may exceed it: up to Buffer,
	// or one message if longer. So large messages to many slow connections take memory
	// for each.
	//
	// Sending without a pause, faster than the peers can read, exceeds Lag, unless Flush
	// is called now and then. So does sending on after a message longer than Lag. Under
	// TLS every message waits for a goroutine that encrypts it; there it is enough to
	// send faster than that.
	Lag int

	mu          sync.Mutex
	change      sync.Cond // of what WriteMessage and Flush wait for
	members     []*member
	byConn      map[*Conn]*member
	encodings   []encoding // only appended to; the first is that of connections that do not compress
	batches     [2]batch
	next        *batch            // for the next broadcast
	sent        uint64            // messages
	distributed uint64            // messages whose broadcast is over
	draining    map[*Conn]*member // those that have a goroutine, removed ones too
	running     bool              // there is a goroutine that broadcasts
	tooSlow     atomic.Uint64     // connections that were ended with ErrTooSlow
	encoder     frame.Writer      // gives the bytes of prepared messages

	// Of a broadcast: used by the goroutine in run, and its helpers.
	runFn, helpFn func()
	now           *batch
	targets       []*member
	position      atomic.Int64 // in targets
	lost          atomic.Bool  // some of targets are gone
	helpers       sync.WaitGroup
}

// encoding is a way to encode messages: a compression without the state of a connection.
type encoding struct {
	compressed             bool
	threshold, bits, level int
	members                int
}

// batch is messages in each of the encodings.
type batch struct {
	byEncoding []frames
	size       int // of the messages uncompressed
	messages   int
}

// of returns the messages in an encoding.
func (b *batch) of(encoding int) *frames {
	for len(b.byEncoding) <= encoding {
		b.byEncoding = append(b.byEncoding, frames{})
	}
	return &b.byEncoding[encoding]
}

// frames are frames one after the other, in memory from the pool.
type frames struct {
	lent *buffer.Buffer
	size int
}

func (s *frames) bytes() []byte {
	if s.lent == nil {
		return nil
	}
	return s.lent.B[:s.size]
}

// room returns memory for n bytes at the end.
func (s *frames) room(n int) []byte {
	switch {
	case s.lent == nil:
		s.lent = buffer.Get(n)
	case len(s.lent.B)-s.size < n:
		s.lent = buffer.Grow(s.lent, s.size, s.size+n)
	}
	return s.lent.B[s.size:]
}

func (s *frames) release() {
	buffer.Put(s.lent)
	*s = frames{}
}

// init makes the zero value usable; the caller has mu.
func (g *Group) init() {
	if g.byConn == nil {
		g.byConn, g.draining = make(map[*Conn]*member), make(map[*Conn]*member)
		g.change.L = &g.mu
		g.encodings = []encoding{{}}
		g.next = &g.batches[0]
		g.runFn, g.helpFn = g.run, g.help
		g.encoder.Reset(nil, frame.Server)
	}
}

// Add adds c to the Group. It returns ErrGroup if c cannot be in a Group, and the error
// of c if it has ended. Adding a connection twice has no effect.
func (g *Group) Add(c *Conn) error {
	if c.role != frame.Server || c.outbound != nil {
		return ErrGroup
	}
	if err := c.writable(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.init()
	if old := g.byConn[c]; old != nil && !old.gone.Load() {
		return nil
	} else if old != nil {
		g.remove(old)
	}
	m := &member{g: g, c: c, index: len(g.members), encoding: g.encodingOf(c)}
	if g.encodings[m.encoding].members++; m.encoding < len(g.next.byEncoding) {
		m.skip = g.next.byEncoding[m.encoding].size
	}
	m.skipped, m.firstBatch = g.next.messages, g.next
	g.members = append(g.members, m)
	g.byConn[c] = m
	return nil
}

// encodingOf returns the index of c's encoding.
func (g *Group) encodingOf(c *Conn) int {
	p := c.compression
	if p == nil {
		return 0
	}
	for i, k := range g.encodings {
		if k.compressed && k.threshold == p.threshold && k.bits == p.bits && k.level == p.level {
			return i
		}
	}
	g.encodings = append(g.encodings, encoding{compressed: true, threshold: p.threshold, bits: p.bits, level: p.level})
	return len(g.encodings) - 1
}

// Remove takes c out of the Group. Messages sent before may or may not still be written
// to it; call Flush first to be sure.
func (g *Group) Remove(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.byConn[c]; m != nil {
		g.remove(m)
	}
}

func (g *Group) remove(m *member) {
	delete(g.byConn, m.c)
	g.encodings[m.encoding].members--
	last := len(g.members) - 1
	g.members[m.index] = g.members[last]
	g.members[m.index].index = m.index
	g.members[last] = nil
	g.members = g.members[:last]
}

// slowest returns the member that drains for m's connection, m if there is none. It is
// called in the first broadcast that m is in: an earlier member for the connection is in
// none any more, and will not begin to drain.
func (g *Group) slowest(m *member) *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	if earlier := g.draining[m.c]; earlier != nil {
		return earlier
	}
	return m
}

// Len returns the number of connections in the Group.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// WriteMessage sends a text or binary message to all connections of the Group. data is
// not changed and not kept. Text must be UTF-8: ErrNotUTF8. The only other error is that
// for another opcode. Errors of a connection are returned by its own calls.
func (g *Group) WriteMessage(op Opcode, data []byte) error {
	switch {
	case op != Text && op != Binary:
		return frame.ErrOpcode
	case op == Text && !utf8.Valid(data):
		return ErrNotUTF8
	}
	g.mu.Lock()
	size := frame.Header{Opcode: op, Length: uint64(len(data))}.Size() + len(data)
	g.waitRoom(size)
	for i := range g.encodings {
		if k := &g.encodings[i]; k.compressed && k.members > 0 {
			g.mu.Unlock()
			p, err := Prepare(op, data)
			if err != nil {
				return err
			}
			return g.WritePrepared(p)
		}
	}
	if len(g.members) > 0 {
		s := g.next.of(0)
		frame.AppendFrame(s.room(size)[:0], frame.Header{Fin: true, Opcode: op}, data)
		s.size += size
		g.send(size)
	}
	g.mu.Unlock()
	return nil
}

// WritePrepared is WriteMessage for a prepared message.
func (g *Group) WritePrepared(p *Prepared) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := 0; i < len(g.encodings); i++ { // without mu the message is compressed, or found to have been; encodings may grow
		if k := g.encodings[i]; k.members > 0 && k.takes(p) {
			g.mu.Unlock()
			_, err := p.compressed(k.bits, k.level)
			g.mu.Lock()
			if err != nil {
				return err
			}
		}
	}
	g.waitRoom(p.Size())
	if len(g.members) == 0 {
		return nil
	}
	for i, k := range g.encodings {
		encoded := p.plain
		if k.members == 0 {
			continue
		} else if k.takes(p) {
			var err error
			if encoded, err = p.compressed(k.bits, k.level); err != nil {
				encoded = p.plain // which every peer understands too
			}
		}
		b := g.encoder.EncodePrepared(encoded)
		s := g.next.of(i)
		s.size += copy(s.room(len(b)), b)
	}
	g.send(p.Size())
	return nil
}

// takes reports whether a message is compressed: see compression.takes.
func (k *encoding) takes(p *Prepared) bool { return k.compressed && len(p.data) >= k.threshold }

// waitRoom waits until size more bytes fit into the next batch.
func (g *Group) waitRoom(size int) {
	limit := g.Buffer
	if limit <= 0 {
		limit = DefaultGroupBuffer
	}
	for g.next != nil && g.next.messages > 0 && g.next.size+size > limit {
		g.change.Wait()
	}
}

// send counts a message that was appended, and sees to it that there is a broadcast.
func (g *Group) send(size int) {
	g.next.size += size
	g.next.messages++
	g.sent++
	if !g.running {
		g.running = true
		go g.runFn()
	}
}

// Flush waits until all messages sent before have been written to the sockets of all live
// connections, including those sent to slow connections meanwhile. If ctx ends first it
// returns the context's cause.
func (g *Group) Flush(ctx context.Context) error {
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.next != nil {
				g.change.Broadcast()
			}
		})()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for sent := g.sent; g.distributed < sent || len(g.draining) > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.change.Wait()
	}
	return nil
}

// run is the goroutine that broadcasts: it brings a batch to all members, and then the
// next, until there is none.
func (g *Group) run() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.next.messages > 0 {
		g.now, g.next = g.next, &g.batches[0]
		if g.next == g.now {
			g.next = &g.batches[1]
		}
		g.targets = append(g.targets[:0], g.members...)
		g.change.Broadcast() // there is room
		g.mu.Unlock()
		g.broadcast()
		g.mu.Lock()
		for i := range g.now.byEncoding {
			g.now.byEncoding[i].release()
		}
		g.distributed += uint64(g.now.messages)
		g.now.size, g.now.messages = 0, 0
		if g.lost.Swap(false) {
			for _, m := range g.targets {
				if m.gone.Load() && g.byConn[m.c] == m {
					g.remove(m)
				}
			}
		}
		clear(g.targets)
		g.change.Broadcast()
	}
	g.running = false
}

const (
	// groupStride is how many members a goroutine takes at a time. It then lets others
	// run: its writes are system calls of which the scheduler does not know.
	groupStride = 32
	// groupShare is from how many members on another goroutine helps.
	groupShare = 256
)

// broadcast writes a batch to all targets. It leaves half the processors to others.
func (g *Group) broadcast() {
	g.position.Store(0)
	for range min(runtime.GOMAXPROCS(0)/2, len(g.targets)/groupShare) - 1 {
		g.helpers.Add(1)
		go g.helpFn()
	}
	g.writeSome()
	g.helpers.Wait()
}

func (g *Group) help() {
	defer g.helpers.Done()
	g.writeSome()
}

// writeSome writes to members of targets until there is none left.
func (g *Group) writeSome() {
	for {
		end := int(g.position.Add(groupStride))
		start := end - groupStride
		if start >= len(g.targets) {
			return
		}
		for _, m := range g.targets[start:min(end, len(g.targets))] {
			if !m.take(g.now) {
				g.lost.Store(true)
			}
		}
		runtime.Gosched()
	}
}
