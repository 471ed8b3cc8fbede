package conn

// GroupStats says how far the connections of a Group lag. Messages that wait for the next
// round of writes are not included.
type GroupStats struct {
	Connections int // in the Group, as Len returns
	Slow        int // connections for which something waits; under TLS also those whose goroutine encrypts
	Waiting     int // bytes that wait for slow connections, headers included, beyond those in their sockets
	MostWaiting int // of them those that wait for one connection: the most, to be compared with Lag

	Removed uint64 // connections that were ended with ErrTooSlow, since the Group began
}

// Stats returns the current state of the Group. It may be called at any time. It visits
// each slow connection, and adds no cost to sending. A connection that was removed with
// messages still queued counts as slow until they are written.
func (g *Group) Stats() GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GroupStats{Connections: len(g.members), Removed: g.tooSlow.Load()}
	for _, m := range g.draining {
		m.mu.Lock()
		size := m.size
		m.mu.Unlock()
		if size > 0 { // otherwise its goroutine is about to end
			s.Slow++
			s.Waiting += size
			s.MostWaiting = max(s.MostWaiting, size)
		}
	}
	return s
}
