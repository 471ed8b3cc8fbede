package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	stdutf8 "unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// feedText returns n bytes of the text of a feed: JSON, with some CJK if cjk is set.
func feedText(n int, cjk bool) []byte {
	pattern := `{"e":"trade","s":"BTC-USDT","p":"64231.50","q":"0.0125","seq":123456789,"t":1700000000000000000},`
	if cjk {
		pattern = `{"e":"成交","s":"比特币-USDT","p":"64231.50","q":"0.0125","seq":123456789,"t":17000000000},`
	}
	b := []byte(strings.Repeat(pattern, n/len(pattern)+2))
	for !stdutf8.Valid(b[:n]) {
		n--
	}
	return b[:n]
}

// blaster is a source that repeats the same frames without end and fills each read.
type blaster struct {
	frames []byte
	pos    int
}

func (s *blaster) Read(p []byte) (int, error) {
	n := copy(p, s.frames[s.pos:])
	if s.pos += n; s.pos == len(s.frames) {
		s.pos = 0
	}
	return n, nil
}

func feedFrames(role Role, size int, cjk bool) (frames []byte, n int) {
	h := Header{Fin: true, Opcode: Text, Masked: role == Server}
	p := feedText(size, cjk)
	for len(frames) < 64<<10 {
		h.Key = h.Key*2654435761 + 0x9a3c51e7
		frames = AppendFrame(frames, h, p)
		n++
	}
	return frames, n
}

func BenchmarkDecode(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, role := range []Role{Client, Server} {
		for _, size := range []int{60, 200, 1000, 8000} {
			for _, text := range []string{"ascii", "cjk"} {
				frames, n := feedFrames(role, size, text == "cjk")
				for _, tier := range asm.Available() {
					for _, check := range []string{"utf8", "skip"} {
						b.Run(fmt.Sprintf("%v/%d/%s/%v/%s", role, size, text, tier, check), func(b *testing.B) {
							defer asm.Force(tier)()
							r := NewReader(&blaster{frames: frames}, role, Options{SkipUTF8: check == "skip"})
							b.SetBytes(int64(len(frames) / n))
							b.ReportAllocs()
							for b.Loop() {
								if _, err := r.Next(); err != nil {
									b.Fatal(err)
								}
							}
						})
					}
				}
			}
		}
	}
}

// BenchmarkDecodeLarge reads messages of 1 MiB from memory, in one frame and in 16
// fragments.
func BenchmarkDecodeLarge(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	payload := feedText(1<<20, false)
	for _, fragments := range []int{1, 16} {
		for _, limit := range []int{DefaultMaxBuffer, 4 << 20} {
			b.Run(fmt.Sprintf("%d/%d", fragments, limit), func(b *testing.B) {
				var frames []byte
				for i, n := 0, len(payload)/fragments; i < fragments; i++ {
					h := Header{Fin: i == fragments-1, Opcode: Continuation}
					if i == 0 {
						h.Opcode = Binary
					}
					frames = AppendFrame(frames, h, payload[i*n:(i+1)*n])
				}
				r := NewReader(&blaster{frames: frames}, Client, Options{})
				r.SetMaxBuffer(limit)
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Next(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkLimit is the lower bound of BenchmarkDecode. It is a loop that only reads
// lengths, without and with unicode/utf8.
func BenchmarkLimit(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, size := range []int{60, 200, 1000, 8000} {
		for _, text := range []string{"ascii", "cjk"} {
			for _, check := range []string{"utf8", "skip"} {
				b.Run(fmt.Sprintf("%d/%s/%s", size, text, check), func(b *testing.B) {
					b.SetBytes(int64(limit(b, size, text == "cjk", check == "utf8")))
				})
			}
		}
	}
}

// limit reads only lengths. It returns the size of one frame in bytes.
func limit(b *testing.B, size int, cjk, check bool) int {
	frames, n := feedFrames(Client, size, cjk)
	src := &blaster{frames: frames}
	buf := make([]byte, DefaultMaxBuffer)
	pos, end := 0, 0
	for b.Loop() {
		for {
			p := buf[pos:end]
			if len(p) >= 4 {
				head, size := 2, int(p[1]&0x7f)
				if size == 126 {
					head, size = 4, int(binary.BigEndian.Uint16(p[2:]))
				}
				if head+size <= len(p) {
					if check && !stdutf8.Valid(p[head:head+size]) {
						b.Fatal("not UTF-8")
					}
					pos += head + size
					break
				}
			}
			end = copy(buf, p)
			pos = 0
			m, _ := src.Read(buf[end:])
			end += m
		}
	}
	return len(frames) / n
}

// BenchmarkFrames is the short table: messages read and written in memory, at the best
// tier. tier=std reads lengths and calls unicode/utf8; it checks no other rule.
// TICKWIRE_FULL=1 runs the other benchmarks too.
//
//	go test -run='^$' -bench=. ./mask ./utf8 ./frame
func BenchmarkFrames(b *testing.B) {
	tier := asm.Active().String()
	run := func(op string, size int, tier string, f func(b *testing.B) (bytes int)) {
		b.Run(fmt.Sprintf("op=%s/size=%d/tier=%s", op, size, tier), func(b *testing.B) {
			n := f(b)
			b.ReportMetric(float64(n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
			b.ReportAllocs()
		})
	}
	for _, size := range []int{60, 200, 1000} {
		run("Decode", size, tier, func(b *testing.B) int {
			frames, n := feedFrames(Client, size, false)
			r := NewReader(&blaster{frames: frames}, Client, Options{})
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
			return len(frames) / n
		})
		run("Decode", size, "std", func(b *testing.B) int { return limit(b, size, false, true) })
	}
	for _, role := range []Role{Client, Server} {
		for _, size := range []int{60, 200} {
			run("Encode"+role.String(), size, tier, func(b *testing.B) int { return encode(b, role, feedText(size, false)) })
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, role := range []Role{Client, Server} {
		for _, size := range []int{60, 200, 1000, 8000, 64000} {
			b.Run(fmt.Sprintf("%v/%d", role, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(encode(b, role, feedText(size, false))))
			})
		}
	}
}

// encode writes p and returns the bytes of the frame.
func encode(b *testing.B, role Role, p []byte) int {
	w := NewWriter(io.Discard, role)
	for b.Loop() {
		if err := w.Append(Text, p); err != nil {
			b.Fatal(err)
		}
		if w.Queued() > 32<<10 {
			w.Flush()
		}
	}
	return len(p)
}

func BenchmarkHeader(b *testing.B) {
	asmtest.SkipUnlessFull(b)
	for _, h := range []Header{
		{Fin: true, Opcode: Text, Length: 60},
		{Fin: true, Opcode: Text, Length: 200, Masked: true, Key: 1},
		{Fin: true, Opcode: Binary, Length: 1 << 20},
	} {
		enc := AppendHeader(nil, h)
		b.Run(fmt.Sprintf("parse/%d", h.Length), func(b *testing.B) {
			for b.Loop() {
				if _, n := ParseHeader(enc); n == 0 {
					b.Fatal("cut")
				}
			}
		})
		b.Run(fmt.Sprintf("append/%d", h.Length), func(b *testing.B) {
			var buf [MaxHeaderSize]byte
			for b.Loop() {
				if !bytes.Equal(AppendHeader(buf[:0], h), enc) {
					b.Fatal("differs")
				}
			}
		})
	}
}
