package exchange

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// levels is the number of price levels on each side of a book.
const levels = 20

// symbols are the instruments of the exchange. Some are outside ASCII, so that a
// consumer's UTF-8 check has work to do.
var symbols = []struct {
	name     string
	price    float64 // the first price
	decimals int     // of a price
}{
	{"BTC-USD", 97123.45, 2},
	{"ETH-USD", 3412.10, 2},
	{"SOL-USD", 238.515, 3},
	{"XRP-USDT", 1.45820, 5},
	{"ES-2027H", 6012.25, 2},
	{"日経225先物", 38415, 0},
	{"ΔΕΗ-EUR", 12.585, 3},
	{"Ørsted-DKK", 384.20, 2},
}

// A level is one line of a book: a price in ticks and a quantity in millionths.
type level struct {
	price, quantity int64
}

// A book is the state of one instrument. Its mid price walks at random.
type book struct {
	name       string // as a JSON string, with quotes
	decimals   int
	mid        int64 // in ticks: units of 10^-decimals
	volatility float64
	updates    int64
	bids, asks [levels]level
}

// A market is a set of books that change at random. The same seed gives the same
// messages.
type market struct {
	rand   *rand.Rand
	books  []book
	trades int64
}

func newMarket(seed uint64) *market {
	m := &market{rand: rand.New(rand.NewPCG(seed, 0x7469636b77697265)), trades: 481_516_000}
	for _, s := range symbols {
		mid := int64(math.Round(s.price * math.Pow10(s.decimals)))
		b := book{
			name:       strconv.Quote(s.name),
			decimals:   s.decimals,
			mid:        mid,
			volatility: max(1, float64(mid)*2e-5),
			updates:    7_000_000_000,
		}
		m.requote(&b)
		m.books = append(m.books, b)
	}
	return m
}

// step moves one random book by one step and returns it.
func (m *market) step() *book {
	b := &m.books[m.rand.IntN(len(m.books))]
	b.mid = max(levels*8, b.mid+int64(math.Round(m.rand.NormFloat64()*b.volatility)))
	b.updates++
	m.requote(b)
	return b
}

// requote lays both sides of the book around its mid price, best price first.
func (m *market) requote(b *book) {
	bid, ask := b.mid, b.mid
	for i := range levels {
		bid -= 1 + m.rand.Int64N(3)
		ask += 1 + m.rand.Int64N(3)
		b.bids[i] = level{bid, m.quantity()}
		b.asks[i] = level{ask, m.quantity()}
	}
}

func (m *market) quantity() int64 {
	return 1 + int64(m.rand.ExpFloat64()*2e6)
}

// appendBody appends the members of the next message, without the envelope of message.go.
// Most are trades and quotes. Some are 20-level books, and a few are all books at once or
// a heartbeat.
func (m *market) appendBody(dst []byte) []byte {
	switch n := m.rand.IntN(1000); {
	case n < 420:
		return m.appendTrade(dst, m.step())
	case n < 940:
		return appendQuote(dst, m.step())
	case n < 988:
		dst = append(dst, `"e":"depth",`...)
		return appendDepth(dst, m.step())
	case n < 990:
		return m.appendSnapshot(dst)
	default:
		return append(dst, `"e":"hb"`...)
	}
}

func (m *market) appendTrade(dst []byte, b *book) []byte {
	m.trades++
	side, price := "buy", b.asks[0].price
	if m.rand.IntN(2) == 0 {
		side, price = "sell", b.bids[0].price
	}
	dst = append(dst, `"e":"trade","s":`...)
	dst = append(dst, b.name...)
	dst = append(dst, `,"id":`...)
	dst = strconv.AppendInt(dst, m.trades, 10)
	dst = append(dst, `,"p":`...)
	dst = appendDecimal(dst, price, b.decimals)
	dst = append(dst, `,"q":`...)
	dst = appendDecimal(dst, m.quantity(), 6)
	dst = append(dst, `,"side":"`...)
	dst = append(dst, side...)
	dst = append(dst, `","order":"`...)
	dst = strconv.AppendUint(dst, m.rand.Uint64()|1<<63, 16)
	return append(dst, `","liquidity":"taker"`...)
}

func appendQuote(dst []byte, b *book) []byte {
	dst = append(dst, `"e":"bbo","s":`...)
	dst = append(dst, b.name...)
	dst = append(dst, `,"u":`...)
	dst = strconv.AppendInt(dst, b.updates, 10)
	dst = append(dst, `,"bid":`...)
	dst = appendDecimal(dst, b.bids[0].price, b.decimals)
	dst = append(dst, `,"bidSize":`...)
	dst = appendDecimal(dst, b.bids[0].quantity, 6)
	dst = append(dst, `,"ask":`...)
	dst = appendDecimal(dst, b.asks[0].price, b.decimals)
	dst = append(dst, `,"askSize":`...)
	return appendDecimal(dst, b.asks[0].quantity, 6)
}

func appendDepth(dst []byte, b *book) []byte {
	dst = append(dst, `"s":`...)
	dst = append(dst, b.name...)
	dst = append(dst, `,"u":`...)
	dst = strconv.AppendInt(dst, b.updates, 10)
	dst = append(dst, `,"bids":[`...)
	dst = appendSide(dst, &b.bids, b.decimals)
	dst = append(dst, `],"asks":[`...)
	dst = appendSide(dst, &b.asks, b.decimals)
	return append(dst, ']')
}

func appendSide(dst []byte, side *[levels]level, decimals int) []byte {
	for i, l := range side {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		dst = appendDecimal(dst, l.price, decimals)
		dst = append(dst, ',')
		dst = appendDecimal(dst, l.quantity, 6)
		dst = append(dst, ']')
	}
	return dst
}

func (m *market) appendSnapshot(dst []byte) []byte {
	dst = append(dst, `"e":"snapshot","books":[`...)
	for i := range m.books {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendDepth(dst, &m.books[i])
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendDecimal appends v·10^-decimals as a JSON string, as exchanges send prices.
func appendDecimal(dst []byte, v int64, decimals int) []byte {
	dst = append(dst, '"')
	if decimals == 0 {
		dst = strconv.AppendInt(dst, v, 10)
		return append(dst, '"')
	}
	unit := int64(1)
	for range decimals {
		unit *= 10
	}
	dst = strconv.AppendInt(dst, v/unit, 10)
	dst = append(dst, '.')
	for v %= unit; unit > 1; v %= unit {
		unit /= 10
		dst = append(dst, '0'+byte(v/unit))
	}
	return append(dst, '"')
}
