package conn

import "sync/atomic"

// Stats are counters since the connection began.
type Stats struct {
	MessagesRead    uint64 // delivered to the caller
	MessagesWritten uint64 // taken from the caller, those included that wait for Flush
	BytesRead       uint64 // from the transport, headers and control frames included
	BytesWritten    uint64 // to the transport
	Reads           uint64 // read calls on the transport
	Writes          uint64 // write calls on the transport
	PingsRead       uint64
	PongsRead       uint64
	PingsWritten    uint64
	PongsWritten    uint64
	NonMinimal      uint64 // lengths in a longer form than needed, with Frame.AllowNonMinimal
}

type stats struct {
	bytesRead, reads           atomic.Uint64
	messagesWritten            atomic.Uint64
	bytesWritten, writes       atomic.Uint64
	pingsRead, pongsRead       atomic.Uint64
	pingsWritten, pongsWritten atomic.Uint64
}

// Stats returns the counters. It may be called at any time.
func (c *Conn) Stats() Stats {
	s := &c.stats
	return Stats{
		MessagesRead:    c.readers.Load() / readCount,
		MessagesWritten: s.messagesWritten.Load(),
		BytesRead:       s.bytesRead.Load(),
		BytesWritten:    s.bytesWritten.Load(),
		Reads:           s.reads.Load(),
		Writes:          s.writes.Load(),
		PingsRead:       s.pingsRead.Load(),
		PongsRead:       s.pongsRead.Load(),
		PingsWritten:    s.pingsWritten.Load(),
		PongsWritten:    s.pongsWritten.Load(),
	}
}
