package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/conformance"
)

func options() conformance.Options {
	o := conformance.Options{Patience: 20 * time.Second, Timeout: time.Minute, Volume: conformance.Small, Parallel: 16}
	if testing.Short() { // there are many like those
		o.Exclude = []string{"9", "12.[2-5]", "13.[2-6]", "R7.[1-9][0-9]*", "R6.[1-9][0-9]", "R36", "R87"}
	}
	return o
}

// echo returns every message.
func echo(c *conn.Conn) {
	defer c.Close()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return
		}
		if c.WriteMessage(m.Opcode, m.Data) != nil {
			return
		}
	}
}

func config() conn.Config {
	return conn.Config{Deflate: &deflate.Config{Threshold: -1}}
}

// allOK reports every case that is not OK.
func allOK(t *testing.T, r *conformance.Report) {
	t.Helper()
	if len(r.Results) < 700 && !testing.Short() {
		t.Errorf("%d cases", len(r.Results))
	}
	for _, x := range r.Results {
		if x.Verdict != conformance.OK {
			t.Errorf("%s %s: %v: %s (%s; %s)", x.ID, x.Title, x.Verdict, x.Note, x.Decided, x.End)
			for _, w := range x.Wire {
				t.Logf("    sent %v, %d bytes: %s %s", w.Sent, w.Bytes, w.Hex, w.About)
			}
		}
	}
}

// Our servers pass all, strict: the one that parses requests by itself, and the one
// behind net/http.
func TestOwnServers(t *testing.T) {
	for _, behind := range []string{"Serve", "net/http"} {
		t.Run(behind, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &conn.Server{Upgrader: conn.Upgrader{Config: config()}, Handler: echo}
			if behind == "Serve" {
				go s.Serve(l)
				defer s.Close()
			} else {
				h := &http.Server{Handler: s}
				go h.Serve(l)
				defer h.Close()
				defer s.Close()
			}
			report, err := conformance.TestServer(t.Context(), "tickwire", "ws://"+l.Addr().String()+"/", options())
			if err != nil {
				t.Fatal(err)
			}
			allOK(t, report)
		})
	}
}

// Our client passes all, strict.
func TestOwnClient(t *testing.T) {
	t.Parallel()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := conformance.NewListener(options())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, nl) }()
	d := &conn.Dialer{Config: config(), HandshakeTimeout: time.Minute}
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				c, err := d.Dial(ctx, fmt.Sprintf("ws://%s/runCase?case=%d&agent=tickwire", nl.Addr(), i))
				if err == nil {
					echo(c)
				}
			}
		})
	}
	for i := range l.Cases() {
		next <- i + 1
	}
	close(next)
	wg.Wait()
	if c, err := d.Dial(ctx, fmt.Sprintf("ws://%s/updateReports?agent=tickwire", nl.Addr())); err != nil {
		t.Error(err)
	} else {
		echo(c)
	}
	if agent := <-l.Ended(); agent != "tickwire" {
		t.Errorf("agent %q", agent)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	allOK(t, l.Reports()[0])
}

// Every requirement that can be seen from outside has a case, and no number stands twice.
func TestEveryRequirementIsCovered(t *testing.T) {
	covered := map[string]bool{}
	for _, role := range []conformance.Role{conformance.Server, conformance.Client} {
		seen := map[string]bool{}
		for _, c := range conformance.Cases(role, conformance.Small) {
			if seen[c.ID] {
				t.Errorf("%v %s stands twice", role, c.ID)
			}
			seen[c.ID] = true
			if len(c.Covers) == 0 || c.Title == "" {
				t.Errorf("%s %q covers %v", c.ID, c.Title, c.Covers)
			}
			for _, r := range c.Covers {
				covered[r] = true
			}
		}
	}
	for i := 1; i <= 89; i++ {
		r := fmt.Sprintf("R%d", i)
		if why := conformance.Unseen()[r]; covered[r] == (why != "") {
			t.Errorf("%s is covered: %v; it cannot be seen: %q", r, covered[r], why)
		}
	}
}

// Each way to show a report has all of it.
func TestReports(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &conn.Server{Upgrader: conn.Upgrader{Config: conn.Config{}}, Handler: func(c *conn.Conn) { // no echo
		c.ReadMessage()
		c.Shutdown(context.Background(), 1000, "")
	}}
	go s.Serve(l)
	defer s.Close()
	o := options()
	o.Include = []string{"1.1.*", "3", "12.1.1"}
	o.Exclude = []string{"3.2", "3.3", "3.4", "1.1.[5-8]"}
	report, err := conformance.TestServer(t.Context(), "<one>", "ws://"+l.Addr().String()+"/", o)
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Summary(); got != "9 cases, 4 OK, 1 unimplemented, 4 failed" {
		t.Error(got)
	}
	var file bytes.Buffer
	if err := conformance.WriteJSON(&file, []*conformance.Report{report}); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(file.Bytes()) {
		t.Error("no JSON")
	}
	again, err := conformance.ReadJSON(&file)
	if err != nil || len(again) != 1 || again[0].Summary() != report.Summary() || again[0].Results[0].Note != report.Results[0].Note {
		t.Errorf("%v, %+v", err, again)
	}
	other := *report
	other.Agent, other.Results = "two", report.Results[:3]
	var table, page strings.Builder
	if err := conformance.WriteTable(&table, []*conformance.Report{report}, false, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<one>, a server\n", "  1        4 cases, 0 OK, 4 failed\n", "  3        4 cases, 4 OK\n", "  1.1.1    failed        text of 0 bytes\n", "octets 88", "9 cases, 4 OK"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	if err := conformance.WritePage(&page, []*conformance.Report{report, &other}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"&lt;one&gt;", "<th>two</th>", "text of 125 bytes", `class="bad"`, "<details", "Octets that decided"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if n := strings.Count(page.String(), "<details"); n != 9+3 {
		t.Errorf("%d cases can be opened", n)
	}
}
