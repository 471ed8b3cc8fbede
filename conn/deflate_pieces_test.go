package conn

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// got is what reading delivers: messages, then the error.
type got struct {
	messages []string
	err      string
}

func (g got) String() string {
	s := ""
	for _, m := range g.messages {
		s += fmt.Sprintf("%d bytes %.40q, ", len(m), m)
	}
	return s + g.err
}

func (g got) equal(o got) bool {
	return g.String() == o.String() && strings.Join(g.messages, "") == strings.Join(o.messages, "")
}

// readAs reads one message in the way that is asked for.
func readAs(c *Conn, way int) (op Opcode, data []byte, err error) {
	switch way % 3 {
	case 0:
		m, err := c.ReadMessage()
		return m.Opcode, m.Data, err
	case 1:
		b, err := c.TakeBatch()
		if err != nil {
			return 0, nil, err
		}
		defer b.Release()
		return b.Messages[0].Opcode, bytes.Clone(b.Messages[0].Data), nil
	}
	op, r, err := c.NextReader()
	if err != nil {
		return 0, nil, err
	}
	for buf := make([]byte, 300); ; {
		n, err := r.Read(buf)
		data = append(data, buf[:n]...)
		switch {
		case err == io.EOF:
			return op, data, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return 0, nil, err
		}
	}
}

// readThrough reads all that comes, message by message in the ways that way chooses, and goes on where a deadline passed.
func readThrough(c *Conn, way func() int) (g got) {
	for {
		op, data, err := readAs(c, way())
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), err == frame.ErrMixedReads:
		case err != nil:
			g.err = err.Error()
			return g
		default:
			g.messages = append(g.messages, op.String()+" "+string(data))
		}
	}
}

// A stream of frames, and what has to come of it.
type stream struct {
	name  string
	bytes []byte
	want  int   // messages
	err   error // that ends it
}

// A body is a compressed message, and what is wrong with it.
type body struct {
	name string
	p    []byte
	err  error
}

func bodies(t testing.TB) []body {
	good := func(p string) []byte { return packed(t, []byte(p)) }
	random := make([]byte, 3000)
	for i, r := 0, rand.New(rand.NewPCG(3, 3)); i < len(random); i++ {
		random[i] = "abcdefghijklmnop"[r.IntN(16)]
	}
	repeated := strings.Repeat(string(random[:500]), 200)
	sync := []byte{0, 0, 0, 0xFF, 0xFF}
	return []body{
		{"text", good("tick tock, tick tock"), nil},
		{"empty", []byte{0}, nil},
		{"letters", good(string(random)), nil},
		{"long", good(strings.Repeat("tick tock ", 9000)), nil},
		{"stored", append(storedBlocks(random), 0), nil},
		{"long and stored", append(storedBlocks(bytes.Repeat(random, 28)), 0), nil},
		{"blocks", bytes.Join([][]byte{sync, storedBlocks(random[:500]), sync, good("tick")}, nil), nil},
		{"limit", good(repeated), nil},
		{"over the limit", good(repeated + "t"), deflate.ErrTooLarge},
		{"stored over the limit", append(append(storedBlocks(make([]byte, 66_000)), storedBlocks(make([]byte, 33_000))...), good(strings.Repeat("t", 2000))...), deflate.ErrTooLarge},
		{"over the ratio", good(strings.Repeat("t", 99_000)), deflate.ErrRatio},
		{"over the ratio within", append(append(good(strings.Repeat("t", 70_000)), 0, 0, 0xFF, 0xFF), good(string(random))...), deflate.ErrRatio},
		{"not UTF-8", good("tick \xFF tock and " + string(random)), frame.ErrInvalidUTF8},
		{"not UTF-8, far in", good(strings.Repeat("tick tock ", 8000) + "\xC0" + string(random)), frame.ErrInvalidUTF8},
		{"cut UTF-8", good("tick \xE2\x82"), frame.ErrTruncatedUTF8},
		{"not UTF-8, then no block", append(append(good("tick \xFF tock"), 0, 0, 0xFF, 0xFF), 6), frame.ErrInvalidUTF8},
		{"no block", append(append(good("tick tock"), 0, 0, 0xFF, 0xFF), 6, 0), deflate.ErrBlockType},
		{"no block, long after", append(append(append(good(string(random)), 0, 0, 0xFF, 0xFF), 6), random...), deflate.ErrBlockType},
		{"symbol", []byte{4, 0xC0, 0x81, 8, 0, 0, 0, 0, 0x20, 0x7F, 0xEB, 0x0B, 0, 0}, deflate.ErrSymbol},
		{"no lengths", append([]byte{0xFC, 0xFF, 0xFF, 0xFF}, random...), deflate.ErrCodeLengths},
		{"stored length", append([]byte{0, 1, 0, 1, 0}, random...), deflate.ErrStoredLength},
		{"distance", append([]byte{0x02, 0xDE, 0xFF, 0xFF}, random...), deflate.ErrDistance},
		{"nothing", nil, deflate.ErrMessageEnd},
		{"cut", good(string(random))[:1000], deflate.ErrMessageEnd},
		{"junk", append(good("tick"), 1, 2, 3), deflate.ErrMessageEnd},
	}
}

