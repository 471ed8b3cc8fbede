package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/flate"
)

// The tail, and behind it the start of a block, so that a library's reader never sees the end of its input.
const tail = "\x00\x00\xff\xff"

// BenchmarkInflate compares with the two libraries' readers, each kept alive for the whole stream of messages, which is
// the fastest way to use them. Sizes are of the inflated message; takeover is on.
func BenchmarkInflate(b *testing.B) {
	for _, size := range []int{200, 1000, 8000, 100_000} {
		messages := feed(4_000_000/size, size)
		compressed := stdCompress(b, messages, 6, true)
		total, small := 0, 0
		for i := range messages {
			total += len(messages[i])
			small += len(compressed[i])
		}
		name := fmt.Sprintf("%d", size)
		b.Run(name+"/tickwire", func(b *testing.B) {
			d := newInflater(b, InflateOptions{})
			b.ReportAllocs()
			b.ReportMetric(float64(small)/float64(len(messages)), "wire-B/op")
			b.SetBytes(int64(total / len(messages)))
			for i := 0; b.Loop(); i++ {
				if _, err := d.Message(compressed[i%len(compressed)], false); err != nil {
					b.Fatal(err)
				}
			}
		})
		var all bytes.Buffer
		for _, c := range compressed {
			all.Write(c)
			all.WriteString(tail)
		}
		kept := func(b *testing.B, reset func(r io.Reader) io.Reader) {
			b.ReportAllocs()
			b.SetBytes(int64(total / len(messages)))
			p := make([]byte, 2*size)
			var r io.Reader
			for i := 0; b.Loop(); i++ {
				if i%len(messages) == 0 {
					r = reset(bytes.NewReader(all.Bytes()))
				}
				if _, err := io.ReadFull(r, p[:len(messages[i%len(messages)])]); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(name+"/std", func(b *testing.B) { kept(b, func(r io.Reader) io.Reader { return stdflate.NewReader(r) }) })
		b.Run(name+"/klauspost", func(b *testing.B) { kept(b, func(r io.Reader) io.Reader { return flate.NewReader(r) }) })
	}
}
