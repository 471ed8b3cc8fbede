// Consumer is a complete consumer of market data: trades and order books of some symbols,
// over two lines with the same feed.
//
// Each line is a redial.Client. It subscribes and waits for the confirmation, sends text
// pings, and replaces its connection before the server ends it. redial.Lines joins the
// lines: what one of them lost the other delivers. What both lost is a gap. The book of
// that symbol then starts again, with a snapshot that is requested in the feed itself.
//
//	consumer -url wss://a.example/stream -url wss://b.example/stream
//
// If a subscription is confirmed and then silent on a line, the line's connection is
// replaced, even if the other line delivers the stream.
//
// It runs until Ctrl-C or -duration and closes the connections properly. Then it prints
// each book with its checksum, each gap, and the counts of each line. The log goes to
// standard error. With -metrics Prometheus can scrape everything. The exit status is 1 if
// the feed failed.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/prom"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

var (
	urls           []string
	symbols        = flag.String("symbols", "btcusdt,ethusdt", "what to subscribe to")
	ca             = flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	duration       = flag.Duration("duration", 0, "how long to run; 0 means until Ctrl-C")
	connectTimeout = flag.Duration("connect-timeout", redial.DefaultConnectTimeout, "how long an attempt may take, confirmation included")
	pingEvery      = flag.Duration("ping-every", 20*time.Second, "time from one text ping to the next")
	maxAge         = flag.Duration("max-age", 23*time.Hour, "age at which a connection is replaced")
	window         = flag.Duration("window", redial.DefaultWindow, "how long to wait for what one line lost")
	silence        = flag.Duration("silence", time.Minute, "how long a stream may bring nothing on a line; 0 means for ever")
	metricsAt      = flag.String("metrics", "", "`address` to serve /metrics on, as 127.0.0.1:9100; none if it is empty")
)

func main() {
	flag.Func("url", "`URL` of a line; give it once for each", func(s string) error {
		urls = append(urls, s)
		return nil
	})
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	dialer, err := newDialer(*ca)
	if err != nil || len(urls) == 0 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "consumer: flags:", errors.Join(err, errors.New("at least one -url, and no arguments")))
		os.Exit(2)
	}

	// The first signal ends the feed properly. After stop the second one ends the
	// process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}

	f := newFeed(log, dialer)
	if err := f.serveMetrics(*metricsAt); err != nil {
		fmt.Fprintln(os.Stderr, "consumer: -metrics:", err)
		os.Exit(2)
	}
	err = f.lines.Run(ctx, f.deliver) // until ctx ends; every Client has closed its connection by then
	f.report()
	if ctx.Err() == nil {
		log.Error("the feed has ended", "error", err)
		os.Exit(1)
	}
}

func newDialer(ca string) (*conn.Dialer, error) {
	d := &conn.Dialer{}
	d.Config.DataTimeout = time.Minute // text pings do not count
	d.Config.WriteTimeout = 10 * time.Second
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		d.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		if !d.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(ca + " has no certificate")
		}
	}
	return d, nil
}

// A feed handles the messages. One goroutine at a time calls it, except subscribe: see
// redial.Lines.
type feed struct {
	log    *slog.Logger
	lines  redial.Lines[string] // the key is a stream, such as btcusdt@depth
	books  map[string]*book     // by symbol
	trades uint64
	gaps   []redial.Gap[string]
}

func newFeed(log *slog.Logger, dialer *conn.Dialer) *feed {
	f := &feed{log: log, books: map[string]*book{}}
	for _, symbol := range strings.Split(*symbols, ",") {
		f.books[symbol] = &book{}
	}
	for i, url := range urls {
		f.lines.Clients = append(f.lines.Clients, &redial.Client{
			URL:            url,
			Dialer:         dialer,
			ConnectTimeout: *connectTimeout,
			OnConnect:      f.subscribe,
			OnChange:       redial.LogChanges(log.With("line", i)),
			Backoff:        redial.Backoff{StableMessages: 200},
			MaxAge:         *maxAge,
			Rotation:       redial.Overlap, // opens the new connection before it closes the old one
			LifeSign: &redial.LifeSign{
				Send:     redial.Fixed("ping"),
				Every:    *pingEvery,
				IsAnswer: func(m []byte) bool { return string(m) == "pong" },
				Timeout:  *pingEvery / 2,
			},
			WhenDown:  redial.FailWhenDown,
			CloseWait: time.Second,
		})
	}
	f.lines.Window = *window
	f.lines.Number = number
	f.lines.Each = func(_ int, stream string, m redial.Message) { m.Session.Alive(stream) } // deliver only gets the first copy of a message
	f.lines.Other = f.answer
	f.lines.OnGap = f.gap
	f.lines.OnEnd = func(line int, err error) { log.Error("a line has ended", "line", line, "error", err) }
	return f
}

