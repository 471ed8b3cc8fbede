// Rotation replaces its connection before the server ends it, and misses nothing.
//
// Some servers end a connection after 24 hours. With Overlap the client opens a new
// connection and subscribes on it, and only then closes the old one. Messages that both
// deliver come twice: the loop drops the second one by its number.
//
//	rotation -url wss://feed.example/stream -max-age 23h
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@trade", "what to subscribe to: trades, which have numbers")
	duration := flag.Duration("duration", 0, "how long to run; 0 means until Ctrl-C")
	maxAge := flag.Duration("max-age", 23*time.Hour, "age at which a connection is replaced")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	client := &redial.Client{
		URL:    *url,
		Dialer: dialer,
		// With Overlap this runs during the loop, so what both use needs a lock. Here
		// there is nothing.
		OnConnect: func(_ context.Context, s *redial.Session) error { return subscribe(s, *stream) },
		OnChange:  redial.LogChanges(slog.Default()),
		MaxAge:    *maxAge,
		Rotation:  redial.Overlap,
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	var last, twice, missing uint64
	for m, err := range client.Messages(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		var trade struct {
			Data struct {
				Number uint64 `json:"t"`
			}
		}
		if err := json.Unmarshal(m.Data, &trade); err != nil {
			log.Print(err)
			continue
		}
		number := trade.Data.Number
		if number <= last {
			twice++
			continue
		}
		if last > 0 {
			missing += number - last - 1
		}
		last = number
		fmt.Println(number)
	}
	n := client.Counts()
	log.Printf("%d connections, %d rotations, %d messages came twice, %d are missing", n.Connections, n.Rotations, twice, missing)
}

// subscribe asks for a stream and waits for the answer. Messages that arrive before it
// are not lost: Await keeps them.
func subscribe(s *redial.Session, stream string) error {
	request := fmt.Appendf(nil, `{"method":"SUBSCRIBE","params":[%q],"id":1}`, stream)
	if err := s.Conn.WriteMessage(conn.Text, request); err != nil {
		return err
	}
	var answer struct {
		ID    int
		Error *struct {
			Code int
			Msg  string
		}
	}
	_, err := s.Await(func(m conn.Message) bool {
		answer.ID = 0
		return json.Unmarshal(m.Data, &answer) == nil && answer.ID == 1
	})
	if err != nil || answer.Error == nil {
		return err
	}
	err = fmt.Errorf("subscribe: %s", answer.Error.Msg)
	switch answer.Error.Code {
	case 1, 2: // a malformed request, or an unknown stream: a retry would not help
		return redial.Fatal(err)
	}
	return err // for example too many requests: the client waits and tries again
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
