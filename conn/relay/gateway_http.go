package relay

import (
	"context"
	_ "embed" // relay.js and status.html
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// StatusSubprotocol is the WebSocket subprotocol of the status page: a text message with
// JSON once a second. It is for the page alone, and may change with it.
const StatusSubprotocol = "tickwire.relay.status.v1"

// maxViewers is how many status pages are served at once.
const maxViewers = 32

var (
	//go:embed relay.js
	relayJS []byte
	//go:embed status.html
	statusHTML []byte

	errNotLocal = errors.New("relay: the status page is for this machine only: set Gateway.StatusAuthorize")
)

type (
	grantKey  struct{}
	viewerKey struct{}
)

// ServeHTTP serves a client, or a page: see Gateway.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.init()
	if isUpgrade(r) {
		g.upgrade(w, r)
		return
	}
	page := g.pages[r.URL.Path]
	switch {
	case page == nil:
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		page.ServeHTTP(w, r)
	}
}

// upgrade makes a client of a request, or a viewer of the status page.
func (g *Gateway) upgrade(w http.ResponseWriter, r *http.Request) {
	if offers(r, StatusSubprotocol) && !offers(r, Subprotocol) {
		if err := g.statusGrant(r); err != nil {
			g.refuseHTTP(w, err)
			return
		}
		g.server.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), viewerKey{}, true)))
		return
	}
	if err := g.room(); err != nil {
		w.Header().Set("Retry-After", "1")
		g.refuseHTTP(w, &handshake.Error{Status: http.StatusServiceUnavailable, Rule: err.Error()})
		return
	}
	grant, err := g.grant(r)
	if err != nil {
		g.refuseHTTP(w, err)
		return
	}
	g.server.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), grantKey{}, grant)))
}

// offers reports whether a request offers a subprotocol.
func offers(r *http.Request, subprotocol string) bool {
	return hasToken(r.Header, "Sec-WebSocket-Protocol", func(token string) bool { return token == subprotocol })
}

// grant returns what a request is granted. Authorize is asked once.
func (g *Gateway) grant(r *http.Request) (Grant, error) {
	if grant, ok := r.Context().Value(grantKey{}).(Grant); ok {
		return grant, nil
	}
	if g.Authorize == nil {
		return Grant{Streams: []string{"*"}}, nil
	}
	return g.Authorize(r)
}

// refuseHTTP answers a request that is not upgraded, and counts it.
func (g *Gateway) refuseHTTP(w http.ResponseWriter, err error) {
	refused := &handshake.Error{Status: http.StatusForbidden, Rule: "not granted"}
	errors.As(err, &refused)
	status := refused.Status
	if status < 300 || status > 599 {
		status = http.StatusForbidden
	}
	g.refuse(status)
	g.report(fmt.Errorf("relay: gateway: refused with %d: %w", status, err))
	for name, values := range refused.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.Header().Set("Connection", "close")
	if len(refused.Body) == 0 {
		http.Error(w, refused.Rule, status)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(refused.Body)
}

// newPages returns what is served by path.
func (g *Gateway) newPages(registry *prometheus.Registry) map[string]http.Handler {
	pages := map[string]http.Handler{
		"/metrics":  promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		"/healthz":  http.HandlerFunc(g.serveHealth),
		"/relay.js": http.HandlerFunc(serveScript),
	}
	if !g.NoStatus {
		pages["/"] = http.HandlerFunc(g.serveStatus)
	}
	return pages
}

func (g *Gateway) serveHealth(w http.ResponseWriter, _ *http.Request) {
	err := g.Ready()
	health := struct {
		Ready bool   `json:"ready"`
		Text  string `json:"text,omitempty"`
	}{Ready: err == nil}
	status := http.StatusOK
	if err != nil {
		status, health.Text = http.StatusServiceUnavailable, err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(health)
}

// serveScript serves the client for browsers: to pages of every origin, because it holds
// nothing but code. Upgrader.Origins says which of them may connect.
func serveScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Length", strconv.Itoa(len(relayJS)))
	_, _ = w.Write(relayJS)
}

func (g *Gateway) serveStatus(w http.ResponseWriter, r *http.Request) {
	if err := g.statusGrant(r); err != nil {
		g.refuseHTTP(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(statusHTML)
}

// statusGrant returns an error if a request may not see the status page.
func (g *Gateway) statusGrant(r *http.Request) error {
	switch {
	case g.NoStatus:
		return &handshake.Error{Status: http.StatusNotFound, Rule: "no status page"}
	case g.StatusAuthorize != nil:
		return g.StatusAuthorize(r)
	case !local(r.RemoteAddr) || !local(r.Host) || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "":
		return errNotLocal
	}
	return nil
}

// local reports whether an address, with a port or without, is loopback. Of names only
// localhost is: another could resolve to this machine for an attacker's page.
func local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func viewer(r *http.Request) bool { return r.Context().Value(viewerKey{}) != nil }

// view sends the state to a status page once a second.
func (g *Gateway) view(c *conn.Conn) {
	defer g.viewers.Add(-1)
	if g.viewers.Add(1) > maxViewers {
		_ = c.StartClose(frame.CodeTryAgainLater, "too many status pages")
	}
	c.SetReadLimit(MaxHello)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for c.WriteMessage(conn.Text, g.statusJSON()) == nil {
			select {
			case <-tick.C:
			case <-c.Done():
				return
			}
		}
	}()
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// statusJSON is what the status page gets.
func (g *Gateway) statusJSON() []byte {
	status := struct {
		Time  int64  `json:"time"` // milliseconds since 1970
		Ready bool   `json:"ready"`
		Text  string `json:"text,omitempty"`
		GatewayCounts
	}{Time: time.Now().UnixMilli(), GatewayCounts: g.Counts()}
	err := g.Ready()
	if status.Ready = err == nil; err != nil {
		status.Text = err.Error()
	}
	data, err := json.Marshal(status)
	if err != nil {
		panic(err) // numbers and strings
	}
	return data
}
