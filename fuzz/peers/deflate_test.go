package peers

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// inflateDifference is a measured difference between tickwire and a library for a
// compressed message. tickwire refuses the message by the rule, and the library returns
// its inflated form.
type inflateDifference struct {
	peer  string
	rule  *frame.ProtocolError
	found string // what was measured
	rfc   string // the sentence and its section
}

const (
	blockBoundary = `"Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message." (RFC 7692 §7.2.2, the reverse of ` +
		`"Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end", §7.2.1)`
	slidingWindow = `"By including this parameter in an extension negotiation offer, a client limits the LZ77 sliding window size that the ` +
		`server will use to compress messages." (RFC 7692 §7.1.2.1, and §7.1.2.2 for the other direction)`
	codeLengths = `"all code lengths form a single sequence of HLIT + HDIST + 258 values" (RFC 1951 §3.2.7), sent in a code of its own, which ` +
		`here has no symbols`
	endOfBlock = `"values 0..255 represent literal bytes, the value 256 indicates end-of-block" (RFC 1951 §3.2.5): a code in which it has no ` +
		`place is one of a block that cannot end`
)

// inflateDifferences is the table of the expected differences. TestInflate meets every
// row.
var inflateDifferences = []inflateDifference{
	{"klauspost/compress", deflate.ErrMessageEnd, "what came is handed out; the reader tells no block's end", blockBoundary},
	{"klauspost/compress", deflate.ErrDistance, "distances up to 32,768 bytes are followed: the reader has no window to set", slidingWindow},
	{"klauspost/compress", deflate.ErrCodeLengths, "symbols are read in a code that has none for the end of the block", endOfBlock},
	{"Python's zlib", deflate.ErrMessageEnd, "what came is handed out; the module tells no block's end", blockBoundary},
	{"Python's zlib", deflate.ErrDistance, "distances past the window are followed inside what one call yields", slidingWindow},
	{"Python's zlib", deflate.ErrCodeLengths, "code lengths that no code is given for are read as zeroes until they are all there", codeLengths},
	{"Node's zlib", deflate.ErrMessageEnd, "what came is handed out; the module tells no block's end", blockBoundary},
	{"Node's zlib", deflate.ErrDistance, "distances past the window are followed inside what one call yields", slidingWindow},
	{"Node's zlib", deflate.ErrCodeLengths, "code lengths that no code is given for are read as zeroes until they are all there", codeLengths},
}

// inflateCase has the messages that one side of a connection sent.
type inflateCase struct {
	bits     int
	takeover bool
	messages [][]byte
}

// history returns the bytes that the next message may refer to, after a message.
func (c *inflateCase) history(old, message []byte) []byte {
	if !c.takeover {
		return nil
	}
	all := slices.Concat(old, message)
	return all[max(0, len(all)-1<<c.bits):]
}

// compareInflate inflates the messages of one side with tickwire and the libraries, up to
// the first that tickwire refuses. It returns the rows of the table that were met, and an
// error for a difference outside the table.
func compareInflate(c inflateCase, oracles []inflateOracle) (met []*inflateDifference, delivered int, err error) {
	d, err := deflate.NewInflater(deflate.InflateOptions{WindowBits: c.bits, NoContextTakeover: !c.takeover})
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	var history []byte
	for i, m := range c.messages {
		got, refused := d.Message(m, false)
		var rule *frame.ProtocolError
		if refused != nil && !errors.As(refused, &rule) {
			return met, delivered, refused
		}
		for _, o := range oracles {
			theirs, theirRefusal, err := o.inflate(m, history, c.bits)
			if err != nil {
				return met, delivered, fmt.Errorf("%s: %w", o.name, err)
			}
			switch {
			case refused == nil && theirRefusal == "" && bytes.Equal(got, theirs), refused != nil && theirRefusal != "":
				continue
			case refused != nil:
				if row := expectedInflate(o.name, rule); row != nil {
					met = append(met, row)
					continue
				}
			}
			return met, delivered, fmt.Errorf("%d bits, takeover %v, message %d, % x:\n%s: %.80q %s;\ntickwire: %.80q, %v",
				c.bits, c.takeover, i, m, o.name, theirs, theirRefusal, got, refused)
		}
		if refused != nil {
			return met, delivered, nil
		}
		delivered++
		history = c.history(history, got)
	}
	return met, delivered, nil
}

func expectedInflate(peer string, rule *frame.ProtocolError) *inflateDifference {
	for i := range inflateDifferences {
		if d := &inflateDifferences[i]; d.peer == peer && errors.Is(rule, d.rule) {
			return d
		}
	}
	return nil
}

