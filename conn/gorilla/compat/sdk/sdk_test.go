// Package sdk has an SDK read an exchange's feed, with whichever module it is built with.
package sdk

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adshao/go-binance/v2"
	"github.com/gorilla/websocket"

	"github.com/seed-7f57ff33/tickwire/conn/gorilla/compat/internal/exchange"
)

var certificate tls.Certificate

// The SDK's Dialer goes by the system's roots, which a variable names.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "root.pem")
	if certificate, err = exchange.Certificate(file); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// library is the import path of the module behind the SDK.
func library() string { return reflect.TypeFor[websocket.Conn]().PkgPath() }

// With dropin.mod the SDK stands on conn/gorilla, and with go.mod on the genuine module.
func TestLibrary(t *testing.T) {
	want := "github.com/gorilla/websocket"
	if strings.Contains(os.Getenv("GOFLAGS"), "dropin.mod") || os.Getenv("COMPAT_LIBRARY") == "dropin" {
		want = "github.com/seed-7f57ff33/tickwire/conn/gorilla"
	}
	if got := library(); got != want {
		t.Errorf("it stands on %s, want %s", got, want)
	}
	t.Log(library())
}

// go-binance gets every trade of an exchange in order, answers its pings, and hears of its
// Close: over ws and wss, compressed and not.
func TestBinanceReadsTheFeed(t *testing.T) {
	const trades = 5000
	for _, secure := range []bool{false, true} {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("secure %v, compressed %v", secure, compressed), func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				url := "ws://" + l.Addr().String()
				if secure {
					url = "wss://" + l.Addr().String()
					l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})
				}
				type heard struct {
					pongs  int
					packed bool
				}
				told := make(chan heard, 1)
				go exchange.Serve(l, trades, compressed, func(pongs int, packed bool) { told <- heard{pongs, packed} })
				binance.BaseWsMainURL = url
				next := 0
				var wrong string
				ended := make(chan error, 1)
				done, _, err := binance.WsAggTradeServe("BTCUSDT", func(e *binance.WsAggTradeEvent) {
					want := fmt.Sprintf("%d.%02d000000", 60000+next%977, next%100)
					if (e.AggTradeID != int64(next) || e.Price != want || e.IsBuyerMaker != (next%3 == 0)) && wrong == "" {
						wrong = fmt.Sprintf("trade %d is %+v", next, e)
					}
					next++
				}, func(err error) { ended <- err })
				if err != nil {
					t.Fatal(err)
				}
				<-done
				if wrong != "" || next != trades {
					t.Errorf("%d trades of %d; %s", next, trades, wrong)
				}
				if err := <-ended; !websocket.IsCloseError(err, websocket.CloseGoingAway) || err.(*websocket.CloseError).Text != "the end" {
					t.Errorf("it ended with %v", err)
				}
				if got := <-told; got != (heard{trades / 100, compressed}) {
					t.Errorf("the exchange heard %+v", got)
				}
			})
		}
	}
}

// Trades arrive in the same process that the benchmark measures: the SDK's reader stops
// when it is told to.
func TestBinanceStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go exchange.Serve(l, 1<<30, false, func(int, bool) {})
	binance.BaseWsMainURL = "ws://" + l.Addr().String()
	got := make(chan struct{}, 1<<16)
	done, stop, err := binance.WsAggTradeServe("BTCUSDT", func(*binance.WsAggTradeEvent) {
		select {
		case got <- struct{}{}:
		default:
		}
	}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	<-got
	close(stop)
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}
