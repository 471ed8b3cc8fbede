// Gzip reads a feed whose binary frames contain gzip members.
//
// Decode inflates each message once, into reused memory, before LifeSign and the loop get
// it. The server's application pings are compressed as well; the replies are text.
//
//	gzip -url wss://feed.example/ws -n 1000
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

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@depth", "what to subscribe to")
	count := flag.Uint64("n", 0, "how many messages to print; 0 means until Ctrl-C")
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
		Decode:    redial.Gunzip(1 << 20), // bounds the inflated size of a message
		LifeSign:  &redial.LifeSign{Reply: reply},
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
		fmt.Printf("%d %s\n", m.Epoch, m.Data) // inflated
		if printed++; printed == *count {
			break
		}
	}
}

// reply answers {"ping":1700000000000} with {"pong":1700000000000}.
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
