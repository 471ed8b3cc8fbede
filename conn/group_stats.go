package conn

// GroupStats tells how far the connections of a Group are behind. What the next sweep is
// to bring to all of them is not in it.
type GroupStats struct {
	Connections int // in the Group, as Len returns
	Slow        int // connections for which something waits; under TLS also those whose goroutine encrypts
	Waiting     int // bytes that wait for slow connections, headers included, beyond those in their sockets
	MostWaiting int // of them those that wait for one connection: the most, to be compared with Lag

	Removed uint64 // connections that were ended with ErrTooSlow, since the Group began
}

// Stats returns the present state of the Group. It may be called at any time. It looks at
// each slow connection; sending costs nothing more for it. A connection that was removed
// while something waited for it counts as slow until that is written.
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
