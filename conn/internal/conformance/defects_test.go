package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// dial is the side of a client: it opens a connection, and sends what comes back.
func (d defect) dial(t *testing.T, rawURL string) {
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Error(err)
		return
	}
	nc, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	e := &endpoint{defect: d, nc: nc, client: true}
	key := newKey()
	if e.has("has one key for all connections") {
		key = "AQIDBAUGBwgJCgsMDQ4PEA=="
	}
	h := &head{first: "GET " + u.RequestURI() + " HTTP/1.1"}
	h.add("Host", u.Host).add("Upgrade", "websocket").add("Connection", "Upgrade")
	h.add("Sec-WebSocket-Key", key).add("Sec-WebSocket-Version", "13")
	offer := extensionName + "; client_max_window_bits"
	h.add("Sec-WebSocket-Extensions", offer)
	if e.has("sends Host twice") {
		h.add("Host", u.Host)
	}
	nc.Write(h.bytes())
	var early []byte
	answer := &head{first: "HTTP/1.1 100 Continue"}
	for answer.status()/100 == 1 && answer.status() != 101 {
		if answer, early, err = readHeadAfter(nc, time.Minute, early); err != nil {
			return
		}
	}
	nc.SetDeadline(time.Now().Add(time.Minute))
	if err := e.judgeAnswer(answer, key, offer); err != nil {
		return
	}
	if e.has("loses frames that come with the answer") {
		early = nil
	}
	e.in = bufio.NewReader(io.MultiReader(strings.NewReader(string(early)), nc))
	defer e.out.free()
	e.run()
}

var errAnswer = errors.New("an answer that does not open")

func (e *endpoint) judgeAnswer(answer *head, key, offer string) error {
	err := checkAnswer(answer, key)
	switch {
	case e.has("takes every status") && answer.status() != 101 && answer.status() != 0:
	case e.has("takes every hash") && answer.status() == 101 && answer.hasToken("Upgrade", "websocket") && answer.hasToken("Connection", "upgrade"):
	case err != nil || !strings.HasPrefix(answer.first, "HTTP/1.1 101 ") && !e.has("takes HTTP/1.0"):
		return errAnswer
	}
	for _, l := range answer.lines {
		name, _, ok := strings.Cut(l, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(l, "\x00\r\n") {
			return errAnswer
		}
	}
	if answer.value("Sec-WebSocket-Protocol") != "" && !e.has("takes every subprotocol") {
		return errAnswer
	}
	if got := answer.value("Sec-WebSocket-Extensions"); got != "" {
		a, err := parseAgreement(got, offer)
		if err == nil && strings.Contains(got, `"`) && strings.Contains(got, `""`) {
			err = errAnswer
		}
		if err != nil {
			if !e.has("takes every extension") {
				return errAnswer
			}
			a = &agreement{serverBits: 15, clientBits: 15}
		}
		e.agree(a)
	}
	return nil
}

// clients runs all cases of a Listener with some clients at once.
func clients(t *testing.T, l *Listener, address string, run func(url string)) {
	t.Helper()
	next := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				run(fmt.Sprintf("ws://%s/runCase?case=%d&agent=test", address, i))
			}
		})
	}
	for i := range l.Cases() {
		next <- i + 1
	}
	close(next)
	wg.Wait()
}

// tryClient returns what the suite says of a client.
func tryClient(t *testing.T, o Options, run func(url string)) *Report {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(o)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, nl) }()
	clients(t, l, nl.Addr().String(), run)
	defect("").dial(t, "ws://"+nl.Addr().String()+"/updateReports?agent=test")
	<-l.Ended()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	return l.Reports()[0]
}