// streams are what a client can get: after a good message one of each kind, whole or in fragments, with a ping between.
func streams(t testing.TB) (out []stream) {
	first := framed(Text, packed(t, []byte("the first, of which others take parts: tick tock")))
	ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping}, []byte("between"))
	plain := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("plain"))
	for _, body := range bodies(t) {
		for _, frames := range [][][]byte{{body.p}, cutUp(body.p, 700), cutUp(body.p, 1), append([][]byte{nil}, append(cutUp(body.p, 50), nil)...)} {
			if len(frames) > 4000 {
				continue
			}
			s := stream{name: fmt.Sprintf("%s in %d frames", body.name, len(frames)), bytes: bytes.Clone(first), want: 1, err: body.err}
			for i, p := range frames {
				h := frame.Header{Fin: i == len(frames)-1, RSV1: i == 0, Opcode: Text}
				if i > 0 {
					h.Opcode = frame.Continuation
				}
				s.bytes = frame.AppendFrame(s.bytes, h, p)
				if i%3 == 0 {
					s.bytes = append(s.bytes, ping...)
				}
			}
			if s.bytes = append(append(s.bytes, plain...), first...); s.err == nil {
				s.want += 3
			}
			out = append(out, s)
		}
	}
	return out
}

// piecesConfig are limits that streams are made for.
func piecesConfig() *Config {
	return agreed(deflate.Config{MaxRatio: 700}, frame.Options{MaxMessage: 100_000})
}

// R83, R85, R86, R87: however the bytes come, and in whatever way they are read, the messages are the same, and the error with its
// place is. What is delivered of a broken message is nothing.
func TestR83R85R86R87EverySplit(t *testing.T) {
	splits := []int{1 << 20, 4096, 1000, 61, 13, 1, 0}
	if raceEnabled || testing.Short() {
		splits = []int{1 << 20, 61, 0}
	}
	for seed, s := range streams(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(seed)))
			var want got
			for i, most := range splits {
				for way := range 4 {
					if most == 1 && way == 1 && len(s.bytes) > 20_000 {
						continue
					}
					c, source := reading(t, piecesConfig(), bytes.Clone(s.bytes), most)
					if most == 0 {
						source.most = func() int { return 1 + r.IntN(1<<r.IntN(12)) }
					}
					g := readThrough(c, func() int {
						if way < 3 {
							return way
						}
						return r.IntN(3)
					})
					source.stop()
					if i == 0 && way == 0 {
						want = g
						if end := cmp.Or(s.err, io.EOF); !errors.Is(c.Err(), end) || len(g.messages) != s.want {
							t.Fatalf("%v; want %d messages, %v", g, s.want, s.err)
						}
					}
					if !g.equal(want) {
						t.Fatalf("reads of %d, way %d: %v\nwant %v", most, way, g, want)
					}
					c.Close()
				}
			}
		})
	}
}

