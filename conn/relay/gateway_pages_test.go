package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A scrape tells what Counts does.
func TestGatewayMetrics(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "metrics"})
	s.publish(100)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"metrics"}})
	p := mustJoin(t, g.url, control{Stream: "metrics", Start: startOldest})
	if err := p.until(s.number); err != nil {
		t.Fatal(err)
	}
	refused, err := join(t.Context(), g.url, control{Stream: "nobody's", Start: startNow})
	refusedWith(t, refused, err, CloseUnknown)
	waitFor(t, "one client, and no other", func() bool { n := g.Counts(); return n.Clients == 1 && n.Streams[0].Live == 1 })
	type value struct {
		name, kind, help, labels string
		value                    float64
	}
	const one = `{stream="metrics"}`
	for _, v := range []value{
		{"connections", "gauge", "Connections of clients, those before their hello included.", "", 1},
		{"refused_total", "counter", "Connections refused, by HTTP status or Close code.", `{code="4404"}`, 1},
		{"ready", "gauge", "1 if the engine answers for the stream and the gateway is at its head.", one, 1},
		{"head_sequence", "gauge", "The last sequence that was fanned out.", one, 100},
		{"live_clients", "gauge", "Clients that get records as they come.", one, 1},
		{"messages_total", "counter", "Messages sent to clients, those of replays included.", one, 500},
		{"replayed_messages_total", "counter", "Messages sent to clients that caught up.", one, 500},
		{"fetches_total", "counter", "Reads of older batches.", one, 2},
		{"fetched_batches_total", "counter", "Older batches that were read.", one, 100},
		{"joins_total", "counter", "Hellos that were welcomed.", one, 1},
	} {
		name := "tickwire_relay_gateway_" + v.name
		want := fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n%s%s %v\n", name, v.help, name, v.kind, name, v.labels, v.value)
		if err := testutil.ScrapeAndCompare(g.http+"/metrics", strings.NewReader(want), name); err != nil {
			t.Error(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(g.Collector())
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// What is there, for whom.
func TestGatewayPages(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	newSource(t, nc, StreamConfig{Name: "pages"})
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"pages"}})
	for path, want := range map[string]struct {
		status int
		kind   string
	}{
		"/":         {http.StatusOK, "text/html"},
		"/metrics":  {http.StatusOK, "text/plain"},
		"/healthz":  {http.StatusOK, "application/json"},
		"/relay.js": {http.StatusOK, "text/javascript"},
		"/other":    {http.StatusNotFound, "text/plain"},
	} {
		r := get(t, g.http+path)
		if r.StatusCode != want.status || !strings.HasPrefix(r.Header.Get("Content-Type"), want.kind) {
			t.Errorf("%s: %s, %s", path, r.Status, r.Header.Get("Content-Type"))
		}
	}
	r, err := http.Post(g.http+"/metrics", "text/plain", nil)
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", r, err)
	}
	refused := errors.New("not you")
	off, own := &Gateway{Conn: nc, NoStatus: true}, &Gateway{Conn: nc, StatusAuthorize: func(r *http.Request) error {
		if r.Header.Get("Authorization") == "" {
			return refused
		}
		return nil
	}}
	for name, test := range map[string]struct {
		g      *Gateway
		change func(*http.Request)
		status int
	}{
		"local":           {g.Gateway, func(*http.Request) {}, http.StatusOK},
		"local by name":   {g.Gateway, func(r *http.Request) { r.Host = "localhost:80" }, http.StatusOK},
		"IPv6":            {g.Gateway, func(r *http.Request) { r.Host, r.RemoteAddr = "[::1]", "[::1]:99" }, http.StatusOK},
		"from elsewhere":  {g.Gateway, func(r *http.Request) { r.RemoteAddr = "192.0.2.1:99" }, http.StatusForbidden},
		"rebound name":    {g.Gateway, func(r *http.Request) { r.Host = "evil.example" }, http.StatusForbidden},
		"through a proxy": {g.Gateway, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, http.StatusForbidden},
		"off":             {off, func(*http.Request) {}, http.StatusNotFound},
		"refused":         {own, func(*http.Request) {}, http.StatusForbidden},
		"authorized": {own, func(r *http.Request) {
			r.RemoteAddr = "192.0.2.1:99"
			r.Header.Set("Authorization", "x")
		}, http.StatusOK},
	} {
		page := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
		page.RemoteAddr = "127.0.0.1:9"
		test.change(page)
		w := httptest.NewRecorder()
		if test.g.ServeHTTP(w, page); w.Code != test.status {
			t.Errorf("%s: %d", name, w.Code)
		}
		page.Header.Set("Upgrade", "websocket")
		page.Header.Set("Sec-WebSocket-Protocol", StatusSubprotocol)
		w = httptest.NewRecorder()
		if test.g.ServeHTTP(w, page); (w.Code == test.status) != (test.status != http.StatusOK) {
			t.Errorf("%s: its data: %d", name, w.Code)
		}
	}
}

