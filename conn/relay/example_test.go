package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// subscribe asks a venue for its feed, and waits for the answer.
func subscribe(_ context.Context, s *redial.Session) error {
	if err := s.Conn.WriteMessage(conn.Text, []byte(`{"op":"subscribe","id":1}`)); err != nil {
		return err
	}
	_, err := s.Await(func(m conn.Message) bool { return strings.Contains(string(m.Data), `"id":1`) })
	return err
}

// accounts represents what a service knows of its users.
var accounts struct {
	// ByToken returns the streams of the user with a token; false if there is none.
	ByToken func(token string) (relay.Grant, bool)
	// BySession returns those of a user who has logged in.
	BySession func(cookie string) (relay.Grant, bool)
	// ByName returns those of a user by the name in a certificate.
	ByName func(name string) (relay.Grant, bool)
}

// An ingester of a venue with two lines. A second one with the same configuration may run
// on another machine.
func ExampleIngester_venue() {
	nc, err := relay.Connect("nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:4222")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if _, err := relay.CreateStream(ctx, nc, relay.StreamConfig{Name: "btc", Replicas: 3}); err != nil {
		log.Fatal(err)
	}
	in := &relay.Ingester{
		Conn: nc, Stream: "btc",
		Clients: []*redial.Client{
			{URL: "wss://a.venue.example/feed", OnConnect: subscribe},
			{URL: "wss://b.venue.example/feed", OnConnect: subscribe},
		},
		Number: func(data []byte) (from, to uint64, ok bool) {
			var m struct {
				First uint64 `json:"U"`
				Last  uint64 `json:"u"`
			}
			err := json.Unmarshal(data, &m)
			return m.First, m.Last, err == nil && m.Last > 0
		},
		OnState: func(s relay.IngestState) { slog.Info("ingester", "state", s.String()) },
	}
	log.Print(in.Run(ctx))
}

// A gateway under net/http.
func ExampleGateway_http() {
	nc, err := relay.Connect("nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:4222")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	g := &relay.Gateway{Conn: nc, Streams: []string{"btc", "eth"}}
	go func() { log.Fatal(http.ListenAndServe(":8080", g)) }()
	log.Print(g.Run(ctx)) // tells every client where to continue, elsewhere
}

// A client that continues where the last process stopped.
func ExampleClient() {
	file := relay.FilePosition("btc.position")
	client := &relay.Client{
		Redial: &redial.Client{URLs: []string{"wss://gw1.example/", "wss://gw2.example/"}},
		Stream: "btc",
		Start:  relay.FromOldest,
		Load:   file.Load,
		Save:   file.Save,
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	log.Print(client.Run(ctx, func(ctx context.Context, m relay.Message) error {
		if m.Kind == relay.Gap {
			log.Printf("%v: %v, %d to %d", m.Position, m.Reason, m.From, m.To)
			return nil
		}
		_, err := fmt.Printf("%s\n", m.Data) // a view: valid until the handler returns
		return err
	}))
}

// The position kept together with the program's own data: then no message is handled
// twice, whatever crashes.
func ExampleClient_position() {
	var total struct { // what the program computes, and how far it has come
		Messages int
		After    relay.Position
	}
	if text, err := os.ReadFile("total.json"); err == nil {
		if err := json.Unmarshal(text, &total); err != nil {
			log.Fatal(err)
		}
	}
	client := &relay.Client{
		Redial: &redial.Client{URL: "wss://gw1.example/"},
		Stream: "btc",
		After:  total.After,
	}
	for m, err := range client.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		total.Messages++
		total.After = m.Position
		text, err := json.Marshal(total)
		if err == nil {
			err = os.WriteFile("total.json.new", text, 0o644)
		}
		if err == nil {
			err = os.Rename("total.json.new", "total.json") // both at once
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

// Refusals that no attempt can mend end Run.
func ExampleRefusedError() {
	client := &relay.Client{Redial: &redial.Client{URL: "wss://gw1.example/"}, Stream: "btc"}
	err := client.Run(context.Background(), func(context.Context, relay.Message) error { return nil })
	switch {
	case errors.Is(err, relay.ErrNotGranted):
		log.Fatal("ask for access to btc")
	case errors.Is(err, relay.ErrIncarnation), errors.Is(err, relay.ErrExpired):
		log.Print("begin again with a snapshot")
	}
}

// The token of a program, in the header: Authorization: Bearer TOKEN.
func ExampleGateway_bearer() {
	authorize := func(r *http.Request) (relay.Grant, error) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		grant, known := accounts.ByToken(token)
		if !ok || !known {
			return relay.Grant{}, errors.New("no such token")
		}
		return grant, nil // for example {Streams: []string{"btc"}, MaxAge: time.Hour}
	}
	_ = &relay.Gateway{Authorize: authorize}

	client := &redial.Client{URL: "wss://gw1.example/", Dialer: &conn.Dialer{
		HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) { // asked at each attempt
			return http.Header{"Authorization": {"Bearer " + os.Getenv("TOKEN")}}, nil
		},
	}}
	_ = &relay.Client{Redial: client, Stream: "btc"}
}

// A browser cannot set the header. It offers the token as one more subprotocol:
// new RelayClient(url, "btc", {protocols: ["bearer." + token]}).
func ExampleGateway_subprotocol() {
	authorize := func(r *http.Request) (relay.Grant, error) {
		for line := range slices.Values(r.Header.Values("Sec-WebSocket-Protocol")) {
			for offer := range strings.SplitSeq(line, ",") {
				if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
					if grant, known := accounts.ByToken(token); known {
						return grant, nil
					}
				}
			}
		}
		return relay.Grant{}, errors.New("no token")
	}
	_ = &relay.Gateway{Authorize: authorize}

	dialer := &conn.Dialer{Subprotocols: []string{"bearer." + os.Getenv("TOKEN")}}
	_ = &relay.Client{Redial: &redial.Client{URL: "wss://gw1.example/", Dialer: dialer}, Stream: "btc"}
}