// message is a message of a stream, or the answer to a request. encoding/json accepts e
// for E if a struct has only one of them, so this one has both.
type message struct {
	Stream string `json:"stream"`
	Data   struct {
		Kind  string `json:"e"`
		Time  int64  `json:"E"`
		Trade uint64 `json:"t"`
		update
	} `json:"data"`

	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code int    `json:"code"`
		Text string `json:"msg"`
	} `json:"error"`
}

// number returns which message it is. It parses the whole message, as deliver does again.
// That is enough for some ten thousand a second. A faster feed needs a parser that looks
// for these few fields.
func number(data []byte) (stream string, from, to uint64, ok bool) {
	var m message
	if json.Unmarshal(data, &m) != nil || m.Stream == "" {
		return "", 0, 0, false
	}
	if m.Data.Kind == "trade" {
		return m.Stream, m.Data.Trade, m.Data.Trade, true
	}
	return m.Stream, m.Data.First, m.Data.Last, m.Data.Last > 0
}

// subscribe is OnConnect of each line. Messages that arrive before the confirmation are
// not lost: Await keeps them for deliver.
func (f *feed) subscribe(_ context.Context, s *redial.Session) error {
	var streams []string
	for symbol := range f.books { // the map itself does not change
		streams = append(streams, symbol+"@trade", symbol+"@depth")
	}
	request, err := json.Marshal(map[string]any{"method": "SUBSCRIBE", "params": streams, "id": 1})
	if err != nil {
		return err
	}
	if err := s.Conn.WriteMessage(conn.Text, request); err != nil {
		return err
	}
	var answer message
	_, err = s.Await(func(m conn.Message) bool {
		answer = message{}
		return json.Unmarshal(m.Data, &answer) == nil && answer.ID == 1
	})
	if err == nil && answer.Error != nil {
		err = fmt.Errorf("subscribe: %s", answer.Error.Text)
		switch answer.Error.Code {
		case 1, 2: // a malformed request, or an unknown stream: a retry would not help
			err = redial.Fatal(err)
		} // for example too many requests: the client waits and tries again
	}
	if err == nil && *silence > 0 {
		for _, stream := range streams {
			s.Watch(stream, *silence)
		}
	}
	return err
}

// deliver gets each message once, and those of a stream in order.
func (f *feed) deliver(ctx context.Context, d redial.Delivery[string]) error {
	symbol, kind, _ := strings.Cut(d.Key, "@")
	if kind == "trade" {
		f.trades++
		return nil
	}
	var m message
	if err := json.Unmarshal(d.Data, &m); err != nil {
		return err // impossible: number has parsed it
	}
	b := f.books[symbol]
	if b.live {
		if err := b.apply(m.Data.update); err != nil {
			f.log.Warn("book: begins anew", "symbol", symbol, "error", err)
			*b = book{resyncs: b.resyncs + 1}
		}
	}
	if !b.live {
		b.waiting = append(b.waiting, m.Data.update)
		f.ask(ctx, symbol, b)
	}
	b.show(symbol)
	return nil
}

// gap is called for numbers that no line has delivered, before the next message.
func (f *feed) gap(g redial.Gap[string]) {
	f.log.Warn("gap", "stream", g.Key, "from", g.From, "to", g.To, "waited", g.Waited)
	f.gaps = append(f.gaps, g)
	if symbol, kind, _ := strings.Cut(g.Key, "@"); kind == "depth" {
		b := f.books[symbol]
		*b = book{resyncs: b.resyncs + 1}
		b.show(symbol)
	}
}

// ask asks for a snapshot on the first line that has a session. If its connection ends
// before the answer, it asks again. The server may send updates meanwhile; they wait.
func (f *feed) ask(ctx context.Context, symbol string, b *book) {
	if time.Since(b.asked) < 2*time.Second {
		return
	}
	request := fmt.Appendf(nil, `{"method":"SNAPSHOT","params":[%q],"id":2}`, symbol)
	for _, c := range f.lines.Clients {
		if c.Send(ctx, conn.Text, request) == nil {
			b.asked = time.Now()
			return
		}
	}
}

// answer gets the messages without a number, of every line.
func (f *feed) answer(_ context.Context, line int, m redial.Message) error {
	var a message
	var s snapshot
	err := json.Unmarshal(m.Data, &a)
	if err == nil && a.ID == 2 && a.Error == nil {
		err = json.Unmarshal(a.Result, &s)
	}
	b := f.books[s.Symbol]
	switch {
	case err == nil && a.Error != nil: // ask asks again
		err = errors.New(a.Error.Text)
	case err != nil || b == nil:
		err = errors.Join(err, fmt.Errorf("not understood: %.100q", m.Data))
	case !b.live:
		err = b.begin(s)
		b.show(s.Symbol)
	}
	if err != nil {
		f.log.Warn("answer", "line", line, "error", err)
	}
	return nil
}

// Two metrics of the books, in addition to those of the lines.
var (
	bookLast = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "consumer_book_last_update", Help: "Number of the last update in the book.",
	}, []string{"symbol"})
	bookLive = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "consumer_book_live", Help: "1 if the book is that of the exchange, 0 while it waits for a snapshot.",
	}, []string{"symbol"})
)

