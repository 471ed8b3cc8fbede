package main

import (
	"fmt"
	"math/rand/v2"
	"unicode/utf8"
)

// ascii returns n bytes of market data: JSON of numbers and short keys.
func ascii(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, `{"e":"trade","E":%d,"s":"BTCUSDT","p":"%d.%02d","q":"%d.%04d","m":%t}`,
			1700000000000+rnd.IntN(1e9), rnd.IntN(90000), rnd.IntN(100), rnd.IntN(9), rnd.IntN(1e4), rnd.IntN(2) == 0)
	}
	return b[:n]
}

// cjk returns n bytes: three-byte characters, after the ASCII or two-byte characters that
// the length requires.
func cjk(n int) []byte {
	rnd := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, 0, n)
	if n%3 == 1 {
		b = append(b, '"')
	} else if n%3 == 2 {
		b = append(b, "é"...)
	}
	for len(b) < n {
		b = utf8.AppendRune(b, rune(0x4E00+rnd.IntN(0x51A5)))
	}
	return b
}

// named returns n bytes of market data with a name of four three-byte characters. after
// bytes of ASCII follow the name.
func named(n, after int) []byte {
	const field = `,"n":"日経平均"}`
	b := ascii(n)
	copy(b[n-after-len(field):], field)
	return b
}
