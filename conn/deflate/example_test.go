package deflate_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// What a client offers, what a server makes of it, and what both have agreed then.
func ExampleConfig_Choose() {
	client, server := &deflate.Config{}, &deflate.Config{ClientMaxWindowBits: 11, ServerNoContextTakeover: true}
	offer := client.Offer()
	_, answer, ok := server.Choose([]handshake.Extension{offer})
	if !ok {
		fmt.Println("not compressed")
		return
	}
	header, err := handshake.AppendExtensions(nil, []handshake.Extension{answer})
	fmt.Printf("%s %v\n", header, err)
	params, agreed, err := client.Accept([]handshake.Extension{answer})
	fmt.Println(agreed, err, params.ClientMaxWindowBits, params.ServerNoContextTakeover)
	// Output:
	// permessage-deflate; server_no_context_takeover; client_max_window_bits=11 <nil>
	// true <nil> 11 true
}

// A server may not agree to what was not offered.
func ExampleConfig_Accept() {
	client := &deflate.Config{BareOffer: true}
	answer := handshake.Extension{Name: "permessage-deflate", Params: []handshake.Param{{Name: "client_max_window_bits", Value: "10"}}}
	_, _, err := client.Accept([]handshake.Extension{answer})
	fmt.Println(err != nil)
	// Output: true
}

// Messages of a feed are alike: with context takeover the second one is small.
func Example() {
	d, err := deflate.NewDeflater(deflate.DeflateOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in, err := deflate.NewInflater(deflate.InflateOptions{MaxMessage: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	var sizes []int
	for _, text := range []string{`{"stream":"btcusdt@trade","price":"64250.10"}`, `{"stream":"btcusdt@trade","price":"64250.20"}`} {
		wire := d.Append(nil, []byte(text), true)
		sizes = append(sizes, len(wire))
		message, err := in.Message(wire, true)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", message) // valid until the next call
	}
	fmt.Println(sizes[1] < sizes[0]/2)
	// Output:
	// {"stream":"btcusdt@trade","price":"64250.10"}
	// {"stream":"btcusdt@trade","price":"64250.20"}
	// true
}

// A small message that would inflate to a large one is stopped at the limit.
func ExampleInflater() {
	wire, err := deflate.AppendMessage(nil, []byte(strings.Repeat("x", 1<<20)), 15, deflate.DefaultLevel)
	if err != nil {
		fmt.Println(err)
		return
	}
	in, err := deflate.NewInflater(deflate.InflateOptions{MaxMessage: 64 << 10, NoContextTakeover: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	_, err = in.Message(wire, true)
	fmt.Println(len(wire) < 8192, errors.Is(err, deflate.ErrTooLarge))
	// Output: true true
}

// A message of any size is inflated in pieces, as it comes.
func ExampleInflater_Next() {
	text := strings.Repeat("0123456789", 100_000)
	wire, err := deflate.AppendMessage(nil, []byte(text), 15, deflate.DefaultLevel)
	if err != nil {
		fmt.Println(err)
		return
	}
	in, err := deflate.NewInflater(deflate.InflateOptions{NoContextTakeover: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	if err := in.Begin(true); err != nil {
		fmt.Println(err)
		return
	}
	got := 0
	half := len(wire) / 2
	for i, piece := range [][]byte{wire[:half], wire[half:]} {
		err = in.Feed(piece, i == 1)
		for err == nil {
			var inflated []byte
			if inflated, err = in.Next(); len(inflated) == 0 {
				break // more input is needed, or the message was whole
			}
			got += len(inflated)
		}
	}
	fmt.Println(got, err)
	// Output: 1000000 EOF
}
