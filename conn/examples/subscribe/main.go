// Subscribe prints the messages of a stream, and shows how to confirm a subscription.
//
// OnConnect runs on each new connection. It asks for the stream and waits for the answer.
// A server that never answers costs ConnectTimeout, and then another attempt. An answer
// that the request is wrong ends the program. After any other error, such as too many
// requests, the client waits and tries again.
//
//	subscribe -url wss://feed.example/stream -stream btcusdt@trade -n 10
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

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@trade", "what to subscribe to")
	count := flag.Uint64("n", 0, "how many messages to print; 0 means until Ctrl-C")
	timeout := flag.Duration("connect-timeout", redial.DefaultConnectTimeout, "how long an attempt may take, confirmation included")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	client := &redial.Client{
		URL:            *url,
		Dialer:         dialer,
		ConnectTimeout: *timeout,
		OnConnect:      func(_ context.Context, s *redial.Session) error { return subscribe(s, *stream) },
		OnChange:       redial.LogChanges(slog.Default()),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var printed uint64
	for m, err := range client.Messages(ctx) { // leaving the loop closes the connection
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", m.Epoch, m.Data)
		if printed++; printed == *count {
			break
		}
	}
}

// subscribe asks for a stream and waits for the answer. Messages of the stream may arrive
// before it: Await keeps them, and the loop gets them first.
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