// The data of the status page come once a second.
func TestGatewayStatus(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "status"})
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"status"}})
	c, err := (&conn.Dialer{Subprotocols: []string{StatusSubprotocol}}).Dial(t.Context(), g.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.publish(3)
	for range 3 {
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		var status struct {
			Time    int64
			Ready   bool
			Streams []struct {
				Stream, Position string
				Head             uint64
			}
		}
		if err := json.Unmarshal(m.Data, &status); err != nil || !status.Ready || len(status.Streams) != 1 || status.Streams[0].Stream != "status" {
			t.Fatalf("%s, %v", m.Data, err)
		}
		if status.Streams[0].Head == 3 && status.Streams[0].Position == s.at(3, EndOfBatch).String() {
			return
		}
	}
	t.Error("the head does not come")
}

// A gateway that is full, or that does not run yet, says so before the upgrade.
func TestGatewayFull(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	newSource(t, nc, StreamConfig{Name: "full"})
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"full"}, MaxClients: 1})
	mustJoin(t, g.url, control{Stream: "full", Start: startNow})
	idle := httptest.NewServer(&Gateway{Conn: nc, Streams: []string{"full"}})
	defer idle.Close()
	for _, url := range []string{g.url, "ws" + strings.TrimPrefix(idle.URL, "http")} {
		var refused *handshake.Error
		_, err := join(t.Context(), url, control{Stream: "full", Start: startNow})
		if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
			t.Errorf("%v", err)
		}
	}
}

// The client for browsers, under node: everything once and in order, over a gateway that
// ends and another one that takes its place.
func TestGatewayScript(t *testing.T) {
	t.Parallel()
	if lines := bytes.Count(relayJS, []byte("\n")); lines > 120 {
		t.Errorf("relay.js has %d lines", lines)
	}
	node := nodeHere(t)
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "script"})
	s.publish(50)
	first := startReady(t, &Gateway{Conn: nc, Streams: []string{"script"}, Upgrader: conn.Upgrader{Origins: []string{"*"}}})
	// A server whose gateway is replaced, as a balancer would do it.
	handler := make(chan http.Handler, 1)
	handler <- first.Gateway
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := <-handler
		handler <- h
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	script, err := io.ReadAll(get(t, server.URL+"/relay.js").Body)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"relay.mjs": script, "main.mjs": []byte(scriptSocket + scriptTest)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, node, "main.mjs", "ws"+strings.TrimPrefix(server.URL, "http"), "script")
	command.Dir, command.Env = dir, append(os.Environ(), "NODE_PATH=/usr/share/nodejs")
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the script", func() bool { return first.Counts().Streams[0].Live == 1 })
	s.publish(20)
	second := startReady(t, &Gateway{Conn: nc, Streams: []string{"script"}, Upgrader: conn.Upgrader{Origins: []string{"*"}}})
	<-handler
	handler <- second.Gateway
	first.cancel()
	s.publish(20)
	s.raw([]byte("not a batch")) // a gap
	s.number += perBatch
	waitFor(t, "the script to return", func() bool { return second.Counts().Streams[0].Live == 1 })
	s.publish(5)
	end, err := AppendBatch(nil, BatchHeader{}, Record{Kind: Gap, Reason: TakenOver, From: 1 << 60, To: 1<<60 + 1}, Record{Kind: Binary, Data: []byte("end")})
	if err != nil {
		t.Fatal(err)
	}
	s.raw(end)
	if err := command.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{"expired 91-91", "taken over 1152921504606846976-1152921504606846977", "475 records, 2 connections, faults 0, position " + s.at(97, EndOfBatch).String()}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", out.String(), strings.Join(want, "\n"))
	}
	if n := second.Counts().Streams[0]; n.Resumes != 1 {
		t.Errorf("%+v", n)
	}
}