// serveMetrics measures the lines, before they run, and serves the metrics until the
// process ends.
func (f *feed) serveMetrics(address string) error {
	if address == "" {
		return nil
	}
	var set metrics.Set
	if err := metrics.Lines(&set, "market", &f.lines); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.New(&set), bookLast, bookLive)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	f.log.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { f.log.Error("metrics", "error", server.Serve(listener)) }()
	return nil
}

// show sets the metrics of the book.
func (b *book) show(symbol string) {
	live := 0.0
	if b.live {
		live = 1
	}
	bookLive.WithLabelValues(symbol).Set(live)
	bookLast.WithLabelValues(symbol).Set(float64(b.last))
}

func (f *feed) report() {
	for symbol, b := range f.books {
		fmt.Printf("book %s %d %08x live=%v resyncs=%d\n", symbol, b.last, b.checksum(), b.live, b.resyncs)
	}
	for _, g := range f.gaps {
		fmt.Printf("gap %s %d %d\n", g.Key, g.From, g.To)
	}
	n := f.lines.Counts()
	fmt.Printf("delivered %d trades=%d gaps=%d missing=%d\n", n.Delivered, f.trades, n.Gaps, n.Missing)
	for i, l := range n.Lines {
		c := f.lines.Clients[i].Counts()
		fmt.Printf("line %d first=%d filled=%d duplicate=%d late=%d connections=%d rotations=%d\n",
			i, l.First, l.Filled, l.Duplicate, l.Late, c.Connections, c.Rotations)
	}
}

// A book is the local copy of an order book. It is live after a snapshot; until then
// updates wait.
type book struct {
	bids, asks []level // the best first
	last       uint64  // the number of its last update
	live       bool
	waiting    []update
	asked      time.Time // when a snapshot was asked for
	resyncs    int
}

type level struct {
	value           float64 // of the price, for sorting
	price, quantity string  // as received
}

type snapshot struct {
	Symbol string      `json:"symbol"`
	Last   uint64      `json:"lastUpdateId"`
	Bids   [][2]string `json:"bids"`
	Asks   [][2]string `json:"asks"`
}

// update has the new quantities at some prices. Its server numbers are First to Last.
type update struct {
	First    uint64      `json:"U"`
	Last     uint64      `json:"u"`
	Bids     [][2]string `json:"b"`
	Asks     [][2]string `json:"a"`
	Checksum uint32      `json:"c"` // of the book after it
}

// begin makes a book from a snapshot and the updates that wait. A snapshot that was
// requested before a gap may be too old for these. It is then dropped, and another one
// requested.
func (b *book) begin(s snapshot) error {
	waiting := b.waiting
	if len(waiting) > 0 && s.Last+1 < waiting[0].First {
		b.asked = time.Time{}
		return fmt.Errorf("snapshot %d of %s is older than update %d", s.Last, s.Symbol, waiting[0].First)
	}
	*b = book{last: s.Last, live: true, resyncs: b.resyncs}
	b.bids, b.asks = change(nil, s.Bids, -1), change(nil, s.Asks, 1)
	for _, u := range waiting {
		if err := b.apply(u); err != nil {
			*b = book{resyncs: b.resyncs + 1}
			return err
		}
	}
	return nil
}

// apply applies an update. The first update after a snapshot may begin before it:
// quantities are absolute.
func (b *book) apply(u update) error {
	switch {
	case u.Last <= b.last: // the snapshot has it
		return nil
	case u.First > b.last+1:
		return fmt.Errorf("update %d follows %d", u.First, b.last)
	}
	b.bids, b.asks, b.last = change(b.bids, u.Bids, -1), change(b.asks, u.Asks, 1), u.Last
	if sum := b.checksum(); sum != u.Checksum {
		return fmt.Errorf("checksum %08x after update %d, the server has %08x", sum, u.Last, u.Checksum)
	}
	return nil
}

// change sets quantities in a side whose prices rise (order 1) or fall (order -1). A
// quantity of 0 removes the price.
func change(side []level, changes [][2]string, order float64) []level {
	for _, c := range changes {
		value, _ := strconv.ParseFloat(c[0], 64)
		quantity, _ := strconv.ParseFloat(c[1], 64)
		i, found := slices.BinarySearchFunc(side, value*order, func(l level, v float64) int {
			return cmp.Compare(l.value*order, v)
		})
		switch {
		case quantity == 0 && found:
			side = slices.Delete(side, i, i+1)
		case quantity == 0:
		case found:
			side[i].quantity = c[1]
		default:
			side = slices.Insert(side, i, level{value, c[0], c[1]})
		}
	}
	return side
}

// checksum is the server's: CRC-32 of "price:quantity|" for all bids, then all asks, the
// best first.
func (b *book) checksum() uint32 {
	var text []byte
	for _, l := range slices.Concat(b.bids, b.asks) {
		text = append(append(append(append(text, l.price...), ':'), l.quantity...), '|')
	}
	return crc32.ChecksumIEEE(text)
}