// feed returns messages of JSON, some with noise and runs in them.
func feed(r *rand.Rand, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		m := fmt.Appendf(nil, `{"e":"trade","s":"%s","p":"%d.%02d","q":"0.%05d"}`, []string{"BTCUSDT", "ETHUSDT", "SOLUSDT"}[r.IntN(3)], 60000+r.IntN(99), r.IntN(100), r.IntN(99999))
		switch r.IntN(6) {
		case 0:
			m = bytes.Repeat(m, 1+r.IntN(30))
		case 1:
			noise := make([]byte, r.IntN(700))
			for j := range noise {
				noise[j] = byte(r.Uint32())
			}
			m = slices.Concat(m, noise, m)
		case 2:
			m = bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(2000))
		}
		out[i] = m
	}
	return out
}

// compressed returns the messages of a side, made by tickwire's compressor. With a window
// of 15 bits some are made by the standard library's, whose blocks look different.
func compressed(r *rand.Rand) inflateCase {
	c := inflateCase{bits: 8 + r.IntN(8), takeover: r.IntN(2) == 0}
	messages := feed(r, 1+r.IntN(4))
	if c.bits == 15 && r.IntN(2) == 0 {
		var b bytes.Buffer
		w, _ := stdflate.NewWriter(&b, []int{-2, 0, 1, 6, 9}[r.IntN(5)])
		for _, m := range messages {
			b.Reset()
			if !c.takeover {
				w.Reset(&b)
			}
			w.Write(m)
			w.Flush()
			c.messages = append(c.messages, bytes.Clone(b.Bytes()[:b.Len()-4]))
		}
		return c
	}
	d, err := deflate.NewDeflater(deflate.DeflateOptions{WindowBits: c.bits, NoContextTakeover: !c.takeover, Level: []int{-2, 1, 5, 9}[r.IntN(4)]})
	if err != nil {
		panic(err)
	}
	defer d.Close()
	for _, m := range messages {
		c.messages = append(c.messages, d.Append(nil, m, true))
	}
	return c
}

// damaged changes a message: it flips bits, changes, removes or doubles bytes, or cuts
// off the end.
func damaged(r *rand.Rand, p []byte) []byte {
	p = bytes.Clone(p)
	for range 1 + r.IntN(3) {
		if len(p) == 0 {
			return p
		}
		at := r.IntN(len(p))
		if r.IntN(2) == 0 {
			at = min(at, r.IntN(24)) // the headers are at the front
		}
		switch r.IntN(5) {
		case 0:
			p[at] ^= 1 << r.IntN(8)
		case 1:
			p[at] = byte(r.Uint32())
		case 2:
			p = slices.Delete(p, at, min(len(p), at+1+r.IntN(4)))
		case 3:
			p = slices.Insert(p, at, p[at:min(len(p), at+8)]...)
		case 4:
			p = p[:at]
		}
	}
	return p
}

// random returns random bytes that begin with a block of the drawn kind.
func random(r *rand.Rand) []byte {
	p := make([]byte, 1+r.IntN(60))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	p[0] = p[0]&^7 | byte(r.IntN(8))
	if r.IntN(3) == 0 && len(p) > 20 { // few code lengths, most of them small, so that some make a valid code
		p[0], p[1] = p[0]&7|4, p[1]&^0x1F
		for i := 2; i < 9; i++ {
			p[i] &= 0x49 | byte(r.Uint32())
		}
	}
	return p
}

// byHand are the examples of RFC 7692 §7.2.3 and malformed blocks.
func byHand() (cases []inflateCase) {
	for _, m := range [][][]byte{
		{[]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), []byte("\xf2\x00\x11\x00\x00")},
		{[]byte("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")},
		{[]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []byte("\xf3\x48\xcd\xc9\xc9\x07\x00"), []byte("\xf2\x00\x11\x00\x00")},
		{[]byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")},
		{{0}, {1}, {3, 0}, {0, 0, 0, 0xFF, 0xFF, 1}},
		{nil},
		{{6}}, {{7}}, {{0, 1, 0, 1, 0, 'a', 0}}, {{0, 4, 0, 0xFB, 0xFF}}, {{0, 5, 0, 0xFA, 0xFF, 'a'}}, {{0, 1, 0, 0xFE, 0xFF, 'a'}},
		{[]byte("\x12\xFF\xFF\xFF\xFF")}, {{3, 0, 0xFF}}, {{3, 0, 0, 0}}, {{2, 2, 0, 0}},
		{append([]byte{4, 0, 0}, make([]byte, 8)...)}, // no code for the code lengths
		{append([]byte{0xEC, 0xC1}, make([]byte, 60)...)},
		{append([]byte{4, 0x1F, 0}, make([]byte, 60)...)},
		{[]byte("\xec\xcb\xbb\x09\x80\x30\x10\x80\xe1\x79\xfe\xfa\x20\x39\xc0\x23\x39\xc6\x32\x21\xe0\x98\xaa\x69\x2a\x41\x31\x41\xa6\x82\x30\x30\x30")}, // no symbol for the end of the block
	} {
		for bits := 8; bits <= 15; bits++ {
			cases = append(cases, inflateCase{bits, true, m}, inflateCase{bits, false, m})
		}
	}
	// A distance of 623 bytes, which needs a window of 10 bits: into the same message,
	// and into the one before.
	long := make([]byte, 900)
	r := rand.New(rand.NewPCG(9, 9))
	for i := range long {
		long[i] = byte(r.Uint32())
	}
	var b bytes.Buffer
	w, _ := stdflate.NewWriterDict(&b, 9, long)
	w.Write([]byte("xyz" + string(long[len(long)-600:len(long)-580])))
	w.Flush()
	stored := slices.Concat([]byte{0, byte(len(long)), byte(len(long) >> 8), ^byte(len(long)), ^byte(len(long) >> 8)}, long)
	far := b.Bytes()[:b.Len()-4]
	for bits := 8; bits <= 15; bits++ {
		cases = append(cases, inflateCase{bits, true, [][]byte{slices.Concat(stored, far)}}, inflateCase{bits, true, [][]byte{slices.Concat(stored, []byte{0}), far}})
	}
	return cases
}

