package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"unicode/utf8"
)

// A source makes the payloads of one kind. They are always the same.
type source struct {
	name string
	op   byte
	make func() []byte // at least sourceBytes
	data func() []byte
}

const sourceBytes = 256 << 10

// sources are the kinds of payload that families 12 and 13 compress, as in the public
// suite: a picture, prose, a page, and incompressible bytes.
var sources = func() []*source {
	all := []*source{
		{name: "JSON", op: opText, make: makeJSON},
		{name: "a picture", op: opBinary, make: makePicture},
		{name: "prose", op: opText, make: makeProse},
		{name: "a page", op: opText, make: makePage},
		{name: "random bytes", op: opBinary, make: makeNoise},
	}
	for _, s := range all {
		s.data = sync.OnceValue(s.make)
	}
	return all
}()

// message returns message i of n bytes. Text is cut between characters.
func (s *source) message(i, n int) []byte {
	data := s.data()
	if n > len(data) {
		n = len(data)
	}
	from := i * 997 % (len(data) - n + 1)
	b := append([]byte(nil), data[from:from+n]...)
	if s.op != opText {
		return b
	}
	for j := 0; j < len(b) && !utf8.RuneStart(b[j]); j++ {
		b[j] = ' '
	}
	for j := len(b); j > 0 && !utf8.Valid(b); {
		j--
		b[j] = ' '
	}
	return b
}

func grow(one func(r *rand.Rand, b *strings.Builder)) []byte {
	r := rand.New(rand.NewPCG(12, 13))
	var b strings.Builder
	for b.Len() < sourceBytes {
		one(r, &b)
	}
	return []byte(b.String())
}

func makeJSON() []byte {
	return grow(func(r *rand.Rand, b *strings.Builder) {
		fmt.Fprintf(b, `{"e":"depth","s":"%s","u":%d,"b":[["%.2f","%.4f"],["%.2f","%.4f"]],"note":"Größe"}`,
			[]string{"BTCUSDT", "ETHUSDT", "SOLEUR"}[r.IntN(3)], b.Len(), 60000*r.Float64(), 9*r.Float64(), 60000*r.Float64(), 9*r.Float64())
	})
}

func makePicture() []byte {
	r := rand.New(rand.NewPCG(512, 512))
	b := make([]byte, sourceBytes)
	for i := range b {
		x, y := i%512, i/512
		b[i] = byte(x/4+y/8) + byte(r.IntN(3))
		if (x-256)*(x-256)+(y-256)*(y-256) < 9000 {
			b[i] = byte(200 + y/16)
		}
	}
	return b
}

func makeProse() []byte {
	words := strings.Fields("Habe nun ach so viel gelesen und bin so klug als wie zuvor über Bücher Märkte Preise Flüsse die der das ein nicht mit für von größer müde früh spät Straße hören sehen wägen")
	return grow(func(r *rand.Rand, b *strings.Builder) {
		for range 8 + r.IntN(8) {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteString("–\n")
	})
}

func makePage() []byte {
	return grow(func(r *rand.Rand, b *strings.Builder) {
		fmt.Fprintf(b, "<tr class=\"row%d\"><td>%d</td><td><a href=\"/item?id=%d&amp;q=%x\">Eintrag №%d</a></td></tr>\n",
			r.IntN(2), b.Len(), r.IntN(9999), r.Uint32(), r.IntN(99))
	})
}

func makeNoise() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, sourceBytes)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
