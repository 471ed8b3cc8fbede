package conn

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// looped is a transport that hands out the same bytes again and again, in reads of at most so many, each of which ends where a
// message does if it is told so.
type looped struct {
	net.Conn
	stream []byte
	ends   []int // of messages in stream; nil if reads may cross them
	most   int   // bytes a read
	at     int
}

func (l *looped) Read(p []byte) (int, error) {
	end := len(l.stream)
	if l.ends != nil {
		i, _ := slices.BinarySearch(l.ends, l.at+1)
		end = l.ends[i]
	}
	n := copy(p[:min(len(p), l.most)], l.stream[l.at:end])
	if l.at += n; l.at == len(l.stream) {
		l.at = 0
	}
	return n, nil
}

// BenchmarkReadDeflate reads compressed text with context takeover that comes from memory: many messages with a read, one with
// each, in segments of 1460 bytes, and in fragments of a third of a message.
//
//	go test -run='^$' -bench=ReadDeflate ./conn
func BenchmarkReadDeflate(b *testing.B) {
	for _, size := range []int{200, 1000, 8000, 100_000} {
		out, err := deflate.NewDeflater(deflate.DeflateOptions{})
		if err != nil {
			b.Fatal(err)
		}
		var whole, parts []byte
		var ends []int
		total, n := 0, max(20, 400_000/size)
		for i := range n {
			m := feedMessage(i, size)
			p := out.Append(nil, m, true)
			whole = frame.AppendFrame(whole, frame.Header{Fin: true, RSV1: true, Opcode: Text}, p)
			ends = append(ends, len(whole))
			third := len(p) / 3
			parts = frame.AppendFrame(parts, frame.Header{RSV1: true, Opcode: Text}, p[:third])
			parts = frame.AppendFrame(parts, frame.Header{}, p[third:2*third])
			parts = frame.AppendFrame(parts, frame.Header{Fin: true}, p[2*third:])
			total += len(m)
		}
		for _, c := range []struct {
			name string
			l    looped
		}{
			{"many", looped{stream: whole, most: 1 << 20}},
			{"each", looped{stream: whole, ends: ends, most: 1 << 20}},
			{"segments", looped{stream: whole, most: 1460}},
			{"fragments", looped{stream: parts, most: 1 << 20}},
		} {
			b.Run(fmt.Sprintf("%d/%s", size, c.name), func(b *testing.B) {
				a, _ := netsim.Pipe(0)
				l := c.l
				l.Conn = a
				c := New(&l, frame.Client, agreed(deflate.Config{}, frame.Options{}))
				defer c.Close()
				b.ReportAllocs()
				b.SetBytes(int64(total / n))
				for b.Loop() {
					if _, err := c.ReadMessage(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// feedMessage returns a message of a feed, of about size bytes.
func feedMessage(i, size int) []byte {
	x := uint32(i)*2654435761 + 1
	next := func(n uint32) uint32 { x = x*1664525 + 1013904223; return (x >> 8) % n }
	m := fmt.Appendf(nil, `{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"b":[`, 1_700_000_000_000+int64(i)*17, 1_000_000+i)
	for len(m) < size-30 {
		m = fmt.Appendf(m, `["%d.%02d","%d.%05d"],`, 60_000+next(900), next(100), next(4), next(100_000))
	}
	return append(m, "[]]}"...)
}
