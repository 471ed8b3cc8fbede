// Watch replaces a connection on which one subscription is silent, although others
// deliver messages.
//
// A server can confirm a subscription and then send nothing for it. The connection is
// alive, and so are the other streams: no timeout of the connection applies.
// Session.Watch starts a clock for each stream, and Session.Alive restarts it.
//
//	watch -url wss://feed.example/stream -streams btcusdt@trade,ethusdt@trade -silence 1m
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
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	streams := flag.String("streams", "btcusdt@trade,ethusdt@trade", "what to subscribe to")
	count := flag.Uint64("n", 0, "how many messages to print; 0 means until Ctrl-C")
	silence := flag.Duration("silence", time.Minute, "how long a stream may bring nothing")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	client := &redial.Client{
		URL:    *url,
		Dialer: dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			for id, stream := range strings.Split(*streams, ",") {
				if err := subscribe(s, stream, id+1); err != nil {
					return err
				}
				s.Watch(stream, *silence) // the clock starts at the end of OnConnect
			}
			return nil
		},
		OnChange: redial.LogChanges(slog.Default()),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var printed uint64
	for m, err := range client.Messages(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		var of struct{ Stream string }
		if err := json.Unmarshal(m.Data, &of); err != nil {
			log.Print(err)
			continue
		}
		m.Session.Alive(of.Stream)
		fmt.Printf("%d %s\n", m.Epoch, m.Data)
		if printed++; printed == *count {
			break
		}
	}
}

// subscribe asks for a stream and waits for the answer. Messages that arrive before it
// are not lost: Await keeps them.
func subscribe(s *redial.Session, stream string, id int) error {
	request := fmt.Appendf(nil, `{"method":"SUBSCRIBE","params":[%q],"id":%d}`, stream, id)
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
		return json.Unmarshal(m.Data, &answer) == nil && answer.ID == id
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