// The cookie of a log-in. Pages of other origins are refused by the Upgrader, so they
// cannot use it.
func ExampleGateway_cookie() {
	authorize := func(r *http.Request) (relay.Grant, error) {
		cookie, err := r.Cookie("session")
		if err != nil {
			return relay.Grant{}, err
		}
		grant, known := accounts.BySession(cookie.Value)
		if !known {
			return relay.Grant{}, errors.New("the session has ended")
		}
		return grant, nil
	}
	_ = &relay.Gateway{Authorize: authorize, Upgrader: conn.Upgrader{Origins: []string{"https://app.example"}}}
}

// A client certificate, which TLS has verified before Authorize is asked.
func ExampleGateway_clientCertificate() {
	authorize := func(r *http.Request) (relay.Grant, error) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return relay.Grant{}, errors.New("no certificate")
		}
		grant, known := accounts.ByName(r.TLS.VerifiedChains[0][0].Subject.CommonName)
		if !known {
			return relay.Grant{}, errors.New("no such user")
		}
		return grant, nil
	}
	roots := x509.NewCertPool() // of who signs the clients' certificates
	server := &http.Server{
		Addr:      ":8443",
		Handler:   &relay.Gateway{Authorize: authorize},
		TLSConfig: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
	}
	log.Fatal(server.ListenAndServeTLS("gateway.pem", "gateway.key"))
}

// A position in a URL or a database is a text.
func ExampleParsePosition() {
	p, err := relay.ParsePosition("18a1b2c3d4e5f607.1042.17")
	fmt.Println(p.Sequence, p.Index, err)
	_, err = relay.ParsePosition("1042")
	fmt.Println(err)
	// Output:
	// 1042 17 <nil>
	// relay: not a position: want INCARNATION.SEQUENCE.INDEX
}

// A batch as another program may make it, or read it.
func ExampleAppendBatch() {
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	data, err := relay.AppendBatch(nil, relay.BatchHeader{Writer: 7, First: 1, Last: 4},
		relay.Record{Kind: relay.Text, Data: []byte(`{"n":1}`), From: 1, To: 1, Received: received},
		relay.Record{Kind: relay.Gap, Reason: relay.Missing, From: 2, To: 3, Received: received},
		relay.Record{Kind: relay.Text, Data: []byte(`{"n":4}`), From: 4, To: 4, Received: received})
	if err != nil {
		log.Fatal(err)
	}
	batch, err := relay.ParseBatch(data)
	if err != nil {
		log.Fatal(err)
	}
	for i, r := range batch.Records() {
		fmt.Printf("%d %v %d-%d %q\n", i, r.Kind, r.From, r.To, r.Data)
	}
	data[60] ^= 1
	_, err = relay.ParseBatch(data)
	fmt.Println(err)
	// Output:
	// 0 text 1-1 "{\"n\":1}"
	// 1 gap 2-3 ""
	// 2 text 4-4 "{\"n\":4}"
	// relay: malformed batch: checksum at byte 44
}
