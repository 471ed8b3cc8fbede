// Textping keeps a connection alive with messages, for servers whose keepalive is text or
// JSON.
//
// It sends "ping" and removes "pong" from the feed. A connection without an answer is
// replaced. It also answers the pings of the server, {"ping":1700000000000} with
// {"pong":1700000000000}. The loop sees none of this.
//
//	textping -url wss://feed.example/stream -n 1000
package main

import (
	"bytes"
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
	stream := flag.String("stream", "btcusdt@trade", "what to subscribe to")
	count := flag.Uint64("n", 0, "how many messages to print; 0 means until Ctrl-C")
	every := flag.Duration("every", 20*time.Second, "time from one ping to the next")
	timeout := flag.Duration("timeout", 10*time.Second, "how long to wait for an answer")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	client := &redial.Client{
		URL:       *url,
		Dialer:    dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error { return subscribe(s, *stream) },
		OnChange:  redial.LogChanges(slog.Default()),
		LifeSign: &redial.LifeSign{
			Send:     redial.Fixed("ping"), // or a function that appends a new id or the time
			Every:    *every,
			IsAnswer: func(m []byte) bool { return string(m) == "pong" },
			Timeout:  *timeout,
			Reply:    reply,
		},
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
		fmt.Printf("%d %s\n", m.Epoch, m.Data)
		if printed++; printed == *count {
			break
		}
	}
	n := client.Counts()
	log.Printf("%d messages, %d signs of life taken, %d connections", n.Messages, n.Consumed, n.Connections)
}

// reply answers a ping of the server with the same number. It sees every message, so it
// looks at few bytes.
func reply(dst, message []byte) ([]byte, bool) {
	number, ok := bytes.CutPrefix(message, []byte(`{"ping":`))
	if !ok {
		return dst, false
	}
	return append(append(dst, `{"pong":`...), number...), true
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
