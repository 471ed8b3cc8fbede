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
		total := 0
		for _, m := range messages {
			total += len(m)
		}
		name := fmt.Sprintf("%d", size)
		b.Run(name+"/tickwire", func(b *testing.B) {
			d := newInflater(b, InflateOptions{})
			b.ReportAllocs()
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

// BenchmarkPays prints what the table of the package comment holds: CPU a message on both sides, and bytes on the wire.
func BenchmarkPays(b *testing.B) {
	for _, size := range []int{200, 1000, 8000} {
		messages := feed(800_000/size, size)
		plain := 0
		for _, m := range messages {
			plain += len(m)
		}
		for _, c := range []struct {
			name string
			o    DeflateOptions
		}{
			{"default", DeflateOptions{}},
			{"history of 2 KiB", DeflateOptions{History: 2048}},
			{"history of 32 KiB", DeflateOptions{History: 32768}},
			{"window of 10 bits", DeflateOptions{WindowBits: 10}},
			{"no takeover", DeflateOptions{NoContextTakeover: true}},
			{"level 1", DeflateOptions{Level: 1}},
			{"level 5", DeflateOptions{Level: 5}},
			{"level 9", DeflateOptions{Level: 9}},
			{"level 5, history of 2 KiB", DeflateOptions{Level: 5, History: 2048}},
		} {
			out := newDeflater(b, c.o)
			wire := 0
			compressed := make([][]byte, len(messages))
			for i, m := range messages {
				compressed[i] = out.Append(nil, m, true)
				wire += len(compressed[i])
			}
			report := func(b *testing.B) {
				b.ReportMetric(float64(plain)/float64(len(messages)), "plain-B/op")
				b.ReportMetric(float64(wire)/float64(len(messages)), "wire-B/op")
			}
			b.Run(fmt.Sprintf("%d/%s/deflate", size, c.name), func(b *testing.B) {
				p := make([]byte, 0, Bound(2*size))
				for i := 0; b.Loop(); i++ {
					p = out.Append(p[:0], messages[i%len(messages)], true)
				}
				report(b)
			})
			b.Run(fmt.Sprintf("%d/%s/inflate", size, c.name), func(b *testing.B) {
				d := newInflater(b, InflateOptions{NoContextTakeover: c.o.NoContextTakeover})
				for i := 0; b.Loop(); i++ {
					if _, err := d.Message(compressed[i%len(messages)], true); err != nil {
						b.Fatal(err)
					}
				}
				report(b)
			})
		}
	}
}

// BenchmarkDeflate compares with the standard library's compressor at the nearest ratio.
func BenchmarkDeflate(b *testing.B) {
	for _, size := range []int{200, 1000, 8000} {
		messages := feed(400_000/size, size)
		b.Run(fmt.Sprintf("%d/tickwire", size), func(b *testing.B) {
			d := newDeflater(b, DeflateOptions{})
			p := make([]byte, 0, Bound(2*size))
			wire, n := 0, 0
			for ; b.Loop(); n++ {
				p = d.Append(p[:0], messages[n%len(messages)], true)
				wire += len(p)
			}
			b.ReportMetric(float64(wire)/float64(n), "wire-B/op")
		})
		for _, level := range []int{2, 6} {
			b.Run(fmt.Sprintf("%d/std, level %d", size, level), func(b *testing.B) {
				var p bytes.Buffer
				w, _ := stdflate.NewWriter(&p, level)
				wire, n := 0, 0
				for ; b.Loop(); n++ {
					p.Reset()
					w.Write(messages[n%len(messages)])
					w.Flush()
					wire += p.Len() - len(tail)
				}
				b.ReportMetric(float64(wire)/float64(n), "wire-B/op")
			})
		}
	}
}

// BenchmarkLevels prints what each level costs and yields, with context takeover and
// without: CPU a message, bytes on the wire, and what a connection holds between
// messages. DefaultLevel (0) and HuffmanOnly (-2) are the package's own, 1 to 9
// klauspost/compress.
func BenchmarkLevels(b *testing.B) {
	for _, alone := range []bool{false, true} {
		for _, size := range []int{200, 8000} {
			messages := feed(400_000/size, size)
			for level := HuffmanOnly; level <= 9; level++ {
				o := DeflateOptions{Level: level, NoContextTakeover: alone}
				if o.check() != nil {
					continue
				}
				held := float64(idleDeflater(b, o)) / 1024
				d, wire := newDeflater(b, o), 0
				p := make([]byte, 0, Bound(2*size))
				for _, m := range messages {
					wire += len(d.Append(p, m, true))
				}
				b.Run(fmt.Sprintf("takeover %v/%d/level %d", !alone, size, level), func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						d.Append(p, messages[i%len(messages)], true)
					}
					b.ReportMetric(float64(wire)/float64(len(messages)), "wire-B/op")
					b.ReportMetric(held, "held-KiB")
				})
			}
		}
	}
}