// R83, R85, R86, R87: what is wrong ends the connection with the bytes that show it: neither the rest of the message nor that of its
// frame has to come.
func TestR83R85R86R87EarlyFailure(t *testing.T) {
	filler := append(storedBlocks(bytes.Repeat([]byte("tick tock "), 1000)), 0)
	sync := []byte{0, 0, 0xFF, 0xFF}
	for _, test := range []struct {
		name string
		p    []byte // at its end it shows
		want error
	}{
		{"not UTF-8", append(packed(t, []byte("tick \xFF tock")), sync...), frame.ErrInvalidUTF8},
		{"not UTF-8 far in", append(packed(t, []byte(strings.Repeat("tick ", 10_000)+"\xFF")), sync...), frame.ErrInvalidUTF8},
		{"limit", append(packed(t, bytes.Repeat([]byte("0123456789abcdefghijklmn"), 5000)), sync...), deflate.ErrTooLarge},
		{"ratio", append(packed(t, make([]byte, 90_000)), sync...), deflate.ErrRatio},
		{"block type", append(append(packed(t, []byte("tick tock")), sync...), 6), deflate.ErrBlockType},
		{"stored length", []byte{0, 1, 0, 1, 0}, deflate.ErrStoredLength},
		{"distance", []byte{0x02, 0xDE, 0xFF, 0xFF}, deflate.ErrDistance},
	} {
		whole := append(bytes.Clone(test.p), filler...)
		for _, split := range []struct {
			name   string
			stream []byte
		}{
			{"in a frame of which the rest never comes", framed(Text, whole)[:len(framed(Text, whole))-len(filler)]},
			{"in a fragment behind which none comes", framed(Text, test.p, filler)[:len(framed(Text, test.p, filler))-len(framed(Text, filler))]},
			{"in small fragments behind which none comes", frame.AppendFrame(framed(Text, append(cutUp(test.p, 3), filler)...), frame.Header{Fin: true}, nil)},
		} {
			if strings.HasPrefix(split.name, "in small") {
				split.stream = split.stream[:bytes.LastIndex(split.stream, filler)-4]
			}
			for way := range 3 {
				for _, most := range []int{1 << 20, 1} {
					t.Run(fmt.Sprintf("%s/%s/way %d/reads of %d", test.name, split.name, way, most), func(t *testing.T) {
						c, s := reading(t, piecesConfig(), bytes.Clone(split.stream), most)
						_, data, err := readAs(c, way)
						s.stop()
						var broken *frame.ProtocolError
						if data != nil || !errors.Is(err, test.want) || !errors.As(err, &broken) {
							t.Fatalf("%q, %v", data, err)
						}
						if broken.Opcode.IsControl() || broken.Length == 0 || broken.Offset < 2 || broken.Offset >= uint64(len(split.stream)) {
							t.Errorf("at %d in a %v frame of %d bytes; %d bytes came", broken.Offset, broken.Opcode, broken.Length, len(split.stream))
						}
					})
				}
			}
		}
	}
}

// The error names the frame in which what is wrong showed, by the offset of its payload, its type and its length.
func TestR85FrameOfTheError(t *testing.T) {
	good := append(packed(t, []byte("tick tock")), 0, 0, 0xFF, 0xFF)
	stream := framed(Text, good, good, []byte{6, 1, 2, 3, 4, 5}, []byte{0})
	third := 2*(2+len(good)) + 2
	for way := range 3 {
		for most := range len(stream) {
			c, s := reading(t, piecesConfig(), bytes.Clone(stream), most+1)
			_, _, err := readAs(c, way)
			s.stop()
			var broken *frame.ProtocolError
			if !errors.As(err, &broken) || !errors.Is(err, deflate.ErrBlockType) {
				t.Fatal(err)
			}
			if broken.Offset != uint64(third) || broken.Opcode != frame.Continuation || broken.Length != 6 {
				t.Fatalf("reads of %d, way %d: at %d in a %v frame of %d bytes", most+1, way, broken.Offset, broken.Opcode, broken.Length)
			}
		}
	}
}

// halting is a source whose reads fail with a passed deadline where fail says so.
type halting struct {
	*source
	fail func() error
}

func (h *halting) Read(p []byte) (int, error) {
	if err := h.fail(); err != nil {
		return 0, err
	}
	return h.source.Read(p)
}

