package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/relay"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// parseReport returns the report of a demo that must show what it should.
func parseReport(t *testing.T, stdout, stderr string, code int) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if r.Lost != 0 || r.Doubled != 0 || r.Disorder != 0 || r.Wrong != 0 || r.Told != 0 || r.Jumps != 0 {
		t.Errorf("%+v", r)
	}
	if r.Delivered != r.Messages*uint64(r.Clients) {
		t.Errorf("%d delivered of %d messages to %d clients", r.Delivered, r.Messages, r.Clients)
	}
	if r.CPU.Exchange <= 0 || r.CPU.Ingesters <= 0 || r.CPU.Gateways <= 0 || r.CPU.Clients <= 0 || r.Latency.P50 <= 0 || r.Latency.Max < r.Latency.P99 {
		t.Errorf("not measured: %+v", r)
	}
	return r
}

// All parts, a gateway and the active ingester killed: nothing is lost, and nothing
// twice.
func TestDemo(t *testing.T) {
	stdout, stderr, code := run(t, "demo", "-duration", "4s", "-rate", "500", "-json")
	r := parseReport(t, stdout, stderr, code)
	if r.Messages != 2000 || r.Clients != 50 || r.Replicas != 1 || len(r.Kills) != 2 || r.Resumed == 0 || r.CPU.Engine <= 0 {
		t.Errorf("%+v", r)
	}
	if len(r.Kills) == 2 && (r.Kills[0].Name != "gateway 1" || !strings.HasSuffix(r.Kills[1].Name, ", active") || r.Kills[1].Silence <= 0) {
		t.Errorf("kills %+v", r.Kills)
	}
	for line := range strings.Lines(stderr) {
		if len(line) > 81 || strings.Contains(line, "\r") {
			t.Errorf("progress %q", line)
		}
	}
	t.Logf("%s%s", stderr, stdout)
}

// The report for people has the zeros too.
func TestDemoPrints(t *testing.T) {
	stdout, stderr, code := run(t, "demo", "-messages", "300", "-rate", "300", "-clients", "3", "-kills=false", "-v")
	if code != exitOK {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	for name, want := range map[string]string{
		"feed": "300 messages in", "delivered": "900 messages to 3 clients", "lost": "0 (0 told by gap records)",
		"doubled": "0", "out of order": "0", "wrong checksum": "0",
	} {
		if !regexp.MustCompile(`(?m)^` + name + ` +` + regexp.QuoteMeta(want)).MatchString(stdout) {
			t.Errorf("no line %q with %q in\n%s", name, want, stdout)
		}
	}
	if strings.Contains(stdout, "killed") || !strings.Contains(stderr, "ingester 1: session 1: connected to") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// Three nodes and three replicas, and the leader killed too. It takes half a minute.
func TestDemoCluster(t *testing.T) {
	if os.Getenv("TICKWIRE_RELAY_SLOW") == "" {
		t.Log("TICKWIRE_RELAY_SLOW=1 runs it")
		return
	}
	stdout, stderr, code := run(t, "demo", "-cluster", "-duration", "20s", "-rate", "500", "-json")
	r := parseReport(t, stdout, stderr, code)
	if r.Replicas != 3 || len(r.Kills) != 3 || !strings.HasPrefix(r.Kills[2].Name, "leader ") {
		t.Errorf("%+v", r)
	}
	t.Logf("%s", stdout)
}

// On servers that are there the demo leaves nothing, or what -keep asks for.
func TestDemoOnServers(t *testing.T) {
	node, err := engine.New(engine.Options{Name: "node", Dir: t.TempDir(), Users: []engine.User{{Name: "me", Password: "hunter22"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Shutdown()
	for _, keep := range []bool{false, true} {
		args := []string{"demo", "-nats", node.ClientURL(), "-user", "me", "-password", "hunter22", "-messages", "300", "-rate", "300", "-clients", "2", "-json"}
		if keep {
			args = append(args, "-keep")
		}
		stdout, stderr, code := run(t, args...)
		r := parseReport(t, stdout, stderr, code)
		if strings.HasPrefix(r.Kept, "stream demo-") != keep || strings.Contains(stderr+stdout, "hunter22") {
			t.Errorf("%s%s", stdout, stderr)
		}
		nc, err := relay.Connect(node.ClientURL(), nats.UserInfo("me", "hunter22"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for name := range js.StreamNames(t.Context()).Name() {
			left = append(left, "stream "+name)
		}
		if strings.Join(left, ", ") != r.Kept {
			t.Errorf("streams %q are left, the report says %q", left, r.Kept)
		}
	}
}