// TestInflate inflates streams that are whole, cut, damaged and random. It uses the zlib
// of Python and of Node, klauspost/compress and tickwire, with every window, with
// takeover and without. They accept and refuse the same messages, with the same result,
// except for the differences of the table. Each of those is met.
func TestInflate(t *testing.T) {
	oracles := inflateOracles(t)
	met := map[*inflateDifference]int{}
	delivered, streams := 0, 0
	compare := func(c inflateCase) {
		rows, n, err := compareInflate(c, oracles)
		if err != nil {
			t.Fatal(err)
		}
		streams++
		delivered += n
		for _, d := range rows {
			met[d]++
		}
	}
	for _, c := range byHand() {
		compare(c)
	}
	r := rand.New(rand.NewPCG(20, 26))
	for i := range 6000 {
		c := compressed(r)
		at := r.IntN(len(c.messages))
		switch i % 4 {
		case 0: // whole
		case 1:
			c.messages[at] = c.messages[at][:r.IntN(len(c.messages[at])+1)]
		case 2:
			c.messages[at] = damaged(r, c.messages[at])
		case 3:
			c.messages[at] = random(r)
		}
		compare(c)
	}
	t.Logf("%d streams, %d messages delivered", streams, delivered)
	for i := range inflateDifferences {
		d := &inflateDifferences[i]
		if !slices.ContainsFunc(oracles, func(o inflateOracle) bool { return o.name == d.peer }) {
			continue
		}
		t.Logf("%d streams: %s, %q: %s. %s", met[d], d.peer, d.rule.Rule, d.found, d.rfc)
		if met[d] == 0 {
			t.Errorf("no stream shows the difference %s, %q", d.peer, d.rule.Rule)
		}
	}
}

// TestDeflate compresses with tickwire, in every window, and inflates with the libraries.
// They must return the messages.
func TestDeflate(t *testing.T) {
	oracles := inflateOracles(t)
	r := rand.New(rand.NewPCG(7, 692))
	for i := range 64 {
		bits, takeover := 8+i%8, i&8 == 0
		o := deflate.DeflateOptions{WindowBits: bits, NoContextTakeover: !takeover, Level: []int{-2, 1, 5, 9}[i/16]}
		if i%3 == 0 {
			o.History = 2048
		}
		d, err := deflate.NewDeflater(o)
		if err != nil {
			t.Fatal(err)
		}
		c := inflateCase{bits: bits, takeover: takeover}
		var history []byte
		for _, m := range feed(r, 20) {
			p := d.Append(nil, m, true)
			for _, oracle := range oracles {
				got, refusal, err := oracle.inflate(p, history, bits)
				if err != nil || refusal != "" || !bytes.Equal(got, m) {
					t.Fatalf("%+v: %s makes %.60q of %.60q, %s %v", o, oracle.name, got, m, refusal, err)
				}
			}
			history = c.history(history, m)
		}
		d.Close()
	}
}

// FuzzInflate looks for differences outside the table. The first byte has the window and
// tells whether the context is taken over. Messages follow, each after its length in a
// byte.
func FuzzInflate(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	cases := byHand()
	for range 200 {
		cases = append(cases, compressed(r))
	}
	for _, c := range cases {
		p := []byte{byte(c.bits - 8)}
		if c.takeover {
			p[0] |= 8
		}
		for _, m := range c.messages {
			m = m[:min(len(m), 255)]
			p = append(append(p, byte(len(m))), m...)
		}
		f.Add(p)
	}
	oracles := inflateOracles(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) == 0 || len(p) > 2048 {
			return
		}
		defer replay.Watchdog(t.Name(), 5*time.Second)()
		c := inflateCase{bits: 8 + int(p[0]&7), takeover: p[0]&8 != 0}
		for p = p[1:]; len(p) > 0; {
			n := min(int(p[0]), len(p)-1)
			c.messages = append(c.messages, p[1:1+n])
			p = p[1+n:]
		}
		if _, _, err := compareInflate(c, oracles); err != nil {
			t.Fatal(err)
		}
	})
}
