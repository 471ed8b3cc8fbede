package redial_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// Two lines bring the same feed. One loses number 3, the other number 5, and both lose number 8.
func ExampleLines() {
	north, south, stop := twoLines(10, []int{3, 8}, []int{5, 8})
	defer stop()

	lines := &redial.Lines[string]{
		Clients: []*redial.Client{{URL: north}, {URL: south}},
		Number:  symbolAndNumber,
		OnGap:   func(g redial.Gap[string]) { fmt.Printf("%s: %d to %d are missing\n", g.Key, g.From, g.To) },
		Window:  time.Second,
	}
	err := lines.Run(context.Background(), func(ctx context.Context, d redial.Delivery[string]) error {
		fmt.Printf("%s\n", d.Data)
		return until(d.To == 10)
	})

	fmt.Println(errors.Is(err, errLast), lines.Counts().Delivered)
	// Output:
	// BTC 1
	// BTC 2
	// BTC 3
	// BTC 4
	// BTC 5
	// BTC 6
	// BTC 7
	// BTC: 8 to 8 are missing
	// BTC 9
	// BTC 10
	// true 9
}

// symbolAndNumber reads "symbol number". A constant is no allocation, as a string made of the message's bytes would be.
func symbolAndNumber(data []byte) (symbol string, from, to uint64, ok bool) {
	digits, ok := bytes.CutPrefix(data, []byte("BTC "))
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return "BTC", n, n, ok && err == nil
}

var errLast = errors.New("that was the last")

func until(last bool) error {
	if last {
		return errLast
	}
	return nil
}

// twoLines serves n messages on two lines, each without what it loses, as soon as both have a client.
func twoLines(n int, lost ...[]int) (north, south string, stop func()) {
	var urls []string
	var serving, connected sync.WaitGroup
	var listeners []net.Listener
	connected.Add(len(lost))
	for _, lost := range lost {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		urls, listeners = append(urls, "ws://"+l.Addr().String()), append(listeners, l)
		serving.Go(func() { serveLine(l, n, lost, &connected) })
	}
	return urls[0], urls[1], func() {
		for _, l := range listeners {
			l.Close()
		}
		serving.Wait()
	}
}

func serveLine(l net.Listener, n int, lost []int, connected *sync.WaitGroup) {
	nc, err := l.Accept()
	if err != nil {
		return
	}
	c, err := new(conn.Upgrader).Accept(nc)
	if err != nil {
		return
	}
	defer c.Close()
	connected.Done()
	connected.Wait()
	for i := 1; i <= n; i++ {
		if len(lost) > 0 && i == lost[0] {
			lost = lost[1:]
		} else if c.WriteMessage(conn.Text, fmt.Appendf(nil, "BTC %d", i)) != nil {
			return
		}
	}
	for err == nil {
		_, err = c.ReadMessage()
	}
}
