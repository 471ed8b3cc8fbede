// Proxy prints the messages of a stream that comes through a proxy.
//
// The proxy's URL has scheme http, https, socks5 or socks5h, and may have a user and a
// password. Without one the environment is used: HTTPS_PROXY and NO_PROXY, as in other
// programs. A token for the proxy is read from a file for each attempt, since tokens
// expire. The server's certificate is verified, so the proxy cannot read the traffic.
//
//	proxy -url wss://feed.example/stream -proxy http://user:password@proxy.example:3128
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	urls "net/url"
	"os"
	"os/signal"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

func main() {
	url := flag.String("url", "", "`URL` of the server")
	proxy := flag.String("proxy", "", "`URL` of the proxy; without one the environment is asked")
	token := flag.String("token", "", "`file` of a token for the proxy, sent as Bearer")
	ca := flag.String("ca", "", "`file` of the server's root certificate in PEM, if the system does not know it")
	request := flag.String("text", `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}`, "what to send first")
	count := flag.Int("n", 0, "how many messages to print; 0 means until Ctrl-C")
	flag.Parse()
	if err := run(*url, *proxy, *token, *ca, *request, *count); err != nil {
		log.Fatal(err)
	}
}

func run(url, proxy, token, ca, request string, count int) error {
	dialer, err := newDialer(ca)
	if err != nil {
		return err
	}
	dialer.Proxy = http.ProxyFromEnvironment
	if proxy != "" {
		u, err := urls.Parse(proxy)
		if err != nil {
			return err
		}
		dialer.Proxy = http.ProxyURL(u)
	}
	if token != "" {
		dialer.ProxyHeaderFunc = func(context.Context, *urls.URL, string) (http.Header, error) {
			secret, err := os.ReadFile(token)
			return http.Header{"Proxy-Authorization": {"Bearer " + strings.TrimSpace(string(secret))}}, err
		}
	}
	client := &redial.Client{
		URL:    url,
		Dialer: dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			return s.Conn.WriteMessage(conn.Text, []byte(request))
		},
		OnChange: redial.LogChanges(slog.Default()),
		Classify: func(err error) redial.Decision {
			if errors.Is(err, conn.ErrProxy) {
				return redial.Strict.Classify(err) // a proxy that refuses the credentials ends the program
			}
			return redial.Persistent.Classify(err)
		},
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	printed := 0
	for m, err := range client.Messages(ctx) { // leaving the loop closes the connection
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", m.Epoch, m.Data)
		if printed++; printed == count {
			return nil
		}
	}
	return nil
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