func readingHalted(t testing.TB, cfg *Config, stream []byte, most int, fail func() error) *Conn {
	a, _ := netsim.Pipe(0)
	c := New(&halting{&source{Conn: a, rest: stream, most: func() int { return most }}, fail}, frame.Client, cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// A deadline that passes anywhere inside a compressed message loses nothing of it: each way to read goes on where another was
// stopped, with the whole message. NextFrame, which has nothing whole to give, says so and takes nothing.
func TestR81DeadlineInsideAMessage(t *testing.T) {
	texts := []string{"the first: tick tock", strings.Repeat("tick tock ", 9000), "the last: tick tock"}
	var stream []byte
	for i, text := range texts {
		p := packed(t, []byte(text))
		stream = append(stream, framed(Text, cutUp(p, len(p)/(1+i)+1)...)...)
	}
	for stop := range stream {
		if raceEnabled && stop%5 != 0 { // one goroutine
			continue
		}
		for ways := range 9 {
			reads := 0
			c := readingHalted(t, agreed(deflate.Config{}, frame.Options{}), bytes.Clone(stream), 1, func() error {
				if reads++; reads == stop+1 {
					return os.ErrDeadlineExceeded
				}
				return nil
			})
			way := ways % 3
			for i, text := range texts {
				_, data, err := readAs(c, way)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					if c.msgReader.joining {
						if _, err := c.NextFrame(); err != frame.ErrMixedReads {
							t.Fatalf("stopped at %d: NextFrame: %v", stop, err)
						}
					}
					way = ways / 3
					_, data, err = readAs(c, way)
				}
				if err != nil || string(data) != text {
					t.Fatalf("stopped at %d, ways %d, message %d: %d bytes %.40q, %v", stop, ways, i, len(data), data, err)
				}
			}
			c.Close()
		}
	}
}

// A message that NextReader took over and left is passed over as ever, and later ones can refer to it.
func TestR81TakenOverThenLeft(t *testing.T) {
	out, err := deflate.NewDeflater(deflate.DeflateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("tick tock, the first of two. ", 4000)
	first, second := out.Append(nil, []byte(big), true), out.Append(nil, []byte("tick tock, the second of two. "), true)
	stream := append(framed(Text, cutUp(first, 40)...), framed(Text, second)...)
	for stop := 1; stop < len(stream)-len(second)-2; stop += 7 {
		for way := range 3 {
			reads := 0
			c := readingHalted(t, agreed(deflate.Config{}, frame.Options{}), bytes.Clone(stream), 1, func() error {
				if reads++; reads == stop {
					return os.ErrDeadlineExceeded
				}
				return nil
			})
			if _, err := c.ReadMessage(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			_, r, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 50)
			if _, err := io.ReadFull(r, p); err != nil || !strings.HasPrefix(big, string(p)) {
				t.Fatalf("%q, %v", p, err)
			}
			if _, data, err := readAs(c, way); err != nil || string(data) != "tick tock, the second of two. " {
				t.Fatalf("stopped at %d, way %d: %.40q, %v", stop, way, data, err)
			}
			c.Close()
		}
	}
}

// A transport that fails anywhere inside a compressed message has nothing of it delivered.
func TestR83TransportFailsInsideAMessage(t *testing.T) {
	p := packed(t, []byte(strings.Repeat("tick tock ", 9000)))
	stream := framed(Text, cutUp(p, 60)...)
	for _, failure := range []error{io.EOF, errReset} {
		for stop := 1; stop <= len(stream); stop++ {
			for way := range 2 {
				reads := 0
				c := readingHalted(t, agreed(deflate.Config{}, frame.Options{}), bytes.Clone(stream), 1, func() error {
					if reads++; reads >= stop {
						return failure
					}
					return nil
				})
				_, data, err := readAs(c, way)
				want := failure
				if failure == io.EOF && stop > 1 {
					want = io.ErrUnexpectedEOF
				}
				if data != nil || !errors.Is(err, want) {
					t.Fatalf("stopped at %d: %.40q, %v", stop, data, err)
				}
				wantTransport(t, err, want)
			}
		}
	}
}

// Messages that come in pieces, and batches of them, allocate nothing once the connection is warm: over 10,000 messages.
func TestDeflatePiecesAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // pools keep something for each processor
	for _, takeover := range []bool{true, false} {
		out, err := deflate.NewDeflater(deflate.DeflateOptions{NoContextTakeover: !takeover})
		if err != nil {
			t.Fatal(err)
		}
		var stream []byte
		messages := ticks(100)
		for i, m := range messages {
			p := out.Append(nil, m, true)
			stream = append(stream, framed(Text, cutUp(p, len(p)/(1+i%4)+1)...)...)
		}
		for _, most := range []int{1 << 20, 1460, 100} {
			for way := range 2 {
				t.Run(fmt.Sprintf("takeover %v/reads of %d/way %d", takeover, most, way), func(t *testing.T) {
					cfg := agreed(deflate.Config{}, frame.Options{})
					cfg.agreed.ServerNoContextTakeover = !takeover
					a, _ := netsim.Pipe(0)
					c := New(&looped{Conn: a, stream: bytes.Clone(stream), most: most}, frame.Client, cfg)
					defer c.Close()
					pass := func(n int) {
						for i := range n {
							want := messages[i%len(messages)]
							if way == 0 {
								if m, err := c.ReadMessage(); err != nil || !bytes.Equal(m.Data, want) {
									t.Fatal(i, err)
								}
								continue
							}
							b, err := c.TakeBatch()
							if err != nil || !bytes.Equal(b.Messages[0].Data, want) {
								t.Fatal(i, err)
							}
							b.Release()
						}
					}
					pass(200)
					if n := buffertest.Mallocs(func() { pass(allocMessages) }); n != 0 {
						t.Errorf("%d allocations in %d messages", n, allocMessages)
					}
				})
			}
		}
	}
}

// FuzzReadDeflate has compressed messages, good and bad, come in any frames and reads, read in any ways and stopped by deadlines
// anywhere. What is delivered, and the error, are those of an Inflater that gets each message whole; the place of the error is that of
// the same frames in one read.
func FuzzReadDeflate(f *testing.F) {
	for i, body := range bodies(f) {
		if n := len(body.p); n < 1<<12 {
			p := append([]byte{byte(n), byte(n >> 8)}, body.p...)
			f.Add(byte(i), slices.Concat(p, p), []byte{1, 2, 3, byte(i), 0, 200, 255}, []byte{0, 1, 2, 0xFF, byte(i)})
			f.Add(byte(i)|0x70, p, []byte{9}, []byte{0, 0x40, 0x80})
		}
	}
	f.Add(byte(0), append([]byte{7, 0}, "\xf2\x48\xcd\xc9\xc9\x07\x00"...), []byte{3}, []byte{0})
	f.Add(byte(3), append([]byte{7, 0}, "\xf2\x48\xcd\xc9\xc9\x07\x00\x05\x00\xf2\x00\x11\x00\x00"...), []byte{3, 0, 2}, []byte{0x81, 2})
	f.Fuzz(func(t *testing.T, options byte, messages, cuts, program []byte) {
		if len(messages) > 1<<15 {
			return
		}
		cfg := agreed(deflate.Config{MaxRatio: int(options>>4) * 100}, frame.Options{MaxMessage: 100_000})
		cfg.agreed.ServerNoContextTakeover = options&1 != 0
		at := 0
		cut := func() int {
			if len(cuts) == 0 {
				return 1 << 20
			}
			at++
			return int(cuts[at%len(cuts)])
		}
		in, err := deflate.NewInflater(deflate.InflateOptions{NoContextTakeover: options&1 != 0, MaxMessage: 100_000, MaxRatio: cfg.Deflate.MaxRatio})
		if err != nil {
			t.Fatal(err)
		}
		var stream []byte
		var want got
		var ended error
		for rest := messages; len(rest) >= 2; {
			n := min(int(rest[0])|int(rest[1])<<8&0xF00, len(rest)-2)
			p := rest[2 : 2+n]
			rest = rest[2+n:]
			if ended == nil {
				m, err := in.Message(p, true)
				if ended = err; err == nil {
					want.messages = append(want.messages, Text.String()+" "+string(m))
				}
			}
			var frames [][]byte
			for len(frames) < 50 {
				k := min(cut(), len(p))
				frames = append(frames, p[:k])
				if p = p[k:]; len(p) == 0 {
					break
				}
			}
			if len(p) > 0 {
				frames = append(frames, p)
			}
			stream = append(stream, framed(Text, frames...)...)
		}
		whole, _ := reading(t, cfg, bytes.Clone(stream), 1<<20)
		all := readThrough(whole, func() int { return 0 })
		if want.err = all.err; !all.equal(want) || ended != nil && !errors.Is(whole.Err(), ended) {
			t.Fatalf("in one read: %v\nby the Inflater: %v, %v", all, want, ended)
		}
		step := 0
		next := func() int {
			if len(program) == 0 {
				return 0
			}
			step++
			return int(program[step%len(program)])
		}
		stops := 0
		c := readingHalted(t, cfg, bytes.Clone(stream), 1, func() error {
			if next()&0x80 != 0 && stops < 1000 {
				stops++
				return os.ErrDeadlineExceeded
			}
			return nil
		})
		c.stream.(*halting).most = func() int { return 1 + cut() }
		if g := readThrough(c, func() int {
			if c.msgReader.joining && next()&0x40 != 0 {
				if _, err := c.NextFrame(); err != frame.ErrMixedReads {
					t.Fatalf("NextFrame: %v", err)
				}
			}
			return next() & 0x7F
		}); !g.equal(all) {
			t.Fatalf("in pieces: %v\nin one read: %v", g, all)
		}
		whole.Close()
		c.Close()
	})
}
