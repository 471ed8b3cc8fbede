package conformance

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// caseOf returns the case with a number.
func caseOf(t *testing.T, role Role, id string) *Case {
	t.Helper()
	all := Cases(role, Small)
	i := slices.IndexFunc(all, func(c *Case) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("no case %s", id)
	}
	return all[i]
}

// What a server answers to a request that opens nothing.
func TestVerdictsOnRefusals(t *testing.T) {
	const version = "Sec-WebSocket-Version: 13"
	for _, test := range []struct {
		ids, answer, line string
		want              Verdict
	}{
		{"R56.1 R56.2 R57.6 R57.7 R57.8 R57.9", "HTTP/1.1 200 OK", "", Informational},
		{"R56.1 R56.2 R57.6 R57.7 R57.8 R57.9", "HTTP/1.1 302 Found", "", Informational},
		{"R56.1 R56.2 R57.6 R57.7 R57.8 R57.9", "HTTP/1.1 101 Switching Protocols", "", Failed},
		{"R56.1 R56.2 R57.6 R57.7 R57.8 R57.9", "HTTP/1.1 400 Bad Request", "", OK},
		{"R56.3 R58.6", "HTTP/1.1 200 OK", "", Failed},
		{"R59.1", "HTTP/1.1 400 Bad Request", "", OK},
		{"R59.1", "HTTP/1.1 426 Upgrade Required", "", OK},
		{"R59.1", "HTTP/1.1 404 Not Found", "", NonStrict},
		{"R59.2 R59.3", "HTTP/1.1 426 Upgrade Required", version, OK},
		{"R59.2 R59.3", "HTTP/1.1 426 Upgrade Required", "", NonStrict},
		{"R59.2 R59.3", "HTTP/1.1 400 Bad Request", version, OK},
		{"R59.2 R59.3", "HTTP/1.1 400 Bad Request", "", NonStrict},
		{"R59.1 R59.3", "HTTP/1.1 101 Switching Protocols", "", Failed},
	} {
		for _, id := range strings.Fields(test.ids) {
			c := caseOf(t, Server, id)
			s := newSession(c, Options{}.withDefaults(), nil, true)
			r, ok := c.request.refusal(s, &head{first: test.answer, lines: []string{test.line}})
			if !ok || r.Verdict != test.want {
				t.Errorf("%s: %q, %q: %v (%s), want %v", id, test.answer, test.line, r.Verdict, r.Note, test.want)
			}
		}
	}
}

// The verdicts on endpoints that are lax where other rules, or none, allow it.
func TestVerdictsOnLaxEndpoints(t *testing.T) {
	for id, want := range map[string]Verdict{
		"R42.2": NonStrict, "R45.5": NonStrict, "R50.1": Informational, "R50.2": NonStrict, "R50.3": NonStrict, "R50.4": NonStrict,
		"R45.2": OK, "R50.5": OK, // 0 is Failed
	} {
		if got := caseOf(t, Client, id).answer.lax; got != want {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
	for id, want := range map[string]Verdict{
		"R23.11": Failed, "R23.21": Failed, "R23.22": Informational, "R23.23": Informational, "R23.24": Informational, "R23.25": Informational,
		"R7.5": Failed, "R7.6": NonStrict, "R7.12": NonStrict, "R7.120": NonStrict,
	} {
		if got := caseOf(t, Server, id).worst(); got != want {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}

// Upgrade and Connection may come in several lines, the others may not.
func TestLinesOfARequest(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"Connection", "keep-alive", ""},
		{"Upgrade", "foo/2", ""},
		{"Host", "x", "Host stands 2 times"},
		{"Sec-WebSocket-Key", newKey(), "Sec-WebSocket-Key stands 2 times"},
		{"Sec-WebSocket-Version", "13", "Sec-WebSocket-Version stands 2 times"},
	} {
		h := &head{first: "GET / HTTP/1.1"}
		h.add("Host", "x").add("Upgrade", "websocket").add("Connection", "Upgrade")
		h.add("Sec-WebSocket-Key", newKey()).add("Sec-WebSocket-Version", "13").add(test.name, test.value)
		if err := checkRequest(h, false); (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s twice: %v, want %q", test.name, err, test.want)
		}
	}
}

// An agent that is slow is waited for as long as octets come.
func TestPatienceIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := text("0123456789")
		b := p.append(nil, false)
		agent, s := piped(t, &Case{want: []event{{opText, p.data}}}, time.Second)
		go func() {
			for i := range b { // 12 times 200 ms, by the clock of the test
				time.Sleep(200 * time.Millisecond)
				agent.Write(b[i : i+1])
			}
			c := closing(1000, "")
			agent.Write(c.append(nil, false))
			agent.Close()
		}()
		if r := s.play(nil); r.Verdict != OK {
			t.Errorf("%v: %s (%s)", r.Verdict, r.Note, r.End)
		}
	})
}
