package conformance

import (
	"bytes"
	"fmt"
)

// sizes are the rows of families 12 and 13: the sizes of a message and of its frames.
var sizes = []struct{ size, frame int }{
	{16, 0}, {64, 0}, {256, 0}, {1 << 10, 0}, {4 << 10, 0}, {8 << 10, 0}, {16 << 10, 0}, {32 << 10, 0}, {64 << 10, 0}, {128 << 10, 0},
	{8 << 10, 256}, {16 << 10, 256}, {32 << 10, 256}, {64 << 10, 256}, {128 << 10, 256}, {128 << 10, 1 << 10}, {128 << 10, 4 << 10}, {128 << 10, 32 << 10},
}

// parameters are the groups of family 13: a client's offer, and a server's answer to a
// client.
var parameters = []struct{ offer, grant string }{
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits", "permessage-deflate"},
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover", "permessage-deflate; client_no_context_takeover"},
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=9", "permessage-deflate; client_max_window_bits=9"},
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=15", "permessage-deflate; client_max_window_bits=15"},
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; server_max_window_bits=9", "permessage-deflate; client_no_context_takeover; client_max_window_bits=9"},
	{"permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; server_max_window_bits=15", "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=15"},
	{"permessage-deflate; server_no_context_takeover; client_max_window_bits; server_max_window_bits=9, permessage-deflate; server_no_context_takeover; client_max_window_bits, permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover; server_max_window_bits=10"},
}

// count returns how many messages of a size a case sends.
func count(v Volume, size int) int {
	switch v {
	case Full:
		return 1000
	case Normal:
		return max(4, min(200, 1<<20/size))
	}
	return max(2, min(10, 4<<10/size))
}

// compressionCases are families 12 and 13: kinds of payload, and parameters.
func compressionCases(v Volume) []*Case {
	var all []*Case
	add := func(id string, s *source, offer, grant string, row struct{ size, frame int }) {
		if v == Small && row.size > 4<<10 {
			row.size, row.frame = row.size/8, row.frame/8
		}
		n := count(v, row.size)
		title := fmt.Sprintf("%d messages of %s of %s", n, sizeName(row.size), s.name)
		if row.frame > 0 {
			title += ", in frames of " + sizeName(row.frame)
		}
		c := &Case{ID: id, Title: title + ", " + offer, Covers: []string{"R80", "R82", "R88"}, offer: offer, grant: grant, bulk: exchange(s, row.size, row.frame, n)}
		all = append(all, c)
	}
	for i, s := range sources {
		for j, row := range sizes {
			add(fmt.Sprintf("12.%d.%d", i+1, j+1), s, extensionName, extensionName, row)
		}
	}
	for i, p := range parameters {
		for j, row := range sizes {
			add(fmt.Sprintf("13.%d.%d", i+1, j+1), sources[0], p.offer, p.grant, row)
		}
	}
	return all
}

// window is how many messages may be in flight.
const window = 8

// exchange sends compressed messages and waits for their echoes.
func exchange(kind *source, size, frame, n int) func(*session) {
	return func(s *session) {
		s.expect(func(i int, e event) bool { return e.op == kind.op && bytes.Equal(e.data, kind.message(i, size)) })
		for i := range n {
			if s.gone() || i >= window && !s.came(i-window+1) {
				break
			}
			packed(kind.op, kind.message(i, size), frame)(s)
		}
		s.came(n)
		s.bulkDone(n)
	}
}
