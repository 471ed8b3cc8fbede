// Shutdown records a feed in a file and ends properly. On a signal it takes no more
// messages, writes those it has, and closes the connection.
//
// The end of the context ends Run: the client sends a Close frame, waits CloseWait for
// the answer, and returns. By then the handler has returned, and is not called again.
// Work in other goroutines, here a writer, is finished afterwards. A second signal ends
// the process at once.
//
//	shutdown -url wss://feed.example/stream -o trades.txt
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@trade", "what to subscribe to")
	output := flag.String("o", "trades.txt", "`file` to write")
	flag.Parse()
	if err := run(*url, *ca, *stream, *output); err != nil {
		log.Fatal(err) // the exit status is 1
	}
}

func run(url, ca, stream, output string) error {
	dialer, err := newDialer(ca)
	if err != nil {
		return err
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process

	messages := make(chan []byte, 1000)
	written := make(chan error, 1)
	go func() { written <- write(file, messages) }()

	client := &redial.Client{
		URL:       url,
		Dialer:    dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error { return subscribe(s, stream) },
		OnChange:  redial.LogChanges(slog.Default()),
		CloseWait: time.Second,
	}
	ended := client.Run(ctx, func(ctx context.Context, m redial.Message) error {
		select {
		case messages <- bytes.Clone(m.Data): // m.Data is not valid after this
			return nil
		case err := <-written: // the writer has ended
			written <- err
			return err
		}
	})
	close(messages) // no handler runs any more
	err = <-written
	if errors.Is(ended, context.Canceled) && ctx.Err() != nil {
		ended = nil // the signal's end is not an error
	}
	return errors.Join(ended, err, file.Close())
}

// write writes messages, one a line, until there are no more.
func write(file *os.File, messages <-chan []byte) error {
	w := bufio.NewWriter(file)
	for m := range messages {
		if _, err := fmt.Fprintf(w, "%s\n", m); err != nil {
			return err
		}
	}
	return w.Flush()
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
