// Sdks runs the websocket tests of SDKs, which it takes unchanged from the module cache,
// with the genuine module and with conn/gorilla in its place. Those that pass must be the
// same, and no fewer than before.
//
//	go -C conn/gorilla/compat run ./cmd/sdks
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/seed-7f57ff33/tickwire/conn/gorilla/compat/internal/gotest"
)

// sdks are the packages, the tests that are of interest, and how many of them there are.
var sdks = []struct {
	packages []string
	run      string
	wanted   int
}{
	{[]string{
		"github.com/adshao/go-binance/v2", "github.com/adshao/go-binance/v2/common/websocket",
		"github.com/adshao/go-binance/v2/futures", "github.com/adshao/go-binance/v2/delivery", "github.com/adshao/go-binance/v2/options",
	}, "(?i)(ws|websocket|client)", 1},
	{[]string{"github.com/hirokisan/bybit/v2", "github.com/hirokisan/bybit/v2/testhelper"}, "(?i)(ws|websocket)", 1},
	{[]string{"github.com/olahol/melody"}, ".", 1},
}

func main() {
	for _, s := range sdks {
		var passed [2][]string
		for i, flag := range []string{"-modfile=go.mod", "-modfile=dropin.mod"} {
			results, err := gotest.Run(".", append([]string{flag, "-count=1", "-run", s.run}, s.packages...)...)
			if err != nil {
				fmt.Fprintln(os.Stderr, "sdks:", flag, err)
				os.Exit(1)
			}
			passed[i] = results.Top()
		}
		fmt.Printf("%s: %d tests pass with the genuine module, %d with conn/gorilla\n", s.packages[0], len(passed[0]), len(passed[1]))
		if !slices.Equal(passed[0], passed[1]) || len(passed[1]) < s.wanted {
			fmt.Fprintf(os.Stderr, "sdks: want the same ones, and %d at least:\n%v\n%v\n", s.wanted, passed[0], passed[1])
			os.Exit(1)
		}
	}
}
