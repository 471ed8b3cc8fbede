// Token gets a new token for each attempt to connect, for servers whose URLs are valid
// once or for a while: listen keys, nonces, signatures with a time.
//
// URLFunc runs before each dial, within ConnectTimeout. If it fails the attempt has
// failed: the client waits and tries again, with another token. (Dialer.HeaderFunc is for
// tokens in the header.)
//
//	token -url wss://feed.example/stream -tokens https://feed.example/token
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	feed := flag.String("url", "", "`URL` of the server, without the token")
	tokens := flag.String("tokens", "", "`URL` where a token is had")
	ca := flag.String("ca", "", "`file` of the root certificate in PEM, if the system does not know it")
	stream := flag.String("stream", "btcusdt@trade", "what to subscribe to")
	count := flag.Uint64("n", 0, "how many messages to print; 0 means until Ctrl-C")
	flag.Parse()
	config, err := newConfig(*ca)
	if err != nil {
		log.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	client := &redial.Client{
		URLFunc: func(ctx context.Context, _ redial.Attempt) (string, error) {
			token, err := get(ctx, web, *tokens)
			return *feed + "?token=" + url.QueryEscape(token), err
		},
		Dialer:    &conn.Dialer{TLSConfig: config},
		OnConnect: func(_ context.Context, s *redial.Session) error { return subscribe(s, *stream) },
		OnChange:  redial.LogChanges(slog.Default()), // it shows only the host of a URL
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
}

// get asks for a token. The end of ctx ends it.
func get(ctx context.Context, web *http.Client, tokens string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, tokens, nil)
	if err != nil {
		return "", err
	}
	answer, err := web.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("token: %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1000))
	return strings.TrimSpace(string(text)), err
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

// newConfig returns a configuration that trusts the root certificates in a file, or the
// system's if there is no file.
func newConfig(ca string) (*tls.Config, error) {
	if ca == "" {
		return &tls.Config{}, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &tls.Config{RootCAs: roots}, nil
}
