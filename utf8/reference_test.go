package utf8

import (
	"math/rand/v2"
	stdutf8 "unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"
)

// thin shortens long tests to a sample, because detectors and emulators are slow.
var thin = sanitize || asmtest.Thin()

// firstImpossible returns the index of the first byte of p that no valid text can have
// there, or -1. It asks the standard library: p[:i] is possible if 0 to 3 more bytes make
// it valid. It shares no code and no table with the package.
func firstImpossible(p []byte) int {
	start := 0
	for start < len(p) {
		_, size := stdutf8.DecodeRune(p[start:])
		if size > 1 || p[start] < 0x80 {
			start += size
			continue
		}
		for end := start + 1; end <= len(p); end++ {
			if !beginsRune(p[start:end]) {
				return end - 1
			}
		}
		return -1 // an unfinished character at the end
	}
	return -1
}

// beginsRune reports whether p and some bytes after it make one character. The four
// continuation bytes that it tries cover all classes of RFC 3629 §4: 80..8F, 90..9F,
// A0..BF.
func beginsRune(p []byte) bool {
	if r, size := stdutf8.DecodeRune(p); size == len(p) && (r != stdutf8.RuneError || size == 3) {
		return true
	}
	if len(p) >= 4 {
		return false
	}
	for _, c := range []byte{0x80, 0x90, 0xA0, 0xBF} {
		if beginsRune(append(p[:len(p):len(p)], c)) {
			return true
		}
	}
	return false
}

// seeds are valid and almost valid texts for every rule of RFC 3629 §4. They are the
// first and last of each row of its table, one off them, each of these cut at each place,
// and single bytes.
func seeds() []string {
	var out []string
	for _, s := range []string{
		"\x00", "\x7F", "\u0080", "\u07FF", "\u0800", "\u0FFF", "\u1000", "\uCFFF", "\uD7FF", "\uE000", "\uFFFD", "\uFFFE",
		"\uFFFF", "\U00010000", "\U0003FFFF", "\U00040000", "\U000FFFFF", "\U00100000", "\U0010FFFF", "κόσμε", "日本", "😀",
		"é", "aé", "日a", "😀a", "\uFEFF",
	} {
		for n := 1; n <= len(s); n++ {
			out = append(out, s[:n], s[:n]+"x", s[:n]+"\x80", s[:n]+"\xC3", s[:n]+"\xE4\xB8", s[:n]+"\xF0\x9F\x98")
		}
		if len(s) > 1 {
			out = append(out, s[1:], s+s)
		}
	}
	for c := 0x80; c < 0x100; c++ {
		out = append(out, string([]byte{byte(c)}))
	}
	return append(out,
		"\xC0\x80", "\xC1\xBF", "\xC2\x7F", "\xC2\xC0", "\xDF\xC0", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xE0\xA0\x7F", "\xED\xA0\x80",
		"\xED\xBF\xBF", "\xED\xA0\x80\xED\xB0\x80", "\xEF\xBF\xC0", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80\x7F",
		"\xF4\x90\x80\x80", "\xF4\x8F\xBF\xC0", "\xF5\x80\x80\x80", "\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80",
		"\xFE\xFE\xFF\xFF", "\x80\x80\x80\x80", "\xE4\xB8\xAD\xBF", "\xF0\x9F\x98\x80\x80", "\xF1\x80\x80", "\xF3\xBF\xBF\xBF",
		"κόσμε\xF4\x90\x80\x80edited", "κόσμε\xED\xA0\x80edited", "κόσμε\xF4", "Hello-µ@ßöäüàá-UTF-8!!",
	)
}

// A corpus is a kind of text, as in the benchmarks.
type corpus struct {
	name string
	text []byte
}

// corpora returns texts of at least n bytes, the first of them ASCII. A prefix of n bytes
// may cut its last character.
func corpora(n int) []corpus {
	fill := func(words ...string) []byte {
		rng := rand.New(rand.NewPCG(1, 2))
		var b []byte
		for len(b) < n {
			b = append(b, words[rng.IntN(len(words))]...)
		}
		return b
	}
	tick := `{"e":"trade","s":"BTCUSDT","p":"67123.45000000","q":"0.00120000","T":1732370000123,"m":true}`
	return []corpus{
		{"json", fill(tick, tick+",")},
		{"cjk", fill("市", "場", "価", "格", "株", "式", "取", "引", "所", "東", "京", "証", "券")},
		{"latin", fill("é", "à", "ü", "ça", "élan", "naïve ", "Zürich ", "señor ", "où ", "tête-à-tête ", "prix ")},
		{"emoji", fill("😀", "🚀", "📈", "📉", "🔥")},
		{"mixed", fill("the price of ", "株式", " went up ", "🚀", "naïve", " and then it came back down again in the evening, ", "東京", ": ")},
	}
}

// whole returns the first n bytes of text. If a character is cut there, ASCII replaces
// it.
func whole(text []byte, n int) []byte {
	p := append([]byte(nil), text[:n]...)
	for i := n; i > 0 && !stdutf8.Valid(p); {
		i--
		p[i] = 'x'
	}
	return p
}
