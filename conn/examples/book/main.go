// Book keeps a local order book from a snapshot and the updates after it.
//
// OnConnect subscribes, and then asks for a snapshot. Updates that arrive before it are
// kept, and reach the loop after it. The loop skips those that the snapshot contains; the
// others must be consecutive. If one is missing, or the server's checksum differs, the
// client connects again and the book starts again. (Command consumer asks for another
// snapshot instead.)
//
//	book -url wss://feed.example/stream -symbol btcusdt
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	symbol := flag.String("symbol", "btcusdt", "whose book")
	count := flag.Uint64("n", 0, "how many updates to apply; 0 means until Ctrl-C")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	var b book // of the session; OnConnect does not run during the loop, except in a rotation with Overlap
	client := &redial.Client{
		URL:    *url,
		Dialer: dialer,
		OnConnect: func(_ context.Context, s *redial.Session) (err error) {
			b, err = snapshot(s, *symbol)
			return err
		},
		OnChange: redial.LogChanges(slog.Default()),
		Backoff:  redial.Backoff{StableMessages: 50},
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var applied uint64
	for m, err := range client.Messages(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		var message struct{ Data update }
		err = json.Unmarshal(m.Data, &message)
		if err == nil {
			err = b.apply(message.Data)
		}
		if err != nil {
			fmt.Println("again:", err)
			if err := client.Reconnect(err); err != nil {
				log.Fatal(err)
			}
			continue
		}
		if applied++; applied == *count {
			break
		}
	}
	if len(b.bids) > 0 && len(b.asks) > 0 {
		fmt.Printf("best bid %s, best ask %s\n", b.bids[0].price, b.asks[0].price)
	}
	fmt.Printf("book %s %d %08x\n", *symbol, b.last, b.checksum())
}

// snapshot makes the book of a new session.
func snapshot(s *redial.Session, symbol string) (book, error) {
	if _, err := ask(s, fmt.Sprintf(`{"method":"SUBSCRIBE","params":[%q],"id":1}`, symbol+"@depth"), 1); err != nil {
		return book{}, err
	}
	result, err := ask(s, fmt.Sprintf(`{"method":"SNAPSHOT","params":[%q],"id":2}`, symbol), 2)
	if err != nil {
		return book{}, err
	}
	var snapshot struct {
		Last uint64      `json:"lastUpdateId"`
		Bids [][2]string `json:"bids"`
		Asks [][2]string `json:"asks"`
	}
	if err := json.Unmarshal(result, &snapshot); err != nil {
		return book{}, err
	}
	return book{change(nil, snapshot.Bids, -1), change(nil, snapshot.Asks, 1), snapshot.Last}, nil
}

// ask sends a request and waits for the answer with its id. Updates that arrive before it
// are kept for the loop.
func ask(s *redial.Session, request string, id int) (json.RawMessage, error) {
	if err := s.Conn.WriteMessage(conn.Text, []byte(request)); err != nil {
		return nil, err
	}
	var answer struct {
		ID     int
		Result json.RawMessage
		Error  *struct {
			Code int
			Msg  string
		}
	}
	_, err := s.Await(func(m conn.Message) bool {
		answer.ID = 0
		return json.Unmarshal(m.Data, &answer) == nil && answer.ID == id
	})
	if err != nil || answer.Error == nil {
		return answer.Result, err
	}
	err = fmt.Errorf("%s: %s", request, answer.Error.Msg)
	switch answer.Error.Code {
	case 1, 2: // a malformed request, or an unknown stream: a retry would not help
		return nil, redial.Fatal(err)
	}
	return nil, err // for example too many requests: the client waits and tries again
}

// A book has both sides, the best price first, and the number of its last update.
type book struct {
	bids, asks []level
	last       uint64
}

type level struct {
	value           float64 // of the price, for sorting
	price, quantity string  // as received
}

// update has the new quantities at some prices. Its server numbers are First to Last.
// encoding/json accepts e for E if a struct has only one of them, so this one has both.
type update struct {
	First    uint64      `json:"U"`
	Last     uint64      `json:"u"`
	Bids     [][2]string `json:"b"`
	Asks     [][2]string `json:"a"`
	Checksum uint32      `json:"c"` // of the book after it
}

// apply applies an update. The first update after a snapshot may begin before it:
// quantities are absolute.
func (b *book) apply(u update) error {
	switch {
	case u.Last <= b.last: // the snapshot has it
		return nil
	case u.First > b.last+1:
		return fmt.Errorf("%d to %d are missing", b.last+1, u.First-1)
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

// newDialer returns a Dialer that trusts the root certificates in a file, or the system's
// if there is no file.
func newDialer(ca string) (*conn.Dialer, error) {
	if ca == "" {
		return &conn.Dialer{}, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}, nil
}
