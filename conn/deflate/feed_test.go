package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// feed returns n JSON messages of about size bytes, as a market-data feed sends them.
func feed(n, size int) [][]byte {
	r := rand.New(rand.NewPCG(7, uint64(size)))
	symbols := []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "BNBUSDT", "AVAXUSDT"}
	price := make([]float64, len(symbols))
	for i := range price {
		price[i] = 10 + 60000*r.Float64()
	}
	id, now := 1_000_000, int64(1_700_000_000_000)
	messages := make([][]byte, n)
	for i := range messages {
		s := r.IntN(len(symbols))
		price[s] *= 1 + (r.Float64()-0.5)/1000
		id += 1 + r.IntN(3)
		now += r.Int64N(40)
		var b bytes.Buffer
		if size <= 256 {
			fmt.Fprintf(&b, `{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%.2f","q":"%.5f","b":%d,"a":%d,"T":%d,"m":%t,"M":true,"stream":"%s@trade"}`,
				now, symbols[s], id, price[s], r.ExpFloat64(), id*7, id*7+r.IntN(900), now-r.Int64N(5), r.IntN(2) == 0, symbols[s])
		} else {
			fmt.Fprintf(&b, `{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,"b":[`, now, symbols[s], id, id+9)
			for side := range 2 {
				for level := 0; b.Len() < (side+1)*size/2; level++ {
					if level > 0 {
						b.WriteByte(',')
					}
					fmt.Fprintf(&b, `["%.2f","%.5f"]`, price[s]*(1+float64(1-2*side)*float64(level)/10000), r.ExpFloat64()*3)
				}
				if side == 0 {
					b.WriteString(`],"a":[`)
				}
			}
			b.WriteString(`]}`)
		}
		messages[i] = b.Bytes()
	}
	return messages
}

// stdCompress compresses messages one after the other with the standard library, with context takeover or without.
func stdCompress(t testing.TB, messages [][]byte, level int, takeover bool) [][]byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdflate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, len(messages))
	for i, m := range messages {
		b.Reset()
		if !takeover {
			w.Reset(&b)
		}
		w.Write(m)
		w.Flush()
		out[i] = bytes.Clone(b.Bytes()[:b.Len()-4])
	}
	return out
}

// few returns n, or a part of it where tests are slow.
func few(n int) int {
	if instrumented {
		return n / 10
	}
	return n
}

func newInflater(t testing.TB, o InflateOptions) *Inflater {
	t.Helper()
	d, err := NewInflater(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestInflateFeed(t *testing.T) {
	sizes := []int{200, 1000, 8000, 50_000, 300_000}
	if instrumented {
		sizes = sizes[:4]
	}
	for _, size := range sizes {
		messages := feed(few(300_000)/size+3, size)
		levels := []int{-2, 0, 1, 6, 9}
		if instrumented {
			levels = []int{0, 6}
		}
		for _, level := range levels {
			for _, takeover := range []bool{true, false} {
				compressed := stdCompress(t, messages, level, takeover)
				whole := newInflater(t, InflateOptions{NoContextTakeover: !takeover})
				pieces := newInflater(t, InflateOptions{NoContextTakeover: !takeover})
				stream := newInflater(t, InflateOptions{NoContextTakeover: !takeover})
				for i, c := range compressed {
					got, err := whole.Message(c, true)
					if err != nil || !bytes.Equal(got, messages[i]) {
						t.Fatalf("size %d level %d takeover %v message %d: %v", size, level, takeover, i, err)
					}
					if got, err = pushed(pieces, c, i%17+1); err != nil || !bytes.Equal(got, messages[i]) {
						t.Fatalf("pushed: size %d level %d takeover %v message %d: %v", size, level, takeover, i, err)
					}
					if got, err = streamed(stream, c, i%17+1); err != nil || !bytes.Equal(got, messages[i]) {
						t.Fatalf("streamed: size %d level %d takeover %v message %d: %v", size, level, takeover, i, err)
					}
				}
			}
		}
	}
}

// pushed inflates a message given in pieces of n bytes.
func pushed(d *Inflater, p []byte, n int) ([]byte, error) { return inPieces(d, p, n, true) }

func pushedBinary(d *Inflater, p []byte, n int) ([]byte, error) { return inPieces(d, p, n, false) }

func inPieces(d *Inflater, p []byte, n int, text bool) ([]byte, error) {
	if err := d.Begin(text); err != nil {
		return nil, err
	}
	for len(p) > n {
		if err := d.Push(bytes.Clone(p[:n]), false); err != nil {
			return nil, err
		}
		p = p[n:]
	}
	if err := d.Push(p, true); err != nil {
		return nil, err
	}
	return d.Bytes(), nil
}

// streamed is pushed with Feed and Next.
func streamed(d *Inflater, p []byte, n int) ([]byte, error) {
	if err := d.Begin(true); err != nil {
		return nil, err
	}
	var out []byte
	for {
		piece, err := d.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(piece) == 0 {
			k := min(n, len(p))
			if err := d.Feed(p[:k], k == len(p)); err != nil {
				return nil, err
			}
			p = p[k:]
		}
		out = append(out, piece...)
	}
}