// scriptTest counts numbers of the test's payloads.
const scriptTest = `
import {RelayClient} from "./relay.mjs";
const [, , url, stream] = process.argv;
let number = 0, records = 0, faults = 0, connections = 0;
const client = new RelayClient(url, stream, {start: "oldest", base: 50,
  onrecord({kind, data, position, received}) {
    if (kind === "binary" && new TextDecoder().decode(data) === "end") {
      client.close();
      console.log(records + " records, " + connections + " connections, faults " + faults + ", position " + position);
      return;
    }
    records++;
    if (Number(data.split(" ")[0]) !== ++number || typeof received !== "bigint") faults++;
  },
  ongap({reason, first, last, from, to}) {
    if (reason !== "expired") { console.log(reason + " " + from + "-" + to); return; }
    console.log("expired " + first + "-" + last);
    number += 5;
  },
  onstate({state, text}) { if (state === "live") connections++; if (state === "closed" && !text.includes("this side")) console.log(text); },
});
`

// nodeHere returns where node is. The test skips where that is not: step modules of
// .ci/run installs it.
func nodeHere(t *testing.T) string {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	return node
}

// scriptSocket is for a node without a WebSocket of its own, as before 22: then Debian's
// node-ws is it.
const scriptSocket = `
import {createRequire} from "node:module";
globalThis.WebSocket ??= createRequire(import.meta.url)("ws");
`

// A client that is closed by its own callback opens no socket any more, and sets no timer:
// then node ends by itself.
func TestGatewayScriptCloses(t *testing.T) {
	node := nodeHere(t)
	dir := t.TempDir()
	for name, text := range map[string][]byte{"relay.mjs": relayJS, "main.mjs": []byte(scriptCloses)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, node, "main.mjs")
	command.Dir = dir
	out, err := command.CombinedOutput()
	if want := "\ufeff1\n2 sockets, 0 timers, position 1.1.65535\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// scriptCloses runs relay.js with a WebSocket and timers of its own.
const scriptCloses = `
import {RelayClient} from "./relay.mjs";
let sockets = 0, id = 0;
const timers = new Map();
globalThis.setTimeout = (run) => { timers.set(++id, run); return id; };
globalThis.clearTimeout = (which) => { timers.delete(which); };
globalThis.WebSocket = class { constructor() { sockets++; this.protocol = "tickwire.relay.v1"; } send() {} close() {} };

// In onstate("connecting"), of the second attempt.
let attempts = 0;
const first = new RelayClient("ws://x/", "s", {onstate({state}) { if (state === "connecting" && ++attempts === 2) first.close(); }});
first.socket.onclose({code: 1012, reason: ""});
for (const [which, run] of [...timers]) { timers.delete(which); run(); }

// In onrecord, with a limit for silence.
const second = new RelayClient("ws://x/", "s", {quiet: 1000, onrecord({data}) { console.log(data); second.close(); }});
const {socket} = second;
socket.onopen();
socket.onmessage({data: JSON.stringify({type: "welcome", stream: "s", after: "1.0.65535", recovered: true})});
const view = new DataView(new ArrayBuffer(23));
view.setUint8(0, 129);
view.setBigUint64(3, 1n);
[0xef, 0xbb, 0xbf, 0x31].forEach((octet, i) => view.setUint8(19 + i, octet)); // a text that begins with U+FEFF
socket.onmessage({data: view.buffer});
console.log(sockets + " sockets, " + timers.size + " timers, position " + second.position);
`