// The endpoints without a defect pass all: what is found below is found for a reason.
func TestEndpointWithoutDefects(t *testing.T) {
	t.Parallel()
	report, err := TestServer(t.Context(), "test", listenAs(t, ""), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	strict(t, report)
	strict(t, tryClient(t, testOptions(), func(url string) { defect("").dial(t, url) }))
}

func testOptions() Options {
	o := Options{Patience: 20 * time.Second, Timeout: time.Minute, Volume: Small, Parallel: 16}
	if testing.Short() {
		o.Exclude = thinned
	}
	return o
}

// thinned are the cases that -short leaves out: there are many like them.
var thinned = []string{"9", "12.[2-5]", "13.[2-6]", "R7.[1-9][0-9]*", "R6.[1-9][0-9]", "R36", "R87"}

// strict reports every case that is not OK.
func strict(t *testing.T, r *Report) {
	t.Helper()
	if len(r.Results) < 500 && !testing.Short() {
		t.Errorf("%s: %d cases", r.Role, len(r.Results))
	}
	for _, x := range r.Results {
		if x.Verdict != OK {
			t.Errorf("%s %s %s: %v: %s (%s; %s)", r.Role, x.ID, x.Title, x.Verdict, x.Note, x.Decided, x.End)
			for _, w := range x.Wire {
				t.Logf("    sent %v %d %s %s", w.Sent, w.Bytes, w.Hex, w.About)
			}
		}
	}
}

// found are the requirements and families in which a report has a case that is not OK, in
// order, each once.
func found(r *Report) (all []string) {
	for _, x := range r.Results {
		if x.Verdict != OK && x.Verdict != Unimplemented {
			all = append(all, group(x.ID))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// group is what a case is counted under: 6.4 for 6.4.1, 5 for 5.12, R7 for R7.31.
func group(id string) string {
	parts := strings.Split(id, ".")
	if len(parts) == 3 {
		return parts[0] + "." + parts[1]
	}
	return parts[0]
}

// Each defect is found by the checks that it should be found by, and by no other. One
// that shows on nearly every connection is found for the reason that it is.
func TestDefects(t *testing.T) {
	t.Parallel()
	// Most of the time is patience with what does not come: many wait at once.
	room := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i, test := range defects {
		if testing.Short() && i%16 != 0 {
			continue
		}
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			test.try(t)
		})
	}
	all.Wait()
}

func (test *defective) try(t *testing.T) {
	role := Server
	if test.client {
		role = Client
	}
	o := Options{Patience: time.Second, Timeout: time.Minute, Parallel: 32, Volume: Small, Exclude: []string{"9"}}
	o.only = sample(Cases(role, Small), strings.Fields(test.found))
	if test.says != "" {
		o.Include, o.only = strings.Fields(test.found), nil
	}
	report := test.run(t, o)
	// A case that was not to be found may have been slow, where other things run beside
	// it. It gets all the time that it wants.
	odd := map[string]bool{}
	for _, x := range report.Results {
		odd[x.ID] = x.Verdict != OK && (!strings.Contains(x.Note, test.says) || !slices.Contains(strings.Fields(test.found), group(x.ID)))
	}
	o.Patience, o.only = 30*time.Second, func(c *Case) bool { return odd[c.ID] }
	again := &Report{}
	if len(o.cases(role)) > 0 {
		again = test.run(t, o)
	}
	for _, x := range again.Results {
		i := slices.IndexFunc(report.Results, func(y Result) bool { return y.ID == x.ID })
		report.Results[i] = x
	}
	if got := strings.Join(found(report), " "); got != test.found {
		t.Errorf("%v, %q: found by\n%s, want\n%s", role, test.defect, got, test.found)
	}
	for _, x := range report.Results {
		if x.Verdict != OK && !strings.Contains(x.Note, test.says) {
			t.Errorf("%v, %q: %s: %q, want %q", role, test.defect, x.ID, x.Note, test.says)
		}
	}
}

func (test *defective) run(t *testing.T, o Options) *Report {
	if test.client {
		return tryClient(t, o, func(url string) { test.defect.dial(t, url) })
	}
	report, err := TestServer(t.Context(), "test", listenAs(t, test.defect), o)
	if err != nil {
		t.Errorf("%q: %v", test.defect, err)
		return &Report{}
	}
	return report
}

// sample has all cases of some groups, and two or three of each other one.
func sample(all []*Case, whole []string) func(*Case) bool {
	of := map[string][]string{}
	for _, c := range all {
		of[group(c.ID)] = append(of[group(c.ID)], c.ID)
	}
	taken := map[string]bool{}
	for name, ids := range of {
		step := max(1, len(ids)/2)
		if slices.Contains(whole, name) {
			step = 1
		} else if name == "R87" {
			continue // twice 20 MiB
		}
		for i := 0; i < len(ids); i += step {
			taken[ids[i]] = true
		}
	}
	return func(c *Case) bool { return taken[c.ID] }
}

// A defective endpoint is one with a defect, and what is to be found.
type defective struct {
	defect defect
	client bool
	found  string // the groups of cases
	says   string // each of them, where the groups are only some of many
}

var defects = []*defective{
	{"takes a wrong mask bit", false, "R1", ""},
	{"sends a wrong mask bit", false, "1.1 2 3 6.3 7.1 R3", "a masked frame of a server"},
	{"takes reserved bits", false, "3 R36 R6", ""},
	{"takes RSV1 on continuations", false, "R6", ""},
	{"takes reserved opcodes", false, "4.1 4.2 R30 R7", ""},
	{"sends lengths that are not in their shortest form", false, "1.1 2 3 R3", "not in its shortest form"},
	{"takes lengths that are not in their shortest form", false, "R10", ""},
	{"takes the top bit of a length", false, "R11", ""},
	{"has no limit", false, "R12", ""},
	{"takes 65536 for 65535", false, "1.1 1.2 R3 R8", ""},
	{"takes continuations of nothing", false, "5 R13", ""},
	{"takes messages within messages", false, "5 R14", ""},
	{"answers pings after messages only", false, "5 R15 R31 R82", ""},
	{"does not answer pings", false, "2 5 R1 R13 R15 R20 R3 R31 R82", ""},
	{"answers pings without their payload", false, "2 5 R1 R13 R15 R20 R3 R31 R82", ""},
	{"answers pongs", false, "2 R15", ""},
	{"takes control frames in pieces", false, "5 R19", ""},
	{"takes long control frames", false, "2 7.3 R19", ""},
	{"takes a Close of one byte", false, "7.3", ""},
	{"takes every close code", false, "7.13 7.9 R23", ""},
	{"refuses code 1011", false, "7.7", ""},
	{"takes every close reason", false, "7.5 R25", ""},
	{"does not answer Close", false, "1.1 7.1 R28", "does not answer a Close"},
	{"goes on after Close", false, "1.1 7.1 R28", "a frame after its Close"},
	{"does not close TCP", false, "1.2 3 R28", "TCP"},
	{"fails with another code", false, "3 4.1 6.3 7.9 R1 R36", "code 1011"},
	{"fails without a Close", false, "3 4.1 6.3 7.9 R1 R36", "without a Close"},
	{"does not check text", false, "6.10 6.11 6.12 6.13 6.14 6.15 6.16 6.17 6.18 6.19 6.20 6.21 6.3 6.4 6.6 6.8 R31 R32 R86", ""},
	{"checks text at its end only", false, "6.4 R32", ""},
	{"takes surrogates", false, "6.20 6.21 6.3 R86", ""},
	{"refuses characters that are none", false, "6.11 6.22 6.23 6.9", ""},
	{"takes text that ends within a character", false, "6.14 6.6 R31 R86", ""},
	{"loses the last byte of long messages", false, "1.1 1.2 10.1 R17 R3 R35 R76 R8", ""},
	{"sends every message as binary", false, "1.1 6.2 7.1", "where it has to be text"},
	{"drops messages of no bytes", false, "1.1 1.2 6.1 6.6 R3 R78 R79 R8 R81", ""},
	{"sends continuations with the opcode of the first", false, "1.1 1.2 10.1 R17 R35", "a message within another one"},
	{"sends RSV1 without permessage-deflate", false, "1.1 1.2 6.2 R18", "reserved bits that nothing agreed on"},
	{"leaves the tail", false, "12.1 13.1 R78 R79", "cannot be inflated"},
	{"compresses with a window that is too large", false, "13.3 13.5 13.7 R73 R75 R76", ""},
	{"takes its context over always", false, "13.2 13.6 R71 R81", ""},
	{"inflates every message alone", false, "12.1 12.2 12.3 12.4 12.5 13.1 13.2 13.3 13.4 13.5 13.6 13.7 R71 R72 R73 R75 R76 R78 R79 R80 R82 R88", ""},
	{"delivers streams that are cut", false, "R83 R84 R85", ""},
	{"does not check compressed text", false, "R86", ""},
	{"has no limit on what it inflates", false, "R87", ""},
	{"takes every parameter", false, "13.2 13.5 13.6 R69 R71", ""},
	{"leaves server_no_context_takeover out", false, "13.2 13.5 13.6 R71", "server_no_context_takeover was asked for"},
	{"answers a larger window", false, "13.3 13.5 R73 R75 R76", ""},
	{"answers client_max_window_bits always", false, "12.1 R71 R78 R88", "client_max_window_bits, which was not offered"},
	{"looks for offers within quotes", false, "R63", ""},
	{"answers a subprotocol of its own", false, "R61", ""},
	{"loses frames that come with the request", false, "R64", ""},
	{"takes every method", false, "R56", ""},
	{"takes every version", false, "R59", ""},
	{"refuses a version without its own", false, "R59", ""},
	{"takes every key", false, "R58", ""},
	{"takes every origin", false, "R60", ""},
	{"looks for tokens within words", false, "R57", ""},
	{"takes a wrong mask bit", true, "R2", ""},
	{"sends a wrong mask bit", true, "1.1 2 R4", "without a mask"},
	{"masks with one key", true, "R5", ""},
	{"has one key for all connections", true, "1.1 R39", "one that came before"},
	{"sends Host twice", true, "1.1 R38", "Host stands 2 times"},
	{"takes every status", true, "R40 R42", ""},
	{"takes every hash", true, "R45", ""},
	{"takes HTTP/1.0", true, "R42", ""},
	{"takes every subprotocol", true, "R47", ""},
	{"takes every extension", true, "R46 R70 R75", ""},
	{"loses frames that come with the answer", true, "R48", "where it has to be"},
	{"does not wait for the server to close", true, "R28", ""},
}
