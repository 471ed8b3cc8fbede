// Lines joins two lines that carry the same feed: what one of them loses the other
// delivers.
//
// Each line is a client that connects, subscribes and tries again by itself. The handler
// gets each message once, and the messages of a stream in the order of their numbers. A
// number that no line delivers within the window is reported as a gap.
//
//	lines -url wss://a.example/stream -url wss://b.example/stream -duration 1h
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
	var urls []string
	flag.Func("url", "`URL` of a line; give it once for each", func(s string) error { urls = append(urls, s); return nil })
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@depth", "what to subscribe to")
	duration := flag.Duration("duration", 0, "how long to run; 0 means until Ctrl-C")
	window := flag.Duration("window", redial.DefaultWindow, "how long to wait for what one line lost")
	flag.Parse()
	dialer, err := newDialer(*ca)
	if err != nil {
		log.Fatal(err)
	}
	lines := redial.Lines[string]{
		Number: number,
		Window: *window,
		OnGap:  func(g redial.Gap[string]) { fmt.Printf("gap %d %d\n", g.From, g.To) },
	}
	for i, url := range urls {
		lines.Clients = append(lines.Clients, &redial.Client{
			URL:       url,
			Dialer:    dialer,
			OnConnect: func(_ context.Context, s *redial.Session) error { return subscribe(s, *stream) },
			OnChange:  redial.LogChanges(slog.With("line", i)),
		})
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	err = lines.Run(ctx, func(_ context.Context, d redial.Delivery[string]) error {
		fmt.Printf("%d %d\n", d.From, d.To)
		return nil
	})
	if ctx.Err() == nil {
		log.Fatal(err)
	}
	for i, n := range lines.Counts().Lines {
		log.Printf("line %d: first with %d, %d of them for others that waited; %d duplicates, %d late", i, n.First, n.Filled, n.Duplicate, n.Late)
	}
}

// number returns which message it is: the stream is its key, and U..u are its numbers. A
// message without them is not for the handler.
func number(data []byte) (stream string, from, to uint64, ok bool) {
	var m struct {
		Stream string
		Data   struct {
			First uint64 `json:"U"`
			Last  uint64 `json:"u"`
		}
	}
	if json.Unmarshal(data, &m) != nil || m.Stream == "" {
		return "", 0, 0, false
	}
	return m.Stream, m.Data.First, m.Data.Last, true
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
