package relay_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A gateway under net/http: clients and pages on one address. Ctrl-C says bye to the
// clients, which go to another gateway.
func ExampleGateway() {
	nc, err := relay.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	g := &relay.Gateway{Conn: nc, Streams: []string{"trades", "books"}, OnError: func(err error) { log.Print(err) }}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: g, ReadHeaderTimeout: 5 * time.Second}
	go server.ListenAndServe()
	log.Print(g.Run(ctx))
	server.Close()
}

// Under a conn.Server, which reads requests without net/http. There are no pages.
func ExampleGateway_Handle() {
	nc, err := relay.Connect("nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	g := &relay.Gateway{Conn: nc, Streams: []string{"trades"}}
	server := &conn.Server{Upgrader: g.ServerUpgrader(), RequestHandler: g.Handle}
	_ = server // server.Serve(listener), and g.Run(ctx)
}

// users are the application's own.
type users struct{ byToken, bySession, byCertificate map[string]relay.Grant }

var errNobody = &handshake.Error{Status: http.StatusUnauthorized, Rule: "who are you", Header: http.Header{"Www-Authenticate": {"Bearer"}}}

// grant authenticates a request by what it has.
func (u *users) grant(r *http.Request) (relay.Grant, error) {
	// A certificate that crypto/tls has verified: tls.Config.ClientAuth.
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return find(u.byCertificate, r.TLS.VerifiedChains[0][0].Subject.CommonName)
	}
	// A program's bearer token.
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return find(u.byToken, token)
	}
	// A browser's WebSocket has no header: it offers the token as another subprotocol,
	// as RelayClient does with {protocols: ["bearer." + token]}.
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
				return find(u.byToken, token)
			}
		}
	}
	// A browser's session. Upgrader.Origins keeps pages of others from using it.
	if cookie, err := r.Cookie("session"); err == nil {
		return find(u.bySession, cookie.Value)
	}
	return relay.Grant{}, errNobody
}

// find compares in constant time: how long it takes tells nothing of the secret.
func find(grants map[string]relay.Grant, secret string) (relay.Grant, error) {
	var found relay.Grant
	ok := 0
	for s, g := range grants {
		if subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
			found, ok = g, 1
		}
	}
	if ok == 0 {
		return found, errors.New("unknown") // 403; its text is for OnError
	}
	return found, nil
}

// Who may have what is the application's to say, at every connection.
func ExampleGrant() {
	u := &users{byToken: map[string]relay.Grant{
		"a-secret": {User: "dashboard", Streams: []string{"trades"}, MaxAge: time.Hour, Rate: 4 << 20},
		"another":  {User: "archive", Streams: []string{"*"}},
	}}
	g := &relay.Gateway{Streams: []string{"trades", "books"}, Authorize: u.grant}
	_ = g
}
